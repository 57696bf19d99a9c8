//! Parameters, initial values and layers.

pub mod init;
pub mod key_cache;
pub mod layers;
pub mod onnx;
pub mod params;
pub mod positions;
pub mod recurrent;
pub mod torch_names;
pub mod transformer;

pub use crate::ops::recurrent::{CellKind, State};
pub use init::Init;
pub use key_cache::KeyCache;
pub use layers::{Embedding, LayerNorm, Linear, Projection, Style};
pub use params::{Bound, Layout, ParamId, Params};
pub use positions::{Place, Positions};
pub use recurrent::Recurrent;
