//! The routes.

use std::{
    convert::Infallible,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    Json, Router,
    body::Body as HttpBody,
    extract::{Request as HttpRequest, State},
    http::{HeaderMap, HeaderName, HeaderValue, Uri, header::AUTHORIZATION},
    middleware::{self, Next},
    response::{
        IntoResponse, Response, Sse,
        sse::{Event as Piece, KeepAlive},
    },
    routing::{get, post},
};
use futures_util::{StreamExt as _, stream};
use reft_core::{SampleId, Seed};
use reft_rollout::{Event, Request};
use reft_vlm::processor::{EncodedPrompt, Processor};
use serde::Deserialize;
use serde_json::json;
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    time::timeout_at,
};

use crate::{
    desk::{Command, Desk, Job},
    error::ApiError,
    models::Cards,
    reply::{Head, Reply},
    request::{Body, Route, Wanted},
    settings::ServeSettings,
};

/// The sample that a request is to its seed: `reft generate --seed N` answers a row of this id alike.
pub const REQUEST_ID: &str = "request";

/// Names a request in log lines and in its answer.
const ID_HEADER: HeaderName = HeaderName::from_static("x-request-id");

/// What all requests share.
pub(crate) struct Shared {
    pub(crate) settings: ServeSettings,
    pub(crate) processor: Arc<Processor>,
    pub(crate) desk: Desk,
    pub(crate) cards: Cards,
    /// Prompts that are prepared at a time: decoding pictures takes a core each.
    pub(crate) preparing: Semaphore,
    pub(crate) log: Box<dyn Fn(&str) + Send + Sync>,
    pub(crate) n_requests: AtomicU64,
    /// Nanoseconds since 1970 when the server began: what tells its answers from those of another time.
    pub(crate) began: u64,
}

type Desks = State<Arc<Shared>>;

pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let api = Router::new()
        .route("/v1/chat/completions", post(chat))
        .route("/v1/completions", post(text))
        .route("/v1/models", get(models))
        .route("/v1/load_lora_adapter", post(load_adapter))
        .route("/v1/unload_lora_adapter", post(unload_adapter))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), with_key));
    Router::new()
        .route("/health", get(|| async { Json(json!({"status": "ok"})) }))
        .route("/metrics", get(|State(shared): Desks| async move { shared.desk.metrics.text() }))
        .merge(api)
        .fallback(|uri: Uri| async move { ApiError::NoRoute(uri.path().to_owned()) })
        .layer(tower_http::catch_panic::CatchPanicLayer::custom(|_| {
            ApiError::Internal("the server has failed at this request".into()).into_response()
        }))
        .with_state(shared)
}

/// Asks for the key, where there is one.
async fn with_key(State(shared): Desks, request: HttpRequest, next: Next) -> Response {
    let given =
        request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.strip_prefix("Bearer "));
    match &shared.settings.api_key {
        Some(key) if !given.is_some_and(|given| is_equal(given, key)) => {
            ApiError::Unauthorized.into_response()
        }
        _ => next.run(request).await,
    }
}

