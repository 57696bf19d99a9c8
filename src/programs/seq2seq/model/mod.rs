//! Docstring to code: encoder-decoder models.
//!
//! - **rnn**: a tanh RNN encoder; its last hidden state is the context that a tanh RNN decoder
//!   starts from and reads at each step beside the embedding (Cho et al. 2014).
//! - **lstm**: an LSTM encoder, whose last (h, c) start an LSTM decoder (Sutskever et al. 2014).
//! - **attention**: a bidirectional LSTM encoder and an LSTM decoder with additive attention
//!   (Bahdanau et al. 2015); logits from [s_t; context_t; embedding_t].
//! - **gru**: as rnn, of GRUs.
//! - **transformer**: layers of attention alone (Vaswani et al. 2017), normalised before each part.
//!
//! With several recurrent layers each above the first adds its output to what it reads, on both sides; the layers
//! of the decoder start from the states of the encoder's beside them, and the first one attends.
//!
//! Sequences are packed (see [`crate::data::packing`]): nothing is computed on padding, and the
//! projection to the vocabulary runs on real tokens only.

mod both_ways;
mod decoder;
mod encoder;
mod inputs;
mod kind;
mod layers;
mod likeliest;
mod output;
mod schedule;
mod state;
mod transformer;

pub use decoder::{Decoded, DecoderState};
pub use inputs::{Inputs, Source};
pub use kind::{Dropout, ModelKind, Seq2SeqSizes, TeacherForcing};
pub(crate) use likeliest::{allowed, in_f32, never};

use crate::autograd::{Tape, Var};
use crate::data::words::UNK;
use crate::device::Gpu;
use crate::device::cpu::simd::Dispatch;
use crate::error::{Error, Result};
use crate::nn::{Bound, Layout, Params, Place};
use crate::ops;
use crate::ops::softmax_xent::Targets;
use crate::programs::seq2seq::data::SeqBatch;
use crate::rng::Purpose;
use crate::tensor::{Stored, Tensor};
use crate::train::model::{Draws, Loss, Model};
use decoder::{Decoder, NO_PREDICTIONS};
use encoder::Encoder;
use inputs::place;
use layers::Dropped;
use std::sync::Arc;

/// A model and its parameters.
#[derive(Clone, Debug)]
pub struct Seq2Seq {
    kind: ModelKind,
    sizes: Seq2SeqSizes,
    params: Params,
    encoder: Encoder,
    decoder: Decoder,
    dropout: f64,
    output_dropout: Option<f64>,
    teacher_forcing: f64,
    label_smoothing: f64,
    /// Whether sources are read.
    reads: bool,
}

impl Seq2Seq {
    /// A model with initial values from the seed.
    pub fn new<T: Stored + Dispatch>(kind: ModelKind, sizes: Seq2SeqSizes, seed: u64) -> Self {
        let mut layout = Layout::default();
        let (encoder, decoder) = Encoder::new(&mut layout, kind, sizes);
        Seq2Seq {
            kind,
            sizes,
            params: Params::new::<T>(layout, seed),
            encoder,
            decoder,
            dropout: 0.0,
            output_dropout: None,
            teacher_forcing: 1.0,
            label_smoothing: 0.0,
            reads: true,
        }
    }

    /// The parameters of a model of these sizes, without their values.
    pub fn layout(kind: ModelKind, sizes: Seq2SeqSizes) -> Layout {
        let mut layout = Layout::default();
        Encoder::new(&mut layout, kind, sizes);
        layout
    }

    /// With dropout in training: the probability of dropping an element of an embedding or of what a
    /// recurrent layer above the first reads, or a part of a Transformer's adds, in [0, 1).
    pub fn with_dropout(self, dropout: f64) -> Self {
        Seq2Seq { dropout, ..self }
    }

    /// With another probability of dropping an element of what the output layer reads: the decoder's
    /// features, or of a tied one what the tanh layer gives. Without, a tied one has that of
    /// [`Seq2Seq::with_dropout`], any other none.
    pub fn with_output_dropout(self, output_dropout: Option<f64>) -> Self {
        Seq2Seq {
            output_dropout,
            ..self
        }
    }

    /// With a probability below one that the decoder reads the true previous token in training.
    pub fn with_teacher_forcing(self, teacher_forcing: f64) -> Self {
        Seq2Seq {
            teacher_forcing,
            ..self
        }
    }

    /// With label smoothing in training: the share of each target, in [0, 1), that all tokens of the
    /// vocabulary have together. A model that copies takes none.
    pub fn with_label_smoothing(self, label_smoothing: f64) -> Self {
        Seq2Seq {
            label_smoothing,
            ..self
        }
    }

    /// The same model as a language model of its targets: whatever the source, its decoder starts from zero
    /// and attends to a context that is zero (Ramachandran, Liu and Le 2017, pre-train it so), and it copies
    /// nothing. What only sources reach has no gradient then: the encoder, the bridges from it, the attention on
    /// it (of a Transformer all but the bias that it adds), the columns of weights that read a context, and the
    /// gate of copying.
    pub fn without_source(mut self) -> Self {
        self.decoder.gate = None;
        Seq2Seq {
            reads: false,
            ..self
        }
    }

    /// Which model it is.
    pub fn kind(&self) -> ModelKind {
        self.kind
    }

    /// The sizes.
    pub fn sizes(&self) -> Seq2SeqSizes {
        self.sizes
    }

    /// The sizes of the vocabularies of source and target.
    pub fn vocab(&self) -> (usize, usize) {
        (self.sizes.source_vocab, self.sizes.target_vocab)
    }

    /// Whether it copies: sources and batches need their extended ids then.
    pub fn copies(&self) -> bool {
        self.decoder.gate.is_some()
    }

