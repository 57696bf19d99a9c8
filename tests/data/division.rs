use std::ops::Range;
use std::path::PathBuf;

use rnnx::Result;
use rnnx::data::chars::CharVocab;
use rnnx::data::corpus::{Corpus, TextFile};
use rnnx::programs::charlm::data::{CharData, CharSource};
use rnnx::programs::charlm::division::{DivisionSpec, ValidSplit};

use super::{assert_fails, folder, spec};

/// Files of these lengths in which no character is there twice, so that a character tells its place.
/// A path's first folder is the corpus that is given.
fn corpus(files: &[(&str, usize)]) -> Corpus {
    let mut next = 0x4e00..0x9fff;
    let mut text = |n: usize| -> String {
        let chars = next.by_ref().filter_map(char::from_u32).take(n - 1);
        chars.chain(['\n']).collect()
    };
    let texts: Vec<(&str, String)> = files.iter().map(|&(name, n)| (name, text(n))).collect();
    let contents: Vec<(&str, &[u8])> = texts.iter().map(|(n, t)| (*n, t.as_bytes())).collect();
    let dir = folder(&contents);
    let mut roots: Vec<PathBuf> = Vec::new();
    for (name, _) in files {
        let first = name.split('/').next().unwrap_or(name);
        let root = dir.path().join(first);
        if roots.last() != Some(&root) {
            roots.push(root);
        }
    }
    let paths: Vec<&std::path::Path> = roots.iter().map(|p| &**p).collect();
    Corpus::load(&spec(&paths)).expect("a corpus")
}

fn rule(valid_split: ValidSplit, valid_fraction: f64) -> DivisionSpec {
    DivisionSpec {
        valid_split,
        valid_fraction,
        seed: 1,
        seq_length: 9,
        batch_size: 1,
    }
}

fn held(files: &[(&str, usize)], spec: DivisionSpec) -> Result<Vec<Range<usize>>> {
    spec.held_out(&corpus(files))
}

#[test]
fn files_know_their_corpus_name_and_place() {
    let files = corpus(&[("a/z.py", 50), ("a/sub/b.py", 30), ("one.txt", 20)]).files;
    let file = |name: &str, source, start| TextFile {
        name: name.into(),
        source,
        start,
    };
    let expected = [
        file("sub/b.py", 0, 0),
        file("z.py", 0, 30),
        file("one.txt", 1, 80),
    ];
    assert_eq!(files, expected);
}

#[test]
fn each_of_several_corpora_gives_its_share() -> Result<()> {
    let files = [
        ("a/x.py", 60),
        ("a/y.py", 40),
        ("b.txt", 1000),
        ("c.txt", 5),
    ];
    let tail = held(&files, rule(ValidSplit::Tail, 0.1))?;
    assert_eq!(tail, [90..100, 1000..1100, 1104..1105]);
    // As runs had it before: the end of the whole.
    let end = held(&files, rule(ValidSplit::End, 0.1))?;
    let last = 994..1105;
    assert_eq!(end, [last]);
    // Of one corpus it is the same.
    let one = [("a/x.py", 60), ("a/y.py", 41)];
    for split in [ValidSplit::Tail, ValidSplit::End] {
        let last = 90..101;
        assert_eq!(held(&one, rule(split, 0.1))?, [last]);
    }
    for split in [ValidSplit::Tail, ValidSplit::Files, ValidSplit::Windows] {
        assert!(held(&files, rule(split, 0.0))?.is_empty());
    }
    Ok(())
}

#[test]
fn files_are_held_out_by_the_hash_of_their_path() -> Result<()> {
    let names: Vec<String> = (0..40).map(|i| format!("corpus/{i:02}.py")).collect();
    let files: Vec<(&str, usize)> = names.iter().map(|n| (&**n, 100)).collect();
    let names_of = |files: &[(&str, usize)], fraction| -> Result<Vec<String>> {
        let corpus = corpus(files);
        let held = rule(ValidSplit::Files, fraction).held_out(&corpus)?;
        let of = |start| corpus.files.iter().find(|f| f.start == start);
        Ok(held
            .iter()
            .filter_map(|h| of(h.start))
            .map(|f| f.name.clone())
            .collect())
    };
    // for i in 00 .. 39; do printf $i.py | sha256sum; done | sort | head -4
    let expected = ["01.py", "02.py", "27.py", "35.py"];
    assert_eq!(names_of(&files, 0.1)?, expected);
    // While the data grows, those that were held out stay so and no other file joins them but a new
    // one.
    let half: Vec<(&str, usize)> = files.iter().copied().step_by(2).collect();
    for name in names_of(&half, 0.1)? {
        let still = names_of(&files, 0.2)?;
        assert!(still.contains(&name), "{name} of {still:?}");
    }
    // The hash is of the path below the corpus, wherever that lies.
    let moved: Vec<String> = names
        .iter()
        .map(|n| n.replace("corpus", "elsewhere"))
        .collect();
    let moved: Vec<(&str, usize)> = moved.iter().map(|n| (&**n, 100)).collect();
    assert_eq!(names_of(&moved, 0.1)?, expected);
    Ok(())
}

