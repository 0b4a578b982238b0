//! A data set of a recipe, loaded: the one entry point of training, evaluation and the command line.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use reft_config::{DataConfig, PromptConfig, SceneData};
use reft_core::{Demonstration, Form, Sample, SampleId, Seed};

use crate::{
    DataError, formats,
    forms::{self, FormSettings},
    report::Report,
    scene::{SceneFacts, SceneSet, Style, completion},
};

/// Samples in the forms asked for, and the demonstrations that the data set can give.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The samples, form by form in the order asked for; within a form in the order of the data set.
    pub samples: Vec<Arc<Sample>>,
    answers: Answers,
}

/// Where demonstrations come from.
#[derive(Clone, Debug)]
enum Answers {
    /// Assistant turns of the file, by sample.
    Written(HashMap<SampleId, String>),
    /// What is known about each scene, by the open sample; any form's demonstration is written from it.
    Scenes { facts: HashMap<SampleId, SceneFacts>, careful: f64, seed: Seed },
}

impl Dataset {
    /// Reads or generates a data set and converts it to `forms`.
    ///
    /// Conversion is decided by `seed` and by the samples alone; give an evaluation the same seed in every run, so that
    /// all runs answer the same questions. A form that leaves no sample is an error.
    pub fn load(
        config: &DataConfig,
        prompts: &PromptConfig,
        forms: &[Form],
        seed: Seed,
    ) -> Result<Self, DataError> {
        let (open, answers, what) = match config {
            DataConfig::File(file) => {
                let rows = formats::load(file, prompts)?;
                let what = format!("`{}`", file.path.display());
                (rows.samples, Answers::Written(rows.written), what)
            }
            DataConfig::Scenes(scenes) => {
                let (samples, answers) = generate(scenes, prompts)?;
                let what = format!("of scenes from `{}`", scenes.glyphs.display());
                (samples, answers, what)
            }
        };

        let settings = FormSettings { seed: seed.at("forms"), ..FormSettings::default() };
        let mut samples = Vec::with_capacity(open.len() * forms.len());
        for (i, &form) in forms.iter().enumerate() {
            if forms[..i].contains(&form) {
                return Err(DataError::Setting { key: "forms", message: format!("names `{form}` twice") });
            }
            samples.extend(forms::convert(&open, form, prompts, &settings)?);
        }
        if samples.is_empty() {
            return Err(DataError::Empty {
                what,
                message: format!("no sample can be asked in the forms {}", names(forms)),
            });
        }
        Ok(Self { samples, answers })
    }

    /// What supervised fine-tuning can imitate: for scenes every sample, for files the rows that end in an assistant's
    /// turn. Empty for files of bare questions.
    pub fn demonstrations(&self) -> Vec<Demonstration> {
        self.samples
            .iter()
            .filter_map(|sample| {
                Some(Demonstration { completion: self.answers.of(sample)?, sample: Arc::clone(sample) })
            })
            .collect()
    }

    /// Counts: rows, tasks, forms, image sizes, duplicates.
    pub fn report(&self) -> Report {
        Report::of(&self.samples)
    }

    /// The samples by id, as curricula and stored runs look them up.
    pub fn by_id(&self) -> BTreeMap<SampleId, Arc<Sample>> {
        self.samples.iter().map(|sample| (sample.id.clone(), Arc::clone(sample))).collect()
    }
}

impl Answers {
    fn of(&self, sample: &Sample) -> Option<String> {
        match self {
            Self::Written(written) => written.get(&sample.id).cloned(),
            Self::Scenes { facts, careful, seed } => {
                let facts = facts.get(sample.parent.as_ref().unwrap_or(&sample.id))?;
                let style =
                    if seed.at(&sample.id).uniform() < *careful { Style::Careful } else { Style::Hasty };
                Some(completion(sample, facts, style))
            }
        }
    }
}

fn generate(config: &SceneData, prompts: &PromptConfig) -> Result<(Vec<Arc<Sample>>, Answers), DataError> {
    let set = SceneSet::new(config)?;
    let mut samples = Vec::with_capacity(config.count);
    let mut facts = HashMap::with_capacity(config.count);
    for scene in set.scenes(config.count, prompts)? {
        facts.insert(scene.sample.id.clone(), scene.facts);
        samples.push(Arc::new(scene.sample));
    }
    let answers =
        Answers::Scenes { facts, careful: config.careful, seed: Seed::new(config.seed).at("style") };
    Ok((samples, answers))
}

fn names(forms: &[Form]) -> String {
    let names: Vec<String> = forms.iter().map(|form| format!("`{form}`")).collect();
    names.join(", ")
}
