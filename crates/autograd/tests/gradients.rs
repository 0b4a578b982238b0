//! Values and gradients against libtorch's own operations.

use std::sync::Arc;

use reft_autograd::{Heads, Look, attach, attention, linear, rms_norm, set_grad, silu_gate, turned_heads};
use tch::{Device, Kind, Tensor};

fn random(shape: &[i64], offset: f64) -> Tensor {
    let n: i64 = shape.iter().product();
    let x = Tensor::arange(n, (Kind::Double, Device::Cpu)) + offset;
    ((&x * 1.7).sin() * 1.3 + (x * 0.37).cos()).to_kind(Kind::Float).view(shape)
}

fn leaf(x: &Tensor) -> Tensor {
    x.copy().set_requires_grad(true)
}

/// Both functions on the same inputs: values and gradients of `sum(y * weights)`.
fn agree(
    inputs: &[Tensor],
    ours: impl Fn(&[Tensor]) -> Vec<Tensor>,
    theirs: impl Fn(&[Tensor]) -> Vec<Tensor>,
) {
    let run = |f: &dyn Fn(&[Tensor]) -> Vec<Tensor>| {
        let leaves: Vec<Tensor> = inputs.iter().map(leaf).collect();
        let outputs = f(&leaves);
        let losses: Vec<Tensor> = outputs
            .iter()
            .enumerate()
            .map(|(i, y)| (y * random(&y.size(), 11.0 * i as f64)).sum(Kind::Float))
            .collect();
        Tensor::stack(&losses, 0).sum(Kind::Float).backward();
        (outputs, leaves.iter().map(Tensor::grad).collect::<Vec<_>>())
    };
    let ((our_values, our_grads), (values, grads)) = (run(&ours), run(&theirs));
    for (got, want) in our_values.iter().chain(&our_grads).zip(values.iter().chain(&grads)) {
        let diff = (got - want).abs().max().double_value(&[]);
        let scale = want.abs().max().double_value(&[]);
        assert!(diff <= 2e-6 * scale.max(1.0), "{diff} of {scale}");
    }
}

#[test]
fn norm() {
    for (rows, width) in [(3, 5), (200, 128), (65, 40)] {
        agree(
            &[random(&[rows, width], 0.0), random(&[width], 5.0)],
            |x| vec![rms_norm(&x[0], &x[1], 1e-5)],
            |x| {
                let scale = (x[0].square().mean_dim(-1, true, Kind::Float) + 1e-5).rsqrt();
                vec![&x[0] * scale * &x[1]]
            },
        );
    }
}

/// Four tokens of a prompt, then completions of three tokens and one; each key head serves three query heads.
#[test]
fn merged_attention() {
    let look = |queries, keys, causal| Look { queries, keys, causal };
    let looks: Arc<[Look]> =
        [look(0..4, 0..4, true), look(4..8, 0..4, false), look(4..7, 4..7, true), look(7..8, 7..8, true)]
            .into();
    let sees = |query: i64, key: i64| key <= query && (key < 4 || (query == 7) == (key == 7));
    let mask: Vec<f32> = (0..64).map(|i| if sees(i / 8, i % 8) { 0.0 } else { f32::NEG_INFINITY }).collect();
    let mask = Tensor::from_slice(&mask).view([1, 8, 8]);
    agree(
        &[random(&[8, 6, 5], 0.0), random(&[8, 2, 5], 3.0), random(&[8, 2, 5], 8.0)],
        |x| vec![attention(&x[0], &x[1], &x[2], &looks)],
        |x| {
            let [q, k, v] = [0, 1, 2].map(|i| {
                let repeat = 6 / x[i].size()[1];
                x[i].repeat_interleave_self_int(repeat, 1, None).transpose(0, 1)
            });
            let scores = q.matmul(&k.transpose(1, 2)) / 5.0_f64.sqrt() + &mask;
            vec![scores.softmax(-1, Kind::Float).matmul(&v).transpose(0, 1)]
        },
    );
}

#[test]
fn gate() {
    for (rows, inner) in [(3, 5), (150, 384)] {
        agree(
            &[random(&[rows, 2 * inner], 0.0)],
            |x| vec![silu_gate(&x[0])],
            |x| {
                let halves = x[0].chunk(2, -1);
                vec![halves[0].silu() * &halves[1]]
            },
        );
    }
}

