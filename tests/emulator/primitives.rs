//! The primitives of device.cuh against plain loops.

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;
use rnnx::rng::philox4x32_10;

#[test]
fn shuffles_and_votes() {
    let x: Vec<u32> = (0..64).map(|i| i * i + 5).collect();
    let source: Vec<u32> = (0..64).map(|i| (i * 7 + 3) % 32).collect();
    for lanes in [1u32, 2, 4, 8, 16, 31] {
        let bufs = [
            give(&x),
            number(lanes),
            give(&source),
            fresh::<u32>(64),
            fresh::<u32>(64),
        ];
        let out = run(Launch::new("probe_shuffle", 1, 64), &bufs);
        let (y, z) = (get::<u32>(&out[3]), get::<u32>(&out[4]));
        for i in 0..64 {
            let warp = i / 32 * 32;
            assert_eq!(y[i], x[warp + ((i % 32) ^ lanes as usize)]);
            assert_eq!(z[i], x[warp + source[i] as usize]);
        }
    }
    let x: Vec<f32> = (0..32)
        .map(|i| (i as f32 - 12.5) * if i % 3 == 0 { -1.0 } else { 1.0 })
        .collect();
    let bufs = [give(&x), fresh::<f32>(32), fresh::<u32>(32)];
    let out = run(Launch::new("probe_half_warps", 1, 32), &bufs);
    let (y, votes) = (get::<f32>(&out[1]), get::<u32>(&out[2]));
    for i in 0..32 {
        assert_eq!(y[i], x[i ^ 8]);
        let half = i / 16 * 16..i / 16 * 16 + 16;
        let want: u32 = half.filter(|&j| x[j] > 0.0).map(|j| 1 << j).sum();
        assert_eq!(votes[i], want);
    }
}

#[test]
fn mma_of_ldmatrix_fragments_is_a_product() {
    let a = values::<f16>(256, 1, 1.0);
    let b = values::<f16>(128, 2, 1.0);
    let c = values::<f32>(128, 3, 1.0);
    let bufs = [
        store::<f16>(&a),
        store::<f16>(&b),
        give(&c),
        fresh::<f32>(128),
    ];
    let out = run(Launch::new("probe_mma", 1, 32), &bufs);
    let want: Vec<f64> = (0..128)
        .map(|at| {
            let (row, column) = (at / 8, at % 8);
            let product = |k| f64::from(a[row * 16 + k]) * f64::from(b[column * 16 + k]);
            f64::from(c[at]) + (0..16).map(product).sum::<f64>()
        })
        .collect();
    // 17 f32 additions of numbers below 17.
    assert_close("d", &get::<f32>(&out[3]), &want, 0.0, 1.7e-5);
}

#[test]
fn ldmatrix_transposes() {
    let x = values::<f16>(256, 4, 1.0);
    let bufs = [store::<f16>(&x), fresh::<f16>(256)];
    let out = run(Launch::new("probe_ldmatrix_trans", 1, 32), &bufs);
    let y = load::<f16>(&out[1]);
    for row in 0..8 {
        for column in 0..32 {
            assert_eq!(y[column * 8 + row], x[row * 32 + column]);
        }
    }
}

#[test]
fn shared_memory_atomics_and_sums() {
    let x: Vec<f32> = (0..96).map(|i| i as f32).collect();
    let launch = Launch {
        shared_bytes: 4 * 96,
        ..Launch::new("probe_dynamic_shared", 1, 96)
    };
    let out = run(launch, &[give(&x), fresh::<f32>(96)]);
    assert!(get::<f32>(&out[1]).iter().eq(x.iter().rev()));
    let short = Launch {
        shared_bytes: 4 * 95,
        ..launch
    };
    fault(0, short, &[give(&x), fresh::<f32>(96)]);

    for schedule in SCHEDULES {
        let bufs = [give(&[0u32]), fresh::<u32>(5 * 64)];
        let out = try_run(schedule, Launch::new("probe_atomics", 5, 64), &bufs).unwrap();
        assert_eq!(get::<u32>(&out[0]), [320]);
        let mut seen = get::<u32>(&out[1]);
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..320));
    }

    let x: Vec<f32> = (0..192).map(|i| (i % 13) as f32).collect();
    let bufs = [give(&x), fresh::<f32>(192), fresh::<u32>(192)];
    let out = run(Launch::new("probe_sums", 2, 96), &bufs);
    for (i, &y) in get::<f32>(&out[1]).iter().enumerate() {
        let block = &x[i / 96 * 96..][..96];
        assert_eq!(y, block.iter().sum::<f32>() + 96.0);
    }
    let bits = get::<u32>(&out[2]);
    assert!(bits.iter().zip(0u32..).all(|(&b, i)| b == i.count_ones()));
}

