//! A scripted server with OpenAI's protocol on this machine: it answers, talks nonsense, limits the rate, hangs.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use reft_remote::{CallError, Chat, ChatSpec, ChatUsage};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Serves `answers` in turn, the last one for ever; status 0 hangs. Returns the address and how many requests came.
fn serve(answers: Vec<(u16, String)>) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0);
            }
            assert!(head.starts_with("POST /v1/chat/completions HTTP/1.1\r\n"), "{head}");
            let length =
                head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            let body: Value = serde_json::from_slice(&body).unwrap();
            assert_eq!((&body["model"], &body["messages"][0]["role"]), (&json!("m"), &json!("user")));
            let at = seen.fetch_add(1, Ordering::Relaxed).min(answers.len() - 1);
            match &answers[at] {
                (0, _) => std::mem::forget(stream),
                (status, text) => {
                    let n = text.len();
                    let head =
                        format!("HTTP/1.1 {status} X\r\ncontent-length: {n}\r\nconnection: close\r\n\r\n");
                    stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
                }
            }
        }
    });
    (url, count)
}

/// A reply as OpenAI's servers put it.
fn reply(text: &str) -> (u16, String) {
    let body = json!({
        "choices": [{"message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": 7, "completion_tokens": 2},
    });
    (200, body.to_string())
}

fn spec(base_url: String, folder: Option<&TempDir>) -> ChatSpec {
    ChatSpec {
        base_url,
        model: "m".into(),
        token: None,
        timeout: Duration::from_millis(400),
        retries: 2,
        backoff: Duration::from_millis(10),
        max_tokens: Some(16),
        per_minute: 0,
        cache: folder.map(|folder| folder.path().join("replies")),
    }
}

#[test]
fn a_rerun_is_free_and_identical() {
    let folder = TempDir::new().unwrap();
    let (url, count) = serve(vec![reply("B"), reply("C"), reply("D")]);
    let chat = Chat::new(spec(url.clone(), Some(&folder))).unwrap();
    // Another attempt, and another prompt, are other questions.
    let ask = |chat: &Chat| [("p", 0), ("p", 1), ("q", 0)].map(|(prompt, n)| chat.ask(prompt, n).unwrap());
    assert_eq!(ask(&chat), ["B", "C", "D"]);
    assert_eq!(chat.usage(), ChatUsage { asked: 3, cached: 0, prompt_tokens: 21, reply_tokens: 6 });

    // The server may be gone, and a torn reply is asked again.
    let again = Chat::new(spec("http://127.0.0.1:9/v1".into(), Some(&folder))).unwrap();
    assert_eq!(ask(&again), ["B", "C", "D"]);
    assert_eq!(again.usage(), ChatUsage { cached: 3, ..ChatUsage::default() });
    for entry in fs::read_dir(folder.path().join("replies")).unwrap() {
        let path = entry.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, &text[..text.len() / 2]).unwrap();
    }
    let mended = Chat::new(spec(url, Some(&folder))).unwrap();
    assert_eq!(mended.ask("p", 0).unwrap(), "D");
    assert_eq!(count.load(Ordering::Relaxed), 4);
}

#[test]
fn servers_that_are_busy_stall_or_talk_nonsense() {
    let busy = (429, "slower".to_owned());
    let (url, count) = serve(vec![busy.clone(), (503, String::new()), reply("yes")]);
    assert_eq!(Chat::new(spec(url, None)).unwrap().ask("p", 0).unwrap(), "yes");
    assert_eq!(count.load(Ordering::Relaxed), 3);

    let (url, _) = serve(vec![busy]);
    let error = Chat::new(spec(url, None)).unwrap().ask("p", 0).unwrap_err().to_string();
    assert!(error.contains("status 429: slower"), "{error}");

    let (url, _) = serve(vec![(200, "{\"choices\": []}".to_owned())]);
    let error = Chat::new(spec(url, None)).unwrap().ask("p", 0).unwrap_err().to_string();
    assert!(
        error.contains("another shape than `/v1/chat/completions` has (`choices[0].message.content`)"),
        "{error}"
    );

    let (url, _) = serve(vec![(0, String::new())]);
    assert!(matches!(Chat::new(spec(url, None)).unwrap().ask("p", 0), Err(CallError::Timeout(_))));
}

#[test]
fn the_rate_is_kept_by_all_threads() {
    let (url, _) = serve(vec![reply("ok")]);
    // A request every 50 ms.
    let chat = Chat::new(ChatSpec { per_minute: 1_200, ..spec(url, None) }).unwrap();
    let start = Instant::now();
    thread::scope(|scope| {
        for i in 0..5 {
            let chat = &chat;
            scope.spawn(move || chat.ask(&i.to_string(), 0).unwrap());
        }
    });
    assert!(start.elapsed() >= Duration::from_millis(200));
}
