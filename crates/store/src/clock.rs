//! Wall-clock time as text, for events and logs only: nothing that a resume compares holds a time.

use chrono::{SecondsFormat, Utc};

/// Now, as `2026-01-31T12:00:00Z`.
pub(crate) fn now() -> String {
    Utc::now().to_rfc3339_opts(SecondsFormat::Secs, true)
}
