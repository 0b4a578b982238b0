//! A run as one HTML file: results, curves, completions with their images. It needs no network and no other file.

mod curves;
mod page;

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::Engine as _;
use reft_core::ImageRef;
use reft_store::{RunReader, write_whole};
use serde::Serialize;

use crate::{
    Error,
    examples::{Answer, Pictures, answers, bytes_of, compare_with, mime_of},
    inspect::inspect,
};
use page::{Page, Shown};

pub use curves::Curve;

/// What to write.
#[derive(Clone, Debug)]
pub struct ReportSettings {
    /// The HTML file; `report.html` in the run directory when none.
    pub output: Option<PathBuf>,
    /// A folder for the curves as SVG files too.
    pub curves: Option<PathBuf>,
    /// Completions from the first and from the last step of each phase.
    pub completions: usize,
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self { output: None, curves: None, completions: 3 }
    }
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Written {
    /// The HTML file.
    pub report: PathBuf,
    /// The curves as files, when asked for.
    pub curves: Vec<PathBuf>,
    /// What was left out because it is damaged.
    pub damaged: Vec<String>,
}

/// Writes the report of a run, of one that is over or of one that another process works on.
pub fn report(run: &Path, settings: &ReportSettings) -> Result<Written, Error> {
    let reader = RunReader::open(run)?;
    let mut inspection = inspect(run)?;
    let curves = curves::of(&reader.metrics()?)?;
    let mut pictures = Pictures::of_run(run)?;

    let mut phases = Vec::new();
    for phase in &reader.info().phases {
        let files = reader.completions(phase)?;
        let Some(first) = files.first() else { continue };
        let mut shown = excerpt(&reader, first, settings.completions);
        if let Some(last) = files.last().filter(|last| *last != first) {
            shown.extend(excerpt(&reader, last, settings.completions));
        }
        let data = pictures.data_of(phase).unwrap_or_default();
        let shown = shown.into_iter().map(|(step, answer)| {
            let image = pictures.find(&data, &answer.picture).and_then(|image| data_uri(&image));
            Shown { step, answer, image }
        });
        phases.push((phase.clone(), shown.collect()));
    }

    let compared = compare_with(&reader, run, 9)?;
    inspection.damaged = reader.damaged();
    let html = Page { inspection: &inspection, curves: &curves, compared, phases }.html();
    let output = settings.output.clone().unwrap_or_else(|| run.join("report.html"));
    write_whole(&output, html.as_bytes())?;
    let mut files = Vec::new();
    if let Some(folder) = &settings.curves {
        fs::create_dir_all(folder)
            .map_err(|error| Error::File { path: folder.clone(), message: error.to_string() })?;
        for curve in &curves {
            let path = folder.join(format!("{}.svg", curve.metric.replace('/', "-")));
            write_whole(&path, curve.svg.as_bytes())?;
            files.push(path);
        }
    }
    Ok(Written { report: output, curves: files, damaged: inspection.damaged })
}

/// The first answers of `n` different questions of a step, with the step's name.
fn excerpt(reader: &RunReader, file: &Path, n: usize) -> Vec<(String, Answer)> {
    let step = file.file_stem().unwrap_or_default().to_string_lossy().replace('_', " ");
    let mut shown: Vec<(String, Answer)> = Vec::new();
    for answer in answers(reader, file) {
        if shown.len() == n {
            break;
        }
        if shown.iter().all(|(_, other)| other.sample != answer.sample) {
            shown.push((step.clone(), answer));
        }
    }
    shown
}

