//! Answers that are numbers, with a tolerance.

use reft_math::python::float;

/// Relative error that counts as right.
const TOLERANCE: f64 = 0.05;

/// Relaxed accuracy of charts: numbers within 5 % of the right one, everything else equal but for case.
///
/// A right answer of 0 is compared as text, and so is what Python reads as no number: `5,632`, `$5`, `5 units`.
///
/// Source: ChartQA (arXiv 2203.10244, section 5.1) as in Qwen-VL, VLMEvalKit and lmms-eval.
pub(crate) fn relaxed(answer: &str, truth: &str) -> bool {
    let value = |text: &str| match text.strip_suffix('%') {
        Some(share) => float(share.trim_end_matches('%')).map(|x| x / 100.0),
        None => float(text),
    };
    match (value(answer), value(truth)) {
        (Some(answer), Some(truth)) if truth != 0.0 => ((answer - truth).abs() / truth.abs()) <= TOLERANCE,
        _ => answer.to_lowercase() == truth.to_lowercase(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_percent() {
        for (answer, truth, right) in [
            ("105", "100", true),
            ("106", "100", false),
            ("38%", "0.38", true),
            ("38", "38%", false),
            ("5,632", "5632", false),
            ("Yes", "yes", true),
            ("0.0", "0", false),
            ("0", "0", true),
        ] {
            assert_eq!(relaxed(answer, truth), right, "{answer} {truth}");
        }
    }
}
