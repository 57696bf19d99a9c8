//! The settings of the seq2seq models.

use std::path::{Path, PathBuf};

use crate::data::pair_files::PairFormat;
use crate::data::pairs::{Pair, Splits};
use crate::data::syntax::{GrammarChoice, Syntax};
use crate::data::tokens::TokenizerKind;
use crate::data::tokens::bpe::Base;
use crate::data::words::WordVocab;
use crate::optim::{AdamConfig, Clip, ScheduleKind};
use crate::programs::seq2seq::decode::{DecodeOptions, Search};
use crate::programs::seq2seq::language::TargetLanguage;
use crate::programs::seq2seq::model::{ModelKind, Seq2SeqSizes};
use crate::programs::seq2seq::tokens::{Limits, SourceText, TokenChoice};
use crate::{Error, Result};

crate::settings! {
    /// Everything that decides what a run of `rnnx train-seq2seq` computes, and how often it reports.
    ///
    /// In files the keys are written in kebab-case.
    Seq2SeqConfig {
        kind: "seq2seq",
        model: "a seq2seq model",
        log_every: 10,
        optimizer: AdamConfig::torch(1e-3),
        together: Seq2SeqConfig::together,
        presets: {
            // Lines of pseudo-code and Python, as Django's (Oda et al. 2015): some twelve minutes of a CPU.
            "pseudocode": {
                model: ModelKind::Attention,
                source_tokens: TokenizerKind::Words, target_tokens: TokenizerKind::Python,
                copy: true, grammar: GrammarChoice::Line, beam: 5, max_source: 120, max_target: 120,
                min_frequency: 5, dropout: 0.5, output_dropout: Some(0.3), epochs: 15,
                batch_size: 64, bucket_batches: 20, learning_rate: 2e-3, warmup_steps: 100,
                schedule: ScheduleKind::Cosine
            },
        },
        before: { target_language: TargetLanguage::Python },
    }
    "Data" {
        train: Option<PathBuf> = None, Path, free, "training pairs: JSON lines, .csv or .tsv (.gz and .zst too); pairs of the embedded corpus unless set";
        valid: Option<PathBuf> = None, Path, free, "validation pairs, as train";
        test: Option<PathBuf> = None, Path, free, "test pairs, as train";
        pairs: Option<PathBuf> = None, Path, free, "one file in place of the three, divided by the hash of each pair, so that a pair keeps its split while the file grows";
        valid_fraction: Option<f64> = None, Real(0.0, 0.9), fixed, "share of one file's pairs that validates; 0.1 unless set. With it train alone is such a file";
        test_fraction: Option<f64> = None, Real(0.0, 0.9), fixed, "share of one file's pairs that is tested on, as valid-fraction";
        pretrain: Option<PathBuf> = None, Path, free, "code without descriptions (JSON lines, .csv or .tsv), which the decoder alone learns, with the training targets, as a language model; another run takes its weights with --init-from";
        source_field: String = PairFormat::default().source_field, Name, free, "field that holds the source; of a table without a header the column's number";
        target_field: String = PairFormat::default().target_field, Name, free, "field that holds the target, as source-field";
        strict: bool = false, Switch, free, "stop at a pair whose source is empty; else such pairs are skipped and counted";
        target_language: TargetLanguage = TargetLanguage::Auto, OneOf(&["auto", "python", "text"]), fixed, "what the targets are: only python has a parse rate; auto is python where most training targets are";
        max_source: usize = 30, BATCH, fixed, "tokens of a source (a docstring, say) that are read";
        max_target: usize = 50, BATCH, fixed, "tokens of a target (code, say) that are learned";
        source: SourceText = SourceText::Docstring, OneOf(&SourceText::NAMES), fixed, "what a source is: the docstring, the function's signature (of the field signature), or the signature and the docstring behind it";
        source_tokens: TokenizerKind = TokenizerKind::Whitespace, OneOf(&TokenizerKind::NAMES), fixed, "how sources are split: at white space, into words (quoted strings whole), Python's tokens, pieces of words, or characters";
        target_tokens: TokenizerKind = TokenizerKind::Whitespace, OneOf(&TokenizerKind::NAMES), fixed, "how targets are split, likewise; bpe is pieces of Python's tokens, or of words where targets are text";
        bpe_merges: usize = 4000, Whole(0, 1_000_000), fixed, "pairs of pieces that become one, learned on the training pairs where a side is bpe";
        min_frequency: usize = 2, Whole(1, 1_000_000_000), fixed, "occurrences in the training pairs from which a token is in the vocabulary";
        shuffle: bool = true, Switch, fixed, "shuffle the training pairs each epoch";
        bucket_batches: usize = 1, Whole(1, 1_000_000), fixed, "batches in a pool within which pairs of like length are put together; 1 is none";
    }
    "Model" {
        model: ModelKind = ModelKind::Attention, EachOf(&ModelKind::NAMES, ModelKind::PUBLISHED), fixed, "which model: tanh RNN, LSTM, bidirectional LSTM with attention, GRU, or Transformer; all is the first three";
        embedding_dim: usize = 256, UNITS, fixed, "numbers that stand for a token";
        hidden_size: usize = 256, UNITS, fixed, "units of a layer, each way; a Transformer has four times as many inside a layer, whose rows are as wide as the embedding";
        num_layers: Option<usize> = None, Whole(1, 16), fixed, "layers of the encoder and of the decoder; a recurrent one above the first adds its output to what it reads; unless set 1, of a Transformer 3";
        num_heads: usize = 4, Whole(1, 1_024), fixed, "heads of a Transformer's attentions; they divide embedding-dim";
        copy: bool = false, Switch, fixed, "write tokens of the source, too, by the attention on them (a model with attention)";
        tie_embeddings: bool = false, Switch, fixed, "the target embedding is the output layer's weight, too, behind a tanh layer; halves what rare tokens have to learn";
        dropout: f64 = 0.3, DROPOUT, fixed, "share of values dropped in training: of the embeddings', of what recurrent layers above the first read, and of what a Transformer's layers add";
        output_dropout: Option<f64> = None, DROPOUT, fixed, "the same of what the output layer reads; unless set it is dropout where embeddings are tied, and else nothing";
    }
    "Optimiser" {
        epochs: usize = 20, EPOCHS, end, "passes over the training pairs";
        pretrain_epochs: Option<usize> = None, EPOCHS, end, "passes over the code of pretrain and the training targets, in place of epochs; unless set as many";
        batch_size: usize = 128, BATCH, fixed, "pairs a step";
        clip_norm: f64 = 5.0, CLIP_NORM, fixed, "largest norm of all gradients together that is not scaled down; 0 is no clipping";
        label_smoothing: f64 = 0.0, Below(0.0, 1.0), fixed, "share of each target that all tokens of the vocabulary have together, in training; validation and the logged ce are without";
        teacher_forcing: f64 = 1.0, Real(0.0, 1.0), fixed, "share of tokens before which the decoder reads the true one, not its own";
    }
    "Decoding" {
        beam: usize = 1, Whole(1, 1_000), free, "hypotheses kept when the test pairs are decoded at the end; 1 is greedy";
        length_penalty: f64 = 1.0, Real(0.0, 10.0), free, "power of an output's tokens that a beam divides its log-probability by; 1 is the mean a token, 0 favours short ones";
        grammar: GrammarChoice = GrammarChoice::None, OneOf(&GrammarChoice::NAMES), fixed, "what outputs are held to: any number of Python statements, one, or one logical line (an else: alone, too); for Python targets";
    }
}

