//! `reft serve`.

use std::{
    env,
    io::{self, Write as _},
    net::SocketAddr,
    sync::atomic::Ordering,
    time::Duration,
};

use anyhow::{Result, bail};
use curr_reft::{
    config::ModelConfig,
    rollout::Room,
    serve::{ServeSettings, serve},
};

use super::model::compute;
use crate::{
    args::{GlobalArgs, ServeArgs},
    interrupt::Interrupt,
};

pub(super) fn run(args: ServeArgs, global: GlobalArgs) -> Result<()> {
    let folder = args.model.canonicalize().ok();
    let folder =
        folder.as_deref().and_then(|dir| dir.file_name()).map(|name| name.to_string_lossy().into_owned());
    let api_key = env::var(&args.api_key_env).ok().filter(|key| !key.is_empty());
    if api_key.is_none() && !args.host.is_loopback() {
        bail!(
            "`--host {}` can be reached by others, so requests must bring a key: set `{}` (`--api-key-env`)",
            args.host,
            args.api_key_env
        );
    }
    let model = ModelConfig {
        kv_memory_mib: args.kv_memory_mib,
        ..compute(&args.compute, ModelConfig::of_folder(args.model.clone()))
    };
    let settings = ServeSettings {
        address: SocketAddr::new(args.host, args.port),
        model_name: args.served_model_name.or(folder).unwrap_or_else(|| args.model.display().to_string()),
        adapters: args.adapter,
        api_key,
        files: args.files,
        adapter_files: args.adapter_files,
        room: Room {
            prompt_tokens: args.max_prompt_tokens,
            completion_tokens: args.max_tokens,
            answers: args.answers,
            prompts: args.max_prompts,
        },
        most_waiting: args.max_waiting,
        timeout: Duration::from_secs(args.timeout),
        most_bytes: args.max_body_mib << 20,
    };
    let interrupt = Interrupt::listen()?;
    let asked = interrupt.flag();
    let name = settings.model_name.clone();
    let say = move |text: &str| {
        if !global.quiet {
            // A log that nobody reads any more is no reason to stop.
            let _ = writeln!(io::stderr(), "{text}");
        }
    };
    serve(
        &model,
        settings,
        |address| {
            say(&format!(
                "`{name}` is served at http://{address}/v1; Ctrl-C finishes what was asked and stops"
            ));
        },
        say,
        move || asked.load(Ordering::Relaxed),
    )?;
    Ok(())
}
