//! A sample as a request of `/v1/chat/completions`.

use reft_core::{ImageRef, Part, Role, Sample, SamplingParams, StageError};
use reft_remote::data_url;
use serde_json::{Map, Value, json};

use crate::engine::Asked;

/// Seeds are 63 bits wide: some servers read them as signed.
const SEED_BITS: u64 = u64::MAX >> 1;

/// The strongest bias that OpenAI's API has: a token that is as good as never drawn.
const NEVER: i32 = -100;

/// The body of the request. What `with_extensions` allows is known to vLLM, SGLang and `reft serve`, and not to OpenAI.
pub(crate) fn question(
    asked: Asked<'_>,
    sample: &Sample,
    params: &SamplingParams,
    with_extensions: bool,
) -> Result<Value, StageError> {
    let mut body = Map::new();
    let mut set = |name: &str, value: Value| body.insert(name.to_owned(), value);
    set("model", asked.model.into());
    set("messages", messages(sample)?);
    set("n", params.group_size.into());
    set("temperature", params.temperature.into());
    set("top_p", params.top_p.into());
    set("presence_penalty", params.presence_penalty.into());
    set("frequency_penalty", params.frequency_penalty.into());
    set("max_tokens", params.max_new_tokens.into());
    set("seed", (params.seed.at(&sample.id).key() & SEED_BITS).into());
    if !params.stop.is_empty() {
        set("stop", params.stop.clone().into());
    }
    if !asked.never.is_empty() {
        let bias = asked.never.iter().map(|id| (id.to_string(), NEVER.into()));
        set("logit_bias", Value::Object(bias.collect()));
    }
    if with_extensions {
        set("logprobs", true.into());
        set("return_token_ids", true.into());
        // A prompt longer than the server's room is an error there, never cut.
        for (name, value, plain) in [
            ("top_k", json!(params.top_k), json!(0)),
            ("min_p", json!(params.min_p), json!(0.0_f32)),
            ("repetition_penalty", json!(params.repetition_penalty), json!(1.0_f32)),
            ("min_tokens", json!(params.min_new_tokens), json!(0)),
        ] {
            if value != plain {
                set(name, value);
            }
        }
    }
    Ok(body.into())
}

/// What no server can be asked for.
pub(crate) fn unsupported(params: &SamplingParams, with_extensions: bool) -> Option<String> {
    let bans = !params.banned.is_empty() || !params.banned_ids.is_empty();
    let extended = params.top_k > 0
        || params.min_p > 0.0
        || params.repetition_penalty != 1.0
        || params.min_new_tokens > 0;
    if bans {
        Some("`banned` and `banned_ids` cannot be asked of a server; leave them out".into())
    } else if extended && !with_extensions {
        Some(
            "`top_k`, `min_p`, `repetition_penalty` and `min_new_tokens` are no part of OpenAI's API; leave them out, or \
             set `extensions = true` where the server knows them"
                .into(),
        )
    } else {
        None
    }
}

fn messages(sample: &Sample) -> Result<Value, StageError> {
    let turn = |message: &reft_core::Message| {
        let role = match message.role {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        };
        // Text alone as text: some templates have no parts in system messages.
        let content = match &message.content[..] {
            [Part::Text(text)] => text.as_str().into(),
            parts => parts.iter().map(part).collect::<Result<Value, StageError>>()?,
        };
        Ok(json!({"role": role, "content": content}))
    };
    sample.messages.iter().map(turn).collect()
}

fn part(part: &Part) -> Result<Value, StageError> {
    Ok(match part {
        Part::Text(text) => json!({"type": "text", "text": text}),
        Part::Image(image) => json!({"type": "image_url", "image_url": {"url": encoded(image)?}}),
    })
}

fn encoded(image: &ImageRef) -> Result<String, StageError> {
    let bytes = image.source.read();
    Ok(data_url(&bytes.map_err(|error| StageError::other(format!("image `{}`", image.label), error))?))
}
