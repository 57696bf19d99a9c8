//! Recurrent layers and the decoder with attention in f16, over sequences of any lengths: what `rnnx selftest
//! --recurrence` compares and `rnnx bench recurrence` times.

use crate::autograd::{Tape, Var};
use crate::data::packing::Packing;
use crate::data::spans::Spans;
use crate::device::Gpu;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::attention::{Memory, Query, Weights, attention_lstm};
use crate::ops::cast::convert;
use crate::ops::elementwise::scale;
use crate::ops::recurrent::{
    CellKind, Hidden, Input, State, recurrent_packed, recurrent_side_by_side,
};
use crate::rng::{Purpose, Stream};
use crate::shape::Shape;
use crate::tensor::Tensor;
use std::sync::Arc;

/// Elements of the largest weights: W_hh of an LSTM of 512 units.
const MOST_WEIGHTS: usize = 4 * 512 * 512;
/// Rows of a gate table, and columns of a layer's x.
const VOCAB: usize = 95;
const INPUTS: usize = 64;
/// Numbers that are drawn: a prime, so that no rows of a tensor are alike.
const DRAWN: usize = 262_139;
/// Elements from where one tensor begins to where the next one does, and what all begin at a multiple of: 256
/// bytes, as if each had memory of its own.
const APART: usize = 127 * ALIGNED;
const ALIGNED: usize = 128;

/// From this number on tensors are gradients that arrive at outputs.
pub const ARRIVING: usize = 20;

/// Random numbers in device memory, uniform in [-1, 1) and rounded to f16. They are drawn once and repeat, so
/// that tensors of any size cost the host no time. Tensors that are taken from them share their memory.
#[derive(Debug)]
pub struct Numbers(Tensor);

impl Numbers {
    /// Numbers for tensors of up to `most` elements.
    ///
    /// # Errors
    /// If the device fails or has too little memory.
    pub fn new(gpu: &Arc<Gpu>, most: usize) -> Result<Self> {
        let mut reader = Stream::new(1, Purpose::Init, 0).reader();
        let drawn: Vec<f32> = (0..DRAWN)
            .map(|_| (2.0 * reader.uniform() - 1.0) as f32)
            .collect();
        let drawn = Tensor::from_slice(&drawn, [DRAWN])?.to_gpu(gpu)?;
        let drawn = convert(&drawn, DType::F16)?;
        // Weights may be larger than that.
        let len = DRAWN + most.max(MOST_WEIGHTS);
        let all = Tensor::on_gpu(gpu, DType::F16, [len])?;
        let (to, size) = (all.ptr()?, DType::F16.size());
        gpu.driver().copy(to, drawn.ptr()?, DRAWN * size)?;
        let mut there = DRAWN;
        while there < len {
            let more = there.min(len - there);
            gpu.driver()
                .copy(to.offset(there * size), to, more * size)?;
            there += more;
        }
        Ok(Numbers(all))
    }

    /// Tensor number `k` in f16.
    ///
    /// # Errors
    /// If it has more elements than there are numbers for.
    pub fn tensor(&self, k: usize, shape: impl Into<Shape>) -> Result<Tensor> {
        let start = k * APART % DRAWN;
        self.0.slice(start - start % ALIGNED, shape)
    }

    /// Tensor number `k`, whose rows of `of` weights have squares that sum to a half: the products with states
    /// stay away from saturation, and what differs between two states is handed on as less.
    fn weights(&self, k: usize, of: usize, shape: impl Into<Shape>) -> Result<Tensor> {
        let (all, factor) = (self.tensor(k, shape)?, (1.5 / of as f64).sqrt());
        let scaled = scale(&mut Tape::inference(), &Var::constant(all), factor)?;
        Ok(scaled.into_value())
    }
}

/// The form of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// It reads a gate table.
    Table,
    /// It reads x.
    Dense,
    /// Two of them side by side, each of which reads its x.
    SideBySide,
}

