//! Sequences of different lengths: gradients, and the same numbers as each sequence alone.

use super::numbers::F64_ORDER;
use super::{Layer, all, every};
use crate::support::{assert_close, gradcheck, projected, random, values};
use crate::{assert_refused, check_op, f64s, ids, narrow};
use rnnx::Result;
use rnnx::autograd::{Tape, Var};
use rnnx::data::packing::Packing;
use rnnx::ops::recurrent::Output;
use rnnx::ops::{add, mul, sum};
use rnnx::tensor::Tensor;

const SHORT: [usize; 5] = [5, 4, 4, 2, 1];

/// Three slabs (16, 16 and 8 rows) of which one ends early; rows of every length from 1 to 9.
fn forty() -> Vec<usize> {
    (0..40).map(|b| 1 + (39 - b) * (39 - b) / 180).collect()
}

/// The layer of each cell over sequences of these lengths.
fn packed(lengths: &[usize], i: usize, h: usize) -> impl Iterator<Item = Layer> {
    every(1, lengths.len(), i, h)
}

/// x `[N, I]`, and what [`Layer::dense`] holds besides.
fn dense(layer: Layer, lengths: &[usize]) -> Vec<Tensor> {
    let mut inputs = layer.dense();
    inputs[0] = random(0, [lengths.iter().sum(), layer.i]);
    inputs
}

// ---- gradients -----------------------------------------------------------------------------

fn check(lengths: &[usize], i: usize, h: usize) {
    let packing = Packing::new(lengths).unwrap();
    for layer in packed(lengths, i, h) {
        let op = format!("packed {layer:?} of {lengths:?}");
        let inputs = dense(layer, lengths);
        for inputs in [&inputs[..], &inputs[..inputs.len() - layer.states()]] {
            check_op(&op, inputs, |tape, v| {
                Ok(all(layer.run_dense(tape, v, Some(&packing))?))
            });
        }
        let ids = ids(7, [packing.rows()], i as u32);
        let inputs = layer.table();
        for inputs in [&inputs[..], &inputs[..inputs.len() - layer.states()]] {
            check_op(&format!("{op}, of a table"), inputs, |tape, v| {
                Ok(all(layer.run_table(tape, v, &ids, Some(&packing))?))
            });
        }
    }
}

#[test]
fn a_few_sequences() {
    check(&SHORT, 3, 7);
    check(&[3, 1], 4, 20);
    check(&[3, 3, 2, 1, 1], 4, 33);
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
    for layer in packed(&SHORT, 2, 5) {
        for k in 0..1 + layer.states() {
            let op = format!("packed {layer:?} output {k}");
            gradcheck(&op, &dense(layer, &SHORT), |tape, v| {
                let out = all(layer.run_dense(tape, v, Some(&packing))?);
                Ok(vec![out[k].clone()])
            });
        }
    }
}

// ---- other ways to the same numbers --------------------------------------------------------

/// Outputs, and gradients of the sum of products of the outputs with `r`.
fn weighted(
    layer: Layer,
    inputs: &[Tensor],
    packing: &Packing,
    r: &[Tensor],
) -> (Vec<Tensor>, Vec<Tensor>) {
    let mut tape = Tape::new();
    let v: Vec<Var> = inputs.iter().map(|t| tape.leaf(t.clone())).collect();
    let out = all(layer.run_dense(&mut tape, &v, Some(packing)).unwrap());
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
        packed(&lengths, 3, 7).for_each(|layer| each_alone(layer, &lengths));
    }
}

