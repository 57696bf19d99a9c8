//! Distances and counts in bins.

use serde::{Deserialize, Serialize};

/// Whole numbers from `from` to `to`, both counted; without `to` all from `from` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Span {
    /// The least.
    pub from: u64,
    /// The largest.
    pub to: Option<u64>,
}

impl Span {
    /// The bin of a number between powers of two: 0, 1, 2 to 3, 4 to 7, 8 to 15 and so on.
    pub fn between_powers(n: usize) -> Self {
        let n = n as u64;
        let Some(power) = n.checked_ilog2() else {
            return Span {
                from: 0,
                to: Some(0),
            };
        };
        let from = 1 << power;
        Span {
            from,
            to: Some(from + (from - 1)),
        }
    }

    /// The bin of a number that stands for itself, or for `last` and all above.
    pub fn up_to(n: usize, last: usize) -> Self {
        let from = n.min(last) as u64;
        Span {
            from,
            to: (n < last).then_some(from),
        }
    }

    /// In tables: `3`, `4-7`, `4+`.
    pub fn name(self) -> String {
        match self.to {
            Some(to) if to == self.from => to.to_string(),
            Some(to) => format!("{}-{to}", self.from),
            None => format!("{}+", self.from),
        }
    }
}
