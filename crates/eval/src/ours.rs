//! The grader of this project: no judge, no guess.
//!
//! The answer is the content of the answer tags, else of the last box, else the whole text where it is short enough to be
//! nothing but an answer, or what follows "answer is" or "Answer:" last. It is read as a whole by the readers of crate
//! `reward`; what they cannot read is counted as unread and never matched to the nearest thing.

use reft_core::{BoundingBox, Completion};
use reft_math::python;
use reft_reward::{Reply, letters, normalize_text, parse_boxes, yes_no};

use crate::{
    AnswerKind, Item, Mark, Reason,
    reading::{last_box, number::relaxed},
};

/// Longest text without tags, box or announcement that is taken for an answer as a whole.
const SHORT: usize = 120;
/// Overlap above which a box is right.
const THRESHOLD: f64 = 0.5;

/// The mark of an answer.
pub(crate) fn grade(item: &Item, output: &str) -> Mark {
    if item.kind == AnswerKind::Prose {
        return Mark::because(Reason::NoJudge);
    }
    let Some(answer) = answer_of(output) else { return Mark::because(Reason::Unread) };
    let right = match &item.kind {
        AnswerKind::Choice => choice(item, answer),
        AnswerKind::YesNo => yes_no(answer).map(|said| said == (item.answer == "Yes")),
        AnswerKind::Integer | AnswerKind::Math => Some(reft_math::equal(&item.answer, answer)),
        AnswerKind::Decimal(places) => number(answer)
            .zip(number(&item.answer))
            .map(|(given, right)| (given - right).abs() <= 0.5 * 10_f64.powi(-(*places as i32)) + 1e-9),
        AnswerKind::Near(error) => number(answer).zip(number(&item.answer)).map(|(given, right)| {
            // Both are decimals; their difference is exact to far less than this.
            (given - right).abs() <= error + 1e-12
        }),
        AnswerKind::Relaxed => Some(relaxed(bare(answer), &item.answer)),
        AnswerKind::List => list(answer).zip(list(&item.answer)).map(|(given, right)| given == right),
        AnswerKind::Contains(texts) => {
            let given = normalize_text(answer);
            Some(texts.iter().any(|text| given.contains(&normalize_text(text))))
        }
        AnswerKind::Box { corners, .. } => boxed(*corners, answer),
        AnswerKind::Text => Some(text_equal(answer, &item.answer)),
        AnswerKind::Prose => None,
    };
    match right {
        Some(right) => Mark::read(answer, right),
        None => Mark { answer: Some(answer.to_owned()), ..Mark::because(Reason::Unread) },
    }
}

/// Where the answer is.
fn answer_of(output: &str) -> Option<&str> {
    let completion = Completion::from_text(output);
    if let Some(answer) = Reply::of(&completion).answer {
        let start = output.rfind(answer)?;
        return Some(&output[start..start + answer.len()]);
    }
    // What is thought aloud is no answer.
    let said = output.rsplit("</think>").next().unwrap_or(output).trim();
    if said.is_empty() || said.contains("<think>") {
        return None;
    }
    last_box(said).or_else(|| announced(said)).or_else(|| (said.chars().count() <= SHORT).then_some(said))
}

/// The rest of the line after the last announcement of an answer.
fn announced(text: &str) -> Option<&str> {
    let lower = text.to_ascii_lowercase();
    let after = ["answer is", "answer:", "answer is:"]
        .iter()
        .filter_map(|mark| lower.rfind(mark).map(|at| at + mark.len()))
        .max()?;
    let line = text[after..].trim_start_matches([':', ' ', '*']).lines().next()?.trim();
    (!line.is_empty()).then_some(line)
}

