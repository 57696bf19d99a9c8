//! Tokenizers: `src/data/tokens`.

use rnnx::data::tokens::{Tokenizer, is_string, key};

mod bpe;
mod hostile;
mod python;
mod words;

/// The tokens of a text, with a bar between two.
fn bars(tokens: &[String]) -> String {
    tokens.join("|")
}

#[test]
fn white_space_and_characters_split_as_their_names_say() {
    let text = "def f(a):\n\treturn  'é x'";
    let words = Tokenizer::Whitespace.split(text);
    assert_eq!(words, ["def", "f(a):", "return", "'é", "x'"]);
    assert_eq!(Tokenizer::Whitespace.join(&words), "def f(a): return 'é x'");
    let chars = Tokenizer::Chars.split("a\n é");
    assert_eq!(chars, ["a", "\n", " ", "é"]);
    assert_eq!(Tokenizer::Chars.join(&Tokenizer::Chars.split(text)), text);
}

#[test]
fn a_copied_string_is_the_same_without_its_white_space() {
    for (token, expected) in [
        ("' Key ( '", "'Key('"),
        ("rb\" a b\"", "rb\"ab\""),
        ("'a'", "'a'"),
        ("'''a\n b'''", "'''ab'''"),
        ("name", "name"),
        ("a b", "a b"),
        ("' a \"", "' a \""),
        ("xy' a '", "xy' a '"),
        ("'", "'"),
        ("", ""),
    ] {
        assert_eq!(key(token), expected, "{token:?}");
    }
    assert!(is_string("Rb''") && is_string("\"a\""));
    assert!(!is_string("'") && !is_string("r") && !is_string("'a\"") && !is_string("self 's'"));
}

#[test]
fn a_tokenizer_is_named_in_json() {
    for (tokenizer, json) in [
        (Tokenizer::Whitespace, r#"{"kind":"whitespace"}"#),
        (Tokenizer::Words, r#"{"kind":"words"}"#),
        (Tokenizer::Python, r#"{"kind":"python"}"#),
        (Tokenizer::Chars, r#"{"kind":"chars"}"#),
    ] {
        assert_eq!(serde_json::to_string(&tokenizer).unwrap(), json);
        assert_eq!(serde_json::from_str::<Tokenizer>(json).unwrap(), tokenizer);
        assert_eq!(format!("{{\"kind\":\"{}\"}}", tokenizer.kind()), json);
    }
}
