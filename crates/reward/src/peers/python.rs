//! Python's notions of text, which the peers' rewards depend on: white space, digits, numbers.

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
pub(super) fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\x1c'..='\x1f').contains(&c)
}

/// `str.strip`.
pub(super) fn strip(text: &str) -> &str {
    text.trim_matches(is_space)
}

/// `str.split()`: the pieces between runs of white space.
pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// The value of a decimal digit of any script, as `\d` and `int` take it.
pub(super) fn digit(c: char) -> Option<char> {
    let code = u32::from(c);
    let zero = ZEROS[..ZEROS.partition_point(|&zero| zero <= code)].last()?;
    char::from_digit(code.checked_sub(*zero)?, 10)
}

/// `float(text)`: digits of any script, single underscores between digits, `inf` and `nan`.
pub(super) fn float(text: &str) -> Option<f64> {
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
    fn digits_of_every_script() {
        for (c, expected) in [('7', Some('7')), ('\u{664}', Some('4')), ('\u{1d7d9}', Some('1')), ('²', None)]
        {
            assert_eq!(digit(c), expected, "{c}");
        }
        assert_eq!(strip("\u{1f} a\u{a0}"), "a");
    }
}
