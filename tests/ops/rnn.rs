//! The tanh RNN over packed sequences. H and the lengths are chosen for the kernels' blocks: a
//! register has 4 lanes in f64 and 4, 8 or 16 in f32, a panel is four of them wide, a slab has 16
//! batch rows and more.

use super::{assert_refused, check_op, f32_matches_f64, f64s, narrow, same_bits_with_any_pool};
use crate::support::{assert_close, gradcheck, projected, random, values};
use rnnx::Result;
use rnnx::autograd::{Tape, Var};
use rnnx::data::packing::Packing;
use rnnx::dtype::DType;
use rnnx::ops::cast::convert;
use rnnx::ops::{RnnOutput, add_bias, gather, rnn};
use rnnx::tensor::Tensor;

/// What is left between two orders of the same sums in f64, relative to the largest element.
const F64_ORDER: f64 = 1e-12;

/// x, W_ih, b, W_hh, h0. The weights are such that tanh neither saturates nor is nearly linear.
fn inputs(packing: &Packing, i: usize, h: usize) -> Vec<Tensor> {
    let scaled = |k, inputs: usize| {
        let w = values(&random(k, [h, inputs]));
        let scale = 1.5 / (inputs as f64).sqrt();
        let w: Vec<f64> = w.iter().map(|x| x * scale).collect();
        f64s(&w, [h, inputs])
    };
    vec![
        random(0, [packing.rows(), i]),
        scaled(1, i),
        random(2, [h]),
        scaled(3, h),
        random(4, [packing.batch(), h]),
    ]
}

/// The layer over [`inputs`]; the state is used if it is there.
fn layer(tape: &mut Tape, v: &[Var], packing: &Packing) -> Result<RnnOutput> {
    rnn(tape, &v[0], &v[1], &v[2], &v[3], v.get(4), packing)
}

fn both(o: RnnOutput) -> Vec<Var> {
    vec![o.y, o.h_n]
}

fn check(lengths: &[usize], i: usize, h: usize) {
    let packing = Packing::new(lengths).unwrap();
    let inputs = inputs(&packing, i, h);
    for inputs in [&inputs[..], &inputs[..4]] {
        let op = format!("rnn of {lengths:?}, {i} to {h}, {} inputs", inputs.len());
        check_op(&op, inputs, |tape, v| Ok(both(layer(tape, v, &packing)?)));
    }
}

/// Lengths from `longest` down to one, as even as may be.
fn stairs(batch: usize, longest: usize) -> Vec<usize> {
    (0..batch).map(|b| longest - b * longest / batch).collect()
}

// ---- sizes ---------------------------------------------------------------------------------

#[test]
fn one_step_one_row_one_unit() {
    check(&[1], 1, 1);
    check(&[1], 3, 7);
    check(&[4], 2, 5);
    check(&[1, 1, 1], 3, 5);
}

#[test]
fn different_lengths() {
    check(&[5, 4, 4, 2, 1], 3, 7);
    check(&[3, 1, 1, 1], 4, 6);
    check(&[4, 4, 4], 2, 5);
}

#[test]
fn units_around_the_registers() {
    for h in [4, 16, 20, 33] {
        check(&[3, 3, 2, 1, 1], 4, h);
    }
}

/// Units of more than one panel (16 columns in f64, 64 in f32), not a multiple.
#[test]
fn several_panels() {
    check(&[3, 2], 71, 9);
    check(&[3, 2], 5, 70);
}

/// 40 rows are slabs of 16, 16 and 8, of which the last ones end early; 130 rows are slabs of 17,
/// the last one of 11.
#[test]
fn several_slabs() {
    check(&stairs(40, 5), 3, 7);
    check(&stairs(130, 3), 2, 5);
}

#[test]
fn f32_on_larger_sizes() {
    let of = |lengths: &[usize], i, h| {
        let packing = Packing::new(lengths).unwrap();
        let run = |tape: &mut Tape, v: &[Var]| Ok(both(layer(tape, v, &packing)?));
        let (op, inputs) = (format!("rnn of {lengths:?}"), inputs(&packing, i, h));
        f32_matches_f64(&op, &inputs, run);
        same_bits_with_any_pool(&op, &narrow(&inputs), run);
    };
    of(&stairs(70, 30), 24, 48);
    // The last rows of a slab: 6 rows a tile with AVX-512, so 1 to 5 are left.
    for b in [1, 2, 3, 4, 5, 11] {
        of(&stairs(b, 4), 7, 70);
    }
}

// ---- other ways to the same numbers --------------------------------------------------------

