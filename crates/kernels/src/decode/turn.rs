//! What one member of the team does in a step.

use std::sync::{Mutex, PoisonError, RwLock};

use super::{
    cache::{Cache, CacheLayer},
    columns::{Head, add, linear, norm, share, turn},
    step::{Part, Step},
    weights::{Decoder, Layer, Linear},
};
use crate::{
    Heads,
    attention::{Queries, Scratch, attend},
    elementwise::gate_row,
    product::lanes_of,
    team::Member,
};

/// What members hand each other: the outputs that each has made in this stage, and in the one before.
pub(super) struct Exchange {
    pieces: Vec<[RwLock<Vec<f32>>; 2]>,
}

impl Exchange {
    pub(super) fn new(members: usize) -> Self {
        Self { pieces: (0..members).map(|_| Default::default()).collect() }
    }

    /// The pieces of a stage, one after another, as outputs `[n, lanes]` of a layer.
    pub(super) fn read(&self, stage: usize, mut piece: impl FnMut(&[f32])) {
        for pieces in &self.pieces {
            piece(&pieces[stage % 2].read().unwrap_or_else(PoisonError::into_inner));
        }
    }
}

/// Memory of a member, kept from step to step.
#[derive(Default)]
pub(super) struct Memory {
    /// `[width, lanes]` the hidden state. Every member has all of it: to add and norm it costs less than to hand it over.
    x: Vec<f32>,
    /// What a stage reads.
    input: Vec<f32>,
    sums: Vec<f32>,
    low: [Vec<f32>; 2],
    gate_up: Vec<f32>,
    queries: Vec<f32>,
    key: Vec<f32>,
    scratch: Scratch,
}

/// A member at its part of a step.
pub(super) struct Turn<'a> {
    pub(super) decoder: &'a Decoder<'a>,
    pub(super) cache: &'a Cache,
    pub(super) exchange: &'a Exchange,
    pub(super) step: &'a Step,
    pub(super) member: &'a Member<'a>,
    pub(super) members: usize,
    /// Stages that are done.
    pub(super) stage: usize,
}

