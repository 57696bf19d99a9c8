//! What several test programs check with: made inputs, comparison of tensors, and analytic gradients
//! against central finite differences in f64.

use rnnx::Result;
use rnnx::autograd::{Tape, Var};
use rnnx::dtype::DType;
use rnnx::ops;
use rnnx::ops::cast::convert;
use rnnx::rng::{Purpose, Stream};
use rnnx::shape::Shape;
use rnnx::tensor::Tensor;

const SEED: u64 = 20_260_101;

/// Tensor number `k` of a shape: f64, uniform in [-1, 1).
pub fn random(k: u32, shape: impl Into<Shape>) -> Tensor {
    let shape = shape.into();
    let mut reader = Stream::new(SEED, Purpose::Init, k).reader();
    let data: Vec<f64> = (0..shape.numel())
        .map(|_| 2.0 * reader.uniform() - 1.0)
        .collect();
    Tensor::from_slice(&data, shape).expect("the data fills the shape")
}

/// The elements of a floating tensor as doubles.
pub fn values(t: &Tensor) -> Vec<f64> {
    let wide = convert(t, DType::F64).expect("a floating tensor");
    wide.data::<f64>().expect("f64").to_vec()
}

/// Asserts that the shapes are equal and that no element is further from `expected` than
/// `tolerance` times the largest absolute value expected.
#[track_caller]
pub fn assert_close(what: &str, actual: &Tensor, expected: &Tensor, tolerance: f64) {
    assert_eq!(actual.shape(), expected.shape(), "{what}: shapes");
    let (a, e) = (values(actual), values(expected));
    let largest = e.iter().fold(0.0f64, |m, x| m.max(x.abs()));
    let bound = tolerance * largest;
    // NaN counts as infinitely far.
    let distance = |i: usize| {
        let d = (a[i] - e[i]).abs();
        if d.is_nan() { f64::INFINITY } else { d }
    };
    let worst = (0..a.len()).max_by(|&i, &j| distance(i).total_cmp(&distance(j)));
    if let Some(i) = worst.filter(|&i| distance(i) > bound) {
        panic!(
            "{what}: element {i} of {} is {:e}, expected {:e}; they differ by {:.1e}, allowed are \
             {bound:.1e}",
            actual.shape(),
            a[i],
            e[i],
            distance(i)
        );
    }
}

/// What an op gave for some inputs, and the gradients of its projection.
pub struct Projected {
    /// The outputs.
    pub outputs: Vec<Tensor>,
    /// Gradients of sum over outputs of sum(output * R), one for each input; zero where none came.
    pub gradients: Vec<Tensor>,
}

/// The fixed tensor R of output number `k`. Its elements are odd multiples of 1 / 64, so they are
/// never zero and exact in every data type.
fn projection(k: usize, shape: &Shape) -> Tensor {
    let stream = Stream::new(SEED, Purpose::Sample, k as u32);
    let element = |i| f64::from(2 * (stream.word(i) >> 26) + 1) / 64.0 - 1.0;
    let data: Vec<f64> = (0..shape.numel() as u64).map(element).collect();
    Tensor::from_slice(&data, shape.clone()).expect("the data fills the shape")
}

/// Runs `f` on leaves and differentiates the projection of all its outputs.
pub fn projected(
    inputs: &[Tensor],
    f: impl Fn(&mut Tape, &[Var]) -> Result<Vec<Var>>,
) -> Result<Projected> {
    let mut tape = Tape::new();
    let vars: Vec<Var> = inputs.iter().map(|x| tape.leaf(x.clone())).collect();
    let outputs = f(&mut tape, &vars)?;
    let mut loss: Option<Var> = None;
    for (k, output) in outputs.iter().enumerate() {
        let r = convert(
            &projection(k, output.value().shape()),
            output.value().dtype(),
        )?;
        let product = ops::mul(&mut tape, output, &Var::constant(r))?;
        let part = ops::sum(&mut tape, &product)?;
        loss = Some(match loss {
            Some(sum) => ops::add(&mut tape, &sum, &part)?,
            None => part,
        });
    }
    let loss = loss.expect("an op has outputs");
    let one = convert(&Tensor::scalar(1.0f64), loss.value().dtype())?;
    let mut grads = tape.backward(&loss, one)?;
    let gradient = |v: &Var| match grads.take(v.slot()) {
        Some(g) => Ok(g),
        None => convert(
            &Tensor::zeros::<f64>(v.value().shape().clone()),
            v.value().dtype(),
        ),
    };
    Ok(Projected {
        gradients: vars.iter().map(gradient).collect::<Result<_>>()?,
        outputs: outputs.iter().map(|v| v.value().clone()).collect(),
    })
}

