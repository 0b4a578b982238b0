//! How the state of a buffer is divided among ranks: ZeRO stage 1 (Rajbhandari et al. 2020, arXiv 1910.02054, section 5.1).
//!
//! Each of N ranks keeps one of N equal parts, whole blocks of quantised moments, and all keep the rest, which is shorter
//! than N blocks. So no buffer needs padding, and what a rank keeps lies as it lies in the buffer: its part, then the rest.

use std::ops::Range;

use reft_dist::{DistError, Group, Op};
use tch::{Kind, Tensor};

use super::{PIECE, moments::BLOCK};

/// The part of a buffer that one of some ranks updates and keeps state of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Partition {
    rank: i64,
    size: i64,
    /// Values of each part.
    each: i64,
    /// Values of the buffer.
    numel: i64,
}

/// Values that one operation works on.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// Where they lie in the buffer.
    pub(super) buffer: Range<i64>,
    /// Where they lie in what this rank keeps; whole blocks of quantised moments.
    pub(super) own: Range<i64>,
}

impl Partition {
    /// The part of rank `rank` of `size`, of a buffer `[numel]`.
    pub(super) fn new(rank: usize, size: usize, numel: i64) -> Self {
        let (rank, size) = (rank as i64, size as i64);
        let each = if size == 1 { numel } else { numel / (size * BLOCK) * BLOCK };
        Self { rank, size, each, numel }
    }

    /// The same part, of numbers of which there is one for each block.
    pub(super) fn of_blocks(self) -> Self {
        let blocks = |values: i64| values.unsigned_abs().div_ceil(BLOCK as u64) as i64;
        Self { each: blocks(self.each), numel: blocks(self.numel), ..self }
    }

    /// Values of all parts together; the rest lies behind them.
    fn divided(self) -> i64 {
        self.each * self.size
    }

    /// Values that a rank keeps.
    pub(super) fn own_numel(self) -> i64 {
        self.each + self.numel - self.divided()
    }

    /// What this rank updates, a piece at a time.
    pub(super) fn pieces(self) -> impl Iterator<Item = Piece> {
        let piece = |buffer: i64, own: i64| {
            move |part: Range<i64>| Piece {
                buffer: buffer + part.start..buffer + part.end,
                own: own + part.start..own + part.end,
            }
        };
        let part = pieces(self.each, PIECE).map(piece(self.rank * self.each, 0));
        part.chain(pieces(self.numel - self.divided(), PIECE).map(piece(self.divided(), self.each)))
    }

    /// `[own_numel]` of a buffer; a view where the buffer is not divided.
    pub(super) fn own(self, buffer: &Tensor) -> Tensor {
        let part = self.part(buffer);
        if self.size == 1 { part } else { Tensor::cat(&[part, self.rest(buffer)], 0) }
    }

    /// `[n]` this rank's part of a buffer.
    pub(super) fn part(self, buffer: &Tensor) -> Tensor {
        buffer.narrow(0, self.rank * self.each, self.each)
    }

    /// What all ranks keep of a buffer.
    pub(super) fn rest(self, buffer: &Tensor) -> Tensor {
        buffer.narrow(0, self.divided(), self.numel - self.divided())
    }

    /// `[size, each]` the parts of a buffer.
    fn parts(self, buffer: &Tensor) -> Tensor {
        buffer.narrow(0, 0, self.divided()).view([self.size, self.each])
    }

    /// Columns of [`Partition::parts`] that are sent at a time.
    fn columns(self) -> impl Iterator<Item = Range<i64>> {
        pieces(self.each, (PIECE / self.size).max(1))
    }

    /// What this rank updates of the gradients of all ranks, added in fp32; the other parts keep what this rank has added.
    pub(super) fn reduce_scatter(self, group: &Group, gradient: &Tensor) -> Result<(), DistError> {
        let parts = self.parts(gradient);
        for columns in self.columns() {
            let part = |x: &Tensor, dim| x.narrow(dim, columns.start, columns.end - columns.start);
            let all = part(&parts, 1).to_kind(Kind::Float).contiguous().view([-1]);
            part(&parts.get(self.rank), 0).copy_(&group.reduce_scatter(&all)?);
        }
        all_reduce(group, &self.rest(gradient))
    }

    /// The parts of all ranks, of which this one has `own` (`[each]` or longer), written into a buffer `to` where there is one.
    fn all_gather(self, group: &Group, own: &Tensor, to: Option<&Tensor>) -> Result<(), DistError> {
        for columns in self.columns() {
            let part = |x: &Tensor, dim| x.narrow(dim, columns.start, columns.end - columns.start);
            let all = group.all_gather(&part(own, 0))?;
            if let Some(to) = to {
                part(&self.parts(to), 1).copy_(&all);
            }
        }
        Ok(())
    }

    /// Every rank's part of the weights takes its place in the buffers of all.
    pub(super) fn gather_weights(self, group: &Group, buffer: &Tensor) -> Result<(), DistError> {
        self.all_gather(group, &self.part(buffer), Some(buffer))
    }

    /// `[numel]` the state of a whole buffer on the CPU of rank 0; every rank has `own`.
    pub(super) fn gather_state(self, group: &Group, own: &Tensor) -> Result<Option<Tensor>, DistError> {
        let whole = (self.rank == 0).then(|| Tensor::empty([self.numel], (own.kind(), tch::Device::Cpu)));
        self.all_gather(group, own, whole.as_ref())?;
        if let Some(whole) = &whole {
            self.rest(whole).copy_(&own.narrow(0, self.each, self.numel - self.divided()));
        }
        Ok(whole)
    }
}

/// The sums over all ranks take the place of a flat gradient, added in fp32 whatever it is in.
pub(super) fn all_reduce(group: &Group, gradient: &Tensor) -> Result<(), DistError> {
    for piece in pieces(gradient.size()[0], PIECE) {
        let part = gradient.narrow(0, piece.start, piece.end - piece.start);
        // The same memory where it is fp32 already.
        let all = part.to_kind(Kind::Float);
        group.all_reduce(&all, Op::Sum)?;
        if part.kind() != Kind::Float {
            part.shallow_clone().copy_(&all);
        }
    }
    Ok(())
}

/// `0..numel` in pieces of at most `most`.
fn pieces(numel: i64, most: i64) -> impl Iterator<Item = Range<i64>> {
    (0..numel).step_by(most as usize).map(move |first| first..(first + most).min(numel))
}
