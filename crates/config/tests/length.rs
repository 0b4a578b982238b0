//! How long phases are, and what they evaluate on the way.

use reft_config::{ConfigError, Keep, PhaseConfig, Recipe, Resolved};

const RECIPE: &str = r#"
    model.path = "model"
    data.train = { type = "scenes", glyphs = "digits.parquet", split = "train", count = 100 }
    data.test = { type = "file", path = "test.jsonl" }

    [grpo]
    steps = 20

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
"#;

fn resolve(overrides: &[&str]) -> Result<Recipe, ConfigError> {
    let overrides: Vec<String> = overrides.iter().map(|&text| text.to_owned()).collect();
    Resolved::from_text(RECIPE, "recipe.toml", &overrides).map(|resolved| resolved.recipe)
}

#[test]
fn validation_asks_as_eval_does_but_other_questions() {
    let text = RECIPE.replace(
        "    [grpo]\n",
        "    [eval]\n    data = [\"test\"]\n    prompts_per_step = 7\n    sampling = { max_new_tokens = 9 }\n    [grpo]\n",
    );
    let resolve = |validation: &str| {
        let text = text.replace("lr = 2e-5", &format!("lr = 2e-5\n    validation = {validation}"));
        Resolved::from_text(&text, "recipe.toml", &[]).map(|resolved| resolved.recipe)
    };
    let recipe = resolve("{ every = 5, data = [\"train\"], forms = [\"binary\"], keep = \"best\" }").unwrap();
    let validation = recipe.phase[1].validation().unwrap();
    assert_eq!((validation.every, validation.prompts_per_step, validation.keep), (5, 7, Keep::Best));
    assert_eq!(validation.data, ["train"]);
    let sampling = &validation.sampling;
    assert_eq!((sampling.max_new_tokens, sampling.temperature, sampling.group_size), (9, 0.0, 1));
    // A recipe that was written out reads as it was.
    let again = Resolved::from_text(&recipe.to_toml().unwrap(), "config.toml", &[]).unwrap();
    assert_eq!(again.recipe, recipe);

    // Test questions decide nothing unless the recipe says so.
    let error = resolve("{ every = 0 }").unwrap_err().to_string();
    for expected in
        ["phase.open.validation.every", "phase.open.validation.data", "name at least one data set"]
    {
        assert!(error.contains(expected), "{error}");
    }
    let error = resolve("{ every = 5, data = [\"trian\"], patiense = 3 }").unwrap_err().to_string();
    assert!(error.contains("patience"), "{error}");
}

#[test]
fn a_phase_has_one_length() {
    let recipe = resolve(&["phase.polish.steps=0", "phase.polish.epochs=1.5"]).unwrap();
    let PhaseConfig::Sft(polish) = &recipe.phase[3] else { panic!() };
    assert_eq!(
        (recipe.phase[3].steps(), polish.in_steps(100).steps),
        (None, 5),
        "150 demonstrations, 32 a step"
    );
    assert_eq!(recipe.phase[0].steps(), Some(20));
    // What is said later counts, in whichever way it is said.
    let recipe = resolve(&["phase.polish.epochs=2"]).unwrap();
    let PhaseConfig::Sft(polish) = &recipe.phase[3] else { panic!() };
    assert_eq!((polish.steps, polish.epochs), (0, Some(2.0)));
    let over_kind = RECIPE.replace("lr = 2e-5", "epochs = 0.5");
    let recipe = Resolved::from_text(&over_kind, "recipe.toml", &["grpo.steps=7".to_owned()]).unwrap().recipe;
    assert_eq!(recipe.phase[1].steps(), Some(7));
    let recipe = Resolved::from_text(&over_kind, "recipe.toml", &[]).unwrap().recipe;
    assert_eq!((recipe.phase[0].steps(), recipe.phase[1].steps()), (Some(20), None));

    // One file cannot mean both.
    let both = RECIPE.replace("steps = 5", "steps = 5\n    epochs = 2");
    let error = Resolved::from_text(&both, "recipe.toml", &[]).unwrap_err().to_string();
    assert!(error.contains("`steps = 5` does too; leave one of them out"), "{error}");
    let error = resolve(&["phase.polish.steps=0"]).unwrap_err().to_string();
    assert!(error.contains("must be at least 1; or set `epochs`"), "{error}");
    let error = resolve(&["phase.polish.steps=0", "phase.polish.epochs=0"]).unwrap_err().to_string();
    assert!(error.contains("above 0"), "{error}");
}
