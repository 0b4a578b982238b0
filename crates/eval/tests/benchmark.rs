//! A benchmark from samples to report, with hand-computed numbers.
#![expect(clippy::unwrap_used, reason = "a broken case should stop the test")]

use std::sync::Arc;

use reft_config::{DetectionReward, RewardConfig};
use reft_core::{Benchmark, BoxFrame, Form, Message, Part, Role, Sample, SampleId, Task};
use reft_eval::{
    EvalReport, Missing, TaskBenchmark, compare, grade_texts, predictions, prompt_hash, summary_table,
};

fn sample(id: &str, task: Task, form: Form, problem: &str, solution: &str) -> Arc<Sample> {
    Arc::new(Sample {
        id: id.into(),
        task,
        form,
        problem: problem.into(),
        messages: vec![Message { role: Role::User, content: vec![Part::Text(problem.into())] }],
        solution: solution.into(),
        box_frame: BoxFrame::Original,
        parent: None,
    })
}

fn questions() -> Vec<Arc<Sample>> {
    vec![
        sample("d", Task::Detection, Form::Open, "where?", "[0, 0, 10, 10]"),
        sample("c", Task::Classification, Form::Open, "which?", "cat, dog"),
        sample("m", Task::Math, Form::Open, "how many?", "12"),
        sample("b", Task::Math, Form::Binary, "is it 12?", "yes"),
    ]
}

fn tagged(answers: &[(&str, &str)]) -> Vec<(SampleId, String)> {
    answers
        .iter()
        .map(|(id, answer)| ((*id).into(), format!("<think>t</think><answer>{answer}</answer>")))
        .collect()
}

fn benchmark(config: &RewardConfig) -> TaskBenchmark {
    TaskBenchmark::new("mixed", questions(), config, None).unwrap()
}

#[test]
fn grades_are_right_or_wrong() {
    let config = RewardConfig { detection: DetectionReward::Soft, ..RewardConfig::default() };
    let benchmark = benchmark(&config);
    let answers = tagged(&[("d", "[0, 0, 10, 6]"), ("c", "cat, dog, bird"), ("m", "12"), ("b", "no")]);
    let graded = grade_texts(&benchmark, &answers, Missing::Refuse).unwrap();
    let grades: Vec<f32> = graded.iter().map(|group| group.marks[0].score).collect();
    assert_eq!(grades, [1.0, 0.0, 1.0, 0.0]);

    let report = benchmark.evaluate(&graded).unwrap();
    assert_eq!((report.overall.questions, report.overall.accuracy, report.overall.format), (4, 0.5, 1.0));
    // Two thirds of the classes overlap: (1 + 2/3 + 1 + 0) / 4.
    assert!((report.overall.mean_reward - 2.0 / 3.0).abs() < 1e-6);
    assert_eq!(report.rows.len(), 4);
    assert!(report.overall.pass_at.is_empty() && report.baselines.is_none());
    assert_eq!(report.overall.majority, None);
    let text = report.to_string();
    assert!(
        text.contains("detection open") && text.contains("math binary") && text.contains("50.0%"),
        "{text}"
    );

    let json = benchmark.report(&graded).unwrap();
    assert_eq!(serde_json::from_value::<EvalReport>(json).unwrap(), report);
}

#[test]
fn several_answers_give_pass_at_k() {
    let benchmark =
        TaskBenchmark::new("m", questions()[2..3].to_vec(), &RewardConfig::default(), None).unwrap();
    let graded = grade_texts(
        &benchmark,
        &tagged(&[("m", "12"), ("m", "1"), ("m", "2"), ("m", "12")]),
        Missing::Refuse,
    )
    .unwrap();
    let score = benchmark.score(&graded).unwrap();
    assert_eq!((score.questions, score.answers, score.accuracy), (1, 4, 0.5));
    // 1 - C(2, 2) / C(4, 2) = 5 / 6.
    let at: Vec<(usize, i64)> =
        score.pass_at.iter().map(|(&k, &share)| (k, (share * 6000.0).round() as i64)).collect();
    assert_eq!(at, [(1, 3000), (2, 5000), (3, 6000), (4, 6000)]);
    assert_eq!(score.majority, Some(1.0), "12 is given twice");
    let text = benchmark.evaluate(&graded).unwrap().to_string();
    let columns: Vec<&str> = text.lines().next().unwrap().split_whitespace().collect();
    assert_eq!(columns[columns.len() - 3..], ["pass@2", "pass@4", "maj@4"]);

    let wrong = tagged(&[("m", "12"), ("m", "1"), ("m", "2"), ("m", "1.0")]);
    let score = benchmark.score(&grade_texts(&benchmark, &wrong, Missing::Refuse).unwrap()).unwrap();
    assert_eq!((score.accuracy, score.majority), (0.25, Some(0.0)));
}

