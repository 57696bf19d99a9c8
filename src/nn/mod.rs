//! Parameters, initial values and layers.

pub mod init;
pub mod layers;
pub mod onnx;
pub mod params;
pub mod recurrent;
pub mod torch_names;

pub use crate::ops::recurrent::{CellKind, State};
pub use init::Init;
pub use layers::{Embedding, Linear, Projection, Style};
pub use params::{Bound, Layout, ParamId, Params};
pub use recurrent::Recurrent;
