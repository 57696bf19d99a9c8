//! The structure of a Python file, as places in its characters.

use std::ops::Range;

/// What the lexer finds in a file, each list in the order of the file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Syntax {
    /// Brackets that are closed, outside strings and comments, in the order of their closers.
    pub brackets: Vec<Bracket>,
    /// Strings.
    pub strings: Vec<StringToken>,
    /// Logical lines.
    pub lines: Vec<LogicalLine>,
    /// Names that are no keywords, attributes among them.
    pub identifiers: Vec<Range<usize>>,
}

/// The three types of brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BracketKind {
    /// `()`
    Round,
    /// `[]`
    Square,
    /// `{}`
    Curly,
}

impl BracketKind {
    /// Every type.
    pub const ALL: [BracketKind; 3] = [BracketKind::Round, BracketKind::Square, BracketKind::Curly];

    /// The type that an opener is of.
    pub fn of_opener(c: char) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.opener() == c)
    }

    /// The type that a closer is of.
    pub fn of_closer(c: char) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.closer() == c)
    }

    /// What opens it.
    pub fn opener(self) -> char {
        match self {
            BracketKind::Round => '(',
            BracketKind::Square => '[',
            BracketKind::Curly => '{',
        }
    }

    /// What closes it.
    pub fn closer(self) -> char {
        match self {
            BracketKind::Round => ')',
            BracketKind::Square => ']',
            BracketKind::Curly => '}',
        }
    }
}

/// A pair of brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bracket {
    /// The opener's place.
    pub open: usize,
    /// The closer's place.
    pub close: usize,
    /// Brackets that are open inside this one, itself counted: 1 is outermost.
    pub depth: usize,
    /// Its type.
    pub kind: BracketKind,
}

/// The delimiter of a string.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delimiter {
    /// `'` or `"`.
    pub quote: char,
    /// Whether it stands there three times.
    pub triple: bool,
}

impl Delimiter {
    /// Characters of it: 1 or 3.
    pub fn length(self) -> usize {
        if self.triple { 3 } else { 1 }
    }
}

/// A string, or an f-string as a whole: what stands in its braces is part of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringToken {
    /// The place of the first character, which is the prefix's where there is one.
    pub start: usize,
    /// The place of the first character behind the opening delimiter.
    pub body: usize,
    /// The place of the closing delimiter's first character; where it is missing, the end of what
    /// belongs to the string.
    pub close: usize,
    /// Whether the closing delimiter is there.
    pub is_closed: bool,
    /// Its delimiter.
    pub delimiter: Delimiter,
    /// Whether it is the docstring of a module, class or function.
    pub is_docstring: bool,
}

impl StringToken {
    /// The place behind the string.
    pub fn end(&self) -> usize {
        match self.is_closed {
            true => self.close + self.delimiter.length(),
            false => self.close,
        }
    }
}

/// How the indentation of a logical line follows that of the line before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// The same level; also the first line of a file.
    Same,
    /// A level deeper.
    Indent,
    /// So many levels back.
    Dedent(usize),
}

/// A logical line: a statement, or several with `;`, over all the lines that it takes. Blank lines
/// and lines with nothing but a comment are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicalLine {
    /// The place of its first character, white space counted.
    pub start: usize,
    /// The place of its first character that is no white space.
    pub text: usize,
    /// The place behind it, that is behind its newline where it has one.
    pub end: usize,
    /// Columns of its indentation; a tab goes on to the next multiple of 8.
    pub width: usize,
    /// Whether there is a tab (or another white space than blanks) in its indentation.
    pub has_tabs: bool,
    /// Levels of its indentation.
    pub level: usize,
    /// How it follows the line before.
    pub step: Step,
    /// Where the line starts that opened its level, the one with the colon; none at level 0.
    pub opened_at: Option<usize>,
    /// The widths that are open before it, ascending from 0: where a line may return to.
    pub open_widths: Vec<usize>,
    /// Whether it ends with a colon, so that the next must be deeper.
    pub opens_block: bool,
}
