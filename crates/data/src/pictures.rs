//! Rows as a benchmark publishes them, with their pictures opened and nothing else interpreted.

use std::collections::HashMap;

use reft_config::{BadImages, FileData};
use reft_core::ImageRef;
use serde_json::{Map, Value};

use crate::{
    DataError, Location,
    images::Images,
    rows::{self, Field, Row},
};

/// Columns that hold pictures, in the order in which they are looked for; the first with a value counts.
const COLUMNS: [&str; 4] = ["decoded_image", "images", "image", "imagename"];

/// Columns of several pictures of a row, as MMMU has them.
const NUMBERED: std::ops::RangeInclusive<u32> = 1..=7;

/// A row with its pictures.
#[derive(Clone, Debug)]
pub struct Pictured {
    /// Where it stands.
    pub location: Location,
    /// Its columns, without the encoded pictures. `width` and `height` are those of the first picture unless it says.
    pub row: Map<String, Value>,
    /// Its pictures in order.
    pub images: Vec<ImageRef>,
}

/// Reads the rows of a published file: Parquet, Arrow, JSONL, TSV, or JSON as a list or as an object by id.
///
/// A TSV holds pictures as base64, a list of these, or the `index` of an earlier row that has the picture; `image_path`
/// names files. Everywhere else a picture is bytes, `{bytes, path}`, a path, or a `data:` URL.
pub fn pictured(config: &FileData) -> Result<(Vec<Pictured>, Vec<String>), DataError> {
    let mut images = Images::of(config)?;
    let is_tsv = config.path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("tsv"));
    let mut earlier: HashMap<String, Vec<ImageRef>> = HashMap::new();
    let (mut all, mut skipped, mut other_splits) = (Vec::new(), Vec::new(), 0_usize);
    for row in rows::open(&config.path)? {
        let (location, row) = row?;
        if let Some(split) = &config.split
            && row.get("split").and_then(Field::display).as_ref() != Some(split)
        {
            other_splits += 1;
            continue;
        }
        let found = if is_tsv {
            images.of_tsv(&row, location, &earlier)
        } else {
            of_row(&mut images, &row, location)
        };
        let found = match found {
            Ok(found) => found,
            Err(error @ DataError::Image { .. }) if config.on_bad_image == BadImages::Skip => {
                skipped.push(error.to_string());
                continue;
            }
            Err(error) => return Err(error),
        };
        if let Some(index) = row.get("index").and_then(Field::display).filter(|_| is_tsv) {
            earlier.insert(index, found.clone());
        }
        all.push(Pictured { location, row: columns(&row, found.first()), images: found });
        if all.len() == config.limit {
            break;
        }
    }
    if all.is_empty() {
        return Err(DataError::Empty {
            what: format!("`{}`", config.path.display()),
            message: match &config.split {
                Some(split) if other_splits > 0 => {
                    format!("none of its {other_splits} rows is of split `{split}`")
                }
                _ => "the file has no rows that can be used".to_owned(),
            },
        });
    }
    let mut notes: Vec<String> = images.say().into_iter().collect();
    if let Some(first) = skipped.first() {
        let n = skipped.len();
        notes.push(format!("{n} rows have images that cannot be used and are left out, the first: {first}"));
    }
    Ok((all, notes))
}

/// Everything but pictures, with the size of the first.
fn columns(row: &Row, first: Option<&ImageRef>) -> Map<String, Value> {
    let is_picture = |name: &str, field: &Field| {
        let is_named = COLUMNS.contains(&name) || numbered().any(|column| column == name);
        // Paths stay: they name the picture in reports.
        is_named && !matches!(field, Field::Text(text) if text.len() < 200)
    };
    let kept = row.0.iter().filter(|(name, field)| !is_picture(name, field));
    let mut columns: Map<String, Value> =
        kept.map(|(name, field)| (name.to_string(), field.to_json())).collect();
    if let Some(image) = first {
        columns.entry("width").or_insert_with(|| image.size.width.into());
        columns.entry("height").or_insert_with(|| image.size.height.into());
    }
    columns
}

fn numbered() -> impl Iterator<Item = String> {
    NUMBERED.map(|i| format!("image_{i}"))
}

fn of_row(images: &mut Images, row: &Row, location: Location) -> Result<Vec<ImageRef>, DataError> {
    let several: Vec<&Field> = row
        .0
        .iter()
        .filter(|(name, _)| numbered().any(|column| column == **name))
        .map(|(_, field)| field)
        .collect();
    if !several.is_empty() {
        let present = several.into_iter().filter(|field| **field != Field::Null);
        return present.map(|field| images.open(field, location)).collect();
    }
    let found = row.first(&COLUMNS).or_else(|| row.first(&["image_path"]));
    match found {
        None => Ok(Vec::new()),
        // The columns of training data, whose pictures can stay in a large file.
        Some(("images" | "image", _)) => images.of_row(row, location),
        Some((_, Field::List(fields))) => fields.iter().map(|field| images.open(field, location)).collect(),
        Some((_, field)) => Ok(vec![images.open(field, location)?]),
    }
}
