//! What one step is about.

use super::{plan::KvPlan, weights::Decoder};
use crate::product::lanes_of;

/// The newest token of some completions, one a row.
#[derive(Default)]
pub(super) struct Step {
    /// Numbers side by side, the rows and what fills a vector.
    pub(super) lanes: usize,
    /// `[width, lanes]` embeddings.
    pub(super) x: Vec<f32>,
    /// `[d / 2, lanes]` of the rotary angles.
    pub(super) cos: Vec<f32>,
    pub(super) sin: Vec<f32>,
    /// Attention in parts that do not depend on each other.
    pub(super) parts: Vec<Part>,
}

/// Attention of one key/value head, for some completions of one group.
pub(super) struct Part {
    pub(super) kv: usize,
    pub(super) group: usize,
    pub(super) slots: Vec<usize>,
    /// The row of the first slot; the others follow.
    pub(super) first: usize,
}

impl Step {
    pub(super) fn new(
        decoder: &Decoder<'_>,
        plan: KvPlan,
        members: usize,
        [tokens, positions]: [&[i64]; 2],
        slots: &[usize],
    ) -> Self {
        let (lanes, width) = (lanes_of(tokens.len()), decoder.width());
        let mut x = vec![0.0; width * lanes];
        for (row, &token) in tokens.iter().enumerate() {
            let embedding = &decoder.embed_tokens[token as usize * width..][..width];
            x[row..].iter_mut().step_by(lanes).zip(embedding).for_each(|(x, &number)| *x = number);
        }
        let half = decoder.frequencies.len();
        let [mut cos, mut sin] = [0, 1].map(|_| vec![0.0; half * lanes]);
        for (row, &position) in positions.iter().enumerate() {
            // Completions of a group mostly stand at the same position.
            let is_known = row > 0 && positions[row - 1] == position;
            for (i, frequency) in decoder.frequencies.iter().enumerate() {
                let at = i * lanes + row;
                (sin[at], cos[at]) = if is_known {
                    (sin[at - 1], cos[at - 1])
                } else {
                    (position as f32 * frequency).sin_cos()
                };
            }
        }
        Self { lanes, x, cos, sin, parts: parts(slots, plan.group_size, decoder.heads.kv, members) }
    }
}

/// At least as many parts as there are members, where there are enough completions.
fn parts(slots: &[usize], group_size: usize, kv: usize, members: usize) -> Vec<Part> {
    let groups = || slots.chunk_by(|a, b| a / group_size == b / group_size);
    let cuts = members.div_ceil(groups().count() * kv);
    let (mut parts, mut first) = (Vec::new(), 0);
    for group in groups() {
        for slots in group.chunks(group.len().div_ceil(cuts)) {
            let part = |kv| Part { kv, group: slots[0] / group_size, slots: slots.to_vec(), first };
            parts.extend((0..kv).map(part));
            first += slots.len();
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_by_hand() {
        let of = |members| {
            let parts = parts(&[0, 2, 3, 9], 4, 2, members);
            parts.into_iter().map(|part| (part.kv, part.group, part.slots, part.first)).collect::<Vec<_>>()
        };
        let whole =
            [(0, 0, vec![0, 2, 3], 0), (1, 0, vec![0, 2, 3], 0), (0, 2, vec![9], 3), (1, 2, vec![9], 3)];
        assert_eq!(of(1), whole);
        assert_eq!(of(4), whole);
        let cut = [(0, 0, vec![0, 2], 0), (1, 0, vec![0, 2], 0), (0, 0, vec![3], 2), (1, 0, vec![3], 2)];
        assert_eq!(of(5)[..4], cut);
    }
}
