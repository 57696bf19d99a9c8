//! Models on their way to other frameworks and from them: `rnnx export` and `rnnx import`.

mod graphs;
mod keras;
#[path = "../support/place.rs"]
mod place;
#[path = "../support/python.rs"]
mod python;
mod runs;
mod support;