/// An image inside the page; none where its file is gone.
fn data_uri(image: &ImageRef) -> Option<String> {
    let bytes = bytes_of(image).ok()?;
    let text = base64::engine::general_purpose::STANDARD.encode(&bytes);
    Some(format!("data:{};base64,{text}", mime_of(&bytes)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use reft_config::{DataConfig, PromptConfig, SceneData};
    use reft_core::{
        Completion, Form, GradedGroup, Group, Metrics, Recorder as _, RewardParts, RunStore as _, Sample,
        ScoredGroup, Seed, Verdict,
    };
    use reft_data::Dataset;
    use reft_store::{RunDir, RunInfo};
    use serde_json::json;

    use super::*;
    use crate::examples::compare;

    const GLYPHS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/digits/digits.parquet");

    fn samples() -> Vec<Arc<Sample>> {
        let config = DataConfig::Scenes(SceneData::new(GLYPHS, "test", 6));
        Dataset::load(&config, &PromptConfig::default(), &[Form::Open], Seed::new(0)).unwrap().samples
    }

    fn group(sample: &Arc<Sample>, text: &str) -> Group {
        Group {
            sample: Arc::clone(sample),
            prompt_tokens: 3,
            completions: vec![Completion::from_text(text)],
            policy_version: None,
            temperature: None,
        }
    }

    /// A run with one training phase between two evaluations; the second answers everything right.
    fn run(root: &Path) {
        let recipe = format!(
            "model.path = 'm'\ndata.d = {{ type = 'scenes', glyphs = '{GLYPHS}', split = 'test', count = 6 }}\n\
             [[phase]]\nkind = 'eval'\nname = 'base'\ndata = ['d']\n\
             [[phase]]\nkind = 'grpo'\nname = 'open'\ndata = 'd'\nsteps = 2\n\
             [[phase]]\nkind = 'eval'\nname = 'after'\ndata = ['d']\n"
        );
        let mut store =
            RunDir::create(root, &RunInfo::new("demo", ["base", "open", "after"]), &recipe).unwrap();
        let samples = samples();
        for (phase, grade) in [("base", 0.0), ("after", 1.0)] {
            let graded: Vec<GradedGroup> = samples
                .iter()
                .map(|sample| GradedGroup {
                    group: group(sample, &format!("<i>{phase}")),
                    marks: vec![grade.into()],
                })
                .collect();
            store.save_report(phase, "d", &graded, &json!({"accuracy": grade})).unwrap();
        }
        for step in 1..=2 {
            let scored = ScoredGroup {
                group: group(&samples[0], "a completion"),
                rewards: vec![RewardParts {
                    total: 1.5,
                    parts: vec![("accuracy".into(), 0.5)],
                    ..RewardParts::default()
                }],
                advantages: vec![0.0],
                verdict: Verdict::Admit,
            };
            store.groups("open", step, &[scored]).unwrap();
            let mut metrics = Metrics::new();
            metrics.set("reward/mean", step as f64);
            store.step("open", step, &metrics).unwrap();
        }
    }

    #[test]
    fn a_report_holds_curves_completions_and_images() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("demo");
        run(&root);
        let settings =
            ReportSettings { output: None, curves: Some(dir.path().join("curves")), completions: 2 };
        let written = report(&root, &settings).unwrap();
        assert_eq!(written.report, root.join("report.html"));
        assert!(fs::read_to_string(dir.path().join("curves/reward-mean.svg")).unwrap().starts_with("<svg"));

        let html = fs::read_to_string(&written.report).unwrap();
        for expected in [
            "Mean reward",
            "a completion",
            "reward 1.50",
            "Before and after",
            "&lt;i&gt;after",
            "data:image/png;base64,",
        ] {
            assert!(html.contains(expected), "no {expected}");
        }
        assert!(!html.contains("<i>"), "model output is not escaped");
    }

    #[test]
    fn the_same_questions_before_and_after() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("demo");
        run(&root);
        let compared = compare(&root, 3).unwrap();
        let tasks: std::collections::BTreeSet<_> = compared.iter().map(|c| c.before.1.task.clone()).collect();
        assert_eq!((compared.len(), tasks.len()), (3, 3), "tasks take turns");
        for one in &compared {
            assert_eq!((one.before.1.right, one.after.1.right), (Some(false), Some(true)));
            let image = one.file(&root).unwrap().unwrap();
            assert!(image.starts_with(root.join("examples")) && image.exists(), "{}", image.display());
            assert!(one.to_string().contains("after (right): <i>after"), "{one}");
        }
    }
}
