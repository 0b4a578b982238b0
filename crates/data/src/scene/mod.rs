//! Scenes: images composed from labelled glyphs, and questions about them.
//!
//! A scene is a dark canvas with a grid of cells; glyphs stand in distinct cells, shifted a little.
//! Everything about scene `i` follows from (seed, split, domain, `i`), so a set of a hundred thousand scenes is
//! described by five lines of a recipe, and any one of them can be made alone.
//! docs/DATA.md shows both domains.

mod check;
mod demonstration;
mod glyphs;
mod layout;
mod params;
mod question;
mod render;
mod shapes;

use std::{panic::resume_unwind, sync::Arc, thread};

use image::{Rgb, RgbImage};
use rand::{
    Rng,
    seq::{IndexedRandom as _, index},
};
use rand_chacha::ChaCha8Rng;
use reft_config::{PromptConfig, SceneData, SceneDomain};
use reft_core::{BoxFrame, Form, ImageRef, ImageSize, ImageSource, Sample, SampleId, Seed, Task};

pub use check::Check;
pub use demonstration::{Style, Styles, completion};
pub use glyphs::GlyphSet;
pub use layout::{Cell, GRID, Placed};
pub use params::{Background, Look, SceneParams};
pub use question::{Operation, Question};
pub use shapes::{Outline, ShapeQuestion};

use crate::{DataError, prompt};

/// What is known about a scene beyond its pixels: enough to write a demonstration for any form of its question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SceneFacts {
    /// The glyphs in reading order.
    pub placed: Vec<Placed>,
    /// What is asked.
    pub question: Question,
    /// Side of a cell of the grid, in pixels.
    pub cell_side: u32,
}

/// An empty picture.
const BLANK: Rgb<u8> = Rgb([128; 3]);

/// Labels that a question about cells asks for.
const CELLS_ASKED: usize = 3;

/// What a scene is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// A full grid to be read out.
    ReadAll,
    /// Digits to be read and listed by value.
    ListAll,
    /// Cells of some digits.
    Cells,
    /// Digits to be read and things about them to be checked.
    Check,
    /// One coloured shape.
    Shape,
    /// A question of a task.
    Asked(Task),
}

/// A scene with its question.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The open question, with its image.
    pub sample: Sample,
    /// What the image shows.
    pub facts: SceneFacts,
}

/// The scenes of a recipe's `[data.NAME]` of type `scenes`.
#[derive(Clone, Debug)]
pub struct SceneSet {
    glyphs: GlyphSet,
    params: SceneParams,
    tasks: Vec<Task>,
    transcription: f64,
    listing: f64,
    cells: f64,
    checking: f64,
    shapes: f64,
    blank: bool,
    noun: &'static str,
    name: String,
    seed: Seed,
}

impl SceneSet {
    /// Reads the glyphs and checks the settings.
    pub fn new(config: &SceneData) -> Result<Self, DataError> {
        let glyphs = GlyphSet::load(&config.glyphs, &config.split)?;
        let tasks: Vec<Task> = config.tasks.iter().map(|name| name.0).collect();
        check(config, &tasks, &glyphs)?;
        let domain = match config.domain {
            SceneDomain::Id => "id",
            SceneDomain::Ood => "ood",
        };
        let is_digit = |label: &Arc<str>| label.len() == 1 && label.as_bytes()[0].is_ascii_digit();
        let noun = if glyphs.labels().iter().all(is_digit) { "digits" } else { "things" };
        Ok(Self {
            params: SceneParams::from_config(config),
            tasks,
            transcription: config.transcription,
            listing: config.listing,
            cells: config.cells,
            checking: config.checking,
            shapes: config.shapes,
            blank: config.blank,
            noun,
            name: format!("{}-{domain}-{}", config.split, config.seed),
            seed: Seed::new(config.seed).at("scene").at(config.split.as_str()).at(domain),
            glyphs,
        })
    }

    /// The first `count` scenes, made on all cores; each follows from its number alone, so the result does not depend on
    /// how many there are.
    pub fn scenes(&self, count: usize, prompts: &PromptConfig) -> Result<Vec<Scene>, DataError> {
        let workers = rayon::current_num_threads();
        let share = count.div_ceil(workers).max(1);
        let parts: Vec<Result<Vec<Scene>, DataError>> = thread::scope(|scope| {
            let parts: Vec<_> = (0..count)
                .step_by(share)
                .map(|start| {
                    let indices = start..(start + share).min(count);
                    scope.spawn(move || indices.map(|index| self.scene(index, prompts)).collect())
                })
                .collect();
            parts.into_iter().map(|part| part.join().unwrap_or_else(|panic| resume_unwind(panic))).collect()
        });
        let mut scenes = Vec::with_capacity(count);
        for part in parts {
            scenes.extend(part?);
        }
        Ok(scenes)
    }

