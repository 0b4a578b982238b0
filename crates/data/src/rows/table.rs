//! Parquet and Arrow IPC files, one record batch at a time.

use std::{
    fs::File,
    io::{BufReader, Read as _, Seek as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{Array, AsArray as _, RecordBatch, StructArray},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type},
    error::ArrowError,
    ipc::reader::{FileReader, StreamReader},
};
use parquet::{arrow::arrow_reader::ParquetRecordBatchReaderBuilder, file::metadata::RowGroupMetaData};
use reft_core::open_regular;

use super::{Field, Row, Rows, json};
use crate::{DataError, Location};

/// Rows per batch at most.
const BATCH: usize = 256;
/// Bytes per batch, roughly: rows may hold photographs.
const BATCH_BYTES: i64 = 4 << 20;

pub(super) fn open_parquet(path: &Path) -> Result<Rows, DataError> {
    let file = open_file(path)?;
    let fail = |source| DataError::Parquet { path: path.to_owned(), source };
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(fail)?;
    let groups = builder.metadata().row_groups();
    let bytes: i64 = groups.iter().map(RowGroupMetaData::total_byte_size).sum();
    let n: i64 = groups.iter().map(RowGroupMetaData::num_rows).sum();
    let batch = (BATCH_BYTES.saturating_mul(n) / bytes.max(1)).clamp(1, BATCH as i64);
    Ok(rows(path, builder.with_batch_size(batch as usize).build().map_err(fail)?))
}

/// Opens the file format (with a footer) and the stream format that the `datasets` library caches.
pub(super) fn open_arrow(path: &Path) -> Result<Rows, DataError> {
    let mut file = open_file(path)?;
    let mut magic = [0; 6];
    let has_footer = file.read_exact(&mut magic).is_ok() && magic == *b"ARROW1";
    file.rewind().map_err(|source| io(path, source))?;
    let fail = |source| DataError::Arrow { path: path.to_owned(), source };
    let file = BufReader::new(file);
    if has_footer {
        Ok(rows(path, FileReader::try_new(file, None).map_err(fail)?))
    } else {
        Ok(rows(path, StreamReader::try_new(file, None).map_err(fail)?))
    }
}

fn open_file(path: &Path) -> Result<File, DataError> {
    open_regular(path).map_err(|source| io(path, source))
}

fn io(path: &Path, source: std::io::Error) -> DataError {
    DataError::Io { action: "read", path: path.to_owned(), source }
}

/// The rows of all batches, numbered through.
fn rows(path: &Path, batches: impl Iterator<Item = Result<RecordBatch, ArrowError>> + 'static) -> Rows {
    let path: PathBuf = path.to_owned();
    let mut next = 0;
    Box::new(batches.flat_map(move |batch| {
        let fail = |source| DataError::Arrow { path: path.clone(), source };
        let rows = batch.and_then(|batch| struct_rows(&StructArray::from(batch))).map_err(fail);
        match rows {
            Ok(rows) => {
                let start = next;
                next += rows.len();
                let numbered = rows.into_iter().enumerate();
                numbered.map(|(offset, row)| Ok((Location::Row(start + offset), row))).collect()
            }
            Err(error) => vec![Err(error)],
        }
    }))
}

/// The rows of a batch.
pub(crate) fn struct_rows(array: &StructArray) -> Result<Vec<Row>, ArrowError> {
    let mut rows = vec![Row(Vec::with_capacity(array.num_columns())); array.len()];
    for (schema, column) in array.fields().iter().zip(array.columns()) {
        let name: Arc<str> = Arc::from(schema.name().as_str());
        for (row, field) in rows.iter_mut().zip(fields_of(schema, column.as_ref())?) {
            row.0.push((Arc::clone(&name), field));
        }
    }
    Ok(rows)
}

/// One field per entry of a column. One of Arrow's type `arrow.json`, which the `datasets` library writes for values of
/// mixed types, holds what its texts say.
fn fields_of(schema: &arrow::datatypes::Field, array: &dyn Array) -> Result<Vec<Field>, ArrowError> {
    let mut fields = fields(array)?;
    if schema.extension_type_name() == Some("arrow.json") {
        for field in &mut fields {
            if let Field::Text(text) = field {
                let value = serde_json::from_str(text);
                *field = json::field(value.map_err(|error| {
                    ArrowError::JsonError(format!("column `{}`: {error}", schema.name()))
                })?);
            }
        }
    }
    Ok(fields)
}

/// One field per entry of an array.
fn fields(array: &dyn Array) -> Result<Vec<Field>, ArrowError> {
    use DataType as T;
    let present = |i: usize| array.is_valid(i);
    let each = |read: &dyn Fn(usize) -> Field| {
        (0..array.len()).map(|i| if present(i) { read(i) } else { Field::Null }).collect()
    };
    Ok(match array.data_type() {
        T::Null => vec![Field::Null; array.len()],
        T::Boolean => each(&|i| Field::Bool(array.as_boolean().value(i))),
        T::Int8 | T::Int16 | T::Int32 | T::Int64 | T::UInt8 | T::UInt16 | T::UInt32 => {
            let cast = cast(array, &T::Int64)?;
            each(&|i| Field::Int(cast.as_primitive::<Int64Type>().value(i)))
        }
        T::UInt64 | T::Float16 | T::Float32 | T::Float64 => {
            let cast = cast(array, &T::Float64)?;
            each(&|i| Field::Float(cast.as_primitive::<Float64Type>().value(i)))
        }
        T::Utf8 | T::LargeUtf8 | T::Utf8View => {
            let cast = cast(array, &T::Utf8)?;
            each(&|i| Field::Text(cast.as_string::<i32>().value(i).to_owned()))
        }
        T::Binary | T::LargeBinary | T::BinaryView | T::FixedSizeBinary(_) => {
            let cast = cast(array, &T::LargeBinary)?;
            each(&|i| Field::Bytes(Arc::from(cast.as_binary::<i64>().value(i))))
        }
        T::Struct(_) => {
            let rows = struct_rows(array.as_struct())?;
            let numbered = rows.into_iter().enumerate();
            numbered.map(|(i, row)| if present(i) { Field::Struct(row) } else { Field::Null }).collect()
        }
        T::List(item) | T::LargeList(item) | T::FixedSizeList(item, _) => {
            let cast = cast(array, &T::LargeList(Arc::clone(item)))?;
            let list = cast.as_list::<i64>();
            (0..list.len())
                .map(|i| {
                    if present(i) {
                        fields_of(item, list.value(i).as_ref()).map(Field::List)
                    } else {
                        Ok(Field::Null)
                    }
                })
                .collect::<Result<_, _>>()?
        }
        T::Dictionary(_, _) => {
            let values = fields(array.as_any_dictionary().values().as_ref())?;
            let keys = array.as_any_dictionary().normalized_keys();
            keys.into_iter()
                .enumerate()
                .map(|(i, key)| if present(i) { values[key].clone() } else { Field::Null })
                .collect()
        }
        other => vec![Field::Unsupported(format!("a column of type {other}")); array.len()],
    })
}
