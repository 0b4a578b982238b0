//! What the run directories hold: marks of every question, tokens, and how the answers read, step by step.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use reft_store::{RunReader, read_rows};
use serde_json::Value;

use crate::{
    plan::{Arm, BASE, POINTS, TEST, point_name, run_name, tuning_name},
    study::{Study, VALIDATION},
};

/// Everything that the section is made from.
#[derive(Debug)]
pub(crate) struct Results {
    /// What was studied.
    pub(crate) study: &'static Study,
    /// What each recipe scored with each learning rate; empty where none was chosen.
    pub(crate) rates: Vec<Tuned>,
    /// Task of each question, by benchmark.
    pub(crate) tasks: BTreeMap<&'static str, Vec<String>>,
    /// The arms that have a finished run, in the order of the table.
    pub(crate) arms: Vec<ArmRuns>,
    /// Curves of the recipes that train.
    pub(crate) curves: Vec<RecipeCurves>,
}

/// A recipe's accuracy on validation data, by learning rate.
#[derive(Clone, Debug)]
pub(crate) struct Tuned {
    /// The recipe.
    pub(crate) recipe: &'static str,
    /// In the order of the rates.
    pub(crate) tried: Vec<Tried>,
}

/// A learning rate and what it brought.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tried {
    /// As it is written on the command line.
    pub(crate) rate: &'static str,
    /// Share of right answers.
    pub(crate) accuracy: f64,
}

impl Tuned {
    /// The rate with the highest accuracy; of several, the lowest rate.
    pub(crate) fn best(&self) -> Option<Tried> {
        let better = |best: Tried, next: Tried| if next.accuracy > best.accuracy { next } else { best };
        self.tried.iter().copied().reduce(better)
    }
}

/// What the runs that choose learning rates say, as far as all rates of a recipe are finished.
pub(crate) fn rates(study: &'static Study, runs: &Path) -> Result<Vec<Tuned>> {
    let mut all = Vec::new();
    for &recipe in study.trained {
        let mut tried = Vec::new();
        for &rate in study.rates {
            let Some(run) = finished(&runs.join(tuning_name(recipe, rate)))? else { continue };
            let accuracy = accuracies(&run)?.get(VALIDATION).copied();
            tried.extend(accuracy.map(|accuracy| Tried { rate, accuracy }));
        }
        if !tried.is_empty() && tried.len() == study.rates.len() {
            all.push(Tuned { recipe, tried });
        }
    }
    Ok(all)
}

/// The finished runs of an arm.
#[derive(Debug)]
pub(crate) struct ArmRuns {
    /// Which arm.
    pub(crate) arm: Arm,
    /// By seed.
    pub(crate) seeds: BTreeMap<u64, ArmRun>,
}

/// An arm with one seed.
#[derive(Debug)]
pub(crate) struct ArmRun {
    /// 1 for each question answered rightly and 0 for the others, by benchmark.
    pub(crate) marks: BTreeMap<&'static str, Vec<f64>>,
    /// What was spent up to the evaluation.
    pub(crate) cost: Cost,
}

/// What training spent.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// Optimizer steps.
    pub(crate) updates: u64,
    /// Tokens of sampled answers.
    pub(crate) sampled: f64,
    /// Tokens of answers or demonstrations trained on.
    pub(crate) trained: f64,
}

/// A recipe's way, seed by seed.
#[derive(Debug)]
pub(crate) struct RecipeCurves {
    /// The arm after all steps.
    pub(crate) arm: Arm,
    /// By benchmark and seed: accuracy after so many updates.
    pub(crate) accuracy: BTreeMap<&'static str, Vec<Vec<(f64, f64)>>>,
    /// By seed: share of the sampled answers that read the scene first, at each update. Empty for supervised training.
    pub(crate) reading: Vec<Vec<(f64, f64)>>,
}

/// What an answer at a glance begins with (`crates/data/src/scene/demonstration.rs`).
const GLANCE: &str = "<think>at a glance</think>";

