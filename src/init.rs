//! A first recipe from a model folder and a data file: `reft init`.
//!
//! What can be looked up is looked up: the rows' layout and tasks, which of the curriculum's forms the answers allow, the
//! pictures' sizes, and what of the model fits into memory. The rest is the paper's, with a comment.

use std::{fmt::Write as _, path::Path, sync::Arc};

use reft_config::{DataConfig, FileData, PromptConfig, Resolved, TaskName};
use reft_core::{Form, Sample, Seed, Task};
use reft_data::{OpenData, Report};
use reft_vlm::{CheckpointSummary, Need};
use serde::Serialize;

use crate::{Error, doctor, hub};

/// What a recipe is written from.
#[derive(Clone, Debug)]
pub struct Source<'a> {
    /// The model's folder.
    pub model: &'a Path,
    /// What is trained on.
    pub data: &'a Path,
    /// What is evaluated on.
    pub test: Option<&'a Path>,
    /// The task of rows that name none.
    pub task: Option<Task>,
    /// The run's name.
    pub name: &'a str,
}

/// A recipe, and what it was made from in words.
#[derive(Clone, Debug, Serialize)]
pub struct Draft {
    /// The recipe, with comments.
    pub recipe: String,
    /// What was found and decided, a sentence each.
    pub notes: Vec<String>,
}

/// Bytes that training may plan with: the rest of the memory is for activations, caches and libtorch.
const SHARE_OF_MEMORY: f64 = 0.6;

/// Pixels of a picture that the model sees: 512 tokens of 28x28.
const MAX_PIXELS: u64 = 401_408;

/// How the model learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Fit {
    dtype: &'static str,
    lora: bool,
    /// Whether it fits into the memory that was looked at.
    fits: bool,
}

impl Fit {
    /// All weights where they fit, in fp32 before bf16, then an adapter.
    fn choose(needs: &[Need], memory: Option<u64>, on_gpu: bool) -> Self {
        let budget = memory.map_or(f64::INFINITY, |bytes| SHARE_OF_MEMORY * bytes as f64);
        let dtypes: &[&'static str] = if on_gpu { &["bf16"] } else { &["fp32", "bf16"] };
        for lora in [false, true] {
            for &dtype in dtypes {
                let is_meant = |need: &&Need| {
                    need.dtype == dtype
                        && if lora { need.mode.contains("LoRA") } else { need.mode == "grpo with KL" }
                };
                // In bf16 a CPU is slow, so an adapter in fp32 comes before all weights in bf16.
                let is_slow = !on_gpu && !lora && dtype == "bf16";
                if !is_slow && needs.iter().find(is_meant).is_some_and(|need| need.total as f64 <= budget) {
                    return Self { dtype, lora, fits: true };
                }
            }
        }
        Self { dtype: "bf16", lora: true, fits: false }
    }
}

/// Which of the curriculum's forms the answers of a data set allow, and what can be imitated.
struct Found {
    report: Report,
    forms: Vec<Form>,
    demonstrations: usize,
    questions: usize,
}

impl Found {
    fn look(path: &Path, task: Option<Task>) -> Result<Self, Error> {
        let prompts = PromptConfig::default();
        let config =
            DataConfig::File(FileData { task: task.map(TaskName), ..FileData::new(hub::file_path(path)?) });
        let open = OpenData::load(&config, &prompts)?;
        let samples: Vec<Arc<Sample>> = open.samples().cloned().collect();
        let ask = |form| open.in_forms(&[form], &prompts, Seed::new(0));
        let has = |form| ask(form).is_ok_and(|data| !data.samples.is_empty());
        let demonstrations = ask(Form::Open)?.demonstrations().len();
        let questions = samples.iter().filter(|sample| !sample.solution.trim().is_empty()).count();
        Ok(Self {
            report: Report::of(&samples),
            // Whoever wrote answers out wants them imitated.
            forms: Form::ALL
                .into_iter()
                .filter(|&form| demonstrations == 0 && questions > 0 && has(form))
                .collect(),
            demonstrations,
            questions,
        })
    }

    /// `2101 rows: 1200 math, 901 detection`.
    fn words(&self) -> String {
        let tasks: Vec<String> = self.report.tasks.iter().map(|(task, n)| format!("{n} {task}")).collect();
        format!("{} rows: {}", self.report.samples, tasks.join(", "))
    }

