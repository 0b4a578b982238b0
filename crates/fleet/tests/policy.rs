//! Servers of a policy that learns, played by a script: how vLLM (commit 00153c8) and SGLang (004c82e) answer by their sources
//! (`entrypoints/openai/models/serving.py`; `srt/lora/lora_registry.py`, `srt/entrypoints/http_server.py`).
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use image::{ImageFormat, RgbImage};
use reft_config::{FleetConfig, ServerApi, WeightSyncConfig};
use reft_core::{
    Checkpointed, Group, ImageRef, ImageSize, ImageSource, Part, RolloutEngine as _, Sample, SamplingParams,
    StageError,
};
use reft_fleet::{PolicyEngine, PolicyEngineConfig};
use reft_testkit::chat as sample;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};
use tempfile::TempDir;

use common::{Seen, serve_routes};

/// An adapter whose matrices B hold its number.
struct Adapter(f32);

impl Checkpointed for Adapter {
    fn save(&self, dir: &Path) -> Result<(), StageError> {
        let data: Vec<u8> = [self.0; 4].iter().flat_map(|value| value.to_le_bytes()).collect();
        let view = |name| (name, TensorView::new(Dtype::F32, vec![2, 2], &data).unwrap());
        let bytes = safetensors::serialize(["q_proj.lora_A.weight", "q_proj.lora_B.weight"].map(view), &None);
        fs::write(dir.join("adapter_model.safetensors"), bytes.unwrap()).unwrap();
        fs::write(dir.join("adapter_config.json"), "{}").unwrap();
        Ok(())
    }

    fn load(&mut self, _dir: &Path) -> Result<(), StageError> {
        unreachable!("nothing goes on here")
    }

    fn digest(&self) -> Option<u64> {
        Some(u64::from(self.0.to_bits()))
    }
}

/// The sum of the matrices B of a stored adapter: what a server answers with.
fn strength(dir: &Path) -> f32 {
    let bytes = fs::read(dir.join("adapter_model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let data = tensors.tensor("q_proj.lora_B.weight").unwrap().data().to_vec();
    data.chunks(4).map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap())).sum()
}

/// What a played server does wrong.
#[derive(Clone, Copy, Debug, Default)]
struct Faults {
    ignores_adapters: bool,
    is_blind: bool,
    has_no_ids: bool,
    has_no_routes: bool,
}

/// Adapters that a played server has, by name.
type Loaded = Arc<Mutex<std::collections::BTreeMap<String, PathBuf>>>;

fn refusal(status: u16, message: &str) -> (u16, String) {
    (status, json!({"error": {"message": message, "code": status}}).to_string())
}

/// Answers whose log-prob says what answered and what was seen.
fn answer(body: &Value, strength: f32, faults: Faults) -> Option<(u16, String)> {
    let seen = if faults.is_blind { 0 } else { body["messages"].to_string().len() };
    let strength = if faults.ignores_adapters { 0.0 } else { strength };
    let logprob = -1.0 - f64::from(strength) - seen as f64 / 1e4;
    let choice = |index: u64| {
        let mut choice = json!({"index": index, "message": {"content": "a"}, "finish_reason": "stop",
            "logprobs": {"content": [{"token": "a", "logprob": logprob}]}, "token_ids": [7]});
        if faults.has_no_ids {
            choice.as_object_mut().unwrap().remove("token_ids");
        }
        choice
    };
    let choices: Vec<Value> = (0..body["n"].as_u64()?).map(choice).collect();
    Some((200, json!({"choices": choices, "usage": {"prompt_tokens": 3}}).to_string()))
}

/// As vLLM with `--enable-lora`: plain text where it went well, 404 for a model that it has not.
fn vllm(faults: Faults) -> (String, Seen, Loaded) {
    vllm_while(Arc::new(AtomicBool::new(true)), faults)
}

/// It hangs up while it is not there.
fn vllm_while(is_there: Arc<AtomicBool>, faults: Faults) -> (String, Seen, Loaded) {
    let loaded = Loaded::default();
    let own = Arc::clone(&loaded);
    let (url, seen) = serve_routes(move |route, body| {
        if !is_there.load(Ordering::Relaxed) {
            return None;
        }
        let mut loaded = own.lock().unwrap();
        let name = body["lora_name"].as_str().unwrap_or_default().to_owned();
        match route {
            "/v1/load_lora_adapter" | "/v1/unload_lora_adapter" if faults.has_no_routes => {
                Some((404, json!({"detail": "Not Found"}).to_string()))
            }
            "/v1/load_lora_adapter" if loaded.contains_key(&name) => {
                Some(refusal(400, &format!("The lora adapter '{name}' has already been loaded.")))
            }
            "/v1/load_lora_adapter" => {
                loaded.insert(name.clone(), body["lora_path"].as_str().unwrap().into());
                Some((200, format!("Success: LoRA adapter '{name}' added successfully.")))
            }
            "/v1/unload_lora_adapter" if loaded.remove(&name).is_some() => Some((200, "Success".into())),
            "/v1/unload_lora_adapter" => Some(refusal(404, "The lora adapter cannot be found.")),
            _ => match body["model"].as_str().unwrap() {
                "base" => answer(body, 0.0, faults),
                name => match loaded.get(name) {
                    Some(dir) => answer(body, strength(dir), faults),
                    None => Some(refusal(404, &format!("The model `{name}` does not exist."))),
                },
            },
        }
    });
    (url, seen, loaded)
}