#[test]
fn the_files_that_are_held_out_are_about_the_share() -> Result<()> {
    let share = |files: &[(&str, usize)], fraction| -> Result<usize> {
        let held = held(files, rule(ValidSplit::Files, fraction))?;
        Ok(held.iter().map(Range::len).sum())
    };
    // A file longer than the share is passed over, whatever its hash; if all are, the shortest goes.
    for big in ["a.txt", "b.txt", "c.txt", "d.txt"] {
        let mut files = vec![(big, 900)];
        for small in ["p.txt", "q.txt", "r.txt", "s.txt", "t.txt"] {
            files.push((small, 20));
        }
        assert_eq!(share(&files, 0.04)?, 40, "{big}");
        assert_eq!(share(&[(big, 900), ("z.txt", 100)], 0.05)?, 100, "{big}");
    }
    // One file is always left to train on.
    assert_eq!(share(&[("a.txt", 100), ("b.txt", 100)], 0.9)?, 100);
    assert_fails(
        share(&[("a.txt", 100)], 0.1),
        3,
        &["valid-split files", "a.txt is one file", "tail or windows"],
    );
    Ok(())
}

#[test]
fn windows_are_drawn_by_the_seed_over_the_whole_text() -> Result<()> {
    let files = [("a.txt", 1005)];
    let drawn = held(&files, rule(ValidSplit::Windows, 0.1))?;
    assert_eq!(drawn.len(), 10);
    assert!(drawn.iter().all(|w| w.len() == 10 && w.start % 10 == 0));
    assert!(drawn.is_sorted_by(|a, b| a.end <= b.start));
    assert!(drawn[0].start < 500 && drawn[9].start > 500, "{drawn:?}");
    assert_eq!(held(&files, rule(ValidSplit::Windows, 0.1))?, drawn);
    let other = DivisionSpec {
        seed: 2,
        ..rule(ValidSplit::Windows, 0.1)
    };
    assert_ne!(held(&files, other)?, drawn);
    Ok(())
}

#[test]
fn no_window_straddles_training_and_validation_text_and_none_is_lost() -> Result<()> {
    let files = [
        ("a/x.py", 333),
        ("a/y.py", 214),
        ("b.txt", 1000),
        ("c.txt", 175),
    ];
    for split in [
        ValidSplit::Tail,
        ValidSplit::Files,
        ValidSplit::Windows,
        ValidSplit::End,
    ] {
        let source = CharSource::new(corpus(&files), rule(split, 0.15))?;
        let vocab = CharVocab::of(&source.corpus, 1)?;
        let data = CharData::new(&source, vocab.clone())?;
        let text: Vec<u16> = vocab.encode_all(&source.corpus)?.0;
        let newline = vocab.id('\n').expect("a newline");
        let place = |id: u16| text.iter().position(|&other| other == id);
        let is_held = |id: u16| {
            let at = place(id).expect("an id of the text");
            source.held_out.iter().any(|held| held.contains(&at))
        };
        for (ids, valid) in [(data.train_ids(), false), (data.valid_ids(), true)] {
            let told_apart = ids.iter().filter(|&&id| id != newline);
            assert!(
                told_apart.clone().all(|&id| is_held(id) == valid),
                "{split:?}"
            );
            assert!(told_apart.count() > 100, "{split:?}");
        }
        let mut all = [data.train_ids(), data.valid_ids()].concat();
        let mut expected = text.clone();
        all.sort_unstable();
        expected.sort_unstable();
        assert_eq!(all, expected, "{split:?}");
        assert_eq!(data.train_ids().len(), data.split.train_chars);
        assert_eq!(data.valid_ids().len() / 10, data.split.valid_windows);
    }
    Ok(())
}

#[test]
fn the_hash_of_the_data_tells_another_division() -> Result<()> {
    let source = |files: &[(&str, usize)], split| CharSource::new(corpus(files), rule(split, 0.2));
    let [a, b] = ["a.txt", "b.txt"].map(|name| (name, 500));
    let text = corpus(&[a, b]).report.sha256;
    // What older runs have: the text's own.
    assert_eq!(source(&[a, b], ValidSplit::End)?.sha256, text);
    let one = [("a.txt", 1000)];
    assert_eq!(
        source(&one, ValidSplit::Tail)?.sha256,
        corpus(&one).report.sha256
    );
    let tails = source(&[a, b], ValidSplit::Tail)?.sha256;
    let windows = source(&[a, b], ValidSplit::Windows)?.sha256;
    assert!(tails != text && windows != text && tails != windows);
    // The same text, but its files have other names, so that another of them would validate.
    let names = ["a.txt", "b.txt", "c.txt", "d.txt", "e.txt"];
    let hashes = names.map(|name| {
        let files = [(name, 500), ("z.txt", 500)];
        source(&files, ValidSplit::Files)
            .expect("a division")
            .sha256
    });
    assert!(hashes.iter().any(|hash| *hash != hashes[0]), "{hashes:?}");
    Ok(())
}
