//! One group, a token of every completion at a time, by the same tensor operations with and without gradient.
//!
//! A rollout and a training pass that both go through here see the same shapes in the same order, so on a CPU in fp32
//! their numbers are equal to the last bit, which no two different ways to compute a sum can promise. The price is a step
//! per token in training too, and keys and values that are copied at each step instead of being written in place.
//!
//! Axes in tensor names: m completion, k key/value head, r query head that shares it, l position in the prompt, o position among
//! a completion's own tokens, v vocabulary, d width.

use reft_vlm::model::{DeltaInputs, DeltaMemory, DeltaState, Network, PackedBatch, TokenPlan};
use tch::{Kind, Tensor};

/// A group on its way.
pub struct Replay<'a> {
    network: &'a Network,
    cache: Cache,
    /// Completions.
    m: i64,
    /// Position of the next token, the same on all axes.
    position: i64,
    logits_mv: Tensor,
}

impl<'a> Replay<'a> {
    /// Runs the one prompt of a packed batch without completions, which is to be answered `m` times.
    pub fn start(network: &'a Network, prompt: &PackedBatch, m: usize) -> Self {
        let decoder = &network.decoder;
        let mut prefill = Prefill { prompt, cache: Cache::default() };
        let hidden_td =
            decoder.forward(&network.embed_one_by_one(prompt), &prompt.positions_3t, &mut prefill);
        let last_1d = hidden_td.narrow(0, hidden_td.size()[0] - 1, 1);
        let m = m as i64;
        Self {
            network,
            cache: prefill.cache,
            m,
            position: prompt.prompt_positions[0].next,
            logits_mv: decoder.logits(&last_1d).expand([m, -1], false),
        }
    }

    /// `[m, v]` logits of the completions' next token.
    pub fn logits(&self) -> &Tensor {
        &self.logits_mv
    }

    /// Goes on with a token for each completion.
    pub fn step(&mut self, tokens_m: &[i64]) {
        let decoder = &self.network.decoder;
        let device = self.logits_mv.device();
        let tokens_m = Tensor::from_slice(tokens_m).to_device(device);
        let positions_3m = Tensor::full([3, self.m], self.position, (Kind::Int64, device));
        let hidden_md = decoder.forward(&decoder.embed(&tokens_m), &positions_3m, &mut self.cache);
        self.logits_mv = decoder.logits(&hidden_md);
        self.position += 1;
    }
}

/// `[steps * m, v]` logits that predict the tokens of completions, all of the first step first, as a rollout had them that
/// went on with `fill` where a completion had ended.
pub fn replay(network: &Network, prompt: &PackedBatch, completions: &[&[i64]], fill: i64) -> Tensor {
    let mut replay = Replay::start(network, prompt, completions.len());
    let steps = completions.iter().map(|tokens| tokens.len()).max().unwrap_or(0);
    let mut logits = Vec::with_capacity(steps);
    for t in 0..steps {
        logits.push(replay.logits().shallow_clone());
        if t + 1 < steps {
            let token = |tokens: &&[i64]| tokens.get(t).copied().unwrap_or(fill);
            replay.step(&completions.iter().map(token).collect::<Vec<_>>());
        }
    }
    Tensor::cat(&logits, 0)
}

/// Keys and values of one layer.
struct KeysValues {
    /// `[k, l, d]` of the prompt.
    prompt: [Tensor; 2],
    /// `[m, k, o, d]` of the completions; none before the first step.
    own: Option<[Tensor; 2]>,
}

/// What a layer keeps.
enum Kept {
    KeysValues(KeysValues),
    /// Of the prompt before the first step, then of each completion.
    State(DeltaState),
}

/// By layer.
#[derive(Default)]
struct Cache(Vec<Kept>);

/// The prompt's own attention; keeps its keys and values.
struct Prefill<'a> {
    prompt: &'a PackedBatch,
    cache: Cache,
}

