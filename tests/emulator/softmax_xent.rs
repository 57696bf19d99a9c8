//! kernels/softmax_xent.cu

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// The target of a row that does not count.
const IGNORED: u32 = u32::MAX;

struct Want {
    loss: Vec<f64>,
    correct: Vec<f32>,
    dlogits: Vec<f64>,
}

fn reference(logits: &[f32], targets: &[u32], vocab: usize, scale: f32) -> Want {
    let mut want = Want {
        loss: vec![],
        correct: vec![],
        dlogits: vec![],
    };
    for (row, &target) in logits.chunks(vocab).zip(targets) {
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let exp: Vec<f64> = row.iter().map(|&x| f64::from(x - max).exp()).collect();
        let sum: f64 = exp.iter().sum();
        let first_best = row.iter().position(|&x| x == max).unwrap();
        let counts = target != IGNORED;
        want.loss.push(if counts {
            sum.ln() + f64::from(max) - f64::from(row[target as usize])
        } else {
            0.0
        });
        want.correct
            .push(f32::from(u8::from(counts && first_best == target as usize)));
        want.dlogits.extend(exp.iter().enumerate().map(|(j, e)| {
            let hit = f64::from(u8::from(j == target as usize));
            if counts {
                (e / sum - hit) * f64::from(scale)
            } else {
                0.0
            }
        }));
    }
    want
}

fn check<T: Storage>(rows: usize, vocab: usize) {
    let scale = 1024.0f32;
    let mut logits = values::<T>(rows * vocab, 1, 4.0);
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
    let want = reference(&logits, &targets, vocab, scale);
    let name = |shape: &str| format!("softmax_xent_{shape}_{}", T::SUFFIX);
    let (warp, block) = (name("warp"), name("block"));
    let bufs = |dlogits| {
        [
            store::<T>(&logits),
            give(&targets),
            dlogits,
            fresh::<f32>(rows),
            fresh::<f32>(rows),
            give(&[scale]),
            number(rows as u32),
            number(vocab as u32),
        ]
    };
    let shapes: [(Launch, &[usize]); 3] = [
        (
            Launch::new(&warp, rows.div_ceil(4) as u32, 128),
            &[0, 1, 2, 3, 4, 5, 6, 7],
        ),
        (Launch::new(&block, rows as u32, 32), &[0, 1, 2, 3, 4, 5, 7]),
        (
            Launch::new(&block, rows as u32, 128),
            &[0, 1, 2, 3, 4, 5, 7],
        ),
    ];
    for (launch, places) in shapes {
        let out = run_all(&[(launch, places)], &bufs(fresh::<T>(rows * vocab)));
        // f32 sums of exponentials; the loss of a logit near 100 keeps 8e-6.
        assert_close("loss", &get::<f32>(&out[3]), &want.loss, 1e-6, 2e-5);
        assert_eq!(get::<f32>(&out[4]), want.correct, "{launch:?}");
        let bound = scale * 2e-6 + if T::ROUNDING > 1e-5 { 3e-8 } else { 0.0 };
        assert_close(
            "dlogits",
            &load::<T>(&out[2]),
            &want.dlogits,
            T::ROUNDING,
            bound,
        );

        // In place, the gradient is the same; without one, the loss is.
        let mut in_place = places.to_vec();
        in_place[2] = 0;
        let again = run_all(&[(launch, &in_place)], &bufs(Buf::Null));
        assert!(again[0] == out[2] && again[3] == out[3] && again[4] == out[4]);
        let mut alone = bufs(Buf::Null);
        alone[5] = Buf::Null;
        let again = run_all(&[(launch, places)], &alone);
        assert!(again[3] == out[3] && again[4] == out[4]);
    }
}

#[test]
fn softmax_loss_and_gradient() {
    for (rows, vocab) in [(1, 1), (7, 7), (33, 95), (5, 257), (257, 4)] {
        check::<f32>(rows, vocab);
        check::<f16>(rows, vocab);
    }
}

/// A logit that is not a number makes its row's loss one that is not, and no other row's.
#[test]
fn nan_stays_in_its_row() {
    let mut logits = vec![0.5f32; 3 * 40];
    logits[40 + 35] = f32::NAN;
    let bufs = [
        give(&logits),
        give(&[1u32, 2, 3]),
        Buf::Null,
        fresh::<f32>(3),
        fresh::<f32>(3),
        Buf::Null,
        number(3u32),
        number(40u32),
    ];
    let out = run(Launch::new("softmax_xent_warp_f32", 1, 96), &bufs);
    let loss = get::<f32>(&out[3]);
    assert!(
        loss[0].is_finite() && loss[1].is_nan() && loss[2].is_finite(),
        "{loss:?}"
    );
}
