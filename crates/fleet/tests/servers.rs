//! Real servers on this machine: what vLLM, SGLang and providers say, servers that fail, and one that comes back.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod common;

use std::{
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use reft_config::FleetConfig;
use reft_core::{
    Group, ImageRef, ImageSize, ImageSource, Part, RolloutEngine as _, Sample, SamplingParams, Seed,
    StageError,
};
use reft_fleet::ServerEngine;
use reft_testkit::chat as sample;
use serde_json::{Value, json};

use common::{Seen, serve_on, serve_routes};

/// A server of `/v1/chat/completions` alone, and the bodies that it has seen.
fn serve(act: impl Fn(&Value) -> Option<(u16, Value)> + Send + Sync + 'static) -> (String, Seen) {
    serve_routes(chat(act))
}

fn chat(
    act: impl Fn(&Value) -> Option<(u16, Value)> + Send + Sync + 'static,
) -> impl Fn(&str, &Value) -> Option<(u16, String)> + Send + Sync + 'static {
    move |route, body| {
        assert_eq!(route, "/v1/chat/completions");
        act(body).map(|(status, answer)| (status, answer.to_string()))
    }
}

/// As vLLM answers: the question comes back, a token a word.
fn echo(body: &Value) -> Option<(u16, Value)> {
    let text = body["messages"][0]["content"].as_str().map_or("picture", |text| text);
    let choices = (0..body["n"].as_u64()?).map(|index| {
        json!({"index": index, "message": {"role": "assistant", "content": format!("{text} {index}")},
               "finish_reason": "stop", "stop_reason": null, "token_ids": [7, 8],
               "logprobs": {"content": [{"token": "a", "logprob": -0.5, "bytes": [97], "top_logprobs": []},
                                        {"token": "", "logprob": -0.25, "bytes": [], "top_logprobs": []}]}})
    });
    let choices: Vec<Value> = choices.rev().collect();
    Some((200, json!({"choices": choices, "usage": {"prompt_tokens": 11}})))
}

fn samples(n: usize) -> Vec<Arc<Sample>> {
    (0..n).map(|i| sample(&format!("s{i}"), vec![Part::Text(format!("question {i}"))])).collect()
}

fn config(url: &[&str]) -> FleetConfig {
    let url = url.iter().map(|&url| url.to_owned()).collect();
    FleetConfig { timeout_s: 2.0, backoff_s: 0.02, retries: 1, ..FleetConfig::new(url, "mine") }
}

fn ask(
    config: &FleetConfig,
    samples: &[Arc<Sample>],
    params: &SamplingParams,
) -> Result<Vec<Group>, StageError> {
    ServerEngine::new(config).unwrap().generate(&(), samples, params, &mut |_, _| true)
}

fn params() -> SamplingParams {
    SamplingParams { group_size: 2, seed: Seed::new(3), ..SamplingParams::plain(20) }
}

fn texts(groups: &[Group]) -> Vec<String> {
    groups
        .iter()
        .flat_map(|group| group.completions.iter().map(|completion| completion.text.clone()))
        .collect()
}

fn expected(n: usize) -> Vec<String> {
    (0..n).flat_map(|i| [0, 1].map(|index| format!("question {i} {index}"))).collect()
}

#[test]
fn answers_come_in_order_with_tokens() {
    let (url, seen) = serve(echo);
    let groups = ask(&config(&[&url]), &samples(40), &params()).unwrap();
    assert_eq!(texts(&groups), expected(40));
    let group = &groups[3];
    assert_eq!((group.prompt_tokens, group.sample.id.as_str()), (11, "s3"));
    assert_eq!(
        (&group.completions[1].token_ids, &group.completions[1].logprobs),
        (&vec![7, 8], &vec![-0.5, -0.25])
    );
    let seen = seen.lock().unwrap();
    let mut seeds: Vec<u64> = seen.iter().map(|(_, body)| body["seed"].as_u64().unwrap()).collect();
    seeds.sort_unstable();
    seeds.dedup();
    assert_eq!(seeds.len(), 40, "each question has a seed of its own");
    let body = &seen[0].1;
    assert_eq!((&body["model"], &body["n"], &body["max_tokens"]), (&json!("mine"), &json!(2), &json!(20)));
    assert!(body.get("top_k").is_none() && body["return_token_ids"] == true);
}

