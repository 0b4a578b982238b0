//! What is asked of servers before a policy learns from their answers, and of those that come later: do they use its adapter,
//! do they show it pictures, do they give tokens.

use std::{fs, io::Cursor, path::Path, process, sync::Arc};

use image::{ImageFormat, Luma};
use reft_core::{ImageRef, ImageSource, Part, Sample, SamplingParams, StageError};
use reft_remote::CallError;

use crate::{
    answer::completions,
    endpoint::{Endpoint, Weights},
    engine::{Asked, ServerEngine},
    policy::NO_TOKENS,
    probe::probe,
    question::question,
};

/// Tokens of an answer that are compared.
const TOKENS: usize = 8;
/// Nats that log-probs of the same weights may differ by: who is asked beside changes the last digits.
const SAME: f32 = 1e-3;
/// The side of a square of the picture that no data set has.
const SQUARE: u32 = 8;

/// Asks each server that is there the same question in several ways; all of them missing is an error.
pub(crate) fn check_all(
    engine: &ServerEngine,
    asked: Asked<'_>,
    dir: &Path,
    samples: &[Arc<Sample>],
) -> Result<(), StageError> {
    let servers = 0..engine.pool().servers().len();
    let missing = check(engine, asked, dir, samples, servers.clone())?;
    match missing.first() {
        Some(first) if missing.len() == servers.len() => {
            Err(StageError::other("servers", format!("none answers: {first}")))
        }
        _ => Ok(()),
    }
}

/// Asks some servers; why those that are not there are not. They are asked once they have come.
pub(crate) fn check(
    engine: &ServerEngine,
    asked: Asked<'_>,
    dir: &Path,
    samples: &[Arc<Sample>],
    servers: impl IntoIterator<Item = usize>,
) -> Result<Vec<CallError>, StageError> {
    let with_images = samples.iter().find(|sample| sample.images().next().is_some());
    let Some(sample) = with_images.or(samples.first()) else { return Ok(Vec::new()) };
    let mut missing = Vec::new();
    for index in servers {
        let server = &engine.pool().servers()[index];
        match (Checked { engine, server, asked, sample }).check(dir) {
            Ok(()) => engine.pool().know(index),
            Err(Fault::NotThere(error)) => missing.push(error),
            Err(Fault::Stage(error)) => return Err(error),
        }
    }
    Ok(missing)
}

enum Fault {
    NotThere(CallError),
    Stage(StageError),
}

impl From<StageError> for Fault {
    fn from(error: StageError) -> Self {
        Self::Stage(error)
    }
}

struct Checked<'a> {
    engine: &'a ServerEngine,
    server: &'a Endpoint,
    asked: Asked<'a>,
    sample: &'a Sample,
}

/// Tokens of a greedy answer, and their log-probs.
struct Answer {
    tokens: Vec<i64>,
    logprobs: Vec<f32>,
}

impl Answer {
    /// Whether the same weights may have given both.
    fn is_as(&self, other: &Self) -> bool {
        let mut pairs = self.logprobs.iter().zip(&other.logprobs);
        self.tokens == other.tokens && pairs.all(|(a, b)| (a - b).abs() < SAME)
    }
}

impl Checked<'_> {
    fn check(&self, dir: &Path) -> Result<(), Fault> {
        let own = self.answer(self.asked, self.sample)?;
        if self.asked.weights.is_some_and(|weights| weights.is_adapter) {
            let base = Asked { model: self.engine.model(), weights: None, ..self.asked };
            let base = self.answer(base, self.sample)?;
            if own.is_as(&base) && base.is_as(&self.probed(dir)?) {
                return Err(self.fault(
                    "answers the same with an adapter as without one: it does not use what is learned",
                ));
            }
        }
        if self.sample.images().next().is_some() {
            let blind = self.answer(self.asked, &with_other_pictures(self.sample)?)?;
            if own.is_as(&blind) {
                return Err(self.fault(&format!(
                    "answers sample `{}` the same with another picture in its place: it does not show pictures to the model",
                    self.sample.id
                )));
            }
        }
        Ok(())
    }

    fn fault(&self, message: &str) -> Fault {
        Fault::Stage(StageError::other("servers", format!("`{}` {message}", self.server.url())))
    }

    /// The answer of an adapter that changes everything.
    fn probed(&self, dir: &Path) -> Result<Answer, Fault> {
        let Some(weights) = self.asked.weights else { return self.answer(self.asked, self.sample) };
        // Another rank may look at the same server.
        let beside = |path: &str| format!("{path}-probe-{}", process::id());
        let weights = Weights { name: beside(&weights.name), path: beside(&weights.path), ..*weights };
        let folder = dir.with_file_name(&weights.name);
        probe(dir, &folder).map_err(|error| {
            StageError::other("weight_sync.folder", format!("`{}`: {error}", folder.display()))
        })?;
        let model = self.engine.name_of(&weights);
        let answer = self.answer(Asked { model: &model, weights: Some(&weights), ..self.asked }, self.sample);
        self.server.unload(&weights.name);
        // The server has read it; what stays is swept by the next process.
        let _ = fs::remove_dir_all(folder);
        answer
    }

    fn answer(&self, asked: Asked<'_>, sample: &Sample) -> Result<Answer, Fault> {
        let params = SamplingParams { group_size: 1, ..SamplingParams::greedy(TOKENS) };
        let question = question(asked, sample, &params, true)?;
        let answer = self.server.ask(&question, asked.weights).map_err(|error| match error {
            CallError::Failed(_) | CallError::Timeout(_) => Fault::NotThere(error),
            error => Fault::Stage(StageError::other("servers", error)),
        })?;
        let failed =
            |message: String| StageError::other("servers", format!("`{}`: {message}", self.server.url()));
        let (answers, _) = completions(&answer, 1).map_err(failed)?;
        let Some(first) = answers.into_iter().next() else { return Err(failed(NO_TOKENS.to_owned()).into()) };
        if first.token_ids.is_empty() || first.logprobs.len() != first.token_ids.len() {
            return Err(failed(NO_TOKENS.to_owned()).into());
        }
        Ok(Answer { tokens: first.token_ids, logprobs: first.logprobs })
    }
}

/// The question with pictures of the same sizes that show a chequered board.
fn with_other_pictures(sample: &Sample) -> Result<Sample, StageError> {
    let mut other = sample.clone();
    for part in other.messages.iter_mut().flat_map(|message| &mut message.content) {
        if let Part::Image(image) = part {
            *image = chequered(image).map_err(|error| StageError::sample(&sample.id, error))?;
        }
    }
    Ok(other)
}

fn chequered(image: &ImageRef) -> Result<ImageRef, image::ImageError> {
    let (width, height) = (image.size.width, image.size.height);
    let board = image::ImageBuffer::from_fn(width, height, |x, y| {
        Luma([if (x / SQUARE + y / SQUARE).is_multiple_of(2) { 0_u8 } else { 255 }])
    });
    let mut png = Cursor::new(Vec::new());
    board.write_to(&mut png, ImageFormat::Png)?;
    Ok(ImageRef {
        source: ImageSource::Bytes(png.into_inner().into()),
        label: "a board".into(),
        ..image.clone()
    })
}
