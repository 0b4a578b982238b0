//! Distributions by hand, and those of transformers (`fixtures/golden/sampling.json`, made by
//! `fixtures/generate/golden_sampling.py`).

use std::path::PathBuf;

use proptest::prelude::*;
use reft_kernels::{Conditions, Draw, Shaping, draw, draw_rows};
use serde::Deserialize;

const LN_2: f32 = std::f32::consts::LN_2;
/// Probabilities 0.5, 0.25, 0.125, 0.125 on tokens 2, 0, 1, 4; token 3 is never drawn.
const LOGITS: [f32; 5] = [0.0, -LN_2, LN_2, 9.0, -LN_2];
const ALLOWED: [f32; 5] = [0.0, 0.0, 0.0, f32::NEG_INFINITY, 0.0];

fn at(shaping: &Shaping, uniform: f64) -> Draw {
    draw(&LOGITS, &ALLOWED, shaping, &Conditions { uniform, ..Conditions::default() }, &mut Vec::new())
}

fn probabilities(logits: &[f32], allowed: &[f32], shaping: &Shaping, given: &Conditions<'_>) -> Vec<f32> {
    let mut weights = Vec::new();
    draw(logits, allowed, shaping, given, &mut weights);
    let total: f32 = weights.iter().sum();
    weights.iter().map(|weight| weight / total).collect()
}

/// The limit of small temperatures is the most likely token, which is then certain.
#[test]
fn tiny_temperatures_are_greedy() {
    for temperature in [1e-4, 1e-10, 1e-38, 1e-45] {
        for (top_p, min_p) in [(1.0, 0.0), (0.9, 0.0), (1.0, 0.1)] {
            let shaping = Shaping { temperature, top_p, min_p, ..Shaping::default() };
            assert_eq!(at(&shaping, 0.999), Draw { token: 2, logprob: 0.0 }, "{shaping:?}");
        }
    }
}

#[test]
fn probabilities_by_hand() {
    let cases: [(f32, usize, f32, f32, [f32; 5]); 12] = [
        (1.0, 0, 1.0, 0.0, [0.25, 0.125, 0.5, 0.0, 0.125]),
        (1.0, 100, 1.0, 0.0, [0.25, 0.125, 0.5, 0.0, 0.125]),
        (1.0, 2, 1.0, 0.0, [1.0 / 3.0, 0.0, 2.0 / 3.0, 0.0, 0.0]),
        // Tokens 1 and 4 tie for the third given: both stay.
        (1.0, 3, 1.0, 0.0, [0.25, 0.125, 0.5, 0.0, 0.125]),
        (1.0, 0, 0.4, 0.0, [0.0, 0.0, 1.0, 0.0, 0.0]),
        (1.0, 0, 0.7, 0.0, [1.0 / 3.0, 0.0, 2.0 / 3.0, 0.0, 0.0]),
        (1.0, 0, 0.0, 0.0, [0.0, 0.0, 1.0, 0.0, 0.0]),
        // p counts what k has left: 2/3 reaches 0.6.
        (1.0, 2, 0.6, 0.0, [0.0, 0.0, 1.0, 0.0, 0.0]),
        // Squares of the probabilities, over 0.34375.
        (0.5, 0, 1.0, 0.0, [0.181_818, 0.045_454_5, 0.727_272_7, 0.0, 0.045_454_5]),
        (1.0, 0, 1.0, 0.3, [1.0 / 3.0, 0.0, 2.0 / 3.0, 0.0, 0.0]),
        (1.0, 0, 1.0, 1.0, [0.0, 0.0, 1.0, 0.0, 0.0]),
        // At half the temperature the shares are 1/16, 1/4.
        (0.5, 0, 1.0, 0.1, [0.2, 0.0, 0.8, 0.0, 0.0]),
    ];
    for (temperature, top_k, top_p, min_p, expected) in cases {
        let shaping = Shaping { temperature, top_k, top_p, min_p, ..Shaping::default() };
        // A fine sweep of uniform numbers draws each token as often as its probability says.
        let n = 10_000;
        let mut counts = [0_u32; 5];
        for i in 0..n {
            let Draw { token, logprob } = at(&shaping, (f64::from(i) + 0.5) / f64::from(n));
            counts[token] += 1;
            assert!((logprob.exp() - expected[token]).abs() < 1e-5, "{shaping:?}: {token} {logprob}");
        }
        for (count, p) in counts.iter().zip(expected) {
            assert!((*count as f32 / n as f32 - p).abs() < 2e-4, "{shaping:?}: {counts:?}");
        }
    }
}

