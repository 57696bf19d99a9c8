//! Python source that is deep, long or no Python at all.

use rnnx::data::python::{
    bodies, first_error, functions, is_code, parses, parses_as_line, same_tree, without_docstring,
};
use rnnx::rng::{Purpose, Stream};

use super::python::{found, pair};

/// Shapes of trees: a start, what is repeated, and an end for each of the repetitions.
const SHAPES: [(&str, &str, &str); 25] = [
    ("", "(", ")"),
    ("", "[", "]"),
    ("", "{", "}"),
    ("", "-", ""),
    ("", "~", ""),
    ("", "not ", ""),
    ("", "await ", ""),
    ("", "a + ", ""),
    ("", "a ** ", ""),
    ("", "a and ", ""),
    ("", "a < ", ""),
    ("", "a.", ""),
    ("", "f(", ")"),
    ("f", "(0)", ""),
    ("f", "[0]", ""),
    ("", "a[", "]"),
    ("", "a if b else ", ""),
    ("", "lambda: ", ""),
    ("", "lambda a, b: ", ""),
    ("", "f'{", "}'"),
    ("", "[x for x in ", "]"),
    ("", "if a: ", ""),
    ("", "async ", ""),
    ("match 0:\n case ", "[", "]"),
    ("def f", "[T: (", ")]"),
];

/// Calls everything that parses.
fn try_all(source: &str) {
    let _ = functions(source, usize::MAX);
    let _ = bodies(source, usize::MAX);
    let _ = without_docstring(source);
    let _ = parses(source);
    let _ = parses_as_line(source);
    let _ = first_error(source);
    let _ = is_code(source);
    let _ = same_tree(source, source);
}

#[test]
fn no_depth_overflows_the_stack() {
    // A quarter of what a thread has by default.
    let thread = std::thread::Builder::new().stack_size(512 << 10);
    let work = || {
        for (start, open, close) in SHAPES {
            for n in [300, 900, 1100, 100_000] {
                let deep = format!("{start}{}a{}", open.repeat(n), close.repeat(n));
                try_all(&deep);
                try_all(&format!("def f():\n 'doc'\n return {deep}"));
                // Never closed.
                try_all(&format!("{start}{}", open.repeat(n)));
            }
        }
        for n in [300, 900, 1100, 3000] {
            let block = |line: &str| -> String {
                let lines = (0..n).map(|i| format!("{}{line}\n", " ".repeat(i)));
                lines.collect::<String>() + &" ".repeat(n) + "pass\n"
            };
            for line in [
                "if a:",
                "def f():",
                "class A:",
                "with a, b:",
                "try:",
                "for a in b:",
            ] {
                try_all(&block(line));
            }
        }
    };
    thread
        .spawn(work)
        .expect("a thread")
        .join()
        .expect("no panic");
    let deep = |n| format!("{}1", "-".repeat(n));
    assert!(parses(&deep(1000)) && !parses(&deep(1001)));
    assert!(!parses(&format!(
        "{}{}",
        "(".repeat(100_000),
        ")".repeat(100_000)
    )));
    assert!(!parses(&"[) ".repeat(100_000)));
}

#[test]
fn long_lists_are_not_deep() {
    let n = 20_000;
    for (start, part, end) in [
        ("x = [", "-1, ", "]"),
        ("x = {", "'a': (1, 2), ", "}"),
        ("x = (", "'part' ", ")"),
        ("f(", "a=b.c + d[0], ", ")"),
        ("", "x = a + b; ", ""),
        ("", "x = f(a)(b).c\n", ""),
        ("if a: pass\n", "elif b: pass\n", ""),
        ("", "def f():\n    if a:\n        pass\n", ""),
    ] {
        assert!(parses(&format!("{start}{}{end}", part.repeat(n))), "{part}");
    }
}

