//! The parser, behind a check that no input makes it panic or overflow the stack.

use std::panic::catch_unwind;

use ruff_python_ast::token::TokenKind;
use ruff_python_ast::{ModModule, PySourceType};
use ruff_python_parser::{Mode, Parsed, lexer, parse_unchecked_source};

/// Trees that could be deeper than this are not built: they are freed by recursion, some hundred
/// bytes of stack a level. CPython stops at 200 brackets and 100 indentations.
const MAX_DEPTH: usize = 1000;

/// The tree of a source, with errors where it has some; `None` for one that is too deep or too
/// long, or that the parser trips over.
pub(super) fn parse(source: &str) -> Option<Parsed<ModModule>> {
    // The parser counts bytes in 32 bits.
    u32::try_from(source.len()).ok()?;
    // What a model writes is the kind of text in which a parser's bugs show.
    catch_unwind(|| {
        is_shallow(source).then(|| parse_unchecked_source(source, PySourceType::Python))
    })
    .ok()
    .flatten()
}

/// The brackets that a text lacks: those to open before it, and those to close behind it, so that all
/// match. `None` where that cannot be, or an f-string is open.
pub(super) fn missing_brackets(source: &str) -> Option<(String, String)> {
    u32::try_from(source.len()).ok()?;
    let kinds = catch_unwind(|| {
        let mut lexer = lexer::lex(source, Mode::Module);
        let kinds = std::iter::from_fn(|| Some(lexer.next_token()));
        let kinds = kinds.take_while(|kind| *kind != TokenKind::EndOfFile);
        kinds.collect::<Vec<TokenKind>>()
    });
    let (mut before, mut open) = (Vec::new(), Vec::new());
    for kind in kinds.ok()? {
        match kind {
            TokenKind::Lpar | TokenKind::Lsqb | TokenKind::Lbrace => open.extend(closer(kind)),
            TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace => match open.pop() {
                Some(closes) if closes == kind => {}
                Some(_) => return None,
                None => before.push(match kind {
                    TokenKind::Rpar => '(',
                    TokenKind::Rsqb => '[',
                    _ => '{',
                }),
            },
            _ => {}
        }
    }
    let close = |kind| match kind {
        TokenKind::Rpar => ')',
        TokenKind::Rsqb => ']',
        _ => '}',
    };
    let behind = open.into_iter().rev().map(close).collect();
    Some((before.into_iter().rev().collect(), behind))
}

/// A bracket, f-string or, outermost, statement that is open while [`is_shallow`] reads.
struct Level {
    closes: TokenKind,
    /// Tokens here that may each have put a node above the next one.
    nodes: usize,
    /// Those of them that are keywords.
    keywords: usize,
}

/// Whether all brackets match and the tree is sure to be no deeper than [`MAX_DEPTH`].
///
/// The parser grows its stack where it must, but freeing a tree recurses as deep as the tree is,
/// and chains as `a + a + a` or `a.a.a` make deep trees without any brackets. A node above another
/// one has a token of its own that is no name, number or string, so the depth is at most the
/// number of such tokens in the open statement. A comma starts anew, for the parts of a list do
/// not nest; keywords stay counted, for those of `lambda a, b: lambda c, d:` do.
fn is_shallow(source: &str) -> bool {
    let mut lexer = lexer::lex(source, Mode::Module);
    let level = |closes| Level {
        closes,
        nodes: 0,
        keywords: 0,
    };
    let mut open = vec![level(TokenKind::EndOfFile)];
    let (mut depth, mut indents) = (0, 0usize);
    loop {
        let kind = lexer.next_token();
        let Some(last) = open.last_mut() else {
            return false;
        };
        match kind {
            TokenKind::Indent => indents += 1,
            TokenKind::Dedent => indents = indents.saturating_sub(1),
            TokenKind::Rpar
            | TokenKind::Rsqb
            | TokenKind::Rbrace
            | TokenKind::FStringEnd
            | TokenKind::TStringEnd
            | TokenKind::EndOfFile => {
                if last.closes != kind {
                    return false;
                }
                if kind == TokenKind::EndOfFile {
                    return true;
                }
                depth -= last.nodes;
                open.pop();
            }
            TokenKind::Newline | TokenKind::Semi => {
                depth -= last.nodes;
                (last.nodes, last.keywords) = (0, 0);
            }
            TokenKind::Comma => {
                depth -= last.nodes - last.keywords;
                last.nodes = last.keywords;
            }
            _ if is_leaf(kind) => {}
            _ => {
                let keyword = usize::from(kind.is_keyword());
                (last.nodes, last.keywords) = (last.nodes + 1, last.keywords + keyword);
                depth += 1;
                if let Some(closes) = closer(kind) {
                    open.push(level(closes));
                }
            }
        }
        if depth + indents > MAX_DEPTH {
            return false;
        }
    }
}

fn is_leaf(kind: TokenKind) -> bool {
    use TokenKind::{
        Comment, Complex, FStringMiddle, False, Float, Int, Name, NonLogicalNewline, None, String,
        TStringMiddle, True,
    };
    matches!(
        kind,
        Comment
            | Complex
            | FStringMiddle
            | False
            | Float
            | Int
            | Name
            | NonLogicalNewline
            | None
            | String
            | TStringMiddle
            | True
    )
}

fn closer(kind: TokenKind) -> Option<TokenKind> {
    match kind {
        TokenKind::Lpar => Some(TokenKind::Rpar),
        TokenKind::Lsqb => Some(TokenKind::Rsqb),
        TokenKind::Lbrace => Some(TokenKind::Rbrace),
        TokenKind::FStringStart => Some(TokenKind::FStringEnd),
        TokenKind::TStringStart => Some(TokenKind::TStringEnd),
        _ => None,
    }
}
