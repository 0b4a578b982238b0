//! From the body of a request to a prompt and how it is answered.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use base64::Engine as _;
use reft_core::{ImageRef, Message, Part, Role, SamplingParams, Seed};
use reft_data::in_memory;
use reft_vlm::processor::{EncodedPrompt, Processor, ProcessorError};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::{error::ApiError, settings::ServeSettings};

/// Most tokens that `top_logprobs` tells, as OpenAI's.
const MOST_TOP: usize = 20;

/// The `logit_bias` of a token that must not be drawn, in OpenAI's API.
const NEVER: f32 = -100.0;

/// What neither route can do. Each is refused unless it is null, false, empty or says that it is not wanted.
const REFUSED: [&str; 20] = [
    "tools",
    "tool_choice",
    "functions",
    "function_call",
    "modalities",
    "audio",
    "prediction",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "structured_outputs",
    "use_beam_search",
    "best_of",
    "echo",
    "suffix",
    "prompt_logprobs",
    "ignore_eos",
    "allowed_token_ids",
    "bad_words",
];

/// One string or several.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
enum OneOrMore {
    One(String),
    More(Vec<String>),
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub(crate) struct StreamOptions {
    #[serde(default)]
    pub(crate) include_usage: bool,
}

/// `logprobs`: whether, of a chat; how many, of a completion.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(untagged)]
enum Logprobs {
    Wanted(bool),
    Count(usize),
}

/// What both routes take. Keys of other tools are passed over, but for those of [`REFUSED`].
#[derive(Debug, Deserialize)]
pub(crate) struct Body {
    pub(crate) model: Option<String>,
    messages: Option<Vec<Value>>,
    prompt: Option<Value>,
    n: Option<usize>,
    temperature: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<i64>,
    min_p: Option<f32>,
    repetition_penalty: Option<f32>,
    presence_penalty: Option<f32>,
    frequency_penalty: Option<f32>,
    seed: Option<i64>,
    stop: Option<OneOrMore>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    min_tokens: Option<usize>,
    logprobs: Option<Logprobs>,
    top_logprobs: Option<usize>,
    #[serde(default)]
    pub(crate) stream: bool,
    pub(crate) stream_options: Option<StreamOptions>,
    #[serde(default)]
    pub(crate) return_token_ids: bool,
    logit_bias: Option<BTreeMap<u32, f32>>,
    response_format: Option<Value>,
    #[serde(flatten)]
    others: Map<String, Value>,
}

/// Which of the two routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Text,
}

/// How answers are drawn and what is told of them.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) params: SamplingParams,
    /// Whether log-probabilities are told, and of how many of the most likely tokens.
    pub(crate) logprobs: Option<usize>,
}