/// Reads every finished run of the plan.
pub(crate) fn read(study: &'static Study, runs: &Path, seeds: u64) -> Result<Results> {
    let base = runs.join(run_name(BASE, 0));
    let Some(base) = finished(&base)? else {
        bail!("`{}` is not finished; there is nothing to compare with", base.display());
    };
    let mut questions = BTreeMap::new();
    let mut tasks = BTreeMap::new();
    for &(benchmark, _) in study.benchmarks {
        let sheet = sheet(&base, TEST, benchmark)?;
        tasks.insert(benchmark, sheet.iter().map(|mark| mark.task.clone()).collect());
        questions.insert(benchmark, sheet.into_iter().map(|mark| mark.question).collect::<Vec<_>>());
    }

    let arm_runs = |&arm| ArmRuns { arm, seeds: BTreeMap::new() };
    let mut arms: Vec<ArmRuns> = study.arms.iter().map(arm_runs).collect();
    let mut curves = Vec::new();
    let mut recipes: Vec<&str> = Vec::new();
    for &arm in study.arms {
        if recipes.contains(&arm.recipe) {
            continue;
        }
        recipes.push(arm.recipe);
        let mut own = RecipeCurves { arm, accuracy: BTreeMap::new(), reading: Vec::new() };
        for seed in 0..seeds {
            let dir = runs.join(run_name(arm.recipe, seed));
            let Some(run) = finished(&dir)? else { continue };
            let phases = Phase::all(&run)?;
            for arm in arms.iter_mut().filter(|other| other.arm.recipe == arm.recipe) {
                let cost = cost_until(&phases, arm.arm.phase);
                let mut marks = BTreeMap::new();
                for &(benchmark, _) in study.benchmarks {
                    let sheet = sheet(&run, arm.arm.phase, benchmark)?;
                    if !sheet.iter().map(|mark| &mark.question).eq(&questions[benchmark]) {
                        bail!("`{}` was tested on other questions than Base", dir.display());
                    }
                    marks.insert(benchmark, sheet.iter().map(|mark| mark.right).collect());
                }
                arm.seeds.insert(seed, ArmRun { marks, cost });
            }
            own.add(study, runs, seed, &base, &run, &phases)?;
        }
        if arm.recipe != BASE && !own.accuracy.is_empty() {
            curves.push(own);
        }
    }
    arms.retain(|arm| !arm.seeds.is_empty());
    Ok(Results { study, rates: rates(study, runs)?, tasks, arms, curves })
}

impl RecipeCurves {
    /// Adds one seed: the base, the tested checkpoints, the test after all steps.
    fn add(
        &mut self,
        study: &Study,
        runs: &Path,
        seed: u64,
        base: &RunReader,
        run: &RunReader,
        phases: &[Phase],
    ) -> Result<()> {
        let end = cost_until(phases, TEST).updates;
        let mut tested = vec![(0, accuracies(base)?)];
        for step in POINTS.into_iter().filter(|step| *step < end) {
            if let Some(point) = finished(&runs.join(point_name(self.arm.recipe, seed, step)))? {
                tested.push((step, accuracies(&point)?));
            }
        }
        tested.push((end, accuracies(run)?));
        for &(benchmark, _) in study.benchmarks {
            let line = tested.iter().filter_map(|(step, of)| Some((*step as f64, *of.get(benchmark)?)));
            self.accuracy.entry(benchmark).or_default().push(line.collect());
        }

        let steps = phases.iter().take_while(|phase| phase.name != TEST).flat_map(|phase| &phase.reading);
        let line: Vec<(f64, f64)> =
            steps.enumerate().map(|(step, share)| (step as f64 + 1.0, *share)).collect();
        if !line.is_empty() {
            self.reading.push(line);
        }
        Ok(())
    }
}

/// A phase of a run, by what it left.
struct Phase {
    name: String,
    cost: Cost,
    /// Share of answers that read the scene first, by step.
    reading: Vec<f64>,
}

