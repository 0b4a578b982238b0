//! Answers of a run with their questions and pictures: the same questions before and after, and samples of a phase.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use reft_config::{PhaseConfig, Recipe, Resolved};
use reft_core::{BoxFrame, ImageRef, ImageSource, Sample, SampleId};
use reft_data::OpenData;
use reft_store::RunReader;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{Error, open::OpenSets};

/// An answer as a run stored it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Answer {
    /// The question's id.
    pub sample: String,
    /// The open sample that the question was made of; the id itself for open questions.
    pub picture: String,
    /// The task.
    pub task: String,
    /// The prompt, `<image>` where the image stands.
    pub prompt: String,
    /// The right answer.
    pub solution: String,
    /// What the model wrote.
    pub completion: String,
    /// Whether a benchmark counted it as right; none outside of evaluation.
    pub right: Option<bool>,
    /// Its mark in words: `grade 1.00`, `reward 1.20`, `score 95.00`.
    pub mark: String,
}

/// One question, answered at the first and at the last evaluation of a run.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The first evaluation phase, and its answer.
    pub before: (String, Answer),
    /// The last evaluation phase, and its answer.
    pub after: (String, Answer),
    /// The picture, where there is one.
    #[serde(skip)]
    pub picture: Option<ImageRef>,
    /// What the numbers of a box in the solution mean.
    #[serde(skip)]
    pub box_frame: BoxFrame,
}

/// Up to `n` questions of the test sets as they were answered before and after. Those that were wrong and became right
/// come first, tasks in turn. Predictions that are damaged are left out ([`RunReader::damaged`]).
pub fn compare(run: &Path, n: usize) -> Result<Vec<Comparison>, Error> {
    compare_with(&RunReader::open(run)?, run, n)
}

pub(crate) fn compare_with(reader: &RunReader, run: &Path, n: usize) -> Result<Vec<Comparison>, Error> {
    let mut by_benchmark: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for report in reader.reports()? {
        by_benchmark.entry(report.benchmark).or_default().push(report.phase);
    }
    let mut candidates = Vec::new();
    for (benchmark, phases) in &by_benchmark {
        let [first, .., last] = phases.as_slice() else { continue };
        let before = answers(reader, &reader.predictions(first, benchmark));
        let mut after = first_answers(reader, last, benchmark);
        let mut seen = BTreeSet::new();
        for before in before {
            // With several answers to a question, the first stands for it.
            if seen.insert(before.sample.clone())
                && let Some(after) = after.remove(&before.sample)
            {
                candidates.push(((first.clone(), before), (last.clone(), after), benchmark.clone()));
            }
        }
    }

    let rank = |before: &Answer, after: &Answer| match (before.right == Some(true), after.right == Some(true))
    {
        (false, true) => 0,
        (true, true) => 1,
        (false, false) => 2,
        (true, false) => 3,
    };
    // A number within the task, so that the tasks take turns.
    let mut turns: BTreeMap<String, usize> = BTreeMap::new();
    candidates.sort_by_key(|((_, before), (_, after), _)| rank(before, after));
    let mut ordered: Vec<_> = candidates
        .into_iter()
        .map(|candidate| {
            let turn = turns.entry(candidate.0.1.task.clone()).or_default();
            *turn += 1;
            ((rank(&candidate.0.1, &candidate.1.1), *turn), candidate)
        })
        .collect();
    ordered.sort_by_key(|(key, _)| *key);

    let mut pictures = Pictures::of_run(run)?;
    let compared = ordered.into_iter().take(n).map(|(_, (before, after, benchmark))| {
        let (picture, box_frame) = pictures.find(&benchmark, &before.1.picture).unzip();
        Comparison { before, after, picture, box_frame: box_frame.unwrap_or_default() }
    });
    Ok(compared.collect())
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (_, question) = &self.before;
        let prompt = question.prompt.replace("<image>", "");
        writeln!(f, "{} ({}): {}", question.sample, question.task, one_line(&prompt, 200))?;
        writeln!(f, "  answer  {}", question.solution)?;
        for (phase, answer) in [&self.before, &self.after] {
            let mark = if answer.right == Some(true) { "right" } else { "wrong" };
            writeln!(f, "  {phase} ({mark}): {}", one_line(&answer.completion, 300))?;
        }
        Ok(())
    }
}

impl Comparison {
    /// The picture's file. A picture in memory is written to the run's `examples/`.
    pub fn file(&self, run: &Path) -> Result<Option<PathBuf>, Error> {
        self.picture.as_ref().map(|image| file_of(image, run, &self.before.1.picture)).transpose()
    }
}

/// The answers in a Parquet file of a run; none where it is damaged.
/// The first answer to each question of a benchmark, which stands for it where there are several.
pub(crate) fn first_answers(reader: &RunReader, phase: &str, benchmark: &str) -> BTreeMap<String, Answer> {
    let mut first = BTreeMap::new();
    for answer in answers(reader, &reader.predictions(phase, benchmark)) {
        first.entry(answer.sample.clone()).or_insert(answer);
    }
    first
}

