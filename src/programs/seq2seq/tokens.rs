//! How pairs become tokens, and tokens ids: the tokenizers and vocabularies of both sides.

use crate::data::pairs::{Pair, Splits, first_paragraph};
use crate::data::split::Split;
use crate::data::tokens::bpe::{Base, Bpe};
use crate::data::tokens::{Tokenizer, TokenizerKind, Tokenizers, learn};
use crate::data::vocab::Vocab;
use crate::data::words::{WordVocab, frequent};
use crate::{Error, Result};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::Path;

/// What the source of a pair is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SourceText {
    /// The first paragraph of the docstring.
    Docstring,
    /// The signature of the function.
    Signature,
    /// The signature, [`SEPARATOR`], and the first paragraph of the docstring.
    Both,
}

/// The token between a signature and a docstring.
pub const SEPARATOR: &str = "<SEP>";

impl SourceText {
    /// Their names, in order.
    pub const NAMES: [&str; 3] = ["docstring", "signature", "both"];

    /// The texts of a source, one or two; a signature that is not there is empty.
    pub fn texts<'a>(self, docstring: &'a str, signature: Option<&'a str>) -> Vec<&'a str> {
        let (docstring, signature) = (first_paragraph(docstring), signature.unwrap_or_default());
        match self {
            SourceText::Docstring => vec![docstring],
            SourceText::Signature => vec![signature],
            SourceText::Both => vec![signature, docstring],
        }
    }

    /// The tokens of a source.
    pub fn split(
        self,
        tokenizer: &Tokenizer,
        docstring: &str,
        signature: Option<&str>,
    ) -> Vec<String> {
        let texts = self.texts(docstring, signature);
        let parts: Vec<_> = texts
            .into_iter()
            .map(|text| tokenizer.split(text))
            .collect();
        parts.join(&SEPARATOR.to_owned())
    }
}

impl fmt::Display for SourceText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(SourceText::NAMES[*self as usize])
    }
}

/// How pairs become ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// What the source is made of.
    pub source: SourceText,
    /// Tokens of a docstring that are kept.
    pub max_source: usize,
    /// Tokens of the code that are kept.
    pub max_target: usize,
    /// Occurrences in the training split from which a token has an id of its own.
    pub min_frequency: usize,
    /// Whether tokens of the source have ids in the target, too.
    pub copy: bool,
    /// Whether sources are read; else targets are learned alone.
    pub reads: bool,
}

/// Which tokenizers a run is to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenChoice {
    /// Of the source.
    pub source: TokenizerKind,
    /// Of the target.
    pub target: TokenizerKind,
    /// Merges of byte-pair encoding.
    pub merges: usize,
    /// What the pieces of targets are pieces of.
    pub targets: Base,
}

impl TokenChoice {
    /// The tokenizers, with the merges that the training pairs teach. Where both sides are `bpe` they have
    /// the same, learned on both, so that what is copied is the same pieces (Sennrich, Haddow and
    /// Birch 2016, section 3.2).
    ///
    /// # Errors
    /// [`Error::Data`] for more different tokens than can be counted.
    pub fn tokenizers(self, splits: &Splits, text: SourceText) -> Result<Tokenizers> {
        let is_bpe = [self.source, self.target].map(|kind| kind == TokenizerKind::Bpe);
        let tokens = splits.train.par_iter().flat_map_iter(|pair| {
            let texts = text.texts(&pair.docstring, pair.signature.as_deref());
            let source = texts.into_iter().map(|text| Base::Words.split(text));
            let source = is_bpe[0].then(|| source.flatten().collect());
            let target = is_bpe[1].then(|| self.targets.split(&pair.code));
            source.into_iter().chain(target).flatten()
        });
        let tokens: Vec<String> = tokens.collect();
        let learned = learn(Base::Words, tokens.iter().map(String::as_str), self.merges);
        let learned = learned.map_err(|e| Error::Data(format!("byte-pair encoding: {e}")))?;
        let side = |kind, bpe: Bpe| match kind {
            TokenizerKind::Whitespace => Tokenizer::Whitespace,
            TokenizerKind::Words => Tokenizer::Words,
            TokenizerKind::Python => Tokenizer::Python,
            TokenizerKind::Bpe => Tokenizer::Bpe(bpe),
            TokenizerKind::Chars => Tokenizer::Chars,
        };
        Ok(Tokenizers {
            source: side(self.source, learned.clone()),
            target: side(self.target, learned.over(self.targets)),
        })
    }

    /// Checks that tokenizers, of the file `path`, are these.
    ///
    /// # Errors
    /// [`Error::Data`] with the setting to change.
    pub fn check(self, tokenizers: &Tokenizers, path: &str) -> Result<()> {
        for (setting, wanted, has) in [
            ("source-tokens", self.source, tokenizers.source.kind()),
            ("target-tokens", self.target, tokenizers.target.kind()),
        ] {
            if wanted != has {
                return Err(Error::Data(format!(
                    "{setting} is {wanted}, but {path} is of {has} tokens: give --{setting} {has}, \
                     or start from other weights"
                )));
            }
        }
        Ok(())
    }
}

