//! Which cell.

use super::cell::Cell;
use crate::ops::gru::Gru;
use crate::ops::lstm::Lstm;
use crate::ops::rnn::Rnn;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// The recurrent cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CellKind {
    /// tanh RNN.
    Rnn,
    /// LSTM.
    Lstm,
    /// GRU.
    Gru,
}

/// Runs `$body` with `$cell` bound to the [`Cell`] of a kind.
macro_rules! for_cell {
    ($kind:expr, $cell:ident => $body:expr) => {
        match $kind {
            CellKind::Rnn => {
                type $cell = crate::ops::rnn::Rnn;
                $body
            }
            CellKind::Lstm => {
                type $cell = crate::ops::lstm::Lstm;
                $body
            }
            CellKind::Gru => {
                type $cell = crate::ops::gru::Gru;
                $body
            }
        }
    };
}
pub(super) use for_cell;

impl CellKind {
    /// All of them, the simplest first.
    pub const ALL: [CellKind; 3] = [CellKind::Rnn, CellKind::Lstm, CellKind::Gru];

    /// Their words, in the same order.
    pub const NAMES: [&str; 3] = [Rnn::NAME, Lstm::NAME, Gru::NAME];

    /// Its word: `rnn`, `lstm` or `gru`.
    pub fn name(self) -> &'static str {
        CellKind::NAMES[self as usize]
    }

    /// G, the number of gates: the weights have G H rows.
    pub fn gates(self) -> usize {
        for_cell!(self, C => C::GATES.count())
    }

    /// Whether there is a cell state beside the hidden state.
    pub fn has_c(self) -> bool {
        for_cell!(self, C => C::HAS_C)
    }

    /// Whether the hidden side has a bias of its own, because its product is not only added to that
    /// of the input.
    pub fn has_b_hh(self) -> bool {
        for_cell!(self, C => C::GATES.input != C::GATES.hidden)
    }
}

impl fmt::Display for CellKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for CellKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let named = CellKind::ALL.into_iter().find(|kind| kind.name() == s);
        named.ok_or_else(|| format!("give {}", CellKind::NAMES.join(" or ")))
    }
}
