//! Products: what reaches cuBLAS computes what the emulated device computes.

use super::{open, world};
use crate::device::driver::{DevicePtr, Driver, Gemm, Matrix};
use crate::dtype::DType;
use crate::error::Error;

/// The same product on the emulated device and through the fake cuBLAS.
#[cfg(feature = "emulator")]
fn same_product(base: Gemm, alpha: Option<f32>, sizes: [usize; 3]) {
    use crate::device::emulated::Emulated;
    let run = |device: &dyn Driver| {
        let mut g = base;
        let [a, b, c] = [0usize, 1, 2].map(|which| {
            let [x, y, z] = [&mut g.a, &mut g.b, &mut g.c];
            let matrix = match which {
                0 => x,
                1 => y,
                _ => z,
            };
            let value = |i: usize| ((i * 7 + which * 3) % 11) as f32 - 5.0;
            let bytes: Vec<u8> = (0..sizes[which])
                .flat_map(|i| match matrix.dtype {
                    DType::F16 => half::f16::from_f32(value(i)).to_le_bytes().to_vec(),
                    _ => value(i).to_le_bytes().to_vec(),
                })
                .collect();
            matrix.ptr = device.alloc(bytes.len()).unwrap();
            device.upload(matrix.ptr, &bytes).unwrap();
            (matrix.ptr, bytes.len())
        });
        let alpha = alpha.map(|alpha| {
            let ptr = device.alloc(4).unwrap();
            device.upload(ptr, &alpha.to_le_bytes()).unwrap();
            ptr
        });
        g.alpha = alpha;
        device.gemm(&g).unwrap();
        let mut out = vec![0; c.1];
        device.download(&mut out, c.0).unwrap();
        for ptr in [a.0, b.0, c.0].into_iter().chain(alpha) {
            device.free(ptr).unwrap();
        }
        out
    };
    assert_eq!(run(&open().unwrap()), run(&Emulated::new(0)), "{base:?}");
}

#[cfg(feature = "emulator")]
#[test]
fn products_are_those_of_the_emulated_device() {
    let (m, n, k) = (3usize, 4usize, 5usize);
    for case in 0..32 {
        let bit = |i: usize| case >> i & 1 == 1;
        let (trans_a, trans_b) = (bit(0), bit(1));
        let dtype = if bit(2) { DType::F16 } else { DType::F32 };
        let c_dtype = if bit(3) { dtype } else { DType::F32 };
        // Stored rows and columns, and a leading dimension with room to spare.
        let matrix = |rows: usize, columns: usize, dtype| {
            let (ptr, ld) = (DevicePtr::NULL, rows + 2);
            let stride = ld * columns + 1;
            let matrix = Matrix {
                ptr,
                dtype,
                ld,
                stride,
            };
            (matrix, 3 * stride)
        };
        let (a, size_a) = if trans_a {
            matrix(k, m, dtype)
        } else {
            matrix(m, k, dtype)
        };
        let (b, size_b) = if trans_b {
            matrix(n, k, dtype)
        } else {
            matrix(k, n, dtype)
        };
        let (c, size_c) = matrix(m, n, c_dtype);
        let beta = if bit(4) { 0.5 } else { 0.0 };
        let g = Gemm {
            batch: 1,
            trans_a,
            trans_b,
            m,
            n,
            k,
            alpha: None,
            a,
            b,
            beta,
            c,
        };
        same_product(g, None, [size_a, size_b, size_c]);
        same_product(Gemm { k: 0, ..g }, None, [size_a, size_b, size_c]);
        same_product(Gemm { m: 0, ..g }, None, [size_a, size_b, size_c]);
        for batch in [0, 3] {
            same_product(Gemm { batch, ..g }, None, [size_a, size_b, size_c]);
        }
        for beta in [0.0, 1.0] {
            same_product(Gemm { beta, ..g }, Some(0.375), [size_a, size_b, size_c]);
        }
    }
}

#[test]
fn products_that_cannot_be_are_refused() {
    let cuda = open().unwrap();
    let matrix = |dtype| Matrix {
        ptr: DevicePtr::NULL,
        dtype,
        ld: 2,
        stride: 4,
    };
    let [a, b, c] = [DType::F16; 3].map(matrix);
    let (trans_a, trans_b) = (false, false);
    let g = Gemm {
        batch: 1,
        trans_a,
        trans_b,
        m: 2,
        n: 2,
        k: 2,
        alpha: None,
        a,
        b,
        beta: 0.0,
        c,
    };
    let refused = |g: Gemm, part: &str| {
        let error = cuda.gemm(&g).unwrap_err();
        assert!(matches!(error, Error::Op { op: "gemm", .. }), "{error}");
        assert!(error.to_string().contains(part), "{error} lacks {part}");
    };
    refused(
        Gemm {
            b: matrix(DType::F32),
            ..g
        },
        "F32",
    );
    refused(
        Gemm {
            c: matrix(DType::U32),
            ..g
        },
        "U32",
    );
    let u32 = matrix(DType::U32);
    refused(
        Gemm {
            a: u32,
            b: u32,
            ..g
        },
        "U32",
    );
    refused(
        Gemm { m: 3, ..g },
        "A has 3 stored rows and a leading dimension of 2",
    );
    refused(
        Gemm {
            k: 3,
            trans_a: true,
            ..g
        },
        "A has 3",
    );
    refused(Gemm { k: 3, ..g }, "B has 3");
    refused(Gemm { n: 1 << 31, ..g }, "n = 2147483648");
    refused(
        Gemm {
            alpha: Some(DevicePtr::new(256)),
            beta: 0.5,
            ..g
        },
        "beta 0.5",
    );
    refused(
        Gemm {
            a: Matrix { ld: 1 << 31, ..a },
            ..g
        },
        "leading dimension = 2147483648",
    );
    world(|w| w.fail.insert("cublasGemm", 15));
    refused(
        g,
        "m 2, n 2, k 2: cublasGemmEx: CUBLAS_STATUS_NOT_SUPPORTED",
    );
    world(|w| w.fail.insert("cublasGemm", 13));
    let lost = cuda.gemm(&g).unwrap_err();
    assert_eq!(lost.exit_code(), 4);
    assert!(lost.to_string().contains("--resume"), "{lost}");
    world(|w| w.fail.insert("cublasGemmStridedBatched", 15));
    refused(
        Gemm { batch: 2, ..g },
        "m 2, n 2, k 2: cublasGemmStridedBatchedEx: CUBLAS_STATUS_NOT_SUPPORTED",
    );
}
