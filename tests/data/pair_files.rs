use std::collections::HashMap;

use rnnx::Result;
use rnnx::data::pair_files::{PairFile, PairFormat, read_pairs};
use rnnx::data::pairs::{Pair, Splits};

use super::input::{gzip, repeated, zstd};
use super::pairs::pair;
use super::{assert_fails, folder};

fn fields(source: &str, target: &str) -> PairFormat {
    PairFormat {
        source_field: source.into(),
        target_field: target.into(),
        strict: false,
    }
}

fn read(name: &str, content: &[u8], format: &PairFormat) -> Result<PairFile> {
    let dir = folder(&[(name, content)]);
    read_pairs(&dir.path().join(name), format)
}

#[test]
fn csv_and_tsv_give_the_pairs_of_their_columns() -> Result<()> {
    let csv = b"\xef\xbb\xbfdate,iso,id\r\n\"3 May, 1979\",1979-05-03,1\r\n\r\n\"a \"\"b\"\"\nc\",d,2\r\ne,f,3";
    let pairs = vec![
        pair("3 May, 1979", "1979-05-03"),
        pair("a \"b\"\nc", "d"),
        pair("e", "f"),
    ];
    for (name, bytes) in [
        ("a.csv", csv.to_vec()),
        ("a.csv.gz", gzip(csv)),
        ("a.csv.zst", zstd(csv)),
    ] {
        let file = read(name, &bytes, &fields("date", "iso"))?;
        assert_eq!(file.pairs, pairs, "{name}");
    }
    // Between tabs a quote is a character, and numbers mean a file without a header.
    let tsv = b"\"Go!\tVa !\nHi.\t\"Salut\" !\n";
    let file = read("a.tsv", tsv, &fields("1", "2"))?;
    let expected = [pair("\"Go!", "Va !"), pair("Hi.", "\"Salut\" !")];
    assert_eq!(file.pairs, expected);
    let turned = read("a.tsv", tsv, &fields("2", "1"))?;
    assert_eq!(turned.pairs[0], pair("Va !", "\"Go!"));
    let json = b"{\"en\":\"Go.\",\"fr\":\"Va.\"}";
    assert_eq!(
        read("a.jsonl", json, &fields("en", "fr"))?.pairs,
        [pair("Go.", "Va.")]
    );
    Ok(())
}

#[test]
fn the_column_signature_of_a_table_is_read() -> Result<()> {
    let signatures = |name: &str, content: &str| -> Result<Vec<Option<String>>> {
        let file = read(name, content.as_bytes(), &fields("a", "b"))?;
        Ok(file.pairs.into_iter().map(|pair| pair.signature).collect())
    };
    let some = Some("(x)".to_owned());
    let csv = "signature,a,b\n(x),1,2\n,3,4\n\" \",5,6\n";
    assert_eq!(signatures("x.csv", csv)?, [some.clone(), None, None]);
    // A record may end before it.
    let tsv = "a\tb\tsignature\n1\t2\n3\t4\t(x)\n";
    assert_eq!(signatures("x.tsv", tsv)?, [None, some.clone()]);
    assert_eq!(signatures("x.csv", "a,b\n1,2\n")?, [None]);
    // What is no text is no signature, which few read.
    let json = "{\"a\":\"1\",\"b\":\"2\",\"signature\":[1]}\n\
                {\"a\":\"1\",\"b\":\"2\",\"signature\":null}\n\
                {\"a\":\"1\",\"b\":\"2\",\"signature\":\"(x)\"}\n";
    assert_eq!(signatures("x.jsonl", json)?, [None, None, some]);
    Ok(())
}

#[test]
fn a_record_that_is_no_pair_is_named_with_its_line_and_field() {
    let (names, numbers) = (fields("a", "b"), fields("1", "2"));
    for (name, content, format, line, part) in [
        ("x.csv", "a,b\n1,2\n\n3\n", &names, 4, "no column 2"),
        ("x.csv", "a,b\r\n1,2\r\n3\r\n", &names, 3, "no column 2"),
        (
            "x.csv",
            "a,b\n\"1\n1\",2\n3\n4,5\n",
            &names,
            4,
            "no column 2",
        ),
        ("x.csv", "a,b\n1,2\n\"3\n\"", &names, 3, "no column 2"),
        (
            "x.csv",
            "1,2\n3\n",
            &numbers,
            2,
            "no column 2: the record has 1 fields",
        ),
        ("x.csv", "a,b\n1,2\n3,\n", &names, 3, "\"b\" is empty"),
        ("x.tsv", "1\t2\n3\t \n", &numbers, 2, "\"2\" is empty"),
        (
            "x.csv",
            "a,c\n1,2\n",
            &names,
            1,
            "no field \"b\", it has [\"a\", \"c\"]",
        ),
        (
            "x.csv",
            "a,b\n1,\"2\n3,4\n5,6\n",
            &names,
            2,
            "nothing closes",
        ),
        (
            "x.jsonl",
            "{\"a\":\"1\"}",
            &names,
            1,
            "no field \"b\" (target-field names another)",
        ),
    ] {
        let place = format!("{name}:{line}:");
        assert_fails(read(name, content.as_bytes(), format), 3, &[&place, part]);
    }
    let latin = read("x.csv", b"a,b\n1,2\n3,\xff\n", &names);
    assert_fails(latin, 3, &["x.csv:3:", "column 2", "not UTF-8"]);
    let mixed = read("x.csv", b"1,2\n", &fields("1", "b"));
    assert_fails(
        mixed,
        2,
        &["source-field \"1\"", "two names", "two numbers"],
    );
    assert_fails(read("x.csv", b"a,b\n", &names), 3, &["no pairs"]);
    assert_fails(read("x.csv", b"", &names), 3, &["no pairs"]);
}

