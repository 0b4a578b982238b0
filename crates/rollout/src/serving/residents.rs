//! Prompts in the group slots of the cache, and the answers behind them.

use reft_kernels::KvPlan;
use reft_vlm::processor::{EncodedPrompt, ImageKey};
use tch::Tensor;

use super::OpenCompletion;

/// An answer that is being written.
pub(super) struct Answer {
    /// Of which request.
    pub(super) request: u64,
    /// Which of its answers.
    pub(super) index: usize,
    pub(super) row: OpenCompletion,
}

/// A prompt whose keys and values lie in a group slot.
struct Resident {
    token_ids: Vec<i64>,
    images: Vec<ImageKey>,
    /// The position of the first token of an answer, and the logits `[v]` that it is drawn from; none before the prompt is
    /// read.
    read: Option<(i64, Tensor)>,
    /// The request that came last.
    used: u64,
    answers: Vec<Option<Answer>>,
}

/// All group slots. Slot `m` is answer `m % group_size` of group slot `m / group_size`.
pub(super) struct Residents {
    group_size: usize,
    group_slots: Vec<Option<Resident>>,
    /// Group slots whose prompt the last request brought.
    missing: Vec<usize>,
}

impl Residents {
    pub(super) fn new(plan: KvPlan) -> Self {
        Self {
            group_size: plan.group_size,
            group_slots: (0..plan.groups).map(|_| None).collect(),
            missing: Vec::new(),
        }
    }

    /// Slots for `n` answers of a request: behind its prompt where that lies in the cache already, else in group slots
    /// that nobody writes to, the longest unused first. None where there is no room.
    pub(super) fn place(&mut self, prompt: &EncodedPrompt, n: usize, request: u64) -> Option<Vec<usize>> {
        let images: Vec<ImageKey> = prompt.images.iter().map(|image| image.key).collect();
        let is_same =
            |resident: &Resident| resident.token_ids == prompt.token_ids && resident.images == images;
        let (mut shared, mut unused) = (Vec::new(), Vec::new());
        for (group_slot, resident) in self.group_slots.iter().enumerate() {
            match resident {
                Some(resident) if is_same(resident) => shared.push(group_slot),
                Some(resident) if resident.answers.iter().all(Option::is_none) => {
                    unused.push((resident.used + 1, group_slot));
                }
                Some(_) => {}
                None => unused.push((0, group_slot)),
            }
        }
        unused.sort_unstable();
        let free = |group_slot: usize| -> Vec<usize> {
            let taken = |c: usize| {
                let resident = self.group_slots[group_slot].as_ref().filter(|resident| is_same(resident));
                resident.is_some_and(|resident| resident.answers[c].is_some())
            };
            (0..self.group_size).filter(|&c| !taken(c)).map(|c| group_slot * self.group_size + c).collect()
        };
        let unused = unused.into_iter().map(|(_, group_slot)| group_slot);
        let mut slots: Vec<usize> = shared.iter().copied().chain(unused).flat_map(free).take(n).collect();
        if slots.len() < n {
            return None;
        }
        slots.sort_unstable();
        self.missing.clear();
        for (index, &slot) in slots.iter().enumerate() {
            let group_slot = slot / self.group_size;
            if !shared.contains(&group_slot) && !self.missing.contains(&group_slot) {
                self.missing.push(group_slot);
                self.group_slots[group_slot] = Some(Resident {
                    token_ids: prompt.token_ids.clone(),
                    images: images.clone(),
                    read: None,
                    used: request,
                    answers: (0..self.group_size).map(|_| None).collect(),
                });
            }
            if let Some(resident) = &mut self.group_slots[group_slot] {
                resident.used = request;
                let answer = Answer { request, index, row: OpenCompletion::default() };
                resident.answers[slot % self.group_size] = Some(answer);
            }
        }
        Some(slots)
    }

    /// The group slots whose prompt has to be read for the request that was placed last.
    pub(super) fn missing(&self) -> Vec<usize> {
        self.missing.clone()
    }

    /// A prompt has been read.
    pub(super) fn read(&mut self, group_slot: usize, next_position: i64, logits_v: Tensor) {
        if let Some(resident) = &mut self.group_slots[group_slot] {
            resident.read = Some((next_position, logits_v));
        }
    }

    fn resident(&self, slot: usize) -> Option<&Resident> {
        self.group_slots[slot / self.group_size].as_ref()
    }

    fn read_of(&self, slot: usize) -> &(i64, Tensor) {
        let read = self.resident(slot).and_then(|resident| resident.read.as_ref());
        read.unwrap_or_else(|| unreachable!("a prompt is read before it is answered"))
    }

    /// Logits `[v]` behind the prompt of a slot.
    pub(super) fn logits(&self, slot: usize) -> Tensor {
        self.read_of(slot).1.shallow_clone()
    }

    /// The newest token of an answer, and its position.
    pub(super) fn newest(&self, slot: usize) -> (i64, i64) {
        let tokens = self.answer(slot).map_or(&[][..], |(_, answer)| &answer.row.token_ids);
        let newest = tokens.last().copied().unwrap_or_default();
        (newest, self.read_of(slot).0 + tokens.len() as i64 - 1)
    }

    /// The tokens of the prompt of a slot, and its answer.
    pub(super) fn answer(&self, slot: usize) -> Option<(&[i64], &Answer)> {
        let resident = self.resident(slot)?;
        Some((&resident.token_ids, resident.answers[slot % self.group_size].as_ref()?))
    }

    pub(super) fn answer_mut(&mut self, slot: usize) -> Option<&mut Answer> {
        let resident = self.group_slots[slot / self.group_size].as_mut()?;
        resident.answers[slot % self.group_size].as_mut()
    }

    /// The request that a slot belongs to.
    pub(super) fn request(&self, slot: usize) -> Option<u64> {
        self.answer(slot).map(|(_, answer)| answer.request)
    }

    /// The slots of answers, ascending.
    pub(super) fn live_slots(&self) -> Vec<usize> {
        let all = 0..self.group_slots.len() * self.group_size;
        all.filter(|&slot| self.answer(slot).is_some()).collect()
    }

    /// An answer has ended.
    pub(super) fn end(&mut self, slot: usize) {
        if let Some(resident) = &mut self.group_slots[slot / self.group_size] {
            resident.answers[slot % self.group_size] = None;
        }
    }

    /// A request has no answers any more.
    pub(super) fn leave(&mut self, request: u64) {
        for resident in self.group_slots.iter_mut().flatten() {
            for answer in &mut resident.answers {
                answer.take_if(|answer| answer.request == request);
            }
        }
    }
}
