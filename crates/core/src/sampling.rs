//! How completions are drawn.

use serde::{Deserialize, Serialize};

use crate::Seed;

/// The distribution to sample from and where its random numbers come from.
///
/// Logits become a distribution in the order of `generate` in transformers: tokens that are never drawn out, repetition
/// penalty, presence penalty, end tokens before `min_new_tokens` out, temperature, top-k, top-p, min-p.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SamplingParams {
    /// Completions per prompt (G).
    pub group_size: usize,
    /// Softmax temperature; 0 takes the most likely token (greedy) and truncates nothing.
    pub temperature: f32,
    /// Keep the smallest set of tokens whose probability reaches this; 1 keeps all.
    pub top_p: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the tokens whose probability is at least this share of the most likely one's; 0 keeps all.
    pub min_p: f32,
    /// Divides positive logits of tokens that prompt or completion hold, multiplies negative ones; 1 changes nothing.
    pub repetition_penalty: f32,
    /// Taken from the logits of tokens that the completion holds; 0 changes nothing.
    pub presence_penalty: f32,
    /// Taken from the logits of tokens that the completion holds, as often as each does; 0 changes nothing.
    pub frequency_penalty: f32,
    /// Tokens after which a completion is cut.
    pub max_new_tokens: usize,
    /// Tokens before which a completion does not end: neither end tokens nor stop strings count.
    pub min_new_tokens: usize,
    /// A completion ends when its text holds one of these; the string stays in the text.
    pub stop: Vec<String>,
    /// Strings that are one token each, which is never drawn.
    pub banned: Vec<String>,
    /// Ids of tokens that are never drawn.
    pub banned_ids: Vec<u32>,
    /// The place of this call (run seed, phase, step). Sample, completion and token are mixed in by the engine, so each
    /// completion has random numbers of its own.
    pub seed: Seed,
}

impl SamplingParams {
    /// One greedy completion per prompt, as evaluation uses it.
    pub fn greedy(max_new_tokens: usize) -> Self {
        Self { group_size: 1, temperature: 0.0, ..Self::plain(max_new_tokens) }
    }

    /// One completion per prompt from the model's own distribution.
    pub fn plain(max_new_tokens: usize) -> Self {
        Self {
            group_size: 1,
            temperature: 1.0,
            top_p: 1.0,
            top_k: 0,
            min_p: 0.0,
            repetition_penalty: 1.0,
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            max_new_tokens,
            min_new_tokens: 0,
            stop: Vec::new(),
            banned: Vec::new(),
            banned_ids: Vec::new(),
            seed: Seed::new(0),
        }
    }

    /// Settings out of their range: the field, and what is wrong with it.
    pub fn problems(&self) -> Vec<(&'static str, String)> {
        let mut problems = Vec::new();
        let mut check = |holds: bool, field, message: String| {
            if !holds {
                problems.push((field, message));
            }
        };
        // Written so that NaN, which no range contains, is refused too.
        let numbers = [
            ("temperature", self.temperature, 0.0, f32::MAX, "0 or above"),
            ("top_p", self.top_p, f32::MIN_POSITIVE, 1.0, "above 0 and at most 1"),
            ("min_p", self.min_p, 0.0, 1.0, "from 0 to 1"),
            (
                "repetition_penalty",
                self.repetition_penalty,
                f32::MIN_POSITIVE,
                f32::MAX,
                "above 0; 1 changes nothing",
            ),
            ("presence_penalty", self.presence_penalty, -2.0, 2.0, "from -2 to 2"),
            ("frequency_penalty", self.frequency_penalty, -2.0, 2.0, "from -2 to 2"),
        ];
        for (field, value, low, high, words) in numbers {
            check((low..=high).contains(&value), field, format!("`{value}` must be {words}"));
        }
        let same = self.temperature == 0.0 && self.group_size > 1;
        check(
            !same,
            "temperature",
            "is 0, so all completions of a question would be the same; raise it or ask for one completion"
                .to_owned(),
        );
        let (min, max) = (self.min_new_tokens, self.max_new_tokens);
        check(self.group_size > 0, "group_size", "must be at least 1".to_owned());
        check(max > 0, "max_new_tokens", "must be at least 1".to_owned());
        check(min <= max, "min_new_tokens", format!("`{min}` is above `max_new_tokens` = {max}"));
        for (field, strings) in [("stop", &self.stop), ("banned", &self.banned)] {
            check(!strings.iter().any(String::is_empty), field, "holds an empty string".to_owned());
        }
        problems
    }

    /// Whether some token that the policy may write may be out of reach of a draw, so that
    /// [`Completion::support`](crate::Completion::support) is recorded.
    pub fn limits_support(&self) -> bool {
        let truncates = self.top_p < 1.0 || self.top_k > 0 || self.min_p > 0.0;
        (truncates && self.temperature > 0.0)
            || self.min_new_tokens > 0
            || !self.banned.is_empty()
            || !self.banned_ids.is_empty()
    }
}
