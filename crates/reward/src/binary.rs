//! The binary stage: yes or no.

use reft_core::{Completion, Reward, Sample, StageError};

use crate::{Reply, answer, text::without_decoration};

/// Pays 1 when the answer is the solution's yes or no, else 0.
#[derive(Clone, Copy, Debug, Default)]
pub struct BinaryAccuracy;

impl Reward for BinaryAccuracy {
    fn name(&self) -> &'static str {
        "yes_no"
    }

    fn score(&self, sample: &Sample, completion: &Completion) -> Result<f32, StageError> {
        let solution = answer::solution(sample);
        let right = yes_no(solution).ok_or_else(|| {
            StageError::sample(
                &sample.id,
                format!("the solution of a binary sample is `yes` or `no`, not `{solution}`"),
            )
        })?;
        Ok(f32::from(Reply::of(completion).answer.and_then(yes_no) == Some(right)))
    }
}

/// Reads an answer that is exactly yes or no, in any case, with at most a sentence mark, emphasis or LaTeX around it.
///
/// Nothing is searched for inside a longer text: `not correct`, `yes and no` and `yes, but` are neither.
pub fn yes_no(answer: &str) -> Option<bool> {
    let bare = without_decoration(without_decoration(answer).trim_end_matches(['.', '!', ',']));
    if bare.eq_ignore_ascii_case("yes") {
        Some(true)
    } else if bare.eq_ignore_ascii_case("no") {
        Some(false)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_yes_and_no_count() {
        let cases = [
            ("yes", Some(true)),
            (" Yes. ", Some(true)),
            ("**NO**", Some(false)),
            ("\"no\".", Some(false)),
            ("**yes.**", Some(true)),
            ("not correct", None),
            ("correct", None),
            ("yes no", None),
            ("\\boxed{yes}", Some(true)),
            ("$\\text{No}$.", Some(false)),
            ("\\boxed{yes} or \\boxed{no}", None),
            ("yes, but no", None),
            ("nope", None),
            ("", None),
        ];
        for (answer, expected) in cases {
            assert_eq!(yes_no(answer), expected, "{answer}");
        }
    }
}
