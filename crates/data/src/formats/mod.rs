//! From rows to samples: the row formats that users already have (docs/DATA.md shows one row of each).

mod chat;
mod columns;
mod conversations;
mod objects;
mod question;
mod vlmevalkit;

use std::{
    collections::{HashMap, HashSet},
    path::Path,
    sync::Arc,
};

use reft_config::{BadImages, FileData, PromptConfig, RowFormat};
use reft_core::{Message, Part, Role, Sample, SampleId, Task};

use crate::{
    DataError, Location, error,
    images::Images,
    rows::{self, Field, Row},
};

/// Samples of a file, and the assistant's turns that some rows end in.
#[derive(Debug, Default)]
pub(crate) struct Loaded {
    pub(crate) samples: Vec<Arc<Sample>>,
    pub(crate) written: HashMap<SampleId, String>,
    /// What a user should know about the file, a sentence each.
    pub(crate) notes: Vec<String>,
}

/// Reads all rows that the recipe wants.
pub(crate) fn load(config: &FileData, prompts: &PromptConfig) -> Result<Loaded, DataError> {
    let mut reader = Reader { config, prompts, images: Images::of(config)? };
    let mut broken = Broken::default();
    let mut earlier = vlmevalkit::Earlier::default();
    let mut loaded = Loaded::default();
    let mut ids = Ids::default();
    let mut unread = columns::Unread::default();
    let mut format = config.format;
    let (mut rows, mut other_splits) = (0, 0);
    for row in rows::open(&config.path)? {
        let (location, mut row) = row?;
        rows += 1;
        if let Some(split) = &config.split {
            let found = reader.required(&row, location, &["split"])?.1.display();
            if found.as_ref() != Some(split) {
                other_splits += 1;
                continue;
            }
        }
        open_json_texts(&mut row);
        if format == RowFormat::Auto {
            format = detect(&row).ok_or_else(|| reader.fail(location, no_format(&row)))?;
        }
        unread.note(&reader, &row, location, format)?;
        let read = match format {
            RowFormat::CurrReft | RowFormat::HfImage => question::sample(&mut reader, &row, location),
            RowFormat::Conversations => conversations::sample(&mut reader, &row, location),
            RowFormat::VlmEvalKit => vlmevalkit::sample(&mut reader, &row, location, &mut earlier),
            RowFormat::Messages | RowFormat::Auto => chat::sample(&mut reader, &row, location),
        };
        let (mut sample, written) = match read {
            Ok(read) => read,
            Err(error @ DataError::Image { .. }) => {
                broken.note(location, error);
                continue;
            }
            Err(error) => return Err(error),
        };
        sample.id = ids.unique(sample.id);
        if let Some(written) = written {
            loaded.written.insert(sample.id.clone(), written);
        }
        loaded.samples.push(Arc::new(sample));
        if loaded.samples.len() == config.limit {
            break;
        }
    }
    match config.on_bad_image {
        BadImages::Error => broken.check(&config.path)?,
        BadImages::Skip => loaded.notes.extend(broken.say()),
    }
    loaded.notes.extend(ids.say().into_iter().chain(unread.say()).chain(reader.images.say()));
    if loaded.samples.is_empty() {
        return Err(DataError::Empty {
            what: format!("`{}`", config.path.display()),
            message: match &config.split {
                Some(split) if other_splits > 0 => {
                    format!("none of its {rows} rows is of split `{split}`")
                }
                _ => "the file has no rows".into(),
            },
        });
    }
    Ok(loaded)
}

/// Ids of rows. Public mixtures repeat them, where an id names an image: later rows get a number behind it.
#[derive(Default)]
struct Ids {
    taken: HashSet<SampleId>,
    /// How often each id was met.
    met: HashMap<SampleId, usize>,
    renamed: usize,
    first: Option<SampleId>,
}

impl Ids {
    fn unique(&mut self, id: SampleId) -> SampleId {
        if self.taken.insert(id.clone()) {
            return id;
        }
        self.renamed += 1;
        let met = self.met.entry(id.clone()).or_insert(1);
        let renamed = loop {
            *met += 1;
            let renamed = SampleId::from(format!("{id}~{met}"));
            if self.taken.insert(renamed.clone()) {
                break renamed;
            }
        };
        self.first.get_or_insert(id);
        renamed
    }

    fn say(self) -> Option<String> {
        let (id, n) = (self.first?, self.renamed);
        Some(format!(
            "{n} rows repeat the id of an earlier row, the first `{id}`; they are named `{id}~2` and so on"
        ))
    }
}

/// Lists and objects of chats and images that a table keeps as JSON texts, opened.
fn open_json_texts(row: &mut Row) {
    for (name, field) in &mut row.0 {
        let Field::Text(text) = field else { continue };
        if matches!(
            &**name,
            "messages" | "conversations" | "prompt" | "images" | "image" | "objects" | "reward_model"
        ) && text.trim_start().starts_with(['[', '{'])
            && let Ok(value) = serde_json::from_str(text)
        {
            *field = rows::json_field(value);
        }
    }
}

/// Rows whose images cannot be used.
#[derive(Default)]
struct Broken {
    locations: Vec<Location>,
    first: Vec<DataError>,
}

impl Broken {
    /// Errors to show in full.
    const SHOWN: usize = 5;

