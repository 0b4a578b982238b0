//! From logits to tokens and their log-probabilities.
//!
//! Rows of logits are drawn from on the CPU by `reft_kernels::draw`, which says in which order what is done. On a GPU the
//! plain case, temperature alone, stays there as tensors; everything else brings the rows to the CPU. The log-probability
//! is that of the distribution drawn from; of tokens that some rule kept out of it a record is made. Greedy decoding
//! reports log-probabilities at temperature 1, since that of a certain choice would always be 0.
//!
//! Axes in tensor names: m completion, v vocabulary.

use reft_core::{Limit, SampleId, SamplingParams, Seed};
use reft_kernels::{Conditions, Draw, Shaping, draw_rows};
use reft_vlm::processor::Processor;
use tch::{Device, Kind, Tensor};

use crate::RolloutError;

/// A completion that waits for its next token: what the draw depends on.
#[derive(Clone, Copy, Debug)]
pub struct Waiting<'a> {
    /// In `[0, 1)`, from sample, completion and token.
    pub uniform: f64,
    /// Tokens of the prompt.
    pub prompt: &'a [i64],
    /// Tokens of the completion so far.
    pub drawn: &'a [i64],
}

/// A completion's next token.
#[derive(Clone, Debug, PartialEq)]
pub struct Drawn {
    /// Its id.
    pub token: i64,
    /// Its natural log-probability.
    pub logprob: f32,
    /// What it was drawn from; none where nothing can be out of reach.
    pub limit: Option<Limit<Vec<u32>>>,
    /// The most likely tokens of what it was drawn from, with their log-probabilities, where they were asked for.
    pub top: Vec<(i64, f32)>,
}

/// Draws tokens by inverting the cumulative distribution at given uniform numbers.
#[derive(Debug)]
pub struct Sampler {
    shaping: Shaping,
    min_new_tokens: usize,
    end_ids: Vec<i64>,
    /// `[v]` 0, or -inf for tokens that the policy never writes.
    of_policy: Vec<f32>,
    /// `[v]` 0, or -inf for tokens that the policy never writes or that are banned.
    allowed: Vec<f32>,
    /// `allowed` on the device of the policy.
    allowed_v: Tensor,
    limits_support: bool,
    /// Whether draws record what was within reach.
    records: bool,
    /// Most likely tokens that a draw tells.
    n_top: usize,
}

/// The number that decides a draw: of which sample, completion and token.
pub(crate) fn uniform(seed: Seed, sample: &SampleId, completion: usize, token: usize) -> f64 {
    seed.at(sample).at(completion).at(token).uniform()
}

impl Sampler {
    /// A sampler that never draws the tokens for which `allowed_v` is -inf, nor banned ones.
    pub fn new(
        allowed_v: &Tensor,
        processor: &Processor,
        params: &SamplingParams,
    ) -> Result<Self, RolloutError> {
        let of_policy = to_vec(allowed_v);
        let mut allowed = of_policy.clone();
        for id in banned_ids(processor, params)? {
            let size = allowed.len();
            let entry = allowed.get_mut(id as usize).ok_or(RolloutError::NoToken { id, size })?;
            *entry = f32::NEG_INFINITY;
        }
        if allowed.iter().all(|&entry| entry == f32::NEG_INFINITY) {
            return Err(RolloutError::AllBanned);
        }
        Ok(Self {
            shaping: Shaping {
                repetition_penalty: params.repetition_penalty,
                presence_penalty: params.presence_penalty,
                frequency_penalty: params.frequency_penalty,
                temperature: params.temperature,
                top_k: params.top_k,
                top_p: params.top_p,
                min_p: params.min_p,
            },
            min_new_tokens: params.min_new_tokens,
            end_ids: processor.end_token_ids().to_vec(),
            of_policy,
            allowed_v: Tensor::from_slice(&allowed).to_device(allowed_v.device()),
            allowed,
            limits_support: params.limits_support(),
            records: true,
            n_top: 0,
        })
    }

    /// Draws without [`Drawn::limit`], for which a trainer asks and nobody else.
    #[must_use]
    pub fn without_record(self) -> Self {
        Self { records: false, ..self }
    }

    /// Draws that tell the `n` most likely tokens too.
    #[must_use]
    pub fn with_top(self, n: usize) -> Self {
        Self { n_top: n, ..self }
    }

