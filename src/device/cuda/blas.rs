//! Matrix products through cuBLAS.

use super::api::{Blas as Functions, call};
use super::context::{Context, Handle};
use super::error::check_blas;
use crate::device::driver::{DevicePtr, Gemm, Matrix};
use crate::dtype::DType;
use crate::error::{Error, Result};
use cudarc::cublas::sys::{
    self, cublasComputeType_t as Compute, cublasGemmAlgo_t as Algorithm, cublasMath_t as Math,
    cublasOperation_t as Operation, cublasPointerMode_t as Mode, cudaDataType_t as Type,
};
use cudarc::driver::sys as driver;
use std::ffi::c_void;
use std::ptr;
use std::sync::{Arc, Mutex, PoisonError};

/// Workspace from compute capability 9.0 on and before; cuBLAS's manual recommends 32 MiB and
/// 4 MiB.
const WORKSPACE: [usize; 2] = [32 << 20, 8 << 20];

/// What beta is beside an alpha in device memory: cuBLAS takes both from the same side. They are in
/// device memory behind the workspace.
static BETAS: [f32; 2] = [0.0, 1.0];

/// A cuBLAS handle, bound to a stream.
#[derive(Debug)]
pub struct Blas {
    context: Arc<Context>,
    functions: Functions,
    /// One product at a time: a handle is not for several threads at once.
    handle: Mutex<Handle<sys::cublasContext>>,
    workspace: DevicePtr,
    /// [`BETAS`] in device memory.
    betas: DevicePtr,
}

/// Calls a function of cuBLAS, inside `unsafe`.
macro_rules! blas {
    ($functions:expr, $name:ident($($arg:expr),* $(,)?)) => {
        check_blas(stringify!($name), ($functions.$name)($($arg),*))
    };
}

impl Blas {
    /// Starts cuBLAS.
    ///
    /// # Errors
    /// [`Error::Device`] if it does not start.
    pub fn new(
        context: Arc<Context>,
        functions: Functions,
        stream: driver::CUstream,
    ) -> Result<Self> {
        context.enter()?;
        let mut handle = ptr::null_mut();
        // SAFETY: writes one pointer; destroyed in `drop`.
        unsafe { blas!(functions, cublasCreate_v2(&mut handle))? };
        let mut blas = Blas {
            context,
            functions,
            handle: Mutex::new(Handle(handle)),
            workspace: DevicePtr::NULL,
            betas: DevicePtr::NULL,
        };
        let size = WORKSPACE[usize::from(blas.context.gpu.capability < (9, 0))];
        let mut workspace = 0;
        // No TF32 for f32; f16 products are summed in f32 throughout, split sums too.
        let math = Math::CUBLAS_MATH_DISALLOW_REDUCED_PRECISION_REDUCTION;
        // SAFETY: the handle is alive. The workspace is ours, and freed after the handle; what is
        // copied behind it is a static, so it does not matter when it is read. It is set after the
        // stream, which would reset it. With it cuBLAS allocates nothing when a graph is
        // recorded, and gives the same bits each time.
        unsafe {
            let (betas, bytes) = (BETAS.as_ptr().cast(), size_of_val(&BETAS));
            call!(
                blas.context.api,
                cuMemAlloc_v2(&mut workspace, size + bytes)
            )?;
            blas.workspace = DevicePtr::new(workspace);
            blas.betas = blas.workspace.offset(size);
            let to = blas.betas.address();
            call!(
                blas.context.api,
                cuMemcpyHtoDAsync_v2(to, betas, bytes, stream)
            )?;
            blas!(functions, cublasSetStream_v2(handle, stream.cast()))?;
            let workspace = workspace as *mut c_void;
            blas!(functions, cublasSetWorkspace_v2(handle, workspace, size))?;
            blas!(functions, cublasSetMathMode(handle, math))?;
        }
        Ok(blas)
    }

