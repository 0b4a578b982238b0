//! A policy loss of one's own in a run: the log-prob weighted by the ratio, which is cut off above 2.
//!
//!     cargo run --release --example custom_loss [RUNS_DIR]

#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::path::PathBuf;

use curr_reft::{
    config::{PhaseConfig, Resolved},
    grpo::{GrpoOptimizer, PolicyLoss, TokenLoss, Tokens},
    pipeline::Stages,
    train,
};

/// `-min(r, 2) A log p`, the weight without gradient: a truncated importance weight.
struct Truncated;

impl PolicyLoss for Truncated {
    fn loss(&self, tokens: &Tokens) -> TokenLoss {
        let ratio_c = tokens.ratio().detach();
        TokenLoss {
            loss_c: -(ratio_c.clamp_max(2.0) * &tokens.advantage_c * &tokens.logprob_c),
            bounded_c: ratio_c.gt(2.0),
            ratio_c,
        }
    }
}

fn main() -> anyhow::Result<()> {
    let runs = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "runs".into()));
    let name = format!("run.name=custom-loss-{}", std::process::id());
    let recipe = Resolved::read(&["configs/smoke.toml".into()], &[name])?.recipe;

    let outcome = train::start_with(&recipe, &runs, &mut (), |built, stages| {
        if let (PhaseConfig::Grpo(phase), Stages::Rl(rl)) = (built.phase, stages) {
            let optimizer = GrpoOptimizer::new(phase, built.policy, built.seed)?
                .with_group(built.group.clone(), built.shard);
            rl.optimizer = Box::new(optimizer.with_loss(Box::new(Truncated)));
        }
        Ok(())
    })?;
    println!("{outcome:?}");
    Ok(())
}
