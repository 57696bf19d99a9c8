//! Streaming generation: the engine, the command.

mod command;
mod engine;
mod on_gpu;
mod small;
mod stops;
mod support;
