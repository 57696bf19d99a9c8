//! Files as a study sees them: characters with their ids, what each is, and the structure.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::syntax::Syntax;

/// What a character is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// Of one of Python 3's reserved words.
    Keyword,
    /// The first character of a name.
    IdentifierStart,
    /// A later character of a name.
    IdentifierRest,
    /// Of a number.
    Number,
    /// Of a string that is no docstring, with its prefix and delimiters.
    String,
    /// Of a docstring, with its delimiters.
    Docstring,
    /// Of a comment, from `#` to the end of the line.
    Comment,
    /// Of an operator or of punctuation: `+ == . , : ;` and so on.
    Operator,
    /// `(`, `[` or `{`.
    Opener,
    /// `)`, `]` or `}`.
    Closer,
    /// The end of a line that is not inside a string.
    Newline,
    /// White space at the start of a line that does not begin inside a string.
    Indent,
    /// White space between tokens, the backslash that joins lines, and what Python does not know.
    Other,
}

impl Class {
    /// Every class, in the order of tables.
    pub const ALL: [Class; 13] = [
        Class::Keyword,
        Class::IdentifierStart,
        Class::IdentifierRest,
        Class::Number,
        Class::String,
        Class::Docstring,
        Class::Comment,
        Class::Operator,
        Class::Opener,
        Class::Closer,
        Class::Newline,
        Class::Indent,
        Class::Other,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Class::Keyword => "keyword",
            Class::IdentifierStart => "identifier start",
            Class::IdentifierRest => "identifier rest",
            Class::Number => "number",
            Class::String => "string",
            Class::Docstring => "docstring",
            Class::Comment => "comment",
            Class::Operator => "operator",
            Class::Opener => "opener",
            Class::Closer => "closer",
            Class::Newline => "newline",
            Class::Indent => "indent",
            Class::Other => "other",
        }
    }
}

/// What a character is, and what is known just before it is read. Larger numbers than fit are kept
/// at the largest that does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// What it is.
    pub class: Class,
    /// Brackets that are open before this character (outside strings and comments); a closer counts
    /// its own opener.
    pub depth: u8,
    /// Whether a string is open before this character: its opening delimiter has been read and its
    /// closing one not to the end. So the prefix and the opening delimiter are outside, the closing
    /// one is inside.
    pub in_string: bool,
    /// Levels of indentation of the logical line. Its own white space has them already; blank lines
    /// and lines of comments have those of the line before.
    pub indent: u8,
    /// Characters of the same line before this one.
    pub column: u16,
}

/// Which half of the held-out files a file is in: what is chosen on one (a unit, a probe) is reported
/// on the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Half {
    /// For choosing.
    Choose,
    /// For reporting.
    Report,
}

/// A file that a study reads; [`SourceFile::new`] lexes one. The vectors of characters have one length,
/// and offsets in [`Syntax`] are places in them.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// Its path below the folder that it was found in, with `/` between names.
    pub name: String,
    /// The ids of its characters in the run's vocabulary.
    pub ids: Vec<u32>,
    /// Its characters, as the run's character set keeps them; of bytes U+0000 to U+00FF.
    pub chars: Vec<char>,
    /// What each of them is.
    pub marks: Vec<Mark>,
    /// Brackets, strings, lines and names.
    pub syntax: Syntax,
}

impl SourceFile {
    /// Its half, by the last bit of its name's SHA-256; held-out files are drawn by the first ones.
    pub fn half(&self) -> Half {
        match Sha256::digest(&self.name)[31] & 1 {
            0 => Half::Choose,
            _ => Half::Report,
        }
    }
}
