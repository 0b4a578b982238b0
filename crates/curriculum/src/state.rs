//! Saved states: what all curricula have to say about one that does not fit.

use std::sync::Arc;

use reft_core::{Sample, Seed, StageError};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

/// The state as JSON.
pub(crate) fn save<T: Serialize>(state: &T) -> Result<Value, StageError> {
    serde_json::to_value(state).map_err(|error| StageError::other("curriculum", error))
}

/// The state from JSON.
pub(crate) fn load<T: DeserializeOwned>(state: &Value) -> Result<T, StageError> {
    T::deserialize(state).map_err(broken)
}

/// A state that does not fit.
pub(crate) fn broken(message: impl ToString) -> StageError {
    StageError::State { stage: "curriculum", message: message.to_string() }
}

/// A digest of the ids of a pool in order, so that a state that counts by index is not laid over other data.
pub(crate) fn fingerprint(pool: &[Arc<Sample>]) -> String {
    let digest = pool.iter().fold(Seed::new(0), |digest, sample| digest.at(&sample.id));
    format!("{:016x}", digest.key())
}

/// An error unless the state belongs to this pool.
pub(crate) fn same_pool(saved: &str, pool: &[Arc<Sample>]) -> Result<(), StageError> {
    if saved == fingerprint(pool) {
        return Ok(());
    }
    Err(broken(
        "it was made with other samples than the data set has now; resume with the same data and `forms`",
    ))
}

/// Which of several is furthest behind its share: `argmax_i w_i (N + 1) - n_i`, from `(w_i, n_i)`. The first of equals.
pub(crate) fn furthest_behind(drawn: &[(f64, u64)]) -> usize {
    let total: u64 = drawn.iter().map(|(_, n)| n).sum();
    let lack = |(weight, n): (f64, u64)| weight * (total + 1) as f64 - n as f64;
    let mut chosen = 0;
    for i in 1..drawn.len() {
        if lack(drawn[i]) > lack(drawn[chosen]) {
            chosen = i;
        }
    }
    chosen
}