    fn note(&mut self, location: Location, error: DataError) {
        self.locations.push(location);
        if self.first.len() < Self::SHOWN {
            self.first.push(error);
        }
    }

    fn say(self) -> Option<String> {
        let (n, first) = (self.locations.len(), self.first.into_iter().next()?);
        Some(format!("{n} rows have images that cannot be used and are left out, the first: {first}"))
    }

    fn check(mut self, path: &Path) -> Result<(), DataError> {
        match self.locations.len() {
            0 => Ok(()),
            // One needs no list.
            1 => self.first.pop().map_or(Ok(()), Err),
            count => Err(DataError::Images {
                path: path.to_owned(),
                count,
                locations: error::locations(&self.locations),
                first: self.first,
            }),
        }
    }
}

/// What all formats share: columns by several names, images, errors that name the row.
struct Reader<'a> {
    config: &'a FileData,
    prompts: &'a PromptConfig,
    images: Images,
}

impl Reader<'_> {
    fn fail(&self, location: Location, message: impl Into<String>) -> DataError {
        DataError::Row { path: self.config.path.clone(), location, message: message.into() }
    }

    /// The first of several columns that has a value.
    fn required<'r>(
        &self,
        row: &'r Row,
        location: Location,
        names: &[&'r str],
    ) -> Result<(&'r str, &'r Field), DataError> {
        row.first(names).ok_or_else(|| {
            let wanted: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
            self.fail(
                location,
                format!("no value in column {}; the row has {}", wanted.join(" or "), row.names()),
            )
        })
    }

    /// Text, or a number written out, or a list of those joined by commas (class lists).
    fn text(&self, location: Location, (name, field): (&str, &Field)) -> Result<String, DataError> {
        let text = match field {
            Field::List(fields) => {
                fields.iter().map(Field::display).collect::<Option<Vec<_>>>().map(|texts| texts.join(", "))
            }
            field => field.display(),
        };
        text.ok_or_else(|| {
            self.fail(location, format!("column `{name}` should be text and is {}", field.kind()))
        })
    }

    /// A right answer: for detection a list or an object is a box, as JSON; else as [`Self::text`].
    fn solution(
        &self,
        location: Location,
        (name, field): (&str, &Field),
        task: Option<Task>,
    ) -> Result<String, DataError> {
        match field {
            Field::List(_) | Field::Struct(_) if task == Some(Task::Detection) => {
                Ok(field.to_json().to_string())
            }
            _ => self.text(location, (name, field)),
        }
    }

    /// The system prompt of a column.
    fn system(&self, row: &Row, location: Location) -> Result<Option<Message>, DataError> {
        let Some(field) = row.get("system").filter(|field| !field.is_empty()) else { return Ok(None) };
        let text = self.text(location, ("system", field))?;
        Ok(Some(Message { role: Role::System, content: vec![Part::Text(text)] }))
    }

    /// The `id` column, or the file's name and the row's number.
    fn id(&self, row: &Row, location: Location) -> SampleId {
        if let Some(id) = row.get("id").and_then(Field::display) {
            return SampleId::from(id);
        }
        let stem = self.config.path.file_stem().unwrap_or(Path::new("row").as_os_str()).to_string_lossy();
        let (Location::Row(number) | Location::Line(number)) = location;
        SampleId::from(format!("{stem}-{number}"))
    }

    /// The row's task, or the recipe's for rows that name none.
    fn task(&self, row: &Row, location: Location) -> Result<Option<Task>, DataError> {
        match row.get("task") {
            Some(field) => self.parse(location, "task", field).map(Some),
            None => Ok(self.config.task.map(|name| name.0)),
        }
    }

    /// A column that holds one of a few words.
    fn parse<T: serde::de::DeserializeOwned>(
        &self,
        location: Location,
        name: &str,
        field: &Field,
    ) -> Result<T, DataError> {
        let text = self.text(location, (name, field))?;
        serde_json::from_value(serde_json::Value::String(text.trim().to_lowercase()))
            .map_err(|error| self.fail(location, format!("column `{name}`: {error}")))
    }
}

/// The format that a row's columns speak for.
fn detect(row: &Row) -> Option<RowFormat> {
    let is_list = |name: &str| row.get(name).is_some_and(|field| field.list().is_some());
    let is_text = |name: &str| row.get(name).is_some_and(|field| field.text().is_some());
    if is_text("index") && row.has("question") && row.has("answer") {
        Some(RowFormat::VlmEvalKit)
    } else if is_list("messages") || is_list("prompt") {
        Some(RowFormat::Messages)
    } else if is_list("conversations") {
        Some(RowFormat::Conversations)
    } else if row.has("problem") && row.has("solution") && !row.has("images") {
        match row.get("image") {
            None | Some(Field::Text(_)) => Some(RowFormat::CurrReft),
            Some(_) => Some(RowFormat::HfImage),
        }
    } else if row.first(question::PROBLEM).is_some() {
        Some(RowFormat::HfImage)
    } else {
        None
    }
}

fn no_format(row: &Row) -> String {
    format!("no known row format has the columns {}; see docs/DATA.md", row.names())
}

/// A solution without the answer tags that some data sets put round it.
fn untagged(solution: &str) -> &str {
    let trimmed = solution.trim();
    trimmed.strip_prefix("<answer>").and_then(|rest| rest.strip_suffix("</answer>")).unwrap_or(trimmed).trim()
}
