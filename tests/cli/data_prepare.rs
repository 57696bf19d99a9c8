//! Corpora made by the binary: what is written, told and refused.

use std::fs;
use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::support::{Done, Place, snapshot};

/// `functions` functions with docstrings, no two alike.
fn documented(functions: usize) -> String {
    let one = |i| format!("def f{i}(x):\n    \"\"\"Do {i}.\"\"\"\n    return x\n\n");
    (0..functions).map(one).collect()
}

/// The object that a command has printed.
pub fn object(done: Done) -> Value {
    serde_json::from_str(&done.ok().stdout).unwrap()
}

/// The lines of a packed file.
fn lines(place: &Place, name: &str) -> Vec<Value> {
    let mut text = String::new();
    let file = fs::File::open(place.path(name)).unwrap();
    GzDecoder::new(file).read_to_string(&mut text).unwrap();
    let parse = |line| serde_json::from_str(line).unwrap();
    text.lines().map(parse).collect()
}

// ---- pairs ---------------------------------------------------------------------------------

#[test]
fn the_embedded_corpus_becomes_pairs() {
    let place = Place::new();
    let done = place.run("data prepare --out pairs").ok();
    assert_eq!(done.stderr, "");
    for row in [
        "source           embedded: CPython's standard library",
        "files            718\n",
        "functions        6,688 with a docstring",
        "pairs            4,894, fewer than the 7,000 asked for: split in the same proportions\n",
        "train            3,496    pairs/train.jsonl.gz\n",
        "valid            699      pairs/valid.jsonl.gz\n",
        "test             699      pairs/test.jsonl.gz\n",
        "test in train    41 with nearly the same code (4 of 5 words shared), 66 with the same",
    ] {
        assert!(done.stdout.contains(row), "{row}\n{}", done.stdout);
    }
    let files: Vec<String> = snapshot(&place.path("pairs"))
        .iter()
        .map(|(name, _)| name.display().to_string())
        .collect();
    assert_eq!(files, ["test.jsonl.gz", "train.jsonl.gz", "valid.jsonl.gz"]);
    assert_eq!(lines(&place, "pairs/test.jsonl.gz").len(), 699);

    // What was written is what train-seq2seq uses where it is given nothing.
    let files =
        "--train pairs/train.jsonl.gz --valid pairs/valid.jsonl.gz --test pairs/test.jsonl.gz";
    let read = object(place.run(&format!("data stats --json {files}")));
    let mut embedded = object(place.run("data stats --json --task pairs"));
    assert!(done.stdout.contains(read["sha256"].as_str().unwrap()));
    embedded["source"] = read["source"].clone();
    assert_eq!(read, embedded);
}

#[test]
fn files_folders_and_options_decide_what_is_kept() {
    let place = Place::new();
    place.write("code/a.py", documented(20));
    place.write("code/deep/b.py", documented(22)); // 20 of them again
    place.write("code/latin.py", b"\xe9");
    place.write("code/two.py", "print 'two'");
    place.write(
        "more.py",
        "def g(x):\n    '''One two three.'''\n    return x\n",
    );
    let flags = "code more.py --train-pairs 10 --valid-pairs 4 --test-pairs 2 --max-source 2";
    let all = object(place.run(&format!("data prepare {flags} --out out --json")));
    assert_eq!(all["source"], "code, more.py");
    assert_eq!(all["not_utf8"], json!(["code/latin.py"]));
    assert_eq!(all["not_parsed"], json!(["code/two.py"]));
    let keys = [
        "files",
        "functions",
        "too_long",
        "duplicates",
        "pairs",
        "wanted",
    ];
    assert_eq!(
        keys.map(|key| all[key].as_u64().unwrap()),
        [5, 43, 1, 20, 22, 16]
    );
    let sizes = ["train", "valid", "test"].map(|key| all[key].as_u64().unwrap());
    assert_eq!(sizes, [10, 4, 2]);
    assert_eq!(all["out"][2], "out/test.jsonl.gz");
    let test = lines(&place, "out/test.jsonl.gz");
    assert_eq!(test.len(), 2);
    let name = test[0]["docstring"]
        .as_str()
        .unwrap()
        .replace("Do ", "f")
        .replace('.', "");
    assert_eq!(test[0]["code"], format!("def {name}(x):\n    return x"));

    let told = place
        .run(&format!("data prepare {flags} --out out2 --seed 2"))
        .ok()
        .stdout;
    for row in [
        "not UTF-8        1, left out: code/latin.py\n",
        "too long         1 with over 2 docstring or 50 code tokens, left out\n",
        "pairs            22\n",
    ] {
        assert!(told.contains(row), "{told}");
    }
    assert_ne!(test, lines(&place, "out2/test.jsonl.gz"));
}

