//! Python's notions of text, for graders that must agree with programs in Python: white space, digits, numbers, lists.

/// Zero of every decimal digit script (Unicode `Nd`): each is followed by its one to nine.
const ZEROS: [u32; 66] = [
    0x30, 0x660, 0x6F0, 0x7C0, 0x966, 0x9E6, 0xA66, 0xAE6, 0xB66, 0xBE6, 0xC66, 0xCE6, 0xD66, 0xDE6, 0xE50,
    0xED0, 0xF20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50, 0x1BB0, 0x1C40,
    0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10, 0x104A0, 0x10D30, 0x11066,
    0x110F0, 0x11136, 0x111D0, 0x112F0, 0x11450, 0x114D0, 0x11650, 0x116C0, 0x11730, 0x118E0, 0x11950,
    0x11C50, 0x11D50, 0x11DA0, 0x16A60, 0x16AC0, 0x16B50, 0x1D7CE, 0x1D7D8, 0x1D7E2, 0x1D7EC, 0x1D7F6,
    0x1E140, 0x1E2F0, 0x1E950, 0x1FBF0,
];

/// `\s` and `str.isspace`: Unicode white space and the four ASCII separators.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `str.strip`.
pub fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.split()`: the pieces between runs of white space.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// The value of a decimal digit of any script, as `\d` and `int` take it.
pub fn digit(c: char) -> Option<char> {
    let code = u32::from(c);
    let zero = ZEROS[..ZEROS.partition_point(|&zero| zero <= code)].last()?;
    char::from_digit(code.checked_sub(*zero)?, 10)
}

/// `float(text)`: digits of any script, single underscores between digits, `inf` and `nan`.
pub fn float(text: &str) -> Option<f64> {
    let mut plain = String::new();
    let mut rest = strip(text).chars().map(|c| digit(c).unwrap_or(c)).peekable();
    while let Some(c) = rest.next() {
        let after_digit = plain.ends_with(|c: char| c.is_ascii_digit());
        match c {
            '_' if after_digit && rest.peek().is_some_and(char::is_ascii_digit) => {}
            c => plain.push(c),
        }
    }
    plain.parse().ok()
}

/// `int(text)` in decimal, as text without leading zeros or a plus sign: digits of any script, single underscores between
/// digits. None for more digits than Python reads (4,300).
pub fn int(text: &str) -> Option<String> {
    const MOST_DIGITS: usize = 4_300;
    let text = strip(text);
    let (sign, rest) = match text.strip_prefix('-') {
        Some(rest) => ("-", rest),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    let mut digits = String::new();
    for group in rest.split('_') {
        if group.is_empty() {
            return None;
        }
        for c in group.chars() {
            digits.push(digit(c)?);
        }
    }
    if digits.len() > MOST_DIGITS {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    Some(if digits.is_empty() { "0".to_owned() } else { format!("{sign}{digits}") })
}

/// `repr(x)`: the shortest digits that give the number back, with an exponent below 1e-4 and from 1e16 on.
pub fn float_text(x: f64) -> String {
    if !x.is_finite() {
        return if x.is_nan() {
            "nan"
        } else if x > 0.0 {
            "inf"
        } else {
            "-inf"
        }
        .to_owned();
    }
    let scientific = format!("{x:e}");
    let Some((digits, exponent)) = scientific.split_once('e') else { return scientific };
    match exponent.parse::<i32>() {
        Ok(exponent) if !(-4..16).contains(&exponent) => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
        _ => format!("{x:?}"),
    }
}

/// `str(round(x, places))`: rounded from the exact binary value, halves to the even digit.
pub fn rounded_text(x: f64, places: usize) -> String {
    if !x.is_finite() {
        return float_text(x);
    }
    format!("{x:.places$}").parse().map_or_else(|_| float_text(x), float_text)
}

/// The entries of a written list of texts and numbers: `['a', "b", 3]`. None for anything else, nested lists included.
pub fn list(text: &str) -> Option<Vec<String>> {
    let inside = strip(text).strip_prefix('[')?.strip_suffix(']')?;
    let mut entries = Vec::new();
    let mut rest = strip(inside);
    while !rest.is_empty() {
        let first = rest.chars().next()?;
        let (entry, after) = if matches!(first, '\'' | '"') {
            quoted(&rest[1..], first)?
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            let word = strip(&rest[..end]);
            let is_value = float(word).is_some() || ["True", "False", "None"].contains(&word);
            if !is_value {
                return None;
            }
            (word.to_owned(), &rest[end..])
        };
        entries.push(entry);
        rest = strip(after);
        match rest.strip_prefix(',') {
            Some(after) => rest = strip(after),
            None if rest.is_empty() => {}
            None => return None,
        }
    }
    Some(entries)
}

/// A text up to its closing quote, escapes undone, and what follows the quote.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut content = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((content, &text[at + c.len_utf8()..])),
            '\\' => match chars.next()?.1 {
                'n' => content.push('\n'),
                't' => content.push('\t'),
                'r' => content.push('\r'),
                'f' => content.push('\x0c'),
                'b' => content.push('\x08'),
                'a' => content.push('\x07'),
                'v' => content.push('\x0b'),
                '0' => content.push('\0'),
                '\n' => {}
                kind @ ('x' | 'u' | 'U') => {
                    let digits = match kind {
                        'x' => 2,
                        'u' => 4,
                        _ => 8,
                    };
                    let code: String = chars.by_ref().take(digits).map(|(_, c)| c).collect();
                    content.push(char::from_u32(u32::from_str_radix(&code, 16).ok()?)?);
                }
                c @ ('\\' | '\'' | '"') => content.push(c),
                // Python keeps the backslash of an escape that it does not know.
                c => content.extend(['\\', c]),
            },
            c => content.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_as_python_reads_them() {
        for (text, expected) in [
            (" 5.0 ", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("1_000", Some(1000.0)),
            ("1__000", None),
            ("_1", None),
            ("\u{ff15}", Some(5.0)),
            ("-.5", Some(-0.5)),
            ("5.", Some(5.0)),
            (".", None),
            ("", None),
            ("1,000", None),
            ("five", None),
            ("-Infinity", Some(f64::NEG_INFINITY)),
        ] {
            assert_eq!(float(text), expected, "{text}");
        }
        assert!(float("nan").is_some_and(f64::is_nan));
    }

    #[test]
    fn whole_numbers_as_python_reads_them() {
        for (text, expected) in [
            (" +1_000\n", Some("1000")),
            ("-007", Some("-7")),
            ("-0", Some("0")),
            ("\u{ff11}\u{661}", Some("11")),
            ("14.0", None),
            ("1__0", None),
            ("1_", None),
            ("", None),
            ("+", None),
        ] {
            assert_eq!(int(text).as_deref(), expected, "{text}");
        }
        assert!(int(&"1".repeat(4_300)).is_some() && int(&"1".repeat(4_301)).is_none());
    }

    #[test]
    fn numbers_as_python_writes_them() {
        for (x, expected) in [
            (0.1, "0.1"),
            (2.0, "2.0"),
            (1e16, "1e+16"),
            (123_456_789_012_345.0, "123456789012345.0"),
            (1e-5, "1e-05"),
            (0.0001, "0.0001"),
            (1.5e-7, "1.5e-07"),
            (-0.0, "-0.0"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(float_text(x), expected);
        }
        for (x, places, expected) in
            [(2.675, 2, "2.67"), (0.5, 0, "0.0"), (14.25, 1, "14.2"), (3.0, 2, "3.0")]
        {
            assert_eq!(rounded_text(x, places), expected);
        }
    }

    #[test]
    fn lists_as_python_writes_them() {
        let texts =
            |entries: &[&str]| Some(entries.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>());
        for (text, expected) in [
            ("['a', \"it's\"]", texts(&["a", "it's"])),
            (r"['\\frac{1}{2}', 'x\'y', '\u00e9']", texts(&["\\frac{1}{2}", "x'y", "\u{e9}"])),
            ("[]", texts(&[])),
            ("[1, 2.5,]", texts(&["1", "2.5"])),
            ("['a' 'b']", None),
            ("['a", None),
            ("a", None),
            ("[len('a')]", None),
            ("[Male, Female]", None),
        ] {
            assert_eq!(list(text), expected, "{text}");
        }
    }

    #[test]
    fn digits_of_every_script() {
        for (c, expected) in [('7', Some('7')), ('\u{664}', Some('4')), ('\u{1d7d9}', Some('1')), ('²', None)]
        {
            assert_eq!(digit(c), expected, "{c}");
        }
        assert_eq!(strip("\u{1f} a\u{a0}"), "a");
    }
}
