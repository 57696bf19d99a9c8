//! kernels/layer_norm.cu

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

const EPSILON: f32 = 1e-5;
/// Sums of rows of up to 257 numbers below 2, and a root.
const ARITHMETIC: f32 = 4e-6;

/// m, r and u of each row.
fn normalised(x: &[f32], columns: usize) -> Vec<(f64, f64, Vec<f64>)> {
    let rows = x.chunks(columns).map(|row| {
        let row: Vec<f64> = row.iter().map(|&x| x.into()).collect();
        let n = columns as f64;
        let mean = row.iter().sum::<f64>() / n;
        let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n;
        let r = 1.0 / (variance + f64::from(EPSILON)).sqrt();
        (mean, r, row.iter().map(|x| (x - mean) * r).collect())
    });
    rows.collect()
}

fn check<T: Storage>(rows: usize, columns: usize, threads: u32) {
    let what = |name: &str| format!("{name} {rows}x{columns} {}", T::SUFFIX);
    let (x, dy) = (
        values::<T>(rows * columns, 1, 2.0),
        values::<T>(rows * columns, 2, 1.0),
    );
    let (gamma, beta) = (values::<T>(columns, 3, 1.0), values::<T>(columns, 4, 1.0));
    let of = normalised(&x, columns);
    let name = format!("layer_norm_fwd_{}", T::SUFFIX);
    let bufs = [
        store::<T>(&x),
        store::<T>(&gamma),
        store::<T>(&beta),
        fresh::<T>(x.len()),
        fresh::<f32>(2 * rows),
        number(columns as u32),
        number(EPSILON),
    ];
    let out = run(Launch::new(&name, rows as u32, threads), &bufs);
    let wide = |v: &[f32], i: usize| f64::from(v[i % columns]);
    let u: Vec<f64> = of.iter().flat_map(|(_, _, u)| u.clone()).collect();
    let scaled = u.iter().enumerate();
    let want: Vec<f64> = scaled
        .map(|(i, u)| u * wide(&gamma, i) + wide(&beta, i))
        .collect();
    assert_close(
        &what("y"),
        &load::<T>(&out[3]),
        &want,
        T::ROUNDING,
        ARITHMETIC,
    );
    let moments: Vec<f64> = of.iter().flat_map(|&(m, r, _)| [m, r]).collect();
    assert_close(
        &what("moments"),
        &get::<f32>(&out[4]),
        &moments,
        ARITHMETIC,
        ARITHMETIC,
    );

    let mut dx = Vec::new();
    for ((_, r, u), dy) in of.iter().zip(dy.chunks(columns)) {
        let g: Vec<f64> = (0..columns)
            .map(|c| wide(&gamma, c) * f64::from(dy[c]))
            .collect();
        let mean = |x: &dyn Fn(usize) -> f64| (0..columns).map(x).sum::<f64>() / columns as f64;
        let (of_g, of_gu) = (mean(&|c| g[c]), mean(&|c| g[c] * u[c]));
        dx.extend((0..columns).map(|c| r * (g[c] - of_g - u[c] * of_gu)));
    }
    let moments: Vec<f32> = moments.iter().map(|&x| x as f32).collect();
    let before = values::<T>(x.len(), 5, 1.0);
    let name = format!("layer_norm_bwd_{}", T::SUFFIX);
    for accumulate in [0u32, 1] {
        let bufs = [
            store::<T>(&dy),
            store::<T>(&x),
            store::<T>(&gamma),
            give(&moments),
            store::<T>(&before),
            number(columns as u32),
            number(accumulate),
        ];
        let out = run(Launch::new(&name, rows as u32, threads), &bufs);
        let added = dx.iter().zip(&before);
        let want: Vec<f64> = added
            .map(|(d, &b)| d + f64::from(accumulate) * f64::from(b))
            .collect();
        // r is up to 2 and more where a row has few columns.
        let bound = ARITHMETIC * of.iter().fold(1.0, |m, o| f64::max(m, o.1)) as f32;
        assert_close(&what("dx"), &load::<T>(&out[4]), &want, T::ROUNDING, bound);
    }
    sums::<T>([rows, columns], &dy, &x, &moments, &u);
}

fn sums<T: Storage>(
    [rows, columns]: [usize; 2],
    dy: &[f32],
    x: &[f32],
    moments: &[f32],
    u: &[f64],
) {
    let (chunk, lanes) = (20, columns.div_ceil(8).clamp(1, 7));
    let chunks = rows.div_ceil(chunk);
    let name = format!("layer_norm_sums_{}", T::SUFFIX);
    let mut launch = Launch::new(&name, columns.div_ceil(8 * lanes) as u32, 64);
    launch.grid[1] = chunks as u32;
    let mut bufs = vec![
        store::<T>(dy),
        store::<T>(x),
        give(moments),
        fresh::<f32>(chunks * 2 * columns),
    ];
    bufs.extend([rows, columns, chunk, lanes].map(|n| number(n as u32)));
    let out = run(launch, &bufs);
    let mut want = vec![0.0; chunks * 2 * columns];
    for (i, (&d, u)) in dy.iter().zip(u).enumerate() {
        let at = i / columns / chunk * 2 * columns + i % columns;
        want[at] += f64::from(d) * u;
        want[at + columns] += f64::from(d);
    }
    assert_close(
        &name,
        &get::<f32>(&out[3]),
        &want,
        ARITHMETIC,
        20.0 * ARITHMETIC,
    );
}

#[test]
fn rows_and_their_gradients() {
    for (rows, columns, threads) in [(1, 3, 32), (7, 33, 64), (45, 8, 32), (3, 257, 128)] {
        check::<f32>(rows, columns, threads);
        check::<f16>(rows, columns, threads);
    }
}
