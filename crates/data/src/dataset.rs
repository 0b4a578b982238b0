//! A data set of a recipe, loaded: the one entry point of training, evaluation and the command line.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Range,
    sync::Arc,
};

use reft_config::{DataConfig, MixtureData, PromptConfig, SceneData};
use reft_core::{Demonstration, Form, Sample, SampleId, Seed};

use crate::{
    DataError, formats,
    forms::{self, FormSettings, LeftOut},
    report::Report,
    scene::{SceneFacts, SceneSet, Styles, completion},
};

/// Samples in the forms asked for, and the demonstrations that the data set can give.
#[derive(Clone, Debug)]
pub struct Dataset {
    /// The samples, source by source, form by form in the order asked for; within a form in the order of the source.
    pub samples: Vec<Arc<Sample>>,
    sources: Vec<Source>,
    answers: Arc<Answers>,
    notes: Vec<String>,
}

/// Where some samples of a data set come from.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// Name of the data set in a mixture; empty where there is only one.
    pub name: String,
    /// Its weight in the mixture; none where samples are drawn equally often.
    pub weight: Option<f64>,
    /// Longest prompt in tokens that training takes; 0 for any.
    pub max_prompt_tokens: usize,
    /// Their indices in [`Dataset::samples`].
    pub samples: Range<usize>,
}

/// A data set as it is on disk, before it is asked in forms.
#[derive(Clone, Debug)]
pub struct OpenData {
    /// What is read, for messages.
    what: String,
    parts: Vec<OpenPart>,
    answers: Arc<Answers>,
    notes: Vec<String>,
}

#[derive(Clone, Debug)]
struct OpenPart {
    name: String,
    weight: Option<f64>,
    max_prompt_tokens: usize,
    samples: Vec<Arc<Sample>>,
}

/// Where demonstrations come from.
#[derive(Clone, Debug)]
enum Answers {
    /// Assistant turns of the file, by sample.
    Written(HashMap<SampleId, String>),
    /// What is known about each scene, by the open sample; any form's demonstration is written from it.
    Scenes { facts: HashMap<SampleId, SceneFacts>, styles: Styles, seed: Seed },
    /// Those of each source of a mixture, by its name.
    Mixture(BTreeMap<String, Answers>),
}

impl OpenData {
    /// Reads a file or makes scenes. A mixture needs the data sets it names: see [`OpenData::named`].
    pub fn load(config: &DataConfig, prompts: &PromptConfig) -> Result<Self, DataError> {
        let (what, samples, answers, max_prompt_tokens, notes) = match config {
            DataConfig::File(file) => {
                let rows = formats::load(file, prompts)?;
                let what = format!("`{}`", file.path.display());
                (what, rows.samples, Answers::Written(rows.written), file.max_prompt_tokens, rows.notes)
            }
            DataConfig::Scenes(scenes) => {
                let (samples, answers) = generate(scenes, prompts)?;
                (format!("of scenes from `{}`", scenes.glyphs.display()), samples, answers, 0, Vec::new())
            }
            DataConfig::Mixture(_) => {
                let message = "a mixture cannot be loaded without the data sets that it names".to_owned();
                return Err(DataError::Setting { key: "type", message });
            }
        };
        let part = OpenPart { name: String::new(), weight: None, max_prompt_tokens, samples };
        Ok(Self { what, parts: vec![part], answers: Arc::new(answers), notes })
    }

    /// Reads the data set of this name among those of a recipe.
    pub fn named(
        name: &str,
        sets: &BTreeMap<String, DataConfig>,
        prompts: &PromptConfig,
    ) -> Result<Self, DataError> {
        let config = sets.get(name).ok_or_else(|| DataError::Setting {
            key: "data",
            message: format!("there is no data set `{name}`; add a table `[data.{name}]`"),
        })?;
        match config {
            DataConfig::Mixture(mixture) => Self::mixed(name, mixture, sets, prompts),
            DataConfig::File(_) | DataConfig::Scenes(_) => Self::load(config, prompts),
        }
    }

