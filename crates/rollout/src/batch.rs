//! The groups that are being answered, each in a place of the cache.

use std::sync::Arc;

use reft_core::{Completion, FinishReason, Group, Sample, Seed, Support};
use reft_vlm::processor::Processor;

use crate::{
    cache::Newest,
    finish::Finish,
    sampler::{self, Drawn},
};

/// A group that is being answered.
pub(crate) struct OpenGroup {
    /// Where it stands among the samples.
    pub(crate) index: usize,
    pub(crate) sample: Arc<Sample>,
    pub(crate) prompt_ids: Vec<i64>,
    /// Whether the prompt ends inside a think block.
    pub(crate) think_opened: bool,
    /// The position of the first completion token.
    pub(crate) next_position: i64,
    /// Tokens after which its completions are cut.
    pub(crate) limit: usize,
    pub(crate) rows: Vec<Row>,
}

/// A completion that is being written.
#[derive(Default)]
pub(crate) struct Row {
    token_ids: Vec<i64>,
    logprobs: Vec<f32>,
    support: Option<Support>,
    finish: Option<FinishReason>,
}

/// A draw whose log-probability is not a number.
pub(crate) struct NonFinite {
    pub(crate) sample: Arc<Sample>,
    pub(crate) token: usize,
}

/// Groups in the places of a cache. Slot `m` is completion `m % group_size` of place `m / group_size`.
pub(crate) struct Batch {
    group_size: usize,
    places: Vec<Option<OpenGroup>>,
    /// By index.
    done: Vec<Option<Group>>,
}

impl Batch {
    pub(crate) fn new(places: usize, group_size: usize, n_samples: usize) -> Self {
        Self {
            group_size,
            places: (0..places).map(|_| None).collect(),
            done: (0..n_samples).map(|_| None).collect(),
        }
    }

    pub(crate) fn free_places(&self) -> Vec<usize> {
        (0..self.places.len()).filter(|&n| self.places[n].is_none()).collect()
    }

    pub(crate) fn enter(&mut self, place: usize, group: OpenGroup) {
        self.places[place] = Some(group);
    }

    /// The slots of some places.
    pub(crate) fn slots_of(&self, places: &[usize]) -> Vec<usize> {
        places.iter().flat_map(|n| n * self.group_size..(n + 1) * self.group_size).collect()
    }

    /// The slots of completions that are not finished, ascending.
    pub(crate) fn live_slots(&self) -> Vec<usize> {
        let groups = self.places.iter().enumerate().filter_map(|(n, group)| Some((n, group.as_ref()?)));
        let live = groups.flat_map(|(n, group)| {
            let rows = group.rows.iter().enumerate().filter(|(_, row)| row.finish.is_none());
            rows.map(move |(c, _)| n * self.group_size + c)
        });
        live.collect()
    }

    fn rows<'a>(&'a self, slots: &'a [usize]) -> impl Iterator<Item = (&'a OpenGroup, usize, &'a Row)> {
        slots.iter().filter_map(|&slot| {
            let group = self.places[slot / self.group_size].as_ref()?;
            let completion = slot % self.group_size;
            Some((group, completion, &group.rows[completion]))
        })
    }

    /// What the draw of the next token depends on, for each of some slots.
    pub(crate) fn draws<'a>(&'a self, slots: &'a [usize], seed: Seed) -> Vec<sampler::Row<'a>> {
        let draw = |(group, completion, row): (&'a OpenGroup, usize, &'a Row)| sampler::Row {
            uniform: seed.at(&group.sample.id).at(completion).at(row.token_ids.len()).uniform(),
            prompt: &group.prompt_ids,
            drawn: &row.token_ids,
        };
        self.rows(slots).map(draw).collect()
    }

    /// The newest token of some completions.
    pub(crate) fn newest(&self, slots: Vec<usize>) -> Newest {
        let of_row = |(group, _, row): (&OpenGroup, usize, &Row)| {
            let newest = row.token_ids.last().copied()?;
            Some((newest, group.next_position + row.token_ids.len() as i64 - 1))
        };
        let (tokens, positions) = self.rows(&slots).filter_map(of_row).unzip();
        Newest { slots, tokens, positions }
    }

    /// Appends a token to each of some completions. Groups whose last completion ends leave their places. Returns how
    /// many completions ended.
    pub(crate) fn push(
        &mut self,
        slots: &[usize],
        drawn: Vec<Drawn>,
        finish: &Finish<'_>,
        processor: &Processor,
    ) -> Result<usize, NonFinite> {
        let mut n_finished = 0;
        for (&slot, drawn) in slots.iter().zip(drawn) {
            let Some(group) = &mut self.places[slot / self.group_size] else { continue };
            let row = &mut group.rows[slot % self.group_size];
            if !drawn.logprob.is_finite() {
                return Err(NonFinite { sample: Arc::clone(&group.sample), token: row.token_ids.len() });
            }
            row.token_ids.push(drawn.token);
            row.logprobs.push(drawn.logprob);
            if let Some(limit) = drawn.limit {
                row.support.get_or_insert_default().push(limit.as_slice());
            }
            row.finish = finish.of(&row.token_ids, group.limit);
            n_finished += usize::from(row.finish.is_some());
        }
        if n_finished > 0 {
            for place in &mut self.places {
                if let Some(group) = place.take_if(|group| group.rows.iter().all(|row| row.finish.is_some()))
                {
                    let index = group.index;
                    self.done[index] = Some(group.close(processor));
                }
            }
        }
        Ok(n_finished)
    }

    /// The finished groups, in the order of the samples.
    pub(crate) fn into_groups(self) -> Vec<Group> {
        self.done.into_iter().flatten().collect()
    }
}

impl OpenGroup {
    fn close(self, processor: &Processor) -> Group {
        let completion = |row: Row| Completion {
            text: processor.decode(&row.token_ids),
            token_ids: row.token_ids,
            logprobs: row.logprobs,
            finish: row.finish.unwrap_or(FinishReason::Length),
            think_opened: self.think_opened,
            support: row.support,
        };
        Group {
            sample: self.sample,
            prompt_tokens: self.prompt_ids.len(),
            completions: self.rows.into_iter().map(completion).collect(),
            // Set by the loop that knows how many updates the policy has seen.
            policy_version: 0,
            temperature: None,
        }
    }
}
