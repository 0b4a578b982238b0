//! Published files of every benchmark: read, asked, graded, summed up.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use reft_config::{FileData, PromptConfig};
use reft_core::{Benchmark as _, Part, Sample, SampleId, StageError};
use reft_eval::{
    Grader, Harness, JudgeModel, Missing, Published, PublishedBenchmark, PublishedOptions, grade_texts,
    wilson,
};
use serde_json::json;
use tempfile::TempDir;

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/benchmarks").join(name)
}

fn by(grader: Grader) -> PublishedOptions {
    PublishedOptions { grader: Some(grader), ..PublishedOptions::default() }
}

fn open(
    published: Published,
    path: &Path,
    options: PublishedOptions,
) -> Result<PublishedBenchmark, StageError> {
    PublishedBenchmark::open(published, &FileData::new(path), options)
}

fn refused(published: Published, path: &Path, options: PublishedOptions) -> String {
    match open(published, path, options) {
        Ok(benchmark) => panic!("opened with {} questions", benchmark.samples().len()),
        Err(error) => error.to_string(),
    }
}

/// Published layouts with their questions.
const FILES: [(&str, usize); 24] = [
    ("ai2d.parquet", 11),
    ("ai2d.tsv", 11),
    ("chartqa.parquet", 12),
    ("chartqa.tsv", 12),
    ("dynamath.tsv", 37),
    ("geometry.parquet", 11),
    ("hallusionbench.parquet", 12),
    ("hallusionbench.tsv", 12),
    ("mathverse.parquet", 39),
    ("mathvision.parquet", 40),
    ("mathvista.parquet", 29),
    ("mmbench.tsv", 51),
    ("mmmu.parquet", 23),
    ("mmmu.tsv", 23),
    ("mmstar.parquet", 11),
    ("mmstar.tsv", 11),
    ("ocrbench.parquet", 14),
    ("ocrbench.tsv", 14),
    ("pope.parquet", 12),
    ("pope.tsv", 12),
    ("realworldqa.parquet", 19),
    ("refcoco.parquet", 40),
    ("scienceqa.parquet", 16),
    ("wemath.tsv", 16),
];

/// The text of a prompt, a picture as `#`.
fn prompt(sample: &Sample) -> String {
    let parts = sample.messages.iter().flat_map(|message| &message.content);
    parts
        .map(|part| match part {
            Part::Text(text) => text.as_str(),
            Part::Image(_) => "#",
        })
        .collect()
}

#[test]
fn files_as_published_are_read() {
    for (name, questions) in FILES {
        let published: Published = name.split('.').next().unwrap().parse().unwrap();
        let benchmark = open(published, &file(name), by(Grader::Ours)).unwrap();
        assert_eq!(benchmark.samples().len(), questions, "{name}");
        for sample in benchmark.samples() {
            assert!(sample.images().count() > 0, "{name} {}", sample.id);
            // The version of MathVerse that has all in the picture asks nothing in words.
            assert!(prompt(sample).len() > 1 || name.starts_with("mathverse"), "{name} {}", sample.id);
        }
    }
}

#[test]
fn prompts_of_the_harnesses() {
    let ask = |name: &str, published, harness| {
        let options = PublishedOptions { harness, ..by(Grader::Ours) };
        prompt(&open(published, &file(name), options).unwrap().samples()[0])
    };
    assert_eq!(
        ask("ai2d.tsv", Published::Ai2d, Harness::VlmEval),
        "#Question: Which shape is drawn in red?\nOptions:\nA. circle\nB. square\nC. triangle\nD. hexagon\nPlease select the \
         correct answer from the options above. \n"
    );
    assert_eq!(
        ask("ai2d.parquet", Published::Ai2d, Harness::Lmms),
        "#Which shape is drawn in red?\nA. circle\nB. square\nC. triangle\nD. hexagon\nAnswer with the option's letter from \
         the given choices directly."
    );
    assert_eq!(
        ask("mathvista.parquet", Published::MathVista, Harness::Lmms),
        "#Question: Which shape is drawn in red?\nChoices:\n(A) circle\n(B) square\n(C) triangle\n(D) hexagon\nHint: Please \
         answer the question and provide the correct option letter, e.g., A, B, C, D, at the end."
    );
    // MMMU's pictures stand at their marks.
    let mmmu = ask("mmmu.parquet", Published::Mmmu, Harness::VlmEval);
    assert!(mmmu.starts_with("Question: # Which shape is drawn in red?\nOptions:"), "{mmmu}");
    let templates =
        PromptConfig { common: "think.".into(), choice_one: "one letter.".into(), ..PromptConfig::default() };
    let recipe = PublishedOptions { harness: Harness::Recipe, templates, ..by(Grader::Ours) };
    let recipe = open(Published::Ai2d, &file("ai2d.tsv"), recipe).unwrap();
    assert_eq!(
        prompt(&recipe.samples()[0]),
        "#Which shape is drawn in red? A. circle B. square C. triangle D. hexagon think. one letter."
    );
    let suffix = PublishedOptions { suffix: "In tags.".into(), ..by(Grader::Ours) };
    let pope = open(Published::Pope, &file("pope.tsv"), suffix).unwrap();
    assert!(prompt(&pope.samples()[0]).ends_with("answer yes or no.\nIn tags."));
}

