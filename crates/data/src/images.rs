//! References to images: size from the header, no pixel decoded.

use std::{
    collections::{HashMap, HashSet},
    io::{BufRead, BufReader, Cursor, Seek},
    path::{Path, PathBuf},
    sync::Arc,
};

use base64::Engine as _;
use image::{
    GrayImage, ImageDecoder as _, ImageError, ImageFormat, ImageReader, Luma, metadata::Orientation,
};
use reft_config::FileData;
use reft_core::{ImageRef, ImageSize, ImageSource, ImageStore, PixelBudget, StoredImage, open_regular};
use sha2::{Digest as _, Sha256};

use crate::{
    DataError, ImageProblem, Location,
    image_columns::image_fields,
    rows::{Field, Row},
    stored::ParquetImages,
};

/// Fields of an object that say where an image is, besides `bytes`: in Hugging Face chats, OpenAI's messages and verl's rows.
pub(crate) const SOURCES: [&str; 5] = ["path", "image", "image_url", "url", "base64"];

/// Makes image references for the rows of one file.
#[derive(Debug)]
pub(crate) struct Images {
    file: PathBuf,
    /// Folder that paths start at.
    root: PathBuf,
    /// Where the images of a file that is larger than memory stay.
    store: Option<Arc<ParquetImages>>,
    /// Encoded images seen so far: rows that repeat an image share its bytes.
    seen: HashSet<Arc<[u8]>>,
}

impl Images {
    /// For the rows of a file.
    pub(crate) fn of(config: &FileData) -> Result<Self, DataError> {
        let file = config.path.clone();
        let root = config.images.clone();
        let root = root.unwrap_or_else(|| file.parent().unwrap_or(Path::new("")).to_owned());
        let is_parquet = file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("parquet"));
        let store = if is_parquet {
            ParquetImages::beyond(&file, config.image_memory_mib.saturating_mul(1 << 20))?
        } else {
            None
        };
        Ok(Self { file, root, store: store.map(Arc::new), seen: HashSet::new() })
    }

    /// What a user should know about where the images are.
    pub(crate) fn say(&self) -> Option<String> {
        let anew = self.store.as_ref().is_some_and(|store| !store.has_page_index());
        let note = "images stay in the file, which has no page index, so each is found by decoding its row group from the \
                    start; write it again with one (pyarrow: `write_page_index=True`), in small row groups, or raise \
                    `image_memory_mib`";
        anew.then(|| note.to_owned())
    }

    /// The images in the columns of a row.
    pub(crate) fn of_row(&mut self, row: &Row, location: Location) -> Result<Vec<ImageRef>, DataError> {
        let fields = image_fields(row).iter().enumerate();
        fields.map(|(index, field)| self.open_at(field, location, Some(index as u32))).collect()
    }

    /// An image from elsewhere in a row.
    pub(crate) fn open(&mut self, field: &Field, location: Location) -> Result<ImageRef, DataError> {
        self.open_at(field, location, None)
    }

    /// The images of a row of VLMEvalKit's TSV files: the files of `image_path`, or in `image` base64, a list of it, or the
    /// `index` of an earlier row whose images are shown again.
    pub(crate) fn of_tsv(
        &mut self,
        row: &Row,
        location: Location,
        earlier: &HashMap<String, Vec<ImageRef>>,
    ) -> Result<Vec<ImageRef>, DataError> {
        if let Some(paths) = row.get("image_path").and_then(Field::text) {
            return listed(paths).map(|path| self.at_name(path, location)).collect();
        }
        let Some(text) = row.get("image").and_then(Field::text) else { return Ok(Vec::new()) };
        let text = text.trim();
        if text.len() <= LONGEST_INDEX {
            if let Some(images) = earlier.get(text) {
                return Ok(images.clone());
            }
            if text.bytes().all(|byte| byte.is_ascii_digit()) {
                return Err(DataError::Row {
                    path: self.file.clone(),
                    location,
                    message: format!(
                        "image `{text}` names a row, and no earlier row has this `index`; take a whole file, in its order"
                    ),
                });
            }
        }
        listed(text).map(|encoded| self.base64(encoded, location)).collect()
    }

    /// An image from encoded text, as TSV files have it.
    pub(crate) fn base64(&mut self, text: &str, location: Location) -> Result<ImageRef, DataError> {
        let decoded = base64::engine::general_purpose::STANDARD.decode(text.trim());
        let bytes = decoded.map_err(|error| self.error(location, "", ImageProblem::Base64(error)))?;
        self.in_bytes(&Arc::from(bytes), location.to_string(), location, None)
    }

    /// An image from a path, a `data:` URL, from bytes, from `{bytes, path}` as the Hugging Face hub has it, or from another
    /// object with one of [`SOURCES`]. `index` is its number in the image columns of its row, where it can be found again.
    fn open_at(
        &mut self,
        field: &Field,
        location: Location,
        index: Option<u32>,
    ) -> Result<ImageRef, DataError> {
        match field {
            Field::Text(name) => self.at_name(name, location),
            Field::Bytes(bytes) => self.in_bytes(bytes, location.to_string(), location, index),
            Field::Struct(image) => match (image.get("bytes"), image.get("path")) {
                (Some(Field::Bytes(bytes)), path) => {
                    let name = path.and_then(Field::text).map(ToOwned::to_owned);
                    self.in_bytes(bytes, name.unwrap_or_else(|| location.to_string()), location, index)
                }
                (Some(Field::Text(encoded)), _) => self.base64(encoded, location),
                _ => match image.first(&SOURCES) {
                    Some(("base64", Field::Text(encoded))) => self.base64(encoded, location),
                    Some((_, inner)) => self.open_at(inner, location, index),
                    None => Err(self.error(location, "", ImageProblem::Absent)),
                },
            },
            other => Err(DataError::Row {
                path: self.file.clone(),
                location,
                message: format!(
                    "an image is a path, a `data:` URL, bytes, or an object with `bytes`, `{}`; this is {}",
                    SOURCES.join("`, `"),
                    other.kind()
                ),
            }),
        }
    }

    /// An image that a text names: `data:` URLs hold it, other URLs are refused, and the rest are paths.
    fn at_name(&mut self, name: &str, location: Location) -> Result<ImageRef, DataError> {
        if let Some(data) = name.strip_prefix("data:") {
            return match data.split_once(";base64,") {
                Some((_, encoded)) => self.base64(encoded, location),
                None => Err(self.error(location, "data:", ImageProblem::DataUrl)),
            };
        }
        let path = name.strip_prefix("file://").unwrap_or(name);
        if path.contains("://") {
            return Err(self.error(location, name, ImageProblem::Url));
        }
        let fail = |problem| self.error(location, name, problem);
        let path = self.root.join(path);
        let file = open_regular(&path).map_err(|error| fail(ImageProblem::Missing(error)))?;
        let size = header_size(BufReader::new(file)).map_err(|e| fail(ImageProblem::Damaged(Box::new(e))))?;
        Ok(ImageRef {
            source: ImageSource::Path(path),
            size: usable(size).map_err(fail)?,
            label: Arc::from(name),
        })
    }

    fn in_bytes(
        &mut self,
        bytes: &Arc<[u8]>,
        name: String,
        location: Location,
        index: Option<u32>,
    ) -> Result<ImageRef, DataError> {
        let fail = |problem| self.error(location, &name, problem);
        let size =
            header_size(Cursor::new(&**bytes)).map_err(|e| fail(ImageProblem::Damaged(Box::new(e))))?;
        let size = usable(size).map_err(fail)?;
        let source = match (&self.store, location, index) {
            (Some(store), Location::Row(row), Some(index)) => {
                let store: Arc<dyn ImageStore> = Arc::<ParquetImages>::clone(store);
                let digest = Sha256::digest(bytes).into();
                ImageSource::Stored(StoredImage::new(store, row as u64, index, digest))
            }
            _ => ImageSource::Bytes(self.shared(bytes)),
        };
        Ok(ImageRef { source, size, label: Arc::from(name) })
    }

    /// These bytes, or the equal ones that were read before.
    fn shared(&mut self, bytes: &Arc<[u8]>) -> Arc<[u8]> {
        if let Some(seen) = self.seen.get(&**bytes) {
            return Arc::clone(seen);
        }
        self.seen.insert(Arc::clone(bytes));
        Arc::clone(bytes)
    }

    fn error(&self, location: Location, image: &str, problem: ImageProblem) -> DataError {
        DataError::Image { path: self.file.clone(), location, image: image.to_owned(), problem }
    }
}

