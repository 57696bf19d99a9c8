//! kernels/softmax_xent.cu

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// The target of a row that does not count.
const IGNORED: u32 = u32::MAX;

struct Want {
    loss: Vec<f64>,
    smoothed: Vec<f64>,
    correct: Vec<f32>,
    dlogits: Vec<f64>,
}

fn reference(
    logits: &[f32],
    targets: &[u32],
    vocab: usize,
    (scale, smoothing): (f32, f32),
) -> Want {
    let smoothing = f64::from(smoothing);
    let mut want = Want {
        loss: vec![],
        smoothed: vec![],
        correct: vec![],
        dlogits: vec![],
    };
    for (row, &target) in logits.chunks(vocab).zip(targets) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp: Vec<f64> = row.iter().map(|&x| f64::from(x - max).exp()).collect();
        let sum: f64 = exp.iter().sum();
        let first_best = row.iter().position(|&x| x == max).unwrap();
        let counts = target != IGNORED;
        let log_sum = sum.ln() + f64::from(max);
        let mean = row.iter().map(|&x| f64::from(x)).sum::<f64>() / vocab as f64;
        let (nll, smoothed) = match counts {
            true => {
                let nll = log_sum - f64::from(row[target as usize]);
                (nll, (1.0 - smoothing) * nll + smoothing * (log_sum - mean))
            }
            false => (0.0, 0.0),
        };
        want.loss.push(nll);
        want.smoothed.push(smoothed);
        want.correct
            .push(f32::from(u8::from(counts && first_best == target as usize)));
        want.dlogits.extend(exp.iter().enumerate().map(|(j, e)| {
            let hit = f64::from(u8::from(j == target as usize));
            let hit = (1.0 - smoothing) * hit + smoothing / vocab as f64;
            if counts {
                (e / sum - hit) * f64::from(scale)
            } else {
                0.0
            }
        }));
    }
    want
}

/// Rows `gap` longer than the vocabulary, with a bias where there is a gap.
fn check<T: Storage>(rows: usize, vocab: usize, gap: usize, smoothing: f32) {
    let (scale, factor, ld) = (256.0f32, 4.0f32, vocab + gap);
    let mut logits = values::<T>(rows * vocab, 1, 4.0);
    let bias = values::<T>(vocab, 2, 1.0);
    let mut targets: Vec<u32> = (0..rows).map(|r| ((r * 31 + 3) % vocab) as u32).collect();
    // Rows that do not count, a tie of the two largest, and a row far from zero.
    targets
        .iter_mut()
        .skip(2)
        .step_by(5)
        .for_each(|t| *t = IGNORED);
    if vocab > 3 {
        logits[1] = 5.0;
        logits[3] = 5.0;
        targets[0] = 1;
        logits[(rows - 1) * vocab..]
            .iter_mut()
            .for_each(|x| *x = T::from_f32(*x + 100.0).to_f32());
    }
    let mut sums = logits.clone();
    if gap > 0 {
        for row in sums.chunks_mut(vocab) {
            row.iter_mut().zip(&bias).for_each(|(x, b)| *x += b);
        }
    }
    let want = reference(&sums, &targets, vocab, (scale * factor, smoothing));
    // Behind the logits of a row lies anything; behind their gradient, zeros.
    let widen = |rows: &[f32], behind| {
        let widen = |row: &[f32]| [row, &vec![behind; gap]].concat();
        rows.chunks(vocab).flat_map(widen).collect::<Vec<f32>>()
    };
    let logits = widen(&logits, f32::NAN);
    let name = |shape: &str| format!("softmax_xent_{shape}_{}", T::SUFFIX);
    let (lanes, block) = (name("lanes"), name("block"));
    let share = ld.div_ceil(8).next_power_of_two();
    let bufs = |dlogits| {
        [
            store::<T>(&logits),
            if gap > 0 {
                store::<T>(&bias)
            } else {
                Buf::Null
            },
            give(&targets),
            dlogits,
            fresh::<f32>(rows),
            fresh::<f32>(rows),
            give(&[scale]),
            number(factor),
            if smoothing > 0.0 {
                fresh::<f32>(rows)
            } else {
                Buf::Null
            },
            number(smoothing),
            number(rows as u32),
            number(vocab as u32),
            number(ld as u32),
            number(share as u32),
        ]
    };
    let all: Vec<usize> = (0..14).collect();
    let mut shapes = vec![
        (Launch::new(&block, rows as u32, 32), &all[..13]),
        (Launch::new(&block, rows as u32, 128), &all[..13]),
    ];
    if ld <= 256 {
        let blocks = (rows * share).div_ceil(128);
        shapes.push((Launch::new(&lanes, blocks as u32, 128), &all));
    }
    let want_dlogits: Vec<f64> = want
        .dlogits
        .chunks(vocab)
        .flat_map(|row| [row, &vec![0.0; gap]].concat())
        .collect();
    for (launch, places) in shapes {
        let out = run_all(&[(launch, places)], &bufs(fresh::<T>(rows * ld)));
        // f32 sums of exponentials; the loss of a logit near 100 keeps 8e-6.
        assert_close("loss", &get::<f32>(&out[4]), &want.loss, 1e-6, 2e-5);
        assert_eq!(get::<f32>(&out[5]), want.correct, "{launch:?}");
        if smoothing > 0.0 {
            // And the sum of the logits, of which those far from zero keep 8e-6.
            assert_close("smoothed", &get::<f32>(&out[8]), &want.smoothed, 1e-6, 3e-5);
        }
        let bound = scale * factor * 2e-6 + if T::ROUNDING > 1e-5 { 3e-8 } else { 0.0 };
        assert_close(
            "dlogits",
            &load::<T>(&out[3]),
            &want_dlogits,
            T::ROUNDING,
            bound,
        );

        // In place, the gradient is the same; without one, the loss is.
        let mut in_place = places.to_vec();
        in_place[3] = 0;
        let again = run_all(&[(launch, &in_place)], &bufs(Buf::Null));
        assert!(again[0] == out[3] && again[4] == out[4] && again[5] == out[5]);
        let mut alone = bufs(Buf::Null);
        alone[6] = Buf::Null;
        let again = run_all(&[(launch, places)], &alone);
        assert!(again[4] == out[4] && again[5] == out[5]);
    }
}