    /// The largest picture, by area.
    fn largest(&self) -> Option<(u64, u64)> {
        let sizes = self.report.image_sizes.keys().filter_map(|size| {
            let (width, height) = size.split_once('x')?;
            Some((width.parse().ok()?, height.parse().ok()?))
        });
        sizes.max_by_key(|&(width, height): &(u64, u64)| width * height)
    }
}

/// Writes a recipe; it has been read and its files found.
pub fn draft(source: &Source<'_>) -> Result<Draft, Error> {
    let summary = CheckpointSummary::open(&hub::model_path(source.model)?)?;
    if let Some(problem) = summary.problem {
        return Err(Error::File { path: source.model.to_owned(), message: problem });
    }
    let found = Found::look(source.data, source.task)?;
    if found.forms.is_empty() && found.demonstrations == 0 {
        let message = "its rows have neither solutions to reward nor assistant turns to imitate; formats are in docs/DATA.md";
        return Err(Error::File { path: source.data.to_owned(), message: message.into() });
    }
    if let Some(test) = source.test {
        Found::look(test, source.task)?;
    }
    let diagnosis = doctor::diagnose();
    // libtorch's bindings do not tell what a GPU has.
    let memory = diagnosis.memory_bytes.filter(|_| !diagnosis.cuda_available);
    let fit = Fit::choose(&summary.needs, memory, diagnosis.cuda_available);

    let parameters = summary.parameters.total;
    let mut notes = vec![
        format!("model: {}, {} parameters", summary.family, millions(parameters)),
        format!("data: {}", found.words()),
    ];
    if !fit.fits {
        notes.push(format!(
            "no way of training fits into {:.0} % of the memory; the recipe has the smallest, `reft doctor --model` lists them all",
            100.0 * SHARE_OF_MEMORY
        ));
    }
    if diagnosis.cuda_available {
        notes.push("the memory of the GPU was not looked at; `reft doctor --model` lists what each way of training takes".into());
    }
    if source.test.is_none() {
        notes.push(
            "nothing is evaluated: give questions apart from those trained on with `--test FILE`".into(),
        );
    }
    let recipe = Draw { source, found: &found, family: summary.family, parameters, fit }.recipe();
    // A draft that does not read is our fault, and better said here than by the next command.
    let resolved = Resolved::from_text(&recipe, "draft", &[])?;
    resolved.check_files(&std::env::current_dir().unwrap_or_default())?;
    Ok(Draft { recipe, notes })
}

/// The recipe's text.
struct Draw<'a> {
    source: &'a Source<'a>,
    found: &'a Found,
    family: &'static str,
    parameters: u64,
    fit: Fit,
}

