//! The mixture of a pointer-generator. Targets are of all four kinds: words that the source does not
//! hold, words that it does, unknown tokens of the source, and neither.

mod golden;

use super::{assert_refused, check_op, f32s, f64s, ids, u32s};
use crate::support::{random, values};
use rnnx::autograd::{Tape, Var};
use rnnx::data::spans::Spans;
use rnnx::ops::cast::convert;
use rnnx::ops::copy_xent::{Copies, TINY};
use rnnx::ops::softmax_xent::SoftmaxXent;
use rnnx::ops::{copy_mixture, copy_xent, known, sigmoid, softmax_xent};
use rnnx::tensor::Tensor;
use rnnx::{Error, Result};

/// Errors of a sum of 100 doubles, relative to its terms.
const F64_SUMS: f64 = 1e-13;
/// What a few f32 operations round.
const F32: f64 = 1e-6;

/// A batch: V, what the positions hold, the row of the batch of each row and its target.
#[derive(Clone, Debug)]
struct Case {
    vocab: usize,
    held: Vec<Vec<u32>>,
    rows: Vec<u32>,
    targets: Vec<u32>,
}

impl Case {
    fn new(vocab: usize, held: &[&[u32]], rows: &[u32], targets: &[u32]) -> Self {
        Case {
            vocab,
            held: held.iter().map(|ids| ids.to_vec()).collect(),
            rows: rows.to_vec(),
            targets: targets.to_vec(),
        }
    }

    /// Three rows of the batch, of which one holds a token three times.
    fn small() -> Self {
        let held: [&[u32]; 3] = [&[7, 2, 7, 8, 7], &[1], &[0, 9, 1, 7]];
        Case::new(7, &held, &[0, 1, 2, 0, 1, 2, 0], &[7, 1, 9, 2, 5, 0, 3])
    }

    /// Many rows, more than two tasks of the CPU take.
    fn many(vocab: usize) -> Self {
        let batch = 9usize;
        let held = |b: usize| {
            let drawn = ids(b as u32, [1 + b * 5 % 13], vocab as u32 + 13);
            drawn.data::<u32>().unwrap().to_vec()
        };
        let held: Vec<Vec<u32>> = (0..batch).map(held).collect();
        let rows: Vec<u32> = (0..300).map(|n| n * 7 % 9).collect();
        let target = |(n, &b): (usize, &u32)| match n % 3 {
            0 => n as u32 % vocab as u32,
            _ => held[b as usize][n % held[b as usize].len()],
        };
        let targets = rows.iter().enumerate().map(target).collect();
        Case {
            vocab,
            held,
            rows,
            targets,
        }
    }

    fn longest(&self) -> usize {
        self.held.iter().map(Vec::len).max().unwrap()
    }

    /// Logits, the gate's and those of the attention weights.
    fn inputs(&self) -> [Tensor; 3] {
        let n = self.rows.len();
        [
            random(0, [n, self.vocab]),
            random(1, [n, 1]),
            random(2, [n, self.longest()]),
        ]
    }

    fn with<R>(&self, f: impl FnOnce(Copies, &Tensor) -> Result<R>) -> Result<R> {
        let lengths: Vec<usize> = self.held.iter().map(Vec::len).collect();
        let (held, spans) = (self.held.concat(), Spans::new(&lengths)?);
        let [held, rows, targets] =
            [&held, &self.rows, &self.targets].map(|list| u32s(list, [list.len()]));
        let copies = Copies {
            ids: &held,
            rows: &rows,
            spans: &spans,
            offsets: None,
        };
        f(copies, &targets)
    }

    fn score(&self, tape: &mut Tape, v: &[Var]) -> Result<SoftmaxXent> {
        self.with(|copies, targets| copy_xent(tape, v[0].clone(), &v[1], &v[2], copies, targets))
    }

    fn mixture(&self, inputs: &[Tensor; 3]) -> Tensor {
        let [logits, gate, alpha] = inputs;
        let mixture = self.with(|copies, _| copy_mixture(logits, gate, alpha, copies));
        mixture.unwrap()
    }
}

/// (loss, correct, gradients) with a seed of one.
fn run(case: &Case, inputs: &[Tensor; 3]) -> (f64, f64, [Vec<f64>; 3]) {
    let mut tape = Tape::new();
    let vars = inputs.clone().map(|x| tape.leaf(x));
    let scored = case.score(&mut tape, &vars).unwrap();
    let one = convert(&Tensor::scalar(1.0f64), inputs[0].dtype()).unwrap();
    let mut grads = tape.backward(&scored.loss, one).unwrap();
    (
        scored.loss.value().item().unwrap(),
        scored.correct.item().unwrap(),
        vars.map(|v| values(&grads.take(v.slot()).unwrap())),
    )
}

