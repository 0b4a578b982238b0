//! A whole run: the phases of a recipe in a run directory, new or resumed.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use reft_config::{DataConfig, GradientConfig, ModelConfig, Recipe, Resolved, difference};
use reft_core::{Benchmark as _, Peers as _, Recorder as _, RunStore, Seed, StageError};
use reft_pipeline::{Observer, Outcome, PhaseBuilder, Run, SharedStore, Stages, from_first, tell};
use reft_store::{Input, RankLog, RunDir, RunInfo};
use reft_vlm::Vlm;
use serde_json::{Value, json};

use crate::{
    Error,
    benchmarks::{self, AnyBenchmark},
    examples::Pictures,
    hub,
    images::{BadImage, bad_images},
    model,
    phases::{Built, RecipePhases},
    ranks::Ranks,
    settings, space,
    track::Tracked,
};

/// Starts a run in `runs/<name>` and runs all phases.
pub fn start(recipe: &Recipe, runs: &Path, observer: &mut dyn Observer) -> Result<Outcome, Error> {
    start_with(recipe, runs, observer, |_, _| Ok(()))
}

/// [`start`] with some stages replaced (see [`RecipePhases::customize`]).
pub fn start_with(
    recipe: &Recipe,
    runs: &Path,
    observer: &mut dyn Observer,
    customize: impl FnMut(&Built<'_>, &mut Stages<Vlm>) -> Result<(), StageError>,
) -> Result<Outcome, Error> {
    let info = RunInfo {
        seed: recipe.run.seed,
        keep_checkpoints: recipe.run.keep_checkpoints,
        keep_phases: recipe.run.keep_phases,
        environment: json!({
            "version": env!("CARGO_PKG_VERSION"),
            "command": std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>(),
            "threads": recipe.run.threads,
        }),
        ..RunInfo::new(&recipe.run.name, recipe.phase.iter().map(reft_config::PhaseConfig::name))
    };
    let ranks = Ranks::join(observer)?;
    let (toml, pins) = from_first(&ranks, || {
        let (recipe, pins) = hub::pinned(recipe).map_err(stage)?;
        Ok((recipe.to_toml().map_err(|error| StageError::other("recipe", error))?, pins))
    })?;
    let is_pinned = !pins.is_empty();
    for pin in pins {
        observer.message(&format!("from the hub: {}", pin.display()));
    }
    let pinned;
    let recipe = if is_pinned {
        pinned = Resolved::from_text(&toml, "the recipe", &[])?.recipe;
        &pinned
    } else {
        recipe
    };
    let dir = runs.join(&recipe.run.name);
    // A launcher that starts its processes again gives them the command of before.
    let goes_on =
        ranks.world.attempt > 0 && from_first(&ranks, || Ok(RunDir::was_started_with(&dir, &toml)))?;
    if goes_on {
        return go_on(&ranks, &dir, &Resume::default(), observer, customize);
    }
    let mut store = first(&ranks, || Ok(RunDir::create(&dir, &info, &toml)?))?;
    run(recipe, &ranks, store.as_mut(), observer, Start::New, customize)
}

/// What becomes of a model or of data that have changed since the run started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChangedInputs {
    /// The run does not go on: it would be another one.
    #[default]
    Refuse,
    /// It goes on with them, and notes it: after a repair, say.
    Accept,
}

/// How a run goes on.
#[derive(Clone, Debug, Default)]
pub struct Resume {
    /// What becomes of inputs that have changed.
    pub inputs: ChangedInputs,
    /// Settings to change, `phase.open.steps=400`: of phases that have not begun, the length of the one under way, and when
    /// checkpoints are saved. Others are refused by name.
    pub set: Vec<String>,
}

/// Continues the run in `dir` from its newest checkpoint, with the recipe it was started with.
pub fn resume(dir: &Path, how: &Resume, observer: &mut dyn Observer) -> Result<Outcome, Error> {
    resume_with(dir, how, observer, |_, _| Ok(()))
}

