//! The Transformer (Vaswani et al. 2017), normalised before each part (Xiong et al. 2020): an encoder and
//! a decoder of some layers each.
//!
//! Rows are packed as everywhere: a layer works on each row by itself but in its attentions, which are
//! told where the rows of each sequence stand. A step of the decoder alone reads keys and values of the
//! steps before from a cache.

use super::inputs::{Copyable, Source, Steps, index};
use super::kind::{Dropout, Seq2SeqSizes};
use super::state::zeros;
use crate::autograd::{Tape, Var};
use crate::data::spans::Spans;
use crate::device::Gpu;
use crate::error::{Error, Result};
use crate::nn::transformer::{DecoderLayer, EncoderLayer, LayerSizes, Read};
use crate::nn::{Bound, KeyCache, LayerNorm, Layout};
use crate::ops;
use crate::ops::copy_xent::Copies;
use crate::ops::dot_attention::Sequences;
use crate::tensor::Tensor;
use std::sync::Arc;

impl Seq2SeqSizes {
    /// The sizes of a layer: the embedding is the width of the rows, and there are four units inside for
    /// each hidden one.
    fn of_layer(self) -> LayerSizes {
        LayerSizes {
            width: self.embedding,
            inner: 4 * self.hidden,
            heads: self.heads,
        }
    }
}

/// Dropout of the outputs of the parts of layers, a lane each, from one on.
struct Lanes<'a> {
    dropout: Option<&'a Dropout>,
    next: u32,
}

impl Lanes<'_> {
    fn apply(&mut self, tape: &mut Tape, x: Var) -> Result<Var> {
        let lane = self.next;
        self.next += 1;
        self.dropout
            .map_or(Ok(x.clone()), |d| d.apply(tape, &x, lane))
    }
}

/// The layers of an encoder, and the norm behind the last.
#[derive(Clone, Debug)]
pub(super) struct EncoderStack {
    layers: Vec<EncoderLayer>,
    norm: LayerNorm,
}

/// The layers of a decoder, and the norm behind the last.
#[derive(Clone, Debug)]
pub(super) struct DecoderStack {
    layers: Vec<DecoderLayer>,
    norm: LayerNorm,
}

impl EncoderStack {
    pub(super) fn new(layout: &mut Layout, sizes: Seq2SeqSizes) -> Self {
        let layer = |k| {
            let name = format!("encoder.layers.{k}");
            EncoderLayer::new(layout, &name, sizes.of_layer())
        };
        EncoderStack {
            layers: (0..sizes.layers).map(layer).collect(),
            norm: LayerNorm::new(layout, "encoder.norm", sizes.embedding),
        }
    }

    /// The memory `[M, D]` of packed rows x `[M, D]`.
    fn forward(
        &self,
        tape: &mut Tape,
        params: &Bound,
        x: &Var,
        rows: &Sequences,
        dropout: Option<&Dropout>,
    ) -> Result<Var> {
        let mut lanes = Lanes {
            dropout,
            next: Dropout::ENCODER,
        };
        let mut x = x.clone();
        for layer in &self.layers {
            let mut dropped = |tape: &mut Tape, y| lanes.apply(tape, y);
            x = layer.forward(tape, params, &x, rows, &mut dropped)?;
        }
        self.norm.forward(tape, params, &x)
    }
}

impl DecoderStack {
    pub(super) fn new(layout: &mut Layout, sizes: Seq2SeqSizes) -> Self {
        let layer = |k| {
            let name = format!("decoder.layers.{k}");
            DecoderLayer::new(layout, &name, sizes.of_layer())
        };
        DecoderStack {
            layers: (0..sizes.layers).map(layer).collect(),
            norm: LayerNorm::new(layout, "decoder.norm", sizes.embedding),
        }
    }
}

/// Where the decoder of a Transformer stands: its layers, what they attend to, and what they have read.
#[derive(Clone, Debug)]
pub struct Standing {
    stack: Arc<DecoderStack>,
    /// Keys and values of the source `[M, 2 D]`, of each layer.
    memory: Vec<Var>,
    /// Where the source of each row stands in them.
    of_memory: Sequences,
    /// The spans' offsets `[B + 1]`, on a GPU.
    offsets: Option<Tensor>,
    /// What can be copied, for a model that copies.
    copies: Option<Copyable>,
    /// Keys and values of the steps so far, 2 D wide, of each layer.
    cache: Vec<KeyCache>,
    /// The steps so far.
    pub(super) steps: usize,
}

impl Standing {
    /// Before the first step: behind packed source rows x `[M, D]`.
    pub(super) fn new(
        (encoder, decoder): (&EncoderStack, &Arc<DecoderStack>),
        tape: &mut Tape,
        params: &Bound,
        x: &Var,
        source: &Source,
        dropout: Option<&Dropout>,
    ) -> Result<Self> {
        let memory = encoder.forward(tape, params, x, &source.sequences, dropout)?;
        let of_layer = |layer: &DecoderLayer| layer.memory(tape, params, &memory);
        Ok(Standing {
            memory: decoder.layers.iter().map(of_layer).collect::<Result<_>>()?,
            of_memory: source.sequences.clone(),
            offsets: source.offsets.clone(),
            copies: source.copies.clone(),
            cache: vec![KeyCache::default(); decoder.layers.len()],
            steps: 0,
            stack: decoder.clone(),
        })
    }