#[test]
fn rotary() {
    let (t, heads) = (70, Heads { q: 4, kv: 2, d: 6 });
    let angles = random(&[t, 3], 1.0);
    let (cos, sin) = (angles.cos().repeat([1, 2]), Tensor::cat(&[-angles.sin(), angles.sin()], 1));
    agree(
        &[random(&[t, 48], 0.0)],
        |x| turned_heads(&x[0], heads, &cos, &sin).into(),
        |x| {
            let x = x[0].view([t, 8, 6]);
            let turn = |x: Tensor| &x * cos.unsqueeze(1) + x.roll(3, 2) * sin.unsqueeze(1);
            vec![turn(x.narrow(1, 0, 4)), turn(x.narrow(1, 4, 2)), x.narrow(1, 6, 2)]
        },
    );
}

#[test]
fn linear_layers() {
    for (rows, input, output) in [(3, 5, 7), (130, 64, 96)] {
        // Small weights: sums of a hundred products differ in their last bits.
        let [x, w, b] =
            [random(&[rows, input], 0.0), random(&[output, input], 3.0) * 0.1, random(&[output], 5.0)];
        agree(
            &[x.shallow_clone(), w.shallow_clone(), b],
            |x| vec![linear(&x[0], &x[1], Some(&x[2]))],
            |x| vec![x[0].linear(&x[1], Some(&x[2]))],
        );
        agree(
            &[x.shallow_clone(), w.shallow_clone()],
            |x| vec![linear(&x[0], &x[1], None)],
            |x| vec![x[0].linear(&x[1], None::<&Tensor>)],
        );
        // A frozen weight, and a layer behind another.
        let frozen = w.matmul(&w.tr());
        agree(
            &[x, w],
            |x| vec![linear(&linear(&x[0], &x[1], None), &frozen, None)],
            |x| vec![x[0].matmul(&x[1].tr()).matmul(&frozen.tr())],
        );
    }
}

#[test]
fn outputs_that_take_no_part_have_no_gradient() {
    let x = leaf(&random(&[4, 16], 0.0));
    let ones = Tensor::ones([4, 2], (Kind::Float, Device::Cpu));
    let [_, _, v] = turned_heads(&x, Heads { q: 4, kv: 2, d: 2 }, &ones, &ones.zeros_like());
    v.sum(Kind::Float).backward();
    let expected = Tensor::cat(&[x.zeros_like().narrow(1, 0, 12), x.ones_like().narrow(1, 0, 4)], 1);
    assert!(x.grad().equal(&expected));
}

/// What a node holds goes with the graph, used or not.
#[test]
fn nodes_are_freed() {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    };
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let freed = Arc::new(AtomicUsize::new(0));
    let x = leaf(&random(&[3], 0.0));
    let double = || {
        let (y, counted) = (x.detach() * 2.0, Counted(freed.clone()));
        attach(&[&x], &[&y], move |grads| {
            let _held = &counted;
            grads.into_iter().map(|grad| grad.map(|grad| grad * 2.0)).collect()
        });
        y
    };
    drop(double());
    assert_eq!(freed.load(Ordering::SeqCst), 1);
    double().sum(Kind::Float).backward();
    assert_eq!(freed.load(Ordering::SeqCst), 2);
    assert_eq!(Vec::<f32>::try_from(x.grad()).unwrap(), [2.0; 3]);
    tch::no_grad(|| assert!(!double().requires_grad()));
    assert_eq!(freed.load(Ordering::SeqCst), 3);
}

/// Gradients of leaves that are views of one buffer accumulate in it, pass after pass.
#[test]
fn gradients_accumulate_in_place() {
    for kind in [Kind::Float, Kind::BFloat16] {
        let flat = Tensor::zeros([6], (kind, Device::Cpu));
        let options = (kind, Device::Cpu);
        let (a, b) = (Tensor::ones([2, 2], options), Tensor::ones([2], options));
        let _ = (a.set_requires_grad(true), b.set_requires_grad(true));
        set_grad(&a, Some(&flat.narrow(0, 0, 4).view([2, 2])));
        set_grad(&b, Some(&flat.narrow(0, 4, 2)));
        for pass in 1..=2 {
            a.matmul(&b).sum(kind).backward();
            let found: Vec<f32> = flat.to_kind(Kind::Float).try_into().unwrap();
            let pass = pass as f32;
            assert_eq!(found, [pass, pass, pass, pass, 2.0 * pass, 2.0 * pass]);
        }
        set_grad(&a, None);
        assert!(!a.grad().defined() && b.grad().defined());
    }
}
