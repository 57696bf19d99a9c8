//! Streams text from a character LM without the tape: [`weights`] holds the weights, [`gemv`] and
//! [`gates`] the arithmetic, [`sampling`] the choice of the next character.

pub mod gates;
pub mod gemv;
pub mod generator;
pub mod sample;
pub mod sampling;
pub mod weights;
