//! The Hugging Face hub, played by a server on this machine: its routes as `huggingface_hub` asks them.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";
const TOKEN: &str = "hf_test";
/// Files from here on are large: the hub calls them by their SHA-256, and takes them by LFS.
const LARGE: usize = 100_000;
/// Bytes of a part of an upload in several.
const PART: usize = 1 << 20;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned()
}

fn sha256(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

#[derive(Default)]
struct State {
    /// Files by repository (`ORG/NAME`, `datasets/ORG/NAME`) and name.
    repos: BTreeMap<String, BTreeMap<String, Vec<u8>>>,
    /// Repositories that are shown to who brings the token.
    private: Vec<String>,
    /// Large files that were uploaded, by their SHA-256; parts by number until they are complete.
    stored: BTreeMap<String, Vec<u8>>,
    parts: BTreeMap<(String, usize), Vec<u8>>,
    /// The next downloads of large files that break off in the middle.
    breaks: usize,
    /// Whether large files are sent with a byte that is not theirs.
    damages: bool,
    log: Vec<String>,
}

struct Hub {
    url: String,
    state: Arc<Mutex<State>>,
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
    /// Bytes after which the connection is closed.
    sent: usize,
}

impl Answer {
    fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, headers: Vec::new(), body: body.into(), sent: usize::MAX }
    }

    fn json(value: &Value) -> Self {
        Self::new(200, value.to_string())
    }
}

impl Hub {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::<Mutex<State>>::default();
        let (shared, own) = (Arc::clone(&state), url.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (state, url) = (Arc::clone(&shared), own.clone());
                thread::spawn(move || serve(stream.unwrap(), &state, &url));
            }
        });
        Self { url, state }
    }

    fn add(&self, repo: &str, name: &str, bytes: Vec<u8>) {
        self.state.lock().unwrap().repos.entry(repo.into()).or_default().insert(name.into(), bytes);
    }

    /// A model as it lies in a folder.
    fn add_folder(&self, repo: &str, dir: &Path) {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            self.add(repo, path.file_name().unwrap().to_str().unwrap(), fs::read(&path).unwrap());
        }
    }

    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>, url: &str) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut line = String::new();
    if reader.read_line(&mut line).unwrap_or(0) == 0 {
        return;
    }
    let mut words = line.split(' ');
    let (method, path) = (words.next().unwrap().to_owned(), words.next().unwrap().to_owned());
    let mut headers = BTreeMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let request = Request { method, path, headers, body };
    let answer = answer(&request, &mut state.lock().unwrap(), url);
    let length = answer.body.len();
    let mut head = vec![format!("HTTP/1.1 {} X", answer.status), format!("content-length: {length}")];
    head.push("connection: close".into());
    head.extend(answer.headers.iter().map(|(name, value)| format!("{name}: {value}")));
    let sent = answer.body.len().min(answer.sent);
    // Who has heard enough may have left.
    let _ = stream
        .write_all((head.join("\r\n") + "\r\n\r\n").as_bytes())
        .and_then(|()| stream.write_all(&answer.body[..sent]));
}

fn answer(request: &Request, state: &mut State, url: &str) -> Answer {
    let Request { method, path, headers, body } = request;
    state.log.push(format!("{method} {path}"));
    let may = headers.get("authorization").is_some_and(|value| value == &format!("Bearer {TOKEN}"));
    let object = || serde_json::from_slice::<Value>(body).unwrap();
    if method == "GET" {
        return download(request, state, may);
    }
    if let Some(place) = path.strip_prefix("/store/") {
        assert!(
            !headers.contains_key("authorization"),
            "a signed address needs no token, and must not get it"
        );
        return store(place, body, state);
    }
    if !may {
        return Answer::new(401, json!({"error": "Invalid credentials in Authorization header"}).to_string());
    }
    if path == "/api/repos/create" {
        let asked = object();
        let repo = format!("{}/{}", asked["organization"].as_str().unwrap(), asked["name"].as_str().unwrap());
        if asked["visibility"] == "private" {
            state.private.push(repo.clone());
        }
        let is_new = !state.repos.contains_key(&repo);
        state.repos.entry(repo).or_default();
        return Answer::new(if is_new { 200 } else { 409 }, "{}");
    }
    if path.ends_with("/preupload/main") {
        let asked = object();
        let files = asked["files"].as_array().unwrap().iter().map(|file| {
            let is_large = file["size"].as_u64().unwrap() as usize >= LARGE;
            json!({"path": file["path"], "uploadMode": if is_large { "lfs" } else { "regular" }, "shouldIgnore": false})
        });
        return Answer::json(&json!({"files": files.collect::<Vec<_>>()}));
    }
    if path.ends_with(".git/info/lfs/objects/batch") {
        return batch(&object(), state, url);
    }
    if path == "/verify" {
        let asked = object();
        let stored = &state.stored[asked["oid"].as_str().unwrap()];
        assert_eq!(stored.len() as u64, asked["size"].as_u64().unwrap());
        return Answer::new(200, "");
    }
    if let Some(oid) = path.strip_prefix("/complete/") {
        let asked = object();
        let mut whole = Vec::new();
        for part in asked["parts"].as_array().unwrap() {
            let number = part["partNumber"].as_u64().unwrap() as usize;
            let bytes = &state.parts[&(oid.to_owned(), number)];
            assert_eq!(part["etag"], sha256(bytes));
            whole.extend_from_slice(bytes);
        }
        assert_eq!(sha256(&whole), oid);
        state.stored.insert(oid.into(), whole);
        return Answer::new(200, "{}");
    }
    let repo = path.strip_prefix("/api/models/").and_then(|rest| rest.strip_suffix("/commit/main")).unwrap();
    let text = String::from_utf8(body.clone()).unwrap();
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let value = &line["value"];
        let name = || value["path"].as_str().unwrap().to_owned();
        let bytes = match line["key"].as_str().unwrap() {
            "header" => continue,
            "file" => base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                value["content"].as_str().unwrap(),
            )
            .unwrap(),
            "lfsFile" => state.stored[value["oid"].as_str().unwrap()].clone(),
            other => panic!("{other}"),
        };
        state.repos.get_mut(repo).unwrap().insert(name(), bytes);
    }
    Answer::json(
        &json!({"success": true, "commitOid": COMMIT, "commitUrl": format!("{url}/{repo}/commit/{COMMIT}")}),
    )
}

