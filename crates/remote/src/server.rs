//! A server that answers JSON with JSON over HTTP.
//!
//! Failures that may pass (no connection, no answer in time, status 408, 429 and 5xx) are tried again after a pause
//! that doubles, or that the server names (`Retry-After`), up to a minute; any other status is final.

use std::{thread, time::Duration};

use serde_json::Value;
use ureq::Agent;

use crate::CallError;

/// Longest answer, in bytes: several long completions with a log-probability of each token.
const MAX_BODY: u64 = 64 << 20;
/// Longest pause between two attempts.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Where the server is, and how patiently it is asked.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerSpec {
    /// `http://` or `https://`.
    pub url: String,
    /// Sent as `Authorization: Bearer TOKEN`.
    pub token: Option<String>,
    /// Longest wait for an answer, of each attempt.
    pub timeout: Duration,
    /// How often a question is asked again after a failure that may pass.
    pub retries: u32,
    /// Pause before the first retry; it doubles each time.
    pub backoff: Duration,
}

/// A server that is asked by POST.
pub struct Server {
    spec: ServerSpec,
    agent: Agent,
}

enum Failure {
    Timeout,
    /// With the pause that the server asks for.
    MayPass(String, Option<Duration>),
    Final(String),
    Missing(String),
}

impl Server {
    /// A server that has not been asked yet.
    pub fn new(spec: ServerSpec) -> Result<Self, CallError> {
        let host = host(&spec.url).ok_or_else(|| {
            let url = &spec.url;
            CallError::Unusable(format!(
                "`{url}` is no address; give one such as `http://localhost:8000/score`"
            ))
        })?;
        if cfg!(not(feature = "tls")) && spec.url.starts_with("https://") {
            return Err(CallError::Unusable(format!(
                "`{}`: this program is built without its feature `tls`, so `http://` alone can be asked",
                spec.url
            )));
        }
        let mut config = Agent::config_builder()
            .timeout_global(Some(spec.timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .user_agent("curr-reft");
        if ["localhost", "127.0.0.1", "[::1]"].contains(&host) {
            // A proxy of the environment does not know this machine.
            config = config.proxy(None);
        }
        let agent = config.build().into();
        Ok(Self { spec, agent })
    }

    /// Where it is.
    pub fn spec(&self) -> &ServerSpec {
        &self.spec
    }

    /// Asks one question, whose answer is a JSON object.
    pub fn call(&self, request: &Value) -> Result<Value, CallError> {
        self.ask(request, |body| match serde_json::from_slice(body) {
            Ok(answer @ Value::Object(_)) => Ok(answer),
            _ => Err(format!("an answer must be a JSON object, not `{}`", shown(body))),
        })
    }

    /// Gives an order; what is answered beside the status does not matter.
    pub fn order(&self, request: &Value) -> Result<(), CallError> {
        self.ask(request, |_| Ok(()))
    }

    fn ask<T>(&self, request: &Value, read: impl Fn(&[u8]) -> Result<T, String>) -> Result<T, CallError> {
        let mut pause = self.spec.backoff;
        let mut attempt = 0;
        loop {
            let answer = self.post(request);
            let failure = match answer.and_then(|body| read(&body).map_err(Failure::Final)) {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let is_last = attempt == self.spec.retries;
            match failure {
                Failure::Final(reason) => return Err(CallError::Refused(self.said(&reason))),
                Failure::Missing(reason) => return Err(CallError::Missing(self.said(&reason))),
                Failure::MayPass(reason, _) if is_last => return Err(CallError::Failed(self.said(&reason))),
                Failure::Timeout if is_last => return Err(CallError::Timeout(self.spec.timeout)),
                Failure::MayPass(_, Some(asked)) => thread::sleep(asked.clamp(pause, MAX_PAUSE.max(pause))),
                Failure::MayPass(_, None) | Failure::Timeout => thread::sleep(pause),
            }
            pause = (2 * pause).min(MAX_PAUSE);
            attempt += 1;
        }
    }

    fn said(&self, reason: &str) -> String {
        format!("`{}`: {reason}", self.spec.url)
    }

    /// The body of an answer with a status of success.
    fn post(&self, request: &Value) -> Result<Vec<u8>, Failure> {
        let mut post = self.agent.post(&self.spec.url).content_type("application/json");
        if let Some(token) = &self.spec.token {
            post = post.header("Authorization", format!("Bearer {token}"));
        }
        let mut response = post.send(request.to_string()).map_err(failure)?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("Retry-After").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|value| value.trim().parse().ok()).map(Duration::from_secs);
        let body = response.body_mut().with_config().limit(MAX_BODY).read_to_vec().map_err(failure)?;
        let said = || format!("status {status}: {}", shown(&body));
        match status {
            200..=299 => Ok(body),
            404 => Err(Failure::Missing(said())),
            408 | 429 | 500..=599 => Err(Failure::MayPass(said(), retry_after)),
            _ => Err(Failure::Final(said())),
        }
    }
}

/// The beginning of a body.
fn shown(body: &[u8]) -> String {
    String::from_utf8_lossy(body).trim().chars().take(200).collect()
}

fn failure(error: ureq::Error) -> Failure {
    match error {
        ureq::Error::Timeout(_) => Failure::Timeout,
        ureq::Error::BadUri(_) | ureq::Error::BodyExceedsLimit(_) | ureq::Error::Tls(_) => {
            Failure::Final(error.to_string())
        }
        error => Failure::MayPass(error.to_string(), None),
    }
}

/// The host of an address, without its port.
fn host(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"))?;
    let authority = rest.split(['/', '?', '#']).next()?;
    let end = match authority.strip_prefix('[') {
        Some(_) => authority.find(']')? + 1,
        None => authority.find(':').unwrap_or(authority.len()),
    };
    Some(&authority[..end]).filter(|host| !host.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_by_hand() {
        for (url, expected) in [
            ("http://localhost:8000/score", Some("localhost")),
            ("https://api.example.com/v1", Some("api.example.com")),
            ("http://[::1]:80", Some("[::1]")),
            ("localhost:8000", None),
            ("ftp://a", None),
            ("http:///x", None),
        ] {
            assert_eq!(host(url), expected, "{url}");
        }
    }
}
