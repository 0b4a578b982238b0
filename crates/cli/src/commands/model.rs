//! `reft generate`, `reft logprobs`, `reft eval`: a model on a file of questions. And `reft doctor`.

use std::path::Path;

use anyhow::{Result, bail};
use curr_reft::{
    benchmarks::Suite,
    config::{Device, Dtype, FleetConfig, Harness, LoraConfig, ModelConfig, PromptConfig, Resolved},
    core::{SamplingParams, Seed},
    doctor::diagnose,
    evaluate::{Answerer, Evaluation, evaluate},
    generate as generating, hub, model,
    pipeline::Observer as _,
    vlm::CheckpointSummary,
};
use serde_json::json;

use crate::{
    args::{
        AnswererArgs, ComputeArgs, DeviceArg, DoctorArgs, DtypeArg, EvalArgs, GenerateArgs, GlobalArgs,
        LogprobsArgs, MergeArgs, ModelArgs, SamplingArgs,
    },
    interrupt::Interrupt,
    output::Output,
    progress::Watch,
};

pub(super) fn generate(args: &GenerateArgs, global: GlobalArgs, output: Output) -> Result<()> {
    let mut watch = Watch::new(Interrupt::listen()?, global.quiet);
    watch.simple("generating");
    let who = Who::of(&args.who);
    let summary = generating::generate(
        who.answerer(),
        &args.input,
        &args.output,
        &params(&args.sampling)?,
        args.batch,
        &mut |done, total| {
            watch.progress(done, total);
            !watch.should_stop()
        },
    );
    watch.clear();
    let summary = summary?;
    output.print(&summary, || {
        format!(
            "{} completions for {} chats, {} tokens, {} cut by the length limit; written to {}",
            summary.completions,
            summary.rows,
            summary.tokens,
            summary.truncated,
            args.output.display()
        )
    })
}

pub(super) fn logprobs(args: &LogprobsArgs, global: GlobalArgs, output: Output) -> Result<()> {
    let mut watch = Watch::new(Interrupt::listen()?, global.quiet);
    watch.simple("scoring");
    let rows = generating::logprobs(&config(&args.model), &args.input, &args.output, &mut |done, total| {
        watch.progress(done, total);
        !watch.should_stop()
    });
    watch.clear();
    let rows = rows?;
    output.print(&json!({"rows": rows, "output": args.output}), || {
        format!("log-probabilities of {rows} completions written to {}", args.output.display())
    })
}

pub(super) fn eval(args: &EvalArgs, global: GlobalArgs, output: Output) -> Result<()> {
    let prompts = match &args.prompts {
        Some(recipe) => Resolved::read(std::slice::from_ref(recipe), &[])?.recipe.prompt,
        None => PromptConfig::default(),
    };
    let benchmarks = match (&args.suite, args.benchmark.config()) {
        (Some(suite), _) => Suite::read(suite)?.benchmarks,
        (None, Some(benchmark)) => vec![benchmark],
        (None, None) => bail!(
            "name a benchmark with its file (`--benchmark NAME --data FILE`), or a suite (`--suite FILE`)"
        ),
    };
    if args.prompts.is_none() && benchmarks.iter().any(|benchmark| benchmark.prompt == Harness::Recipe) {
        bail!("the prompt `recipe` takes the words of a recipe; name it (`--prompts RECIPE.toml`)");
    }
    let mut watch = Watch::new(Interrupt::listen()?, global.quiet);
    watch.simple("answering");
    let who = Who::of(&args.who);
    let reports = evaluate(
        who.answerer(),
        &Evaluation {
            benchmarks: &benchmarks,
            prompts: &prompts,
            output: &args.output,
            params: &params(&args.sampling)?,
            batch: args.batch,
            against: args.benchmark.against.as_deref(),
            blind: args.blind,
        },
        &mut watch,
    );
    watch.clear();
    let reports = reports?;
    let text = || {
        let tables: Vec<String> = reports.iter().map(ToString::to_string).collect();
        format!("{}written to {}", tables.join("\n"), args.output.display())
    };
    match &reports[..] {
        [report] => output.print(report, text),
        reports => output.print(&reports, text),
    }
}

