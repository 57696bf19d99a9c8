//! Streaming generation: the engine, the choice of the next character, the command.

mod command;
mod engine;
mod on_gpu;
mod sampling;
mod small;
mod stops;
mod support;
