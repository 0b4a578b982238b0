//! Prompts of judges, put together.

/// What stands in a reply where a server did not answer; VLMEvalKit asks again then.
pub(crate) const NO_REPLY: &str = "Failed to obtain answer via API";

/// A prompt with its `{names}` replaced, in one pass, so that marks inside the texts stay text.
pub(crate) fn fill(template: &str, texts: &[(&str, &str)]) -> String {
    let mut filled =
        String::with_capacity(template.len() + texts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        filled.push_str(&rest[..open]);
        rest = &rest[open..];
        let named = texts
            .iter()
            .find(|(name, _)| rest[1..].strip_prefix(name).is_some_and(|after| after.starts_with('}')));
        if let Some((name, text)) = named {
            filled.push_str(text);
            rest = &rest[name.len() + 2..];
        } else {
            filled.push('{');
            rest = &rest[1..];
        }
    }
    filled.push_str(rest);
    filled
}

#[cfg(test)]
mod tests {
    use super::fill;

    #[test]
    fn texts_are_not_searched() {
        assert_eq!(fill("{a}+{b}={c}{", &[("a", "{b}"), ("b", "2")]), "{b}+2={c}{");
    }
}
