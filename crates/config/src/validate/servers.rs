//! Servers that answer in place of the policy.

use super::{
    At,
    reward::{is_address, not_an_address},
};
use crate::{FleetConfig, GrpoPhase, Recipe, SamplingConfig, ServerApi};

/// Servers of any phase.
pub(super) fn check(servers: Option<&FleetConfig>, at: &mut At<'_>) {
    let Some(servers) = servers else { return };
    at.require(!servers.url.is_empty(), "url", || "name at least one server".to_owned());
    for url in &servers.url {
        at.require(is_address(url), "url", || not_an_address(url));
    }
    at.require(!servers.model.is_empty(), "model", || "name the model".to_owned());
    at.at_least_one(servers.connections as u64, "connections");
    at.in_range(servers.timeout_s, f64::MIN_POSITIVE.., "timeout_s", "above 0");
    at.in_range(servers.backoff_s, 0.0.., "backoff_s", "0 or above");
}

/// Servers that answer for a policy which learns.
pub(super) fn check_rollout(recipe: &Recipe, phase: &GrpoPhase, at: &mut At<'_>) {
    let (Some(servers), Some(sync)) = (&phase.servers, &phase.weight_sync) else {
        at.require(phase.servers.is_none(), "weight_sync", || {
            "is missing: servers that never get what the policy has learned would answer as the base for ever; set \
             `weight_sync.folder`"
                .to_owned()
        });
        at.require(phase.weight_sync.is_none(), "servers", || {
            "is missing: `weight_sync` puts weights before the servers that it names".to_owned()
        });
        return;
    };
    check(Some(servers), &mut at.at("servers"));
    at.require(servers.extensions, "servers.extensions", || {
        "must be true: what is trained on are token ids and their log-probs, which OpenAI's API does not have"
            .to_owned()
    });
    at.require(!sync.folder.as_os_str().is_empty(), "weight_sync.folder", || "must not be empty".to_owned());
    at.require(sync.api == ServerApi::Sglang || recipe.model.lora.is_some(), "weight_sync.api", || {
        "`vllm` loads adapters alone while it runs: train one (`[model.lora]`), or use SGLang, which takes whole models"
            .to_owned()
    });
    at.require(!phase.exact, "exact", || {
        "wants the rollout of this process; leave it or `servers` out".to_owned()
    });
    check_sampling(&phase.sampling, &mut at.at("sampling"));
}

/// A server does not say what it drew a token from, so it must draw from all that there is.
fn check_sampling(sampling: &SamplingConfig, at: &mut At<'_>) {
    for (key, is_set) in [
        ("top_p", sampling.top_p != 1.0),
        ("top_k", sampling.top_k != 0),
        ("min_p", sampling.min_p != 0.0),
        ("min_new_tokens", sampling.min_new_tokens != 0),
        ("banned", !sampling.banned.is_empty()),
        ("banned_ids", !sampling.banned_ids.is_empty()),
    ] {
        at.require(!is_set, key, || {
            "keeps tokens out that a server does not name, so its log-probs would not be the trainer's; leave it out where \
             `servers` answer"
                .to_owned()
        });
    }
}
