//! TensorBoard's event file: records of protocol buffers, each with its length and two checksums.
//!
//! Layout: `tensorflow/core/lib/io/record_writer.h` (length, CRC-32C of the length, data, CRC-32C of the data, checksums
//! masked) and `tensorflow/core/util/event.proto`: `Event { double wall_time = 1; int64 step = 2; string file_version = 3;
//! Summary summary = 5; }`, `Summary { repeated Value value = 1; }`, `Value { string tag = 1; float simple_value = 2;
//! Image image = 4; TensorProto tensor = 8; SummaryMetadata metadata = 9; }` (`summary.proto`). Text is a tensor of strings
//! for the plugin `text`.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use reft_core::ImageSize;

use super::{Point, Sink, shown::Shown};

/// What names of event files begin with.
const PREFIX: &str = "events.out.tfevents.";

/// An event file.
pub(super) struct TensorBoard {
    file: File,
}

impl TensorBoard {
    /// A new one in a run directory; files of earlier processes go, as this one has their steps too.
    pub(super) fn create(run: &Path) -> io::Result<Self> {
        for entry in fs::read_dir(run)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX)) {
                fs::remove_file(path)?;
            }
        }
        let now = now();
        // TensorBoard reads files in the order of their names, and takes the number for the time.
        let file = File::create(run.join(format!("{PREFIX}{:010}.{}.reft", now as u64, std::process::id())))?;
        let mut board = Self { file };
        let mut event = Vec::new();
        double(&mut event, 1, now);
        bytes(&mut event, 3, b"brain.Event:2");
        board.write(&event)?;
        Ok(board)
    }

    fn scalars<'a>(&mut self, step: u64, numbers: impl Iterator<Item = (&'a str, f64)>) -> io::Result<()> {
        let mut summary = Vec::new();
        for (name, number) in numbers {
            let mut value = Vec::new();
            bytes(&mut value, 1, name.as_bytes());
            value.push(2 << 3 | 5);
            value.extend((number as f32).to_le_bytes());
            bytes(&mut summary, 1, &value);
        }
        self.summary(step, &summary)
    }

    fn text(&mut self, step: u64, name: &str, text: &str) -> io::Result<()> {
        let (mut plugin, mut metadata, mut shape, mut tensor) = (vec![], vec![], vec![], vec![]);
        bytes(&mut plugin, 1, b"text");
        bytes(&mut metadata, 1, &plugin);
        // One dimension of one string, `DT_STRING`.
        bytes(&mut shape, 2, &[1 << 3, 1]);
        number(&mut tensor, 1, 7);
        bytes(&mut tensor, 2, &shape);
        bytes(&mut tensor, 8, text.as_bytes());
        let (mut value, mut summary) = (vec![], vec![]);
        bytes(&mut value, 1, name.as_bytes());
        bytes(&mut value, 9, &metadata);
        bytes(&mut value, 8, &tensor);
        bytes(&mut summary, 1, &value);
        self.summary(step, &summary)
    }

    fn image(&mut self, step: u64, name: &str, size: ImageSize, encoded: &[u8]) -> io::Result<()> {
        let (mut image, mut value, mut summary) = (vec![], vec![], vec![]);
        number(&mut image, 1, size.height.into());
        number(&mut image, 2, size.width.into());
        // RGB.
        number(&mut image, 3, 3);
        bytes(&mut image, 4, encoded);
        bytes(&mut value, 1, name.as_bytes());
        bytes(&mut value, 4, &image);
        bytes(&mut summary, 1, &value);
        self.summary(step, &summary)
    }

    fn summary(&mut self, step: u64, summary: &[u8]) -> io::Result<()> {
        let mut event = Vec::new();
        double(&mut event, 1, now());
        number(&mut event, 2, step);
        bytes(&mut event, 5, summary);
        self.write(&event)
    }

    fn write(&mut self, event: &[u8]) -> io::Result<()> {
        let length = (event.len() as u64).to_le_bytes();
        let mut record = Vec::with_capacity(event.len() + 16);
        record.extend(length);
        record.extend(masked_crc(&length).to_le_bytes());
        record.extend(event);
        record.extend(masked_crc(event).to_le_bytes());
        // In one call, so that a reader sees whole records or none.
        self.file.write_all(&record)
    }
}

impl Sink for TensorBoard {
    fn add(&mut self, point: &Point<'_>) -> io::Result<()> {
        self.scalars(point.number, point.metrics.iter())
    }

    fn validated(&mut self, number: u64, benchmark: &str, accuracy: f64) -> io::Result<()> {
        self.scalars(number, [(&*format!("validation/{benchmark}/accuracy"), accuracy)].into_iter())
    }

    fn recipe(&mut self, toml: &str) -> io::Result<()> {
        self.text(0, "recipe", &format!("```\n{toml}\n```"))
    }

    fn shows(&self) -> bool {
        true
    }

    fn shown(&mut self, shown: &Shown) -> io::Result<()> {
        let name = format!("answers/{}", shown.phase);
        if let Some(picture) = &shown.picture {
            self.image(shown.number, &name, picture.size, &picture.encoded)?;
        }
        self.text(shown.number, &name, &shown.markdown())
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

fn double(out: &mut Vec<u8>, field: u8, value: f64) {
    out.push(field << 3 | 1);
    out.extend(value.to_le_bytes());
}

fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3);
    varint(out, value);
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// CRC-32C, turned so that a checksum of data that holds checksums is sound.
fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use reft_core::Metrics;

    use super::*;

    /// The bytes that `tensorboard` 2.20 writes for `file_version` (`EventFileWriter`), but for the time.
    #[test]
    fn the_first_record_is_that_of_the_reference() {
        let run = tempfile::tempdir().unwrap();
        fs::write(run.path().join(format!("{PREFIX}0000000001.9.reft")), "of an earlier process").unwrap();
        let mut board = TensorBoard::create(run.path()).unwrap();
        let mut metrics = Metrics::new();
        metrics.set("reward/mean", 1.5);
        board.add(&Point { number: 300, phase: "open", step: 7, metrics: &metrics }).unwrap();

        let files: Vec<_> = fs::read_dir(run.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(files.len(), 1, "one file with all steps");
        let data = fs::read(&files[0]).unwrap();
        // Length 24 with the checksum that every such file begins with.
        assert_eq!(data[..12], [24, 0, 0, 0, 0, 0, 0, 0, 0xa3, 0x7f, 0x4b, 0x22]);
        assert_eq!(&data[21..36], b"\x1a\x0dbrain.Event:2");
        let second = &data[40..];
        assert_eq!(second[..8], (second.len() as u64 - 16).to_le_bytes());
        let tail = b"\x10\xac\x02\x2a\x14\x0a\x12\x0a\x0breward/mean\x15\x00\x00\xc0\x3f";
        assert_eq!(&second[21..second.len() - 4], tail, "step, summary, value");
    }
}