pub(crate) fn answers(reader: &RunReader, path: &Path) -> Vec<Answer> {
    reader.rows(path).iter().map(answer).collect()
}

fn answer(row: &Map<String, Value>) -> Answer {
    let text = |name: &str| row.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    let number = |name: &str| row.get(name).and_then(Value::as_f64);
    let marks = ["grade", "reward", "score"];
    let sample = text("sample");
    let parent = text("parent");
    Answer {
        picture: if parent.is_empty() { sample.clone() } else { parent },
        sample,
        task: text("task"),
        prompt: text("prompt"),
        solution: text("solution"),
        completion: text("completion"),
        right: number("grade").map(|grade| grade >= 1.0),
        mark: marks.iter().find_map(|name| Some(format!("{name} {:.2}", number(name)?))).unwrap_or_default(),
    }
}

/// The images of a run's data sets by sample.
pub(crate) struct Pictures {
    /// The recipe's phases, and its data sets.
    recipe: Option<(Vec<PhaseConfig>, OpenSets)>,
    loaded: BTreeMap<String, BTreeMap<SampleId, (ImageRef, BoxFrame)>>,
}

impl Pictures {
    /// Of the recipe in a run directory. A run that was made without one has no pictures to show.
    pub(crate) fn of_run(run: &Path) -> Result<Self, Error> {
        let path = run.join("config.toml");
        let text = fs::read_to_string(&path)
            .map_err(|error| Error::File { path: path.clone(), message: error.to_string() })?;
        Ok(match Resolved::from_text(&text, &path.to_string_lossy(), &[]) {
            Ok(Resolved { recipe, .. }) => Self::of(&recipe, OpenSets::of(&recipe)),
            Err(_) => Self { recipe: None, loaded: BTreeMap::new() },
        })
    }

    /// Of a recipe whose data sets are open.
    pub(crate) fn of(recipe: &Recipe, open: OpenSets) -> Self {
        Self { recipe: Some((recipe.phase.clone(), open)), loaded: BTreeMap::new() }
    }

    /// The data set that a phase draws its questions from.
    pub(crate) fn data_of(&self, phase: &str) -> Option<String> {
        let phase = self.recipe.as_ref()?.0.iter().find(|other| other.name() == phase)?;
        match phase {
            PhaseConfig::Grpo(phase) => Some(phase.data.clone()),
            PhaseConfig::Reject(phase) => Some(phase.data.clone()),
            PhaseConfig::Sft(_) | PhaseConfig::Eval(_) => None,
        }
    }

    /// The image of an open sample, and the frame of its boxes. Data that has moved away since the run has none.
    pub(crate) fn find(&mut self, data: &str, sample: &str) -> Option<(ImageRef, BoxFrame)> {
        let (_, open) = self.recipe.as_ref()?;
        let images = self.loaded.entry(data.to_owned()).or_insert_with(|| {
            let set = open.get(data).ok();
            let samples = set.iter().flat_map(|set| OpenData::samples(set));
            let seen = |sample: &Arc<Sample>| Some((sample.images().next()?.clone(), sample.box_frame));
            samples.filter_map(|sample| Some((sample.id.clone(), seen(sample)?))).collect()
        });
        images.get(&SampleId::from(sample)).cloned()
    }
}

/// The encoded bytes of an image.
pub(crate) fn bytes_of(image: &ImageRef) -> Result<Vec<u8>, Error> {
    let bytes = image.source.read();
    bytes
        .map(|bytes| bytes.to_vec())
        .map_err(|error| Error::File { path: PathBuf::from(&*image.label), message: error.to_string() })
}

/// The MIME type of encoded image bytes, by their first bytes.
pub(crate) fn mime_of(bytes: &[u8]) -> &'static str {
    match bytes {
        [0xff, 0xd8, ..] => "image/jpeg",
        [b'R', b'I', b'F', b'F', ..] => "image/webp",
        _ => "image/png",
    }
}

/// The file of an image; images in memory are written to the run's `examples/`.
pub(crate) fn file_of(image: &ImageRef, run: &Path, sample: &str) -> Result<PathBuf, Error> {
    if let ImageSource::Path(path) = &image.source {
        return Ok(path.clone());
    }
    let bytes = bytes_of(image)?;
    let ending = mime_of(&bytes).trim_start_matches("image/");
    let name: String =
        sample.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).collect();
    let path = run.join("examples").join(format!("{name}.{ending}"));
    reft_store::write_whole(&path, &bytes)?;
    Ok(path)
}

/// Text without line breaks, cut to a number of characters.
fn one_line(text: &str, most: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    let line = words.join(" ");
    if line.chars().count() <= most {
        return line;
    }
    line.chars().take(most).chain(" ...".chars()).collect()
}
