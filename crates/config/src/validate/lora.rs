//! Checks of low-rank adapters.

use super::{At, too_large_for_toml};
use crate::{LoraConfig, LoraLayers};

pub(super) fn check(lora: &LoraConfig, at: &mut At<'_>) {
    let LoraConfig { adapter, rank, alpha, dropout, targets, exclude, seed, merge: _ } = lora;
    if adapter.is_some() {
        let own = [
            ("rank", rank.is_some()),
            ("alpha", alpha.is_some()),
            ("targets", targets.is_some()),
            ("exclude", exclude.is_some()),
        ];
        for (key, is_set) in own {
            at.require(!is_set, key, || "the continued adapter brings its own; leave it out".to_owned());
        }
    }
    at.require(rank.is_none_or(|rank| rank > 0), "rank", || "must be at least 1".to_owned());
    if let Some(alpha) = *alpha {
        at.in_range(alpha, f64::MIN_POSITIVE.., "alpha", "above 0");
    }
    if let Some(dropout) = *dropout {
        at.in_range(dropout, 0.0..1.0, "dropout", "at least 0 and below 1");
    }
    for (layers, key) in [(targets, "targets"), (exclude, "exclude")] {
        let is_empty = match layers {
            None => false,
            Some(LoraLayers::Pattern(pattern)) => pattern.is_empty(),
            Some(LoraLayers::Endings(names)) => names.iter().all(String::is_empty),
        };
        at.require(!is_empty, key, || "names no layer; leave it out for the default".to_owned());
    }
    at.require(seed.is_none_or(|seed| i64::try_from(seed).is_ok()), "seed", too_large_for_toml);
}
