//! Python source: functions with their docstrings, tokens, and whether a text parses.
//!
//! The only module that knows the parser (ruff's). No input panics or overflows the stack: see
//! `parser`.

mod docstring;
pub mod grammar;
mod lexemes;
mod line;
mod parser;

use std::borrow::Cow;
use std::iter;
use std::ops::Range;

use ruff_python_ast::statement_visitor::{StatementVisitor, walk_stmt};
use ruff_python_ast::token::{TokenKind, Tokens};
use ruff_python_ast::{Expr, Stmt, StmtFunctionDef};
use ruff_python_parser::Parsed;

use super::pairs::has_at_most;
pub use docstring::clean_docstring;
use docstring::{cuts, leading_strings, without};
pub use lexemes::{Lexeme, lexemes};
pub use line::{parses_as_line, same_tree};
use parser::parse;

/// A function or method that has a docstring and a body besides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// The docstring's value, its indentation cleaned by [`clean_docstring`].
    pub docstring: String,
    /// Its parameters with their annotations and defaults, in parentheses, and the type that it
    /// returns, in one line without comments: `(self, key: str = "") -> bool`.
    pub signature: String,
    /// The source from `def` or `async def` to the last statement, without the docstring and
    /// without the indentation of its first line. Decorators are left out, as CodeSearchNet does:
    /// they stand before the function and say what is done with it, not what it does. A function
    /// inside it is a part of it. `None` where it has more tokens than were asked for: functions
    /// inside one another hold each other's text, and only so their length stays in proportion.
    pub code: Option<String>,
}

/// A function or method that does something, with a docstring or without.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Body {
    /// As that of a [`Function`].
    pub code: Option<String>,
    /// Where it stands in the file whose lines end with `\n`, in bytes: one inside another stands in its
    /// range.
    pub place: Range<usize>,
}

// ---- what the rest of the program asks ------------------------------------------------------

/// Every function of a file that has a docstring and a body besides, also methods, nested and
/// async ones, in the order of their first lines; with the code of those that have at most
/// `max_tokens` (see [`target_tokens`]). `None` where the file does not parse.
///
/// [`target_tokens`]: super::pairs::target_tokens
pub fn functions(source: &str, max_tokens: usize) -> Option<Vec<Function>> {
    find(source, max_tokens, |text, node| text.function(node))
}

/// Every function of a file that does something, those without a docstring, too; else as [`functions`].
pub fn bodies(source: &str, max_tokens: usize) -> Option<Vec<Body>> {
    find(source, max_tokens, |text, node| text.body(node))
}

/// What `of` makes of the functions of a file, in the order of their first lines.
fn find<F>(
    source: &str,
    max_tokens: usize,
    of: fn(&Text, &StmtFunctionDef) -> Option<F>,
) -> Option<Vec<F>> {
    let source = unix_lines(source);
    let parsed = parse(&source).filter(Parsed::has_valid_syntax)?;
    let text = Text {
        source: &source,
        max_tokens,
        tokens: parsed.tokens(),
        in_strings: strings_of_several_lines(&source, parsed.tokens()),
    };
    let mut finder = Finder {
        text,
        of,
        found: Vec::new(),
    };
    finder.visit_body(&parsed.syntax().body);
    Some(finder.found)
}

/// Whether a text is a Python module, as `ast.parse` would say; the empty text is one.
pub fn parses(code: &str) -> bool {
    parse(&unix_lines(code)).is_some_and(|parsed| parsed.has_valid_syntax())
}

/// Where in a text, in bytes, the parser finds the first error. None in a module without one, and where
/// the parser is not asked: brackets do not match, or the tree would be too deep.
pub fn first_error(code: &str) -> Option<usize> {
    let parsed = parse(&unix_lines(code))?;
    let places = parsed.errors().iter().map(|error| error.location.start());
    let place = usize::from(places.min()?);
    // The parser reads a `\r\n` as one character.
    let bytes = code.as_bytes();
    let counts = |at: &usize| !bytes[*at..].starts_with(b"\r\n");
    let mut counted = (0..bytes.len()).filter(counts);
    Some(counted.nth(place).unwrap_or(bytes.len()))
}

