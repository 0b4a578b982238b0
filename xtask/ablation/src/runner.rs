//! Runs of the plan, one after another, each through `reft train`.
//!
//! What is done is read from the run directories alone, so a command that was stopped, or killed, goes on where it was.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use anyhow::{Context as _, Result, bail};
use reft_store::RunReader;

use crate::{
    plan::{Job, run_name},
    say,
};

/// Where things are.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    /// The program.
    pub(crate) reft: PathBuf,
    /// Folder of the recipes.
    pub(crate) recipes: PathBuf,
    /// A recipe that lies over `common.toml`.
    pub(crate) over_common: Option<&'static str>,
    /// Folder of the run directories.
    pub(crate) runs: PathBuf,
    /// Settings laid over every recipe.
    pub(crate) set: Vec<String>,
}

/// How the command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Every run is finished.
    Done,
    /// Someone pressed Ctrl-C; the same command continues.
    Stopped,
}

/// What a run directory says about its run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Missing,
    Unfinished,
    Finished,
}

impl Runner {
    /// Starts what is missing and resumes what is unfinished.
    pub(crate) fn run(&self, jobs: &[Job]) -> Result<Outcome> {
        // This program must outlive the run that a Ctrl-C in the terminal stops, too: it waits until that is saved.
        let stop = Arc::new(AtomicBool::new(false));
        signal_hook::flag::register(signal_hook::consts::SIGINT, Arc::clone(&stop))
            .context("cannot listen for Ctrl-C")?;

        for (i, job) in jobs.iter().enumerate() {
            let state = self.state(job)?;
            if state != State::Missing {
                self.check_recipe(job)?;
            }
            // Recipes of other lengths save at other steps: then that point of the curves is left out.
            let has_no_policy = self.checkpoint(job).is_some_and(|policy| !policy.exists());
            if state == State::Finished || has_no_policy {
                continue;
            }
            let word = if state == State::Missing { "starts" } else { "is resumed" };
            say(&format!(
                "\n==> [{}/{}] {} {word}{}",
                i + 1,
                jobs.len(),
                job.name(),
                self.time_left(&jobs[i..])
            ));
            let started = Instant::now();
            let status = self.command(job, state).status().with_context(|| self.cannot_start())?;
            if stop.load(Ordering::Relaxed) {
                say("stopped; the same command continues");
                return Ok(Outcome::Stopped);
            }
            if !status.success() || self.state(job)? != State::Finished {
                bail!("`{}` is not finished ({status}); the same command continues", job.name());
            }
            say(&format!("{} took {}", job.name(), words(started.elapsed().as_secs_f64())));
        }
        Ok(Outcome::Done)
    }

    fn dir(&self, job: &Job) -> PathBuf {
        self.runs.join(job.name())
    }

    fn state(&self, job: &Job) -> Result<State> {
        let dir = self.dir(job);
        // A run that was killed before it had this file is begun again.
        if !dir.join("run.json").exists() {
            return Ok(State::Missing);
        }
        let finished = RunReader::open(&dir)?.is_finished();
        Ok(if finished { State::Finished } else { State::Unfinished })
    }

    /// `reft train` for the job.
    fn command(&self, job: &Job, state: State) -> Command {
        let mut reft = Command::new(&self.reft);
        // The tables that it prints at the end are those of one run alone; the section has them all.
        reft.stdout(Stdio::null()).arg("train");
        if state == State::Unfinished {
            reft.arg("--resume").arg(self.dir(job));
        } else {
            self.add_recipe(&mut reft, job);
            reft.arg("--runs").arg(&self.runs);
        }
        reft
    }

    fn add_recipe(&self, reft: &mut Command, job: &Job) {
        for name in [Some("common"), self.over_common, Some(job.recipe)].into_iter().flatten() {
            reft.arg(self.recipes.join(format!("{name}.toml")));
        }
        reft.args(["--name", &job.name()]);
        let mut set = self.set.clone();
        set.extend(job.settings());
        if let Some(policy) = self.checkpoint(job) {
            set.push(format!("model.path={}", serde_json::json!(policy)));
        }
        for setting in set {
            reft.args(["--set", &setting]);
        }
    }

    /// The checkpoint that the job tests.
    fn checkpoint(&self, job: &Job) -> Option<PathBuf> {
        let (recipe, step) = job.checkpoint_of?;
        let run = self.runs.join(run_name(recipe, job.seed));
        Some(run.join(format!("checkpoints/step_{step:06}/policy")))
    }

