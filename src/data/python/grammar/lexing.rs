//! The terminals of a text, by the lexer of the parser.

use ruff_python_ast::{Expr, Stmt};
use ruff_python_parser::Parsed;

use super::terminal::Terminal;
use crate::data::python::parser::parse;
use crate::data::python::{Lexeme, lexemes};

/// The terminal of one lexical token: a keyword, an operator, a name, a number, or a string as a whole
/// that can be read. `None` for anything else.
pub fn terminal(token: &str) -> Option<Terminal> {
    if let Some(spelled) = Terminal::spelled(token) {
        return Some(spelled);
    }
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    if token.starts_with(letter) && token.chars().all(|c| letter(c) || c.is_ascii_digit()) {
        return Some(Terminal::NAME);
    }
    let parsed = parse(token).filter(Parsed::has_valid_syntax)?;
    let [Stmt::Expr(statement)] = &parsed.syntax().body[..] else {
        return None;
    };
    let (terminal, range, is_one) = match &*statement.value {
        Expr::Name(name) => (Terminal::NAME, name.range, true),
        Expr::NumberLiteral(number) => match number.value.is_complex() {
            true => (Terminal::IMAGINARY, number.range, true),
            false => (Terminal::NUMBER, number.range, true),
        },
        Expr::StringLiteral(text) => (Terminal::STRING, text.range, text.value.iter().count() == 1),
        Expr::FString(text) => (
            Terminal::FSTRING,
            text.range,
            text.value.iter().count() == 1,
        ),
        Expr::BytesLiteral(text) => (Terminal::BYTES, text.range, text.value.iter().count() == 1),
        Expr::TString(text) => (
            Terminal::TEMPLATE,
            text.range,
            text.value.iter().count() == 1,
        ),
        _ => return None,
    };
    // Strings side by side are one expression, and brackets or white space are not in its range.
    let is_whole = range.to_std_range() == (0..token.len());
    (is_one && is_whole && !token.contains('\r')).then_some(terminal)
}

/// The terminals of a text without white space; `None` if it holds anything but whole tokens, such as
/// the beginning of a string or a comment.
pub fn terminals(text: &str) -> Option<Vec<Terminal>> {
    let mut rest = text;
    let terminals = lexemes(text).into_iter().map(|lexeme| match lexeme {
        Lexeme::Token(token) => {
            rest = rest.strip_prefix(&*token)?;
            terminal(&token)
        }
        _ => None,
    });
    let terminals = terminals.collect::<Option<Vec<Terminal>>>();
    terminals.filter(|_| rest.is_empty())
}
