//! A real server on this machine: it answers, refuses, is busy, hangs, hangs up.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use reft_remote::{CallError, Server, ServerSpec};
use serde_json::{Value, json};

/// What the server does with each request in turn; the last of them with all that follow.
#[derive(Clone)]
enum Act {
    Answer(u16, String),
    /// Busy, with the seconds after which to ask again, in the words of `Retry-After`.
    Busy(&'static str),
    HangUp,
    Hang,
}

/// Headers and body of every request so far.
type Seen = Arc<Mutex<Vec<(String, Value)>>>;

fn serve(acts: Vec<Act>) -> (String, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/score", listener.local_addr().unwrap());
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    thread::spawn(move || {
        for (i, stream) in listener.incoming().enumerate() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0);
            }
            let length =
                head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            log.lock().unwrap().push((head, serde_json::from_slice(&body).unwrap()));
            let mut answer = |status: u16, more: &str, text: &str| {
                let n = text.len();
                let head =
                    format!("HTTP/1.1 {status} X\r\ncontent-length: {n}\r\nconnection: close\r\n{more}\r\n");
                stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
            };
            match acts[i.min(acts.len() - 1)].clone() {
                Act::Answer(status, text) => answer(status, "", &text),
                Act::Busy(seconds) => answer(429, &format!("retry-after: {seconds}\r\n"), "slower"),
                Act::HangUp => drop(stream),
                // The connection stays open until the process ends.
                Act::Hang => std::mem::forget(stream),
            }
        }
    });
    (url, seen)
}

fn spec(url: String, retries: u32) -> ServerSpec {
    ServerSpec {
        url,
        token: None,
        timeout: Duration::from_millis(400),
        retries,
        backoff: Duration::from_millis(20),
    }
}

fn answer(status: u16, text: &str) -> Act {
    Act::Answer(status, text.to_owned())
}

#[test]
fn a_question_is_posted_with_its_token() {
    let (url, seen) = serve(vec![answer(200, r#"{"score": 0.5}"#)]);
    let server = Server::new(ServerSpec { token: Some("secret".into()), ..spec(url, 0) }).unwrap();
    assert_eq!(server.call(&json!({"n": 1})).unwrap(), json!({"score": 0.5}));
    let seen = seen.lock().unwrap();
    let (head, body) = &seen[0];
    assert!(head.starts_with("POST /score HTTP/1.1\r\n"), "{head}");
    let head = head.to_lowercase();
    assert!(
        head.contains("authorization: bearer secret\r\n")
            && head.contains("content-type: application/json\r\n")
    );
    assert_eq!(*body, json!({"n": 1}));
}

#[test]
fn what_may_pass_is_tried_again_with_growing_pauses() {
    let (url, seen) = serve(vec![answer(503, "busy"), answer(429, "slower"), Act::HangUp, answer(200, "{}")]);
    let start = Instant::now();
    assert_eq!(Server::new(spec(url, 3)).unwrap().call(&json!({})).unwrap(), json!({}));
    // 20 + 40 + 80 ms.
    assert!(start.elapsed() >= Duration::from_millis(140));
    assert_eq!(seen.lock().unwrap().len(), 4);

    let (url, seen) = serve(vec![answer(500, "broken")]);
    let error = Server::new(spec(url.clone(), 2)).unwrap().call(&json!({})).unwrap_err();
    assert_eq!(error, CallError::Failed(format!("`{url}`: status 500: broken")));
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[test]
fn a_server_that_says_when_to_ask_again_is_believed() {
    let (url, seen) = serve(vec![Act::Busy("1"), Act::Busy("later"), answer(200, "{}")]);
    let start = Instant::now();
    assert_eq!(Server::new(spec(url, 2)).unwrap().call(&json!({})).unwrap(), json!({}));
    // A second as asked, and 40 ms where the header says nothing that can be read.
    assert!(start.elapsed() >= Duration::from_millis(1040));
    assert_eq!(seen.lock().unwrap().len(), 3);
}

#[test]
fn what_will_not_pass_is_final() {
    for (act, expected) in [
        (answer(404, "no such path"), "status 404: no such path"),
        (answer(401, ""), "status 401"),
        (answer(302, ""), "status 302"),
        (answer(200, "[1]"), "must be a JSON object, not `[1]`"),
        (answer(200, "oops"), "must be a JSON object, not `oops`"),
    ] {
        let (url, seen) = serve(vec![act]);
        let error = Server::new(spec(url, 5)).unwrap().call(&json!({})).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert_eq!(seen.lock().unwrap().len(), 1, "{error}");
    }
}

#[test]
fn a_server_that_hangs_is_given_up_in_time() {
    let (url, seen) = serve(vec![Act::Hang]);
    let start = Instant::now();
    let error = Server::new(spec(url, 1)).unwrap().call(&json!({})).unwrap_err();
    assert_eq!(error, CallError::Timeout(Duration::from_millis(400)));
    assert!((Duration::from_millis(820)..Duration::from_secs(10)).contains(&start.elapsed()));
    assert_eq!(seen.lock().unwrap().len(), 2);
}

#[test]
fn nobody_there() {
    // A port that was free a moment ago.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let url = format!("http://127.0.0.1:{port}/");
    let error = Server::new(spec(url, 1)).unwrap().call(&json!({})).unwrap_err();
    assert!(matches!(error, CallError::Failed(_)), "{error}");
    assert!(matches!(Server::new(spec("localhost".into(), 1)), Err(CallError::Unusable(_))));
}