impl Seq2SeqConfig {
    /// What no range of a single row says.
    fn together(&self) -> Result<()> {
        let model = self.model;
        if self.copy && !model.attends() {
            return Err(Error::Usage(format!(
                "copy with model = {model}: what is copied is what attention points to; give model = \
                 attention, or leave copy out"
            )));
        }
        if self.copy && self.label_smoothing > 0.0 {
            return Err(Error::Usage(
                "label-smoothing with copy: labels that are spread over the vocabulary would teach the \
                 model not to copy; leave one of the two out"
                    .into(),
            ));
        }
        if model == ModelKind::Transformer {
            self.check_transformer()?;
        }
        self.check_grammar(self.grammar)?;
        self.files().map(|_| ())
    }

    /// Checks that a grammar, if it is one, is for such targets.
    fn check_grammar(&self, grammar: GrammarChoice) -> Result<()> {
        if grammar.start().is_none() {
            return Ok(());
        }
        if !self.target_language.is_python() {
            return Err(Error::Usage(format!(
                "grammar {grammar}: the targets are not Python; give grammar none, or \
                 target-language python if they are"
            )));
        }
        Syntax::check_tokens(self.target_tokens)
    }

    /// What a Transformer's settings must be together.
    fn check_transformer(&self) -> Result<()> {
        let (width, heads) = (self.embedding_dim, self.num_heads);
        if width % heads != 0 {
            return Err(Error::Usage(format!(
                "num-heads = {heads} with embedding-dim = {width}: each head takes as many columns of the \
                 rows, so give a num-heads that divides embedding-dim"
            )));
        }
        if self.teacher_forcing < 1.0 {
            return Err(Error::Usage(format!(
                "teacher-forcing = {} with model = transformer: it is trained on all steps of its targets \
                 at once, and reads none of its own predictions; leave teacher-forcing out",
                self.teacher_forcing
            )));
        }
        Ok(())
    }

