//! Which tokens a completion could be drawn from.

use serde::{Deserialize, Serialize};

/// The tokens of one draw, by the shorter of two lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit<Ids> {
    /// These alone could be drawn.
    Kept(Ids),
    /// All that the policy may write could be drawn, but for these.
    Dropped(Ids),
}

impl Limit<Vec<u32>> {
    /// The limit, its ids borrowed.
    pub fn as_slice(&self) -> Limit<&[u32]> {
        match self {
            Self::Kept(ids) => Limit::Kept(ids),
            Self::Dropped(ids) => Limit::Dropped(ids),
        }
    }
}

/// The tokens that each token of a completion was drawn from, where that were not all that the policy may write: top-k,
/// top-p, min-p, end tokens before the shortest length, banned tokens. A trainer restricts its own distribution to them,
/// so that both sides compute log-probabilities of the same distribution.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Support {
    /// `[L]` where a token's ids end in `ids`.
    ends: Vec<u32>,
    /// `[L]` whether they are the kept ones.
    kept: Vec<bool>,
    ids: Vec<u32>,
}

impl Support {
    /// The support of `n` tokens that nothing was kept from.
    pub fn whole(n: usize) -> Self {
        Self { ends: vec![0; n], kept: vec![false; n], ids: Vec::new() }
    }

    /// Appends a token.
    pub fn push(&mut self, limit: Limit<&[u32]>) {
        let (Limit::Kept(ids) | Limit::Dropped(ids)) = limit;
        self.ids.extend_from_slice(ids);
        self.ends.push(self.ids.len() as u32);
        self.kept.push(matches!(limit, Limit::Kept(_)));
    }

    /// Appends the tokens of another.
    pub fn extend(&mut self, other: &Self) {
        for t in 0..other.len() {
            self.push(other.get(t));
        }
    }

    /// The support of token `t`.
    ///
    /// # Panics
    /// When there is no such token.
    pub fn get(&self, t: usize) -> Limit<&[u32]> {
        let start = if t == 0 { 0 } else { self.ends[t - 1] };
        let ids = &self.ids[start as usize..self.ends[t] as usize];
        if self.kept[t] { Limit::Kept(ids) } else { Limit::Dropped(ids) }
    }

    /// Tokens.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether it has no tokens.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_come_back() {
        let mut support = Support::whole(1);
        support.push(Limit::Kept(&[3, 5]));
        support.push(Limit::Dropped(&[7]));
        let mut twice = support.clone();
        twice.extend(&support);
        assert_eq!((twice.len(), twice.ids.len()), (6, 6));
        for t in [0, 3] {
            assert_eq!(twice.get(t), Limit::Dropped(&[][..]));
            assert_eq!(twice.get(t + 1), Limit::Kept(&[3, 5][..]));
            assert_eq!(twice.get(t + 2), Limit::Dropped(&[7][..]));
        }
    }
}
