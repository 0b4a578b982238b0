//! Messages to prompt text by the checkpoint's own chat template.
//!
//! Templates are Jinja as `transformers` runs it: blocks are trimmed, values print as Python's do (`python`), and what
//! Python's syntax has more is rewritten (`source`). A template is somebody else's program: how long it runs and how much
//! it holds and writes is limited. `strftime_now` tells the date of `SOURCE_DATE_EPOCH`, and fails without it: a prompt
//! that changes from day to day cannot be repeated.

mod python;
mod source;

use std::{fmt::Write as _, io, path::Path};

use chrono::DateTime;
use minijinja::{
    Environment, Error, ErrorKind, State, Value, context,
    value::{Kwargs, ValueKind},
};
use reft_core::{Message, Part, Role};
use serde::Serialize;

use super::{ProcessorError, read_json};

const NAME: &str = "chat_template";

/// Instructions that a template may take for a conversation: some seconds.
const FUEL: u64 = 20_000_000;

/// Bytes that its variables may take together.
const MOST_HELD: usize = 256 << 20;

/// Items of a list that are counted whenever it is set: templates grow lists at their end.
const LAST_ITEMS: usize = 16;

/// Bytes that it may write beside the conversation's own texts.
const MOST_WRITTEN: usize = 4 << 20;

/// A compiled chat template.
#[derive(Clone, Debug)]
pub struct ChatTemplate {
    environment: Environment<'static>,
    bos_token: String,
    eos_token: String,
}

#[derive(Serialize)]
struct Turn<'a> {
    role: &'static str,
    content: Vec<Piece<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Piece<'a> {
    Text { text: &'a str },
    Image,
}

impl ChatTemplate {
    /// The template of a checkpoint folder: `chat_template.jinja`, else `chat_template` in `chat_template.json` or in
    /// `tokenizer_config.json`.
    pub fn open(dir: &Path) -> Result<Self, ProcessorError> {
        let path = dir.join("chat_template.jinja");
        let tokenizer_path = dir.join("tokenizer_config.json");
        let tokenizer = read_json(&tokenizer_path)?.unwrap_or_default();
        let source = if path.exists() {
            reft_core::read_text(&path).map_err(|e| ProcessorError::file(&path, e))?
        } else {
            let own = read_json(&dir.join("chat_template.json"))?;
            own.as_ref().and_then(template_in).or_else(|| template_in(&tokenizer)).ok_or_else(|| {
                ProcessorError::file(&path, "is missing, and no other file has a `chat_template`")
            })?
        };
        Self::new(source, token(&tokenizer, "bos_token"), token(&tokenizer, "eos_token"))
            .map_err(|e| ProcessorError::file(&path, e))
    }

    /// Compiles a template.
    pub fn new(source: String, bos_token: String, eos_token: String) -> Result<Self, ProcessorError> {
        let mut environment = Environment::new();
        environment.set_trim_blocks(true);
        environment.set_lstrip_blocks(true);
        environment.set_fuel(Some(FUEL));
        environment.set_formatter(python::write);
        environment.set_unknown_method_callback(python::method);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |format: String| strftime_now(&format));
        environment.add_filter(source::KEPT, kept);
        environment.add_filter("string", |value: Value| python::text(&value));
        environment
            .add_filter("trim", |value: Value, of: Option<String>| python::trim(&value, of.as_deref()));
        for name in ["upper", "lower"] {
            environment.add_filter(name, move |value: Value| python::cased(&value, name));
        }
        for name in ["length", "count"] {
            environment.add_filter(name, |value: Value| python::length(&value));
        }
        environment.add_filter("tojson", |value: Value, kwargs: Kwargs| python::to_json(&value, kwargs));
        environment.add_template_owned(NAME, source::rewrite(&source)).map_err(|e| template_error(&e))?;
        Ok(Self { environment, bos_token, eos_token })
    }

    /// The prompt up to and including the opening of the assistant's turn.
    pub fn render(&self, messages: &[Message]) -> Result<String, ProcessorError> {
        self.render_with(messages, |_, text| text)
    }

    /// Renders with each text replaced by `text(its index among the texts, text)`.
    pub(crate) fn render_with<'a>(
        &self,
        messages: &'a [Message],
        mut text: impl FnMut(usize, &'a str) -> &'a str,
    ) -> Result<String, ProcessorError> {
        let mut n_texts = 0;
        let turns: Vec<Turn<'_>> = messages
            .iter()
            .map(|message| Turn {
                role: match message.role {
                    Role::System => "system",
                    Role::User => "user",
                    Role::Assistant => "assistant",
                },
                content: message
                    .content
                    .iter()
                    .map(|part| match part {
                        Part::Image(_) => Piece::Image,
                        Part::Text(original) => {
                            n_texts += 1;
                            Piece::Text { text: text(n_texts - 1, original) }
                        }
                    })
                    .collect(),
            })
            .collect();
        let template = self.environment.get_template(NAME).map_err(|e| template_error(&e))?;
        let context = context! {
            messages => turns,
            add_generation_prompt => true,
            bos_token => self.bos_token,
            eos_token => self.eos_token,
        };
        let texts = messages.iter().flat_map(|message| &message.content);
        let given = texts.map(|part| if let Part::Text(text) = part { text.len() } else { 0 }).sum::<usize>();
        let mut written = Limited { text: Vec::new(), limit: MOST_WRITTEN + 8 * given };
        template.render_captured_to(context, &mut written).map_err(|e| template_error(&e))?;
        String::from_utf8(written.text).map_err(|e| ProcessorError::Template(e.to_string()))
    }
}