#[test]
fn nothing_is_overwritten_unless_told_so() {
    let place = Place::new();
    place.write("code.py", documented(9));
    place.write("out/valid.jsonl.gz", "precious");
    let before = snapshot(&place.path("out"));
    place.run("data prepare code.py --out out").fails(
        2,
        &["out/valid.jsonl.gz is there already", "--out", "--force"],
    );
    assert_eq!(snapshot(&place.path("out")), before);
    // A failure leaves it, too.
    place.write("one.py", documented(1));
    place
        .run("data prepare one.py --out out --force")
        .fails(3, &["one.py: 1 pairs are left for three splits"]);
    assert_eq!(snapshot(&place.path("out")), before);
    place.run("data prepare code.py --out out --force").ok();
    assert_eq!(lines(&place, "out/valid.jsonl.gz").len(), 1);
    // That is seen before anything is read.
    place
        .run("data prepare none.py --out code.py")
        .fails(1, &["cannot create code.py: code.py is no folder"]);
}

#[test]
fn paths_and_flags_that_cannot_be_used() {
    let place = Place::new();
    place.write("docs/readme.md", "none");
    place.write("broken.whl", "PK\x03\x04 no archive");
    place.write("two.py", "print 'two'");
    for (flags, code, words) in [
        (
            "none.py",
            3,
            &["none.py: no such file or folder", "embedded"][..],
        ),
        ("docs", 3, &["docs: there are no .py files"]),
        ("broken.whl", 3, &["broken.whl: not a whole zip archive"]),
        ("two.py", 3, &["two.py: 0 pairs are left", "1 do not parse"]),
        (
            "--train-pairs 0",
            2,
            &["--train-pairs", "a whole number from 1"],
        ),
        (
            "--max-target -1",
            2,
            &["--max-target", "a whole number from 1"],
        ),
        ("--seed x", 2, &["--seed", "a whole number from 0"]),
        ("--task words", 2, &["--task", "pairs", "text"]),
        (
            "--task text --train-pairs 9",
            2,
            &["--train-pairs is about pairs"],
        ),
        (
            "--task text --valid-pairs 9",
            2,
            &["--valid-pairs is about pairs"],
        ),
        (
            "--task text --test-pairs 9",
            2,
            &["--test-pairs is about pairs"],
        ),
        (
            "--task text --max-source 30",
            2,
            &["--max-source is about pairs"],
        ),
        (
            "--task text --max-target 50",
            2,
            &["--max-target is about pairs"],
        ),
    ] {
        place
            .run(&format!("data prepare {flags} --out out"))
            .fails(code, words);
        assert!(!place.path("out").exists(), "{flags}");
    }
    place.run("data prepare code.py").fails(2, &["--out"]);
}

#[test]
fn pipes_devices_and_links_are_no_files() {
    let place = Place::new();
    place.write("code/a.py", documented(9));
    place.write("list.txt", "");
    // Nobody writes to the pipe: who opens it waits.
    let script = "mkfifo pipe code/pipe.py && ln -s pipe pipe.whl && ln -s pipe pipe.jsonl.gz &&
        ln -s loop.py code/loop.py && ln -s nowhere code/gone.py && ln -s . code/again";
    place.sh(script, &[]).ok();
    for path in ["pipe", "pipe.whl", "/dev/zero", "/dev/null"] {
        let words = [
            &format!("{path}: cannot be read"),
            "save what it gives to a file",
        ];
        let out = "--out no";
        place
            .run(&format!("data prepare {path} {out}"))
            .fails(3, &words);
        place
            .run(&format!("data prepare {path} {out} --task text"))
            .fails(3, &words);
        place
            .run(&format!("data fetch --packages {path} {out}"))
            .fails(3, &words);
    }
    for path in ["pipe", "pipe.jsonl.gz", "/dev/zero"] {
        let words = [
            &format!("{path}: cannot be read"),
            "save what it gives to a file",
        ];
        let splits = format!("--train {path} --valid {path} --test {path}");
        place.run(&format!("data stats {splits}")).fails(3, &words);
    }
    assert!(!place.path("no").exists());
    // In a folder, they are passed over.
    let done = place.run("data prepare code --out out").ok();
    assert!(
        done.stdout.contains("pairs            9"),
        "{}",
        done.stdout
    );
    let told = "code: passed over 3 that are no file: links that lead nowhere, pipes or devices; \
        the first is code/gone.py\n";
    assert_eq!(done.stderr, told);
}

