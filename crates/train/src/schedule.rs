//! The learning rate of a step.

use reft_config::{OptimizerConfig, Schedule};

/// The learning rate of step `step` (from 0) of `steps`: a linear rise over the warm-up, then the schedule's course to
/// the end of the phase. The first step never has rate 0.
pub fn learning_rate(peak: f64, config: &OptimizerConfig, step: u64, steps: u64) -> f64 {
    let (step, steps) = (step as f64, steps.max(1) as f64);
    let warmup = (config.warmup * steps).round();
    if step < warmup {
        return peak * (step + 1.0) / (warmup + 1.0);
    }
    let done = ((step - warmup) / (steps - warmup).max(1.0)).min(1.0);
    match config.schedule {
        Schedule::Constant => peak,
        Schedule::Linear => peak * (1.0 - done),
        Schedule::Cosine => peak * 0.5 * (1.0 + (std::f64::consts::PI * done).cos()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn courses_by_hand() {
        let config = |schedule, warmup| OptimizerConfig { schedule, warmup, ..OptimizerConfig::default() };
        // (schedule, warm-up, step of 10, expected share of the peak)
        let cases = [
            (Schedule::Constant, 0.0, 9, 1.0),
            (Schedule::Linear, 0.0, 0, 1.0),
            (Schedule::Linear, 0.0, 5, 0.5),
            (Schedule::Linear, 0.2, 0, 1.0 / 3.0),
            (Schedule::Linear, 0.2, 2, 1.0),
            (Schedule::Linear, 0.2, 6, 0.5),
            (Schedule::Cosine, 0.0, 5, 0.5),
        ];
        for (schedule, warmup, step, expected) in cases {
            let got = learning_rate(2.0, &config(schedule, warmup), step, 10);
            assert!((got - 2.0 * expected).abs() < 1e-12, "{schedule:?} {warmup} {step}: {got}");
        }
    }
}