    /// The same as if nothing had been read; see [`RecurrentState::blank`].
    ///
    /// [`RecurrentState::blank`]: super::state::RecurrentState::blank
    pub(super) fn blank(&self) -> Result<Self> {
        Ok(Standing {
            memory: self.memory.iter().map(zeros).collect::<Result<_>>()?,
            copies: None,
            ..self.clone()
        })
    }

    /// Runs over whole targets, or over one step of each; see [`DecoderState::run`].
    ///
    /// [`DecoderState::run`]: super::DecoderState::run
    pub(super) fn run(
        &self,
        tape: &mut Tape,
        params: &Bound,
        steps: Steps,
        dropout: Option<&Dropout>,
    ) -> Result<(Var, Self, Var)> {
        let is_step = steps.packed.packing.steps() == 1 && !tape.is_recording();
        // A run over whole targets keeps no keys.
        let is_cached = self.cache.iter().all(|cache| cache.steps() == self.steps);
        if self.steps > 0 && !(is_step && is_cached) {
            let message = "a Transformer goes on step by step from its source, and not on a tape that \
                           records";
            return Err(Error::op("seq2seq", message));
        }
        let mut lanes = Lanes {
            dropout,
            next: Dropout::DECODER,
        };
        let mut after = self.clone();
        let (mut x, mut alpha) = (steps.x.clone(), None);
        for (k, layer) in self.stack.layers.iter().enumerate() {
            let read = Read {
                rows: steps.sequences,
                cache: is_step.then_some(&mut after.cache[k]),
                memory: &self.memory[k],
                of_memory: &self.of_memory,
                weights: k + 1 == self.memory.len(),
            };
            let mut dropped = |tape: &mut Tape, y| lanes.apply(tape, y);
            (x, alpha) = layer.forward(tape, params, &x, read, &mut dropped)?;
        }
        after.steps += steps.packed.packing.steps();
        let features = self.stack.norm.forward(tape, params, &x)?;
        let alpha = alpha.ok_or_else(|| Error::op("seq2seq", "a decoder without layers"))?;
        Ok((features, after, alpha))
    }

    /// Row i continues row `order[i]`, which is of the same source.
    pub(super) fn reorder(&mut self, order: &[u32]) -> Result<()> {
        let mut caches = self.cache.iter_mut();
        caches.try_for_each(|cache| cache.reorder(order))
    }

    /// Row i becomes what row `rows[i]` is, with its source.
    pub(super) fn select(&mut self, rows: &[u32]) -> Result<()> {
        self.reorder(rows)?;
        let gpu = self.gpu().cloned();
        let gpu = gpu.as_ref();
        let places = self.of_memory.places()?;
        let spans = self.spans().clone();
        let of = |row: u32| spans.start(row as usize)..spans.end(row as usize);
        let positions = rows.iter().flat_map(|&row| of(row));
        let positions: Vec<u32> = positions.map(|position| position as u32).collect();
        let lengths = rows.iter().map(|&row| spans.len(row as usize));
        let spans = Spans::new(&lengths.collect::<Vec<_>>())?;
        if let Some(copies) = &mut self.copies {
            *copies = copies.select(&positions, rows.len(), gpu)?;
        }
        let places = positions.iter().map(|&position| places[position as usize]);
        let places = index(&places.collect::<Vec<_>>(), gpu)?;
        for memory in &mut self.memory {
            *memory = Var::constant(pick(memory.value(), &places)?);
        }
        let offsets = gpu.map(|_| index(spans.offsets(), gpu));
        self.offsets = offsets.transpose()?;
        self.of_memory = Sequences::of(&spans, None, self.offsets.as_ref());
        Ok(())
    }

    /// As [`DecoderState`]'s.
    ///
    /// [`DecoderState`]: super::DecoderState
    pub(super) fn copies<'a>(&'a self, rows: Option<&'a Tensor>) -> Result<Copies<'a>> {
        let message = "a model that copies needs the extended ids of the source";
        let copies = self.copies.as_ref();
        let copies = copies.ok_or_else(|| Error::op("seq2seq", message))?;
        Ok(Copies {
            ids: &copies.ids,
            rows: rows.unwrap_or(&copies.rows),
            spans: self.spans(),
            offsets: self.offsets.as_ref(),
        })
    }

    /// The source positions of each row.
    fn spans(&self) -> &Spans {
        self.of_memory.spans()
    }

    fn gpu(&self) -> Option<&Arc<Gpu>> {
        self.memory.first().and_then(|memory| memory.value().gpu())
    }
}

/// Some rows of a matrix.
fn pick(matrix: &Tensor, rows: &Tensor) -> Result<Tensor> {
    let matrix = Var::constant(matrix.clone());
    Ok(ops::gather(&mut Tape::inference(), &matrix, rows)?.into_value())
}
