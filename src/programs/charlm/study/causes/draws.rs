//! The random streams of these measures. Each is of its own, so that no draw hangs on another.

use crate::programs::charlm::study::estimate::SEED;
use crate::rng::{Purpose, Stream};

/// What is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Draw {
    /// The files that units are recorded in.
    Files = 16,
    /// The recorded places of a file.
    Places = 17,
    /// How far labels are rotated.
    Rotations = 18,
    /// Pairs of brackets.
    Pairs = 19,
    /// Units beside those that were found.
    Units = 20,
    /// Places whose context is changed.
    Contexts = 21,
    /// The order of lines.
    Lines = 22,
}

impl Draw {
    /// Stream number `n` (below 2^24) of a kind.
    pub fn stream(self, n: u32) -> Stream {
        Stream::new(SEED, Purpose::Study, self as u32).lane(n)
    }
}
