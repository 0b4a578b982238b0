//! The field's benchmarks through the binary: a suite, stored answers, a judge on this machine, recipes.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::{Value, json};
use tempfile::TempDir;

const DIGITS: &str = "fixtures/benchmarks/digits_mathvista/testmini.json";

fn reft(args: &[&str]) -> Output {
    let root: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().to_owned();
    let mut reft = Command::new(env!("CARGO_BIN_EXE_reft"));
    reft.args(args).current_dir(root).env("GOMP_SPINCOUNT", "5000").output().unwrap()
}

fn works(args: &[&str]) -> String {
    let output = reft(args);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}: {text}");
    text + &String::from_utf8_lossy(&output.stdout)
}

fn fails(args: &[&str]) -> String {
    let output = reft(args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn json_of(args: &[&str]) -> Value {
    let output = reft(&[args, &["--json"]].concat());
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Two benchmarks from one file. Neither the batch nor the order changes a score, grey pictures do, and the stored answers
/// grade alike without a model.
#[test]
fn a_suite_is_asked_and_its_answers_grade_alike() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let one = format!("[[benchmarks]]\nname = \"MathVista_MINI\"\npath = \"{DIGITS}\"\ngrader = \"ours\"\n");
    let two = "[[benchmarks]]\nname = \"generic\"\nlabel = \"easy\"\ntask = \"vqa\"\nlimit = 6\n\
               path = \"fixtures/easy_vqa/test.parquet\"\n";
    fs::write(path("suite.toml"), format!("{one}{two}")).unwrap();
    fs::write(path("turned.toml"), format!("{two}{one}")).unwrap();
    let eval = |suite: &str, output: &str, batch: &str, more: &[&str]| {
        let (suite, output) = (path(suite), path(output));
        let base = ["eval", "--model", "fixtures/pico-vlm", "--device", "cpu", "--max-new-tokens", "48"];
        works(&[&base[..], &["--suite", &suite, "--output", &output, "--batch", batch], more].concat())
    };
    let text = eval("suite.toml", "a", "1", &["--blind"]);
    assert!(text.contains("grader ours, prompt vlmeval") && text.contains("with grey pictures"), "{text}");
    eval("turned.toml", "b", "7", &[]);
    let report = |name: &str| -> Value {
        serde_json::from_slice(&fs::read(dir.path().join(name).join("report.json")).unwrap()).unwrap()
    };
    let mut first = report("a/mathvista");
    let blind = first["published"]["blind"].take();
    assert!(blind["gap"].as_f64().unwrap() >= 0.0 && first["overall"]["accuracy"].as_f64().unwrap() > 0.0);
    first["published"].as_object_mut().unwrap().remove("blind");
    assert_eq!(first, report("b/mathvista"));
    assert_eq!(report("a/easy"), report("b/easy"));

    let predictions = path("a/mathvista/predictions.parquet");
    let grade = ["grade", "--benchmark", "mathvista", "--data", DIGITS, "--predictions", &predictions];
    let graded = json_of(&[&grade[..], &["--grader", "ours"]].concat());
    assert_eq!(graded["overall"]["accuracy"], first["overall"]["accuracy"]);
    assert_eq!(graded["published"]["table"], first["published"]["table"]);
    // VLMEvalKit does not look into tags.
    let earlier = path("a/mathvista");
    let other = json_of(&[&grade[..], &["--grader", "vlmeval", "--against", &earlier]].concat());
    let right = (first["overall"]["accuracy"].as_f64().unwrap() * 20.0).round();
    assert_eq!(other["against"]["only_first"].as_f64(), Some(right));
    assert_eq!(other["against"]["questions"], 20);
    assert_eq!(other["overall"]["accuracy"], 0.0);
    assert!(other["published"]["note"].as_str().unwrap().contains("stand in answer tags"));
}

/// Replies in turn, the last one for ever. Returns the address and how often it was asked.
fn judge(replies: &'static [&'static str]) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert!(reader.read_line(&mut head).unwrap() > 0);
            }
            let length =
                head.lines().find_map(|l| l.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).unwrap();
            let at = seen.fetch_add(1, Ordering::Relaxed).min(replies.len() - 1);
            let text = json!({"choices": [{"message": {"content": replies[at]}}]}).to_string();
            let n = text.len();
            let head = format!("HTTP/1.1 200 X\r\ncontent-length: {n}\r\nconnection: close\r\n\r\n");
            stream.write_all(format!("{head}{text}").as_bytes()).unwrap();
        }
    });
    (url, count)
}

