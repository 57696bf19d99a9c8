//! rnnx: a hand-written deep-learning engine for recurrent networks.
//!
//! The crate is built in floors; a module imports only from floors below its own:
//!
//! | floor | modules |
//! |---|---|
//! | F0 | [`error`], [`shape`], [`dtype`], [`rng`], [`log`], [`data`], [`files`], [`eval`] |
//! | F1 | [`device`] |
//! | F2 | [`tensor`] |
//! | F3 | [`autograd`] |
//! | F4 | [`ops`] |
//! | F5 | [`nn`], [`optim`] |
//! | F6 | [`train`], [`report`] |
//! | F7 | [`programs`] |
//! | F8 | [`selftest`] |
//! | F9 | `cli` |

pub mod autograd;
#[doc(hidden)]
pub mod cli;
pub mod data;
pub mod device;
pub mod dtype;
pub mod error;
pub mod eval;
pub mod files;
pub mod log;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod programs;
pub mod report;
pub mod rng;
pub mod selftest;
pub mod shape;
pub mod tensor;
pub mod train;

pub use error::{Error, Result};