#[test]
fn gradients_and_threads() {
    let many = [1, 7, 16, 95].map(Case::many);
    for case in [Case::small()].iter().chain(&many) {
        let op = format!("copy_xent of {} words", case.vocab);
        check_op(&op, &case.inputs(), |tape, v| {
            // Positive; a row need not sum to one.
            let alpha = sigmoid(tape, &v[2])?;
            Ok(vec![
                case.score(tape, &[v[0].clone(), v[1].clone(), alpha])?.loss,
            ])
        });
    }
}

/// Each input's gradient is the same whether or not the others want theirs.
#[test]
fn each_input_alone() {
    let case = Case::small();
    let inputs = positive(case.inputs());
    let (.., together) = run(&case, &inputs);
    for k in 0..3 {
        let mut tape = Tape::new();
        let mut vars = inputs.clone().map(Var::constant);
        vars[k] = tape.leaf(inputs[k].clone());
        let loss = case.score(&mut tape, &vars).unwrap().loss;
        let mut grads = tape.backward(&loss, Tensor::scalar(1.0f64)).unwrap();
        let alone = grads.take(vars[k].slot()).unwrap();
        assert_eq!(values(&alone), together[k], "input {k}");
    }
}

/// Attention weights of any numbers.
fn positive([logits, gate, alpha]: [Tensor; 3]) -> [Tensor; 3] {
    let alpha_shape = alpha.shape().clone();
    let positive: Vec<f64> = values(&alpha).iter().map(|x| x.exp() / 9.0).collect();
    [logits, gate, f64s(&positive, alpha_shape)]
}

/// Three words, softmax (1, 2, 5) / 8, p_gen 3 / 4, and a source of word 1, an unknown token, word 1
/// and an unknown token with attention (1, 2, 3, 4) / 10.
fn by_hand(target: u32) -> (Case, [Tensor; 3]) {
    let case = Case::new(3, &[&[1, 3, 1, 4]], &[0], &[target]);
    let logits = f64s(&[0.0, 2f64.ln(), 5f64.ln()], [1, 3]);
    let gate = f64s(&[3f64.ln()], [1, 1]);
    (case, [logits, gate, f64s(&[0.1, 0.2, 0.3, 0.4], [1, 4])])
}

#[test]
fn known_values() {
    let p: [f64; 5] = [0.75 / 8.0, 0.75 / 4.0 + 0.1, 0.75 * 5.0 / 8.0, 0.05, 0.1];
    for (target, p_target) in p.into_iter().enumerate() {
        let (case, inputs) = by_hand(target as u32);
        let (loss, correct, [dlogits, dz, dalpha]) = run(&case, &inputs);
        let close = |what: &str, a: f64, e: f64| {
            assert!(
                (a - e).abs() < F64_SUMS,
                "{what} of target {target}: {a} {e}"
            );
        };
        close("loss", loss, -p_target.ln());
        close("correct", correct, f64::from(u8::from(target == 2)));
        let softmax = [1.0, 2.0, 5.0].map(|x| x / 8.0);
        let share = softmax.get(target).map_or(0.0, |s| 0.75 * s / p_target);
        for (k, s) in softmax.into_iter().enumerate() {
            let here = f64::from(u8::from(k == target));
            close("dlogits", dlogits[k], share * (s - here));
        }
        close("dz", dz[0], 0.75 - share);
        for (j, id) in [1, 3, 1, 4].into_iter().enumerate() {
            let held = f64::from(u8::from(id == target));
            close("dalpha", dalpha[j], -held * 0.25 / p_target);
        }
        let mixture = values(&case.mixture(&inputs));
        assert_eq!(mixture.len(), 7, "V + S");
        close("mixture", mixture[target], p_target.ln());
        assert_eq!(mixture[5..], [f64::NEG_INFINITY; 2]);
    }
}