/// The letters of an answer, or the one option whose whole text it is; none where it names none.
fn choice(item: &Item, answer: &str) -> Option<bool> {
    let right = letters(&item.answer)?;
    if let Some(given) = letters(answer) {
        return Some(given == right);
    }
    let given = normalize_text(bare(answer));
    // `B. a cat` and `(B) a cat` name their option twice.
    let without_letter = |text: &str| -> Option<(char, String)> {
        let text = text.trim_start_matches('(');
        let letter = text.chars().next().filter(char::is_ascii_uppercase)?;
        let rest = text[1..].strip_prefix([')', '.', ':'])?;
        Some((letter, normalize_text(rest.trim_start_matches([')', '.', ':']))))
    };
    if let Some((letter, text)) = without_letter(bare(answer))
        && item.options.iter().any(|(known, option)| *known == letter && normalize_text(option) == text)
    {
        return Some(item.answer.chars().eq([letter]));
    }
    let mut named = item.options.iter().filter(|(_, option)| text_equal(&given, option));
    match (named.next(), named.next()) {
        (Some((letter, _)), None) => Some(item.answer.chars().eq([*letter])),
        _ => None,
    }
}

/// Without a box, dollar signs and emphasis around.
fn bare(text: &str) -> &str {
    let text = text.trim().trim_matches(['*', '$', '`', '"']).trim();
    let inside = text.strip_prefix("\\boxed{").and_then(|rest| rest.strip_suffix('}'));
    inside.unwrap_or(text).trim()
}

fn number(text: &str) -> Option<f64> {
    let plain = bare(text).trim_end_matches('.').replace(',', "");
    python::float(&plain).filter(|x| x.is_finite()).or_else(|| reft_math::value(bare(text)))
}

/// Texts without case and outer white space, or the same mathematics.
fn text_equal(given: &str, right: &str) -> bool {
    let (given, right) = (normalize_text(bare(given)), normalize_text(bare(right)));
    given == right
        || (!given.is_empty()
            && right.chars().any(|c| c.is_ascii_digit())
            && reft_math::equal(&right, &given))
}

fn list(text: &str) -> Option<Vec<String>> {
    let entries = python::list(bare(text))?;
    Some(
        entries.iter().map(|entry| number(entry).map_or_else(|| entry.clone(), python::float_text)).collect(),
    )
}

fn boxed(truth: [f64; 4], answer: &str) -> Option<bool> {
    let found = parse_boxes(answer)?;
    let [found] = &found[..] else { return None };
    let [x1, y1, x2, y2] = truth;
    Some(found.bbox.iou(&BoundingBox::new(x1, y1, x2, y2)?) > THRESHOLD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(kind: AnswerKind, answer: &str, options: &[&str]) -> Item {
        let options = ('A'..='Z').zip(options.iter().map(|text| (*text).to_owned())).collect();
        Item { id: "1".into(), answer: answer.into(), kind, options, ..Item::default() }
    }

    #[test]
    fn answers_are_read_whole_or_not_at_all() {
        let shapes = item(AnswerKind::Choice, "B", &["circle", "a square", "10"]);
        for (output, right) in [
            ("<think>A or C</think><answer>B</answer>", Some(true)),
            ("<answer>a square</answer>", Some(true)),
            ("so the answer is (B).", Some(true)),
            ("\\boxed{B}", Some(true)),
            ("**B. a square**", Some(true)),
            ("A", Some(false)),
            ("A square or a circle", None),
            ("", None),
            ("<think>B", None),
        ] {
            let mark = grade(&shapes, output);
            let said = (!mark.reason.is_failure()).then(|| mark.is_right());
            assert_eq!(said, right, "{output}: {mark:?}");
        }
        for (kind, answer, output, right) in [
            (AnswerKind::Decimal(1), "14.2", "<answer>14.24</answer>", true),
            (AnswerKind::Decimal(1), "14.2", "<answer>14.3</answer>", false),
            (AnswerKind::Integer, "14", "<answer>14.0</answer>", true),
            (AnswerKind::Integer, "14", "14.9", false),
            (AnswerKind::Near(0.001), "3.142", "\\boxed{\\pi}", true),
            (AnswerKind::Relaxed, "100", "$104$", true),
            (AnswerKind::List, "[2004, 2006]", "[2004,2006.0]", true),
            (AnswerKind::YesNo, "Yes", "<answer>yes</answer>", true),
            (AnswerKind::Text, "y = -3", "<answer>Y = -3.</answer>", true),
        ] {
            assert_eq!(grade(&item(kind, answer, &[]), output).is_right(), right, "{output}");
        }
    }
}
