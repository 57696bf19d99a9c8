//! The CPU: recycled host memory, vector instructions, tiles of matrix products.

pub mod buffer;
pub mod gemm;
pub mod gemv;
pub mod panels;
pub mod simd;
pub mod tile;
