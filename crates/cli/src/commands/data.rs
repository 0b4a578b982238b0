//! `reft data forms|inspect|difficulty|scenes`.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Result, bail};
use curr_reft::{
    audit::{self, InspectSettings},
    config::{DataConfig, FileData, PromptConfig, SceneData, SceneDomain},
    core::{Form, Seed},
    data::{
        Counted, Dataset, Report, Tokens,
        forms::{self, FormSettings},
        write,
    },
    difficulty, hub,
};
use serde::Serialize;

use crate::{
    args::{DataCommand, DataInspectArgs, Domain, FormsArgs, ScenesArgs, TargetForm},
    output::Output,
};

pub(super) fn run(command: DataCommand, output: Output) -> Result<()> {
    match command {
        DataCommand::Forms(args) => forms(&args, output),
        DataCommand::Inspect(args) => inspect(&args, output),
        DataCommand::Select { input, rows, difficulty: file, above, below, output: path } => {
            let kept = difficulty::select(&rows.of(&input), &file, above..=below, &path)?;
            written(kept, &path, output)
        }
        DataCommand::Difficulty { input, output: path } => {
            let summary = difficulty::difficulty(&input, &path)?;
            output.print(&summary, || {
                format!(
                    "{} samples written to {}\nanswers          {}\nmean pass rate   {:.3}\nnever right      {}\n\
                     always right     {}",
                    summary.samples,
                    path.display(),
                    summary.answers,
                    summary.pass_rate,
                    summary.never,
                    summary.always
                )
            })
        }
        DataCommand::Scenes(args) => scenes(&args, output),
    }
}

fn inspect(args: &DataInspectArgs, output: Output) -> Result<()> {
    let file = FileData { max_prompt_tokens: args.max_tokens, ..args.rows.of(&args.file) };
    let settings = InspectSettings {
        model: args.model.as_deref(),
        max_pixels: args.max_pixels,
        against: args.against.iter().map(|other| args.rows.of(other)).collect(),
        decode: args.decode,
    };
    let report = audit::inspect(&file, &settings)?;
    output.print(&report, || table(&report))?;
    if !report.bad_images.is_empty() {
        bail!("the images of {} samples cannot be decoded", report.bad_images.len());
    }
    Ok(())
}

fn forms(args: &FormsArgs, output: Output) -> Result<()> {
    let form = match args.form {
        TargetForm::Binary => Form::Binary,
        TargetForm::Choice => Form::Choice,
    };
    let settings = FormSettings { options: usize::from(args.options), seed: Seed::new(args.seed) };
    let open = load(args.rows.of(&args.input))?.samples;
    let converted = forms::convert(&open, form, &PromptConfig::default(), &settings)?;
    write::samples(&args.output, &converted.samples)?;
    let mut left_out: BTreeMap<&str, usize> = BTreeMap::new();
    converted.left_out.iter().for_each(|(_, reason)| *left_out.entry(reason.as_str()).or_default() += 1);
    let rows = converted.samples.len();
    let result = Asked { rows, output: &args.output, left_out };
    output.print(&result, || {
        let mut lines = vec![format!("{rows} rows written to {}", args.output.display())];
        let left_out = result.left_out.iter();
        lines.extend(left_out.map(|(reason, n)| format!("{n} samples {reason} and are left out")));
        lines.join("\n")
    })
}

fn scenes(args: &ScenesArgs, output: Output) -> Result<()> {
    let config = DataConfig::Scenes(SceneData {
        domain: match args.domain {
            Domain::Id => SceneDomain::Id,
            Domain::Ood => SceneDomain::Ood,
        },
        seed: args.seed,
        ..SceneData::new(&args.glyphs, &args.split, args.count)
    });
    let samples = Dataset::load(&config, &PromptConfig::default(), &[Form::Open], Seed::new(0))?.samples;
    write::samples(&args.output, &samples)?;
    written(samples.len(), &args.output, output)
}

