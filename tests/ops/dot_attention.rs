//! Scaled dot-product attention: sequences of many lengths in each of the orders that rows can have.

use super::{assert_refused, check_op, f32s, u32s};
use crate::support::{assert_close, random, values};
use rnnx::Result;
use rnnx::autograd::{Tape, Var};
use rnnx::data::spans::Spans;
use rnnx::dtype::DType;
use rnnx::ops::cast::convert;
use rnnx::ops::dot_attention::{Attended, Attention, Projected, Sequences, dot_attention};
use rnnx::ops::{concat, slice};
use rnnx::tensor::Tensor;

/// f64 sums of a few terms in another order.
const F64: f64 = 1e-13;

/// Sequences and heads.
#[derive(Clone, Debug)]
struct Case {
    queries: Vec<usize>,
    keys: Vec<usize>,
    heads: usize,
    depth: usize,
    causal: bool,
    /// The rows stand in another order than the sequences.
    listed: bool,
}

impl Case {
    fn new(queries: &[usize], keys: &[usize], heads: usize, depth: usize) -> Self {
        Case {
            queries: queries.to_vec(),
            keys: keys.to_vec(),
            heads,
            depth,
            causal: false,
            listed: false,
        }
    }

    fn causal(self) -> Self {
        Case {
            causal: true,
            ..self
        }
    }

    fn listed(self) -> Self {
        Case {
            listed: true,
            ..self
        }
    }

    fn width(&self) -> usize {
        self.heads * self.depth
    }

    /// q and [k | v].
    fn inputs(&self) -> [Tensor; 2] {
        let rows = |lengths: &[usize]| lengths.iter().sum::<usize>();
        [
            random(0, [rows(&self.queries), self.width()]),
            random(1, [rows(&self.keys), 2 * self.width()]),
        ]
    }

    /// The row of each element: all of them, in an order of their own.
    fn order(&self, lengths: &[usize]) -> Option<Vec<u32>> {
        let rows = lengths.iter().sum::<usize>();
        // A step that shares no factor with the number of rows.
        let step = (rows / 2..).find(|s| (2..=rows).all(|f| rows % f > 0 || s % f > 0));
        let step = step.filter(|_| rows > 2).unwrap_or(1);
        let row = |i: usize| ((i * step + 1) % rows) as u32;
        self.listed.then(|| (0..rows).map(row).collect())
    }

    fn sequences(&self, lengths: &[usize]) -> Sequences {
        let rows = self.order(lengths).map(|rows| u32s(&rows, [rows.len()]));
        Sequences::of(&Spans::new(lengths).unwrap(), rows.as_ref(), None)
    }

    fn attend(&self, tape: &mut Tape, projected: &Projected, weights: bool) -> Result<Attended> {
        let attention = Attention {
            queries: &self.sequences(&self.queries),
            keys: &self.sequences(&self.keys),
            heads: self.heads,
            causal: self.causal,
            weights,
        };
        dot_attention(tape, projected, attention)
    }

    /// The formulas in plain loops: c and alpha.
    fn reference(&self, q: &[f64], kv: &[f64]) -> [Vec<f64>; 2] {
        let width = self.width();
        let longest = self.keys.iter().max().unwrap();
        let mut context = vec![0.0; q.len()];
        let mut alpha = vec![0.0; q.len() / width * longest];
        let starts = |lengths: &[usize]| -> Vec<usize> {
            let sum = |n: usize| lengths[..n].iter().sum();
            (0..lengths.len()).map(sum).collect()
        };
        let row = |lengths: &[usize], b: usize, i: usize| {
            let at = starts(lengths)[b] + i;
            self.order(lengths).map_or(at, |rows| rows[at] as usize)
        };
        for (b, (&queries, &keys)) in self.queries.iter().zip(&self.keys).enumerate() {
            for (i, h) in (0..queries).flat_map(|i| (0..self.heads).map(move |h| (i, h))) {
                let seen = if self.causal {
                    i + 1 + keys - queries
                } else {
                    keys
                };
                let to = row(&self.queries, b, i);
                let at = |j: usize| row(&self.keys, b, j) * 2 * width + h * self.depth;
                let dot = |j: usize| -> f64 {
                    let q = &q[to * width + h * self.depth..][..self.depth];
                    q.iter().zip(&kv[at(j)..]).map(|(q, k)| q * k).sum()
                };
                let scale = (self.depth as f64).sqrt();
                let p: Vec<f64> = (0..seen).map(|j| (dot(j) / scale).exp()).collect();
                let sum: f64 = p.iter().sum();
                for (j, p) in p.iter().enumerate() {
                    alpha[to * longest + j] += p / sum / self.heads as f64;
                    for d in 0..self.depth {
                        let v = kv[at(j) + width + d];
                        context[to * width + h * self.depth + d] += p / sum * v;
                    }
                }
            }
        }
        [context, alpha]
    }
}