pub(super) fn merge(args: &MergeArgs, output: Output) -> Result<()> {
    let model = ModelConfig {
        dtype: dtype(args.dtype),
        device: Device::Cpu,
        lora: Some(LoraConfig::of_folder(args.adapter.clone())),
        ..ModelConfig::of_folder(args.model.clone())
    };
    model::merge(&model, &args.output, args.max_shard_mb * 1_000_000)?;
    output.print(&json!({"output": args.output}), || {
        format!("merged checkpoint written to {}", args.output.display())
    })
}

pub(super) fn doctor(args: &DoctorArgs, output: Output) -> Result<()> {
    if let Some(dir) = &args.model {
        let summary = CheckpointSummary::open(&hub::model_path(dir)?)?.divided(args.ranks);
        output.print(&summary, || summary.to_string())?;
        if summary.problem.is_some() {
            bail!("`{}` cannot be loaded: its weights do not fit its config", dir.display());
        }
        return Ok(());
    }
    let diagnosis = diagnose();
    output.print(&diagnosis, || diagnosis.to_string())?;
    if !diagnosis.golden_ok {
        bail!("the golden forward pass is wrong; training with this libtorch would be meaningless");
    }
    Ok(())
}

/// Who answers, as a recipe would name it.
enum Who {
    Model(ModelConfig),
    Servers(FleetConfig),
}

impl Who {
    fn of(args: &AnswererArgs) -> Self {
        if let Some(dir) = &args.model {
            return Self::Model(adapted(dir, args.adapter.as_deref(), &args.compute));
        }
        Self::Servers(FleetConfig {
            token_env: args.server_key_env.clone(),
            connections: args.connections,
            ..FleetConfig::new(args.server.clone(), args.served_model.clone().unwrap_or_default())
        })
    }

    fn answerer(&self) -> Answerer<'_> {
        match self {
            Self::Model(model) => Answerer::Model(model),
            Self::Servers(servers) => Answerer::Servers(servers),
        }
    }
}

/// The model as a recipe would name it. Sets the number of threads, too.
fn config(args: &ModelArgs) -> ModelConfig {
    adapted(&args.model, args.adapter.as_deref(), &args.compute)
}

fn adapted(dir: &Path, adapter: Option<&Path>, args: &ComputeArgs) -> ModelConfig {
    let model = compute(args, ModelConfig::of_folder(dir.to_owned()));
    ModelConfig { lora: adapter.map(|dir| LoraConfig::of_folder(dir.to_owned())), ..model }
}

/// With number type and device. Sets the number of threads.
pub(super) fn compute(args: &ComputeArgs, model: ModelConfig) -> ModelConfig {
    model::set_threads(args.threads);
    ModelConfig {
        dtype: dtype(args.dtype),
        device: match args.device {
            DeviceArg::Auto => Device::Auto,
            DeviceArg::Cpu => Device::Cpu,
            DeviceArg::Cuda => Device::Cuda,
        },
        ..model
    }
}

fn dtype(arg: DtypeArg) -> Dtype {
    match arg {
        DtypeArg::Fp32 => Dtype::Fp32,
        DtypeArg::Bf16 => Dtype::Bf16,
        DtypeArg::Fp16 => Dtype::Fp16,
    }
}

fn params(args: &SamplingArgs) -> Result<SamplingParams> {
    let params = SamplingParams {
        group_size: args.samples,
        temperature: args.temperature,
        top_p: args.top_p,
        top_k: args.top_k,
        min_p: args.min_p,
        repetition_penalty: args.repetition_penalty,
        presence_penalty: args.presence_penalty,
        frequency_penalty: args.frequency_penalty,
        min_new_tokens: args.min_new_tokens,
        stop: args.stop.clone(),
        banned: args.ban.clone(),
        seed: Seed::new(args.seed),
        ..SamplingParams::plain(args.max_new_tokens)
    };
    let option = |field: &str| match field {
        "group_size" => "--samples".to_owned(),
        "banned" => "--ban".to_owned(),
        field => format!("--{}", field.replace('_', "-")),
    };
    let problems = params.problems();
    let problems: Vec<String> =
        problems.iter().map(|(field, why)| format!("`{}` {why}", option(field))).collect();
    if !problems.is_empty() {
        bail!("{}", problems.join("; "));
    }
    Ok(params)
}
