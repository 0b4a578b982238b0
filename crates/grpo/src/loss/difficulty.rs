//! How hard a question is, as a weight of its KL penalty.

/// DADS of APO (View-R1, arXiv 2506.21655, section 4.1, and its published code): a right answer to a hard question may
/// leave the reference, one to an easy question should not.
///
/// With `d = 1 - pass_rate`: `1 - exp(-e (1 - d))` for answers with a positive advantage, 1 for the others, and 1 where
/// all answers are right or all are wrong.
pub fn difficulty_weight(pass_rate: f64, advantage: f32) -> f64 {
    if advantage <= 0.0 || pass_rate <= 0.0 || pass_rate >= 1.0 {
        return 1.0;
    }
    1.0 - (-std::f64::consts::E * pass_rate).exp()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // (pass rate, advantage, weight)
        let cases = [
            (0.25, 1.0, 0.493_165),
            (0.5, 1.0, 0.743_119),
            (0.75, 0.5, 0.869_804),
            (0.25, -1.0, 1.0),
            (0.25, 0.0, 1.0),
            (0.0, 1.0, 1.0),
            (1.0, 1.0, 1.0),
        ];
        for (pass_rate, advantage, expected) in cases {
            let got = difficulty_weight(pass_rate, advantage);
            assert!((got - expected).abs() < 1e-5, "{pass_rate} {advantage}: {got}");
        }
    }
}
