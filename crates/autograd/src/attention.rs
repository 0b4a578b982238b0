//! Attention of packed tokens, part by part, merged by log-sum-exp: nothing is padded, copied per query or masked.
//!
//! What a token sees may lie in several stretches of the packed tokens: a completion sees its prompt and itself. Each
//! stretch is one call of flash attention (Dao 2023, arXiv 2307.08691). With `o_i` its output and `l_i` its log-sum-exp,
//! the whole is `o = sum_i exp(l_i - l) o_i` with `l = log sum_i exp(l_i)`. The gradient of a stretch's scores depends on
//! the others through `o` and `l` alone, so the backward pass of each call, given the merged two, is exact: the identity
//! behind ring attention (Liu, Zaharia and Abbeel 2023, arXiv 2310.01889).
//!
//! Axes in tensor names: t packed token, h query head, k key head, r query head of a key head, l query, n key, d width.

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
/// that a query's looks show it; every key head serves `h / k` query heads. Looks with the same queries, whole or in
/// pieces, come one after another; what no look asks for is 0.
pub fn attention(q_thd: &Tensor, k_tkd: &Tensor, v_tkd: &Tensor, looks: &Arc<[Look]>) -> Tensor {
    let held = [q_thd, k_tkd, v_tkd].map(Tensor::detach);
    let (out_thd, lse_krt) = tch::no_grad(|| forward(&held, looks));
    let (out_held, looks) = (out_thd.detach(), Arc::clone(looks));
    attach(&[q_thd, k_tkd, v_tkd], &[&out_thd], move |grads| {
        let Some(Some(grad_thd)) = grads.into_iter().next() else { return vec![None, None, None] };
        tch::no_grad(|| backward(&held, &looks, &out_held, &lse_krt, &grad_thd.contiguous()).map(Some).into())
    });
    out_thd
}

/// `[t, h, d]` outputs and `[k, r, t]` log-sum-exps.
fn forward([q_thd, k_tkd, v_tkd]: &[Tensor; 3], looks: &[Look]) -> (Tensor, Tensor) {
    let n_kv = k_tkd.size()[1];
    let out_thd = q_thd.zeros_like();
    let lse_kind = if q_thd.kind() == Kind::Double { Kind::Double } else { Kind::Float };
    let shape = [n_kv, q_thd.size()[1] / n_kv, q_thd.size()[0]];
    let lse_krt = Tensor::full(shape, f64::NEG_INFINITY, (lse_kind, q_thd.device()));
    let mut asked = 0..0;
    for look in looks {
        let [k, v] = [k_tkd, v_tkd].map(|x| shared(x, look, shape[1]));
        let q = by_key_head(q_thd, &look.queries, n_kv);
        let (found, lse_found) = Tensor::internal_scaled_dot_product_flash_attention_for_cpu(
            &q,
            &k,
            &v,
            0.0,
            look.causal,
            None::<Tensor>,
            None,
        );
        let mut out = by_key_head(&out_thd, &look.queries, n_kv);
        let mut lse = lse_krt.narrow(2, look.queries.start, look.queries.end - look.queries.start);
        let again = asked.start <= look.queries.start && look.queries.end <= asked.end;
        if again {
            let whole = lse.logaddexp(&lse_found);
            let share = |part: &Tensor| (part - &whole).exp().unsqueeze(3);
            out.copy_(&(&out * share(&lse) + &found * share(&lse_found)));
            lse.copy_(&whole);
        } else {
            out.copy_(&found);
            lse.copy_(&lse_found);
            asked = look.queries.clone();
        }
    }
    (out_thd, lse_krt)
}

/// Gradients of queries, keys and values.
fn backward(
    [q_thd, k_tkd, v_tkd]: &[Tensor; 3],
    looks: &[Look],
    out_thd: &Tensor,
    lse_krt: &Tensor,
    grad_thd: &Tensor,
) -> [Tensor; 3] {
    let n_kv = k_tkd.size()[1];
    let grads = [q_thd, k_tkd, v_tkd].map(Tensor::zeros_like);
    let [grad_q_thd, grad_k_tkd, grad_v_tkd] = &grads;
    for look in looks {
        let [q, out, grad] = [q_thd, out_thd, grad_thd].map(|x| by_key_head(x, &look.queries, n_kv));
        let [k, v] = [k_tkd, v_tkd].map(|x| shared(x, look, lse_krt.size()[1]));
        let lse = lse_krt.narrow(2, look.queries.start, look.queries.end - look.queries.start);
        let (grad_q, grad_k, grad_v) = Tensor::internal_scaled_dot_product_flash_attention_for_cpu_backward(
            &grad,
            &q,
            &k,
            &v,
            &out,
            &lse,
            0.0,
            look.causal,
            None::<Tensor>,
            None,
        );
        let _ = by_key_head(grad_q_thd, &look.queries, n_kv).g_add_(&grad_q);
        for (whole_tkd, part) in [(grad_k_tkd, grad_k), (grad_v_tkd, grad_v)] {
            let part_nkd = part.sum_dim_intlist(1, false, None).transpose(0, 1);
            let _ = rows(whole_tkd, &look.keys).g_add_(&part_nkd);
        }
    }
    grads
}

fn rows(x: &Tensor, range: &Range<i64>) -> Tensor {
    x.narrow(0, range.start, range.end - range.start)
}

/// Rows of `[t, h, d]` as `[k, r, l, d]`, a view.
fn by_key_head(x_thd: &Tensor, range: &Range<i64>, n_kv: i64) -> Tensor {
    let x_lhd = rows(x_thd, range);
    let (l, d) = (x_lhd.size()[0], x_lhd.size()[2]);
    x_lhd.view([l, n_kv, -1, d]).permute([1, 2, 0, 3])
}

/// The keys of a look, `[t, k, d]`, as `[k, r, n, d]` that all query heads of a key head share, a view.
fn shared(x_tkd: &Tensor, look: &Look, per_head: i64) -> Tensor {
    let x_knd = rows(x_tkd, &look.keys).transpose(0, 1);
    let size = x_knd.size();
    x_knd.unsqueeze(1).expand([size[0], per_head, size[1], size[2]], false)
}
