//! The toy policy: a table of logits, `p(answer | question) = softmax(logits[question])`.

use std::{collections::BTreeMap, fs, path::Path};

use reft_core::{Checkpointed, Form, Sample, StageError};

/// A softmax over a few answers for each question it has met; uniform for all others.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TablePolicy {
    logits: BTreeMap<String, Vec<f64>>,
}

impl TablePolicy {
    /// A policy that knows nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// `[A]` everything it can say to a sample: each answer in the asked format, then each answer bare.
    pub fn actions(sample: &Sample) -> Vec<String> {
        let answers: Vec<String> = match sample.form {
            Form::Binary => vec!["yes".into(), "no".into()],
            Form::Choice => ('A'..='D').map(String::from).collect(),
            Form::Open => (0..10).map(|n| n.to_string()).collect(),
        };
        let tagged = answers.iter().map(|answer| format!("<think>hm</think><answer>{answer}</answer>"));
        tagged.chain(answers.iter().cloned()).collect()
    }

    /// `[A]` natural log-probabilities of [`TablePolicy::actions`].
    pub fn log_probs(&self, sample: &Sample) -> Vec<f64> {
        let logits = self.logits(sample);
        let max = logits.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let log_sum = max + logits.iter().map(|l| (l - max).exp()).sum::<f64>().ln();
        logits.iter().map(|l| l - log_sum).collect()
    }

    /// `[A]` logits of a sample.
    pub fn logits(&self, sample: &Sample) -> Vec<f64> {
        self.logits.get(&Self::key(sample)).cloned().unwrap_or_else(|| vec![0.0; Self::actions(sample).len()])
    }

    /// Adds a step to the logits of a sample.
    pub fn shift(&mut self, sample: &Sample, step: &[f64]) {
        let mut logits = self.logits(sample);
        for (logit, step) in logits.iter_mut().zip(step) {
            *logit += step;
        }
        self.logits.insert(Self::key(sample), logits);
    }

    /// What tells questions apart.
    pub(crate) fn key(sample: &Sample) -> String {
        format!("{}/{}", sample.form, sample.problem)
    }
}

impl Checkpointed for TablePolicy {
    fn digest(&self) -> Option<u64> {
        let bits = self.logits.values().flatten().map(|x| x.to_bits());
        Some(bits.fold(0, |sum: u64, bits| sum.wrapping_mul(31).wrapping_add(bits)))
    }

    fn save(&self, dir: &Path) -> Result<(), StageError> {
        write_table(&dir.join("table.json"), &self.logits)
    }

    fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        self.logits = read_table(&dir.join("table.json"))?;
        Ok(())
    }
}

/// Numbers by key, as the bits of their floats: what is read is what was written.
pub(crate) fn write_table(path: &Path, table: &BTreeMap<String, Vec<f64>>) -> Result<(), StageError> {
    let bits: BTreeMap<&str, Vec<u64>> = table
        .iter()
        .map(|(key, values)| (key.as_str(), values.iter().map(|v| v.to_bits()).collect()))
        .collect();
    let text = serde_json::to_vec(&bits).map_err(|error| StageError::file(path, error))?;
    fs::write(path, text).map_err(|error| StageError::file(path, error))
}

/// Reads what [`write_table`] wrote.
pub(crate) fn read_table(path: &Path) -> Result<BTreeMap<String, Vec<f64>>, StageError> {
    let text = fs::read(path).map_err(|error| StageError::file(path, error))?;
    let bits: BTreeMap<String, Vec<u64>> =
        serde_json::from_slice(&text).map_err(|error| StageError::file(path, error))?;
    Ok(bits
        .into_iter()
        .map(|(key, values)| (key, values.into_iter().map(f64::from_bits).collect()))
        .collect())
}
