//! What a data set holds, in counts, and what of it another data set holds too.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::{path::PathBuf, sync::Arc};

use reft_core::{Form, ImageRef, ImageSource, PixelBudget, Sample, SampleId, Task};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::images;

/// Counts over the samples of a data set.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Samples.
    pub samples: usize,
    /// Samples by task.
    pub tasks: BTreeMap<Task, usize>,
    /// Samples by form.
    pub forms: BTreeMap<Form, usize>,
    /// Images by `WIDTHxHEIGHT`, each use counted.
    pub image_sizes: BTreeMap<String, usize>,
    /// Samples without an image.
    pub text_only: usize,
    /// Different image contents.
    pub distinct_images: usize,
    /// Samples whose question, solution and images (by content) all occurred before.
    pub duplicates: usize,
    /// Those samples, each with the first one that it repeats.
    pub duplicate_of: Vec<[SampleId; 2]>,
    /// Lengths of the prompts, where they were counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<Tokens>,
    /// Samples whose images cannot be decoded, each with what is wrong, where they were decoded.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bad_images: Vec<(SampleId, String)>,
    /// What was noticed when the data set was read, a sentence each.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What other data sets hold too, where they were compared.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub overlaps: Vec<Overlap>,
}

/// Lengths of prompts in tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tokens {
    /// What was counted.
    pub of: Counted,
    /// Shortest prompt.
    pub min: usize,
    /// Median.
    pub median: usize,
    /// The length that 95 % do not exceed.
    pub p95: usize,
    /// Longest prompt.
    pub max: usize,
    /// Sum over all prompts.
    pub total: usize,
    /// The longest prompt that is wanted; 0 for any.
    pub limit: usize,
    /// Prompts above the limit with their tokens, longest first.
    pub over_limit: Vec<(SampleId, usize)>,
}

/// What token counts count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Counted {
    /// Images alone, from their sizes: a lower bound, without a tokenizer.
    Images,
    /// Whole prompts, as the model reads them.
    Prompts,
}

/// What two data sets have in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Overlap {
    /// The other data set.
    pub with: String,
    /// Samples whose question and images occur there: `[ours, theirs]`.
    pub samples: Vec<[SampleId; 2]>,
    /// Images that occur there, whatever is asked about them.
    pub images: usize,
}

/// What a data set asks about which images, by content: to find duplicates and leaks between train and test.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    /// Question and images of each sample, in order.
    questions: Vec<([u8; 32], SampleId)>,
    images: HashSet<[u8; 32]>,
}

impl Report {
    /// Counts. Image files are read whole, for their content hash; one that has vanished counts by its name.
    pub fn of(samples: &[Arc<Sample>]) -> Self {
        Self::with_contents(samples, &Contents::of(samples))
    }

    /// [`Report::of`] where the contents are known.
    pub fn with_contents(samples: &[Arc<Sample>], contents: &Contents) -> Self {
        let mut report =
            Self { samples: samples.len(), distinct_images: contents.images.len(), ..Self::default() };
        let mut first: HashMap<([u8; 32], &str), &SampleId> = HashMap::new();
        for (sample, (question, _)) in samples.iter().zip(&contents.questions) {
            *report.tasks.entry(sample.task).or_default() += 1;
            *report.forms.entry(sample.form).or_default() += 1;
            for image in sample.images() {
                let size = format!("{}x{}", image.size.width, image.size.height);
                *report.image_sizes.entry(size).or_default() += 1;
            }
            report.text_only += usize::from(sample.images().next().is_none());
            let earlier = first.entry((*question, &sample.solution)).or_insert(&sample.id);
            if **earlier != sample.id {
                report.duplicate_of.push([sample.id.clone(), earlier.clone()]);
            }
        }
        report.duplicates = report.duplicate_of.len();
        report
    }
}

impl Contents {
    /// Hashes every question with its images. Case and white space of questions do not count.
    pub fn of(samples: &[Arc<Sample>]) -> Self {
        let mut digests = Digests::default();
        let mut contents = Self::default();
        for sample in samples {
            let mut question = Sha256::new();
            for word in sample.problem.split_whitespace() {
                question.update(word.to_lowercase().as_bytes());
                question.update([0]);
            }
            for image in sample.images() {
                let digest = digests.of(image);
                question.update([1]);
                question.update(digest);
                contents.images.insert(digest);
            }
            contents.questions.push((question.finalize().into(), sample.id.clone()));
        }
        contents
    }

    /// What of this data set occurs in another.
    pub fn overlap(&self, other: &Self, name: impl Into<String>) -> Overlap {
        let theirs: HashMap<&[u8; 32], &SampleId> =
            other.questions.iter().map(|(key, id)| (key, id)).collect();
        let shared =
            self.questions.iter().filter_map(|(key, id)| Some([id.clone(), (*theirs.get(key)?).clone()]));
        Overlap {
            with: name.into(),
            samples: shared.collect(),
            images: self.images.intersection(&other.images).count(),
        }
    }
}

/// Content hashes of images, each computed once.
#[derive(Default)]
struct Digests {
    files: HashMap<PathBuf, [u8; 32]>,
    /// By address and length: the samples keep the bytes alive.
    bytes: HashMap<(*const u8, usize), [u8; 32]>,
}

impl Digests {
    fn of(&mut self, image: &ImageRef) -> [u8; 32] {
        let digest = || images::digest(image);
        match &image.source {
            ImageSource::Path(path) => *self.files.entry(path.clone()).or_insert_with(digest),
            ImageSource::Bytes(bytes) => {
                *self.bytes.entry((bytes.as_ptr(), bytes.len())).or_insert_with(digest)
            }
            ImageSource::Stored(_) => digest(),
        }
    }
}

impl Tokens {
    /// Whole prompts, from their lengths in the order of the samples.
    pub fn of_prompts(samples: &[Arc<Sample>], lengths: &[usize], limit: usize) -> Self {
        Self::new(Counted::Prompts, samples, lengths, limit)
    }

    /// Images alone, by the arithmetic of a processor.
    pub fn of_images(samples: &[Arc<Sample>], budget: &PixelBudget, limit: usize) -> Self {
        // Shapes that no budget takes are refused when the data set opens.
        let tokens = |image: &ImageRef| budget.grid(image.size).map_or(0, |grid| grid.tokens);
        let lengths: Vec<usize> = samples.iter().map(|sample| sample.images().map(tokens).sum()).collect();
        Self::new(Counted::Images, samples, &lengths, limit)
    }

    fn new(of: Counted, samples: &[Arc<Sample>], lengths: &[usize], limit: usize) -> Self {
        let mut sorted = lengths.to_vec();
        sorted.sort_unstable();
        // The smallest length that at least this share does not exceed.
        let quantile = |share: f64| {
            let rank = (share * sorted.len() as f64).ceil() as usize;
            sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
        };
        let pairs = samples.iter().zip(lengths).filter(|(_, n)| limit > 0 && **n > limit);
        let mut over_limit: Vec<(SampleId, usize)> =
            pairs.map(|(sample, n)| (sample.id.clone(), *n)).collect();
        over_limit.sort_by_key(|(_, n)| std::cmp::Reverse(*n));
        Self {
            of,
            min: quantile(0.0),
            median: quantile(0.5),
            p95: quantile(0.95),
            max: quantile(1.0),
            total: lengths.iter().sum(),
            limit,
            over_limit,
        }
    }
}