    /// Queues the products of a batch.
    ///
    /// # Errors
    /// [`Error::Op`] for shapes and data types that cuBLAS does not take.
    pub fn gemm(&self, gemm: &Gemm) -> Result<()> {
        let Some(c) = Call::new(gemm)? else {
            return Ok(());
        };
        gemm.check_beta()?;
        let (alpha, beta, mode): (*const c_void, *const c_void, _) = match gemm.alpha {
            None => (
                ptr::from_ref(&1.0f32).cast(),
                ptr::from_ref(&gemm.beta).cast(),
                Mode::CUBLAS_POINTER_MODE_HOST,
            ),
            Some(alpha) => {
                let which = usize::from(gemm.beta == BETAS[1]);
                let beta = self.betas.offset(which * size_of::<f32>());
                let [alpha, beta] = [alpha, beta].map(|p| p.address() as *const c_void);
                (alpha, beta, Mode::CUBLAS_POINTER_MODE_DEVICE)
            }
        };
        let [a, b, out] = [gemm.a, gemm.b, gemm.c].map(|x| x.ptr.address() as *mut c_void);
        let (compute, algorithm) = (Compute::CUBLAS_COMPUTE_32F, Algorithm::CUBLAS_GEMM_DFALT);
        let f = &self.functions;
        self.context.enter()?;
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).0;
        // SAFETY: the handle is alive; alpha and beta are f32 (as the computation is), on the host and
        // read before the call returns, or on the device, as the mode says; the matrices are the
        // caller's affair, as a kernel's memory is.
        let result = unsafe {
            blas!(f, cublasSetPointerMode_v2(handle, mode)).and_then(|()| match c.batch {
                1 => blas!(
                    f,
                    cublasGemmEx(
                        handle, c.op_a, c.op_b, c.m, c.n, c.k, alpha, a, c.a.kind, c.a.ld, b,
                        c.b.kind, c.b.ld, beta, out, c.c.kind, c.c.ld, compute, algorithm,
                    )
                ),
                n => blas!(
                    f,
                    cublasGemmStridedBatchedEx(
                        handle, c.op_a, c.op_b, c.m, c.n, c.k, alpha, a, c.a.kind, c.a.ld,
                        c.a.stride, b, c.b.kind, c.b.ld, c.b.stride, beta, out, c.c.kind, c.c.ld,
                        c.c.stride, n, compute, algorithm,
                    )
                ),
            })
        };
        result.map_err(|e| match e {
            Error::Op { op, message } => {
                let sizes = format!("m {}, n {}, k {}", c.m, c.n, c.k);
                Error::op("gemm", format!("{sizes}: {op}: {message}"))
            }
            other => other,
        })
    }
}

impl Drop for Blas {
    fn drop(&mut self) {
        if self.context.enter().is_err() {
            return; // the driver is gone, and all of this with it
        }
        let handle = self.handle.get_mut();
        let handle = handle.unwrap_or_else(PoisonError::into_inner).0;
        // SAFETY: both are alive until here; the handle goes first, since it uses the workspace.
        unsafe {
            (self.functions.cublasDestroy_v2)(handle);
            if self.workspace != DevicePtr::NULL {
                (self.context.api.driver.cuMemFree_v2)(self.workspace.address());
            }
        }
    }
}

/// The numbers of a call.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Call {
    batch: i32,
    op_a: Operation,
    op_b: Operation,
    m: i32,
    n: i32,
    k: i32,
    a: Operand,
    b: Operand,
    c: Operand,
}

/// The numbers of a matrix.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Operand {
    kind: Type,
    ld: i32,
    stride: i64,
}

impl Call {
    /// `None` if there is nothing to compute.
    fn new(g: &Gemm) -> Result<Option<Self>> {
        if g.a.dtype != g.b.dtype || (g.c.dtype != DType::F32 && g.c.dtype != g.a.dtype) {
            let types = [g.a.dtype, g.b.dtype, g.c.dtype];
            return Err(Error::op("gemm", format!("data types {types:?}")));
        }
        let op = |trans| match trans {
            true => Operation::CUBLAS_OP_T,
            false => Operation::CUBLAS_OP_N,
        };
        let stored = |trans, rows, columns| if trans { columns } else { rows };
        let call = Call {
            batch: int("batch", g.batch)?,
            op_a: op(g.trans_a),
            op_b: op(g.trans_b),
            m: int("m", g.m)?,
            n: int("n", g.n)?,
            k: int("k", g.k)?,
            a: Operand::new("A", &g.a, stored(g.trans_a, g.m, g.k))?,
            b: Operand::new("B", &g.b, stored(g.trans_b, g.k, g.n))?,
            c: Operand::new("C", &g.c, g.m)?,
        };
        Ok((g.m > 0 && g.n > 0 && g.batch > 0).then_some(call))
    }
}

impl Operand {
    fn new(name: &str, matrix: &Matrix, rows: usize) -> Result<Self> {
        let kind = match matrix.dtype {
            DType::F32 => Type::CUDA_R_32F,
            DType::F16 => Type::CUDA_R_16F,
            other => {
                let message = format!("{name} is {other}, not f32 or f16");
                return Err(Error::op("gemm", message));
            }
        };
        if matrix.ld < rows.max(1) {
            let ld = matrix.ld;
            let message = format!("{name} has {rows} stored rows and a leading dimension of {ld}");
            return Err(Error::op("gemm", message));
        }
        Ok(Operand {
            kind,
            ld: int("leading dimension", matrix.ld)?,
            stride: matrix.stride as i64, // elements of memory that is there
        })
    }
}

/// A size as cuBLAS takes it.
fn int(name: &str, value: usize) -> Result<i32> {
    i32::try_from(value).map_err(|_| {
        let message = format!("{name} = {value} is more than cuBLAS takes (2^31 - 1)");
        Error::op("gemm", message)
    })
}