impl Draw<'_> {
    fn recipe(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) -> std::fmt::Result {
        let Self { source, found, family, parameters, fit } = self;
        writeln!(
            out,
            "# Written by `reft init`: {family}, {} parameters, on {}.",
            millions(*parameters),
            found.words()
        )?;
        writeln!(
            out,
            "# Every key is in docs/RECIPE.md; `reft config check` names what is wrong with a value.\n"
        )?;
        writeln!(out, "[run]\nname = {}\n", quoted(source.name))?;
        writeln!(out, "[model]\npath = {}", path(source.model))?;
        writeln!(out, "dtype = \"{}\"", fit.dtype)?;
        if let Some((width, height)) = found.largest().filter(|(width, height)| width * height > MAX_PIXELS) {
            writeln!(
                out,
                "# Pictures have up to {width}x{height} pixels, and every 28x28 or 32x32 are a token."
            )?;
            writeln!(out, "max_pixels = {MAX_PIXELS}")?;
        }
        if fit.lora {
            writeln!(out, "# All weights do not fit into memory, an adapter does; `final` has it merged.")?;
            writeln!(out, "lora = {{ rank = 16, merge = true }}")?;
        } else {
            writeln!(out, "# All weights learn; for an adapter: lora = {{ rank = 16, merge = true }}")?;
        }
        self.data(out, "train", source.data)?;
        if let Some(test) = source.test {
            self.data(out, "test", test)?;
        }
        if found.forms.is_empty() { self.imitate(out) } else { self.curriculum(out) }
    }

    fn data(&self, out: &mut String, name: &str, file: &Path) -> std::fmt::Result {
        writeln!(out, "\n[data.{name}]\ntype = \"file\"\npath = {}", path(file))?;
        if let Some(task) = self.source.task {
            writeln!(out, "task = \"{task}\"")?;
        }
        if self.found.report.tasks.contains_key(&Task::Detection) {
            writeln!(
                out,
                "box_frame = \"original\"            # what the numbers of the file's boxes are in: docs/DATA.md"
            )?;
        }
        if name == "train" {
            writeln!(out, "max_prompt_tokens = 2048          # longer prompts are left out and counted")?;
        }
        Ok(())
    }

    /// The rate of the paper's 3B model, and higher ones for adapters and for models of a few million parameters.
    fn lr(&self) -> &'static str {
        match (self.fit.lora, self.parameters) {
            (true, _) => "1e-5",
            (false, ..50_000_000) => "5e-5",
            (false, _) => "1e-6",
        }
    }

    fn curriculum(&self, out: &mut String) -> std::fmt::Result {
        let Self { source, found, .. } = self;
        let per_step = 8.min(found.questions.max(1));
        writeln!(out, "\n[grpo]                              # defaults of every grpo phase")?;
        writeln!(out, "data = \"train\"")?;
        writeln!(
            out,
            "epochs = 1.0                        # a pass over {} questions: {} steps; or steps = N",
            found.questions,
            found.questions.div_ceil(per_step)
        )?;
        writeln!(out, "prompts_per_step = {per_step}")?;
        writeln!(out, "lr = {}", self.lr())?;
        writeln!(
            out,
            "micro_batch_tokens = 8192           # lower it where memory runs out; the result stays"
        )?;
        writeln!(out, "sampling = {{ group_size = 8, max_new_tokens = 256 }}")?;
        let checks = source.test.is_some();
        if checks {
            writeln!(
                out,
                "# validation = {{ every = 50, data = [\"test\"], keep = \"best\", patience = 5 }}   # better on a third set"
            )?;
            writeln!(out, "\n[eval]\ndata = [\"test\"]\nsampling = {{ max_new_tokens = 256 }}")?;
            writeln!(out, "\n[[phase]]\nkind = \"eval\"\nname = \"base\"")?;
        }
        for form in &found.forms {
            writeln!(out, "\n[[phase]]\nkind = \"grpo\"\nname = \"{form}\"\nforms = [\"{form}\"]")?;
        }
        writeln!(out, "\n[[phase]]                           # sample, score, keep the best")?;
        writeln!(
            out,
            "kind = \"reject\"\nname = \"kept\"\ndata = \"train\"\nlimit = {}",
            found.questions.min(2000)
        )?;
        writeln!(out, "sampling = {{ group_size = 4, max_new_tokens = 256 }}")?;
        writeln!(out, "\n[[phase]]                           # and imitate them")?;
        writeln!(
            out,
            "kind = \"sft\"\nname = \"self-improvement\"\ndata = [\"kept\"]\nepochs = 1.0\nbatch_size = 16"
        )?;
        writeln!(out, "lr = {}", self.lr())?;
        if checks {
            writeln!(out, "\n[[phase]]\nkind = \"eval\"\nname = \"curr-reft\"")?;
        }
        Ok(())
    }

    /// Rows without solutions can only be imitated.
    fn imitate(&self, out: &mut String) -> std::fmt::Result {
        writeln!(
            out,
            "\n[[phase]]                           # the rows have answers to imitate and no solutions to reward"
        )?;
        writeln!(out, "kind = \"sft\"\nname = \"sft\"\ndata = [\"train\"]\nepochs = 1.0")?;
        writeln!(out, "batch_size = {}", 16.min(self.found.demonstrations.max(1)))?;
        writeln!(out, "lr = {}\nmicro_batch_tokens = 8192", self.lr())
    }
}

/// `3755M`, `1.3M`.
fn millions(n: u64) -> String {
    let millions = n as f64 / 1e6;
    if millions >= 10.0 { format!("{millions:.0}M") } else { format!("{millions:.1}M") }
}

fn path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

/// A TOML string.
fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use reft_vlm::Footprint;

    use super::*;

    fn need(dtype: &'static str, mode: &'static str, gib: u64) -> Need {
        Need { dtype, mode, bytes: Footprint::default(), total: gib << 30 }
    }

    #[test]
    fn what_fits_is_chosen() {
        let needs = [
            need("fp32", "grpo with KL", 70),
            need("fp32", "sft, grpo, LoRA of rank 16 on the decoder", 15),
            need("bf16", "grpo with KL", 50),
            need("bf16", "sft, grpo, LoRA of rank 16 on the decoder", 8),
        ];
        let fit = |gib: u64, on_gpu| Fit::choose(&needs, Some(gib << 30), on_gpu);
        let of = |dtype, lora, fits| Fit { dtype, lora, fits };
        assert_eq!(fit(128, false), of("fp32", false, true));
        assert_eq!(fit(100, false), of("fp32", true, true));
        assert_eq!(fit(16, false), of("bf16", true, true));
        assert_eq!(fit(4, false), of("bf16", true, false));
        assert_eq!(fit(100, true), of("bf16", false, true));
        assert_eq!(Fit::choose(&needs, None, true), of("bf16", false, true));
    }
}
