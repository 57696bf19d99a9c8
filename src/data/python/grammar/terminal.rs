//! The terminals: kinds of tokens, as the grammar tells them apart.

use std::collections::HashMap;
use std::sync::LazyLock;

/// As the grammar's file writes them: classes of tokens in capitals, then keywords, then operators.
#[rustfmt::skip]
const NAMES: [&str; 96] = [
    "NAME", "NUMBER", "IMAGINARY", "STRING", "FSTRING", "BYTES", "TEMPLATE",
    "NEWLINE", "INDENT", "DEDENT",
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue",
    "def", "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import",
    "in", "is", "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while",
    "with", "yield", "match", "case", "type", "_",
    "+", "-", "*", "**", "/", "//", "%", "@", "<<", ">>", "&", "|", "^", "~", ":=",
    "<", ">", "<=", ">=", "==", "!=", "(", ")", "[", "]", "{", "}", ",", ":", ".", ";", "=", "->",
    "...", "+=", "-=", "*=", "/=", "//=", "%=", "@=", "&=", "|=", "^=", ">>=", "<<=", "**=",
];

/// Where the reserved words stand in it.
const KEYWORDS: std::ops::Range<usize> = 10..45;

/// Number of terminals.
pub const TERMINALS: usize = NAMES.len();

/// A kind of token: a keyword, an operator, or a class of tokens such as all names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Terminal(u8);

impl Terminal {
    /// Identifiers, but for the words that are keywords in some places (`match`, `case`, `type`) and
    /// `_`: they are terminals of their own.
    pub const NAME: Self = Self(0);
    /// Integers and real numbers.
    pub const NUMBER: Self = Self(1);
    /// Numbers with a `j`.
    pub const IMAGINARY: Self = Self(2);
    /// One literal of `str`, raw ones too.
    pub const STRING: Self = Self(3);
    /// One f-string, as a whole.
    pub const FSTRING: Self = Self(4);
    /// One literal of `bytes`.
    pub const BYTES: Self = Self(5);
    /// One t-string, as a whole.
    pub const TEMPLATE: Self = Self(6);
    /// The end of a logical line.
    pub const NEWLINE: Self = Self(7);
    /// The beginning of a block.
    pub const INDENT: Self = Self(8);
    /// The end of a block.
    pub const DEDENT: Self = Self(9);

    /// The terminal that the grammar's file writes so: a keyword, an operator, the name of a class.
    pub fn of(name: &str) -> Option<Self> {
        let at = NAMES.iter().position(|&n| n == name)?;
        Some(Self(at as u8))
    }

    /// The terminal of a keyword or an operator.
    pub fn spelled(text: &str) -> Option<Self> {
        static SPELLED: LazyLock<HashMap<&str, Terminal>> = LazyLock::new(|| {
            let spelled = Terminal::all().filter(|t| !t.is_class());
            spelled.map(|t| (t.name(), t)).collect()
        });
        SPELLED.get(text).copied()
    }

    /// How the grammar's file writes it.
    pub fn name(self) -> &'static str {
        NAMES[self.index()]
    }

    /// Whether it is a class of tokens, not one keyword or operator.
    pub fn is_class(self) -> bool {
        self <= Self::DEDENT
    }

    /// Whether it is a reserved word of Python 3. Those of context (`match`, `case`, `type`) may be names,
    /// and are not.
    pub fn is_keyword(self) -> bool {
        KEYWORDS.contains(&self.index())
    }

    /// Its number, below [`TERMINALS`].
    pub fn index(self) -> usize {
        usize::from(self.0)
    }

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..TERMINALS as u8).map(Self)
    }
}

/// A set of terminals.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct TerminalSet(u128);

impl TerminalSet {
    /// Whether a terminal is in it.
    pub fn contains(self, terminal: Terminal) -> bool {
        self.0 >> terminal.0 & 1 == 1
    }

    /// Whether the two have a terminal in common.
    pub fn meets(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

impl FromIterator<Terminal> for TerminalSet {
    fn from_iter<I: IntoIterator<Item = Terminal>>(terminals: I) -> Self {
        Self(terminals.into_iter().fold(0, |set, t| set | 1 << t.0))
    }
}
