//! What `rnnx generate` writes, asks and refuses.

use std::io::{self, Cursor, Write};

use rnnx::cli::generate::{GenerateRequest, ask, run};
use rnnx::nn::CellKind;
use rnnx::programs::charlm::generate::weights::CharLmWeights;

use super::support::{Sizes, weights};

const ALPHABET: &str = "\n abcdefgh";

fn tokens() -> Vec<char> {
    ALPHABET.chars().collect()
}

fn model() -> CharLmWeights {
    weights(
        CellKind::Lstm,
        Sizes {
            v: 10,
            e: 5,
            h: 33,
            layers: 2,
        },
        11,
    )
}

/// Every test gives a prompt: with none, `run` would ask the terminal of whoever runs the tests.
fn request(prompt: &str, length: usize) -> GenerateRequest {
    GenerateRequest {
        prompt: Some(prompt.to_string()),
        length,
        temperature: 1.0,
        top_k: None,
        top_p: None,
        seed: 5,
        streams: 1,
        oov_skip: false,
        json: false,
        quiet: true,
    }
}

fn text(request: GenerateRequest) -> String {
    let mut out = Vec::new();
    run(&model(), &tokens(), request, &mut out).expect("runs");
    String::from_utf8(out).expect("UTF-8")
}

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
    let error = run(&model(), &tokens(), request("ab\té", 5), &mut out).expect_err("unknown");
    assert_eq!(error.exit_code(), 3);
    let message = error.to_string();
    for part in ["'\\t'", "position 3", "--oov skip"] {
        assert!(message.contains(part), "{message}");
    }
    assert!(out.is_empty());
    let skipping = |prompt| {
        text(GenerateRequest {
            oov_skip: true,
            ..request(prompt, 30)
        })
    };
    assert_eq!(skipping("a\tbé"), text(request("ab", 30)));
    assert_eq!(skipping("é"), text(request("", 30)));
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
        let error = run(&model(), &tokens(), request, &mut Vec::new()).expect_err(flag);
        assert_eq!(error.exit_code(), 2);
        assert!(error.to_string().contains(flag), "{error}");
    }
    let error = run(&model(), &['a'], request("a", 1), &mut Vec::new()).expect_err("vocabulary");
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
        &tokens(),
        endless.clone(),
        &mut Failing { room: 5000, kind },
    )
    .expect("quiet end");
    let kind = io::ErrorKind::StorageFull;
    let error = run(
        &model(),
        &tokens(),
        endless,
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
        &tokens(),
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
    assert_eq!(request.prompt.as_deref(), Some("ab "));
    assert_eq!(shown.matches("try again").count(), 5, "{shown}");
    assert!(shown.contains("'x' at position 1"), "{shown}");

    // The end of input is the default, also after an answer that cannot be used.
    let (request, _) = answered("7\nhot");
    assert_eq!(
        (request.length, request.temperature, request.prompt),
        (7, 1.0, None)
    );
}
