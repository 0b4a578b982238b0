//! A published benchmark on its file: questions with their prompts, answers graded by one grader, the report.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use reft_config::{FileData, PromptConfig};
use reft_core::{
    Benchmark, BoxFrame, Completion, FinishReason, Form, GradedGroup, ImageRef, Mark, Message, Part, Reason,
    Reward as _, Role, Sample, SampleId, StageError, Task,
};
use reft_data::{Pictured, pictured, prompt};
use reft_reward::{Format, Reply};
use serde_json::Value;

use crate::{
    AnswerKind, Asked, EvalError, EvalReport, Grader, Harness, Item, JudgeModel, Marked, Published,
    PublishedScore,
    report::{Marks, ScoreRow},
};

/// How a published benchmark is asked and graded.
#[derive(Clone, Default)]
pub struct PublishedOptions {
    /// A name for files and tables, where it is not the benchmark's.
    pub label: Option<String>,
    /// Whose verdicts; the benchmark's default where none is given.
    pub grader: Option<Grader>,
    /// Whose prompt.
    pub harness: Harness,
    /// Templates of [`Harness::Recipe`].
    pub templates: PromptConfig,
    /// Smallest and largest area in pixels that the model sees of a picture, for the report.
    pub pixels: Option<(u64, u64)>,
    /// Words behind every prompt, with a line break before them: what a model was trained to be asked.
    pub suffix: String,
    /// Grade the content of the answer tags instead of the whole output, where there are tags.
    pub strip_tags: bool,
    /// Who is asked where a grader asks.
    pub judge: Option<Arc<dyn JudgeModel>>,
}

/// A published benchmark with its questions.
pub struct PublishedBenchmark {
    published: Published,
    grader: Grader,
    options: PublishedOptions,
    items: HashMap<SampleId, Item>,
    samples: Vec<Arc<Sample>>,
    notes: Vec<String>,
}

impl PublishedBenchmark {
    /// Reads a published file. Rows are taken as they are; a row that the benchmark cannot have is an error with its place.
    pub fn open(
        published: Published,
        data: &FileData,
        options: PublishedOptions,
    ) -> Result<Self, StageError> {
        let grader = options.grader.or_else(|| published.graders().next()).unwrap_or(Grader::Ours);
        if !published.graders().any(|known| known == grader) {
            return Err(EvalError::UnknownGrader {
                benchmark: published.name().to_owned(),
                grader: grader.to_string(),
                known: published.graders().map(Grader::as_str).collect::<Vec<_>>().join("`, `"),
            }
            .into());
        }
        if published.needs_judge(grader) && options.judge.is_none() {
            let others: Vec<&str> = published
                .graders()
                .filter(|other| !published.needs_judge(*other))
                .map(Grader::as_str)
                .collect();
            return Err(EvalError::NeedsJudge {
                benchmark: published.name().to_owned(),
                grader: grader.to_string(),
                others: if others.is_empty() {
                    String::new()
                } else {
                    format!(", or take the grader `{}`", others.join("` or `"))
                },
            }
            .into());
        }
        let (rows, notes) = pictured(data).map_err(|error| StageError::other("benchmark", error))?;
        let mut benchmark =
            Self { published, grader, options, items: HashMap::new(), samples: Vec::new(), notes };
        for row in rows {
            let location = row.location;
            benchmark.add(row).map_err(|message| {
                let path = data.path.display();
                StageError::other("benchmark", format!("`{path}` {location}: {message} (as `{published}`)"))
            })?;
        }
        Ok(benchmark)
    }

