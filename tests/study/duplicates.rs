//! Files that are almost the same as one that was trained on.

use rnnx::programs::charlm::study::duplicates::{Duplicate, duplicates};
use rnnx::programs::charlm::study::source::SourceFile;

/// Those of the files (name, text) that are near one of the training files.
fn found(files: &[(&str, &str)], training: &[(&str, &str)]) -> Vec<Duplicate> {
    let files = files.iter().map(|&(name, text)| {
        let ids = text.bytes().map(u32::from).collect();
        SourceFile::new(name.into(), text.chars().collect(), ids)
    });
    let training = training
        .iter()
        .map(|&(name, text)| (name, text.chars().collect()));
    duplicates(&files.collect::<Vec<_>>(), training)
}

/// Whether a text is near another one.
fn is_near(text: &str, other: &str) -> bool {
    !found(&[("new.py", text)], &[("old.py", other)]).is_empty()
}

/// The names n1 to n`count`, and other names of this text alone.
fn names(count: usize, others: &[&str]) -> String {
    let names = (1..=count).map(|n| format!("n{n}"));
    let others = others.iter().map(|&other| other.to_owned());
    names.chain(others).collect::<Vec<_>>().join(" ")
}

#[test]
fn four_of_five_identifiers_are_shared() {
    let other = names(20, &["x", "y"]);
    // 20 of 25, of 26.
    assert!(is_near(&names(20, &["p", "q", "r"]), &other));
    assert!(!is_near(&names(20, &["p", "q", "r", "s"]), &other));
    // 23 of 29.
    assert!(!is_near(
        &names(23, &["p", "q", "r"]),
        &names(23, &["x", "y", "z"])
    ));
    // The same the other way round.
    assert!(is_near(&other, &names(20, &["p", "q", "r"])));
    assert!(!is_near(&other, &names(20, &["p", "q", "r", "s"])));
}

#[test]
fn seven_of_ten_are_shared_where_each_counts_as_often_as_it_is_there() {
    // 21 of 30, of 31, and 27 of 39.
    assert!(is_near(&names(21, &["n1"; 9]), &names(21, &[])));
    assert!(!is_near(&names(27, &["n1"; 12]), &names(27, &[])));
    assert!(!is_near(&names(21, &["n1"; 10]), &names(21, &[])));
    assert!(!is_near(&names(21, &[]), &names(21, &["n1"; 10])));
    // As often in both.
    assert!(is_near(&names(21, &["n1"; 10]), &names(21, &["n1"; 10])));
}

#[test]
fn fewer_than_twenty_are_not_compared() {
    assert!(is_near(&names(20, &[]), &names(20, &[])));
    assert!(is_near(
        &names(18, &["n1", "n2"]),
        &names(18, &["n1", "n2"])
    ));
    assert!(!is_near(&names(19, &[]), &names(19, &[])));
    // The one has 20, the other 19.
    assert!(!is_near(&names(19, &["p"]), &names(19, &[])));
    assert!(!is_near(&names(19, &[]), &names(19, &["p"])));
    assert!(!is_near("", ""));
}

#[test]
fn identifiers_and_literals_are_compared_and_nothing_else() {
    let text = names(20, &[]);
    let with = |more: &str| format!("{text}\n{more}\n");
    // Keywords, operators, blanks and comments.
    assert!(is_near(
        &with("if (not None): # a b c d e f g h\n\t return {} + ..."),
        &text
    ));
    // Five names, five numbers and five strings may differ, and with one more they are too many.
    for five in [
        "a, b, c, d, e",
        "1, 2.5, 0x1f, 1e9, 7j",
        "'a', \"a\", b'a', '''a''', f'{a}'",
    ] {
        assert!(is_near(&with(five), &text), "{five}");
        assert!(!is_near(&with(&format!("{five}, f")), &text), "{five}");
        assert!(is_near(&with(&format!("{five}, f")), &with(five)), "{five}");
    }
    // A docstring is one literal.
    assert!(is_near(&format!("'''A b c d e f g h.'''\n{text}"), &text));
}

#[test]
fn the_nearest_file_is_named() {
    let same = names(24, &[]);
    let near = names(24, &["x"]);
    let far = names(3, &["far"; 30]);
    let training = [
        ("far.py", &*far),
        ("near.py", &*near),
        ("a.py", &*same),
        ("b.py", &*same),
    ];
    let files = [
        ("z.py", &*same),
        ("far/away.py", "pass"),
        ("y.py", &*names(24, &["x", "y"])),
    ];
    let duplicate = |name: &str, of: &str, common: f64, all: f64| Duplicate {
        name: name.into(),
        of: of.into(),
        sets: common / all,
        bags: common / all,
    };
    let want = [
        // Of two that are as near the first.
        duplicate("z.py", "a.py", 24.0, 24.0),
        duplicate("y.py", "near.py", 25.0, 26.0),
    ];
    assert_eq!(found(&files, &training), want);
    assert_eq!(found(&files, &[]), []);
}

#[test]
fn the_two_indices_differ() {
    let found = found(
        &[("new.py", &names(20, &["p", "n1", "n1"]))],
        &[("old.py", &names(20, &["q"]))],
    );
    assert_eq!(found.len(), 1);
    // 20 of 22 names, 20 of 24 in all.
    assert_eq!((found[0].sets, found[0].bags), (20.0 / 22.0, 20.0 / 24.0));
}
