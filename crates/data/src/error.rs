//! What can be wrong with a data set, said so that the row can be found and mended.

use std::{fmt, path::PathBuf};

use reft_core::{GeometryError, ImageSize};

/// Where a row stands in its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Location {
    /// Row of a table, counted from 0 as data-frame libraries do.
    Row(usize),
    /// Line of a text file, counted from 1 as editors do.
    Line(usize),
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Row(row) => write!(f, "row {row}"),
            Self::Line(line) => write!(f, "line {line}"),
        }
    }
}

/// A data set that cannot be used, or a file that cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The operating system refuses a file.
    #[error("cannot {action} `{}`", path.display())]
    Io {
        /// `read` or `write`.
        action: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A Parquet file that is none, or is damaged.
    #[error("`{}` is no readable Parquet file", path.display())]
    Parquet {
        /// Which file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// An Arrow file that is none, or is damaged.
    #[error("`{}` is no readable Arrow file", path.display())]
    Arrow {
        /// Which file.
        path: PathBuf,
        /// What the reader says.
        #[source]
        source: arrow::error::ArrowError,
    },
    /// A file as a whole: an unknown ending, rows of no known format.
    #[error("`{}`: {message}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong and what to do.
        message: String,
    },
    /// One row.
    #[error("`{}` {location}: {message}", path.display())]
    Row {
        /// Which file.
        path: PathBuf,
        /// Which row.
        location: Location,
        /// What is wrong and what to do.
        message: String,
    },
    /// The image of a row.
    #[error("`{}` {location}: image `{image}` {problem}", path.display())]
    Image {
        /// Which file.
        path: PathBuf,
        /// Which row.
        location: Location,
        /// The image's own name.
        image: String,
        /// What is wrong with it.
        problem: ImageProblem,
    },
    /// The images of several rows. Loading goes on after the first, so that all can be mended at once.
    #[error("`{}`: {count} images cannot be used, in {locations}; the first: {}", path.display(), list(first))]
    Images {
        /// Which file.
        path: PathBuf,
        /// How many.
        count: usize,
        /// All locations, runs of rows joined: `rows 3, 5-9`.
        locations: String,
        /// The first few, each with its row and what is wrong.
        first: Vec<DataError>,
    },
    /// No row is left.
    #[error("data set {what} is empty: {message}")]
    Empty {
        /// Which data set.
        what: String,
        /// What left it empty and what to do.
        message: String,
    },
    /// A setting that asks for the impossible.
    #[error("`{key}` of the data set: {message}")]
    Setting {
        /// The key in the recipe.
        key: &'static str,
        /// What is wrong and what to do.
        message: String,
    },
    /// A sample whose solution is not what its task needs.
    #[error("sample `{sample}`: {message}")]
    Sample {
        /// Which sample.
        sample: String,
        /// What is wrong and what to do.
        message: String,
    },
}

/// What can be wrong with an image.
#[derive(Debug, thiserror::Error)]
pub enum ImageProblem {
    /// The file is not there or cannot be read.
    #[error("cannot be read: {0}; image paths are relative to the data file")]
    Missing(std::io::Error),
    /// The bytes are no image.
    #[error("is damaged or of an unknown kind: {0}; PNG, JPEG, WebP, GIF, BMP and TIFF are read")]
    Damaged(Box<image::ImageError>),
    /// No model can take its shape.
    #[error("cannot be used: {0}")]
    Shape(GeometryError),
    /// Text that should be base64 and is not.
    #[error("is no base64: {0}")]
    Base64(base64::DecodeError),
    /// Its header claims more pixels than are decoded.
    #[error("has {}x{} pixels, and more than {} are not decoded; shrink it", .0.width, .0.height, ImageSize::MAX_PIXELS)]
    TooLarge(ImageSize),
    /// A URL where a path should be.
    #[error("is at a URL, and nothing is fetched from the network; download it and give its path")]
    Url,
    /// A `data:` URL of another encoding than base64.
    #[error("is a `data:` URL that is not in base64")]
    DataUrl,
    /// Neither bytes nor a path.
    #[error("has neither bytes nor a path")]
    Absent,
}

fn list(errors: &[DataError]) -> String {
    let lines: Vec<String> = errors.iter().map(|error| format!("\n  {error}")).collect();
    lines.concat()
}

/// Locations in words: `row 3`, or `rows 3, 5-9`. Ascending.
pub(crate) fn locations(all: &[Location]) -> String {
    let number = |location: &Location| match *location {
        Location::Row(number) | Location::Line(number) => number,
    };
    let kind = match all.first() {
        Some(Location::Line(_)) => "line",
        Some(Location::Row(_)) | None => "row",
    };
    let mut runs: Vec<(usize, usize)> = Vec::new();
    for n in all.iter().map(number) {
        match runs.last_mut() {
            Some((_, end)) if n <= *end + 1 => *end = n,
            _ => runs.push((n, n)),
        }
    }
    let runs = runs.iter().map(|(a, b)| if a == b { a.to_string() } else { format!("{a}-{b}") });
    let plural = if all.len() > 1 { "s" } else { "" };
    format!("{kind}{plural} {}", runs.collect::<Vec<_>>().join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_locations_are_joined() {
        let rows: Vec<Location> = [3, 5, 6, 7, 7, 9].map(Location::Row).into();
        assert_eq!(locations(&rows), "rows 3, 5-7, 9");
        assert_eq!(locations(&[Location::Line(2)]), "line 2");
    }
}
