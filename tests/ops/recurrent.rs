//! The recurrent layer of every cell. H and B are chosen for the kernels' blocks: a register has 4
//! lanes in f64 and 4, 8 or 16 in f32, a panel is four of them wide, a slab has 16 batch rows and
//! more, a chunk of the backward pass 192 rows of dz.

pub mod numbers;
mod packed;

use super::{
    assert_refused, check_op, f32_matches_f64, f64s, ids, narrow, same_bits_with_any_pool, u32s,
};
use crate::support::{assert_close, gradcheck, projected, random, values};
use rnnx::Result;
use rnnx::autograd::{Tape, Var};
use rnnx::data::packing::Packing;
use rnnx::dtype::DType;
use rnnx::ops::add_bias;
use rnnx::ops::cast::convert;
use rnnx::ops::recurrent::{CellKind, Hidden, Input, Output, State, recurrent, recurrent_packed};
use rnnx::tensor::Tensor;

/// A cell and the extents of its layer.
#[derive(Clone, Copy, Debug)]
pub struct Layer {
    pub kind: CellKind,
    pub t: usize,
    pub b: usize,
    pub i: usize,
    pub h: usize,
}

/// The layer of each cell.
fn every(t: usize, b: usize, i: usize, h: usize) -> impl Iterator<Item = Layer> {
    let layer = move |kind| Layer { kind, t, b, i, h };
    CellKind::ALL.into_iter().map(layer)
}

impl Layer {
    /// x, W_ih, W_hh, b, the hidden side's bias if there is one, h0, and c0 if there is one. The
    /// weights are such that gates neither saturate nor vanish.
    pub fn dense(self) -> Vec<Tensor> {
        let Layer { t, b, i, .. } = self;
        let rows = self.rows();
        let mut inputs = vec![random(0, [t, b, i]), scaled(1, [rows, i], i)];
        inputs.extend(self.hidden());
        inputs.insert(3, random(3, [rows]));
        inputs
    }

    /// Table `[V, G H]` and the hidden side of [`Layer::dense`]; V = I.
    fn table(self) -> Vec<Tensor> {
        [vec![random(1, [self.i, self.rows()])], self.hidden()].concat()
    }

    /// G H.
    pub fn rows(self) -> usize {
        self.kind.gates() * self.h
    }

    fn hidden(self) -> Vec<Tensor> {
        let Layer { kind, b, h, .. } = self;
        let mut inputs = vec![scaled(2, [self.rows(), h], h)];
        inputs.extend(kind.has_b_hh().then(|| random(6, [self.rows()])));
        inputs.push(random(4, [b, h]));
        inputs.extend(kind.has_c().then(|| random(5, [b, h])));
        inputs
    }

    /// The states at the end of each list.
    pub fn states(self) -> usize {
        1 + usize::from(self.kind.has_c())
    }

    /// The layer over x, W_ih, b and the hidden side; the state is used if it is there.
    pub fn run_dense(
        self,
        tape: &mut Tape,
        v: &[Var],
        packing: Option<&Packing>,
    ) -> Result<Output> {
        let input = Input::Dense {
            x: &v[0],
            w_ih: &v[1],
            bias: &v[3],
        };
        self.run(tape, input, &v[2], &v[4..], packing)
    }

    fn run_table(
        self,
        tape: &mut Tape,
        v: &[Var],
        ids: &Tensor,
        packing: Option<&Packing>,
    ) -> Result<Output> {
        let input = Input::Table { table: &v[0], ids };
        self.run(tape, input, &v[1], &v[2..], packing)
    }

    fn run(
        self,
        tape: &mut Tape,
        input: Input,
        w_hh: &Var,
        rest: &[Var],
        packing: Option<&Packing>,
    ) -> Result<Output> {
        let (b_hh, state) = rest.split_at(usize::from(self.kind.has_b_hh()));
        let b_hh = b_hh.first();
        let state = state.first().map(|h| State {
            h: h.clone(),
            c: state.get(1).cloned(),
        });
        let (hidden, state) = (Hidden { w_hh, b_hh }, state.as_ref());
        match packing {
            Some(packing) => recurrent_packed(tape, self.kind, input, hidden, state, packing),
            None => recurrent(tape, self.kind, input, hidden, state),
        }
    }

