//! The LSTM. H and B are chosen for the kernels' blocks: a register has 4 lanes in f64 and 4, 8 or
//! 16 in f32, a slab has 16 batch rows and more, a chunk of the backward pass 192 rows of dz.

mod numbers;
mod packed;

use super::{
    assert_refused, check_op, f32_matches_f64, f64s, ids, narrow, same_bits_with_any_pool, u32s,
};
use crate::support::{assert_close, gradcheck, projected, random, values};
use rnnx::Result;
use rnnx::autograd::{Tape, Var};
use rnnx::dtype::DType;
use rnnx::ops::add_bias;
use rnnx::ops::cast::convert;
use rnnx::ops::lstm::{Input, Output, lstm};
use rnnx::tensor::Tensor;

/// The extents of a layer.
#[derive(Clone, Copy, Debug)]
struct Sizes {
    t: usize,
    b: usize,
    i: usize,
    h: usize,
}

impl Sizes {
    const fn new(t: usize, b: usize, i: usize, h: usize) -> Self {
        Sizes { t, b, i, h }
    }

    /// x, W_ih, W_hh, b, h0, c0. The weights are such that gates neither saturate nor vanish.
    fn dense(self) -> Vec<Tensor> {
        let Sizes { t, b, i, h } = self;
        vec![
            random(0, [t, b, i]),
            scaled(1, [4 * h, i], i),
            scaled(2, [4 * h, h], h),
            random(3, [4 * h]),
            random(4, [b, h]),
            random(5, [b, h]),
        ]
    }

