//! A run directory that this process owns, as the store of a run.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use reft_core::{
    Checkpoint, Checkpointed, Cursor, FailedBatch, GradedGroup, JudgedGroup, KeptAnswer, Metrics, Recorder,
    RunStore, SampleId, ScoredGroup, StageError, Verdict,
};
use serde_json::{Map, Value, json};

use crate::{
    ImageFiles, Input, KeptBatch, RunInfo, StoreError, batches,
    checkpoint::{self, Found, Lengths, State},
    clock, disk,
    info::{RunRecord, not_a_run},
    inputs,
    layout::{Layout, parse_step, step_name},
    lock::{self, RunLock},
    manifest::Manifest,
    records, rewind,
};

/// The recipe as it was first, and the samples that are left out, in `inputs/`.
const CONFIG_COPY: &str = "config.toml";
const LEFT_OUT: &str = "left_out.json";

/// A run directory with its lock. Dropping it releases the lock.
#[derive(Debug)]
pub struct RunDir {
    layout: Layout,
    record: RunRecord,
    last_checkpoint: Option<PathBuf>,
    /// Files that are renamed into place and not yet synced; a checkpoint waits for them.
    unsynced: Vec<PathBuf>,
    _lock: RunLock,
}

impl RunDir {
    /// A new run in `root`, which must not hold one that has done anything yet. `config` is the resolved recipe, kept as `config.toml`.
    pub fn create(root: &Path, info: &RunInfo, config: &str) -> Result<Self, StoreError> {
        let layout = Layout::new(root);
        if !layout.lock().exists() && !disk::entries(root)?.is_empty() {
            let reason = "it has other files in it; give an empty or a new folder";
            return Err(not_a_run(root, reason));
        }
        disk::create_dir(root)?;
        let lock = RunLock::take(&layout)?;
        if layout.run_json().exists() {
            if !is_untouched(&layout) {
                return Err(StoreError::Exists { path: root.to_owned() });
            }
            // A start that failed, in a file that could not be read, say.
            for path in layout.of_a_start() {
                disk::remove(&path)?;
            }
        }
        disk::replace_synced(&layout.config(), config.as_bytes())?;
        disk::replace_synced(&layout.inputs().join(CONFIG_COPY), config.as_bytes())?;
        Self::start(layout, RunRecord::new(info.clone()), lock)
    }

    /// Whether a run was started in `root` with this resolved recipe.
    pub fn was_started_with(root: &Path, config: &str) -> bool {
        let layout = Layout::new(root);
        let first = std::fs::read_to_string(layout.inputs().join(CONFIG_COPY));
        layout.run_json().exists() && first.is_ok_and(|first| first == config)
    }

