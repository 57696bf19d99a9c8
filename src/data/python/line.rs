//! Whether a text is one line of a program, be it one that does not stand alone; and whether two texts are
//! the same.

use ruff_python_ast::ModModule;
use ruff_python_ast::comparable::ComparableStmt;
use ruff_python_ast::token::TokenKind;
use ruff_python_parser::Parsed;

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

/// Bytes of stack on which trees are compared: the recursion is as deep as they are, some kilobytes a level.
const STACK: usize = 16 << 20;

/// Whether two texts have the same syntax tree: as modules or, where both are one logical line, with the
/// same put around what they lack. White space, comments, quotes and brackets that change nothing do not
/// count; a text that does not parse has no tree.
pub fn same_tree(a: &str, b: &str) -> bool {
    let are_lines = || is_one_line(a) && is_one_line(b);
    let alike = |before: &str, behind: &str| {
        let trees = [a, b].map(|code| parsed(&format!("{before}{code}{behind}")));
        let [Some(a), Some(b)] = &trees else {
            return false;
        };
        stacker::grow(STACK, || {
            let trees = [a, b].map(|parsed| parsed.syntax().body.iter().map(ComparableStmt::from));
            let [a, b] = trees;
            a.eq(b)
        })
    };
    alike("", "") || are_lines() && FRAMES.iter().any(|(before, behind)| alike(before, behind))
}

fn parsed(code: &str) -> Option<Parsed<ModModule>> {
    parser::parse(&unix_lines(code)).filter(Parsed::has_valid_syntax)
}

fn is_one_line(code: &str) -> bool {
    let Some(parsed) = parser::parse(&unix_lines(code)) else {
        return false;
    };
    let kinds = parsed.tokens().iter().map(|token| token.kind());
    let mut blocks_or_lines = kinds.filter(|k| matches!(k, TokenKind::Newline | TokenKind::Indent));
    blocks_or_lines.by_ref().take(2).count() == 1
}
