use std::fs;

use rnnx::data::vocab::{CharVocab, Vocab};
use rnnx::files::RunFolder;
use rnnx::{Error, Result};
use serde_json::{Value, json};

use super::assert_fails;

#[test]
fn the_vocabulary_is_the_sorted_set_of_characters() -> Result<()> {
    let vocab = CharVocab::from_text(b"banana\n b")?;
    assert_eq!(vocab.tokens().collect::<String>(), "\n abn");
    assert_eq!(vocab.len(), 5);
    assert_eq!(vocab.encode_all(b"nab \n")?, [4, 2, 3, 1, 0]);
    assert_eq!(vocab.decode(3), 'b');
    let text = vocab.to_file().to_text();
    let lines = [
        "{",
        r#"  "kind": "char","#,
        r#"  "tokens": ["#,
        r#"    "\n","#,
    ];
    assert!(text.starts_with(&lines.join("\n")) && text.ends_with("\"n\"\n  ]\n}\n"));
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::at(dir.path());
    folder.write_vocab(&text)?;
    assert_eq!(Vocab::read(&folder)?, vocab.to_file());
    assert_eq!(Vocab::read_chars(&folder)?, vocab);
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
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::at(dir.path());
    let read = |value: Value| {
        fs::write(folder.vocab_path(), value.to_string()).unwrap();
        Vocab::read_chars(&folder)
    };
    for (value, part) in [
        (
            json!({"kind": "words", "source": [], "target": []}),
            "seq2seq",
        ),
        (
            json!({"kind": "bytes"}),
            "unknown variant `bytes`, expected `char` or `words`",
        ),
        (json!({"tokens": ["a"]}), "missing field `kind`"),
        (json!([1]), "not a vocabulary"),
        (json!({"kind": "char"}), "missing field `tokens`"),
        (json!({"kind": "char", "tokens": []}), "no characters"),
        (
            json!({"kind": "char", "tokens": ["a", "bc"]}),
            "token 1 is \"bc\"",
        ),
        (json!({"kind": "char", "tokens": [""]}), "token 0 is \"\""),
        (
            json!({"kind": "char", "tokens": ["a", 7]}),
            "integer `7`, expected a string",
        ),
        (json!({"kind": "char", "tokens": ["a", "é"]}), "ASCII"),
        (json!({"kind": "char", "tokens": ["a", "a"]}), "twice"),
    ] {
        let result = read(value);
        assert!(matches!(result, Err(Error::Checkpoint { .. })), "{part}");
        assert_fails(result, 3, &["vocab.json", part]);
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