#[test]
fn a_draw_goes_along_the_vocabulary() {
    let uniforms = [0.0, 0.249, 0.251, 0.374, 0.376, 0.874, 0.876, 1.0 - f64::EPSILON / 2.0];
    let tokens = uniforms.map(|uniform| at(&Shaping::default(), uniform).token);
    assert_eq!(tokens, [0, 0, 1, 1, 2, 2, 4, 4]);
}

#[test]
fn greedy_reports_the_whole_distribution() {
    let greedy = Shaping { temperature: 0.0, top_k: 1, top_p: 0.1, min_p: 1.0, ..Shaping::default() };
    let Draw { token, logprob } = at(&greedy, 0.99);
    assert_eq!(token, 2);
    assert!((logprob - 0.5_f32.ln()).abs() < 1e-6);
}

#[test]
fn penalties_by_hand() {
    // 0 is neither divided nor multiplied; ln 2 halves, and so does -ln 2 for once, whose product is -2 ln 2.
    let given = Conditions { prompt: &[2, 2, 900], drawn: &[1, 1, -1], ..Conditions::default() };
    let repeated = Shaping { repetition_penalty: 2.0, ..Shaping::default() };
    let of = |logits: [f32; 5]| {
        let weights = [0, 1, 2, 4].map(|i| logits[i].exp());
        let total: f32 = weights.iter().sum();
        weights.map(|weight| weight / total)
    };
    let check = |shaping: &Shaping, logits: [f32; 5]| {
        let found = probabilities(&LOGITS, &ALLOWED, shaping, &given);
        for (i, expected) in [0, 1, 2, 4].into_iter().zip(of(logits)) {
            assert!((found[i] - expected).abs() < 1e-6, "{found:?}");
        }
    };
    check(&repeated, [0.0, -2.0 * LN_2, LN_2 / 2.0, 0.0, -LN_2]);
    // Once for token 1, however often it was drawn; the prompt's do not count.
    let present = Shaping { presence_penalty: 0.5, ..Shaping::default() };
    check(&present, [0.0, -LN_2 - 0.5, LN_2, 0.0, -LN_2]);
    // As often as it was drawn.
    let frequent = Shaping { frequency_penalty: 0.25, ..Shaping::default() };
    let drawn = given.drawn.iter().filter(|&&id| id == 1).count() as f32;
    assert!(drawn > 1.0);
    check(&frequent, [0.0, -LN_2 - 0.25 * drawn, LN_2, 0.0, -LN_2]);
    let both = Shaping { repetition_penalty: 2.0, ..present };
    check(&both, [0.0, -2.0 * LN_2 - 0.5, LN_2 / 2.0, 0.0, -LN_2]);
}

#[test]
fn forbidden_tokens_are_not_drawn() {
    let given = Conditions { forbidden: &[2, 7, -3], ..Conditions::default() };
    let found = probabilities(&LOGITS, &ALLOWED, &Shaping::default(), &given);
    assert_eq!((found[2], found[3]), (0.0, 0.0));
    assert!((found[0] - 0.5).abs() < 1e-6);
    let greedy = Shaping { temperature: 0.0, ..Shaping::default() };
    assert_eq!(draw(&LOGITS, &ALLOWED, &greedy, &given, &mut Vec::new()).token, 0);
}

#[test]
fn logits_that_are_not_numbers_show() {
    let all = Shaping { top_k: 1, top_p: 0.5, min_p: 0.5, ..Shaping::default() };
    for shaping in [Shaping::default(), all, Shaping { temperature: 0.0, ..all }] {
        for logits in [[0.0, f32::NAN], [f32::NAN, f32::NAN], [f32::INFINITY, 0.0]] {
            let Draw { logprob, .. } =
                draw(&logits, &[0.0, 0.0], &shaping, &Conditions::default(), &mut Vec::new());
            assert!(!logprob.is_finite(), "{shaping:?} {logits:?}: {logprob}");
        }
    }
}