fn each_alone(layer: Layer, lengths: &[usize]) {
    let packing = Packing::new(lengths).unwrap();
    let together = dense(layer, lengths);
    let states = together.len() - layer.states();
    let state = [lengths.len(), layer.h];
    let mut r = vec![random(11, [packing.rows(), layer.h])];
    r.extend((0..layer.states() as u32).map(|k| random(12 + k, state)));
    let (outputs, gradients) = weighted(layer, &together, &packing, &r);
    // Packed are x and y, or the first of each list; a row of the batch are the states.
    let of = |list: &[Tensor], b: usize| -> Vec<Tensor> {
        let part = |(k, t): (usize, &Tensor)| match k {
            0 => sequence(t, &packing, b),
            _ => row(t, b),
        };
        list.iter().enumerate().map(part).collect()
    };
    // x and the states, of which each sequence has its own.
    let own = |list: &[Tensor]| [&list[..1], &list[states..]].concat();
    let mut weights: Vec<Vec<f64>> = vec![Vec::new(); states];
    for (b, &length) in lengths.iter().enumerate() {
        let [x, state] = [&together[..1], &together[states..]];
        let x = of(x, b);
        let state: Vec<Tensor> = state.iter().map(|t| row(t, b)).collect();
        let alone = [&x, &together[1..states], &state].concat();
        let only = Packing::uniform(length, 1).unwrap();
        let (out, grad) = weighted(layer, &alone, &only, &of(&r, b));
        for (k, (a, e)) in of(&outputs, b).iter().zip(&out).enumerate() {
            let what = format!("{layer:?}: output {k} of sequence {b}");
            assert_close(&what, a, e, F64_ORDER);
        }
        for (k, (a, e)) in of(&own(&gradients), b).iter().zip(own(&grad)).enumerate() {
            let what = format!("{layer:?}: own gradient {k} of sequence {b}");
            assert_close(&what, a, &e, F64_ORDER);
        }
        for (total, grad) in weights.iter_mut().zip(&grad).skip(1) {
            let part = values(grad);
            total.resize(part.len(), 0.0);
            total.iter_mut().zip(part).for_each(|(to, x)| *to += x);
        }
    }
    for (k, total) in weights.iter().enumerate().skip(1) {
        let expected = f64s(total, gradients[k].dims());
        let what = format!("{layer:?}: gradient {k}");
        assert_close(&what, &gradients[k], &expected, F64_ORDER);
    }
}

/// A uniform packing is the layer over `[T, B]`, to the last bit.
#[test]
fn uniform_is_not_packed() {
    for layer in every(7, 40, 5, 9) {
        let Layer { t, b, i, h, .. } = layer;
        let packing = Packing::uniform(t, b).unwrap();
        for inputs in [layer.dense(), narrow(&layer.dense())] {
            // As [T * B, H] in both, so that the projection is the same.
            let flat = |o: Output| -> Result<Vec<Var>> {
                let mut out = all(o);
                out[0] = out[0].reshape([t * b, h])?;
                Ok(out)
            };
            let plain = projected(&inputs, |tape, v| flat(layer.run_dense(tape, v, None)?));
            let packed = projected(&inputs, |tape, v| {
                let mut v = v.to_vec();
                v[0] = v[0].reshape([t * b, i])?;
                flat(layer.run_dense(tape, &v, Some(&packing))?)
            });
            let (plain, packed) = (plain.unwrap(), packed.unwrap());
            let tensors = packed.outputs.iter().chain(&packed.gradients);
            for (a, e) in tensors.zip(plain.outputs.iter().chain(&plain.gradients)) {
                assert_eq!(values(a), values(e));
            }
        }
    }
}

#[test]
fn packed_shapes() {
    let packing = Packing::new(&SHORT).unwrap();
    for layer in packed(&SHORT, 3, 7) {
        let inputs = dense(layer, &SHORT).into_iter();
        let v: Vec<Var> = inputs.map(Var::constant).collect();
        let out = layer.run_dense(&mut Tape::inference(), &v, Some(&packing));
        let shapes = all(out.unwrap())
            .into_iter()
            .map(|v| v.value().dims().to_vec());
        let mut want = vec![vec![16, 7]];
        want.resize(1 + layer.states(), vec![5, 7]);
        assert_eq!(shapes.collect::<Vec<_>>(), want);
    }
}

#[test]
fn refused() {
    let packing = Packing::new(&SHORT).unwrap();
    for layer in packed(&SHORT, 3, 7) {
        let (good, name) = (dense(layer, &SHORT), layer.kind.name());
        let run = |k: usize, tensor: Tensor| {
            let mut inputs = good.clone();
            inputs[k] = tensor;
            let v: Vec<Var> = inputs.into_iter().map(Var::constant).collect();
            layer.run_dense(&mut Tape::new(), &v, Some(&packing))
        };
        let h0 = good.len() - layer.states();
        let rows = "[N, I] with N = 16 rows";
        assert_refused(run(0, random(0, [15, 3])), &[name, "[15, 3]", rows]);
        assert_refused(run(0, random(0, [4, 4, 3])), &[name, "[4, 4, 3]", rows]);
        assert_refused(run(h0, random(0, [4, 7])), &[name, "[4, 7]", "[5, 7]"]);
        let table: Vec<Var> = layer.table().into_iter().map(Var::constant).collect();
        let few = ids(7, [15], 3);
        let run = layer.run_table(&mut Tape::new(), &table, &few, Some(&packing));
        assert_refused(run, &[name, "[15]", "16 rows"]);
    }
}
