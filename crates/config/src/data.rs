//! Data sets of a recipe.

use std::path::PathBuf;

use reft_core::{BoxFrame, Task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A data set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum DataConfig {
    /// Rows of a Parquet, Arrow, JSONL or TSV file.
    File(FileData),
    /// Scenes composed from labelled images, generated from a seed.
    Scenes(SceneData),
    /// Several data sets at once.
    Mixture(MixtureData),
}

/// Several data sets at once, each drawn from by its weight. Samples are named `SOURCE/ID`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MixtureData {
    /// The data sets.
    pub sources: Vec<MixtureSource>,
}

/// A data set of a mixture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MixtureSource {
    /// Its name: `NAME` of a `[data.NAME]` that is no mixture itself.
    pub data: String,
    /// Its share of the samples drawn, relative to the other weights. Give one to all sources or to none; without, every
    /// sample is drawn equally often.
    #[serde(default)]
    pub weight: Option<f64>,
}

/// Rows of a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileData {
    /// `.parquet`, `.arrow`, `.jsonl`, `.json` or `.tsv`. Image paths inside are relative to it. Or a file of the hub,
    /// `hf://datasets/ORG/NAME@REVISION/FILE`.
    pub path: PathBuf,
    /// The row format; detected from the columns when not given.
    #[serde(default)]
    pub format: RowFormat,
    /// The task of rows that do not name one.
    #[serde(default)]
    pub task: Option<TaskName>,
    /// Only rows whose `split` column equals this.
    #[serde(default)]
    pub split: Option<String>,
    /// The frame of the boxes in the solutions.
    #[serde(default)]
    pub box_frame: FrameName,
    /// Take only the first rows; 0 takes all.
    #[serde(default)]
    pub limit: usize,
    /// Folder that image paths start at; that of the data file when not given.
    #[serde(default)]
    pub images: Option<PathBuf>,
    /// Encoded images of a Parquet file are held in memory up to this many MiB; those of a larger file stay there and are
    /// read when they are needed.
    #[serde(default = "FileData::default_image_memory")]
    pub image_memory_mib: u64,
    /// Longest prompt in tokens, images included; longer ones are left out and listed. 0 leaves out none. Curr-ReFT: 2,048.
    #[serde(default)]
    pub max_prompt_tokens: usize,
    /// What becomes of rows whose images cannot be read or decoded. All are decoded once before the first step.
    #[serde(default)]
    pub on_bad_image: BadImages,
}

/// What becomes of rows with bad images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum BadImages {
    /// The run does not start.
    #[default]
    Error,
    /// They are left out, counted and named.
    Skip,
}

impl FileData {
    /// A file with every setting at its default.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            format: RowFormat::default(),
            task: None,
            split: None,
            box_frame: FrameName::default(),
            limit: 0,
            images: None,
            image_memory_mib: Self::default_image_memory(),
            max_prompt_tokens: 0,
            on_bad_image: BadImages::default(),
        }
    }

    fn default_image_memory() -> u64 {
        512
    }
}

/// Row formats that load as they are (method section 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RowFormat {
    /// Detect from the columns of the first row.
    #[default]
    Auto,
    /// `problem`, `solution`, `task`, `image` (path), as Curr-ReFT.
    CurrReft,
    /// `conversations` with `<image>`, as LLaVA and VLM-R1.
    Conversations,
    /// `image: {bytes, path}` or `images: [..]`, `problem|question|prompt`, `answer|solution`, as on the Hugging Face hub.
    HfImage,
    /// Chat `messages`.
    Messages,
    /// `index`, `question`, `answer`, `image` (base64), perhaps `A`, `B`, `C`, `D`, as the TSV files of VLMEvalKit.
    VlmEvalKit,
}

