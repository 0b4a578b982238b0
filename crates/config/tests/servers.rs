//! Servers that answer for a policy which learns.

use reft_config::{CorrectionConfig, CorrectionMode, PhaseConfig, Resolved, ServerApi};

const RECIPE: &str = r#"
    model.path = "model"
    model.lora = { rank = 8 }
    data.train = { type = "scenes", glyphs = "digits.parquet", split = "train", count = 100 }

    [[phase]]
    kind = "grpo"
    name = "open"
    data = "train"
    steps = 5
    servers = { url = ["http://a:8000/v1"], model = "base" }
    weight_sync = { folder = "adapters" }
"#;

fn problems(change: impl Fn(String) -> String) -> String {
    let resolved = Resolved::from_text(&change(RECIPE.to_owned()), "recipe.toml", &[]);
    resolved.map_or_else(|error| error.to_string(), |_| String::new())
}

#[test]
fn servers_bring_a_correction() {
    let recipe = Resolved::from_text(RECIPE, "recipe.toml", &[]).unwrap().recipe;
    let PhaseConfig::Grpo(phase) = &recipe.phase[0] else { panic!("one phase") };
    assert_eq!(phase.weight_sync.as_ref().unwrap().api, ServerApi::Vllm);
    assert_eq!(phase.correction(), Some(CorrectionConfig::default()));
    let own =
        RECIPE.replace("weight_sync", "correction = { mode = \"sequence_mask\", clip_max = 3 }\nweight_sync");
    let recipe = Resolved::from_text(&own, "recipe.toml", &[]).unwrap().recipe;
    let PhaseConfig::Grpo(phase) = &recipe.phase[0] else { panic!("one phase") };
    let found = phase.correction().unwrap();
    assert_eq!((found.mode, found.clip_max), (CorrectionMode::SequenceMask, 3.0));
    let alone = phase.clone();
    let alone = reft_config::GrpoPhase { servers: None, weight_sync: None, correction: None, ..alone };
    assert_eq!(alone.correction(), None);
}

#[test]
fn what_cannot_be_trained_on_is_said_before() {
    assert_eq!(problems(|text| text), "");
    for (from, to, words) in [
        ("    weight_sync = { folder = \"adapters\" }\n", "", "`phase.open.weight_sync`: is missing"),
        (
            "    servers = { url = [\"http://a:8000/v1\"], model = \"base\" }\n",
            "",
            "`phase.open.servers`: is missing",
        ),
        ("folder = \"adapters\"", "folder = \"\"", "`phase.open.weight_sync.folder`"),
        ("    model.lora = { rank = 8 }\n", "", "train one (`[model.lora]`)"),
        ("model = \"base\"", "model = \"base\", extensions = false", "`phase.open.servers.extensions`"),
        ("http://a", "a", "`phase.open.servers.url`"),
        (
            "steps = 5",
            "steps = 5\nsampling = { top_p = 0.9 }",
            "`phase.open.sampling.top_p`: keeps tokens out",
        ),
        ("steps = 5", "steps = 5\nsampling = { banned_ids = [3] }", "`phase.open.sampling.banned_ids`"),
        ("steps = 5", "steps = 5\nexact = true", "wants the rollout of this process"),
        ("steps = 5", "steps = 5\ncorrection = { clip_max = 0.5 }", "`phase.open.correction.clip_max`"),
        ("steps = 5", "steps = 5\ncorrection = { clip_min = 2 }", "`phase.open.correction.clip_min`"),
        ("steps = 5", "steps = 5\ncorrection = { max_mismatch = 0 }", "`phase.open.correction.max_mismatch`"),
        ("steps = 5", "steps = 5\ncorrection = { mode = \"tis\" }", "token_truncate"),
    ] {
        assert!(RECIPE.contains(from), "{from}");
        let found = problems(|text| text.replace(from, to));
        assert!(found.contains(words), "{to}: {found}");
    }
    // Whole models go to SGLang.
    let whole = |text: String| {
        text.replace("    model.lora = { rank = 8 }\n", "")
            .replace("\"adapters\"", "\"weights\", api = \"sglang\"")
    };
    assert_eq!(problems(whole), "");
}
