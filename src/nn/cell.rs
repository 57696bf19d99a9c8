//! The recurrent cells.

use std::fmt;
use std::str::FromStr;

/// A kind of recurrent cell. Its word is also the name of torch's module: `rnn`, `lstm`, `gru`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CellKind {
    /// tanh RNN (Elman 1990).
    Rnn,
    /// LSTM (Hochreiter & Schmidhuber 1997, with the forget gate of Gers et al. 2000).
    Lstm,
    /// GRU (Cho et al. 2014) in PyTorch's form: the reset gate scales W_hn h + b_hn.
    Gru,
}

impl CellKind {
    /// Every cell.
    pub const ALL: [CellKind; 3] = [CellKind::Rnn, CellKind::Lstm, CellKind::Gru];

    /// Blocks of H rows in the weights: one of the RNN; i, f, g, o of the LSTM; r, z, n of the GRU.
    pub fn gates(self) -> usize {
        match self {
            CellKind::Rnn => 1,
            CellKind::Lstm => 4,
            CellKind::Gru => 3,
        }
    }
}

impl fmt::Display for CellKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            CellKind::Rnn => "rnn",
            CellKind::Lstm => "lstm",
            CellKind::Gru => "gru",
        })
    }
}

impl FromStr for CellKind {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let named = CellKind::ALL.into_iter().find(|kind| kind.to_string() == s);
        named.ok_or_else(|| "give rnn, lstm or gru".to_owned())
    }
}