    /// The next token of each completion, from its row of `logits_mv` (fp32).
    pub fn draw(&self, logits_mv: &Tensor, rows: &[Waiting<'_>]) -> Vec<Drawn> {
        if logits_mv.device() != Device::Cpu && self.is_plain() {
            return self.draw_plain(logits_mv, rows);
        }
        let conditions: Vec<Conditions<'_>> = rows
            .iter()
            .map(|row| Conditions {
                uniform: row.uniform,
                prompt: row.prompt,
                drawn: row.drawn,
                forbidden: if row.drawn.len() < self.min_new_tokens { &self.end_ids } else { &[] },
            })
            .collect();
        let threads = tch::get_num_threads() as usize;
        let logits = to_vec(logits_mv);
        let Self { of_policy, n_top, .. } = self;
        let records = self.limits_support && self.records;
        draw_rows(
            &logits,
            &self.allowed,
            &self.shaping,
            &conditions,
            threads,
            |Draw { token, logprob }, weights| Drawn {
                token: token as i64,
                logprob,
                limit: records.then(|| limit(of_policy, weights)),
                top: top(*n_top, weights),
            },
        )
    }

    /// Whether nothing is to be done but to mask and to divide by the temperature.
    fn is_plain(&self) -> bool {
        let Shaping { temperature, .. } = self.shaping;
        !self.limits_support
            && self.n_top == 0
            && self.shaping == Shaping { temperature, ..Shaping::default() }
    }

    /// [`Sampler::draw`] of the plain case in tensor operations, for a GPU.
    fn draw_plain(&self, logits_mv: &Tensor, rows: &[Waiting<'_>]) -> Vec<Drawn> {
        let temperature = f64::from(self.shaping.temperature);
        let mut logits_mv = logits_mv + &self.allowed_v;
        if temperature > 0.0 {
            // Below the largest, nothing overflows upwards; a GPU multiplies by the inverse, which must be a number too.
            logits_mv -= logits_mv.amax([-1], true);
            logits_mv /= temperature.max(1e-30);
        }
        let logprobs_mv = logits_mv.log_softmax(-1, Kind::Float);
        let tokens_m = if temperature > 0.0 {
            invert(&logprobs_mv, &rows.iter().map(|row| row.uniform).collect::<Vec<_>>())
        } else {
            logprobs_mv.argmax(-1, false)
        };
        let logprobs_m = logprobs_mv.gather(1, &tokens_m.unsqueeze(1), false).squeeze_dim(1);
        let (tokens, logprobs) = (to_vec::<i64>(&tokens_m), to_vec::<f32>(&logprobs_m));
        tokens
            .into_iter()
            .zip(logprobs)
            .map(|(token, logprob)| Drawn { token, logprob, limit: None, top: Vec::new() })
            .collect()
    }
}

/// The `n` most likely tokens that could be drawn, and their log-probabilities.
fn top(n: usize, weights: &[f32]) -> Vec<(i64, f32)> {
    if n == 0 {
        return Vec::new();
    }
    let mut order: Vec<usize> = (0..weights.len()).filter(|&id| weights[id] > 0.0).collect();
    let by_weight = |a: &usize, b: &usize| weights[*b].total_cmp(&weights[*a]).then(a.cmp(b));
    if order.len() > n {
        order.select_nth_unstable_by(n - 1, by_weight);
        order.truncate(n);
    }
    order.sort_by(by_weight);
    let total: f64 = weights.iter().map(|&weight| f64::from(weight)).sum();
    order.into_iter().map(|id| (id as i64, (f64::from(weights[id]) / total).ln() as f32)).collect()
}

/// The shorter list: of what was within reach, or of what the policy may write and was not.
fn limit(of_policy: &[f32], weights: &[f32]) -> Limit<Vec<u32>> {
    let allowed = || weights.iter().zip(of_policy).enumerate().filter(|(_, (_, a))| **a == 0.0);
    let ids = |is_kept: bool| {
        allowed().filter(move |(_, (w, _))| (**w > 0.0) == is_kept).map(|(id, _)| id as u32).collect()
    };
    let (all, kept) = (allowed().count(), allowed().filter(|(_, (w, _))| **w > 0.0).count());
    if 2 * kept <= all { Limit::Kept(ids(true)) } else { Limit::Dropped(ids(false)) }
}

/// The tokens that are never drawn: given ids, and texts that are one token each.
fn banned_ids(processor: &Processor, params: &SamplingParams) -> Result<Vec<i64>, RolloutError> {
    let of_text = |text: &String| {
        let ids = processor
            .encode_completion(text, false)
            .map_err(|error| RolloutError::Banned { text: text.clone(), message: error.to_string() })?;
        match ids.as_slice() {
            &[id] => Ok(id),
            ids => Err(RolloutError::Banned {
                text: text.clone(),
                message: format!("is {} tokens, {ids:?}, not one; ban ids with `banned_ids`", ids.len()),
            }),
        }
    };
    let given = params.banned_ids.iter().map(|&id| Ok(i64::from(id)));
    given.chain(params.banned.iter().map(of_text)).collect()
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

fn to_vec<T: tch::kind::Element + Default + Clone>(values: &Tensor) -> Vec<T> {
    let values = values.to_device(Device::Cpu).to_kind(T::KIND).contiguous();
    let mut out = vec![T::default(); values.numel()];
    values.copy_data(&mut out, values.numel());
    out
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use reft_vlm::model::VlmConfig;

    use super::*;

    const VOCABULARY: usize = 320;

    fn processor() -> Processor {
        let dir = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/tiny-vlm");
        Processor::open(&dir, &VlmConfig::open(&dir).unwrap(), None, None).unwrap()
    }

    /// Twenty tokens are not the policy's to write.
    fn allowed() -> Tensor {
        let allowed: Vec<f32> =
            (0..VOCABULARY).map(|i| if (280..300).contains(&i) { f32::NEG_INFINITY } else { 0.0 }).collect();
        Tensor::from_slice(&allowed)
    }

    fn sampler(params: &SamplingParams) -> Sampler {
        Sampler::new(&allowed(), &processor(), params).unwrap()
    }

    fn logits(rows: i64) -> Tensor {
        tch::manual_seed(3);
        Tensor::randn([rows, VOCABULARY as i64], (Kind::Float, Device::Cpu)) * 2.0
    }

    fn rows(n: u64) -> Vec<Waiting<'static>> {
        let uniform = |n: u64| Seed::new(3).at(n).uniform();
        (0..n).map(|n| Waiting { uniform: uniform(n), prompt: &[], drawn: &[] }).collect()
    }

    #[test]
    fn tensors_and_loops_draw_the_same() {
        for temperature in [0.0, 1e-45, 1e-38, 0.6, 1.0, 1.7] {
            let sampler = sampler(&SamplingParams { temperature, ..SamplingParams::plain(1) });
            assert!(sampler.is_plain());
            let (logits, rows) = (logits(2000), rows(2000));
            let (by_loop, by_tensor) = (sampler.draw(&logits, &rows), sampler.draw_plain(&logits, &rows));
            // A number at the border between two tokens may fall to either side.
            let differ = by_loop.iter().zip(&by_tensor).filter(|(a, b)| a.token != b.token).count();
            assert!(differ <= 1, "{differ} of 2000 tokens differ");
            for (a, b) in by_loop.iter().zip(&by_tensor).filter(|(a, b)| a.token == b.token) {
                assert!((a.logprob - b.logprob).abs() < 1e-5, "{a:?} {b:?}");
            }
        }
    }

    #[test]
    fn frequencies_follow_the_distribution() {
        let row = logits(1);
        let p = (&row + allowed()).softmax(-1, Kind::Float);
        let drawn = sampler(&SamplingParams::plain(1)).draw(&row.repeat([4000, 1]), &rows(4000));
        for token in 0..VOCABULARY as i64 {
            let n = drawn.iter().filter(|drawn| drawn.token == token).count() as f64;
            let p = p.double_value(&[0, token]);
            let deviation = (4000.0 * p * (1.0 - p)).sqrt();
            assert!((n - 4000.0 * p).abs() <= 5.0 * deviation + 1.0, "{token}: {n}, not {}", 4000.0 * p);
        }
    }

    /// The record, applied to the whole distribution, is the distribution drawn from.
    #[test]
    fn the_record_is_what_was_drawn_from() {
        let plain = SamplingParams::plain(1);
        let all = [
            SamplingParams { top_k: 7, ..plain.clone() },
            SamplingParams { top_p: 0.9, temperature: 0.8, ..plain.clone() },
            SamplingParams { min_p: 0.001, ..plain.clone() },
            SamplingParams { banned_ids: vec![3, 290, 40], ..plain.clone() },
            SamplingParams { min_new_tokens: 1, ..plain.clone() },
            SamplingParams { min_new_tokens: 1, temperature: 0.0, banned_ids: vec![9], ..plain.clone() },
        ];
        let logits = logits(50);
        for params in all {
            let temperature = if params.temperature > 0.0 { f64::from(params.temperature) } else { 1.0 };
            for (m, drawn) in sampler(&params).draw(&logits, &rows(50)).iter().enumerate() {
                let mut mask = vec![0.0_f32; VOCABULARY];
                match drawn.limit.as_ref().unwrap() {
                    Limit::Kept(ids) => {
                        assert!(ids.len() <= 150);
                        mask.fill(f32::NEG_INFINITY);
                        for &id in ids {
                            mask[id as usize] = 0.0;
                        }
                    }
                    Limit::Dropped(ids) => {
                        assert!(
                            ids.len() < 150 && !ids.iter().any(|id| (280..300).contains(id)),
                            "{params:?} {ids:?}"
                        );
                        for &id in ids {
                            mask[id as usize] = f32::NEG_INFINITY;
                        }
                    }
                }
                let row = logits.get(m as i64) + allowed() + Tensor::from_slice(&mask);
                let logprobs = (row / temperature).log_softmax(-1, Kind::Float);
                let expected = logprobs.double_value(&[drawn.token]) as f32;
                assert!((drawn.logprob - expected).abs() < 1e-5, "{params:?}: {drawn:?}, not {expected}");
            }
        }
        assert!(sampler(&plain).draw(&logits, &rows(50)).iter().all(|drawn| drawn.limit.is_none()));
    }

    #[test]
    fn the_most_likely_come_with_what_was_drawn() {
        for temperature in [0.0, 0.7] {
            let params = SamplingParams { temperature, top_k: 4, ..SamplingParams::plain(1) };
            let drawn = sampler(&params).with_top(3).draw(&logits(20), &rows(20));
            for Drawn { token, logprob, top, .. } in drawn {
                assert!(top.len() == 3 && top.is_sorted_by(|a, b| a.1 >= b.1), "{top:?}");
                if let Some(found) = top.iter().find(|(id, _)| *id == token) {
                    assert!((found.1 - logprob).abs() < 1e-5, "{top:?} {logprob}");
                }
                assert!(temperature > 0.0 || top[0].0 == token);
            }
        }
    }

    #[test]
    fn an_end_token_waits_for_the_shortest_length() {
        let params = SamplingParams { temperature: 0.0, min_new_tokens: 2, ..SamplingParams::plain(9) };
        let end = processor().end_token_ids()[0];
        let mut row = vec![0.0_f32; VOCABULARY];
        (row[end as usize], row[12]) = (5.0, 1.0);
        let row = Tensor::from_slice(&row).unsqueeze(0);
        let token = |drawn: &[i64]| {
            sampler(&params).draw(&row, &[Waiting { uniform: 0.0, prompt: &[], drawn }])[0].token
        };
        assert_eq!((token(&[]), token(&[12]), token(&[12, 12])), (12, 12, end));
    }

    #[test]
    fn what_is_banned_is_one_token() {
        let error =
            |params: SamplingParams| Sampler::new(&allowed(), &processor(), &params).unwrap_err().to_string();
        let plain = SamplingParams::plain(1);
        let text = error(SamplingParams { banned: vec!["a cat and a dog".into()], ..plain.clone() });
        assert!(text.contains("`a cat and a dog` is ") && text.contains("tokens"), "{text}");
        let id = error(SamplingParams { banned_ids: vec![320], ..plain.clone() });
        assert!(id.contains("320"), "{id}");
        let all = error(SamplingParams { banned_ids: (0..320).collect(), ..plain.clone() });
        assert!(all.contains("every token"), "{all}");
        let sampler = sampler(&SamplingParams { banned: vec!["a".into()], ..plain });
        let banned = processor().encode_completion("a", false).unwrap()[0];
        assert_eq!(sampler.allowed[banned as usize], f32::NEG_INFINITY);
    }
}