    fn mixed(
        name: &str,
        mixture: &MixtureData,
        sets: &BTreeMap<String, DataConfig>,
        prompts: &PromptConfig,
    ) -> Result<Self, DataError> {
        let mut parts = Vec::with_capacity(mixture.sources.len());
        let (mut answers, mut notes) = (BTreeMap::new(), Vec::new());
        for source in &mixture.sources {
            let config = sets.get(&source.data).ok_or_else(|| DataError::Setting {
                key: "sources",
                message: format!("there is no data set `{}`", source.data),
            })?;
            let Self { parts: of_source, answers: of_answers, notes: of_notes, .. } =
                Self::load(config, prompts)?;
            notes.extend(of_notes.into_iter().map(|note| format!("`{}`: {note}", source.data)));
            for part in of_source {
                let samples = part.samples.iter().map(|sample| Arc::new(renamed(sample, &source.data)));
                parts.push(OpenPart {
                    name: source.data.clone(),
                    weight: source.weight,
                    samples: samples.collect(),
                    ..part
                });
            }
            let of_answers = Arc::unwrap_or_clone(of_answers).renamed(&source.data);
            answers.insert(source.data.clone(), of_answers);
        }
        Ok(Self {
            what: format!("`{name}`, a mixture,"),
            parts,
            answers: Arc::new(Answers::Mixture(answers)),
            notes,
        })
    }

    /// The samples as they are on disk, source by source.
    pub fn samples(&self) -> impl Iterator<Item = &Arc<Sample>> {
        self.parts.iter().flat_map(|part| &part.samples)
    }

    /// Without some samples.
    #[must_use]
    pub fn without(&self, left_out: &BTreeSet<SampleId>) -> Self {
        let mut rest = self.clone();
        for part in &mut rest.parts {
            part.samples.retain(|sample| !left_out.contains(&sample.id));
        }
        rest
    }

    /// What a user should know about how it was read, a sentence each: ids that repeat, columns that are not used.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// The samples in these forms. Conversion is decided by `seed` and by the samples of each source alone; give an
    /// evaluation the same seed in every run, so that all runs answer the same questions. A form that leaves no sample
    /// is an error.
    pub fn in_forms(&self, forms: &[Form], prompts: &PromptConfig, seed: Seed) -> Result<Dataset, DataError> {
        if let Some((_, form)) = forms.iter().enumerate().find(|(i, form)| forms[..*i].contains(form)) {
            return Err(DataError::Setting { key: "forms", message: format!("names `{form}` twice") });
        }
        let mut samples = Vec::new();
        let mut sources = Vec::with_capacity(self.parts.len());
        let mut left_out: BTreeMap<(Form, LeftOut), Vec<SampleId>> = BTreeMap::new();
        for part in &self.parts {
            let seed = if part.name.is_empty() { seed } else { seed.at(part.name.as_str()) };
            let settings = FormSettings { seed: seed.at("forms"), ..FormSettings::default() };
            let start = samples.len();
            for &form in forms {
                let converted = forms::convert(&part.samples, form, prompts, &settings)?;
                samples.extend(converted.samples);
                for (sample, reason) in converted.left_out {
                    left_out.entry((form, reason)).or_default().push(sample);
                }
            }
            sources.push(Source {
                name: part.name.clone(),
                weight: part.weight,
                max_prompt_tokens: part.max_prompt_tokens,
                samples: start..samples.len(),
            });
        }
        let notes: Vec<String> = left_out
            .into_iter()
            .map(|((form, reason), samples)| {
                let (n, first) = (samples.len(), &samples[0]);
                format!(
                    "form `{form}`: {n} samples {} and are left out, the first `{first}`",
                    reason.as_str()
                )
            })
            .collect();
        if samples.is_empty() {
            let notes = if notes.is_empty() { String::new() } else { format!("; {}", notes.join("; ")) };
            return Err(DataError::Empty {
                what: self.what.clone(),
                message: format!("no sample can be asked in the forms {}{notes}", names(forms)),
            });
        }
        Ok(Dataset { samples, sources, answers: Arc::clone(&self.answers), notes })
    }
}

