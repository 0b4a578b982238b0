//! Language consistency: DeepSeek-R1 (arXiv 2501.12948, section 2.3.2) pays the share of the chain of thought that is
//! in the target language.

use reft_config::ScriptName;
use reft_core::{Completion, Reward, Sample, StageError};
use unicode_script::{Script, UnicodeScript as _};

/// Pays the share of letters that are of a script, 0 to 1; 0 without letters.
///
/// Tags such as `<think>` and commands such as `\frac` are no letters. Scripts stand for languages: English in place of
/// French is not noticed, Chinese in place of English is, which is how models mix.
#[derive(Clone, Copy, Debug)]
pub struct Language {
    /// The script of the language that is wanted.
    pub script: ScriptName,
}

impl Reward for Language {
    fn name(&self) -> &'static str {
        "language"
    }

    fn score(&self, _sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let (mut wanted, mut all) = (0_usize, 0_usize);
        for letter in letters(&completion.text) {
            all += 1;
            wanted += usize::from(self.script.holds(letter.script()));
        }
        Ok(if all == 0 { 0.0 } else { wanted as f32 / all as f32 })
    }
}

/// Which Unicode scripts a name stands for.
trait Holds {
    fn holds(self, script: Script) -> bool;
}

impl Holds for ScriptName {
    fn holds(self, script: Script) -> bool {
        match self {
            Self::Latin => script == Script::Latin,
            Self::Han => script == Script::Han,
            Self::Japanese => matches!(script, Script::Han | Script::Hiragana | Script::Katakana),
            Self::Hangul => script == Script::Hangul,
            Self::Cyrillic => script == Script::Cyrillic,
            Self::Arabic => script == Script::Arabic,
            Self::Devanagari => script == Script::Devanagari,
            Self::Greek => script == Script::Greek,
            Self::Hebrew => script == Script::Hebrew,
            Self::Thai => script == Script::Thai,
        }
    }
}

/// The letters outside of tags and commands. Marks that all scripts share, such as the long vowel mark, are none.
fn letters(text: &str) -> impl Iterator<Item = char> + '_ {
    let mut rest = text;
    std::iter::from_fn(move || {
        loop {
            let c = rest.chars().next()?;
            let after = &rest[c.len_utf8()..];
            let skipped = match c {
                '\\' => after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len(),
                '<' => tag(after).unwrap_or(0),
                _ => 0,
            };
            rest = &after[skipped..];
            if c.is_alphabetic() && !matches!(c.script(), Script::Common | Script::Inherited) {
                return Some(c);
            }
        }
    })
}

/// The length of `think>` or `/answer>`, where that is what follows.
fn tag(after: &str) -> Option<usize> {
    ["think>", "/think>", "answer>", "/answer>"].into_iter().find(|tag| after.starts_with(tag)).map(str::len)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn letters_by_hand() {
        let cases = [
            ("<think>ab</think><answer>5</answer>", "ab"),
            ("\\frac{1}{2} und \\alpha", "und"),
            ("a < b, x<y", "abxy"),
            ("二 и b", "二иb"),
            ("カー 5", "カ"),
            ("\\", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(letters(text).collect::<String>(), expected, "{text}");
        }
    }
}
