//! **op** Scaled dot-product attention of several heads (Vaswani et al. 2017, section 3.2). For query i of
//! a sequence and each of its keys j, in the D / heads columns of each head:
//!
//! ```text
//! s_ij = q_i . k_j / sqrt(D / heads)
//! p_ij = exp(s_ij) / sum over the visible keys of exp(s_ij)
//! c_i  = sum_j p_ij v_j                alpha_ij = mean over the heads of p_ij
//! ```
//!
//! and with dp_ij = dc_i . v_j + dalpha_ij / heads and ds_ij = p_ij (dp_ij - sum_j p_ij dp_ij):
//!
//! ```text
//! dv_j = sum_i p_ij dc_i    dq_i = sum_j ds_ij k_j / sqrt(D / heads)    dk_j = sum_i ds_ij q_i / ..
//! ```
//!
//! Sequences are of different lengths and stand in their matrices without padding, so nothing masked is
//! computed. A causal query sees the keys up to its own place, where the last query stands at the last
//! key. The scores are never kept: the backward pass computes them again.
//!
//! **cpu** (`cpu.rs`, `head.rs`) Sequences in parallel; a head of one is a few small products.
//!
//! **gpu** (`gpu.rs`, `kernels/dot_attention.cu`) A block a query, and backward one a key besides.

mod cpu;
mod gpu;
mod head;
mod sequences;

use super::gpu::common;
use crate::autograd::{Slot, Tape, Var};
use crate::data::spans::Spans;
use crate::error::{Error, Result};
use crate::tensor::{Tensor, for_float};

pub use sequences::Sequences;

/// Queries, keys and values.
#[derive(Clone, Debug)]
pub enum Projected {
    /// [q | k | v] `[N, 3 D]`: of a sequence that attends to itself.
    Together(Var),
    /// Of one that attends to another.
    Apart {
        /// q `[N, D]`.
        queries: Var,
        /// [k | v] `[M, 2 D]`.
        memory: Var,
    },
}

/// What attends to what.
#[derive(Clone, Copy, Debug)]
pub struct Attention<'a> {
    /// The rows of the queries.
    pub queries: &'a Sequences,
    /// The rows of the keys, of as many sequences.
    pub keys: &'a Sequences,
    /// Heads, which divide D.
    pub heads: usize,
    /// A query sees no key behind its own place.
    pub causal: bool,
    /// Whether the mean weights of the heads are wanted.
    pub weights: bool,
}

/// What the op gives.
#[derive(Clone, Debug)]
pub struct Attended {
    /// c `[N, D]`, the heads side by side.
    pub context: Var,
    /// alpha `[N, S]`, in the order of the query's keys and zero past its last; f32 on a GPU.
    pub alpha: Option<Var>,
}

/// Attends.
///
/// # Errors
/// [`Error::Op`] for shapes, data types or sequences that do not fit, or heads that do not divide D.
pub fn dot_attention(
    tape: &mut Tape,
    projected: &Projected,
    attention: Attention,
) -> Result<Attended> {
    let operands = Operands::new(projected, attention)?;
    match operands.queries.tensor.gpu().cloned() {
        Some(gpu) => gpu::run(&gpu, tape, operands),
        None => for_float!("dot_attention", operands.queries.tensor.dtype(), T => {
            cpu::run::<T>(tape, operands)
        }),
    }
}

fn fail<T>(message: String) -> Result<T> {
    Err(Error::op("dot_attention", message))
}

/// Columns of a matrix, and where its gradient goes.
#[derive(Clone, Debug)]
struct Columns {
    tensor: Tensor,
    first: usize,
    slot: Option<Slot>,
}

/// What both passes read.
#[derive(Clone, Debug)]
struct Operands {
    queries: Columns,
    keys: Columns,
    values: Columns,
    /// Whether the three are columns of one matrix.
    together: bool,
    of_queries: Sequences,
    of_keys: Sequences,
    heads: usize,
    /// D / heads
    depth: usize,
    causal: bool,
    weights: bool,
}

impl Operands {
    fn new(projected: &Projected, attention: Attention) -> Result<Self> {
        let columns = |v: &Var, first| Columns {
            tensor: v.value().clone(),
            first,
            slot: v.slot(),
        };
        let (q, kv, parts) = match projected {
            Projected::Together(all) => (all, all, 3),
            Projected::Apart { queries, memory } => (queries, memory, 2),
        };
        let (queries, keys) = (q.value(), kv.value());
        super::common::one_dtype("dot_attention", &[queries, keys])?;
        common("dot_attention", queries, keys)?;
        let width = keys.shape().last() / parts;
        let of_queries = if parts == 3 { 3 * width } else { width };
        let matrices = queries.dims().len() == 2 && keys.dims().len() == 2;
        if !matrices || keys.dims()[1] != parts * width || queries.dims()[1] != of_queries {
            let (queries, keys) = (queries.shape(), keys.shape());
            return fail(format!("queries {queries}, keys and values {keys}"));
        }
        let Attention { heads, causal, .. } = attention;
        if heads == 0 || width == 0 || width % heads != 0 {
            return fail(format!("{heads} heads of {width} columns"));
        }
        attention.queries.check(queries)?;
        attention.keys.check(keys)?;
        let spans = [attention.queries.spans(), attention.keys.spans()];
        check_lengths(spans, causal)?;
        let first = if parts == 3 { width } else { 0 };
        Ok(Operands {
            queries: columns(q, 0),
            keys: columns(kv, first),
            values: columns(kv, first + width),
            together: parts == 3,
            of_queries: attention.queries.clone(),
            of_keys: attention.keys.clone(),
            heads,
            depth: width / heads,
            causal,
            weights: attention.weights,
        })
    }

    fn slots(&self) -> [Option<Slot>; 2] {
        [self.queries.slot, self.keys.slot]
    }

    /// N, D and S.
    fn sizes(&self) -> [usize; 3] {
        let rows = self.of_queries.spans().total();
        let longest = self.of_keys.spans().longest();
        [rows, self.heads * self.depth, longest]
    }
}

/// Every query has a key to see.
fn check_lengths([queries, keys]: [&Spans; 2], causal: bool) -> Result<()> {
    if queries.rows() != keys.rows() {
        let (queries, keys) = (queries.rows(), keys.rows());
        return fail(format!("{queries} sequences of queries, {keys} of keys"));
    }
    let longer = (0..queries.rows()).find(|&b| queries.len(b) > keys.len(b));
    match longer.filter(|_| causal) {
        Some(b) => fail(format!(
            "sequence {b} has {} causal queries and {} keys",
            queries.len(b),
            keys.len(b)
        )),
        None => Ok(()),
    }
}
