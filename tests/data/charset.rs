use rnnx::Result;
use rnnx::data::charset::{Charset, CharsetChoice, shown};
use rnnx::data::corpus::{Corpus, CorpusSpec};
use rnnx::data::text::Cleaned;
use rnnx::rng::{Purpose, Stream};
use unicode_normalization::UnicodeNormalization;

use super::{assert_fails, folder, spec};

fn clean(charset: Charset, input: &[u8]) -> (Vec<u8>, Cleaned) {
    let mut out = Vec::new();
    let counts = charset.clean_into(input, &mut out, usize::MAX);
    (out, counts)
}

#[test]
fn unicode_keeps_every_character_but_control_characters() {
    // (input, text, dropped, invalid)
    let cases: &[(&[u8], &str, u64, u64)] = &[
        (b"", "", 0, 0),
        (b"x = 1 \t\n\n  ", "x = 1 \t\n\n  ", 0, 0), // white space at the ends of lines stays
        (b"a\r\nb\r\n", "a\nb\n", 0, 0),             // \r\n is one newline
        (b"a\rb\r\r\n", "ab\n", 2, 0),               // \r alone is a control character
        (b"\x00\x1b[1m\x7f~", "[1m~", 3, 0),
        ("a\u{85}b\u{9f}".as_bytes(), "ab", 2, 0),
        (
            "\u{feff}\u{a0}\u{200b}\u{2028}\u{1f600}\u{e9}\n".as_bytes(),
            "\u{feff}\u{a0}\u{200b}\u{2028}\u{1f600}\u{e9}\n",
            0,
            0,
        ),
        // NFC: composed where it can be, singletons replaced, marks in canonical order.
        ("e\u{301}\u{212b}".as_bytes(), "\u{e9}\u{c5}", 0, 0),
        ("q\u{307}\u{323}".as_bytes(), "q\u{323}\u{307}", 0, 0),
        ("\u{1112}\u{1161}\u{11ab}".as_bytes(), "\u{d55c}", 0, 0),
        (b"a\xff\xfeb\xe2\x82\n", "ab\n", 3, 3),
        ("\u{fffd}".as_bytes(), "\u{fffd}", 0, 0), // a character like any other
    ];
    for (input, text, dropped, invalid) in cases {
        let (out, counts) = clean(Charset::Unicode, input);
        let shown = input.escape_ascii();
        assert_eq!(String::from_utf8(out).as_deref(), Ok(*text), "{shown}");
        assert_eq!(
            (counts.dropped, counts.invalid),
            (*dropped, *invalid),
            "{shown}"
        );
        assert_eq!(
            (counts.bytes, counts.chars),
            (input.len(), text.chars().count()),
            "{shown}"
        );
    }
}

#[test]
fn bytes_stay_as_they_are() {
    let all: Vec<u8> = (0..=255).collect();
    let (out, counts) = clean(Charset::Bytes, &all);
    assert_eq!((out, counts.chars, counts.dropped), (all, 256, 0));
}

#[test]
fn auto_is_ascii_for_the_embedded_corpus_alone() -> Result<()> {
    use CharsetChoice::{Ascii, Auto, Bytes, Unicode};
    let both = |choice: CharsetChoice| (choice.settle(true), choice.settle(false));
    assert_eq!(both(Auto), (Charset::Ascii, Charset::Unicode));
    assert_eq!(both(Ascii), (Charset::Ascii, Charset::Ascii));
    assert_eq!(both(Unicode), (Charset::Unicode, Charset::Unicode));
    assert_eq!(both(Bytes), (Charset::Bytes, Charset::Bytes));
    let embedded = |charset| {
        Corpus::load(&CorpusSpec {
            paths: vec![],
            globs: vec![],
            stdin: None,
            charset,
            max_chars: usize::MAX,
            seed: 0,
        })
    };
    assert_eq!(embedded(Auto)?, embedded(Ascii)?);
    // The characters that the published rule drops are there when they are asked for.
    let unicode = embedded(Unicode)?;
    assert!(
        unicode.report.chars > 12_207_848,
        "{}",
        unicode.report.chars
    );
    Ok(())
}

/// The rule of `unicode` once more, over the whole input at a time.
fn naive(input: &[u8]) -> (String, u64) {
    let text = String::from_utf8_lossy(input).replace("\r\n", "\n");
    let is_kept = |c: &char| *c != '\u{fffd}' && (!c.is_control() || "\t\n".contains(*c));
    let dropped = text.chars().filter(|c| !is_kept(c)).count();
    (text.chars().filter(is_kept).nfc().collect(), dropped as u64)
}

