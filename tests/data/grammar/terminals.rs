//! The terminals of the grammar: which texts are one, and which words are reserved.

use rnnx::data::python::grammar::{Terminal, terminal};
use rnnx::data::python::parses;

use super::lexed::of;

#[test]
fn a_token_is_one_terminal_and_the_whole_text() {
    let same = [
        ("x1", Terminal::NAME),
        ("\u{e9}t\u{e9}", Terminal::NAME),
        ("1_000", Terminal::NUMBER),
        (".5e3", Terminal::NUMBER),
        ("2J", Terminal::IMAGINARY),
        ("'a'", Terminal::STRING),
        ("Rb'a'", Terminal::BYTES),
        ("\"\"\"a\nb\"\"\"", Terminal::STRING),
        ("f'a {x!r:>{y}} b'", Terminal::FSTRING),
        ("f'{f\"{x}\"}'", Terminal::FSTRING),
        ("t'{x}'", Terminal::TEMPLATE),
        ("None", of("None")),
        ("match", of("match")),
        (":=", of(":=")),
    ];
    for (text, kind) in same {
        assert_eq!(terminal(text), Some(kind), "{text}");
    }
    for text in [
        "",
        " ",
        "x y",
        " x",
        "x ",
        "x\n",
        "x;",
        "(x)",
        "x#",
        "# x",
        "-1",
        "1.real",
        "'a' 'b'",
        "'a''b'",
        "f'a' 'b'",
        "'a' f'b'",
        "b'a' b'b'",
        "t'a' t'b'",
        "'''a\rb'''",
        "\u{feff}1",
        "'a",
        "f'{x'",
        "0777",
        "b'\u{e9}'",
        "'\\N{no}'",
        "x\\\n",
        "not in",
        "$",
    ] {
        assert_eq!(terminal(text), None, "{text:?}");
    }
}

#[test]
fn keywords_are_the_reserved_words() {
    let keywords = Terminal::all()
        .filter(|t| t.is_keyword())
        .map(Terminal::name);
    let keywords: Vec<&str> = keywords.collect();
    assert_eq!(
        (keywords[0], keywords[34], keywords.len()),
        ("False", "yield", 35)
    );
    // What a parser takes for a name is none.
    for name in ["match", "case", "type", "_", "NAME", "+", "print"] {
        assert!(
            !Terminal::of(name).is_some_and(Terminal::is_keyword),
            "{name}"
        );
    }
    for keyword in keywords {
        assert!(!parses(&format!("{keyword} = 1")), "{keyword}");
    }
}