#[test]
fn philox_is_the_library_s() {
    let n = 300;
    let words = |seed, n: usize| -> Vec<u32> {
        let mut r = rnnx::rng::Stream::new(seed, rnnx::rng::Purpose::Init, 0).reader();
        (0..n).map(|_| r.next_u32()).collect()
    };
    let (counters, keys) = (words(1, 4 * n), words(2, 2 * n));
    let bufs = [
        give(&counters),
        give(&keys),
        fresh::<u32>(4 * n),
        number(n as u32),
    ];
    let out = run(Launch::new("probe_philox", 3, 128), &bufs);
    let y = get::<u32>(&out[2]);
    for i in 0..n {
        let counter = [0, 1, 2, 3].map(|w| counters[4 * i + w]);
        assert_eq!(
            y[4 * i..][..4],
            philox4x32_10(counter, [keys[2 * i], keys[2 * i + 1]])
        );
    }
}

/// All 65,536 halves widen, and f32 around every rounding boundary narrows, as `half` does it.
#[test]
fn half_conversions_are_ieee() {
    let halves: Vec<f16> = (0..=u16::MAX).map(f16::from_bits).collect();
    let floats: Vec<f32> = (0..=u16::MAX)
        .map(|h| {
            let exact = f16::from_bits(h).to_f32();
            let step = [0u32, 0x0FFF, 0x1000, 0x1001][h as usize % 4];
            f32::from_bits(exact.to_bits().wrapping_add(step))
        })
        .collect();
    let n = halves.len();
    let bufs = [
        give(&halves),
        give(&floats),
        fresh::<f32>(n),
        fresh::<f16>(n),
        number(n as u32),
    ];
    let launch = Launch::new("probe_halves", (n / 256) as u32, 256);
    let out = try_run(0, launch, &bufs).unwrap();
    for (y, h) in get::<f32>(&out[2]).iter().zip(&halves) {
        assert!(y.to_bits() == h.to_f32().to_bits() || (y.is_nan() && h.is_nan()));
    }
    for (z, x) in get::<f16>(&out[3]).iter().zip(&floats) {
        let want = f16::from_f32(*x);
        assert!(
            z.to_bits() == want.to_bits() || (z.is_nan() && x.is_nan()),
            "{x:e}: {z} {want}"
        );
    }
}

#[test]
fn special_functions() {
    let mut x: Vec<f32> = (-4000..4000).map(|i| i as f32 * 0.005 + 0.0013).collect();
    x.extend([1e-20, -3e-6, 30.0, -30.0, 88.0, -88.0]);
    let n = x.len();
    let bufs = [give(&x), fresh::<f32>(5 * n), number(n as u32)];
    let launch = Launch::new("probe_functions", n.div_ceil(256) as u32, 256);
    let y = get::<f32>(&run(launch, &bufs)[1]);
    let check = |row: usize, f: fn(f64) -> f64| {
        let want: Vec<f64> = x.iter().map(|&x| f(f64::from(x))).collect();
        // Units in the last place of f32: ex2 of a rounded product at |x| = 88 loses six.
        assert_close(
            &format!("function {row}"),
            &y[row * n..][..n],
            &want,
            1e-6,
            1e-37,
        );
    };
    check(0, f64::exp2);
    check(1, |x| 1.0 / x);
    check(2, f64::tanh);
    check(3, f64::tanh);
    assert_close(
        "sigmoid",
        &y[4 * n..],
        &x.iter()
            .map(|&x| 1.0 / (1.0 + (-f64::from(x)).exp()))
            .collect::<Vec<_>>(),
        8e-6,
        1e-37,
    );
}

#[test]
fn clusters_exchange_shared_memory() {
    for cluster in [1u32, 2, 4, 8] {
        let n = 8 * 64;
        let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
        let launch = Launch {
            cluster,
            ..Launch::new("probe_cluster", 8, 64)
        };
        let out = run(launch, &[give(&x), fresh::<f32>(n), number(cluster)]);
        for (i, &y) in get::<f32>(&out[1]).iter().enumerate() {
            let (block, size) = (i / 64, cluster as usize);
            let sender = block / size * size + (block % size + size - 1) % size;
            assert_eq!(y, (sender * 64 + i % 64) as f32);
        }
    }
}
