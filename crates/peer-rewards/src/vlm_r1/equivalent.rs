//! Equality of mathematics as normalised text, after the MATH data set (Hendrycks et al. 2021, arXiv 2103.03874).

use super::super::Raises;

/// Whether an answer, its last box where there is one, and the solution have the same normal form.
pub(super) fn equivalent(answer: &str, solution: &str) -> bool {
    let answer = match last_boxed(answer) {
        // A box that is not closed as it should be raises in the original, which then pays nothing.
        Some(boxed) => match content(boxed.as_str()) {
            Some(content) => content.to_owned(),
            None => return false,
        },
        None => answer.to_owned(),
    };
    match (strict_form(&answer), strict_form(solution)) {
        (Ok(answer), Ok(solution)) => answer == solution,
        _ => answer == solution,
    }
}

/// The last `\boxed` with its argument; with a space instead of braces, everything up to a dollar sign.
fn last_boxed(text: &str) -> Option<String> {
    if let Some((_, rest)) = text.rsplit_once("\\boxed ") {
        let argument = rest.split_once('$').map_or(rest, |(argument, _)| argument);
        return Some(format!("\\boxed {argument}"));
    }
    let start = text.rfind("\\boxed").or_else(|| text.rfind("\\fbox"))?;
    let mut depth = 0_i32;
    for (at, byte) in text.bytes().enumerate().skip(start) {
        depth += i32::from(byte == b'{') - i32::from(byte == b'}');
        if byte == b'}' && depth == 0 {
            return Some(text[start..=at].to_owned());
        }
    }
    None
}

fn content(boxed: &str) -> Option<&str> {
    boxed.strip_prefix("\\boxed ").or_else(|| boxed.strip_prefix("\\boxed{")?.strip_suffix('}'))
}

/// The normal form of VLM-R1's copy, which keeps bare percent signs and raises on `a/b` of anything but integers.
fn strict_form(text: &str) -> Result<String, Raises> {
    let form = hendrycks(text, Percent::Keep)?;
    match form.split_once('/') {
        Some((a, b)) if !b.contains('/') && (integer(a).is_none() || integer(b).is_none()) => {
            Err(Raises::Row("not a fraction of integers"))
        }
        _ => Ok(form),
    }
}

/// What happens to a percent sign without a backslash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Percent {
    /// It stays.
    Keep,
    /// It goes.
    Drop,
}

/// The normal form of the MATH data set: LaTeX without sizes, units after `\text{ `, degrees, dollar and percent
/// signs, a short name before `=`, and spaces; fractions and roots with braces; `a/b` as a fraction.
pub(in super::super) fn hendrycks(text: &str, percent: Percent) -> Result<String, Raises> {
    let mut form = text.to_owned();
    for (from, to) in [
        ("\n", ""),
        ("\\!", ""),
        ("\\\\", "\\"),
        ("tfrac", "frac"),
        ("dfrac", "frac"),
        ("\\left", ""),
        ("\\right", ""),
        ("^{\\circ}", ""),
        ("^\\circ", ""),
        ("\\$", ""),
    ] {
        form = form.replace(from, to);
    }
    if let Some((value, unit)) = form.split_once("\\text{ ") {
        if unit.contains("\\text{ ") {
            return Err(Raises::Row("two units"));
        }
        form.truncate(value.len());
    }
    form = form.replace("\\%", "");
    if percent == Percent::Drop {
        form = form.replace('%', "");
    }
    form = form.replace(" .", " 0.").replace("{.", "{0.");
    if form.is_empty() {
        return Ok(form);
    }
    if form.starts_with('.') {
        form.insert(0, '0');
    }
    if let Some((name, value)) = form.split_once('=')
        && name.chars().count() <= 2
        && !value.contains('=')
    {
        form = value.into();
    }
    form = with_braces(&form, "\\sqrt", 1)?.replace(' ', "");
    form = with_braces(&form, "\\frac", 2)?;
    if form == "0.5" {
        form = "\\frac{1}{2}".into();
    }
    if let Some((a, b)) = form.split_once('/')
        && let (Some(a), Some(b)) = (integer(a), integer(b))
        && form == format!("{a}/{b}")
    {
        form = format!("\\frac{{{a}}}{{{b}}}");
    }
    Ok(form)
}

/// `int(text)`, sign and all.
fn integer(text: &str) -> Option<i128> {
    let digits = text.trim();
    digits.strip_prefix('+').filter(|rest| !rest.starts_with(['+', '-'])).unwrap_or(digits).parse().ok()
}

/// Braces around single characters after a command that takes one or two arguments.
fn with_braces(text: &str, command: &str, arguments: usize) -> Result<String, Raises> {
    let mut pieces = text.split(command);
    let mut form = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        form.push_str(command);
        let mut chars = piece.chars();
        let first = chars.next().ok_or(Raises::Row("a command without argument"))?;
        if first == '{' {
            form.push_str(piece);
            continue;
        }
        let after = chars.as_str();
        if arguments == 1 {
            form.extend(['{', first, '}']);
            form.push_str(after);
            continue;
        }
        match chars.next() {
            // A fraction of one character: everything stays as it was.
            None => return Ok(text.to_owned()),
            Some('{') => {
                form.extend(['{', first, '}']);
                form.push_str(after);
            }
            Some(second) => {
                form.extend(['{', first, '}', '{', second, '}']);
                form.push_str(chars.as_str());
            }
        }
    }
    Ok(form)
}
