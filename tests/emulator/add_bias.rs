//! kernels/add_bias.cu

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// Rounding of a sum in f32 besides that of the storage type.
const ARITHMETIC: f32 = 4e-7;

fn biased<T: Storage>() {
    let name = format!("add_bias_{}", T::SUFFIX);
    // Rows of whole groups of eight, and others.
    for columns in SIZES.into_iter().chain([8, 96]) {
        let (rows, lanes) = (130, columns.div_ceil(8).clamp(1, 7));
        let (x, bias) = (
            values::<T>(rows * columns, 4, 1.0),
            values::<T>(columns, 5, 1.0),
        );
        let bufs = [
            store::<T>(&x),
            store::<T>(&bias),
            fresh::<T>(x.len()),
            number(rows as u32),
            number(columns as u32),
            number(lanes as u32),
        ];
        let mut launch = Launch::new(&name, 3, 64);
        launch.grid[1] = columns.div_ceil(8 * lanes) as u32;
        let out = run(launch, &bufs);
        let want: Vec<f64> = (0..x.len())
            .map(|i| f64::from(x[i]) + f64::from(bias[i % columns]))
            .collect();
        assert_close(&name, &load::<T>(&out[2]), &want, T::ROUNDING, ARITHMETIC);
    }
}

#[test]
fn bias_of_rows() {
    biased::<f32>();
    biased::<f16>();
}
