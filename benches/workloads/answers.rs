//! Answers that nobody wrote, for benches of the training half alone.

use std::sync::Arc;

use rand::Rng as _;
use reft_core::{Completion, FinishReason, Group, RewardParts, Sample, ScoredGroup, Seed, Verdict};
use reft_vlm::Vlm;

/// So many answers of so many random tokens, half of them better than the others.
pub(crate) fn answered(sample: Arc<Sample>, model: &Vlm, group_size: usize, length: usize) -> ScoredGroup {
    let control = model.processor().control_token_ids();
    let mut rng = Seed::new(2).at(&sample.id.to_string()[..]).rng();
    let tokens: Vec<i64> =
        (0..model.processor().tokenizer().vocab_size() as i64).filter(|id| !control.contains(id)).collect();
    let logprob = -(tokens.len() as f32).ln();
    let completions: Vec<Completion> = (0..group_size)
        .map(|_| Completion {
            text: String::new(),
            token_ids: (0..length).map(|_| tokens[rng.random_range(0..tokens.len())]).collect(),
            logprobs: vec![logprob; length],
            finish: FinishReason::Length,
            think_opened: false,
            support: None,
        })
        .collect();
    let rewards = vec![RewardParts::default(); completions.len()];
    let advantages = (0..completions.len()).map(|i| if i % 2 == 0 { 1.0 } else { -1.0 }).collect();
    let prompt_tokens = model.processor().count_prompt_tokens(&sample.messages).unwrap();
    let group = Group { sample, prompt_tokens, completions, policy_version: None, temperature: None };
    ScoredGroup { group, rewards, advantages, verdict: Verdict::Admit }
}
