//! How the cost of rollout and update grows with the prompt's length and with the group's size, beside what arithmetic
//! says when the prompt is paid once and when it is paid for every completion. Prints tables and draws
//! `docs/img/growth_prompt.svg` and `docs/img/growth_group.svg`.
//!
//! `cargo bench --bench growth`.
#![expect(clippy::unwrap_used, reason = "a broken fixture should stop the bench")]
#![expect(clippy::print_stdout, reason = "a bench that Criterion's sampling does not fit prints for itself")]

#[path = "workloads/answers.rs"]
mod answers;
#[expect(dead_code, reason = "the other benches' workloads are not this one's")]
mod workloads;

use std::{fs, path::Path, time::Instant};

use answers::answered;
use plotters::prelude::*;
use reft_config::GrpoPhase;
use reft_core::{PolicyOptimizer as _, RolloutEngine as _, SamplingParams, Seed};
use reft_grpo::GrpoOptimizer;
use reft_rollout::GenerationEngine;
use workloads::{Shape, Workload, open, samples};

const NEW_TOKENS: usize = 64;
const LAYERS: u32 = 6;
const WIDTH: u32 = 256;
const REPETITIONS: usize = 5;

/// 4.6 million parameters in the decoder, so that products take most of the time.
const fn workload(prompt_tokens: usize) -> Workload {
    let shape = Shape {
        width: WIDTH,
        layers: LAYERS,
        heads: 8,
        tower_width: 64,
        tower_depth: 2,
        sections: [4, 6, 6],
    };
    Workload { name: "growth", shape: Some(shape), prompts: 1, side: 224, prompt_tokens }
}

/// A measured point, in milliseconds: medians.
struct Point {
    prompt_tokens: usize,
    group_size: usize,
    rollout: f64,
    update: f64,
}

fn main() {
    let by_prompt: Vec<Point> = [256, 512, 1024, 2048].map(|tokens| measure(tokens, 8)).into();
    let by_group: Vec<Point> = [4, 8, 16, 32].map(|size| measure(1024, size)).into();
    table(&by_prompt);
    table(&by_group);
    draw("growth_prompt.svg", "8 completions of 64 tokens", "prompt tokens", &by_prompt, |p| p.prompt_tokens);
    draw("growth_group.svg", "1,024 prompt tokens", "completions", &by_group, |p| p.group_size);
}

fn measure(prompt_tokens: usize, group_size: usize) -> Point {
    let workload = workload(prompt_tokens);
    let mut model = open(&workload, 0);
    let samples = samples(&workload, &model);
    // All completions are equally long.
    let params = SamplingParams {
        group_size,
        seed: Seed::new(1),
        min_new_tokens: NEW_TOKENS,
        ..SamplingParams::plain(NEW_TOKENS)
    };
    let mut engine = GenerationEngine::default();
    let rollout = median(|| {
        engine.generate(&model, &samples, &params, &mut |_, _| true).unwrap();
    });
    let groups = samples
        .iter()
        .map(|sample| answered(sample.clone(), &model, group_size, NEW_TOKENS))
        .collect::<Vec<_>>();
    let phase: GrpoPhase =
        serde_json::from_value(serde_json::json!({"name": "bench", "data": "none", "steps": 1_000_000}))
            .unwrap();
    let mut optimizer = GrpoOptimizer::new(&phase, &model, Seed::new(1)).unwrap();
    let update = median(|| {
        optimizer.update(&mut model, &groups).unwrap();
    });
    Point { prompt_tokens, group_size, rollout, update }
}

/// Milliseconds, after one run to warm up.
fn median(mut run: impl FnMut()) -> f64 {
    run();
    let mut times = [0.0; REPETITIONS];
    for time in &mut times {
        let started = Instant::now();
        run();
        *time = started.elapsed().as_secs_f64() * 1e3;
    }
    times.sort_by(f64::total_cmp);
    times[REPETITIONS / 2]
}

/// Multiplications of the decoder for so many copies of the prompt: 2 for each parameter of the layers and token, 2 for
/// each number of a query and key or value that meet. The vision tower and the head are left out.
fn arithmetic(point: &Point, copies: usize) -> f64 {
    let (width, layers) = (f64::from(WIDTH), f64::from(LAYERS));
    let parameters = layers * width * width * (2.0 + 0.5 + 9.0);
    let (p, g, l) = (point.prompt_tokens as f64, point.group_size as f64, NEW_TOKENS as f64);
    let c = copies as f64;
    let met = c * p * p / 2.0 + g * (l * p + l * l / 2.0);
    2.0 * parameters * (c * p + g * l) + 4.0 * layers * width * met
}

fn table(points: &[Point]) {
    println!(
        "\n| prompt tokens | completions | rollout, ms | update, ms | prompt once, x | prompt each time, x |"
    );
    println!("|---|---|---|---|---|---|");
    let unit = arithmetic(&points[0], 1);
    for point in points {
        let Point { prompt_tokens, group_size, rollout, update } = point;
        let (once, each) = (arithmetic(point, 1) / unit, arithmetic(point, point.group_size) / unit);
        let (of_rollout, of_update) = (rollout / points[0].rollout, update / points[0].update);
        println!(
            "| {prompt_tokens} | {group_size} | {rollout:.0} ({of_rollout:.2} x) | {update:.0} ({of_update:.2} x) \
             | {once:.2} | {each:.2} |"
        );
    }
}

/// Everything as multiples of the first point; theory of the prompt paid each time as multiples of the same unit.
fn draw(file: &str, title: &str, x_title: &str, points: &[Point], x_of: fn(&Point) -> usize) {
    let unit = arithmetic(&points[0], 1);
    let of = |y: &dyn Fn(&Point) -> f64| -> Vec<(f64, f64)> {
        points.iter().map(|point| (x_of(point) as f64, y(point))).collect()
    };
    let lines = [
        ("rollout", BLUE, of(&|p| p.rollout / points[0].rollout)),
        ("update", RED, of(&|p| p.update / points[0].update)),
        ("arithmetic, prompt once", BLACK, of(&|p| arithmetic(p, 1) / unit)),
        (
            "arithmetic, prompt each time",
            RGBColor(150, 150, 150),
            of(&|p| arithmetic(p, p.group_size) / unit),
        ),
    ];
    let last = x_of(&points[points.len() - 1]) as f64;
    let highest = lines.iter().flat_map(|line| &line.2).map(|point| point.1).fold(0.0, f64::max);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/img").join(file);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let area = SVGBackend::new(&path, (640, 360)).into_drawing_area();
    area.fill(&WHITE).unwrap();
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 16))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(44)
        .build_cartesian_2d(0.0..last * 1.05, (0.5..highest * 1.1).log_scale())
        .unwrap();
    chart.configure_mesh().x_desc(x_title).y_desc("cost, first point = 1").draw().unwrap();
    for (label, colour, line) in lines {
        chart
            .draw_series(LineSeries::new(line, colour.stroke_width(2)).point_size(3))
            .unwrap()
            .label(label)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], colour.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .position(SeriesLabelPosition::UpperLeft)
        .draw()
        .unwrap();
    area.present().unwrap();
}
