//! The lexer's tokens of any text, by their source.

use std::ops::Range;

use ruff_python_ast::token::TokenKind;

use super::parser::{missing_brackets, parse};
use super::unix_lines;

/// A token of Python's lexical analysis, or a part of a text that has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lexeme {
    /// The source of a name, keyword, number, operator or string; an f-string or t-string is one with
    /// all that is in it.
    Token(String),
    /// What the lexer can make nothing of.
    Other(String),
    /// The end of a logical line.
    Newline,
    /// The lines that follow are deeper.
    Indent,
    /// The lines that follow are back at an outer level.
    Dedent,
}

/// The tokens of a text, without comments. The line ends and levels that close the text are left out, as
/// is an indentation that all of it shares. Code that breaks off, or begins inside of brackets, has
/// tokens, too; what has none is [`Lexeme::Other`], and white space is no part of that. No input fails.
pub fn lexemes(text: &str) -> Vec<Lexeme> {
    let text = unix_lines(text);
    let mut found = match read(&text, "", "") {
        Some(found) => found,
        None => {
            let closed = missing_brackets(&text).map(|(before, behind)| {
                // A comment may be in the last line.
                read(&text, &before, &format!("\n{behind}"))
            });
            closed.flatten().unwrap_or_else(|| {
                let mut found = Vec::new();
                other(&mut found, &text);
                found
            })
        }
    };
    let closes = |lexeme: &Lexeme| matches!(lexeme, Lexeme::Newline | Lexeme::Dedent);
    let end = found.iter().rposition(|lexeme| !closes(lexeme));
    found.truncate(end.map_or(0, |last| last + 1));
    found
}

/// The tokens of a text between what is `before` and `behind` it; none where the parser is not asked.
fn read(text: &str, before: &str, behind: &str) -> Option<Vec<Lexeme>> {
    let whole = [before, text, behind].concat();
    let parsed = parse(&whole)?;
    let part = before.len()..before.len() + text.len();
    // Places before `at` are read; an f-string began at `string.0` and has `string.1` unclosed ones.
    let (mut at, mut string) = (part.start, (part.start, 0usize));
    let (mut found, mut level) = (Vec::new(), 0usize);
    for token in parsed.tokens() {
        let (kind, range) = token.as_tuple();
        let Range { start, end } = range.to_std_range();
        if end <= part.start && !before.is_empty() || start >= part.end {
            continue;
        }
        if string.1 == 0 {
            other(&mut found, whole.get(at..start).unwrap_or_default());
        }
        let source = whole.get(start.max(at)..end).unwrap_or_default();
        at = at.max(end);
        match kind {
            TokenKind::FStringStart | TokenKind::TStringStart => {
                if string.1 == 0 {
                    string.0 = start;
                }
                string.1 += 1;
            }
            TokenKind::FStringEnd | TokenKind::TStringEnd => {
                string.1 = string.1.saturating_sub(1);
                if string.1 == 0 {
                    found.push(Lexeme::Token(whole[string.0..end].to_owned()));
                }
            }
            _ if string.1 > 0 => {}
            TokenKind::Newline => found.push(Lexeme::Newline),
            // The indentation of the first line is no level.
            TokenKind::Indent if found.is_empty() => {}
            TokenKind::Indent => {
                level += 1;
                found.push(Lexeme::Indent);
            }
            TokenKind::Dedent if level == 0 => {}
            TokenKind::Dedent => {
                level -= 1;
                found.push(Lexeme::Dedent);
            }
            TokenKind::Comment | TokenKind::NonLogicalNewline | TokenKind::EndOfFile => {}
            TokenKind::Unknown => other(&mut found, source),
            _ => found.push(Lexeme::Token(source.to_owned())),
        }
    }
    let rest = if string.1 > 0 { string.0 } else { at };
    other(&mut found, whole.get(rest..part.end).unwrap_or_default());
    Some(found)
}

/// Keeps a part of the text that is no token; the backslash before a line end is none.
fn other(found: &mut Vec<Lexeme>, part: &str) {
    let joins_lines = |c: char| c.is_whitespace() || matches!(c, '\\' | '\u{feff}');
    if !part.chars().all(joins_lines) {
        found.push(Lexeme::Other(part.trim().to_owned()));
    }
}
