//! Which group slots are taken, and how far.

/// Which group slots are taken, and how far.
pub(super) struct Occupancy {
    pub(super) group_size: usize,
    /// `[n]`, 0 for a free group slot.
    pub(super) prompt_lengths: Vec<usize>,
    /// `[m]`, the token of the present step included.
    pub(super) own_lengths: Vec<usize>,
    /// `[r]` ascending.
    pub(super) slots: Vec<usize>,
}