    /// The run in `root`, to go on with it.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let layout = Layout::new(root);
        // Read first: a folder that is no run should not get a lock file.
        RunRecord::read(&layout)?;
        let lock = RunLock::take(&layout)?;
        let record = RunRecord::read(&layout)?;
        Self::start(layout, record, lock)
    }

    fn start(layout: Layout, mut record: RunRecord, lock: RunLock) -> Result<Self, StoreError> {
        record.attempts += 1;
        record.write(&layout)?;
        for name in ["logs", "checkpoints"] {
            disk::create_dir(&layout.root.join(name))?;
        }
        let run = Self { layout, record, last_checkpoint: None, unsynced: Vec::new(), _lock: lock };
        let kind = if run.record.attempts == 1 { "launch" } else { "relaunch" };
        run.note(kind, json!({"host": lock::host(), "pid": std::process::id()}))?;
        Ok(run)
    }

    /// Bytes that are free where it is, as far as the system tells, and bytes that its checkpoints take.
    pub fn space(&self) -> (Option<u64>, u64) {
        (fs4::available_space(&self.layout.root).ok(), disk::tree_len(&self.layout.checkpoints()))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.layout.root
    }

    /// What it is.
    pub fn info(&self) -> &RunInfo {
        &self.record.info
    }

    /// The resolved recipe it was created with.
    pub fn config(&self) -> Result<String, StoreError> {
        let path = self.layout.config();
        std::fs::read_to_string(&path).map_err(StoreError::io("read", path))
    }

    /// Replaces the resolved recipe; the one that the run was created with stays in `inputs/config.toml`.
    pub fn change_config(&self, config: &str) -> Result<(), StoreError> {
        disk::replace_synced(&self.layout.config(), config.as_bytes())
    }

    /// Notes what the run reads, the first time; refuses later when any of it has changed.
    pub fn check_inputs(&self, inputs: &[Input]) -> Result<(), StoreError> {
        refuse(inputs::record_or_compare(&self.layout, inputs)?)
    }

    /// [`Self::check_inputs`] of the image files that data sets name.
    pub fn check_images(&self, sets: &[ImageFiles]) -> Result<(), StoreError> {
        refuse(inputs::record_or_compare_images(&self.layout, sets)?)
    }

    /// Takes the inputs as they are now for those that the run started from. What has changed goes into the events.
    pub fn accept_inputs(&self, inputs: &[Input]) -> Result<(), StoreError> {
        self.note("inputs_accepted", json!({"changes": inputs::accept(&self.layout, inputs)?}))
    }

    /// [`Self::accept_inputs`] of the image files that data sets name.
    pub fn accept_images(&self, sets: &[ImageFiles]) -> Result<(), StoreError> {
        self.note("inputs_accepted", json!({"changes": inputs::accept_images(&self.layout, sets)?}))
    }

    /// The recipe as it was when the run was made: [`Self::config`] is the user's to edit.
    pub fn first_config(&self) -> Option<String> {
        std::fs::read_to_string(self.layout.inputs().join(CONFIG_COPY)).ok()
    }

    /// Samples that the run leaves out, by data set, as [`Self::leave_out`] has noted them.
    pub fn left_out(&self) -> Result<BTreeMap<String, BTreeSet<SampleId>>, StoreError> {
        let path = self.layout.inputs().join(LEFT_OUT);
        if !path.exists() {
            return Ok(BTreeMap::new());
        }
        serde_json::from_slice(&disk::read(&path)?)
            .map_err(|error| StoreError::Damaged { path, reason: error.to_string() })
    }

    /// Notes the samples that the run leaves out, so that a resume leaves out the same.
    pub fn leave_out(&self, samples: &BTreeMap<String, BTreeSet<SampleId>>) -> Result<(), StoreError> {
        let path = self.layout.inputs().join(LEFT_OUT);
        disk::replace_synced(&path, json!(samples).to_string().as_bytes())
    }

    /// The log of this process.
    pub fn log_path(&self) -> PathBuf {
        self.layout.log(self.record.attempts)
    }

    /// Adds a line to the log of this process.
    pub fn log(&self, text: &str) -> Result<(), StoreError> {
        disk::append_line(&self.log_path(), &format!("{} {text}", clock::now()))
    }

    fn note(&self, kind: &str, details: Value) -> Result<(), StoreError> {
        let mut row = Map::new();
        row.insert("time".into(), clock::now().into());
        row.insert("attempt".into(), self.record.attempts.into());
        row.insert("event".into(), kind.into());
        if let Value::Object(details) = details {
            row.extend(details);
        }
        disk::append_line(&self.layout.events(), &Value::Object(row.clone()).to_string())?;
        row.shift_remove("time");
        self.log(&Value::Object(row).to_string())
    }

    fn completions_file(&mut self, phase: &str, step: u64) -> PathBuf {
        let name = format!("{}.parquet", step_name(step));
        let path = self.layout.completions(phase).join(name);
        self.unsynced.push(path.clone());
        path
    }

    fn chunk_file(&self, policy_version: u64, key: &str) -> PathBuf {
        let folder = self.layout.partial().join(step_name(policy_version));
        folder.join(format!("{key}.json"))
    }

    /// Waits until the disk has everything that a checkpoint will rely on.
    fn sync_records(&mut self) -> Result<Lengths, StoreError> {
        let (metrics, timings) = (self.layout.metrics(), self.layout.timings());
        for path in self.unsynced.drain(..) {
            disk::sync_file(&path)?;
        }
        disk::sync_file(&metrics)?;
        disk::sync_file(&timings)?;
        Ok(Lengths { metrics: disk::file_len(&metrics), timings: disk::file_len(&timings) })
    }

    /// A model as other programs load it, whole or not there.
    fn export(&self, policy: &dyn Checkpointed, target: &Path) -> Result<(), StageError> {
        let temporary = self.layout.root.join(".tmp-final");
        disk::remove(&temporary)?;
        disk::create_dir(&temporary)?;
        policy.export(&temporary)?;
        disk::sync_tree(&temporary)?;
        Ok(disk::rename_dir(&temporary, target)?)
    }

    fn write_report(&mut self, dir: &Path, graded: &[GradedGroup], report: &Value) -> Result<(), StageError> {
        let predictions = dir.join("predictions.parquet");
        records::write_graded(&predictions, graded)?;
        self.unsynced.push(predictions);
        let text = format!("{report:#}\n");
        Ok(disk::replace_synced(&dir.join("report.json"), text.as_bytes())?)
    }

    fn other_stages(&self, phase: &str, then: &[String], now: &[String]) -> String {
        let stages = |names: &[String]| match names {
            [] => "the recipe's stages".to_owned(),
            names => format!("a `{}` of a program's own", names.join("`, `")),
        };
        let command = self.record.info.environment["command"].as_array().map_or(&[][..], Vec::as_slice);
        let command: Vec<&str> = command.iter().filter_map(Value::as_str).collect();
        let program = if command.is_empty() { String::new() } else { format!(": `{}`", command.join(" ")) };
        format!(
            "phase `{phase}` was started with {} and would go on with {}; resume with the program that started the run \
             (`train::resume_with`){program}",
            stages(then),
            stages(now)
        )
    }

    fn set_damaged_aside(&self, damaged: &[checkpoint::Damage]) -> Result<(), StoreError> {
        for damage in damaged {
            let details = json!({"checkpoint": damage.name(), "reason": damage.reason});
            self.note("checkpoint_damaged", details)?;
            checkpoint::set_aside(damage)?;
        }
        Ok(())
    }
}

