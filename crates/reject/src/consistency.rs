//! Whether the thinking leads to the answer.
//!
//! Rules see little of logic, so they are careful: only a thinking that *ends* on another value of the same kind
//! contradicts the answer; a thinking that names nothing comparable is neither for nor against.

use reft_core::Form;

const AGREES: f32 = 1.0;
const SILENT: f32 = 0.5;
const CONTRADICTS: f32 = 0.0;

/// 1 where thinking and answer agree, 0.5 where the thinking is silent, 0 where it contradicts.
pub(crate) fn share(form: Form, thinking: &str, answer: &str) -> f32 {
    if answer.is_empty() {
        return CONTRADICTS;
    }
    match form {
        Form::Binary => conclusion(&yes_no(thinking), &yes_no(answer)),
        Form::Choice => conclusion(&letters(thinking), &letters(answer)),
        Form::Open => match &numbers(answer)[..] {
            [number] => number_conclusion(&numbers(thinking), number),
            _ => SILENT + (AGREES - SILENT) * mentioned(thinking, answer),
        },
    }
}

/// The last value that the thinking names must be one of the answer's.
fn conclusion<T: PartialEq>(thinking: &[T], answer: &[T]) -> f32 {
    match thinking.last() {
        None => SILENT,
        Some(last) if answer.contains(last) => AGREES,
        Some(_) => CONTRADICTS,
    }
}

/// A number that the thinking ends on agrees; one that it never names, while it names others, contradicts.
fn number_conclusion(thinking: &[String], answer: &String) -> f32 {
    match thinking.last() {
        None => SILENT,
        Some(last) if last == answer => AGREES,
        Some(_) if thinking.contains(answer) => SILENT,
        Some(_) => CONTRADICTS,
    }
}

/// The share of the answer's items that the thinking names, 0 to 1.
fn mentioned(thinking: &str, answer: &str) -> f32 {
    let thinking = thinking.to_lowercase();
    let lower = answer.to_lowercase();
    let mut items = numbers(&lower);
    if items.is_empty() {
        let names = lower.split([',', '\n']).map(|name| name.trim().trim_matches(['.', '[', ']', '"', '\'']));
        items = names.filter(|name| !name.is_empty()).map(str::to_owned).collect();
    }
    let named = items.iter().filter(|item| thinking.contains(item.as_str())).count();
    named as f32 / items.len().max(1) as f32
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty())
}

fn yes_no(text: &str) -> Vec<bool> {
    let value = |word: &str| {
        let yes = word.eq_ignore_ascii_case("yes");
        (yes || word.eq_ignore_ascii_case("no")).then_some(yes)
    };
    words(text).filter_map(value).collect()
}

/// Capital letters that stand alone as options: marked by punctuation or by the word before, so that the article of
/// `A cat` is none.
fn letters(text: &str) -> Vec<char> {
    let mut found = Vec::new();
    let mut before = "";
    let count = text.split_whitespace().count();
    for (index, word) in text.split_whitespace().enumerate() {
        let bare = word.trim_matches(|c: char| !c.is_alphanumeric());
        let mut chars = bare.chars();
        if let (Some(letter @ 'A'..='Z'), None) = (chars.next(), chars.next()) {
            let introduced = ["option", "answer", "choice", "is", "and"].contains(&before);
            if letter != 'A' && letter != 'I' || bare.len() < word.len() || introduced || index + 1 == count {
                found.push(letter);
            }
        }
        before = word;
    }
    found
}

/// Decimal numbers without trailing zeros, thousands separators or a plus sign.
fn numbers(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut current = String::new();
    let mut before = ' ';
    for c in text.chars().chain([' ']) {
        let continues = c.is_ascii_digit() || (c == '.' && !current.is_empty() && !current.contains('.'));
        if continues {
            // A minus after a number or a bracket subtracts; otherwise it is a sign.
            if current.is_empty() && before == '-' {
                current.push('-');
            }
            current.push(c);
        } else if !current.is_empty() {
            found.push(canonical(&current));
            current.clear();
            before = if c == '-' { ' ' } else { c };
        } else if !c.is_whitespace() || before != '-' {
            before = c;
        }
    }
    found
}

fn canonical(number: &str) -> String {
    let number = number.trim_end_matches('.');
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        number.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read() {
        let cases: [(&str, &[&str]); 6] = [
            ("3 + 4 = 7.", &["3", "4", "7"]),
            ("it is -5", &["-5"]),
            ("9-5=4", &["9", "5", "4"]),
            ("0.50 and 2.0", &["0.5", "2"]),
            ("[1, 2.5, 3]", &["1", "2.5", "3"]),
            ("none", &[]),
        ];
        for (text, expected) in cases {
            assert_eq!(numbers(text), expected, "{text}");
        }
    }

    #[test]
    fn letters_are_options() {
        assert_eq!(letters("A cat. I think option A"), ['A']);
        assert_eq!(letters("It is a cat, so (B)."), ['B']);
        assert_eq!(letters("A, C"), ['A', 'C']);
    }

    #[test]
    fn agreement_by_hand() {
        let cases = [
            (Form::Open, "3 + 4 = 7", "7", AGREES),
            (Form::Open, "3 + 4 = 8", "7", CONTRADICTS),
            (Form::Open, "the 7 from 3 and 4", "7", SILENT),
            (Form::Open, "", "7", SILENT),
            (Form::Open, "I see a cat and a dog", "cat, dog", AGREES),
            (Form::Open, "I see a cat", "cat, dog", 0.75),
            (Form::Open, "it is at 1 2 3 4", "[1, 2, 3, 4]", AGREES),
            (Form::Binary, "no", "", CONTRADICTS),
            (Form::Binary, "I see it", "yes", SILENT),
            (Form::Choice, "B or C, so B", "B, C", AGREES),
        ];
        for (form, thinking, answer, expected) in cases {
            assert_eq!(share(form, thinking, answer), expected, "{thinking} -> {answer}");
        }
    }
}
