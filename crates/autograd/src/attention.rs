//! Attention of packed tokens, part by part, merged by log-sum-exp: nothing is padded, copied per query or masked.
//!
//! What a token sees may lie in several stretches of the packed tokens: a completion sees its prompt and itself. Each
//! stretch is one call of flash attention (Dao 2023, arXiv 2307.08691). With `o_i` its output and `l_i` its log-sum-exp,
//! the whole is `o = sum_i exp(l_i - l) o_i` with `l = log sum_i exp(l_i)`. The gradient of a stretch's scores depends on
//! the others through `o` and `l` alone, so the backward pass of each call, given the merged two, is exact: the identity
//! behind ring attention (Liu, Zaharia and Abbeel 2023, arXiv 2310.01889).
//!
//! Axes in tensor names: t packed token, h query head, k key head, n look of a call, l position in it, d width.

use std::{ops::Range, sync::Arc};

use tch::{Kind, Tensor};

use crate::attach;

/// Which packed tokens look at which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Look {
    /// Packed tokens that ask.
    pub queries: Range<i64>,
    /// Packed tokens that they see.
    pub keys: Range<i64>,
    /// The i-th query sees the first i keys and the one after, not all.
    pub causal: bool,
}

/// Attention of queries `[t, h, d]` to keys and values `[t, k, d]` on the CPU: `softmax(q k^T / sqrt(d)) v` over all keys
/// that a query's looks show it; every key head serves `h / k` query heads. A query without a look gets 0.
///
/// Of the looks of a query the first comes before the second of any other, and first looks are in rising order of their
/// queries. Looks of one shape that follow each other are one call.
pub fn attention(q_thd: &Tensor, k_tkd: &Tensor, v_tkd: &Tensor, looks: &Arc<[Look]>) -> Tensor {
    let held = [q_thd, k_tkd, v_tkd].map(Tensor::detach);
    let (out_thd, lse_th) = tch::no_grad(|| forward(&held, looks));
    let (out_held, looks) = (out_thd.detach(), Arc::clone(looks));
    attach(&[q_thd, k_tkd, v_tkd], &[&out_thd], move |grads| {
        let Some(Some(grad_thd)) = grads.into_iter().next() else { return vec![None, None, None] };
        tch::no_grad(|| backward(&held, &looks, &out_held, &lse_th, &grad_thd.contiguous()).map(Some).into())
    });
    out_thd
}

/// `[t, h, d]` outputs and `[t, h]` log-sum-exps.
fn forward([q_thd, k_tkd, v_tkd]: &[Tensor; 3], looks: &[Look]) -> (Tensor, Tensor) {
    let out_thd = q_thd.zeros_like();
    let lse_kind = if q_thd.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let size = q_thd.size();
    let lse_th = Tensor::full([size[0], size[1]], f64::NEG_INFINITY, (lse_kind, q_thd.device()));
    let mut asked = 0;
    for call in calls(looks) {
        let [k, v] = [k_tkd, v_tkd].map(|x| call.keys_of(x, size[1]));
        let (found, lse_found) = on_threads(call.work(&size), || {
            Tensor::internal_scaled_dot_product_flash_attention_for_cpu(
                &call.queries_of(q_thd),
                &k,
                &v,
                0.0,
                call.causal,
                None::<Tensor>,
                None,
            )
        });
        let mut out = call.queries_of(&out_thd);
        let mut lse = call.queries_of(&lse_th.unsqueeze(2)).squeeze_dim(3);
        if call.queries.start < asked {
            let whole = lse.logaddexp(&lse_found);
            let share = |part: &Tensor| (part - &whole).exp().unsqueeze(3);
            out.copy_(&(&out * share(&lse) + &found * share(&lse_found)));
            lse.copy_(&whole);
        } else {
            out.copy_(&found);
            lse.copy_(&lse_found);
            asked = call.queries.end;
        }
    }
    (out_thd, lse_th)
}