impl Phase {
    fn all(run: &RunReader) -> Result<Vec<Self>> {
        let rows = run.metrics()?;
        let phase = |name: &String| {
            let mut phase = Self { name: name.clone(), cost: Cost::default(), reading: Vec::new() };
            for row in rows.iter().filter(|row| row.phase == *name) {
                let trained: Vec<f64> = ["grpo/tokens", "sft/tokens"]
                    .iter()
                    .filter_map(|metric| row.metrics.get(metric))
                    .collect();
                phase.cost.updates += trained.len() as u64;
                phase.cost.trained += trained.iter().sum::<f64>();
            }
            for file in run.completions(name)? {
                let answers = read_rows(&file)?;
                let tokens = answers.iter().filter_map(|row| row.get("tokens")?.as_f64());
                phase.cost.sampled += tokens.sum::<f64>();
                let text = |row: &&serde_json::Map<String, Value>| {
                    !row.get("completion")
                        .and_then(Value::as_str)
                        .is_some_and(|text| text.starts_with(GLANCE))
                };
                phase.reading.push(answers.iter().filter(text).count() as f64 / answers.len() as f64);
            }
            Ok(phase)
        };
        run.info().phases.iter().map(phase).collect()
    }
}

/// What the phases before an evaluation spent.
fn cost_until(phases: &[Phase], evaluation: &str) -> Cost {
    let before = phases.iter().take_while(|phase| phase.name != evaluation);
    before.fold(Cost::default(), |sum, Phase { cost, .. }| Cost {
        updates: sum.updates + cost.updates,
        sampled: sum.sampled + cost.sampled,
        trained: sum.trained + cost.trained,
    })
}

/// A question of a benchmark and how it was answered.
struct Mark {
    question: String,
    task: String,
    right: f64,
}

fn sheet(run: &RunReader, phase: &str, benchmark: &str) -> Result<Vec<Mark>> {
    let path: PathBuf = run.predictions(phase, benchmark);
    let rows = read_rows(&path)?;
    let mark = |row: &serde_json::Map<String, Value>| {
        let text = |name: &str| row.get(name).and_then(Value::as_str).map(str::to_owned);
        let grade = row.get("grade").and_then(Value::as_f64)?;
        let right = if grade >= 1.0 { 1.0 } else { 0.0 };
        Some(Mark { question: text("sample")?, task: text("task")?, right })
    };
    let marks: Option<Vec<Mark>> = rows.iter().map(mark).collect();
    marks.with_context(|| format!("`{}` has rows without `sample`, `task` and `grade`", path.display()))
}

/// Accuracy of the test phase, by benchmark.
fn accuracies(run: &RunReader) -> Result<BTreeMap<String, f64>> {
    let reports = run.reports()?.into_iter().filter(|report| report.phase == TEST);
    Ok(reports
        .filter_map(|report| Some((report.benchmark, report.report["overall"]["accuracy"].as_f64()?)))
        .collect())
}