/// Each sequence alone, from the formula in plain loops.
#[test]
fn the_formula_in_plain_loops() {
    let lengths = [5, 4, 4, 2, 1];
    let packing = Packing::new(&lengths).unwrap();
    let (i, h) = (3, 7);
    let tensors = inputs(&packing, i, h);
    let data: Vec<Vec<f64>> = tensors.iter().map(values).collect();
    let [x, w_ih, bias, w_hh, h0] = &data[..] else {
        panic!("five inputs");
    };
    let mut y = vec![0.0; packing.rows() * h];
    let mut h_n = Vec::new();
    for (b, &length) in lengths.iter().enumerate() {
        let mut state = h0[b * h..][..h].to_vec();
        for t in 0..length {
            let row = packing.row(t, b).expect("the sequence is longer");
            let unit = |u: usize| {
                let from_x = (0..i).map(|k| x[row * i + k] * w_ih[u * i + k]);
                let from_h = (0..h).map(|k| state[k] * w_hh[u * h + k]);
                (bias[u] + from_x.sum::<f64>() + from_h.sum::<f64>()).tanh()
            };
            state = (0..h).map(unit).collect();
            y[row * h..][..h].copy_from_slice(&state);
        }
        h_n.extend(state);
    }
    let mut tape = Tape::inference();
    let v: Vec<Var> = tensors.iter().cloned().map(Var::constant).collect();
    let out = layer(&mut tape, &v, &packing).unwrap();
    let y = f64s(&y, [packing.rows(), h]);
    assert_close("y", out.y.value(), &y, F64_ORDER);
    let h_n = f64s(&h_n, [lengths.len(), h]);
    assert_close("h_n", out.h_n.value(), &h_n, F64_ORDER);
}

/// A packed batch is each of its sequences alone: outputs, and gradients through all of them.
#[test]
fn packed_equals_each_sequence_alone() {
    let lengths = stairs(20, 6);
    let packing = Packing::new(&lengths).unwrap();
    let inputs = inputs(&packing, 4, 9);
    let packed = projected(&inputs, |tape, v| Ok(both(layer(tape, v, &packing)?))).unwrap();
    let alone = projected(&inputs, |tape, v| {
        let (mut parts, mut order, mut states) = (Vec::new(), Vec::new(), Vec::new());
        for (b, &length) in lengths.iter().enumerate() {
            let rows: Vec<u32> = (0..length)
                .filter_map(|t| packing.row(t, b))
                .map(|r| r as u32)
                .collect();
            let x = gather(tape, &v[0], &super::u32s(&rows, [length]))?;
            let h0 = gather(tape, &v[4], &super::u32s(&[b as u32], [1]))?;
            let own = Packing::uniform(length, 1)?;
            let out = rnn(tape, &x, &v[1], &v[2], &v[3], Some(&h0), &own)?;
            order.extend(rows);
            parts.push(out.y);
            states.push(out.h_n);
        }
        Ok(vec![
            in_order(tape, &parts, &order)?,
            in_order(
                tape,
                &states,
                &(0..lengths.len() as u32).collect::<Vec<_>>(),
            )?,
        ])
    })
    .unwrap();
    for (k, (a, e)) in packed.outputs.iter().zip(&alone.outputs).enumerate() {
        assert_close(&format!("output {k}"), a, e, F64_ORDER);
    }
    for (k, (a, e)) in packed.gradients.iter().zip(&alone.gradients).enumerate() {
        assert_close(&format!("gradient {k}"), a, e, F64_ORDER);
    }
}

/// Matrices below one another, their rows then in the places `order`.
fn in_order(tape: &mut Tape, parts: &[Var], order: &[u32]) -> Result<Var> {
    // [rows, w] as one row, so that concat puts them one behind the other.
    let width = parts[0].value().shape().last();
    let flat = |part: &Var| part.reshape([1, part.value().numel()]);
    let flat: Vec<Var> = parts.iter().map(flat).collect::<Result<_>>()?;
    let all = rnnx::ops::concat(tape, &flat.iter().collect::<Vec<_>>())?;
    let mut inverse = vec![0; order.len()];
    for (from, &to) in order.iter().enumerate() {
        inverse[to as usize] = from as u32;
    }
    let rows = all.reshape([order.len(), width])?;
    gather(tape, &rows, &super::u32s(&inverse, [order.len()]))
}

/// Steps of a uniform batch one by one, with the state carried, are the whole sequence.
#[test]
fn carried_state() {
    let (steps, batch, i, h) = (4, 3, 2, 5);
    let packing = Packing::uniform(steps, batch).unwrap();
    let one = Packing::uniform(1, batch).unwrap();
    let inputs = inputs(&packing, i, h);
    let whole = projected(&inputs, |tape, v| Ok(both(layer(tape, v, &packing)?))).unwrap();
    let single = projected(&inputs, |tape, v| {
        let (mut state, mut ys) = (v[4].clone(), Vec::new());
        for t in 0..steps as u32 {
            let rows: Vec<u32> = (0..batch as u32).map(|b| t * batch as u32 + b).collect();
            let x = gather(tape, &v[0], &super::u32s(&rows, [batch]))?;
            let out = rnn(tape, &x, &v[1], &v[2], &v[3], Some(&state), &one)?;
            state = out.h_n;
            ys.push(out.y);
        }
        let order: Vec<u32> = (0..(steps * batch) as u32).collect();
        Ok(vec![in_order(tape, &ys, &order)?, state])
    })
    .unwrap();
    for (a, e) in single.outputs.iter().zip(&whole.outputs) {
        assert_close("output step by step", a, e, F64_ORDER);
    }
    for (k, (a, e)) in single.gradients.iter().zip(&whole.gradients).enumerate() {
        assert_close(&format!("gradient {k} step by step"), a, e, F64_ORDER);
    }
}

