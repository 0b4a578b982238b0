//! `reft serve` as its clients see it: a process of its own, over HTTP.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, mpsc},
    thread,
    time::Duration,
};

use base64::Engine as _;
use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::{Agent, Body, http::Response};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn reft(args: &[&str]) -> Command {
    let mut reft = Command::new(env!("CARGO_BIN_EXE_reft"));
    reft.args(args).current_dir(root()).env("GOMP_SPINCOUNT", "5000").env_remove("REFT_API_KEY");
    reft
}

/// A server that is stopped when the test ends.
struct Server {
    child: Child,
    url: String,
    agent: Agent,
    lines: Mutex<mpsc::Receiver<String>>,
}

impl Server {
    fn start(args: &[&str]) -> Self {
        Self::start_with(args, |_| {})
    }

    fn start_with(args: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        Self::start_at("0", args, change)
    }

    fn start_at(port: &str, args: &[&str], change: impl FnOnce(&mut Command)) -> Self {
        let mut command = reft(&["serve", "--port", port, "--threads", "1"]);
        change(command.args(args).stderr(Stdio::piped()));
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let line = lines.recv_timeout(Duration::from_secs(60)).unwrap();
        let url =
            line.split_once("http://").and_then(|(_, rest)| rest.split_once("/v1")).unwrap().0.to_owned();
        let config = Agent::config_builder().http_status_as_error(false).proxy(None).build();
        Self { child, url: format!("http://{url}"), agent: config.into(), lines: Mutex::new(lines) }
    }

    fn post(&self, route: &str, body: &Value) -> Response<Body> {
        self.agent.post(format!("{}{route}", self.url)).send(body.to_string()).unwrap()
    }

    fn ask(&self, route: &str, body: &Value) -> Value {
        let mut response = self.post(route, body);
        let text = response.body_mut().read_to_string().unwrap();
        assert_eq!(response.status(), 200, "{text}");
        serde_json::from_str(&text).unwrap()
    }

    fn chat(&self, body: &Value) -> Value {
        self.ask("/v1/chat/completions", body)
    }

    /// Status and error of a request that is refused.
    fn refused(&self, route: &str, body: &Value) -> (u16, Value) {
        let mut response = self.post(route, body);
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str::<Value>(&text).unwrap()["error"].clone())
    }

    fn get(&self, route: &str) -> String {
        self.agent.get(format!("{}{route}", self.url)).call().unwrap().body_mut().read_to_string().unwrap()
    }

    fn interrupt(&self) {
        let status = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The pieces of a stream, the last of which is `[DONE]`.
fn pieces(response: Response<Body>) -> Vec<Value> {
    let mut text = String::new();
    response.into_body().into_reader().read_to_string(&mut text).unwrap();
    let mut data: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
    assert_eq!(data.pop(), Some("[DONE]"), "{text}");
    data.into_iter().map(|piece| serde_json::from_str(piece).unwrap()).collect()
}

fn data_url(path: &str) -> String {
    let bytes = fs::read(root().join(path)).unwrap();
    format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(bytes))
}

const PHOTO: &str = "fixtures/golden/images/photo.png";

fn about(url: &str, question: &str) -> Value {
    json!([{"role": "user", "content": [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "text", "text": question},
    ]}])
}

fn pico() -> Value {
    about(&data_url(PHOTO), "Which cells hold 7, 1, 8? think, then answer.")
}

/// What `reft generate` draws for the same chat.
fn generated(model: &str, question: &str, args: &[&str]) -> Value {
    let dir = TempDir::new().unwrap();
    let [input, output] =
        ["in.jsonl", "out.jsonl"].map(|name| dir.path().join(name).to_str().unwrap().to_owned());
    let row = json!({"id": "request", "messages": about(&root().join(PHOTO).to_string_lossy(), question)});
    fs::write(&input, format!("{row}\n")).unwrap();
    let fixed = ["generate", "--model", model, "--input", &input, "--output", &output, "--threads", "1"];
    let status = reft(&[&fixed, args].concat()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success());
    serde_json::from_str::<Value>(&fs::read_to_string(&output).unwrap()).unwrap()["completions"].clone()
}

