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
        let matrix = |ptr, dtype, ld| Matrix {
            ptr,
            dtype,
            ld,
            stride: 0,
        };
        let to = upload::<C>(&device, &c);
        let g = Gemm {
            batch: 1,
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
        stride: 0,
    };
    let good = Gemm {
        batch: 1,
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

/// Each product of a batch has the bits that it has alone: matrices one behind the other, and, as two
/// directions of a layer lie, in one another's gaps.
#[test]
fn a_batch_is_its_products_one_by_one() {
    let (m, n, k, batch) = (3, 4, 5, 3);
    let device = Emulated::new(0);
    let [a, b] = [1, 2].map(|seed| upload::<f16>(&device, &values::<f16>(256, seed, 1.0)));
    let run = |products: &[Gemm]| {
        let c = upload::<f32>(&device, &values::<f32>(256, 3, 1.0));
        for g in products {
            let to = Matrix {
                ptr: c.offset(g.c.ptr.address() as usize),
                ..g.c
            };
            device.gemm(&Gemm { c: to, ..*g }).unwrap();
        }
        let mut bytes = vec![0; 4 * 256];
        device.download(&mut bytes, c).unwrap();
        bytes
    };
    for in_gaps in [false, true] {
        let matrix = |ptr, dtype, rows: usize, columns: usize| Matrix {
            ptr,
            dtype,
            ld: if in_gaps { batch * rows } else { rows },
            stride: if in_gaps { rows } else { rows * columns },
        };
        let whole = Gemm {
            batch,
            trans_a: true,
            trans_b: false,
            m,
            n,
            k,
            alpha: None,
            a: matrix(a, DType::F16, k, m),
            b: matrix(b, DType::F16, k, n),
            beta: 1.0,
            c: matrix(DevicePtr::NULL, DType::F32, m, n),
        };
        let moved = |x: Matrix, size: usize, i: usize| Matrix {
            ptr: x.ptr.offset(i * x.stride * size),
            ..x
        };
        let single = |i| Gemm {
            batch: 1,
            a: moved(whole.a, 2, i),
            b: moved(whole.b, 2, i),
            c: moved(whole.c, 4, i),
            ..whole
        };
        let singles: Vec<Gemm> = (0..batch).map(single).collect();
        assert!(run(&[whole]) == run(&singles), "in gaps: {in_gaps}");
        assert!(run(&[whole]) != run(&singles[..2]), "the last one counts");
        // One element less from C to C, and they share some.
        let mut shared = whole;
        shared.c.stride -= 1;
        shared.c.ptr = upload::<f32>(&device, &[0.0; 256]);
        let message = device.gemm(&shared).unwrap_err().to_string();
        assert!(message.contains("C overlaps itself"), "{message}");
    }
}