/// Where nothing of the source is a target's and p_gen is one, it is the softmax's loss.
#[test]
fn without_copying_it_is_softmax_xent() {
    let case = Case::many(40);
    let mut never = case.clone();
    never.held = case.held.iter().map(|ids| vec![45; ids.len()]).collect();
    never.targets = case.targets.iter().map(|id| id % 40).collect();
    let mut inputs = case.inputs();
    inputs[1] = f64s(&vec![700.0; 300], [300, 1]);
    let (loss, _, [dlogits, ..]) = run(&never, &inputs);
    let mut tape = Tape::new();
    let logits = tape.leaf(inputs[0].clone());
    let plain = softmax_xent(&mut tape, logits.clone(), &u32s(&never.targets, [300])).unwrap();
    let mut grads = tape.backward(&plain.loss, Tensor::scalar(1.0f64)).unwrap();
    let gradient = values(&grads.take(logits.slot()).unwrap());
    assert!((loss - plain.loss.value().item().unwrap()).abs() < F64_SUMS);
    for (a, e) in dlogits.iter().zip(gradient) {
        assert!((a - e).abs() < F64_SUMS, "{a} {e}");
    }
}

/// The mixture sums to one, and its logarithm at the target is the loss.
#[test]
fn the_mixture_is_a_distribution() {
    for case in [Case::small(), Case::many(16)] {
        let inputs = positive(case.inputs());
        // Attention weights that sum to one over the row's positions.
        let mut alpha = values(&inputs[2]);
        for (row, &b) in alpha.chunks_mut(case.longest()).zip(&case.rows) {
            let row = &mut row[..case.held[b as usize].len()];
            let sum: f64 = row.iter().sum();
            row.iter_mut().for_each(|x| *x /= sum);
        }
        let alpha = f64s(&alpha, inputs[2].shape().clone());
        let inputs = [inputs[0].clone(), inputs[1].clone(), alpha];
        let mixture = values(&case.mixture(&inputs));
        let width = case.vocab + case.longest();
        let mut nll = 0.0;
        for (row, &target) in mixture.chunks(width).zip(&case.targets) {
            let sum: f64 = row.iter().map(|x| x.exp()).sum();
            assert!((sum - 1.0).abs() < F64_SUMS, "{sum}");
            nll -= row[target as usize];
        }
        let (loss, correct, _) = run(&case, &inputs);
        assert!((loss - nll / case.rows.len() as f64).abs() < F64_SUMS);
        let best = |row: &[f64]| {
            let first = |best: usize, i: usize| if row[i] > row[best] { i } else { best };
            (1..row.len()).fold(0, first) as u32
        };
        let rows = mixture.chunks(width).zip(&case.targets);
        let right = rows.filter(|(row, target)| best(row) == **target).count();
        assert!(right > 0 && right < case.rows.len());
        assert_eq!(correct, right as f64);
    }
}

/// Equal probabilities: the lowest id is the prediction, on both sides of V.
#[test]
fn ties_go_to_the_lowest_id() {
    let inputs = [
        f64s(&[0.0, 0.0], [1, 2]),
        f64s(&[0.0], [1, 1]),
        f64s(&[0.25, 0.25], [1, 2]),
    ];
    // p_gen = 1/2: each word has 1/4, each position 1/8.
    let right = |held: &[u32], target| run(&Case::new(2, &[held], &[0], &[target]), &inputs).1;
    assert_eq!([0, 1].map(|target| right(&[3, 2], target)), [1.0, 0.0]);
    assert_eq!([0, 1].map(|target| right(&[1, 2], target)), [0.0, 1.0]);
    assert_eq!([0, 1].map(|target| right(&[1, 0], target)), [1.0, 0.0]);
    let tied = |target| {
        let logits = f64s(&[0.0, -1e9], [1, 2]);
        let inputs = [logits, f64s(&[-800.0], [1, 1]), inputs[2].clone()];
        run(&Case::new(2, &[&[3, 2]], &[0], &[target]), &inputs).1
    };
    assert_eq!([2, 3].map(tied), [1.0, 0.0]);
}

