//! What a data set holds, in counts.

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    sync::Arc,
};

use reft_core::{Form, ImageRef, ImageSource, Sample, Task};
use serde::Serialize;
use sha2::{Digest as _, Sha256};

/// Counts over the samples of a data set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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
}

impl Report {
    /// Counts. Image files are read whole, for their content hash; one that has vanished counts by its path.
    pub fn of(samples: &[Arc<Sample>]) -> Self {
        let mut report = Self { samples: samples.len(), ..Self::default() };
        let mut images: HashSet<[u8; 32]> = HashSet::new();
        let mut contents: HashSet<[u8; 32]> = HashSet::new();
        for sample in samples {
            *report.tasks.entry(sample.task).or_default() += 1;
            *report.forms.entry(sample.form).or_default() += 1;
            let mut content = Sha256::new();
            for text in [&sample.problem, &sample.solution] {
                content.update(text.as_bytes());
                content.update([0]);
            }
            let mut count = 0;
            for image in sample.images() {
                count += 1;
                let size = format!("{}x{}", image.size.width, image.size.height);
                *report.image_sizes.entry(size).or_default() += 1;
                let hash = content_hash(image);
                images.insert(hash);
                content.update(hash);
            }
            report.text_only += usize::from(count == 0);
            report.duplicates += usize::from(!contents.insert(content.finalize().into()));
        }
        report.distinct_images = images.len();
        report
    }
}

fn content_hash(image: &ImageRef) -> [u8; 32] {
    match &image.source {
        ImageSource::Bytes(bytes) => Sha256::digest(bytes).into(),
        ImageSource::Path(path) => match fs::read(path) {
            Ok(bytes) => Sha256::digest(bytes).into(),
            Err(_) => Sha256::digest(path.to_string_lossy().as_bytes()).into(),
        },
    }
}
