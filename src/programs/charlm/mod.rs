//! The character language model.

pub mod config;
pub mod data;
pub mod generate;
pub mod gpu_loop;
pub mod model;
pub mod page;
pub mod step;
pub mod train;
