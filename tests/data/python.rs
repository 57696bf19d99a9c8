use rnnx::data::python::{
    Function, clean_docstring, functions, is_code, parses, without_docstring,
};
use rnnx::rng::{Purpose, Stream};

/// (docstring, code) of the functions of a source that parses.
#[track_caller]
fn found(source: &str) -> Vec<(String, String)> {
    let functions = functions(source, usize::MAX).expect("this source parses");
    let pair = |Function { docstring, code }| (docstring, code.expect("no limit"));
    functions.into_iter().map(pair).collect()
}

/// The code of the only function of a source.
#[track_caller]
fn code(source: &str) -> String {
    let mut found = found(source);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0).1
}

fn pair(docstring: &str, code: &str) -> (String, String) {
    (docstring.into(), code.into())
}

#[test]
fn functions_methods_nested_and_async_ones_are_found() {
    let source = r#"
import os

@decorated
@twice(1,
       2)
def plain(a, *, b: int = 1) -> int:
    # before
    """Plain."""  # beside
    # behind
    return a + b

class Thing:
    """Not a function."""

    async  def method(self):
        '''Method.

            Indented.
        '''
        if self:
            def inner(x): r"In\ner."; return x
        return inner

    def bare(self):
        return None

    def empty(self):
        "Nothing else."

try:
    pass
except ValueError:
    def late(): ("In " "parts."); pass
"#;
    let expected = [
        pair(
            "Plain.",
            "def plain(a, *, b: int = 1) -> int:\n    # before\n      # beside\n    # behind\n    \
             return a + b",
        ),
        pair(
            "Method.\n\nIndented.",
            "async  def method(self):\n    if self:\n        def inner(x): r\"In\\ner.\"; return \
             x\n    return inner",
        ),
        pair("In\\ner.", "def inner(x): return x"),
        pair("In parts.", "def late(): pass"),
    ];
    assert_eq!(found(source), expected);
}

#[test]
fn only_a_string_that_comes_first_is_a_docstring() {
    for source in [
        "def f():\n    f'{1}'\n    return 1",
        "def f():\n    b'bytes'\n    return 1",
        "def f():\n    'a' + 'b'\n    return 1",
        "def f():\n    x = 'a'\n    return 1",
        "def f():\n    pass\n    'late'",
        "def f():\n    'alone'",
        "def f():\n    'alone'\n    'with another'",
        "lambda: 'no'",
        "",
    ] {
        assert_eq!(found(source), [], "{source}");
        assert!(parses(source), "{source}");
    }
    // Strings right behind the docstring go with it, so that a second pass changes nothing.
    let code = code("def f():\n    'doc'\n    'more'; 'and more'\n    return 1\n");
    assert_eq!(code, "def f():\n    \n    return 1");
    assert_eq!(without_docstring(&code), None);
}

#[test]
fn a_file_that_does_not_parse_has_no_functions() {
    for source in [
        "def f(:\n    'doc'\n    return 1",
        "print 'two'",
        "x = (1",
        "x = 1)",
        "x = [1)",
        "f'{x'",
        "'open",
        "\0",
        "def f():\nreturn 1",
        " x = 1\ny = 2",
    ] {
        assert_eq!(functions(source, 50), None, "{source}");
        assert!(!parses(source), "{source}");
    }
}

#[test]
fn whether_a_text_is_a_module() {
    for source in [
        "",
        "# nothing",
        "\u{feff}x = 1",
        "x = 1\r\ny = 2\r",
        "def f ( self ) : return self . x",
        "match x:\n    case [1, *_] | {'a': 2}: pass",
        "f'{x!r:>{width}} {f\"{y}\"}' 'and' f'{z}'",
        "type A[T] = list[T]\nasync def f():\n    async with a as b, c: await d",
        "naïve = 'é'",
    ] {
        assert!(parses(source), "{source}");
    }
}

#[test]
fn the_indentation_of_a_method_goes_but_not_that_of_strings() {
    let source = "class A:\n\n        def f(self):\n            'Doc.'\n            x = '''\n        \
                  kept\n'''\n    # to the left\n            y = f\"\"\"{x}\n        {x}\"\"\"\n            \
                  return x\n";
    assert_eq!(
        code(source),
        "def f(self):\n    x = '''\n        kept\n'''\n    # to the left\n    y = f\"\"\"{x}\n        \
         {x}\"\"\"\n    return x"
    );
    assert_eq!(
        code("if 1:\n\tdef f():\n\t\t'Doc.'\n\t\treturn 1"),
        "def f():\n\treturn 1"
    );
    assert_eq!(
        code("if 1:\r\n  def f():\r\n    'Doc.'\r\n    return 1\r\n"),
        "def f():\n  return 1"
    );
}

#[test]
fn docstrings_are_cleaned_as_by_python() {
    // From inspect.cleandoc of Python 3.13.
    for (docstring, clean) in [
        (
            "  One.\n\n    Two\n      three\n    ",
            "One.\n\nTwo\n  three",
        ),
        ("\n\tTabbed\n\t\tmore\n", "Tabbed\n        more"),
        ("", ""),
        (" \n \n", " "),
        ("a\tb\n  c\td", "a       b\nc     d"),
        ("x\n      \n    y\n  ", "x\n  \ny"),
        ("\u{a0}x\n\u{a0} y\n", "\u{a0}x\n\u{a0} y"),
        ("  a\n    \n      \n    b\n      \n\n", "a\n\n  \nb\n  "),
    ] {
        assert_eq!(clean_docstring(docstring), clean, "{docstring:?}");
    }
}

#[test]
fn code_search_nets_code_loses_its_docstring() {
    let without = |code| without_docstring(code).expect("a docstring to take out");
    // A method as it stands there: the first line alone lost its indentation.
    assert_eq!(
        without(
            "def f(self):\n        \"\"\"Doc.\n\n        More.\n        \"\"\"\n        return 1"
        ),
        "def f(self):\n        return 1"
    );
    assert_eq!(
        without("    def f(self):\n        'Doc.'\n\n        return 1\n"),
        "def f(self):\n\n    return 1\n"
    );
    assert_eq!(
        without("@wraps(f)\nasync def f():\n    'Doc.' # why\n    return 1"),
        "@wraps(f)\nasync def f():\n     # why\n    return 1"
    );
    assert_eq!(without("def f(): 'Doc.' ; return 1"), "def f(): return 1");
    assert_eq!(
        without("def f():\n    'Doc.';\n    return 1"),
        "def f():\n    return 1"
    );
    // Python 2 behind the docstring.
    assert_eq!(
        without("def f():\n    'Doc.'\n    print 'a', 0777\n    exec code"),
        "def f():\n    print 'a', 0777\n    exec code"
    );
    // Nothing but a docstring.
    assert_eq!(without("def f():\n    'Doc.'\n"), "def f():\n");
    for none in [
        "def f():\n    return 1",
        "x = 1",
        "'Doc.'",
        "",
        "class A:\n    'Doc.'",
        ")",
    ] {
        assert_eq!(without_docstring(none), None, "{none}");
    }
}

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
    let _ = without_docstring(source);
    let _ = parses(source);
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
fn code_does_something() {
    for code in [
        "def f(x): return x",
        "print ( x )",
        "x = 1",
        "import os",
        "return x",
        "1\nf()",
    ] {
        assert!(is_code(code), "{code}");
    }
    for text in [
        "",
        "may",
        "2000 - 5 - 3",
        "\"may\"",
        "3 may 2000",
        "x = (",
        "a.b",
    ] {
        assert!(!is_code(text), "{text}");
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
