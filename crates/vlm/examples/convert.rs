//! Opens a checkpoint and saves it in another number type.
//!
//! `cargo run --release -p reft-vlm --example convert -- IN_DIR OUT_DIR [fp32|bf16|fp16]`

use std::{env::args, error::Error, path::Path};

use reft_vlm::{Vlm, VlmOptions};
use tch::Kind;

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = args().skip(1).collect();
    let (from, to, kind) = match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [from, to] | [from, to, "fp32"] => (from, to, Kind::Float),
        [from, to, "bf16"] => (from, to, Kind::BFloat16),
        [from, to, "fp16"] => (from, to, Kind::Half),
        _ => return Err("usage: convert IN_DIR OUT_DIR [fp32|bf16|fp16]".into()),
    };
    Vlm::open(Path::new(from), VlmOptions { kind, ..VlmOptions::default() })?.save_as(Path::new(to), kind)?;
    Ok(())
}
