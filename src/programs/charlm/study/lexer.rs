//! A lexer of Python that takes any text.
//!
//! Why not the parser's own tokens (`data/python`): a study needs a mark for *every* character of
//! whatever text a model reads, in places of the run's own characters (bytes, or what a character set
//! has left of a file), and a file of Python 2, or with an error in it, must neither fail nor spoil
//! what follows the error. So this one has no errors, and its rules where a text is no Python are:
//!
//! - a closer closes the nearest open bracket of its type, and what is open inside that is
//!   forgotten; without such a bracket it closes nothing;
//! - a line that begins with a keyword that no expression has (`def`, `return`, `import`, ...) begins
//!   a statement, even where a bracket is open: that is forgotten;
//! - a string of one quote ends at the end of its line, one of three at the end of the file;
//! - a line that is less indented than its block but matches no line around it opens a level of its
//!   own.
//!
//! A test holds it against ruff's tokens over the embedded corpus.

use super::source::{Class, Mark, SourceFile};
use super::strings;
use super::syntax::{Bracket, BracketKind, LogicalLine, Step, StringToken, Syntax};
use crate::data::python::grammar::Terminal;

/// Columns between tab stops, as Python counts indentation.
const TAB: usize = 8;

/// Those that no line inside brackets begins with.
const STATEMENTS: [&str; 17] = [
    "assert", "break", "class", "continue", "def", "del", "elif", "except", "finally", "global",
    "import", "nonlocal", "pass", "raise", "return", "try", "while",
];

impl SourceFile {
    /// Lexes a file. `ids` are those of `chars`, one for each.
    ///
    /// # Panics
    /// If there are not as many ids as characters.
    pub fn new(name: String, chars: Vec<char>, ids: Vec<u32>) -> Self {
        assert_eq!(chars.len(), ids.len(), "an id for each character");
        let (marks, syntax) = lex(&chars);
        SourceFile {
            name,
            ids,
            chars,
            marks,
            syntax,
        }
    }
}

/// What every character of a text is, and the text's structure.
pub fn lex(chars: &[char]) -> (Vec<Mark>, Syntax) {
    let mut lexer = Lexer {
        chars,
        marks: Vec::with_capacity(chars.len()),
        line_start: 0,
        open: Vec::new(),
        levels: vec![(0, None)],
        in_line: false,
        last: None,
        docstring_may_follow: true,
        syntax: Syntax::default(),
    };
    while lexer.at() < chars.len() {
        lexer.line();
    }
    if lexer.in_line {
        lexer.end_line();
    }
    (lexer.marks, lexer.syntax)
}

/// Whether a name may begin with this character. Beyond ASCII everything but white space passes for
/// a letter.
pub fn is_name_start(c: char) -> bool {
    c == '_' || c.is_ascii_alphabetic() || (!c.is_ascii() && !c.is_whitespace())
}

/// Whether a name may go on with this character.
pub fn is_name(c: char) -> bool {
    is_name_start(c) || c.is_ascii_digit()
}

fn is_blank(c: char) -> bool {
    c.is_whitespace() && c != '\n'
}

fn is_one_of(word: &[char], words: &[&str]) -> bool {
    words.iter().any(|w| word.iter().copied().eq(w.chars()))
}

struct Lexer<'a> {
    chars: &'a [char],
    /// Of the characters that have been read.
    marks: Vec<Mark>,
    /// Where the line starts.
    line_start: usize,
    /// Open brackets.
    open: Vec<(usize, BracketKind)>,
    /// Widths of the open levels, and where the line starts that opened each.
    levels: Vec<(usize, Option<usize>)>,
    /// Whether a logical line is not at its end.
    in_line: bool,
    /// The last character of the logical line that is neither white space nor of a comment.
    last: Option<char>,
    /// Whether a string that begins the next logical line is a docstring.
    docstring_may_follow: bool,
    syntax: Syntax,
}

