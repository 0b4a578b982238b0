//! A model behind an OpenAI-compatible API: `reft serve`.

use std::net::SocketAddr;

use reft_config::ModelConfig;
pub use reft_serve::{REQUEST_ID, ServeSettings};

use crate::{Error, model};

/// Serves a model until `stop`, then finishes what was asked. `ready` hears the address, `log` a line for each request.
pub fn serve(
    config: &ModelConfig,
    settings: ServeSettings,
    ready: impl FnOnce(SocketAddr),
    log: impl Fn(&str) + Send + Sync + 'static,
    stop: impl Fn() -> bool + Send + 'static,
) -> Result<(), Error> {
    Ok(reft_serve::serve(model::open(config)?, settings, ready, log, stop)?)
}
