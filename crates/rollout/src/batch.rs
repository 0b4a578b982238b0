//! The groups that are being answered, each in a group slot of the cache.

use std::sync::Arc;

use reft_core::{Group, Sample, Seed};
use reft_vlm::processor::Processor;

use crate::{
    cache::Newest,
    finish::Finish,
    open::{self, OpenCompletion},
    sampler::{Drawn, Waiting, uniform},
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
    pub(crate) completions: Vec<OpenCompletion>,
}

/// A draw whose log-probability is not a number: of which sample, and which token it would have been.
pub(crate) struct NonFinite {
    pub(crate) sample: Arc<Sample>,
    pub(crate) token: usize,
}

/// Groups in the group slots of a cache. Slot `m` is completion `m % group_size` of group slot `m / group_size`.
pub(crate) struct Batch {
    group_size: usize,
    group_slots: Vec<Option<OpenGroup>>,
    /// By index.
    done: Vec<Option<Group>>,
}

impl Batch {
    pub(crate) fn new(group_slots: usize, group_size: usize, n_samples: usize) -> Self {
        Self {
            group_size,
            group_slots: (0..group_slots).map(|_| None).collect(),
            done: (0..n_samples).map(|_| None).collect(),
        }
    }

    pub(crate) fn free_group_slots(&self) -> Vec<usize> {
        (0..self.group_slots.len()).filter(|&n| self.group_slots[n].is_none()).collect()
    }

    pub(crate) fn enter(&mut self, group_slot: usize, group: OpenGroup) {
        self.group_slots[group_slot] = Some(group);
    }

    /// The slots of some group slots.
    pub(crate) fn slots_of(&self, group_slots: &[usize]) -> Vec<usize> {
        group_slots.iter().flat_map(|n| n * self.group_size..(n + 1) * self.group_size).collect()
    }

    /// The slots of completions that are not finished, ascending.
    pub(crate) fn live_slots(&self) -> Vec<usize> {
        let groups = self.group_slots.iter().enumerate().filter_map(|(n, group)| Some((n, group.as_ref()?)));
        let live = groups.flat_map(|(n, group)| {
            let rows = group.completions.iter().enumerate().filter(|(_, row)| !row.has_ended());
            rows.map(move |(c, _)| n * self.group_size + c)
        });
        live.collect()
    }

    fn rows<'a>(
        &'a self,
        slots: &'a [usize],
    ) -> impl Iterator<Item = (&'a OpenGroup, usize, &'a OpenCompletion)> {
        slots.iter().filter_map(|&slot| {
            let group = self.group_slots[slot / self.group_size].as_ref()?;
            let completion = slot % self.group_size;
            Some((group, completion, &group.completions[completion]))
        })
    }

    /// What the draw of the next token depends on, for each of some slots.
    pub(crate) fn draws<'a>(&'a self, slots: &'a [usize], seed: Seed) -> Vec<Waiting<'a>> {
        let draw = |(group, completion, row): (&'a OpenGroup, usize, &'a OpenCompletion)| Waiting {
            uniform: uniform(seed, &group.sample.id, completion, row.token_ids.len()),
            prompt: &group.prompt_ids,
            drawn: &row.token_ids,
        };
        self.rows(slots).map(draw).collect()
    }

    /// The newest token of some completions.
    pub(crate) fn newest(&self, slots: Vec<usize>) -> Newest {
        let of_row = |(group, _, row): (&OpenGroup, usize, &OpenCompletion)| {
            let newest = row.token_ids.last().copied()?;
            Some((newest, group.next_position + row.token_ids.len() as i64 - 1))
        };
        let (tokens, positions) = self.rows(&slots).filter_map(of_row).unzip();
        Newest { slots, tokens, positions }
    }

    /// Appends a token to each of some completions. Groups whose last completion ends leave their group slots. Returns how
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
            let Some(group) = &mut self.group_slots[slot / self.group_size] else { continue };
            let row = &mut group.completions[slot % self.group_size];
            let ended = row.push(drawn.token, drawn.logprob, drawn.limit.as_ref(), finish, group.limit);
            let ended = ended.map_err(|open::NonFinite { token }| NonFinite {
                sample: Arc::clone(&group.sample),
                token,
            })?;
            n_finished += usize::from(ended);
        }
        if n_finished > 0 {
            for group_slot in &mut self.group_slots {
                if let Some(group) =
                    group_slot.take_if(|group| group.completions.iter().all(OpenCompletion::has_ended))
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
        Group {
            sample: self.sample,
            prompt_tokens: self.prompt_ids.len(),
            completions: self
                .completions
                .into_iter()
                .map(|row| row.close(processor, self.think_opened))
                .collect(),
            policy_version: None,
            temperature: None,
        }
    }
}