/// In the same time wherever they differ.
fn is_equal(a: &str, b: &str) -> bool {
    a.len() == b.len() && a.bytes().zip(b.bytes()).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

async fn models(State(shared): Desks) -> Response {
    let cards = shared.cards.all().into_iter().map(|card| {
        json!({"id": card.name, "object": "model", "created": card.created, "owned_by": "curr-reft",
               "root": card.name, "parent": card.parent, "max_model_len": shared.settings.room.prompt_tokens + shared.settings.room.completion_tokens})
    });
    Json(json!({"object": "list", "data": cards.collect::<Vec<_>>()})).into_response()
}

async fn chat(state: Desks, headers: HeaderMap, body: HttpBody) -> Response {
    complete(Route::Chat, state.0, &headers, body).await
}

async fn text(state: Desks, headers: HeaderMap, body: HttpBody) -> Response {
    complete(Route::Text, state.0, &headers, body).await
}

#[derive(Deserialize)]
struct AdapterBody {
    lora_name: String,
    lora_path: Option<String>,
}

async fn adapter_body(shared: &Shared, body: HttpBody) -> Result<AdapterBody, ApiError> {
    let bytes = read(body, shared.settings.most_bytes).await?;
    serde_json::from_slice(&bytes).map_err(|error| ApiError::invalid(format!("the body: {error}")))
}

/// Where adapters come from; an error where they neither come nor go by request.
fn adapter_files(shared: &Shared) -> Result<&Path, ApiError> {
    shared.settings.adapter_files.as_deref().ok_or_else(|| {
        ApiError::invalid(
            "adapters neither come nor go by request here; start the server with `--adapter-files DIR`",
        )
    })
}

async fn load_adapter(State(shared): Desks, body: HttpBody) -> Result<String, ApiError> {
    let folder = adapter_files(&shared)?;
    let AdapterBody { lora_name: name, lora_path } = adapter_body(&shared, body).await?;
    let path = lora_path.ok_or_else(|| ApiError::param("lora_path", "`lora_path` is missing"))?;
    let absent = || {
        ApiError::param(
            "lora_path",
            format!("there is no folder `{path}` below that of this server's adapters"),
        )
    };
    let dir = Path::new(&path).canonicalize().map_err(|_| absent())?;
    if !dir.starts_with(folder.canonicalize().map_err(|_| absent())?) {
        return Err(absent());
    }
    let (done, answer) = oneshot::channel();
    shared.desk.command(Command::Load { name: name.clone(), dir, done });
    answer.await.map_err(|_| ApiError::Stopping)??;
    (shared.log)(&format!("adapter `{name}` loaded from {path}"));
    Ok(format!("Success: LoRA adapter '{name}' added successfully."))
}

async fn unload_adapter(State(shared): Desks, body: HttpBody) -> Result<String, ApiError> {
    adapter_files(&shared)?;
    let AdapterBody { lora_name: name, .. } = adapter_body(&shared, body).await?;
    let (done, answer) = oneshot::channel();
    shared.desk.command(Command::Unload { name: name.clone(), done });
    answer.await.map_err(|_| ApiError::Stopping)??;
    (shared.log)(&format!("adapter `{name}` unloaded"));
    Ok(format!("Success: LoRA adapter '{name}' removed successfully."))
}

/// Counts a request and writes its line when it is over, however that comes about.
struct Receipt {
    shared: Arc<Shared>,
    id: String,
    route: Route,
    began: Instant,
    status: u16,
    tokens: (usize, usize),
}

impl Drop for Receipt {
    fn drop(&mut self) {
        let (route, metrics) = (path(self.route), &self.shared.desk.metrics);
        metrics.requests.with_label_values(&[route, &self.status.to_string()]).inc();
        metrics.prompt_tokens.inc_by(self.tokens.0 as u64);
        metrics.completion_tokens.inc_by(self.tokens.1 as u64);
        let seconds = self.began.elapsed().as_secs_f64();
        metrics.whole.observe(seconds);
        let (prompt, completion) = self.tokens;
        (self.shared.log)(&format!(
            "{} {} {route} {prompt}+{completion} tokens {seconds:.3} s",
            self.id, self.status
        ));
    }
}

/// What a client that has left is counted as, after nginx.
const LEFT: u16 = 499;

fn path(route: Route) -> &'static str {
    match route {
        Route::Chat => "/v1/chat/completions",
        Route::Text => "/v1/completions",
    }
}