impl Recorder for RunDir {
    fn step(&mut self, phase: &str, step: u64, metrics: &Metrics) -> Result<(), StageError> {
        Ok(disk::append_line(&self.layout.metrics(), &row(phase, step, metrics))?)
    }

    fn timings(&mut self, phase: &str, step: u64, timings: &Metrics) -> Result<(), StageError> {
        Ok(disk::append_line(&self.layout.timings(), &row(phase, step, timings))?)
    }

    fn groups(&mut self, phase: &str, step: u64, groups: &[ScoredGroup]) -> Result<(), StageError> {
        let path = self.completions_file(phase, step);
        Ok(records::write_scored(&path, groups)?)
    }

    fn judged(
        &mut self,
        phase: &str,
        step: u64,
        groups: &[(JudgedGroup, Vec<Verdict>)],
    ) -> Result<(), StageError> {
        let path = self.completions_file(phase, step);
        Ok(records::write_judged(&path, groups)?)
    }

    fn event(&mut self, kind: &str, details: Value) -> Result<(), StageError> {
        Ok(self.note(kind, details)?)
    }
}

impl RunStore for RunDir {
    fn resume(&mut self) -> Result<Option<Checkpoint>, StageError> {
        checkpoint::remove_unfinished(&self.layout)?;
        let Found { newest, damaged } = checkpoint::find(&self.layout)?;
        if newest.is_none() && !damaged.is_empty() && !self.record.finished {
            let reasons = damaged.iter().map(|d| format!("{}: {}", d.name(), d.reason));
            return Err(StoreError::NoIntactCheckpoint {
                path: self.layout.checkpoints(),
                reasons: reasons.collect(),
            }
            .into());
        }
        self.set_damaged_aside(&damaged)?;
        let (cursor, lengths) =
            newest.as_ref().map(|(_, state)| (state.cursor, state.lengths)).unwrap_or_default();
        if !self.record.finished {
            let phases = &self.record.info.phases;
            for file in rewind::rewind(&self.layout, phases, cursor, lengths)? {
                let reason = "it is shorter than at the checkpoint, so someone else has cut it";
                self.note("record_shorter", json!({"file": file, "reason": reason}))?;
            }
        }
        let Some((dir, state)) = newest else {
            return Ok(None);
        };
        self.note("checkpoint_loaded", json!({"checkpoint": dir.file_name().map(|n| n.to_string_lossy())}))?;
        self.last_checkpoint = Some(dir.clone());
        let passed_over =
            damaged.iter().map(|damage| format!("`{}`: {}", damage.name(), damage.reason)).collect();
        Ok(Some(Checkpoint { cursor: state.cursor, dir, stages: state.stages, passed_over }))
    }

