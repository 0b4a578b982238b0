//! Which columns of a row hold its images.

use crate::rows::{Field, Row};

/// Columns that hold the images of a row: one, or a list of them.
pub(crate) const COLUMNS: [&str; 2] = ["images", "image"];

/// The images in the columns of a row; none for text-only rows.
pub(crate) fn image_fields(row: &Row) -> &[Field] {
    match row.first(&COLUMNS) {
        None => &[],
        Some((_, Field::List(fields))) => fields,
        Some((_, field)) => std::slice::from_ref(field),
    }
}
