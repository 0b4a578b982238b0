//! Messages to prompt text by the checkpoint's own chat template.
//!
//! Templates are Jinja as `transformers` runs it: blocks are trimmed, strings have Python's methods, and
//! `raise_exception` and `tojson` are there. `strftime_now` fails: a prompt that changes with the date cannot be
//! repeated.

use std::path::Path;

use minijinja::{Environment, Error, ErrorKind, Value, context};
use reft_core::{Message, Part, Role};
use serde::Serialize;

use super::{ProcessorError, settings::read_json};

const NAME: &str = "chat_template";

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
        environment.set_unknown_method_callback(minijinja_contrib::pycompat::unknown_method_callback);
        environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_function("strftime_now", |_format: String| -> Result<Value, Error> {
            let message =
                "the template asks for today's date, which would make prompts unrepeatable; write one in";
            Err(Error::new(ErrorKind::InvalidOperation, message))
        });
        environment.add_filter("tojson", to_json);
        environment.add_template_owned(NAME, source).map_err(|e| template_error(&e))?;
        Ok(Self { environment, bos_token, eos_token })
    }

    /// The prompt up to and including the opening of the assistant's turn.
    pub fn render(&self, messages: &[Message]) -> Result<String, ProcessorError> {
        self.render_with(messages, |_, text| text)
    }

    /// Renders with each text replaced by `text(its place among the texts, text)`.
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
        template.render(context).map_err(|e| template_error(&e))
    }
}

fn template_error(error: &Error) -> ProcessorError {
    ProcessorError::Template(error.to_string())
}

/// Python's `json.dumps(value, ensure_ascii=False)`: spaces after `,` and `:`, nothing escaped for HTML.
fn to_json(value: &Value) -> Result<String, Error> {
    let mut out = Vec::new();
    let mut serializer = serde_json::Serializer::with_formatter(&mut out, PythonFormatter);
    value.serialize(&mut serializer).map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))?;
    String::from_utf8(out).map_err(|e| Error::new(ErrorKind::BadSerialization, e.to_string()))
}

struct PythonFormatter;

impl serde_json::ser::Formatter for PythonFormatter {
    fn begin_array_value<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_key<W: ?Sized + std::io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> std::io::Result<()> {
        out.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + std::io::Write>(&mut self, out: &mut W) -> std::io::Result<()> {
        out.write_all(b": ")
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