/// Pages about repositories, and their files: `/api/models/REPO/revision/REV`, `/REPO/resolve/REV/FILE`.
fn download(request: &Request, state: &mut State, may: bool) -> Answer {
    let path = request.path.as_str();
    let missing = || Answer::new(404, json!({"error": "Repository not found"}).to_string());
    if let Some(rest) = path.strip_prefix("/api/") {
        let (repo, revision) = rest.split_once("/revision/").unwrap();
        let repo = repo.strip_prefix("models/").unwrap_or(repo);
        if state.private.iter().any(|private| private == repo) && !may {
            return Answer::new(401, "");
        }
        return match state.repos.get(repo) {
            Some(files) if [COMMIT, "main"].contains(&revision) => {
                let siblings: Vec<Value> = files.keys().map(|name| json!({"rfilename": name})).collect();
                Answer::json(&json!({"sha": COMMIT, "siblings": siblings}))
            }
            _ => missing(),
        };
    }
    let (repo, rest) = path[1..].split_once("/resolve/").unwrap();
    let (_, name) = rest.split_once('/').unwrap();
    let Some(bytes) = state.repos.get(repo).and_then(|files| files.get(name)) else { return missing() };
    let is_large = bytes.len() >= LARGE;
    let etag = if is_large { sha256(bytes) } else { sha256(bytes)[..40].to_owned() };
    let range = request.headers["range"].strip_prefix("bytes=").unwrap();
    let (start, end) = range.split_once('-').unwrap();
    let start: usize = start.parse().unwrap();
    let end = end.parse().map_or(bytes.len(), |end: usize| (end + 1).min(bytes.len()));
    let mut part = bytes[start.min(end)..end].to_vec();
    if is_large && state.damages && end == bytes.len() {
        *part.last_mut().unwrap() ^= 1;
    }
    let is_whole = end - start > 1;
    let mut answer = Answer::new(206, part);
    if is_large && is_whole && state.breaks > 0 {
        state.breaks -= 1;
        answer.sent = answer.body.len() / 2;
    }
    answer.headers = vec![
        ("content-range", format!("bytes {start}-{}/{}", end.max(1) - 1, bytes.len())),
        ("etag", format!("\"{etag}\"")),
        ("x-repo-commit", COMMIT.into()),
    ];
    answer
}

/// Where large files go: small ones at once, others in parts.
fn batch(asked: &Value, state: &State, url: &str) -> Answer {
    let object = &asked["objects"][0];
    let (oid, size) = (object["oid"].as_str().unwrap(), object["size"].as_u64().unwrap() as usize);
    let mut answer = json!({"oid": oid, "size": size});
    if !state.stored.contains_key(oid) {
        let upload = if size > PART {
            let mut header = json!({"chunk_size": PART.to_string()});
            for number in 1..=size.div_ceil(PART) {
                header[format!("{number:05}")] = format!("{url}/store/{oid}/{number}?signature=x").into();
            }
            json!({"href": format!("{url}/complete/{oid}"), "header": header})
        } else {
            json!({"href": format!("{url}/store/{oid}?signature=x")})
        };
        answer["actions"] = json!({"upload": upload, "verify": {"href": format!("{url}/verify")}});
    }
    Answer::json(&json!({"transfer": "multipart", "objects": [answer]}))
}

