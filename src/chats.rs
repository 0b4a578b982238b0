//! Files of chats: rows with `messages`, as `generate` and `logprobs` read them.

use std::{path::Path, sync::Arc};

use reft_config::{DataConfig, FileData, PromptConfig, RowFormat};
use reft_core::{Form, Sample, Seed};
use reft_data::Dataset;

use crate::{
    Error,
    table::{self, Row},
};

/// The chats of a file: each row as it stands, and as a sample with its written completion, when it has one.
pub(crate) struct Chats {
    pub(crate) rows: Vec<Row>,
    pub(crate) samples: Vec<Arc<Sample>>,
    pub(crate) completions: Vec<Option<String>>,
}

pub(crate) fn read(path: &Path) -> Result<Chats, Error> {
    let config = DataConfig::File(FileData { format: RowFormat::Messages, ..FileData::new(path) });
    let dataset = Dataset::load(&config, &PromptConfig::default(), &[Form::Open], Seed::new(0))?;
    let mut written = dataset.demonstrations().into_iter().peekable();
    let completions = dataset
        .samples
        .iter()
        .map(|sample| written.next_if(|d| d.sample.id == sample.id).map(|d| d.completion))
        .collect();
    let rows = table::read(path)?.into_iter().map(|(_, row)| row).collect();
    Ok(Chats { rows, samples: dataset.samples, completions })
}
