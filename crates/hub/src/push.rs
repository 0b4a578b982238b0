//! Uploads: a folder becomes a commit.
//!
//! The requests are those of `huggingface_hub`'s `upload_folder` (its `_commit_api.py` and `lfs.py`): create the repository,
//! ask which files are large, upload these by the LFS protocol (`basic`, or `multipart` where they are very large), commit.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use ureq::{Agent, SendBody};

use crate::{Hub, HubError, hub::sha256};

/// The first bytes of a file, by which the hub tells text from other things.
const SAMPLE: u64 = 512;
/// The media type of the LFS protocol.
const LFS: &str = "application/vnd.git-lfs+json";
/// Longest wait for a connection, and for the answer to a request without a file.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a push has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// The page of the repository.
    pub url: String,
    /// The commit.
    pub commit: String,
    /// Files in it.
    pub files: usize,
    /// Bytes that were uploaded; large files that the hub has already are not.
    pub bytes: u64,
}

/// A file of the commit.
struct Upload {
    from: From,
    /// Its name in the repository.
    name: String,
    size: u64,
}

enum From {
    Disk(PathBuf),
    Memory(Vec<u8>),
}

impl Upload {
    /// The first bytes, at most so many.
    fn read(&self, most: u64) -> Result<Vec<u8>, HubError> {
        let mut bytes = Vec::new();
        match &self.from {
            From::Memory(all) => bytes.extend(all.iter().take(most as usize)),
            From::Disk(path) => {
                let read = File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes));
                read.map_err(|error| HubError::File(path.clone(), error))?;
            }
        }
        Ok(bytes)
    }
}

/// The name of a model card.
const CARD: &str = "README.md";

/// What the LFS protocol says of an object.
#[derive(Deserialize)]
struct Object {
    oid: String,
    actions: Option<Actions>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Actions {
    upload: Option<Action>,
    verify: Option<Action>,
}

#[derive(Deserialize)]
struct Action {
    href: String,
    #[serde(default)]
    header: BTreeMap<String, Value>,
}

impl Hub {
    /// Uploads a folder as a model `ORG/NAME`, which is made where it is not there, with a card in place of its own. `say`
    /// hears of each large file.
    pub fn push(
        &self,
        folder: &Path,
        card: Option<&str>,
        repo: &str,
        private: bool,
        message: &str,
        say: &mut dyn FnMut(&str),
    ) -> Result<Pushed, HubError> {
        let client =
            Client { hub: self, agent: agent(), token: self.token.as_deref().ok_or(HubError::NoToken)? };
        let mut files = files(folder)?;
        if let Some(card) = card {
            files.retain(|file| file.name != CARD);
            let from = From::Memory(card.as_bytes().to_vec());
            files.push(Upload { from, name: CARD.to_owned(), size: card.len() as u64 });
        }
        client.create(repo, private)?;
        let large = client.large(repo, &files)?;
        let mut lines = vec![json!({"key": "header", "value": {"summary": message, "description": ""}})];
        let mut bytes = 0;
        for file in files.iter().filter(|file| !large.contains(&file.name)) {
            let content = file.read(file.size)?;
            bytes += file.size;
            lines.push(json!({"key": "file", "value": {
                "path": file.name, "content": STANDARD.encode(content), "encoding": "base64"}}));
        }
        for file in files.iter().filter(|file| large.contains(&file.name)) {
            say(&format!("{} ({} MiB)", file.name, file.size >> 20));
            let From::Disk(path) = &file.from else { continue };
            let oid = sha256(path).map_err(|error| HubError::File(path.clone(), error))?;
            bytes += client.upload(repo, file, path, &oid)?;
            lines.push(json!({"key": "lfsFile", "value": {
                "path": file.name, "algo": "sha256", "oid": oid, "size": file.size}}));
        }
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        let url = format!("{}/api/models/{repo}/commit/main", self.endpoint);
        let answer = client.post(&url, "application/x-ndjson", lines.join("\n") + "\n")?;
        let commit = answer["commitOid"].as_str().unwrap_or_default().to_owned();
        Ok(Pushed { url: format!("{}/{repo}", self.endpoint), commit, files: files.len(), bytes })
    }
}

struct Client<'a> {
    hub: &'a Hub,
    agent: Agent,
    token: &'a str,
}