/// Gates, logits and attention weights at their ends leave loss and gradients finite and right.
#[test]
fn extremes() {
    let case = |target| Case::new(2, &[&[2, 1]], &[0], &[target]);
    for (z, logit, weight, target, expected) in [
        // A gate that is shut: only the copied part counts, and the other way round.
        (-1e4, 0.0, 0.5, 2, 2f64.ln()),
        (1e4, 0.0, 0.5, 2, 1e4 + 2f64.ln()),
        (1e4, 0.0, 0.5, 0, 2f64.ln()),
        (-1e4, 0.0, 0.5, 0, 1e4 + 2f64.ln()),
        // Logits far apart.
        (0.0, 1e4, 0.5, 0, 2f64.ln()),
        (0.0, -1e4, 0.5, 0, 1e4 + 2f64.ln()),
        // No attention at all: the tangent of log A at zero.
        (0.0, 0.0, 0.0, 2, 2f64.ln() - TINY.ln() + 1.0),
        (0.0, 0.0, TINY, 2, 2f64.ln() - TINY.ln()),
    ] {
        let what = format!("z {z}, logit {logit}, weight {weight}, target {target}");
        let wide = [
            f64s(&[logit, 0.0], [1, 2]),
            f64s(&[z], [1, 1]),
            f64s(&[weight, 0.5], [1, 2]),
        ];
        let narrow = [
            f32s(&[logit as f32, 0.0], [1, 2]),
            f32s(&[z as f32], [1, 1]),
            f32s(&[weight as f32, 0.5], [1, 2]),
        ];
        for (inputs, tolerance) in [(wide, F64_SUMS), (narrow, F32)] {
            let (loss, _, gradients) = run(&case(target), &inputs);
            let error = (loss - expected).abs() / expected.max(1.0);
            assert!(error <= tolerance, "{what}: {loss}, not {expected}");
            let [dlogits, dz, dalpha] = gradients;
            let all = dlogits.iter().chain(&dz).chain(&dalpha);
            assert!(all.clone().all(|x| x.is_finite()), "{what}");
            if target == 2 {
                // Nothing of the vocabulary: all of the gradient is the copied part's.
                assert_eq!(dlogits, [0.0; 2], "{what}");
                let weight = weight.max(TINY);
                assert!((dalpha[0] * weight + 1.0).abs() <= tolerance, "{what}");
            }
        }
    }
}

/// The memory of logits that somebody else holds is not overwritten by their gradient.
#[test]
fn shared_logits_stay() {
    let case = Case::small();
    let inputs = positive(case.inputs());
    let before = inputs.each_ref().map(values);
    run(&case, &inputs);
    assert_eq!(inputs.each_ref().map(values), before);
}

#[test]
fn words_that_are_none_are_read_as_unknown() {
    let read = known(&u32s(&[0, 6, 7, 20], [4]), 7, 3).unwrap();
    assert_eq!(read.data::<u32>().unwrap(), [0, 6, 3, 3]);
}

#[test]
fn refused() {
    let case = Case::small(); // N 7, V 7, S 5, M 10
    let good = positive(case.inputs());
    let score = |case: &Case, inputs: [Tensor; 3]| {
        let v = inputs.map(Var::constant);
        case.score(&mut Tape::new(), &v).map(|_| ())
    };
    let with = |k: usize, t: Tensor| {
        let mut inputs = good.clone();
        inputs[k] = t;
        score(&case, inputs)
    };
    assert_refused(with(0, random(0, [7, 2, 7])), &["copy_xent", "[7, 2, 7]"]);
    assert_refused(
        with(0, random(0, [6, 7])),
        &["copy_xent", "[6, 7]", "[7, 5]"],
    );
    assert_refused(with(1, random(0, [6])), &["copy_xent", "gate [6]"]);
    assert_refused(with(2, random(0, [7, 4])), &["copy_xent", "[7, 4]"]);
    for (k, tensor) in good.iter().enumerate() {
        let narrow = convert(tensor, rnnx::dtype::DType::F32).unwrap();
        assert_refused(with(k, narrow), &["copy_xent", "f32", "f64"]);
    }
    let refused = |change: fn(&mut Case), parts: &[&str]| {
        let mut case = case.clone();
        change(&mut case);
        assert_refused(score(&case, good.clone()), parts);
    };
    refused(|c| c.targets[0] = 12, &["target 12", "12 extended classes"]);
    refused(|c| c.targets.push(0), &["8 targets", "7 rows"]);
    refused(|c| c.rows[2] = 3, &["row 3", "batch of 3"]);
    refused(|c| c.rows.push(0), &["8 rows of the batch"]);
    let few: Result<(), Error> = case.with(|copies, targets| {
        let ids = u32s(&[0; 9], [9]);
        let copies = Copies {
            ids: &ids,
            ..copies
        };
        let v = good.clone().map(Var::constant);
        let logits = v[0].clone();
        copy_xent(&mut Tape::new(), logits, &v[1], &v[2], copies, targets).map(|_| ())
    });
    assert_refused(few, &["9 ids", "10 positions"]);
}
