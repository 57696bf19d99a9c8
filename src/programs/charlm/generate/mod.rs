//! Streams text from a character LM without the tape: [`weights`] holds the weights, [`generator`]
//! steps, [`sampling`] chooses the next character.

mod gates;
pub mod generator;
pub mod sample;
pub mod sampling;
pub mod weights;