    fn add(&mut self, row: Pictured) -> Result<(), String> {
        let mut item = self.published.item(&row.row)?;
        if item.id.is_empty() {
            item.id = row.location.to_string();
        }
        let id = SampleId::from(&item.id);
        if self.items.contains_key(&id) {
            return Err(format!("the id `{id}` was met before"));
        }
        let task = if matches!(item.kind, AnswerKind::Box { .. }) { Task::Detection } else { Task::Vqa };
        let form = match item.kind {
            AnswerKind::Choice => Form::Choice,
            AnswerKind::YesNo => Form::Binary,
            _ => Form::Open,
        };
        let with_suffix = |text: String| match self.options.suffix.as_str() {
            "" => text,
            suffix => format!("{text}\n{suffix}"),
        };
        let messages = if self.options.harness == Harness::Recipe {
            let options: Vec<String> =
                item.options.iter().map(|(letter, text)| format!("{letter}. {text}")).collect();
            let asked = with_suffix([&[item.question.clone()], &options[..]].concat().join(" "));
            let mut messages = prompt::messages(&self.options.templates, task, form, &asked, []);
            // Pictures stand at their marks under every prompt.
            if let Some(user) = messages.last_mut()
                && let [Part::Text(text)] = user.content.as_slice()
            {
                *user = message(text, row.images)?;
            }
            messages
        } else {
            vec![message(&with_suffix(self.published.prompt(&item, self.options.harness)), row.images)?]
        };
        self.samples.push(Arc::new(Sample {
            id: id.clone(),
            task,
            form,
            problem: item.question.clone(),
            messages,
            solution: item.answer.clone(),
            box_frame: BoxFrame::Original,
            parent: None,
        }));
        self.items.insert(id, item);
        Ok(())
    }

    /// The grader that marks the answers.
    pub fn grader(&self) -> Grader {
        self.grader
    }

    /// What a user should know about the file.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// These questions with other pictures.
    #[must_use]
    pub fn with_pictures(&self, picture: impl Fn(&ImageRef) -> ImageRef) -> Self {
        let change = |sample: &Arc<Sample>| {
            let mut sample = Sample::clone(sample);
            for part in sample.messages.iter_mut().flat_map(|message| &mut message.content) {
                if let Part::Image(image) = part {
                    *image = picture(image);
                }
            }
            Arc::new(sample)
        };
        Self {
            published: self.published,
            grader: self.grader,
            options: self.options.clone(),
            items: self.items.clone(),
            samples: self.samples.iter().map(change).collect(),
            notes: Vec::new(),
        }
    }

    /// The report of all graded questions.
    pub fn evaluate(&self, graded: &[GradedGroup]) -> Result<EvalReport, StageError> {
        let mut overall = Marks::default();
        let mut parts: BTreeMap<(Task, Form), Marks> = BTreeMap::new();
        for group in graded {
            let sample = &group.group.sample;
            let mut format = 0.0;
            for completion in &group.group.completions {
                format += f64::from(Format.score(sample, completion)?);
            }
            let vote = if group.marks.len() > 1 { most_frequent(&group.marks) } else { None };
            let score = group.scores().sum();
            for marks in [&mut overall, parts.entry((sample.task, sample.form)).or_default()] {
                marks.add(&group.marks, vote, score, format);
            }
        }
        let rows =
            parts.into_iter().map(|((task, form), marks)| ScoreRow { task, form, score: marks.score() });
        Ok(EvalReport {
            benchmark: self.name().to_owned(),
            overall: overall.score(),
            rows: rows.collect(),
            baselines: None,
            published: Some(self.details(graded)),
            against: None,
        })
    }

    fn details(&self, graded: &[GradedGroup]) -> PublishedScore {
        // Tables are those of first answers, as the originals make them.
        let first: Vec<Marked<'_>> = graded
            .iter()
            .filter_map(|group| {
                Some(Marked { item: self.items.get(&group.group.sample.id)?, mark: group.marks.first()? })
            })
            .collect();
        let answers: Vec<(&Completion, &Mark)> =
            graded.iter().flat_map(|group| group.group.completions.iter().zip(&group.marks)).collect();
        let share = |n: usize, of: usize| n as f64 / of.max(1) as f64;
        let n = answers.len();
        let mut reasons: BTreeMap<String, usize> = BTreeMap::new();
        for (_, mark) in &answers {
            *reasons.entry(mark.reason.as_str().to_owned()).or_default() += 1;
        }
        let is_cut = |completion: &Completion| completion.finish == FinishReason::Length;
        let whole: Vec<&Mark> =
            answers.iter().filter(|(completion, _)| !is_cut(completion)).map(|(_, mark)| *mark).collect();
        let score = whole.iter().map(|mark| f64::from(mark.score)).sum::<f64>();
        let tagged = answers.iter().filter(|(completion, _)| Reply::of(completion).answer.is_some()).count();
        let unresolved = answers.iter().filter(|(_, mark)| mark.reason.is_failure()).count();
        let hides = self.grader != Grader::Ours && !self.options.strip_tags && 2 * tagged > n;
        PublishedScore {
            grader: self.grader,
            prompt: self.options.harness,
            pixels: self.options.pixels,
            suffix: self.options.suffix.clone(),
            strip_tags: self.options.strip_tags,
            source: self.published.source().to_owned(),
            table: self.published.table(self.grader, &first),
            by_key: self.published.by_key(&first),
            unresolved: share(unresolved, n),
            reasons,
            cut: share(n - whole.len(), n),
            complete_accuracy: score / whole.len().max(1) as f64,
            blind: None,
            judge: None,
            note: (hides && 2 * unresolved > n).then(|| {
                format!(
                    "{tagged} of {n} answers stand in answer tags, which `{}` does not look into; grade what is inside them \
                     (`strip_tags`), ask a judge, or take the grader `ours`",
                    self.grader
                )
            }),
        }
    }
}

