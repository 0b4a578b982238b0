//! Where everything is in a run directory.

use std::path::{Path, PathBuf};

/// The paths of a run directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    pub(crate) fn run_json(&self) -> PathBuf {
        self.root.join("run.json")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.root.join("config.toml")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("run.lock")
    }

    pub(crate) fn inputs(&self) -> PathBuf {
        self.root.join("inputs")
    }

    pub(crate) fn log(&self, attempt: u64) -> PathBuf {
        self.root.join("logs").join(format!("attempt_{attempt}.log"))
    }

    pub(crate) fn metrics(&self) -> PathBuf {
        self.root.join("metrics.jsonl")
    }

    pub(crate) fn timings(&self) -> PathBuf {
        self.root.join("timings.jsonl")
    }

    pub(crate) fn events(&self) -> PathBuf {
        self.root.join("events.jsonl")
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    pub(crate) fn checkpoint(&self, global_step: u64) -> PathBuf {
        self.checkpoints().join(step_name(global_step))
    }

    pub(crate) fn completions(&self, phase: &str) -> PathBuf {
        self.root.join("completions").join(phase)
    }

    pub(crate) fn rejection(&self, phase: &str) -> PathBuf {
        self.root.join("rejection").join(phase)
    }

    pub(crate) fn eval(&self, phase: &str) -> PathBuf {
        self.root.join("eval").join(phase)
    }

    pub(crate) fn validation(&self, phase: &str) -> PathBuf {
        self.root.join("validation").join(phase)
    }

    pub(crate) fn all_best(&self) -> PathBuf {
        self.root.join("best")
    }

    pub(crate) fn best(&self, phase: &str) -> PathBuf {
        self.all_best().join(phase)
    }

    pub(crate) fn all_non_finite(&self) -> PathBuf {
        self.root.join("non_finite")
    }

    pub(crate) fn non_finite(&self, phase: &str) -> PathBuf {
        self.all_non_finite().join(phase)
    }

    pub(crate) fn partial(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// The folders that hold what a run has done.
    pub(crate) fn results(&self) -> Vec<PathBuf> {
        let names = [
            "checkpoints",
            "completions",
            "rejection",
            "eval",
            "validation",
            "best",
            "non_finite",
            "partial",
            "phases",
            "final",
        ];
        names.map(|name| self.root.join(name)).into()
    }

    /// What is there of a run that has done nothing.
    pub(crate) fn of_a_start(&self) -> Vec<PathBuf> {
        let mut paths = self.results();
        let names =
            ["run.json", "config.toml", "inputs", "logs", "metrics.jsonl", "timings.jsonl", "events.jsonl"];
        paths.extend(names.map(|name| self.root.join(name)));
        paths
    }

    pub(crate) fn all_phases(&self) -> PathBuf {
        self.root.join("phases")
    }

    pub(crate) fn phase(&self, phase: &str) -> PathBuf {
        self.all_phases().join(phase)
    }

    pub(crate) fn final_dir(&self) -> PathBuf {
        self.root.join("final")
    }
}

/// `step_000050`, so that names sort by step.
pub(crate) fn step_name(step: u64) -> String {
    format!("step_{step:06}")
}

/// The step of `step_000050` or `step_000050.parquet`.
pub(crate) fn parse_step(path: &Path) -> Option<u64> {
    let stem =
        if path.extension().is_some_and(|e| e == "parquet") { path.file_stem() } else { path.file_name() };
    let digits = stem?.to_str()?.strip_prefix("step_")?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}