fn template_error(error: &Error) -> ProcessorError {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    ProcessorError::Template(text)
}

/// The date of `SOURCE_DATE_EPOCH`, as `strftime` writes it.
fn strftime_now(format: &str) -> Result<String, Error> {
    let fail = |message: &str| Error::new(ErrorKind::InvalidOperation, message.to_owned());
    let epoch = std::env::var("SOURCE_DATE_EPOCH").map_err(|_| {
        fail(
            "the template asks for today's date, which would make prompts unrepeatable; set SOURCE_DATE_EPOCH to the \
             seconds since 1970 that it shall tell",
        )
    })?;
    let date = epoch.parse().ok().and_then(|seconds| DateTime::from_timestamp(seconds, 0));
    let date = date.ok_or_else(|| fail("SOURCE_DATE_EPOCH should be seconds since 1970"))?;
    let mut written = String::new();
    write!(written, "{}", date.format(format)).map_err(|_| fail("strftime_now has a format that is none"))?;
    Ok(written)
}

/// Passes a value on, unless the template holds too much by now.
fn kept(state: &State<'_, '_>, value: Value) -> Result<Value, Error> {
    const HELD: &str = "held";
    let length = |value: &Value| value.as_str().map_or(0, str::len);
    let bytes = match value.kind() {
        ValueKind::Seq => {
            let n = value.len().unwrap_or(0);
            let last = (n.saturating_sub(LAST_ITEMS)..n).filter_map(|i| value.get_item_by_index(i).ok());
            n + last.map(|item| length(&item)).sum::<usize>()
        }
        _ => length(&value),
    };
    let held = state.get_temp(HELD).and_then(|held| held.as_usize()).unwrap_or(0) + bytes;
    state.set_temp(HELD, held.into());
    if held > MOST_HELD {
        return Err(Error::new(ErrorKind::OutOfFuel, "the template holds too much"));
    }
    Ok(value)
}

/// A text that takes no more than a limit.
struct Limited {
    text: Vec<u8>,
    limit: usize,
}

impl io::Write for Limited {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.limit {
            return Err(io::Error::other("the template writes too much"));
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `chat_template` of a JSON file: a text, or a list of named ones of which `default` counts.
fn template_in(json: &serde_json::Value) -> Option<String> {
    let template = json.get("chat_template")?;
    let named = || template.as_array()?.iter().find(|t| t["name"] == "default")?["template"].as_str();
    template.as_str().or_else(named).map(str::to_owned)
}

/// A token of `tokenizer_config.json`: a text, or an object with its `content`.
pub(crate) fn token(json: &serde_json::Value, key: &str) -> String {
    let value = &json[key];
    value.as_str().or_else(|| value["content"].as_str()).unwrap_or_default().to_owned()
}
