//! The functions of the CUDA driver and of cuBLAS that rnnx calls, as tables of pointers.
//!
//! Types and signatures are cudarc's, which generates them from NVIDIA's headers; the compiler
//! compares every line of the tables with them. The functions themselves are looked up here rather
//! than by cudarc, for three reasons: cudarc panics when a library or a function is missing; it
//! knows libraries by the file names of one CUDA version; and it returns errors as a Rust `enum`,
//! which a newer driver may answer with a number that the `enum` does not have.

use crate::device::libraries::Found;
use crate::error::Result;
use cudarc::cublas::sys as cublas;
use cudarc::driver::sys as cuda;
use std::ffi::{c_char, c_int, c_longlong, c_uchar, c_uint, c_ulonglong, c_void};

/// `CUresult` or `cublasStatus_t`; 0 is success.
pub type Status = u32;

macro_rules! table {
    (
        $(#[$doc:meta])*
        $table:ident: $sys:ident::$status:ident { $($name:ident($($arg:ty),* $(,)?);)* }
    ) => {
        $(#[$doc])*
        #[allow(non_snake_case)] // NVIDIA's names
        #[derive(Clone, Copy, Debug)]
        pub struct $table {
            $(pub $name: unsafe extern "C" fn($($arg),*) -> Status,)*
        }

        impl $table {
            /// Looks up every function.
            ///
            /// # Errors
            /// [`crate::Error::Device`] if one is missing: the library is too old.
            pub fn load(found: &Found) -> Result<Self> {
                // SAFETY: the signatures are those of the library's header (see below), but for
                // the status, a C enum, whose values fit `u32`. The library is never unloaded.
                unsafe {
                    Ok($table { $($name: found.symbol(stringify!($name))?,)* })
                }
            }

            /// The functions of a module of the tests.
            #[cfg(test)]
            pub fn fake() -> Self {
                $table { $($name: super::fake::$name,)* }
            }
        }

        // Signatures as cudarc has them.
        const _: () = {
            $(let _: unsafe fn($($arg),*) -> $sys::$status = $sys::$name;)*
        };
    };
}

table! {
    /// The driver's functions; all of them exist since CUDA 12.0.
    Driver: cuda::CUresult {
        cuInit(c_uint);
        cuDriverGetVersion(*mut c_int);
        cuDeviceGetCount(*mut c_int);
        cuDeviceGet(*mut cuda::CUdevice, c_int);
        cuDeviceGetName(*mut c_char, c_int, cuda::CUdevice);
        cuDeviceTotalMem_v2(*mut usize, cuda::CUdevice);
        cuDeviceGetAttribute(*mut c_int, cuda::CUdevice_attribute, cuda::CUdevice);
        cuDevicePrimaryCtxRetain(*mut cuda::CUcontext, cuda::CUdevice);
        cuDevicePrimaryCtxRelease_v2(cuda::CUdevice);
        cuCtxSetCurrent(cuda::CUcontext);
        cuMemGetInfo_v2(*mut usize, *mut usize);
        cuMemAlloc_v2(*mut cuda::CUdeviceptr, usize);
        cuMemFree_v2(cuda::CUdeviceptr);
        cuMemAllocHost_v2(*mut *mut c_void, usize);
        cuMemFreeHost(*mut c_void);
        cuMemcpyHtoDAsync_v2(cuda::CUdeviceptr, *const c_void, usize, cuda::CUstream);
        cuMemcpyDtoHAsync_v2(*mut c_void, cuda::CUdeviceptr, usize, cuda::CUstream);
        cuMemcpyDtoDAsync_v2(cuda::CUdeviceptr, cuda::CUdeviceptr, usize, cuda::CUstream);
        cuMemsetD8Async(cuda::CUdeviceptr, c_uchar, usize, cuda::CUstream);
        cuStreamCreate(*mut cuda::CUstream, c_uint);
        cuStreamDestroy_v2(cuda::CUstream);
        cuStreamSynchronize(cuda::CUstream);
        cuStreamBeginCapture_v2(cuda::CUstream, cuda::CUstreamCaptureMode);
        cuStreamEndCapture(cuda::CUstream, *mut cuda::CUgraph);
        cuGraphInstantiateWithFlags(*mut cuda::CUgraphExec, cuda::CUgraph, c_ulonglong);
        cuGraphDestroy(cuda::CUgraph);
        cuGraphExecDestroy(cuda::CUgraphExec);
        cuGraphLaunch(cuda::CUgraphExec, cuda::CUstream);
        cuEventCreate(*mut cuda::CUevent, c_uint);
        cuEventRecord(cuda::CUevent, cuda::CUstream);
        cuEventDestroy_v2(cuda::CUevent);
        cuEventQuery(cuda::CUevent);
        cuEventSynchronize(cuda::CUevent);
        cuEventElapsedTime(*mut f32, cuda::CUevent, cuda::CUevent);
        cuModuleLoadData(*mut cuda::CUmodule, *const c_void);
        cuModuleUnload(cuda::CUmodule);
        cuModuleGetFunction(*mut cuda::CUfunction, cuda::CUmodule, *const c_char);
        cuFuncSetAttribute(cuda::CUfunction, cuda::CUfunction_attribute, c_int);
        cuFuncGetAttribute(*mut c_int, cuda::CUfunction_attribute, cuda::CUfunction);
        cuOccupancyMaxActiveBlocksPerMultiprocessor(
            *mut c_int,
            cuda::CUfunction,
            c_int,
            usize,
        );
        cuOccupancyMaxActiveClusters(
            *mut c_int,
            cuda::CUfunction,
            *const cuda::CUlaunchConfig,
        );
        cuLaunchKernelEx(
            *const cuda::CUlaunchConfig,
            cuda::CUfunction,
            *mut *mut c_void,
            *mut *mut c_void,
        );
    }
}

table! {
    /// cuBLAS's functions.
    Blas: cublas::cublasStatus_t {
        cublasCreate_v2(*mut cublas::cublasHandle_t);
        cublasDestroy_v2(cublas::cublasHandle_t);
        cublasGetProperty(cublas::libraryPropertyType, *mut c_int);
        cublasSetStream_v2(cublas::cublasHandle_t, cublas::cudaStream_t);
        cublasSetWorkspace_v2(cublas::cublasHandle_t, *mut c_void, usize);
        cublasSetMathMode(cublas::cublasHandle_t, cublas::cublasMath_t);
        cublasSetPointerMode_v2(cublas::cublasHandle_t, cublas::cublasPointerMode_t);
        cublasGemmEx(
            cublas::cublasHandle_t,
            cublas::cublasOperation_t,
            cublas::cublasOperation_t,
            c_int,
            c_int,
            c_int,
            *const c_void,
            *const c_void,
            cublas::cudaDataType,
            c_int,
            *const c_void,
            cublas::cudaDataType,
            c_int,
            *const c_void,
            *mut c_void,
            cublas::cudaDataType,
            c_int,
            cublas::cublasComputeType_t,
            cublas::cublasGemmAlgo_t,
        );
        cublasGemmStridedBatchedEx(
            cublas::cublasHandle_t,
            cublas::cublasOperation_t,
            cublas::cublasOperation_t,
            c_int,
            c_int,
            c_int,
            *const c_void,
            *const c_void,
            cublas::cudaDataType,
            c_int,
            c_longlong,
            *const c_void,
            cublas::cudaDataType,
            c_int,
            c_longlong,
            *const c_void,
            *mut c_void,
            cublas::cudaDataType,
            c_int,
            c_longlong,
            c_int,
            cublas::cublasComputeType_t,
            cublas::cublasGemmAlgo_t,
        );
    }
}

/// `cuGetErrorName` and `cuGetErrorString`, which take a status of any value.
pub type Describe = unsafe extern "C" fn(Status, *mut *const c_char) -> Status;

/// `cuFuncGetParamInfo`: offset and size of a kernel's argument.
pub type ParamInfo =
    unsafe extern "C" fn(cuda::CUfunction, usize, *mut usize, *mut usize) -> Status;
const _: unsafe fn(cuda::CUfunction, usize, *mut usize, *mut usize) -> cuda::CUresult =
    cuda::cuFuncGetParamInfo;

/// The whole interface of the driver.
#[derive(Clone, Copy, Debug)]
pub struct Api {
    /// What every supported driver has.
    pub driver: Driver,
    /// `cuGetErrorName`
    pub error_name: Describe,
    /// `cuGetErrorString`
    pub error_string: Describe,
    /// Since CUDA 12.4.
    pub param_info: Option<ParamInfo>,
}

impl Api {
    /// Looks up every function.
    ///
    /// # Errors
    /// [`crate::Error::Device`] if the driver is too old.
    pub fn load(found: &Found) -> Result<Self> {
        Ok(Api {
            driver: Driver::load(found)?,
            // SAFETY: the signatures of cuda.h, with the enum as `u32`.
            error_name: unsafe { found.symbol("cuGetErrorName")? },
            // SAFETY: as above.
            error_string: unsafe { found.symbol("cuGetErrorString")? },
            // SAFETY: as above; compared with cudarc's signature.
            param_info: unsafe { found.symbol("cuFuncGetParamInfo").ok() },
        })
    }
}

/// Calls a function of the driver, inside `unsafe`; a failure names the function.
macro_rules! call {
    ($api:expr, $name:ident($($arg:expr),* $(,)?)) => {
        $api.check(stringify!($name), ($api.driver.$name)($($arg),*))
    };
}
pub(super) use call;
