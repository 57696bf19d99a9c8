//! kernels/dropout.cu

use crate::support::*;
use half::f16;
use rnnx::autograd::{Tape, Var};
use rnnx::device::Gpu;
use rnnx::device::driver::Launch;
use rnnx::device::emulated::Emulated;
use rnnx::ops::{dropout, variational_dropout};
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
    let (fwd, by_mask) = (
        format!("dropout_fwd_{suffix}"),
        format!("dropout_keep_{suffix}"),
    );
    let launches: [(Launch, &[usize]); 2] = [
        (launch(&fwd), &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]),
        (launch(&by_mask), &[0, 2, 10, 4, 4, 9]),
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

/// A mask of `period` elements that repeats itself, wherever the eight elements of a thread lie in it.
fn repeated<T: Storage>(n: usize, period: usize) {
    let x = values::<T>(n, 2, 1.0);
    let bits: Vec<u64> = (0..period.div_ceil(64) as u64)
        .map(|i| 0x9E37_79B9_7F4A_7C15u64.wrapping_mul(i + 3))
        .collect();
    let bufs = [
        store::<T>(&x),
        give(&bits),
        fresh::<T>(n),
        number(n as u64),
        number(period as u64),
        number(2.0f32),
    ];
    let name = format!("dropout_keep_{}", T::SUFFIX);
    let launch = Launch::per_element(&name, n as u64);
    let out = run_all(&[(launch, &[0, 1, 2, 3, 4, 5])], &bufs);
    let want = x.iter().enumerate().map(|(i, &x)| {
        let at = i % period;
        let keep = bits[at / 64] >> (at % 64) & 1 == 1;
        if keep {
            T::from_f32(2.0 * x).to_f32()
        } else {
            0.0
        }
    });
    assert_eq!(
        load::<T>(&out[2]),
        want.collect::<Vec<f32>>(),
        "{n} {period}"
    );
}

#[test]
fn a_mask_repeats_itself() {
    for (n, period) in [
        (5, 1),
        (64, 3),
        (65, 13),
        (256, 64),
        (300, 72),
        (1000, 200),
        (1001, 143),
    ] {
        repeated::<f32>(n, period);
        repeated::<f16>(n, period);
    }
}

/// The same elements are dropped at every step on the device and on the CPU, forward and backward.
#[test]
fn variational_dropout_drops_what_the_cpu_drops() {
    let gpu = Gpu::new(Emulated::new(1));
    let stream = Stream::new(SEED, Purpose::Dropout, STEP).lane(LANE);
    for shape in [[4, 3, 5], [3, 2, 32], [1, 2, 9]] {
        let n = shape.iter().product();
        let x = Tensor::from_slice(&values::<f32>(n, 2, 1.0), shape).unwrap();
        let both = [x.clone(), x.to_gpu(&gpu).unwrap()].map(|x| {
            let mut tape = Tape::new();
            let x = tape.leaf(x);
            let y = variational_dropout(&mut tape, &x, 0.4, stream, None).unwrap();
            let value = y.value().to_cpu().unwrap();
            let mut grads = tape.backward(&y, x.value().clone()).unwrap();
            let dx = grads.take(x.slot()).unwrap().to_cpu().unwrap();
            [value, dx].map(|t| t.data::<f32>().unwrap().to_vec())
        });
        assert_eq!(both[0], both[1], "{shape:?}");
        assert!(both[0][0].contains(&0.0), "{shape:?}");
    }
}