impl Body {
    /// Reads a body; what cannot be done is refused by name.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, ApiError> {
        let body: Self =
            serde_json::from_slice(bytes).map_err(|e| ApiError::invalid(format!("the body: {e}")))?;
        for name in REFUSED {
            if body.others.get(name).is_some_and(is_wanted) {
                return Err(ApiError::param(name, format!("`{name}` is not supported; leave it out")));
            }
        }
        let plain = |format: &Value| format["type"] == "text";
        if body.response_format.as_ref().is_some_and(|format| is_wanted(format) && !plain(format)) {
            let message = "`response_format` is not supported but for `{\"type\": \"text\"}`; leave it out, and say in the \
                           prompt how to answer";
            return Err(ApiError::param("response_format", message));
        }
        Ok(body)
    }

    /// Tokens that must not be drawn.
    fn never(&self) -> Result<Vec<u32>, ApiError> {
        let mut never = Vec::new();
        for (&id, &bias) in self.logit_bias.iter().flatten() {
            if bias == NEVER {
                never.push(id);
            } else if bias != 0.0 {
                let message = "`logit_bias` is supported for -100 (never) and 0; leave other values out";
                return Err(ApiError::param("logit_bias", message));
            }
        }
        Ok(never)
    }

    /// How it is to be answered; with another seed where it names none.
    pub(crate) fn wanted(
        &self,
        route: Route,
        settings: &ServeSettings,
        otherwise_seed: Seed,
    ) -> Result<Wanted, ApiError> {
        let asked = self.max_completion_tokens.or(self.max_tokens);
        // The defaults of the two routes as OpenAI has them.
        let otherwise = if route == Route::Chat { settings.room.completion_tokens } else { 16 };
        let plain = SamplingParams::plain(asked.unwrap_or(otherwise));
        let params = SamplingParams {
            group_size: self.n.unwrap_or(1),
            temperature: self.temperature.unwrap_or(1.0),
            top_p: self.top_p.unwrap_or(1.0),
            // vLLM writes -1 for all.
            top_k: usize::try_from(self.top_k.unwrap_or(0)).unwrap_or(0),
            min_p: self.min_p.unwrap_or(0.0),
            repetition_penalty: self.repetition_penalty.unwrap_or(1.0),
            presence_penalty: self.presence_penalty.unwrap_or(0.0),
            frequency_penalty: self.frequency_penalty.unwrap_or(0.0),
            min_new_tokens: self.min_tokens.unwrap_or(0),
            stop: match &self.stop {
                None => Vec::new(),
                Some(OneOrMore::One(stop)) => vec![stop.clone()],
                Some(OneOrMore::More(stops)) => stops.clone(),
            },
            banned_ids: self.never()?,
            seed: self.seed.map_or(otherwise_seed, |seed| Seed::new(seed as u64)),
            ..plain
        };
        for (field, message) in params.problems() {
            let param = match field {
                "group_size" => "n",
                "max_new_tokens" => "max_tokens",
                "min_new_tokens" => "min_tokens",
                other => other,
            };
            // The same answer several times is what was asked for, if it is greedy.
            if !(field == "temperature" && params.temperature == 0.0) {
                return Err(ApiError::param(param, format!("`{param}`: {message}")));
            }
        }
        let logprobs = match (route, self.logprobs) {
            (_, None | Some(Logprobs::Wanted(false))) => None,
            (Route::Chat, _) => Some(self.top_logprobs.unwrap_or(0)),
            (Route::Text, Some(Logprobs::Count(n))) => Some(n),
            (Route::Text, Some(Logprobs::Wanted(true))) => Some(0),
        };
        if logprobs.is_none() && self.top_logprobs.is_some_and(|n| n > 0) {
            return Err(ApiError::param("top_logprobs", "`top_logprobs` needs `logprobs`"));
        }
        if logprobs.is_some_and(|n| n > MOST_TOP) {
            return Err(ApiError::param(
                "top_logprobs",
                format!("at most {MOST_TOP} most likely tokens are told"),
            ));
        }
        Ok(Wanted { params, logprobs })
    }

    /// The prompts. Decodes pictures, so it takes a while.
    pub(crate) fn prompts(
        &self,
        route: Route,
        processor: &Processor,
        files: Option<&Path>,
    ) -> Result<Vec<EncodedPrompt>, ApiError> {
        let refused = |error: ProcessorError| ApiError::invalid(error.to_string());
        if route == Route::Chat {
            let messages = self.messages.as_deref().filter(|messages| !messages.is_empty());
            let messages =
                messages.ok_or_else(|| ApiError::param("messages", "`messages` is missing or empty"))?;
            let messages: Vec<Message> =
                messages.iter().map(|turn| message(turn, files)).collect::<Result<_, _>>()?;
            return Ok(vec![processor.encode(&messages).map_err(refused)?]);
        }
        let wrong = || {
            ApiError::param(
                "prompt",
                "`prompt` must be a text, a list of texts, of token ids, or of lists of these",
            )
        };
        let of_one = |prompt: &Value| match prompt {
            Value::String(text) => processor.encode_text(text).map_err(refused),
            Value::Array(ids) => {
                let ids: Option<Vec<i64>> = ids.iter().map(Value::as_i64).collect();
                processor.of_tokens(ids.ok_or_else(wrong)?).map_err(refused)
            }
            _ => Err(wrong()),
        };
        match &self.prompt {
            Some(Value::Array(prompts)) if !prompts.iter().all(Value::is_number) => {
                prompts.iter().map(of_one).collect()
            }
            Some(prompt) => Ok(vec![of_one(prompt)?]),
            None => Err(wrong()),
        }
    }
}