    fn check_dense(self) {
        let inputs = self.dense();
        for inputs in [&inputs[..], &inputs[..inputs.len() - self.states()]] {
            let op = format!("{self:?} of {} inputs", inputs.len());
            check_op(&op, inputs, |tape, v| {
                Ok(all(self.run_dense(tape, v, None)?))
            });
        }
    }

    fn check_table(self) {
        let ids = ids(7, [self.t, self.b], self.i as u32);
        let inputs = self.table();
        for inputs in [&inputs[..], &inputs[..inputs.len() - self.states()]] {
            let op = format!("table {self:?} of {} inputs", inputs.len());
            check_op(&op, inputs, |tape, v| {
                Ok(all(self.run_table(tape, v, &ids, None)?))
            });
        }
    }
}

/// Weights of order 1 / sqrt(inputs).
fn scaled(k: u32, shape: [usize; 2], inputs: usize) -> Tensor {
    let scale = 1.5 / (inputs as f64).sqrt();
    let data: Vec<f64> = values(&random(k, shape))
        .iter()
        .map(|x| x * scale)
        .collect();
    f64s(&data, shape)
}

/// y, h_n, and c_n if there is one.
pub fn all(o: Output) -> Vec<Var> {
    [vec![o.y, o.state.h], Vec::from_iter(o.state.c)].concat()
}

// ---- sizes ---------------------------------------------------------------------------------

#[test]
fn one_step_one_row_one_unit() {
    for [t, b, i, h] in [[1, 1, 1, 1], [1, 1, 3, 7], [4, 1, 2, 5]] {
        every(t, b, i, h).for_each(Layer::check_dense);
    }
    for [t, b, i, h] in [[1, 1, 1, 1], [1, 3, 4, 7]] {
        every(t, b, i, h).for_each(Layer::check_table);
    }
}

#[test]
fn units_around_the_registers() {
    for h in [7, 16, 20, 32, 33] {
        every(3, 5, 4, h).for_each(Layer::check_dense);
    }
    for h in [20, 32] {
        every(3, 5, 6, h).for_each(Layer::check_table);
    }
}

/// Inputs and units of more than one panel (16 columns in f64, 64 in f32), not a multiple.
#[test]
fn several_panels() {
    every(3, 2, 71, 9).for_each(Layer::check_dense);
    every(3, 2, 5, 70).for_each(Layer::check_dense);
    every(3, 2, 5, 70).for_each(Layer::check_table);
}

/// 40 rows are slabs of 16, 16 and 8; 130 rows are slabs of 17, the last one of 11.
#[test]
fn several_slabs() {
    every(3, 40, 3, 7).for_each(Layer::check_dense);
    every(3, 40, 5, 7).for_each(Layer::check_table);
    every(2, 130, 2, 5).for_each(Layer::check_dense);
}

/// A slab of 16 rows takes chunks of 12 steps: 12 + 12 + 6, and exactly 24. A slab of one row
/// takes 192 steps.
#[test]
fn several_chunks() {
    every(30, 17, 2, 5).for_each(Layer::check_dense);
    every(24, 16, 4, 5).for_each(Layer::check_table);
    every(200, 1, 2, 3).for_each(Layer::check_dense);
}

#[test]
fn f32_on_larger_sizes() {
    for layer in every(50, 70, 24, 48) {
        let ids = ids(7, [layer.t, layer.b], layer.i as u32);
        let (op, inputs) = (format!("{layer:?}"), layer.dense());
        let run = |tape: &mut Tape, v: &[Var]| Ok(all(layer.run_dense(tape, v, None)?));
        f32_matches_f64(&op, &inputs, run);
        same_bits_with_any_pool(&op, &narrow(&inputs), run);
        let (op, inputs) = (format!("table {layer:?}"), layer.table());
        let run = |tape: &mut Tape, v: &[Var]| Ok(all(layer.run_table(tape, v, &ids, None)?));
        f32_matches_f64(&op, &inputs, run);
        same_bits_with_any_pool(&op, &narrow(&inputs), run);
    }
    // The last rows of a slab: 6 rows a tile with AVX-512, so 1 to 5 are left.
    for b in [1, 2, 3, 4, 5, 11] {
        for layer in every(4, b, 7, 70) {
            f32_matches_f64(&format!("{layer:?}"), &layer.dense(), |tape, v| {
                Ok(all(layer.run_dense(tape, v, None)?))
            });
        }
    }
}

