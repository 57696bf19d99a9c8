//! Training: the configuration of a run, and the loop that carries it out.

pub mod config_file;
pub mod device;
pub mod exchange;
pub mod graph;
pub mod init;
pub mod job;
pub mod keys;
pub mod make;
pub mod memory;
pub mod model;
pub mod outer;
pub mod places;
pub mod progress;
pub mod ring;
pub mod scores;
pub mod session;
pub mod settings;
pub mod sharded;
pub mod shards;
pub mod span;
pub mod start;
pub mod step;
pub mod timing;
