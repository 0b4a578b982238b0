//! Rollout and update of the 3B shape (`benches/cuda.rs`), beside what the card can do and beside `transformers`.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};

/// Dense bf16 TFLOP/s by what the name of a card contains, as its maker states them.
const PEAKS: [(&str, f64); 6] =
    [("H200", 989.0), ("H100", 989.0), ("A100", 312.0), ("L40S", 362.0), ("L4", 121.0), ("4090", 165.0)];

fn ask(what: &str) -> Option<String> {
    let query = format!("--query-gpu={what}");
    let output = Command::new("nvidia-smi").args([&query, "--format=csv,noheader,nounits"]).output().ok()?;
    let text = String::from_utf8(output.stdout).ok().filter(|_| output.status.success())?;
    Some(text.lines().next()?.trim().to_owned())
}

/// The first card.
pub(crate) fn card() -> Option<String> {
    ask("name,driver_version")
}

/// What the bench says, with the share of the card's peak that its products reach and the most memory that was in use.
pub(crate) fn bench(program: &Path) -> Result<String> {
    let (text, peak_mib) = watched(Command::new(program).arg("--bench"))?;
    let best = |before: &str, after: &str| {
        let numbers = text.lines().filter_map(|line| number_between(line, before, after));
        numbers.reduce(f64::max)
    };
    let mut words: Vec<String> = text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect();
    let peak =
        card().and_then(|name| PEAKS.iter().find(|(card, _)| name.contains(card)).map(|(_, peak)| *peak));
    if let (Some(reached), Some(peak)) = (best("6 N T is ", " TFLOP/s"), peak) {
        words.push(format!("MFU of the update {:.1} % of {peak:.0} TFLOP/s", 100.0 * reached / peak));
    }
    words.push(format!("at most {peak_mib} MiB of the card in use"));
    Ok(words.join("\n"))
}

/// The same rollout by `transformers`.
pub(crate) fn peer(python: &Path) -> Result<String> {
    let (text, peak_mib) = watched(Command::new(python).arg("benches/peers/generate_3b.py"))?;
    Ok(format!("{}\nat most {peak_mib} MiB of the card in use", text.trim()))
}

/// What a program prints, and the most memory of the first card that was in use meanwhile.
fn watched(command: &mut Command) -> Result<(String, u64)> {
    let (most, is_done) = (AtomicU64::new(0), AtomicBool::new(false));
    let output = thread::scope(|scope| {
        scope.spawn(|| {
            while !is_done.load(Ordering::Relaxed) {
                let used = ask("memory.used").and_then(|used| used.parse().ok()).unwrap_or(0);
                most.fetch_max(used, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(200));
            }
        });
        let output = command.stderr(Stdio::piped()).output();
        is_done.store(true, Ordering::Relaxed);
        output
    });
    let output = output.with_context(|| format!("cannot start `{}`", command.get_program().display()))?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok((String::from_utf8_lossy(&output.stdout).into_owned(), most.into_inner()))
}

fn number_between(line: &str, before: &str, after: &str) -> Option<f64> {
    line.split_once(before)?.1.split_once(after)?.0.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_bench_are_read() {
        let line = "update 2: 4.56 s, 8842 tokens/s, 6 N T is 181.3 TFLOP/s";
        assert_eq!(number_between(line, "6 N T is ", " TFLOP/s"), Some(181.3));
        assert_eq!(number_between("warm-up 3 s", "6 N T is ", " TFLOP/s"), None);
    }

    #[test]
    fn a_program_is_watched_and_its_failure_has_its_words() {
        let (text, _) = watched(Command::new("sh").args(["-c", "echo here"])).unwrap();
        assert_eq!(text, "here\n");
        let error = watched(Command::new("sh").args(["-c", "echo wrong >&2; exit 3"])).unwrap_err();
        assert_eq!(error.to_string(), "wrong");
    }
}
