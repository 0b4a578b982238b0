//! Templates are written for Python's Jinja. What its syntax has more than ours is rewritten before a template is compiled.
//!
//! | written | becomes |
//! |---|---|
//! | `{% generation %} .. {% endgeneration %}` (`transformers`: what the assistant says) | a scope that does nothing |
//! | `'..' % x`, `'..' % (x, y)` | `'..'\|format(x, y)` |
//! | `{% set s = x %}` | `{% set s = (x)\|kept %}`, which limits how much a template holds; so are arguments of macros |

/// The filter that limits values.
pub(super) const KEPT: &str = "kept";

/// The source as our engine reads it.
pub(super) fn rewrite(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    let mut is_raw = false;
    while let Some(at) = rest.find('{') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let close = match rest.as_bytes().get(1) {
            Some(b'{') if !is_raw => "}}",
            Some(b'%') => "%}",
            Some(b'#') if !is_raw => "#}",
            _ => "",
        };
        let is_comment = close == "#}";
        let end = if is_comment { rest.find(close) } else { tag_end(rest, close) };
        let Some(end) = end.filter(|_| !close.is_empty()) else {
            out.push('{');
            rest = &rest[1..];
            continue;
        };
        let tag = &rest[..end + 2];
        rest = &rest[end + 2..];
        let word = first_word(tag);
        is_raw = if is_raw { word != "endraw" } else { close == "%}" && word == "raw" };
        if is_comment || is_raw || word == "endraw" {
            out.push_str(tag);
        } else {
            out.push_str(&rewrite_tag(tag));
        }
    }
    out.push_str(rest);
    out
}

/// Where a tag closes, strings left out.
fn tag_end(text: &str, close: &str) -> Option<usize> {
    let mut at = 2;
    while at < text.len() {
        let here = &text[at..];
        if here.starts_with(close) {
            return Some(at);
        }
        at += string_length(here).unwrap_or_else(|| here.chars().next().map_or(1, char::len_utf8));
    }
    None
}

/// The bytes of the string that a text begins with.
fn string_length(text: &str) -> Option<usize> {
    let quote = text.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    let mut is_escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            c if c == quote => return Some(at + 1),
            _ => {}
        }
    }
    None
}

fn first_word(tag: &str) -> &str {
    let inner = tag[2..].trim_start_matches(['-', '+']).trim_start();
    &inner[..inner.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(inner.len())]
}

fn rewrite_tag(tag: &str) -> String {
    let is_mark = |c: &u8| matches!(c, b'-' | b'+');
    let bytes = tag.as_bytes();
    let start = 2 + usize::from(bytes.get(2).is_some_and(is_mark));
    let end =
        tag.len() - 2 - usize::from(bytes.get(tag.len() - 3).is_some_and(is_mark) && tag.len() - 3 >= start);
    let (open, inner, close) = (&tag[..start], &tag[start..end], &tag[end..]);
    if first_word(tag) == "macro" && tag.starts_with("{%") {
        // The closing mark goes to the last tag, as it decides about the white space behind.
        let arguments = parameters(inner).join(", ");
        return format!("{open}{inner}%}}{{% if [{arguments}]|{KEPT} %}}{{% endif {close}");
    }
    let inner = match first_word(tag) {
        "generation" if tag.starts_with("{%") => " with ".to_owned(),
        "endgeneration" if tag.starts_with("{%") => " endwith ".to_owned(),
        "set" if tag.starts_with("{%") => set(&python_format(inner)),
        _ => python_format(inner),
    };
    format!("{open}{inner}{close}")
}

/// `set x = expression`, or `set x`, whose content is what follows.
fn set(inner: &str) -> String {
    match top_level(inner, |text| text.starts_with('=') && !text.starts_with("==")) {
        Some(at) => format!("{}= ({})|{KEPT} ", &inner[..at], inner[at + 1..].trim()),
        None => format!("{} | {KEPT} ", inner.trim_end()),
    }
}

/// The names in `macro f(a, b=1)`.
fn parameters(inner: &str) -> Vec<&str> {
    let list = inner.split_once('(').map_or("", |(_, list)| list.trim_end().trim_end_matches(')'));
    let mut names = Vec::new();
    let mut rest = list;
    while !rest.trim().is_empty() {
        let end = top_level(rest, |text| text.starts_with(',')).unwrap_or(rest.len());
        names.push(rest[..end].split('=').next().unwrap_or_default().trim());
        rest = rest.get(end + 1..).unwrap_or_default();
    }
    names
}