#[test]
fn answers_are_those_of_generate() {
    let server = Server::start(&["--model", "fixtures/pico-vlm"]);
    let question = "Which cells hold 7, 1, 8? think, then answer.";
    let expected = generated(
        "fixtures/pico-vlm",
        question,
        &["--samples", "3", "--temperature", "0.8", "--seed", "11", "--max-new-tokens", "40"],
    );
    let asked = json!({"messages": pico(), "n": 3, "temperature": 0.8, "seed": 11, "max_tokens": 40,
                       "logprobs": true, "top_logprobs": 2, "return_token_ids": true});
    let check = |found: &Value| {
        for (choice, expected) in
            found["choices"].as_array().unwrap().iter().zip(expected.as_array().unwrap())
        {
            assert_eq!(choice["token_ids"], expected["token_ids"]);
            assert_eq!(choice["message"]["content"], expected["text"]);
            assert_eq!(choice["finish_reason"], expected["finish_reason"]);
            let content = choice["logprobs"]["content"].as_array().unwrap();
            for (entry, logprob) in content.iter().zip(expected["logprobs"].as_array().unwrap()) {
                assert!((entry["logprob"].as_f64().unwrap() - logprob.as_f64().unwrap()).abs() < 1e-5);
                assert_eq!(entry["top_logprobs"].as_array().unwrap().len(), 2);
            }
        }
    };
    let found = server.chat(&asked);
    check(&found);
    let [prompt, completion, total] = ["prompt_tokens", "completion_tokens", "total_tokens"]
        .map(|key| found["usage"][key].as_u64().unwrap());
    assert_eq!(prompt, found["prompt_token_ids"].as_array().unwrap().len() as u64);
    assert_eq!(prompt + completion, total);

    // The same while others are answered, by many clients at once.
    thread::scope(|scope| {
        for client in 0..8 {
            let (server, asked, check) = (&server, &asked, &check);
            scope.spawn(move || {
                if client % 2 == 0 {
                    check(&server.chat(asked));
                } else {
                    server.chat(&json!({"messages": about(&data_url(PHOTO), "is the digit 7 here?"), "n": 2,
                                        "max_tokens": 30 + client, "top_p": 0.9}));
                }
            });
        }
    });

    // Piece by piece it is the same.
    let mut streamed = asked.clone();
    (streamed["stream"], streamed["stream_options"]) = (true.into(), json!({"include_usage": true}));
    let mut pieces = pieces(server.post("/v1/chat/completions", &streamed));
    let usage = pieces.pop().unwrap();
    assert_eq!(usage["usage"], found["usage"]);
    let (mut texts, mut ids) = (vec![String::new(); 3], vec![Vec::new(); 3]);
    for piece in &pieces {
        let choice = &piece["choices"][0];
        let index = choice["index"].as_u64().unwrap() as usize;
        texts[index].push_str(choice["delta"]["content"].as_str().unwrap_or_default());
        ids[index].extend(choice["token_ids"].as_array().unwrap().clone());
    }
    for ((text, ids), expected) in texts.iter().zip(ids).zip(expected.as_array().unwrap()) {
        assert_eq!((json!(text), json!(ids)), (expected["text"].clone(), expected["token_ids"].clone()));
    }

    // A stop string ends an answer and is no part of it.
    let stopped =
        server.chat(&json!({"messages": pico(), "temperature": 0, "stop": ["</think>"], "max_tokens": 200}));
    let text = stopped["choices"][0]["message"]["content"].as_str().unwrap();
    assert!(text.starts_with("<think>") && !text.contains("</think>"), "{text}");
    assert_eq!(stopped["choices"][0]["finish_reason"], "stop");

    let metrics = server.get("/metrics");
    assert!(
        metrics.contains("reft_requests_total{route=\"/v1/chat/completions\",status=\"200\"} 11"),
        "{metrics}"
    );
    assert!(metrics.contains("reft_requests_waiting 0"), "{metrics}");
    assert_eq!(serde_json::from_str::<Value>(&server.get("/health")).unwrap()["status"], "ok");
}