#[test]
fn a_record_without_end_is_not_read_to_the_end() {
    // More of one letter than may be unpacked.
    let letters = repeated(b'a', 128 << 10).repeat(2049);
    let bomb = [zstd(b"a,b\n1,2\r\n\n\""), letters].concat();
    let found = read("x.csv.zst", &bomb, &fields("a", "b"));
    assert_fails(found, 3, &["x.csv.zst:4: the record is longer than"]);
}

#[test]
fn a_quote_within_a_field_closes_nothing_further_down() -> Result<()> {
    let csv = "a,b\n5\" disk,x\n\"l1\nl2\",y\n";
    let file = read("x.csv", csv.as_bytes(), &fields("a", "b"))?;
    assert_eq!(file.pairs, [pair("5\" disk", "x"), pair("l1\nl2", "y")]);
    let open = "a,b\n5\" disk,x\n3,\"y\nz\n";
    let found = read("x.csv", open.as_bytes(), &fields("a", "b"));
    assert_fails(found, 3, &["x.csv:3:", "nothing closes"]);
    // Both in the last record.
    let csv = "a,b\n5\" disk,\"l1\nl2\"\n";
    let file = read("x.csv", csv.as_bytes(), &fields("a", "b"))?;
    assert_eq!(file.pairs, [pair("5\" disk", "l1\nl2")]);
    let open = "a,b\n5\" disk,\"l1\"\"\nl2\n";
    let found = read("x.csv", open.as_bytes(), &fields("a", "b"));
    assert_fails(found, 3, &["x.csv:2:", "nothing closes"]);
    Ok(())
}

#[test]
fn pairs_with_an_empty_source_are_skipped_and_counted_by_their_line() -> Result<()> {
    let csv = b"a,b\n1,2\n , 3\n\"4\n4\",5\n,6\n";
    let file = read("x.csv", csv, &fields("a", "b"))?;
    assert_eq!((file.pairs.len(), &file.skipped[..]), (2, &[3, 6][..]));
    let strict = PairFormat {
        strict: true,
        ..fields("a", "b")
    };
    let parts = ["x.csv:3:", "\"a\" is empty"];
    assert_fails(read("x.csv", csv, &strict), 3, &parts);
    Ok(())
}

fn lines(n: usize) -> String {
    let line = |i| format!("{{\"docstring\":\"source {i}\",\"code\":\"target {i}\"}}\n");
    (0..n).map(line).collect()
}

fn split_of(splits: &Splits) -> HashMap<String, usize> {
    let parts = [&splits.train, &splits.valid, &splits.test];
    let of = |(i, part): (usize, &Vec<Pair>)| -> Vec<(String, usize)> {
        part.iter().map(|p| (p.docstring.clone(), i)).collect()
    };
    parts.into_iter().enumerate().flat_map(of).collect()
}

#[test]
fn a_pair_keeps_its_split_while_the_file_grows() -> Result<()> {
    let dir = folder(&[
        ("old.jsonl", lines(1000).as_bytes()),
        ("new.jsonl", lines(2000).as_bytes()),
        ("twice.jsonl", lines(1000).repeat(2).as_bytes()),
        ("few.jsonl", lines(2).as_bytes()),
    ]);
    let divide =
        |name: &str, shares| Splits::divide(&dir.path().join(name), &PairFormat::default(), shares);
    let old = divide("old.jsonl", [0.1, 0.2])?;
    // 1,000 draws with probability 0.1 and 0.2: within four standard deviations.
    let sizes = [&old.train, &old.valid, &old.test].map(Vec::len);
    assert_eq!(sizes.iter().sum::<usize>(), 1000);
    assert!(
        sizes[1].abs_diff(100) < 38 && sizes[2].abs_diff(200) < 51,
        "{sizes:?}"
    );
    let new = divide("new.jsonl", [0.1, 0.2])?;
    let (before, after) = (split_of(&old), split_of(&new));
    assert!(before.iter().all(|(source, split)| after[source] == *split));
    assert_eq!(after.len(), 2000);
    // The same pair twice is in one split, and a larger part for validation leaves the test alone.
    let twice = divide("twice.jsonl", [0.1, 0.2])?;
    assert_eq!(split_of(&twice), before);
    assert_eq!(twice.overlap(), 0);
    assert_eq!(divide("old.jsonl", [0.3, 0.2])?.test, old.test);
    // As they were given, not as products with their rounding.
    let source = divide("old.jsonl", [0.07, 0.2])?.source;
    assert!(
        source.ends_with("by hash: valid-fraction 0.07, test-fraction 0.2"),
        "{source}"
    );
    let parts = ["of its 2 pairs none is for", "more pairs"];
    assert_fails(divide("few.jsonl", [0.1, 0.1]), 3, &parts);
    Ok(())
}
