//! The whole method with toy stages: base evaluation, three curriculum stages, rejection, SFT, evaluation.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use reft_core::{Alone, CutAnswers, Demonstration, Peers, RunStore, SamplingParams, Seed};
use reft_pipeline::{
    EvalStages, Observer, Outcome, Phase, RejectStages, RlStages, Run, RunError, SftStages, SharedStore,
    Stages, Validation,
};
use reft_store::{RunDir, RunInfo};
use reft_testkit::{
    AboveMean, BestAbove, RightJudge, RoundRobin, SkipEqual, TablePolicy, ToyBenchmark, ToyEngine, ToyGrpo,
    ToyReward, ToySft, as_binary, as_choice, sums,
};

pub(crate) type Phases = Vec<Phase<TablePolicy>>;

/// All phase kinds; about a hundred steps.
pub(crate) fn phases() -> Phases {
    vec![
        eval("base"),
        rl("binary", 20),
        rl("choice", 20),
        rl("open", 40),
        reject("reject"),
        sft("sft", 20, "reject"),
        eval("final"),
    ]
}

pub(crate) fn sampling(group_size: usize, temperature: f32) -> SamplingParams {
    SamplingParams { group_size, temperature, ..SamplingParams::greedy(8) }
}

/// Questions in the form that the phase is named after.
pub(crate) fn rl_stages(form: &str, steps: u64) -> RlStages<TablePolicy> {
    let open = sums(6);
    let samples = match form {
        "binary" => as_binary(&open),
        "choice" => as_choice(&open),
        _ => open,
    };
    RlStages {
        steps,
        prompts_per_step: 4,
        sampling: sampling(8, 1.0),
        curriculum: Box::new(RoundRobin::new(samples)),
        rollout: Box::new(ToyEngine),
        reward: Box::new(ToyReward),
        pay_zero: false,
        advantage: std::sync::Arc::new(AboveMean),
        filters: vec![Box::new(SkipEqual::default())],
        refill: None,
        cut_answers: CutAnswers::Learn,
        preflight: None,
        guard: None,
        optimizer: Box::new(ToyGrpo::new(2.0, 0.01)),
        max_skipped: 3,
        validation: None,
    }
}

pub(crate) fn rl(form: &'static str, steps: u64) -> Phase<TablePolicy> {
    Phase::new(form, move |_, _| {
        // Evaluated where checkpoints are written and where not.
        let validation = (form == "open").then(|| validation(6, 0));
        Ok(Stages::Rl(RlStages { validation, ..rl_stages(form, steps) }))
    })
}

pub(crate) fn reject_stages() -> RejectStages<TablePolicy> {
    RejectStages {
        questions: sums(12),
        prompts_per_step: 3,
        sampling: sampling(16, 1.0),
        rollout: Box::new(ToyEngine),
        judge: Box::new(RightJudge),
        selector: Box::new(BestAbove(95.0)),
    }
}

fn reject(name: &str) -> Phase<TablePolicy> {
    Phase::new(name, |_, _| Ok(Stages::Reject(reject_stages())))
}

pub(crate) fn sft(name: &str, steps: u64, from: &'static str) -> Phase<TablePolicy> {
    Phase::new(name, move |_, store| {
        let questions: BTreeMap<_, _> = sums(12).into_iter().map(|s| (s.id.clone(), s)).collect();
        let kept = store.load_kept(from)?.into_iter();
        Ok(Stages::Sft(SftStages {
            steps,
            batch_size: 4,
            demonstrations: kept
                .map(|answer| Demonstration {
                    sample: questions[&answer.sample].clone(),
                    completion: answer.completion,
                })
                .collect(),
            trainer: Box::new(ToySft::new(0.5)),
            validation: Some(validation(5, 0)),
        }))
    })
}

/// Keeps the best policy by two benchmarks.
pub(crate) fn validation(every: u64, patience: u64) -> Validation<TablePolicy> {
    Validation { every, asked: eval_stages(), keep_best: true, patience }
}

pub(crate) fn eval(name: &str) -> Phase<TablePolicy> {
    Phase::new(name, |_, _| Ok(Stages::Eval(eval_stages())))
}

fn eval_stages() -> EvalStages<TablePolicy> {
    let benchmark = |name: &str, samples| ToyBenchmark { name: name.into(), samples };
    EvalStages {
        benchmarks: vec![
            Box::new(benchmark("open", sums(12))),
            Box::new(benchmark("binary", as_binary(&sums(6)))),
        ],
        prompts_per_step: 2,
        sampling: sampling(4, 1.0),
        rollout: Box::new(ToyEngine),
    }
}

/// Starts or resumes the run in `dir`.
pub(crate) fn run(
    dir: &Path,
    mut phases: Phases,
    observer: &mut dyn Observer,
) -> (Result<Outcome, RunError>, TablePolicy) {
    let mut store = open(dir, &phases);
    let mut policy = TablePolicy::new();
    let outcome = start(&mut phases, &mut store, observer, &Alone).run(&mut policy);
    (outcome, policy)
}

fn start<'a>(
    phases: &'a mut Phases,
    store: &'a mut dyn RunStore,
    observer: &'a mut dyn Observer,
    peers: &'a dyn Peers,
) -> Run<'a, TablePolicy> {
    Run { seed: Seed::new(7), checkpoint_every: 5, phases, store, observer, peers }
}

/// One rank of a run in `dir`.
pub(crate) fn run_rank(
    dir: &Path,
    mut phases: Phases,
    observer: &mut dyn Observer,
    peers: &dyn Peers,
) -> (Result<Outcome, RunError>, TablePolicy) {
    let (mut own, mut nothing);
    let mut store = if peers.rank() == 0 {
        own = open(dir, &phases);
        SharedStore::first(&mut own, peers)
    } else {
        nothing = |_: &serde_json::Value| Ok(());
        SharedStore::other(&mut nothing, peers)
    };
    let mut policy = TablePolicy::new();
    let outcome = start(&mut phases, &mut store, observer, peers).run(&mut policy);
    (outcome, policy)
}

fn open(dir: &Path, phases: &Phases) -> RunDir {
    if dir.join("run.json").exists() {
        return RunDir::open(dir).unwrap();
    }
    let names = phases.iter().map(|phase| phase.name.clone());
    RunDir::create(dir, &RunInfo::new("toy", names), "").unwrap()
}

/// Everything that two runs of one recipe must have in common, by path.
pub(crate) fn results(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for part in ["metrics.jsonl", "completions", "rejection", "eval", "validation", "final"] {
        collect(dir, &dir.join(part), &mut files);
    }
    files
}

fn collect(root: &Path, path: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            collect(root, &entry.unwrap().path(), files);
        }
    } else if path.exists() {
        let name = path.strip_prefix(root).unwrap().to_owned();
        files.insert(name, fs::read(path).unwrap());
    }
}

/// Names the files that differ, which says more than a dump of bytes.
pub(crate) fn assert_same_results(expected: &Path, got: &Path) {
    let (expected, got) = (results(expected), results(got));
    assert_eq!(expected.keys().collect::<Vec<_>>(), got.keys().collect::<Vec<_>>());
    assert!(expected.contains_key(Path::new("final/table.json")));
    let differing: Vec<_> =
        expected.iter().filter(|(name, bytes)| got[*name] != **bytes).map(|(name, _)| name).collect();
    assert!(differing.is_empty(), "{differing:?} differ");
}
