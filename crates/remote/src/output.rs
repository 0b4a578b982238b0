//! What a program writes: lines of bounded length, and the end of its error output.

use std::{
    collections::VecDeque,
    io::{self, BufRead, BufReader, Read},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// Longest answer of a program, in bytes.
const MAX_LINE: u64 = 1 << 20;
/// How much of a program's error output is kept, in bytes.
const KEPT: usize = 2_000;

/// The next line without its end; none when the output has ended.
pub(crate) fn line(reader: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut bytes = Vec::new();
    reader.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes)?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if bytes.len() as u64 == MAX_LINE && bytes.last() != Some(&b'\n') {
        return Err(io::Error::other(format!("a line is longer than {MAX_LINE} bytes")));
    }
    Ok(Some(String::from_utf8_lossy(&bytes).trim_end().to_owned()))
}

/// The last bytes of a stream, collected in the background so that its writer never blocks.
#[derive(Clone, Default)]
pub(crate) struct Tail(Arc<Mutex<VecDeque<u8>>>);

impl Tail {
    /// Starts to collect.
    pub(crate) fn follow(stream: impl Read + Send + 'static) -> io::Result<Self> {
        let tail = Self::default();
        let kept = tail.clone();
        thread::Builder::new().name("reft-remote-stderr".to_owned()).spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut chunk = [0; 512];
            while let Ok(n @ 1..) = reader.read(&mut chunk) {
                kept.push(&chunk[..n]);
            }
        })?;
        Ok(tail)
    }

    fn push(&self, bytes: &[u8]) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(bytes);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
    }

    /// What was written last.
    pub(crate) fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: Vec<u8> = kept.iter().copied().collect();
        String::from_utf8_lossy(&bytes).trim().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_and_are_bounded() {
        let mut reader = io::Cursor::new("a\r\n\nb");
        assert_eq!(line(&mut reader).unwrap().as_deref(), Some("a"));
        assert_eq!(line(&mut reader).unwrap().as_deref(), Some(""));
        assert_eq!(line(&mut reader).unwrap().as_deref(), Some("b"));
        assert_eq!(line(&mut reader).unwrap(), None);
        let mut endless = BufReader::new(io::repeat(b'x'));
        assert!(line(&mut endless).unwrap_err().to_string().contains("longer"));
    }

    #[test]
    fn only_the_end_is_kept() {
        let tail = Tail::default();
        tail.push(&[b'a'; 3_000]);
        tail.push(b" end");
        let text = tail.text();
        assert!(text.len() == KEPT && text.ends_with("a end"));
    }
}