#[test]
fn a_judge_is_asked_once() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let tsv = "index\tquestion\tanswer\tcategory\n1\tWho?\tMonet\trec\n2\tWhere?\tParis\trec,know\n";
    fs::write(path("vet.tsv"), tsv).unwrap();
    fs::write(path("p.jsonl"), "{\"id\": 1, \"completion\": \"x\"}\n{\"id\": 2, \"completion\": \"y\"}\n")
        .unwrap();
    let (url, count) = judge(&["1.0"]);
    let (data, predictions, cache) = (path("vet.tsv"), path("p.jsonl"), path("replies"));
    let grade = |url: &str| {
        let base = ["grade", "--benchmark", "mmvet", "--data", &data, "--predictions", &predictions];
        json_of(&[&base[..], &["--judge", url, "--judge-model", "m", "--judge-cache", &cache]].concat())
    };
    let first = grade(&url);
    assert_eq!((first["overall"]["accuracy"].as_f64(), count.load(Ordering::Relaxed)), (Some(1.0), 2));
    assert_eq!(first["published"]["judge"]["asked"], 2);
    // Nobody is there any more.
    let again = grade("http://127.0.0.1:9/v1");
    assert_eq!((&again["overall"], &again["published"]["judge"]["cached"]), (&first["overall"], &json!(2)));
    let base = ["grade", "--benchmark", "mmvet", "--data", &data, "--predictions", &predictions];
    let error = fails(&base);
    assert!(error.contains("says nothing without a judge"), "{error}");
    // A model that reads digits is no judge: its replies are no scores, and nothing is guessed.
    let local = json_of(&[&base[..], &["--judge-checkpoint", "fixtures/pico-vlm"]].concat());
    assert_eq!(
        (&local["overall"]["accuracy"], &local["published"]["reasons"]["unjudged"]),
        (&json!(0.0), &json!(2))
    );
}

/// What is wrong with a benchmark of the last phase is said before the first.
#[test]
fn recipes_with_benchmarks_are_checked_first() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let recipe = |benchmarks: &str| {
        let text = format!(
            "[run]\nname = \"r\"\n[model]\npath = \"fixtures/pico-vlm\"\ndevice = \"cpu\"\n\
             [data.train]\ntype = \"scenes\"\nglyphs = \"fixtures/digits/digits.parquet\"\nsplit = \"rl\"\ncount = 8\n\
             [[phase]]\nkind = \"grpo\"\nname = \"open\"\ndata = \"train\"\nsteps = 1\n\
             [[phase]]\nkind = \"eval\"\nname = \"after\"\n{benchmarks}"
        );
        fs::write(path("recipe.toml"), text).unwrap();
        let (recipe, runs) = (path("recipe.toml"), path("runs"));
        fails(&["train", &recipe, "--runs", &runs])
    };
    let one =
        |name: &str, file: &str| format!("[[phase.benchmarks]]\nname = \"{name}\"\npath = \"{file}\"\n");
    let error = recipe("");
    assert!(error.contains("`phase.after.data`: name at least one data set, or a benchmark"), "{error}");
    let error = recipe(&one("mathvisat", DIGITS));
    assert!(error.contains("there is no benchmark `mathvisat`") && error.contains("`mathvista`"), "{error}");
    let error = recipe(&one("mathvista", "nowhere.parquet"));
    assert!(error.contains("nowhere.parquet"), "{error}");
    let error = recipe(&format!("{0}{0}", one("mathvista", DIGITS)));
    assert!(error.contains("`mathvista` is asked twice in this phase"), "{error}");
    let error = recipe(&format!("{}grader = \"nobody\"\n", one("mathvista", DIGITS)));
    assert!(error.contains("nobody"), "{error}");
}