// ---- which gradients -----------------------------------------------------------------------

#[test]
fn each_output_alone() {
    let picked = ids(7, [4, 3], 2);
    for layer in every(4, 3, 2, 5) {
        for k in 0..1 + layer.states() {
            let one = |o: Output| vec![all(o).swap_remove(k)];
            gradcheck(
                &format!("{layer:?} output {k}"),
                &layer.dense(),
                |tape, v| Ok(one(layer.run_dense(tape, v, None)?)),
            );
            let op = format!("table {layer:?} output {k}");
            gradcheck(&op, &layer.table(), |tape, v| {
                Ok(one(layer.run_table(tape, v, &picked, None)?))
            });
        }
    }
}

/// Each input's gradient is the same whether or not the others want theirs.
#[test]
fn each_input_alone() {
    for layer in every(14, 17, 3, 7) {
        let inputs = layer.dense();
        let run = |wanted: &dyn Fn(usize) -> bool| {
            let gradients = projected(&inputs, |tape, v| {
                let some = |(k, v): (usize, &Var)| match wanted(k) {
                    true => v.clone(),
                    false => Var::constant(v.value().clone()),
                };
                let v: Vec<Var> = v.iter().enumerate().map(some).collect();
                Ok(all(layer.run_dense(tape, &v, None)?))
            });
            gradients.unwrap().gradients
        };
        let together = run(&|_| true);
        for k in 0..inputs.len() {
            let alone = run(&|i| i == k);
            let what = format!("{layer:?}: gradient of input {k}");
            assert_close(&what, &alone[k], &together[k], 0.0);
            let other = &alone[(k + 1) % inputs.len()];
            assert_eq!(values(other).iter().sum::<f64>(), 0.0);
        }
    }
}

#[test]
fn one_value_as_several_inputs() {
    for layer in every(3, 2, 5, 5) {
        let inputs = layer.dense();
        // The state is as many h0 as there are states.
        let op = format!("{layer:?} with W_ih = W_hh and one state");
        check_op(&op, &inputs[..=inputs.len() - layer.states()], |tape, v| {
            let mut v = v.to_vec();
            v[2] = v[1].clone();
            v.resize(inputs.len(), v[v.len() - 1].clone());
            Ok(all(layer.run_dense(tape, &v, None)?))
        });
        let op = format!("two layers of {layer:?} of the same weights");
        check_op(&op, &inputs, |tape, v| {
            let mut below = all(layer.run_dense(tape, v, None)?);
            let state = below.split_off(1);
            let weights = v[1..v.len() - state.len()].to_vec();
            let above = [below, weights, state].concat();
            Ok(all(layer.run_dense(tape, &above, None)?))
        });
        let stateless = &inputs[..inputs.len() - layer.states()];
        let with_bias = [stateless, &[random(8, [5])]].concat();
        let op = format!("y next to the layer above of {layer:?}");
        check_op(&op, &with_bias, |tape, v| {
            let (bias, v) = v.split_last().expect("a bias");
            let below = layer.run_dense(tape, v, None)?;
            let mut above = v.to_vec();
            above[0] = below.y.clone();
            let above = layer.run_dense(tape, &above, None)?;
            // Both layers have saved y, so the bias must not be added in place.
            Ok(vec![add_bias(tape, below.y, bias)?, above.y])
        });
    }
}

#[test]
fn constants_alone_have_no_gradient() {
    for layer in every(2, 2, 3, 5) {
        let v: Vec<Var> = layer.dense().into_iter().map(Var::constant).collect();
        let out = all(layer.run_dense(&mut Tape::new(), &v, None).unwrap());
        assert!(out.iter().all(|v| v.slot().is_none()));
    }
}

// ---- refused -------------------------------------------------------------------------------

