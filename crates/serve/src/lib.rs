//! A model behind an OpenAI-compatible HTTP API.
//!
//! ```text
//!  clients ──► routes (axum, tokio's threads) ──► request: body, pictures, prompt
//!                       ▲                                  │
//!                reply, text ◄── events of each token      ▼
//!                                                        desk: who waits, whose turn it is
//!                                                          │
//!                              models: the engine's thread ◄┘  `reft_rollout::ServingEngine`
//! ```
//!
//! Requests are prepared by the server's threads; the engine answers all requests for a model together and takes new ones
//! while it runs. A base and its adapters share weights and take turns. docs/SERVING.md says what is supported.

mod desk;
mod error;
mod metrics;
mod models;
mod reply;
mod request;
mod routes;
mod settings;
mod text;

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use reft_vlm::Vlm;
use tokio::{net::TcpListener, runtime, sync::Semaphore, time::sleep};

pub use error::ServeError;
pub use routes::REQUEST_ID;
pub use settings::ServeSettings;

use crate::{
    desk::Desk,
    metrics::Metrics,
    models::{Cards, Models},
    routes::{Shared, router},
};

/// Between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(100);

/// Serves until `stop`, then finishes what was asked and returns. `ready` hears the address, `log` a line for each request.
pub fn serve(
    policy: Vlm,
    mut settings: ServeSettings,
    ready: impl FnOnce(SocketAddr),
    log: impl Fn(&str) + Send + Sync + 'static,
    stop: impl Fn() -> bool + Send + 'static,
) -> Result<(), ServeError> {
    let n_threads = thread::available_parallelism().map_or(1, usize::from);
    // What a request may ask for, and what it has where it does not say.
    settings.room = settings.room.within(policy.processor().context_limit());
    let internal = |error: prometheus::Error| ServeError::Runtime(std::io::Error::other(error));
    let shared = Arc::new(Shared {
        processor: Arc::new(policy.processor().clone()),
        desk: Desk::new(Metrics::new().map_err(internal)?),
        cards: Cards::default(),
        preparing: Semaphore::new(n_threads),
        log: Box::new(log),
        n_requests: AtomicU64::new(0),
        began: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as u64),
        settings,
    });
    let settings = &shared.settings;
    let mut models = Models::new(&settings.model_name, policy, settings.room, &shared.cards);
    for (name, dir) in &settings.adapters {
        if shared.cards.named(Some(name)).is_ok() {
            return Err(ServeError::Name(name.clone()));
        }
        models.load(name, dir)?;
    }

    let runtime = runtime::Builder::new_multi_thread().enable_all().build().map_err(ServeError::Runtime)?;
    let listener = runtime.block_on(TcpListener::bind(settings.address));
    let unusable =
        |error: std::io::Error| ServeError::Address { address: settings.address, message: error.to_string() };
    let listener = listener.map_err(unusable)?;
    ready(listener.local_addr().map_err(unusable)?);
    let stopped = async move {
        while !stop() {
            sleep(LOOK).await;
        }
    };
    let app = router(Arc::clone(&shared));
    let own = Arc::clone(&shared);
    let server = runtime.spawn(async move {
        let served = axum::serve(listener, app).with_graceful_shutdown(stopped).await;
        own.desk.close();
        served
    });
    // On this thread: libtorch's settings are this thread's.
    models.answer(&shared.desk, &shared.log);
    runtime.block_on(server).map_err(|error| ServeError::Runtime(error.into()))?.map_err(ServeError::Runtime)
}