impl Client<'_> {
    /// Makes the repository, where it is not there.
    fn create(&self, repo: &str, private: bool) -> Result<(), HubError> {
        let (org, name) = repo.split_once('/').unwrap_or(("", repo));
        let mut body = json!({"name": name, "organization": org});
        if private {
            body["visibility"] = "private".into();
        }
        let url = format!("{}/api/repos/create", self.hub.endpoint);
        match self.send(&url, "application/json", body.to_string())? {
            (200..=299 | 409, _) => Ok(()),
            (status, text) => Err(failed(&url, status, &text)),
        }
    }

    /// Names of the files that are not part of the commit itself.
    fn large(&self, repo: &str, files: &[Upload]) -> Result<Vec<String>, HubError> {
        let asked = files.iter().map(|file| {
            let sample = file.read(SAMPLE)?;
            Ok(json!({"path": file.name, "size": file.size, "sample": STANDARD.encode(sample)}))
        });
        let asked: Vec<Value> = asked.collect::<Result<_, HubError>>()?;
        let url = format!("{}/api/models/{repo}/preupload/main", self.hub.endpoint);
        let answer = self.post(&url, "application/json", json!({"files": asked}).to_string())?;
        let modes = answer["files"].as_array().map(Vec::as_slice).unwrap_or_default();
        let large = modes.iter().filter(|mode| mode["uploadMode"] == "lfs");
        Ok(large.filter_map(|mode| mode["path"].as_str().map(str::to_owned)).collect())
    }

    /// Uploads a large file; 0 bytes where the hub has it.
    fn upload(&self, repo: &str, file: &Upload, path: &Path, oid: &str) -> Result<u64, HubError> {
        let url = format!("{}/{repo}.git/info/lfs/objects/batch", self.hub.endpoint);
        let body = json!({"operation": "upload", "transfers": ["basic", "multipart"], "hash_algo": "sha256",
                          "ref": {"name": "main"}, "objects": [{"oid": oid, "size": file.size}]});
        let answer = self.post(&url, LFS, body.to_string())?;
        let odd = |message: String| HubError::Upload { what: format!("`{}`", file.name), message };
        let objects: Vec<Object> =
            serde_json::from_value(answer["objects"].clone()).map_err(|error| odd(error.to_string()))?;
        let object = objects.into_iter().find(|object| object.oid == oid);
        let object = object.ok_or_else(|| odd("the hub says nothing of it".into()))?;
        if let Some(error) = object.error {
            return Err(odd(error.to_string()));
        }
        let Some(Actions { upload: Some(upload), verify }) = object.actions else { return Ok(0) };
        let failed_at = |error| HubError::File(path.to_owned(), error);
        let mut source = File::open(path).map_err(failed_at)?;
        match upload.header.get("chunk_size").and_then(number) {
            None => {
                self.put(&upload.href, &mut source, file.size)?;
            }
            Some(chunk) => {
                // The other headers are the addresses of the parts.
                let mut parts: Vec<(u64, &str)> = upload
                    .header
                    .iter()
                    .filter_map(|(name, url)| Some((name.parse().ok()?, url.as_str()?)))
                    .collect();
                parts.sort_unstable();
                let mut done = Vec::new();
                for (index, (number, url)) in (0..).zip(parts) {
                    let start = index * chunk;
                    source.seek(SeekFrom::Start(start)).map_err(failed_at)?;
                    let etag = self.put(url, &mut source, chunk.min(file.size.saturating_sub(start)))?;
                    done.push(json!({"partNumber": number, "etag": etag}));
                }
                self.post(&upload.href, LFS, json!({"oid": oid, "parts": done}).to_string())?;
            }
        }
        if let Some(verify) = verify {
            self.post(&verify.href, LFS, json!({"oid": oid, "size": file.size}).to_string())?;
        }
        Ok(file.size)
    }

    /// Puts the next bytes of a file to an address that is signed already; its `ETag`.
    fn put(&self, url: &str, source: &mut File, size: u64) -> Result<String, HubError> {
        let mut part = source.take(size);
        let request = self.agent.put(url).header("Content-Length", size.to_string());
        let response = request.send(SendBody::from_reader(&mut part)).map_err(|error| unsent(url, &error))?;
        let status = response.status().as_u16();
        let etag =
            response.headers().get("ETag").and_then(|etag| etag.to_str().ok()).unwrap_or_default().to_owned();
        let text = response.into_body().read_to_string().unwrap_or_default();
        if (200..300).contains(&status) { Ok(etag) } else { Err(failed(url, status, &text)) }
    }

    fn post(&self, url: &str, media: &str, body: String) -> Result<Value, HubError> {
        match self.send(url, media, body)? {
            (200..=299, text) => Ok(serde_json::from_str(&text).unwrap_or(Value::Null)),
            (status, text) => Err(failed(url, status, &text)),
        }
    }

    /// Status and body.
    fn send(&self, url: &str, media: &str, body: String) -> Result<(u16, String), HubError> {
        let request =
            self.agent.post(url).header("Content-Type", media).header("Accept", media_of_answer(media));
        // The token is the hub's alone; other addresses that it names are signed.
        let request = if url.starts_with(&format!("{}/", self.hub.endpoint)) {
            request.header("Authorization", format!("Bearer {}", self.token))
        } else {
            request
        };
        let response = request.send(body).map_err(|error| unsent(url, &error))?;
        let status = response.status().as_u16();
        Ok((status, response.into_body().read_to_string().map_err(|error| unsent(url, &error))?))
    }
}

