//! What is taken off an answer before it is read: dollar signs, `\boxed{}`, `\text{}` around the whole, bold print.

use crate::latex::{BOXES, content, group_end, undelimited};

/// The mathematics inside its wrappers: the last `\boxed{..}` or `\fbox{..}` where there is one, without delimiters.
pub(super) fn unwrap(text: &str) -> &str {
    let mut text = text.trim();
    if let Some(inner) = last_boxed(text) {
        text = inner.trim();
    }
    // Each round removes characters, so this ends.
    loop {
        // A sentence's full stop behind the wrapper: `**13**.`
        let inner = unwrapped(text).or_else(|| unwrapped(text.strip_suffix('.')?.trim_end()));
        match inner {
            Some(inner) => text = inner,
            None => return text,
        }
    }
}

fn unwrapped(text: &str) -> Option<&str> {
    undelimited(text).or_else(|| whole_text_command(text)).or_else(|| unbolded(text))
}

/// The content of Markdown's bold print around a number or a delimited formula; math-verify refuses others.
fn unbolded(text: &str) -> Option<&str> {
    let inner = text.strip_prefix("**")?.strip_suffix("**")?.trim();
    let number = inner.strip_prefix('-').unwrap_or(inner);
    let is_number = number.contains(|c: char| c.is_ascii_digit())
        && number.chars().all(|c| c.is_ascii_digit() || ",.%".contains(c));
    (is_number || undelimited(inner).is_some() || content(inner, &BOXES).is_some()).then_some(inner)
}

/// Whether two texts differ only in how much white space separates their pieces.
pub(super) fn same_text(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

fn last_boxed(text: &str) -> Option<&str> {
    let open =
        BOXES.into_iter().filter_map(|command| text.rfind(command).map(|at| at + command.len())).max()?;
    Some(&text[open..group_end(text, open)?])
}

/// The content of a `\text{..}` that is the whole text, unless it is a formula: in text mode, formulas mean nothing.
/// `\text{true}` stays, because math-verify takes it for a truth value, which the bare word is not.
fn whole_text_command(text: &str) -> Option<&str> {
    let content = content(text, &["\\text{", "\\mathrm{", "\\textbf{", "\\mathbf{", "\\mbox{"])?;
    let is_words = !content.contains(['\\', '^', '_', '{']) && content != "true";
    is_words.then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrappers_come_off() {
        let cases = [
            ("$5$", "5"),
            ("$$ 5 $$", "5"),
            ("\\(5\\)", "5"),
            ("so \\boxed{\\frac{1}{2}} is it", "\\frac{1}{2}"),
            ("\\boxed{3} and \\boxed{4}", "4"),
            ("$\\text{Monday}$", "Monday"),
            ("\\text{5} \\text{cm}", "\\text{5} \\text{cm}"),
            ("\\boxed{5", "\\boxed{5"),
            ("$", "$"),
            ("**73**", "73"),
            ("**$73$**.", "73"),
            ("$73$.", "73"),
            ("**-1,234.**", "-1,234."),
            ("**x**", "**x**"),
            ("*7*", "*7*"),
            ("**2**3**", "**2**3**"),
            ("13.", "13."),
        ];
        for (text, expected) in cases {
            assert_eq!(unwrap(text), expected);
        }
    }
}
