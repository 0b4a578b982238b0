//! Several data sets at once.

use std::collections::BTreeMap;

use reft_config::{DataConfig, PromptConfig};
use reft_core::{Form, Seed};
use reft_data::{DataError, Dataset, OpenData};
use serde_json::{Value, json};

use crate::support::{fixture, folder};

fn mixed(sets: Value, forms: &[Form]) -> Result<Dataset, DataError> {
    let sets: BTreeMap<String, DataConfig> = serde_json::from_value(sets).unwrap();
    let prompts = PromptConfig::default();
    OpenData::named("mix", &sets, &prompts)?.in_forms(forms, &prompts, Seed::new(1))
}

#[test]
fn sources_keep_their_samples_and_answers_under_their_names() {
    let chat = |i: u32| json!({"id": i, "messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": format!("Ho {i}")}]});
    let (_folder, path) = folder(&[chat(0), chat(1)]);
    let glyphs = fixture("digits/digits.parquet");
    let sets = json!({
        "chats": {"type": "file", "path": path, "max_prompt_tokens": 9},
        "digits": {"type": "scenes", "glyphs": glyphs, "split": "rl", "count": 6},
        "mix": {"type": "mixture", "sources": [{"data": "digits", "weight": 3.0}, {"data": "chats", "weight": 1.0}]},
    });
    let mut data = mixed(sets.clone(), &[Form::Open]).unwrap();
    let ids: Vec<&str> = data.samples.iter().map(|sample| sample.id.as_str()).collect();
    assert_eq!((ids.len(), ids[0], ids[6], ids[7]), (8, "digits/rl-id-0-0", "chats/0", "chats/1"));
    let sources: Vec<_> =
        data.sources().iter().map(|s| (s.name.as_str(), s.weight, s.samples.clone())).collect();
    assert_eq!(sources, [("digits", Some(3.0), 0..6), ("chats", Some(1.0), 6..8)]);
    assert_eq!(data.sources()[1].max_prompt_tokens, 9);
    let demonstrations = data.demonstrations();
    assert_eq!(demonstrations.len(), 8);
    assert_eq!(demonstrations[7].completion, "Ho 1");
    // Six scenes at weight 3 and two chats at weight 1: the scenes set the scale, six to two.
    assert_eq!(data.weighted_demonstrations().len(), 8);
    let mut even = sets;
    even["mix"]["sources"] = json!([{"data": "digits", "weight": 1.0}, {"data": "chats", "weight": 1.0}]);
    let even = mixed(even, &[Form::Open]).unwrap().weighted_demonstrations();
    let chats = even.iter().filter(|d| d.sample.id.as_str().starts_with("chats/")).count();
    assert_eq!((even.len(), chats), (12, 6));

    data.retain(|source, sample| source.name == "chats" || sample.id.as_str().ends_with('0'));
    let sources: Vec<_> = data.sources().iter().map(|s| s.samples.clone()).collect();
    assert_eq!((sources, data.samples.len()), (vec![0..1, 1..3], 3));
}

#[test]
fn forms_are_made_within_each_source() {
    let glyphs = fixture("digits/digits.parquet");
    let scenes = |split: &str| json!({"type": "scenes", "glyphs": glyphs, "split": split, "count": 30});
    let sets = json!({
        "a": scenes("rl"), "b": scenes("val"),
        "mix": {"type": "mixture", "sources": [{"data": "a"}, {"data": "b"}]},
    });
    let data = mixed(sets, &[Form::Binary, Form::Choice]).unwrap();
    assert_eq!(data.samples.len(), 120);
    for source in data.sources() {
        let of_source = &data.samples[source.samples.clone()];
        assert_eq!(of_source.len(), 60);
        for sample in of_source {
            assert!(sample.parent.as_ref().unwrap().as_str().starts_with(&format!("{}/", source.name)));
        }
    }
    assert_eq!(data.demonstrations().len(), 120);
    assert_eq!(data.weighted_demonstrations().len(), 120);
}

#[test]
fn a_mixture_needs_its_data_sets() {
    let sets = json!({"mix": {"type": "mixture", "sources": [{"data": "gone"}]}});
    let error = mixed(sets.clone(), &[Form::Open]).unwrap_err().to_string();
    assert!(error.contains("there is no data set `gone`"), "{error}");
    let config: DataConfig = serde_json::from_value(sets["mix"].clone()).unwrap();
    let alone = Dataset::load(&config, &PromptConfig::default(), &[Form::Open], Seed::new(0));
    assert!(alone.unwrap_err().to_string().contains("cannot be loaded without the data sets"));
}