/// A layer or decoder with what it reads.
#[derive(Debug)]
pub struct Operands {
    kind: Kind,
    packing: Packing,
    /// What has a gradient, by name.
    inputs: Vec<(&'static str, Tensor)>,
}

#[derive(Debug)]
enum Kind {
    /// With the ids of a table.
    Layer(CellKind, Form, Option<Tensor>),
    /// With the source positions, and their offsets on the device.
    Decoder(Spans, Tensor),
}

/// Values by name.
pub type Named<T> = Vec<(&'static str, T)>;

impl Operands {
    /// A layer of `units` over sequences of these lengths, which must not increase; with `state` from an initial
    /// state, which layers side by side do not have.
    ///
    /// # Errors
    /// If the device fails, or `numbers` are too few.
    pub fn layer(
        gpu: &Arc<Gpu>,
        numbers: &Numbers,
        (cell, form): (CellKind, Form),
        units: usize,
        lengths: &[usize],
        state: bool,
    ) -> Result<Self> {
        let packing = Packing::new(lengths)?;
        let (n, b, gates) = (packing.rows(), packing.batch(), cell.gates() * units);
        let mut inputs = vec![("W_hh", numbers.weights(1, units, [gates, units])?)];
        let mut ids = None;
        if form == Form::Table {
            let of: Vec<u32> = (0..n).map(|i| (i * 7 % VOCAB) as u32).collect();
            ids = Some(Tensor::from_slice(&of, [n])?.to_gpu(gpu)?);
            inputs.push(("table", numbers.tensor(2, [VOCAB, gates])?));
        } else {
            inputs.push(("x", numbers.tensor(3, [n, INPUTS])?));
            inputs.push(("W_ih", numbers.weights(4, INPUTS, [gates, INPUTS])?));
            inputs.push(("b", numbers.weights(5, 4, [gates])?));
        }
        if form == Form::SideBySide {
            inputs.push(("W_hh 2", numbers.weights(6, units, [gates, units])?));
            inputs.push(("x 2", numbers.tensor(7, [n, INPUTS])?));
            inputs.push(("W_ih 2", numbers.weights(8, INPUTS, [gates, INPUTS])?));
            inputs.push(("b 2", numbers.weights(9, 4, [gates])?));
        } else if state {
            inputs.push(("h_0", numbers.tensor(10, [b, units])?));
            if cell.has_c() {
                let c_0 = numbers.tensor(11, [b, units])?;
                inputs.push(("c_0", convert(&c_0, DType::F32)?));
            }
        }
        Ok(Operands {
            kind: Kind::Layer(cell, form, ids),
            packing,
            inputs,
        })
    }

    /// The decoder with attention, sizes as in seq2seq: values of both directions of an encoder. `sources` are the
    /// source positions of each row.
    ///
    /// # Errors
    /// As [`Operands::layer`].
    pub fn decoder(
        gpu: &Arc<Gpu>,
        numbers: &Numbers,
        units: usize,
        lengths: &[usize],
        sources: &[usize],
    ) -> Result<Self> {
        let (packing, spans) = (Packing::new(lengths)?, Spans::new(sources)?);
        let (n, b, m) = (packing.rows(), packing.batch(), spans.total());
        let (depth, gates) = (2 * units, 4 * units);
        let of = units + depth;
        let inputs = vec![
            ("x", numbers.tensor(1, [n, units])?),
            ("W_ih", numbers.weights(2, of, [gates, of])?),
            ("b", numbers.weights(3, 4, [gates])?),
            ("W_hh", numbers.weights(4, units, [gates, units])?),
            ("W_q", numbers.weights(5, units, [units, units])?),
            ("b_q", numbers.weights(6, 4, [units])?),
            ("v", numbers.weights(7, units, [1, units])?),
            ("keys", numbers.tensor(8, [m, units])?),
            ("values", numbers.tensor(9, [m, depth])?),
            ("h_0", numbers.tensor(10, [b, units])?),
            (
                "c_0",
                convert(&numbers.tensor(11, [b, units])?, DType::F32)?,
            ),
        ];
        let offsets = Tensor::from_slice(spans.offsets(), [b + 1])?.to_gpu(gpu)?;
        Ok(Operands {
            kind: Kind::Decoder(spans, offsets),
            packing,
            inputs,
        })
    }

    /// Runs it: the inputs on the tape, and the outputs, of which y is the first.
    ///
    /// # Errors
    /// What the op returns.
    pub fn run(&self, tape: &mut Tape) -> Result<[Named<Var>; 2]> {
        let on_tape = self.inputs.iter();
        let inputs: Named<Var> = on_tape
            .map(|(name, t)| (*name, tape.leaf(t.clone())))
            .collect();
        let outputs = match &self.kind {
            Kind::Layer(cell, form, ids) => {
                self.run_layer(tape, (*cell, *form), ids.as_ref(), &inputs)
            }
            Kind::Decoder(spans, offsets) => self.run_decoder(tape, (spans, offsets), &inputs),
        };
        Ok([inputs, outputs?])
    }

    fn run_layer(
        &self,
        tape: &mut Tape,
        (cell, form): (CellKind, Form),
        ids: Option<&Tensor>,
        inputs: &Named<Var>,
    ) -> Result<Named<Var>> {
        let of = |name| named(inputs, name);
        let dense = |[x, w_ih, bias]: [&'static str; 3]| -> Result<Input<'_>> {
            let (x, w_ih, bias) = (of(x)?, of(w_ih)?, of(bias)?);
            Ok(Input::Dense { x, w_ih, bias })
        };
        let hidden = |name| -> Result<Hidden<'_>> {
            let (w_hh, b_hh) = (of(name)?, None);
            Ok(Hidden { w_hh, b_hh })
        };
        let input = match ids {
            Some(ids) => Input::Table {
                table: of("table")?,
                ids,
            },
            None => dense(["x", "W_ih", "b"])?,
        };
        let state = named(inputs, "h_0").ok().map(|h| State {
            h: h.clone(),
            c: named(inputs, "c_0").ok().cloned(),
        });
        let first = (input, hidden("W_hh")?);
        let out = match form {
            Form::SideBySide => {
                let second = (dense(["x 2", "W_ih 2", "b 2"])?, hidden("W_hh 2")?);
                recurrent_side_by_side(tape, cell, &[first, second], &self.packing)?
            }
            _ => recurrent_packed(tape, cell, first.0, first.1, state.as_ref(), &self.packing)?,
        };
        let mut outputs = vec![("y", out.y), ("h_n", out.state.h)];
        outputs.extend(out.state.c.map(|c| ("c_n", c)));
        Ok(outputs)
    }

    fn run_decoder(
        &self,
        tape: &mut Tape,
        (spans, offsets): (&Spans, &Tensor),
        inputs: &Named<Var>,
    ) -> Result<Named<Var>> {
        let of = |name| named(inputs, name);
        let weights = Weights {
            w_ih: of("W_ih")?,
            bias: of("b")?,
            w_hh: of("W_hh")?,
        };
        let query = Query {
            w_q: of("W_q")?,
            b_q: of("b_q")?,
            v: of("v")?,
        };
        let memory = Memory {
            keys: of("keys")?,
            values: of("values")?,
            spans,
            offsets: Some(offsets),
        };
        let state = (of("h_0")?, of("c_0")?);
        let packing = &self.packing;
        let out = attention_lstm(tape, of("x")?, weights, state, query, memory, packing)?;
        Ok(vec![
            ("y", out.y),
            ("context", out.context),
            ("alpha", out.alpha),
            ("h_n", out.h_n),
            ("c_n", out.c_n),
        ])
    }
}

fn named<'a>(inputs: &'a Named<Var>, name: &str) -> Result<&'a Var> {
    let found = inputs.iter().find(|(of, _)| *of == name);
    let missing = || Error::op("recurrence", format!("no operand {name}"));
    found.map(|(_, var)| var).ok_or_else(missing)
}
