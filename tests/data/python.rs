use rnnx::data::python::{
    Function, clean_docstring, functions, is_code, parses, same_tree, without_docstring,
};

/// (docstring, code) of the functions of a source that parses.
#[track_caller]
pub fn found(source: &str) -> Vec<(String, String)> {
    let functions = functions(source, usize::MAX).expect("this source parses");
    let pair = |Function {
                    docstring, code, ..
                }| (docstring, code.expect("no limit"));
    functions.into_iter().map(pair).collect()
}

/// The code of the only function of a source.
#[track_caller]
pub fn code(source: &str) -> String {
    let mut found = found(source);
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0).1
}

#[test]
fn signatures_have_parameters_annotations_and_the_type_that_is_returned() {
    let source = r#"
@a(b)
async def one(self, x: int = 1,  # a comment
              *, y: "Dict[str, int]"={'a': (1, 2)}, **kw,
              ) -> (Optional
                    [str]): "One."; return 1
def two(): "Two."; pass
def three[T](a, /, b=lambda c: c): "Three."; pass
"#;
    let found = functions(source, 100).unwrap();
    let signatures: Vec<&str> = found.iter().map(|f| f.signature.as_str()).collect();
    let expected = [
        "(self, x: int = 1, *, y: \"Dict[str, int]\"={'a': (1, 2)}, **kw,) -> (Optional [str])",
        "()",
        "(a, /, b=lambda c: c)",
    ];
    assert_eq!(signatures, expected);
}

pub fn pair(docstring: &str, code: &str) -> (String, String) {
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
fn trees_are_the_same_whatever_does_not_change_them() {
    for (a, b) in [
        ("x=f( 'a',b )", "x = f(\"a\", b)  # why"),
        ("def f(x):\n  return (x)\n", "def f(x): return x"),
        ("else :", "else:"),
        ("if x :", "if (x):"),
        ("except E as e :", "except E as e:"),
        ("@ wraps ( f )", "@wraps(f)"),
        ("x = 0x10", "x = 16"),
        ("", "# nothing"),
    ] {
        assert!(same_tree(a, b), "{a} | {b}");
    }
    for (a, b) in [
        ("x = f(a, b)", "x = f(b, a)"),
        ("x = 'a'", "x = 'b'"),
        ("else:", "finally:"),
        ("if x:", "while x:"),
        ("if x:", "if x: pass; y"),
        ("def f(x): return x", "def f(y): return y"),
        // Neither has a tree.
        ("x = (", "x = ("),
        ("case", "case )"),
        ("if x:\n  y", "if x:"),
    ] {
        assert!(!same_tree(a, b), "{a} | {b}");
        assert!(!same_tree(b, a), "{b} | {a}");
    }
}
