//! Parquet in the Hugging Face image layout: `images: list<{bytes, path}>` beside plain text columns.

use std::{path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, BinaryArray, ListArray, RecordBatch, StringArray, StructArray},
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Fields},
    error::ArrowError,
};
use parquet::{
    arrow::ArrowWriter,
    basic::{Compression, ZstdLevel},
    file::properties::WriterProperties,
};
use reft_core::{ImageRef, Task};

use super::{Item, Whole, frame_name, read};
use crate::DataError;

/// Rows per batch, so that a data set of photographs is never in memory twice.
const BATCH: usize = 256;

pub(super) fn write(path: &Path, items: &[Item<'_>]) -> Result<(), DataError> {
    let fail = |error: &dyn std::fmt::Display| DataError::File {
        path: path.to_owned(),
        message: format!("cannot be written: {error}"),
    };
    let parquet = |source: parquet::errors::ParquetError| fail(&source);
    let arrow = |source: ArrowError| fail(&source);
    let whole = Whole::begin(path);
    let file = whole.create()?;
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        // Rows that share an image (the forms of one question) then store it once.
        .set_dictionary_page_size_limit(16 << 20)
        .build();
    let schema = batch(&[]).map_err(arrow)?.schema();
    let mut writer = ArrowWriter::try_new(file, schema, Some(properties)).map_err(parquet)?;
    for chunk in items.chunks(BATCH) {
        // The reading of image files fails by their own names.
        let images = chunk
            .iter()
            .map(|item| item.sample.images().map(encoded).collect())
            .collect::<Result<Vec<Vec<_>>, _>>()?;
        let rows: Vec<_> = chunk.iter().copied().zip(images).collect();
        writer.write(&batch(&rows).map_err(arrow)?).map_err(parquet)?;
    }
    let file = writer.into_inner().map_err(parquet)?;
    whole.end(&file)
}

/// An image's bytes, as they are, and its name.
type Encoded = (Arc<[u8]>, Arc<str>);

fn encoded(image: &ImageRef) -> Result<Encoded, DataError> {
    Ok((read(image)?, Arc::clone(&image.label)))
}

fn batch(rows: &[(Item<'_>, Vec<Encoded>)]) -> Result<RecordBatch, ArrowError> {
    let text = |value: &dyn Fn(&Item<'_>) -> Option<String>| -> ArrayRef {
        Arc::new(rows.iter().map(|(item, _)| value(item)).collect::<StringArray>())
    };
    RecordBatch::try_from_iter_with_nullable([
        ("id", text(&|item| Some(item.sample.id.to_string())), false),
        ("images", images(rows)?, false),
        ("problem", text(&|item| Some(item.sample.problem.clone())), false),
        ("solution", text(&|item| Some(item.sample.solution.clone())), false),
        ("task", text(&|item| Some(item.sample.task.to_string())), false),
        ("form", text(&|item| Some(item.sample.form.to_string())), false),
        ("parent", text(&|item| item.sample.parent.as_ref().map(ToString::to_string)), true),
        (
            "box_frame",
            text(&|item| (item.sample.task == Task::Detection).then(|| frame_name(item.sample).to_owned())),
            true,
        ),
        ("completion", text(&|item| item.completion.map(ToOwned::to_owned)), true),
    ])
}

fn images(rows: &[(Item<'_>, Vec<Encoded>)]) -> Result<ArrayRef, ArrowError> {
    let all = || rows.iter().flat_map(|(_, images)| images);
    let bytes: BinaryArray = all().map(|(bytes, _)| Some(&**bytes)).collect();
    let paths: StringArray = all().map(|(_, path)| Some(&**path)).collect();
    let fields = Fields::from(vec![
        Field::new("bytes", DataType::Binary, true),
        Field::new("path", DataType::Utf8, true),
    ]);
    let items = StructArray::try_new(fields.clone(), vec![Arc::new(bytes), Arc::new(paths)], None)?;
    Ok(Arc::new(ListArray::try_new(
        Arc::new(Field::new("item", DataType::Struct(fields), true)),
        OffsetBuffer::from_lengths(rows.iter().map(|(_, images)| images.len())),
        Arc::new(items),
        None,
    )?))
}
