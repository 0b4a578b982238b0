//! References to images: size from the header, no pixel decoded.

use std::{
    collections::HashSet,
    fs::File,
    io::{BufRead, BufReader, Cursor, Seek},
    path::{Path, PathBuf},
    sync::Arc,
};

use image::{ImageDecoder as _, ImageError, ImageReader, metadata::Orientation};
use reft_core::{ImageRef, ImageSize, ImageSource, PixelBudget};

use crate::{DataError, ImageProblem, Place, rows::Field};

/// Makes image references for the rows of one file.
#[derive(Debug)]
pub(crate) struct Images {
    file: PathBuf,
    /// Encoded images seen so far: rows that repeat an image share its bytes.
    seen: HashSet<Arc<[u8]>>,
}

impl Images {
    pub(crate) fn of(file: &Path) -> Self {
        Self { file: file.to_owned(), seen: HashSet::new() }
    }

    /// An image from a path, from bytes, or from `{bytes, path}` as the Hugging Face hub has it.
    pub(crate) fn open(&mut self, field: &Field, place: Place) -> Result<ImageRef, DataError> {
        match field {
            Field::Text(path) => self.at_path(path, place),
            Field::Bytes(bytes) => self.in_bytes(bytes, place.to_string(), place),
            Field::Struct(image) => match (image.get("bytes"), image.get("path")) {
                (Some(Field::Bytes(bytes)), path) => {
                    let name = path.and_then(Field::text).map(ToOwned::to_owned);
                    self.in_bytes(bytes, name.unwrap_or_else(|| place.to_string()), place)
                }
                (_, Some(Field::Text(path))) => self.at_path(path, place),
                _ => Err(self.error(place, "", ImageProblem::Absent)),
            },
            other => Err(DataError::Row {
                path: self.file.clone(),
                place,
                message: format!("an image is a path, bytes, or {{bytes, path}}; this is {}", other.kind()),
            }),
        }
    }

    fn at_path(&self, name: &str, place: Place) -> Result<ImageRef, DataError> {
        let fail = |problem| self.error(place, name, problem);
        let path = self.file.parent().unwrap_or(Path::new("")).join(name);
        let file = File::open(&path).map_err(|error| fail(ImageProblem::Missing(error)))?;
        let size = header_size(BufReader::new(file)).map_err(|e| fail(ImageProblem::Damaged(Box::new(e))))?;
        Ok(ImageRef {
            source: ImageSource::Path(path),
            size: usable(size).map_err(fail)?,
            label: Arc::from(name),
        })
    }

    fn in_bytes(&mut self, bytes: &Arc<[u8]>, name: String, place: Place) -> Result<ImageRef, DataError> {
        let fail = |problem| self.error(place, &name, problem);
        let size =
            header_size(Cursor::new(&**bytes)).map_err(|e| fail(ImageProblem::Damaged(Box::new(e))))?;
        let size = usable(size).map_err(fail)?;
        let shared = if let Some(seen) = self.seen.get(&**bytes) {
            Arc::clone(seen)
        } else {
            self.seen.insert(Arc::clone(bytes));
            Arc::clone(bytes)
        };
        Ok(ImageRef { source: ImageSource::Bytes(shared), size, label: Arc::from(name) })
    }

    fn error(&self, place: Place, image: &str, problem: ImageProblem) -> DataError {
        DataError::Image { path: self.file.clone(), place, image: image.to_owned(), problem }
    }
}

/// The size as it will be seen: sides swapped where the EXIF orientation turns the image.
fn header_size(encoded: impl BufRead + Seek) -> Result<ImageSize, ImageError> {
    let mut decoder =
        ImageReader::new(encoded).with_guessed_format().map_err(ImageError::IoError)?.into_decoder()?;
    let (width, height) = decoder.dimensions();
    let turned = matches!(
        decoder.orientation()?,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    Ok(if turned { ImageSize { width: height, height: width } } else { ImageSize { width, height } })
}

/// Refuses shapes that no model takes, at loading time rather than hours into a run. Any budget would do for that.
fn usable(size: ImageSize) -> Result<ImageSize, ImageProblem> {
    let budget = PixelBudget { patch_size: 14, merge_size: 2, min_pixels: 56 * 56, max_pixels: 1 << 20 };
    budget.grid(size).map_err(ImageProblem::Shape)?;
    Ok(size)
}