fn store(place: &str, body: &[u8], state: &mut State) -> Answer {
    let place = place.split('?').next().unwrap();
    match place.split_once('/') {
        None => {
            assert_eq!(sha256(body), place);
            state.stored.insert(place.into(), body.to_vec());
        }
        Some((oid, number)) => {
            state.parts.insert((oid.into(), number.parse().unwrap()), body.to_vec());
        }
    }
    Answer { headers: vec![("etag", sha256(body))], ..Answer::new(200, "") }
}

/// `reft` with a hub and a home of its own.
fn reft(args: &[&str], hub: &str, home: &Path) -> Command {
    let mut reft = Command::new(env!("CARGO_BIN_EXE_reft"));
    reft.args(args)
        .current_dir(root())
        .env("GOMP_SPINCOUNT", "5000")
        .env("HF_ENDPOINT", hub)
        .env("HF_HOME", home);
    for name in ["HF_TOKEN", "HF_HUB_CACHE", "HF_HUB_OFFLINE"] {
        reft.env_remove(name);
    }
    reft
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn succeeds(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", said(&output));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_model_is_fetched_once() {
    let (hub, home) = (Hub::start(), TempDir::new().unwrap());
    hub.add_folder("me/pico", &root().join("fixtures/pico-vlm"));
    hub.add("me/pico", "pytorch_model.bin", vec![0; 10]);
    hub.add("me/pico", "onnx/model.onnx", vec![0; 10]);
    let doctor = ["doctor", "--model", "me/pico"];
    // The connection breaks twice in the middle of the weights.
    hub.state.lock().unwrap().breaks = 2;
    let here = succeeds(&mut reft(&["doctor", "--model", "fixtures/pico-vlm"], &hub.url, home.path()));
    let fetched = succeeds(&mut reft(&doctor, &hub.url, home.path()));
    let without_path = |text: &str| text.lines().skip(1).map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(without_path(&fetched), without_path(&here));
    let log = hub.log();
    assert!(log.iter().all(|line| !line.contains(".bin") && !line.contains(".onnx")), "{log:?}");
    // What it looks up, and three times the weights.
    assert_eq!(log.iter().filter(|line| line.ends_with("model.safetensors")).count(), 4, "{log:?}");
    let folder = home.path().join("hub/models--me--pico/snapshots").join(COMMIT);
    let (fetched, original) =
        (folder.join("model.safetensors"), root().join("fixtures/pico-vlm/model.safetensors"));
    assert_eq!(fs::read(fetched).unwrap(), fs::read(original).unwrap());

    // Again: nothing but the commit of the branch is asked for; nothing at all for a commit, and without the hub.
    succeeds(&mut reft(&doctor, &hub.url, home.path()));
    assert_eq!(hub.log(), ["GET /api/models/me/pico/revision/main"]);
    succeeds(&mut reft(&["doctor", "--model", &format!("hf://me/pico@{COMMIT}")], &hub.url, home.path()));
    succeeds(reft(&doctor, &hub.url, home.path()).env("HF_HUB_OFFLINE", "1"));
    succeeds(&mut reft(&doctor, "http://127.0.0.1:9", home.path()));
    assert_eq!(hub.log(), [""; 0]);
}

#[test]
fn what_cannot_be_fetched_is_said() {
    let (hub, home) = (Hub::start(), TempDir::new().unwrap());
    hub.add_folder("me/pico", &root().join("fixtures/pico-vlm"));
    hub.add("me/other", "pytorch_model.bin", vec![0; 10]);
    hub.add("me/secret", "config.json", b"{}".to_vec());
    hub.state.lock().unwrap().private.push("me/secret".into());
    let doctor = |model: &str, change: &dyn Fn(&mut Command)| {
        let mut command = reft(&["doctor", "--model", model], &hub.url, home.path());
        change(&mut command);
        let output = command.output().unwrap();
        assert!(!output.status.success());
        said(&output)
    };
    let plain = |_: &mut Command| {};
    let is_offline = |command: &mut Command| {
        command.env("HF_HUB_OFFLINE", "1");
    };
    let is_gone = |command: &mut Command| {
        command.env("HF_ENDPOINT", "http://127.0.0.1:9");
    };
    for (model, change, words) in [
        ("me/none", &plain as &dyn Fn(&mut Command), "no such repository"),
        ("me/pico@v9", &plain, "no such repository, revision"),
        ("me/other", &plain, "has no `.safetensors`"),
        ("me/secret", &plain, "`HF_TOKEN`"),
        ("me/pico", &is_offline, "hf download me/pico --local-dir DIR"),
        ("me/pico", &is_gone, "the hub is not asked"),
    ] {
        let found = doctor(model, change);
        assert!(found.contains(words), "{model}: {found}");
    }
    hub.state.lock().unwrap().damages = true;
    let found = doctor("me/pico", &plain);
    assert!(found.contains("not those of the hub"), "{found}");
    hub.state.lock().unwrap().damages = false;
    succeeds(&mut reft(&["doctor", "--model", "me/pico"], &hub.url, home.path()));
}

/// A run from the hub is pinned to its commits, goes on without it, and is pushed to it.
#[test]
fn from_the_hub_and_back() {
    let (hub, home, dir) = (Hub::start(), TempDir::new().unwrap(), TempDir::new().unwrap());
    hub.add_folder("me/pico", &root().join("fixtures/pico-vlm"));
    let rows = dir.path().join("rows.parquet");
    let scenes =
        "data scenes --glyphs fixtures/digits/digits.parquet --split rl --count 24 --seed 3 --output";
    let scenes: Vec<&str> = scenes.split(' ').chain([rows.to_str().unwrap()]).collect();
    succeeds(&mut reft(&scenes, &hub.url, home.path()));
    hub.add("datasets/me/scenes", "data/train.parquet", fs::read(&rows).unwrap());
    let file = "hf://datasets/me/scenes/data/train.parquet";
    assert!(succeeds(&mut reft(&["data", "inspect", file], &hub.url, home.path())).contains("24"));
    let recipe = dir.path().join("recipe.toml");
    let text = r#"
        run = { name = "pinned", threads = 1 }
        model = { path = "me/pico", device = "cpu" }
        prompt = { common = "think, then answer." }
        data.train = { type = "file", path = "hf://datasets/me/scenes/data/train.parquet" }
        [[phase]]
        kind = "grpo"
        name = "open"
        data = "train"
        steps = 1
        prompts_per_step = 2
        sampling = { group_size = 2, max_new_tokens = 24 }
        [[phase]]
        kind = "eval"
        name = "after"
        data = ["train"]
        sampling = { max_new_tokens = 24 }
    "#;
    fs::write(&recipe, text).unwrap();
    let runs = dir.path().to_str().unwrap();
    let run = dir.path().join("pinned");
    succeeds(&mut reft(&["train", recipe.to_str().unwrap(), "--runs", runs], &hub.url, home.path()));
    let config = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(config.contains(&format!("hf://me/pico@{COMMIT}")), "{config}");
    assert!(config.contains(&format!("hf://datasets/me/scenes@{COMMIT}/data/train.parquet")), "{config}");

    let run = run.to_str().unwrap();
    hub.log();
    // Both read the data again, and the hub is not asked for a commit that is here.
    succeeds(&mut reft(&["report", run], &hub.url, home.path()));
    succeeds(&mut reft(&["train", "--resume", run], &hub.url, home.path()));
    assert_eq!(hub.log(), [""; 0]);

    let push = ["push", run, "--repo", "me/tuned", "--private"];
    let refused = reft(&push, &hub.url, home.path()).output().unwrap();
    assert!(!refused.status.success() && said(&refused).contains("set `HF_TOKEN`"), "{}", said(&refused));
    let refused = reft(&push, &hub.url, home.path()).env("HF_TOKEN", "other").output().unwrap();
    assert!(said(&refused).contains("the token is not valid"), "{}", said(&refused));
    hub.log();
    succeeds(reft(&push, &hub.url, home.path()).env("HF_TOKEN", TOKEN));
    // Large files are uploaded once.
    assert!(hub.log().iter().any(|line| line.contains("/store/")));
    succeeds(reft(&push, &hub.url, home.path()).env("HF_TOKEN", TOKEN));
    assert!(hub.log().iter().all(|line| !line.contains("/store/")));

    let pushed = hub.state.lock().unwrap().repos["me/tuned"].clone();
    let weights = fs::read(Path::new(run).join("final/model.safetensors")).unwrap();
    assert!(weights.len() > PART, "in parts");
    assert_eq!(pushed["model.safetensors"], weights);
    let card = String::from_utf8(pushed["README.md"].clone()).unwrap();
    for words in [
        "base_model: me/pico\n",
        "datasets:\n- me/scenes\n",
        "type: accuracy",
        "accuracy, % (95 %)",
        "kind = \"grpo\"",
    ] {
        assert!(card.contains(words), "{words}: {card}");
    }
    assert_eq!(
        succeeds(&mut reft(&["push", run, "--repo", "me/tuned", "--dry-run"], &hub.url, home.path())),
        card
    );

    // What was pushed is a model.
    let doctor = ["doctor", "--model", "me/tuned"];
    succeeds(reft(&doctor, &hub.url, home.path()).env("HF_TOKEN", TOKEN));
}