#[test]
fn pictures_are_sent_and_extensions_can_be_left_out() {
    let (url, seen) = serve(echo);
    let png: Arc<[u8]> = Arc::from(&b"\x89PNG\r\n"[..]);
    let image = ImageRef {
        source: ImageSource::Bytes(png),
        size: ImageSize { width: 1, height: 1 },
        label: Arc::from("a picture"),
    };
    let asked = [sample("a", vec![Part::Image(image), Part::Text("what?".into())])];
    let plain = FleetConfig { extensions: false, ..config(&[&url]) };
    let stops = SamplingParams { stop: vec!["\n".into()], ..params() };
    ask(&plain, &asked, &stops).unwrap();
    let body = seen.lock().unwrap()[0].1.clone();
    let content = &body["messages"][0]["content"];
    assert_eq!(content[0]["image_url"]["url"], "data:image/png;base64,iVBORw0K");
    assert_eq!((&content[1]["text"], &body["stop"]), (&json!("what?"), &json!(["\n"])));
    assert!(body.get("return_token_ids").is_none() && body.get("logprobs").is_none());
    for (params, words) in [
        (SamplingParams { top_k: 5, ..params() }, "no part of OpenAI's API"),
        (SamplingParams { banned_ids: vec![5], ..params() }, "cannot be asked of a server"),
    ] {
        let error = ask(&plain, &asked, &params).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_dead_server_is_left_out_and_comes_back() {
    let gone = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = gone.local_addr().unwrap();
    drop(gone);
    let (alive, seen) = serve(|body| {
        thread::sleep(Duration::from_millis(2));
        echo(body)
    });
    let config = config(&[&format!("http://{address}/v1"), &alive]);
    let mut engine = ServerEngine::new(&config).unwrap();
    let mut ask = |n: usize| engine.generate(&(), &samples(n), &params(), &mut |_, _| true).unwrap();
    assert_eq!(texts(&ask(60)), expected(60));
    assert_eq!(seen.lock().unwrap().len(), 60, "nothing was asked twice");
    let (_, back) = serve_on(TcpListener::bind(address).unwrap(), Arc::new(chat(echo)));
    // Left alone for at most a few doublings of 20 ms.
    for _ in 0..100 {
        assert_eq!(texts(&ask(60)), expected(60));
        if !back.lock().unwrap().is_empty() {
            return;
        }
        thread::sleep(Duration::from_millis(50));
    }
    panic!("the server that came back was never asked");
}

#[test]
fn what_passes_is_asked_again_and_what_is_wrong_is_not() {
    // Busy, then hangs up, then is stopped half way, then answers: as a server that starts again and again.
    let n = Arc::new(Mutex::new(0));
    let (url, _) = serve(move |body| {
        let mut n = n.lock().unwrap();
        *n += 1;
        match *n {
            1 => Some((503, json!({"detail": "loading"}))),
            2 => None,
            3 => {
                let (status, mut answer) = echo(body)?;
                answer["choices"][0]["finish_reason"] = "abort".into();
                answer["choices"][0]["message"]["content"] = "hal".into();
                Some((status, answer))
            }
            _ => echo(body),
        }
    });
    let patient = FleetConfig { retries: 3, ..config(&[&url]) };
    assert_eq!(texts(&ask(&patient, &samples(1), &params()).unwrap()), expected(1));

    let refusal =
        |_: &Value| Some((400, json!({"error": {"message": "This model's maximum context length is 9"}})));
    let (url, seen) = serve(refusal);
    let error = ask(&config(&[&url, &url]), &samples(1), &params()).unwrap_err().to_string();
    assert!(error.contains("s0") && error.contains("maximum context length is 9"), "{error}");
    assert_eq!(seen.lock().unwrap().len(), 1, "another server would say the same");

    let (url, seen) = serve(|_| Some((500, json!({"error": "CUDA out of memory"}))));
    let error = ask(&config(&[&url]), &samples(1), &params()).unwrap_err().to_string();
    assert!(error.contains("status 500") && error.contains("CUDA out of memory"), "{error}");
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[test]
fn a_stop_is_heard_while_servers_are_slow() {
    let (url, _) = serve(|body| {
        thread::sleep(Duration::from_millis(300));
        echo(body)
    });
    let mut engine = ServerEngine::new(&FleetConfig { connections: 2, ..config(&[&url]) }).unwrap();
    let mut heard = Vec::new();
    let result = engine.generate(&(), &samples(50), &params(), &mut |done, total| {
        heard.push((done, total));
        done < 4
    });
    assert!(matches!(result, Err(StageError::Interrupted)));
    assert!(heard.iter().all(|&(_, total)| total == 100) && heard.last().unwrap().0 == 4, "{heard:?}");
}

#[test]
fn what_cannot_be_asked_is_said_before() {
    let none = ServerEngine::new(&config(&[])).err().unwrap().to_string();
    assert!(none.contains("names no server"), "{none}");
    let odd = ServerEngine::new(&config(&["localhost:8000"])).err().unwrap().to_string();
    assert!(odd.contains("is no address"), "{odd}");
    let keyed =
        FleetConfig { token_env: Some("REFT_NO_SUCH_KEY".into()), ..config(&["http://localhost:1/v1"]) };
    assert!(ServerEngine::new(&keyed).err().unwrap().to_string().contains("REFT_NO_SUCH_KEY"));
}
