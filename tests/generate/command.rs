//! What `rnnx generate` writes, asks and refuses.

use std::io::{self, Cursor, Write};

use rnnx::cli::args::Oov;
use rnnx::cli::generate::{GenerateRequest, ask, run};
use rnnx::data::chars::{CharVocab, Token};

use super::small::{ALPHABET, cpu, model, request, text, vocab};

#[test]
fn text_has_the_prompt_and_the_length_and_follows_the_seed() {
    let first = text(request("abc", 300));
    assert!(first.starts_with("abc"));
    assert_eq!(first.chars().count(), 303);
    assert_eq!(first, text(request("abc", 300)));
    assert_ne!(
        first,
        text(GenerateRequest {
            seed: 6,
            ..request("abc", 300)
        })
    );
    assert_eq!(text(request("abc", 0)), "abc");
    // Generating goes on from the prompt: a shorter text is the start of a longer one.
    assert!(first.starts_with(&text(request("abc", 200))));
}

#[test]
fn going_on_from_a_longer_prompt_gives_the_same_text() {
    let greedy = |prompt: &str, length| {
        text(GenerateRequest {
            temperature: 0.0,
            ..request(prompt, length)
        })
    };
    let whole = greedy("abc", 60);
    let (head, _) = whole.split_at(23);
    assert_eq!(greedy(head, 40), whole);
    assert_eq!(
        whole,
        text(GenerateRequest {
            top_k: Some(1),
            ..request("abc", 60)
        })
    );
}

#[test]
fn an_empty_prompt_starts_after_a_newline() {
    let (empty, newline) = (text(request("", 50)), text(request("\n", 50)));
    assert_eq!(format!("\n{empty}"), newline);
    assert_ne!(format!("a{empty}"), text(request("a", 50)));
}

#[test]
fn streams_are_numbered_and_the_first_is_the_single_one() {
    let several = text(GenerateRequest {
        streams: 3,
        ..request("ab", 40)
    });
    let parts: Vec<&str> = several.split("=== stream ").collect();
    assert_eq!(parts.len(), 4);
    assert_eq!(parts[1], format!("1 ===\n{}\n", text(request("ab", 40))));
    assert!(parts[3].starts_with("3 ===\nab") && parts[2][2..] != parts[3][2..]);
}

#[test]
fn json_is_one_object_a_stream() {
    let json = text(GenerateRequest {
        streams: 2,
        json: true,
        ..request("ab", 40)
    });
    let lines: Vec<serde_json::Value> = json
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(
        (&lines[0]["stream"], &lines[1]["stream"]),
        (&1.into(), &2.into())
    );
    assert_eq!(lines[0]["prompt"], "ab");
    let single = text(request("ab", 40));
    assert_eq!(lines[0]["text"], single[2..]);
}

