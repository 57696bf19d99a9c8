//! A whole-sequence LSTM decoder with additive attention as one node.
//!
//! **op** (Bahdanau, Cho & Bengio 2015; s is the hidden state h of [`super::lstm::Lstm`]):
//!
//! ```text
//! q_t  = W_q s_{t-1} + b_q                     [A]
//! e_tj = v . tanh(q_t + k_j)                   over the source positions j of the row
//! a_t  = softmax_j(e_t)
//! ctx_t = sum_j a_tj m_j                       [D]
//! (s_t, c_t) = LSTM([x_t ; ctx_t], (s_{t-1}, c_{t-1}))
//! ```
//!
//! The rows of the batch may attend to any number of positions: those of row b are rows
//! `spans.start(b)..` of the keys k `[M, A]` and the values m `[M, D]`, so nothing is masked.
//!
//! **cpu** (`cpu.rs`, `forward.rs`, `backward.rs`): the LSTM's slabs, with the attention between two
//! of its steps. A slab owns its rows' positions, so their gradients are never shared.
//!
//! **gpu** (`gpu.rs`, `gpu_backward.rs`): two products and two kernels a step, or one kernel for all of them
//! (`whole.rs`), and large products over all steps.

mod backward;
mod cpu;
mod forward;
mod gpu;
mod gpu_backward;
mod whole;

use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::data::spans::Spans;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::recurrent::Packed;
use crate::tensor::{Tensor, for_float};

/// The word of the decoder in the log and in the [measured table](crate::device::measured).
pub const WORD: &str = "attention";

/// The source side that is attended to. The positions of row b are rows
/// `spans.start(b)..spans.start(b) + spans.len(b)` of keys and values.
#[derive(Clone, Copy, Debug)]
pub struct Memory<'a> {
    /// Keys k_j = W_k h_j `[M, A]`.
    pub keys: &'a Var,
    /// Values m_j, of which the context is a mean `[M, D]`.
    pub values: &'a Var,
    /// The positions of each row.
    pub spans: &'a Spans,
    /// The spans' offsets `[B + 1]` on the GPU that holds keys and values; without them the op puts them
    /// there.
    pub offsets: Option<&'a Tensor>,
}

/// The parameters of the energies.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// W_q `[A, H]`.
    pub w_q: &'a Var,
    /// b_q `[A]`.
    pub b_q: &'a Var,
    /// v `[1, A]`.
    pub v: &'a Var,
}

/// The parameters of the LSTM.
#[derive(Clone, Copy, Debug)]
pub struct Weights<'a> {
    /// W_ih `[4H, E + D]`, columns [x; ctx].
    pub w_ih: &'a Var,
    /// b `[4H]`.
    pub bias: &'a Var,
    /// W_hh `[4H, H]`.
    pub w_hh: &'a Var,
}

/// What [`attention_lstm`] gives.
#[derive(Clone, Debug)]
pub struct AttentionOutput {
    /// Hidden states `[N, H]`.
    pub y: Var,
    /// Contexts `[N, D]`.
    pub context: Var,
    /// Attention weights `[N, S]`, zero past the row's positions; f32 on a GPU. The gradient is the one
    /// that reaches the row's positions; what lies past them is not looked at.
    pub alpha: Var,
    /// Hidden state after each row's last element `[B, H]`.
    pub h_n: Var,
    /// Cell state after each row's last element `[B, H]`.
    pub c_n: Var,
}

/// Runs the decoder over packed inputs x `[N, E]` from the initial (h, c), each `[B, H]`.
///
/// # Errors
/// [`Error::Op`] for shapes or data types that do not fit together.
pub fn attention_lstm<'a>(
    tape: &mut Tape,
    x: &Var,
    weights: Weights,
    state: (&Var, &Var),
    query: Query,
    memory: Memory,
    packed: impl Into<Packed<'a>>,
) -> Result<AttentionOutput> {
    let packed = packed.into();
    let operands = Operands {
        x: x.clone(),
        w_ih: weights.w_ih.clone(),
        bias: weights.bias.clone(),
        w_hh: weights.w_hh.clone(),
        h0: state.0.clone(),
        c0: state.1.clone(),
        w_q: query.w_q.clone(),
        b_q: query.b_q.clone(),
        v: query.v.clone(),
        keys: memory.keys.clone(),
        values: memory.values.clone(),
        spans: memory.spans.clone(),
        offsets: memory.offsets.cloned(),
        packing: packed.packing.clone(),
        step_offsets: packed.offsets.cloned(),
    };
    operands.check()?;
    match x.value().gpu().cloned() {
        Some(gpu) => gpu::run(&gpu, tape, operands),
        None => for_float!("attention", x.value().dtype(), T => {
            cpu::run::<T>(tape, operands)
        }),
    }
}

