//! Open classification: which classes are there.

use std::collections::BTreeSet;

use reft_core::{Completion, Reward, Sample, StageError};
use reft_math::latex::unwrapped;

use crate::{
    Reply, answer,
    text::{normalize_text, without_decoration, without_fence},
};

/// Pays the intersection over union of the answered and the right *sets* of classes, 0 to 1.
#[derive(Clone, Copy, Debug, Default)]
pub struct ClassIou;

impl Reward for ClassIou {
    fn name(&self) -> &'static str {
        "class_iou"
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let right = classes(answer::solution(sample));
        if right.is_empty() {
            return Err(StageError::sample(
                &sample.id,
                "the solution names no class; give names separated by commas",
            ));
        }
        let given = Reply::of(completion).answer.map(classes).unwrap_or_default();
        let both = right.intersection(&given).count();
        let either = right.union(&given).count();
        Ok(both as f32 / either as f32)
    }
}

/// Reads class names: a JSON list, or names separated by commas or lines.
///
/// A name is whole (`traffic light` is one class), in any case, with any white space between its words; list marks,
/// quotes and a closing full stop are not part of it.
pub fn classes(answer: &str) -> BTreeSet<String> {
    let mut bare = without_fence(answer);
    while let Some(inside) = unwrapped(bare) {
        bare = inside;
    }
    let bare = bare.trim_end_matches('.');
    if let Ok(serde_json::Value::Array(items)) = serde_json::from_str(bare) {
        let names = items.iter().filter_map(|item| match item {
            serde_json::Value::String(name) => Some(name.clone()),
            serde_json::Value::Number(number) => Some(number.to_string()),
            _ => None,
        });
        return names.map(|name| class(&name)).filter(|name| !name.is_empty()).collect();
    }
    let inner = [('[', ']'), ('{', '}'), ('(', ')')]
        .into_iter()
        .find_map(|(open, close)| bare.strip_prefix(open)?.strip_suffix(close))
        .unwrap_or(bare);
    inner.split([',', '\n']).map(class).filter(|name| !name.is_empty()).collect()
}

fn class(name: &str) -> String {
    let name = name.trim();
    let bare = ["- ", "* ", "• "].into_iter().find_map(|mark| name.strip_prefix(mark)).unwrap_or(name);
    normalize_text(without_decoration(bare))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sets_by_hand() {
        let cases: [(&str, &[&str]); 14] = [
            ("cat, dog", &["cat", "dog"]),
            ("Dog,CAT", &["cat", "dog"]),
            ("cat\ndog", &["cat", "dog"]),
            ("- cat\n- dog", &["cat", "dog"]),
            ("[\"cat\", \"traffic  light\"]", &["cat", "traffic light"]),
            ("['cat', 'dog']", &["cat", "dog"]),
            ("```json\n[\"cat\"]\n```", &["cat"]),
            ("[3, 7]", &["3", "7"]),
            ("{3, 7}.", &["3", "7"]),
            ("cat, cat.", &["cat"]),
            ("\\boxed{\\text{cat, dog}}", &["cat", "dog"]),
            ("**cat**, \\text{dog}", &["cat", "dog"]),
            ("$\\text{traffic light}$", &["traffic light"]),
            (" , ", &[]),
        ];
        for (answer, expected) in cases {
            let expected: BTreeSet<String> = expected.iter().map(|&name| name.to_owned()).collect();
            assert_eq!(classes(answer), expected, "{answer}");
        }
        assert_ne!(classes("light traffic"), classes("traffic light"));
    }

    proptest! {
        #[test]
        fn order_and_case_do_not_matter(mut names in prop::collection::vec("[a-z]{1,5}( [a-z]{1,5})?", 1..5)) {
            let once = classes(&names.join(", "));
            names.reverse();
            prop_assert_eq!(once, classes(&names.join("\n").to_uppercase()));
        }

        #[test]
        fn any_text_is_read(text in ".{0,200}") {
            prop_assert!(classes(&text).iter().all(|name| !name.is_empty()));
        }
    }
}