impl Turn<'_> {
    /// The step. The logits `[vocabulary, lanes]` are what the last stage makes; returns its number.
    pub(super) fn run(mut self, memory: &Mutex<Memory>) {
        let mut memory = memory.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = &mut *memory;
        memory.x.clone_from(&self.step.x);
        for (layer, cache) in self.decoder.layers.iter().zip(&self.cache.layers) {
            self.attention(layer, cache, memory);
            self.mlp(layer, memory);
        }
        self.norm(self.decoder.norm, memory);
        let head = Linear { weight: self.decoder.lm_head, bias: None, updates: Vec::new() };
        self.linear(&head, memory);
    }

    fn attention(&mut self, layer: &Layer<'_>, cache: &CacheLayer, memory: &mut Memory) {
        self.norm(layer.input_layernorm, memory);
        self.linear(&layer.qkv_proj, memory);
        self.gather(&mut memory.input);
        self.share(|this, out| {
            for part in this.step.parts.iter().skip(this.member.index).step_by(this.members) {
                this.attend(layer, cache, part, memory, out);
            }
        });
        self.gather_attended(&mut memory.input);
        self.linear(&layer.o_proj, memory);
        self.add_to(&mut memory.x);
    }

    fn mlp(&mut self, layer: &Layer<'_>, memory: &mut Memory) {
        self.norm(layer.post_attention_layernorm, memory);
        let Memory { input, low: [low, update], gate_up, .. } = memory;
        self.share(|this, out| {
            let (layer, lanes) = (&layer.gate_up_proj, this.step.lanes);
            let inner = layer.weight.len() / this.decoder.width() / 2;
            let columns = share(inner, this.member.index, this.members);
            gate_up.clear();
            for part in [0, inner] {
                let columns = part + columns.start..part + columns.end;
                linear(layer, columns, input, lanes, [&mut *low, &mut *update], gate_up);
            }
            let (gate, up) = gate_up.split_at(columns.len() * lanes);
            out.resize(gate.len(), 0.0);
            gate_row(gate, up, out);
        });
        self.gather(&mut memory.input);
        self.linear(&layer.down_proj, memory);
        self.add_to(&mut memory.x);
    }

    fn norm(&self, weight: &[f32], memory: &mut Memory) {
        let Memory { x, input, sums, .. } = memory;
        norm(x, self.step.lanes, weight, self.decoder.eps, sums, input);
    }

    /// This member's outputs of a linear layer.
    fn linear(&mut self, layer: &Linear<'_>, memory: &mut Memory) {
        let Memory { input, low: [low, update], .. } = memory;
        self.share(|this, out| {
            let outputs = layer.weight.len() * this.step.lanes / input.len();
            let mine = share(outputs, this.member.index, this.members);
            linear(layer, mine, input, this.step.lanes, [low, update], out);
        });
    }

    /// A stage: makes this member's piece, and returns when all have made theirs.
    fn share(&mut self, make: impl FnOnce(&Self, &mut Vec<f32>)) {
        let piece = &self.exchange.pieces[self.member.index][self.stage % 2];
        let mut piece = piece.write().unwrap_or_else(PoisonError::into_inner);
        piece.clear();
        make(self, &mut piece);
        drop(piece);
        self.member.wait();
        self.stage += 1;
    }

    fn read(&self, piece: impl FnMut(&[f32])) {
        self.exchange.read(self.stage - 1, piece);
    }

    fn gather(&self, all: &mut Vec<f32>) {
        all.clear();
        self.read(|piece| all.extend_from_slice(piece));
    }

    fn add_to(&self, x: &mut [f32]) {
        let mut done = 0;
        self.read(|piece| {
            add(piece, &mut x[done..done + piece.len()]);
            done += piece.len();
        });
    }

    /// `[d, lanes]` behind what is in `out`, lanes as in [`Queries`].
    fn attend(
        &self,
        layer: &Layer<'_>,
        cache: &CacheLayer,
        part: &Part,
        memory: &mut Memory,
        out: &mut Vec<f32>,
    ) {
        let Heads { n, kv, d } = self.decoder.heads;
        let Step { lanes, cos, sin, .. } = self.step;
        let (repeat, rows) = (n / kv, part.slots.len());
        let Memory { input: qkv, queries, key, sums, scratch, .. } = memory;
        let of_head = |head: usize| &qkv[head * d * lanes..][..d * lanes];
        let [q_norm, k_norm] = [0, 1].map(|i| layer.qk_norm.map(|norms| (norms[i], self.decoder.eps)));
        let head = |head: usize, norm, factor| Head {
            x: of_head(head),
            lanes: *lanes,
            rows: part.first..part.first + rows,
            norm,
            cos,
            sin,
            factor,
        };

        let query_lanes = lanes_of(repeat * rows);
        queries.clear();
        queries.resize(d * query_lanes, 0.0);
        for i in 0..repeat {
            let query = head(part.kv * repeat + i, q_norm, 1.0 / (d as f32).sqrt());
            turn(&query, queries, query_lanes, i * rows, sums);
        }
        key.resize(d * rows, 0.0);
        turn(&head(n + part.kv, k_norm, 1.0), key, rows, 0, sums);

        let value = of_head(n + kv + part.kv);
        let own: Vec<_> = part
            .slots
            .iter()
            .enumerate()
            .map(|(row, slot)| {
                let mut own = cache.own[slot * kv + part.kv].lock().unwrap_or_else(PoisonError::into_inner);
                assert!(own.length() < self.cache.plan.completion_tokens, "no longer than was planned");
                let value = value[part.first + row..].iter().step_by(*lanes);
                own.push(key[row..].iter().step_by(rows), value);
                own
            })
            .collect();
        let prompt = cache.prompts[part.group * kv + part.kv].read().unwrap_or_else(PoisonError::into_inner);
        let from = out.len();
        out.resize(from + d * query_lanes, 0.0);
        let queries = Queries { turned: queries, lanes: query_lanes, rows, repeat };
        attend(&queries, &prompt, &own, scratch, &mut out[from..]);
    }

    /// What all have found, `[n d, lanes]`.
    fn gather_attended(&self, all: &mut Vec<f32>) {
        let Heads { n, kv, d } = self.decoder.heads;
        let (lanes, repeat) = (self.step.lanes, n / kv);
        all.clear();
        all.resize(n * d * lanes, 0.0);
        let mut member = 0;
        self.read(|mut piece| {
            for part in self.step.parts.iter().skip(member).step_by(self.members) {
                let rows = part.slots.len();
                let query_lanes = lanes_of(repeat * rows);
                let (found, rest) = piece.split_at(d * query_lanes);
                for (i, found) in found.chunks_exact(query_lanes).enumerate() {
                    for (head, found) in found.chunks_exact(rows).take(repeat).enumerate() {
                        let at = ((part.kv * repeat + head) * d + i) * lanes + part.first;
                        all[at..at + rows].copy_from_slice(found);
                    }
                }
                piece = rest;
            }
            member += 1;
        });
    }
}
