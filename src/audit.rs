//! What data sets hold, before anything is trained on them: `reft data inspect`, and the event `data` of a run.

use std::{collections::HashMap, fmt, fmt::Write as _, path::Path, sync::Arc, thread};

use reft_config::{DataConfig, FileData, PromptConfig};
use reft_core::{Form, Part, PixelBudget, Sample, SampleId, StageError};
use reft_data::{Contents, OpenData, Report, Tokens};
use reft_vlm::{
    model::VlmConfig,
    processor::{Processor, ProcessorError},
};
use serde::Serialize;

use crate::{Error, hub, images::bad_images};

/// What a data set of a run holds.
#[derive(Clone, Debug, Serialize)]
pub struct DataAudit {
    /// Its name in the recipe.
    pub data: String,
    /// Its open samples: tasks, images, duplicates, what of it is trained on as well.
    #[serde(flatten)]
    pub report: Report,
    /// Lengths of the prompts, for each list of forms that a phase asks.
    pub prompts: Vec<FormTokens>,
}

/// Lengths of the prompts in some forms.
#[derive(Clone, Debug, Serialize)]
pub struct FormTokens {
    /// The forms, in the order of the phase.
    pub forms: Vec<Form>,
    /// The lengths.
    #[serde(flatten)]
    pub tokens: Tokens,
}

/// Samples to name in a message.
const SHOWN: usize = 3;

/// What a person should know before the run; nothing when all is well.
impl fmt::Display for DataAudit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, report) = (&self.data, &self.report);
        for note in &report.notes {
            writeln!(f, "data set `{name}`: {note}")?;
        }
        for FormTokens { forms, tokens } in self.prompts.iter().filter(|p| !p.tokens.over_limit.is_empty()) {
            let forms: Vec<&str> = forms.iter().map(|form| form.as_str()).collect();
            let ids = tokens.over_limit.iter().map(|(id, tokens)| format!("{id} ({tokens})"));
            writeln!(
                f,
                "data set `{name}`: {} of its prompts ({}) are longer than {} tokens and left out: {}",
                tokens.over_limit.len(),
                forms.join(", "),
                tokens.limit,
                some(ids)
            )?;
        }
        if report.duplicates > 0 {
            writeln!(
                f,
                "data set `{name}`: {} of {} samples repeat an earlier one: {}",
                report.duplicates,
                report.samples,
                some(report.duplicate_of.iter().map(pair))
            )?;
        }
        for overlap in report.overlaps.iter().filter(|overlap| !overlap.samples.is_empty()) {
            writeln!(
                f,
                "data set `{name}`: {} of {} questions, images included, are in `{}` as well, which is trained on, so \
                 they test nothing: {}",
                overlap.samples.len(),
                report.samples,
                overlap.with,
                some(overlap.samples.iter().map(pair))
            )?;
        }
        Ok(())
    }
}

fn pair([a, b]: &[SampleId; 2]) -> String {
    format!("{a} = {b}")
}

/// The first few, and how many more.
fn some(items: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = items.collect();
    let mut text = all.iter().take(SHOWN).cloned().collect::<Vec<_>>().join(", ");
    if all.len() > SHOWN {
        // Writing to a string cannot fail.
        let _ = write!(text, " and {} more", all.len() - SHOWN);
    }
    text
}

/// How `reft data inspect` looks at a file.
#[derive(Clone, Debug, Default)]
pub struct InspectSettings<'a> {
    /// Checkpoint whose tokenizer and image processor count prompts; without one, images alone are counted.
    pub model: Option<&'a Path>,
    /// Largest image area in pixels; the checkpoint's, or that of Qwen2.5-VL, when not given.
    pub max_pixels: Option<u64>,
    /// Files to look for the same questions and images in.
    pub against: Vec<FileData>,
    /// Whether every image is decoded.
    pub decode: bool,
}

