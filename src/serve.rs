//! A model behind an OpenAI-compatible API: `reft serve`.

use std::net::SocketAddr;

use reft_config::ModelConfig;
pub use reft_serve::{REQUEST_ID, ServeSettings};

use crate::{Error, hub, model};

/// Serves a model until `stop`, then finishes what was asked. `ready` hears the address, `log` a line for each request.
pub fn serve(
    config: &ModelConfig,
    mut settings: ServeSettings,
    ready: impl FnOnce(SocketAddr),
    log: impl Fn(&str) + Send + Sync + 'static,
    stop: impl Fn() -> bool + Send + 'static,
) -> Result<(), Error> {
    for (_, dir) in &mut settings.adapters {
        *dir = hub::model_path(dir)?;
    }
    Ok(reft_serve::serve(model::open(config)?, settings, ready, log, stop)?)
}
