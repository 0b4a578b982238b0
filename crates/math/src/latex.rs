//! What LaTeX puts around a whole answer: math delimiters, `\boxed{}`, `\text{}` and kin.

const DELIMITERS: [(&str, &str); 4] = [("$$", "$$"), ("$", "$"), ("\\(", "\\)"), ("\\[", "\\]")];

/// Commands that set their content as words.
const TEXT: [&str; 8] =
    ["\\text{", "\\mathrm{", "\\textbf{", "\\mathbf{", "\\mbox{", "\\textit{", "\\textrm{", "\\emph{"];

/// Commands that mark the final answer.
pub(crate) const BOXES: [&str; 2] = ["\\boxed{", "\\fbox{"];

/// The content of one wrapper around the whole text.
pub fn unwrapped(text: &str) -> Option<&str> {
    undelimited(text).or_else(|| content(text, &BOXES)).or_else(|| content(text, &TEXT))
}

/// The content of one pair of math delimiters around the whole text.
pub(crate) fn undelimited(text: &str) -> Option<&str> {
    DELIMITERS.into_iter().find_map(|(open, close)| {
        let inner = text.strip_prefix(open)?.strip_suffix(close)?;
        // `$A$, $B$` is two formulas.
        (!inner.contains(close)).then(|| inner.trim())
    })
}

/// The content of one of these commands, where it is the whole text.
pub fn content<'a>(text: &'a str, commands: &[&str]) -> Option<&'a str> {
    let command = commands.iter().find(|command| text.starts_with(**command))?;
    let end = group_end(text, command.len())?;
    (end + 1 == text.len()).then(|| text[command.len()..end].trim())
}

/// The end of the brace group whose content starts at `start`, as the offset of its closing brace.
pub(crate) fn group_end(text: &str, start: usize) -> Option<usize> {
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