    /// Scene number `index` with its question.
    pub fn scene(&self, index: usize, prompts: &PromptConfig) -> Result<Scene, DataError> {
        let mut rng = self.seed.at(index).rng();
        let (facts, task, labels, look) = self.draw(index, &mut rng);
        let pictures: Vec<_> =
            labels.iter().filter_map(|&label| self.glyphs.pictures(label).choose(&mut rng)).collect();
        let canvas = match &facts.question {
            _ if self.blank => RgbImage::from_pixel(self.params.canvas, self.params.canvas, BLANK),
            Question::Shape(shape) => shape.paint(self.params.canvas, &mut rng),
            _ => render::render(&self.params, &look, &facts.placed, &pictures, &mut rng),
        };

        let id = SampleId::from(format!("{}-{index}", self.name));
        let png = render::encode_png(&canvas).map_err(|error| DataError::Sample {
            sample: id.to_string(),
            message: format!("its scene cannot be written as PNG: {error}"),
        })?;
        let image = ImageRef {
            source: ImageSource::Bytes(Arc::from(png)),
            size: ImageSize { width: canvas.width(), height: canvas.height() },
            label: Arc::from(format!("scene {index}")),
        };
        let problem = facts.question.text(&facts.placed, self.noun);
        let sample = Sample {
            id,
            task,
            form: Form::Open,
            messages: prompt::messages(prompts, task, Form::Open, &problem, [image]),
            solution: facts.question.answer(&facts.placed),
            problem,
            box_frame: BoxFrame::Original,
            parent: None,
        };
        Ok(Scene { sample, facts })
    }

    /// What scene `index` holds and asks; also the label index of each glyph.
    fn draw(&self, index: usize, rng: &mut ChaCha8Rng) -> (SceneFacts, Task, Vec<usize>, Look) {
        let params = &self.params;
        let kind = self.draw_kind(index, rng);
        let look = draw_look(&params.looks, rng);
        if kind == Kind::Shape {
            let question = Question::Shape(ShapeQuestion::draw(rng));
            let facts = SceneFacts { placed: Vec::new(), question, cell_side: params.cell() };
            return (facts, Task::Vqa, Vec::new(), look);
        }
        let count = rng.random_range(match kind {
            Kind::ReadAll => params.dense_glyphs.clone(),
            Kind::ListAll | Kind::Check => params.listed_glyphs.clone(),
            Kind::Cells => CELLS_ASKED.max(*params.glyphs.start())..=*params.glyphs.end(),
            Kind::Asked(_) | Kind::Shape => params.glyphs.clone(),
        });
        let (labels, target) = self.draw_labels(count, kind, rng);
        let texts = labels.iter().map(|&label| Arc::clone(&self.glyphs.labels()[label])).collect();
        let placed = layout::place(params, &look, texts, rng);
        let (task, question) = match kind {
            Kind::ReadAll => (Task::Vqa, Question::ReadAll),
            Kind::ListAll | Kind::Shape => (Task::Vqa, Question::ListAll),
            Kind::Check => (Task::Vqa, Question::Check(Check::draw(&placed, self.glyphs.labels(), rng))),
            Kind::Cells => {
                let targets = index::sample(rng, placed.len(), CELLS_ASKED.min(placed.len()));
                (Task::Math, Question::Cells { targets: targets.into_vec() })
            }
            Kind::Asked(task) => (task, self.draw_question(task, target, rng)),
        };
        (SceneFacts { placed, question, cell_side: params.cell() }, task, labels, look)
    }

    fn draw_kind(&self, index: usize, rng: &mut impl Rng) -> Kind {
        let mut left = rng.random::<f64>();
        let shares = [
            (self.transcription, Kind::ReadAll),
            (self.listing, Kind::ListAll),
            (self.cells, Kind::Cells),
            (self.checking, Kind::Check),
            (self.shapes, Kind::Shape),
        ];
        for (share, kind) in shares {
            if left < share {
                return kind;
            }
            left -= share;
        }
        self.tasks.get(index % self.tasks.len().max(1)).map_or(Kind::ReadAll, |&task| Kind::Asked(task))
    }

    fn draw_question(&self, task: Task, target: usize, rng: &mut impl Rng) -> Question {
        match task {
            Task::Detection => Question::Where { target },
            Task::Classification | Task::Vqa => Question::Which,
            Task::Math if rng.random::<f64>() < self.params.unseen_operations => {
                Question::Math(Operation::unseen(rng))
            }
            Task::Math => Question::Math(Operation::usual(rng)),
        }
    }

