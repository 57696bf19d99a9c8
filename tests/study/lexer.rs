//! The lexer: every character's mark, and the structure, against texts marked by hand and against
//! ruff's tokens.

use rnnx::data::corpus::embedded_files;
use rnnx::programs::charlm::study::lexer::lex;
use rnnx::programs::charlm::study::source::{Class, Mark};
use rnnx::programs::charlm::study::syntax::{Bracket, BracketKind, LogicalLine, Step};
use ruff_python_ast::token::TokenKind;
use ruff_python_parser::parse_module;

fn chars(text: &str) -> Vec<char> {
    text.chars().collect()
}

fn letter(mark: &Mark) -> char {
    match mark.class {
        Class::Keyword => 'k',
        Class::IdentifierStart => 'I',
        Class::IdentifierRest => 'i',
        Class::Number => '0',
        Class::String => 's',
        Class::Docstring => 'd',
        Class::Comment => '#',
        Class::Operator => '+',
        Class::Opener => '(',
        Class::Closer => ')',
        Class::Newline => '$',
        Class::Indent => '_',
        Class::Other => '.',
    }
}

/// Lines of text over lines of letters, one for each character but the newlines.
#[track_caller]
fn check_classes(pairs: &[(&str, &str)]) {
    let text: String = pairs.iter().map(|(line, _)| format!("{line}\n")).collect();
    let (marks, _) = lex(&chars(&text));
    let found: String = marks.iter().map(letter).collect();
    let mut at = 0;
    for (line, want) in pairs {
        let end = at + line.chars().count();
        assert_eq!(&found[at..end], *want, "of {line:?} in {text:?}");
        at = end + 1;
    }
}

#[test]
fn every_character_has_its_class() {
    check_classes(&[
        ("'''Doc.", "ddddddd"),
        ("  more'''", "ddddddddd"),
        ("import os  # it", "kkkkkk.Ii..####"),
        ("def f(a, b=0x1F):", "kkk.I(I+.I+0000)+"),
        ("    r\"doc\"", "____dddddd"),
        ("    x = b'a\\'b' + u\"c\"", "____I.+.sssssss.+.ssss"),
        ("", ""),
        ("    # note", "____######"),
        (
            "    return [1e-5, .5j, 0_1] \\",
            "____kkkkkk.(0000+.000+.000)..",
        ),
        ("        or x.match", "________kk.I+Iiiii"),
        ("'not a docstring'", "sssssssssssssssss"),
        ("print `x` $ é", "Iiiii.+I+...I"),
    ]);
}

#[test]
fn docstrings_are_those_of_modules_classes_and_functions() {
    check_classes(&[
        ("# first", "#######"),
        ("'doc'", "ddddd"),
        ("class A:", "kkkkk.I+"),
        ("    'doc'", "____ddddd"),
        ("    'no'", "____ssss"),
        ("    async def f(", "____kkkkk.kkk.I("),
        ("        a: int):", "________I+.Iii)+"),
        ("        'doc' ; 1", "________ddddd.+.0"),
        ("if x:", "kk.I+"),
        ("    'no'", "____ssss"),
        ("def g():", "kkk.I()+"),
        ("    f'no'", "____sssss"),
        ("def h():", "kkk.I()+"),
        ("    'no' 'no'", "____ssss.ssss"),
        ("x = {'a':", "I.+.(sss+"),
        ("    'no'}", "____ssss)"),
    ]);
}

#[test]
fn strings_with_fields_are_strings_to_their_end() {
    check_classes(&[
        ("f'{x!r:{w}}'+y", "ssssssssssss+I"),
        ("f'{a['k']}'+y", "sssssssssss+I"),
        ("f'{{not'+y", "ssssssss+I"),
        ("rf'{f\"{1}\"}'+y", "ssssssssssss+I"),
        // A field without its end: read as a string without fields.
        ("f'{x'+y", "sssss+I"),
    ]);
}

#[test]
fn what_is_no_python_ends_with_its_line_or_statement() {
    check_classes(&[
        ("x = 'open", "I.+.sssss"),
        ("y = (1, [2", "I.+.(0+.(0"),
        ("def f(): pass", "kkk.I()+.kkkk"),
        ("z = 1", "I.+.0"),
    ]);
    let (marks, syntax) = lex(&chars("y = (1, [2\ndef f(): pass\na = (]b)\n"));
    // `def` forgets the two open brackets, and `]` closes nothing.
    let closed = syntax.brackets.iter().map(|b| (b.open, b.close, b.depth));
    assert_eq!(closed.collect::<Vec<_>>(), [(16, 17, 1), (29, 32, 1)]);
    assert_eq!((marks[10].depth, marks[11].depth), (2, 0));
    for text in [
        "", "\n", "'''", "f'{", "(", ")", "\\", "0x", "#", "  ", "f'''{'''",
    ] {
        assert_eq!(lex(&chars(text)).0.len(), text.chars().count(), "{text:?}");
    }
}

