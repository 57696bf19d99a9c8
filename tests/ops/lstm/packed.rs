//! Sequences of different lengths: gradients, and the same numbers as each sequence alone.

use super::numbers::F64_ORDER;
use super::{Sizes, all, dense};
use crate::support::{assert_close, gradcheck, projected, random, values};
use crate::{assert_refused, check_op, f64s, ids, narrow};
use rnnx::Result;
use rnnx::autograd::{Tape, Var};
use rnnx::data::packing::Packing;
use rnnx::ops::lstm::{Input, Output, lstm_packed};
use rnnx::ops::{add, mul, sum};
use rnnx::tensor::Tensor;

const SHORT: [usize; 5] = [5, 4, 4, 2, 1];

/// Three slabs (16, 16 and 8 rows) of which one ends early; rows of every length from 1 to 9.
fn forty() -> Vec<usize> {
    (0..40).map(|b| 1 + (39 - b) * (39 - b) / 180).collect()
}

/// x `[N, I]` or a table `[V, 4H]`, and what [`Sizes::dense`] or [`Sizes::table`] hold besides.
fn inputs(lengths: &[usize], i: usize, h: usize, of_table: bool) -> Vec<Tensor> {
    let sizes = Sizes::new(1, lengths.len(), i, h);
    if of_table {
        return sizes.table();
    }
    let mut inputs = sizes.dense();
    inputs[0] = random(0, [lengths.iter().sum(), i]);
    inputs
}

fn packed_dense(tape: &mut Tape, v: &[Var], packing: &Packing) -> Result<Output> {
    let input = Input::Dense {
        x: &v[0],
        w_ih: &v[1],
        bias: &v[3],
    };
    lstm_packed(tape, input, &v[2], v.get(4).zip(v.get(5)), packing)
}

fn packed_table(tape: &mut Tape, v: &[Var], ids: &Tensor, packing: &Packing) -> Result<Output> {
    let input = Input::Table { table: &v[0], ids };
    lstm_packed(tape, input, &v[1], v.get(2).zip(v.get(3)), packing)
}

// ---- gradients -----------------------------------------------------------------------------

fn check(lengths: &[usize], i: usize, h: usize) {
    let packing = Packing::new(lengths).unwrap();
    let op = format!("packed lstm of {lengths:?}, {i} inputs, {h} units");
    let inputs_dense = inputs(lengths, i, h, false);
    for inputs in [&inputs_dense[..], &inputs_dense[..4]] {
        check_op(&op, inputs, |tape, v| {
            Ok(all(packed_dense(tape, v, &packing)?))
        });
    }
    let ids = ids(7, [packing.rows()], i as u32);
    let inputs_table = inputs(lengths, i, h, true);
    for inputs in [&inputs_table[..], &inputs_table[..2]] {
        check_op(&format!("{op}, of a table"), inputs, |tape, v| {
            Ok(all(packed_table(tape, v, &ids, &packing)?))
        });
    }
}

#[test]
fn a_few_sequences() {
    check(&SHORT, 3, 7);
    check(&[3, 1], 4, 20);
    check(&[1, 1, 1], 2, 5);
    check(&[2], 1, 1);
}

#[test]
fn several_slabs_and_chunks() {
    check(&forty(), 3, 7);
    // A slab of 16 rows takes chunks of 12 steps.
    let mut long = vec![30, 29, 25, 13, 12, 12, 11];
    long.resize(17, 3);
    check(&long, 2, 5);
}

#[test]
fn each_output_alone() {
    let packing = Packing::new(&SHORT).unwrap();
    let inputs = inputs(&SHORT, 2, 5, false);
    for k in 0..3 {
        gradcheck(&format!("packed lstm output {k}"), &inputs, |tape, v| {
            Ok(vec![all(packed_dense(tape, v, &packing)?).swap_remove(k)])
        });
    }
}

// ---- other ways to the same numbers --------------------------------------------------------

/// Outputs, and gradients of the sum of products of the outputs with `r`.
fn weighted(inputs: &[Tensor], packing: &Packing, r: &[Tensor]) -> (Vec<Tensor>, Vec<Tensor>) {
    let mut tape = Tape::new();
    let v: Vec<Var> = inputs.iter().map(|t| tape.leaf(t.clone())).collect();
    let out = all(packed_dense(&mut tape, &v, packing).unwrap());
    let mut total = Var::constant(Tensor::scalar(0.0f64));
    for (out, r) in out.iter().zip(r) {
        let product = mul(&mut tape, out, &Var::constant(r.clone())).unwrap();
        let part = sum(&mut tape, &product).unwrap();
        total = add(&mut tape, &total, &part).unwrap();
    }
    let mut grads = tape.backward(&total, Tensor::scalar(1.0f64)).unwrap();
    let gradients = v.iter().map(|v| grads.take(v.slot()).unwrap()).collect();
    (out.iter().map(|o| o.value().clone()).collect(), gradients)
}

/// The packed rows of sequence b of `[N, columns]`, one after the other.
fn sequence(packed: &Tensor, packing: &Packing, b: usize) -> Tensor {
    let (data, columns) = (values(packed), packed.shape().last());
    let rows = (0..packing.length(b)).filter_map(|t| packing.row(t, b));
    let rows: Vec<f64> = rows
        .flat_map(|row| data[row * columns..][..columns].to_vec())
        .collect();
    f64s(&rows, [packing.length(b), columns])
}