/// Gradients of queries, keys and values.
fn backward(
    [q_thd, k_tkd, v_tkd]: &[Tensor; 3],
    looks: &[Look],
    out_thd: &Tensor,
    lse_th: &Tensor,
    grad_thd: &Tensor,
) -> [Tensor; 3] {
    let size = q_thd.size();
    let grads = [q_thd, k_tkd, v_tkd].map(Tensor::zeros_like);
    let [grad_q_thd, grad_k_tkd, grad_v_tkd] = &grads;
    for call in calls(looks) {
        let [k, v] = [k_tkd, v_tkd].map(|x| call.keys_of(x, size[1]));
        let (grad_q, grad_k, grad_v) = on_threads(call.work(&size), || {
            Tensor::internal_scaled_dot_product_flash_attention_for_cpu_backward(
                &call.queries_of(grad_thd),
                &call.queries_of(q_thd),
                &k,
                &v,
                &call.queries_of(out_thd),
                &call.queries_of(&lse_th.unsqueeze(2)).squeeze_dim(3),
                0.0,
                call.causal,
                None::<Tensor>,
                None,
            )
        });
        let _ = call.queries_of(grad_q_thd).g_add_(&grad_q);
        for (whole_tkd, part) in [(grad_k_tkd, grad_k), (grad_v_tkd, grad_v)] {
            let _ = call.rows_of(whole_tkd, &call.keys).g_add_(&call.summed(&part, whole_tkd.size()[1]));
        }
    }
    grads
}

/// Looks of the same shape, one behind another: one call, each a row of its batch.
struct Call {
    n: i64,
    queries: Range<i64>,
    keys: Range<i64>,
    causal: bool,
}

fn calls(looks: &[Look]) -> impl Iterator<Item = Call> {
    let length = |range: &Range<i64>| range.end - range.start;
    let goes_on = move |a: &Look, b: &Look| {
        let follows = |a: &Range<i64>, b: &Range<i64>| a.end == b.start && length(a) == length(b);
        follows(&a.queries, &b.queries) && follows(&a.keys, &b.keys) && a.causal == b.causal
    };
    looks.chunk_by(goes_on).map(|same| {
        let (first, last) = (&same[0], &same[same.len() - 1]);
        Call {
            n: same.len() as i64,
            queries: first.queries.start..last.queries.end,
            keys: first.keys.start..last.keys.end,
            causal: first.causal,
        }
    })
}

impl Call {
    /// Rows of `[t, x, d]` as `[n, l, x, d]`, a view.
    fn rows_of(&self, x: &Tensor, range: &Range<i64>) -> Tensor {
        let rows = x.narrow(0, range.start, range.end - range.start);
        let size = rows.size();
        rows.view([self.n, -1, size[1], size[2]])
    }

    /// Its queries of `[t, h, d]` as `[n, h, l, d]`, a view.
    fn queries_of(&self, x_thd: &Tensor) -> Tensor {
        self.rows_of(x_thd, &self.queries).transpose(1, 2)
    }

    /// Its keys of `[t, k, d]` as `[n, h, l, d]`: each key head once for each of its query heads.
    fn keys_of(&self, x_tkd: &Tensor, heads: i64) -> Tensor {
        let x = self.rows_of(x_tkd, &self.keys).transpose(1, 2);
        let repeat = heads / x.size()[1];
        if repeat == 1 { x } else { x.repeat_interleave_self_int(repeat, 1, None) }
    }

    /// What comes back for its keys, `[n, h, l, d]`, summed over the query heads of each key head: `[n, l, k, d]`.
    fn summed(&self, x_nhld: &Tensor, kv_heads: i64) -> Tensor {
        let size = x_nhld.size();
        let by_head = x_nhld.reshape([self.n, kv_heads, -1, size[2], size[3]]);
        by_head.sum_dim_intlist(2, false, None).transpose(1, 2)
    }

    /// Multiplications of its scores, for queries of this size.
    fn work(&self, size_thd: &[i64]) -> i64 {
        (self.queries.end - self.queries.start) * (self.keys.end - self.keys.start) / self.n
            * size_thd[1]
            * size_thd[2]
    }
}

/// Multiplications below which waking a thread costs more than it brings.
const WORTH_THREADS: i64 = 1 << 20;

/// Runs a call of libtorch on one thread where it has little to do.
fn on_threads<T>(work: i64, call: impl FnOnce() -> T) -> T {
    let threads = tch::get_num_threads();
    if work >= WORTH_THREADS || threads == 1 {
        return call();
    }
    tch::set_num_threads(1);
    let result = call();
    tch::set_num_threads(threads);
    result
}
