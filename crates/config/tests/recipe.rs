//! Recipes as users write them: merging, overrides, and what is said about each fault.

use std::{
    fs,
    path::{Path, PathBuf},
};

use reft_config::{
    ConfigError, LoraConfig, LoraLayers, LossScale, PhaseConfig, Recipe, Resolved, difference,
};

/// Every phase kind, with a table of defaults per kind.
const RECIPE: &str = r#"
    [run]
    name = "demo"
    seed = 1

    [model]
    path = "model"

    [data.train]
    type = "scenes"
    glyphs = "digits.parquet"
    split = "train"
    count = 100

    [data.test]
    type = "file"
    path = "test.jsonl"

    [grpo]
    lr = 1e-5
    steps = 20
    sampling = { max_new_tokens = 32 }

    [[phase]]
    kind = "grpo"
    name = "binary"
    data = "train"
    forms = ["binary"]

    [[phase]]
    kind = "grpo"
    name = "open"
    data = "train"
    lr = 2e-5

    [[phase]]
    kind = "reject"
    name = "self"
    data = "train"

    [[phase]]
    kind = "sft"
    name = "polish"
    data = ["self"]
    steps = 5

    [[phase]]
    kind = "eval"
    name = "after"
    data = ["test"]
    sampling = { max_new_tokens = 16 }
"#;

fn resolve(overrides: &[&str]) -> Result<Recipe, ConfigError> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    Resolved::from_text(RECIPE, "recipe.toml", &overrides).map(|resolved| resolved.recipe)
}

fn learning_rates(recipe: &Recipe) -> Vec<f64> {
    let rates = recipe.phase.iter().map(|phase| match phase {
        PhaseConfig::Grpo(phase) => Some(phase.lr),
        PhaseConfig::Sft(phase) => Some(phase.lr),
        PhaseConfig::Reject(_) | PhaseConfig::Eval(_) => None,
    });
    rates.flatten().collect()
}

#[test]
fn kind_tables_lie_under_their_phases() {
    let recipe = resolve(&[]).unwrap();
    assert_eq!(learning_rates(&recipe), [1e-5, 2e-5, 2e-7]);
    let PhaseConfig::Grpo(binary) = &recipe.phase[0] else {
        panic!("{:?}", recipe.phase[0]);
    };
    assert_eq!(binary.steps, 20);
    assert_eq!(binary.sampling.max_new_tokens, 32);
    assert_eq!(binary.sampling.group_size, 4);
}

#[test]
fn evaluation_stays_greedy_when_only_the_length_is_given() {
    let recipe = resolve(&[]).unwrap();
    let PhaseConfig::Eval(after) = &recipe.phase[4] else {
        panic!("{:?}", recipe.phase[4]);
    };
    assert_eq!(after.sampling.max_new_tokens, 16);
    assert_eq!(after.sampling.temperature, 0.0);
    assert_eq!(after.sampling.group_size, 1);
}

#[test]
fn overrides() {
    for (text, rates) in [
        ("grpo.lr=3e-6", [3e-6, 3e-6, 2e-7]),
        ("phase.binary.lr=3e-6", [3e-6, 2e-5, 2e-7]),
        ("sft.lr=1", [1e-5, 2e-5, 1.0]),
        ("phase.polish.lr = 0.5", [1e-5, 2e-5, 0.5]),
    ] {
        assert_eq!(learning_rates(&resolve(&[text]).unwrap()), rates, "{text}");
    }

    let recipe = resolve(&[
        "run.seed=3",
        "run.name=2026-01-31",
        "model.path=other/model",
        "model.device=\"cpu\"",
        "phase.binary.forms=[\"binary\", \"choice\"]",
        "grpo.curriculum.type=shuffle",
        "data.test.limit=7",
    ])
    .unwrap();
    assert_eq!(recipe.run.seed, 3);
    assert_eq!(recipe.run.name, "2026-01-31");
    assert_eq!(recipe.model.path, PathBuf::from("other/model"));
}

