//! The section of `docs/RESULTS.md`: what stands between two markers is written anew, everything else is left alone.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use crate::{
    plan::{BENCHMARKS, CLAIMS},
    results::{ArmRuns, Cost, Results},
    stats::{Estimate, estimate},
};

const BEGIN: &str = "<!-- ablation: begin; written by `cargo xtask ablation` -->";
const END: &str = "<!-- ablation: end -->";

/// The document with its marked section replaced.
pub(crate) fn replace(document: &str, section: &str) -> Result<String> {
    let (Some(begin), Some(end)) = (document.find(BEGIN), document.find(END)) else {
        bail!("no place for the section; put these two lines where it should be:\n{BEGIN}\n{END}");
    };
    if end < begin {
        bail!("`{END}` stands before `{BEGIN}`");
    }
    let (before, after) = (&document[..begin + BEGIN.len()], &document[end..]);
    Ok(format!("{before}\n\n{}\n\n{after}", section.trim()))
}

/// Tables and curves. `images` is the folder of the curves as the document names it.
pub(crate) fn write(results: &Results, images: &str) -> String {
    // Writing to a string cannot fail.
    let mut text = String::new();
    let _ = writeln!(text, "{}\n", what(results));
    for (benchmark, title) in BENCHMARKS {
        let _ = writeln!(text, "{}", accuracy_table(results, benchmark, title));
    }
    let _ = writeln!(text, "{}", cost_table(results));
    let _ = writeln!(text, "{}", claims_table(results));
    for (file, title) in CURVES {
        let _ = writeln!(text, "![{title}]({images}/{file})");
    }
    text
}

/// Files and titles of the curves, in the order in which they are shown.
pub(crate) const CURVES: [(&str, &str); 3] = [
    ("ablation_id.svg", "In-domain accuracy, %"),
    ("ablation_ood.svg", "Out-of-domain accuracy, %"),
    ("ablation_reading.svg", "Sampled answers that read the scene first, %"),
];

/// How many questions and seeds there are.
fn what(results: &Results) -> String {
    let questions: Vec<String> = BENCHMARKS
        .iter()
        .map(|(benchmark, title)| format!("{} {title}", results.tasks[benchmark].len()))
        .collect();
    let counts = results.arms.iter().filter(|arm| arm.cost().updates > 0).map(|arm| arm.seeds.len());
    let (least, most) = counts.fold((usize::MAX, 0), |(least, most), n| (least.min(n), most.max(n)));
    let seeds = match (least, most) {
        (_, 0) => "no arm is finished yet".to_owned(),
        (1, 1) => "one seed, so intervals are over questions alone".to_owned(),
        _ if least == most => format!("seeds 0 to {}", most - 1),
        _ => format!("{least} to {most} seeds per arm, as far as finished"),
    };
    format!("Accuracy in percent with its 95 % interval; {} questions; {seeds}.", questions.join(" and "))
}

fn accuracy_table(results: &Results, benchmark: &str, title: &str) -> String {
    let all = &results.tasks[benchmark];
    let mut tasks = all.clone();
    tasks.sort_unstable();
    tasks.dedup();
    let mut rows = vec![vec![title.to_owned()]];
    rows[0].extend(tasks.iter().cloned().chain(["mean".to_owned()]));
    for arm in &results.arms {
        let marks: Vec<&Vec<f64>> = arm.seeds.values().map(|run| &run.marks[benchmark]).collect();
        let of = |chosen: &dyn Fn(&str) -> bool| {
            let places: Vec<usize> = (0..all.len()).filter(|&i| chosen(&all[i])).collect();
            let rows: Vec<Vec<f64>> =
                marks.iter().map(|row| places.iter().map(|&i| row[i]).collect()).collect();
            let tasks: Vec<&str> = places.iter().map(|&i| all[i].as_str()).collect();
            estimate(&rows, &tasks)
        };
        let mut row = vec![arm.arm.label.to_owned()];
        row.extend(tasks.iter().map(|task| share(of(&|other| other == task))));
        row.push(format!("**{}**", share(of(&|_| true))));
        rows.push(row);
    }
    table(&rows)
}