    fn checkpoint(
        &mut self,
        cursor: Cursor,
        parts: &[(&str, &dyn Checkpointed)],
        stages: &Value,
    ) -> Result<(), StageError> {
        let lengths = self.sync_records();
        let saved = lengths.map_err(StageError::from).and_then(|lengths| {
            let state = State { cursor, lengths, stages: stages.clone() };
            checkpoint::save(&self.layout, &state, parts)
        });
        let name = step_name(cursor.global_step);
        let dir = saved.map_err(|source| StoreError::NotSaved {
            name: name.clone(),
            source: Box::new(source),
            previous: self.last_checkpoint.clone(),
        })?;
        self.last_checkpoint = Some(dir);
        self.note("checkpoint", json!({"checkpoint": name}))?;
        for phase in &self.record.info.phases[..cursor.phase.min(self.record.info.phases.len())] {
            disk::remove(&self.layout.best(phase))?;
        }
        checkpoint::retain(&self.layout, self.record.info.keep_checkpoints)?;
        Ok(rewind::drop_chunks(&self.layout, cursor.global_step)?)
    }

    fn last_checkpoint(&self) -> Option<PathBuf> {
        self.last_checkpoint.clone()
    }

    fn save_chunk(&mut self, policy_version: u64, key: &str, value: &Value) -> Result<(), StageError> {
        let path = self.chunk_file(policy_version, key);
        Ok(disk::replace(&path, value.to_string().as_bytes())?)
    }

