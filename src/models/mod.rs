//! The models and how they are run.
//!
//! [`seq2seq`] has the docstring-to-code models, [`decode`] finds their outputs.
//!
//! [`generator`] streams text from a character LM without the tape: [`char_weights`] holds the
//! weights, [`gemv`] and [`gates`] the arithmetic, [`sampling`] the choice of the next character.

pub mod char_lstm;
pub mod char_weights;
pub mod decode;
pub mod gates;
pub mod gemv;
pub mod generator;
pub mod sampling;
pub mod seq2seq;
pub mod torch_names;
