//! A gradient transform of one's own in a run: the first layers of the decoder stay as they are.
//!
//!     cargo run --release --example custom_gradient [RUNS_DIR]

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::PathBuf;

use curr_reft::{
    config::{PhaseConfig, Resolved},
    core::StageError,
    grpo::GrpoOptimizer,
    pipeline::Stages,
    train,
    trainer::GradientTransform,
    vlm::Vlm,
};

/// No gradient for the layers before this one.
struct FromLayer(usize);

impl GradientTransform for FromLayer {
    fn name(&self) -> &'static str {
        "from_layer"
    }

    fn transform(&mut self, policy: &Vlm, _update: u64) -> Result<(), StageError> {
        let store = policy.learned();
        for param in store.params() {
            let layer = param.spec.name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next());
            if layer.and_then(|layer| layer.parse().ok()).is_some_and(|layer: usize| layer < self.0) {
                let _ = store.grad(param).zero_();
            }
        }
        Ok(())
    }
}

fn main() -> anyhow::Result<()> {
    let runs = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "runs".into()));
    let name = format!("run.name=custom-gradient-{}", std::process::id());
    let recipe = Resolved::read(&["configs/smoke.toml".into()], &[name])?.recipe;

    let outcome = train::start_with(&recipe, &runs, &mut (), |built, stages| {
        if let (PhaseConfig::Grpo(phase), Stages::Rl(rl)) = (built.phase, stages) {
            let optimizer = GrpoOptimizer::new(phase, built.policy, built.seed)?
                .with_group(built.group.clone(), built.shard);
            rl.optimizer = Box::new(optimizer.with_transform(Some(Box::new(FromLayer(1)))));
        }
        Ok(())
    })?;
    println!("{outcome:?}");
    Ok(())
}
