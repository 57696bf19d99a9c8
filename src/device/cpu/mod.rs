//! The CPU: recycled host memory, vector instructions, tiles of matrix products.

pub mod buffer;
pub mod gemm;
pub mod simd;
pub mod tile;
pub mod vecmath;
pub mod x86;