#[derive(Deserialize)]
struct Golden {
    end: i64,
    rows: Vec<Row>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Row {
    logits: Vec<f32>,
    prompt: Vec<i64>,
    drawn: Vec<i64>,
}

#[derive(Deserialize)]
struct Case {
    settings: Settings,
    probabilities: Vec<Vec<f32>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    temperature: Option<f32>,
    top_k: Option<usize>,
    top_p: Option<f32>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    min_new_tokens: Option<usize>,
}

#[test]
fn distributions_are_those_of_transformers() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden/sampling.json");
    let golden: Golden = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    assert_eq!((golden.rows.len(), golden.cases.len()), (3, 12));
    let end = [golden.end];
    for Case { settings, probabilities: expected } in &golden.cases {
        let shaping = Shaping {
            repetition_penalty: settings.repetition_penalty.unwrap_or(1.0),
            presence_penalty: 0.0,
            frequency_penalty: 0.0,
            temperature: settings.temperature.unwrap_or(1.0),
            top_k: settings.top_k.unwrap_or(0),
            top_p: settings.top_p.unwrap_or(1.0),
            min_p: settings.min_p.unwrap_or(0.0),
        };
        for (row, expected) in golden.rows.iter().zip(expected) {
            let is_short = row.drawn.len() < settings.min_new_tokens.unwrap_or(0);
            let given = Conditions {
                uniform: 0.5,
                prompt: &row.prompt,
                drawn: &row.drawn,
                forbidden: if is_short { &end } else { &[] },
            };
            let found = probabilities(&row.logits, &vec![0.0; row.logits.len()], &shaping, &given);
            for (token, (found, expected)) in found.iter().zip(expected).enumerate() {
                let (difference, support) = ((found - expected).abs(), (*found > 0.0) == (*expected > 0.0));
                assert!(difference < 1e-6 && support, "{settings:?} {token}: {found}, not {expected}");
            }
        }
    }
}

fn shapings() -> impl Strategy<Value = Shaping> {
    let penalties = (0.5_f32..2.0, -1.0_f32..1.0);
    let truncation = (0.2_f32..3.0, 0_usize..50, 0.01_f32..1.0, 0.0_f32..1.0);
    (penalties, truncation).prop_map(
        |((repetition_penalty, presence_penalty), (temperature, top_k, top_p, min_p))| Shaping {
            repetition_penalty,
            presence_penalty,
            frequency_penalty: presence_penalty / 3.0,
            temperature,
            top_k,
            top_p,
            min_p,
        },
    )
}

proptest! {
    /// Weights are a distribution, what is drawn lies in it with its log-probability, and the rows of a batch neither
    /// see each other nor the number of threads.
    #[test]
    fn rows_are_distributions_of_their_own(
        shaping in shapings(),
        rows in prop::collection::vec(
            (prop::collection::vec(-9.0_f32..9.0, 48), 0.0_f64..1.0, prop::collection::vec(0_i64..48, 0..9)),
            1..5,
        ),
        banned in prop::collection::btree_set(0_usize..48, 0..8),
    ) {
        let allowed: Vec<f32> =
            (0..48).map(|i| if banned.contains(&i) { f32::NEG_INFINITY } else { 0.0 }).collect();
        let logits: Vec<f32> = rows.iter().flat_map(|(logits, ..)| logits.clone()).collect();
        let conditions: Vec<Conditions<'_>> = rows
            .iter()
            .map(|(_, uniform, drawn)| Conditions { uniform: *uniform, drawn, forbidden: &[1], ..Conditions::default() })
            .collect();
        let together = draw_rows(&logits, &allowed, &shaping, &conditions, 1, |draw, weights| (draw, weights.to_vec()));
        for (((row, ..), given), (drawn, weights)) in rows.iter().zip(&conditions).zip(&together) {
            let mut alone = vec![7.0; 3];
            prop_assert_eq!(&draw(row, &allowed, &shaping, given, &mut alone), drawn);
            prop_assert_eq!(&alone, weights);
            let total: f32 = weights.iter().sum();
            let p = weights[drawn.token] / total;
            prop_assert!(p > 0.0 && (drawn.logprob.exp() - p).abs() < 1e-5);
            prop_assert!(drawn.token != 1 && !banned.contains(&drawn.token));
            let kept = weights.iter().filter(|&&weight| weight > 0.0).count();
            prop_assert!(shaping.top_k == 0 || kept <= shaping.top_k, "{kept} of different logits");
            let sum: f32 = weights.iter().map(|weight| weight / total).sum();
            prop_assert!((sum - 1.0).abs() < 1e-5);
        }
    }
}

#[test]
fn threads_do_not_change_a_row() {
    let (rows, width) = (9, 20_000);
    let logits: Vec<f32> = (0..rows * width).map(|i| ((i * 7919 % 10_007) as f32).sin() * 6.0).collect();
    let allowed = vec![0.0; width];
    let uniform = |n: usize| (n as f64 + 0.5) / rows as f64;
    let conditions: Vec<Conditions<'_>> =
        (0..rows).map(|n| Conditions { uniform: uniform(n), ..Conditions::default() }).collect();
    let shaping = Shaping { top_p: 0.9, top_k: 4_000, ..Shaping::default() };
    let by = |threads| {
        draw_rows(&logits, &allowed, &shaping, &conditions, threads, |draw, weights| (draw, weights.to_vec()))
    };
    assert_eq!(by(1), by(4));
}
