//! Scripted servers on this machine.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

/// What a server does with a body on a route; none hangs up.
pub(crate) type Act = dyn Fn(&str, &Value) -> Option<(u16, String)> + Send + Sync;

/// Every route and body that a server has seen.
pub(crate) type Seen = Arc<Mutex<Vec<(String, Value)>>>;

/// A server with its base address.
pub(crate) fn serve_routes(
    act: impl Fn(&str, &Value) -> Option<(u16, String)> + Send + Sync + 'static,
) -> (String, Seen) {
    serve_on(TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(act))
}

pub(crate) fn serve_on(listener: TcpListener, act: Arc<Act>) -> (String, Seen) {
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (act, log) = (Arc::clone(&act), Arc::clone(&log));
            thread::spawn(move || answer(stream.unwrap(), &*act, &log));
        }
    });
    (url, seen)
}

fn answer(mut stream: TcpStream, act: &Act, seen: &Seen) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap() == 0 {
            return;
        }
    }
    let route = head.strip_prefix("POST ").and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    let length = head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap()];
    reader.read_exact(&mut body).unwrap();
    let body: Value = serde_json::from_slice(&body).unwrap();
    seen.lock().unwrap().push((route.clone(), body.clone()));
    let Some((status, text)) = act(&route, &body) else { return };
    let head = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", text.len());
    stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
}
