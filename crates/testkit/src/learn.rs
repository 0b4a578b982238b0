//! Learners of the toy policy, with momentum and a KL reference: state that a resume must restore to the bit.

use std::{collections::BTreeMap, path::Path};

use reft_core::{
    Checkpointed, Demonstration, Metrics, PolicyOptimizer, Sample, ScoredGroup, StageError, SupervisedTrainer,
};

use crate::{
    TablePolicy,
    policy::{read_table, write_table},
};

/// Policy gradient on the table: the ascent direction of `mean(A log p) - kl_coef KL(p || p_ref)`, with momentum.
#[derive(Clone, Debug)]
pub struct ToyGrpo {
    /// Step size.
    pub lr: f64,
    /// Weight of the pull towards the phase's start policy.
    pub kl_coef: f64,
    reference: TablePolicy,
    momentum: Momentum,
}

impl ToyGrpo {
    /// A learner without momentum yet; the reference is taken when a phase begins.
    pub fn new(lr: f64, kl_coef: f64) -> Self {
        Self { lr, kl_coef, reference: TablePolicy::new(), momentum: Momentum::default() }
    }
}

impl PolicyOptimizer<TablePolicy> for ToyGrpo {
    fn begin_phase(&mut self, policy: &TablePolicy) -> Result<(), StageError> {
        self.reference = policy.clone();
        self.momentum = Momentum::default();
        Ok(())
    }

    fn update(&mut self, policy: &mut TablePolicy, groups: &[ScoredGroup]) -> Result<Metrics, StageError> {
        let mut kl_sum = 0.0;
        for scored in groups {
            let sample = &scored.group.sample;
            let log_p = policy.log_probs(sample);
            let p: Vec<f64> = log_p.iter().map(|l| l.exp()).collect();
            let log_ref = self.reference.log_probs(sample);
            let kl: f64 = (0..p.len()).map(|a| p[a] * (log_p[a] - log_ref[a])).sum();
            kl_sum += kl;

            let mut direction: Vec<f64> =
                (0..p.len()).map(|a| -self.kl_coef * p[a] * (log_p[a] - log_ref[a] - kl)).collect();
            for (completion, &advantage) in scored.group.completions.iter().zip(&scored.advantages) {
                let weight = f64::from(advantage) / scored.advantages.len() as f64;
                for (a, d) in direction.iter_mut().enumerate() {
                    let chosen = f64::from(completion.token_ids == [a as i64]);
                    *d += weight * (chosen - p[a]);
                }
            }
            let step = self.momentum.step(sample, &direction, self.lr);
            policy.shift(sample, &step);
        }
        let mut metrics = Metrics::new();
        metrics.set("grpo/kl", kl_sum / groups.len().max(1) as f64);
        metrics.set("grpo/lr", self.lr);
        Ok(metrics)
    }
}

impl Checkpointed for ToyGrpo {
    fn save(&self, dir: &Path) -> Result<(), StageError> {
        self.reference.save(dir)?;
        self.momentum.save(dir)
    }

    fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        self.reference.load(dir)?;
        self.momentum.load(dir)
    }
}

/// Cross-entropy on demonstrations, with momentum. A completion that is none of the policy's actions is an error.
#[derive(Clone, Debug)]
pub struct ToySft {
    /// Step size.
    pub lr: f64,
    momentum: Momentum,
}

impl ToySft {
    /// A learner without momentum yet.
    pub fn new(lr: f64) -> Self {
        Self { lr, momentum: Momentum::default() }
    }
}

impl SupervisedTrainer<TablePolicy> for ToySft {
    fn update(&mut self, policy: &mut TablePolicy, batch: &[Demonstration]) -> Result<Metrics, StageError> {
        let mut loss = 0.0;
        for demonstration in batch {
            let sample = &demonstration.sample;
            let target = TablePolicy::actions(sample)
                .iter()
                .position(|action| *action == demonstration.completion)
                .ok_or_else(|| {
                    StageError::sample(&sample.id, "the demonstration is not one of the answers")
                })?;
            let log_p = policy.log_probs(sample);
            loss -= log_p[target];
            let direction: Vec<f64> =
                log_p.iter().enumerate().map(|(a, l)| f64::from(a == target) - l.exp()).collect();
            let step = self.momentum.step(sample, &direction, self.lr);
            policy.shift(sample, &step);
        }
        let mut metrics = Metrics::new();
        metrics.set("sft/loss", loss / batch.len().max(1) as f64);
        metrics.set("sft/lr", self.lr);
        Ok(metrics)
    }
}

impl Checkpointed for ToySft {
    fn save(&self, dir: &Path) -> Result<(), StageError> {
        self.momentum.save(dir)
    }

    fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        self.momentum.load(dir)
    }
}

/// `m = 0.5 m + direction`, one vector per question.
#[derive(Clone, Debug, Default)]
struct Momentum(BTreeMap<String, Vec<f64>>);

impl Momentum {
    fn step(&mut self, sample: &Sample, direction: &[f64], lr: f64) -> Vec<f64> {
        let moment = self.0.entry(TablePolicy::key(sample)).or_insert_with(|| vec![0.0; direction.len()]);
        for (m, d) in moment.iter_mut().zip(direction) {
            *m = 0.5 * *m + d;
        }
        moment.iter().map(|m| lr * m).collect()
    }

    fn save(&self, dir: &Path) -> Result<(), StageError> {
        write_table(&dir.join("momentum.json"), &self.0)
    }

    fn load(&mut self, dir: &Path) -> Result<(), StageError> {
        self.0 = read_table(&dir.join("momentum.json"))?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{demonstration, sums};

    #[test]
    fn sft_learns_its_demonstrations_and_resumes_to_the_bit() {
        let batch: Vec<Demonstration> = sums(6).iter().map(demonstration).collect();
        let (mut policy, mut trainer) = (TablePolicy::new(), ToySft::new(1.0));
        let first = trainer.update(&mut policy, &batch).unwrap();
        let dir = tempfile::tempdir().unwrap();
        policy.save(dir.path()).unwrap();
        trainer.save(dir.path()).unwrap();

        let mut last = Metrics::new();
        for _ in 0..20 {
            last = trainer.update(&mut policy, &batch).unwrap();
        }
        assert!(last.get("sft/loss") < first.get("sft/loss").map(|loss| loss / 4.0));

        let (mut again, mut resumed) = (TablePolicy::new(), ToySft::new(1.0));
        again.load(dir.path()).unwrap();
        resumed.load(dir.path()).unwrap();
        for _ in 0..20 {
            resumed.update(&mut again, &batch).unwrap();
        }
        assert_eq!(policy, again);
    }
}
