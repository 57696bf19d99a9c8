//! cuBLAS for tests: products as the BLAS manual writes them.

use super::world::{functions, outside, submit, world};
use crate::device::cuda::api::Status;
use cudarc::cublas::sys as cublas;
use half::f16;
use std::ffi::{c_int, c_longlong, c_void};

functions! {
    cublasCreate_v2(handle: *mut cublas::cublasHandle_t) {
        *handle = 5 as cublas::cublasHandle_t;
        outside("cublasCreate", ("cublas", 1))
    }
    cublasDestroy_v2(_handle: cublas::cublasHandle_t) {
        outside("cublasDestroy", ("cublas", -1))
    }
    cublasGetProperty(_property: cublas::libraryPropertyType, value: *mut c_int) {
        *value = 12;
        0
    }
    cublasSetStream_v2(_handle: cublas::cublasHandle_t, stream: cublas::cudaStream_t) {
        assert_eq!(stream as usize, 2);
        world(|w| w.log.push("set stream".into()));
        0
    }
    cublasSetWorkspace_v2(_h: cublas::cublasHandle_t, workspace: *mut c_void, bytes: usize) {
        assert!(world(|w| w.buffers[&(workspace as u64)].len()) * 8 >= bytes);
        world(|w| w.log.push(format!("set workspace of {bytes}")));
        0
    }
    cublasSetMathMode(_handle: cublas::cublasHandle_t, mode: cublas::cublasMath_t) {
        assert_eq!(mode as u32, 16);
        0
    }
    cublasSetPointerMode_v2(_handle: cublas::cublasHandle_t, mode: cublas::cublasPointerMode_t) {
        world(|w| w.factors_on_device = mode as u32 == 1);
        0
    }
}

/// A matrix of the BLAS manual: element (i, j).
#[derive(Clone, Copy)]
struct View {
    first: *mut c_void,
    kind: cublas::cudaDataType,
    ld: c_int,
    trans: bool,
}

impl View {
    fn new(
        first: *const c_void,
        kind: cublas::cudaDataType,
        ld: c_int,
        op: Option<cublas::cublasOperation_t>,
    ) -> Self {
        View {
            first: first.cast_mut(),
            kind,
            ld,
            trans: op.is_some_and(|op| op as u32 == 1),
        }
    }

    /// The view so many elements on.
    fn moved(self, elements: isize) -> Self {
        let bytes = if self.kind as u32 == 2 { 2 } else { 4 };
        View {
            first: self.first.wrapping_byte_offset(elements * bytes),
            ..self
        }
    }

    fn at(self, i: c_int, j: c_int) -> isize {
        let (i, j) = if self.trans { (j, i) } else { (i, j) };
        i as isize + j as isize * self.ld as isize
    }

    unsafe fn get(self, i: c_int, j: c_int) -> f32 {
        let at = self.at(i, j);
        // SAFETY: the caller's matrix.
        unsafe {
            match self.kind as u32 {
                0 => *self.first.cast::<f32>().offset(at),
                2 => (*self.first.cast::<f16>().offset(at)).to_f32(),
                other => panic!("type {other}"),
            }
        }
    }

    unsafe fn set(self, i: c_int, j: c_int, x: f32) {
        let at = self.at(i, j);
        // SAFETY: the caller's matrix.
        unsafe {
            match self.kind as u32 {
                0 => *self.first.cast::<f32>().offset(at) = x,
                2 => *self.first.cast::<f16>().offset(at) = f16::from_f32(x),
                other => panic!("type {other}"),
            }
        }
    }
}

#[allow(clippy::too_many_arguments)] // NVIDIA's signature
pub unsafe extern "C" fn cublasGemmEx(
    _handle: cublas::cublasHandle_t,
    op_a: cublas::cublasOperation_t,
    op_b: cublas::cublasOperation_t,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const c_void,
    a: *const c_void,
    a_kind: cublas::cudaDataType,
    lda: c_int,
    b: *const c_void,
    b_kind: cublas::cudaDataType,
    ldb: c_int,
    beta: *const c_void,
    c: *mut c_void,
    c_kind: cublas::cudaDataType,
    ldc: c_int,
    compute: cublas::cublasComputeType_t,
    algorithm: cublas::cublasGemmAlgo_t,
) -> Status {
    assert_eq!((compute as u32, algorithm as i32), (68, -1)); // 32F, default
    let a = View::new(a, a_kind, lda, Some(op_a));
    let b = View::new(b, b_kind, ldb, Some(op_b));
    let c = View::new(c, c_kind, ldc, None);
    let factors = factors(alpha, beta);
    submit("cublasGemm", move || {
        // SAFETY: the caller's matrices.
        unsafe { product([m, n, k], factors(), [a, b, c]) };
    })
}

/// Alpha and beta: read now where they are on the host, when the product runs where they are on the
/// device, whose memory is the host's here.
fn factors(alpha: *const c_void, beta: *const c_void) -> impl Fn() -> (f32, f32) {
    let (alpha, beta) = (alpha as usize, beta as usize);
    // SAFETY: two f32 of the caller's.
    let read = move || unsafe { (*(alpha as *const f32), *(beta as *const f32)) };
    let early = (!world(|w| w.factors_on_device)).then(read);
    move || early.unwrap_or_else(read)
}

/// C = alpha A B + beta C
unsafe fn product([m, n, k]: [c_int; 3], (alpha, beta): (f32, f32), [a, b, c]: [View; 3]) {
    for (i, j) in (0..m).flat_map(|i| (0..n).map(move |j| (i, j))) {
        // SAFETY: the caller's matrices.
        unsafe {
            let sum = (0..k).fold(0.0, |s, l| s + a.get(i, l) * b.get(l, j));
            let old = if beta == 0.0 { 0.0 } else { beta * c.get(i, j) };
            c.set(i, j, alpha * sum + old);
        }
    }
}

#[allow(clippy::too_many_arguments)] // NVIDIA's signature
pub unsafe extern "C" fn cublasGemmStridedBatchedEx(
    _handle: cublas::cublasHandle_t,
    op_a: cublas::cublasOperation_t,
    op_b: cublas::cublasOperation_t,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: *const c_void,
    a: *const c_void,
    a_kind: cublas::cudaDataType,
    lda: c_int,
    stride_a: c_longlong,
    b: *const c_void,
    b_kind: cublas::cudaDataType,
    ldb: c_int,
    stride_b: c_longlong,
    beta: *const c_void,
    c: *mut c_void,
    c_kind: cublas::cudaDataType,
    ldc: c_int,
    stride_c: c_longlong,
    batch: c_int,
    compute: cublas::cublasComputeType_t,
    algorithm: cublas::cublasGemmAlgo_t,
) -> Status {
    assert_eq!((compute as u32, algorithm as i32), (68, -1)); // 32F, default
    let a = View::new(a, a_kind, lda, Some(op_a));
    let b = View::new(b, b_kind, ldb, Some(op_b));
    let c = View::new(c, c_kind, ldc, None);
    let factors = factors(alpha, beta);
    submit("cublasGemmStridedBatched", move || {
        for nth in 0..batch as isize {
            let [a, b, c] = [(a, stride_a), (b, stride_b), (c, stride_c)]
                .map(|(view, stride)| view.moved(nth * stride as isize));
            // SAFETY: the caller's matrices.
            unsafe { product([m, n, k], factors(), [a, b, c]) };
        }
    })
}