/// The run in a folder when it is there and finished.
fn finished(dir: &Path) -> Result<Option<RunReader>> {
    if !dir.join("run.json").exists() {
        return Ok(None);
    }
    Ok(Some(RunReader::open(dir)?).filter(RunReader::is_finished))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{fixture::FakeRun, study::Task};

    const CAREFUL: &str = "<think>7 in a1</think><answer>7</answer>";
    const HASTY: &str = "<think>at a glance</think><answer>7</answer>";

    fn write_runs(runs: &Path) {
        let test = |right| [(TEST, 0, right)];
        FakeRun { name: "base-seed0", training: &[], evaluations: &test([1, 0, 0, 0, 0, 0]), finished: true }
            .write(runs);
        FakeRun {
            name: "rl-seed0",
            training: &[("open", &[&[HASTY, HASTY], &[CAREFUL, HASTY]]), ("kept", &[&[CAREFUL]])],
            evaluations: &[(TEST, 1, [1, 1, 0, 0, 0, 0]), ("improved", 2, [1, 1, 1, 0, 0, 0])],
            finished: true,
        }
        .write(runs);
        let unfinished = [(TEST, 1, [1; 6])];
        FakeRun { name: "mix-seed0", training: &[], evaluations: &unfinished, finished: false }.write(runs);
    }

    fn arm<'a>(results: &'a Results, label: &str) -> &'a ArmRuns {
        results.arms.iter().find(|arm| arm.arm.label == label).unwrap()
    }

    #[test]
    fn run_directories_become_arms() {
        let runs = tempfile::tempdir().unwrap();
        write_runs(runs.path());
        let results = read(Task::Demo.study(), runs.path(), 3).unwrap();
        let labels: Vec<&str> = results.arms.iter().map(|arm| arm.arm.label).collect();
        assert_eq!(labels, ["Base", "RL", "RL + self-improvement"], "an unfinished run does not count");
        assert_eq!(results.tasks["ood"], ["detection", "math"].repeat(3));

        let rl = &arm(&results, "RL").seeds[&0];
        assert_eq!(rl.marks["id"], [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
        // Two steps with two answers of ten tokens; the metrics say that half of them were trained on.
        assert_eq!(rl.cost, Cost { updates: 2, sampled: 40.0, trained: 20.0 });
        let improved = &arm(&results, "RL + self-improvement").seeds[&0];
        assert_eq!(improved.cost, Cost { updates: 3, sampled: 50.0, trained: 25.0 });

        assert_eq!(results.curves.len(), 1);
        let curves = &results.curves[0];
        assert_eq!(curves.accuracy["id"], [vec![(0.0, 1.0 / 6.0), (2.0, 2.0 / 6.0)]]);
        assert_eq!(curves.reading, [vec![(1.0, 0.0), (2.0, 0.5)]]);
    }

    #[test]
    fn tested_checkpoints_are_points_of_the_curve() {
        let runs = tempfile::tempdir().unwrap();
        write_runs(runs.path());
        let steps = vec![&[HASTY][..]; 14];
        let training = [("open", &steps[..])];
        let evaluations = [(TEST, 1, [1; 6])];
        FakeRun { name: "choice-seed0", training: &training, evaluations: &evaluations, finished: true }
            .write(runs.path());
        let point = [(TEST, 0, [1, 1, 1, 0, 0, 0])];
        FakeRun { name: "choice-seed0-step12", training: &[], evaluations: &point, finished: true }
            .write(runs.path());
        let results = read(Task::Demo.study(), runs.path(), 1).unwrap();
        let choice = results.curves.iter().find(|curves| curves.arm.label == "Choice only").unwrap();
        assert_eq!(choice.accuracy["ood"], [vec![(0.0, 1.0 / 6.0), (12.0, 0.5), (14.0, 1.0)]]);
    }

    #[test]
    fn the_best_rate_is_the_lowest_of_equals() {
        let runs = tempfile::tempdir().unwrap();
        let study = Task::Hard.study();
        assert!(rates(study, runs.path()).unwrap().is_empty());
        for (rate, right) in
            study.rates.iter().zip([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0]])
        {
            let name = tuning_name("rl", rate);
            FakeRun { name: &name, training: &[], evaluations: &[(TEST, 0, right)], finished: true }
                .write(runs.path());
        }
        let tuned = rates(study, runs.path()).unwrap();
        assert_eq!((tuned.len(), tuned[0].recipe), (1, "rl"), "other recipes are not finished");
        assert_eq!(tuned[0].best().unwrap().rate, study.rates[1]);
    }

    #[test]
    fn without_a_base_there_is_nothing_to_compare_with() {
        let runs = tempfile::tempdir().unwrap();
        let error = read(Task::Demo.study(), runs.path(), 1).unwrap_err().to_string();
        assert!(error.contains("base-seed0") && error.contains("not finished"), "{error}");
    }

    #[test]
    fn other_questions_are_refused() {
        let runs = tempfile::tempdir().unwrap();
        write_runs(runs.path());
        let path = runs.path().join("rl-seed0/eval/test/ood/predictions.parquet");
        std::fs::copy(runs.path().join("rl-seed0/eval/test/id/predictions.parquet"), path).unwrap();
        let error = read(Task::Demo.study(), runs.path(), 1).unwrap_err().to_string();
        assert!(error.contains("rl-seed0") && error.contains("other questions"), "{error}");
    }
}