async fn complete(route: Route, shared: Arc<Shared>, headers: &HeaderMap, body: HttpBody) -> Response {
    let number = shared.n_requests.fetch_add(1, Ordering::Relaxed);
    let given = headers.get(ID_HEADER).and_then(|id| id.to_str().ok()).filter(|id| id.len() <= 64);
    let id = given.map_or_else(|| format!("req-{number}"), str::to_owned);
    let mut receipt = Receipt {
        shared: Arc::clone(&shared),
        id: id.clone(),
        route,
        began: Instant::now(),
        status: LEFT,
        tokens: (0, 0),
    };
    let mut response = match begin(route, number, &shared, body).await {
        Err(error) => {
            receipt.status = error.status().as_u16();
            error.into_response()
        }
        Ok(Begun { answering, is_stream: true, with_usage }) => {
            stream_of(Streaming { answering, receipt, pieces: Vec::new(), with_usage, is_over: false })
        }
        Ok(Begun { mut answering, .. }) => {
            let whole = answering.whole(&receipt).await;
            receipt.tokens = (answering.reply.prompt_tokens(), answering.reply.completion_tokens());
            receipt.status = whole.as_ref().map_or_else(|error| error.status().as_u16(), |()| 200);
            whole.map_or_else(IntoResponse::into_response, |()| Json(answering.reply.body()).into_response())
        }
    };
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(ID_HEADER, value);
    }
    response
}

/// A request that waits for its answers.
struct Answering {
    reply: Reply,
    /// The answer's number, and what has become of it.
    events: mpsc::UnboundedReceiver<(usize, Event)>,
    until: Instant,
    timeout: Duration,
    has_begun: bool,
}

struct Begun {
    answering: Answering,
    is_stream: bool,
    with_usage: bool,
}

/// What an answer has become.
enum Heard {
    Token { answer: usize, text: String },
    Ended { answer: usize, text: String },
}

impl Answering {
    /// The next thing that becomes of an answer.
    async fn hear(&mut self, receipt: &Receipt) -> Result<Heard, ApiError> {
        let next = timeout_at(self.until.into(), self.events.recv()).await;
        let next = next.map_err(|_| ApiError::Timeout(self.timeout))?;
        let (first, event) =
            next.ok_or_else(|| ApiError::Internal("the engine has failed; ask again".into()))?;
        Ok(match event {
            Event::Token { answer, drawn } => {
                if !std::mem::replace(&mut self.has_begun, true) {
                    receipt.shared.desk.metrics.first_token.observe(receipt.began.elapsed().as_secs_f64());
                }
                let answer = first + answer;
                Heard::Token { answer, text: self.reply.push(answer, &drawn) }
            }
            Event::Ended { answer, finish } => {
                let answer = first + answer;
                Heard::Ended { answer, text: self.reply.end(answer, finish) }
            }
            Event::Failed(error) => return Err(error.into()),
        })
    }

    async fn whole(&mut self, receipt: &Receipt) -> Result<(), ApiError> {
        while !self.reply.is_whole() {
            self.hear(receipt).await?;
        }
        Ok(())
    }
}

/// Bodies that are too large are read on to so many times the limit, and forgotten: a client hears an answer only when it has
/// sent all.
const READ_ON: usize = 8;

async fn read(body: HttpBody, most: usize) -> Result<Vec<u8>, ApiError> {
    let (mut stream, mut kept, mut length) = (body.into_data_stream(), Vec::new(), 0);
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(|error| ApiError::invalid(format!("the body: {error}")))?;
        length += piece.len();
        if length <= most {
            kept.extend_from_slice(&piece);
        } else {
            kept = Vec::new();
            if length > most.saturating_mul(READ_ON) {
                break;
            }
        }
    }
    if length > most { Err(ApiError::TooLarge(most)) } else { Ok(kept) }
}

