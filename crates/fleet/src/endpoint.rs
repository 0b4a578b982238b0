//! One server: the route that answers, and those that load weights.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use reft_config::ServerApi;
use reft_remote::{CallError, Server, ServerSpec};
use serde_json::{Value, json};

/// How long a server may take to drop an adapter that nobody asks for any more.
const UNLOAD: Duration = Duration::from_secs(10);

/// Weights that a server must have before it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Weights {
    /// Unique for what they are: equal names are equal weights.
    pub(crate) name: String,
    /// Their folder, as servers see it.
    pub(crate) path: String,
    /// Whether they are an adapter, or a whole model.
    pub(crate) is_adapter: bool,
}

/// A server.
pub(crate) struct Endpoint {
    chat: Server,
    loader: Option<Loader>,
}

/// The routes that load weights, and what has been loaded.
struct Loader {
    load: Server,
    unload: Server,
    update: Server,
    /// Held while weights are loaded: all questions of a step want the same.
    loaded: Mutex<Option<Weights>>,
}

impl Endpoint {
    /// `spec` has the base address; with an `api` weights can be loaded.
    pub(crate) fn new(spec: &ServerSpec, api: Option<ServerApi>) -> Result<Self, CallError> {
        let base = spec.url.trim_end_matches('/');
        let at = |url: String| Server::new(ServerSpec { url, ..spec.clone() });
        let loader = |api| {
            let routes = match api {
                ServerApi::Vllm => base,
                // SGLang's routes are beside `/v1`, not below.
                ServerApi::Sglang => base.strip_suffix("/v1").unwrap_or(base),
            };
            let unload = format!("{routes}/unload_lora_adapter");
            Ok(Loader {
                load: at(format!("{routes}/load_lora_adapter"))?,
                unload: Server::new(ServerSpec { url: unload, timeout: UNLOAD, ..spec.clone() })?,
                update: at(format!("{routes}/update_weights_from_disk"))?,
                loaded: Mutex::new(None),
            })
        };
        Ok(Self { chat: at(format!("{base}/chat/completions"))?, loader: api.map(loader).transpose()? })
    }

    /// Its address.
    pub(crate) fn url(&self) -> &str {
        &self.chat.spec().url
    }

    /// Asks a question of some weights, which are loaded first where they are not there.
    pub(crate) fn ask(&self, question: &Value, weights: Option<&Weights>) -> Result<Value, CallError> {
        let Some(weights) = weights else { return self.answer(question) };
        self.ready(weights)?;
        match self.answer(question) {
            // vLLM and `reft serve` have status 404, SGLang 400 for an adapter that is not there: the server was started
            // again, or has dropped it.
            Err(CallError::Missing(reason)) => self.lost(reason),
            Err(CallError::Refused(reason)) if reason.contains("not loaded") => self.lost(reason),
            // It may come back as another process.
            Err(error @ (CallError::Failed(_) | CallError::Timeout(_))) => {
                self.forget();
                Err(error)
            }
            answer => answer,
        }
    }

    /// A whole answer: one that was given up half way is none.
    fn answer(&self, question: &Value) -> Result<Value, CallError> {
        let answer = self.chat.call(question)?;
        if was_aborted(&answer) {
            return Err(CallError::Failed(format!("`{}`: the server gave the question up", self.url())));
        }
        Ok(answer)
    }

    /// The weights are not there any more; asking again loads them.
    fn lost(&self, reason: String) -> Result<Value, CallError> {
        self.forget();
        Err(CallError::Failed(reason))
    }

    fn forget(&self) {
        if let Some(loader) = &self.loader {
            *loader.loaded.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }
    }

    /// Loads weights where they are not loaded, and drops those that they follow.
    fn ready(&self, weights: &Weights) -> Result<(), CallError> {
        let Some(loader) = &self.loader else { return Ok(()) };
        let mut loaded = loader.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if loaded.as_ref() == Some(weights) {
            return Ok(());
        }
        loader.load(weights)?;
        if let Some(old) = loaded.replace(weights.clone())
            && old.is_adapter
        {
            loader.unload(&old.name);
        }
        Ok(())
    }

    /// Drops an adapter, where it is there.
    pub(crate) fn unload(&self, name: &str) {
        if let Some(loader) = &self.loader {
            loader.unload(name);
        }
    }
}

impl Loader {
    fn load(&self, weights: &Weights) -> Result<(), CallError> {
        let Weights { name, path, is_adapter } = weights;
        if !is_adapter {
            return self.update.order(&json!({"model_path": path}));
        }
        match self.load.order(&json!({"lora_name": name, "lora_path": path})) {
            // Of an earlier process of this run, or an earlier phase: equal names are equal weights.
            Err(CallError::Refused(reason)) if reason.contains("already") => Ok(()),
            Err(CallError::Missing(reason)) => Err(CallError::Unusable(format!(
                "{reason}; adapters are loaded while a server runs: start vLLM with `--enable-lora` and \
                 `VLLM_ALLOW_RUNTIME_LORA_UPDATING=True`, SGLang with `--enable-lora` and `weight_sync.api = \"sglang\"`, \
                 `reft serve` with `--adapter-files`; the folder must be there as `{path}`"
            ))),
            loaded => loaded,
        }
    }

    /// What is no longer asked for takes memory of the server at worst.
    fn unload(&self, name: &str) {
        let _ = self.unload.order(&json!({"lora_name": name}));
    }
}

/// A server that stops gives up what it was asked, with status 200.
fn was_aborted(answer: &Value) -> bool {
    let choices = answer["choices"].as_array().map(Vec::as_slice).unwrap_or_default();
    choices.iter().any(|choice| choice["finish_reason"] == "abort")
}
