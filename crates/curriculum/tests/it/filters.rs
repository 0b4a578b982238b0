//! Verdicts by hand.

use reft_config::{BandConfig, DynamicConfig, ExpansionConfig, FilterConfig};
use reft_core::{Filled, FinishReason, Form, Refill, ScoredGroup, Stateful, Task, Verdict};
use reft_curriculum::{filter, refill};
use reft_testkit::exercise;

use crate::support;

fn group(totals: &[f32]) -> ScoredGroup {
    let mean = totals.iter().sum::<f32>() / totals.len() as f32;
    let advantages: Vec<f32> = totals.iter().map(|total| total - mean).collect();
    support::group(&exercise(Task::Math, Form::Open, 0.0, 0), totals, &advantages)
}

/// What the filters of a recipe say, `admit` or the reason.
fn verdict(config: FilterConfig, group: &ScoredGroup) -> String {
    let verdicts =
        filter::build(&config).into_iter().map(|mut filter| filter.judge(group)).collect::<Vec<_>>();
    let rejected = verdicts.into_iter().find_map(|verdict| match verdict {
        Verdict::Admit => None,
        Verdict::Reject { reason } => Some(reason),
    });
    rejected.unwrap_or_else(|| "admit".to_owned())
}

#[test]
fn filters_by_hand() {
    let none = FilterConfig::default();
    let variance = FilterConfig { zero_variance: true, ..none };
    let band = FilterConfig { success_band: Some(BandConfig { low: 0.25, high: 0.75 }), ..none };
    let range = FilterConfig { advantage_range: 0.5, ..none };
    for (config, totals, expected) in [
        (none, &[1.0, 1.0][..], "admit"),
        (variance, &[1.0, 1.0], "zero_variance"),
        (variance, &[1.0], "zero_variance"),
        (variance, &[1.0, 0.0, 1.0], "admit"),
        (band, &[0.0, 0.0, 0.0, 1.0], "admit"),
        (band, &[0.0, 0.0, 0.0, 0.0, 1.0], "too_hard"),
        (band, &[1.0, 1.0, 1.0, 0.0], "admit"),
        (band, &[1.0, 1.0, 1.0, 1.0, 0.0], "too_easy"),
        (range, &[0.2, 0.6], "advantage_range"),
        (range, &[0.25, 0.75], "admit"),
        (range, &[0.5, 0.5], "advantage_range"),
    ] {
        assert_eq!(verdict(config, &group(totals)), expected, "{config:?} {totals:?}");
    }
}

#[test]
fn groups_of_cut_answers_are_left_out() {
    let half = FilterConfig { max_truncated: 0.5, ..FilterConfig::default() };
    let mut cut = group(&[1.0, 0.0, 1.0, 0.0]);
    for (n, expected) in [(0, "admit"), (1, "admit"), (2, "admit"), (3, "truncated"), (4, "truncated")] {
        for completion in &mut cut.group.completions[..n] {
            completion.finish = FinishReason::Length;
        }
        assert_eq!(verdict(half, &cut), expected, "{n} cut");
    }
    // The first to reject gives the reason.
    let both = FilterConfig { zero_variance: true, ..half };
    let mut equal = group(&[1.0, 1.0]);
    equal.group.completions[0].finish = FinishReason::Length;
    assert_eq!(verdict(both, &equal), "zero_variance");
}

#[test]
fn dynamic_sampling_by_hand() {
    let mut dynamic = refill::Dynamic::new(DynamicConfig { max_rounds: 3 });
    for (rounds, asked, admitted, expected) in [
        (0, 0, 0, 8),
        // Six of eight missing: three times as many would be called for; a batch is the most.
        (1, 8, 2, 8),
        // Two missing, three quarters of the groups pass.
        (1, 8, 6, 3),
        (1, 8, 0, 8),
        (1, 8, 8, 0),
        (2, 16, 9, 0),
        (3, 24, 1, 0),
    ] {
        let filled = Filled { wanted: 8, rounds, asked, admitted };
        assert_eq!(dynamic.ask(&filled), expected, "{filled:?}");
    }
    dynamic.observe(&Filled { wanted: 8, rounds: 3, asked: 24, admitted: 6 });
    let metrics = dynamic.metrics();
    assert_eq!(metrics.get("refill/rounds"), Some(3.0));
    assert_eq!(metrics.get("refill/asked"), Some(24.0));
    assert_eq!(metrics.get("refill/missing"), Some(2.0));
}

#[test]
fn expansion_by_hand() {
    let mut expansion = refill::Expansion::new(ExpansionConfig { decay: 0.5, max_ratio: 3.0 });
    let first = Filled { wanted: 8, ..Filled::default() };
    assert_eq!(expansion.ask(&first), 8);
    // Half of the groups left out: V = 0.25, ratio 4/3.
    expansion.observe(&Filled { wanted: 8, rounds: 1, asked: 8, admitted: 4 });
    assert_eq!(expansion.ask(&first), 11);
    assert_eq!(expansion.ask(&Filled { rounds: 1, ..first }), 0);
    // All of them, again and again: V goes to 1, the ratio to its limit.
    for _ in 0..60 {
        expansion.observe(&Filled { wanted: 8, rounds: 1, asked: 24, admitted: 0 });
    }
    assert_eq!(expansion.ask(&first), 24);
    assert_eq!(expansion.metrics().get("refill/ratio"), Some(3.0));

    let mut resumed = refill::Expansion::new(ExpansionConfig { decay: 0.5, max_ratio: 3.0 });
    resumed.load(&expansion.save().unwrap()).unwrap();
    assert_eq!(resumed.ratio().to_bits(), expansion.ratio().to_bits());
    assert!(resumed.load(&serde_json::json!(2)).is_err());
}
