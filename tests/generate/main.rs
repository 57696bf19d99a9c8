//! Streaming generation: the engine, the choice of the next character, the command.

mod command;
mod engine;
mod sampling;
mod support;
