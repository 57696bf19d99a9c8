//! What rnnx keeps on disk: safetensors files, run folders, checkpoints and `metrics.jsonl`.
//!
//! Everything here works on plain host data (`Vec<f32>`, strings, counters), so a file does not
//! depend on the device that wrote it. Every file is written under a temporary name, synced and
//! renamed: a crash or a full disk leaves the old one whole. [`access`] tries what a user names.

pub mod access;
pub mod atomic;
pub mod cache;
mod checkpoints;
pub mod group;
pub mod header;
mod lock;
pub mod metrics;
pub mod onnx;
mod own;
pub mod run;
pub mod state;
pub mod tensorboard;
pub mod tensors;
pub mod text;

pub use header::{Dtype, Header, TensorInfo};
pub use metrics::{
    ChangeEvent, EpochEvent, Event, MetricsWriter, StepEvent, TestEvent, ValidEvent,
};
pub use run::RunFolder;
pub use state::{Best, Direction, EpochSums, LossScaler, TrainState};
pub use tensors::{HostTensor, TensorFile};
