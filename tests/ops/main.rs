//! The ops: gradients against finite differences (f64), f32 against f64, goldens, known values,
//! refused shapes, and the same bits whatever the number of threads. One file for each file of
//! `src/ops`, and one for the tape.

#[path = "../support/mod.rs"]
mod support;

mod add_bias;
mod attention;
mod cast;
mod concat;
mod copy_xent;
mod dot_attention;
mod dropout;
mod elementwise;
mod embedding;
mod gather;
mod gelu;
mod gru;
mod layer_norm;
mod likeliest;
mod linear_xent;
mod lstm;
mod matmul;
mod recurrent;
mod reduce;
mod rnn;
mod slice;
mod softmax_xent;
mod tape;

use rnnx::autograd::{Tape, Var};
use rnnx::dtype::DType;
use rnnx::ops::cast::convert;
use rnnx::rng::{Purpose, Stream};
use rnnx::tensor::Tensor;
use rnnx::{Error, Result};
use support::{Projected, assert_close, gradcheck, projected, values};

/// f32 outputs against f64, relative to the largest of a tensor: sums of up to 300 products, each
/// rounded to 6e-8, and the vector functions' 4e-7.
const F32_OUTPUT: f64 = 2e-6;
/// f32 gradients against f64: the sums are longer, over time and batch.
const F32_GRADIENT: f64 = 5e-6;

/// Sizes that are no multiple of any vector width, and one element.
const ODD: [usize; 4] = [1, 7, 33, 257];

/// All that holds for every op: gradients (f64), f32 against f64, the same bits with 1, 2 and 3
/// threads, and nothing kept by a tape that does not record.
#[track_caller]
fn check_op(op: &str, inputs: &[Tensor], f: impl Fn(&mut Tape, &[Var]) -> Result<Vec<Var>> + Sync) {
    gradcheck(op, inputs, &f);
    f32_matches_f64(op, inputs, &f);
    same_bits_with_any_pool(op, inputs, &f);
    same_bits_with_any_pool(op, &narrow(inputs), &f);
    inference_keeps_nothing(op, inputs, &f);
}

fn narrow(inputs: &[Tensor]) -> Vec<Tensor> {
    let narrow = |x| convert(x, DType::F32).expect("a floating tensor");
    inputs.iter().map(narrow).collect()
}

/// Runs `f` in f32 and, on the same rounded inputs, in f64.
#[track_caller]
fn f32_matches_f64(op: &str, inputs: &[Tensor], f: impl Fn(&mut Tape, &[Var]) -> Result<Vec<Var>>) {
    let run = |inputs: &[Tensor]| projected(inputs, &f).unwrap_or_else(|e| panic!("{op}: {e}"));
    let narrow = narrow(inputs);
    let widen = |x| convert(x, DType::F64).expect("a floating tensor");
    let wide: Vec<Tensor> = narrow.iter().map(widen).collect();
    let (narrow, wide) = (run(&narrow), run(&wide));
    for (k, (a, e)) in narrow.outputs.iter().zip(&wide.outputs).enumerate() {
        assert_eq!(a.dtype(), DType::F32, "{op}: output {k}");
        assert_close(&format!("{op} in f32: output {k}"), a, e, F32_OUTPUT);
    }
    for (k, (a, e)) in narrow.gradients.iter().zip(&wide.gradients).enumerate() {
        assert_eq!(a.dtype(), DType::F32, "{op}: gradient of input {k}");
        let what = format!("{op} in f32: gradient of input {k}");
        assert_close(&what, a, e, F32_GRADIENT);
    }
}

#[track_caller]
fn same_bits_with_any_pool(
    op: &str,
    inputs: &[Tensor],
    f: impl Fn(&mut Tape, &[Var]) -> Result<Vec<Var>> + Sync,
) {
    let bits = |threads: usize| -> Vec<Vec<u64>> {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
        let run = pool.expect("a pool").install(|| projected(inputs, &f));
        let Projected { outputs, gradients } = run.unwrap_or_else(|e| panic!("{op}: {e}"));
        let tensors = outputs.iter().chain(&gradients);
        tensors
            .map(|t| values(t).into_iter().map(f64::to_bits).collect())
            .collect()
    };
    let one = bits(1);
    for threads in [2, 3] {
        for (k, (a, b)) in bits(threads).iter().zip(&one).enumerate() {
            let place = a.iter().zip(b).position(|(a, b)| a != b);
            assert_eq!(
                place, None,
                "{op}: tensor {k} has other bits with {threads} threads than with one, first at \
                 this element"
            );
        }
    }
}

/// On a tape that does not record, nothing has a slot and no input is held on to.
#[track_caller]
fn inference_keeps_nothing(
    op: &str,
    inputs: &[Tensor],
    f: impl Fn(&mut Tape, &[Var]) -> Result<Vec<Var>>,
) {
    let mut tape = Tape::inference();
    let own = |x: &Tensor| Tensor::from_slice(&values(x), x.shape().clone()).expect("a copy");
    let vars: Vec<Var> = inputs.iter().map(|x| tape.leaf(own(x))).collect();
    let outputs = f(&mut tape, &vars).unwrap_or_else(|e| panic!("{op}: {e}"));
    assert!(
        outputs.iter().chain(&vars).all(|v| v.slot().is_none()),
        "{op}: a slot"
    );
    drop(outputs);
    for (k, var) in vars.into_iter().enumerate() {
        let unique = var.into_value().is_unique();
        assert!(
            unique,
            "{op}: input {k} is held by a tape that does not record"
        );
    }
    assert!(!tape.is_recording());
}

/// A refused call: an op error that has all of `parts` in its message.
#[track_caller]
fn assert_refused<T>(result: Result<T>, parts: &[&str]) {
    let Err(error) = result else {
        panic!("this must be refused, with {parts:?}");
    };
    assert!(matches!(error, Error::Op { .. }), "{error:?}");
    let message = error.to_string();
    for part in parts {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
}

fn f64s(data: &[f64], shape: impl Into<rnnx::shape::Shape>) -> Tensor {
    Tensor::from_slice(data, shape).expect("the data fills the shape")
}

fn f32s(data: &[f32], shape: impl Into<rnnx::shape::Shape>) -> Tensor {
    Tensor::from_slice(data, shape).expect("the data fills the shape")
}

fn u32s(data: &[u32], shape: impl Into<rnnx::shape::Shape>) -> Tensor {
    Tensor::from_slice(data, shape).expect("the data fills the shape")
}

/// Random ids below `bound`.
fn ids(k: u32, shape: impl Into<rnnx::shape::Shape>, bound: u32) -> Tensor {
    let shape = shape.into();
    let mut reader = Stream::new(3, Purpose::Shuffle, k).reader();
    let data: Vec<u32> = (0..shape.numel()).map(|_| reader.below(bound)).collect();
    u32s(&data, shape)
}