#[test]
fn later_files_override_earlier_ones() {
    let dir = std::env::temp_dir().join(format!("reft-config-layers-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    let (base, change) = (dir.join("base.toml"), dir.join("change.toml"));
    fs::write(&base, RECIPE).unwrap();
    fs::write(
        &change,
        "run.seed = 9\ngrpo.lr = 4e-5\n[data.test]\ntype = 'scenes'\nglyphs = 'd'\nsplit = 'test'\ncount = 0",
    )
    .unwrap();

    let read = |files: &[&PathBuf]| {
        let files: Vec<PathBuf> = files.iter().map(|&file| file.clone()).collect();
        Resolved::read(&files, &[])
    };
    assert_eq!(read(&[&base]).unwrap().recipe.run.seed, 1);
    let error = read(&[&base, &change]).unwrap_err().to_string();
    // The other variant replaced the table, and the fault is blamed on the right file.
    assert!(error.contains("`data.test.count`: must be at least 1"), "{error}");
    assert!(error.contains("change.toml)"), "{error}");
    assert!(!error.contains("unknown key"), "{error}");

    fs::write(&change, "run.seed = 9\ngrpo.lr = 4e-5").unwrap();
    let recipe = read(&[&base, &change]).unwrap().recipe;
    assert_eq!(recipe.run.seed, 9);
    assert_eq!(learning_rates(&recipe), [4e-5, 2e-5, 2e-7]);

    fs::write(&change, "run.seed = 9\n[[phase]\n").unwrap();
    let error = read(&[&base, &change]).unwrap_err().to_string();
    assert!(error.contains("change.toml` is not valid TOML") && error.contains("line 2"), "{error}");

    let error = read(&[&dir.join("absent.toml")]).unwrap_err().to_string();
    assert!(error.contains("absent.toml"), "{error}");
    assert!(matches!(Resolved::read(&[], &[]), Err(ConfigError::NoFiles)));
    fs::remove_dir_all(&dir).unwrap();
}

#[test]
fn curricula_by_difficulty_take_no_weights() {
    let read = |curriculum: &str, sources: &str| {
        let mix = format!("data.mix={{type=\"mixture\", sources=[{sources}]}}");
        resolve(&[&mix, "grpo.data=mix", &format!("grpo.curriculum={{type=\"{curriculum}\"}}")])
    };
    let weighted = "{data=\"train\", weight=1}, {data=\"test\", weight=2}";
    let plain = "{data=\"train\"}, {data=\"test\"}";
    for curriculum in ["pools", "adarft"] {
        let error = read(curriculum, weighted).unwrap_err().to_string();
        assert!(error.contains("`phase.binary.curriculum.type`: chooses samples by difficulty"), "{error}");
        assert!(read(curriculum, plain).is_ok());
    }
    assert!(read("shuffle", weighted).is_ok() && read("sec", weighted).is_ok());
}

#[test]
fn every_fault_is_named_with_its_key() {
    // (override, what the message must contain)
    let cases = [
        ("run.sead=1", "`run.sead`: unknown key; did you mean `seed`? (--set run.sead=1)"),
        ("modle.path=x", "`modle`: unknown key; did you mean `model`?"),
        (
            "grpo.learning_rate=1",
            "`phase.binary.learning_rate`: unknown key; what others call so is here lr (--set grpo.learning_rate=1)",
        ),
        (
            "grpo.sampling.temprature=1",
            "`phase.binary.sampling.temprature`: unknown key; did you mean `temperature`?",
        ),
        ("run.seed=-1", "`run.seed`: `-1` must not be below 0"),
        ("run.seed=9223372036854775808", "`run.seed`: expected an integer, found the string"),
        ("run.seed=one", "`run.seed`: expected an integer, found the string \"one\""),
        ("run.name=3", "`run.name`: expected a string, found integer `3`"),
        ("run.name=../x", "`run.name`: `../x` cannot name a folder"),
        ("run.name=.", "`run.name`: `.` cannot name a folder"),
        ("run.keep_checkpoints=0", "`run.keep_checkpoints`: must be at least 1"),
        ("run=1", "`run`: expected a table, found integer `1`"),
        ("model.dtype=fp8", "`model.dtype`: `fp8` is not one of `fp32`, `bf16`, `fp16`"),
        ("model.init={}", "`model.init.seed`: missing"),
        ("model.max_pixels=0", "`model.max_pixels`: must be at least 1"),
        (
            "model={path=\"m\", min_pixels=9, max_pixels=4}",
            "`model.min_pixels`: `9` is above `max_pixels` = 4",
        ),
        ("model.lora.rank=0", "`model.lora.rank`: must be at least 1"),
        ("model.lora.rnk=8", "`model.lora.rnk`: unknown key; did you mean `rank`?"),
        ("model.lora.alpha=0", "`model.lora.alpha`: `0` must be above 0"),
        ("model.lora.dropout=1", "`model.lora.dropout`: `1` must be at least 0 and below 1"),
        ("model.lora.targets=[]", "`model.lora.targets`: names no layer"),
        ("model.lora.exclude=\"\"", "`model.lora.exclude`: names no layer"),
        ("model.lora={adapter=\"a\", rank=4}", "`model.lora.rank`: the continued adapter brings its own"),
        (
            "data.train.tasks=[\"math\", \"maths\"]",
            "`data.train.tasks[1]`: `maths` is not one of `detection`",
        ),
        ("data.train.tasks=[]", "`data.train.tasks`: name at least one task"),
        ("data.train.count=0", "`data.train.count`: must be at least 1"),
        ("data.new.path=x", "`data.new.type`: missing; one of `file`, `scenes`"),
        ("data.self={type=\"file\", path=\"x\"}", "`phase.self.name`: `self` names a data set too"),
        ("grpo.sampling.group_size=1", "`phase.binary.sampling.group_size`: must be at least 2"),
        ("grpo.sampling.top_p=0", "`phase.binary.sampling.top_p`: `0` must be above 0 and at most 1"),
        ("grpo.sampling.min_p=1.5", "`phase.binary.sampling.min_p`: `1.5` must be from 0 to 1"),
        ("grpo.sampling.repetition_penalty=1.2", "`phase.binary.sampling.repetition_penalty`: shifts logits"),
        ("grpo.sampling.presence_penalty=0.5", "`phase.binary.sampling.presence_penalty`: shifts logits"),
        ("grpo.sampling.frequency_penalty=0.5", "`phase.binary.sampling.frequency_penalty`: shifts logits"),
        (
            "eval.sampling.repetition_penalty=0",
            "`phase.after.sampling.repetition_penalty`: `0` must be above 0",
        ),
        (
            "eval.sampling.presence_penalty=3",
            "`phase.after.sampling.presence_penalty`: `3` must be from -2 to 2",
        ),
        (
            "grpo.sampling={min_new_tokens=9, max_new_tokens=8}",
            "`phase.binary.sampling.min_new_tokens`: `9` is above `max_new_tokens` = 8",
        ),
        ("grpo.sampling.stop=[\"\"]", "`phase.binary.sampling.stop`: holds an empty string"),
        ("grpo.sampling.banned=[\"\"]", "`phase.binary.sampling.banned`: holds an empty string"),
        ("grpo.sampling.temperature=0", "`phase.binary.sampling.temperature`: is 0, so all completions"),
        ("grpo.sampling.temperature=1e-38", "`phase.binary.sampling.temperature`: `1e-38` is below 1e-3"),
        ("grpo.sampling.max_new_tokens=0", "`phase.binary.sampling.max_new_tokens`: must be at least 1"),
        ("grpo.lr=nan", "`phase.binary.lr`: `NaN` must be 0 or above"),
        ("grpo.lr=inf", "`phase.binary.lr`: `inf` must be 0 or above"),
        ("grpo.kl_coef=-0.1", "`phase.binary.kl_coef`: `-0.1` must be 0 or above"),
        ("grpo.clip_low=1.5", "`phase.binary.clip_low`: `1.5` must be from 0 to 1"),
        (
            "grpo.loss={type=\"ppo\"}",
            "`phase.binary.loss.type`: `ppo` is not one of `grpo`, `dr_grpo`, `dapo`, `bnpo`, `gspo`, `cispo`, `sapo`",
        ),
        ("grpo.loss_scale=mean", "`phase.binary.loss_scale`: `mean` is not one of `sequence`, `token`"),
        (
            "grpo.loss={type=\"sapo\", temperature_neg=0}",
            "`phase.binary.loss.temperature_neg`: `0` must be above 0",
        ),
        ("grpo.dual_clip=1.1", "`phase.binary.dual_clip`: `1.1` must be 1.2 or above"),
        ("grpo.entropy_coef=-1", "`phase.binary.entropy_coef`: `-1` must be 0 or above"),
        ("grpo.kl.estimator=k1", "`phase.binary.kl`: `k1` in the loss holds nothing back"),
        (
            "grpo.kl={place=\"reward\", gradient=\"k2\"}",
            "`phase.binary.kl.gradient`: a penalty in the reward has no gradient",
        ),
        (
            "grpo.kl={place=\"token_reward\", by_difficulty=true}",
            "`phase.binary.kl.by_difficulty`: weighs a penalty in the loss",
        ),
        (
            "grpo.kl.schedule={type=\"grpo_d\", min=0.1}",
            "`phase.binary.kl.schedule.min`: `0.1` must be from 0 to `kl_coef`",
        ),
        (
            "grpo.kl.schedule={type=\"grpo_d\", min=0, fall=1}",
            "`phase.binary.kl.schedule.fall`: `1` must be above 0 and below 1",
        ),
        (
            "grpo.reference={type=\"ema\", mixup=0}",
            "`phase.binary.reference.mixup`: `0` must be above 0 and at most 1",
        ),
        ("grpo.reference={type=\"ema\", every=0}", "`phase.binary.reference.every`: must be at least 1"),
        ("grpo.exact=true", "`phase.binary.exact`: is for the CPU; set `model.device = \"cpu\"`"),
        ("grpo.max_skipped=0", "`phase.binary.max_skipped`: must be at least 1"),
        (
            "grpo.optimizer.lr_scale.merger=-1",
            "`phase.binary.optimizer.lr_scale.merger`: `-1` must be 0 or above",
        ),
        (
            "grpo.optimizer.moments=int4",
            "`phase.binary.optimizer.moments`: `int4` is not one of `fp32`, `int8`",
        ),
        ("grpo.optimizer.warmup=1.5", "`phase.binary.optimizer.warmup`: `1.5` must be from 0 to 1"),
        ("grpo.optimizer.beta2=1", "`phase.binary.optimizer.beta2`: `1` must be at least 0 and below 1"),
        (
            "grpo.optimizer.schedule=step",
            "`phase.binary.optimizer.schedule`: `step` is not one of `constant`",
        ),
        ("grpo.reward={accuracy=0, format=0}", "`phase.binary.reward`: `accuracy` and `format` are both 0"),
        ("grpo.reward.iou_threshold=1", "`phase.binary.reward.iou_threshold`: `1` must be"),
        (
            "grpo.reward.detection=iou",
            "`phase.binary.reward.detection`: `iou` is not one of `threshold`, `soft`, `giou`",
        ),
        ("grpo.reward.timeout_s=-1", "`phase.binary.reward.timeout_s`: `-1` must be from 0 to 86400"),
        (
            "grpo.reward.language={script=\"klingon\"}",
            "`phase.binary.reward.language.script`: `klingon` is not one of",
        ),
        (
            "grpo.reward.program.style={command=[]}",
            "`phase.binary.reward.program.style.command`: name the program",
        ),
        ("grpo.reward.program.style={}", "`phase.binary.reward.program.style.command`: missing"),
        (
            "grpo.reward.program.format={command=[\"a\"]}",
            "`phase.binary.reward.program.format`: another part is called `format`",
        ),
        (
            "grpo.reward.program.style={command=[\"a\"], timeout_s=90}",
            "`phase.binary.reward.program.style.timeout_s`: is longer than the whole reward may take",
        ),
        (
            "grpo.reward.program.style={command=[\"a\"], range=[1, 0]}",
            "`phase.binary.reward.program.style.range`: must be two numbers, the least score first",
        ),
        (
            "grpo.reward.server.judge={url=\"localhost:80\"}",
            "`phase.binary.reward.server.judge.url`: `localhost:80` is no address",
        ),
        (
            "grpo.reward.server.judge={url=\"http://a\", connections=0}",
            "`phase.binary.reward.server.judge.connections`: must be at least 1",
        ),
        (
            "reject.reward.server.judge={url=\"http://a\"}",
            "`phase.self.reward.server`: only a `grpo` phase asks it",
        ),
        ("reject.judge={type=\"server\", model=\"m\"}", "`phase.self.judge.url`: missing"),
        (
            "reject.judge={type=\"server\", url=\"x\", model=\"m\"}",
            "`phase.self.judge.url`: `x` is no address",
        ),
        (
            "grpo.trainable={vision_tower=false, merger=false, decoder=false}",
            "`phase.binary.trainable`: nothing would learn",
        ),
        (
            "grpo.curriculum={type=\"staged\", stages=[]}",
            "`phase.binary.curriculum.stages`: name at least one stage",
        ),
        (
            "grpo.curriculum={type=\"staged\", stages=[{forms=[], steps=0}]}",
            "`phase.binary.curriculum.stages[0].steps`: must be at least 1",
        ),
        (
            "grpo.curriculum={type=\"staged\", stages=[{forms=[\"open\"]}]}",
            "`phase.binary.curriculum.stages[0]`: its length is exactly one of `steps`, `epochs` and `plateau`; 0 are",
        ),
        (
            "grpo.curriculum={type=\"staged\", stages=[{forms=[\"open\"], steps=1, epochs=2}]}",
            "`phase.binary.curriculum.stages[0]`: its length is exactly one of `steps`, `epochs` and `plateau`; 2 are",
        ),
        (
            "grpo.curriculum={type=\"staged\", stages=[{forms=[\"open\"], epochs=0}]}",
            "`phase.binary.curriculum.stages[0].epochs`: `0` must be above 0",
        ),
        (
            "grpo.curriculum={type=\"staged\", stages=[{forms=[\"open\"], plateau={}}]}",
            "`phase.binary.curriculum.stages[0].plateau.max_steps`: missing",
        ),
        (
            "grpo.curriculum={type=\"staged\", stages=[{forms=[\"open\"], plateau={max_steps=9, window=0}}]}",
            "`phase.binary.curriculum.stages[0].plateau.window`: must be at least 1",
        ),
        (
            "grpo.curriculum={type=\"staged\", order=\"mixed\", stages=[{forms=[\"open\"], epochs=1}]}",
            "`phase.binary.curriculum.stages[0].steps`: missing; with `order = \"mixed\"`",
        ),
        (
            "grpo.curriculum={type=\"staged\", order=\"backward\", stages=[]}",
            "`phase.binary.curriculum.order`: `backward` is not one of `forward`, `reverse`, `mixed`",
        ),
        (
            "grpo.curriculum={type=\"sec\", alpha=0}",
            "`phase.binary.curriculum.alpha`: `0` must be above 0 and at most 1",
        ),
        (
            "grpo.curriculum={type=\"sec\", temperature=0}",
            "`phase.binary.curriculum.temperature`: `0` must be above 0",
        ),
        (
            "grpo.curriculum={type=\"sec\", arms=\"colour\"}",
            "`phase.binary.curriculum.arms`: `colour` is not one of `form`, `task`, `form_task`",
        ),
        (
            "grpo.curriculum={type=\"pools\", easy=0.2, hard=0.2}",
            "`phase.binary.curriculum.hard`: `0.2` must be below `easy` = 0.2",
        ),
        (
            "grpo.curriculum={type=\"pools\", easy_share=0.6, hard_share=0.6}",
            "`phase.binary.curriculum.easy_share`: `0.6` and `hard_share` = 0.6 add up to more than 1",
        ),
        (
            "grpo.curriculum={type=\"pools\", aplha=0.6}",
            "`phase.binary.curriculum.aplha`: unknown key; did you mean `alpha`?",
        ),
        (
            "grpo.curriculum={type=\"adarft\", start=101}",
            "`phase.binary.curriculum.start`: `101` must be from 0 to 100",
        ),
        ("grpo.curriculum={type=\"adarft\", eta=0}", "`phase.binary.curriculum.eta`: `0` must be above 0"),
        ("grpo.curriculum={type=\"ptst\"}", "`phase.binary.curriculum.stages`: missing"),
        (
            "grpo.curriculum={type=\"ptst\", stages=[{steps=1, max_new_tokens=0, group_size=1}]}",
            "`phase.binary.curriculum.stages[0].group_size`: must be at least 2",
        ),
        ("grpo.filter.max_truncated=1.5", "`phase.binary.filter.max_truncated`: `1.5` must be from 0 to 1"),
        ("grpo.filter.advantage_range=-1", "`phase.binary.filter.advantage_range`: `-1` must be 0 or above"),
        (
            "grpo.filter.success_band={low=0.8, high=0.2}",
            "`phase.binary.filter.success_band.low`: `0.8` is above `high` = 0.2",
        ),
        ("grpo.filter.success_band={low=0.8}", "`phase.binary.filter.success_band.high`: missing"),
        (
            "grpo.filter={zero_variance=true, refill={type=\"dynamic\", max_rounds=0}}",
            "`phase.binary.filter.refill.max_rounds`: must be at least 1",
        ),
        (
            "grpo.filter={zero_variance=true, refill={type=\"expansion\", max_ratio=0.5}}",
            "`phase.binary.filter.refill.max_ratio`: `0.5` must be 1 or above",
        ),
        (
            "grpo.filter.refill={type=\"dynamic\"}",
            "`phase.binary.filter.refill`: no filter leaves groups out, so there is nothing to make up for",
        ),
        (
            "grpo.filter.refill={type=\"dynamo\"}",
            "`phase.binary.filter.refill.type`: `dynamo` is not one of `off`, `dynamic`, `expansion`",
        ),
        ("grpo.guard.min_teaching=2", "`phase.binary.guard.min_teaching`: `2` must be from 0 to 1"),
        ("data.mix={type=\"mixture\", sources=[]}", "`data.mix.sources`: name at least one data set"),
        (
            "data.mix={type=\"mixture\", sources=[{data=\"tain\"}]}",
            "`data.mix.sources[0].data`: there is no data set `tain`; did you mean `train`?",
        ),
        (
            "data.mix={type=\"mixture\", sources=[{data=\"mix\"}]}",
            "`data.mix.sources[0].data`: `mix` is a mixture too",
        ),
        (
            "data.mix={type=\"mixture\", sources=[{data=\"train\", weight=0}, {data=\"train\"}]}",
            "`data.mix.sources[0].weight`: `0` must be above 0",
        ),
        (
            "data.mix={type=\"mixture\", sources=[{data=\"train\", weight=1}, {data=\"test\"}]}",
            "`data.mix.sources`: 1 of 2 have a `weight`; give one to all or to none",
        ),
        (
            "data.mix={type=\"mixture\", sources=[{data=\"train\"}, {data=\"train\"}]}",
            "`data.mix.sources[1].data`: `train` is in the mixture twice",
        ),
        ("grpo.curriculum.type=sorted", "`phase.binary.curriculum.type`: `sorted` is not one of"),
        ("grpo.forms=[]", "`phase.binary.forms`: name at least one form"),
        ("grpo.forms=[\"open\", \"open\"]", "`phase.binary.forms`: names a form twice"),
        ("grpo.data=tain", "`phase.binary.data`: no `[data.tain]` in the recipe; did you mean `train`?"),
        ("phase.open.name=binary", "`phase.binary.name`: `binary` names an earlier phase too"),
        ("phase.open.name=a/b", "`phase.a/b.name`: `a/b` will not do"),
        ("phase.open.kind=sftt", "`phase.open.kind`: `sftt` is not one of `sft`, `grpo`"),
        ("reject.threshold=101", "`phase.self.threshold`: `101` must be from 0 to 100"),
        ("reject.keep=0", "`phase.self.keep`: must be at least 1"),
        (
            "phase.self.name=later",
            "`phase.polish.data`: `self` is neither a data set nor an earlier `reject` phase",
        ),
        ("sft.data=[]", "`phase.polish.data`: name at least one data set"),
        ("sft.steps=0", "`phase.polish.steps`: must be at least 1"),
        (
            "eval.data=[\"nowhere\"]",
            "`phase.after.data`: no `[data.nowhere]` in the recipe; known: `test`, `train`",
        ),
        ("phase.absent.lr=1", "no phase is named `absent`"),
        ("phase.opn.lr=1", "no phase is named `opn`; did you mean `open`?"),
        ("phase=1", "expected `phase.NAME.key=value`"),
        ("run.seed.x=1", "`run.seed` is not a table"),
        ("grpo.lr.x=1", "`grpo.lr` is not a table"),
        ("lonely", "expected `key=value`"),
        ("=1", "expected a key such as"),
    ];
    for (text, expected) in cases {
        let error = match resolve(&[text]) {
            Ok(_) => panic!("{text} was accepted"),
            Err(error) => error.to_string(),
        };
        assert!(error.contains(expected), "{text}\n  want {expected}\n  got {error}");
    }
}

#[test]
fn what_a_recipe_sets_is_what_differs_from_a_bare_one() {
    let recipe = resolve(&["run.seed=3", "data.test.limit=7"]).unwrap();
    let bare = recipe.bare().unwrap();
    let changed = difference(&bare.to_toml().unwrap(), &recipe.to_toml().unwrap());
    let keys: Vec<&str> = changed.iter().map(|change| change.split(':').next().unwrap()).collect();
    let of_phases = ["phase.after.sampling.max_new_tokens", "phase.binary.forms", "phase.binary.lr"];
    for key in ["run.seed", "data.test.limit"].into_iter().chain(of_phases) {
        assert!(keys.contains(&key), "{key}: {changed:?}");
    }
    assert!(keys.iter().all(|key| !key.contains("clip_low") && !key.contains(".steps")), "{changed:?}");
}

#[test]
fn a_kind_without_phases_cannot_be_overridden() {
    let text = RECIPE.replace("kind = \"eval\"", "kind = \"eval\" # only one");
    let without = &text[..text.rfind("[[phase]]").unwrap()];
    let error = Resolved::from_text(without, "recipe.toml", &["eval.forms=[]".to_owned()]);
    assert!(error.unwrap_err().to_string().contains("has no `eval` phase"));
}

#[test]
fn all_faults_are_reported_at_once() {
    let text = "[grpo]\nlearning_rate = 1\n[model]\npath = 3\n[[phase]]\nkind = 'grpo'\nname = 'a'";
    let error = Resolved::from_text(text, "bad.toml", &[]).unwrap_err();
    let ConfigError::Invalid(problems) = &error else {
        panic!("{error}");
    };
    let keys: Vec<&str> = problems.iter().map(|problem| problem.key.as_str()).collect();
    assert_eq!(keys, ["grpo.learning_rate", "model.path", "phase.a.data"]);
    assert!(problems.iter().all(|p| p.origin.as_deref() == Some("bad.toml")), "{problems:?}");

    let overrides = ["run.name=.", "grpo.clip_low=2", "sft.steps=0", "reject.keep=0"];
    let Err(ConfigError::Invalid(problems)) = resolve(&overrides) else {
        panic!("accepted");
    };
    // What one override does to several phases is said once.
    assert_eq!(problems.len(), 4, "{problems:?}");
}

#[test]
fn a_recipe_needs_a_model_and_a_phase() {
    let error = Resolved::from_text("", "empty.toml", &[]).unwrap_err().to_string();
    assert!(error.contains("`model`: missing") && error.contains("`phase`: missing"), "{error}");
    let error = Resolved::from_text("phase = []\nmodel.path = 'm'", "no.toml", &[]).unwrap_err();
    assert!(error.to_string().contains("at least one `[[phase]]`"), "{error}");
}

#[test]
fn the_resolved_recipe_repeats_itself() {
    let recipe = resolve(&["run.seed=9223372036854775807", "grpo.sampling.top_p=0.1"]).unwrap();
    let text = recipe.to_toml().unwrap();
    let again = Resolved::from_text(&text, "config.toml", &[]).unwrap().recipe;
    assert_eq!(recipe, again);
    assert_eq!(text, again.to_toml().unwrap());
    // Every default is written out, and numbers as a person would write them.
    assert!(text.contains("kl_coef = 0.04") && text.contains("top_p = 0.1\n"), "{text}");
}

/// Every curriculum, filter and refill, written the way a person would.
#[test]
fn adapters_read_and_repeat_themselves() {
    let recipe = resolve(&["model.lora={rank=8, targets=[\"q_proj\"], exclude=\".*visual.*\"}"]).unwrap();
    let lora = recipe.model.lora.clone().unwrap();
    assert_eq!(lora.targets, Some(LoraLayers::Endings(vec!["q_proj".into()])));
    assert_eq!(lora.exclude, Some(LoraLayers::Pattern(".*visual.*".into())));
    assert_eq!((lora.rank, lora.alpha, lora.dropout, lora.merge), (Some(8), None, None, false));
    let again = Resolved::from_text(&recipe.to_toml().unwrap(), "again.toml", &[]).unwrap().recipe;
    assert_eq!(again, recipe);
    assert_eq!(resolve(&["model.lora={}"]).unwrap().model.lora, Some(LoraConfig::default()));
    assert_eq!(resolve(&[]).unwrap().model.lora, None);
}

#[test]
fn curricula_filters_and_rewards_read_and_repeat_themselves() {
    for text in [
        r#"curriculum={type="staged", stages=[{forms=["binary"], steps=3}, {forms=["open"], epochs=1.5}]}"#,
        r#"curriculum={type="staged", order="reverse", stages=[{forms=["open"], plateau={max_steps=9}}]}"#,
        r#"curriculum={type="sec"}"#,
        r#"curriculum={type="pools", hard_share=0.3}"#,
        r#"curriculum={type="adarft"}"#,
        r#"curriculum={type="ptst", stages=[{steps=2, max_new_tokens=64, group_size=8}, {steps=1, max_new_tokens=9}]}"#,
        r#"filter={success_band={low=0.25, high=0.75}, refill={type="expansion"}}"#,
        r#"reward={detection="map_coco", box_labels=true, timeout_s=90, language={script="han", weight=0.5}}"#,
        r#"reward={accuracy=0, format=0, program.style={command=["python3", "style.py"], range=[-1, 1]}}"#,
        r#"reward.server.vision={url="https://example.org/score", token_env="TOKEN", weight=2}"#,
        r#"filter={zero_variance=true, max_truncated=0.5, advantage_range=0.1, refill={type="dynamic"}}"#,
    ] {
        let recipe = resolve(&[&format!("grpo.{text}")]).unwrap_or_else(|error| panic!("{text}: {error}"));
        let again = Resolved::from_text(&recipe.to_toml().unwrap(), "config.toml", &[]).unwrap().recipe;
        assert_eq!(recipe, again, "{text}");
    }
    let adarft = r#"grpo.curriculum={type="adarft", difficulty="absent.jsonl"}"#.to_owned();
    let resolved = Resolved::from_text(RECIPE, "recipe.toml", &[adarft]).unwrap();
    let error = resolved.check_files(&std::env::temp_dir().join("reft-nowhere")).unwrap_err().to_string();
    assert!(error.contains("`phase.binary.curriculum.difficulty`: `absent.jsonl` does not exist"), "{error}");
}

#[test]
fn files_that_do_not_exist_are_all_named() {
    let resolved = Resolved::from_text(RECIPE, "recipe.toml", &[]).unwrap();
    let error = resolved.check_files(&std::env::temp_dir().join("reft-nowhere")).unwrap_err();
    for expected in [
        "3 problems",
        "`model.path`: `model` does not exist; relative paths start at the working directory (recipe.toml)",
        "`data.test.path`: `test.jsonl`",
        "`data.train.glyphs`: `digits.parquet`",
    ] {
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_misspelt_folder_is_no_name_of_the_hub() {
    let check = |path: &str| {
        let set = [format!("model.path=\"{path}\"")];
        let resolved = Resolved::from_text(RECIPE, "recipe.toml", &set).unwrap();
        resolved.check_files(Path::new(env!("CARGO_MANIFEST_DIR"))).unwrap_err().to_string()
    };
    let error = check("tests/pico-vml");
    assert!(
        error.contains("`tests/pico-vml` does not exist") && error.contains("`hf://tests/pico-vml`"),
        "{error}"
    );
    for name in ["Qwen/Qwen3-VL-2B", "Qwen/Qwen3-VL-2B@main", "hf://tests/pico-vml"] {
        assert!(!check(name).contains("model.path"), "{name}");
    }
    for path in ["Qwen/", "/Qwen", "./Qwen/x", "~/x", "a/b/c", "model"] {
        assert!(check(path).contains("`model.path`"), "{path}");
    }
}

#[test]
fn settings_that_a_loss_does_not_know_are_refused() {
    for (overrides, expected) in [
        (
            ["grpo.loss.type=sapo", "grpo.clip_high=0.2"],
            "`phase.binary.clip_high`: `loss.type = \"sapo\"` does not clip; leave it out",
        ),
        (
            ["grpo.loss.type=cispo", "grpo.dual_clip=3"],
            "`phase.binary.dual_clip`: `loss.type = \"cispo\"` has no clipped ratio; leave it out",
        ),
        (
            ["grpo.loss={type=\"clip_cov\", low=5}", "grpo.clip_high=0.2"],
            "`phase.binary.loss.high`: must be above `low`, 5",
        ),
        (["grpo.loss={type=\"top_entropy\", share=0}", "grpo.dual_clip=3"], "`phase.binary.loss.share`"),
        (
            ["grpo.gradient.type=lift", "grpo.optimizer.weight_decay=0.1"],
            "`phase.binary.gradient.type`: `lift` moves the chosen weights alone, and decay moves all",
        ),
        (
            ["grpo.gradient.type=lift", "grpo.trainable.decoder=false"],
            "`phase.binary.gradient.type`: works on the layers of the decoder, which do not learn",
        ),
        (["grpo.gradient={type=\"lift\", share=2}", "grpo.dual_clip=3"], "`phase.binary.gradient.share`"),
        (
            ["grpo.advantage.type=gdpo", "grpo.kl.place=reward"],
            "`phase.binary.kl.place`: `reward` takes the penalty from the total",
        ),
        (
            ["model.dtype=fp16", "grpo.optimizer.small_weights=stochastic"],
            "`phase.binary.optimizer.small_weights`: `stochastic` rounding is for `model.dtype = \"bf16\"`",
        ),
    ] {
        let error = resolve(&overrides).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn losses_bring_the_settings_of_their_papers() {
    let phase = |overrides: &[&str]| match &resolve(overrides).unwrap().phase[0] {
        PhaseConfig::Grpo(phase) => phase.clone(),
        other => panic!("{other:?}"),
    };
    let plain = phase(&[]);
    assert_eq!((plain.clip_range().unwrap().high, plain.scale()), (0.2, LossScale::Sequence));
    let dapo = phase(&["grpo.loss.type=dapo"]);
    assert_eq!((dapo.clip_range().unwrap().high, dapo.scale()), (0.28, LossScale::Token));
    let changed = phase(&["grpo.loss.type=dapo", "grpo.clip_high=0.3", "grpo.loss_scale=constant"]);
    assert_eq!((changed.clip_range().unwrap().high, changed.scale()), (0.3, LossScale::Constant));
    assert_eq!(phase(&["grpo.loss.type=sapo"]).clip_range(), None);
    assert!(plain.has_kl() && !phase(&["grpo.kl_coef=0"]).has_kl());
    assert!(!phase(&["grpo.reference.type=none"]).has_kl());
}