#[test]
fn prompts_of_text_and_of_tokens() {
    let server = Server::start(&["--model", "fixtures/pico-vlm", "--served-model-name", "small"]);
    let text = "<|im_start|>user\nyes or no?<|im_end|>\n<|im_start|>assistant\n";
    let asked = json!({"model": "small", "prompt": text, "temperature": 0, "max_tokens": 8, "logprobs": 1,
                       "return_token_ids": true});
    let first = server.ask("/v1/completions", &asked);
    let choice = &first["choices"][0];
    let lists = ["tokens", "token_logprobs", "top_logprobs", "text_offset"];
    for list in lists.map(|list| choice["logprobs"][list].as_array().unwrap()) {
        assert_eq!(list.len(), choice["token_ids"].as_array().unwrap().len());
    }
    let ids = choice["prompt_token_ids"].clone();
    let again =
        server.ask("/v1/completions", &json!({"prompt": [ids, ids], "temperature": 0, "max_tokens": 8}));
    assert_eq!(again["choices"].as_array().unwrap().len(), 2);
    for again in again["choices"].as_array().unwrap() {
        assert_eq!(again["text"], choice["text"]);
    }
    let models: Value = serde_json::from_str(&server.get("/v1/models")).unwrap();
    assert_eq!(models["data"][0]["id"], "small");
    // Nobody can show a picture by its token.
    let (status, _) = server.refused("/v1/unload_lora_adapter", &json!({"lora_name": "small"}));
    assert_eq!(status, 400, "adapters neither come nor go here");
    let (status, error) = server.refused("/v1/completions", &json!({"prompt": "<|image_pad|>"}));
    assert_eq!(status, 400);
    assert!(error["message"].as_str().unwrap().contains("placed 1 images"), "{error}");
}

#[test]
fn what_is_wrong_is_said_with_its_status() {
    let files = TempDir::new().unwrap();
    fs::copy(root().join(PHOTO), files.path().join("photo.png")).unwrap();
    fs::write(files.path().join("no.png"), "no picture").unwrap();
    let folder = files.path().to_str().unwrap();
    let args =
        ["--model", "fixtures/pico-vlm", "--files", folder, "--max-tokens", "64", "--max-body-mib", "1"];
    let server = Server::start_with(&args, |command| {
        command.env("REFT_API_KEY", "secret");
    });
    let (status, error) = server.refused("/v1/chat/completions", &json!({"messages": pico()}));
    assert_eq!((status, &error["code"]), (401, &json!("invalid_api_key")));
    let keyed = |body: &str, route: &str| {
        let post =
            server.agent.post(format!("{}{route}", server.url)).header("Authorization", "Bearer secret");
        let mut response = post.send(body).unwrap();
        let text = response.body_mut().read_to_string().unwrap();
        (response.status().as_u16(), serde_json::from_str::<Value>(&text).unwrap())
    };
    let chat = |body: Value| keyed(&body.to_string(), "/v1/chat/completions");
    let file = |name: &str| about(&format!("file://{folder}/{name}"), "what?");
    assert_eq!(chat(json!({"messages": file("photo.png"), "max_tokens": 2})).0, 200);

    let hello = || json!([{"role": "user", "content": "hello"}]);
    let with = |key: &str, value: Value| {
        let mut body = json!({"messages": hello()});
        body[key] = value;
        body
    };
    let outside = about(&format!("file://{folder}/../../etc/hostname"), "what?");
    let bomb = format!("data:image/png;base64,{}", base64::engine::general_purpose::STANDARD.encode(bomb()));
    for (body, status, param, words) in [
        (with("model", json!("gpt-4")), 404, Value::Null, "no model `gpt-4`"),
        (json!({"messages": []}), 400, json!("messages"), "missing or empty"),
        (json!({"messages": [{"role": "tool", "content": "x"}]}), 400, json!("messages"), "`role`"),
        (json!({"messages": file("no.png")}), 400, json!("messages"), "damaged or of an unknown kind"),
        (json!({"messages": outside}), 400, json!("messages"), "below the folder"),
        (
            json!({"messages": about("https://example.com/cat.png", "?")}),
            400,
            json!("messages"),
            "nothing is fetched",
        ),
        (json!({"messages": about("data:image/png;base64,@@", "?")}), 400, json!("messages"), "no base64"),
        (json!({"messages": about(&bomb, "?")}), 400, json!("messages"), "are not decoded"),
        (with("max_tokens", json!(65)), 400, Value::Null, "65 tokens of an answer"),
        (with("max_tokens", json!(0)), 400, json!("max_tokens"), "at least 1"),
        (with("temperature", json!(-1)), 400, json!("temperature"), "0 or above"),
        (with("top_p", json!(0)), 400, json!("top_p"), "above 0"),
        (with("n", json!(0)), 400, json!("n"), "at least 1"),
        (with("n", json!("two")), 400, Value::Null, "the body"),
        (with("top_logprobs", json!(3)), 400, json!("top_logprobs"), "needs `logprobs`"),
        (with("logit_bias", json!({"5": 1})), 400, json!("logit_bias"), "-100 (never)"),
        (with("logit_bias", json!({"99999": -100})), 400, Value::Null, "no token 99999"),
        (with("tools", json!([{"type": "function"}])), 400, json!("tools"), "not supported"),
        (
            with("response_format", json!({"type": "json_object"})),
            400,
            json!("response_format"),
            "not supported",
        ),
    ] {
        let (found, answer) = chat(body.clone());
        let error = &answer["error"];
        assert_eq!((found, &error["param"]), (status, &param), "{body} {answer}");
        assert!(error["message"].as_str().unwrap().contains(words), "{body} {answer}");
    }
    assert_eq!(keyed("{\"messages\": [", "/v1/chat/completions").0, 400);
    assert_eq!(keyed(&" ".repeat(2 << 20), "/v1/chat/completions").0, 413);
    assert_eq!(keyed("{}", "/v1/embeddings").0, 404);
    let harmless = json!({"messages": hello(), "tools": [], "logit_bias": {"5": 0}, "response_format": {"type": "text"},
                          "user": "x", "max_tokens": 2});
    assert_eq!(chat(harmless).0, 200);

    let exposed = reft(&["serve", "--model", "fixtures/pico-vlm", "--host", "0.0.0.0"]).output().unwrap();
    let said = String::from_utf8(exposed.stderr).unwrap();
    assert!(!exposed.status.success() && said.contains("set `REFT_API_KEY`"), "{said}");
}

