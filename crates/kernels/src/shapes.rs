//! What kernels are told about the numbers they get.

/// Heads of an attention layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heads {
    /// Query heads.
    pub n: usize,
    /// Key/value heads, each shared by equally many query heads.
    pub kv: usize,
    /// Width of a head.
    pub d: usize,
}

/// Rows of numbers, `stride` from one to the next.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// The numbers, those between rows too.
    pub numbers: &'a [f32],
    /// Numbers from the start of a row to that of the next.
    pub stride: usize,
}

impl<'a> Rows<'a> {
    /// The first `width` numbers of a row.
    pub fn row(&self, i: usize, width: usize) -> &'a [f32] {
        &self.numbers[i * self.stride..][..width]
    }
}