#[test]
fn refused() {
    for layer in every(2, 3, 4, 5) {
        let (good, g, name) = (layer.dense(), layer.kind.gates(), layer.kind.name());
        let rows = layer.rows();
        let (w_hh, form) = match g {
            1 => ("[5, 5]".to_string(), "[H, H]".to_string()),
            g => (format!("[{rows}, 5]"), format!("[{g}H, H]")),
        };
        let (w_ih, h0) = (format!("[{rows}, 4]"), good.len() - layer.states());
        // With input k replaced, the message names what is asked for.
        let wrong: [(usize, Tensor, [&str; 2]); 9] = [
            (0, random(0, [6, 4]), ["[6, 4]", "[T, B, I]"]),
            (0, random(0, [2, 3, 7]), ["[2, 3, 7]", &w_ih]),
            (0, random(0, [2, 3, 0]), ["[2, 3, 0]", &w_ih]),
            (1, random(0, [16, 4]), ["[16, 4]", &w_hh]),
            (2, random(0, [rows, 6]), [", 6]", &form]),
            (2, random(0, [100]), ["[100]", &form]),
            (3, random(0, [4]), ["[4]", &w_hh]),
            (h0, random(0, [5, 3]), ["h0 is [5, 3]", "[3, 5]"]),
            (0, random(0, [0, 3, 4]), ["empty", "0 steps"]),
        ];
        let run = |k: usize, tensor: Tensor| {
            let mut inputs = good.clone();
            inputs[k] = tensor;
            let v: Vec<Var> = inputs.into_iter().map(Var::constant).collect();
            layer.run_dense(&mut Tape::new(), &v, None)
        };
        for (k, tensor, parts) in wrong {
            assert_refused(run(k, tensor), &[&[name], &parts[..]].concat());
        }
        if layer.kind.has_c() {
            let parts = [name, "c0 is [2, 5]", "[3, 5]"];
            assert_refused(run(h0 + 1, random(0, [2, 5])), &parts);
        }
        if layer.kind.has_b_hh() {
            let parts = [name, "b_hh is [5]", "[15]"];
            assert_refused(run(4, random(0, [5])), &parts);
        }
        for (k, tensor) in good.iter().enumerate() {
            let single = convert(tensor, DType::F32).unwrap();
            assert_refused(run(k, single), &[name, "f32", "f64"]);
        }
        let half = good.iter().map(|t| convert(t, DType::F16).unwrap());
        let half: Vec<Var> = half.map(Var::constant).collect();
        let result = layer.run_dense(&mut Tape::new(), &half, None);
        assert_refused(result, &[name, "f16"]);
    }
}

/// A state or a bias that the cell does not have, or lacks.
#[test]
fn refused_parts() {
    for layer in every(2, 3, 4, 5) {
        let v: Vec<Var> = layer.dense().into_iter().map(Var::constant).collect();
        let [x, w_ih, bias] = [&v[0], &v[1], &v[3]];
        let input = Input::Dense { x, w_ih, bias };
        let run = |b_hh: bool, c: bool| {
            let (h, b_hh) = (Var::constant(random(0, [3, 5])), b_hh.then_some(bias));
            let c = c.then(|| h.clone());
            let hidden = Hidden { w_hh: &v[2], b_hh };
            let state = Some(&State { h, c });
            recurrent(&mut Tape::new(), layer.kind, input, hidden, state)
        };
        let (b_hh, c) = (layer.kind.has_b_hh(), layer.kind.has_c());
        assert!(run(b_hh, c).is_ok());
        let name = layer.kind.name();
        assert_refused(run(!b_hh, c), &[name, "b_hh is", "absent"]);
        assert_refused(
            run(b_hh, !c),
            &[name, "an initial state with", "cell state"],
        );
    }
}

#[test]
fn refused_tables() {
    for layer in every(2, 3, 4, 5) {
        let v: Vec<Var> = layer.table().into_iter().map(Var::constant).collect();
        let name = layer.kind.name();
        let run = |v: &[Var], ids: &Tensor| layer.run_table(&mut Tape::new(), v, ids, None);
        let bad_id = u32s(&[0, 1, 2, 3, 4, 0], [2, 3]);
        assert_refused(run(&v, &bad_id), &[name, "id 4", "4 rows"]);
        let flat = u32s(&[0; 6], [6]);
        assert_refused(run(&v, &flat), &[name, "[6]", "[T, B]"]);
        let good = u32s(&[0; 6], [2, 3]);
        let mut narrow = v.clone();
        narrow[0] = Var::constant(random(0, [4, 16]));
        let w_hh = format!("[{}, 5]", layer.rows());
        assert_refused(run(&narrow, &good), &[name, "[4, 16]", &w_hh]);
        let floats = random(0, [2, 3]);
        assert_refused(run(&v, &floats), &["f64", "u32"]);
    }
}
