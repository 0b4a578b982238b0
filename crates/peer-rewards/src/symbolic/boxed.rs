//! What stands in the boxes of a formula.

/// The contents of the boxes, joined by commas; the text itself where there is none.
///
/// `last` takes the last box, and those before it that are close (fewer than ten characters between), or further but
/// joined by a comma or a word. A box that does not close is read to the end, where it is the last.
pub(super) fn contents(text: &str, last: bool) -> String {
    let mut found: Vec<&str> = Vec::new();
    let mut right = text.len();
    let mut next_start = None;
    while let Some((start, command)) = ["\\boxed", "\\fbox"]
        .into_iter()
        .filter_map(|command| text[..right].rfind(command).map(|at| (at, command)))
        .max()
    {
        let rest = &text[start + command.len()..right];
        let argument = rest.trim_start();
        if argument.is_empty() && !found.is_empty() {
            break;
        }
        let Some((inner, after)) = group(argument) else {
            if found.is_empty() {
                found.push(argument);
            }
            break;
        };
        let inner = inner.trim();
        if last && let Some(next_start) = next_start {
            let end = next_start - after.len();
            if !belongs(&text[end..next_start], inner, found.last().copied().unwrap_or_default()) {
                break;
            }
        }
        if found.last() != Some(&inner) {
            found.push(inner);
        }
        next_start = Some(start);
        right = start;
    }
    if found.is_empty() {
        return text.to_owned();
    }
    found.reverse();
    found.join(",")
}

/// The content of the brace group at the start, and what follows it.
fn group(text: &str) -> Option<(&str, &str)> {
    let inner = text.strip_prefix('{')?;
    let mut depth = 1_usize;
    for (at, byte) in inner.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some((&inner[..at], &inner[at + 1..]));
        }
    }
    None
}

/// Whether a box belongs to the one behind it.
fn belongs(between: &str, content: &str, next: &str) -> bool {
    let length = between.chars().count();
    let joined = between.contains([',', ';'])
        || between
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .any(|word| word == "and" || word == "or");
    length < 10 || (content != next && length < 70 && joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_by_hand() {
        for (text, last, expected) in [
            ("\\boxed{5}", true, "5"),
            ("so \\boxed{ \\frac{1}{2} } is it", true, "\\frac{1}{2}"),
            ("\\boxed{4}\\boxed{5}", true, "4,5"),
            ("\\boxed{4} is not what we want, \\boxed{5}", true, "4,5"),
            ("\\boxed{4} is not what we want \\boxed{5}", true, "5"),
            ("\\boxed{4} is not what we want \\boxed{5}", false, "4,5"),
            ("\\boxed{5} \\boxed{5}", true, "5"),
            ("\\boxed{\\boxed{5}}", true, "5"),
            ("\\fbox{5", true, "{5"),
            ("x+1", true, "x+1"),
        ] {
            assert_eq!(contents(text, last), expected, "{text}");
        }
    }
}