fn cost_table(results: &Results) -> String {
    let head = [
        "spent, mean of seeds",
        "seeds",
        "updates",
        "tokens sampled, thousands",
        "tokens trained on, thousands",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for arm in &results.arms {
        let Cost { updates, sampled, trained } = arm.cost();
        let thousands = |tokens: f64| format!("{:.0}", tokens / 1000.0);
        rows.push(vec![
            arm.arm.label.to_owned(),
            arm.seeds.len().to_string(),
            updates.to_string(),
            thousands(sampled),
            thousands(trained),
        ]);
    }
    table(&rows)
}

fn claims_table(results: &Results) -> String {
    let mut rows = vec![vec!["difference, points".to_owned(), "the paper".to_owned()]];
    rows[0].extend(BENCHMARKS.map(|(_, title)| title.to_owned()));
    let find = |label: &str| results.arms.iter().find(|arm| arm.arm.label == label);
    for claim in CLAIMS {
        let (Some(arm), Some(against)) = (find(claim.arm), find(claim.against)) else { continue };
        let mut row = vec![format!("{} − {}", claim.arm, claim.against), claim.paper.to_owned()];
        for (benchmark, _) in BENCHMARKS {
            let marks = paired(arm, against, benchmark);
            let tasks: Vec<&str> = results.tasks[benchmark].iter().map(String::as_str).collect();
            row.push(if marks.is_empty() { String::new() } else { difference(estimate(&marks, &tasks)) });
        }
        rows.push(row);
    }
    table(&rows)
}

/// Marks of one arm minus those of another, by seed and question. An arm without training has one run for all seeds.
fn paired(arm: &ArmRuns, against: &ArmRuns, benchmark: &str) -> Vec<Vec<f64>> {
    let other = |seed| match against.cost().updates {
        0 => against.seeds.values().next(),
        _ => against.seeds.get(seed),
    };
    let pairs = arm.seeds.iter().filter_map(|(seed, run)| Some((run, other(seed)?)));
    pairs
        .map(|(a, b)| a.marks[benchmark].iter().zip(&b.marks[benchmark]).map(|(a, b)| a - b).collect())
        .collect()
}

impl ArmRuns {
    /// Mean over the seeds.
    fn cost(&self) -> Cost {
        let n = self.seeds.len().max(1) as f64;
        let mean = |of: fn(&Cost) -> f64| self.seeds.values().map(|run| of(&run.cost)).sum::<f64>() / n;
        Cost {
            updates: mean(|cost| cost.updates as f64).round() as u64,
            sampled: mean(|cost| cost.sampled),
            trained: mean(|cost| cost.trained),
        }
    }
}

/// `42.2 (37.6 to 46.8)`, cut at 0 and 100.
fn share(Estimate { mean, low, high }: Estimate) -> String {
    let percent = |value: f64| 100.0 * value.clamp(0.0, 1.0);
    format!("{:.1} ({:.1} to {:.1})", percent(mean), percent(low), percent(high))
}

/// `+2.3 (-1.0 to +5.6)`, bold when 0 is outside.
fn difference(Estimate { mean, low, high }: Estimate) -> String {
    let signed = |value: f64| format!("{:+.1}", 100.0 * value).replace('-', "−").replace("−0.0", "+0.0");
    let text = format!("{} ({} to {})", signed(mean), signed(low), signed(high));
    if low > 0.0 || high < 0.0 { format!("**{text}**") } else { text }
}

/// A Markdown table; the first row is its head.
fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        let _ = writeln!(text, "| {} |", row.join(" | "));
        if i == 0 {
            let _ = writeln!(text, "|{}", "---|".repeat(row.len()));
        }
    }
    text
}