fn fail<T>(message: String) -> Result<T> {
    Err(Error::op("attention", message))
}

/// All inputs, as both devices work with them and as the node saves them.
#[derive(Clone)]
struct Operands {
    x: Var,
    w_ih: Var,
    bias: Var,
    w_hh: Var,
    h0: Var,
    c0: Var,
    w_q: Var,
    b_q: Var,
    v: Var,
    keys: Var,
    values: Var,
    spans: Spans,
    offsets: Option<Tensor>,
    packing: Packing,
    /// Where its steps begin, if that is on the GPU.
    step_offsets: Option<Tensor>,
}

impl Operands {
    /// H.
    fn hidden(&self) -> usize {
        self.w_hh.value().shape().last()
    }

    /// A, the width of keys and query.
    fn width(&self) -> usize {
        self.keys.value().shape().last()
    }

    /// D, the columns of the context.
    fn columns(&self) -> usize {
        self.values.value().shape().last()
    }

    /// E, the columns of x.
    fn inputs(&self) -> usize {
        self.x.value().shape().last()
    }

    fn vars(&self) -> [&Var; 11] {
        [
            &self.x,
            &self.w_ih,
            &self.bias,
            &self.w_hh,
            &self.h0,
            &self.c0,
            &self.w_q,
            &self.b_q,
            &self.v,
            &self.keys,
            &self.values,
        ]
    }

    fn check(&self) -> Result<()> {
        let (rows, batch) = (self.packing.rows(), self.packing.batch());
        let (e, h, a, d) = (self.inputs(), self.hidden(), self.width(), self.columns());
        if [e, h, a, d].contains(&0) {
            return fail("x, W_hh, keys or values have no columns".into());
        }
        if self.spans.rows() != batch {
            let spans = self.spans.rows();
            return fail(format!("{spans} spans of positions for {batch} rows"));
        }
        if let Some(offsets) = self.offsets.as_ref().filter(|o| o.dims() != [batch + 1]) {
            let shape = offsets.shape();
            return fail(format!("offsets {shape} of {batch} spans"));
        }
        let steps = self.packing.steps();
        let given = self.step_offsets.as_ref();
        if let Some(given) = given.filter(|o| o.dims() != [steps + 1] || o.dtype() != DType::U32) {
            let (shape, dtype) = (given.shape(), given.dtype());
            return fail(format!("offsets {shape} of {dtype} for {steps} steps"));
        }
        let positions = self.spans.total();
        let shapes: [(&str, &Var, &[usize]); 11] = [
            ("x", &self.x, &[rows, e]),
            ("W_ih", &self.w_ih, &[4 * h, e + d]),
            ("b", &self.bias, &[4 * h]),
            ("W_hh", &self.w_hh, &[4 * h, h]),
            ("the initial h", &self.h0, &[batch, h]),
            ("the initial c", &self.c0, &[batch, h]),
            ("W_q", &self.w_q, &[a, h]),
            ("b_q", &self.b_q, &[a]),
            ("v", &self.v, &[1, a]),
            ("keys", &self.keys, &[positions, a]),
            ("values", &self.values, &[positions, d]),
        ];
        for (name, var, shape) in shapes {
            if var.value().dims() != shape {
                return fail(format!(
                    "{name} is {}, not {shape:?}, with x {}, W_hh {}, keys {} and values {}",
                    var.value().shape(),
                    self.x.value().shape(),
                    self.w_hh.value().shape(),
                    self.keys.value().shape(),
                    self.values.value().shape(),
                ));
            }
        }
        // The cell state is f32 on a GPU, whatever the layer's data type.
        let on_cpu = self.x.value().gpu().is_none();
        let is_c0 = |var: &&Var| std::ptr::eq(*var, &self.c0);
        let operands = self.vars().into_iter().filter(|var| on_cpu || !is_c0(var));
        let operands: Vec<&Tensor> = operands.map(Var::value).collect();
        crate::ops::common::one_dtype("attention", &operands)
    }

    /// Puts y, the context, alpha, h_n and c_n on the tape.
    fn outputs(
        &self,
        tape: &mut Tape,
        [y, context, alpha, h_n, c_n]: [Tensor; 5],
    ) -> AttentionOutput {
        let mut output = |t: Tensor| tape.output(t, self.vars().map(Var::slot));
        AttentionOutput {
            y: output(y),
            context: output(context),
            alpha: output(alpha),
            h_n: output(h_n),
            c_n: output(c_n),
        }
    }
}
