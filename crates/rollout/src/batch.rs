//! The completions of a batch while they grow.

use std::sync::Arc;

use reft_core::{Completion, FinishReason, Group, Sample, Seed, Support};
use reft_vlm::processor::Processor;
use tch::{Device, Tensor};

use crate::{
    cache::KvCache,
    finish::Finish,
    sampler::{self, Drawn},
};

/// Share of a batch that must have ended before it is worth moving the rest together.
const COMPACT_ABOVE: f64 = 0.125;

/// A group that is being answered.
pub(crate) struct OpenGroup {
    pub(crate) sample: Arc<Sample>,
    pub(crate) prompt_ids: Vec<i64>,
    /// The position of the first completion token.
    pub(crate) next_position: i64,
    /// Tokens after which its completions are cut.
    pub(crate) limit: usize,
}

/// A completion that is being written.
struct Row {
    group: usize,
    completion: usize,
    token_ids: Vec<i64>,
    logprobs: Vec<f32>,
    support: Option<Support>,
    finish: Option<FinishReason>,
}

/// The completions of some groups; all that are not finished are equally long.
pub(crate) struct Batch {
    groups: Vec<OpenGroup>,
    /// In the cache, in its order: by group.
    rows: Vec<Row>,
    /// Groups in the cache, in its order.
    cached_groups: Vec<usize>,
    /// Out of the cache.
    done: Vec<Row>,
    n_tokens: usize,
}

impl Batch {
    pub(crate) fn new(groups: Vec<OpenGroup>, group_size: usize) -> Self {
        let row = |group, completion| Row {
            group,
            completion,
            token_ids: Vec::new(),
            logprobs: Vec::new(),
            support: None,
            finish: None,
        };
        let rows = (0..groups.len()).flat_map(|g| (0..group_size).map(move |c| row(g, c))).collect();
        Self { cached_groups: (0..groups.len()).collect(), groups, rows, done: Vec::new(), n_tokens: 0 }
    }

    /// `[m]` group of each completion.
    pub(crate) fn owners(&self) -> Vec<i64> {
        self.rows.iter().map(|row| row.group as i64).collect()
    }

    /// `[m]` what the draw of each completion's next token depends on.
    pub(crate) fn rows(&self, seed: Seed) -> Vec<sampler::Row<'_>> {
        let row = |row| {
            let Row { group, completion, token_ids, .. }: &Row = row;
            let group = &self.groups[*group];
            sampler::Row {
                uniform: seed.at(&group.sample.id).at(*completion).at(self.n_tokens).uniform(),
                prompt: &group.prompt_ids,
                drawn: token_ids,
            }
        };
        self.rows.iter().map(row).collect()
    }

    /// Appends one token to each completion that is not finished; returns how many finished with it.
    pub(crate) fn push(&mut self, drawn: Vec<Drawn>, finish: &Finish<'_>) -> usize {
        self.n_tokens += 1;
        let mut n_finished = 0;
        for (row, drawn) in self.rows.iter_mut().zip(drawn).filter(|(row, _)| row.finish.is_none()) {
            row.token_ids.push(drawn.token);
            row.logprobs.push(drawn.logprob);
            if let Some(limit) = drawn.limit {
                row.support.get_or_insert_default().push(limit.as_slice());
            }
            row.finish = finish.of(&row.token_ids, self.groups[row.group].limit);
            n_finished += usize::from(row.finish.is_some());
        }
        n_finished
    }

    /// A completion whose newest log-probability is not a number.
    pub(crate) fn non_finite(&self) -> Option<&Arc<Sample>> {
        let newest_is_bad = |row: &&Row| row.logprobs.last().is_some_and(|p| !p.is_finite());
        self.rows.iter().find(newest_is_bad).map(|row| &self.groups[row.group].sample)
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.rows.iter().all(|row| row.finish.is_some())
    }

    /// Moves finished completions out of batch and cache when they are many.
    pub(crate) fn compact(&mut self, cache: &mut KvCache) {
        let n_finished = self.rows.iter().filter(|row| row.finish.is_some()).count();
        if (n_finished as f64) <= COMPACT_ABOVE * self.rows.len() as f64 {
            return;
        }
        let kept: Vec<i64> =
            (0..self.rows.len()).filter(|&i| self.rows[i].finish.is_none()).map(|i| i as i64).collect();
        let (live, done): (Vec<Row>, Vec<Row>) = self.rows.drain(..).partition(|row| row.finish.is_none());
        self.rows = live;
        self.done.extend(done);

        let n_rows_of = |group: usize| self.rows.iter().filter(|row| row.group == group).count() as i64;
        let live_groups: Vec<i64> = (0..self.cached_groups.len())
            .filter(|&n| n_rows_of(self.cached_groups[n]) > 0)
            .map(|n| n as i64)
            .collect();
        self.cached_groups = live_groups.iter().map(|&n| self.cached_groups[n as usize]).collect();
        let rows_n: Vec<i64> = self.cached_groups.iter().map(|&group| n_rows_of(group)).collect();
        cache.retain(&kept, &live_groups, &rows_n);
    }

    /// `[m]` the newest token of each completion, and `[3, m]` its position.
    pub(crate) fn next_input(&self, device: Device) -> (Tensor, Tensor) {
        let newest: Vec<i64> = self.rows.iter().filter_map(|row| row.token_ids.last().copied()).collect();
        let position = |row: &Row| self.groups[row.group].next_position + self.n_tokens as i64 - 1;
        let positions: Vec<i64> = self.rows.iter().map(position).collect();
        let positions = Tensor::from_slice(&positions).to_device(device).unsqueeze(0).expand([3, -1], false);
        (Tensor::from_slice(&newest).to_device(device), positions)
    }

    /// The finished groups, completions in order.
    pub(crate) fn into_groups(mut self, processor: &Processor) -> Vec<Group> {
        self.done.append(&mut self.rows);
        self.done.sort_by_key(|row| (row.group, row.completion));
        let mut rows = self.done.into_iter().peekable();
        let groups = self.groups.into_iter().enumerate();
        groups
            .map(|(n, group)| {
                let mut completions = Vec::new();
                while let Some(row) = rows.next_if(|row| row.group == n) {
                    completions.push(Completion {
                        text: processor.decode(&row.token_ids),
                        token_ids: row.token_ids,
                        logprobs: row.logprobs,
                        finish: row.finish.unwrap_or(FinishReason::Length),
                        support: row.support,
                    });
                }
                Group {
                    sample: group.sample,
                    prompt_tokens: group.prompt_ids.len(),
                    completions,
                    // Set by the loop that knows how many updates the policy has seen.
                    policy_version: 0,
                }
            })
            .collect()
    }
}
