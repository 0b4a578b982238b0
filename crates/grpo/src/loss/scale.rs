//! How token losses are averaged: the weight of each token.

use reft_config::LossScale;

/// `[c]` weight of each token in the loss, for completions of the given lengths, one after another.
pub fn token_weights(lengths: &[usize], scale: LossScale, max_new_tokens: usize) -> Vec<f32> {
    let total: usize = lengths.iter().sum();
    lengths
        .iter()
        .flat_map(|&length| {
            let denominator = match scale {
                LossScale::Sequence => lengths.len() * length,
                LossScale::Token => total,
                LossScale::Constant => lengths.len() * max_new_tokens,
                LossScale::Sum => lengths.len(),
            };
            std::iter::repeat_n(1.0 / denominator as f32, length)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_by_hand() {
        assert_eq!(token_weights(&[1, 2], LossScale::Sequence, 10), [0.5, 0.25, 0.25]);
        assert_eq!(token_weights(&[1, 2], LossScale::Token, 10), [1.0 / 3.0; 3]);
        assert_eq!(token_weights(&[1, 2], LossScale::Constant, 10), [0.05; 3]);
        assert_eq!(token_weights(&[1, 2], LossScale::Sum, 10), [0.5; 3]);
    }
}
