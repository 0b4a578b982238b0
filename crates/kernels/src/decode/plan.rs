//! How much is held at a time.

/// What a cache has room for. Completion `c` of group `n` has slot `n * group_size + c`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KvPlan {
    /// Groups.
    pub groups: usize,
    /// Completions of a group.
    pub group_size: usize,
    /// Tokens of the longest prompt.
    pub prompt_tokens: usize,
    /// Tokens of the longest completion.
    pub completion_tokens: usize,
}

impl KvPlan {
    /// As many groups as a budget of tokens allows, at least one and not more than there are. A prompt and a completion take
    /// `state_tokens` each beside their tokens, whatever their length.
    pub fn within(
        token_budget: usize,
        n_groups: usize,
        group_size: usize,
        prompt_tokens: usize,
        completion_tokens: usize,
        state_tokens: usize,
    ) -> Self {
        let per_group = prompt_tokens + group_size * completion_tokens + (1 + group_size) * state_tokens;
        let groups = (token_budget / per_group.max(1)).clamp(1, n_groups.max(1));
        Self { groups, group_size, prompt_tokens, completion_tokens }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_by_hand() {
        let groups = |budget, n_groups| KvPlan::within(budget, n_groups, 8, 100, 50, 0).groups;
        // A group needs 500 tokens.
        assert_eq!(groups(2_000, 100), 4);
        assert_eq!(groups(2_499, 100), 4);
        assert_eq!(groups(2_000, 3), 3);
        assert_eq!(groups(10, 100), 1);
        // Nine states of 100 tokens beside them.
        assert_eq!(KvPlan::within(2_800, 100, 8, 100, 50, 100).groups, 2);
    }
}
