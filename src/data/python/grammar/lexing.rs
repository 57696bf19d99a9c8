//! The terminals of a text, by the lexer of the parser.

use ruff_python_ast::{Expr, Stmt};
use ruff_python_parser::Parsed;

use super::terminal::Terminal;
use crate::data::python::parser::parse;
use crate::data::python::{Lexeme, lexemes};

/// The terminal of one lexical token: a keyword, an operator, a name, a number, or a string as a whole
/// that can be read. `None` for anything else.
pub fn terminal(token: &str) -> Option<Terminal> {
    at_a_glance(token).unwrap_or_else(|| parsed(token))
}

/// The same where no parser is needed to see it: a decoder that writes tokens piece by piece asks for
/// thousands of them.
fn at_a_glance(token: &str) -> Option<Option<Terminal>> {
    if let Some(spelled) = Terminal::spelled(token) {
        return Some(Some(spelled));
    }
    let of_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let first = token.chars().next()?;
    if of_word(first) && !first.is_ascii_digit() {
        // What ends a word is the quote of a string that it is the prefix of, or not of the same token.
        return match token.chars().find(|&c| !of_word(c)) {
            None => Some(Some(Terminal::NAME)),
            Some(c) => (c.is_ascii() && c != '\'' && c != '"').then_some(None),
        };
    }
    let inside = token.strip_prefix(first)?.strip_suffix(first)?;
    let is_plain = |c: char| c != first && c != '\\' && !c.is_control();
    let is_string = matches!(first, '\'' | '"') && inside.chars().all(is_plain);
    is_string.then_some(Some(Terminal::STRING))
}

/// The same by the parser.
fn parsed(token: &str) -> Option<Terminal> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::{Purpose, Stream};
    use std::collections::HashMap;

    #[test]
    fn what_is_seen_at_a_glance_is_what_the_parser_says() {
        const ALPHABET: [&str; 20] = [
            "a", "_", "b", "f", "r", "1", "0", "'", "\"", "\\", "(", "{", "}", ".", " ", "\n", "é",
            "\u{1}", "#", "if",
        ];
        let mut draws = Stream::new(1, Purpose::Sample, 0).reader();
        let mut seen = HashMap::new();
        for _ in 0..60_000 {
            let length = draws.below(7);
            let token: String = (0..length)
                .map(|_| ALPHABET[draws.below(20) as usize])
                .collect();
            // The parser knows keywords and operators as parts of something alone.
            if Terminal::spelled(&token).is_some() {
                continue;
            }
            let Some(glance) = at_a_glance(&token) else {
                continue;
            };
            assert_eq!(glance, parsed(&token), "{token:?}");
            *seen.entry(glance.map(Terminal::name)).or_insert(0) += 1;
        }
        for kind in [None, Some(Terminal::NAME), Some(Terminal::STRING)] {
            let times = seen.get(&kind.map(Terminal::name)).copied();
            assert!(times > Some(100), "{kind:?}: {times:?}");
        }
    }
}