const FRAGMENTS: &[&[u8]] = &[
    b"a",
    b"e",
    b"Z9_ ",
    b" ",
    b"\t",
    b"\n",
    b"\r\n",
    b"\r",
    b"\x01",
    b"\x1c",
    b"\xc2\x85",
    b"\xc2\xa0",
    b"\xcc\x81", // combining acute
    b"\xcc\xa3", // combining dot below
    b"\xce\xb1",
    b"\xe1\x84\x92", // Hangul: lead, vowel, tail
    b"\xe1\x85\xa1",
    b"\xe1\x86\xab",
    b"\xe2\x84\xab", // Angstrom sign
    b"\xe4\xb8\x96",
    b"\xf0\x9f\x98\x80",
    b"\xf0\x9d\x85\x97\xf0\x9d\x85\xa5", // excluded from composition
    b"\x80",
    b"\xc2",
    b"\xe2\x80",
    b"\xff",
];

fn random_input(random: &mut rnnx::rng::Reader, round: usize) -> Vec<u8> {
    let mut input = Vec::new();
    for _ in 0..random.below(14) {
        if round.is_multiple_of(4) {
            input.push(random.below(256) as u8);
        } else {
            let pick = random.below(FRAGMENTS.len() as u32);
            input.extend_from_slice(FRAGMENTS[pick as usize]);
        }
    }
    input
}

#[test]
fn random_bytes_agree_with_the_naive_rule_and_room_cuts_the_same_text() {
    let mut random = Stream::new(12, Purpose::Sample, 0).reader();
    for round in 0..20_000 {
        let input = random_input(&mut random, round);
        let shown = input.escape_ascii();
        if input.windows(3).any(|bytes| bytes == "\u{fffd}".as_bytes()) {
            continue; // the naive rule cannot tell it from an invalid sequence
        }
        let (text, dropped) = naive(&input);
        let (out, counts) = clean(Charset::Unicode, &input);
        assert_eq!(String::from_utf8_lossy(&out), text, "{shown}");
        assert_eq!(
            (counts.dropped, counts.bytes),
            (dropped, input.len()),
            "{shown}"
        );
        let room = random.below(text.chars().count() as u32 + 2) as usize;
        let mut cut = Vec::new();
        let counts = Charset::Unicode.clean_into(&input, &mut cut, room);
        let expected: String = text.chars().take(room).collect();
        assert_eq!(String::from_utf8_lossy(&cut), expected, "{shown} at {room}");
        assert_eq!(counts.chars, expected.chars().count(), "{shown} at {room}");
    }
}

#[test]
fn a_block_that_is_cut_gives_the_text_of_the_whole() {
    let mut random = Stream::new(13, Purpose::Sample, 0).reader();
    let mut cuts = [0; 3];
    for round in 0..20_000 {
        let input = random_input(&mut random, round);
        let from = random.below(input.len() as u32 + 1) as usize;
        for (n, charset) in [Charset::Ascii, Charset::Unicode, Charset::Bytes]
            .into_iter()
            .enumerate()
        {
            let Some(at) = charset.cut(&input, from) else {
                continue;
            };
            cuts[n] += usize::from(at < input.len());
            let (whole, all) = clean(charset, &input);
            let (mut parts, first) = clean(charset, &input[..at]);
            let second = charset.clean_into(&input[at..], &mut parts, usize::MAX);
            let shown = input.escape_ascii();
            assert_eq!(parts, whole, "{shown} at {at} by {charset}");
            assert_eq!(first.chars + second.chars, all.chars, "{shown} at {at}");
            assert_eq!(
                first.dropped + second.dropped,
                all.dropped,
                "{shown} at {at}"
            );
        }
    }
    assert!(cuts[0] > 1000 && cuts[1] > 1000, "{cuts:?}");
    // Nowhere in a run of bytes that no character begins with.
    assert_eq!(Charset::Unicode.cut(&[0x80; 9], 0), None);
}

