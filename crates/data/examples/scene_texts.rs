//! Prints the questions and demonstrations of a recipe's scenes, one text a line, line breaks as `\n`: what
//! `fixtures/generate/pico_tokenizer.py` trains a tokenizer on.
//!
//! `cargo run --release -p reft-data --example scene_texts -- configs/pico/pretrain.toml 2000 > texts.txt`, or only of the
//! data sets that are named behind the number.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use std::{env, error::Error};

use reft_config::{DataConfig, Resolved};
use reft_core::{Form, Part, Seed};
use reft_data::Dataset;

fn main() -> Result<(), Box<dyn Error>> {
    let usage = "usage: scene_texts RECIPE.toml SCENES_PER_DATA_SET [DATA...]";
    let mut args = env::args().skip(1);
    let (recipe, count) = args.next().zip(args.next()).ok_or(usage)?;
    let count = count.parse()?;
    let recipe = Resolved::read(&[recipe.into()], &[])?.recipe;
    let named: Vec<String> = args.collect();
    for (name, data) in &recipe.data {
        let DataConfig::Scenes(scenes) = data else { continue };
        if !named.is_empty() && !named.contains(name) {
            continue;
        }
        let mut scenes = scenes.clone();
        scenes.count = scenes.count.min(count);
        let forms = &Form::ALL;
        let set = Dataset::load(&DataConfig::Scenes(scenes), &recipe.prompt, forms, Seed::new(0))?;
        for demonstration in set.demonstrations() {
            let parts = demonstration.sample.messages.iter().flat_map(|message| &message.content);
            let questions = parts.filter_map(|part| match part {
                Part::Text(text) => Some(text.as_str()),
                Part::Image(_) => None,
            });
            for text in questions.chain([demonstration.completion.as_str()]) {
                println!("{}", text.replace('\n', "\\n"));
            }
        }
    }
    Ok(())
}
