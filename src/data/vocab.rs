//! The character vocabulary: which character has which id.

use std::path::Path;

use serde_json::{Value, json};

use crate::{Error, Result};

/// Marks a byte that has no id. No vocabulary of ASCII characters has an id this large.
const NONE: u8 = u8::MAX;

/// ASCII characters and their ids, which are their places in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CharVocab {
    tokens: Vec<u8>,
    ids: [u8; 256],
}

impl CharVocab {
    /// The sorted set of the characters of cleaned text.
    ///
    /// # Errors
    /// Text that is empty or holds a byte outside ASCII.
    pub fn from_text(text: &[u8]) -> Result<Self> {
        let mut seen = [false; 256];
        for &b in text {
            seen[usize::from(b)] = true;
        }
        Self::from_tokens(
            (0..=255u8)
                .filter(|&b| seen[usize::from(b)])
                .map(char::from),
        )
    }

    /// A vocabulary of these characters, in index order.
    ///
    /// # Errors
    /// No characters, one that stands there twice, or one outside ASCII.
    pub fn from_tokens(chars: impl IntoIterator<Item = char>) -> Result<Self> {
        let mut vocab = CharVocab {
            tokens: Vec::new(),
            ids: [NONE; 256],
        };
        for c in chars {
            let id = vocab.tokens.len();
            let b = u8::try_from(c).ok().filter(u8::is_ascii).ok_or_else(|| {
                Error::Data(format!(
                    "vocabulary: token {id} is '{}'; a character vocabulary holds ASCII only",
                    c.escape_default()
                ))
            })?;
            if vocab.ids[usize::from(b)] != NONE {
                return Err(Error::Data(format!(
                    "vocabulary: '{}' is there twice, as tokens {} and {id}",
                    c.escape_default(),
                    vocab.ids[usize::from(b)]
                )));
            }
            vocab.ids[usize::from(b)] = id as u8; // below 128: ASCII without doubles
            vocab.tokens.push(b);
        }
        if vocab.tokens.is_empty() {
            return Err(Error::Data(
                "vocabulary: it holds no characters; the text or the list of tokens is empty"
                    .into(),
            ));
        }
        Ok(vocab)
    }

    /// Number of characters, V.
    #[expect(
        clippy::len_without_is_empty,
        reason = "a vocabulary without characters cannot be made"
    )]
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// The characters in index order.
    pub fn tokens(&self) -> impl ExactSizeIterator<Item = char> {
        self.tokens.iter().map(|&b| char::from(b))
    }

    /// The character of an id. Panics where `id` is not below [`Self::len`].
    pub fn decode(&self, id: u8) -> char {
        char::from(self.tokens[usize::from(id)])
    }

    /// The ids of cleaned text, one a byte.
    ///
    /// # Errors
    /// A character that the vocabulary does not have.
    pub fn encode_all(&self, text: &[u8]) -> Result<Vec<u8>> {
        let ids: Vec<u8> = text.iter().map(|&b| self.ids[usize::from(b)]).collect();
        match ids.iter().position(|&id| id == NONE) {
            None => Ok(ids),
            Some(at) => Err(Error::Data(format!(
                "the corpus's character {}, '{}', is not in the vocabulary of {} characters; \
                 use the corpus that the vocabulary was made from",
                at + 1,
                text[at].escape_ascii(),
                self.len()
            ))),
        }
    }

    /// The content of `vocab.json`: `{"kind":"char","tokens":[...]}` in index order.
    pub fn to_json(&self) -> Value {
        let tokens: Vec<String> = self.tokens().map(String::from).collect();
        json!({ "kind": "char", "tokens": tokens })
    }

    /// Reads what [`Self::to_json`] wrote; `path` is the file that errors name.
    ///
    /// # Errors
    /// [`Error::Checkpoint`] for a vocabulary of words, of another kind, or with wrong tokens.
    pub fn from_json(value: &Value, path: &Path) -> Result<Self> {
        let fail = |message: String| Error::checkpoint(path, message);
        match value.get("kind").and_then(Value::as_str) {
            Some("char") => {}
            Some("words") => {
                return Err(fail(
                    "a vocabulary of words belongs to a seq2seq run; a character LM needs one of \
                     kind \"char\": name a run of train-charlm"
                        .into(),
                ));
            }
            Some(kind) => return Err(fail(format!("unknown kind of vocabulary, {kind:?}"))),
            None => return Err(fail("no \"kind\": this is not a vocabulary".into())),
        }
        let tokens = value.get("tokens").and_then(Value::as_array);
        let tokens = tokens.ok_or_else(|| fail("\"tokens\" is not a list".into()))?;
        let chars = tokens.iter().enumerate().map(|(id, token)| {
            let mut chars = token.as_str().unwrap_or_default().chars();
            match (chars.next(), chars.next()) {
                (Some(c), None) => Ok(c),
                _ => Err(fail(format!("token {id} is {token}, not one character"))),
            }
        });
        Self::from_tokens(chars.collect::<Result<Vec<char>>>()?).map_err(|e| fail(e.to_string()))
    }
}
