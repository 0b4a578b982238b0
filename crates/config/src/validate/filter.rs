//! Checks of filters and refills.

use super::At;
use crate::{FilterConfig, RefillConfig};

pub(super) fn check(filter: &FilterConfig, at: &mut At<'_>) {
    at.in_range(filter.max_truncated, 0.0..=1.0, "max_truncated", "from 0 to 1");
    at.in_range(filter.advantage_range, 0.0.., "advantage_range", "0 or above");
    if let Some(band) = filter.success_band {
        let mut at = at.at("success_band");
        at.in_range(band.low, 0.0..=1.0, "low", "from 0 to 1");
        at.in_range(band.high, 0.0..=1.0, "high", "from 0 to 1");
        at.require(band.low <= band.high, "low", || {
            format!("`{}` is above `high` = {}", band.low, band.high)
        });
    }
    match filter.refill {
        RefillConfig::Off => return,
        RefillConfig::Dynamic(dynamic) => at.at("refill").at_least_one(dynamic.max_rounds, "max_rounds"),
        RefillConfig::Expansion(expansion) => {
            let mut at = at.at("refill");
            at.in_range(expansion.decay, 0.0..1.0, "decay", "at least 0 and below 1");
            at.in_range(expansion.max_ratio, 1.0.., "max_ratio", "1 or above");
        }
    }
    let rejects = filter.zero_variance
        || filter.max_truncated < 1.0
        || filter.success_band.is_some()
        || filter.advantage_range > 0.0;
    at.require(rejects, "refill", || {
        "no filter leaves groups out, so there is nothing to make up for; set `zero_variance = true`"
            .to_owned()
    });
}
