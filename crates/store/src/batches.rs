//! Batches whose loss or gradient was not finite, kept so that they can be replayed: `non_finite/<phase>/step_000010/`.
//!
//! `batch.json` has everything an update saw, the bytes of images lie beside it, `policy/` has the weights. Numbers that
//! are not finite are `null`.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use reft_core::{
    BoxFrame, Checkpointed, Completion, Form, Group, ImageRef, ImageSize, ImageSource, Message, Part,
    RewardOutcome, RewardParts, Role, Sample, SampleId, ScoredGroup, StageError, Task, Verdict,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{StoreError, disk, layout::Layout};

const FILE: &str = "batch.json";
const POLICY: &str = "policy";

/// A batch that could not be trained on.
#[derive(Clone, Debug)]
pub struct KeptBatch {
    /// The phase.
    pub phase: String,
    /// The step, counted from 1.
    pub step: u64,
    /// `loss` or `gradient`.
    pub what: String,
    /// What the optimizer found when it failed.
    pub diagnosis: Value,
    /// The groups that it was given.
    pub groups: Vec<ScoredGroup>,
    /// The weights that it started from, where they are still kept: those of the newest batch are.
    pub policy: Option<PathBuf>,
}

impl KeptBatch {
    /// Reads the folder of a batch.
    pub fn read(dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join(FILE);
        let file: File = serde_json::from_slice(&disk::read(&path)?)
            .map_err(|error| StoreError::Damaged { path, reason: error.to_string() })?;
        let policy = dir.join(POLICY);
        Ok(Self {
            phase: file.phase,
            step: file.step,
            what: file.what,
            diagnosis: file.diagnosis,
            groups: file.groups.into_iter().map(|group| group.read(dir)).collect::<Result<_, _>>()?,
            policy: policy.is_dir().then_some(policy),
        })
    }
}

/// Writes a batch and the weights; weights of earlier batches of the run are removed, so that one copy is kept at most.
pub(crate) fn write(
    layout: &Layout,
    dir: &Path,
    batch: &KeptBatch,
    policy: &dyn Checkpointed,
) -> Result<(), StageError> {
    for phase in disk::entries(&layout.all_non_finite())? {
        for step in disk::entries(&phase)? {
            disk::remove(&step.join(POLICY))?;
        }
    }
    disk::remove(dir)?;
    disk::create_dir(&dir.join(POLICY))?;
    let mut images = 0;
    let groups = batch.groups.iter().map(|group| GroupRow::write(group, dir, &mut images));
    let file = File {
        phase: batch.phase.clone(),
        step: batch.step,
        what: batch.what.clone(),
        diagnosis: batch.diagnosis.clone(),
        groups: groups.collect::<Result<_, StoreError>>()?,
    };
    policy.save(&dir.join(POLICY))?;
    let text = serde_json::to_string_pretty(&file).map_err(|e| StageError::file(dir.join(FILE), e))?;
    Ok(disk::replace_synced(&dir.join(FILE), text.as_bytes())?)
}

#[derive(Serialize, Deserialize)]
struct File {
    phase: String,
    step: u64,
    what: String,
    diagnosis: Value,
    groups: Vec<GroupRow>,
}

#[derive(Serialize, Deserialize)]
struct GroupRow {
    sample: SampleRow,
    prompt_tokens: usize,
    policy_version: Option<u64>,
    #[serde(default)]
    temperature: Option<f32>,
    completions: Vec<Completion>,
    rewards: Vec<RewardRow>,
    advantages: Vec<Option<f32>>,
    verdict: Verdict,
}

#[derive(Serialize, Deserialize)]
struct RewardRow {
    total: Option<f32>,
    parts: Vec<(String, Option<f32>)>,
    #[serde(default)]
    outcome: RewardOutcome,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    left_out: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    masked: bool,
}

#[derive(Serialize, Deserialize)]
struct SampleRow {
    id: SampleId,
    task: Task,
    form: Form,
    problem: String,
    messages: Vec<MessageRow>,
    solution: String,
    box_frame: BoxFrame,
    parent: Option<SampleId>,
}

