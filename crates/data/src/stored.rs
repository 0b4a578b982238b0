//! Images of a Parquet file that is larger than memory: they stay there, and one is read when it is needed.
//!
//! Reading one decodes the pages that hold its row, nothing else; what was read last is kept, up to [`KEPT_BYTES`], as a
//! step reads each of its images more than once.

use std::{
    collections::VecDeque,
    fmt,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use arrow::array::StructArray;
use parquet::{
    arrow::{
        ProjectionMask,
        arrow_reader::{
            ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
            RowSelector,
        },
    },
    file::metadata::{PageIndexPolicy, RowGroupMetaData},
};
use reft_core::{ImageStore, open_regular};

use crate::{
    DataError,
    image_columns::{COLUMNS, image_fields},
    rows::{Field, Row, table::struct_rows},
};

/// Encoded bytes of recently read images that are kept.
const KEPT_BYTES: usize = 32 << 20;

/// The images of one Parquet file.
pub(crate) struct ParquetImages {
    path: PathBuf,
    metadata: ArrowReaderMetadata,
    projection: ProjectionMask,
    /// The first row of each row group.
    starts: Vec<u64>,
    recent: Mutex<Recent>,
}

/// Row, and index in the row.
type Key = (u64, u32);

#[derive(Default)]
struct Recent {
    bytes: usize,
    images: VecDeque<(Key, Arc<[u8]>)>,
}

impl ParquetImages {
    /// The images of a file, when they take more than `limit` bytes; none when they fit or there are none.
    pub(crate) fn beyond(path: &Path, limit: u64) -> Result<Option<Self>, DataError> {
        let parquet = |source| DataError::Parquet { path: path.to_owned(), source };
        let io = |source| DataError::Io { action: "read", path: path.to_owned(), source };
        let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Optional);
        let metadata =
            ArrowReaderMetadata::load(&open_regular(path).map_err(io)?, options).map_err(parquet)?;

        let schema = metadata.parquet_schema();
        let is_image = |name: &str| COLUMNS.contains(&name);
        let groups = metadata.metadata().row_groups();
        let sizes = groups.iter().flat_map(RowGroupMetaData::columns).filter_map(|column| {
            let root = column.column_path().parts().first()?;
            is_image(root).then_some(column.uncompressed_size().max(0) as u64)
        });
        if sizes.sum::<u64>() <= limit {
            return Ok(None);
        }
        let roots = schema.root_schema().get_fields().iter().enumerate();
        let roots = roots.filter(|(_, field)| is_image(field.name())).map(|(index, _)| index);
        let projection = ProjectionMask::roots(schema, roots);
        let starts = groups.iter().scan(0, |next, group| {
            let start = *next;
            *next += group.num_rows().max(0) as u64;
            Some(start)
        });
        let starts = starts.collect();
        Ok(Some(Self { path: path.to_owned(), metadata, projection, starts, recent: Mutex::default() }))
    }

    /// Whether a row is found without decoding what stands before it in its row group.
    pub(crate) fn has_page_index(&self) -> bool {
        let mut columns = self.metadata.metadata().row_groups().iter().flat_map(RowGroupMetaData::columns);
        columns.all(|column| column.offset_index_offset().is_some())
    }

    /// The image columns of one row.
    fn row(&self, row: u64) -> Result<Row, Box<dyn std::error::Error + Send + Sync>> {
        let group = self.starts.partition_point(|&start| start <= row).saturating_sub(1);
        let before = row - self.starts.get(group).ok_or("the file has no rows")?;
        let selection = vec![RowSelector::skip(before as usize), RowSelector::select(1)];
        let mut reader = ParquetRecordBatchReaderBuilder::new_with_metadata(
            File::open(&self.path)?,
            self.metadata.clone(),
        )
        .with_row_groups(vec![group])
        .with_projection(self.projection.clone())
        .with_row_selection(RowSelection::from(selection))
        .with_batch_size(1)
        .build()?;
        let batch = reader.next().ok_or("the row is gone")??;
        Ok(struct_rows(&StructArray::from(batch))?.pop().ok_or("the row is gone")?)
    }
}

impl ImageStore for ParquetImages {
    fn read(&self, row: u64, index: u32) -> io::Result<Arc<[u8]>> {
        let key = (row, index);
        if let Some(bytes) = self.recent.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            return Ok(bytes);
        }
        let error = |error: Box<dyn std::error::Error + Send + Sync>| {
            io::Error::other(format!("`{}` row {row}: {error}", self.path.display()))
        };
        let columns = self.row(row).map_err(error)?;
        let bytes = image_fields(&columns).get(index as usize).and_then(bytes_of);
        let bytes = bytes.ok_or_else(|| error("the image is gone; was the file changed?".into()))?;
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).keep(key, Arc::clone(&bytes));
        Ok(bytes)
    }
}

fn bytes_of(field: &Field) -> Option<Arc<[u8]>> {
    match field {
        Field::Bytes(bytes) => Some(Arc::clone(bytes)),
        Field::Struct(image) => bytes_of(image.get("bytes")?),
        _ => None,
    }
}

impl Recent {
    fn get(&self, key: Key) -> Option<Arc<[u8]>> {
        self.images.iter().find(|(kept, _)| *kept == key).map(|(_, bytes)| Arc::clone(bytes))
    }

    fn keep(&mut self, key: Key, bytes: Arc<[u8]>) {
        self.bytes += bytes.len();
        self.images.push_back((key, bytes));
        while self.bytes > KEPT_BYTES
            && let Some((_, oldest)) = self.images.pop_front()
        {
            self.bytes -= oldest.len();
        }
    }
}

impl fmt::Debug for ParquetImages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ParquetImages({})", self.path.display())
    }
}
