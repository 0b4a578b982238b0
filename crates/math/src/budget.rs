//! The arithmetic that a comparison may take.

use super::Refusal;

/// Arithmetic steps that a comparison may take.
const BUDGET: usize = 25_000;

/// What is left of the steps.
pub(super) struct Budget(usize);

impl Budget {
    pub(super) fn new() -> Self {
        Self(BUDGET)
    }

    /// Takes steps; refuses when there are not enough left.
    pub(super) fn spend(&mut self, steps: usize) -> Result<(), Refusal> {
        self.0 = self.0.checked_sub(steps).ok_or(Refusal::TooHard)?;
        Ok(())
    }
}