    /// The GPU that holds the parameters.
    pub fn gpu(&self) -> Option<&Arc<Gpu>> {
        self.params.values().gpu()
    }

    /// A batch where the model is.
    ///
    /// # Errors
    /// For an id outside its vocabulary, for extended ids where the model does not copy, or if the device
    /// fails.
    pub fn inputs(&self, batch: &SeqBatch) -> Result<Inputs> {
        if batch.source.copies.is_some() && !self.copies() {
            let message = "the batch has extended ids, and the model does not copy";
            return Err(Error::op("seq2seq", message));
        }
        Inputs::new(batch, self.vocab(), self.gpu())
    }

    /// Reads sources: what the decoder starts from.
    ///
    /// # Errors
    /// If the device fails.
    pub fn encode(
        &self,
        tape: &mut Tape,
        params: &Bound,
        source: &Source,
        dropout: Option<&Dropout>,
    ) -> Result<DecoderState> {
        let read = self.encoder.encode(tape, params, source, dropout)?;
        if self.reads { Ok(read) } else { read.blank() }
    }

    /// Previous tokens `[B]` where the model is, below V, or any of the extended vocabulary for a model
    /// that copies.
    ///
    /// # Errors
    /// For a token outside the vocabulary, or if the device fails.
    pub fn tokens(&self, tokens: &[u32]) -> Result<Tensor> {
        let limit = match self.decoder.gate {
            Some(_) => usize::MAX,
            None => self.decoder.vocab,
        };
        let [tokens] = place([(tokens, limit)], self.gpu())?;
        Ok(tokens)
    }

    /// One step of the decoder: the previous tokens `[B]`, one a row. What was copied and is no word of
    /// the vocabulary is read as [`UNK`].
    ///
    /// # Errors
    /// If the tokens are not where the model is, or the device fails.
    pub fn step(
        &self,
        tape: &mut Tape,
        params: &Bound,
        from: &DecoderState,
        tokens: &Tensor,
    ) -> Result<Decoded> {
        let tokens = match self.decoder.gate {
            Some(_) => &ops::known(tokens, self.decoder.vocab, UNK)?,
            None => tokens,
        };
        let x = self.decoder.embed(tape, params, tokens, from.place())?;
        self.decoder.step(tape, params, from, &x, Dropped::Nothing)
    }

    /// Logits `[N, V]` at every real position of the targets, with teacher forcing and without dropout;
    /// and what a model that attends read them from.
    ///
    /// # Errors
    /// If the device fails.
    pub fn logits(&self, tape: &mut Tape, params: &Bound, batch: &Inputs) -> Result<Decoded> {
        let (encoded, x) = self.start(tape, params, batch, None, None)?;
        let steps = batch.steps(&x);
        self.decoder
            .run(tape, params, &encoded, steps, Dropped::Nothing)
    }

    /// What the decoder starts from, and the embeddings of the previous tokens `[N, E]`.
    fn start(
        &self,
        tape: &mut Tape,
        params: &Bound,
        batch: &Inputs,
        dropout: Option<&Dropout>,
        teacher: Option<&TeacherForcing>,
    ) -> Result<(DecoderState, Var)> {
        let encoded = self.encode(tape, params, &batch.source, dropout)?;
        let tokens = match teacher {
            Some(teacher) if teacher.ratio < 1.0 && self.kind == ModelKind::Transformer => {
                return Err(Error::op("seq2seq", NO_PREDICTIONS));
            }
            Some(teacher) if teacher.ratio < 1.0 => {
                let (decoder, own) = (&self.decoder, &self.params);
                let tokens = schedule::inputs(decoder, own, &encoded, batch, dropout, teacher)?;
                let [tokens] = place([(&tokens, self.decoder.vocab)], batch.gpu())?;
                tokens
            }
            _ => batch.inputs.clone(),
        };
        let place = Place::Each(&batch.steps, batch.packing.steps());
        let x = self.decoder.embed(tape, params, &tokens, place)?;
        let x = match dropout {
            Some(d) => d.apply(tape, &x, Dropout::TARGET)?,
            None => x,
        };
        Ok((encoded, x))
    }
}

impl Model for Seq2Seq {
    type Batch = Inputs;

    fn params(&self) -> &Params {
        &self.params
    }

    fn params_mut(&mut self) -> &mut Params {
        &mut self.params
    }

    /// Mean cross-entropy over the real target tokens, in nats; in training also that with smoothed
    /// labels, where they are.
    fn loss(
        &self,
        tape: &mut Tape,
        params: &Bound,
        batch: &Inputs,
        draws: Option<&Draws>,
    ) -> Result<Loss> {
        let unset = if self.sizes.tied { self.dropout } else { 0.0 };
        let (p, output) = (self.dropout, self.output_dropout.unwrap_or(unset));
        let drops = p > 0.0 || output > 0.0;
        let dropout = draws.filter(|_| drops).map(|draws| Dropout {
            p,
            output,
            stream: draws.stream(Purpose::Dropout),
            counter: draws.counter().cloned(),
        });
        let teacher = draws.map(|draws| TeacherForcing {
            ratio: self.teacher_forcing,
            stream: draws.stream(Purpose::TeacherForcing),
        });
        let (encoded, x) = self.start(tape, params, batch, dropout.as_ref(), teacher.as_ref())?;
        let smoothing = draws.map_or(0.0, |_| self.label_smoothing);
        let targets = Targets {
            ids: &batch.targets,
            smoothing,
        };
        let (input, dropout) = ((batch.steps(&x), &batch.rows), dropout.as_ref());
        let scored = self
            .decoder
            .loss(tape, params, &encoded, input, targets, dropout)?;
        Ok(Loss::of(scored, batch.target_tokens(), smoothing > 0.0))
    }
}
