//! What is taken off an answer before it is read: dollar signs, `\boxed{}`, `\text{}` around the whole.

/// The mathematics inside its wrappers: the last `\boxed{..}` or `\fbox{..}` where there is one, without delimiters.
pub(super) fn unwrap(text: &str) -> &str {
    let mut text = text.trim();
    if let Some(inner) = last_boxed(text) {
        text = inner.trim();
    }
    // Each round removes characters, so this ends.
    loop {
        let inner = [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")]
            .into_iter()
            .find_map(|(open, close)| text.strip_prefix(open)?.strip_suffix(close))
            .or_else(|| whole_text_command(text));
        match inner {
            Some(inner) => text = inner.trim(),
            None => return text,
        }
    }
}

/// Whether two texts differ only in how much white space separates their pieces.
pub(super) fn same_text(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

/// The end of the brace group whose content starts at `start`, as the offset of its closing brace.
pub(super) fn group_end(text: &str, start: usize) -> Option<usize> {
    let mut depth = 1_usize;
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'{' => depth += 1,
            b'}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at);
                }
            }
            _ => {}
        }
    }
    None
}

fn last_boxed(text: &str) -> Option<&str> {
    let open = ["\\boxed{", "\\fbox{"]
        .into_iter()
        .filter_map(|command| text.rfind(command).map(|at| at + command.len()))
        .max()?;
    Some(&text[open..group_end(text, open)?])
}

/// The content of a `\text{..}` that is the whole text, unless it is a formula: in text mode, formulas mean nothing.
/// `\text{true}` stays, because math-verify takes it for a truth value, which the bare word is not.
fn whole_text_command(text: &str) -> Option<&str> {
    let command = ["\\text{", "\\mathrm{", "\\textbf{", "\\mathbf{", "\\mbox{"]
        .into_iter()
        .find(|command| text.starts_with(command))?;
    let end = group_end(text, command.len())?;
    let content = &text[command.len()..end];
    let is_words = !content.contains(['\\', '^', '_', '{']) && content.trim() != "true";
    (end + 1 == text.len() && is_words).then_some(content)
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
        ];
        for (text, expected) in cases {
            assert_eq!(unwrap(text), expected);
        }
    }
}