    fn load_chunk(&self, policy_version: u64, key: &str) -> Option<Value> {
        let bytes = std::fs::read(self.chunk_file(policy_version, key)).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    fn save_kept(&mut self, phase: &str, groups: &[(JudgedGroup, Vec<Verdict>)]) -> Result<(), StageError> {
        Ok(records::write_kept(&self.layout.rejection(phase), groups)?)
    }

    fn load_kept(&self, phase: &str) -> Result<Vec<KeptAnswer>, StageError> {
        Ok(records::read_kept(&self.layout.rejection(phase))?)
    }

    fn save_report(
        &mut self,
        phase: &str,
        benchmark: &str,
        graded: &[GradedGroup],
        report: &Value,
    ) -> Result<(), StageError> {
        self.write_report(&self.layout.eval(phase).join(benchmark), graded, report)
    }

    fn save_validation(
        &mut self,
        phase: &str,
        step: u64,
        benchmark: &str,
        graded: &[GradedGroup],
        report: &Value,
    ) -> Result<(), StageError> {
        let dir = self.layout.validation(phase).join(step_name(step)).join(benchmark);
        self.write_report(&dir, graded, report)
    }

    fn save_best(&mut self, phase: &str, step: u64, policy: &dyn Checkpointed) -> Result<(), StageError> {
        let folder = self.layout.best(phase);
        disk::create_dir(&folder)?;
        checkpoint::save_policy(&folder, &step_name(step), policy)
    }

    fn best(&self, phase: &str, step: u64) -> Result<PathBuf, StageError> {
        let dir = self.layout.best(phase).join(step_name(step));
        match Manifest::verify(&dir) {
            Ok(()) => Ok(dir),
            Err(reason) => Err(StoreError::Damaged { path: dir, reason }.into()),
        }
    }

    fn drop_best(&mut self, phase: &str, keep: u64) -> Result<(), StageError> {
        for path in disk::entries(&self.layout.best(phase))? {
            if parse_step(&path) != Some(keep) {
                disk::remove(&path)?;
            }
        }
        Ok(())
    }

    fn keep_batch(
        &mut self,
        phase: &str,
        step: u64,
        failed: &FailedBatch<'_>,
        policy: &dyn Checkpointed,
    ) -> Result<PathBuf, StageError> {
        let dir = self.layout.non_finite(phase).join(step_name(step));
        let batch = KeptBatch {
            phase: phase.to_owned(),
            step,
            what: failed.what.to_owned(),
            diagnosis: failed.diagnosis.clone(),
            groups: failed.groups.to_vec(),
            policy: None,
        };
        batches::write(&self.layout, &dir, &batch, policy)?;
        Ok(dir)
    }

    fn phase_done(&mut self, phase: &str, policy: &dyn Checkpointed) -> Result<(), StageError> {
        if !self.record.info.keep_phases {
            return Ok(());
        }
        disk::create_dir(&self.layout.all_phases())?;
        self.export(policy, &self.layout.phase(phase))
    }

    fn check_replaced(&mut self, phase: &str, stages: &[&str]) -> Result<(), StageError> {
        let now: Vec<String> = stages.iter().map(|&stage| stage.to_owned()).collect();
        match self.record.replaced.get(phase) {
            None => {
                self.record.replaced.insert(phase.to_owned(), now);
                Ok(self.record.write(&self.layout)?)
            }
            Some(then) if *then == now => Ok(()),
            Some(then) => Err(StoreError::OtherStages(self.other_stages(phase, then, &now)).into()),
        }
    }

    fn finish(&mut self, policy: &dyn Checkpointed) -> Result<(), StageError> {
        self.sync_records()?;
        self.export(policy, &self.layout.final_dir())?;
        self.record.finished = true;
        self.record.write(&self.layout)?;
        disk::remove(&self.layout.partial())?;
        disk::remove(&self.layout.all_best())?;
        Ok(self.note("finish", json!({}))?)
    }

    fn is_finished(&self) -> bool {
        self.record.finished
    }
}

/// Adds the event `panic` to a run that this process works on and cannot reach any more.
pub fn note_panic(root: &Path, message: &str) -> Result<(), StoreError> {
    let event = json!({"time": clock::now(), "event": "panic", "message": message});
    let layout = Layout::new(root);
    if !layout.run_json().exists() {
        return Ok(());
    }
    disk::append_line(&layout.events(), &event.to_string())
}

fn refuse(changes: Vec<String>) -> Result<(), StoreError> {
    if changes.is_empty() { Ok(()) } else { Err(StoreError::InputsChanged { changes }) }
}

/// Whether a run has recorded, saved and finished nothing.
fn is_untouched(layout: &Layout) -> bool {
    let is_empty = |folder: &Path| disk::entries(folder).is_ok_and(|entries| entries.is_empty());
    RunRecord::read(layout).is_ok_and(|record| !record.finished)
        && disk::file_len(&layout.metrics()) == 0
        && layout.results().iter().all(|folder| is_empty(folder))
}

/// A line of `metrics.jsonl`: phase and step, then the numbers by name; a number that is not finite is `null`.
fn row(phase: &str, step: u64, metrics: &Metrics) -> String {
    let mut row = Map::new();
    row.insert("phase".into(), phase.into());
    row.insert("step".into(), step.into());
    for (name, value) in metrics.iter() {
        row.insert(name.to_owned(), value.into());
    }
    Value::Object(row).to_string()
}