    /// How many neighbours of a dense scene are alike: all, a row, or none.
    ///
    /// A model without sight has to find out what a digit looks like and where to look for it, and neither helps without
    /// the other. Where all digits are alike the first can be learned alone, and where rows are alike the second roughly.
    fn draw_run(&self, count: usize, rng: &mut impl Rng) -> usize {
        match rng.random::<f64>() {
            x if x < self.params.dense_alike => count,
            x if x < 2.0 * self.params.dense_alike => GRID as usize,
            _ => 1,
        }
    }

    /// Labels in reading order, and the position of one that a detection question may ask for: it occurs once.
    fn draw_labels(&self, count: usize, kind: Kind, rng: &mut impl Rng) -> (Vec<usize>, usize) {
        let kinds = self.glyphs.labels().len();
        let mut labels: Vec<usize> = (0..count).map(|_| rng.random_range(0..kinds)).collect();
        let target = rng.random_range(0..count);
        match kind {
            // The others are drawn from the other labels, so the asked label is as evenly distributed as any.
            Kind::Asked(Task::Detection) => {
                for i in (0..count).filter(|&i| i != target) {
                    let other = rng.random_range(0..kinds - 1);
                    labels[i] = other + usize::from(other >= labels[target]);
                }
            }
            Kind::Asked(_) | Kind::Shape => {}
            Kind::ReadAll => {
                let run = self.draw_run(count, rng);
                labels = (0..count).map(|i| labels[i / run * run]).collect();
            }
            // All different, so that every one has one cell.
            Kind::ListAll | Kind::Cells | Kind::Check => {
                labels = index::sample(rng, kinds, count.min(kinds)).into_vec();
            }
        }
        (labels, target)
    }
}

fn draw_look(looks: &[(Look, u32)], rng: &mut impl Rng) -> Look {
    let total: u32 = looks.iter().map(|(_, weight)| weight).sum();
    let mut left = rng.random_range(0..total);
    for (look, weight) in looks {
        if left < *weight {
            return look.clone();
        }
        left -= weight;
    }
    looks[0].0.clone()
}

fn check(config: &SceneData, tasks: &[Task], glyphs: &GlyphSet) -> Result<(), DataError> {
    let fail = |key, message: String| Err(DataError::Setting { key, message });
    if config.count == 0 {
        return Err(DataError::Empty {
            what: format!("of scenes from `{}`", config.glyphs.display()),
            message: "`count` is 0".into(),
        });
    }
    for (key, share) in [
        ("careful", config.careful),
        ("careful_open", config.careful_open.unwrap_or_default()),
        ("reading", config.reading),
        ("transcription", config.transcription),
        ("listing", config.listing),
        ("cells", config.cells),
        ("checking", config.checking),
        ("shapes", config.shapes),
    ] {
        if !(0.0..=1.0).contains(&share) {
            return fail(key, format!("{share} is no share; give 0 to 1"));
        }
    }
    if !(0.0..=16.0).contains(&config.jitter) {
        return fail("jitter", format!("{} is no shift in pixels; give 0 to 16", config.jitter));
    }
    let apart = config.transcription + config.listing + config.cells + config.checking + config.shapes;
    if apart > 1.0 {
        let message = "it, `transcription`, `cells`, `checking` and `shapes` are more than all scenes";
        return fail("listing", message.into());
    }
    if config.careful.max(config.careful_open.unwrap_or_default()) + config.reading > 1.0 {
        return fail("reading", "it and `careful` are more than all demonstrations".into());
    }
    if tasks.is_empty() && apart < 1.0 {
        return fail("tasks", "no task is named; leave the key out for all three".into());
    }
    if tasks.contains(&Task::Vqa) {
        return fail(
            "tasks",
            "scenes ask no `vqa` questions; set `transcription`, `listing` or `shapes`".into(),
        );
    }
    let most = *SceneParams::from_config(config).glyphs.end();
    if config.cells > 0.0 && glyphs.labels().len() < most {
        return fail("cells", format!("wants {most} labels, and there are {}", glyphs.labels().len()));
    }
    let wordy = glyphs.labels().iter().find(|label| label.parse::<i64>().is_err());
    if let (true, Some(label)) = (tasks.contains(&Task::Math), wordy) {
        return fail("tasks", format!("`math` needs labels that are numbers, and `{label}` is none"));
    }
    if tasks.contains(&Task::Detection) && glyphs.labels().len() < 2 {
        return fail("tasks", "`detection` needs at least two labels".into());
    }
    Ok(())
}
