//! Differentiable operations, one file an op: formula and checks, the CPU's kernels, backward.

pub mod lstm;
