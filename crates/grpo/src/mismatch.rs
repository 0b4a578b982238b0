//! By how much trainer and rollout differ, and what that says of who answers.

use std::fmt;

/// How many times as much images may be off as text before they are the suspect.
const SUSPECT: f64 = 3.0;

/// Mean absolute difference of log-probs, in nats a token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Mismatch {
    /// Of all tokens.
    pub(crate) mean: f64,
    /// Of answers to questions without images; none where there are none.
    pub(crate) text: Option<f64>,
    /// Of answers to questions with images; none where there are none.
    pub(crate) image: Option<f64>,
}

impl Mismatch {
    /// What to look at first.
    pub(crate) fn causes(&self) -> &'static str {
        match (self.text, self.image) {
            (Some(text), Some(image)) if image > SUSPECT * text => {
                "Answers to text alone agree, so look at images: the server resizes them to other sizes \
                 (`--mm-processor-kwargs` with the `max_pixels` of `model.max_pixels`)"
            }
            _ => {
                "Look at: weights that the server has not taken (adapter not loaded, or of another base); log-probs without \
                 the temperature (vLLM wants `--logprobs-mode processed_logprobs`); another chat template or image size; \
                 control tokens in its softmax; `weight_sync.max_lag`"
            }
        }
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "trainer and rollout differ by {:.3} nats a token", self.mean)?;
        if let (Some(text), Some(image)) = (self.text, self.image) {
            write!(f, " (text {text:.3}, images {image:.3})")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_likely_cause_comes_first() {
        let images = Mismatch { mean: 0.3, text: Some(0.01), image: Some(0.5) };
        assert_eq!(
            images.to_string(),
            "trainer and rollout differ by 0.300 nats a token (text 0.010, images 0.500)"
        );
        assert!(images.causes().starts_with("Answers to text alone agree"));
        let both = Mismatch { mean: 0.3, text: Some(0.3), image: Some(0.3) };
        assert!(both.causes().contains("adapter not loaded"));
        let no_text = Mismatch { text: None, ..images };
        assert_eq!(no_text.to_string(), "trainer and rollout differ by 0.300 nats a token");
        assert!(no_text.causes().contains("adapter not loaded"));
    }
}