#[test]
fn no_text_makes_it_panic() {
    const PARTS: [&str; 72] = [
        "def",
        "class",
        "async",
        "await",
        "f",
        "x",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        ":",
        ",",
        ";",
        "\n",
        "\n    ",
        "\n        ",
        "\t",
        "'",
        "\"",
        "'''",
        "\"\"\"",
        "f'",
        "f\"\"\"",
        "t'",
        "b'",
        "rb'",
        "\\",
        "\\\n",
        "#",
        "@",
        "=",
        ":=",
        "==",
        "->",
        ".",
        "...",
        "*",
        "**",
        "lambda",
        "if",
        "else",
        "elif",
        "for",
        "in",
        "while",
        "with",
        "as",
        "try",
        "except",
        "finally",
        "match",
        "case",
        "_",
        "type",
        "import",
        "from",
        "return",
        "yield",
        "not",
        "is",
        "1",
        "0x",
        "1e",
        "1_",
        "é",
        "\u{0}",
        "\u{feff}",
        "\u{c}",
        "$",
        "!",
    ];
    let mut random = Stream::new(3, Purpose::Sample, 0).reader();
    for _ in 0..4_000 {
        let mut text = String::new();
        for _ in 0..random.below(40) {
            text.push_str(PARTS[random.below(PARTS.len() as u32) as usize]);
            text.push_str(["", " "][random.below(2) as usize]);
        }
        try_all(&text);
        let bytes: Vec<u8> = (0..random.below(60))
            .map(|_| random.next_u32() as u8)
            .collect();
        try_all(&String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn a_long_line_is_not_searched_for_each_of_its_statements() {
    // Once a statement, these would take minutes.
    let strings = "'a'; ".repeat(400_000);
    for (start, code) in [
        ("def f(): ".to_owned(), "def f(): return 1"),
        (
            format!("def f():\n{}", " ".repeat(4 << 20)),
            &format!("def f():\n{}return 1", " ".repeat(4 << 20)),
        ),
    ] {
        let source = format!("{start}'doc'; {strings}return 1");
        assert!(found(&source) == [pair("doc", code)]);
        assert!(without_docstring(&source).as_deref() == Some(code));
    }
}

#[test]
fn code_of_too_many_tokens_is_not_copied() {
    // Four tokens; where the docstring goes, two parts of a token meet.
    let source = "def f(x):'doc';return x";
    let code = |max| functions(source, max).map(|found| found[0].code.clone());
    assert_eq!(code(3), Some(Some("def f(x):return x".into())));
    assert_eq!(code(2), Some(None));

    // Functions inside one another: each level adds six tokens to the seven of the innermost.
    let (levels, lines, kept_levels) = (400, 5000, 8);
    let header = |i| format!("{0}def f{i}(x):\n{0} 'Do {i}.'\n", " ".repeat(i));
    let tail = |i| format!("{} return x\n", " ".repeat(i));
    let body = format!("{}'''{}'''\n", " ".repeat(levels), "\n".repeat(lines));
    let body = format!("{0}pass\n{body}", " ".repeat(levels));
    let headers: String = (0..levels).map(header).collect();
    let tails: String = (0..levels).rev().map(tail).collect();
    let source = headers + &body + &tails;
    let found = functions(&source, 50).expect("this source parses");
    assert_eq!(found.len(), levels);
    let kept: Vec<&str> = found.iter().filter_map(|f| f.code.as_deref()).collect();
    assert_eq!(kept.len(), kept_levels);
    assert!(
        found[levels - kept_levels..]
            .iter()
            .all(|f| f.code.is_some())
    );
    let copied: usize = kept.iter().map(|code| code.len()).sum();
    assert!(copied < kept_levels * source.len(), "{copied}");
    assert!(kept[7].starts_with("def f399(x):\n pass\n '''\n\n"));
    // As many as there are where they are asked for.
    let all = functions(&source, usize::MAX).expect("this source parses");
    assert!(all.iter().all(|f| f.code.is_some()));
    assert_eq!(all[levels - kept_levels..], found[levels - kept_levels..]);
}
