//! The forms of questions that a phase or a stage names.

use std::collections::BTreeSet;

use super::At;
use crate::WithForm;

pub(super) fn check_forms(forms: &[WithForm], at: &mut At<'_>) {
    at.require(!forms.is_empty(), "forms", || "name at least one form".to_owned());
    let unique: BTreeSet<_> = forms.iter().map(|form| form.0).collect();
    at.require(unique.len() == forms.len(), "forms", || "names a form twice".to_owned());
}
