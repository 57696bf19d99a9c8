//! rnnx: a hand-written deep-learning engine for recurrent networks.
//!
//! Tensors, reverse-mode differentiation, kernels for CPU and GPU, optimizers, and two whole programs
//! made of them: a character language model and sequence-to-sequence models with attention. The
//! binary `rnnx` runs the programs; this library is all of which they are made.
//!
//! # Start here
//!
//! A [`Tensor`](tensor::Tensor) is an array on one device. A [`Tape`](autograd::Tape) records ops and
//! walks them backwards for gradients. An op is a function of [`ops`] that takes the tape and its
//! operands ([`Var`](autograd::Var)) and gives its result:
//!
//! ```
//! use rnnx::autograd::{Tape, Var};
//! use rnnx::{ops, tensor::Tensor};
//!
//! # fn main() -> rnnx::Result<()> {
//! let x = Var::constant(Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], [2, 2])?); // [rows, inputs]
//! let target = Var::constant(Tensor::from_slice(&[0.0f32, 1.0], [2, 1])?); // [rows, 1]
//!
//! let mut tape = Tape::new();
//! let w = tape.leaf(Tensor::from_slice(&[0.5f32, -1.0], [2, 1])?); // its gradient is wanted
//! let y = ops::matmul(&mut tape, &x, &w, false, false)?;
//! let error = ops::sub(&mut tape, &y, &target)?;
//! let square = ops::mul(&mut tape, &error, &error)?;
//! let loss = ops::mean(&mut tape, &square)?;
//! assert_eq!(loss.value().item()?, 7.25); // the mean of 1.5^2 and 3.5^2
//!
//! // The formula: dw = 2 / rows * x^T (x w - target), and x w - target is (-1.5, -3.5).
//! let mut grads = tape.backward(&loss, Tensor::scalar(1.0f32))?;
//! let dw = grads.take(w.slot()).expect("the loss depends on w");
//! assert_eq!(dw.data::<f32>()?, [-12.0, -17.0]);
//! # Ok(())
//! # }
//! ```
//!
//! On a GPU it is the same: tensors that [`to_gpu`](tensor::Tensor::to_gpu) put there are computed on
//! there. Storage is f32 or f16 there, f32 or f64 on a CPU; f64 is for checks of gradients.
//!
//! To read the engine, begin with `src/tensor.rs`, `src/autograd/tape.rs` and one op,
//! `src/ops/elementwise.rs`; then `src/ops/recurrent`, which is why the engine is fast, and
//! `src/programs/charlm/model.rs`, a whole model. To use it, begin with the folder `examples`, whose
//! files are numbered and each about a page.
//!
//! # Floors
//!
//! The crate is built in floors; a module imports only from floors below its own:
//!
//! | floor | modules |
//! |---|---|
//! | F0 | [`error`], [`shape`], [`dtype`], [`rng`], [`sampling`], [`terminal`], [`log`], [`interrupt`], [`data`], [`files`], [`eval`], [`ranks`] |
//! | F1 | [`device`] |
//! | F2 | [`tensor`] |
//! | F3 | [`autograd`] |
//! | F4 | [`ops`] |
//! | F5 | [`nn`], [`optim`] |
//! | F6 | [`train`], [`report`] |
//! | F7 | [`programs`] |
//! | F8 | [`selftest`] |
//! | F9 | `cli` |

#![warn(missing_docs)]

pub mod autograd;
#[doc(hidden)]
// Its comments are the help of flags.
#[allow(missing_docs, rustdoc::invalid_html_tags)]
pub mod cli;
pub mod data;
pub mod device;
pub mod dtype;
pub mod error;
pub mod eval;
pub mod files;
pub mod interrupt;
pub mod log;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod programs;
pub mod ranks;
pub mod report;
pub mod rng;
pub mod sampling;
pub mod selftest;
pub mod shape;
pub mod tensor;
pub mod terminal;
pub mod train;

pub use error::{Error, Result};
