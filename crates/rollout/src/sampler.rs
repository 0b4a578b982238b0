//! From logits to tokens and their log-probabilities.
//!
//! Order: control tokens out, temperature, the k most likely, the smallest set that reaches p, softmax in fp32. The
//! log-probability returned is that of this last distribution. Greedy decoding reports the log-probability under the
//! full distribution at temperature 1, since that of a certain choice would always be 0.
//!
//! Axes in tensor names: m completion, v vocabulary.

use reft_core::SamplingParams;
use tch::{Kind, Tensor};

/// One drawn token per completion.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// `[m]` token ids.
    pub token_ids: Vec<i64>,
    /// `[m]` natural log-probabilities.
    pub logprobs: Vec<f32>,
}

/// Draws tokens by inverting the cumulative distribution at given uniform numbers.
#[derive(Debug)]
pub struct Sampler {
    /// `[v]` 0, or -inf for tokens that are never drawn.
    allowed_v: Tensor,
    temperature: f64,
    top_k: usize,
    top_p: f64,
}

impl Sampler {
    /// A sampler that never draws the tokens for which `allowed_v` is -inf.
    pub fn new(allowed_v: &Tensor, params: &SamplingParams) -> Self {
        Self {
            allowed_v: allowed_v.shallow_clone(),
            temperature: f64::from(params.temperature),
            top_k: params.top_k,
            top_p: f64::from(params.top_p),
        }
    }

    /// One token per row of `logits_mv` (fp32), at the uniform numbers `[m]` in `[0, 1)`. Greedy decoding ignores them.
    pub fn draw(&self, logits_mv: &Tensor, uniforms_m: &[f64]) -> Drawn {
        let logprobs_mv = self.logprobs(logits_mv);
        let tokens_m = if self.temperature > 0.0 {
            invert(&logprobs_mv, uniforms_m)
        } else {
            logprobs_mv.argmax(-1, false)
        };
        let logprobs_m = logprobs_mv.gather(1, &tokens_m.unsqueeze(1), false).squeeze_dim(1);
        Drawn { token_ids: to_vec(&tokens_m, Kind::Int64), logprobs: to_vec(&logprobs_m, Kind::Float) }
    }

    /// `[m, v]` log-probabilities of the distribution that tokens are drawn from.
    pub fn logprobs(&self, logits_mv: &Tensor) -> Tensor {
        let mut logits_mv = logits_mv + &self.allowed_v;
        if self.temperature > 0.0 {
            logits_mv /= self.temperature;
            let n_tokens = logits_mv.size()[1];
            if self.top_k > 0 && (self.top_k as i64) < n_tokens {
                logits_mv = keep_top_k(&logits_mv, self.top_k as i64);
            }
            if self.top_p < 1.0 {
                logits_mv = keep_top_p(&logits_mv, self.top_p);
            }
        }
        logits_mv.log_softmax(-1, Kind::Float)
    }
}

/// The k largest logits of a row, and those that equal the k-th.
fn keep_top_k(logits_mv: &Tensor, k: i64) -> Tensor {
    let (largest_mk, _) = logits_mv.topk(k, -1, true, true);
    let dropped = logits_mv.lt_tensor(&largest_mk.narrow(1, k - 1, 1));
    logits_mv.masked_fill(&dropped, f64::NEG_INFINITY)
}

/// The most likely tokens of a row until their probabilities reach p; always at least one.
fn keep_top_p(logits_mv: &Tensor, p: f64) -> Tensor {
    let (sorted_mv, order_mv) = logits_mv.sort_stable(true, -1, true);
    let probs_mv = sorted_mv.softmax(-1, Kind::Float);
    let before_mv = probs_mv.cumsum(-1, Kind::Float) - &probs_mv;
    // The first has nothing before it and stays, even at p = 0.
    let dropped_sorted = before_mv.ge(p.max(f64::from(f32::MIN_POSITIVE)));
    let dropped = dropped_sorted.zeros_like().scatter(1, &order_mv, &dropped_sorted);
    logits_mv.masked_fill(&dropped, f64::NEG_INFINITY)
}

/// `[m]` the first token of each row at which the cumulative probability exceeds the row's uniform number.
fn invert(logprobs_mv: &Tensor, uniforms_m: &[f64]) -> Tensor {
    let cumulative_mv = logprobs_mv.to_kind(Kind::Double).exp().cumsum(-1, Kind::Double);
    let total_m1 = cumulative_mv.narrow(1, cumulative_mv.size()[1] - 1, 1);
    // Strictly below the total after rounding, so that a token with probability always exceeds it.
    let below_one = 1.0 - f64::EPSILON;
    let uniforms_m1 = Tensor::from_slice(uniforms_m).to_device(logprobs_mv.device()).unsqueeze(1) * below_one;
    let threshold_m1 = uniforms_m1 * total_m1;
    cumulative_mv.le_tensor(&threshold_m1).sum_dim_intlist(&[-1_i64][..], false, Kind::Int64)
}

