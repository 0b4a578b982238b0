//! A chat server with OpenAI's protocol: a prompt, a reply, and what it cost. Replies are kept on disk.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::{CallError, Server, ServerSpec};

/// Where the server is and how it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct ChatSpec {
    /// Up to and without `/chat/completions`: `https://api.openai.com/v1`, `http://localhost:8000/v1`.
    pub base_url: String,
    /// The model's name there.
    pub model: String,
    /// Sent as `Authorization: Bearer TOKEN`.
    pub token: Option<String>,
    /// Longest wait for a reply, of each attempt.
    pub timeout: Duration,
    /// How often a prompt is asked again after a failure that may pass.
    pub retries: u32,
    /// Pause before the first retry; it doubles each time.
    pub backoff: Duration,
    /// Longest reply, in tokens; the server's own limit where none is given.
    pub max_tokens: Option<u32>,
    /// Requests a minute at most; 0 for any number.
    pub per_minute: u32,
    /// Folder of replies: what was asked before is answered from there.
    pub cache: Option<PathBuf>,
}

/// What was asked so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChatUsage {
    /// Prompts that the server answered.
    pub asked: u64,
    /// Prompts that were answered from disk.
    pub cached: u64,
    /// Tokens of prompts, as the server counts them.
    pub prompt_tokens: u64,
    /// Tokens of replies.
    pub reply_tokens: u64,
}

/// A chat server. Safe to ask from many threads.
pub struct Chat {
    spec: ChatSpec,
    server: Server,
    /// When the next request may start.
    next: Mutex<Instant>,
    asked: AtomicU64,
    cached: AtomicU64,
    prompt_tokens: AtomicU64,
    reply_tokens: AtomicU64,
}

impl Chat {
    /// A server that has not been asked yet.
    pub fn new(spec: ChatSpec) -> Result<Self, CallError> {
        let server = Server::new(ServerSpec {
            url: format!("{}/chat/completions", spec.base_url.trim_end_matches('/')),
            token: spec.token.clone(),
            timeout: spec.timeout,
            retries: spec.retries,
            backoff: spec.backoff,
        })?;
        if let Some(cache) = &spec.cache {
            fs::create_dir_all(cache).map_err(|error| {
                CallError::Unusable(format!("cannot write `{}`: {error}", cache.display()))
            })?;
        }
        Ok(Self {
            spec,
            server,
            next: Mutex::new(Instant::now()),
            asked: AtomicU64::new(0),
            cached: AtomicU64::new(0),
            prompt_tokens: AtomicU64::new(0),
            reply_tokens: AtomicU64::new(0),
        })
    }

    /// Where it is and how it is asked.
    pub fn spec(&self) -> &ChatSpec {
        &self.spec
    }

    /// The reply to a prompt: [`Chat::complete`] with a single message.
    pub fn ask(&self, prompt: &str, attempt: usize) -> Result<String, CallError> {
        self.complete(&json!([{"role": "user", "content": prompt}]), attempt)
    }

    /// The reply to messages. `attempt` counts from 0: a first attempt is greedy, a later one is drawn at a temperature of
    /// half its number, and each has a file of its own on disk.
    pub fn complete(&self, messages: &Value, attempt: usize) -> Result<String, CallError> {
        let mut request = json!({
            "model": self.spec.model,
            "messages": messages,
            "temperature": 0.5 * attempt as f64,
        });
        if let Some(most) = self.spec.max_tokens {
            request["max_tokens"] = most.into();
        }
        let file = self.spec.cache.as_ref().map(|folder| file_of(folder, &request, attempt));
        if let Some(reply) = file.as_deref().and_then(kept) {
            self.cached.fetch_add(1, Ordering::Relaxed);
            return Ok(reply);
        }
        self.wait();
        let answer = self.server.call(&request)?;
        let Some(reply) = answer["choices"][0]["message"]["content"].as_str() else {
            let shown: String = answer.to_string().chars().take(200).collect();
            return Err(CallError::Failed(format!(
                "the server answered in another shape than `/v1/chat/completions` has (`choices[0].message.content`): \
                 {shown}"
            )));
        };
        self.asked.fetch_add(1, Ordering::Relaxed);
        for (count, name) in
            [(&self.prompt_tokens, "prompt_tokens"), (&self.reply_tokens, "completion_tokens")]
        {
            count.fetch_add(answer["usage"][name].as_u64().unwrap_or(0), Ordering::Relaxed);
        }
        if let Some(file) = file {
            keep(&file, &request, reply)
                .map_err(|error| CallError::Failed(format!("cannot write `{}`: {error}", file.display())))?;
        }
        Ok(reply.to_owned())
    }

    /// What was asked so far.
    pub fn usage(&self) -> ChatUsage {
        ChatUsage {
            asked: self.asked.load(Ordering::Relaxed),
            cached: self.cached.load(Ordering::Relaxed),
            prompt_tokens: self.prompt_tokens.load(Ordering::Relaxed),
            reply_tokens: self.reply_tokens.load(Ordering::Relaxed),
        }
    }

    /// Waits for the turn of one more request.
    fn wait(&self) {
        if self.spec.per_minute == 0 {
            return;
        }
        let pause = Duration::from_secs(60) / self.spec.per_minute;
        let turn = {
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + pause;
            turn
        };
        thread::sleep(turn.saturating_duration_since(Instant::now()));
    }
}

/// The bytes of an encoded image as a `data:` URL.
pub fn data_url(bytes: &[u8]) -> String {
    let kind = match bytes {
        [0xff, 0xd8, ..] => "jpeg",
        [b'R', b'I', b'F', b'F', ..] => "webp",
        _ => "png",
    };
    format!("data:image/{kind};base64,{}", STANDARD.encode(bytes))
}

/// The file of a request: everything that decides its reply is in the name.
fn file_of(folder: &Path, request: &Value, attempt: usize) -> PathBuf {
    let digest = Sha256::digest(format!("{request}\n{attempt}"));
    let name = digest.iter().take(16).fold(String::new(), |mut name, byte| {
        // Writing to a string cannot fail.
        let _ = write!(name, "{byte:02x}");
        name
    });
    folder.join(format!("{name}.json"))
}

/// A reply on disk; a torn file counts as none.
fn kept(path: &Path) -> Option<String> {
    let value: Value = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    Some(value["reply"].as_str()?.to_owned())
}

/// Written beside and renamed, so that a reply is whole or not there.
fn keep(path: &Path, request: &Value, reply: &str) -> std::io::Result<()> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let n = COUNT.fetch_add(1, Ordering::Relaxed);
    let beside = path.with_extension(format!("{}-{n}", std::process::id()));
    let mut file = fs::File::create(&beside)?;
    file.write_all(json!({"request": request, "reply": reply}).to_string().as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, path)
}
