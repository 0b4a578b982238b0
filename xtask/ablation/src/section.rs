//! The section of `docs/RESULTS.md`: what stands between two markers is written anew, everything else is left alone.

use std::fmt::Write as _;

use anyhow::{Result, bail};

use crate::{
    results::{ArmRuns, Cost, Results, Tried},
    stats::{Estimate, estimate},
};

/// What stands before and after the section of a study.
fn marks(study: &str) -> [String; 2] {
    [format!("<!-- {study}: begin; written by `cargo xtask ablation` -->"), format!("<!-- {study}: end -->")]
}

/// The document with the marked section of a study replaced.
pub(crate) fn replace(document: &str, study: &str, section: &str) -> Result<String> {
    let [first, last] = marks(study);
    let (Some(begin), Some(end)) = (document.find(&first), document.find(&last)) else {
        bail!(
            "no place for the section in the document; put these two lines where it should be:\n{first}\n{last}"
        );
    };
    if end < begin {
        bail!("`{last}` stands before `{first}`");
    }
    let (before, after) = (&document[..begin + first.len()], &document[end..]);
    Ok(format!("{before}\n\n{}\n\n{after}", section.trim()))
}

/// Tables and curves. `images` is the folder of the curves as the document names it.
pub(crate) fn write(results: &Results, images: &str) -> String {
    // Writing to a string cannot fail.
    let mut text = String::new();
    let _ = writeln!(text, "{}\n", what(results));
    for (benchmark, title) in results.study.benchmarks {
        let _ = writeln!(text, "{}", accuracy_table(results, benchmark, title));
    }
    if !results.rates.is_empty() {
        let _ = writeln!(text, "{}", rates_table(results));
    }
    let _ = writeln!(text, "{}", cost_table(results));
    let _ = writeln!(text, "{}", claims_table(results));
    for (file, title) in results.study.curves {
        let _ = writeln!(text, "![{title}]({images}/{file})");
    }
    text
}

/// How many questions and seeds there are.
fn what(results: &Results) -> String {
    let questions: Vec<String> = results
        .study
        .benchmarks
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
    format!("Accuracy in percent with its 95 % interval; questions: {}; {seeds}.", questions.join("; "))
}

fn accuracy_table(results: &Results, benchmark: &str, title: &str) -> String {
    let all = &results.tasks[benchmark];
    let mut tasks: Vec<&String> = Vec::new();
    for task in all {
        if !tasks.contains(&task) {
            tasks.push(task);
        }
    }
    let mut rows = vec![vec![title.to_owned()]];
    rows[0].extend(tasks.iter().map(|task| (*task).clone()).chain(["mean".to_owned()]));
    for arm in &results.arms {
        let marks: Vec<&Vec<f64>> = arm.seeds.values().map(|run| &run.marks[benchmark]).collect();
        let of = |chosen: &dyn Fn(&str) -> bool| {
            let indices: Vec<usize> = (0..all.len()).filter(|&i| chosen(&all[i])).collect();
            let rows: Vec<Vec<f64>> =
                marks.iter().map(|row| indices.iter().map(|&i| row[i]).collect()).collect();
            let tasks: Vec<&str> = indices.iter().map(|&i| all[i].as_str()).collect();
            estimate(&rows, &tasks)
        };
        let mut row = vec![arm.arm.label.to_owned()];
        row.extend(tasks.iter().map(|task| share(of(&|other| other == *task))));
        row.push(format!("**{}**", share(of(&|_| true))));
        rows.push(row);
    }
    table(&rows)
}

