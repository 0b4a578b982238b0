//! Checks of rewards.

use super::{At, is_plain_name};
use crate::{LanguageConfig, LengthConfig, RepetitionConfig, RewardConfig};

pub(super) fn check(reward: &RewardConfig, at: &mut At<'_>) {
    let (accuracy, format) = (f64::from(reward.accuracy), f64::from(reward.format));
    at.in_range(accuracy, 0.0.., "accuracy", "0 or above");
    at.in_range(format, 0.0.., "format", "0 or above");
    let names_others = !reward.peers.is_empty() || !reward.program.is_empty() || !reward.server.is_empty();
    at.require(accuracy != 0.0 || format != 0.0 || names_others, "", || {
        "`accuracy` and `format` are both 0, and no `peers`, `program` or `server` is named: nothing would be paid"
            .to_owned()
    });
    at.in_range(reward.iou_threshold, 0.0..1.0, "iou_threshold", "at least 0 and below 1");
    for (name, &weight) in &reward.peers {
        at.in_range(f64::from(weight), f64::MIN_POSITIVE.., &format!("peers.\"{name}\""), "above 0");
    }
    if let Some(RepetitionConfig { words, weight }) = reward.repetition {
        let mut at = at.at("repetition");
        at.at_least_one(words as u64, "words");
        at.in_range(f64::from(weight), 0.0.., "weight", "0 or above");
    }
    if let Some(LanguageConfig { weight, .. }) = reward.language {
        at.in_range(f64::from(weight), 0.0.., "language.weight", "0 or above");
    }
    check_remote(reward, at);
    check_length(reward.length, at);
}

/// A reward that only says what is right: what nobody would ask is refused.
pub(super) fn check_local(reward: &RewardConfig, at: &mut At<'_>) {
    check(reward, at);
    for (key, named) in [("program", !reward.program.is_empty()), ("server", !reward.server.is_empty())] {
        at.require(!named, key, || "only a `grpo` phase asks it; remove it here".to_owned());
    }
}

fn check_remote(reward: &RewardConfig, at: &mut At<'_>) {
    at.in_range(reward.timeout_s, 0.0..=MAX_SECONDS, "timeout_s", "from 0 to 86400");
    let limit = if reward.timeout_s == 0.0 { f64::INFINITY } else { reward.timeout_s };
    let own = ["accuracy", "format", "overlong", "repetition", "language"];
    for (name, program) in &reward.program {
        let at = &mut at.at(&format!("program.{name}"));
        check_part(name, program.weight, program.range, at);
        at.require(!own.contains(&name.as_str()) && !reward.server.contains_key(name), "", || taken(name));
        at.require(program.command.first().is_some_and(|program| !program.is_empty()), "command", || {
            "name the program, such as `[\"python3\", \"reward.py\"]`".to_owned()
        });
        at.at_least_one(program.processes as u64, "processes");
        check_wait(program.timeout_s, limit, at);
    }
    for (name, server) in &reward.server {
        let at = &mut at.at(&format!("server.{name}"));
        check_part(name, server.weight, server.range, at);
        at.require(!own.contains(&name.as_str()), "", || taken(name));
        at.require(is_address(&server.url), "url", || not_an_address(&server.url));
        at.at_least_one(server.connections as u64, "connections");
        at.in_range(server.backoff_s, 0.0.., "backoff_s", "0 or above");
        check_wait(server.timeout_s, limit, at);
    }
}

/// Longest time limit: a day.
const MAX_SECONDS: f64 = 86_400.0;

fn check_part(name: &str, weight: f32, range: [f32; 2], at: &mut At<'_>) {
    at.require(is_plain_name(name), "", || {
        format!(
            "`{name}` will not do: use letters, digits, `-` and `_`; the name is part of metrics and columns"
        )
    });
    at.in_range(f64::from(weight), 0.0.., "weight", "0 or above");
    let [least, largest] = range;
    at.require(least.is_finite() && largest.is_finite() && least < largest, "range", || {
        "must be two numbers, the least score first".to_owned()
    });
}

/// A limit that the limit of the whole reward would never let it reach is a slip.
fn check_wait(timeout_s: f64, limit: f64, at: &mut At<'_>) {
    at.in_range(timeout_s, f64::MIN_POSITIVE..=MAX_SECONDS, "timeout_s", "above 0 and at most 86400");
    at.require(timeout_s <= limit, "timeout_s", || {
        format!("is longer than the whole reward may take; raise `reward.timeout_s` above {timeout_s}")
    });
}

fn taken(name: &str) -> String {
    format!("another part is called `{name}`; take another name")
}

pub(super) fn is_address(url: &str) -> bool {
    ["http://", "https://"].iter().any(|scheme| url.strip_prefix(scheme).is_some_and(|rest| !rest.is_empty()))
}

pub(super) fn not_an_address(url: &str) -> String {
    format!("`{url}` is no address; give one such as `http://localhost:8000/score`")
}

fn check_length(length: Option<LengthConfig>, at: &mut At<'_>) {
    match length {
        None => {}
        Some(LengthConfig::Overlong { max_tokens, buffer_tokens, weight }) => {
            let mut at = at.at("length");
            at.in_range(
                buffer_tokens as f64,
                1.0..=max_tokens as f64,
                "buffer_tokens",
                "from 1 to `max_tokens`",
            );
            at.in_range(f64::from(weight), 0.0.., "weight", "0 or above");
        }
        Some(LengthConfig::Cosine(cosine)) => {
            let mut at = at.at("length");
            at.at_least_one(cosine.max_tokens as u64, "max_tokens");
            let right = cosine.right_short.min(cosine.right_long);
            at.require(right > cosine.wrong_short.max(cosine.wrong_long), "", || {
                "a wrong answer would earn as much as a right one; raise `right_short` and `right_long`"
                    .to_owned()
            });
        }
    }
}