/// The right answers in tags are right to the grader `ours`, in every layout.
#[test]
fn right_answers_are_right() {
    for (name, questions) in FILES {
        let published: Published = name.split('.').next().unwrap().parse().unwrap();
        let benchmark = open(published, &file(name), by(Grader::Ours)).unwrap();
        let answers: Vec<(SampleId, String)> = benchmark
            .samples()
            .iter()
            .map(|sample| {
                (sample.id.clone(), format!("<think>t</think><answer>{}</answer>", sample.solution))
            })
            .collect();
        let graded = grade_texts(&benchmark, &answers, Missing::Refuse).unwrap();
        let report = benchmark.evaluate(&graded).unwrap();
        let wrong: Vec<&str> = graded
            .iter()
            .filter(|group| !group.marks[0].is_right())
            .map(|group| group.group.sample.solution.as_str())
            .collect();
        assert_eq!((report.overall.questions, wrong.len()), (questions, 0), "{name}: {wrong:?}");
        let score = report.published.unwrap();
        assert_eq!((score.unresolved, score.cut, score.note), (0.0, 0.0, None), "{name}");
        assert!(score.by_key.iter().all(|one| one.accuracy == 1.0 && one.interval.low < 1.0), "{name}");
        let keyless = ["ai2d.parquet", "geometry.parquet", "realworldqa.parquet", "refcoco.parquet"];
        assert_eq!(score.by_key.is_empty(), keyless.contains(&name), "{name}");
    }
}

/// Scores by key have their intervals, whatever the table of the benchmark's own reports shows.
#[test]
fn every_key_has_its_interval() {
    let benchmark = open(Published::Pope, &file("pope.tsv"), by(Grader::VlmEval)).unwrap();
    let answers: Vec<_> = benchmark.samples().iter().map(|s| (s.id.clone(), "Yes".to_owned())).collect();
    let graded = grade_texts(&benchmark, &answers, Missing::Refuse).unwrap();
    let score = benchmark.evaluate(&graded).unwrap().published.unwrap();
    assert_eq!(score.table.columns, ["f1", "acc", "precision", "recall"], "no interval there");
    for one in &score.by_key {
        let right = graded.iter().filter(|group| group.marks[0].is_right()).count();
        assert!(one.key == "category" && one.questions > 0 && right > 0, "{one:?}");
        assert_eq!(one.interval, wilson(one.accuracy * one.questions as f64, one.questions));
    }
    let mut of = score.by_key.iter().map(|one| one.value.as_str()).collect::<Vec<_>>();
    of.sort_unstable();
    assert_eq!(of, ["adversarial", "popular", "random"]);
}

/// Rows that name files of pictures, and rows whose ids repeat until they are told apart.
#[test]
fn pictures_in_files_and_repeated_ids() {
    let dir = TempDir::new().unwrap();
    for (name, published, questions) in
        [("counting.jsonl", Published::Counting, 10), ("geometry.jsonl", Published::Geometry, 10)]
    {
        let text = fs::read_to_string(file(name)).unwrap();
        let path = dir.path().join(name);
        fs::write(&path, &text).unwrap();
        let error = refused(published, &path, by(Grader::Ours));
        assert!(error.contains("row 1") || error.contains("line 1"), "{error}");
        for line in text.lines() {
            let row: serde_json::Value = serde_json::from_str(line).unwrap();
            let picture = dir.path().join(row["image_path"].as_str().unwrap());
            fs::create_dir_all(picture.parent().unwrap()).unwrap();
            fs::copy(file("../golden/images/grey_alpha.png"), &picture).unwrap();
        }
        let benchmark = open(published, &path, by(Grader::Ours)).unwrap();
        assert_eq!(benchmark.samples().len(), questions, "{name}");
        assert!(benchmark.samples().iter().all(|sample| sample.images().count() == 1), "{name}");
    }
    let error = refused(Published::LogicVista, &file("logicvista.tsv"), by(Grader::Ours));
    assert!(error.contains("was met before"), "{error}");
    let text = fs::read_to_string(file("logicvista.tsv")).unwrap();
    let (head, rows) = text.split_once('\n').unwrap();
    let numbered =
        rows.lines().enumerate().map(|(i, line)| format!("{i}{}\n", &line[line.find('\t').unwrap()..]));
    let numbered = format!("{head}\n{}", numbered.collect::<String>());
    let path = dir.path().join("logicvista.tsv");
    fs::write(&path, numbered).unwrap();
    let benchmark = open(Published::LogicVista, &path, by(Grader::Ours)).unwrap();
    let answers: Vec<_> = benchmark
        .samples()
        .iter()
        .map(|s| (s.id.clone(), format!("<answer>{}</answer>", s.solution)))
        .collect();
    let graded = grade_texts(&benchmark, &answers, Missing::Refuse).unwrap();
    let report = benchmark.evaluate(&graded).unwrap();
    assert_eq!(report.overall.accuracy, 1.0, "{report}");
    let by_key = report.published.unwrap().by_key;
    assert!(by_key.iter().any(|one| (one.key.as_str(), one.value.as_str()) == ("skill", "inductive")));
}

