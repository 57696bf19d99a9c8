use std::fs;

use rnnx::data::chars::{CharVocab, MAX_TOKENS, Token};
use rnnx::data::charset::CharsetChoice;
use rnnx::data::corpus::Corpus;
use rnnx::data::vocab::Vocab;
use rnnx::files::RunFolder;
use rnnx::{Error, Result};
use serde_json::{Value, json};

use super::{assert_fails, folder, spec};

fn corpus(charset: CharsetChoice, text: &[u8]) -> Corpus {
    let dir = folder(&[("text", text)]);
    let mut spec = spec(&[&dir.path().join("text")]);
    spec.charset = charset;
    Corpus::load(&spec).expect("a corpus")
}

fn unicode(text: &str) -> Corpus {
    corpus(CharsetChoice::Unicode, text.as_bytes())
}

fn text_of(vocab: &CharVocab, ids: &[u16]) -> Vec<u8> {
    let mut text = Vec::new();
    ids.iter().for_each(|&id| vocab.decode_into(id, &mut text));
    text
}

#[test]
fn the_vocabulary_is_the_sorted_set_of_characters() -> Result<()> {
    let banana = unicode("banana\n b");
    let vocab = CharVocab::of(&banana, 1)?;
    assert!(vocab.tokens().eq("\n abn".chars().map(Token::Char)));
    assert_eq!((vocab.len(), vocab.unknown(), vocab.start()), (5, None, 0));
    assert_eq!(vocab.encode("nab \n")?, [4, 2, 3, 1, 0]);
    let (ids, unknown) = vocab.encode_all(&banana)?;
    assert_eq!((text_of(&vocab, &ids), unknown), (banana.text, 0));
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
    assert_eq!(other.encode("az")?, [1, 0]);
    Ok(())
}

#[test]
fn characters_of_any_script_have_ids_and_come_back() -> Result<()> {
    // U+00E9 is one byte in a vocabulary of bytes, and two here.
    let text = "\u{3b1}\u{3b2}\u{1f600}\u{4e16}\n\u{e9}\u{3b1}";
    let vocab = CharVocab::of(&unicode(text), 1)?;
    assert_eq!(vocab.encode(text)?, [2, 3, 5, 4, 0, 1, 2]);
    assert_eq!(text_of(&vocab, &[2, 3, 5, 4, 0, 1, 2]), text.as_bytes());
    // A prompt that is typed decomposed is the same text.
    let accented = CharVocab::of(&unicode("\u{3ac}"), 1)?;
    assert_eq!(accented.encode("\u{3b1}\u{301}")?, [0]);
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::at(dir.path());
    folder.write_vocab(&vocab.to_file().to_text())?;
    assert_eq!(Vocab::read_chars(&folder)?, vocab);
    Ok(())
}

#[test]
fn rare_characters_become_one_unknown() -> Result<()> {
    let text = unicode("aabbc\u{3b4}\n");
    let vocab = CharVocab::of(&text, 2)?;
    let tokens = [Token::Unknown, Token::Char('a'), Token::Char('b')];
    assert!(vocab.tokens().eq(tokens));
    assert_eq!(vocab.encode_all(&text)?, (vec![1, 1, 2, 2, 0, 0, 0], 3));
    // Without a newline text starts after a character, never after the unknown one.
    assert_eq!((vocab.unknown(), vocab.start()), (Some(0), 1));
    assert!(vocab.to_file().to_text().contains("\"<UNK>\","));
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::at(dir.path());
    folder.write_vocab(&vocab.to_file().to_text())?;
    assert_eq!(Vocab::read_chars(&folder)?, vocab);
    assert_fails(
        CharVocab::of(&text, 3),
        3,
        &["no character is 3 times", "lower min-char-count"],
    );
    Ok(())
}

#[test]
fn a_vocabulary_of_bytes_is_told_apart() -> Result<()> {
    let text = corpus(CharsetChoice::Bytes, b"\xffa\xe9a\r\n");
    let vocab = CharVocab::of(&text, 1)?;
    let (ids, unknown) = vocab.encode_all(&text)?;
    assert_eq!((&ids[..], unknown), (&[4, 2, 3, 2, 1, 0][..], 0));
    assert_eq!(text_of(&vocab, &ids), text.text);
    let file = vocab.to_file().to_text();
    assert!(file.starts_with("{\n  \"kind\": \"char\",\n  \"bytes\": true,"));
    let dir = tempfile::tempdir().unwrap();
    let folder = RunFolder::at(dir.path());
    folder.write_vocab(&file)?;
    assert_eq!(Vocab::read_chars(&folder)?, vocab);
    // The same characters are not the same text.
    assert_fails(
        vocab.encode_all(&unicode("a")),
        3,
        &["of bytes", "charset unicode", "use charset bytes"],
    );
    let chars = CharVocab::of(&unicode("a"), 1)?;
    assert_fails(
        chars.encode_all(&text),
        3,
        &["of characters", "charset bytes"],
    );
    Ok(())
}

#[test]
fn a_vocabulary_is_refused_with_its_reason() {
    assert_fails(CharVocab::from_tokens([]), 3, &["no characters"]);
    assert_fails(
        CharVocab::from_tokens(['a', '\u{e9}', '\u{e9}']),
        3,
        &["'\u{e9}' is there twice", "tokens 1 and 2"],
    );
    let many = ('\u{20000}'..'\u{e0000}').take(MAX_TOKENS + 1);
    assert_fails(
        CharVocab::from_tokens(many.clone()),
        3,
        &["65536 different characters", "raise min-char-count"],
    );
    let most = CharVocab::from_tokens(many.take(MAX_TOKENS)).expect("just enough");
    assert_eq!(most.id('\u{20000}'), Some(0));
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
        (
            json!({"kind": "char", "bytes": true, "tokens": ["a", "\u{100}"]}),
            "up to U+00FF",
        ),
        (
            json!({"kind": "char", "tokens": ["<UNK>"]}),
            "no characters",
        ),
        (
            json!({"kind": "char", "tokens": ["<UNK>", "a", "<UNK>"]}),
            "<UNK> is there twice",
        ),
        (json!({"kind": "char", "tokens": ["a", "a"]}), "twice"),
    ] {
        let result = read(value);
        assert!(matches!(result, Err(Error::Checkpoint { .. })), "{part}");
        assert_fails(result, 3, &["vocab.json", part]);
    }
}

#[test]
fn characters_without_an_id_are_named_with_their_place() -> Result<()> {
    let vocab = CharVocab::of(&unicode("def f\n"), 1)?;
    assert_eq!(vocab.encode("fed\n")?.len(), 4);
    assert_fails(vocab.encode("fe~"), 3, &["character 3, '~'"]);
    assert_fails(
        vocab.encode_all(&unicode("fe\u{3b1}")),
        3,
        &["character 3, '\u{3b1}'", "vocabulary of 5"],
    );
    Ok(())
}