/// Half a picture of a benchmark stops the start, and so do two spellings of one name.
#[test]
fn pictures_and_names_of_benchmarks_are_checked_first() {
    let dir = TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name).to_string_lossy().into_owned();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap();
    let whole = fs::read(root.join("fixtures/golden/images/photo.png")).unwrap();
    fs::write(path("half.png"), &whole[..whole.len() / 2]).unwrap();
    let row = json!({"pid": "7", "question": "What?", "answer": "1", "question_type": "free_form",
        "answer_type": "integer", "image": "half.png"});
    fs::write(path("half.jsonl"), row.to_string()).unwrap();
    let train = |benchmarks: &str| {
        let text = format!(
            "[run]\nname = \"r\"\n[model]\npath = \"fixtures/pico-vlm\"\ndevice = \"cpu\"\n\
             [[phase]]\nkind = \"eval\"\nname = \"after\"\n{benchmarks}"
        );
        fs::write(path("recipe.toml"), text).unwrap();
        fails(&["train", &path("recipe.toml"), "--runs", &path("runs")])
    };
    let one =
        |name: &str, file: &str| format!("[[phase.benchmarks]]\nname = \"{name}\"\npath = \"{file}\"\n");
    let error = train(&one("mathvista", &path("half.jsonl")));
    assert!(error.contains("benchmark `mathvista`, question `7`") && error.contains("half.png"), "{error}");
    let two = one("mathvista", DIGITS) + &one("MathVista_MINI", DIGITS);
    assert!(train(&two).contains("`mathvista` is asked twice"));

    let suite = two.replace("phase.benchmarks", "benchmarks");
    let eval = |suite: &str, more: &[&str]| {
        fs::write(path("suite.toml"), suite).unwrap();
        let (suite, output) = (path("suite.toml"), path("out"));
        let base = ["eval", "--model", "fixtures/pico-vlm", "--device", "cpu"];
        fails(&[&base[..], &["--suite", &suite, "--output", &output], more].concat())
    };
    assert!(eval(&suite, &[]).contains("`mathvista` is asked twice"));
    let outside = suite.replacen("name", "label = \"../up\"\nname", 1);
    assert!(eval(&outside, &[]).contains("`../up` cannot name a folder"));
    assert!(eval(&suite, &["--grader", "ours"]).contains("cannot be used with"));
    let words = one("mathvista", DIGITS).replace("phase.", "") + "prompt = \"recipe\"\n";
    assert!(eval(&words, &[]).contains("--prompts RECIPE.toml"));
    let generic =
        "[[benchmarks]]\nname = \"generic\"\ntask = \"vqa\"\npath = \"fixtures/easy_vqa/test.parquet\"\n";
    assert!(eval(generic, &["--blind"]).contains("leave `--blind` out"));
}

/// Answers that a stopped call has kept are taken over by the same prompts alone.
#[test]
fn kept_answers_belong_to_their_prompts() {
    let dir = TempDir::new().unwrap();
    let output = dir.path().join("out");
    // The report cannot be written, so that the answers stay where a stopped call keeps them.
    fs::create_dir_all(output.join("report.json")).unwrap();
    let folder = output.to_string_lossy().into_owned();
    let eval = |suffix: &str| {
        let base = ["eval", "--model", "fixtures/pico-vlm", "--device", "cpu", "--max-new-tokens", "8"];
        let benchmark = ["--benchmark", "mathvista", "--data", DIGITS, "--grader", "ours", "--limit", "3"];
        fails(&[&base[..], &benchmark, &["--output", &folder, "--suffix", suffix]].concat());
        fs::read_to_string(output.join("predictions.kept")).unwrap().lines().count()
    };
    assert_eq!([eval(""), eval(""), eval("Briefly."), eval("Briefly.")], [4, 4, 7, 7]);
}
