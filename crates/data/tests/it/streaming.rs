//! Parquet files that are larger than the memory they may take.

use std::{fs::File, path::Path, sync::Arc};

use arrow::{
    array::{ArrayRef, BinaryArray, RecordBatch, StringArray, StructArray},
    datatypes::{DataType, Field},
};
use parquet::{
    arrow::ArrowWriter,
    basic::Compression,
    file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder},
};
use reft_config::{DataConfig, FileData, PromptConfig, TaskName};
use reft_core::{Form, ImageSource, Seed, Task};
use reft_data::{Dataset, OpenData};
use serde_json::json;

use crate::support::{load, png};

/// A PNG with bytes behind its end that no other row has, which decoders ignore.
fn image(row: usize, size: usize) -> Vec<u8> {
    let mut bytes = png(40 + row as u32 % 3, 30);
    let seed = Seed::new(row as u64);
    bytes.extend((0_u64..).flat_map(|i| seed.at(i).key().to_le_bytes()).take(size));
    bytes
}

/// `image: {bytes, path}`, `problem`, `solution`, a row group for every 32 rows.
fn write(path: &Path, rows: usize, size: usize) {
    write_with(path, rows, size, WriterProperties::builder());
}

fn write_with(path: &Path, rows: usize, size: usize, properties: WriterPropertiesBuilder) {
    let batch = |rows: std::ops::Range<usize>| {
        let images: Vec<Vec<u8>> = rows.clone().map(|row| image(row, size)).collect();
        let bytes: ArrayRef = Arc::new(images.iter().map(|bytes| Some(&bytes[..])).collect::<BinaryArray>());
        let names: ArrayRef =
            Arc::new(rows.clone().map(|row| Some(format!("{row}.png"))).collect::<StringArray>());
        let column = |name: &str, kind| Arc::new(Field::new(name, kind, true));
        let image = StructArray::from(vec![
            (column("bytes", DataType::Binary), bytes),
            (column("path", DataType::Utf8), names),
        ]);
        let texts = |of: &dyn Fn(usize) -> String| -> ArrayRef {
            Arc::new(rows.clone().map(|row| Some(of(row))).collect::<StringArray>())
        };
        let columns: [(&str, ArrayRef); 3] = [
            ("image", Arc::new(image)),
            ("problem", texts(&|row| format!("What is {row} + 1?"))),
            ("solution", texts(&|row| (row + 1).to_string())),
        ];
        RecordBatch::try_from_iter(columns).unwrap()
    };
    let properties = properties
        .set_compression(Compression::SNAPPY)
        .set_max_row_group_row_count(Some(32))
        .set_data_page_size_limit(1 << 20)
        .build();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch(0..0).schema(), Some(properties)).unwrap();
    for start in (0..rows).step_by(16) {
        writer.write(&batch(start..(start + 16).min(rows))).unwrap();
    }
    writer.close().unwrap();
}

fn open(path: &Path, image_memory_mib: u64) -> Dataset {
    let config = json!({"type": "file", "path": path, "task": "math", "image_memory_mib": image_memory_mib});
    load(config, &[Form::Open]).unwrap()
}

#[test]
fn images_beyond_the_limit_stay_in_the_file_and_are_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    write(&path, 100, 20_000);
    let (held, stored) = (open(&path, 512), open(&path, 1));
    for (row, (a, b)) in held.samples.iter().zip(&stored.samples).enumerate() {
        let (a, b) = (a.images().next().unwrap(), b.images().next().unwrap());
        assert!(matches!((&a.source, &b.source), (ImageSource::Bytes(_), ImageSource::Stored(_))));
        assert_eq!((a.size, &a.label), (b.size, &b.label));
        assert_eq!(*b.source.read().unwrap(), image(row, 20_000), "row {row}");
    }
    assert_eq!(held.samples.len(), 100);
    assert_eq!(held.report(), stored.report());
    assert_eq!(stored.report().distinct_images, 100);

    // Copies of it too, from any thread and in any order.
    std::thread::scope(|scope| {
        for start in [3, 1, 2] {
            let samples = &stored.samples;
            scope.spawn(move || {
                for row in (start..100).rev().step_by(7) {
                    let bytes = samples[row].images().next().unwrap().source.read().unwrap();
                    assert_eq!(*bytes, image(row, 20_000));
                }
            });
        }
    });

    std::fs::remove_file(&path).unwrap();
    let gone = stored.samples[0].images().next().unwrap().source.read();
    assert!(gone.is_ok(), "the last images read are kept: all of them here");
}

