//! Runs as one HTML file: results, curves, answers with their pictures. It needs no network and no other file.
//!
//! `data.rs` and `browse.rs` gather what there is, `page.rs` puts it into a page as JSON, and `assets/report.js` draws it.

mod browse;
mod curves;
mod data;
mod page;

use std::{
    fs,
    path::{Path, PathBuf},
};

use reft_store::{RunReader, write_whole};
use serde::Serialize;

use crate::{Error, compare::compare};
use browse::Browse;
use data::RunData;
use page::{Page, Pair};

pub use curves::Curve;

/// What to write.
#[derive(Clone, Debug)]
pub struct ReportSettings {
    /// The HTML file; `report.html` in the first run's directory when none.
    pub output: Option<PathBuf>,
    /// A folder for the curves of the first run as SVG files too.
    pub curves: Option<PathBuf>,
    /// Questions of each step that is shown, with all their answers.
    pub completions: usize,
    /// Seconds after which the page loads itself again, while the run goes on.
    pub watch: Option<u64>,
}

impl Default for ReportSettings {
    fn default() -> Self {
        Self { output: None, curves: None, completions: 4, watch: None }
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
    /// Whether all runs are over.
    pub is_finished: bool,
}

/// Steps of a phase whose questions are shown, and questions before and after.
const STEPS: usize = 8;
const CHANGES: usize = 12;

/// Writes the report of runs beside each other, of ones that are over or of ones that other processes work on.
pub fn report(runs: &[PathBuf], settings: &ReportSettings) -> Result<Written, Error> {
    let Some(first) = runs.first() else {
        return Err(Error::File { path: PathBuf::new(), message: "name a run directory".into() });
    };
    // Side by side, a page of as many runs would be too large.
    let browse = Browse {
        groups: settings.completions.div_ceil(runs.len()),
        steps: STEPS,
        changes: CHANGES / runs.len(),
    };
    let shown = runs.iter().map(|run| RunData::of(run, browse)).collect::<Result<Vec<_>, Error>>()?;
    let pairs: Vec<Pair> = runs[1..]
        .iter()
        .zip(&shown[1..])
        // Runs without a benchmark in common stand beside each other all the same.
        .filter_map(|(run, data)| Some(Pair::new(&shown[0], data, &compare(first, run, None).ok()?)))
        .collect();
    let damaged = shown.iter().flat_map(RunData::damaged).cloned().collect();
    let is_finished = shown.iter().all(RunData::is_finished);
    let html = Page { runs: &shown, pairs, watch: settings.watch.filter(|_| !is_finished) }.html()?;
    let output = settings.output.clone().unwrap_or_else(|| first.join("report.html"));
    write_whole(&output, html.as_bytes())?;
    let curves = settings.curves.as_ref().map_or_else(|| Ok(Vec::new()), |folder| draw(first, folder))?;
    Ok(Written { report: output, curves, damaged, is_finished })
}

/// The curves of a run as SVG files.
fn draw(run: &Path, folder: &Path) -> Result<Vec<PathBuf>, Error> {
    fs::create_dir_all(folder)
        .map_err(|error| Error::File { path: folder.to_owned(), message: error.to_string() })?;
    let mut files = Vec::new();
    for curve in curves::of(&RunReader::open(run)?.metrics()?)? {
        let path = folder.join(format!("{}.svg", curve.metric.replace('/', "-")));
        write_whole(&path, curve.svg.as_bytes())?;
        files.push(path);
    }
    Ok(files)
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
        let curves = Some(dir.path().join("curves"));
        let written =
            report(std::slice::from_ref(&root), &ReportSettings { curves, ..ReportSettings::default() })
                .unwrap();
        assert_eq!(written.report, root.join("report.html"));
        assert!(fs::read_to_string(dir.path().join("curves/reward-mean.svg")).unwrap().starts_with("<svg"));

        let html = fs::read_to_string(&written.report).unwrap();
        for expected in
            ["a completion", "data:image/png;base64,", "\"reward\":1.5", "\\u003ci>after", "sft/loss"]
        {
            assert!(html.contains(expected), "no {expected}");
        }
        assert!(!html.contains("<i>after"), "what a model wrote must not be markup");
        assert_eq!(html.matches("</script>").count(), 3, "nothing may end a script but the page");
    }

    #[test]
    fn runs_beside_each_other_and_damaged_files() {
        let dir = tempfile::tempdir().unwrap();
        let runs = ["one", "two"].map(|name| dir.path().join(name));
        for root in &runs {
            run(root);
        }
        let both = report(&runs, &ReportSettings::default()).unwrap();
        let html = fs::read_to_string(&both.report).unwrap();
        assert!(
            html.contains("\"pairs\":[{\"first\":\"demo\",\"second\":\"demo\",\"rows\":[{"),
            "{}",
            &html[..200]
        );
        assert!(!both.is_finished && both.damaged.is_empty());

        // Whatever is damaged is left out and named; there is a page all the same.
        fs::write(runs[1].join("completions/open/step_000002.parquet"), "PAR1 no more").unwrap();
        fs::write(runs[1].join("eval/after/d/report.json"), "{").unwrap();
        fs::write(
            runs[1].join("metrics.jsonl"),
            "{\"phase\":\"open\"\n\u{0}\u{0}\n{\"phase\":\"open\",\"step\":2,\"a\":1}\n",
        )
        .unwrap();
        fs::write(runs[1].join("config.toml"), "[phase").unwrap();
        fs::write(runs[1].join("events.jsonl"), "{}\n{\"event\":3}\n{\"event\":\"data\"}\n").unwrap();
        let both = report(&runs, &ReportSettings::default()).unwrap();
        assert!(both.damaged.len() >= 3, "{:?}", both.damaged);
        assert!(report(&[], &ReportSettings::default()).is_err());
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