    /// A run that is there must be of today's recipe: a table of runs with different settings would say nothing.
    fn check_recipe(&self, job: &Job) -> Result<()> {
        let mut reft = Command::new(&self.reft);
        reft.args(["train", "--dry-run"]);
        self.add_recipe(&mut reft, job);
        let output = reft.output().with_context(|| self.cannot_start())?;
        if !output.status.success() {
            bail!("the recipe of `{}`: {}", job.name(), String::from_utf8_lossy(&output.stderr).trim());
        }
        let path = self.dir(job).join("config.toml");
        let used = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let today = String::from_utf8_lossy(&output.stdout);
        if let Some((used, today)) = first_difference(&used, &today) {
            bail!(
                "`{}` was made with another recipe (`{used}`, now `{today}`); remove it, or give another `--runs`",
                self.dir(job).display()
            );
        }
        Ok(())
    }

    fn cannot_start(&self) -> String {
        format!("cannot start `{}`", self.reft.display())
    }

    /// `, about 20 min left`: each run as long as finished runs of its recipe took on average, or as any run did.
    fn time_left(&self, jobs: &[Job]) -> String {
        let done = finished_runs(&self.runs);
        let mean = |of: &dyn Fn(&str) -> bool| {
            let times: Vec<f64> =
                done.iter().filter(|(name, _)| of(name)).map(|(_, seconds)| *seconds).collect();
            (!times.is_empty()).then(|| times.iter().sum::<f64>() / times.len() as f64)
        };
        let is_point = |name: &str| name.contains("-step");
        let is_of = |name: &str, recipe: &str| {
            let rest = name.strip_prefix(recipe);
            rest.is_some_and(|rest| {
                !is_point(name) && (rest.starts_with("-seed") || rest.starts_with("-rate"))
            })
        };
        let of_job = |job: &Job| match job.checkpoint_of {
            Some(_) => mean(&is_point).or_else(|| mean(&|name| name == run_name(job.recipe, 0))),
            None => mean(&|name| is_of(name, job.recipe))
                .or_else(|| mean(&|name| !is_point(name) && !name.starts_with("base"))),
        };
        let times: Option<Vec<f64>> = jobs.iter().map(of_job).collect();
        times.map_or_else(String::new, |times| format!(", about {} left", words(times.iter().sum())))
    }
}

/// Names and seconds of the finished runs in a folder.
fn finished_runs(runs: &Path) -> Vec<(String, f64)> {
    let entries = std::fs::read_dir(runs).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let run = RunReader::open(&entry.path()).ok().filter(RunReader::is_finished)?;
            let steps = run.timings().ok()?;
            let seconds = steps.iter().filter_map(|row| row.metrics.get("time/step_s")).sum();
            Some((entry.file_name().to_string_lossy().into_owned(), seconds))
        })
        .collect()
}

/// The first line in which two texts differ.
fn first_difference<'a>(left: &'a str, right: &'a str) -> Option<(&'a str, &'a str)> {
    let (mut left, mut right) = (left.trim().lines(), right.trim().lines());
    loop {
        match (left.next(), right.next()) {
            (None, None) => return None,
            (a, b) if a == b => {}
            (a, b) => return Some((a.unwrap_or_default(), b.unwrap_or_default())),
        }
    }
}