#[derive(Serialize, Deserialize)]
struct MessageRow {
    role: Role,
    content: Vec<PartRow>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum PartRow {
    Text {
        text: String,
    },
    Image {
        /// Where the image is; of images that came as bytes, a file in the batch's folder.
        path: PathBuf,
        is_copy: bool,
        size: ImageSize,
        label: String,
    },
}

fn finite(x: f32) -> Option<f32> {
    x.is_finite().then_some(x)
}

fn number(x: Option<f32>) -> f32 {
    x.unwrap_or(f32::NAN)
}

impl GroupRow {
    fn write(scored: &ScoredGroup, dir: &Path, images: &mut usize) -> Result<Self, StoreError> {
        let ScoredGroup { group, rewards, advantages, verdict } = scored;
        Ok(Self {
            sample: SampleRow::write(&group.sample, dir, images)?,
            prompt_tokens: group.prompt_tokens,
            policy_version: group.policy_version,
            temperature: group.temperature,
            completions: group.completions.clone(),
            rewards: rewards
                .iter()
                .map(|reward| RewardRow {
                    total: finite(reward.total),
                    parts: reward.parts.iter().map(|(name, x)| (name.clone(), finite(*x))).collect(),
                    outcome: reward.outcome.clone(),
                    left_out: reward.left_out,
                    masked: reward.masked,
                })
                .collect(),
            advantages: advantages.iter().map(|&x| finite(x)).collect(),
            verdict: verdict.clone(),
        })
    }

    fn read(self, dir: &Path) -> Result<ScoredGroup, StoreError> {
        Ok(ScoredGroup {
            group: Group {
                sample: Arc::new(self.sample.read(dir)?),
                prompt_tokens: self.prompt_tokens,
                completions: self.completions,
                policy_version: self.policy_version,
                temperature: self.temperature,
            },
            rewards: self
                .rewards
                .into_iter()
                .map(|reward| RewardParts {
                    total: number(reward.total),
                    parts: reward.parts.into_iter().map(|(name, x)| (name, number(x))).collect(),
                    outcome: reward.outcome,
                    left_out: reward.left_out,
                    masked: reward.masked,
                })
                .collect(),
            advantages: self.advantages.into_iter().map(number).collect(),
            verdict: self.verdict,
        })
    }
}

impl SampleRow {
    fn write(sample: &Sample, dir: &Path, images: &mut usize) -> Result<Self, StoreError> {
        let messages = sample.messages.iter().map(|message| {
            let content = message.content.iter().map(|part| PartRow::write(part, dir, images));
            Ok(MessageRow { role: message.role, content: content.collect::<Result<_, StoreError>>()? })
        });
        Ok(Self {
            id: sample.id.clone(),
            task: sample.task,
            form: sample.form,
            problem: sample.problem.clone(),
            messages: messages.collect::<Result<_, StoreError>>()?,
            solution: sample.solution.clone(),
            box_frame: sample.box_frame,
            parent: sample.parent.clone(),
        })
    }

    fn read(self, dir: &Path) -> Result<Sample, StoreError> {
        let messages = self.messages.into_iter().map(|message| {
            let content = message.content.into_iter().map(|part| part.read(dir));
            Ok(Message { role: message.role, content: content.collect::<Result<_, StoreError>>()? })
        });
        Ok(Sample {
            id: self.id,
            task: self.task,
            form: self.form,
            problem: self.problem,
            messages: messages.collect::<Result<_, StoreError>>()?,
            solution: self.solution,
            box_frame: self.box_frame,
            parent: self.parent,
        })
    }
}

impl PartRow {
    fn write(part: &Part, dir: &Path, images: &mut usize) -> Result<Self, StoreError> {
        let image = match part {
            Part::Text(text) => return Ok(Self::Text { text: text.clone() }),
            Part::Image(image) => image,
        };
        let (path, is_copy) = match &image.source {
            ImageSource::Path(path) => (path.clone(), false),
            source @ (ImageSource::Bytes(_) | ImageSource::Stored(_)) => {
                let path = Path::new("images").join(format!("{images:04}"));
                *images += 1;
                let bytes = source.read().map_err(StoreError::io("read", image.label.as_ref()))?;
                disk::replace(&dir.join(&path), &bytes)?;
                (path, true)
            }
        };
        Ok(Self::Image { path, is_copy, size: image.size, label: image.label.to_string() })
    }

    fn read(self, dir: &Path) -> Result<Part, StoreError> {
        Ok(match self {
            Self::Text { text } => Part::Text(text),
            Self::Image { path, is_copy, size, label } => {
                let source = if is_copy {
                    ImageSource::Bytes(disk::read(&dir.join(path))?.into())
                } else {
                    ImageSource::Path(path)
                };
                Part::Image(ImageRef { source, size, label: label.into() })
            }
        })
    }
}
