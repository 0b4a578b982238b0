//! One row of every format, the fixtures, and round trips through the writers.

use std::{fs::File, io::BufWriter, sync::Arc};

use arrow::{
    array::{ArrayRef, RecordBatch, StringArray},
    ipc::writer::{FileWriter, StreamWriter},
};
use reft_config::PromptConfig;
use reft_core::{BoxFrame, Form, ImageSize, ImageSource, Role, Sample, Task};
use reft_data::{Dataset, write};
use serde_json::{Value, json};

use crate::support::{fixture, folder, load, png, scenes, shape};

fn one(row: Value, settings: Value) -> (Dataset, Arc<Sample>) {
    let (_folder, path) = folder(&[row]);
    let mut config = json!({"type": "file", "path": path});
    for (key, value) in settings.as_object().into_iter().flatten() {
        config[key] = value.clone();
    }
    let data = load(config, &[Form::Open]).unwrap_or_else(|error| panic!("{error}"));
    let sample = Arc::clone(&data.samples[0]);
    (data, sample)
}

#[test]
fn every_format_loads() {
    let tail = PromptConfig::default().common;
    let bare_math = json!({"task": "math"});
    let cases = [
        (
            "Curr-ReFT",
            json!({"problem": "How many?", "solution": "<answer> 3 </answer>", "task": "math", "image": "cat.png"}),
            json!({}),
            format!("User: <40x30>|How many? {tail}"),
            "3",
            None,
        ),
        (
            "Curr-ReFT without image",
            json!({"problem": "1+1?", "solution": 2, "task": "mathematics"}),
            json!({}),
            format!("User: 1+1? {tail}"),
            "2",
            None,
        ),
        (
            "hub names, several images, class list",
            json!({"question": "Which?", "answer": ["cat", "dog"], "images": ["cat.png", {"bytes": null, "path": "dog.png"}]}),
            json!({"task": "classify"}),
            format!("User: <40x30>|<20x20>|Which? {tail}"),
            "cat, dog",
            None,
        ),
        (
            "EasyR1: marks say where the images stand",
            json!({"problem": "<image>Is it like <image>?", "answer": "yes", "images": ["cat.png", "dog.png"]}),
            json!({"task": "vqa"}),
            format!("User: <40x30>|Is it like |<20x20>|? {tail}"),
            "yes",
            None,
        ),
        (
            "a mark without images is text",
            json!({"problem": "What does <image> do in HTML?", "answer": "nothing"}),
            json!({"task": "vqa"}),
            format!("User: What does <image> do in HTML? {tail}"),
            "nothing",
            None,
        ),
        (
            "verl: a prompt of turns, the answer in `reward_model`",
            json!({"prompt": [{"role": "user", "content": "<image>How many?"}], "images": ["cat.png"],
                "reward_model": {"style": "rule", "ground_truth": "3"}}),
            json!({"task": "math"}),
            "User: <40x30>|How many?".into(),
            "3",
            None,
        ),
        (
            "conversations, one exchange",
            json!({"image": "cat.png", "conversations": [
                {"from": "human", "value": "<image>\nHow many?"}, {"from": "gpt", "value": "3"}]}),
            bare_math.clone(),
            format!("User: <40x30>|How many? {tail}"),
            "3",
            Some("3"),
        ),
        (
            "conversations, longer: word for word",
            json!({"image": ["cat.png", "dog.png"], "conversations": [
                {"from": "system", "value": "Be brief."},
                {"from": "human", "value": "<image> and <image>: same?"}, {"from": "gpt", "value": "no"},
                {"from": "human", "value": "How many?"}, {"from": "gpt", "value": "2"}]}),
            bare_math.clone(),
            "System: Be brief. // User: <40x30>| and |<20x20>|: same? // Assistant: no // User: How many?"
                .into(),
            "2",
            Some("2"),
        ),
        (
            "chat with parts, ends in the assistant's turn",
            json!({"messages": [
                {"role": "user", "content": [{"type": "image", "image": "cat.png"}, {"type": "text", "text": "Say <image>."}]},
                {"role": "assistant", "content": "<think>x</think><answer>cat</answer>"}]}),
            json!({}),
            "User: <40x30>|Say <image>.".into(),
            "cat",
            Some("<think>x</think><answer>cat</answer>"),
        ),
        (
            "chat with a completion column",
            json!({"messages": [{"role": "user", "content": "Hi"}], "completion": "Ho", "solution": "7"}),
            json!({}),
            "User: Hi".into(),
            "7",
            Some("Ho"),
        ),
        (
            "flat chat with marks and an images column",
            json!({"images": ["cat.png", "dog.png"], "messages": [
                {"role": "user", "content": "<image><image>Same?"}, {"role": "assistant", "content": "no"}],
                "completion": "no"}),
            json!({}),
            "User: <40x30>|<20x20>|Same?".into(),
            "no",
            Some("no"),
        ),
        (
            "chat with bare image parts",
            json!({"images": ["dog.png"], "messages": [
                {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What?"}]}]}),
            json!({}),
            "User: <20x20>|What?".into(),
            "",
            None,
        ),
    ];
    for (name, row, settings, messages, solution, completion) in cases {
        let (data, sample) = one(row, settings);
        assert_eq!(shape(&sample), messages, "{name}");
        assert_eq!(sample.solution, solution, "{name}");
        let written = data.demonstrations();
        assert_eq!(written.first().map(|d| d.completion.as_str()), completion, "{name}");
        assert!(
            sample.messages.iter().all(|m| m.role != Role::Assistant) || name.contains("longer"),
            "{name}"
        );
    }
}

#[test]
fn a_named_format_wins_over_the_columns() {
    let row = json!({"messages": [{"role": "user", "content": "Hi"}], "problem": "1+1?", "solution": "2", "task": "math"});
    let (_, sample) = one(row.clone(), json!({}));
    assert_eq!(sample.messages.len(), 1);
    assert_eq!(shape(&sample), "User: Hi");
    let (_, sample) = one(row, json!({"format": "curr_reft"}));
    assert!(shape(&sample).starts_with("User: 1+1?"));
}

#[test]
fn ids_frames_and_extra_columns() {
    let row = json!({"id": 7, "problem": "Where?", "solution": "[1, 2, 3, 4]", "task": "detection", "image": "cat.png"});
    let (_, sample) = one(row.clone(), json!({"box_frame": "thousand"}));
    assert_eq!((sample.id.as_str(), sample.box_frame), ("7", BoxFrame::Thousand));
    let (_, sample) = one(json!({"problem": "a", "solution": "b", "task": "vqa"}), json!({}));
    assert_eq!(sample.id.as_str(), "rows-1");
}

#[test]
fn image_paths_may_start_elsewhere() {
    let (images, _) = folder(&[]);
    let rows = tempfile::tempdir().unwrap();
    let path = rows.path().join("rows.jsonl");
    // VLM-R1's rows: the images lie in another place than the annotations.
    let row = json!({"id": 1, "image": "cat.png", "conversations": [
        {"from": "human", "value": "<image>What number of metallic balls are there?"}, {"from": "gpt", "value": "0"}]});
    std::fs::write(&path, row.to_string()).unwrap();
    let config = json!({"type": "file", "path": path, "images": images.path(), "task": "math"});
    let data = load(config, &[Form::Open]).unwrap();
    assert_eq!(data.samples[0].images().next().unwrap().size, ImageSize { width: 40, height: 30 });
    assert_eq!(data.samples[0].problem, "What number of metallic balls are there?");
}

#[test]
fn tables_of_vlmevalkit_load() {
    let encoded = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, png(40, 30));
    let rows = format!(
        "index\tquestion\thint\tA\tB\tC\tanswer\timage\tcategory\n\
         7\tWhich?\tLook.\tcat\tdog\t\tB\t{encoded}\tx\n\
         8\t\"How \"\"many\"\"\tnow?\"\t\t\t\t\t3\t7\tx\n\
         9\tSame?\t\t\t\t\tno\t['{encoded}', '{encoded}']\tx\n\
         10\tText?\t\t\t\t\tyes\t\tx\n"
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bench.tsv");
    std::fs::write(&path, rows).unwrap();
    let data = load(json!({"type": "file", "path": path}), &[Form::Open]).unwrap();
    let tail = PromptConfig::default().common;
    let one = PromptConfig::default().choice_one;
    let expected = [
        (format!("User: <40x30>|Look. Which? A. cat B. dog {tail} {one}"), Form::Choice, "B"),
        (format!("User: <40x30>|How \"many\"\tnow? {tail}"), Form::Open, "3"),
        (format!("User: <40x30>|<40x30>|Same? {tail}"), Form::Open, "no"),
        (format!("User: Text? {tail}"), Form::Open, "yes"),
    ];
    for (sample, (messages, form, solution)) in data.samples.iter().zip(&expected) {
        assert_eq!((&shape(sample), sample.form, sample.solution.as_str()), (messages, *form, *solution));
        assert_eq!(sample.task, Task::Vqa);
    }
    assert_eq!(data.samples.len(), 4);
    assert_eq!(data.samples[1].id.as_str(), "bench-3");
}

#[test]
fn limit_and_split() {
    let rows: Vec<Value> = (0..6)
        .map(|i| json!({"problem": "p", "solution": i, "task": "math", "split": if i % 2 == 0 { "a" } else { "b" }}))
        .collect();
    let (_folder, path) = folder(&rows);
    let load = |settings: Value| {
        let mut config = json!({"type": "file", "path": path});
        for (key, value) in settings.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let data = load(config, &[Form::Open]).unwrap();
        data.samples.iter().map(|s| s.solution.clone()).collect::<Vec<_>>()
    };
    assert_eq!(load(json!({"split": "b"})), ["1", "3", "5"]);
    assert_eq!(load(json!({"split": "a", "limit": 2})), ["0", "2"]);
}

#[test]
fn easy_vqa_is_whole() {
    let config = json!({"type": "file", "path": fixture("easy_vqa/test.parquet"), "task": "vqa"});
    let data = load(config, &[Form::Open]).unwrap();
    let report = data.report();
    assert_eq!(report.samples, 9673);
    assert_eq!(report.image_sizes.get("64x64"), Some(&9673));
    assert_eq!(report.distinct_images, 1000);
    let yes_no = data.samples.iter().filter(|s| ["yes", "no"].contains(&s.solution.as_str())).count();
    assert_eq!(yes_no, 7136);
    let sample = &data.samples[0];
    assert_eq!((sample.problem.as_str(), sample.solution.as_str()), ("what is the red shape?", "triangle"));
    // Rows that show the same image hold the same bytes.
    let bytes = |i: usize| match &data.samples[i].images().next().unwrap().source {
        ImageSource::Bytes(bytes) => Arc::clone(bytes),
        ImageSource::Path(_) | ImageSource::Stored(_) => panic!("not in memory"),
    };
    assert!(Arc::ptr_eq(&bytes(0), &bytes(1)));
}

#[test]
fn arrow_files_and_streams_load() {
    let folder = tempfile::tempdir().unwrap();
    let column = |values: [&str; 2]| -> ArrayRef { Arc::new(StringArray::from_iter_values(values)) };
    let batch =
        RecordBatch::try_from_iter([("question", column(["1+1?", "2+2?"])), ("answer", column(["2", "4"]))])
            .unwrap();
    let file = folder.path().join("file.arrow");
    let mut writer = FileWriter::try_new(File::create(&file).unwrap(), &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    let stream = folder.path().join("stream.arrow");
    let out = BufWriter::new(File::create(&stream).unwrap());
    let mut writer = StreamWriter::try_new(out, &batch.schema()).unwrap();
    writer.write(&batch).unwrap();
    writer.finish().unwrap();
    for path in [file, stream] {
        let data = load(json!({"type": "file", "path": path, "task": "math"}), &[Form::Open]).unwrap();
        assert_eq!(data.samples[1].solution, "4", "{}", path.display());
    }
}

#[test]
fn converted_samples_round_trip() {
    let data = scenes(12, json!({"transcription": 0.2}), &Form::ALL).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for name in ["out.parquet", "out.jsonl"] {
        let path = folder.path().join(name);
        write::samples(&path, &data.samples).unwrap();
        let back = load(json!({"type": "file", "path": path}), &[Form::Open]).unwrap();
        assert_eq!(back.samples.len(), data.samples.len());
        for (ours, theirs) in data.samples.iter().zip(&back.samples) {
            assert_eq!(plain(ours), plain(theirs), "{name}");
            assert_eq!(pixels(ours), pixels(theirs), "{name}");
        }
        assert!(back.demonstrations().is_empty());
    }
}

#[test]
fn demonstrations_round_trip() {
    let data = scenes(9, json!({"careful": 0.5}), &Form::ALL).unwrap();
    let demonstrations = data.demonstrations();
    assert_eq!(demonstrations.len(), 27);
    let folder = tempfile::tempdir().unwrap();
    for name in ["out.parquet", "out.jsonl"] {
        let path = folder.path().join(name);
        write::demonstrations(&path, &demonstrations).unwrap();
        let back = load(json!({"type": "file", "path": path}), &[Form::Open]).unwrap().demonstrations();
        assert_eq!(back.len(), demonstrations.len(), "{name}");
        for (ours, theirs) in demonstrations.iter().zip(&back) {
            assert_eq!(ours.completion, theirs.completion, "{name}");
            assert_eq!(plain(&ours.sample), plain(&theirs.sample), "{name}");
            assert_eq!(pixels(&ours.sample), pixels(&theirs.sample), "{name}");
        }
    }
}

/// A sample without its images' sources, which a file format may change.
fn plain(sample: &Sample) -> (Sample, String) {
    let shape = shape(sample);
    (Sample { messages: Vec::new(), ..sample.clone() }, shape)
}

fn pixels(sample: &Sample) -> Vec<Vec<u8>> {
    let decode = |source: &ImageSource| image::load_from_memory(&source.read().unwrap()).unwrap();
    sample.images().map(|image| decode(&image.source).into_rgb8().into_raw()).collect()
}

#[test]
fn exif_orientation_swaps_the_sides() {
    // A 3x2 JPEG with an APP1 segment put in front that holds one EXIF tag: orientation 6, a quarter turn.
    let mut jpeg = std::io::Cursor::new(Vec::new());
    image::DynamicImage::from(image::RgbImage::new(30, 20))
        .write_to(&mut jpeg, image::ImageFormat::Jpeg)
        .unwrap();
    let jpeg = jpeg.into_inner();
    let exif: &[u8] =
        b"\xff\xe1\x00\x22Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
    let turned = [&jpeg[..2], exif, &jpeg[2..]].concat();
    let (folder, path) =
        folder(&[json!({"problem": "p", "solution": "s", "task": "vqa", "image": "turned.jpg"})]);
    std::fs::write(folder.path().join("turned.jpg"), turned).unwrap();
    let data = load(json!({"type": "file", "path": path}), &[Form::Open]).unwrap();
    let size = data.samples[0].images().next().unwrap().size;
    assert_eq!(size, ImageSize { width: 20, height: 30 });
}