/// Longest `image` of a TSV file that names another row.
const LONGEST_INDEX: usize = 64;

/// The entries of `['a', 'b']` or `["a", "b"]`; a text that is no list is its only entry.
fn listed(text: &str) -> impl Iterator<Item = &str> {
    let inside = text.trim().strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let entries = inside.into_iter().flat_map(|inside| inside.split(','));
    let entries =
        entries.map(|entry| entry.trim().trim_matches(['\'', '"'])).filter(|entry| !entry.is_empty());
    entries.chain(inside.is_none().then_some(text))
}

/// An image whose encoded bytes are at hand.
pub fn in_memory(bytes: Arc<[u8]>, label: &str) -> Result<ImageRef, ImageProblem> {
    let size = header_size(Cursor::new(&*bytes)).map_err(|error| ImageProblem::Damaged(Box::new(error)))?;
    Ok(ImageRef { source: ImageSource::Bytes(bytes), size: usable(size)?, label: Arc::from(label) })
}

/// SHA-256 of the encoded bytes; of its path for a file that has vanished.
pub fn digest(image: &ImageRef) -> [u8; 32] {
    match &image.source {
        ImageSource::Stored(stored) => stored.digest(),
        source => match source.read() {
            Ok(bytes) => Sha256::digest(&bytes).into(),
            Err(_) => Sha256::digest(image.label.as_bytes()).into(),
        },
    }
}

/// A grey picture of the same size: what a model that does not look is shown.
pub fn grey(image: &ImageRef) -> ImageRef {
    let ImageSize { width, height } = image.size;
    let mut bytes = Cursor::new(Vec::new());
    let picture = GrayImage::from_pixel(width, height, Luma([128]));
    // Encoding to memory fails for no size that a header may have; an empty picture would be refused by name.
    let _ = picture.write_to(&mut bytes, ImageFormat::Png);
    ImageRef {
        source: ImageSource::Bytes(bytes.into_inner().into()),
        size: image.size,
        label: Arc::from(format!("grey {width}x{height}")),
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
    if size.is_too_large() {
        return Err(ImageProblem::TooLarge(size));
    }
    let budget = PixelBudget { patch_size: 14, merge_size: 2, min_pixels: 56 * 56, max_pixels: 1 << 20 };
    budget.grid(size).map_err(ImageProblem::Shape)?;
    Ok(size)
}