#[test]
fn marks_say_what_is_known_before_a_character() {
    let text = "if a(b[0]):\n    c = ''\n\n    # x\n    'd'\n";
    let (marks, syntax) = lex(&chars(text));
    let depths: String = marks.iter().map(|m| m.depth.to_string()).collect();
    assert_eq!(&depths[..12], "000001122100");
    // '' opens outside and closes inside; 'd' likewise.
    let inside: Vec<usize> = (0..marks.len()).filter(|&i| marks[i].in_string).collect();
    let (second, d) = (text.find("''\n").unwrap() + 1, text.find("d'\n").unwrap());
    assert_eq!(inside, [second, d, d + 1]);
    let columns: Vec<u16> = marks[12..16].iter().map(|m| m.column).collect();
    assert_eq!(columns, [0, 1, 2, 3]);
    // The line of a comment has the level of the line before it.
    let levels: String = marks.iter().map(|m| m.indent.to_string()).collect();
    assert_eq!(levels, "0".repeat(12) + &"1".repeat(text.len() - 12));
    assert_eq!(
        syntax.brackets,
        [
            Bracket {
                open: 6,
                close: 8,
                depth: 2,
                kind: BracketKind::Square
            },
            Bracket {
                open: 4,
                close: 9,
                depth: 1,
                kind: BracketKind::Round
            },
        ]
    );
}

#[test]
fn logical_lines_have_levels_and_steps() {
    let text = "\
def f():
    if a:
        b = (1,
  2)
    # a comment

    elif c: d
\te
x = \\
  1
";
    let (_, syntax) = lex(&chars(text));
    let of = |l: &LogicalLine| (l.level, l.step, l.width, l.opens_block);
    let lines: Vec<_> = syntax.lines.iter().map(of).collect();
    assert_eq!(
        lines,
        [
            (0, Step::Same, 0, true),
            (1, Step::Indent, 4, true),
            (2, Step::Indent, 8, false),
            (1, Step::Dedent(1), 4, false),
            (2, Step::Indent, 8, false), // a tab goes on to column 8
            (0, Step::Dedent(2), 0, false),
        ]
    );
    let lines = &syntax.lines;
    assert_eq!(lines[2].opened_at, Some(text.find("    if").unwrap()));
    assert_eq!(lines[3].opened_at, Some(0));
    assert_eq!(lines[3].open_widths, [0, 4, 8]);
    assert_eq!(lines[5].opened_at, None);
    assert!(lines[4].has_tabs && !lines[3].has_tabs);
    assert_eq!(
        &text[lines[2].start..lines[2].end],
        "        b = (1,\n  2)\n"
    );
    assert_eq!(lines[5].end, text.len());
}

// ---- against ruff --------------------------------------------------------------------------

/// Closed brackets, strings and comments by their bytes, as ruff's tokens have them; none where it
/// finds an error.
type Tokens = (Vec<[usize; 2]>, Vec<[usize; 2]>, usize);

fn ruffs(text: &str) -> Option<Tokens> {
    let parsed = parse_module(text).ok()?;
    let (mut brackets, mut strings, mut comment_chars) = (Vec::new(), Vec::new(), 0);
    let (mut open, mut fields) = (Vec::new(), Vec::new());
    for token in parsed.tokens().iter() {
        let (kind, range) = token.as_tuple();
        let range = range.to_std_range();
        match kind {
            TokenKind::FStringStart | TokenKind::TStringStart => fields.push(range.start),
            TokenKind::FStringEnd | TokenKind::TStringEnd => {
                let start = fields.pop()?;
                if fields.is_empty() {
                    strings.push([start, range.end]);
                }
            }
            _ if !fields.is_empty() => {}
            TokenKind::String => strings.push([range.start, range.end]),
            TokenKind::Comment => comment_chars += range.len(),
            TokenKind::Lpar | TokenKind::Lsqb | TokenKind::Lbrace => open.push(range.start),
            TokenKind::Rpar | TokenKind::Rsqb | TokenKind::Rbrace => {
                brackets.push([open.pop()?, range.start]);
            }
            _ => {}
        }
    }
    Some((brackets, strings, comment_chars))
}

#[test]
fn the_embedded_corpus_is_lexed_as_by_ruff() {
    let (mut compared, mut pairs) = (0, 0);
    for (name, content) in embedded_files().expect("embedded").iter() {
        let text = String::from_utf8_lossy(content);
        // Ruff counts bytes.
        let Some((brackets, strings, comment_chars)) =
            text.is_ascii().then(|| ruffs(&text)).flatten()
        else {
            continue;
        };
        let (marks, syntax) = lex(&chars(&text));
        let found = syntax.brackets.iter().map(|b| [b.open, b.close]);
        assert_eq!(found.collect::<Vec<_>>(), brackets, "brackets of {name}");
        let found = syntax.strings.iter().map(|s| [s.start, s.end()]);
        assert_eq!(found.collect::<Vec<_>>(), strings, "strings of {name}");
        let comments = marks.iter().filter(|m| m.class == Class::Comment).count();
        assert_eq!(comments, comment_chars, "comments of {name}");
        compared += 1;
        pairs += brackets.len();
    }
    assert!(
        compared > 600 && pairs > 90_000,
        "{compared} files, {pairs} pairs"
    );
}
