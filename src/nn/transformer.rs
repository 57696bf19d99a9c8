//! The layers of a Transformer (Vaswani et al. 2017), with the normalisation before each part and not
//! behind it (Xiong et al. 2020): x + part(norm(x)).
//!
//! Names, weights and numbers are those of torch's `TransformerEncoderLayer` and
//! `TransformerDecoderLayer` with `norm_first=True` and `activation` the tanh form of GELU; initial
//! values those of torch's `Transformer`: Glorot uniform weights, no bias of the attentions.

use super::init::Init;
use super::key_cache::KeyCache;
use super::layers::{LayerNorm, Linear, Style};
use super::params::{Bound, Layout};
use crate::autograd::{Tape, Var};
use crate::error::Result;
use crate::ops;
use crate::ops::dot_attention::{Attended, Attention, Projected, Sequences, dot_attention};

/// Sizes of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LayerSizes {
    /// D, the width of the rows.
    pub width: usize,
    /// Units between the two products of the feed-forward part.
    pub inner: usize,
    /// Heads of an attention, which divide D.
    pub heads: usize,
}

/// What is done to the output of each part of a layer before it is added to x: dropout, in training.
pub type Dropped<'a> = &'a mut dyn FnMut(&mut Tape, Var) -> Result<Var>;

/// Queries, keys and values of one sequence, and the projection behind the heads.
#[derive(Clone, Copy, Debug)]
struct SelfAttention {
    projection: Linear,
    out: Linear,
    heads: usize,
}

/// Queries of one sequence, keys and values of another.
#[derive(Clone, Copy, Debug)]
struct CrossAttention {
    query: Linear,
    memory: Linear,
    out: Linear,
    heads: usize,
}

/// linear2(gelu(linear1(x)))
#[derive(Clone, Copy, Debug)]
struct FeedForward {
    first: Linear,
    second: Linear,
}

/// A layer of an encoder: it attends to its own sequence.
#[derive(Clone, Copy, Debug)]
pub struct EncoderLayer {
    attention: SelfAttention,
    feed_forward: FeedForward,
    norms: [LayerNorm; 2],
}

/// A layer of a decoder: it attends to what stands before in its own sequence, and to a memory.
#[derive(Clone, Copy, Debug)]
pub struct DecoderLayer {
    attention: SelfAttention,
    cross: CrossAttention,
    feed_forward: FeedForward,
    norms: [LayerNorm; 3],
}

/// What a decoder's layer reads besides its rows.
#[derive(Debug)]
pub struct Read<'a> {
    /// Where the rows of each sequence stand.
    pub rows: &'a Sequences,
    /// Keys and values of earlier steps, to which this one's are added; none where the rows are whole
    /// sequences.
    pub cache: Option<&'a mut KeyCache>,
    /// What [`DecoderLayer::memory`] made of the memory.
    pub memory: &'a Var,
    /// Where the memory of each sequence stands.
    pub of_memory: &'a Sequences,
    /// Whether the mean weights of the heads on the memory are wanted.
    pub weights: bool,
}

impl SelfAttention {
    fn new(layout: &mut Layout, name: &str, sizes: LayerSizes) -> Self {
        let width = sizes.width;
        let weight = format!("{name}.in_proj_weight");
        let weight = layout.add(weight, [3 * width, width], Init::GlorotUniform);
        let bias = layout.add(format!("{name}.in_proj_bias"), [3 * width], Init::Zeros);
        SelfAttention {
            projection: Linear::of(weight, bias),
            out: out_projection(layout, name, width),
            heads: sizes.heads,
        }
    }

    /// Attends among the rows of each sequence.
    fn whole(
        &self,
        tape: &mut Tape,
        params: &Bound,
        x: &Var,
        rows: &Sequences,
        causal: bool,
    ) -> Result<Var> {
        let all = Projected::Together(self.projection.forward(tape, params, x)?);
        let attention = Attention {
            queries: rows,
            keys: rows,
            heads: self.heads,
            causal,
            weights: false,
        };
        let attended = dot_attention(tape, &all, attention)?;
        self.out.forward(tape, params, &attended.context)
    }

    /// One step x `[B, D]`: attends to those before it and itself.
    fn step(&self, tape: &mut Tape, params: &Bound, x: &Var, cache: &mut KeyCache) -> Result<Var> {
        let (batch, width) = (x.value().shape().rows(), x.value().shape().last());
        let all = self.projection.forward(tape, params, x)?;
        let queries = ops::slice(tape, &all, 1, 0..width)?;
        let own = ops::slice(tape, &all, 1, width..3 * width)?.into_value();
        let memory = Var::constant(cache.push(&own)?);
        let attention = Attention {
            queries: &Sequences::steps(1, batch)?,
            keys: &Sequences::steps(cache.steps(), batch)?,
            heads: self.heads,
            causal: true,
            weights: false,
        };
        let attended = dot_attention(tape, &Projected::Apart { queries, memory }, attention)?;
        self.out.forward(tape, params, &attended.context)
    }
}

fn out_projection(layout: &mut Layout, name: &str, width: usize) -> Linear {
    let inits = (Init::GlorotUniform, Init::Zeros);
    Linear::with_init(layout, &format!("{name}.out_proj"), [width, width], inits)
}

