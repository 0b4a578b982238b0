//! Distributions by hand.

use reft_kernels::{Draw, Truncation, draw};

const LN_2: f32 = std::f32::consts::LN_2;
/// Probabilities 0.5, 0.25, 0.125, 0.125 on tokens 2, 0, 1, 4; token 3 is never drawn.
const LOGITS: [f32; 5] = [0.0, -LN_2, LN_2, 9.0, -LN_2];
const ALLOWED: [f32; 5] = [0.0, 0.0, 0.0, f32::NEG_INFINITY, 0.0];

fn at(truncation: &Truncation, uniform: f64) -> Draw {
    draw(&LOGITS, &ALLOWED, truncation, uniform, &mut Vec::new())
}

#[test]
fn probabilities_by_hand() {
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
        let truncation = Truncation { temperature, top_k, top_p };
        // A fine sweep of uniform numbers draws each token as often as its probability says.
        let n = 10_000;
        let mut counts = [0_u32; 5];
        for i in 0..n {
            let Draw { token, logprob } = at(&truncation, (f64::from(i) + 0.5) / f64::from(n));
            counts[token] += 1;
            assert!((logprob.exp() - expected[token]).abs() < 1e-5, "{truncation:?}: {token} {logprob}");
        }
        for (count, p) in counts.iter().zip(expected) {
            assert!((*count as f32 / n as f32 - p).abs() < 2e-4, "{truncation:?}: {counts:?}");
        }
    }
}

#[test]
fn greedy_reports_the_whole_distribution() {
    let Draw { token, logprob } = at(&Truncation { temperature: 0.0, top_k: 1, top_p: 0.1 }, 0.99);
    assert_eq!(token, 2);
    assert!((logprob - 0.5_f32.ln()).abs() < 1e-6);
}

#[test]
fn logits_that_are_not_numbers_show() {
    let truncation = Truncation { temperature: 1.0, top_k: 0, top_p: 1.0 };
    let Draw { logprob, .. } = draw(&[0.0, f32::NAN], &[0.0, 0.0], &truncation, 0.5, &mut Vec::new());
    assert!(!logprob.is_finite());
}
