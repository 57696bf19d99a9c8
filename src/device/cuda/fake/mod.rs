//! A driver, a cuBLAS and an NCCL for tests, under the names of the real ones: device memory is host memory,
//! graphs are lists of closures, and products are computed as the BLAS manual writes them. It keeps
//! to one thread, counts what is alive, and fails where a test says so.

#![allow(non_snake_case)] // NVIDIA's names

mod blas;
mod driver;
mod nccl;
mod world;

pub use blas::*;
pub use driver::*;
pub use nccl::*;
pub use world::world;

use super::api::{Api, Driver};

/// The functions.
pub fn api() -> Api {
    Api {
        driver: Driver::fake(),
        error_name,
        error_string,
        param_info: Some(param_info),
    }
}