#[test]
fn large_files_are_read_in_blocks_that_change_nothing() -> Result<()> {
    // Three blocks each, the longest without a line's end or an ASCII character.
    let verse = "\u{3b1}\u{301}\u{3bb}\u{3c6}\u{3b1} \u{3b2}\u{3b7}\u{3c4}\u{3b1} \r\n";
    for text in [verse.repeat(150_000), "\u{4e16}\u{754c}".repeat(600_000)] {
        for choice in [
            CharsetChoice::Unicode,
            CharsetChoice::Ascii,
            CharsetChoice::Bytes,
        ] {
            let dir = folder(&[("text", text.as_bytes())]);
            let mut spec = spec(&[&dir.path().join("text")]);
            (spec.charset, spec.max_chars) = (choice, usize::MAX);
            let (expected, counts) = clean(choice.settle(false), text.as_bytes());
            if expected.is_empty() {
                assert_fails(Corpus::load(&spec), 3, &["is empty", "charset unicode"]);
                continue;
            }
            let corpus = Corpus::load(&spec)?;
            assert!(corpus.text == expected, "{choice:?}");
            assert_eq!(corpus.report.chars, counts.chars);
            assert_eq!(corpus.report.dropped, counts.dropped);
            // Behind max-chars the file is not read.
            spec.max_chars = 1000;
            let cut = Corpus::load(&spec)?;
            assert_eq!((cut.report.chars, cut.report.truncated), (1000, true));
            assert!(expected.starts_with(&cut.text));
        }
    }
    Ok(())
}

#[test]
fn more_than_one_percent_dropped_is_an_error_that_names_the_characters() -> Result<()> {
    let load = |charset, text: &[u8]| {
        let dir = folder(&[("text", text)]);
        let mut spec = spec(&[&dir.path().join("text")]);
        spec.charset = charset;
        Corpus::load(&spec)
    };
    let greek = "\u{3b1}".repeat(1234) + &"\u{3b2}".repeat(50) + "\u{1b}abcd" + &"ef".repeat(1000);
    let ascii = load(CharsetChoice::Ascii, greek.as_bytes())?;
    assert_fails(
        ascii.report.check_dropped(),
        3,
        &[
            "charset ascii drops 1,285 of its 3,289 characters (39.1 %",
            "'\u{3b1}' 1,234 times, '\u{3b2}' 50 times, '\\u{1b}' once",
            "charset unicode keeps",
        ],
    );
    load(CharsetChoice::Auto, greek.as_bytes())?
        .report
        .check_dropped()?;
    // Exactly 1 % is not more.
    let mut bytes = vec![b'a'; 99];
    bytes.push(0xff);
    load(CharsetChoice::Auto, &bytes)?.report.check_dropped()?;
    bytes.pop();
    bytes.extend(b"\xff\0");
    let report = load(CharsetChoice::Auto, &bytes)?.report;
    let note = "dropped 2 characters that are not text (1 invalid UTF-8 sequence): '\\0' once, \
                '\u{fffd}' once";
    assert_eq!(report.dropped_note().as_deref(), Some(note));
    assert_fails(
        report.check_dropped(),
        3,
        &["2 of its 101", "charset bytes"],
    );
    load(CharsetChoice::Bytes, &bytes)?.report.check_dropped()
}

#[test]
fn messages_show_characters_but_escape_what_cannot_be_seen() {
    for (c, text) in [
        ('\u{3b1}', "'\u{3b1}'"),
        ('\u{4e16}', "'\u{4e16}'"),
        ('\'', "'''"),
        ('"', "'\"'"),
        ('\\', "'\\'"),
        (' ', "' '"),
        ('\n', "'\\n'"),
        ('\u{1b}', "'\\u{1b}'"),
        ('\u{9b}', "'\\u{9b}'"),
        ('\u{202e}', "'\\u{202e}'"), // would turn the line around
        ('\u{301}', "'\\u{301}'"),
    ] {
        assert_eq!(shown(c), text);
    }
}

#[test]
fn every_word_is_a_choice() {
    let choices = CharsetChoice::NAMES.map(|word| word.parse::<CharsetChoice>().unwrap());
    let [auto, ascii, unicode, bytes] = choices;
    for (choice, own, embedded) in [
        (auto, Charset::Unicode, Charset::Ascii),
        (ascii, Charset::Ascii, Charset::Ascii),
        (unicode, Charset::Unicode, Charset::Unicode),
        (bytes, Charset::Bytes, Charset::Bytes),
    ] {
        assert_eq!((choice.settle(false), choice.settle(true)), (own, embedded));
    }
    let error = "latin1".parse::<CharsetChoice>().unwrap_err();
    assert_eq!(error, "give one of auto, ascii, unicode, bytes");
}