/// The first offset outside strings and brackets where a text begins as asked.
fn top_level(text: &str, is_wanted: impl Fn(&str) -> bool) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    while at < text.len() {
        let here = &text[at..];
        if let Some(length) = string_length(here) {
            at += length;
            continue;
        }
        if depth == 0 && is_wanted(here) {
            return Some(at);
        }
        match here.as_bytes()[0] {
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        at += here.chars().next().map_or(1, char::len_utf8);
    }
    None
}

/// Python's `'text' % operand`, wherever a string stands before the sign.
fn python_format(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len());
    let mut rest = expression;
    while !rest.is_empty() {
        let Some(length) = string_length(rest) else {
            let c = rest.chars().next().map_or(1, char::len_utf8);
            out.push_str(&rest[..c]);
            rest = &rest[c..];
            continue;
        };
        let (text, behind) = rest.split_at(length);
        out.push_str(text);
        rest = behind;
        if let Some(operand) = behind.trim_start().strip_prefix('%').map(str::trim_start) {
            let length = operand_length(operand);
            let (operand, behind) = operand.split_at(length);
            let inner = operand.strip_prefix('(').and_then(|inner| inner.strip_suffix(')'));
            // A tuple is the arguments; brackets around one value are brackets.
            let arguments = inner.filter(|inner| top_level(inner, |text| text.starts_with(')')).is_none());
            out.extend(["|format(", &python_format(arguments.unwrap_or(operand)), ")"]);
            rest = behind;
        }
    }
    out
}

/// The bytes of a value with its attributes, items, calls and filters.
fn operand_length(text: &str) -> usize {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let name = |text: &str| text.find(|c| !is_name(c)).unwrap_or(text.len());
    let mut at = match text.chars().next() {
        Some('"' | '\'') => string_length(text).unwrap_or(text.len()),
        Some('(' | '[' | '{') => bracket_length(text),
        _ => name(text),
    };
    loop {
        let here = &text[at..];
        at += match here.chars().next() {
            Some('(' | '[') => bracket_length(here),
            Some('.' | '|') => 1 + name(&here[1..]),
            _ => return at,
        };
    }
}

/// The bytes up to where the bracket that a text begins with is closed.
fn bracket_length(text: &str) -> usize {
    let inner = &text[1..];
    top_level(inner, |text| text.starts_with([')', ']', '}'])).map_or(text.len(), |at| at + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_rewritten() {
        let cases = [
            ("a {%- generation -%} b {% endgeneration %}", "a {%- with -%} b {% endwith %}"),
            ("{{ 'a%s' % x }}", "{{ 'a%s'|format(x) }}"),
            ("{{ \"%s %d\" % (x.y[0], f(1)) }}", "{{ \"%s %d\"|format(x.y[0], f(1)) }}"),
            ("{{ '%s' % (x) + '%s' % y|upper }}", "{{ '%s'|format(x) + '%s'|format(y|upper) }}"),
            ("{{ '%s' % '}}' }}", "{{ '%s'|format('}}') }}"),
            ("{% set a = 'x' ~ b -%}", "{% set a = ('x' ~ b)|kept -%}"),
            ("{% set ns.a = 1 == 2 %}", "{% set ns.a = (1 == 2)|kept %}"),
            ("{% set a %}x{% endset %}", "{% set a | kept %}x{% endset %}"),
            (
                "{%- macro f(a, b=[1, 2]) -%}x{% endmacro %}",
                "{%- macro f(a, b=[1, 2]) %}{% if [a, b]|kept %}{% endif -%}x{% endmacro %}",
            ),
            ("{% macro f() %}", "{% macro f() %}{% if []|kept %}{% endif %}"),
            ("{% if 7 % 2 == 1 %}", "{% if 7 % 2 == 1 %}"),
            (
                "{# '%s' % x #}{% raw %}{{ '%s' % x }}{% endraw %}",
                "{# '%s' % x #}{% raw %}{{ '%s' % x }}{% endraw %}",
            ),
            ("{{ x", "{{ x"),
            ("{ {{ a }} }", "{ {{ a }} }"),
        ];
        for (source, expected) in cases {
            assert_eq!(rewrite(source), expected, "{source}");
        }
    }
}