/// Row b of `[B, columns]`.
fn row(t: &Tensor, b: usize) -> Tensor {
    let columns = t.shape().last();
    t.slice(b * columns, [1, columns]).unwrap()
}

/// Each sequence run alone has its outputs and gradients; those of the weights are the sums.
#[test]
fn each_sequence_alone() {
    for lengths in [SHORT.to_vec(), forty()] {
        let packing = Packing::new(&lengths).unwrap();
        let (i, h) = (3, 7);
        let together = inputs(&lengths, i, h, false);
        let state = [lengths.len(), h];
        let r = [
            random(11, [packing.rows(), h]),
            random(12, state),
            random(13, state),
        ];
        let (outputs, gradients) = weighted(&together, &packing, &r);
        // Packed are x and y, or the first of each list; a row of the batch are the states.
        let of = |list: &[Tensor], b: usize| -> Vec<Tensor> {
            let part = |(k, t): (usize, &Tensor)| match k {
                0 => sequence(t, &packing, b),
                _ => row(t, b),
            };
            list.iter().enumerate().map(part).collect()
        };
        let mut weights: Vec<Vec<f64>> = vec![Vec::new(); 3];
        for (b, &length) in lengths.iter().enumerate() {
            let x = sequence(&together[0], &packing, b);
            let mut alone = vec![x];
            alone.extend_from_slice(&together[1..4]);
            alone.extend([4, 5].map(|k| row(&together[k], b)));
            let only = Packing::uniform(length, 1).unwrap();
            let (out, grad) = weighted(&alone, &only, &of(&r, b));
            for (k, (a, e)) in of(&outputs, b).iter().zip(&out).enumerate() {
                assert_close(&format!("output {k} of sequence {b}"), a, e, F64_ORDER);
            }
            let varied = [0, 4, 5].map(|k| gradients[k].clone());
            for (a, k) in of(&varied, b).iter().zip([0, 4, 5]) {
                let what = format!("gradient {k} of sequence {b}");
                assert_close(&what, a, &grad[k], F64_ORDER);
            }
            for (total, k) in weights.iter_mut().zip(1..4) {
                let part = values(&grad[k]);
                total.resize(part.len(), 0.0);
                total.iter_mut().zip(part).for_each(|(to, x)| *to += x);
            }
        }
        for (total, k) in weights.iter().zip(1..4) {
            let expected = f64s(total, gradients[k].dims());
            let what = format!("gradient {k}");
            assert_close(&what, &gradients[k], &expected, F64_ORDER);
        }
    }
}

/// A uniform packing is the layer over `[T, B]`, to the last bit.
#[test]
fn uniform_is_not_packed() {
    let s = Sizes::new(7, 40, 5, 9);
    let packing = Packing::uniform(s.t, s.b).unwrap();
    for inputs in [s.dense(), narrow(&s.dense())] {
        // As [T * B, H] in both, so that the projection is the same.
        let flat = |o: Output| -> Result<Vec<Var>> {
            let y = o.y.reshape([s.t * s.b, s.h])?;
            Ok(vec![y, o.h_n, o.c_n])
        };
        let plain = projected(&inputs, |tape, v| flat(dense(tape, v)?)).unwrap();
        let packed = projected(&inputs, |tape, v| flat(packed_dense(tape, v, &packing)?)).unwrap();
        let tensors = packed.outputs.iter().chain(&packed.gradients);
        for (a, e) in tensors.zip(plain.outputs.iter().chain(&plain.gradients)) {
            assert_eq!(values(a), values(e));
        }
    }
}

#[test]
fn packed_shapes() {
    let packing = Packing::new(&SHORT).unwrap();
    let v: Vec<Var> = inputs(&SHORT, 3, 7, false)
        .into_iter()
        .map(Var::constant)
        .collect();
    let out = packed_dense(&mut Tape::inference(), &v, &packing).unwrap();
    let shapes = [out.y, out.h_n, out.c_n].map(|v| v.value().dims().to_vec());
    assert_eq!(shapes, [vec![16, 7], vec![5, 7], vec![5, 7]]);
}

#[test]
fn refused() {
    let packing = Packing::new(&SHORT).unwrap();
    let good = inputs(&SHORT, 3, 7, false);
    let run = |k: usize, tensor: Tensor| {
        let mut inputs = good.clone();
        inputs[k] = tensor;
        let v: Vec<Var> = inputs.into_iter().map(Var::constant).collect();
        packed_dense(&mut Tape::new(), &v, &packing)
    };
    assert_refused(run(0, random(0, [15, 3])), &["lstm", "[15, 3]", "16 rows"]);
    assert_refused(run(4, random(0, [4, 7])), &["lstm", "[4, 7]", "[5, 7]"]);
    let table: Vec<Var> = inputs(&SHORT, 3, 7, true)
        .into_iter()
        .map(Var::constant)
        .collect();
    let few = ids(7, [15], 3);
    let run = packed_table(&mut Tape::new(), &table, &few, &packing);
    assert_refused(run, &["lstm", "[15]", "16 rows"]);
}
