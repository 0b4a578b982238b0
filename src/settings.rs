//! Settings that are changed while a run stands still: which may be, and why others may not.
//!
//! A phase that has not begun may be changed in any way. Of the phase under way, its length may, and of the run, when it
//! saves. What has been done stays what its recipe says.

use std::path::Path;

use reft_config::{PhaseConfig, Recipe, Resolved, difference};
use reft_store::RunReader;

use crate::Error;

/// Keys of `[run]` that decide nothing about any number.
const FREE: [&str; 2] = ["run.checkpoint_every", "run.keep_checkpoints"];

/// How far a run is.
struct Progress {
    /// Names of the phases that have begun, in order.
    begun: Vec<String>,
    /// Steps recorded in the last of them.
    steps: u64,
}

/// The recipe of a run with settings laid over it, as its `config.toml` will hold it.
pub(crate) fn change(dir: &Path, config: &str, set: &[String]) -> Result<String, Error> {
    let origin = dir.join("config.toml");
    let recipe = Resolved::from_text(config, &origin.to_string_lossy(), set)?.recipe;
    let summary = RunReader::open(dir)?.summary()?;
    let refuse = |message: String| Error::File { path: dir.to_owned(), message };
    if summary.finished {
        return Err(refuse(
            "all phases are done; start another run with `model.path` set to its `final` folder".into(),
        ));
    }
    let progress = Progress {
        steps: summary.phases.last().map_or(0, |phase| phase.steps),
        begun: summary.phases.into_iter().map(|phase| phase.phase).collect(),
    };
    let text = recipe.to_toml()?;
    let before = Resolved::from_text(config, &origin.to_string_lossy(), &[])?.recipe.to_toml()?;
    for change in difference(&before, &text) {
        let key = change.split(": ").next().unwrap_or_default();
        if let Some(reason) = progress.refusal(key, &recipe) {
            return Err(refuse(format!("`{key}` cannot be changed: {reason}")));
        }
    }
    Ok(text)
}

impl Progress {
    /// Why a key may not be changed; none where it may.
    fn refusal(&self, key: &str, recipe: &Recipe) -> Option<String> {
        if FREE.contains(&key) {
            return None;
        }
        let Some(rest) = key.strip_prefix("phase.") else {
            return Some("phases were made with it; start another run".into());
        };
        let (name, setting) = rest.split_once('.').unwrap_or((rest, ""));
        let begun = self.begun.iter().find(|begun| *begun == name)?;
        let is_last = self.begun.last() == Some(begun);
        let steps =
            recipe.phase.iter().find(|phase| phase.name() == begun.as_str()).and_then(PhaseConfig::steps);
        match (is_last, setting, steps) {
            (true, "steps", Some(steps)) if steps > self.steps => None,
            (true, "steps", Some(_)) => {
                Some(format!("phase `{begun}` has done {} steps; give more than that", self.steps))
            }
            (true, ..) => Some(format!("phase `{begun}` is under way; of it only `steps` may be changed")),
            (false, ..) => Some(format!("phase `{begun}` is done")),
        }
    }
}

#[cfg(test)]
mod tests {
    use reft_core::{Metrics, Recorder as _};
    use reft_store::{RunDir, RunInfo};

    use super::*;

    const RECIPE: &str = r#"
        model = { path = "m" }
        data.d = { type = "file", path = "d.jsonl" }
        phase = [
            { kind = "sft", name = "warm", data = ["d"], steps = 5 },
            { kind = "sft", name = "warm-up", data = ["d"], steps = 20 },
            { kind = "grpo", name = "open", data = "d", steps = 50 },
        ]
    "#;

    #[test]
    fn what_has_not_begun_may_be_changed() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("run");
        let config = Resolved::from_text(RECIPE, "test", &[]).unwrap().recipe.to_toml().unwrap();
        let mut store =
            RunDir::create(&dir, &RunInfo::new("run", ["warm", "warm-up", "open"]), &config).unwrap();
        for (phase, steps) in [("warm", 5), ("warm-up", 7)] {
            for step in 1..=steps {
                store.step(phase, step, &Metrics::new()).unwrap();
            }
        }
        drop(store);
        let changed = |set: &str| change(&dir, &config, &[set.to_owned()]).map_err(|error| error.to_string());
        for (set, line) in [
            ("phase.open.lr=3e-5", "lr = 0.00003"),
            ("phase.open.steps=400", "steps = 400"),
            ("phase.warm-up.steps=30", "steps = 30"),
            ("run.checkpoint_every=7", "checkpoint_every = 7"),
        ] {
            let text = changed(set);
            assert!(text.as_ref().is_ok_and(|text| text.contains(line)), "{set}: {text:?}");
        }
        for (set, reason) in [
            ("phase.warm.steps=30", "phase `warm` is done"),
            ("phase.warm-up.steps=7", "has done 7 steps; give more"),
            ("phase.warm-up.lr=1e-5", "of it only `steps` may be changed"),
            ("model.path=\"n\"", "start another run"),
            ("phase.open.stops=3", "unknown key"),
        ] {
            let error = changed(set).unwrap_err();
            assert!(error.contains(reason), "{set}: {error}");
        }
    }
}