    /// Table `[V, 4H]`, W_hh, h0, c0; V = I.
    fn table(self) -> Vec<Tensor> {
        let Sizes { b, i, h, .. } = self;
        vec![
            random(1, [i, 4 * h]),
            scaled(2, [4 * h, h], h),
            random(4, [b, h]),
            random(5, [b, h]),
        ]
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

/// The layer over the inputs of [`Sizes::dense`]; the state is used if it is there.
fn dense(tape: &mut Tape, v: &[Var]) -> Result<Output> {
    let input = Input::Dense {
        x: &v[0],
        w_ih: &v[1],
        bias: &v[3],
    };
    lstm(tape, input, &v[2], v.get(4).zip(v.get(5)))
}

fn table(tape: &mut Tape, v: &[Var], ids: &Tensor) -> Result<Output> {
    lstm(
        tape,
        Input::Table { table: &v[0], ids },
        &v[1],
        v.get(2).zip(v.get(3)),
    )
}

fn all(o: Output) -> Vec<Var> {
    vec![o.y, o.h_n, o.c_n]
}

fn check_dense(sizes: Sizes) {
    let inputs = sizes.dense();
    for inputs in [&inputs[..], &inputs[..4]] {
        let op = format!("lstm {sizes:?} of {} inputs", inputs.len());
        check_op(&op, inputs, |tape, v| Ok(all(dense(tape, v)?)));
    }
}

fn check_table(sizes: Sizes) {
    let ids = ids(7, [sizes.t, sizes.b], sizes.i as u32);
    let inputs = sizes.table();
    for inputs in [&inputs[..], &inputs[..2]] {
        let op = format!("lstm table {sizes:?} of {} inputs", inputs.len());
        check_op(&op, inputs, |tape, v| Ok(all(table(tape, v, &ids)?)));
    }
}

// ---- sizes ---------------------------------------------------------------------------------

#[test]
fn one_step_one_row_one_unit() {
    check_dense(Sizes::new(1, 1, 1, 1));
    check_dense(Sizes::new(1, 1, 3, 7));
    check_dense(Sizes::new(4, 1, 2, 5));
    check_table(Sizes::new(1, 1, 1, 1));
    check_table(Sizes::new(1, 3, 4, 7));
}

#[test]
fn units_around_the_registers() {
    for h in [7, 16, 20, 32, 33] {
        check_dense(Sizes::new(3, 5, 4, h));
    }
    check_table(Sizes::new(3, 5, 6, 20));
    check_table(Sizes::new(3, 5, 6, 32));
}

/// Inputs and units of more than one panel (16 columns in f64, 64 in f32), not a multiple.
#[test]
fn several_panels() {
    check_dense(Sizes::new(3, 2, 71, 9));
    check_dense(Sizes::new(3, 2, 5, 70));
    check_table(Sizes::new(3, 2, 5, 70));
}

/// 40 rows are slabs of 16, 16 and 8; 130 rows are slabs of 17, the last one of 11.
#[test]
fn several_slabs() {
    check_dense(Sizes::new(3, 40, 3, 7));
    check_table(Sizes::new(3, 40, 5, 7));
    check_dense(Sizes::new(2, 130, 2, 5));
}

/// A slab of 16 rows takes chunks of 12 steps: 12 + 12 + 6, and exactly 24. A slab of one row
/// takes 192 steps.
#[test]
fn several_chunks() {
    check_dense(Sizes::new(30, 17, 2, 5));
    check_table(Sizes::new(24, 16, 4, 5));
    check_dense(Sizes::new(200, 1, 2, 3));
}

#[test]
fn f32_on_larger_sizes() {
    let sizes = Sizes::new(50, 70, 24, 48);
    let ids = ids(7, [sizes.t, sizes.b], sizes.i as u32);
    let run = |tape: &mut Tape, v: &[Var]| Ok(all(dense(tape, v)?));
    f32_matches_f64("lstm dense", &sizes.dense(), run);
    same_bits_with_any_pool("lstm dense", &narrow(&sizes.dense()), run);
    let run = |tape: &mut Tape, v: &[Var]| Ok(all(table(tape, v, &ids)?));
    f32_matches_f64("lstm table", &sizes.table(), run);
    same_bits_with_any_pool("lstm table", &narrow(&sizes.table()), run);
    // The last rows of a slab: 6 rows a tile with AVX-512, so 1 to 5 are left.
    for b in [1, 2, 3, 4, 5, 11] {
        let sizes = Sizes::new(4, b, 7, 70);
        let op = format!("lstm {sizes:?}");
        f32_matches_f64(&op, &sizes.dense(), |tape, v| Ok(all(dense(tape, v)?)));
    }
}

// ---- which gradients -----------------------------------------------------------------------

#[test]
fn each_output_alone() {
    let sizes = Sizes::new(4, 3, 2, 5);
    let picked = ids(7, [4, 3], 2);
    for k in 0..3 {
        let one = |o: Output| vec![all(o).swap_remove(k)];
        gradcheck(&format!("lstm output {k}"), &sizes.dense(), |tape, v| {
            Ok(one(dense(tape, v)?))
        });
        gradcheck(
            &format!("lstm table output {k}"),
            &sizes.table(),
            |tape, v| Ok(one(table(tape, v, &picked)?)),
        );
    }
}

/// Each input's gradient is the same whether or not the others want theirs.
#[test]
fn each_input_alone() {
    let inputs = Sizes::new(14, 17, 3, 7).dense();
    let run = |wanted: &dyn Fn(usize) -> bool| {
        let inputs = inputs.clone();
        let gradients = projected(&inputs, |tape, v| {
            let some = |(k, v): (usize, &Var)| match wanted(k) {
                true => v.clone(),
                false => Var::constant(v.value().clone()),
            };
            Ok(all(dense(
                tape,
                &v.iter().enumerate().map(some).collect::<Vec<_>>(),
            )?))
        });
        gradients.unwrap().gradients
    };
    let together = run(&|_| true);
    for k in 0..inputs.len() {
        let alone = run(&|i| i == k);
        assert_close(
            &format!("gradient of input {k}"),
            &alone[k],
            &together[k],
            0.0,
        );
        assert_eq!(values(&alone[(k + 1) % 6]).iter().sum::<f64>(), 0.0);
    }
}

#[test]
fn one_value_as_several_inputs() {
    let sizes = Sizes::new(3, 2, 5, 5);
    let inputs = sizes.dense();
    check_op(
        "lstm with W_ih = W_hh and h0 = c0",
        &inputs[..5],
        |tape, v| {
            let v = [0, 1, 1, 3, 4, 4].map(|k| v[k].clone());
            Ok(all(dense(tape, &v)?))
        },
    );
    check_op("two layers of the same weights", &inputs, |tape, v| {
        let below = dense(tape, v)?;
        let above = [
            below.y,
            v[1].clone(),
            v[2].clone(),
            v[3].clone(),
            below.h_n,
            below.c_n,
        ];
        Ok(all(dense(tape, &above)?))
    });
    let with_bias = [&inputs[..4], &[random(8, [5])]].concat();
    check_op("y next to its layer above", &with_bias, |tape, v| {
        let below = dense(tape, v)?;
        let input = Input::Dense {
            x: &below.y,
            w_ih: &v[1],
            bias: &v[3],
        };
        let above = lstm(tape, input, &v[2], None)?;
        // Both layers have saved y, so the bias must not be added in place.
        let y = add_bias(tape, below.y, &v[4])?;
        Ok(vec![y, above.y])
    });
}

#[test]
fn constants_alone_have_no_gradient() {
    let mut tape = Tape::new();
    let v: Vec<Var> = Sizes::new(2, 2, 3, 5)
        .dense()
        .into_iter()
        .map(Var::constant)
        .collect();
    let out = all(dense(&mut tape, &v).unwrap());
    assert!(out.iter().all(|v| v.slot().is_none()));
}

// ---- refused -------------------------------------------------------------------------------

#[test]
fn refused() {
    let good = Sizes::new(2, 3, 4, 5).dense();
    // With input k replaced, the message names what is asked for.
    let wrong: [(usize, Tensor, &[&str]); 9] = [
        (0, random(0, [6, 4]), &["[6, 4]", "[T, B, I]"]),
        (0, random(0, [2, 3, 7]), &["[2, 3, 7]", "[20, 4]"]),
        (1, random(0, [16, 4]), &["[16, 4]", "[20, 5]"]),
        (2, random(0, [20, 6]), &["[20, 6]", "[4H, H]"]),
        (2, random(0, [100]), &["[100]", "[4H, H]"]),
        (3, random(0, [5]), &["[5]", "[20, 5]"]),
        (4, random(0, [5, 3]), &["[5, 3]", "[3, 5]"]),
        (5, random(0, [2, 5]), &["[2, 5]", "[3, 5]"]),
        (0, random(0, [0, 3, 4]), &["empty", "0 steps"]),
    ];
    let run = |k: usize, tensor: Tensor| {
        let mut inputs = good.clone();
        inputs[k] = tensor;
        let v: Vec<Var> = inputs.into_iter().map(Var::constant).collect();
        dense(&mut Tape::new(), &v)
    };
    for (k, tensor, parts) in wrong {
        assert_refused(run(k, tensor), &[&["lstm"], parts].concat());
    }
    for (k, tensor) in good.iter().enumerate() {
        let single = convert(tensor, DType::F32).unwrap();
        assert_refused(run(k, single), &["lstm", "f32", "f64"]);
    }
    let half: Vec<Var> = good
        .iter()
        .map(|t| Var::constant(convert(t, DType::F16).unwrap()))
        .collect();
    assert_refused(dense(&mut Tape::new(), &half), &["lstm", "f16"]);
}

#[test]
fn refused_tables() {
    let v: Vec<Var> = Sizes::new(2, 3, 4, 5)
        .table()
        .into_iter()
        .map(Var::constant)
        .collect();
    let run = |v: &[Var], ids: &Tensor| table(&mut Tape::new(), v, ids);
    let bad_id = u32s(&[0, 1, 2, 3, 4, 0], [2, 3]);
    assert_refused(run(&v, &bad_id), &["lstm", "id 4", "4 rows"]);
    let flat = u32s(&[0; 6], [6]);
    assert_refused(run(&v, &flat), &["lstm", "[6]", "[T, B]"]);
    let good = u32s(&[0; 6], [2, 3]);
    let narrow = [Var::constant(random(0, [4, 16])), v[1].clone()];
    assert_refused(run(&narrow, &good), &["lstm", "[4, 16]", "[20, 5]"]);
    let floats = random(0, [2, 3]);
    assert_refused(run(&v, &floats), &["f64", "u32"]);
}
