//! Text to token ids, with control tokens only where the template put them.

use std::{collections::BTreeMap, io, path::Path};

use tokenizers::Tokenizer;

use super::{ProcessorError, read_json, template::token};

const NO_TOKENIZER: &str = "is missing, and no other file of a tokenizer is read; `AutoTokenizer.from_pretrained(MODEL)\
     .save_pretrained(MODEL)` of `transformers` writes it from the others";

/// The tokenizer of a checkpoint, in two modes: control tokens parsed, or taken as text.
#[derive(Clone)]
pub struct TextTokenizer {
    parsing: Tokenizer,
    literal: Tokenizer,
    /// Control tokens by their text.
    special: BTreeMap<String, i64>,
    end_ids: Vec<i64>,
    end_id: i64,
    pad_id: Option<i64>,
}

impl TextTokenizer {
    /// Reads `tokenizer.json`, `tokenizer_config.json` and the end tokens of `generation_config.json`.
    pub fn open(dir: &Path) -> Result<Self, ProcessorError> {
        let path = dir.join("tokenizer.json");
        let json = reft_core::read_regular(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ProcessorError::file(&path, NO_TOKENIZER),
            _ => ProcessorError::file(&path, error),
        })?;
        let mut parsing = Tokenizer::from_bytes(reft_core::without_bom(&json))
            .map_err(|e| ProcessorError::file(&path, e))?;
        // Left over from whatever saved the file last; `transformers` sets both anew at every call.
        parsing.with_truncation(None).map_err(|e| ProcessorError::file(&path, e))?;
        parsing.with_padding(None);
        let mut literal = parsing.clone();
        literal.set_encode_special_tokens(true);
        let special: BTreeMap<String, i64> = parsing
            .get_added_tokens_decoder()
            .into_iter()
            .filter(|(_, token)| token.special)
            .map(|(id, token)| (token.content, i64::from(id)))
            .collect();

        let config_path = dir.join("tokenizer_config.json");
        let config = read_json(&config_path)?.unwrap_or_default();
        let id_of = |key: &str| parsing.token_to_id(&token(&config, key)).map(i64::from);
        let generation = read_json(&dir.join("generation_config.json"))?.unwrap_or_default();
        let mut end_ids: Vec<i64> = match &generation["eos_token_id"] {
            serde_json::Value::Array(ids) => ids.iter().filter_map(serde_json::Value::as_i64).collect(),
            id => id.as_i64().into_iter().collect(),
        };
        let own_end = id_of("eos_token");
        if end_ids.is_empty() {
            end_ids.extend(own_end);
        }
        // A chat turn ends with the tokenizer's own end token; generation may also stop at others.
        let end_id =
            own_end.filter(|id| end_ids.contains(id)).or_else(|| end_ids.first().copied()).ok_or_else(
                || ProcessorError::file(&config_path, "names no `eos_token`; a completion could not end"),
            )?;
        let pad_id = id_of("pad_token");
        Ok(Self { parsing, literal, special, end_ids, end_id, pad_id })
    }

    /// Token ids of a text in which control-token strings are control tokens: a rendered template.
    pub(crate) fn encode_template(&self, text: &str) -> Result<Vec<i64>, ProcessorError> {
        encode(&self.parsing, text)
    }

    /// Token ids of a text that is only text.
    pub(crate) fn encode_literal(&self, text: &str) -> Result<Vec<i64>, ProcessorError> {
        encode(&self.literal, text)
    }

    /// The text of token ids, end and padding tokens left out. Bytes that are not UTF-8 become U+FFFD.
    pub fn decode(&self, ids: &[i64]) -> String {
        let kept: Vec<u32> = ids
            .iter()
            .filter(|id| !self.end_ids.contains(id) && Some(**id) != self.pad_id)
            .filter_map(|&id| u32::try_from(id).ok())
            .collect();
        // Decoding fails only for decoders that call out; byte-level ones cannot.
        self.parsing.decode(&kept, false).unwrap_or_default()
    }

    /// One more than the largest token id: rows that an embedding needs.
    pub fn vocab_size(&self) -> usize {
        self.parsing.get_vocab(true).into_values().max().map_or(0, |id| id as usize + 1)
    }

    /// Id of a control token.
    pub fn special_id(&self, text: &str) -> Option<i64> {
        self.special.get(text).copied()
    }

    /// Whether a text holds the string of a control token.
    pub(crate) fn has_special(&self, text: &str) -> bool {
        self.special.keys().any(|special| text.contains(special.as_str()))
    }

    /// Tokens that end a completion.
    pub fn end_ids(&self) -> &[i64] {
        &self.end_ids
    }

    /// The token that ends a turn.
    pub fn end_id(&self) -> i64 {
        self.end_id
    }

    /// Control tokens that a completion must not hold: all but the end tokens, ascending.
    pub(crate) fn control_ids(&self) -> Vec<i64> {
        let mut ids: Vec<i64> =
            self.special.values().copied().filter(|id| !self.end_ids.contains(id)).collect();
        ids.sort_unstable();
        ids
    }
}

fn encode(tokenizer: &Tokenizer, text: &str) -> Result<Vec<i64>, ProcessorError> {
    let encoding =
        tokenizer.encode_fast(text, false).map_err(|e| ProcessorError::Tokenizer(e.to_string()))?;
    Ok(encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
}