/// Scenes composed from labelled images (docs/DATA.md).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SceneData {
    /// Parquet with columns `image` (`{bytes, path}`), `label` and `split`.
    pub glyphs: PathBuf,
    /// Which split of the glyphs to draw from.
    pub split: String,
    /// In-domain or out-of-domain scenes.
    #[serde(default)]
    pub domain: SceneDomain,
    /// Scenes to make.
    pub count: usize,
    /// Tasks to ask about, in equal shares.
    #[serde(default = "SceneData::all_tasks")]
    pub tasks: Vec<TaskName>,
    /// Seed of the scenes; the same seed and settings give the same bytes.
    #[serde(default)]
    pub seed: u64,
    /// Share of demonstrations that read the scene and work the answer out before they give it; the others answer at a
    /// glance. Only supervised fine-tuning sees demonstrations. 0 to 1.
    #[serde(default = "SceneData::all_careful")]
    pub careful: f64,
    /// `careful` for open questions, where it differs from other forms.
    #[serde(default)]
    pub careful_open: Option<f64>,
    /// Share of demonstrations that read the scene and answer without working it out. 0 to 1, together with `careful` at
    /// most 1.
    #[serde(default)]
    pub reading: f64,
    /// Share of dense scenes to be read out whole, which teach a new model to see. 0 to 1.
    #[serde(default)]
    pub transcription: f64,
    /// Share of scenes whose digits are to be read and then listed by value, which teach a new model to look things up
    /// in what it wrote. 0 to 1, together with `transcription`, `cells`, `checking` and `shapes` at most 1.
    #[serde(default)]
    pub listing: f64,
    /// Share of scenes that ask in which cells three digits are, as mathematics: three lookups, hardly to be guessed. 0 to
    /// 1.
    #[serde(default)]
    pub cells: f64,
    /// Share of scenes about whose digits six things are to be checked, which teach a new model to compare. 0 to 1.
    #[serde(default)]
    pub checking: f64,
    /// Share of scenes that show one coloured shape instead, which teach a new model words of colours and shapes. 0 to 1.
    #[serde(default)]
    pub shapes: f64,
    /// Whether pictures are left empty, an even grey: how often the same questions are answered rightly without looking.
    #[serde(default)]
    pub blank: bool,
    /// Largest shift of a glyph from the middle of its cell along each axis, in pixels. Harder when larger.
    #[serde(default = "SceneData::default_jitter")]
    pub jitter: f64,
}

impl SceneData {
    /// In-domain scenes of all tasks with every other setting at its default.
    pub fn new(glyphs: impl Into<PathBuf>, split: impl Into<String>, count: usize) -> Self {
        Self {
            glyphs: glyphs.into(),
            split: split.into(),
            domain: SceneDomain::default(),
            count,
            tasks: Self::all_tasks(),
            seed: 0,
            careful: Self::all_careful(),
            careful_open: None,
            reading: 0.0,
            transcription: 0.0,
            listing: 0.0,
            cells: 0.0,
            checking: 0.0,
            shapes: 0.0,
            blank: false,
            jitter: Self::default_jitter(),
        }
    }

    fn all_careful() -> f64 {
        1.0
    }
    fn default_jitter() -> f64 {
        1.5
    }
    fn all_tasks() -> Vec<TaskName> {
        vec![TaskName(Task::Detection), TaskName(Task::Classification), TaskName(Task::Math)]
    }
}

/// Which distribution scenes come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SceneDomain {
    /// As in training.
    #[default]
    Id,
    /// Different in kind: see docs/DATA.md.
    Ood,
}

/// [`Task`] with a schema.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TaskName(pub Task);

impl JsonSchema for TaskName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Task".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "enum": ["detection", "classify", "classification", "math", "mathematics", "vqa"]})
    }
}

/// [`BoxFrame`] with a schema.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FrameName(pub BoxFrame);

impl JsonSchema for FrameName {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "BoxFrame".into()
    }
    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": "string", "enum": ["original", "model_input", "unit", "thousand"]})
    }
}