/// A header that claims 60,000 by 60,000 pixels.
fn bomb() -> Vec<u8> {
    let mut png = fs::read(root().join(PHOTO)).unwrap();
    for at in [16, 20] {
        png[at..at + 4].copy_from_slice(&60_000_u32.to_be_bytes());
    }
    // IHDR's checksum follows its 13 bytes.
    let crc = png[12..29].iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(
            crc ^ u32::from(byte),
            |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 },
        )
    });
    png[29..33].copy_from_slice(&(!crc).to_be_bytes());
    png
}

#[test]
fn adapters_come_and_go() {
    let server =
        Server::start(&["--model", "fixtures/golden/tiny-vlm", "--adapter-files", "fixtures/golden/lora"]);
    let ask = |model: &str| {
        json!({"model": model, "messages": about(&data_url(PHOTO), "cat?"), "temperature": 0,
                                   "max_tokens": 12, "return_token_ids": true})
    };
    let ids = |model: &str| server.chat(&ask(model))["choices"][0]["token_ids"].clone();
    let base = ids("tiny-vlm");
    let load = |path: &str| json!({"lora_name": "tuned", "lora_path": path});
    let (status, error) = server.refused("/v1/load_lora_adapter", &load("fixtures/pico-vlm"));
    assert_eq!(status, 400);
    assert!(error["message"].as_str().unwrap().contains("below that of this server's adapters"), "{error}");
    let (status, error) = server.refused("/v1/load_lora_adapter", &load("fixtures/golden/lora/qwen2-vl"));
    assert_eq!(status, 400, "another family's: {error}");
    assert_eq!(server.post("/v1/load_lora_adapter", &load("fixtures/golden/lora/tiny-vlm")).status(), 200);
    let models: Value = serde_json::from_str(&server.get("/v1/models")).unwrap();
    assert_eq!(
        (&models["data"][1]["id"], &models["data"][1]["parent"]),
        (&json!("tuned"), &json!("tiny-vlm"))
    );

    let adapter = generated(
        "fixtures/golden/tiny-vlm",
        "cat?",
        &["--adapter", "fixtures/golden/lora/tiny-vlm", "--max-new-tokens", "12"],
    );
    let tuned = ids("tuned");
    assert_eq!(tuned, adapter[0]["token_ids"]);
    assert_ne!(tuned, base);
    // In turns, and each with its own weights.
    thread::scope(|scope| {
        for client in 0..6 {
            let (ids, expected) = (&ids, [&base, &tuned][client % 2]);
            scope.spawn(move || assert_eq!(&ids(["tiny-vlm", "tuned"][client % 2]), expected));
        }
    });
    // The base is none.
    assert_eq!(server.refused("/v1/unload_lora_adapter", &json!({"lora_name": "tiny-vlm"})).0, 400);
    assert_eq!(server.post("/v1/unload_lora_adapter", &json!({"lora_name": "tuned"})).status(), 200);
    assert_eq!(server.refused("/v1/chat/completions", &ask("tuned")).0, 404);
    assert_eq!(ids("tiny-vlm"), base);
    // A context of 512 tokens, fewer than the server's default for an answer.
    let brief = json!({"messages": [{"role": "user", "content": "cat?"}], "seed": 1});
    assert!(server.chat(&brief)["usage"]["completion_tokens"].as_u64().unwrap() > 0);
}