#[test]
fn the_splits_are_replaced_together() {
    let place = Place::new();
    place.write("one.py", documented(9));
    place.write("two.py", documented(20));
    place.run("data prepare one.py --out out").ok();
    place.run("data prepare two.py --out new").ok();
    let (old, new) = (snapshot(&place.path("out")), snapshot(&place.path("new")));
    // One of the three cannot be replaced.
    place
        .sh(
            "cp -r out bad && rm bad/test* && mkdir bad/test.jsonl.gz",
            &[],
        )
        .ok();
    let before = snapshot(&place.path("bad"));
    place
        .run("data prepare two.py --out bad --force")
        .fails(2, &["bad/test.jsonl.gz is a folder", "--out"]);
    assert_eq!(snapshot(&place.path("bad")), before);

    // Killed after one of the three took its place.
    let killed = "rm -rf at && cp -r out at && mkdir at/.rnnx-new && cp new/* at/.rnnx-new/ &&
        cd at && mv train.jsonl.gz .rnnx-new/.old-train.jsonl.gz &&
        mv .rnnx-new/train.jsonl.gz train.jsonl.gz";
    place.sh(killed, &[]).ok();
    let stats = |folder: &str| {
        let [train, valid, test] =
            ["train", "valid", "test"].map(|part| format!("--{part} {folder}/{part}.jsonl.gz"));
        let all = object(place.run(&format!("data stats --json {train} {valid} {test}")));
        all["sha256"].clone()
    };
    assert_eq!(stats("at"), stats("new"));
    assert_ne!(stats("at"), stats("out"));
    // The next start ends it, and then what is there is there.
    place
        .run("data prepare one.py --out at")
        .fails(2, &["at/train.jsonl.gz is there already"]);
    assert_eq!(snapshot(&place.path("at")), new);
    place.sh(killed, &[]).ok();
    place.run("data prepare one.py --out at --force").ok();
    assert_eq!(snapshot(&place.path("at")), old);
}

// ---- text ----------------------------------------------------------------------------------

#[test]
fn text_for_the_character_lm() {
    let place = Place::new();
    place.write("code/a.py", "x = 1   \r\ny = '\u{e9}'");
    let flags = "--task text --out out";
    let prepare = |paths: &str| place.run(&format!("data prepare {paths} {flags} --force"));
    let text = || fs::read_to_string(place.path("out/text.txt")).unwrap();
    let told = prepare("code text.py").ok().stdout;
    assert!(told.contains("charset          unicode\n"), "{told}");
    assert!(told.contains("dropped          nothing\n"), "{told}");
    assert!(text().starts_with("x = 1   \ny = '\u{e9}'\ndef load_0"));
    // By the published rule, of which one character in a hundred may be dropped.
    let told = prepare("code text.py --charset ascii").ok().stdout;
    let dropped = "dropped          1 character outside printable ASCII: '\u{e9}' once\n";
    assert!(told.contains(dropped), "{told}");
    assert!(text().starts_with("x = 1\ny = ''\ndef load_0"));
    prepare("code --charset ascii").fails(3, &["charset ascii drops 1 of", "'\u{e9}' once"]);
    place
        .run("data prepare code --charset ascii --out out --force")
        .fails(2, &["--charset is about text"]);
    let text = text();
    place
        .run(&format!("data prepare code {flags}"))
        .fails(2, &["out/text.txt is there already"]);
    place.write("blank.py", "\u{1}");
    prepare("blank.py").fails(
        3,
        &["blank.py: the corpus is empty", "1 characters dropped"],
    );
    assert_eq!(
        fs::read_to_string(place.path("out/text.txt")).unwrap(),
        text
    );

    // The embedded corpus: what train-charlm learns with the same seed.
    let all = object(place.run("data prepare --task text --out all --seed 3 --json"));
    assert_eq!(all["chars"], 12_207_848);
    let embedded = object(place.run("data stats --json --max-chars 20000000 --seed 3"));
    let hash = Sha256::digest(fs::read(place.path("all/text.txt")).unwrap());
    assert_eq!(embedded["sha256"], format!("{hash:x}"));
}