/// As SGLang with `--enable-lora`: routes beside `/v1`, JSON, 400 for an adapter that it has not.
fn sglang() -> (String, Seen, Loaded) {
    let loaded = Loaded::default();
    let own = Arc::clone(&loaded);
    let (url, seen) = serve_routes(move |route, body| {
        let mut loaded = own.lock().unwrap();
        let name = body["lora_name"].as_str().unwrap_or_default().to_owned();
        let success = Some((200, json!({"success": true, "error_message": ""}).to_string()));
        match route {
            "/load_lora_adapter" => {
                loaded.insert(name, body["lora_path"].as_str().unwrap().into());
                success
            }
            "/unload_lora_adapter" if loaded.remove(&name).is_some() => success,
            "/unload_lora_adapter" => Some((400, json!({"success": false}).to_string())),
            "/update_weights_from_disk" => {
                loaded.insert("base".into(), body["model_path"].as_str().unwrap().into());
                success
            }
            "/v1/chat/completions" => {
                let model = body["model"].as_str().unwrap();
                match model.split_once(':') {
                    None => {
                        answer(body, loaded.get("base").map_or(0.0, |dir| strength(dir)), Faults::default())
                    }
                    Some(("base", name)) => match loaded.get(name) {
                        Some(dir) => answer(body, strength(dir), Faults::default()),
                        None => Some(refusal(
                            400,
                            &format!("The following requested LoRA adapters are not loaded: {name}"),
                        )),
                    },
                    _ => Some(refusal(404, "model")),
                }
            }
            other => panic!("SGLang has no {other}"),
        }
    });
    (url, seen, loaded)
}

fn picture() -> Part {
    let mut png = std::io::Cursor::new(Vec::new());
    RgbImage::new(40, 30).write_to(&mut png, ImageFormat::Png).unwrap();
    Part::Image(ImageRef {
        source: ImageSource::Bytes(png.into_inner().into()),
        size: ImageSize { width: 40, height: 30 },
        label: Arc::from("black"),
    })
}

fn samples() -> Vec<Arc<Sample>> {
    vec![
        sample("words", vec![Part::Text("why?".into())]),
        sample("seen", vec![picture(), Part::Text("what?".into())]),
    ]
}

/// A run with its folder.
struct Run {
    dir: TempDir,
    servers: FleetConfig,
    sync: WeightSyncConfig,
}

