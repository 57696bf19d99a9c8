//! kernels/copy_xent.cu

use crate::support::*;
use half::f16;
use rnnx::device::driver::Launch;

/// A batch of rows and what each may copy.
struct Case {
    rows: usize,
    vocab: usize,
    positions: usize,
    logits: Vec<f32>,   // [N, V]
    gate: Vec<f32>,     // [N]
    alpha: Vec<f32>,    // [N, S]
    ids: Vec<u32>,      // [M]
    offsets: Vec<u32>,  // [B + 1]
    of_batch: Vec<u32>, // [N]
    targets: Vec<u32>,  // [N]
}

/// What the kernels must give, of scale 1.
#[derive(Default)]
struct Want {
    loss: Vec<f64>,
    correct: Vec<f32>,
    dlogits: Vec<f64>,
    dgate: Vec<f64>,
    dalpha: Vec<f64>,
    mixture: Vec<f64>,
}

impl Case {
    /// Row b of the batch has S, 1 or about S / 2 positions. Of three targets one is any id, the others
    /// stand at a position.
    fn new<T: Storage>(rows: usize, vocab: usize, positions: usize) -> Self {
        let batch = rows.div_ceil(2);
        let mut offsets = vec![0u32];
        for b in 0..batch {
            let length = [positions, 1, positions.div_ceil(2)][b % 3] as u32;
            offsets.push(offsets[b] + length);
        }
        let extended = vocab + positions;
        let ids: Vec<u32> = (0..offsets[batch])
            .map(|i| (i * 13 + 2) % extended as u32)
            .collect();
        let of_batch: Vec<u32> = (0..rows).map(|n| (n * 3 % batch) as u32).collect();
        let target = |n: usize| {
            let b = of_batch[n] as usize;
            let (start, end) = (offsets[b] as usize, offsets[b + 1] as usize);
            match n % 3 {
                0 => (n * 31 + 3) as u32 % extended as u32,
                _ => ids[start + n % (end - start)],
            }
        };
        Case {
            logits: values::<T>(rows * vocab, 1, 4.0),
            gate: values::<T>(rows, 2, 3.0),
            alpha: values::<f32>(rows * positions, 3, 0.5)
                .iter()
                .map(|x| x + 0.5)
                .collect(),
            targets: (0..rows).map(target).collect(),
            ids,
            offsets,
            of_batch,
            rows,
            vocab,
            positions,
        }
    }

    /// What the formulas say, from probabilities in doubles.
    fn reference(&self) -> Want {
        let mut want = Want::default();
        for n in 0..self.rows {
            let b = self.of_batch[n] as usize;
            let held = &self.ids[self.offsets[b] as usize..self.offsets[b + 1] as usize];
            let row: Vec<f64> = self.logits[n * self.vocab..][..self.vocab]
                .iter()
                .map(|&x| x.into())
                .collect();
            let max = row.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let exp: Vec<f64> = row.iter().map(|x| (x - max).exp()).collect();
            let sum: f64 = exp.iter().sum();
            let g = sigmoid(self.gate[n].into());
            let mut p: Vec<f64> = exp.iter().map(|x| g * x / sum).collect();
            p.resize(self.vocab + self.positions, 0.0);
            let of_words = p.clone();
            let alpha = &self.alpha[n * self.positions..][..held.len()];
            for (&id, &weight) in held.iter().zip(alpha) {
                p[id as usize] += (1.0 - g) * f64::from(weight);
            }
            let target = self.targets[n] as usize;
            let share = of_words[target] / p[target];
            // A target that nothing can write.
            let mass = (p[target] - of_words[target]) / (1.0 - g);
            let none = p[target] == 0.0;
            want.loss.push(if none {
                -(1.0 - g).ln() - 1e-30f64.ln() + 1.0
            } else {
                -p[target].ln()
            });
            let best = (0..p.len()).rev().max_by(|&i, &j| p[i].total_cmp(&p[j]));
            want.correct.push(f32::from(u8::from(best == Some(target))));
            let share = if none { 0.0 } else { share };
            for (k, x) in exp.iter().enumerate() {
                let hit = f64::from(u8::from(k == target));
                want.dlogits.push(share * (x / sum - hit));
            }
            want.dgate.push(g - share);
            for j in 0..self.positions {
                let holds = held.get(j) == Some(&(target as u32));
                want.dalpha
                    .push(if holds { -(1.0 - share) / mass } else { 0.0 });
            }
            want.mixture.extend(p);
        }
        want
    }

    fn read<T: Storage>(&self) -> Vec<Buf> {
        vec![
            store::<T>(&self.logits),
            store::<T>(&self.gate),
            give(&self.alpha),
            give(&self.ids),
            give(&self.offsets),
            give(&self.of_batch),
        ]
    }

