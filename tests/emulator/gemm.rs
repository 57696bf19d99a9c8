//! GEMM in cuBLAS's conventions against plain loops.

use crate::support::*;
use half::f16;
use rnnx::device::driver::{DevicePtr, Driver, Gemm, Matrix};
use rnnx::device::emulated::Emulated;
use rnnx::dtype::DType;

fn dtype<T: Storage>() -> DType {
    if size_of::<T>() == 2 {
        DType::F16
    } else {
        DType::F32
    }
}

fn upload<T: Storage>(device: &Emulated, values: &[f32]) -> DevicePtr {
    let stored: Vec<T> = values.iter().map(|&x| T::from_f32(x)).collect();
    let ptr = device.alloc(size_of_val(stored.as_slice())).unwrap();
    device.upload(ptr, bytemuck::cast_slice(&stored)).unwrap();
    ptr
}

/// Every combination of transposes, with leading dimensions that leave gaps.
fn against_loops<T: Storage, C: Storage>(beta: f32, alpha: Option<f32>) {
    let (m, n, k) = (5, 3, 7);
    for (trans_a, trans_b) in [(false, false), (true, false), (false, true), (true, true)] {
        let device = Emulated::new(0);
        let (rows_a, columns_a) = if trans_a { (k, m) } else { (m, k) };
        let (rows_b, columns_b) = if trans_b { (n, k) } else { (k, n) };
        let (lda, ldb, ldc) = (rows_a + 2, rows_b + 1, m + 3);
        let a = values::<T>(lda * columns_a, 1, 1.0);
        let b = values::<T>(ldb * columns_b, 2, 1.0);
        let mut c = values::<C>(ldc * n, 3, 1.0);
        if beta == 0.0 {
            c.fill(f32::NAN); // must not be read
        }
        let matrix = |ptr, dtype, ld| Matrix { ptr, dtype, ld };
        let to = upload::<C>(&device, &c);
        let g = Gemm {
            trans_a,
            trans_b,
            m,
            n,
            k,
            alpha: alpha.map(|alpha| upload::<f32>(&device, &[alpha])),
            a: matrix(upload::<T>(&device, &a), dtype::<T>(), lda),
            b: matrix(upload::<T>(&device, &b), dtype::<T>(), ldb),
            beta,
            c: matrix(to, dtype::<C>(), ldc),
        };
        device.gemm(&g).unwrap();
        let mut bytes = vec![0; c.len() * size_of::<C>()];
        device.download(&mut bytes, to).unwrap();
        let got = load::<C>(&bytes);
        for at in 0..ldc * n {
            let (r, j) = (at % ldc, at / ldc);
            if r >= m {
                assert_eq!(got[at].to_bits(), c[at].to_bits(), "a gap was written");
                continue;
            }
            let sum: f64 = (0..k)
                .map(|l| {
                    let x = if trans_a {
                        a[r * lda + l]
                    } else {
                        a[l * lda + r]
                    };
                    let y = if trans_b {
                        b[l * ldb + j]
                    } else {
                        b[j * ldb + l]
                    };
                    f64::from(x) * f64::from(y)
                })
                .sum();
            let old = if beta == 0.0 {
                0.0
            } else {
                f64::from(beta * c[at])
            };
            let want = sum * f64::from(alpha.unwrap_or(1.0)) + old;
            assert_close("c", &[got[at]], &[want], C::ROUNDING, 1e-6);
        }
    }
}

#[test]
fn products_in_every_layout() {
    for beta in [0.0, 1.0, -0.75] {
        against_loops::<f32, f32>(beta, None);
        against_loops::<f16, f32>(beta, None);
        against_loops::<f16, f16>(beta, None);
    }
    for beta in [0.0, 1.0] {
        against_loops::<f32, f32>(beta, Some(0.375));
        against_loops::<f16, f32>(beta, Some(0.375));
        against_loops::<f16, f16>(beta, Some(0.375));
    }
}

#[test]
fn products_that_cannot_be() {
    let device = Emulated::new(0);
    let [a, b, c] = [64, 64, 64].map(|n| device.alloc(4 * n).unwrap());
    let matrix = |ptr| Matrix {
        ptr,
        dtype: DType::F32,
        ld: 8,
    };
    let good = Gemm {
        trans_a: false,
        trans_b: false,
        m: 8,
        n: 8,
        k: 8,
        alpha: None,
        a: matrix(a),
        b: matrix(b),
        beta: 0.0,
        c: matrix(c),
    };
    device.gemm(&good).unwrap();
    let with = |change: fn(&mut Gemm)| {
        let mut g = good;
        change(&mut g);
        g
    };
    let overlap = Gemm {
        c: matrix(a),
        ..good
    };
    for bad in [
        with(|g| g.a.ld = 7),
        with(|g| g.c.ld = 7),
        with(|g| g.b.ld = 9),
        with(|g| g.k = 9),
        with(|g| g.a.dtype = DType::F16),
        with(|g| g.c.dtype = DType::F16),
        with(|g| g.b.dtype = DType::F64),
        with(|g| g.b.ptr = g.b.ptr.offset(2)),
        with(|g| g.a.ptr = g.a.ptr.offset(4)),
        with(|g| g.c.ptr = DevicePtr::NULL),
        with(|g| g.alpha = Some(DevicePtr::NULL)),
        with(|g| (g.alpha, g.beta) = (Some(g.a.ptr), 0.5)),
        overlap,
    ] {
        let error = device.gemm(&bad);
        let message = error.expect_err(&format!("{bad:?}")).to_string();
        assert!(message.starts_with("gemm: "), "{message}");
    }
}
