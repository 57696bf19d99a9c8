use rnnx::data::text::{Cleaned, clean_into};
use rnnx::rng::{Purpose, Stream};

fn clean(input: &[u8]) -> (Vec<u8>, Cleaned) {
    let mut out = Vec::new();
    let counts = clean_into(input, &mut out, usize::MAX);
    (out, counts)
}

#[test]
fn the_rule_on_small_texts() {
    // (input, text, dropped, invalid)
    let cases: &[(&[u8], &str, u64, u64)] = &[
        (b"", "", 0, 0),
        (b"\n", "\n", 0, 0),
        (b"a \t\nb", "a\nb", 0, 0),
        (b"a  ", "a", 0, 0),
        (b" \n \n", "\n\n", 0, 0),
        (b"\tx = 1\r\ny\r\n", "\tx = 1\ny\n", 0, 0), // \r\n is \n
        (b"a\rb\r\r\n", "ab\n", 1, 0),               // \r alone ends no line
        (b"a\x0c\x0b\x1c\x1d\x1e\x1f\n\x0cb", "a\nb", 1, 0),
        (
            "a\u{a0}\u{85}\u{2003}\u{3000}\u{1680}\n".as_bytes(),
            "a\n",
            0,
            0,
        ),
        ("a\u{a0}b\u{200b}\n".as_bytes(), "ab\n", 2, 0), // U+200B is no white space
        ("a \u{e9}\n".as_bytes(), "a \n", 1, 0),         // white space first, then the other rule
        ("\u{feff}h\u{e9}llo \u{1f600}!".as_bytes(), "hllo !", 3, 0),
        (b"a\xff\xfeb", "ab", 2, 2),
        (b"a\xe2\x82\nb", "a\nb", 1, 1), // a character cut short is one sequence
        (b"a \xc2", "a ", 1, 1),
        (b"\x00\x7f~", "~", 2, 0),
    ];
    for (input, text, dropped, invalid) in cases {
        let (out, counts) = clean(input);
        assert_eq!(out, text.as_bytes(), "{}", input.escape_ascii());
        let shown = input.escape_ascii();
        assert_eq!(
            (counts.bytes, counts.chars),
            (input.len(), text.len()),
            "{shown}"
        );
        assert_eq!(
            (counts.dropped, counts.invalid),
            (*dropped, *invalid),
            "{shown}"
        );
        assert_eq!(counts.by_char.values().sum::<u64>(), *dropped, "{shown}");
        let invalid = counts.by_char.get(&'\u{fffd}').copied();
        assert_eq!(invalid.unwrap_or(0), counts.invalid, "{shown}");
    }
}

#[test]
fn every_ascii_character_is_kept_or_dropped_as_the_rule_says() {
    for b in 0..=127u8 {
        let (out, _) = clean(&[b'<', b, b'>']);
        let kept = b.is_ascii_alphanumeric() || b.is_ascii_punctuation() || b" \t\n".contains(&b);
        let expected = if kept {
            vec![b'<', b, b'>']
        } else {
            b"<>".to_vec()
        };
        assert_eq!(out, expected, "{b}");
    }
}

/// The rule once more, in the words of the module's documentation.
fn naive(input: &[u8]) -> (String, u64, u64) {
    let (mut lines, mut dropped) = (Vec::new(), 0);
    let decoded = String::from_utf8_lossy(input);
    let space = |c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c);
    let kept = |c: &char| c.is_ascii_graphic() || *c == ' ' || *c == '\t';
    for line in decoded.split('\n') {
        let line = line.trim_end_matches(space);
        dropped += line.chars().filter(|c| !kept(c)).count() as u64;
        lines.push(line.chars().filter(kept).collect::<String>());
    }
    // The test's fragments hold no U+FFFD, so each one stands for an invalid sequence.
    let invalid = decoded.matches('\u{fffd}').count() as u64;
    (lines.join("\n"), dropped, invalid)
}

#[test]
fn random_bytes_agree_with_the_naive_rule_and_the_limit_cuts_the_same_text() {
    let fragments: &[&[u8]] = &[
        b"a",
        b"Z9_",
        b" ",
        b"\t",
        b"\n",
        b"\r\n",
        b"\r",
        b"\x0b",
        b"\x0c",
        b"\x1c",
        b"\x1f",
        b"\x7f",
        b"\x00",
        b"\xc2\x85",
        b"\xc2\xa0",
        b"\xe1\x9a\x80",
        b"\xe2\x80\x83",
        b"\xe2\x80\xa8",
        b"\xe2\x80\x8b",
        b"\xe3\x80\x80",
        b"\xc3\xa9",
        b"\xf0\x9f\x98\x80",
        b"\x80",
        b"\x85",
        b"\xa0",
        b"\xc2",
        b"\xe2",
        b"\xe2\x80",
        b"\xf0\x9f",
        b"\xff",
        b"\xed\xa0",
        b"\xc0\x80",
        b"def f(x):",
    ];
    let mut random = Stream::new(11, Purpose::Sample, 0).reader();
    for round in 0..20_000 {
        let mut input = Vec::new();
        for _ in 0..random.below(12) {
            if round % 4 == 0 {
                input.push(random.below(256) as u8);
            } else {
                let pick = random.below(fragments.len() as u32);
                input.extend_from_slice(fragments[pick as usize]);
            }
        }
        let (text, dropped, invalid) = naive(&input);
        let (out, counts) = clean(&input);
        let shown = input.escape_ascii();
        assert_eq!(out, text.as_bytes(), "{shown}");
        assert_eq!(counts.bytes, input.len(), "{shown}");
        assert_eq!(counts.dropped, dropped, "{shown}");
        assert_eq!(counts.invalid, invalid, "{shown}");
        let limit = random.below(out.len() as u32 + 2) as usize;
        let mut cut = Vec::new();
        let counts = clean_into(&input, &mut cut, limit);
        assert_eq!(cut, out[..limit.min(out.len())], "{shown} at {limit}");
        assert!(
            counts.dropped <= dropped && counts.bytes <= input.len(),
            "{shown}"
        );
    }
}

#[test]
fn cleaning_appends_and_does_not_look_behind_the_limit() {
    let mut out = b"head".to_vec();
    let counts = clean_into(b"one\ntwo\n\xff\xff\n", &mut out, 9);
    assert_eq!(out, b"headone\nt");
    assert_eq!((counts.bytes, counts.dropped), (7, 0));
}
