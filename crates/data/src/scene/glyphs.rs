//! Labelled images to compose scenes from.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use image::GrayImage;

use crate::{DataError, ImageProblem, rows};

/// The pictures of one split, by label. Labels are in text order, pictures in file order.
#[derive(Clone, Debug)]
pub struct GlyphSet {
    labels: Vec<Arc<str>>,
    pictures: Vec<Vec<GrayImage>>,
}

impl GlyphSet {
    /// Reads a table with columns `image` (`{bytes, ..}`), `label` and `split`; bright ink on dark paper.
    pub fn load(path: &Path, split: &str) -> Result<Self, DataError> {
        let mut by_label: BTreeMap<String, Vec<GrayImage>> = BTreeMap::new();
        let mut splits: BTreeSet<String> = BTreeSet::new();
        for row in rows::open(path)? {
            let (location, row) = row?;
            let column = |name: &str| {
                row.get(name).and_then(rows::Field::display).ok_or_else(|| DataError::Row {
                    path: path.to_owned(),
                    location,
                    message: format!("no value in column `{name}`; it has {}", row.names()),
                })
            };
            let row_split = column("split")?;
            if row_split != split {
                splits.insert(row_split);
                continue;
            }
            let label = column("label")?;
            let fail =
                |problem| DataError::Image { path: path.to_owned(), location, image: label.clone(), problem };
            let bytes = match row.get("image") {
                Some(rows::Field::Struct(image)) => match image.get("bytes") {
                    Some(rows::Field::Bytes(bytes)) => bytes,
                    _ => return Err(fail(ImageProblem::Absent)),
                },
                _ => return Err(fail(ImageProblem::Absent)),
            };
            let picture = image::load_from_memory(bytes)
                .map_err(|error| fail(ImageProblem::Damaged(Box::new(error))))?
                .into_luma8();
            by_label.entry(label).or_default().push(picture);
        }
        if by_label.is_empty() {
            return Err(DataError::Empty {
                what: format!("`{}`", path.display()),
                message: format!("no row of split `{split}`; its splits are {splits:?}"),
            });
        }
        let (labels, pictures) =
            by_label.into_iter().map(|(label, pictures)| (Arc::from(label), pictures)).unzip();
        Ok(Self { labels, pictures })
    }

    /// The labels in text order.
    pub fn labels(&self) -> &[Arc<str>] {
        &self.labels
    }

    /// The pictures of `labels()[index]`; never empty.
    pub fn pictures(&self, index: usize) -> &[GrayImage] {
        &self.pictures[index]
    }
}