    fn score<T: Storage>(&self, threads: u32, gradients: [Buf; 3], in_place: bool) -> Vec<Vec<u8>> {
        let mut bufs = self.read::<T>();
        bufs.push(give(&self.targets));
        bufs.extend(gradients);
        bufs.extend([
            fresh::<f32>(self.rows),
            fresh::<f32>(self.rows),
            give(&[SCALE]),
        ]);
        bufs.extend([self.vocab, self.positions].map(|n| number(n as u32)));
        let mut places: Vec<usize> = (0..bufs.len()).collect();
        if in_place {
            places[7] = 0;
        }
        let name = format!("copy_xent_{}", T::SUFFIX);
        run_all(
            &[(Launch::new(&name, self.rows as u32, threads), &places)],
            &bufs,
        )
    }
}

/// The scale of the gradients.
const SCALE: f32 = 64.0;
/// A handful of f32 operations on logits below 8, and sums of exponentials.
const F32: f32 = 4e-6;

fn check<T: Storage>(rows: usize, vocab: usize, positions: usize) {
    let case = Case::new::<T>(rows, vocab, positions);
    let want = case.reference();
    let scaled = |x: &[f64]| -> Vec<f64> { x.iter().map(|x| x * f64::from(SCALE)).collect() };
    for threads in [32, 256] {
        let all = [
            fresh::<T>(rows * vocab),
            fresh::<T>(rows),
            fresh::<f32>(rows * positions),
        ];
        let out = case.score::<T>(threads, all, false);
        let what = |name: &str| format!("{name} {rows}x{vocab} from {positions}, {}", T::SUFFIX);
        assert_close(&what("loss"), &get::<f32>(&out[10]), &want.loss, F32, F32);
        assert_eq!(get::<f32>(&out[11]), want.correct, "{}", what("correct"));
        let bound = SCALE * F32;
        // Halves below 6e-5 are rounded to multiples of 6e-8.
        let subnormal = if T::ROUNDING > 1e-5 { 3e-8 } else { 0.0 };
        let (got, wanted) = (load::<T>(&out[7]), scaled(&want.dlogits));
        assert_close(
            &what("dlogits"),
            &got,
            &wanted,
            T::ROUNDING,
            bound + subnormal,
        );
        let (got, wanted) = (load::<T>(&out[8]), scaled(&want.dgate));
        assert_close(
            &what("dgate"),
            &got,
            &wanted,
            T::ROUNDING,
            bound + subnormal,
        );
        let (got, wanted) = (get::<f32>(&out[9]), scaled(&want.dalpha));
        assert_close(&what("dalpha"), &got, &wanted, F32, bound);

        // In place, the gradient is the same; without gradients, the loss is.
        let some = [Buf::Null, fresh::<T>(rows), fresh::<f32>(rows * positions)];
        let again = case.score::<T>(threads, some, true);
        assert!(again[0] == out[7] && again[8..] == out[8..]);
        let alone = case.score::<T>(threads, [Buf::Null, Buf::Null, Buf::Null], false);
        assert!(alone[10..] == out[10..]);

        let mut bufs = case.read::<T>();
        bufs.push(fresh::<f32>(rows * (vocab + positions)));
        bufs.extend([vocab, positions].map(|n| number(n as u32)));
        let name = format!("copy_mixture_{}", T::SUFFIX);
        let mixture = &run(Launch::new(&name, rows as u32, threads), &bufs)[6];
        let p: Vec<f32> = get::<f32>(mixture).iter().map(|x| x.exp()).collect();
        assert_close(&what("mixture"), &p, &want.mixture, 2.0 * F32, 0.0);
    }
}

#[test]
fn losses_gradients_and_mixtures() {
    for (rows, vocab, positions) in [
        (1, 1, 1),
        (7, 7, 7),
        (33, 95, 5),
        (5, 257, 33),
        (3, 2051, 40),
        (4, 40, 300),
    ] {
        check::<f32>(rows, vocab, positions);
        check::<f16>(rows, vocab, positions);
    }
}

/// A logit that is not a number makes its row's loss one that is not, and no other row's.
#[test]
fn nan_stays_in_its_row() {
    let mut case = Case::new::<f32>(3, 40, 4);
    case.logits[40 + 35] = f32::NAN;
    let out = case.score::<f32>(64, [Buf::Null, Buf::Null, Buf::Null], false);
    let loss = get::<f32>(&out[10]);
    assert!(
        loss[0].is_finite() && loss[1].is_nan() && loss[2].is_finite(),
        "{loss:?}"
    );
}

#[test]
fn ids_that_are_no_words() {
    for n in [1usize, 7, 2049] {
        let ids: Vec<u32> = (0..n as u32).map(|i| i * 7 % 50).collect();
        let bufs = [
            give(&ids),
            fresh::<u32>(n),
            number(40u32),
            number(3u32),
            number(n as u64),
        ];
        let launch = Launch::per_element("copy_known_u32", n as u64);
        let known: Vec<u32> = ids.iter().map(|&id| if id < 40 { id } else { 3 }).collect();
        assert_eq!(get::<u32>(&run(launch, &bufs)[1]), known);
    }
}