/// One of everything; several heads; more queries than a tile has rows and more keys than a panel; fewer
/// queries than keys, as when decoding.
fn cases() -> Vec<Case> {
    vec![
        Case::new(&[1], &[1], 1, 1),
        Case::new(&[3, 1, 4], &[2, 5, 1], 2, 3),
        Case::new(&[3, 1, 4], &[2, 5, 1], 2, 3).listed(),
        Case::new(&[4, 2, 1], &[4, 2, 1], 3, 2).causal(),
        Case::new(&[4, 2, 1], &[4, 2, 1], 3, 2).causal().listed(),
        Case::new(&[1, 1, 2], &[5, 3, 4], 1, 4).causal(),
        Case::new(&[41, 2], &[37, 70], 1, 5).listed(),
        Case::new(&[67], &[67], 2, 33).causal(),
    ]
}

#[test]
fn gradients_and_threads() {
    for case in cases() {
        let op = format!("{case:?}");
        check_op(&op, &case.inputs(), |tape, v| {
            let [queries, memory] = [&v[0], &v[1]].map(Clone::clone);
            let attended = case.attend(tape, &Projected::Apart { queries, memory }, true)?;
            Ok(vec![attended.context, attended.alpha.unwrap()])
        });
    }
    // The gradient of one output alone.
    let case = Case::new(&[3, 1, 4], &[2, 5, 1], 2, 3);
    for of_alpha in [false, true] {
        check_op("one output", &case.inputs(), |tape, v| {
            let [queries, memory] = [&v[0], &v[1]].map(Clone::clone);
            let attended = case.attend(tape, &Projected::Apart { queries, memory }, of_alpha)?;
            Ok(vec![attended.alpha.unwrap_or(attended.context)])
        });
    }
}

#[test]
fn the_formulas_in_plain_loops() {
    for case in cases() {
        let inputs = case.inputs();
        let mut tape = Tape::inference();
        let [queries, memory] = inputs.clone().map(Var::constant);
        let projected = Projected::Apart { queries, memory };
        let out = case.attend(&mut tape, &projected, true).unwrap();
        let want = case.reference(&values(&inputs[0]), &values(&inputs[1]));
        for (got, want) in [out.context, out.alpha.unwrap()].iter().zip(want) {
            let want = super::f64s(&want, got.value().shape().clone());
            assert_close(&format!("{case:?}"), got.value(), &want, F64);
        }
        let alone = case.attend(&mut tape, &projected, false).unwrap();
        assert!(alone.alpha.is_none());
    }
}

/// Columns of one matrix are what they are in two.
#[test]
fn together_as_apart() {
    for case in cases().into_iter().filter(|c| c.queries == c.keys) {
        let rows = case.queries.iter().sum::<usize>();
        let inputs = [random(0, [rows, 3 * case.width()])];
        check_op(&format!("together, {case:?}"), &inputs, |tape, v| {
            let together = case.attend(tape, &Projected::Together(v[0].clone()), true)?;
            Ok(vec![together.context, together.alpha.unwrap()])
        });
        let run = |together: bool| {
            let mut tape = Tape::new();
            let all = tape.leaf(inputs[0].clone());
            let width = case.width();
            let projected = match together {
                true => Projected::Together(all.clone()),
                false => Projected::Apart {
                    queries: slice(&mut tape, &all, 1, 0..width).unwrap(),
                    memory: slice(&mut tape, &all, 1, width..3 * width).unwrap(),
                },
            };
            let out = case.attend(&mut tape, &projected, false).unwrap().context;
            let seed = random(9, out.value().shape().clone());
            let mut grads = tape.backward(&out, seed).unwrap();
            let gradient = grads.take(all.slot()).unwrap();
            [values(out.value()), values(&gradient)]
        };
        assert_eq!(run(true), run(false), "{case:?}");
    }
}

