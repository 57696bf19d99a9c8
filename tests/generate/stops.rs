//! Where a text ends before its length, and escapes.

use rnnx::cli::generate::{GenerateRequest, run};
use rnnx::data::chars::CharVocab;

use super::small::{cpu, model, request, text, vocab};

/// What is left of a text before the first of these that comes to its end, the longest of several
/// that end together.
fn before_stop<'a>(text: &'a str, stops: &[&str]) -> Option<&'a str> {
    let ends = 1..=text.len();
    ends.map(|end| &text[..end])
        .find_map(|read| stops.iter().filter_map(|s| read.strip_suffix(s)).min())
}

#[test]
fn a_stop_ends_the_text_before_its_first_occurrence() {
    // Few characters, so that texts repeat themselves and beginnings of stops turn out to be none.
    let asked = GenerateRequest {
        top_k: Some(2),
        ..request("ab", 120)
    };
    let whole = text(asked.clone());
    let generated = &whole[2..];
    let mut cut = 0;
    for start in (0..100).step_by(5) {
        for length in [1, 2, 3, 6, 13] {
            let one = &generated[start..start + length];
            let other = &generated[start + 1..start + 4];
            for stops in [vec![one], vec![one, other], vec![other, "never", one]] {
                let before = before_stop(generated, &stops).expect("it is there");
                cut += usize::from(before.len() > 20);
                let asked = GenerateRequest {
                    stop: stops.iter().map(|&s| s.to_owned()).collect(),
                    ..asked.clone()
                };
                assert_eq!(text(asked), format!("ab{before}"), "{stops:?}");
            }
        }
    }
    assert!(cut > 20, "{cut} of the stops came late: {generated}");
    // What never comes ends nothing, and the end of the text shows what was held back.
    let almost = format!("{}\u{1}", &generated[100..]);
    let asked = GenerateRequest {
        stop: vec![almost],
        ..asked
    };
    assert_eq!(text(asked), whole);
}

#[test]
fn every_stream_has_its_own_end() {
    let streams = GenerateRequest {
        streams: 3,
        json: true,
        ..request("ab", 60)
    };
    let objects = |request| -> Vec<serde_json::Value> {
        let lines = text(request);
        let lines = lines.lines().map(serde_json::from_str);
        lines.collect::<Result<_, _>>().expect("JSON")
    };
    let whole = objects(streams.clone());
    assert!(whole[0].get("stopped").is_none());
    let first = whole[0]["text"].as_str().expect("a text");
    let stop = &first[40..43]; // the other streams are other texts
    let cut = objects(GenerateRequest {
        stop: vec![stop.to_owned()],
        ..streams
    });
    for (cut, whole) in cut.iter().zip(&whole) {
        let whole = whole["text"].as_str().expect("a text");
        let before = before_stop(whole, &[stop]);
        assert_eq!(cut["text"], before.unwrap_or(whole));
        assert_eq!(cut["stopped"], before.is_some());
    }
    let stopped = cut.iter().filter(|o| o["stopped"] == true).count();
    assert!((1..3).contains(&stopped), "{stop:?}: {cut:?}");
}

#[test]
fn escapes_are_taken_where_they_are_asked_for() {
    let escaped = |prompt: &str| GenerateRequest {
        escapes: true,
        ..request(prompt, 30)
    };
    assert_eq!(
        text(escaped(r"a\nb\x63\u{64}\u{0065}")),
        text(request("a\nbcde", 30))
    );
    let refused = |request| run(&model(), &vocab(), request, &cpu(), &mut Vec::new());
    let error = refused(request(r"a\nb", 30)).expect_err("a backslash is a character");
    assert!(error.exit_code() == 3 && error.to_string().contains("position 2"));
    for (bad, shown) in [
        (r"ab\q", r"\q"),
        (r"ab\", r"\ "),
        (r"ab\x4", r"\x4"),
        (r"ab\x+4c", r"\x+4"),
        (r"ab\xé", r"\xé"),
        (r"ab\u{110000}", r"\u{110000}"),
        (r"ab\u{d800}c", r"\u{d800}"),
        (r"ab\u{}", r"\u{}"),
        (r"ab\u0041", r"\u0"),
    ] {
        let stop = GenerateRequest {
            stop: vec![bad.to_owned()],
            ..escaped("a")
        };
        for (request, flag) in [(escaped(bad), "--prompt"), (stop, "--stop")] {
            let error = refused(request).expect_err(bad);
            assert_eq!(error.exit_code(), 2);
            let message = error.to_string();
            for part in [flag, shown, "at position 3 is no escape", r"\u{N}"] {
                assert!(message.contains(part), "{message}");
            }
        }
    }
    let error = refused(GenerateRequest {
        stop: vec![String::new()],
        ..request("a", 5)
    });
    let error = error.expect_err("an empty stop");
    assert!(error.exit_code() == 2 && error.to_string().contains("--stop is empty"));
    let vocab = CharVocab::from_tokens("\n\tabcdef\\h".chars()).expect("a vocabulary");
    let mut out = Vec::new();
    run(&model(), &vocab, escaped(r"a\\n\tb"), &cpu(), &mut out).expect_err("no n");
    run(&model(), &vocab, escaped(r"a\\b\t"), &cpu(), &mut out).expect("runs");
    assert!(out.starts_with(b"a\\b\t"));
}