impl TokenPlan for Prefill<'_> {
    fn attend(&mut self, layer: usize, q_thd: &Tensor, k_tkd: &Tensor, v_tkd: &Tensor) -> Tensor {
        let prompt = [k_tkd, v_tkd].map(|x| x.transpose(0, 1));
        self.cache.0.push(Kept::KeysValues(KeysValues { prompt, own: None }));
        let mut plan = self.prompt;
        plan.attend(layer, q_thd, k_tkd, v_tkd)
    }

    fn remember(&mut self, _layer: usize, memory: &DeltaMemory, inputs: &DeltaInputs) -> Tensor {
        let (out, state) = self.prompt.remember(memory, inputs);
        self.cache.0.push(Kept::State(state));
        out
    }
}

/// Every completion's newest token attends to the prompt and to the completion so far, itself included.
impl TokenPlan for Cache {
    fn attend(&mut self, layer: usize, q_mhd: &Tensor, k_mkd: &Tensor, v_mkd: &Tensor) -> Tensor {
        let Kept::KeysValues(KeysValues { prompt: [keys_kld, values_kld], own }) = &mut self.0[layer] else {
            unreachable!("a layer attends always or never")
        };
        let newest = [k_mkd, v_mkd].map(|x| x.unsqueeze(2));
        let grown = match own.take() {
            Some([keys, values]) => {
                [Tensor::cat(&[&keys, &newest[0]], 2), Tensor::cat(&[&values, &newest[1]], 2)]
            }
            None => newest,
        };
        let [keys_mkod, values_mkod] = own.insert(grown);

        let (m, h, d, k) = (q_mhd.size()[0], q_mhd.size()[1], q_mhd.size()[2], keys_kld.size()[0]);
        let r = h / k;
        let q_mkrd = (q_mhd * (1.0 / (d as f64).sqrt())).view([m, k, r, d]);
        // One product per key/value head over all completions: the prompt is not copied for each.
        let over_prompt = |x_mkrx: &Tensor, right_kxy: &Tensor| {
            let left = x_mkrx.transpose(0, 1).reshape([k, m * r, -1]);
            left.matmul(right_kxy).view([k, m, r, -1]).transpose(0, 1)
        };
        let prompt_scores = over_prompt(&q_mkrd, &keys_kld.transpose(1, 2));
        let own_scores = q_mkrd.matmul(&keys_mkod.transpose(2, 3));
        let (n_prompt, n_own) = (prompt_scores.size()[3], own_scores.size()[3]);
        let probs = Tensor::cat(&[prompt_scores, own_scores], 3).softmax(-1, Kind::Float);
        let from_prompt = over_prompt(&probs.narrow(3, 0, n_prompt), values_kld);
        let from_own = probs.narrow(3, n_prompt, n_own).matmul(values_mkod);
        (from_prompt + from_own).reshape([m, h, d])
    }

    fn remember(&mut self, layer: usize, memory: &DeltaMemory, inputs: &DeltaInputs) -> Tensor {
        let Kept::State(state) = &mut self.0[layer] else { unreachable!("a layer attends always or never") };
        let m = inputs.mixed.size()[0];
        if state.recurrent.size()[0] != m {
            *state = state.select(&Tensor::zeros([m], (Kind::Int64, inputs.mixed.device())));
        }
        let (out, next) = one_token(memory, inputs, state);
        *state = next;
        out
    }
}

/// One more token of each sequence: outputs `[m, h, d]`, and what is remembered then.
fn one_token(memory: &DeltaMemory, inputs: &DeltaInputs, state: &DeltaState) -> (Tensor, DeltaState) {
    let lengths = Tensor::ones([inputs.mixed.size()[0]], (Kind::Int64, inputs.mixed.device()));
    let (out_m1hd, next) = memory.run(&inputs.map(|x| x.unsqueeze(1)), &lengths, Some(state));
    (out_m1hd.squeeze_dim(1), next)
}
