//! A synthetic learner with a skill per task: what curricula and filters are tried on, in microseconds a step.

use std::{collections::BTreeMap, sync::Arc};

use reft_core::{
    BoxFrame, Completion, FinishReason, Form, Group, RewardParts, Sample, SamplingParams, ScoredGroup, Task,
    Verdict,
};

/// Answers a sample of difficulty `d` right with probability `g + (1 - g) sigma(skill - d)`, `g` the chance of guessing
/// its form right (binary 1/2, choice 1/4, open 0).
///
/// A group teaches as policy gradients do: nothing when all its answers are equal, else in proportion to the slope of
/// the probability, `rate * 4 sigma (1 - sigma)`, whatever the task's difficulty. Skill grows by the mean over the
/// groups trained on, and one skill serves all forms of a task, so easy forms prepare for hard ones.
/// Right answers have [`Student::RIGHT_TOKENS`] tokens; wrong ones ramble until they are cut.
#[derive(Clone, Debug)]
pub struct Student {
    skills: BTreeMap<Task, f64>,
    rate: f64,
}

impl Student {
    /// Tokens of a right answer.
    pub const RIGHT_TOKENS: usize = 32;

    /// A student of skill 0 in everything.
    pub fn new(rate: f64) -> Self {
        Self { skills: BTreeMap::new(), rate }
    }

    /// The skill in a task.
    pub fn skill(&self, task: Task) -> f64 {
        self.skills.get(&task).copied().unwrap_or(0.0)
    }

    /// The probability of a right answer.
    pub fn probability(&self, sample: &Sample) -> f64 {
        let guess = guess(sample.form);
        guess + (1.0 - guess) * self.knows(sample)
    }

    /// Answers with rewards 0 and 1 and advantages normalised within the group. Draws depend on seed, sample and index alone.
    pub fn answer(&self, samples: &[Arc<Sample>], params: &SamplingParams) -> Vec<ScoredGroup> {
        samples.iter().map(|sample| self.group(sample, params)).collect()
    }

    /// Learns from the admitted groups.
    pub fn learn(&mut self, groups: &[ScoredGroup]) {
        let admitted = groups.iter().filter(|group| group.is_admitted()).count();
        let mut gains: BTreeMap<Task, f64> = BTreeMap::new();
        for scored in groups.iter().filter(|group| group.is_admitted()) {
            let sample = &scored.group.sample;
            let knows = self.knows(sample);
            let differs = scored.advantages.iter().any(|&a| a != 0.0);
            *gains.entry(sample.task).or_default() += f64::from(differs) * 4.0 * knows * (1.0 - knows);
        }
        for (task, gain) in gains {
            *self.skills.entry(task).or_default() += self.rate * gain / admitted as f64;
        }
    }

    /// The probability of knowing rather than guessing.
    fn knows(&self, sample: &Sample) -> f64 {
        1.0 / (1.0 + (difficulty(sample) - self.skill(sample.task)).exp())
    }

    fn group(&self, sample: &Arc<Sample>, params: &SamplingParams) -> ScoredGroup {
        let p = self.probability(sample);
        let seed = params.seed.at(&sample.id);
        let right = (0..params.group_size).map(|index| seed.at(index).uniform() < p);
        let right: Vec<bool> = right.collect();
        let rewards: Vec<f32> = right.iter().map(|&right| f32::from(right)).collect();
        ScoredGroup {
            advantages: normalised(&rewards),
            rewards: rewards.iter().map(|&reward| RewardParts::single("accuracy", reward)).collect(),
            group: Group {
                sample: Arc::clone(sample),
                prompt_tokens: 1,
                completions: right.iter().map(|&right| completion(right, params.max_new_tokens)).collect(),
                policy_version: None,
                temperature: None,
            },
            verdict: Verdict::Admit,
        }
    }
}

/// A sample for [`Student`], named after what makes it up.
pub fn exercise(task: Task, form: Form, difficulty: f64, index: usize) -> Arc<Sample> {
    Arc::new(Sample {
        id: format!("{task}-{form}-{difficulty}-{index}").into(),
        task,
        form,
        problem: difficulty.to_string(),
        messages: Vec::new(),
        solution: String::new(),
        box_frame: BoxFrame::default(),
        parent: None,
    })
}

/// The difficulty of an [`exercise`]; 0 for other samples.
fn difficulty(sample: &Sample) -> f64 {
    sample.problem.parse().unwrap_or(0.0)
}

fn guess(form: Form) -> f64 {
    match form {
        Form::Binary => 0.5,
        Form::Choice => 0.25,
        Form::Open => 0.0,
    }
}

fn completion(right: bool, max_new_tokens: usize) -> Completion {
    let (tokens, finish) = if right && max_new_tokens >= Student::RIGHT_TOKENS {
        (Student::RIGHT_TOKENS, FinishReason::Stop)
    } else {
        (max_new_tokens, FinishReason::Length)
    };
    Completion { token_ids: vec![0; tokens], finish, ..Completion::from_text("") }
}

/// `(r - mean) / std`, population standard deviation; zeros when all are equal.
fn normalised(rewards: &[f32]) -> Vec<f32> {
    let n = rewards.len() as f32;
    let mean = rewards.iter().sum::<f32>() / n;
    let std = (rewards.iter().map(|r| (r - mean).powi(2)).sum::<f32>() / n).sqrt();
    rewards.iter().map(|r| if std > 0.0 { (r - mean) / std } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use reft_core::Seed;

    use super::*;

    #[test]
    fn it_answers_by_skill_and_learns_where_answers_differ() {
        let params = SamplingParams { group_size: 1000, seed: Seed::new(1), ..SamplingParams::greedy(64) };
        let samples = [
            exercise(Task::Math, Form::Open, 0.0, 0),
            exercise(Task::Math, Form::Binary, 50.0, 0),
            exercise(Task::Vqa, Form::Open, 50.0, 0),
        ];
        let mut student = Student::new(0.1);
        let groups = student.answer(&samples, &params);
        // Known half the time, guessed half the time, never answered: five standard deviations are 0.08.
        for (group, expected) in groups.iter().zip([0.5, 0.5, 0.0]) {
            assert!((group.pass_rate() - expected).abs() < 0.08, "{}", group.pass_rate());
        }
        student.learn(&groups);
        // Of three groups only the first has slope: 0.1 * (1 + 0) / 3 in its task, nothing in the other.
        assert!((student.skill(Task::Math) - 0.1 / 3.0).abs() < 1e-9, "{}", student.skill(Task::Math));
        assert_eq!(student.skill(Task::Vqa), 0.0);
    }
}