fn media_of_answer(media: &str) -> &str {
    if media == LFS { LFS } else { "application/json" }
}

fn agent() -> Agent {
    Agent::config_builder()
        .http_status_as_error(false)
        .timeout_connect(Some(PATIENCE))
        .timeout_recv_response(Some(PATIENCE * 5))
        .user_agent("curr-reft")
        .build()
        .into()
}

/// Numbers of the protocol come as text or as numbers.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// An address without what signs it.
fn shown(url: &str) -> String {
    format!("`{}`", url.split('?').next().unwrap_or(url))
}

fn failed(url: &str, status: u16, text: &str) -> HubError {
    let said: Value = serde_json::from_str(text).unwrap_or(Value::Null);
    let words = said["error"].as_str().unwrap_or(text).trim().chars().take(300).collect::<String>();
    let hint = match status {
        401 => "; the token is not valid",
        403 => "; the token may not write there: it needs the role `write`, and the name must be yours",
        _ => "",
    };
    HubError::Upload { what: shown(url), message: format!("status {status}: {words}{hint}") }
}

fn unsent(url: &str, error: &ureq::Error) -> HubError {
    HubError::Upload { what: shown(url), message: error.to_string() }
}

/// The files of a folder and of those in it, hidden ones left out, in order of their names.
fn files(folder: &Path) -> Result<Vec<Upload>, HubError> {
    let mut found = Vec::new();
    let mut open = vec![(folder.to_owned(), String::new())];
    while let Some((dir, prefix)) = open.pop() {
        let failed = |error| HubError::File(dir.clone(), error);
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with('.') {
                continue;
            }
            let metadata = fs::metadata(entry.path()).map_err(failed)?;
            let name = format!("{prefix}{name}");
            if metadata.is_dir() {
                open.push((entry.path(), format!("{name}/")));
            } else {
                found.push(Upload { from: From::Disk(entry.path()), name, size: metadata.len() });
            }
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}
