//! Docstring/code pairs: what the seq2seq models read and write.
//!
//! Where they come from is said in [`super::jsonl`] (files) and [`super::prepare`] (Python code).

use std::collections::HashSet;

use sha2::{Digest, Sha256};

/// A docstring and the code that it describes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The whole docstring.
    pub docstring: String,
    /// The function's source without its docstring.
    pub code: String,
    /// The function's parameters and the type that it returns, where the data has them.
    pub signature: Option<String>,
}

impl Pair {
    /// Docstring and code.
    pub(super) fn texts(&self) -> [&str; 2] {
        [&self.docstring, &self.code]
    }

    /// The tokens of both sides; no two different lists of tokens give the same key.
    pub(super) fn key(&self) -> String {
        let mut key = String::new();
        for token in source_tokens(&self.docstring) {
            key.extend([token, " "]);
        }
        key.push('\n');
        for token in target_tokens(&self.code) {
            key.extend([token, " "]);
        }
        key
    }
}

/// Goes on with a hash of texts.
pub(super) fn update(hash: &mut Sha256, texts: &[&str]) {
    for text in texts {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text);
    }
}

/// What Python's `str.split()` splits at: Unicode's White_Space and U+001C to U+001F.
fn is_space(c: char) -> bool {
    c.is_whitespace() || matches!(c, '\x1c'..='\x1f')
}

pub(super) fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// The source tokens: the white-space split of the docstring's first paragraph, which ends before
/// the first blank line behind its first word.
pub fn source_tokens(docstring: &str) -> impl Iterator<Item = &str> {
    words(first_paragraph(docstring))
}

/// The first paragraph of a docstring, without the white space around it.
pub fn first_paragraph(docstring: &str) -> &str {
    let docstring = docstring.trim_start_matches(is_space);
    let lines = docstring.split_inclusive('\n');
    let paragraph = lines.take_while(|line| !line.chars().all(is_space));
    let paragraph = &docstring[..paragraph.map(str::len).sum()];
    paragraph.trim_end_matches(is_space)
}

/// The target tokens: the white-space split of code without its docstring.
pub fn target_tokens(code: &str) -> impl Iterator<Item = &str> {
    words(code)
}

/// Whether code that comes in pieces has at most `n` target tokens. The rest of the pieces is not
/// looked at once it has more.
pub(super) fn has_at_most<'a>(pieces: impl Iterator<Item = &'a str>, n: usize) -> bool {
    let (mut tokens, mut in_token) = (0, false);
    for c in pieces.flat_map(str::chars) {
        let starts = !is_space(c) && !in_token;
        in_token = !is_space(c);
        tokens += usize::from(starts);
        if tokens > n {
            return false;
        }
    }
    true
}

/// The pairs that train, validate and test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Splits {
    /// Pairs that train.
    pub train: Vec<Pair>,
    /// Pairs that choose the best epoch.
    pub valid: Vec<Pair>,
    /// Pairs that are only tested on.
    pub test: Vec<Pair>,
    /// SHA-256 over all pairs in this order, in hexadecimal: for docstring and code its length in
    /// bytes as u64 little-endian, then its bytes.
    pub sha256: String,
    /// Where the pairs come from, for people.
    pub source: String,
    /// Which pairs of the files were skipped, for people; none where all are here.
    pub skipped: Option<String>,
}

impl Splits {
    /// Three splits and their hash.
    pub fn new(train: Vec<Pair>, valid: Vec<Pair>, test: Vec<Pair>, source: String) -> Self {
        let splits = Splits {
            sha256: String::new(),
            train,
            valid,
            test,
            source,
            skipped: None,
        };
        Splits {
            sha256: splits.hash(|pair| pair.texts().to_vec()),
            ..splits
        }
    }

    /// The same splits for those who read the signatures, too: the hash is over these as well, where a
    /// pair has none over an empty one.
    pub fn with_signatures(self) -> Self {
        Splits {
            sha256: self.hash(|pair| {
                let signature = pair.signature.as_deref().unwrap_or_default();
                [&pair.texts()[..], &[signature]].concat()
            }),
            ..self
        }
    }

    fn hash(&self, texts: fn(&Pair) -> Vec<&str>) -> String {
        let mut hash = Sha256::new();
        for pair in self.train.iter().chain(&self.valid).chain(&self.test) {
            update(&mut hash, &texts(pair));
        }
        format!("{:x}", hash.finalize())
    }

    /// How many test pairs stand in the training split, too: same source tokens, same target
    /// tokens. A score on those is no score.
    pub fn overlap(&self) -> usize {
        let train: HashSet<String> = self.train.iter().map(Pair::key).collect();
        let known = |pair: &&Pair| train.contains(&pair.key());
        self.test.iter().filter(known).count()
    }
}
