//! A benchmark over samples, graded by the rewards that training uses.

use std::{collections::BTreeMap, sync::Arc};

use reft_config::RewardConfig;
use reft_core::{
    Benchmark, BoxFrame, Completion, Form, GradedGroup, Mark, PixelBudget, Reward, Sample, StageError, Task,
};
use reft_reward::{Accuracy, Format, Reply};
use serde_json::Value;

use crate::{
    Baselines, EvalError, EvalReport,
    report::{Marks, Score, ScoreRow},
    vote::majority,
};

/// Questions of any task and form. A grade is 1 where the accuracy reward pays in full, else 0: a box above the
/// threshold, exactly the right classes, exactly the right letters. Partial credit is reported beside it.
pub struct TaskBenchmark {
    name: String,
    samples: Vec<Arc<Sample>>,
    accuracy: Accuracy,
    answer_frame: BoxFrame,
    baselines: Option<Baselines>,
}

impl TaskBenchmark {
    /// A benchmark over samples. `budget` is needed only where the model writes boxes in model-input pixels.
    pub fn new(
        name: impl Into<String>,
        samples: Vec<Arc<Sample>>,
        config: &RewardConfig,
        budget: Option<PixelBudget>,
    ) -> Result<Self, EvalError> {
        let name = name.into();
        if samples.is_empty() {
            return Err(EvalError::Empty { benchmark: name });
        }
        let short_answers =
            samples.iter().all(|sample| (sample.task, sample.form) == (Task::Vqa, Form::Open));
        let baselines = short_answers.then(|| Baselines::of_samples(&samples)).flatten();
        Ok(Self {
            name,
            samples,
            accuracy: Accuracy::decisive(config, budget),
            answer_frame: config.answer_frame.0,
            baselines,
        })
    }

    /// The report of all graded questions.
    pub fn evaluate(&self, graded: &[GradedGroup]) -> Result<EvalReport, StageError> {
        let mut overall = Marks::default();
        let mut parts: BTreeMap<(Task, Form), Marks> = BTreeMap::new();
        for group in graded {
            let sample = &group.group.sample;
            let mut reward = 0.0;
            let mut format = 0.0;
            for completion in &group.group.completions {
                reward += f64::from(self.accuracy.score(sample, completion)?);
                format += f64::from(Format.score(sample, completion)?);
            }
            // A single answer is its own majority.
            let vote = match group.group.completions.as_slice() {
                [] | [_] => None,
                several => majority(&self.accuracy, self.answer_frame, sample, several),
            };
            for marks in [&mut overall, parts.entry((sample.task, sample.form)).or_default()] {
                marks.add(&group.marks, vote, reward, format);
            }
        }
        let rows =
            parts.into_iter().map(|((task, form), marks)| ScoreRow { task, form, score: marks.score() });
        Ok(EvalReport {
            benchmark: self.name.clone(),
            overall: overall.score(),
            rows: rows.collect(),
            baselines: self.baselines.clone(),
            published: None,
            against: None,
        })
    }

    /// The overall score alone.
    pub fn score(&self, graded: &[GradedGroup]) -> Result<Score, StageError> {
        Ok(self.evaluate(graded)?.overall)
    }
}

impl Benchmark for TaskBenchmark {
    fn name(&self) -> &str {
        &self.name
    }

    fn samples(&self) -> &[Arc<Sample>] {
        &self.samples
    }

    fn grade(&self, sample: &Sample, completion: &Completion) -> Result<Mark, StageError> {
        let right = self.accuracy.score(sample, completion)? >= 1.0;
        Ok(Mark::of(Reply::of(completion).answer.map(str::to_owned), right))
    }

    fn report(&self, graded: &[GradedGroup]) -> Result<Value, StageError> {
        serde_json::to_value(self.evaluate(graded)?)
            .map_err(|error| StageError::other("evaluation report", error))
    }
}