/// The last query of a sequence sees what it sees alone, with all keys: decoding step by step gives
/// what the whole sequence gives. Element after element is an order of its own.
#[test]
fn a_step_sees_what_the_whole_sees() {
    let (steps, batch, heads, width) = (5, 3, 2, 6);
    let [q, kv] = [
        random(0, [steps * batch, width]),
        random(1, [steps * batch, 2 * width]),
    ];
    let attend = |first: usize, last: usize| {
        let mut tape = Tape::inference();
        let of = |t: &Tensor, from: usize, to: usize| {
            let width = t.shape().last();
            let rows = t.slice(from * batch * width, [(to - from) * batch, width]);
            Var::constant(rows.unwrap())
        };
        let projected = Projected::Apart {
            queries: of(&q, first, last),
            memory: of(&kv, 0, last),
        };
        let attention = Attention {
            queries: &Sequences::steps(last - first, batch).unwrap(),
            keys: &Sequences::steps(last, batch).unwrap(),
            heads,
            causal: true,
            weights: false,
        };
        let out = dot_attention(&mut tape, &projected, attention).unwrap();
        values(out.context.value())
    };
    let whole = attend(0, steps);
    for t in 0..steps {
        let want = &whole[t * batch * width..][..batch * width];
        for (got, want) in attend(t, t + 1).iter().zip(want) {
            assert!((got - want).abs() < F64, "step {t}: {got} is not {want}");
        }
    }
    // The same rows by a list.
    let spans = Spans::new(&[steps; 3]).unwrap();
    let rows: Vec<u32> = (0..batch)
        .flat_map(|b| (0..steps).map(move |t| (t * batch + b) as u32))
        .collect();
    let listed = Sequences::of(&spans, Some(&u32s(&rows, [rows.len()])), None);
    let mut tape = Tape::inference();
    let projected = Projected::Apart {
        queries: Var::constant(q.clone()),
        memory: Var::constant(kv.clone()),
    };
    let attention = Attention {
        queries: &listed,
        keys: &listed,
        heads,
        causal: true,
        weights: false,
    };
    let out = dot_attention(&mut tape, &projected, attention).unwrap();
    assert_eq!(values(out.context.value()), whole);
}

/// Scores of any size have a softmax.
#[test]
fn large_scores() {
    let case = Case::new(&[2, 1], &[3, 2], 1, 4);
    let [q, kv] = case.inputs().map(|t| convert(&t, DType::F32).unwrap());
    let large: Vec<f32> = q.data::<f32>().unwrap().iter().map(|x| x * 1e4).collect();
    let mut tape = Tape::inference();
    let projected = Projected::Apart {
        queries: Var::constant(f32s(&large, q.shape().clone())),
        memory: Var::constant(kv),
    };
    let alpha = case.attend(&mut tape, &projected, true).unwrap().alpha;
    let alpha = values(alpha.unwrap().value());
    for row in alpha.chunks(3) {
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 1e-6, "{row:?}");
    }
}

#[test]
fn refused() {
    let case = Case::new(&[2, 1], &[3, 2], 2, 2);
    let var = |rows: usize, columns: usize| Var::constant(random(0, [rows, columns]));
    let of = |case: &Case, queries: Var, memory: Var| {
        case.attend(
            &mut Tape::new(),
            &Projected::Apart { queries, memory },
            false,
        )
    };
    assert!(of(&case, var(3, 4), var(5, 8)).is_ok());
    assert_refused(of(&case, var(3, 4), var(5, 6)), &["[3, 4]", "[5, 6]"]);
    assert_refused(of(&case, var(3, 2), var(5, 8)), &["[3, 2]", "[5, 8]"]);
    assert_refused(of(&case, var(4, 4), var(5, 8)), &["3 elements", "4 rows"]);
    let none = Var::constant(random(0, [3, 0]));
    assert_refused(of(&case, none, var(5, 0)), &["2 heads of 0"]);
    let three = Case {
        heads: 3,
        ..case.clone()
    };
    assert_refused(of(&three, var(3, 4), var(5, 8)), &["3 heads of 4"]);
    let causal = Case::new(&[2, 3], &[3, 2], 2, 2).causal();
    let result = of(&causal, var(5, 4), var(5, 8));
    assert_refused(result, &["sequence 1", "3 causal queries", "2 keys"]);
    let fewer = Case::new(&[2, 1], &[5], 2, 2);
    assert_refused(
        of(&fewer, var(3, 4), var(5, 8)),
        &["2 sequences", "of keys"],
    );
    let mixed = Var::constant(f32s(&[0.0; 12], [3, 4]));
    assert_refused(of(&case, mixed, var(5, 8)), &["f32", "f64"]);
    let lists: [(&[u32], &str); 3] = [
        (&[0, 0, 1], "row 0 of 3"),
        (&[0, 1, 3], "row 3 of 3"),
        (&[0, 1], "a list of 2 for 3 rows"),
    ];
    for (bad, message) in lists {
        let rows = u32s(bad, [bad.len()]);
        let spans = Spans::new(&[3]).unwrap();
        let sequences = Sequences::of(&spans, Some(&rows), None);
        let attention = Attention {
            queries: &sequences,
            keys: &sequences,
            heads: 1,
            causal: false,
            weights: false,
        };
        let projected = Projected::Together(var(3, 6));
        let result = dot_attention(&mut Tape::new(), &projected, attention);
        assert_refused(result, &[message]);
    }
    assert!(Sequences::steps(0, 2).is_err());
    let both = concat(&mut Tape::new(), &[&var(3, 4), &var(3, 8)]).unwrap();
    let odd = Case::new(&[3], &[3], 2, 2);
    let result = odd.attend(&mut Tape::new(), &Projected::Together(both), false);
    assert!(result.is_ok());
}
