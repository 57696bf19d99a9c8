//! kernels/reduce.cu

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// Error of an f32 sum of n numbers below 1, for each of them.
const SUM: f32 = 2e-7;

fn sum_of<T: Storage>(kernel: &str, f: fn(f64) -> f64, n: usize) {
    let x = values::<T>(n, 1, 1.0);
    let (chunk, name) = (56, format!("{kernel}_{}", T::SUFFIX));
    let blocks = n.div_ceil(chunk);
    let bufs = [
        store::<T>(&x),
        fresh::<f32>(blocks),
        number(n as u64),
        number(chunk as u64),
        fresh::<f32>(1),
        number(blocks as u64),
    ];
    let launches: [(Launch, &[usize]); 2] = [
        (Launch::new(&name, blocks as u32, 64), &[0, 1, 2, 3]),
        (Launch::new("sum_f32", 1, 64), &[1, 4, 5, 5]),
    ];
    let out = run_all(&launches, &bufs);
    let want: f64 = x.iter().map(|&x| f(f64::from(x))).sum();
    assert_close(&name, &get::<f32>(&out[4]), &[want], 0.0, SUM * n as f32);
}

/// The first columns of rows that are `gap` longer, in chunks whose sums are then added up, times a
/// factor, to what is there.
fn column_sum_of<T: Storage>(rows: usize, columns: usize, gap: usize) {
    let ld = columns + gap;
    let mut x = values::<T>(rows * ld, 2, 1.0);
    x.iter_mut()
        .enumerate()
        .filter(|(i, _)| i % ld >= columns)
        .for_each(|(_, x)| *x = f32::NAN);
    let (start, factor) = (values::<f32>(columns, 3, 1.0), 0.7f32);
    let (chunk, name) = (40, format!("column_sum_{}", T::SUFFIX));
    let (chunks, lanes) = (rows.div_ceil(chunk), columns.div_ceil(8).clamp(1, 5));
    let bufs = [
        store::<T>(&x),
        fresh::<f32>(chunks * columns),
        number(rows as u32),
        number(columns as u32),
        number(ld as u32),
        number(chunk as u32),
        number(0u32),
        give(&start),
        number(chunks as u32),
        number(1u32),
        number(lanes as u32),
        Buf::Null,
        give(&[factor]),
    ];
    let grid = [columns.div_ceil(8 * lanes) as u32, chunks as u32, 1];
    let first = Launch {
        grid,
        ..Launch::new(&name, 1, 128)
    };
    let second = Launch {
        grid: [grid[0], 1, 1],
        ..Launch::new("column_sum_f32", 1, 256)
    };
    let launches: [(Launch, &[usize]); 2] = [
        (first, &[0, 1, 11, 2, 3, 4, 5, 10, 6]),
        (second, &[1, 7, 12, 8, 3, 3, 8, 10, 9]),
    ];
    let out = run_all(&launches, &bufs);
    let want: Vec<f64> = (0..columns)
        .map(|j| {
            let column = (0..rows).map(|r| f64::from(x[r * ld + j]));
            f64::from(start[j]) + f64::from(factor) * column.sum::<f64>()
        })
        .collect();
    assert_close(
        &name,
        &get::<f32>(&out[7]),
        &want,
        0.0,
        SUM * (rows + 1) as f32,
    );
}

#[test]
fn sums_of_all_and_of_columns() {
    for n in SIZES {
        sum_of::<f32>("sum", |x| x, n);
        sum_of::<f16>("sum", |x| x, n);
        sum_of::<f32>("sum_squares", |x| x * x, n);
        sum_of::<f16>("sum_squares", |x| x * x, n);
        // Rows of whole groups of eight, and others.
        for columns in SIZES.into_iter().chain([8, 96]) {
            for gap in [0, 3, 8] {
                column_sum_of::<f32>(n, columns, gap);
                column_sum_of::<f16>(n, columns, gap);
            }
        }
    }
}

/// One number spread over all elements, with and without x.
fn sum_bwd_of<T: Storage>(n: usize) {
    let (x, dy, factor) = (values::<T>(n, 4, 1.0), 0.7f32, 0.6f32);
    let name = format!("sum_bwd_{}", T::SUFFIX);
    for squares in [false, true] {
        let bufs = [
            give(&[dy]),
            if squares { store::<T>(&x) } else { Buf::Null },
            fresh::<T>(n),
            number(factor),
            number(n as u64),
        ];
        let out = run(Launch::per_element(&name, n as u64), &bufs);
        let d = f64::from(dy * factor);
        let of = |&x: &f32| if squares { d * f64::from(x) } else { d };
        let want: Vec<f64> = x.iter().map(of).collect();
        assert_close(&name, &load::<T>(&out[2]), &want, T::ROUNDING, 0.0);
    }
}

#[test]
fn gradients_of_sums() {
    for n in SIZES {
        sum_bwd_of::<f32>(n);
        sum_bwd_of::<f16>(n);
    }
}
