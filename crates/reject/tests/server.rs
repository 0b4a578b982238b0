//! A judge behind a real server on this machine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
    thread,
};

use reft_config::ServerJudgeConfig;
use reft_core::{
    BoxFrame, Completion, Form, ImageRef, ImageSize, ImageSource, Judge as _, Message, Part, Role, Sample,
    Task,
};
use reft_reject::ServerJudge;
use serde_json::{Value, json};

/// Answers every request with `status` and `content`; gives the address and what was asked.
fn serve(status: u16, content: &'static str) -> (String, Arc<Mutex<Vec<Value>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1/", listener.local_addr().unwrap());
    let asked = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&asked);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut length, mut line) = (0, String::new());
            while line != "\r\n" {
                line.clear();
                reader.read_line(&mut line).unwrap();
                if let Some(n) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = n.trim().parse().unwrap();
                }
                if line.starts_with("POST") {
                    assert!(line.starts_with("POST /v1/chat/completions "), "{line}");
                }
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            log.lock().unwrap().push(serde_json::from_slice(&body).unwrap());
            let text =
                json!({"choices": [{"message": {"role": "assistant", "content": content}}]}).to_string();
            let n = text.len();
            write!(stream, "HTTP/1.1 {status} X\r\ncontent-length: {n}\r\nconnection: close\r\n\r\n{text}")
                .unwrap();
        }
    });
    (url, asked)
}

fn config(url: String) -> ServerJudgeConfig {
    serde_json::from_value(json!({"url": url, "model": "judge-1", "retries": 1, "backoff_s": 0.01})).unwrap()
}

fn sample() -> Sample {
    let image = ImageRef {
        source: ImageSource::Bytes(Arc::from([0x89, b'P', b'N', b'G'])),
        size: ImageSize { width: 1, height: 1 },
        label: "a.png".into(),
    };
    Sample {
        id: "q".into(),
        task: Task::Math,
        form: Form::Open,
        problem: "How many?".into(),
        messages: vec![Message { role: Role::User, content: vec![Part::Image(image)] }],
        solution: "12".into(),
        box_frame: BoxFrame::Original,
        parent: None,
    }
}

#[test]
fn a_model_gives_the_points() {
    let (url, asked) = serve(200, "```json\n{\"score\": 90, \"reason\": \"right and sound\"}\n```");
    let judge = ServerJudge::new(&config(url)).unwrap();
    let judgement = judge.judge(&sample(), &Completion::from_text("<answer>12</answer>")).unwrap();
    assert_eq!((judgement.score, judgement.reason.as_str()), (90.0, "right and sound"));

    let asked = asked.lock().unwrap();
    let ask = &asked[0];
    assert_eq!((&ask["model"], &ask["temperature"]), (&json!("judge-1"), &json!(0.0)));
    assert!(ask["messages"][0]["content"].as_str().unwrap().contains("0 to 100 points"));
    let content = &ask["messages"][1]["content"];
    for part in ["How many?", "12", "<answer>12</answer>"] {
        assert!(content[0]["text"].as_str().unwrap().contains(part), "{part}");
    }
    assert_eq!(content[1]["image_url"]["url"], "data:image/png;base64,iVBORw==");
}

#[test]
fn without_points_an_answer_is_not_kept_and_without_a_server_the_run_stops() {
    let (url, _) = serve(200, "I would rather not say.");
    let judgement =
        ServerJudge::new(&config(url)).unwrap().judge(&sample(), &Completion::from_text("12")).unwrap();
    assert_eq!(judgement.score, 0.0);
    assert!(judgement.reason.contains("gave no points: I would rather"), "{}", judgement.reason);

    let (url, asked) = serve(503, "busy");
    let error =
        ServerJudge::new(&config(url)).unwrap().judge(&sample(), &Completion::from_text("12")).unwrap_err();
    assert!(
        error.to_string().contains("judge of sample `q`") && error.to_string().contains("status 503"),
        "{error}"
    );
    assert_eq!(asked.lock().unwrap().len(), 2);

    let unset =
        ServerJudgeConfig { token_env: Some("REFT_NO_SUCH_TOKEN".into()), ..config("http://a".into()) };
    assert!(ServerJudge::new(&unset).err().unwrap().to_string().contains("`REFT_NO_SUCH_TOKEN`"));
}
