//! Python's own tokens, and how they become text again.
//!
//! Line ends and levels are tokens: [`NEWLINE`], [`INDENT`], [`DEDENT`]; comments are not, nor are line
//! ends inside of brackets. Those that close the code are left out, so code of one line has none.
//! [`join`] writes code with the same tokens, and so with the same syntax tree.

use super::words;
use crate::data::python::grammar::Terminal;
use crate::data::python::{Lexeme, lexemes};

/// The end of a logical line, with another one behind it.
pub const NEWLINE: &str = "<NEWLINE>";
/// The lines that follow are deeper.
pub const INDENT: &str = "<INDENT>";
/// The lines that follow are back at an outer level.
pub const DEDENT: &str = "<DEDENT>";
/// The tokens that are no text.
pub const MARKERS: [&str; 3] = [NEWLINE, INDENT, DEDENT];

/// Blanks of a level.
const LEVEL: &str = "    ";

/// Keywords that are values.
const VALUES: [&str; 3] = ["False", "None", "True"];

/// The tokens of code. What is not Python is split as [`words`] does it, so text that is not blank has a
/// token.
pub fn split(code: &str) -> Vec<String> {
    let owned = |words: Vec<&str>| words.into_iter().map(str::to_owned).collect::<Vec<_>>();
    let tokens = lexemes(code).into_iter().flat_map(|lexeme| match lexeme {
        Lexeme::Token(token) => vec![token],
        Lexeme::Other(text) => owned(words::split(&text)),
        Lexeme::Newline => vec![NEWLINE.to_owned()],
        Lexeme::Indent => vec![INDENT.to_owned()],
        Lexeme::Dedent => vec![DEDENT.to_owned()],
    });
    let tokens: Vec<String> = tokens.collect();
    match tokens.is_empty() {
        // Nothing but a comment.
        true => owned(words::split(code)),
        false => tokens,
    }
}

/// The code of tokens, four blanks a level.
pub fn join<'a>(tokens: impl IntoIterator<Item = &'a str>) -> String {
    let (mut out, mut level) = (String::new(), 0usize);
    let mut line = Line::default();
    for token in tokens {
        match token {
            NEWLINE => {}
            INDENT => level += 1,
            DEDENT => level = level.saturating_sub(1),
            _ => {
                if line.last.is_none() {
                    if !out.is_empty() {
                        out.push('\n');
                    }
                    out.extend(std::iter::repeat_n(LEVEL, level));
                }
                if line.spaced(token) {
                    out.push(' ');
                }
                out += token;
                continue;
            }
        }
        line = Line::default();
    }
    out
}

/// Whether a token is an identifier: a name that is no reserved word. Those of context (`match`, `case`,
/// `type`) may be names, and are.
pub fn is_identifier(token: &str) -> bool {
    let begins = token.starts_with(|c: char| c == '_' || c.is_alphabetic());
    let goes_on = token.chars().all(|c| c == '_' || c.is_alphanumeric());
    let is_keyword = || Terminal::spelled(token).is_some_and(Terminal::is_keyword);
    begins && goes_on && !is_keyword()
}

/// What a token is as to the blanks around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// A name, or a keyword that is a value.
    Name,
    Keyword,
    Number,
    String,
    Open,
    Close,
    /// A comma or semicolon.
    Comma,
    Colon,
    /// A colon of a slice.
    Slice,
    Dot,
    /// `=` of a keyword argument or a default.
    Default,
    /// An operator before its only operand: a sign, `~`, a star, `@` of a decorator.
    Sign,
    Star,
    /// Everything else.
    Operator,
}
use Class::{
    Close, Colon, Comma, Default as Equals, Dot, Keyword, Name, Number, Open, Operator, Sign,
    Slice, Star, String as Text,
};

/// A bracket that is open, or the line around all of them.
#[derive(Clone, Copy, Debug, Default)]
struct Bracket {
    /// None around all brackets.
    opener: Option<char>,
    /// Lambdas whose colon is to come.
    lambdas: usize,
    /// Whether a parameter with an annotation is under way.
    annotated: bool,
}

/// A line that is written.
#[derive(Clone, Debug, Default)]
struct Line {
    /// The last token, and the one before it.
    last: Option<Class>,
    before: Option<Class>,
    outside: Bracket,
    open: Vec<Bracket>,
}

impl Line {
    /// Whether a blank stands before the next token of the line. Two tokens touch only where they
    /// cannot be read as another one.
    fn spaced(&mut self, token: &str) -> bool {
        let class = self.class(token);
        let touches = self.last.is_none_or(|last| self.touches(last, class));
        (self.before, self.last) = (self.last, Some(class));
        !touches
    }

    fn touches(&self, last: Class, next: Class) -> bool {
        let call = self.open.last().is_some_and(|b| b.opener != Some('{'));
        match (last, next) {
            // Three points would be one token.
            (Dot, Dot) => self.before != Some(Dot),
            (Open, _) | (_, Close | Comma | Colon) => true,
            (_, Slice) => last != Comma,
            (Name | Close | Text, Dot) => true,
            (Name | Close | Text, Open) => call,
            (Name | Close | Text | Number, Equals) => true,
            (Dot, Name) => true,
            (Slice, _) => next != Operator,
            (Equals | Sign, Name | Number | Text | Open | Sign) => true,
            (Star, Name | Text | Open) | (Equals, Keyword) => true,
            _ => false,
        }
    }

    /// The class of the next token; keeps count of brackets.
    fn class(&mut self, token: &str) -> Class {
        let first = token.chars().next().unwrap_or(' ');
        let operand = matches!(self.last, Some(Name | Number | Text | Close));
        let inner = self.open.last_mut().unwrap_or(&mut self.outside);
        match token {
            "(" | "[" | "{" => {
                self.open.push(Bracket {
                    opener: Some(first),
                    ..Bracket::default()
                });
                Open
            }
            ")" | "]" | "}" => {
                self.open.pop();
                Close
            }
            "," => {
                inner.annotated = false;
                Comma
            }
            ";" => Comma,
            ":" if inner.lambdas > 0 => {
                inner.lambdas -= 1;
                Colon
            }
            ":" if inner.opener == Some('[') => Slice,
            ":" => {
                inner.annotated = true;
                Colon
            }
            "." => Dot,
            "=" if inner.lambdas > 0 => Equals,
            "=" if inner.opener == Some('(') && !inner.annotated => Equals,
            "-" | "+" | "~" if !operand => Sign,
            "@" if self.last.is_none() => Sign,
            "*" | "**" if !operand => Star,
            "lambda" => {
                inner.lambdas += 1;
                Keyword
            }
            _ if VALUES.contains(&token) => Name,
            _ if Terminal::spelled(token).is_some_and(Terminal::is_keyword) => Keyword,
            _ if super::is_string(token) => Text,
            _ if first.is_ascii_digit() => Number,
            _ if token.len() > 1 && first == '.' && token != "..." => Number,
            _ if first == '_' || first.is_alphabetic() => Name,
            _ => Operator,
        }
    }
}
