//! What a server allows.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use reft_rollout::Room;

/// How a server is set up.
#[derive(Clone, Debug)]
pub struct ServeSettings {
    /// Where it listens. The default, loopback, is reached from this machine alone.
    pub address: SocketAddr,
    /// What requests call the model.
    pub model_name: String,
    /// Adapters, by the name that requests choose them by.
    pub adapters: Vec<(String, PathBuf)>,
    /// What every request must bring as `Authorization: Bearer KEY`; none asks nobody.
    pub api_key: Option<String>,
    /// Folder below which `file://` images may lie; none allows none.
    pub files: Option<PathBuf>,
    /// Folder below which adapters that are loaded by request must lie; none loads none by request.
    pub adapter_files: Option<PathBuf>,
    /// What the engine has room for.
    pub room: Room,
    /// Requests that may wait for room; more are told to come back.
    pub most_waiting: usize,
    /// Longest time from the request to the last token.
    pub timeout: Duration,
    /// Largest body, in bytes: pictures come in it.
    pub most_bytes: usize,
}

impl Default for ServeSettings {
    fn default() -> Self {
        Self {
            address: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8000),
            model_name: "model".into(),
            adapters: Vec::new(),
            api_key: None,
            files: None,
            adapter_files: None,
            room: Room { prompt_tokens: 4096, completion_tokens: 1024, answers: 4, prompts: 64 },
            most_waiting: 256,
            timeout: Duration::from_secs(600),
            most_bytes: 32 << 20,
        }
    }
}
