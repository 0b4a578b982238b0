//! Answers that are kept as they come, so that a long `reft generate` or `reft eval` that was stopped goes on where it was.
//!
//! They stand beside the output, in `OUTPUT.kept`: a line that says what was asked of which model, then a line for each
//! question. With the same model, input and settings they are taken over; the file is gone when the output is there.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use reft_config::ModelConfig;
use reft_core::{Completion, Group, Progress, RolloutEngine, Sample, SampleId, SamplingParams, StageError};
use reft_eval::prompt_hash;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::Error;

/// An engine that keeps what it has answered.
pub(crate) struct KeepingEngine<E> {
    inner: E,
    path: PathBuf,
    file: File,
    kept: BTreeMap<SampleId, Answers>,
}

/// The answers to a question.
#[derive(Clone, Serialize, Deserialize)]
struct Answers {
    sample: SampleId,
    /// Hash of the prompt: the same question in other words is another one.
    prompt: String,
    prompt_tokens: usize,
    completions: Vec<Completion>,
}

impl<E> KeepingEngine<E> {
    /// With the answers that an earlier call for the same output has kept, if it asked the same of the same: `who` says
    /// of whom.
    pub(crate) fn open(
        output: &Path,
        inner: E,
        who: &Value,
        input: &Path,
        params: &SamplingParams,
    ) -> Result<Self, Error> {
        let mut path = output.as_os_str().to_owned();
        path.push(".kept");
        let path = PathBuf::from(path);
        let fail =
            |error: &dyn std::fmt::Display| Error::File { path: path.clone(), message: error.to_string() };
        let asked = json!({"who": who, "input": state_of(input), "sampling": params});
        let kept = read(&path, &asked);
        let file = if kept.is_empty() {
            let mut file = File::create(&path).map_err(|e| fail(&e))?;
            writeln!(file, "{asked}").map_err(|e| fail(&e))?;
            file
        } else {
            OpenOptions::new().append(true).open(&path).map_err(|e| fail(&e))?
        };
        Ok(Self { inner, path, file, kept })
    }

    /// What to say when the work on so many questions has failed or was stopped.
    pub(crate) fn explain(&self, error: StageError, questions: usize) -> Error {
        match error {
            StageError::Interrupted => {
                Error::Interrupted { kept: self.kept.len(), questions, path: self.path.clone() }
            }
            error => error.into(),
        }
    }

    /// The output is there.
    pub(crate) fn finish(self) -> Result<(), Error> {
        fs::remove_file(&self.path)
            .map_err(|error| Error::File { path: self.path.clone(), message: error.to_string() })
    }

    fn keep(&mut self, group: &Group) -> io::Result<()> {
        let answers = Answers {
            sample: group.sample.id.clone(),
            prompt: prompt_hash(&group.sample),
            prompt_tokens: group.prompt_tokens,
            completions: group.completions.clone(),
        };
        // One call, so that a kill can tear at most the last line.
        self.file.write_all(format!("{}\n", serde_json::to_string(&answers)?).as_bytes())?;
        self.kept.insert(answers.sample.clone(), answers);
        Ok(())
    }
}

impl<P: ?Sized, E: RolloutEngine<P>> RolloutEngine<P> for KeepingEngine<E> {
    fn generate(
        &mut self,
        policy: &P,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
        progress: Progress<'_>,
    ) -> Result<Vec<Group>, StageError> {
        let is_kept = |sample: &&Arc<Sample>| {
            self.kept.get(&sample.id).is_some_and(|answers| answers.prompt == prompt_hash(sample))
        };
        let missing: Vec<Arc<Sample>> = samples.iter().filter(|sample| !is_kept(sample)).cloned().collect();
        let (there, total) =
            ((samples.len() - missing.len()) * params.group_size, samples.len() * params.group_size);
        for group in
            self.inner.generate(policy, &missing, params, &mut |done, _| progress(there + done, total))?
        {
            self.keep(&group).map_err(|error| StageError::file(&self.path, error))?;
        }
        let of_sample = |sample: &Arc<Sample>| {
            let answers = self.kept.get(&sample.id)?;
            Some(Group {
                sample: Arc::clone(sample),
                prompt_tokens: answers.prompt_tokens,
                completions: answers.completions.clone(),
                policy_version: None,
                temperature: None,
            })
        };
        Ok(samples.iter().filter_map(of_sample).collect())
    }
}

/// A model of this process, by its files and its settings.
pub(crate) fn of_model(model: &ModelConfig) -> Value {
    json!({"model": state_of(&model.path), "settings": model})
}

/// What the file system knows of a file, or of a folder's files, without reading them.
fn state_of(path: &Path) -> Value {
    let mut files: Vec<PathBuf> = match fs::read_dir(path) {
        Ok(entries) => entries.flatten().map(|entry| entry.path()).collect(),
        Err(_) => vec![path.to_owned()],
    };
    files.sort();
    let state = files.iter().map(|file| {
        let meta = fs::metadata(file).ok();
        let time = meta.as_ref().and_then(|meta| meta.modified().ok());
        json!([file, meta.map(|meta| meta.len()), format!("{time:?}")])
    });
    state.collect()
}

/// The answers in a file that begins with the same question; none where there is no such file.
fn read(path: &Path, asked: &Value) -> BTreeMap<SampleId, Answers> {
    let Ok(text) = fs::read_to_string(path) else { return BTreeMap::new() };
    let mut lines = text.lines();
    if lines.next().and_then(|line| serde_json::from_str::<Value>(line).ok()).as_ref() != Some(asked) {
        return BTreeMap::new();
    }
    // A last line that was torn is asked again.
    let answers = lines.filter_map(|line| serde_json::from_str::<Answers>(line).ok());
    answers.map(|answers| (answers.sample.clone(), answers)).collect()
}