/// Answers in tags are nothing to VLMEvalKit; the report says so, and taking the tags off is a stated choice.
#[test]
fn answers_in_tags() {
    let answers = |benchmark: &PublishedBenchmark| -> Vec<(SampleId, String)> {
        let samples = benchmark.samples().iter();
        samples.map(|s| (s.id.clone(), format!("<think>t</think><answer>{}</answer>", s.solution))).collect()
    };
    let report = |strip_tags| {
        let options = PublishedOptions { strip_tags, ..by(Grader::VlmEval) };
        let benchmark = open(Published::Ai2d, &file("ai2d.tsv"), options).unwrap();
        let graded = grade_texts(&benchmark, &answers(&benchmark), Missing::Refuse).unwrap();
        benchmark.evaluate(&graded).unwrap()
    };
    let hidden = report(false);
    assert_eq!(hidden.overall.accuracy, 0.0);
    let score = hidden.published.clone().unwrap();
    assert!(score.note.as_ref().unwrap().contains("11 of 11 answers stand in answer tags"), "{score:?}");
    assert_eq!((score.unresolved, score.reasons["no_judge"]), (1.0, 11));
    assert!(hidden.to_string().contains("grader vlmeval, prompt vlmeval"), "{hidden}");
    let shown = report(true);
    assert_eq!(shown.overall.accuracy, 1.0);
    assert!(shown.published.unwrap().strip_tags);
}

/// Replies in turn; errors after the last.
struct Script(Vec<&'static str>, AtomicUsize);

impl JudgeModel for Script {
    fn reply(&self, prompt: &str, _attempt: usize) -> Result<String, StageError> {
        assert!(prompt.contains("It is a shape") || prompt.contains("Correctness"), "{prompt}");
        let at = self.1.fetch_add(1, Ordering::Relaxed);
        self.0.get(at).map(|reply| (*reply).to_owned()).ok_or_else(|| StageError::other("judge", "gone"))
    }
}

#[test]
fn a_judge_is_asked_where_nothing_can_be_inferred() {
    let grade = |replies: Vec<&'static str>| {
        let judge: Arc<dyn JudgeModel> = Arc::new(Script(replies, AtomicUsize::new(0)));
        let options = PublishedOptions { judge: Some(judge), ..by(Grader::VlmEval) };
        let data = FileData { limit: 1, ..FileData::new(file("ai2d.tsv")) };
        let benchmark = PublishedBenchmark::open(Published::Ai2d, &data, options).unwrap();
        let id = benchmark.samples()[0].id.clone();
        grade_texts(&benchmark, &[(id, "It is a shape".to_owned())], Missing::Refuse)
            .map(|graded| graded[0].marks[0].clone())
    };
    let mark = grade(vec!["B"]).unwrap();
    assert_eq!((mark.score, mark.reason.as_str(), mark.replies.len()), (1.0, "judged", 1));
    let mark = grade(vec!["A or B", "none", "I cannot say"]).unwrap();
    assert_eq!((mark.score, mark.reason.as_str(), mark.replies.len()), (0.0, "unjudged", 3));
    assert_eq!(grade(vec![]).unwrap_err().to_string(), "judge: gone");

    // MM-Vet has no rule without one.
    let path = file("mmvet.tsv");
    let error = refused(Published::MmVet, &path, PublishedOptions::default());
    assert!(error.contains("says nothing without a judge") && error.contains("--judge"), "{error}");
    let error = refused(Published::MathVerse, &file("mathverse.parquet"), by(Grader::VlmEval));
    assert!(error.contains("`quick_match` or `lmms_reasoning` or `ours`"), "{error}");
}

