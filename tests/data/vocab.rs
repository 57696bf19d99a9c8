use std::path::Path;

use rnnx::data::vocab::CharVocab;
use rnnx::{Error, Result};
use serde_json::json;

use super::assert_fails;

#[test]
fn the_vocabulary_is_the_sorted_set_of_characters() -> Result<()> {
    let vocab = CharVocab::from_text(b"banana\n b")?;
    assert_eq!(vocab.tokens().collect::<String>(), "\n abn");
    assert_eq!(vocab.len(), 5);
    assert_eq!(vocab.encode_all(b"nab \n")?, [4, 2, 3, 1, 0]);
    assert_eq!(vocab.decode(3), 'b');
    let json = vocab.to_json();
    assert_eq!(
        json.to_string(),
        r#"{"kind":"char","tokens":["\n"," ","a","b","n"]}"#
    );
    assert_eq!(CharVocab::from_json(&json, Path::new("vocab.json"))?, vocab);
    // Index order is the order of the list, not of the characters.
    let other = CharVocab::from_tokens(['z', 'a'])?;
    assert_eq!(other.encode_all(b"az")?, [1, 0]);
    Ok(())
}

#[test]
fn a_vocabulary_is_refused_with_its_reason() {
    assert_fails(CharVocab::from_text(b""), 3, &["no characters"]);
    assert_fails(
        CharVocab::from_text(b"a\xe9"),
        3,
        &["token 1", "\\u{e9}", "ASCII"],
    );
    assert_fails(CharVocab::from_tokens([]), 3, &["no characters"]);
    assert_fails(
        CharVocab::from_tokens(['a', '\n', 'a']),
        3,
        &["'a' is there twice", "tokens 0 and 2"],
    );
    let read = |value| CharVocab::from_json(&value, Path::new("run/vocab.json"));
    for (value, part) in [
        (
            json!({"kind": "words", "source": [], "target": []}),
            "seq2seq",
        ),
        (
            json!({"kind": "bytes"}),
            "unknown kind of vocabulary, \"bytes\"",
        ),
        (json!({"tokens": ["a"]}), "no \"kind\""),
        (json!([1]), "no \"kind\""),
        (json!({"kind": "char"}), "\"tokens\" is not a list"),
        (json!({"kind": "char", "tokens": []}), "no characters"),
        (
            json!({"kind": "char", "tokens": ["a", "bc"]}),
            "token 1 is \"bc\"",
        ),
        (json!({"kind": "char", "tokens": [""]}), "token 0 is \"\""),
        (json!({"kind": "char", "tokens": ["a", 7]}), "token 1 is 7"),
        (json!({"kind": "char", "tokens": ["a", "é"]}), "ASCII"),
        (json!({"kind": "char", "tokens": ["a", "a"]}), "twice"),
    ] {
        let result = read(value);
        assert!(matches!(result, Err(Error::Checkpoint { .. })), "{part}");
        assert_fails(result, 3, &["run/vocab.json", part]);
    }
}

#[test]
fn characters_without_an_id_are_named_with_their_place() -> Result<()> {
    let vocab = CharVocab::from_text(b"def f\n")?;
    assert_eq!(vocab.encode_all(b"fed\n")?.len(), 4);
    assert_fails(
        vocab.encode_all(b"fe~"),
        3,
        &["character 3, '~'", "vocabulary of 5"],
    );
    Ok(())
}