/// What a file holds: its rows as questions, with the default prompt. `file.max_prompt_tokens` is the limit of the report.
pub fn inspect(file: &FileData, settings: &InspectSettings<'_>) -> Result<Report, Error> {
    let prompts = PromptConfig::default();
    let open = |file: &FileData| -> Result<OpenData, Error> {
        Ok(OpenData::load(&DataConfig::File(hub::fetched_file(file)?), &prompts)?)
    };
    let data = open(file)?;
    let samples: Vec<Arc<Sample>> = data.samples().cloned().collect();
    let contents = Contents::of(&samples);
    let mut report = Report::with_contents(&samples, &contents);
    report.notes = data.notes().to_vec();
    if settings.decode {
        let bad = bad_images(&samples, &mut |_, _| true)?;
        report.bad_images = bad.into_iter().map(|bad| (bad.sample, bad.problem)).collect();
    }
    for other in &settings.against {
        let theirs: Vec<Arc<Sample>> = open(other)?.samples().cloned().collect();
        report.overlaps.push(contents.overlap(&Contents::of(&theirs), other.path.display().to_string()));
    }
    let limit = file.max_prompt_tokens;
    report.tokens = Some(match settings.model {
        Some(dir) => {
            let error = |message: String| Error::File { path: dir.to_owned(), message };
            let mut config = VlmConfig::open(dir).map_err(|e| error(e.to_string()))?;
            // Too long prompts are counted, not refused.
            config.text.max_position_embeddings = usize::MAX;
            let processor =
                Processor::open(dir, &config, None, settings.max_pixels).map_err(|e| error(e.to_string()))?;
            Tokens::of_prompts(&samples, &prompt_tokens(&processor, &samples)?, limit)
        }
        None => Tokens::of_images(&samples, &qwen2_5(settings.max_pixels), limit),
    });
    Ok(report)
}

/// The image processor of Qwen2.5-VL.
fn qwen2_5(max_pixels: Option<u64>) -> PixelBudget {
    let max_pixels = max_pixels.unwrap_or(12_845_056);
    PixelBudget { patch_size: 14, merge_size: 2, min_pixels: 3136.min(max_pixels), max_pixels }
}

/// The exact length of each prompt in tokens, images by their sizes; nothing is decoded.
pub fn prompt_tokens(processor: &Processor, samples: &[Arc<Sample>]) -> Result<Vec<usize>, StageError> {
    let workers = rayon::current_num_threads();
    let share = samples.len().div_ceil(workers).max(1);
    let parts: Vec<Result<Vec<usize>, StageError>> = thread::scope(|scope| {
        let parts: Vec<_> =
            samples.chunks(share).map(|part| scope.spawn(|| count_all(processor, part))).collect();
        let joined = parts.into_iter().map(thread::ScopedJoinHandle::join);
        joined.map(|part| part.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let mut all = Vec::with_capacity(samples.len());
    for part in parts {
        all.extend(part?);
    }
    Ok(all)
}

/// Prompts of equal texts and image sizes have equally many tokens; composed data sets have few different ones.
fn count_all(processor: &Processor, samples: &[Arc<Sample>]) -> Result<Vec<usize>, StageError> {
    let mut known: HashMap<String, usize> = HashMap::new();
    samples
        .iter()
        .map(|sample| {
            let key = key(sample);
            if let Some(&tokens) = known.get(&key) {
                return Ok(tokens);
            }
            let tokens = match processor.count_prompt_tokens(&sample.messages) {
                Ok(tokens) | Err(ProcessorError::TooLong { tokens, .. }) => tokens,
                Err(error) => return Err(StageError::sample(&sample.id, error)),
            };
            known.insert(key, tokens);
            Ok(tokens)
        })
        .collect()
}

fn key(sample: &Sample) -> String {
    let mut key = String::new();
    for message in &sample.messages {
        key.push(char::from(b'0' + message.role as u8));
        for part in &message.content {
            // Writing to a string cannot fail.
            let _ = match part {
                Part::Text(text) => write!(key, "{}:{text}", text.len()),
                Part::Image(image) => write!(key, "{}x{};", image.size.width, image.size.height),
            };
        }
    }
    key
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn fixture(name: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name)
    }

    #[test]
    fn prompts_are_counted_as_the_model_reads_them() {
        let file = FileData {
            task: Some(reft_config::TaskName(reft_core::Task::Vqa)),
            limit: 40,
            max_prompt_tokens: 60,
            ..FileData::new(fixture("easy_vqa/test.parquet"))
        };
        let model = fixture("pico-vlm");
        let settings =
            InspectSettings { model: Some(&model), against: vec![file.clone()], ..Default::default() };
        let report = inspect(&file, &settings).unwrap();
        let tokens = report.tokens.unwrap();

        let processor = Processor::open(&model, &VlmConfig::open(&model).unwrap(), None, None).unwrap();
        let data = OpenData::load(&DataConfig::File(file), &PromptConfig::default()).unwrap();
        let lengths: Vec<usize> = data
            .samples()
            .map(|sample| processor.encode(&sample.messages).unwrap().token_ids.len())
            .collect();
        assert_eq!(tokens.total, lengths.iter().sum::<usize>());
        assert_eq!(tokens.over_limit.len(), lengths.iter().filter(|&&n| n > 60).count());
        // Every question is in the same file.
        assert_eq!(report.overlaps[0].samples.len(), report.samples);

        let alone = inspect(&FileData::new(fixture("easy_vqa/test.parquet")), &InspectSettings::default());
        assert!(alone.is_err(), "the rows name no task");
    }
}