/// Whether a text is Python and does something, be it a call. A word, a number or a date may happen
/// to parse, too.
pub fn is_code(text: &str) -> bool {
    let does = |stmt: &Stmt| match stmt {
        Stmt::Expr(stmt) => matches!(*stmt.value, Expr::Call(_)),
        _ => true,
    };
    let parsed = parse(&unix_lines(text)).filter(Parsed::has_valid_syntax);
    parsed.is_some_and(|parsed| parsed.syntax().body.iter().any(does))
}

/// The code without the docstring of its first function; `None` where it has no function at its
/// outermost level, or that one no docstring, or nothing of it can be parsed.
///
/// The code loses the indentation of its first line, if it has one. What stands behind the
/// docstring need not parse: CodeSearchNet holds functions in Python 2. Of a function that is
/// nothing but a docstring the header stays.
pub fn without_docstring(code: &str) -> Option<String> {
    let code = unix_lines(code);
    let code = without_indentation(&code);
    let parsed = parse(&code)?;
    let function = parsed.syntax().body.iter().find_map(|stmt| match stmt {
        Stmt::FunctionDef(function) => Some(function),
        _ => None,
    })?;
    let cuts = cuts(&code, function, function.range.to_std_range().start);
    (!cuts.is_empty()).then(|| without(&code, 0..code.len(), cuts).collect())
}

// ---- functions and their docstrings ---------------------------------------------------------

struct Finder<'a, F> {
    text: Text<'a>,
    /// What is wanted of a function.
    of: fn(&Text, &StmtFunctionDef) -> Option<F>,
    found: Vec<F>,
}

/// A file that has been parsed.
struct Text<'a> {
    source: &'a str,
    max_tokens: usize,
    tokens: &'a Tokens,
    /// Where string tokens of several lines stand, in order.
    in_strings: Vec<Range<usize>>,
}

impl<'a, F> StatementVisitor<'a> for Finder<'a, F> {
    fn visit_stmt(&mut self, stmt: &'a Stmt) {
        if let Stmt::FunctionDef(function) = stmt {
            self.take(function);
        }
        walk_stmt(self, stmt);
    }
}

impl<F> Finder<'_, F> {
    /// Not a part of the recursion, whose frames are to be small.
    #[inline(never)]
    fn take(&mut self, function: &StmtFunctionDef) {
        self.found.extend((self.of)(&self.text, function));
    }
}