/// [`resume`] with the stages replaced that the run was started with.
pub fn resume_with(
    dir: &Path,
    how: &Resume,
    observer: &mut dyn Observer,
    customize: impl FnMut(&Built<'_>, &mut Stages<Vlm>) -> Result<(), StageError>,
) -> Result<Outcome, Error> {
    go_on(&Ranks::join(observer)?, dir, how, observer, customize)
}

fn go_on(
    ranks: &Ranks,
    dir: &Path,
    how: &Resume,
    observer: &mut dyn Observer,
    customize: impl FnMut(&Built<'_>, &mut Stages<Vlm>) -> Result<(), StageError>,
) -> Result<Outcome, Error> {
    let mut store = first(ranks, || Ok(RunDir::open(dir)?))?;
    let config = from_first(ranks, || {
        let Some(store) = &mut store else { return Ok(String::new()) };
        let mut config = store.config().map_err(StageError::from)?;
        if !how.set.is_empty() {
            config = settings::change(dir, &config, &how.set)
                .map_err(|error| StageError::other("resume", error.to_string()))?;
            store.change_config(&config).map_err(StageError::from)?;
        }
        let first = store.first_config().unwrap_or_else(|| config.clone());
        let edited = difference(&first, &config);
        if !edited.is_empty() {
            observer.message(&format!("settings were changed since the run started: {}", edited.join("; ")));
            store.event("config_edited", json!({"changes": edited}))?;
        }
        Ok(config)
    })?;
    let origin = dir.join("config.toml");
    let resolved = Resolved::from_text(&config, &origin.to_string_lossy(), &[])?;
    run(&resolved.recipe, ranks, store.as_mut(), observer, Start::Again(how.inputs), customize)
}

/// The run directory on rank 0, which alone has it.
fn first(ranks: &Ranks, open: impl FnOnce() -> Result<RunDir, Error>) -> Result<Option<RunDir>, Error> {
    let store = if ranks.is_first() { open().map(Some) } else { Ok(None) };
    together(ranks, store)
}

/// What this rank has done, when no rank has failed.
fn together<T>(ranks: &Ranks, own: Result<T, Error>) -> Result<T, Error> {
    let told =
        tell(ranks, own.as_ref().map(|_| ()).map_err(|error| StageError::other("start", error.to_string())));
    let own = own?;
    told?;
    Ok(own)
}

/// Whether a run is new.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Start {
    New,
    Again(ChangedInputs),
}

fn run(
    recipe: &Recipe,
    ranks: &Ranks,
    mut store: Option<&mut RunDir>,
    observer: &mut dyn Observer,
    start: Start,
    customize: impl FnMut(&Built<'_>, &mut Stages<Vlm>) -> Result<(), StageError>,
) -> Result<Outcome, Error> {
    let recipe = &fetched(recipe, ranks)?;
    let benchmarks = match &store {
        Some(store) => check_inputs(recipe, store, observer, start),
        None => Ok(Vec::new()),
    };
    let benchmarks = together(ranks, benchmarks)?;
    model::set_threads(ranks.threads(recipe.run.threads));
    let device = together(ranks, model::device(recipe.model.device, ranks.world.local_rank))?;
    ranks.group.add_device(device)?;
    if ranks.size() > 1 {
        tell(ranks, Ok(ranks.greeting(device)))?.iter().for_each(|greeting| observer.message(greeting));
    }
    let mut policy = together(ranks, model::open_on(&seeded(recipe), device))?;
    let mut phases = RecipePhases::new(recipe).shared_by(Arc::clone(&ranks.group)).customize(customize);
    let checked = match store.as_deref_mut() {
        Some(store) => space::check(recipe, &policy, store)
            .and_then(|()| check_data(recipe, &phases, &policy, benchmarks, store, observer, start)),
        None => Ok(()),
    };
    together(ranks, checked)?;
    let left_out = from_first(ranks, || match &store {
        Some(store) => Ok(store.left_out()?),
        None => Ok(BTreeMap::new()),
    })?;
    if !ranks.is_first() {
        for (name, samples) in left_out {
            phases.leave_out(&name, &samples)?;
        }
    }
    let pictures = Pictures::of(recipe, phases.open_sets().clone());
    let phases: &mut dyn PhaseBuilder<Vlm> = &mut phases;
    let first_log =
        from_first(ranks, || Ok(store.as_ref().map(|store| store.log_path()).unwrap_or_default()))?;
    let (mut shared, mut log);
    let run_dir = store.as_ref().map(|store| store.path().to_owned()).unwrap_or_default();
    // Rank 0 alone has the run directory.
    let trackers = if ranks.is_first() { &recipe.run.trackers[..] } else { &[] };
    let mut observer = Tracked::new(observer, &run_dir, trackers, pictures);
    let store: &mut dyn RunStore = match store {
        Some(store) if ranks.size() == 1 => store,
        Some(store) => {
            shared = SharedStore::first(store, ranks);
            &mut shared
        }
        None => {
            let file = RankLog::beside(&first_log, ranks.rank())?;
            log = move |line: &Value| file.line(line);
            shared = SharedStore::other(&mut log, ranks);
            &mut shared
        }
    };
    let run = Run {
        seed: Seed::new(recipe.run.seed),
        checkpoint_every: recipe.run.checkpoint_every,
        phases,
        store,
        observer: &mut observer,
        peers: ranks,
    };
    Ok(run.run(&mut policy)?)
}

/// The recipe with local paths alone. Rank 0 fetches first, and others find what is in the cache of their machine.
fn fetched(recipe: &Recipe, ranks: &Ranks) -> Result<Recipe, Error> {
    from_first(ranks, || hub::fetched(recipe).map(drop).map_err(stage))?;
    together(ranks, hub::fetched(recipe))
}

fn stage(error: Error) -> StageError {
    StageError::other("hub", error.to_string())
}

/// That the files of the run are those that it was started with; its benchmarks.
fn check_inputs(
    recipe: &Recipe,
    store: &RunDir,
    observer: &mut dyn Observer,
    start: Start,
) -> Result<Vec<AnyBenchmark>, Error> {
    match start {
        Start::Again(ChangedInputs::Accept) => store.accept_inputs(&inputs(recipe))?,
        _ => store.check_inputs(&inputs(recipe))?,
    }
    let benchmarks = benchmarks::open_all(recipe)?;
    for benchmark in &benchmarks {
        for note in benchmark.notes() {
            observer.message(&format!("benchmark `{}`: {note}", benchmark.name()));
        }
    }
    Ok(benchmarks)
}

/// Looks at images, and at data of a new run.
fn check_data(
    recipe: &Recipe,
    phases: &RecipePhases<'_>,
    policy: &Vlm,
    benchmarks: Vec<AnyBenchmark>,
    store: &mut RunDir,
    observer: &mut dyn Observer,
    start: Start,
) -> Result<(), Error> {
    phases.check_model(policy)?;
    images(phases, benchmarks, store, observer, start)?;
    if start == Start::New && recipe.run.data_report {
        audit(phases, policy, store, observer)?;
    }
    Ok(())
}

/// The model of a recipe. An adapter's randomness is the run's, unless it has a seed of its own.
fn seeded(recipe: &Recipe) -> ModelConfig {
    let mut model = recipe.model.clone();
    if let Some(lora) = &mut model.lora {
        lora.seed.get_or_insert(recipe.run.seed);
    }
    model
}

/// Decodes all images before the first step, and after inputs have changed; a resume leaves out what was left out.
fn images(
    phases: &RecipePhases<'_>,
    benchmarks: Vec<AnyBenchmark>,
    store: &mut RunDir,
    observer: &mut dyn Observer,
    start: Start,
) -> Result<(), Error> {
    for (name, samples) in store.left_out()? {
        phases.leave_out(&name, &samples)?;
    }
    match start {
        Start::Again(ChangedInputs::Accept) => store.accept_images(&phases.image_files()?)?,
        _ => store.check_images(&phases.image_files()?)?,
    }
    if start == Start::Again(ChangedInputs::Refuse) {
        return Ok(());
    }
    observer.message("decoding every image once");
    let mut progress = |done, total| {
        observer.progress(done, total);
        !observer.should_stop()
    };
    let bad = phases.check_images(&mut progress)?;
    for benchmark in &benchmarks {
        if let Some(first) = bad_images(benchmark.samples(), &mut progress)?.first() {
            let (name, BadImage { sample, problem }) = (benchmark.name(), first);
            let message = format!("benchmark `{name}`, question `{sample}`: {problem}; repair or remove it");
            return Err(StageError::other("images", message).into());
        }
    }
    let mut left_out = store.left_out()?;
    for (name, bad) in bad {
        let (n, first) = (bad.len(), &bad[0]);
        observer.message(&format!(
            "data set `{name}`: {n} samples are left out, as their images cannot be decoded, the first `{}`: {}",
            first.sample, first.problem
        ));
        store.event("bad_images", json!({"data": name, "images": bad}))?;
        left_out.entry(name).or_default().extend(bad.into_iter().map(|bad| bad.sample));
    }
    if !left_out.is_empty() {
        store.leave_out(&left_out)?;
    }
    Ok(())
}

/// Looks at all data before the first step: what is wrong with the last phase's is found now, not in the night.
fn audit(
    phases: &RecipePhases<'_>,
    policy: &Vlm,
    store: &mut RunDir,
    observer: &mut dyn Observer,
) -> Result<(), Error> {
    for audit in phases.audit(policy.processor())? {
        for line in audit.to_string().lines() {
            observer.message(line);
        }
        let details =
            serde_json::to_value(&audit).map_err(|error| StageError::other("data report", error))?;
        store.event("data", details)?;
    }
    Ok(())
}

/// What the run reads: a resume on other bytes is refused.
fn inputs(recipe: &Recipe) -> Vec<Input> {
    let data = recipe.data.iter().filter_map(|(name, data)| {
        let path = match data {
            DataConfig::File(file) => &file.path,
            DataConfig::Scenes(scenes) => &scenes.glyphs,
            DataConfig::Mixture(_) => return None,
        };
        Some(Input { name: format!("data.{name}"), path: path.clone() })
    });
    let difficulties = recipe.phase.iter().filter_map(|phase| {
        let path = phase.difficulty_file()?.clone();
        Some(Input { name: format!("phase.{}.curriculum.difficulty", phase.name()), path })
    });
    let benchmarks = recipe.phase.iter().flat_map(|phase| {
        phase.benchmarks().iter().map(|benchmark| Input {
            name: format!("phase.{}.benchmarks.{}", phase.name(), benchmark.name),
            path: benchmark.path.clone(),
        })
    });
    let directions = recipe.phase.iter().flat_map(|phase| {
        let Some(GradientConfig::Drift(drift)) = phase.gradient() else { return Vec::new() };
        let input = |key: &str, path: &Path| Input {
            name: format!("phase.{}.gradient.{key}", phase.name()),
            path: path.to_owned(),
        };
        vec![input("reason", &drift.reason), input("base", &drift.base)]
    });
    let model = Input { name: "model".into(), path: recipe.model.path.clone() };
    let adapter = recipe.model.lora.as_ref().and_then(|lora| lora.adapter.clone());
    let adapter = adapter.map(|path| Input { name: "model.lora.adapter".into(), path });
    std::iter::once(model)
        .chain(adapter)
        .chain(data)
        .chain(difficulties)
        .chain(benchmarks)
        .chain(directions)
        .collect()
}
