//! Models on their way to other frameworks and from them: `rnnx export` and `rnnx import`.

mod graphs;
mod keras;
mod python;
mod runs;
mod support;