/// Reads a request, prepares its prompts, and puts it into the queue.
async fn begin(route: Route, number: u64, shared: &Arc<Shared>, body: HttpBody) -> Result<Begun, ApiError> {
    let settings = &shared.settings;
    let until = Instant::now() + settings.timeout;
    let bytes = timeout_at(until.into(), read(body, settings.most_bytes)).await;
    let bytes = bytes.map_err(|_| ApiError::Timeout(settings.timeout))??;
    let permit = timeout_at(until.into(), shared.preparing.acquire()).await;
    let _permit = permit.map_err(|_| ApiError::Timeout(settings.timeout))?.map_err(|_| ApiError::Stopping)?;
    let own = Arc::clone(shared);
    let prepared = tokio::task::spawn_blocking(move || prepare(route, number, &own, &bytes)).await;
    let (body, wanted, model, prompts) =
        prepared.map_err(|_| ApiError::Internal("a prompt could not be prepared".into()))??;
    let (heard, events) = mpsc::unbounded_channel();
    let head = Head {
        id: format!("{}-{}-{number}", if route == Route::Chat { "chatcmpl" } else { "cmpl" }, shared.began),
        created: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs()),
        model: model.clone(),
        route,
        with_ids: body.return_token_ids,
        prompts: prompts.iter().map(|prompt| prompt.token_ids.clone()).collect(),
    };
    let reply = Reply::new(head, &shared.processor, &wanted);
    let n = wanted.params.group_size;
    let jobs = prompts.into_iter().enumerate().map(|(index, prompt)| {
        let (heard, asks) = (heard.clone(), heard.clone());
        Job {
            model: model.clone(),
            request: Request {
                prompt,
                params: wanted.params.clone(),
                id: SampleId::from(REQUEST_ID),
                n_top: wanted.logprobs.unwrap_or(0),
                listener: Box::new(move |event| heard.send((index * n, event)).is_ok()),
            },
            is_gone: Box::new(move || asks.is_closed()),
            since: Instant::now(),
        }
    });
    shared.desk.submit(jobs.collect(), settings.most_waiting)?;
    Ok(Begun {
        is_stream: body.stream,
        with_usage: body.stream_options.is_some_and(|options| options.include_usage),
        answering: Answering { reply, events, until, timeout: settings.timeout, has_begun: false },
    })
}

fn prepare(
    route: Route,
    number: u64,
    shared: &Shared,
    bytes: &[u8],
) -> Result<(Body, Wanted, String, Vec<EncodedPrompt>), ApiError> {
    let body = Body::read(bytes)?;
    let model = shared.cards.named(body.model.as_deref())?;
    // Of a request that names none.
    let seed = Seed::new(shared.began).at(number);
    let wanted = body.wanted(route, &shared.settings, seed)?;
    let prompts = body.prompts(route, &shared.processor, shared.settings.files.as_deref())?;
    Ok((body, wanted, model, prompts))
}

/// A request whose answers are told piece by piece.
struct Streaming {
    answering: Answering,
    receipt: Receipt,
    /// Not sent yet, the next last.
    pieces: Vec<Piece>,
    with_usage: bool,
    is_over: bool,
}

impl Streaming {
    async fn next(&mut self) -> Option<Piece> {
        loop {
            if let Some(piece) = self.pieces.pop() {
                return Some(piece);
            }
            if self.is_over {
                return None;
            }
            let heard = self.answering.hear(&self.receipt).await;
            let reply = &mut self.answering.reply;
            self.receipt.tokens = (reply.prompt_tokens(), reply.completion_tokens());
            let piece = |value: serde_json::Value| Piece::default().data(value.to_string());
            match heard {
                Ok(Heard::Token { answer, text }) => {
                    self.pieces.extend(reply.chunk(answer, &text, false).map(piece));
                }
                Ok(Heard::Ended { answer, text }) => {
                    let last = reply.chunk(answer, &text, true).map(piece);
                    if reply.is_whole() {
                        self.is_over = true;
                        self.receipt.status = 200;
                        self.pieces.push(Piece::default().data("[DONE]"));
                        self.pieces.extend(self.with_usage.then(|| piece(reply.usage_chunk())));
                    }
                    self.pieces.extend(last);
                }
                Err(error) => {
                    self.is_over = true;
                    self.receipt.status = error.status().as_u16();
                    self.pieces = vec![Piece::default().data("[DONE]"), piece(error.body())];
                }
            }
        }
    }
}

fn stream_of(streaming: Streaming) -> Response {
    let pieces = stream::unfold(streaming, |mut streaming| async {
        let piece = streaming.next().await?;
        Some((Ok::<_, Infallible>(piece), streaming))
    });
    Sse::new(pieces).keep_alive(KeepAlive::default()).into_response()
}
