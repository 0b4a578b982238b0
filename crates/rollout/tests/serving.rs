//! Requests that come while others are answered get what they would have got alone.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the test")]

use std::{
    collections::VecDeque,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use reft_core::{
    FinishReason, ImageRef, ImageSize, ImageSource, Part, RolloutEngine as _, Sample, SamplingParams, Seed,
};
use reft_rollout::{Event, GenerationEngine, Load, Request, Room, ServingEngine, Source};
use reft_testkit::chat as sample;
use reft_vlm::{Vlm, VlmOptions};

/// libtorch's threads are those of the process; tests that compare bits take turns.
static TURN: Mutex<()> = Mutex::new(());

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fixtures/golden").join(name)
}

fn open(model: &str) -> Vlm {
    Vlm::open(&golden(model), VlmOptions::default()).unwrap()
}

fn photo() -> Part {
    Part::Image(ImageRef {
        source: ImageSource::Path(golden("images/photo.png")),
        size: ImageSize { width: 85, height: 62 },
        label: Arc::from("photo.png"),
    })
}

/// What a listener has heard of each answer.
#[derive(Clone, Debug, Default, PartialEq)]
struct Heard {
    answers: Vec<(Vec<i64>, Vec<f32>, Option<FinishReason>)>,
    error: Option<String>,
}

/// Requests that are handed out one by one, each when so many steps are done.
struct Script {
    requests: VecDeque<(usize, Request)>,
    steps: usize,
    loads: Vec<Load>,
}

impl Source for Script {
    fn next(&mut self, is_idle: bool) -> Option<Request> {
        if is_idle || self.requests.front()?.0 <= self.steps {
            return self.requests.pop_front().map(|(_, request)| request);
        }
        None
    }

    fn load(&mut self, load: Load) {
        self.steps += 1;
        self.loads.push(load);
    }
}

fn request(
    policy: &Vlm,
    sample: &Sample,
    params: &SamplingParams,
    heard: &Arc<Mutex<Heard>>,
    most: usize,
) -> Request {
    let heard = Arc::clone(heard);
    heard.lock().unwrap().answers.resize_with(params.group_size, Default::default);
    let mut n = 0;
    Request {
        prompt: policy.encode(&sample.messages).unwrap(),
        params: params.clone(),
        id: sample.id.clone(),
        n_top: 0,
        listener: Box::new(move |event| {
            let mut heard = heard.lock().unwrap();
            match event {
                Event::Token { answer, drawn } => {
                    n += 1;
                    heard.answers[answer].0.push(drawn.token);
                    heard.answers[answer].1.push(drawn.logprob);
                }
                Event::Ended { answer, finish } => heard.answers[answer].2 = Some(finish),
                Event::Failed(error) => heard.error = Some(error.to_string()),
            }
            n < most
        }),
    }
}

fn alone(policy: &Vlm, sample: &Arc<Sample>, params: &SamplingParams) -> Heard {
    let groups = GenerationEngine::default()
        .generate(policy, &[Arc::clone(sample)], params, &mut |_, _| true)
        .unwrap();
    let answers = groups[0].completions.iter();
    let heard =
        answers.map(|answer| (answer.token_ids.clone(), answer.logprobs.clone(), Some(answer.finish)));
    Heard { answers: heard.collect(), error: None }
}

const ROOM: Room = Room { prompt_tokens: 200, completion_tokens: 40, answers: 3, prompts: 3 };