impl Text<'_> {
    fn function(&self, function: &StmtFunctionDef) -> Option<Function> {
        let docstring = leading_strings(function).next()?.0;
        Some(Function {
            code: self.body(function)?.code,
            docstring: clean_docstring(docstring.value.to_str()),
            signature: self.signature(function),
        })
    }

    fn body(&self, function: &StmtFunctionDef) -> Option<Body> {
        if leading_strings(function).count() == function.body.len() {
            return None; // nothing would be left
        }
        let start = self.start(function)?;
        let place = start..function.range.to_std_range().end;
        let strings = cuts(self.source, function, start);
        let pieces = || {
            let cuts = merged(self.indentation(place.clone()), strings.iter().cloned());
            without(self.source, place.clone(), cuts)
        };
        let fits = has_at_most(pieces(), self.max_tokens);
        Some(Body {
            code: fits.then(|| pieces().collect()),
            place,
        })
    }

    /// The tokens from the parameters to the colon, with a blank where white space or a comment was.
    fn signature(&self, function: &StmtFunctionDef) -> String {
        let mut before = function.parameters.range.start();
        let first = self
            .tokens
            .partition_point(|t| t.as_tuple().1.start() < before);
        let (mut signature, mut open) = (String::new(), 0usize);
        for token in &self.tokens[first..] {
            let (kind, range) = token.as_tuple();
            match kind {
                TokenKind::Colon if open == 0 => break,
                TokenKind::Lpar | TokenKind::Lsqb | TokenKind::Lbrace => open += 1,
                TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace => {
                    open = open.saturating_sub(1);
                }
                TokenKind::Comment | TokenKind::NonLogicalNewline => continue,
                _ => {}
            }
            let closes = open == 0 && kind == TokenKind::Rpar;
            if range.start() > before && !signature.ends_with('(') && !closes {
                signature.push(' ');
            }
            signature += &self.source[range.to_std_range()];
            before = range.end();
        }
        signature
    }

    /// Where `def` or `async def` stands: the node of a function starts at its decorators.
    fn start(&self, function: &StmtFunctionDef) -> Option<usize> {
        let name = function.name.range.start();
        let before = self
            .tokens
            .partition_point(|t| t.as_tuple().1.start() < name);
        let mut before = self.tokens[..before].iter().rev();
        let mut find = |kind| before.find(|t| t.kind() == kind);
        let mut token = find(TokenKind::Def)?;
        if function.is_async {
            token = find(TokenKind::Async)?;
        }
        Some(token.as_tuple().1.to_std_range().start)
    }

    /// The indentation of a function's first line, wherever a later line of it has it, too; in
    /// order, and found only as far as it is asked for. Lines that start inside a string keep
    /// theirs: there it is part of the value.
    fn indentation(&self, code: Range<usize>) -> impl Iterator<Item = Range<usize>> {
        let line = self.source[..code.start].rfind('\n').map_or(0, |n| n + 1);
        let indentation = &self.source[line..code.start];
        let within = match indentation {
            "" => "",
            _ => &self.source[code.clone()],
        };
        let starts = within.match_indices('\n');
        let starts = starts.map(move |(n, _)| code.start + n + 1);
        let stripped = starts.filter(move |&at| {
            let ended = self.in_strings.partition_point(|string| string.end <= at);
            let inside = self.in_strings.get(ended).is_some_and(|s| s.start < at);
            !inside && self.source[at..].starts_with(indentation)
        });
        stripped.map(move |at| at..at + indentation.len())
    }
}

/// Two rows of ranges, each sorted by start, as one; of two that start together the first row's is
/// first.
fn merged(
    first: impl Iterator<Item = Range<usize>>,
    second: impl Iterator<Item = Range<usize>>,
) -> impl Iterator<Item = Range<usize>> {
    let (mut first, mut second) = (first.peekable(), second.peekable());
    iter::from_fn(move || match (first.peek(), second.peek()) {
        (Some(a), Some(b)) if b.start < a.start => second.next(),
        (Some(_), _) => first.next(),
        (None, _) => second.next(),
    })
}

fn strings_of_several_lines(source: &str, tokens: &Tokens) -> Vec<Range<usize>> {
    use TokenKind::{FStringMiddle, String, TStringMiddle};
    let strings = tokens.iter().map(|token| token.as_tuple());
    let strings =
        strings.filter(|(kind, _)| matches!(kind, String | FStringMiddle | TStringMiddle));
    let ranges = strings.map(|(_, range)| range.to_std_range());
    ranges
        .filter(|range| source[range.clone()].contains('\n'))
        .collect()
}

/// Code as if its first line that is not blank stood at the left margin.
fn without_indentation(code: &str) -> Cow<'_, str> {
    let first = code.lines().find(|line| !line.trim().is_empty());
    let first = first.unwrap_or_default();
    let indentation = &first[..first.len() - first.trim_start().len()];
    if indentation.is_empty() {
        return code.into();
    }
    let lines = code.split_inclusive('\n');
    lines
        .map(|line| line.strip_prefix(indentation).unwrap_or(line))
        .collect()
}

/// The source with `\n` at the ends of all lines, as Python reads it.
fn unix_lines(source: &str) -> Cow<'_, str> {
    match source.contains('\r') {
        true => source.replace("\r\n", "\n").replace('\r', "\n").into(),
        false => source.into(),
    }
}