/// The open samples of a file; its row format is detected.
fn load(file: FileData) -> Result<Dataset> {
    let config = DataConfig::File(hub::fetched_file(&file)?);
    Ok(Dataset::load(&config, &PromptConfig::default(), &[Form::Open], Seed::new(0))?)
}

/// How many rows went where in another form, and how many are missing, by reason.
#[derive(Serialize)]
struct Asked<'a> {
    rows: usize,
    output: &'a Path,
    left_out: BTreeMap<&'a str, usize>,
}

/// How many rows went where.
#[derive(Serialize)]
struct Written<'a> {
    rows: usize,
    output: &'a Path,
}

fn written(rows: usize, path: &Path, output: Output) -> Result<()> {
    output.print(&Written { rows, output: path }, || format!("{rows} rows written to {}", path.display()))
}

/// Image sizes to list by themselves.
const MOST_SIZES: usize = 8;

fn table(report: &Report) -> String {
    let mut lines = vec![format!("samples          {}", report.samples)];
    let mut section = |name: &str, counts: Vec<(String, usize)>| {
        lines.push(format!("{name}:"));
        lines.extend(counts.into_iter().map(|(key, count)| format!("  {key:<14} {count}")));
    };
    section("by task", report.tasks.iter().map(|(task, n)| (task.to_string(), *n)).collect());
    section("by form", report.forms.iter().map(|(form, n)| (form.to_string(), *n)).collect());
    let mut sizes: Vec<_> = report.image_sizes.iter().map(|(size, n)| (size.clone(), *n)).collect();
    sizes.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
    let others: usize = sizes.iter().skip(MOST_SIZES).map(|(_, n)| n).sum();
    sizes.truncate(MOST_SIZES);
    if others > 0 {
        sizes.push(("other sizes".to_owned(), others));
    }
    section("by image size", sizes);
    lines.push(format!("distinct images  {}", report.distinct_images));
    lines.push(format!("without image    {}", report.text_only));
    lines.push(format!("duplicates       {}", report.duplicates));
    listed(&mut lines, report.duplicate_of.iter().map(|[a, b]| format!("{a} = {b}")));
    if let Some(tokens) = &report.tokens {
        lengths(&mut lines, tokens);
    }
    if !report.bad_images.is_empty() {
        lines.push(format!("bad images       {}", report.bad_images.len()));
        listed(&mut lines, report.bad_images.iter().map(|(sample, problem)| format!("{sample}: {problem}")));
    }
    lines.extend(report.notes.iter().map(|note| format!("note: {note}")));
    for overlap in &report.overlaps {
        lines.push(format!(
            "also in {}: {} questions with their images, {} images",
            overlap.with,
            overlap.samples.len(),
            overlap.images
        ));
        listed(&mut lines, overlap.samples.iter().map(|[a, b]| format!("{a} = {b}")));
    }
    lines.join("\n")
}

fn lengths(lines: &mut Vec<String>, tokens: &Tokens) {
    let of = match tokens.of {
        Counted::Images => "image tokens",
        Counted::Prompts => "prompt tokens",
    };
    lines.push(format!(
        "{of:<16} {} to {}, median {}, 95 % up to {}, {} in all",
        tokens.min, tokens.max, tokens.median, tokens.p95, tokens.total
    ));
    if tokens.limit > 0 {
        lines.push(format!("above {:<10} {}", tokens.limit, tokens.over_limit.len()));
        listed(lines, tokens.over_limit.iter().map(|(id, n)| format!("{id} ({n})")));
    }
}

/// Samples to list by name; `--json` has all.
const MOST_LISTED: usize = 20;

fn listed(lines: &mut Vec<String>, items: impl ExactSizeIterator<Item = String>) {
    let more = items.len().saturating_sub(MOST_LISTED);
    lines.extend(items.take(MOST_LISTED).map(|item| format!("  {item}")));
    if more > 0 {
        lines.push(format!("  and {more} more; `--json` lists them all"));
    }
}