#[test]
fn who_leaves_frees_the_room_and_a_stop_finishes_what_runs() {
    let mut server = Server::start(&["--model", "fixtures/golden/tiny-vlm", "--max-prompt-tokens", "100"]);
    let long = json!({"messages": [{"role": "user", "content": "Count."}], "min_tokens": 300, "max_tokens": 300,
                      "stream": true});
    // A client that reads two pieces and goes.
    let response = server.post("/v1/chat/completions", &long);
    let mut lines = BufReader::new(response.into_body().into_reader()).lines();
    assert!(lines.next().unwrap().unwrap().starts_with("data: "));
    drop(lines);
    let gone = || loop {
        let line = server.lines.lock().unwrap().recv_timeout(Duration::from_secs(30)).unwrap();
        if line.contains("/v1/chat") {
            return line;
        }
    };
    let line = gone();
    assert!(line.contains(" 499 "), "{line}");

    let response = server.post("/v1/chat/completions", &long);
    server.interrupt();
    let pieces = pieces(response);
    assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], "length");
    let line = gone();
    assert!(line.contains(" 200 ") && line.contains("+300 tokens"), "{line}");
    assert!(server.child.wait().unwrap().success());
    assert!(server.agent.get(format!("{}/health", server.url)).call().is_err());
}