#[test]
fn answers_are_those_of_requests_alone() {
    let _turn = turn();
    for model in ["tiny-vlm", "qwen3_5/model", "smolvlm/model"] {
        let policy = open(model);
        let seed = |n: u64| Seed::new(n).at("test");
        let plain = |n: u64, answers: usize| SamplingParams {
            group_size: answers,
            seed: seed(n),
            ..SamplingParams::plain(30)
        };
        let text = |text: &str| Part::Text(text.to_owned());
        let asked = [
            (0, sample("a", vec![photo(), text("Is it a cat?")]), plain(1, 2)),
            (
                0,
                sample("b", vec![text("What is 2 + 3?")]),
                SamplingParams { temperature: 0.7, ..plain(2, 1) },
            ),
            // The prompt of the first while that is answered, and greedy.
            (3, sample("c", vec![photo(), text("Is it a cat?")]), SamplingParams::greedy(12)),
            // More answers than share a prompt, with rules of their own.
            (
                5,
                sample("d", vec![text("Count.")]),
                SamplingParams { top_k: 20, min_new_tokens: 9, stop: vec!["e".into()], ..plain(3, 5) },
            ),
            (
                6,
                sample("e", vec![photo()]),
                SamplingParams { repetition_penalty: 1.2, frequency_penalty: 0.3, ..plain(4, 3) },
            ),
            // A prompt that was answered long ago.
            (60, sample("f", vec![photo()]), plain(9, 3)),
        ];
        let heard: Vec<_> = asked.iter().map(|_| Arc::default()).collect();
        let requests = asked.iter().zip(&heard).map(|((step, sample, params), heard)| {
            (*step, request(&policy, sample, params, heard, usize::MAX))
        });
        let mut script = Script { requests: requests.collect(), steps: 0, loads: Vec::new() };
        let engine = ServingEngine::new(&policy, ROOM);
        assert_eq!(engine.room(), 9);
        engine.run(&policy, &mut script);
        for ((_, sample, params), heard) in asked.iter().zip(heard) {
            let (found, expected) = (heard.lock().unwrap().clone(), alone(&policy, sample, params));
            assert_eq!(found.error, None);
            for (found, expected) in found.answers.iter().zip(&expected.answers) {
                assert_eq!((&found.0, found.2), (&expected.0, expected.2), "{model} {}", sample.id);
                let gaps = found.1.iter().zip(&expected.1).map(|(a, b)| (a - b).abs());
                let gap = gaps.fold(0.0, f32::max);
                assert!(gap < 1e-4, "{model} {}: log-probs differ by {gap}", sample.id);
            }
        }
        let last = script.loads.last().unwrap();
        assert_eq!((last.answers, last.prompts_found), (0, 2), "{model}: two prompts were there");
        assert!(script.loads.iter().any(|load| load.answers > 5), "{model}: several at a time");
    }
}

#[test]
fn who_has_left_is_not_answered_and_the_others_are() {
    let _turn = turn();
    let policy = open("tiny-vlm");
    let params = SamplingParams { group_size: 3, min_new_tokens: 30, ..SamplingParams::plain(30) };
    let [left, stays] = ["left", "stays"].map(|id| sample(id, vec![Part::Text(format!("Who {id}?"))]));
    let [of_left, of_stays]: [Arc<Mutex<Heard>>; 2] = Default::default();
    let requests = VecDeque::from([
        (0, request(&policy, &left, &params, &of_left, 8)),
        (0, request(&policy, &stays, &params, &of_stays, usize::MAX)),
    ]);
    let mut script = Script { requests, steps: 0, loads: Vec::new() };
    ServingEngine::new(&policy, ROOM).run(&policy, &mut script);
    let tokens = |heard: &Mutex<Heard>| {
        heard.lock().unwrap().answers.iter().map(|answer| answer.0.len()).sum::<usize>()
    };
    assert_eq!((tokens(&of_left), tokens(&of_stays)), (8, 90));
    assert!(of_left.lock().unwrap().answers.iter().all(|answer| answer.2.is_none()));
    assert_eq!(script.loads[1..].iter().map(|load| load.answers).max(), Some(6));
    assert_eq!(script.loads[5].answers, 3, "the slots are free at once");
}

#[test]
fn what_has_no_room_is_refused_and_nothing_else() {
    let _turn = turn();
    let policy = open("tiny-vlm");
    let short = sample("short", vec![Part::Text("Hi".into())]);
    let long = sample("long", vec![Part::Text("word ".repeat(50))]);
    let asked = [
        (&long, SamplingParams::greedy(5), "tokens of the prompt"),
        (&short, SamplingParams::greedy(41), "41 tokens of an answer are more than the 40"),
        (
            &short,
            SamplingParams { group_size: 10, ..SamplingParams::plain(5) },
            "10 answers are more than the 9",
        ),
        (
            &short,
            SamplingParams { banned_ids: vec![9999], ..SamplingParams::plain(5) },
            "there is no token 9999",
        ),
        (&short, SamplingParams { group_size: 9, ..SamplingParams::plain(5) }, ""),
    ];
    let heard: Vec<Arc<Mutex<Heard>>> = asked.iter().map(|_| Arc::default()).collect();
    let requests = asked
        .iter()
        .zip(&heard)
        .map(|((sample, params, _), heard)| (0, request(&policy, sample, params, heard, usize::MAX)));
    let mut script = Script { requests: requests.collect(), steps: 0, loads: Vec::new() };
    ServingEngine::new(&policy, ROOM).run(&policy, &mut script);
    for ((.., expected), heard) in asked.iter().zip(&heard) {
        let heard = heard.lock().unwrap();
        let error = heard.error.clone().unwrap_or_default();
        assert!(
            error.contains(expected) && error.is_empty() == expected.is_empty(),
            "{error}, not {expected}"
        );
        let ended = heard.answers.iter().filter(|answer| answer.2.is_some()).count();
        assert_eq!(ended, if expected.is_empty() { heard.answers.len() } else { 0 });
    }
}
