//! Peak memory and time of a forward and backward pass, with the whole graph or with recomputed layers.
//!
//! usage: cargo run --release -p reft-train --example recompute -- MODEL_DIR graph|layers COMPLETIONS TOKENS
//!
//! One prompt with that many completions of that many tokens each; random weights where the folder has none. Memory is that of the process (Linux: `VmHWM`), less
//! what it was before the pass; so each figure needs a process of its own.
#![expect(clippy::print_stdout, reason = "it is a program")]

use std::{error::Error, path::Path, time::Instant};

use reft_core::{Message, Part, Role, Seed};
use reft_train::{Entropy, TokenPass};
use reft_vlm::{
    Vlm, VlmOptions,
    model::{Distribution, Keep},
};
use tch::Kind;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [dir, keep, completions, tokens] = args.as_slice() else {
        return Err("usage: MODEL_DIR graph|layers COMPLETIONS TOKENS".into());
    };
    let keep = match keep.as_str() {
        "graph" => Keep::Graph,
        "layers" => Keep::LayerInputs,
        other => return Err(format!("`{other}` is neither `graph` nor `layers`").into()),
    };
    let (completions, tokens): (usize, usize) = (completions.parse()?, tokens.parse()?);
    let dir = Path::new(dir);
    let init = (!dir.join("model.safetensors").exists()).then(|| Seed::new(0));
    let model = Vlm::open(dir, VlmOptions { init, ..VlmOptions::default() })?;
    model.set_trainable(|_| true);
    let content = vec![Part::Text("How many are there?".into())];
    let prompt = model.encode(&[Message { role: Role::User, content }])?;
    let answers: Vec<Vec<i64>> =
        (0..completions).map(|i| (0..tokens).map(|t| ((7 * i + 3 * t) % 200) as i64).collect()).collect();
    let no_mask = model.allowed_tokens().zeros_like();

    let before = peak_kib()?;
    let start = Instant::now();
    let batch = model.pack(&[(&prompt, answers.iter().map(Vec::as_slice).collect())]);
    let pass = TokenPass::new(model.network(), &batch, Distribution::whole(&no_mask), keep);
    pass.backward(Entropy::Value, |stats, _| stats.logprob_c.sum(Kind::Float));
    let seconds = start.elapsed().as_secs_f64();
    println!(
        "{keep:?}: {} packed tokens, {} MiB above the model, {seconds:.2} s",
        batch.n_tokens(),
        (peak_kib()? - before) / 1024
    );
    Ok(())
}

fn peak_kib() -> Result<u64, Box<dyn Error>> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line =
        status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no `VmHWM` in /proc/self/status")?;
    Ok(line.split_whitespace().nth(1).ok_or("`VmHWM` has no value")?.parse()?)
}
