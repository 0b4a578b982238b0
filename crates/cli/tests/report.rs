//! The report in a browser: what a model or a data set wrote is shown and never obeyed.
//!
//! Headless Chromium draws the page where the machine has one; the page's own text is checked anywhere.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, process::Command, sync::Arc};

use curr_reft::{
    core::{
        BoxFrame, Completion, Form, Group, Message, Metrics, Part, Recorder as _, RewardParts, Role, Sample,
        SampleId, ScoredGroup, Task, Verdict,
    },
    store::{RunDir, RunInfo},
};

const HOSTILE: &str = "</script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\"><!-- \u{2028}";

fn run(root: &Path) {
    let recipe = "model.path = 'm'\ndata.d = { type = 'file', path = 'd.jsonl' }\n\
                  [[phase]]\nkind = 'grpo'\nname = 'open'\ndata = 'd'\nsteps = 3\n";
    let mut store = RunDir::create(root, &RunInfo::new("demo", ["open"]), recipe).unwrap();
    let sample = Arc::new(Sample {
        id: SampleId::from(HOSTILE),
        task: Task::Vqa,
        form: Form::Open,
        messages: vec![Message { role: Role::User, content: vec![Part::Text(HOSTILE.into())] }],
        problem: HOSTILE.into(),
        solution: HOSTILE.into(),
        box_frame: BoxFrame::Original,
        parent: None,
    });
    for step in 1..=3 {
        let group = Group {
            sample: Arc::clone(&sample),
            prompt_tokens: 1,
            completions: vec![Completion::from_text(HOSTILE)],
            policy_version: None,
            temperature: None,
        };
        let rewards = vec![RewardParts { total: 1.0, ..RewardParts::default() }];
        let verdict = Verdict::Reject { reason: HOSTILE.into() };
        store
            .groups("open", step, &[ScoredGroup { group, rewards, advantages: vec![0.0], verdict }])
            .unwrap();
        let mut metrics = Metrics::new();
        metrics.set("reward/mean", step as f64);
        store.step("open", step, &metrics).unwrap();
    }
    store.event("error", serde_json::json!({"message": HOSTILE})).unwrap();
}

/// The page as a browser has drawn it; none where the machine has none.
fn drawn(page: &Path) -> Option<String> {
    ["chromium", "chromium-browser", "google-chrome"].iter().find_map(|browser| {
        let output = Command::new(browser)
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=5000", "--dump-dom"])
            .arg(format!("file://{}", page.display()))
            .output()
            .ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
    })
}

#[test]
fn what_a_model_wrote_is_shown_and_not_obeyed() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("demo");
    run(&root);
    let output = Command::new(env!("CARGO_BIN_EXE_reft")).arg("report").arg(&root).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let page = root.join("report.html");
    let html = std::fs::read_to_string(&page).unwrap();
    assert_eq!(html.matches("</script").count(), 3, "nothing may end a script but the page");
    assert!(!html.contains("<img src=x"));

    let Some(dom) = drawn(&page) else { return };
    assert!(dom.contains("<title>demo</title>"), "what a model wrote was obeyed");
    assert!(!dom.contains("<img src=\"x\""), "what a model wrote became markup");
    for shown in
        ["class=\"card\"", "&lt;img src=x onerror=", "class=\"u-legend", "not trained on: ", "reward/mean"]
    {
        assert!(dom.contains(shown), "the page does not show {shown}");
    }
}
