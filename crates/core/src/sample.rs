//! What the model is asked: a sample, its messages and its images.

use std::{fmt, io, path::PathBuf, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{StoredImage, read_regular};

/// Names a sample for its whole life: in seeds, in files, in error messages. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SampleId(Arc<str>);

impl SampleId {
    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl<T: AsRef<str>> From<T> for SampleId {
    fn from(id: T) -> Self {
        Self(Arc::from(id.as_ref()))
    }
}

impl fmt::Display for SampleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a sample asks for. Decides which accuracy reward and which grader apply to the open form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Where is it: the solution is a box.
    Detection,
    /// Which classes are there: the solution is a set of class names.
    #[serde(rename = "classify", alias = "classification")]
    Classification,
    /// Read and compute: the solution is a mathematical expression.
    #[serde(alias = "mathematics")]
    Math,
    /// A short free answer, compared as text (case and outer space aside).
    Vqa,
}

impl Task {
    /// Every task, in reporting order.
    pub const ALL: [Self; 4] = [Self::Detection, Self::Classification, Self::Math, Self::Vqa];

    /// The name used in files, metrics and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Detection => "detection",
            Self::Classification => "classify",
            Self::Math => "math",
            Self::Vqa => "vqa",
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a sample asks: the three stages of the curriculum (Curr-ReFT, section 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Form {
    /// Answer `yes` or `no`.
    Binary,
    /// Answer with one or more option letters.
    Choice,
    /// Answer freely.
    Open,
}

impl Form {
    /// Every form, from the easiest to the hardest.
    pub const ALL: [Self; 3] = [Self::Binary, Self::Choice, Self::Open];

    /// The name used in files, metrics and tables.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Binary => "binary",
            Self::Choice => "choice",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Width and height in pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImageSize {
    /// Columns.
    pub width: u32,
    /// Rows.
    pub height: u32,
}

impl ImageSize {
    /// Most pixels of an image; a small file can claim any number. Pillow's limit, with which `transformers` reads images.
    pub const MAX_PIXELS: u64 = 178_956_970;

    /// Whether it has too many pixels to be decoded.
    pub fn is_too_large(self) -> bool {
        u64::from(self.width) * u64::from(self.height) > Self::MAX_PIXELS
    }
}

/// Where an image's encoded bytes are.
#[derive(Clone, PartialEq, Eq, Hash)]
pub enum ImageSource {
    /// A file.
    Path(PathBuf),
    /// Encoded bytes (PNG, JPEG, WebP), as Parquet files hold them.
    Bytes(Arc<[u8]>),
    /// Encoded bytes that a data set larger than memory reads when they are needed.
    Stored(StoredImage),
}

impl ImageSource {
    /// About how many encoded bytes a copy of it would hold in memory; none for files that are named.
    pub fn bytes_to_hold(&self) -> u64 {
        match self {
            Self::Path(_) => 0,
            Self::Bytes(bytes) => bytes.len() as u64,
            // Read one by one; a photograph, roughly.
            Self::Stored(_) => 1 << 20,
        }
    }

    /// The encoded bytes: a copy of a reference where they are in memory, else read from disk. Errors name the file.
    pub fn read(&self) -> io::Result<Arc<[u8]>> {
        match self {
            Self::Path(path) => match read_regular(path) {
                Ok(bytes) => Ok(bytes.into()),
                Err(e) => Err(io::Error::new(e.kind(), format!("`{}`: {e}", path.display()))),
            },
            Self::Bytes(bytes) => Ok(Arc::clone(bytes)),
            Self::Stored(image) => image.read(),
        }
    }
}

impl fmt::Debug for ImageSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stored(image) => image.fmt(f),
            Self::Path(path) => write!(f, "Path({})", path.display()),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}

/// An image that has not been decoded: its source and the size that its header states.
/// Token counts and box conversions need only the size, so a data set opens without decoding a pixel.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageRef {
    /// Encoded bytes or a path to them.
    pub source: ImageSource,
    /// Original size, from the header, EXIF orientation applied.
    pub size: ImageSize,
    /// A name for messages and reports: the path in the data set, or `row 17`.
    pub label: Arc<str>,
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions before the conversation.
    System,
    /// The question.
    User,
    /// The model.
    Assistant,
}

/// One piece of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text, always taken literally: control-token strings in it stay text.
    Text(String),
    /// An image, at this place in the message.
    Image(ImageRef),
}

/// One turn of the conversation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Who speaks.
    pub role: Role,
    /// Text and images in reading order.
    pub content: Vec<Part>,
}

/// One question with its images and its right answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Unique within a data set.
    pub id: SampleId,
    /// What is asked.
    pub task: Task,
    /// How it is asked.
    pub form: Form,
    /// The bare question, without the prompt template's tail.
    pub problem: String,
    /// The prompt as the model gets it: images, question and tail.
    pub messages: Vec<Message>,
    /// The right answer, without tags: `yes`, `B`, `A, C`, `3, 7`, `12`, or box JSON.
    pub solution: String,
    /// The coordinate frame of the boxes in `solution`.
    pub box_frame: crate::BoxFrame,
    /// The open sample that this one was converted from, when it was.
    pub parent: Option<SampleId>,
}

impl Sample {
    /// The images of the prompt in reading order.
    pub fn images(&self) -> impl Iterator<Item = &ImageRef> {
        self.messages.iter().flat_map(|message| &message.content).filter_map(|part| match part {
            Part::Image(image) => Some(image),
            Part::Text(_) => None,
        })
    }
}

/// A sample with an answer to imitate: what supervised fine-tuning trains on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demonstration {
    /// The question.
    pub sample: Arc<Sample>,
    /// The assistant's whole turn, without its end token.
    pub completion: String,
}