#[test]
fn unknown_characters_are_named_or_skipped() {
    let mut out = Vec::new();
    let error =
        run(&model(), &vocab(), request("ab\té", 5), &cpu(), &mut out).expect_err("unknown");
    assert_eq!(error.exit_code(), 3);
    let message = error.to_string();
    for part in ["'\\t'", "position 3", "--oov skip"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(out.is_empty());
    let skipping = |prompt| {
        text(GenerateRequest {
            oov: Oov::Skip,
            ..request(prompt, 30)
        })
    };
    assert_eq!(skipping("a\tbé"), text(request("ab", 30)));
    assert_eq!(skipping("é"), text(request("", 30)));
}

/// A vocabulary of ten tokens, the first of them unknown.
fn with_unknown(bytes: bool) -> CharVocab {
    let chars = ALPHABET[1..].chars().map(Token::Char);
    CharVocab::new([Token::Unknown].into_iter().chain(chars), bytes).expect("a vocabulary")
}

#[test]
fn unknown_characters_may_be_read_as_the_unknown_token_which_is_never_written() {
    let text = |vocab: &CharVocab, prompt, oov| {
        let mut out = Vec::new();
        let asked = GenerateRequest {
            oov,
            ..request(prompt, 500)
        };
        run(&model(), vocab, asked, &cpu(), &mut out)
            .map(|()| String::from_utf8(out).expect("UTF-8"))
    };
    let vocab = with_unknown(false);
    let read = text(&vocab, "a\u{3b1}b", Oov::Unk).expect("runs");
    // The prompt is shown as it was given; what follows is of the vocabulary.
    let rest = read.strip_prefix("a\u{3b1}b").expect("the prompt");
    assert!(rest.chars().all(|c| ALPHABET[1..].contains(c)), "{rest}");
    assert_eq!(rest.chars().count(), 500);
    assert_ne!(
        Some(rest),
        text(&vocab, "ab", Oov::Unk)
            .expect("runs")
            .strip_prefix("ab")
    );
    let error = text(&vocab, "a\u{3b1}b", Oov::Error)
        .expect_err("unknown")
        .to_string();
    for part in [
        "'\u{3b1}' (U+03B1)",
        "position 2",
        "--oov skip",
        "--oov unk",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let error = text(&crate::command::vocab(), "ab", Oov::Unk).expect_err("no such token");
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("min-char-count"), "{error}");
}

#[test]
fn a_model_of_bytes_reads_and_writes_bytes() {
    let tokens = "\n \u{ce}\u{b1}\u{ff}abcde".chars().map(Token::Char);
    let vocab = CharVocab::new(tokens, true).expect("a vocabulary");
    let written = |asked| {
        let mut out = Vec::new();
        run(&model(), &vocab, asked, &cpu(), &mut out).expect("runs");
        out
    };
    // U+03B1 is two bytes, each of them known.
    let out = written(request("a\u{3b1}", 300));
    assert!(out.starts_with(b"a\xce\xb1"));
    assert_eq!(out.len(), 303);
    assert!(out[3..].contains(&0xff) && std::str::from_utf8(&out[3..]).is_err());
    let json = written(GenerateRequest {
        json: true,
        ..request("a\u{3b1}", 300)
    });
    let object: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
    assert_eq!(object["prompt"], "a\u{3b1}");
    assert_eq!(object["bytes"], serde_json::json!(&out[3..]));
    // The first byte 0xff ends the text, as a character U+00FF would not; both escapes are of bytes.
    let stopped = written(GenerateRequest {
        escapes: true,
        stop: vec![r"\xff".to_owned()],
        ..request(r"a\xce\xb1", 300)
    });
    let end = out.iter().position(|&b| b == 0xff).expect("0xff");
    assert_eq!(stopped, out[..end]);
    let asked = request("a\u{3b2}", 5);
    let error = run(&model(), &vocab, asked, &cpu(), &mut Vec::new()).expect_err("unknown");
    assert!(
        error.to_string().contains("byte 0xB2 at position 3"),
        "{error}"
    );
}

#[test]
fn requests_that_cannot_be_met_are_refused() {
    let huge = GenerateRequest {
        streams: 2,
        ..request("a", usize::MAX)
    };
    for (request, flag) in [
        (
            GenerateRequest {
                temperature: -1.0,
                ..request("a", 1)
            },
            "temperature",
        ),
        (
            GenerateRequest {
                streams: 0,
                ..request("a", 1)
            },
            "streams",
        ),
        (
            GenerateRequest {
                json: true,
                ..request("a", usize::MAX)
            },
            "--length",
        ),
        (huge, "--length"),
    ] {
        let error = run(&model(), &vocab(), request, &cpu(), &mut Vec::new()).expect_err(flag);
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(flag), "{error}");
    }
    let error = run(
        &model(),
        &CharVocab::from_tokens(['a']).expect("a vocabulary"),
        request("a", 1),
        &cpu(),
        &mut Vec::new(),
    )
    .expect_err("vocabulary");
    assert!(
        error.exit_code() == 3 && error.to_string().contains("vocab.json"),
        "{error}"
    );
}

/// Takes `room` bytes, then fails as a pipe or a disk does.
struct Failing {
    room: usize,
    kind: io::ErrorKind,
}

impl Write for Failing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.room = (self.room.checked_sub(bytes.len())).ok_or(io::Error::from(self.kind))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_closed_pipe_ends_an_endless_text_and_a_full_disk_is_an_error() {
    let kind = io::ErrorKind::BrokenPipe;
    let endless = request("a", usize::MAX);
    run(
        &model(),
        &vocab(),
        endless.clone(),
        &cpu(),
        &mut Failing { room: 5000, kind },
    )
    .expect("quiet end");
    let kind = io::ErrorKind::StorageFull;
    let error = run(
        &model(),
        &vocab(),
        endless,
        &cpu(),
        &mut Failing { room: 5000, kind },
    );
    let error = error.expect_err("full");
    assert!(
        error.exit_code() == 1 && error.to_string().contains("standard output"),
        "{error}"
    );
}

fn answered(answers: &str) -> (GenerateRequest, String) {
    let mut request = GenerateRequest {
        prompt: None,
        ..request("", 400)
    };
    let mut shown = Vec::new();
    ask(
        &mut Cursor::new(answers),
        &mut shown,
        &vocab(),
        &mut request,
    )
    .expect("answered");
    (request, String::from_utf8(shown).expect("UTF-8"))
}

#[test]
fn questions_show_defaults_and_are_repeated_until_the_answer_fits() {
    let (request, shown) = answered("\n\n\n");
    assert_eq!(
        (request.length, request.temperature, request.prompt),
        (400, 1.0, None)
    );
    assert!(shown.contains("[400]") && shown.contains("[1]"), "{shown}");

    let (request, shown) = answered("many\n-3\n12\nNaN\n-1\n0.5\nxyz\nab \r\n");
    assert_eq!((request.length, request.temperature), (12, 0.5));
    // White space at the end of a start string is part of it; the line's end is not.
    assert_eq!(request.prompt.as_deref(), Some(&b"ab "[..]));
    assert_eq!(shown.matches("try again").count(), 5, "{shown}");
    assert!(shown.contains("'x' (U+0078) at position 1"), "{shown}");

    // The end of input is the default, also after an answer that cannot be used.
    let (request, _) = answered("7\nhot");
    assert_eq!(
        (request.length, request.temperature, request.prompt),
        (7, 1.0, None)
    );
}
