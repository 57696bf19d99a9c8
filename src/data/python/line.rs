//! Whether a text is one line of a program, be it one that does not stand alone.

use ruff_python_ast::token::TokenKind;

use super::{parser, parses, unix_lines};

/// What may stand before and behind a line that needs it: a body, the clause that opens it, the
/// clause that ends a `try`, the function of a decorator.
const FRAMES: [(&str, &str); 8] = [
    ("", "\n pass"),
    ("if x:\n pass\n", ""),
    ("if x:\n pass\n", "\n pass"),
    ("try:\n pass\n", ""),
    ("try:\n pass\n", "\n pass"),
    ("", "\nfinally:\n pass"),
    ("", "\n pass\nfinally:\n pass"),
    ("", "\ndef f():\n pass"),
];

/// Whether a text is a Python module, or one logical line of one: also the first line of a compound
/// statement without its body (`if x :`), that of a part of one (`else :`, `except E :`), or a
/// decorator. Each is judged by the parser with what it lacks put around it; `case` is none of them.
pub fn parses_as_line(code: &str) -> bool {
    parses(code)
        || is_one_line(code)
            && FRAMES
                .iter()
                .any(|(before, behind)| parses(&format!("{before}{code}{behind}")))
}

fn is_one_line(code: &str) -> bool {
    let Some(parsed) = parser::parse(&unix_lines(code)) else {
        return false;
    };
    let kinds = parsed.tokens().iter().map(|token| token.kind());
    let mut blocks_or_lines = kinds.filter(|k| matches!(k, TokenKind::Newline | TokenKind::Indent));
    blocks_or_lines.by_ref().take(2).count() == 1
}