// ---- which gradients -----------------------------------------------------------------------

#[test]
fn each_output_alone() {
    let packing = Packing::new(&[5, 4, 4, 2, 1]).unwrap();
    let inputs = inputs(&packing, 2, 5);
    for k in 0..2 {
        gradcheck(&format!("rnn output {k}"), &inputs, |tape, v| {
            Ok(vec![both(layer(tape, v, &packing)?).swap_remove(k)])
        });
    }
}

/// Each input's gradient is the same whether or not the others want theirs.
#[test]
fn each_input_alone() {
    let packing = Packing::new(&stairs(18, 5)).unwrap();
    let inputs = inputs(&packing, 3, 7);
    let run = |wanted: &dyn Fn(usize) -> bool| {
        let gradients = projected(&inputs, |tape, v| {
            let some = |(k, v): (usize, &Var)| match wanted(k) {
                true => v.clone(),
                false => Var::constant(v.value().clone()),
            };
            let v: Vec<Var> = v.iter().enumerate().map(some).collect();
            Ok(both(layer(tape, &v, &packing)?))
        });
        gradients.unwrap().gradients
    };
    let together = run(&|_| true);
    for k in 0..inputs.len() {
        let alone = run(&|i| i == k);
        let what = format!("gradient of input {k}");
        assert_close(&what, &alone[k], &together[k], 0.0);
        assert_eq!(values(&alone[(k + 1) % 5]).iter().sum::<f64>(), 0.0);
    }
}

#[test]
fn one_value_as_several_inputs() {
    let packing = Packing::new(&[3, 3, 2]).unwrap();
    let inputs = inputs(&packing, 5, 5);
    check_op("rnn with W_ih = W_hh", &inputs, |tape, v| {
        let v = [0, 1, 2, 1, 4].map(|k| v[k].clone());
        Ok(both(layer(tape, &v, &packing)?))
    });
    check_op("two layers of the same weights", &inputs, |tape, v| {
        let below = layer(tape, v, &packing)?;
        let state = Some(&below.h_n);
        Ok(both(rnn(
            tape, &below.y, &v[1], &v[2], &v[3], state, &packing,
        )?))
    });
    check_op("y next to its layer above", &inputs, |tape, v| {
        let below = layer(tape, v, &packing)?;
        let above = rnn(tape, &below.y, &v[1], &v[2], &v[3], None, &packing)?;
        // Both layers have saved y, so the bias must not be added in place.
        let y = add_bias(tape, below.y, &v[2])?;
        Ok(vec![y, above.y])
    });
}

#[test]
fn constants_alone_have_no_gradient() {
    let packing = Packing::new(&[3, 2]).unwrap();
    let v: Vec<Var> = inputs(&packing, 3, 5)
        .into_iter()
        .map(Var::constant)
        .collect();
    let out = both(layer(&mut Tape::new(), &v, &packing).unwrap());
    assert!(out.iter().all(|v| v.slot().is_none()));
}

// ---- refused -------------------------------------------------------------------------------

#[test]
fn refused() {
    let packing = Packing::new(&[3, 2, 1]).unwrap();
    let good = inputs(&packing, 4, 5);
    // With input k replaced, the message names what is asked for.
    let wrong: [(usize, Tensor, &[&str]); 9] = [
        (0, random(0, [7, 4]), &["[7, 4]", "[N, I]", "N = 6"]),
        (0, random(0, [2, 3, 4]), &["[2, 3, 4]", "[N, I]"]),
        (0, random(0, [6, 0]), &["[6, 0]", "[N, I]"]),
        (0, random(0, [6, 3]), &["x [6, 3]", "W_ih [5, 4]"]),
        (1, random(0, [6, 4]), &["W_ih [6, 4]", "W_hh [5, 5]"]),
        (2, random(0, [4]), &["b [4]", "W_hh [5, 5]"]),
        (3, random(0, [5, 6]), &["W_hh is [5, 6]", "[H, H]"]),
        (3, random(0, [0, 0]), &["W_hh is [0, 0]", "[H, H]"]),
        (4, random(0, [6, 5]), &["h0 is [6, 5]", "[3, 5]"]),
    ];
    let run = |k: usize, tensor: Tensor| {
        let mut inputs = good.clone();
        inputs[k] = tensor;
        let v: Vec<Var> = inputs.into_iter().map(Var::constant).collect();
        layer(&mut Tape::new(), &v, &packing)
    };
    for (k, tensor, parts) in wrong {
        assert_refused(run(k, tensor), &[&["rnn"], parts].concat());
    }
    for (k, tensor) in good.iter().enumerate() {
        let single = convert(tensor, DType::F32).unwrap();
        assert_refused(run(k, single), &["rnn", "f32", "f64"]);
    }
    let half = good.iter().map(|t| convert(t, DType::F16).unwrap());
    let half: Vec<Var> = half.map(Var::constant).collect();
    let result = layer(&mut Tape::new(), &half, &packing);
    assert_refused(result, &["rnn", "f16"]);
}