#[test]
fn softmax_loss_and_gradient() {
    for (rows, vocab) in [
        (1, 1),
        (7, 7),
        (33, 95),
        (5, 256),
        (5, 257),
        (257, 4),
        (3, 2051),
    ] {
        for gap in [0, (8 - vocab % 8) % 8, 5] {
            check::<f32>(rows, vocab, gap, 0.0);
            check::<f16>(rows, vocab, gap, 0.0);
        }
    }
}

#[test]
fn smoothed_loss_and_gradient() {
    for (rows, vocab) in [(1, 1), (7, 7), (33, 95), (5, 256), (5, 257), (3, 2051)] {
        for gap in [0, 5] {
            check::<f32>(rows, vocab, gap, 0.1);
            check::<f16>(rows, vocab, gap, 0.3);
        }
    }
}

/// Losses of three rows of 40 columns whose second has `odd` in place of its logits in `place`.
fn losses(kernel: &str, launch: (u32, u32), place: std::ops::Range<usize>, odd: f32) -> Vec<f32> {
    let mut logits = vec![0.5f32; 3 * 40];
    logits[40 + place.start..40 + place.end].fill(odd);
    let bufs = [
        give(&logits),
        Buf::Null,
        give(&[1u32, 2, 3]),
        Buf::Null,
        fresh::<f32>(3),
        fresh::<f32>(3),
        Buf::Null,
        number(1.0f32),
        Buf::Null,
        number(0.0f32),
        number(3u32),
        number(40u32),
        number(40u32),
        number(8u32),
    ];
    let places: Vec<usize> = (0..if kernel.contains("lanes") { 14 } else { 13 }).collect();
    let launch = Launch::new(kernel, launch.0, launch.1);
    get::<f32>(&run_all(&[(launch, &places)], &bufs)[4])
}

/// A logit that is not a number makes its row's loss one that is not, and no other row's. One that is
/// minus infinity has no share, alone or among eight that one thread reads.
#[test]
fn odd_logits_stay_in_their_row() {
    let shapes = [
        ("softmax_xent_lanes_f32", (1, 96)),
        ("softmax_xent_block_f32", (3, 64)),
    ];
    for (kernel, launch) in shapes {
        for place in [0..1, 35..36, 16..24] {
            let loss = losses(kernel, launch, place.clone(), f32::NAN);
            assert!(
                loss[0].is_finite() && loss[1].is_nan() && loss[2].is_finite(),
                "{kernel} {place:?}: {loss:?}"
            );
        }
        for place in [0..1, 35..36, 16..24, 0..2] {
            let left = (40 - place.len()) as f32;
            let loss = losses(kernel, launch, place.clone(), f32::NEG_INFINITY);
            // f32 sums of equal exponentials.
            assert!(
                (loss[1] - left.ln()).abs() < 1e-6,
                "{kernel} {place:?}: {loss:?}"
            );
        }
    }
}