#[test]
fn short_answers_come_with_blind_baselines() {
    let samples = vec![
        sample("1", Task::Vqa, Form::Open, "colour?", "red"),
        sample("2", Task::Vqa, Form::Open, "colour?", "red"),
        sample("3", Task::Vqa, Form::Open, "shape?", "circle"),
        sample("4", Task::Vqa, Form::Open, "shape?", "square"),
    ];
    let benchmark = TaskBenchmark::new("vqa", samples, &RewardConfig::default(), None).unwrap();
    let answers = tagged(&[("1", "Red."), ("2", "the red one"), ("3", "circle"), ("4", "circle")]);
    let report = benchmark.evaluate(&grade_texts(&benchmark, &answers, Missing::Refuse).unwrap()).unwrap();
    let blind = report.baselines.as_ref().unwrap();
    assert_eq!((report.overall.accuracy, blind.majority.accuracy, blind.per_question), (0.5, 0.5, 0.75));
    let text = report.to_string();
    assert!(text.contains("always `red`") && text.contains("test answers themselves"), "{text}");
}

#[test]
fn predictions_must_fit_the_questions() {
    let benchmark = benchmark(&RewardConfig::default());
    let error =
        grade_texts(&benchmark, &tagged(&[("d", "x"), ("m", "1")]), Missing::Refuse).unwrap_err().to_string();
    assert!(error.contains("2 questions") && error.contains("`c`"), "{error}");
    let extra = tagged(&[("d", "x"), ("c", "x"), ("m", "1"), ("b", "no"), ("z", "1")]);
    let error = grade_texts(&benchmark, &extra, Missing::Refuse).unwrap_err().to_string();
    assert!(error.contains("no question `z`"), "{error}");
    assert!(TaskBenchmark::new("none", Vec::new(), &RewardConfig::default(), None).is_err());
}

#[test]
fn paired_comparison_by_hand() {
    let samples: Vec<_> = (0..10).map(|i| sample(&i.to_string(), Task::Math, Form::Open, "?", "1")).collect();
    let benchmark = TaskBenchmark::new("m", samples, &RewardConfig::default(), None).unwrap();
    let graded = |right: &dyn Fn(usize) -> bool| {
        let texts: Vec<_> = (0..10)
            .map(|i| {
                let answer = if right(i) { "1" } else { "2" };
                (i.to_string().into(), format!("<think>t</think><answer>{answer}</answer>"))
            })
            .collect();
        grade_texts(&benchmark, &texts, Missing::Refuse).unwrap()
    };
    // Right: 0 to 2 against 2 to 8, so both 1, only first 2, only second 6, neither 1.
    let (before, after) = (graded(&|i| i < 3), graded(&|i| (2..9).contains(&i)));
    let paired = compare(&before, &after).unwrap();
    assert_eq!((paired.both, paired.only_first, paired.only_second, paired.neither), (1, 2, 6, 1));
    assert!((paired.gain - 0.4).abs() < 1e-12);
    // 2 (1 + 8 + 28) / 2^8.
    assert!((paired.p_value - 74.0 / 256.0).abs() < 1e-12);
    let error = compare(&before, &after[1..]).unwrap_err().to_string();
    assert!(error.contains("question 1: `0` and `1`"), "{error}");
}

#[test]
fn every_answer_is_on_record() {
    let benchmark = benchmark(&RewardConfig::default());
    let answers = tagged(&[("d", "no box"), ("c", "cat, dog"), ("m", " 12 "), ("b", "yes")]);
    let records = predictions(&grade_texts(&benchmark, &answers, Missing::Refuse).unwrap());
    assert_eq!(records.len(), 4);
    assert_eq!((records[2].answer.as_deref(), records[2].grade), (Some("12"), 1.0));
    assert_eq!((records[0].answer.as_deref(), records[0].grade), (Some("no box"), 0.0));
    assert_eq!(records[0].prompt_hash.len(), 16);

    let samples = questions();
    let hashes: std::collections::BTreeSet<String> =
        samples.iter().map(|sample| prompt_hash(sample)).collect();
    assert_eq!(hashes.len(), samples.len());
    assert_eq!(prompt_hash(&samples[0]), prompt_hash(&samples[0].as_ref().clone()));
}

#[test]
fn phases_stand_side_by_side() {
    let benchmark = benchmark(&RewardConfig::default());
    let report = |math: &str| {
        let answers = tagged(&[("d", "x"), ("c", "cat, dog"), ("m", math), ("b", "yes")]);
        benchmark.evaluate(&grade_texts(&benchmark, &answers, Missing::Refuse).unwrap()).unwrap()
    };
    let table = summary_table(&[
        ("base".to_owned(), vec![report("13")]),
        ("curr-reft".to_owned(), vec![report("12")]),
        ("none".to_owned(), Vec::new()),
    ]);
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 4, "{table}");
    assert!(lines[0].contains("mixed math open") && lines[2].starts_with("curr-reft"), "{table}");
    // One of one right: Wilson's interval is 20.7 to 100.
    assert!(lines[2].contains("100.0 (20.7-100.0)") && lines[1].contains("0.0 (0.0-79.3)"), "{table}");
    assert_eq!(lines[3], "none");
}
