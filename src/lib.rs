//! rnnx: a hand-written deep-learning engine for recurrent networks.
//!
//! The crate is built in floors; a module imports only from floors below its own:
//!
//! | floor | modules |
//! |---|---|
//! | F0 | [`error`], [`rng`], [`data`] |

pub mod cli;
pub mod data;
pub mod error;
pub mod models;
pub mod rng;

pub use error::{Error, Result};