impl Lexer<'_> {
    fn at(&self) -> usize {
        self.marks.len()
    }

    fn peek(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at() + ahead).copied()
    }

    /// How many characters from here on are such.
    fn count(&self, is: impl Fn(char) -> bool) -> usize {
        let rest = self.chars[self.at()..].iter();
        rest.take_while(|&&c| is(c)).count()
    }

    /// Marks the next `n` characters, of a string from the one at `inside` on as inside it.
    fn push(&mut self, n: usize, class: Class, inside: usize) {
        for _ in 0..n {
            let at = self.at();
            let column = at - self.line_start;
            self.marks.push(Mark {
                class,
                depth: u8::try_from(self.open.len()).unwrap_or(u8::MAX),
                in_string: at >= inside,
                indent: u8::try_from(self.levels.len() - 1).unwrap_or(u8::MAX),
                column: u16::try_from(column).unwrap_or(u16::MAX),
            });
            if self.chars[at] == '\n' {
                self.line_start = at + 1;
            }
        }
    }

    fn mark(&mut self, n: usize, class: Class) {
        self.push(n, class, usize::MAX);
    }

    // ---- lines -----------------------------------------------------------------------------

    /// A line from its first character on, and all that its strings and brackets take with it.
    fn line(&mut self) {
        let indent = self.count(is_blank);
        let text = self.peek(indent);
        if self.in_line && self.begins_statement(indent) {
            self.open.clear();
            self.end_line();
        }
        if !self.in_line && !matches!(text, None | Some('\n' | '#')) {
            self.begin_line(indent);
        }
        self.mark(indent, Class::Indent);
        while self.peek(0).is_some_and(|c| c != '\n') {
            self.token();
        }
        if self.peek(0).is_none() {
            return;
        }
        let is_joined = self.last == Some('\\') && self.chars[self.at() - 1] == '\\';
        self.mark(1, Class::Newline);
        if self.in_line && self.open.is_empty() && !is_joined {
            self.end_line();
        }
    }

    /// The name characters at a place.
    fn word_at(&self, at: usize) -> &[char] {
        let rest = &self.chars[at..];
        let length = rest.iter().position(|&c| !is_name(c));
        &rest[..length.unwrap_or(rest.len())]
    }

    /// Whether the line begins with a word that only a statement begins with, though a bracket is
    /// open.
    fn begins_statement(&self, indent: usize) -> bool {
        !self.open.is_empty() && is_one_of(self.word_at(self.at() + indent), &STATEMENTS)
    }

    fn begin_line(&mut self, indent: usize) {
        let start = self.at();
        let blanks = &self.chars[start..start + indent];
        let width = blanks.iter().fold(0, |width, &c| match c {
            '\t' => (width / TAB + 1) * TAB,
            '\u{c}' => 0,
            _ => width + 1,
        });
        let open_widths: Vec<usize> = self.levels.iter().map(|&(width, _)| width).collect();
        let before = self.levels.len();
        self.levels.retain(|&(open, _)| open <= width);
        let dedented = before - self.levels.len();
        if self.levels.last().is_none_or(|&(open, _)| open < width) {
            let opened_at = self.syntax.lines.last().map(|line| line.start);
            self.levels.push((width, opened_at));
        }
        self.syntax.lines.push(LogicalLine {
            start,
            text: start + indent,
            end: start,
            width,
            has_tabs: blanks.iter().any(|&c| c != ' '),
            level: self.levels.len() - 1,
            step: match dedented {
                0 if self.levels.len() > before => Step::Indent,
                0 => Step::Same,
                n => Step::Dedent(n),
            },
            opened_at: self.levels.last().and_then(|&(_, opened_at)| opened_at),
            open_widths,
            opens_block: false,
        });
        (self.in_line, self.last) = (true, None);
    }

    fn end_line(&mut self) {
        self.in_line = false;
        let (end, opens_block) = (self.at(), self.last == Some(':'));
        let Some(line) = self.syntax.lines.last_mut() else {
            return;
        };
        (line.end, line.opens_block) = (end, opens_block);
        let text = line.text;
        let first = self.word_at(text);
        let is_definition = is_one_of(first, &["class", "def"])
            || is_one_of(first, &["async"]) && {
                let blanks = self.chars[text + first.len()..].iter();
                let blanks = blanks.take_while(|&&c| is_blank(c)).count();
                is_one_of(self.word_at(text + first.len() + blanks), &["def"])
            };
        self.docstring_may_follow = opens_block && is_definition;
    }

    // ---- tokens ----------------------------------------------------------------------------

    fn token(&mut self) {
        let Some(c) = self.peek(0) else { return };
        let digit_follows = self.peek(1).is_some_and(|c| c.is_ascii_digit());
        match c {
            '#' => return self.mark(self.count(|c| c != '\n'), Class::Comment),
            _ if is_blank(c) => return self.mark(self.count(is_blank), Class::Other),
            '\'' | '"' => self.string(0, false),
            _ if is_name_start(c) => self.word(),
            _ if c.is_ascii_digit() || c == '.' && digit_follows => {
                let n = number(&self.chars[self.at()..]);
                self.mark(n, Class::Number);
            }
            _ => match (BracketKind::of_opener(c), BracketKind::of_closer(c)) {
                (Some(kind), _) => self.opener(kind),
                (_, Some(kind)) => self.closer(kind),
                _ if "+-*/%@&|^~<>=!.,:;`".contains(c) => self.mark(1, Class::Operator),
                _ => self.mark(1, Class::Other),
            },
        }
        self.last = self.chars.get(self.at() - 1).copied();
        // A colon inside brackets opens no block.
        if self.last == Some(':') && !self.open.is_empty() {
            self.last = Some(',');
        }
    }

    fn opener(&mut self, kind: BracketKind) {
        let at = self.at();
        self.mark(1, Class::Opener);
        self.open.push((at, kind));
    }

    fn closer(&mut self, kind: BracketKind) {
        let close = self.at();
        self.mark(1, Class::Closer);
        let Some(at) = self.open.iter().rposition(|&(_, open)| open == kind) else {
            return;
        };
        self.syntax.brackets.push(Bracket {
            open: self.open[at].0,
            close,
            depth: at + 1,
            kind,
        });
        self.open.truncate(at);
    }

    fn word(&mut self) {
        let n = self.count(is_name);
        let word = &self.chars[self.at()..self.at() + n];
        if matches!(self.peek(n), Some('\'' | '"'))
            && let Some(has_fields) = strings::prefix(word)
        {
            return self.string(n, has_fields);
        }
        let spelled = Terminal::spelled(&word.iter().collect::<String>());
        if spelled.is_some_and(Terminal::is_keyword) {
            return self.mark(n, Class::Keyword);
        }
        self.syntax.identifiers.push(self.at()..self.at() + n);
        self.mark(1, Class::IdentifierStart);
        self.mark(n - 1, Class::IdentifierRest);
    }

    /// A string with a prefix of `prefix` characters.
    fn string(&mut self, prefix: usize, has_fields: bool) {
        let start = self.at();
        let found = strings::find(self.chars, start + prefix, has_fields);
        let mut token = StringToken {
            start,
            body: start + prefix + found.delimiter.length(),
            close: found.close,
            is_closed: found.is_closed,
            delimiter: found.delimiter,
            is_docstring: false,
        };
        token.is_docstring = self.is_docstring(&token);
        let class = match token.is_docstring {
            true => Class::Docstring,
            false => Class::String,
        };
        self.push(token.end() - start, class, token.body);
        self.syntax.strings.push(token);
    }

    /// Whether a string is all of the first statement of a module, class or function.
    fn is_docstring(&self, token: &StringToken) -> bool {
        let Some(line) = self.syntax.lines.last() else {
            return false;
        };
        let is_first = self.syntax.lines.len() == 1 || line.step == Step::Indent;
        let prefix = self.chars[token.start..token.body].iter();
        let is_text = !prefix.clone().any(|c| "bBfFtT".contains(*c));
        let mut behind = self.chars[token.end()..].iter().filter(|&&c| !is_blank(c));
        let is_all = matches!(behind.next(), None | Some('\n' | '#' | ';'));
        let may = self.docstring_may_follow && is_first && is_text;
        may && self.in_line && line.text == token.start && token.is_closed && is_all
    }
}

/// Characters of the number that a text begins with.
fn number(text: &[char]) -> usize {
    let count = |from: usize, is: &dyn Fn(char) -> bool| {
        let rest = text[from.min(text.len())..].iter();
        rest.take_while(|&&c| is(c)).count()
    };
    let digits = |from| count(from, &|c| c.is_ascii_digit() || c == '_');
    let lower = |at: usize| text.get(at).map(char::to_ascii_lowercase);
    let mut n = if text[0] == '0' && matches!(lower(1), Some('x' | 'o' | 'b')) {
        2 + count(2, &|c| c.is_ascii_hexdigit() || c == '_')
    } else {
        let mut n = digits(0);
        if text.get(n) == Some(&'.') {
            n += 1;
            n += digits(n);
        }
        let sign = usize::from(matches!(text.get(n + 1), Some('+' | '-')));
        let exponent = digits(n + 1 + sign);
        if lower(n) == Some('e') && exponent > 0 {
            n += 1 + sign + exponent;
        }
        n
    };
    // Imaginary, or Python 2's long ones.
    n += usize::from(matches!(lower(n), Some('j' | 'l')));
    n
}
