//! Parameters, initial values and layers.

pub mod cell;
pub mod init;
pub mod layers;
pub mod params;
pub mod torch_names;

pub use cell::CellKind;
pub use init::Init;
pub use layers::{Embedding, Linear, Lstm, Projection, Rnn, Style};
pub use params::{Bound, Layout, ParamId, Params};