/// What each recipe scored on validation data with each rate, the chosen one bold.
fn rates_table(results: &Results) -> String {
    let mut rows = vec![vec!["validation accuracy, %, by learning rate".to_owned()]];
    rows[0].extend(results.study.rates.iter().map(|&rate| rate.to_owned()));
    for tuned in &results.rates {
        let best = tuned.best();
        let label = results.study.arms.iter().find(|arm| arm.recipe == tuned.recipe);
        let cell = |tried: &Tried| {
            let text = format!("{:.1}", 100.0 * tried.accuracy);
            if Some(*tried) == best { format!("**{text}**") } else { text }
        };
        let label = label.map_or(tuned.recipe, |arm| arm.label).to_owned();
        rows.push([label].into_iter().chain(tuned.tried.iter().map(cell)).collect());
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
    rows[0].extend(results.study.benchmarks.iter().map(|&(_, title)| title.to_owned()));
    let find = |label: &str| results.arms.iter().find(|arm| arm.arm.label == label);
    for claim in results.study.claims {
        let (Some(arm), Some(against)) = (find(claim.arm), find(claim.against)) else { continue };
        let mut row = vec![format!("{} − {}", claim.arm, claim.against), claim.paper.to_owned()];
        for &(benchmark, _) in results.study.benchmarks {
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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::{curves, fixture::FakeRun, results, study::Task};

    fn results(runs: &Path) -> Results {
        let step: [&[&str]; 1] = [&["<think>7 in a1</think><answer>7</answer>"]];
        for (name, right) in [
            ("base-seed0", [1, 0, 0, 0, 0, 0]),
            ("sft-seed0", [1, 1, 0, 0, 0, 0]),
            ("sft-seed1", [1, 1, 1, 1, 0, 0]),
        ] {
            let training: &[(&str, &[&[&str]])] =
                if name.starts_with("base") { &[] } else { &[("sft", &step)] };
            let evaluations = [("test", training.len(), right)];
            FakeRun { name, training, evaluations: &evaluations, finished: true }.write(runs);
        }
        results::read(Task::Demo.study(), runs, 2).unwrap()
    }

    #[test]
    fn tables_say_what_the_runs_say() {
        let runs = tempfile::tempdir().unwrap();
        let text = write(&results(runs.path()), "img");
        for line in [
            "questions: 6 in-domain; 6 out-of-domain; seeds 0 to 1.",
            "| in-domain | detection | math | mean |",
            // Of three questions a task 1 and then 2 are right.
            "| SFT | 50.0 (",
            "| **16.7 (",
            "| SFT | 2 | 1 | 0 | 0 |",
            // The base's one run stands for both seeds: 1 and 3 more of 6.
            "| SFT − Base | better in-domain, worse out-of-domain | +33.3 (",
            "![In-domain accuracy, %](img/ablation_id.svg)",
        ] {
            assert!(text.contains(line), "no `{line}` in\n{text}");
        }
        assert!(!text.contains("Curr-RL"), "an arm without runs has no row");
    }

    #[test]
    fn curves_are_drawn() {
        let runs = tempfile::tempdir().unwrap();
        let results = results(runs.path());
        for svg in [curves::accuracy(&results, "id", "In-domain"), curves::reading(&results, "Reading")] {
            let svg = svg.unwrap();
            assert!(svg.starts_with("<svg") && svg.contains("SFT"), "{svg}");
        }
    }

    #[test]
    fn only_the_marked_section_changes() {
        let [begin, end] = marks("hard");
        let [other, its_end] = marks("ablation");
        let rest = format!("{other}\nkept\n{its_end}\n");
        let document = format!("{rest}before\n\n{begin}\nold\n{end}\n\nafter\n");
        let new = replace(&document, "hard", "new\n").unwrap();
        assert_eq!(new, format!("{rest}before\n\n{begin}\n\nnew\n\n{end}\n\nafter\n"));
        assert_eq!(replace(&new, "hard", "new\n").unwrap(), new);
        for document in ["no markers", &end, &format!("{end}\n{begin}"), &rest] {
            replace(document, "hard", "new").unwrap_err();
        }
    }

    #[test]
    fn numbers_in_words() {
        let of = |mean, low, high| Estimate { mean, low, high };
        assert_eq!(share(of(0.02, -0.01, 0.05)), "2.0 (0.0 to 5.0)");
        assert_eq!(difference(of(-0.0002, -0.031, 0.03)), "+0.0 (−3.1 to +3.0)");
        assert_eq!(difference(of(-0.05, -0.08, -0.02)), "**−5.0 (−8.0 to −2.0)**");
    }
}