#[test]
fn a_file_that_vanishes_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("rows.parquet");
    write(&path, 64, 20_000);
    let stored = open(&path, 1);
    std::fs::remove_file(&path).unwrap();
    let error = stored.samples[40].images().next().unwrap().source.read().unwrap_err().to_string();
    assert!(error.contains("rows.parquet` row 40"), "{error}");
}

/// A file without a page index is read all the same, and the report says what that costs.
#[test]
fn a_file_without_page_index_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (with, without) = (folder.path().join("with.parquet"), folder.path().join("without.parquet"));
    write(&with, 64, 20_000);
    let properties = WriterProperties::builder()
        .set_offset_index_disabled(true)
        .set_statistics_enabled(EnabledStatistics::Chunk);
    write_with(&without, 64, 20_000, properties);
    let notes = |path: &Path, image_memory_mib: u64| {
        let config = FileData { image_memory_mib, task: Some(TaskName(Task::Math)), ..FileData::new(path) };
        let data = OpenData::load(&DataConfig::File(config), &PromptConfig::default()).unwrap();
        data.notes().join("; ")
    };
    assert_eq!((notes(&with, 1), notes(&without, 512)), (String::new(), String::new()));
    assert!(notes(&without, 1).contains("no page index"), "{}", notes(&without, 1));
    let stored = open(&without, 1);
    for row in [63, 0, 40] {
        assert_eq!(*stored.samples[row].images().next().unwrap().source.read().unwrap(), image(row, 20_000));
    }
}

/// Peak resident memory of this process, in bytes.
#[cfg(target_os = "linux")]
fn peak() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// The file has 96 MiB of images, of which 1 MiB may be held. Run by the test below in a process of its own, because the
/// peak of a process is that of all its tests.
#[cfg(target_os = "linux")]
#[test]
fn memory_does_not_grow_with_the_file() {
    const SIZE: usize = 256 << 10;
    const ROWS: usize = 384;
    const ASK: &str = "REFT_TEST_STREAMING_FILE";
    if let Some(path) = std::env::var_os(ASK) {
        let before = peak();
        let data = open(Path::new(&path), 1);
        let opened = peak() - before;
        // Twice, in an order that has nothing to do with the file's.
        for i in 0..2 * ROWS {
            let row = (i * 149) % ROWS;
            let bytes = data.samples[row].images().next().unwrap().source.read().unwrap();
            assert!(bytes.len() > SIZE);
        }
        println!("opened {opened} read {}", peak() - before);
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("large.parquet");
    write(&path, ROWS, SIZE);
    assert!(std::fs::metadata(&path).unwrap().len() > 95 << 20);
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "streaming::memory_does_not_grow_with_the_file", "--nocapture"])
        .env(ASK, &path)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}");
    let number = |name: &str| -> usize {
        let rest = text.split_once(name).unwrap_or_else(|| panic!("{text}")).1;
        rest.split_whitespace().next().unwrap().parse().unwrap()
    };
    let (opened, read) = (number("opened "), number("read "));
    eprintln!("peak grew by {} MiB to open, {} MiB after reading all twice", opened >> 20, read >> 20);
    // A batch of rows three times over, and a page.
    assert!(opened < 48 << 20, "{opened}");
    // And the 32 MiB that are kept.
    assert!(read < 80 << 20, "{read}");
}
