//! Python's tokens, and code made of them.

use super::bars;
use rayon::prelude::*;
use rnnx::data::corpus::embedded_files;
use rnnx::data::python::functions;
use rnnx::data::tokens::Tokenizer;
use rnnx::data::tokens::python::{DEDENT, INDENT, NEWLINE, is_identifier};
use ruff_python_ast::comparable::ComparableStmt;
use ruff_python_parser::parse_module;

#[track_caller]
fn check(code: &str, tokens: &str, joined: &str) {
    let found = Tokenizer::Python.split(code);
    assert_eq!(bars(&found), tokens, "{code}");
    assert_eq!(Tokenizer::Python.join(&found), joined, "{code}");
    assert_eq!(bars(&Tokenizer::Python.split(joined)), tokens, "{joined}");
}

#[test]
fn code_of_one_line_has_no_markers() {
    check("x = 1", "x|=|1", "x = 1");
    check(
        "return  f ( x,y )  # a comment\n",
        "return|f|(|x|,|y|)",
        "return f(x, y)",
    );
    check("  pass", "pass", "pass");
    check(
        "\n\n# before\nf ( a ,\n   b\n)\n\n",
        "f|(|a|,|b|)",
        "f(a, b)",
    );
    check("a = 1 + \\\n  2", "a|=|1|+|2", "a = 1 + 2");
    check("", "", "");
    check(
        "s = 'it''s' + '''a\n  b'''",
        "s|=|'it'|'s'|+|'''a\n  b'''",
        "s = 'it' 's' + '''a\n  b'''",
    );
    check(
        "f'{x!r:>{w}} {y}' f\"{'a'}\"",
        "f'{x!r:>{w}} {y}'|f\"{'a'}\"",
        "f'{x!r:>{w}} {y}' f\"{'a'}\"",
    );
}

#[test]
fn lines_and_levels_are_markers() {
    let code = "def f(a):\n\tif a:\n\t\treturn 1  # one\n\n\t# two\n\telse: b()\n\treturn 2\n\n";
    let tokens = "def|f|(|a|)|:|<NEWLINE>|<INDENT>|if|a|:|<NEWLINE>|<INDENT>|return|1|<NEWLINE>|\
                  <DEDENT>|else|:|b|(|)|<NEWLINE>|return|2";
    let joined = "def f(a):\n    if a:\n        return 1\n    else: b()\n    return 2";
    check(code, tokens, joined);
    // The text's own margin is no level.
    check("  a\n  b\n", "a|<NEWLINE>|b", "a\nb");
}

#[test]
fn blanks_are_where_a_person_would_put_them() {
    for code in [
        "x[1:2], y[::2], z[-1], a[b, :], d[lambda: 0]",
        "f(*args, **kwargs)(a=1, b=-x)['k'].c",
        "def f(self, a: int = 1, b=None, *, c, **d) -> None: pass",
        "{'a': 1, **b}, {c for d in e}, (), [], (a,)",
        "lambda x, y=1, *z: x ** -y",
        "if not (a and -b) or ~c in [d]: return (yield)",
        "from . import a; from .. import b; from .c.d import *",
        "@a.b(1)",
        "x: int = 3; y += 1.5e-3; z = ...",
        "print(f'{a}', 'b' 'c', end='')",
        "a if b else c[d if e else f]",
        "(y := f(x)), a @ b, a - -b, 1 .real, x.y.z",
        "async def f(): await g()",
        "assert a == b, 'no %s' % (c,)",
        "raise A('b') from None",
        "except (A, B) as e:",
        "del a[b], c.d",
        "[x for x in y if x]",
    ] {
        let tokens = Tokenizer::Python.split(code);
        assert_eq!(Tokenizer::Python.join(&tokens), code, "{tokens:?}");
    }
}

#[test]
fn fragments_and_what_is_no_python_have_tokens_too() {
    check("else :", "else|:", "else:");
    check("except X :", "except|X|:", "except X:");
    check("elif not a :", "elif|not|a|:", "elif not a:");
    check(
        "for i in range ( 3 ) :",
        "for|i|in|range|(|3|)|:",
        "for i in range(3):",
    );
    check("@ a", "@|a", "@a");
    // Brackets that are not closed, or not opened.
    check("f ( a , [ b", "f|(|a|,|[|b", "f(a, [b");
    check("f ( a # b", "f|(|a", "f(a");
    check("b ) , c ]", "b|)|,|c|]", "b), c]");
    check("print 'a', b", "print|'a'|,|b", "print 'a', b");
    let split = |text: &str| bars(&Tokenizer::Python.split(text));
    assert_eq!(split("f ( a ] 'b c'"), "f|(|a|]|'b c'");
    assert_eq!(split("cost $ 5 ? yes !"), "cost|$|5|?|yes|!");
    assert_eq!(split("# only a comment"), "#|only|a|comment");
    assert_eq!(split("x = 'not closed"), "x|=|'not closed");
    assert_eq!(split("f'{a' b"), "f'{a'|b");
    assert_eq!(split("\u{feff}a\0b"), "a|\0|b");
    assert_eq!(split("\\"), "\\");
}

#[test]
fn a_model_may_write_markers_anywhere() {
    let join = |tokens: &[&str]| Tokenizer::Python.join(tokens);
    assert_eq!(join(&[NEWLINE, DEDENT, "a", INDENT, "b"]), "a\n    b");
    assert_eq!(
        join(&["a", NEWLINE, NEWLINE, INDENT, DEDENT, DEDENT, "b", NEWLINE]),
        "a\nb"
    );
    assert_eq!(join(&[INDENT, INDENT]), "");
}

/// Every file of the embedded corpus, and every function with a docstring in it, as the pairs have them.
#[test]
fn joined_tokens_have_the_syntax_tree_of_the_code() {
    let files = embedded_files().unwrap();
    let checked: Vec<usize> = files
        .par_iter()
        .filter_map(|(name, content)| {
            let source = std::str::from_utf8(content).ok()?;
            let functions = functions(source, usize::MAX)?;
            same_tree(name, source);
            let codes = functions
                .iter()
                .map(|f| f.code.as_deref().expect("no limit"));
            codes.clone().for_each(|code| same_tree(name, code));
            Some(codes.count())
        })
        .collect();
    assert!(checked.len() > 300, "{} files", checked.len());
    assert!(checked.iter().sum::<usize>() > 3000, "{checked:?}");
}

fn same_tree(name: &str, code: &str) {
    let tokens = Tokenizer::Python.split(code);
    let joined = Tokenizer::Python.join(&tokens);
    assert_eq!(Tokenizer::Python.split(&joined), tokens, "{name}: {code}");
    let code = code.replace("\r\n", "\n").replace('\r', "\n");
    let [before, after] = [&code, &joined].map(|code| parse_module(code));
    let (before, after) = (before.expect("Python"), after.expect("still Python"));
    let pairs = before.suite().iter().zip(after.suite());
    for (a, b) in pairs {
        let same = ComparableStmt::from(a) == ComparableStmt::from(b);
        assert!(same, "{name}: another tree:\n{code}\n{joined}");
    }
    assert_eq!(before.suite().len(), after.suite().len(), "{name}");
}

#[test]
fn identifiers_are_names_that_are_not_reserved() {
    for name in ["x", "_", "_a1", "match", "type", "größe", "print"] {
        assert!(is_identifier(name), "{name}");
    }
    for other in [
        "if", "None", "1", "1x", "'a'", "f'a'", "a.b", "==", "", NEWLINE, "x y",
    ] {
        assert!(!is_identifier(other), "{other}");
    }
}
