//! What the targets of a run are: Python or other text.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::data::pairs::Pair;
use crate::data::python;

/// What the targets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TargetLanguage {
    /// To be settled by the training targets.
    Auto,
    /// Python: there is a share of outputs that parse.
    Python,
    /// Anything else.
    Text,
}

impl fmt::Display for TargetLanguage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TargetLanguage::Auto => "auto",
            TargetLanguage::Python => "python",
            TargetLanguage::Text => "text",
        })
    }
}

impl TargetLanguage {
    /// As many training targets are looked at, spread over all of them.
    const LOOKED_AT: usize = 1000;

    /// What it is for these training pairs.
    pub fn settle(self, train: &[Pair]) -> Self {
        if self != TargetLanguage::Auto {
            return self;
        }
        let looked_at = train
            .iter()
            .step_by(train.len().div_ceil(Self::LOOKED_AT).max(1));
        let python = looked_at.clone().filter(|pair| python::is_code(&pair.code));
        match 2 * python.count() > looked_at.count() {
            true => TargetLanguage::Python,
            false => TargetLanguage::Text,
        }
    }

    /// Whether outputs are asked to parse as Python.
    pub fn is_python(self) -> bool {
        self != TargetLanguage::Text
    }
}
