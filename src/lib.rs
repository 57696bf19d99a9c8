//! rnnx: a hand-written deep-learning engine for recurrent networks.
//!
//! The crate is built in floors; a module imports only from floors below its own:
//!
//! | floor | modules |
//! |---|---|
//! | F0 | [`error`], [`rng`], [`data`] |
//! | F7 | [`train`] |
//! | F8 | [`report`] |
//! | F9 | [`cli`] |

pub mod cli;
pub mod data;
pub mod error;
pub mod report;
pub mod rng;
pub mod train;

pub use error::{Error, Result};