/// The projection, summed here in plain doubles, of an inference run.
fn projected_value(
    inputs: &[Tensor],
    f: &impl Fn(&mut Tape, &[Var]) -> Result<Vec<Var>>,
) -> Result<f64> {
    let mut tape = Tape::inference();
    let vars: Vec<Var> = inputs.iter().map(|x| tape.leaf(x.clone())).collect();
    let mut sum = 0.0;
    for (k, output) in f(&mut tape, &vars)?.iter().enumerate() {
        let r = projection(k, output.value().shape());
        let products = values(output.value()).into_iter().zip(values(&r));
        sum += products.map(|(y, r)| y * r).sum::<f64>();
    }
    Ok(sum)
}

/// Half the distance of the two points of a central difference: its error of order STEP^2 (1e-10)
/// and the rounding of the loss divided by STEP (1e-11 times the loss) are about as large.
const STEP: f64 = 1e-5;
/// Allowed error of a gradient element, relative to the largest of its tensor: the rounding of a
/// loss of 1e3, and 1e5 times less than an error of one percent.
const TOLERANCE: f64 = 1e-7;
/// Gradients below this are as good as zero; the tolerance does not shrink further.
const SMALLEST: f64 = 1e-2;
/// Inputs up to this size are checked element by element.
const EVERY: usize = 300;
/// Elements and directions that are checked of a larger input.
const SOME: usize = 24;

/// Checks the gradient of every input of `f` in f64: each element of a small input; of a large one
/// some elements and some directions that move all elements at once.
#[track_caller]
pub fn gradcheck(op: &str, inputs: &[Tensor], f: impl Fn(&mut Tape, &[Var]) -> Result<Vec<Var>>) {
    let analytic = projected(inputs, &f).unwrap_or_else(|e| panic!("gradcheck of {op}: {e}"));
    for (k, (input, gradient)) in inputs.iter().zip(&analytic.gradients).enumerate() {
        assert_eq!(
            gradient.shape(),
            input.shape(),
            "gradcheck of {op}: input {k}"
        );
        let gradient = values(gradient);
        let difference = |direction: &dyn Fn(usize) -> f64| {
            let at = |step: f64| {
                let moved = values(input).into_iter().enumerate();
                let moved: Vec<f64> = moved.map(|(i, x)| x + step * direction(i)).collect();
                let mut inputs = inputs.to_vec();
                inputs[k] = Tensor::from_slice(&moved, input.shape().clone())?;
                projected_value(&inputs, &f)
            };
            let value = |step| at(step).unwrap_or_else(|e| panic!("gradcheck of {op}: {e}"));
            (value(STEP) - value(-STEP)) / (2.0 * STEP)
        };
        let largest = gradient.iter().fold(SMALLEST, |m, x| m.max(x.abs()));
        let check = |what: String, analytic: f64, numeric: f64, bound: f64| {
            let error = (analytic - numeric).abs();
            assert!(
                error <= bound,
                "gradcheck of {op}: {what} of input {k} {}: analytic {analytic:e}, numeric \
                 {numeric:e}; they differ by {error:.1e}, allowed are {bound:.1e}",
                input.shape()
            );
        };

        let stream = Stream::new(SEED, Purpose::Shuffle, k as u32);
        let elements: Vec<usize> = if gradient.len() <= EVERY {
            (0..gradient.len()).collect()
        } else {
            let mut reader = stream.reader();
            (0..SOME)
                .map(|_| reader.below(gradient.len() as u32) as usize)
                .collect()
        };
        for i in elements {
            let numeric = difference(&|j| f64::from(u8::from(i == j)));
            check(
                format!("element {i}"),
                gradient[i],
                numeric,
                TOLERANCE * largest,
            );
        }
        if gradient.len() <= EVERY {
            continue;
        }
        for n in 0..SOME {
            // Each element moves by one step, up or down.
            let signs = stream.lane(1 + n as u32);
            let sign = |i: usize| f64::from(signs.word(i as u64 / 32) >> (i % 32) & 1) * 2.0 - 1.0;
            let along = gradient.iter().enumerate().map(|(i, g)| g * sign(i)).sum();
            let bound = TOLERANCE * largest * (gradient.len() as f64).sqrt();
            check(format!("direction {n}"), along, difference(&sign), bound);
        }
    }
}