impl Run {
    fn new(urls: &[&str], api: ServerApi) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let urls = urls.iter().map(|&url| url.to_owned()).collect();
        let servers =
            FleetConfig { timeout_s: 5.0, backoff_s: 0.02, retries: 1, ..FleetConfig::new(urls, "base") };
        let sync = WeightSyncConfig { folder: dir.path().to_owned(), server_folder: None, api, max_lag: 0 };
        Self { dir, servers, sync }
    }

    fn engine(&self, is_adapter: bool) -> PolicyEngine {
        let Self { servers, sync, .. } = self;
        PolicyEngine::new(PolicyEngineConfig { servers, sync, run: "run", is_adapter, never: vec![5] })
            .unwrap()
    }

    /// Folders of weights that are there.
    fn stored(&self) -> BTreeSet<String> {
        let entries = fs::read_dir(self.dir.path().join("run")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn ask(engine: &mut PolicyEngine, adapter: f32) -> Result<Vec<Group>, StageError> {
    let params = SamplingParams { group_size: 2, ..SamplingParams::plain(20) };
    engine.generate(&Adapter(adapter), &samples(), &params, &mut |_, _| true)
}

/// What answered, by the log-probs.
fn answered(groups: &[Group]) -> f32 {
    let lengths = f32::trunc(groups[0].completions[0].logprobs[0] + 1.0);
    -lengths
}

#[test]
fn each_step_is_answered_by_its_adapter() {
    let (url, seen, loaded) = vllm(Faults::default());
    let run = Run::new(&[&url], ServerApi::Vllm);
    let mut engine = run.engine(true);
    for step in 0..4 {
        assert_eq!(answered(&ask(&mut engine, step as f32).unwrap()), 4.0 * step as f32);
    }
    let name = |step: f32| format!("run-{:016x}", u64::from(step.to_bits()));
    assert_eq!(loaded.lock().unwrap().keys().collect::<Vec<_>>(), [&name(3.0)], "older ones are dropped");
    assert_eq!(run.stored(), BTreeSet::from([name(2.0), name(3.0)]));
    let asked: Vec<Value> = seen.lock().unwrap().iter().map(|(_, body)| body.clone()).collect();
    assert_eq!(asked.last().unwrap()["logit_bias"], json!({"5": -100}));

    // Another process goes on: what is loaded is found, what is old is gone.
    let mut engine = run.engine(true);
    assert_eq!(answered(&ask(&mut engine, 3.0).unwrap()), 12.0);
    assert_eq!(run.stored(), BTreeSet::from([name(3.0)]));
}

#[test]
fn a_server_that_forgets_is_told_again() {
    let (url, _, loaded) = vllm(Faults::default());
    let run = Run::new(&[&url], ServerApi::Vllm);
    let mut engine = run.engine(true);
    ask(&mut engine, 1.0).unwrap();
    // As when it is started again.
    loaded.lock().unwrap().clear();
    assert_eq!(answered(&ask(&mut engine, 1.0).unwrap()), 4.0);
}

#[test]
fn weights_may_be_some_updates_behind() {
    let (url, seen, _) = vllm(Faults::default());
    let mut run = Run::new(&[&url], ServerApi::Vllm);
    run.sync.max_lag = 2;
    let mut engine = run.engine(true);
    let mut found = Vec::new();
    // The third is asked twice, as for a refill.
    for step in [1, 2, 3, 3, 4, 5] {
        let by = answered(&ask(&mut engine, step as f32).unwrap());
        found.push((by / 4.0, reft_core::RolloutEngine::<Adapter>::lag(&engine)));
    }
    assert_eq!(found, [(1.0, 0), (1.0, 1), (1.0, 2), (1.0, 2), (4.0, 0), (4.0, 1)]);
    let loads = seen.lock().unwrap().iter().filter(|(route, _)| route == "/v1/load_lora_adapter").count();
    assert_eq!(loads, 2);
}

/// Begins with the questions of the next step, by the adapter of this one.
fn begin(engine: &mut PolicyEngine, adapter: f32, samples: &[Arc<Sample>]) {
    let params = SamplingParams { group_size: 2, ..SamplingParams::plain(20) };
    engine.begin(&Adapter(adapter), samples, &params).unwrap();
}

#[test]
fn the_next_step_is_answered_while_this_one_trains() {
    let (url, seen, _) = vllm(Faults::default());
    let mut run = Run::new(&[&url], ServerApi::Vllm);
    run.sync.max_lag = 1;
    let mut engine = run.engine(true);
    let lag = |engine: &PolicyEngine| reft_core::RolloutEngine::<Adapter>::lag(engine);
    assert!(reft_core::RolloutEngine::<Adapter>::runs_ahead(&engine));
    // Nobody has looked at the servers yet.
    begin(&mut engine, 1.0, &samples());
    assert!(seen.lock().unwrap().is_empty());

    assert_eq!((answered(&ask(&mut engine, 1.0).unwrap()), lag(&engine)), (4.0, 0));
    for step in [1.0, 2.0, 3.0] {
        begin(&mut engine, step, &samples());
        let asked = answered(&ask(&mut engine, step + 1.0).unwrap());
        assert_eq!((asked, lag(&engine)), (4.0 * step, 1), "by the weights of before the update");
    }
    // A refill of that step has the same weights; an update that was left out is none.
    assert_eq!((answered(&ask(&mut engine, 4.0).unwrap()), lag(&engine)), (12.0, 1));
    begin(&mut engine, 4.0, &samples());
    assert_eq!((answered(&ask(&mut engine, 4.0).unwrap()), lag(&engine)), (16.0, 0));

    // Other questions than those that were begun with: they are asked for themselves.
    begin(&mut engine, 4.0, &samples()[..1]);
    let groups = ask(&mut engine, 5.0).unwrap();
    assert_eq!((groups.len(), answered(&groups), lag(&engine)), (2, 16.0, 1));

    // Whoever asks may stop to.
    begin(&mut engine, 5.0, &samples());
    let params = SamplingParams { group_size: 2, ..SamplingParams::plain(20) };
    let stopped = engine.generate(&Adapter(6.0), &samples(), &params, &mut |_, _| false);
    assert!(matches!(stopped, Ok(_) | Err(StageError::Interrupted)));
}

#[test]
fn servers_that_die_while_nobody_waits_are_told_of_when_somebody_does() {
    let (url, _, loaded) = vllm(Faults::default());
    let mut run = Run::new(&[&url], ServerApi::Vllm);
    run.sync.max_lag = 1;
    let mut engine = run.engine(true);
    ask(&mut engine, 1.0).unwrap();
    // The server has lost its adapter, and the folder that it is loaded from is gone.
    loaded.lock().unwrap().clear();
    fs::remove_dir_all(run.dir.path()).unwrap();
    begin(&mut engine, 1.0, &samples());
    let error = ask(&mut engine, 2.0).unwrap_err().to_string();
    assert!(error.contains("sample `"), "{error}");
}

#[test]
fn sglang_has_routes_and_names_of_its_own() {
    let (url, seen, loaded) = sglang();
    let run = Run::new(&[&url], ServerApi::Sglang);
    let mut engine = run.engine(true);
    assert_eq!(answered(&ask(&mut engine, 1.0).unwrap()), 4.0);
    loaded.lock().unwrap().clear();
    assert_eq!(answered(&ask(&mut engine, 2.0).unwrap()), 8.0);
    loaded.lock().unwrap().clear();
    assert_eq!(answered(&ask(&mut engine, 2.0).unwrap()), 8.0, "400 and not 404");
    let last = seen.lock().unwrap().last().unwrap().1["model"].clone();
    assert!(last.as_str().unwrap().starts_with("base:run-"), "{last}");

    // A whole model.
    let (url, seen, _) = sglang();
    let run = Run::new(&[&url], ServerApi::Sglang);
    assert_eq!(answered(&ask(&mut run.engine(false), 3.0).unwrap()), 12.0);
    let routes: BTreeSet<String> = seen.lock().unwrap().iter().map(|(route, _)| route.clone()).collect();
    assert_eq!(routes, ["/update_weights_from_disk", "/v1/chat/completions"].map(String::from).into());
}

#[test]
fn servers_that_would_teach_nothing_are_found_before_the_first_step() {
    for (faults, words) in [
        (Faults { ignores_adapters: true, ..Faults::default() }, "the same with an adapter as without"),
        (Faults { is_blind: true, ..Faults::default() }, "does not show pictures"),
        (Faults { has_no_ids: true, ..Faults::default() }, "has no token ids"),
        (Faults { has_no_routes: true, ..Faults::default() }, "VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
    ] {
        let (url, _, _) = vllm(faults);
        let run = Run::new(&[&url], ServerApi::Vllm);
        // An adapter that has learned nothing yet changes no answer: a probe tells.
        for strength in [0.0, 1.0] {
            let error = ask(&mut run.engine(true), strength).unwrap_err().to_string();
            assert!(error.contains(words), "{faults:?} {error}");
            assert!(run.stored().iter().all(|name| !name.contains("-probe")), "{:?}", run.stored());
        }
    }
    let run = Run::new(&["http://127.0.0.1:9/v1"], ServerApi::Vllm);
    let error = ask(&mut run.engine(true), 0.0).unwrap_err().to_string();
    assert!(error.contains("none answers"), "{error}");
}

#[test]
fn one_server_of_two_is_enough() {
    let (url, _, _) = vllm(Faults::default());
    let run = Run::new(&["http://127.0.0.1:9/v1", &url], ServerApi::Vllm);
    assert_eq!(answered(&ask(&mut run.engine(true), 1.0).unwrap()), 4.0);
}

/// Asks until the second of two servers has answered, which is there from the third time on.
fn with_a_late_server(faults: Faults) -> Result<(), StageError> {
    let is_there = Arc::new(AtomicBool::new(false));
    let ((first, ..), (late, seen, _)) = (vllm(Faults::default()), vllm_while(Arc::clone(&is_there), faults));
    let run = Run::new(&[&first, &late], ServerApi::Vllm);
    let mut engine = run.engine(true);
    for step in 0..50 {
        is_there.store(step >= 2, Ordering::Relaxed);
        let before = seen.lock().unwrap().len();
        ask(&mut engine, 1.0)?;
        let asked =
            seen.lock().unwrap()[before..].iter().filter(|(route, _)| route.ends_with("completions")).count();
        // More than the two questions of the step: it was looked at.
        if step >= 2 && asked > 2 {
            return Ok(());
        }
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    panic!("the second server was never looked at")
}

#[test]
fn a_server_that_comes_late_is_looked_at_once_it_answers() {
    with_a_late_server(Faults::default()).unwrap();
    for (faults, words) in [
        (Faults { ignores_adapters: true, ..Faults::default() }, "the same with an adapter as without"),
        (Faults { is_blind: true, ..Faults::default() }, "does not show pictures"),
    ] {
        let error = with_a_late_server(faults).unwrap_err().to_string();
        assert!(error.contains(words), "{faults:?} {error}");
    }
}
