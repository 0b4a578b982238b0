//! Rows of a file, whatever its kind: Parquet, Arrow IPC, JSONL and TSV all become [`Row`]s of [`Field`]s.
//!
//! Tables are read one record batch at a time; nothing but the batch at hand is held.

mod field;
mod json;
pub(crate) mod table;
mod tsv;

use std::path::Path;

pub use field::{Field, Row};
pub(crate) use json::field as json_field;

use crate::{DataError, Location};

/// Rows with their locations, in file order.
pub type Rows = Box<dyn Iterator<Item = Result<(Location, Row), DataError>>>;

/// Opens a `.parquet`, `.arrow`, `.jsonl`, `.json` or `.tsv` file.
pub fn open(path: &Path) -> Result<Rows, DataError> {
    let ending = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    match ending.as_str() {
        "parquet" => table::open_parquet(path),
        "arrow" | "ipc" | "feather" => table::open_arrow(path),
        "jsonl" | "ndjson" => json::open(path),
        "json" => json::open_whole(path),
        "tsv" => tsv::open(path),
        _ => Err(DataError::File {
            path: path.to_owned(),
            message: format!(
                "files ending in `.{ending}` are not read; give `.parquet`, `.arrow`, `.jsonl`, `.json` or `.tsv`"
            ),
        }),
    }
}