    /// Layers of encoder and decoder.
    pub fn layers(&self) -> usize {
        let unless_set = match self.model {
            ModelKind::Transformer => 3,
            _ => 1,
        };
        self.num_layers.unwrap_or(unless_set)
    }

    /// Passes over what is trained on.
    pub fn passes(&self) -> usize {
        let own = self.pretrain_epochs.filter(|_| self.pretrain.is_some());
        own.unwrap_or(self.epochs)
    }

    /// The sizes of the model as they are told.
    pub(super) fn told_sizes(&self) -> String {
        match self.model {
            ModelKind::Transformer => format!(
                "{} layers a side of width {}, {} heads, {} units inside",
                self.layers(),
                self.embedding_dim,
                self.num_heads,
                4 * self.hidden_size
            ),
            _ => match self.layers() {
                1 => format!("{} units", self.hidden_size),
                n => format!("{n} layers of {} units", self.hidden_size),
            },
        }
    }

    /// How pairs become ids.
    pub fn limits(&self) -> Limits {
        Limits {
            source: self.source,
            max_source: self.max_source,
            max_target: self.max_target,
            min_frequency: self.min_frequency,
            copy: self.copy,
            reads: self.pretrain.is_none(),
        }
    }

    /// How pairs are split.
    pub fn tokens(&self) -> TokenChoice {
        TokenChoice {
            source: self.source_tokens,
            target: self.target_tokens,
            merges: self.bpe_merges,
            targets: match self.target_language.is_python() {
                true => Base::Python,
                false => Base::Words,
            },
        }
    }

    /// The sizes of the model for vocabularies of these sizes.
    pub fn sizes(&self, source_vocab: usize, target_vocab: usize) -> Seq2SeqSizes {
        Seq2SeqSizes {
            source_vocab,
            target_vocab,
            embedding: self.embedding_dim,
            hidden: self.hidden_size,
            layers: self.layers(),
            heads: self.num_heads,
            copy: self.copy,
            tied: self.tie_embeddings,
        }
    }