impl Benchmark for PublishedBenchmark {
    fn name(&self) -> &str {
        self.options.label.as_deref().unwrap_or(self.published.name())
    }

    fn samples(&self) -> &[Arc<Sample>] {
        &self.samples
    }

    fn grade(&self, sample: &Sample, completion: &Completion) -> Result<Mark, StageError> {
        let item = self.items.get(&sample.id).ok_or_else(|| {
            StageError::sample(&sample.id, format!("is no question of `{}`", self.published))
        })?;
        let inside = Reply::of(completion).answer.filter(|_| self.options.strip_tags);
        let output = inside.unwrap_or(&completion.text);
        self.published.grade(self.grader, item, output, &mut Asked::new(self.options.judge.as_deref()))
    }

    fn report(&self, graded: &[GradedGroup]) -> Result<Value, StageError> {
        serde_json::to_value(self.evaluate(graded)?)
            .map_err(|error| StageError::other("evaluation report", error))
    }
}

/// Images, then the text; images that the text marks with `<image 1>` and so on stand at their marks.
fn message(text: &str, images: Vec<ImageRef>) -> Result<Message, String> {
    let marked = |i: usize| format!("<image {}>", i + 1);
    let mut content = Vec::new();
    let mut rest = text;
    let has_marks = (0..images.len()).any(|i| text.contains(&marked(i)));
    if !has_marks {
        content.extend(images.into_iter().map(Part::Image));
        content.push(Part::Text(text.to_owned()));
        return Ok(Message { role: Role::User, content });
    }
    let mut shown = vec![false; images.len()];
    // A mark beyond the pictures is text that lost its picture.
    if (images.len()..9).any(|i| text.contains(&marked(i))) {
        return Err(format!("the question marks more pictures than its {}", images.len()));
    }
    while let Some((at, i)) = (0..images.len()).filter_map(|i| Some((rest.find(&marked(i))?, i))).min() {
        if at > 0 {
            content.push(Part::Text(rest[..at].to_owned()));
        }
        content.push(Part::Image(images[i].clone()));
        shown[i] = true;
        rest = &rest[at + marked(i).len()..];
    }
    if !rest.is_empty() {
        content.push(Part::Text(rest.to_owned()));
    }
    // Pictures without a mark come first.
    let unmarked = images.into_iter().zip(shown).filter(|(_, shown)| !shown);
    let before: Vec<Part> = unmarked.map(|(image, _)| Part::Image(image)).collect();
    content.splice(0..0, before);
    Ok(Message { role: Role::User, content })
}

/// The first of the answers that were given most often; answers that could not be read do not vote.
fn most_frequent(marks: &[Mark]) -> Option<usize> {
    let given = |mark: &Mark| mark.answer.clone().filter(|_| mark.reason != Reason::Unread);
    let count = |answer: &String| marks.iter().filter(|mark| given(mark).as_ref() == Some(answer)).count();
    let mut best: Option<(usize, usize)> = None;
    for (index, mark) in marks.iter().enumerate() {
        if let Some(answer) = given(mark) {
            let n = count(&answer);
            if best.is_none_or(|(most, _)| n > most) {
                best = Some((n, index));
            }
        }
    }
    best.map(|(_, index)| index)
}