/// Benchmarks by servers, one of which is killed meanwhile, say what they say by the model itself.
#[test]
fn benchmarks_are_answered_by_servers() {
    let dir = TempDir::new().unwrap();
    let folder = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let asked = [
        "--benchmark",
        "generic",
        "--data",
        "fixtures/easy_vqa/test.parquet",
        "--task",
        "vqa",
        "--limit",
        "40",
    ];
    let eval = |who: &[&str], output: &str| {
        let args =
            [&["eval", "--output", output, "--max-new-tokens", "24", "--threads", "1"], &asked[..], who]
                .concat();
        let output = reft(&args).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let answers = |output: &str| {
        let shown = reft(&["grade", "--predictions", &format!("{output}/predictions.parquet"), "--json"])
            .output()
            .unwrap();
        let report = fs::read_to_string(format!("{output}/report.json")).unwrap();
        (String::from_utf8(shown.stdout).unwrap(), report)
    };
    eval(&["--model", "fixtures/pico-vlm"], &folder("own"));
    let servers =
        [0, 1].map(|_| Server::start(&["--model", "fixtures/pico-vlm", "--served-model-name", "mine"]));
    let urls = servers.each_ref().map(|server| format!("{}/v1", server.url));
    let [mut first, second] = servers;
    let killed = thread::spawn(move || {
        // As soon as it has answered something.
        while !first.get("/metrics").contains("status=\"200\"") {
            thread::sleep(Duration::from_millis(10));
        }
        first.child.kill().unwrap();
    });
    let who = ["--server", &urls[0], "--server", &urls[1], "--served-model", "mine", "--connections", "4"];
    eval(&who, &folder("served"));
    killed.join().unwrap();
    assert_eq!(answers(&folder("own")), answers(&folder("served")));

    // Chats of a file, with the tokens that the server tells.
    let chats = dir.path().join("chats.jsonl");
    let row =
        json!({"id": "a", "messages": [{"role": "user", "content": "yes or no? is the digit 7 here?"}]});
    fs::write(&chats, row.to_string()).unwrap();
    let answers = folder("answers.jsonl");
    let generate =
        ["generate", "--input", chats.to_str().unwrap(), "--output", &answers, "--max-new-tokens", "12"];
    let output =
        reft(&[&generate[..], &["--server", &urls[1], "--served-model", "mine"]].concat()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_str(&fs::read_to_string(&answers).unwrap()).unwrap();
    let completion = &answer["completions"][0];
    let n = |key: &str| completion[key].as_array().unwrap().len();
    assert!(n("token_ids") > 0 && n("token_ids") == n("logprobs"), "{completion}");
    drop(second);

    let wrong = ["eval", "--output", &folder("none"), "--server", &urls[0], "--served-model", "mine"];
    let output = reft(&[&wrong, &asked[..]].concat()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains(&urls[0]), "{said}");
}

/// Phases that only ask take servers in place of the policy.
#[test]
fn phases_of_a_recipe_are_answered_by_servers() {
    let server = Server::start(&["--model", "fixtures/pico-vlm", "--served-model-name", "mine"]);
    let dir = TempDir::new().unwrap();
    let recipe = dir.path().join("recipe.toml");
    let servers = format!("servers = {{ url = [\"{}/v1\"], model = \"mine\" }}", server.url);
    let text = r#"
        run = { name = "asked", threads = 1 }
        model = { path = "fixtures/pico-vlm", device = "cpu" }
        data.test = { type = "scenes", glyphs = "fixtures/digits/digits.parquet", split = "test", count = 12, seed = 1 }
        [[phase]]
        kind = "eval"
        name = "own"
        data = ["test"]
        sampling = { max_new_tokens = 60 }
        [[phase]]
        kind = "eval"
        name = "served"
        data = ["test"]
        sampling = { max_new_tokens = 60 }
        SERVERS
        [[phase]]
        kind = "reject"
        name = "kept"
        data = "test"
        threshold = 1
        sampling = { group_size = 2, max_new_tokens = 60 }
        SERVERS
    "#;
    fs::write(&recipe, text.replace("SERVERS", &servers)).unwrap();
    let runs = dir.path().to_str().unwrap();
    let output = reft(&["train", recipe.to_str().unwrap(), "--runs", runs]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report = |phase: &str| {
        let path = dir.path().join("asked/eval").join(phase).join("test/report.json");
        serde_json::from_str::<Value>(&fs::read_to_string(path).unwrap()).unwrap()
    };
    assert_eq!(report("own")["overall"], report("served")["overall"]);
    let kept = fs::read_to_string(dir.path().join("asked/rejection/kept/kept.jsonl")).unwrap();
    assert!(kept.lines().count() > 0);
    // 12 questions of the evaluation and 12 of the rejection.
    let metrics = server.get("/metrics");
    assert!(metrics.contains("status=\"200\"} 24"), "{metrics}");
}

/// A recipe whose answers come from servers, which see the weights in `dir`.
fn fleet(dir: &Path, urls: &[&str]) -> PathBuf {
    let recipe = dir.join("recipe.toml");
    let text = r#"
        run = { name = "fleet", threads = 1, checkpoint_every = 10 }
        model = { path = "fixtures/pico-vlm", device = "cpu", lora = { rank = 4 } }
        prompt = { common = "think, then answer.", open_detection = "as a box." }
        data.train = { type = "scenes", glyphs = "fixtures/digits/digits.parquet", split = "rl", count = 96, seed = 1 }
        [[phase]]
        kind = "grpo"
        name = "open"
        data = "train"
        steps = 30
        prompts_per_step = 4
        lr = 1e-3
        sampling = { group_size = 4, max_new_tokens = 48 }
        servers = { url = URLS, model = "base", backoff_s = 0.05 }
        weight_sync = { folder = FOLDER }
        correction = { max_mismatch = 0.02 }
    "#;
    let folder = format!("\"{}\"", dir.join("adapters").display());
    fs::create_dir_all(dir.join("adapters")).unwrap();
    fs::write(&recipe, text.replace("URLS", &format!("{urls:?}")).replace("FOLDER", &folder)).unwrap();
    recipe
}

fn rows_of(metrics: &Path) -> Vec<Value> {
    fs::read_to_string(metrics).unwrap().lines().map(|row| serde_json::from_str(row).unwrap()).collect()
}

/// Rollouts of a policy that learns, from two servers, one of which is killed and started again meanwhile.
#[test]
fn a_policy_learns_from_a_fleet() {
    let dir = TempDir::new().unwrap();
    let adapters = dir.path().join("adapters");
    let args = ["--model", "fixtures/pico-vlm", "--served-model-name", "base", "--adapter-files"];
    let args = [&args[..], &[adapters.to_str().unwrap()]].concat();
    let mut servers = [0, 1].map(|_| Server::start(&args));
    let urls = servers.each_ref().map(|server| format!("{}/v1", server.url));
    let recipe = fleet(dir.path(), &urls.each_ref().map(String::as_str));
    let runs = dir.path().to_str().unwrap();
    let train = ["train", recipe.to_str().unwrap(), "--runs", runs];
    let mut trainer = reft(&train).stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();

    let metrics = dir.path().join("fleet/metrics.jsonl");
    let steps = || fs::read_to_string(&metrics).unwrap_or_default().lines().count();
    let mut wait_for = |n: usize| {
        while steps() < n {
            assert!(
                trainer.try_wait().unwrap().is_none_or(|status| status.success()),
                "after {} steps",
                steps()
            );
            thread::sleep(Duration::from_millis(20));
        }
    };
    wait_for(3);
    servers[0].child.kill().unwrap();
    servers[0].child.wait().unwrap();
    wait_for(6);
    let port = servers[0].url.rsplit(':').next().unwrap().to_owned();
    servers[0] = Server::start_at(&port, &args, |_| {});
    wait_for(30);
    assert!(trainer.wait().unwrap().success());
    let back = servers[0].get("/metrics");
    assert!(
        back.contains("/v1/chat/completions\",status=\"200\"}"),
        "the server that came back was never asked: {back}"
    );

    let rows = rows_of(&metrics);
    // Another adapter than the newest would differ by more.
    let apart = rows.iter().map(|row| row["grpo/logprob_diff_max"].as_f64().unwrap());
    assert!(apart.clone().all(|apart| apart < 1e-3), "{:?}", apart.collect::<Vec<_>>());
    assert!(rows.iter().all(|row| row["grpo/importance_bounded"] == 0.0));
    let moved = rows.iter().any(|row| row["grpo/kl"].as_f64().unwrap() > 1e-4);
    assert!(moved, "a policy that does not change shows nothing");

    // While it learns they answer the next step, but for those behind the start and the checkpoint.
    let ahead =
        ["phase.open.steps=13", "phase.open.weight_sync.max_lag=1", "phase.open.correction.max_mismatch=1"];
    let ahead = ahead.iter().flat_map(|setting| ["--set", setting]);
    let output = reft(&train).args(["--name", "ahead"]).args(ahead).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let rows = rows_of(&dir.path().join("ahead/metrics.jsonl"));
    let fresh: Vec<u64> =
        rows.iter().filter(|row| row["rollout/lag"] != 1.0).filter_map(|row| row["step"].as_u64()).collect();
    assert_eq!((rows.len(), fresh), (13, vec![1, 11]));

    // A server of another base than the trainer's.
    let other = Server::start(&[
        "--model",
        "fixtures/pico-hard",
        "--served-model-name",
        "base",
        "--adapter-files",
        adapters.to_str().unwrap(),
    ]);
    let recipe = fleet(dir.path(), &[&format!("{}/v1", other.url)]);
    let output =
        reft(&["train", recipe.to_str().unwrap(), "--runs", runs, "--name", "other"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && said.contains("above `correction.max_mismatch` = 0.02"), "{said}");
}
