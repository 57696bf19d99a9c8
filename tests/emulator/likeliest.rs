//! kernels/likeliest.cu

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// Runs the kernel: columns and gains.
fn run_on<T: Storage>(
    logits: &[f32],
    width: usize,
    never: u32,
    threads: u32,
) -> (Vec<u32>, Vec<f32>) {
    let rows = logits.len() / width;
    let bufs = [
        store::<T>(logits),
        fresh::<u32>(rows),
        fresh::<f32>(rows),
        number(width as u32),
        number(never),
    ];
    let name = format!("likeliest_{}", T::SUFFIX);
    let out = run(Launch::new(&name, rows as u32, threads), &bufs);
    (get(&out[1]), get(&out[2]))
}

fn check<T: Storage>(rows: usize, width: usize, never: u32) {
    let mut logits = values::<T>(rows * width, 1, 4.0);
    // A tie of the two largest, and a row far from zero.
    if width > 6 {
        logits[6] = 5.0;
        logits[4] = 5.0;
        let last = &mut logits[(rows - 1) * width..];
        last.iter_mut()
            .for_each(|x| *x = T::from_f32(*x + 100.0).to_f32());
    }
    let allowed = |j: &usize| *j >= 32 || never >> j & 1 == 0;
    let (mut columns, mut gains) = (Vec::new(), Vec::new());
    for row in logits.chunks(width) {
        let best = (0..width).filter(allowed).map(|j| row[j]);
        let best = best.fold(f32::NEG_INFINITY, f32::max);
        let column = (0..width).filter(allowed).find(|&j| row[j] == best);
        columns.push(column.unwrap() as u32);
        let exp: f64 = row.iter().map(|&x| f64::from(x - best).exp()).sum();
        gains.push(-exp.ln());
    }
    for threads in [32, 64, 256] {
        let (got, of_got) = run_on::<T>(&logits, width, never, threads);
        assert_eq!(got, columns, "{rows}x{width}, never {never:b}");
        // Sums of exponentials in f32.
        assert_close("gains", &of_got, &gains, 2e-6, 2e-6);
    }
}

#[test]
fn columns_and_their_log_probabilities() {
    for (rows, width) in [(1, 1), (7, 7), (33, 95), (5, 257), (3, 1300)] {
        check::<f32>(rows, width, 0);
        check::<f16>(rows, width, 0);
        if width > 4 {
            check::<f32>(rows, width, 0b1011);
            check::<f16>(rows, width, 0b1011);
        }
    }
}

/// A logit that is not a number is never chosen, and makes its row's gain one that is not.
#[test]
fn nan_stays_in_its_row() {
    let mut logits = vec![0.5f32; 3 * 40];
    logits[40 + 35] = f32::NAN;
    logits[40 + 36] = 1.0;
    logits[80..].fill(f32::NAN);
    let (columns, gains) = run_on::<f32>(&logits, 40, 0b11, 64);
    assert_eq!(columns, [2, 36, 2]);
    assert!(gains[0].is_finite() && gains[1].is_nan() && gains[2].is_nan());
}