/// Whether a setting asks for something.
fn is_wanted(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty() && items.iter().any(|item| item != "text"),
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => !["", "none", "auto"].contains(&text.as_str()),
        // `best_of = 1`, `prompt_logprobs = 0`.
        Value::Number(number) => number.as_f64().is_some_and(|number| number > 1.0),
        Value::Bool(true) => true,
    }
}

fn message(turn: &Value, files: Option<&Path>) -> Result<Message, ApiError> {
    let role = match turn["role"].as_str() {
        Some("user") => Role::User,
        Some("assistant") => Role::Assistant,
        // Newer names of the same.
        Some("system" | "developer") => Role::System,
        other => {
            let message = format!("`role` of a message must be user, assistant or system, not {other:?}");
            return Err(ApiError::param("messages", message));
        }
    };
    let content = match &turn["content"] {
        Value::String(text) => vec![Part::Text(text.clone())],
        Value::Array(parts) => parts.iter().map(|of| part(of, files)).collect::<Result<_, _>>()?,
        _ => {
            return Err(ApiError::param(
                "messages",
                "`content` of a message must be a text or a list of parts",
            ));
        }
    };
    Ok(Message { role, content })
}

fn part(part: &Value, files: Option<&Path>) -> Result<Part, ApiError> {
    match part["type"].as_str() {
        Some("text" | "input_text") => {
            let text = part["text"]
                .as_str()
                .ok_or_else(|| ApiError::param("messages", "a text part has no `text`"))?;
            Ok(Part::Text(text.to_owned()))
        }
        Some("image_url" | "input_image") => {
            let url = part["image_url"]["url"].as_str().or(part["image_url"].as_str());
            let url =
                url.ok_or_else(|| ApiError::param("messages", "an image part has no `image_url.url`"))?;
            picture(url, files).map(Part::Image)
        }
        other => {
            let message = format!("`type` of a part must be text or image_url, not {other:?}");
            Err(ApiError::param("messages", message))
        }
    }
}

/// A picture in a `data:` URL, or in a file below the operator's folder. Nothing is fetched from the network.
fn picture(url: &str, files: Option<&Path>) -> Result<ImageRef, ApiError> {
    let refuse = |message: String| ApiError::param("messages", message);
    if let Some(data) = url.strip_prefix("data:") {
        let encoded = data.split_once(";base64,").map(|(_, encoded)| encoded);
        let encoded = encoded.ok_or_else(|| refuse("a `data:` URL of a picture must be in base64".into()))?;
        let bytes = base64::engine::general_purpose::STANDARD.decode(encoded.trim());
        let bytes = bytes.map_err(|error| refuse(format!("a `data:` URL is no base64: {error}")))?;
        return in_memory(Arc::from(bytes), "a picture")
            .map_err(|problem| refuse(format!("a picture {problem}")));
    }
    let Some(path) = url.strip_prefix("file://") else {
        let shown: String = url.chars().take(60).collect();
        let message = "nothing is fetched from the network: send the picture as `data:image/png;base64,...`";
        return Err(refuse(format!("picture `{shown}`: {message}")));
    };
    let Some(files) = files else {
        return Err(refuse(
            "this server reads no files; send the picture as `data:image/png;base64,...`".into(),
        ));
    };
    // One answer to all that is not there or not allowed: nobody learns what lies elsewhere.
    let absent = || refuse(format!("there is no file `{path}` below the folder of this server's pictures"));
    let real = Path::new(path).canonicalize().map_err(|_| absent())?;
    if !real.starts_with(files.canonicalize().map_err(|_| absent())?) || !real.is_file() {
        return Err(absent());
    }
    let bytes = fs::read(&real).map_err(|_| absent())?;
    in_memory(Arc::from(bytes), path).map_err(|problem| refuse(format!("picture `{path}` {problem}")))
}
