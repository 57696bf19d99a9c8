//! Docstrings: cleaned, and cut out of the code that they describe.

use std::borrow::Cow;
use std::ops::Range;

use ruff_python_ast::{Expr, ExprStringLiteral, Stmt, StmtFunctionDef};

/// Columns between tab stops, as Python's `str.expandtabs` has them.
const TAB: usize = 8;

/// Cleans a docstring's indentation as Python's `inspect.cleandoc` does since 3.13: tabs become
/// blanks, the first line loses its leading blanks, the others as many as all that are not blank
/// share, and empty lines at both ends go.
pub fn clean_docstring(docstring: &str) -> String {
    let expanded: Vec<Cow<str>> = docstring.split('\n').map(expand_tabs).collect();
    let mut lines: Vec<&str> = expanded.iter().map(|line| &**line).collect();
    let blanks = |line: &str| line.len() - line.trim_start_matches(' ').len();
    let rest = lines.iter().skip(1);
    let margin = rest
        .filter(|l| blanks(l) < l.len())
        .map(|l| blanks(l))
        .min();
    for (n, line) in lines.iter_mut().enumerate() {
        let strip = match n {
            0 => blanks(line),
            _ => margin.unwrap_or(0).min(blanks(line)),
        };
        *line = &line[strip..];
    }
    let Some(first) = lines.iter().position(|l| !l.is_empty()) else {
        return String::new();
    };
    let last = lines.iter().rposition(|l| !l.is_empty()).unwrap_or(first);
    lines[first..=last].join("\n")
}

fn expand_tabs(line: &str) -> Cow<'_, str> {
    if !line.contains('\t') {
        return line.into();
    }
    let (mut out, mut column) = (String::new(), 0);
    for c in line.chars() {
        match c {
            '\t' => {
                let blanks = TAB - column % TAB;
                out.extend(std::iter::repeat_n(' ', blanks));
                column += blanks;
            }
            _ => {
                out.push(c);
                column = if c == '\r' { 0 } else { column + 1 };
            }
        }
    }
    out.into()
}

/// The docstring of a function and the string statements right behind it, with their places. The
/// latter do as little as it, and a second pass over the code must not take one for a docstring.
pub(super) fn leading_strings(
    function: &StmtFunctionDef,
) -> impl Iterator<Item = (&ExprStringLiteral, Range<usize>)> {
    function.body.iter().map_while(|stmt| match stmt {
        Stmt::Expr(stmt) => match &*stmt.value {
            Expr::StringLiteral(string) => Some((string, stmt.range.to_std_range())),
            _ => None,
        },
        _ => None,
    })
}

/// What goes with the docstring of a function, which starts at `start`, and with the string
/// statements right behind it; in order.
pub(super) fn cuts(source: &str, function: &StmtFunctionDef, start: usize) -> Vec<Range<usize>> {
    let places = leading_strings(function).map(|(_, place)| place);
    let cuts = places.scan(start, |before, place| {
        let cut = cut(source, *before, &place);
        *before = place.end;
        Some(cut)
    });
    cuts.collect()
}

/// What goes with a string statement: a semicolon behind it, and its line where nothing else is
/// on it. Something stands right before `before`, the end of an earlier statement or the start of the
/// function: no line is searched twice, however many statements are on it.
fn cut(source: &str, before: usize, statement: &Range<usize>) -> Range<usize> {
    let blank = |c| matches!(c, ' ' | '\t' | '\x0c');
    let Range { start, mut end } = statement.clone();
    let rest = source[end..].trim_start_matches(blank);
    if let Some(rest) = rest.strip_prefix(';') {
        end = source.len() - rest.trim_start_matches(blank).len();
    }
    let line = source[before..start].rfind('\n').map(|n| before + n + 1);
    let rest = source[end..].trim_start_matches(blank);
    match line.filter(|&line| source[line..start].chars().all(blank)) {
        None => start..end,
        Some(line) => match rest.strip_prefix('\n') {
            Some(next) => line..source.len() - next.len(),
            None if rest.is_empty() => line..source.len(),
            None => start..end,
        },
    }
}

/// A part of `source` without the `cuts`, which are sorted by their start, piece by piece.
pub(super) fn without(
    source: &str,
    part: Range<usize>,
    cuts: impl IntoIterator<Item = Range<usize>>,
) -> impl Iterator<Item = &str> {
    let end = part.end..part.end;
    let cuts = cuts.into_iter().chain([end]);
    cuts.scan(part.start, move |at, cut| {
        let piece = source.get(*at..cut.start).unwrap_or_default();
        *at = cut.end.max(*at);
        Some(piece)
    })
}
