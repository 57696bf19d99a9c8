//! Docstring to code: three sequence-to-sequence models.

pub mod config;
pub mod data;
pub mod decode;
pub mod model;
pub mod page;
pub mod run;
pub mod score;
pub mod step;
pub mod train;