/// The tokens of a pair, cut to the limits.
#[derive(Clone, Debug)]
pub(super) struct PairTokens {
    /// Of the source.
    pub source: Vec<String>,
    /// Of the target.
    pub target: Vec<String>,
    /// Whether source and target were cut.
    pub cut: (bool, bool),
}

/// The tokens of some pairs.
pub(super) fn split(pairs: &[Pair], tokenizers: &Tokenizers, limits: Limits) -> Vec<PairTokens> {
    let take = |mut tokens: Vec<String>, most: usize| {
        let long = tokens.len() > most;
        tokens.truncate(most);
        (tokens, long)
    };
    let of = |pair: &Pair| {
        let signature = pair.signature.as_deref();
        let source = limits
            .source
            .split(&tokenizers.source, &pair.docstring, signature);
        let (source, source_cut) = take(source, limits.max_source);
        let (target, target_cut) = take(tokenizers.target.split(&pair.code), limits.max_target);
        PairTokens {
            source,
            target,
            cut: (source_cut, target_cut),
        }
    };
    pairs.par_iter().map(of).collect()
}

/// The vocabularies of a model, and what they are vocabularies of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeqVocab {
    /// Which token a source id stands for.
    pub source: WordVocab,
    /// Which token a target id stands for.
    pub target: WordVocab,
    /// How text becomes tokens.
    pub tokenizers: Tokenizers,
}

impl SeqVocab {
    /// That of the file `path`.
    ///
    /// # Errors
    /// As [`Vocab::into_words`].
    pub fn from_file(file: Vocab, path: &Path) -> Result<Self> {
        let tokenizers = file.tokenizers();
        let (source, target) = file.into_words(path)?;
        Ok(SeqVocab {
            source,
            target,
            tokenizers,
        })
    }

    /// That of training pairs: tokens that are frequent enough, and all pieces that there can be of the
    /// characters that were seen.
    ///
    /// # Errors
    /// [`Error::Data`] if no token is frequent enough to have an id.
    pub(super) fn of(tokens: &[PairTokens], tokenizers: &Tokenizers, least: usize) -> Result<Self> {
        let separator = tokens
            .iter()
            .flat_map(|t| &t.source)
            .find(|t| *t == SEPARATOR);
        let separator = separator.map(String::as_str);
        let side = |tokenizer: &Tokenizer, of: fn(&PairTokens) -> &[String], more: Option<&str>| {
            match tokenizer {
                Tokenizer::Bpe(bpe) => WordVocab::of_all(bpe.pieces().chain(more)),
                _ => WordVocab::from_tokens(all(tokens, of), least),
            }
        };
        Ok(SeqVocab {
            source: side(&tokenizers.source, |t| &t.source, separator)?,
            target: side(&tokenizers.target, |t| &t.target, None)?,
            tokenizers: tokenizers.clone(),
        })
    }

    /// As `vocab.json` has it.
    pub fn to_file(&self) -> Vocab {
        Vocab::Words {
            source: self.source.tokens().to_vec(),
            target: self.target.tokens().to_vec(),
            tokenizers: Box::new(self.tokenizers.clone()),
        }
    }
}

/// The tokens of one side of some pairs.
fn all(tokens: &[PairTokens], of: fn(&PairTokens) -> &[String]) -> impl Iterator<Item = &str> {
    tokens.iter().flat_map(of).map(String::as_str)
}

/// The tokens that training pairs want to have ids of their own, there may be none, split by these
/// tokenizers: the frequent ones, and of pieces all, since what is no piece is a character that was not
/// seen.
pub fn wanted(splits: &Splits, tokenizers: Tokenizers, limits: Limits) -> Vocab {
    let tokens = split(&splits.train, &tokenizers, limits);
    let side = |tokenizer: &Tokenizer, of: fn(&PairTokens) -> &[String]| -> Vec<String> {
        let least = match tokenizer.kind() {
            TokenizerKind::Bpe => 1,
            _ => limits.min_frequency,
        };
        let (words, _) = frequent(all(&tokens, of), least);
        words.into_iter().map(str::to_owned).collect()
    };
    Vocab::Words {
        source: side(&tokenizers.source, |t| &t.source),
        target: side(&tokenizers.target, |t| &t.target),
        tokenizers: Box::new(tokenizers),
    }
}

/// All splits as tokens.
pub(super) fn split_all(
    splits: &Splits,
    tokenizers: &Tokenizers,
    limits: Limits,
) -> [Vec<PairTokens>; 3] {
    Split::ALL.map(|part| {
        let pairs = match part {
            Split::Train => &splits.train,
            Split::Valid => &splits.valid,
            Split::Test => &splits.test,
        };
        split(pairs, tokenizers, limits)
    })
}
