//! Parquet tables from columns, and back to rows.

use std::{fs::File, path::Path, sync::Arc};

use arrow::{
    array::{
        Array, ArrayRef, AsArray as _, BooleanArray, Float32Array, ListArray, RecordBatch, StringArray,
        UInt32Array, UInt64Array,
    },
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Float32Type, Schema, UInt32Type, UInt64Type},
};
use parquet::{
    arrow::{ArrowWriter, arrow_reader::ParquetRecordBatchReaderBuilder},
    basic::{Compression, ZstdLevel},
    errors::ParquetError,
    file::properties::WriterProperties,
};
use serde_json::{Map, Value, json};

use crate::{StoreError, disk};

/// Columns of equal length.
#[derive(Default)]
pub(crate) struct Table {
    fields: Vec<Field>,
    columns: Vec<ArrayRef>,
}

impl Table {
    /// Adds a column of any type.
    pub(crate) fn column(&mut self, name: &str, column: ArrayRef) {
        self.fields.push(Field::new(name, column.data_type().clone(), true));
        self.columns.push(column);
    }

    pub(crate) fn text<S: AsRef<str>>(&mut self, name: &str, values: impl Iterator<Item = Option<S>>) {
        self.column(name, Arc::new(values.collect::<StringArray>()));
    }

    pub(crate) fn flag(&mut self, name: &str, values: impl Iterator<Item = bool>) {
        self.column(name, Arc::new(values.map(Some).collect::<BooleanArray>()));
    }

    pub(crate) fn float(&mut self, name: &str, values: impl Iterator<Item = Option<f32>>) {
        self.column(name, Arc::new(values.collect::<Float32Array>()));
    }

    pub(crate) fn count(&mut self, name: &str, values: impl Iterator<Item = usize>) {
        self.column(name, Arc::new(values.map(|n| n as u32).collect::<UInt32Array>()));
    }

    pub(crate) fn number(&mut self, name: &str, values: impl Iterator<Item = Option<u64>>) {
        self.column(name, Arc::new(values.collect::<UInt64Array>()));
    }

    pub(crate) fn texts(&mut self, name: &str, values: impl Iterator<Item = Vec<String>>) {
        let values: Vec<Vec<String>> = values.collect();
        let items: StringArray = values.iter().flatten().map(Some).collect();
        self.column(name, list(values.iter().map(Vec::len), Arc::new(items)));
    }

    /// Writes tables of the same columns one after another, each as a row group of its own: all or nothing, with no more than
    /// one in memory.
    pub(crate) fn write_all(
        path: &Path,
        tables: impl Iterator<Item = Result<Self, StoreError>>,
    ) -> Result<(), StoreError> {
        let temporary = disk::beside(path)?;
        let written = Self::write_groups(&temporary, path, tables);
        if written.is_err() {
            // Half a file takes the space that is missing.
            let _ = disk::remove(&temporary);
        }
        written?;
        std::fs::rename(&temporary, path).map_err(StoreError::io("write", path))
    }

    fn write_groups(
        temporary: &Path,
        path: &Path,
        tables: impl Iterator<Item = Result<Self, StoreError>>,
    ) -> Result<(), StoreError> {
        let fail = |source| StoreError::Parquet { path: path.to_owned(), source };
        let file = File::create(temporary).map_err(StoreError::io("write", path))?;
        let mut writer: Option<ArrowWriter<File>> = None;
        let mut file = Some(file);
        for table in tables {
            let Self { fields, columns } = table?;
            let schema = Arc::new(Schema::new(fields));
            let batch =
                RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|error| fail(error.into()))?;
            if let Some(file) = file.take() {
                writer = Some(
                    ArrowWriter::try_new(file, schema, Some(properties().map_err(fail)?)).map_err(fail)?,
                );
            }
            if let Some(writer) = &mut writer {
                writer.write(&batch).and_then(|()| writer.flush()).map_err(fail)?;
            }
        }
        if let Some(writer) = writer {
            let file = writer.into_inner().map_err(fail)?;
            file.sync_all().map_err(StoreError::io("write", path))?;
        }
        Ok(())
    }

    /// Writes the table, all or nothing. The same columns give the same bytes.
    pub(crate) fn write(self, path: &Path) -> Result<(), StoreError> {
        let bytes = self.encode().map_err(|source| StoreError::Parquet { path: path.to_owned(), source })?;
        disk::replace(path, &bytes)
    }

    fn encode(self) -> Result<Vec<u8>, ParquetError> {
        let schema = Arc::new(Schema::new(self.fields));
        let batch = RecordBatch::try_new(Arc::clone(&schema), self.columns)?;
        let mut writer = ArrowWriter::try_new(Vec::new(), schema, Some(properties()?))?;
        writer.write(&batch)?;
        writer.into_inner()
    }
}

fn properties() -> Result<WriterProperties, ParquetError> {
    let zstd = Compression::ZSTD(ZstdLevel::try_new(3)?);
    Ok(WriterProperties::builder().set_compression(zstd).build())
}

/// A list column from the lengths of its lists and all their items in order.
pub(crate) fn list(lengths: impl Iterator<Item = usize>, items: ArrayRef) -> ArrayRef {
    let field = Arc::new(Field::new("item", items.data_type().clone(), true));
    let offsets = OffsetBuffer::from_lengths(lengths);
    Arc::new(ListArray::new(field, offsets, items, None))
}

/// The rows of a Parquet file that a run directory holds, by column name.
/// Text, numbers, truth values and lists of text; columns of other types (images) are left out.
pub fn read_rows(path: &Path) -> Result<Vec<Map<String, Value>>, StoreError> {
    let fail = |source| StoreError::Parquet { path: path.to_owned(), source };
    let file = File::open(path).map_err(StoreError::io("read", path))?;
    let batches = ParquetRecordBatchReaderBuilder::try_new(file)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(fail)?;
    let mut rows = Vec::new();
    for batch in batches {
        let batch = batch.map_err(|error| fail(error.into()))?;
        let first = rows.len();
        rows.resize_with(first + batch.num_rows(), Map::new);
        for (field, column) in batch.schema().fields().iter().zip(batch.columns()) {
            if batch.num_rows() == 0 || cell(column, 0).is_none() {
                continue;
            }
            for (i, row) in rows[first..].iter_mut().enumerate() {
                let value = cell(column, i).unwrap_or_default();
                row.insert(field.name().clone(), value);
            }
        }
    }
    Ok(rows)
}

/// One value; none for a type that is left out.
fn cell(column: &ArrayRef, i: usize) -> Option<Value> {
    let null = column.is_null(i);
    Some(match column.data_type() {
        DataType::Utf8 | DataType::Float32 if null => Value::Null,
        DataType::Utf8 => column.as_string::<i32>().value(i).into(),
        DataType::Boolean => column.as_boolean().value(i).into(),
        DataType::Float32 => json!(column.as_primitive::<Float32Type>().value(i)),
        DataType::UInt32 => column.as_primitive::<UInt32Type>().value(i).into(),
        DataType::UInt64 => column.as_primitive::<UInt64Type>().value(i).into(),
        DataType::List(field) if *field.data_type() == DataType::Utf8 => {
            let items = column.as_list::<i32>().value(i);
            items.as_string::<i32>().iter().collect()
        }
        _ => return None,
    })
}
