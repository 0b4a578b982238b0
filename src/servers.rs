//! Servers that answer for a policy which learns: what they say, as this process reads it.

use std::sync::Arc;

use reft_config::{GrpoPhase, RunConfig};
use reft_core::{FinishReason, Group, Progress, RolloutEngine, Sample, SamplingParams, StageError};
use reft_fleet::{PolicyEngine, PolicyEngineConfig};
use reft_vlm::Vlm;

/// A rollout engine over servers, held to the policy's own tokenizer, template and images.
struct PolicyServers(PolicyEngine);

/// The engine of a phase with `servers`; none for others.
pub(crate) fn engine(
    phase: &GrpoPhase,
    run: &RunConfig,
    policy: &Vlm,
) -> Result<Option<Box<dyn RolloutEngine<Vlm>>>, StageError> {
    let (Some(servers), Some(sync)) = (&phase.servers, &phase.weight_sync) else { return Ok(None) };
    let engine = PolicyEngine::new(PolicyEngineConfig {
        servers,
        sync,
        run: &run.name,
        is_adapter: policy.lora().is_some(),
        never: policy.processor().control_token_ids(),
    });
    Ok(Some(Box::new(PolicyServers(engine.map_err(|error| StageError::other("servers", error))?))))
}

impl RolloutEngine<Vlm> for PolicyServers {
    fn generate(
        &mut self,
        policy: &Vlm,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
        progress: Progress<'_>,
    ) -> Result<Vec<Group>, StageError> {
        let mut groups = self.0.generate(policy, samples, params, progress)?;
        let allowed: Vec<f32> = policy
            .allowed_tokens()
            .try_into()
            .map_err(|error: tch::TchError| StageError::other("servers", error))?;
        groups.iter_mut().try_for_each(|group| read(policy, &allowed, params, group))?;
        Ok(groups)
    }

    fn lag(&self) -> u64 {
        RolloutEngine::<Vlm>::lag(&self.0)
    }

    fn runs_ahead(&self) -> bool {
        RolloutEngine::<Vlm>::runs_ahead(&self.0)
    }

    fn begin(
        &mut self,
        policy: &Vlm,
        samples: &[Arc<Sample>],
        params: &SamplingParams,
    ) -> Result<(), StageError> {
        self.0.begin(policy, samples, params)
    }
}

/// Takes the answers as tokens, of which `allowed` has 0 for those that the policy may write, and which the policy decodes
/// itself: a server may leave thinking or stop strings out of the text.
fn read(policy: &Vlm, allowed: &[f32], params: &SamplingParams, group: &mut Group) -> Result<(), StageError> {
    let processor = policy.processor();
    let failed = |message: String| StageError::sample(&group.sample.id, message);
    let prompt = policy.encode(&group.sample.messages).map_err(|error| failed(error.to_string()))?;
    if group.prompt_tokens != prompt.token_ids.len() {
        return Err(failed(format!(
            "its prompt has {} tokens at the server and {} here: the server resizes images otherwise (give it the \
             `max_pixels` of `model.max_pixels`, vLLM by `--mm-processor-kwargs`), or has another chat template",
            group.prompt_tokens,
            prompt.token_ids.len()
        )));
    }
    for completion in &mut group.completions {
        let ids = &completion.token_ids;
        let is_allowed = |&id: &i64| usize::try_from(id).is_ok_and(|id| allowed.get(id) == Some(&0.0));
        if let Some(id) = ids.iter().find(|id| !is_allowed(id)) {
            return Err(failed(format!(
                "the server drew token {id}, which the policy never writes: it does not follow `logit_bias`"
            )));
        }
        let ends = ids.last().is_some_and(|last| processor.end_token_ids().contains(last));
        if completion.finish == FinishReason::Stop && params.stop.is_empty() && !ends {
            return Err(failed(
                "an answer has ended without its end token, so that nobody would learn to end; the server must give it \
                 (no `--generation-config` or stop tokens of its own)"
                    .to_owned(),
            ));
        }
        completion.text = processor.decode(ids);
        completion.think_opened = prompt.think_opened;
    }
    Ok(())
}
