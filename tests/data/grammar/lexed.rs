//! Programs as the parser's lexer has them: terminals with their texts.

use rnnx::data::python::grammar::Terminal;
use ruff_python_ast::PySourceType;
use ruff_python_ast::token::TokenKind;
use ruff_python_parser::parse_unchecked_source;

/// One lexical token: its terminal and its text.
pub type Token = (Terminal, String);

pub fn of(name: &str) -> Terminal {
    Terminal::of(name).unwrap_or_else(|| panic!("{name} is no terminal"))
}

/// The tokens of a source without comments; f-strings whole.
pub fn tokens(source: &str) -> Vec<Token> {
    let parsed = parse_unchecked_source(source, PySourceType::Python);
    let mut found = Vec::new();
    let mut open: Vec<usize> = Vec::new();
    for token in parsed.tokens() {
        let (kind, range) = token.as_tuple();
        let (start, end) = (range.start().to_usize(), range.end().to_usize());
        let text = &source[start..end];
        let terminal = match kind {
            TokenKind::Comment | TokenKind::NonLogicalNewline => continue,
            TokenKind::FStringStart | TokenKind::TStringStart => {
                open.push(start);
                continue;
            }
            TokenKind::FStringEnd | TokenKind::TStringEnd => {
                let start = open.pop().expect("it was opened");
                if open.is_empty() {
                    let f = kind == TokenKind::FStringEnd;
                    let class = if f {
                        Terminal::FSTRING
                    } else {
                        Terminal::TEMPLATE
                    };
                    found.push((class, source[start..end].to_owned()));
                }
                continue;
            }
            _ if !open.is_empty() => continue,
            TokenKind::Name if text != "_" => Terminal::NAME,
            TokenKind::Lazy => Terminal::NAME,
            TokenKind::Int | TokenKind::Float => Terminal::NUMBER,
            TokenKind::Complex => Terminal::IMAGINARY,
            TokenKind::String if is_bytes(text) => Terminal::BYTES,
            TokenKind::String => Terminal::STRING,
            TokenKind::Newline => Terminal::NEWLINE,
            TokenKind::Indent => Terminal::INDENT,
            TokenKind::Dedent => Terminal::DEDENT,
            _ => of(text),
        };
        found.push((terminal, text.to_owned()));
    }
    found
}

fn is_bytes(literal: &str) -> bool {
    let prefix = literal.split(['\'', '"']).next().unwrap_or_default();
    prefix.contains(['b', 'B'])
}

/// Source whose tokens are these.
pub fn source(tokens: &[Token]) -> String {
    let (mut out, mut depth, mut at_start) = (String::new(), 0, true);
    for (terminal, text) in tokens {
        match *terminal {
            Terminal::NEWLINE => {
                out.push('\n');
                at_start = true;
            }
            Terminal::INDENT => depth += 1,
            Terminal::DEDENT => depth = usize::saturating_sub(depth, 1),
            _ => {
                out.push_str(&" ".repeat(if at_start { depth } else { 1 }));
                out.push_str(text);
                at_start = false;
            }
        }
    }
    out
}