impl CrossAttention {
    fn new(layout: &mut Layout, name: &str, sizes: LayerSizes) -> Self {
        let (width, init) = (sizes.width, Init::GlorotUniform);
        let rows = [width, 2 * width];
        let weights = format!("{name}.in_proj_weight");
        let weights = layout.add_parts(weights, rows, Some(width), init);
        let biases = format!("{name}.in_proj_bias");
        let biases = layout.add_parts(biases, rows, None, Init::Zeros);
        CrossAttention {
            query: Linear::of(weights[0], biases[0]),
            memory: Linear::of(weights[1], biases[1]),
            out: out_projection(layout, name, width),
            heads: sizes.heads,
        }
    }

    fn forward(
        &self,
        tape: &mut Tape,
        params: &Bound,
        x: &Var,
        read: &Read,
    ) -> Result<(Var, Option<Var>)> {
        let projected = Projected::Apart {
            queries: self.query.forward(tape, params, x)?,
            memory: read.memory.clone(),
        };
        let attention = Attention {
            queries: read.rows,
            keys: read.of_memory,
            heads: self.heads,
            causal: false,
            weights: read.weights,
        };
        let Attended { context, alpha } = dot_attention(tape, &projected, attention)?;
        Ok((self.out.forward(tape, params, &context)?, alpha))
    }
}

impl FeedForward {
    fn new(layout: &mut Layout, name: &str, sizes: LayerSizes) -> Self {
        let mut linear = |part: &str, inputs: usize, outputs: usize| {
            let (_, bias) = Style::Torch.linear(inputs);
            let inits = (Init::GlorotUniform, bias);
            Linear::with_init(layout, &format!("{name}.{part}"), [outputs, inputs], inits)
        };
        FeedForward {
            first: linear("linear1", sizes.width, sizes.inner),
            second: linear("linear2", sizes.inner, sizes.width),
        }
    }

    fn forward(&self, tape: &mut Tape, params: &Bound, x: &Var) -> Result<Var> {
        let inner = self.first.forward(tape, params, x)?;
        let inner = ops::gelu(tape, &inner)?;
        self.second.forward(tape, params, &inner)
    }
}

/// The norms `{name}.norm1`, `{name}.norm2`, ..
fn norms<const N: usize>(layout: &mut Layout, name: &str, width: usize) -> [LayerNorm; N] {
    std::array::from_fn(|k| LayerNorm::new(layout, &format!("{name}.norm{}", k + 1), width))
}

/// x + y, where y may be changed before.
fn add(tape: &mut Tape, x: &Var, y: Var, dropped: Dropped) -> Result<Var> {
    let y = dropped(tape, y)?;
    ops::add(tape, x, &y)
}

impl EncoderLayer {
    /// Adds `{name}.self_attn.*`, `{name}.linear1.*`, `{name}.linear2.*` and two norms.
    pub fn new(layout: &mut Layout, name: &str, sizes: LayerSizes) -> Self {
        EncoderLayer {
            attention: SelfAttention::new(layout, &format!("{name}.self_attn"), sizes),
            feed_forward: FeedForward::new(layout, name, sizes),
            norms: norms(layout, name, sizes.width),
        }
    }

    /// Rows x `[N, D]`, of sequences that stand in them as `rows` says.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn forward(
        &self,
        tape: &mut Tape,
        params: &Bound,
        x: &Var,
        rows: &Sequences,
        dropped: Dropped,
    ) -> Result<Var> {
        let y = self.norms[0].forward(tape, params, x)?;
        let y = self.attention.whole(tape, params, &y, rows, false)?;
        let x = add(tape, x, y, dropped)?;
        let y = self.norms[1].forward(tape, params, &x)?;
        let y = self.feed_forward.forward(tape, params, &y)?;
        add(tape, &x, y, dropped)
    }
}

impl DecoderLayer {
    /// Adds `{name}.self_attn.*`, `{name}.multihead_attn.*`, `{name}.linear1.*`, `{name}.linear2.*` and
    /// three norms.
    pub fn new(layout: &mut Layout, name: &str, sizes: LayerSizes) -> Self {
        DecoderLayer {
            attention: SelfAttention::new(layout, &format!("{name}.self_attn"), sizes),
            cross: CrossAttention::new(layout, &format!("{name}.multihead_attn"), sizes),
            feed_forward: FeedForward::new(layout, name, sizes),
            norms: norms(layout, name, sizes.width),
        }
    }

    /// Keys and values `[M, 2 D]` of a memory `[M, D]`.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn memory(&self, tape: &mut Tape, params: &Bound, memory: &Var) -> Result<Var> {
        self.cross.memory.forward(tape, params, memory)
    }

    /// Rows x `[N, D]` of whole sequences, or with a cache one step of each `[B, D]`; and the mean weights
    /// of the heads on the memory `[N, S]`, where they are wanted.
    ///
    /// # Errors
    /// If the shapes do not fit, or the device fails.
    pub fn forward(
        &self,
        tape: &mut Tape,
        params: &Bound,
        x: &Var,
        mut read: Read,
        dropped: Dropped,
    ) -> Result<(Var, Option<Var>)> {
        let y = self.norms[0].forward(tape, params, x)?;
        let y = match &mut read.cache {
            Some(cache) => self.attention.step(tape, params, &y, cache)?,
            None => self.attention.whole(tape, params, &y, read.rows, true)?,
        };
        let x = add(tape, x, y, dropped)?;
        let y = self.norms[1].forward(tape, params, &x)?;
        let (y, alpha) = self.cross.forward(tape, params, &y, &read)?;
        let x = add(tape, &x, y, dropped)?;
        let y = self.norms[2].forward(tape, params, &x)?;
        let y = self.feed_forward.forward(tape, params, &y)?;
        Ok((add(tape, &x, y, dropped)?, alpha))
    }
}