#[test]
fn what_is_wrong_with_files_and_names() {
    let dir = TempDir::new().unwrap();
    let png =
        "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAADklEQVR42mNoaGBoaAAABgYCATGpHqEAAAAASUVORK5CYII=";
    let tsv = |name: &str, rows: &[String]| {
        let path = dir.path().join(name);
        fs::write(&path, rows.join("\n")).unwrap();
        path
    };
    let head = "index\tquestion\tA\tB\tanswer\timage".to_owned();
    let ai2d = |path: &Path| refused(Published::Ai2d, path, by(Grader::Ours));

    let twice = [head.clone(), format!("1\tq\tx\ty\tA\t{png}"), "1\tq\tx\ty\tB\t1".into()];
    assert!(ai2d(&tsv("twice.tsv", &twice)).contains("line 3: the id `1` was met before"));
    let lost = [head.clone(), format!("1\tq\tx\ty\tA\t{png}"), "2\tq\tx\ty\tB\t7".into()];
    let error = ai2d(&tsv("lost.tsv", &lost));
    assert!(error.contains("line 3: image `7` names a row, and no earlier row has this `index`"), "{error}");
    let none = [head.clone(), format!("1\tq\tx\ty\tC\t{png}")];
    assert!(ai2d(&tsv("none.tsv", &none)).contains("the answer `C` is none of its 2 options"));
    let bare = ["index\tquestion\timage".to_owned(), format!("1\tq\t{png}")];
    assert!(ai2d(&tsv("bare.tsv", &bare)).contains("none of the columns `answer` is there; it has `index`"));
    let torn = [head, "1\tq\tx\ty\tA\tAAAA".into()];
    assert!(ai2d(&tsv("torn.tsv", &torn)).contains("line 2"));

    let split = FileData { split: Some("test".into()), ..FileData::new(file("mmbench.tsv")) };
    let Err(error) = PublishedBenchmark::open(Published::MmBench, &split, by(Grader::Ours)) else {
        panic!("opened")
    };
    assert!(error.to_string().contains("none of its 51 rows is of split `test`"), "{error}");

    let error = "mathvisat".parse::<Published>().unwrap_err().to_string();
    assert!(error.contains("there is no benchmark `mathvisat`") && error.contains("`mathvista`"), "{error}");
    assert_eq!("MathVista_MINI".parse(), Ok(Published::MathVista));
    assert_eq!("RefCOCO+".parse(), Ok(Published::RefCoco));
    let error = refused(Published::Pope, &file("pope.tsv"), by(Grader::Rule));
    assert!(error.contains("`pope` has no grader `rule`; it has `vlmeval`, `lmms_eval`, `ours`"), "{error}");
}

/// The authors' JSON, an object by id, with its images in a folder.
#[test]
fn json_of_the_authors() {
    let dir = TempDir::new().unwrap();
    fs::create_dir(dir.path().join("images")).unwrap();
    let picture = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden");
    let any = walk(&picture).into_iter().find(|path| path.extension().is_some_and(|e| e == "png")).unwrap();
    fs::copy(any, dir.path().join("images/v1_0.png")).unwrap();
    let rows = json!({"v1_0": {"imagename": "v1_0.png", "question": "What is x?", "answer": "-1 <AND> -5",
        "capability": ["ocr", "math"]}});
    let path = dir.path().join("mm-vet.json");
    fs::write(&path, rows.to_string()).unwrap();
    let judge: Arc<dyn JudgeModel> = Arc::new(Script(vec!["0.5"], AtomicUsize::new(0)));
    let options = PublishedOptions { judge: Some(judge), ..PublishedOptions::default() };
    let data = FileData { images: Some(dir.path().join("images")), ..FileData::new(&path) };
    let benchmark = PublishedBenchmark::open(Published::MmVet, &data, options).unwrap();
    let answers = [(SampleId::from("v1_0"), "x = -1".to_owned())];
    let graded = grade_texts(&benchmark, &answers, Missing::Refuse).unwrap();
    let table = benchmark.evaluate(&graded).unwrap().published.unwrap().table;
    assert_eq!((table.get("math", "acc"), table.get("ocr_math", "acc")), (Some(50.0), Some(50.0)));
}

fn walk(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn missing_predictions_are_a_stated_choice() {
    let benchmark = open(Published::Pope, &file("pope.tsv"), by(Grader::VlmEval)).unwrap();
    let some: Vec<(SampleId, String)> =
        benchmark.samples().iter().take(6).map(|s| (s.id.clone(), s.solution.clone())).collect();
    let error = grade_texts(&benchmark, &some, Missing::Refuse).unwrap_err().to_string();
    assert!(error.contains("6 questions have no prediction"), "{error}");
    let graded = grade_texts(&benchmark, &some, Missing::Wrong).unwrap();
    let report = benchmark.evaluate(&graded).unwrap();
    assert_eq!((report.overall.questions, report.overall.accuracy), (12, 0.5));
    assert_eq!(report.published.unwrap().reasons["unread"], 6);
    let other = [(SampleId::from("nobody"), "yes".to_owned())];
    assert!(grade_texts(&benchmark, &other, Missing::Wrong).unwrap_err().to_string().contains("`nobody`"));
}
