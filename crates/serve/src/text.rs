//! Text of an answer that is being written: what can be given away, and what must wait.

/// Decodes token by token. Bytes that are no whole character yet, and what may be the beginning of a stop string, are held
/// back.
pub(crate) struct TextSoFar<D> {
    decode: D,
    stop: Vec<String>,
    ids: Vec<i64>,
    /// Tokens from `context` to `decoded` have been decoded; those before `context` cannot change what follows.
    context: usize,
    decoded: usize,
    text: String,
    /// Bytes that were given away.
    given: usize,
    /// Where a stop string begins.
    end: Option<usize>,
}

impl<D: Fn(&[i64]) -> String> TextSoFar<D> {
    pub(crate) fn new(decode: D, stop: Vec<String>) -> Self {
        Self {
            decode,
            stop,
            ids: Vec::new(),
            context: 0,
            decoded: 0,
            text: String::new(),
            given: 0,
            end: None,
        }
    }

    /// The text that one more token makes sure of.
    pub(crate) fn push(&mut self, id: i64) -> String {
        self.ids.push(id);
        let before = (self.decode)(&self.ids[self.context..self.decoded]);
        let after = (self.decode)(&self.ids[self.context..]);
        // A character that is not whole is U+FFFD at the end, and may become another.
        if after.len() > before.len() && after.starts_with(&before) && !after.ends_with('\u{fffd}') {
            self.text.push_str(&after[before.len()..]);
            self.context = self.decoded;
            self.decoded = self.ids.len();
        }
        self.look_for_stop();
        let sure = self.end.unwrap_or(self.text.len() - self.maybe_stop());
        self.give(sure)
    }

    /// What is left when the answer has ended.
    pub(crate) fn finish(&mut self) -> String {
        let before = (self.decode)(&self.ids[self.context..self.decoded]);
        let after = (self.decode)(&self.ids[self.context..]);
        self.text.push_str(after.strip_prefix(&before).unwrap_or_default());
        self.decoded = self.ids.len();
        self.look_for_stop();
        self.give(self.end.unwrap_or(self.text.len()))
    }

    fn look_for_stop(&mut self) {
        if self.end.is_none() {
            let found =
                self.stop.iter().filter_map(|stop| Some(self.given + self.text[self.given..].find(stop)?));
            self.end = found.min();
        }
    }

    /// Bytes at the end that a stop string may begin with.
    fn maybe_stop(&self) -> usize {
        let open = &self.text[self.given..];
        let begins = |stop: &String| {
            let lengths = (1..stop.len()).rev().filter(|&n| stop.is_char_boundary(n));
            lengths.into_iter().find(|&n| open.ends_with(&stop[..n])).unwrap_or(0)
        };
        self.stop.iter().map(begins).max().unwrap_or(0)
    }

    fn give(&mut self, up_to: usize) -> String {
        let new = self.text.get(self.given..up_to).unwrap_or_default().to_owned();
        self.given = self.given.max(up_to);
        new
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token is a byte.
    fn decode(ids: &[i64]) -> String {
        String::from_utf8_lossy(&ids.iter().map(|&id| id as u8).collect::<Vec<_>>()).into_owned()
    }

    fn pieces(text: &str, stop: &[&str]) -> (Vec<String>, String) {
        let mut so_far = TextSoFar::new(decode, stop.iter().map(|&stop| stop.to_owned()).collect());
        let pieces = text.bytes().map(|byte| so_far.push(i64::from(byte))).collect();
        (pieces, so_far.finish())
    }

    #[test]
    fn characters_come_whole() {
        let (given, rest) = pieces("aé\u{1f600}b", &[]);
        assert_eq!(given, ["a", "", "é", "", "", "", "\u{1f600}", "b"]);
        assert_eq!(rest, "");
        let mut cut = TextSoFar::new(decode, Vec::new());
        assert_eq!(
            (cut.push(0x61), cut.push(0xc3), cut.finish()),
            ("a".into(), String::new(), "\u{fffd}".into())
        );
    }

    #[test]
    fn stop_strings_are_held_back_and_cut_off() {
        let (given, rest) = pieces("a</b></answer>x", &["</answer>"]);
        assert_eq!(given.concat() + &rest, "a</b>");
        assert_eq!(given[..6], ["a", "", "", "</b", ">", ""].map(str::to_owned));
        // What only looked like one comes at the end.
        assert_eq!(pieces("a</ans", &["</answer>"]).1, "</ans");
        // The first of several.
        assert_eq!(pieces("one two three", &["three", "two"]).0.concat(), "one ");
    }
}
