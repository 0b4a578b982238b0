//! Rotary embedding of fused queries, keys and values, with its gradient.
//!
//! `y = x cos + swap(x) sin`, halves swapped, the left half of `sin` negative (Su et al. 2021). It is a rotation, so the
//! gradient is turned back: the same with `-sin`.

use multiversion::multiversion;
use tch::Tensor;

use crate::{attach, filled, rows::blocks, slices::held};

/// Heads of a fused projection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Queries.
    pub q: usize,
    /// Keys, and as many values.
    pub kv: usize,
    /// Numbers of a head.
    pub d: usize,
}

impl Heads {
    fn all(self) -> usize {
        self.q + 2 * self.kv
    }

    /// Heads of queries, keys and values, one behind another.
    fn parts(self) -> [std::ops::Range<usize>; 3] {
        [0..self.q, self.q..self.q + self.kv, self.q + self.kv..self.all()]
    }
}

/// Queries `[t, q, d]`, keys and values `[t, kv, d]` of a fused projection `[t, (q + 2 kv) d]`, queries and keys turned
/// by the angles whose cosines and sines are `[t, d]`, the left half of the sines negative; fp32 on the CPU.
pub fn turned_heads(qkv: &Tensor, heads: Heads, cos: &Tensor, sin: &Tensor) -> [Tensor; 3] {
    let input = qkv.detach().contiguous();
    let (cos, sin) = (cos.detach().contiguous(), sin.detach().contiguous());
    let (size, d) = (input.size(), heads.d);
    let tokens = input.numel() / (heads.all() * d);
    let parts = heads.parts().map(|range| {
        let (x, cos, sin) = (held(&input), held(&cos), held(&sin));
        filled(&[tokens as i64, range.len() as i64, d as i64], |out| {
            let turns = range.start < heads.q + heads.kv;
            blocks(out, range.len() * d, |first, rows| {
                for (i, row) in rows.chunks_exact_mut(range.len() * d).enumerate() {
                    let token = first + i;
                    row.copy_from_slice(&x[(token * heads.all() + range.start) * d..][..range.len() * d]);
                    if turns {
                        turn(row, &cos[token * d..][..d], &sin[token * d..][..d], 1.0);
                    }
                }
            });
        })
    });
    attach(&[qkv], &parts.each_ref(), move |grads| {
        let grads: Vec<Option<Tensor>> = grads.into_iter().map(|g| g.map(|g| g.contiguous())).collect();
        let grads: Vec<Option<&[f32]>> = grads.iter().map(|grad| grad.as_ref().map(held)).collect();
        let (cos, sin) = (held(&cos), held(&sin));
        let grad_x = filled(&size, |grad_x| {
            blocks(grad_x, heads.all() * d, |first, rows| {
                for (i, row) in rows.chunks_exact_mut(heads.all() * d).enumerate() {
                    let token = first + i;
                    for (grad, range) in grads.iter().zip(heads.parts()) {
                        let to = &mut row[range.start * d..range.end * d];
                        match grad {
                            Some(grad) => {
                                to.copy_from_slice(&grad[token * range.len() * d..][..to.len()]);
                            }
                            None => to.fill(0.0),
                        }
                    }
                    let turned = &mut row[..(heads.q + heads.kv) * d];
                    turn(turned, &cos[token * d..][..d], &sin[token * d..][..d], -1.0);
                }
            });
        });
        vec![Some(grad_x)]
    });
    parts
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn turn(heads: &mut [f32], cos: &[f32], sin: &[f32], direction: f32) {
    let d = cos.len();
    let half = d / 2;
    for head in heads.chunks_exact_mut(d) {
        let (left, right) = head.split_at_mut(half);
        for i in 0..half {
            let (l, r) = (left[i], right[i]);
            left[i] = l * cos[i] + r * (direction * sin[i]);
            right[i] = r * cos[half + i] + l * (direction * sin[half + i]);
        }
    }
}
