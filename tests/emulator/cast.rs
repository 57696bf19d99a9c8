//! kernels/cast.cu

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

#[test]
fn casts_round_to_nearest_even() {
    for n in SIZES {
        let mut x = values::<f32>(n, 1, 3.0);
        x[n / 2] = 65520.0; // rounds to infinity
        let bufs = [give(&x), fresh::<f16>(n), number(n as u64)];
        let out = run(Launch::per_element("cast_f32_f16", n as u64), &bufs);
        let want: Vec<f16> = x.iter().map(|&x| f16::from_f32(x)).collect();
        assert_eq!(get::<f16>(&out[1]), want);
        let bufs = [give(&want), fresh::<f32>(n), number(n as u64)];
        let out = run(Launch::per_element("cast_f16_f32", n as u64), &bufs);
        let want: Vec<f32> = want.iter().map(|x| x.to_f32()).collect();
        assert_eq!(get::<f32>(&out[1]), want);
    }
}
