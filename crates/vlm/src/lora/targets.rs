//! Which linear layers get an adapter: PEFT's two kinds of pattern, on the names that `transformers` gives its modules.

use fancy_regex::Regex;
use serde::{Deserialize, Serialize};

use crate::model::{Family, LinearSpec};

use super::LoraError;

/// Every linear layer of the decoder; embedding and head are not among them.
const DECODER: &str = r"model\.(language_model|text_model)\.layers\..*";

/// How many names an error message shows.
const SHOWN: usize = 8;

/// Layers by name, as `target_modules` of PEFT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LoraTargets {
    /// A regular expression (Python's syntax, look-around included) that the whole name must match.
    Pattern(String),
    /// Names or endings of names: `q_proj`, `self_attn.q_proj`.
    Endings(Vec<String>),
}

impl Default for LoraTargets {
    fn default() -> Self {
        Self::Pattern(DECODER.into())
    }
}

impl LoraTargets {
    fn matcher(&self) -> Result<Matcher<'_>, LoraError> {
        Ok(match self {
            // PEFT's word for every linear layer but the head.
            Self::Pattern(all) if all == "all-linear" => Matcher::All,
            Self::Pattern(pattern) => Matcher::Whole {
                pattern,
                regex: Regex::new(&format!(r"\A(?:{pattern})\z")).map_err(|e| no_pattern(pattern, &e))?,
            },
            Self::Endings(endings) => Matcher::Endings(endings),
        })
    }

    /// The layers that match and are not excluded, in the network's order.
    pub(crate) fn select(
        &self,
        exclude: Option<&Self>,
        linears: Vec<LinearSpec>,
        family: Family,
    ) -> Result<Vec<LinearSpec>, LoraError> {
        let wanted = self.matcher()?;
        let excluded = exclude.map(Self::matcher).transpose()?;
        let mut selected = Vec::new();
        let names: Vec<String> = linears.iter().map(|linear| family.module_name(&linear.name)).collect();
        for (linear, name) in linears.into_iter().zip(&names) {
            let is_excluded = excluded.as_ref().map(|test| test.matches(name)).transpose()?.unwrap_or(false);
            if !is_excluded && wanted.matches(name)? {
                selected.push(linear);
            }
        }
        if selected.is_empty() {
            let examples = names.iter().step_by(names.len().div_ceil(SHOWN).max(1)).cloned().collect();
            return Err(LoraError::NoTarget { targets: serde_json::json!(self).to_string(), examples });
        }
        Ok(selected)
    }
}

/// A test of module names.
enum Matcher<'a> {
    All,
    Whole { pattern: &'a str, regex: Regex },
    Endings(&'a [String]),
}

impl Matcher<'_> {
    fn matches(&self, name: &str) -> Result<bool, LoraError> {
        match self {
            Self::All => Ok(true),
            // Backtracking has a limit, so a match can fail.
            Self::Whole { pattern, regex } => regex.is_match(name).map_err(|e| no_pattern(pattern, &e)),
            Self::Endings(endings) => Ok(endings.iter().any(|end| {
                name.strip_suffix(end.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
            })),
        }
    }
}

fn no_pattern(pattern: &str, error: &fancy_regex::Error) -> LoraError {
    LoraError::Pattern { pattern: pattern.to_owned(), message: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 6] = [
        "visual.blocks.0.attn.qkv",
        "visual.blocks.0.mlp.up_proj",
        "visual.merger.mlp.0",
        "model.layers.0.self_attn.q_proj",
        "model.layers.0.mlp.up_proj",
        "model.layers.10.mlp.up_proj",
    ];

    fn selected(targets: &LoraTargets, exclude: Option<&LoraTargets>) -> Result<Vec<String>, LoraError> {
        let linears = NAMES.map(|name| LinearSpec { name: name.into(), input: 2, output: 3 }).into();
        Ok(targets
            .select(exclude, linears, Family::Qwen2_5Vl)?
            .into_iter()
            .map(|linear| linear.name)
            .collect())
    }

    fn pattern(text: &str) -> LoraTargets {
        LoraTargets::Pattern(text.into())
    }

    fn endings(names: &[&str]) -> LoraTargets {
        LoraTargets::Endings(names.iter().map(|&name| name.into()).collect())
    }

    #[test]
    fn layers_are_found_as_peft_finds_them() {
        let cases = [
            (LoraTargets::default(), None, &NAMES[3..]),
            (pattern("all-linear"), None, &NAMES[..]),
            (pattern(r".*\.(qkv|q_proj)"), None, &[NAMES[0], NAMES[3]]),
            // The whole name must match, and endings are whole words.
            (pattern(r"(?!.*visual).*layers\.1.*"), None, &[NAMES[5]]),
            (endings(&["proj", "mlp.0"]), None, &[NAMES[2]]),
            (endings(&["up_proj"]), Some(pattern("model.visual.*")), &[NAMES[4], NAMES[5]]),
            (endings(&["model.language_model.layers.0.mlp.up_proj"]), None, &[NAMES[4]]),
            (pattern("all-linear"), Some(endings(&["up_proj", "qkv", "q_proj"])), &[NAMES[2]]),
        ];
        for (targets, exclude, expected) in cases {
            assert_eq!(selected(&targets, exclude.as_ref()).unwrap(), expected, "{targets:?}");
        }
    }

    #[test]
    fn patterns_that_do_nothing_are_refused_with_names() {
        let error = selected(&endings(&["query"]), None).unwrap_err().to_string();
        assert!(error.contains("query") && error.contains("model.visual.blocks.0.attn.qkv"), "{error}");
        let error = selected(&pattern("layers.("), None).unwrap_err().to_string();
        assert!(error.contains("`layers.(`"), "{error}");
    }
}