fn words(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match minutes {
        0 => format!("{seconds:.0} s"),
        1..60 => format!("{minutes} min"),
        _ => format!("{} h {:02} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;
    use crate::fixture::FakeRun;

    /// A program in i of `reft`: notes its arguments, and copies a finished or an unfinished run directory.
    fn runner(folder: &Path, leaves: &str) -> Runner {
        for (name, finished) in [("unfinished", false), ("finished", true)] {
            if !folder.join(name).exists() {
                let evaluations = [("test", 0, [0; 6])];
                FakeRun { name, training: &[], evaluations: &evaluations, finished }.write(folder);
            }
        }
        let script = format!(
            "#!/bin/sh\n\
             case \"$*\" in *--dry-run*) cat {here}/recipe; exit;; esac\n\
             echo \"$*\" >> {here}/calls\n\
             name=x\n\
             while [ $# -gt 0 ]; do\n\
             case $1 in --name) name={here}/runs/$2;; --resume) name=$2;; esac\n\
             shift\n\
             done\n\
             mkdir -p $name && cp {here}/{leaves}/run.json {here}/{leaves}/config.toml $name/\n\
             [ {leaves} = finished ]\n",
            here = folder.display()
        );
        let reft = folder.join("reft");
        fs::write(&reft, script).unwrap();
        fs::set_permissions(&reft, fs::Permissions::from_mode(0o755)).unwrap();
        if !folder.join("recipe").exists() {
            fs::write(folder.join("recipe"), "# a recipe").unwrap();
        }
        let set = vec!["run.threads=2".to_owned()];
        Runner { reft, recipes: "recipes".into(), over_common: None, runs: folder.join("runs"), set }
    }

    fn calls(folder: &Path) -> Vec<String> {
        let calls = fs::read_to_string(folder.join("calls")).unwrap_or_default();
        let _ = fs::remove_file(folder.join("calls"));
        calls.lines().map(|line| line.replace(&*folder.to_string_lossy(), "")).collect()
    }

    fn job(recipe: &'static str) -> Job {
        Job::train(recipe, 1)
    }

    #[test]
    fn a_stopped_ablation_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let jobs = [job("base"), job("rl")];
        assert_eq!(runner(here, "finished").run(&jobs[..1]).unwrap(), Outcome::Done);
        let start = "train recipes/common.toml recipes/base.toml --name base-seed1 --set run.threads=2 --set run.seed=1 \
                     --runs /runs";
        assert_eq!(calls(here), [start]);

        // The second run ends early: the first is kept, the second resumed.
        let error = runner(here, "unfinished").run(&jobs).unwrap_err().to_string();
        assert!(error.contains("`rl-seed1` is not finished"), "{error}");
        assert_eq!(calls(here).len(), 1);
        assert_eq!(runner(here, "finished").run(&jobs).unwrap(), Outcome::Done);
        assert_eq!(calls(here), ["train --resume /runs/rl-seed1"]);
        assert_eq!(runner(here, "finished").run(&jobs).unwrap(), Outcome::Done);
        assert_eq!(calls(here), [""; 0]);
    }

    #[test]
    fn rates_are_laid_over_the_recipe_of_the_study() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let runner = Runner { over_common: Some("hard"), ..runner(here, "finished") };
        let tunes = |recipe| Job { rate: Some("1e-4"), tunes: true, ..Job::train(recipe, 9) };
        runner.run(&[tunes("curr"), Job { rate: Some("2e-4"), ..job("sft") }]).unwrap();
        let calls = calls(here);
        let begin = "train recipes/common.toml recipes/hard.toml recipes/";
        for (call, expected) in calls.iter().zip([
            "curr.toml --name curr-rate1e-4 --set run.threads=2 --set run.seed=9 --set grpo.lr=1e-4 --set eval.data=[\"val\"]",
            "sft.toml --name sft-seed1 --set run.threads=2 --set run.seed=1 --set phase.sft.lr=2e-4",
        ]) {
            assert!(call.starts_with(&format!("{begin}{expected}")), "{call}");
        }
    }

    #[test]
    fn runs_of_another_recipe_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        runner(here, "finished").run(&[job("rl")]).unwrap();
        fs::write(here.join("recipe"), "steps = 3").unwrap();
        let error = runner(here, "finished").run(&[job("rl")]).unwrap_err().to_string();
        assert!(error.contains("rl-seed1") && error.contains("steps = 3"), "{error}");
    }

    #[test]
    fn checkpoints_are_tested_by_their_folder() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let job = Job { checkpoint_of: Some(("curr", 12)), ..Job::train("base", 2) };
        runner(here, "finished").run(std::slice::from_ref(&job)).unwrap();
        assert_eq!(calls(here), [""; 0], "there is no such checkpoint");
        fs::create_dir_all(here.join("runs/curr-seed2/checkpoints/step_000012/policy")).unwrap();
        runner(here, "finished").run(std::slice::from_ref(&job)).unwrap();
        let call = &calls(here)[0];
        assert!(call.contains("--name curr-seed2-step12"), "{call}");
        assert!(call.contains("model.path=\"/runs/curr-seed2/checkpoints/step_000012/policy\""), "{call}");
    }

    #[test]
    fn differences_and_times_in_words() {
        assert_eq!(first_difference("a\nb\n", "a\nb"), None);
        assert_eq!(first_difference("a\nb", "a\nc"), Some(("b", "c")));
        assert_eq!(first_difference("a", "a\nb"), Some(("", "b")));
        assert_eq!([words(8.2), words(100.0), words(7260.0)], ["8 s", "2 min", "2 h 01 min"]);
    }
}
