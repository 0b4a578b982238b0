//! `reft replay`: a batch whose loss or gradient was not finite, computed again group by group.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use reft_config::{PhaseConfig, Resolved};
use reft_core::{Checkpointed as _, ScoredGroup};
use reft_grpo::{GroupDiagnosis, Known, Objective, PassOptions, diagnose};
use reft_store::KeptBatch;
use serde::Serialize;

use crate::{Error, model};

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Replay {
    /// The phase.
    pub phase: String,
    /// The step, counted from 1.
    pub step: u64,
    /// What was not finite then: `loss` or `gradient`.
    pub what: String,
    /// The weights that the batch was computed with now.
    pub weights: PathBuf,
    /// Each group now.
    pub groups: Vec<GroupDiagnosis>,
    /// What the run itself found.
    pub then: Vec<GroupDiagnosis>,
}

/// Computes loss and gradient of the batch in `dir` (`RUN/non_finite/PHASE/step_N`) again, with the weights that were
/// kept with it, or those of `weights`.
pub fn replay(dir: &Path, weights: Option<&Path>) -> Result<Replay, Error> {
    let batch = KeptBatch::read(dir)?;
    let file =
        |path: &Path, message: &str| Error::File { path: path.to_owned(), message: message.to_owned() };
    let run =
        dir.ancestors().nth(3).ok_or_else(|| file(dir, "is not in the `non_finite` folder of a run"))?;
    let path = run.join("config.toml");
    let text = reft_core::read_text(&path).map_err(|error| file(&path, &error.to_string()))?;
    let recipe = Resolved::from_text(&text, &path.to_string_lossy(), &[])?.recipe;
    let phase = recipe.phase.iter().find_map(|phase| match phase {
        PhaseConfig::Grpo(phase) if phase.name == batch.phase => Some(phase),
        _ => None,
    });
    let phase = phase.ok_or_else(|| file(&path, &format!("has no `grpo` phase `{}`", batch.phase)))?;
    let weights = weights.map(Path::to_owned).or(batch.policy).ok_or_else(|| {
        file(dir, "its weights are gone, a later batch has replaced them; name some with `--model`")
    })?;

    model::set_threads(recipe.run.threads);
    // As a resume does: the recipe's model, then the weights of the moment.
    let mut policy = model::open(&recipe.model)?;
    policy.load(&weights)?;
    let trainable = phase.trainable;
    policy.set_trainable(|part| reft_train::learns(trainable, part));

    let then: Vec<GroupDiagnosis> =
        serde_json::from_value(batch.diagnosis["groups"].clone()).unwrap_or_default();
    let kl_weight = batch.diagnosis["kl_weight"].as_f64().unwrap_or(phase.kl_coef);
    let known = then.iter().map(|group| Known { reference: group.reference.clone(), old: group.old.clone() });
    let known: Vec<Known> = known.collect();
    let groups: Vec<&ScoredGroup> = batch.groups.iter().filter(|group| group.is_admitted()).collect();
    let (objective, options) = (Objective::new(phase), PassOptions::new(phase));
    let found = diagnose(&objective, options, &mut policy, &groups, &known, kl_weight)?;
    Ok(Replay { phase: batch.phase, step: batch.step, what: batch.what, weights, groups: found, then })
}

impl fmt::Display for Replay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "phase `{}`, step {}: the {} was not finite", self.phase, self.step, self.what)?;
        writeln!(f, "computed again with {}", self.weights.display())?;
        let number = |x: Option<f64>| x.map_or_else(|| "-".to_owned(), |x| format!("{x:.6}"));
        for group in &self.groups {
            let first = group.first.as_deref().unwrap_or("all finite");
            let (loss, norm) = (number(group.loss), number(group.grad_norm));
            writeln!(f, "  {}: loss {loss}, gradient norm {norm}; {first}", group.sample)?;
        }
        if self.groups.iter().all(|group| group.first.is_none()) {
            write!(f, "each group alone is finite")?;
            if let Some(then) = self.then.iter().find(|group| group.first.is_some()) {
                let first = then.first.as_deref().unwrap_or_default();
                write!(f, "; in the run, `{}` was not: {first}", then.sample)?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}
