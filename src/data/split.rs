//! The parts that data are divided into.

use std::fmt;
use std::str::FromStr;

/// A part of the data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// Trains.
    Train,
    /// Validates after each epoch, and chooses the best checkpoint.
    Valid,
    /// Gives the figures at the end: nothing is chosen by it.
    Test,
}

impl Split {
    /// All of them, in this order.
    pub const ALL: [Split; 3] = [Split::Train, Split::Valid, Split::Test];
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Split::Train => "train",
            Split::Valid => "valid",
            Split::Test => "test",
        })
    }
}

impl FromStr for Split {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let named = Split::ALL.into_iter().find(|split| split.to_string() == s);
        named.ok_or_else(|| "give train, valid or test".to_owned())
    }
}