fn to_vec<T: tch::kind::Element + Default + Clone>(values: &Tensor, kind: Kind) -> Vec<T> {
    let values = values.to_device(tch::Device::Cpu).to_kind(kind).contiguous();
    let mut out = vec![T::default(); values.numel()];
    values.copy_data(&mut out, values.numel());
    out
}

#[cfg(test)]
mod tests {
    use reft_core::Seed;

    use super::*;

    fn sampler(temperature: f32, top_k: usize, top_p: f32, allowed: &[f32]) -> Sampler {
        let params = SamplingParams {
            group_size: 1,
            temperature,
            top_p,
            top_k,
            max_new_tokens: 1,
            seed: Seed::new(0),
        };
        Sampler::new(&Tensor::from_slice(allowed), &params)
    }

    /// Probabilities 0.5, 0.25, 0.125, 0.125 on tokens 2, 0, 1, 4; token 3 is a control token.
    const LOGITS: [f32; 5] =
        [0.0, -std::f32::consts::LN_2, std::f32::consts::LN_2, 9.0, -std::f32::consts::LN_2];
    const ALLOWED: [f32; 5] = [0.0, 0.0, 0.0, f32::NEG_INFINITY, 0.0];

    fn probabilities(sampler: &Sampler) -> Vec<f32> {
        let logits = Tensor::from_slice(&LOGITS).unsqueeze(0);
        to_vec(&sampler.logprobs(&logits).exp(), Kind::Float)
    }

    #[test]
    fn distributions_by_hand() {
        let cases: [(f32, usize, f32, [f32; 5]); 9] = [
            (1.0, 0, 1.0, [0.25, 0.125, 0.5, 0.0, 0.125]),
            (1.0, 100, 1.0, [0.25, 0.125, 0.5, 0.0, 0.125]),
            (1.0, 2, 1.0, [1.0 / 3.0, 0.0, 2.0 / 3.0, 0.0, 0.0]),
            // Tokens 1 and 4 tie for the third place: both stay.
            (1.0, 3, 1.0, [0.25, 0.125, 0.5, 0.0, 0.125]),
            (1.0, 0, 0.4, [0.0, 0.0, 1.0, 0.0, 0.0]),
            (1.0, 0, 0.7, [1.0 / 3.0, 0.0, 2.0 / 3.0, 0.0, 0.0]),
            (1.0, 0, 0.0, [0.0, 0.0, 1.0, 0.0, 0.0]),
            // p counts what k has left: 2/3 reaches 0.6.
            (1.0, 2, 0.6, [0.0, 0.0, 1.0, 0.0, 0.0]),
            // Squares of the probabilities, over 0.34375.
            (0.5, 0, 1.0, [0.181_818, 0.045_454_5, 0.727_272_7, 0.0, 0.045_454_5]),
        ];
        for (temperature, top_k, top_p, expected) in cases {
            let found = probabilities(&sampler(temperature, top_k, top_p, &ALLOWED));
            for (a, b) in found.iter().zip(expected) {
                assert!(
                    (a - b).abs() < 1e-5,
                    "T {temperature} k {top_k} p {top_p}: {found:?}, not {expected:?}"
                );
            }
        }
    }

    #[test]
    fn the_distribution_is_inverted_in_order_of_the_vocabulary() {
        let sampler = sampler(1.0, 0, 1.0, &ALLOWED);
        let uniforms = [0.0, 0.249, 0.251, 0.374, 0.376, 0.874, 0.876, 1.0 - f64::EPSILON / 2.0];
        let logits = Tensor::from_slice(&LOGITS).unsqueeze(0).repeat([8, 1]);
        let drawn = sampler.draw(&logits, &uniforms);
        assert_eq!(drawn.token_ids, [0, 0, 1, 1, 2, 2, 4, 4]);
        assert!((drawn.logprobs[0] - 0.25_f32.ln()).abs() < 1e-6);
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let sampler = sampler(1.0, 0, 1.0, &ALLOWED);
        let uniforms: Vec<f64> = (0..4000_u64).map(|n| Seed::new(3).at(n).uniform()).collect();
        let logits = Tensor::from_slice(&LOGITS).unsqueeze(0).repeat([4000, 1]);
        let drawn = sampler.draw(&logits, &uniforms);
        for (token, expected) in [1000.0, 500.0, 2000.0, 0.0, 500.0].into_iter().enumerate() {
            let n = drawn.token_ids.iter().filter(|&&id| id == token as i64).count() as f64;
            // Five standard deviations of a binomial count are below 160.
            assert!((n - expected).abs() <= if expected == 0.0 { 0.0 } else { 160.0 }, "{token}: {n}");
        }
    }

    #[test]
    fn greedy_takes_the_most_likely_allowed_token() {
        let drawn = sampler(0.0, 0, 1.0, &ALLOWED).draw(&Tensor::from_slice(&LOGITS).unsqueeze(0), &[0.99]);
        assert_eq!(drawn.token_ids, [2]);
        assert!((drawn.logprobs[0] - 0.5_f32.ln()).abs() < 1e-6);
    }
}