/// A sample of a mixture: ids of different sources may be equal, so they begin with the source.
fn renamed(sample: &Sample, source: &str) -> Sample {
    Sample {
        id: prefixed(&sample.id, source),
        parent: sample.parent.as_ref().map(|parent| prefixed(parent, source)),
        ..sample.clone()
    }
}

fn prefixed(id: &SampleId, source: &str) -> SampleId {
    SampleId::from(format!("{source}/{id}"))
}

impl Dataset {
    /// Reads or generates a data set and converts it to `forms`: [`OpenData::load`], then [`OpenData::in_forms`].
    pub fn load(
        config: &DataConfig,
        prompts: &PromptConfig,
        forms: &[Form],
        seed: Seed,
    ) -> Result<Self, DataError> {
        OpenData::load(config, prompts)?.in_forms(forms, prompts, seed)
    }

    /// Which samples could not be asked in which form, a sentence each.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Where the samples come from, in order; together they are all samples.
    pub fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// Leaves out the samples that `keep` refuses.
    pub fn retain(&mut self, mut keep: impl FnMut(&Source, &Sample) -> bool) {
        let all = std::mem::take(&mut self.samples);
        for source in &mut self.sources {
            let start = self.samples.len();
            let of_source = &all[source.samples.clone()];
            self.samples.extend(of_source.iter().filter(|sample| keep(source, sample)).cloned());
            source.samples = start..self.samples.len();
        }
    }

    /// [`Dataset::demonstrations`] in the shares of the mixture: sources are repeated until each sample is there at least
    /// once and the weights hold, give or take one sample.
    pub fn weighted_demonstrations(&self) -> Vec<Demonstration> {
        let parts: Vec<Vec<Demonstration>> =
            self.sources.iter().map(|source| self.imitable(source.samples.clone())).collect();
        let ratios = parts.iter().zip(&self.sources);
        let ratios = ratios.filter_map(|(part, source)| Some(part.len() as f64 / source.weight?));
        let scale = ratios.fold(0.0, f64::max);
        let mut all = Vec::new();
        for (part, source) in parts.into_iter().zip(&self.sources) {
            let n = match source.weight {
                Some(weight) if !part.is_empty() => (weight * scale).round() as usize,
                _ => part.len(),
            };
            all.extend(part.iter().cycle().take(n).cloned());
        }
        all
    }

    /// What supervised fine-tuning can imitate: for scenes every sample, for files the rows that end in an assistant's
    /// turn. Empty for files of bare questions.
    pub fn demonstrations(&self) -> Vec<Demonstration> {
        self.imitable(0..self.samples.len())
    }

    fn imitable(&self, indices: Range<usize>) -> Vec<Demonstration> {
        let samples = self.samples[indices].iter();
        samples
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
            Self::Scenes { facts, styles, seed } => {
                let facts = facts.get(sample.parent.as_ref().unwrap_or(&sample.id))?;
                Some(completion(sample, facts, styles.pick(sample.form, seed.at(&sample.id).uniform())))
            }
            Self::Mixture(sources) => {
                let (source, _) = sample.id.as_str().split_once('/')?;
                sources.get(source)?.of(sample)
            }
        }
    }

    /// The answers to samples that are named after their source.
    fn renamed(self, source: &str) -> Self {
        match self {
            Self::Written(written) => {
                Self::Written(written.into_iter().map(|(id, text)| (prefixed(&id, source), text)).collect())
            }
            Self::Scenes { facts, styles, seed } => {
                let facts = facts.into_iter().map(|(id, facts)| (prefixed(&id, source), facts));
                Self::Scenes { facts: facts.collect(), styles, seed }
            }
            Self::Mixture(_) => self,
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
    let seed = Seed::new(config.seed).at("style");
    let answers = Answers::Scenes { facts, styles: Styles::from_config(config), seed };
    Ok((samples, answers))
}

fn names(forms: &[Form]) -> String {
    let names: Vec<String> = forms.iter().map(|form| format!("`{form}`")).collect();
    names.join(", ")
}