    /// How the test pairs are decoded.
    pub fn decoding(&self) -> DecodeOptions<'static> {
        DecodeOptions {
            search: Search::of_width(self.beam),
            length_penalty: self.length_penalty,
            ..DecodeOptions::greedy(self.max_target)
        }
    }

    /// What outputs of a vocabulary are held to; `target_language` is settled. `room` is the tokens that an
    /// output may have, and the setting that says so.
    ///
    /// # Errors
    /// [`Error::Usage`] for targets that are no Python, or too little room; else as [`Syntax::new`].
    pub fn syntax(
        &self,
        grammar: GrammarChoice,
        target: &WordVocab,
        (setting, room): (&str, usize),
    ) -> Result<Option<Syntax>> {
        let Some(start) = grammar.start() else {
            return Ok(None);
        };
        self.check_grammar(grammar)?;
        let syntax = Syntax::new(start, self.target_tokens, target)?;
        match syntax.shortest().filter(|&shortest| shortest > room) {
            Some(shortest) => Err(Error::Usage(format!(
                "{setting} {room}: the shortest output of grammar {grammar} has {shortest} tokens; raise \
                 {setting}, or give another grammar"
            ))),
            None => Ok(Some(syntax)),
        }
    }

    /// Clipping as torch's `clip_grad_norm_` does it.
    pub fn clip(&self) -> Clip {
        match self.clip_norm {
            0.0 => Clip::Off,
            max => Clip::Global { max, epsilon: 1e-6 },
        }
    }

    /// How files of pairs are read.
    pub fn format(&self) -> PairFormat {
        PairFormat {
            source_field: self.source_field.clone(),
            target_field: self.target_field.clone(),
            strict: self.strict,
        }
    }

    /// Reads the pairs.
    ///
    /// # Errors
    /// [`Error::Usage`] if the settings name neither one file nor three, else as [`Splits::read`],
    /// [`Splits::divide`] and [`Splits::with_code`]; [`Error::Data`] for signatures that no pair has.
    pub fn splits(&self) -> Result<Splits> {
        let format = self.format();
        let splits = match self.files()? {
            Files::Three(files) => Splits::read(files, &format)?,
            Files::One(path, fractions) => Splits::divide(path, &format, fractions)?,
            Files::Embedded => Splits::embedded()?,
        };
        self.check_signatures(&splits.train, &splits.source)?;
        let splits = match self.source {
            SourceText::Docstring => splits,
            SourceText::Signature | SourceText::Both => splits.with_signatures(),
        };
        match &self.pretrain {
            Some(code) => splits.with_code(code, &format),
            None => Ok(splits),
        }
    }

    /// Checks that pairs, which messages call `name`, have signatures where sources are made of them.
    ///
    /// # Errors
    /// [`Error::Data`] if none has.
    pub fn check_signatures(&self, pairs: &[Pair], name: &str) -> Result<()> {
        let is_read = self.source != SourceText::Docstring;
        if is_read && pairs.iter().all(|pair| pair.signature.is_none()) {
            return Err(Error::Data(format!(
                "source = \"{}\" reads the field \"signature\", which no pair of {name} has: give pairs \
                 of `rnnx data prepare` or `rnnx data fetch`, or train with --source docstring",
                self.source
            )));
        }
        Ok(())
    }

    /// Where the pairs come from.
    fn files(&self) -> Result<Files<'_>> {
        let fractions = [self.valid_fraction, self.test_fraction];
        let [valid, test] = fractions.map(|share| share.unwrap_or(FRACTION));
        let are_given = fractions.iter().any(Option::is_some);
        if valid + test >= 1.0 {
            return Err(Error::Usage(format!(
                "valid-fraction {valid} and test-fraction {test} leave no pair to train on: lower them"
            )));
        }
        let all = [
            ("train", &self.train),
            ("valid", &self.valid),
            ("test", &self.test),
        ];
        let names = |given: bool| {
            let of = all.iter().filter(|(_, path)| path.is_some() == given);
            let names: Vec<_> = of.map(|(name, _)| *name).collect();
            names.join(" and ")
        };
        let files = match (self.pairs.as_deref(), all.map(|(_, path)| path.as_deref())) {
            (Some(one), [None, None, None]) => return Ok(Files::One(one, [valid, test])),
            (Some(_), _) => {
                return Err(Error::Usage(format!(
                    "pairs and {}: pairs is one file in place of the three; leave one out",
                    names(true)
                )));
            }
            (None, [Some(one), None, None]) if are_given => {
                return Ok(Files::One(one, [valid, test]));
            }
            (None, [None, None, None]) => Files::Embedded,
            (None, [Some(train), Some(valid), Some(test)]) => Files::Three([train, valid, test]),
            _ => {
                return Err(Error::Usage(format!(
                    "{} without {}: the pairs come from three files, one for each split; give all \
                     three, or none for the pairs of the embedded corpus, or one file as pairs, which \
                     valid-fraction and test-fraction divide",
                    names(true),
                    names(false)
                )));
            }
        };
        match are_given {
            true => Err(Error::Usage(
                "valid-fraction and test-fraction divide one file of pairs: give it as pairs, or leave \
                 them out"
                    .into(),
            )),
            false => Ok(files),
        }
    }
}

/// Share of one file's pairs that validates, and that is tested on, unless set.
const FRACTION: f64 = 0.1;

/// Where pairs come from.
enum Files<'a> {
    /// The embedded corpus.
    Embedded,
    /// A file for each split.
    Three([&'a Path; 3]),
    /// One file, and the shares that validate and are tested on.
    One(&'a Path, [f64; 2]),
}
