//! kernels/dropout.cu

use crate::support::*;
use half::f16;
use rnnx::autograd::{Tape, Var};
use rnnx::device::driver::Launch;
use rnnx::ops::dropout;
use rnnx::rng::{Purpose, Stream};
use rnnx::tensor::Tensor;

const SEED: u64 = 0x1234_5678_9ABC;
const STEP: u32 = 41;
const LANE: u32 = 3;

fn dropout_of<T: Storage>(n: usize, p: f64) {
    let stream = Stream::new(SEED, Purpose::Dropout, STEP).lane(LANE);
    let x = values::<T>(n, 2, 1.0);
    let (threshold, scale) = ((p * 4_294_967_296.0) as u32, (1.0 / (1.0 - p)) as f32);
    let words = n.div_ceil(64);
    let suffix = T::SUFFIX;
    let bufs = [
        store::<T>(&x),
        fresh::<T>(n),
        fresh::<u64>(words),
        give(&[STEP]),
        number(n as u64),
        number(SEED as u32),
        number((SEED >> 32) as u32),
        number(Purpose::Dropout as u32 | LANE << 8),
        number(threshold),
        number(scale),
        fresh::<T>(n),
    ];
    let launch = |name| Launch::per_element(name, 64 * words as u64);
    let (fwd, bwd) = (
        format!("dropout_fwd_{suffix}"),
        format!("dropout_bwd_{suffix}"),
    );
    let launches: [(Launch, &[usize]); 2] = [
        (launch(&fwd), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (launch(&bwd), &[0, 2, 10, 4, 9]),
    ];
    let out = run_all(&launches, &bufs);

    let keep = |i: usize| stream.word(i as u64) >= threshold;
    let mask = get::<u64>(&out[2]);
    for i in 0..64 * words {
        assert_eq!(
            mask[i / 64] >> (i % 64) & 1 == 1,
            keep(i),
            "{suffix} bit {i}"
        );
    }
    // The backward pass is the same function of dy; it was fed x.
    assert_eq!(out[1], out[10]);
    let y = load::<T>(&out[1]);
    let want: Vec<f32> = (0..n)
        .map(|i| {
            if keep(i) {
                T::from_f32(x[i] * scale).to_f32()
            } else {
                0.0
            }
        })
        .collect();
    assert_eq!(y, want);

    // And it is what the CPU drops.
    let mut tape = Tape::new();
    let on_cpu = Var::constant(Tensor::from_slice(&x, [n]).unwrap());
    let on_cpu = dropout(&mut tape, &on_cpu, p, stream).unwrap();
    let on_cpu: &[f32] = on_cpu.value().data().unwrap();
    for (i, (&a, &b)) in on_cpu.iter().zip(&y).enumerate() {
        assert_eq!(a == 0.0, b == 0.0, "{suffix} element {i}");
    }
}

#[test]
fn dropout_drops_what_the_cpu_drops() {
    for n in SIZES {
        for p in [0.1, 0.5] {
            dropout_of::<f32>(n, p);
            dropout_of::<f16>(n, p);
        }
    }
}
