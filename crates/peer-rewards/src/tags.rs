//! What the peers' regular expressions find: answer blocks, think-answer formats, boxes.

use super::python::{digit, is_space};

const OPEN: &str = "<answer>";
const CLOSE: &str = "</answer>";

/// How far a block may reach.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Span {
    /// Over line ends (`re.DOTALL`).
    Lines,
    /// Within a line: a block with a line break in it is not found.
    Line,
}

/// The content of the first answer block, as it is.
pub(super) fn first_answer(text: &str, span: Span) -> Option<&str> {
    // The next closing tag is looked for once, not from every opening tag before it.
    let mut close = 0;
    for (at, _) in text.match_indices(OPEN) {
        let start = at + OPEN.len();
        if close < start {
            close = start + text[start..].find(CLOSE)?;
        }
        let inner = &text[start..close];
        if span == Span::Lines || !inner.contains('\n') {
            return Some(inner);
        }
    }
    None
}

/// The content of the last of the answer blocks read one after the other.
pub(super) fn last_answer(text: &str) -> Option<&str> {
    let mut rest = text;
    let mut last = None;
    while let Some((inner, after)) = rest.split_once(OPEN).and_then(|(_, inner)| inner.split_once(CLOSE)) {
        last = Some(inner);
        rest = after;
    }
    last
}

/// The first answer block; else what follows the first opening tag, up to the next one.
pub(super) fn first_answer_or_open(text: &str) -> Option<&str> {
    first_answer(text, Span::Lines).or_else(|| {
        let open = text.split_once(OPEN)?.1;
        Some(open.split_once(OPEN).map_or(open, |(inner, _)| inner))
    })
}

/// The first answer block; else what follows the opening tag, up to the next `<` or *without its last character*.
pub(super) fn first_answer_or_cut(text: &str) -> Option<&str> {
    first_answer(text, Span::Lines).or_else(|| {
        let open = text.split_once(OPEN)?.1;
        if let Some((inner, _)) = open.split_once('<') {
            return Some(inner);
        }
        let line = open.strip_suffix('\n').unwrap_or(open);
        Some(line.char_indices().next_back().map_or("", |(last, _)| &line[..last]))
    })
}

/// Whether the whole text is a think block and an answer block, with only white space between them.
/// More blocks may hide inside: the first opening and the last closing tag decide.
pub(super) fn is_think_answer(text: &str) -> bool {
    let Some(rest) = text.strip_prefix("<think>") else {
        return false;
    };
    rest.strip_suffix(CLOSE).is_some_and(|body| after_think(body).is_some())
}

/// Whether the whole text is a think block and an answer block that holds a box in braces.
pub(super) fn is_think_answer_box(text: &str) -> bool {
    let body = text.strip_prefix("<think>").and_then(|rest| rest.strip_suffix(CLOSE));
    body.and_then(after_think).and_then(after_braced_box).is_some()
}

/// Whether a think block, an answer block and a box in braces follow each other anywhere.
pub(super) fn has_think_answer_braced_box(text: &str) -> bool {
    let answer = text.split_once("<think>").and_then(|(_, rest)| after_think(rest));
    answer.and_then(after_braced_box).is_some_and(|rest| rest.contains(CLOSE))
}

/// Whether a think block, an answer block and a box follow each other anywhere.
pub(super) fn has_think_answer_box(text: &str) -> bool {
    let answer = text.split_once("<think>").and_then(|(_, rest)| after_think(rest));
    answer.and_then(after_box).is_some_and(|rest| rest.contains(CLOSE))
}

/// Whether the tags `<think>`, `<answer>` and `</answer>` follow each other anywhere.
pub(super) fn has_think_then_answer(text: &str) -> bool {
    text.split_once("<think>")
        .and_then(|(_, rest)| rest.split_once(OPEN))
        .is_some_and(|(_, rest)| rest.contains(CLOSE))
}

/// What follows the first `</think>` with only white space before `<answer>`.
fn after_think(text: &str) -> Option<&str> {
    text.match_indices("</think>")
        .find_map(|(at, tag)| text[at + tag.len()..].trim_start_matches(is_space).strip_prefix(OPEN))
}

fn after_braced_box(text: &str) -> Option<&str> {
    let inside = text.split_once('{')?.1;
    Some(after_box(inside)?.split_once('}')?.1)
}

fn after_box(text: &str) -> Option<&str> {
    text.match_indices('[').find_map(|(at, _)| whole_box(&text[at..])).map(|(_, rest)| rest)
}

/// The first `[1, 2, 3, 4]` of whole numbers without a sign.
pub(super) fn first_whole_box(text: &str) -> Option<[f64; 4]> {
    text.match_indices('[').find_map(|(at, _)| whole_box(&text[at..])).map(|(numbers, _)| numbers)
}

