//! Why the steps of a recurrence are taken one by one on a GPU.

use super::cell::WholeKernels;
use crate::device::measured::Size;
use crate::device::{Gpu, Recurrence};
use std::fmt;

/// Why steps are taken one by one.
#[derive(Clone, Copy, Debug)]
pub enum Because {
    /// There are no kernels for the cell.
    Cell,
    /// None for the data type.
    Dtype,
    /// None for so many units: this is the most.
    Units(usize),
    /// None for attention of another width than the decoder's.
    Width,
    /// 32 bits do not count the numbers.
    Rows,
    /// No grid has so many blocks.
    Blocks,
    /// The device cannot.
    Device,
    /// Rows would have to wait for others so often.
    Rounds(usize),
    /// Steps were faster.
    Measured,
}

impl Because {
    /// Why `auto` takes steps where a kernel could take whole sequences, if it does: where that was measured,
    /// or else where it would take more than `most` rounds. Another wish needs no reason.
    pub fn of_auto(gpu: &Gpu, size: &Size, rounds: usize, most: usize) -> Option<Self> {
        if gpu.recurrence() != Recurrence::Auto {
            return None;
        }
        match gpu.whole_is_faster(size) {
            Some(false) => Some(Because::Measured),
            None if rounds > most => Some(Because::Rounds(rounds)),
            _ => None,
        }
    }
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::Cell => write!(
                f,
                "only an LSTM, a tanh RNN and attention's decoder can do otherwise"
            ),
            Because::Dtype => write!(f, "whole sequences are taken in fp16"),
            Because::Units(most) => {
                let own = WholeKernels::OWN;
                write!(f, "whole sequences need a multiple of {own} up to {most}")
            }
            Because::Width => write!(
                f,
                "whole sequences need attention of as many units as the decoder has"
            ),
            Because::Rows => write!(f, "2^32 numbers or more"),
            Because::Blocks => write!(f, "2^31 blocks or more"),
            Because::Device => write!(
                f,
                "the device runs no clusters of as many blocks with as much shared memory"
            ),
            Because::Measured => write!(f, "measured to be faster here"),
            Because::Rounds(n) => write!(f, "whole sequences would take {n} rounds of all rows"),
        }
    }
}
