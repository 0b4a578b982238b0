//! SAPO: a soft gate around ratio 1.

use reft_config::SapoConfig;
use tch::Tensor;

use super::{PolicyLoss, TokenLoss, Tokens};

/// The soft gate of each token, see [`sapo`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sapo {
    /// Slopes of the gate.
    pub config: SapoConfig,
}

impl PolicyLoss for Sapo {
    fn loss(&self, tokens: &Tokens) -> TokenLoss {
        let ratio_c = tokens.ratio();
        TokenLoss::unbounded(-sapo(&ratio_c, &tokens.advantage_c, self.config), &ratio_c)
    }
}

/// `4 / tau sigmoid(tau (r - 1)) A`, `tau` by the sign of the advantage (arXiv 2511.20347, equations 5 and 6). Its
/// gradient weight is 1 at ratio 1 and falls smoothly on both sides. To be maximised.
pub fn sapo(ratio_c: &Tensor, advantage_c: &Tensor, config: SapoConfig) -> Tensor {
    let negative_c = advantage_c.full_like(config.temperature_neg);
    let tau_c = advantage_c.full_like(config.temperature_pos).where_self(&advantage_c.gt(0.0), &negative_c);
    let gate_c = (&tau_c * (ratio_c - 1.0)).sigmoid() * 4.0 / &tau_c;
    gate_c * advantage_c
}

#[cfg(test)]
mod tests {
    use super::{super::tests_common::*, *};

    #[test]
    fn by_hand() {
        let config = SapoConfig { temperature_pos: 1.0, temperature_neg: 2.0 };
        let advantage = tensor(&[3.0, -3.0, 1.0]);
        let loss = |ratio: &Tensor| sapo(ratio, &advantage, config);
        let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
        close(&loss(&tensor(&[1.0, 1.0, 2.0])), &[6.0, -3.0, 4.0 * sigmoid(1.0)]);
        // The slope is 4 sigma (1 - sigma) A.
        let slope = 4.0 * sigmoid(1.0) * (1.0 - sigmoid(1.0));
        close(&gradient(&[1.0, 1.0, 2.0], loss), &[3.0, -3.0, slope]);
    }
}