/// Reads `[1, 2, 3, 4]` at the start: white space only after commas. Gives what follows, too.
fn whole_box(text: &str) -> Option<([f64; 4], &str)> {
    read_box(text, |rest| {
        let start = rest.trim_start_matches(is_space);
        let end = start.find(|c| digit(c).is_none()).unwrap_or(start.len());
        let digits: String = start[..end].chars().filter_map(digit).collect();
        Some((digits.parse().ok()?, &start[end..]))
    })
    // The pattern wants the first number right after the bracket.
    .filter(|_| !text[1..].starts_with(is_space))
}

/// Every `[x1, y1, x2, y2]` of decimals with signs and white space around, truncated to whole numbers, in order.
pub(super) fn truncated_boxes(text: &str) -> impl DoubleEndedIterator<Item = [f64; 4]> + '_ {
    text.match_indices('[').filter_map(|(at, _)| {
        let (numbers, _) = read_box(&text[at..], decimal)?;
        Some(numbers.map(f64::trunc))
    })
}

/// `-1.5`, `.5`, `10`, with white space around. A number ends in a digit and has no exponent.
fn decimal(rest: &str) -> Option<(f64, &str)> {
    let start = rest.trim_start_matches(is_space);
    let unsigned = start.strip_prefix('-').unwrap_or(start);
    let digits = |text: &str| text.find(|c| digit(c).is_none()).unwrap_or(text.len());
    let whole = digits(unsigned);
    let fraction = unsigned[whole..].strip_prefix('.').map_or(0, digits);
    let end = whole + if fraction > 0 { 1 + fraction } else { 0 };
    if end == 0 {
        return None;
    }
    let sign = start.len() - unsigned.len();
    let value = super::python::float(&start[..sign + end])?;
    Some((value, unsigned[end..].trim_start_matches(is_space)))
}

fn read_box<'a>(
    text: &'a str,
    number: impl Fn(&'a str) -> Option<(f64, &'a str)>,
) -> Option<([f64; 4], &'a str)> {
    let mut rest = text.strip_prefix('[')?;
    let mut numbers = [0.0; 4];
    for (i, slot) in numbers.iter_mut().enumerate() {
        let (value, after) = number(rest)?;
        *slot = value;
        rest = after.strip_prefix(if i == 3 { ']' } else { ',' })?;
    }
    Some((numbers, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_by_hand() {
        let text = "<answer>a\nb</answer><answer>c</answer>";
        assert_eq!(first_answer(text, Span::Lines), Some("a\nb"));
        assert_eq!(first_answer(text, Span::Line), Some("c"));
        assert_eq!(last_answer(text), Some("c"));
        assert_eq!(last_answer("</answer>5<answer>"), None);
        assert_eq!(first_answer_or_open("<answer>B<answer>"), Some("B"));
        assert_eq!(first_answer_or_open("B"), None);
        for (text, expected) in [
            ("<answer>cat", Some("ca")),
            ("<answer>cat\n", Some("ca")),
            ("<answer>cat<b", Some("cat")),
            ("<answer>", Some("")),
            ("cat", None),
        ] {
            assert_eq!(first_answer_or_cut(text), expected, "{text}");
        }
    }

    #[test]
    fn boxes_by_hand() {
        assert_eq!(first_whole_box("[a] [[1, 2,\n3,4]]"), Some([1.0, 2.0, 3.0, 4.0]));
        for text in [
            "[ 1, 2, 3, 4]",
            "[1 , 2, 3, 4]",
            "[1, 2, 3, 4 ]",
            "[1, 2, 3]",
            "[1, 2, 3, 4.0]",
            "[-1, 2, 3, 4]",
        ] {
            assert_eq!(first_whole_box(text), None, "{text}");
        }
        let boxes: Vec<_> = truncated_boxes("[ -1.5 , .5, 10, 4 ][1, 2, 3, 4][1., 2, 3, 4]").collect();
        assert_eq!(boxes, [[-1.0, 0.0, 10.0, 4.0], [1.0, 2.0, 3.0, 4.0]]);
    }

    #[test]
    fn formats_by_hand() {
        for text in [
            "<think>a</think>\u{a0}<answer>b</answer>",
            "<think>a</think>x</think><answer>b</answer>",
            "<think></think><answer></answer>",
        ] {
            assert!(is_think_answer(text), "{text}");
        }
        for text in [
            "<think>a</think> and <answer>b</answer>",
            "<think>a</think><answer></answe",
            " <think></think><answer></answer>",
        ] {
            assert!(!is_think_answer(text), "{text}");
        }
        assert!(is_think_answer_box("<think>a</think><answer>{[1,2,3,4]}</answer>"));
        assert!(!is_think_answer_box("<think>a</think><answer>{[1,2,3,4]</answer>"));
    }
}
