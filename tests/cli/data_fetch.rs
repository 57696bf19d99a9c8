//! Pairs of downloaded packages. A script named python3 plays pip: no test touches the network.

use std::fs;
use std::io::{Cursor, Write};

use rnnx::data::packages::{EMBEDDED, EMBEDDED_NAME, parse};
use serde_json::Value;
use sha2::{Digest, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::support::{Done, Place, snapshot};

/// What the script does before it plays pip: it takes note of its arguments and the list.
const NOTES: &str = "#!/bin/sh
PATH=/usr/bin:/bin
here=${0%/*}
echo \"$@\" >> $here/calls
isolated=
while [ $# -gt 0 ]; do
    case $1 in -I) isolated=yes ;; --dest) dest=$2 ;; -r) cp $2 $here/list ;; esac
    shift
done
";
/// It brings what is in the folder `serve`, and leaves a temporary file.
pub(super) const BRINGS: &str = "mkdir $dest && touch $TMPDIR/left && cp $here/../serve/* $dest/";

/// The bytes of a wheel with `count` documented functions named after `name`.
fn wheel(name: &str, count: usize) -> Vec<u8> {
    let one =
        |i| format!("def {name}_{i}(x):\n    \"\"\"Do {name} {i}.\"\"\"\n    return x + {i}\n\n");
    let code: String = (0..count).map(one).collect();
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let member = format!("{name}/code.py");
    zip.start_file(member, SimpleFileOptions::default())
        .unwrap();
    zip.write_all(code.as_bytes()).unwrap();
    zip.finish().unwrap().into_inner()
}

fn hash(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}

/// Two packages, which pip would bring, and the list that pins them.
pub(super) fn place(script: &str) -> Place {
    let place = Place::new();
    let (one, two) = (wheel("one", 9), wheel("two", 5));
    let list = format!(
        "# MIT\none-pkg==1.0 \\\n    --hash=sha256:{}\n\n# MIT\nTwo==2.0.1 \\\n    --hash=sha256:{} \
         \\\n    --hash=sha256:{}\n",
        hash(&one),
        "0".repeat(64),
        hash(&two)
    );
    place.write("list.txt", list);
    place.write("serve/one_pkg-1.0-py3-none-any.whl", one);
    place.write("serve/two-2.0.1-py3-none-any.whl", two);
    python(&place, "python3", script);
    fs::create_dir(place.path("temp")).unwrap();
    place
}

/// Another process writes it: as long as one of this process's has it open, it cannot be run.
pub(super) fn python(place: &Place, name: &str, script: &str) {
    let (name, script) = (format!("bin/{name}"), format!("{NOTES}{script}\n"));
    let made = "mkdir -p bin && printf %s \"$2\" > $1 && chmod +x $1";
    place.sh(made, &[&name, &script]).ok();
}

/// Runs `data fetch` of list.txt with nothing but the scripts on PATH.
pub(super) fn fetch(place: &Place, flags: &str) -> Done {
    let line = format!("data fetch --packages list.txt {flags}");
    fetch_line(place, &line)
}

/// Runs the program; whatever happens, no temporary file may stay.
fn fetch_line(place: &Place, line: &str) -> Done {
    let mut command = place.command(&line.split_whitespace().collect::<Vec<_>>());
    command
        .env("PATH", place.path("bin"))
        .env("TMPDIR", place.path("temp"));
    let done = Done::of(command.output().unwrap());
    assert_no_temporary_files(place);
    done
}

pub(super) fn assert_no_temporary_files(place: &Place) {
    let left = fs::read_dir(place.path("temp")).unwrap();
    assert_eq!(left.count(), 0);
}

fn names(place: &Place, folder: &str) -> Vec<String> {
    let files = snapshot(&place.path(folder)).into_iter();
    files.map(|(name, _)| name.display().to_string()).collect()
}

const PAIRS: [&str; 3] = ["test.jsonl.gz", "train.jsonl.gz", "valid.jsonl.gz"];
const WHEELS: [&str; 2] = ["one_pkg-1.0-py3-none-any.whl", "two-2.0.1-py3-none-any.whl"];

// ---- what is made --------------------------------------------------------------------------

#[test]
fn packages_become_the_pairs_that_prepare_makes_of_them() {
    let place = place(BRINGS);
    let done = fetch(&place, "--train-pairs 10 --valid-pairs 2 --test-pairs 1").ok();
    for row in [
        "source           2 packages of list.txt\n",
        "functions        14 with",
        "pairs            14\n",
        "train            10       runs/pairs/train.jsonl.gz\n",
        "train with       rnnx train-seq2seq --train runs/pairs/train.jsonl.gz --valid \
         runs/pairs/valid.jsonl.gz --test runs/pairs/test.jsonl.gz\n",
    ] {
        assert!(done.stdout.contains(row), "{row}\n{}", done.stdout);
    }
    let told = "downloading 2 packages with python3 -m pip\ndownloaded in ";
    assert!(done.stderr.starts_with(told), "{}", done.stderr);
    assert_eq!(names(&place, "runs/pairs"), PAIRS);

    let calls = fs::read_to_string(place.path("bin/calls")).unwrap();
    assert!(calls.starts_with("-I -m pip download "), "{calls}");
    for flag in ["--require-hashes", "--no-deps", "--only-binary :all:"] {
        assert!(calls.contains(flag), "{calls}");
    }
    let list = fs::read_to_string(place.path("list.txt")).unwrap();
    assert_eq!(
        parse(
            &fs::read_to_string(place.path("bin/list")).unwrap(),
            "bin/list"
        )
        .unwrap(),
        parse(&list, "list.txt").unwrap()
    );

    let flags = "--out out --train-pairs 10 --valid-pairs 2 --test-pairs 1";
    let [one, two] = WHEELS.map(|name| format!("serve/{name}"));
    place.run(&format!("data prepare {one} {two} {flags}")).ok();
    assert_eq!(
        snapshot(&place.path("out")),
        snapshot(&place.path("runs/pairs"))
    );
}

#[test]
fn json_and_quiet() {
    let place = place(BRINGS);
    let done = fetch(&place, "--out p --json --quiet --seed 5").ok();
    assert_eq!(done.stderr, "");
    let all: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(all["pairs"], 14);
    assert_eq!(all["wanted"], 7000);
    assert_eq!(all["train"], 10);
    assert_eq!(all["out"][0], "p/train.jsonl.gz");
}

#[test]
fn the_embedded_list_is_what_pip_gets_where_none_is_given() {
    let place = place("exit 1");
    fetch_line(&place, "data fetch").fails(1, &["cannot download with python3 -m pip"]);
    let list = fs::read_to_string(place.path("bin/list")).unwrap();
    assert_eq!(
        parse(&list, "bin/list").unwrap(),
        parse(EMBEDDED, EMBEDDED_NAME).unwrap()
    );
    assert!(!place.path("runs").exists());
}

#[test]
fn wheels_that_are_kept_are_not_downloaded_again() {
    let place = place(BRINGS);
    let first = fetch(&place, "--keep-wheels kept").ok().stdout;
    assert_eq!(names(&place, "kept"), WHEELS);
    assert_eq!(
        snapshot(&place.path("kept")),
        snapshot(&place.path("serve"))
    );
    // Neither pip nor Python is needed any more.
    fs::remove_dir_all(place.path("bin")).unwrap();
    let again = fetch(&place, "--keep-wheels kept --force").ok();
    assert_eq!(again.stdout, first);
    assert_eq!(again.stderr, "making pairs of their functions\n");

    // One that is damaged is downloaded again, and only that one.
    place.write("kept/two-2.0.1-py3-none-any.whl", "PK");
    fs::remove_file(place.path("serve/one_pkg-1.0-py3-none-any.whl")).unwrap();
    python(&place, "python3", BRINGS);
    let mended = fetch(&place, "--keep-wheels kept --force").ok();
    assert_eq!(mended.stdout, first);
    let told = "downloading 1 package with python3 -m pip\n";
    assert!(mended.stderr.starts_with(told), "{}", mended.stderr);
    let list = fs::read_to_string(place.path("bin/list")).unwrap();
    assert!(
        list.starts_with("Two==2.0.1 ") && list.lines().count() == 1,
        "{list}"
    );
    let kept = fs::read(place.path("kept/two-2.0.1-py3-none-any.whl")).unwrap();
    assert_eq!(hash(&kept), hash(&wheel("two", 5)));
}

#[test]
fn which_python_is_used() {
    let place = place("echo not this one; exit 1");
    python(&place, "mine", BRINGS);
    let done = fetch(&place, "--out a --python bin/mine").ok();
    let told = "downloading 2 packages with bin/mine -m pip\n";
    assert!(done.stderr.starts_with(told), "{}", done.stderr);
    fs::remove_file(place.path("bin/python3")).unwrap();
    python(&place, "python", BRINGS);
    let done = fetch(&place, "--out b").ok();
    assert!(done.stderr.contains("with python -m pip"));
}

// ---- what cannot be done -------------------------------------------------------------------

#[test]
fn no_python_or_no_pip() {
    let place = place("echo \"$0: No module named pip\" >&2; exit 1");
    let ways = ["--keep-wheels", "rnnx data prepare PATH", "embedded pairs"];
    let done = fetch(&place, "").fails(1, &ways);
    done.fails(
        1,
        &["python3 -m pip", "has no pip", "ensurepip", "--python"],
    );
    fs::remove_file(place.path("bin/python3")).unwrap();
    let done = fetch(&place, "").fails(1, &ways);
    done.fails(1, &["cannot find python3 or python", "install Python 3"]);
    fetch(&place, "--python bin/none").fails(1, &["cannot find bin/none"]);
    // Not executable.
    fetch(&place, "--python ./list.txt").fails(1, &["cannot run ./list.txt"]);
    assert!(!place.path("runs").exists());
}

#[test]
fn pip_that_fails_is_quoted() {
    let lines: String = (0..20).map(|i| format!("echo line {i}; ")).collect();
    let place = place(&format!(
        "{lines} printf 'ERROR: \\033[31mno matching distribution\\n' >&2; exit 1"
    ));
    let done = fetch(&place, "--keep-wheels kept").fails(
        1,
        &[
            "cannot download with python3 -m pip: exit status: 1",
            "    line 9\n",
            "    ERROR: \\u001b[31mno matching distribution\n",
            "check the network and pip's configuration",
            "rnnx data prepare PATH",
            "embedded pairs",
        ],
    );
    assert!(!done.stderr.contains("line 8"), "{}", done.stderr);
    assert!(!place.path("kept").exists() && !place.path("runs").exists());
}

#[test]
fn a_hash_that_does_not_match_is_the_end() {
    // pip sees it.
    let place = place(
        "echo 'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.' >&2
         echo '    one_pkg from somewhere' >&2; exit 1",
    );
    fetch(&place, "--keep-wheels kept").fails(
        3,
        &[
            "hash that does not match",
            "nothing is used",
            "one_pkg from somewhere",
        ],
    );
    // pip does not see it.
    python(&place, "python3", BRINGS);
    let (right, wrong) = (hash(&wheel("one", 9)), wheel("one", 8));
    place.write("serve/one_pkg-1.0-py3-none-any.whl", &wrong);
    fetch(&place, "--keep-wheels kept").fails(
        3,
        &[
            "one_pkg-1.0-py3-none-any.whl: its SHA-256 is",
            &hash(&wrong),
            &right,
            "one-pkg==1.0 is pinned",
        ],
    );
    // pip brings another package.
    fs::rename(
        place.path("serve/one_pkg-1.0-py3-none-any.whl"),
        place.path("serve/one-1.0-py3-none-any.whl"),
    )
    .unwrap();
    fetch(&place, "--keep-wheels kept").fails(3, &["brought no wheel of `one-pkg==1.0"]);
    assert!(!place.path("kept").exists() && !place.path("runs").exists());
}

#[test]
fn a_damaged_wheel() {
    let place = place(BRINGS);
    let cut = &wheel("one", 9)[..60];
    place.write("serve/one_pkg-1.0-py3-none-any.whl", cut);
    place.write(
        "list.txt",
        format!("one-pkg==1.0 --hash=sha256:{}", hash(cut)),
    );
    fetch(&place, "").fails(
        3,
        &["one_pkg-1.0-py3-none-any.whl: not a whole zip archive"],
    );
    assert!(!place.path("runs").exists());
}

#[test]
fn lists_that_cannot_be_used() {
    let place = place(BRINGS);
    let hash = "a".repeat(64);
    for (list, words) in [
        (
            "# none\n".to_owned(),
            &["list.txt: there are no packages"][..],
        ),
        (
            "\n\na==1\n".to_owned(),
            &["list.txt:3: a==1 has no hash", "NAME==VERSION --hash"],
        ),
        (
            format!("a>=1 --hash=sha256:{hash}"),
            &["list.txt:1: `a>=1` is no package with an exact version"],
        ),
        (
            format!("a==1.* --hash=sha256:{hash}"),
            &["list.txt:1: `a==1.*`"],
        ),
        (
            format!("a==1 --hash=sha256:{hash}0"),
            &["list.txt:1: a==1: `--hash=sha256:aaa"],
        ),
        (
            format!("a==1 --hash=sha256:{hash}\n--pre\n"),
            &["list.txt:2: `--pre` is no package"],
        ),
        (
            format!("--pre==1 --hash=sha256:{hash}"),
            &["list.txt:1: `--pre==1` is no package"],
        ),
        (
            format!("a==1 ; x --hash=sha256:{hash}"),
            &["list.txt:1: a==1: `;` is no SHA-256"],
        ),
    ] {
        place.write("list.txt", &list);
        fetch(&place, "").fails(3, words);
    }
    place.write("list.txt", b"\xff");
    fetch(&place, "").fails(3, &["list.txt: not UTF-8"]);
    fs::remove_file(place.path("list.txt")).unwrap();
    fetch(&place, "").fails(3, &["list.txt: no such file", "check the path"]);
    assert!(!place.path("bin/calls").exists(), "pip was called");
    assert!(!place.path("runs").exists());
}

#[test]
fn what_is_there_stays_and_is_seen_before_the_download() {
    let place = place(BRINGS);
    place.write("out/test.jsonl.gz", "precious");
    fetch(&place, "--out out").fails(2, &["out/test.jsonl.gz is there already", "--force"]);
    assert!(!place.path("bin/calls").exists(), "pip was called");
    assert_eq!(names(&place, "out"), ["test.jsonl.gz"]);
    fetch(&place, "--out out --force").ok();
    assert_eq!(names(&place, "out"), PAIRS);
    // Folders that cannot be made or read.
    fetch(&place, "--keep-wheels list.txt --force").fails(1, &["list.txt"]);
    let calls = fs::read(place.path("bin/calls")).unwrap();
    for out in ["list.txt", "/proc/self/pairs"] {
        let words = format!("cannot create {out}: ");
        fetch(&place, &format!("--out {out}")).fails(1, &[&words]);
        let keep = format!("--keep-wheels {out} --out new");
        fetch(&place, &keep).fails(1, &[out]);
    }
    place.write("new/train.jsonl.gz/precious", "");
    fetch(&place, "--out new --force").fails(2, &["new/train.jsonl.gz is a folder"]);
    assert_eq!(fs::read(place.path("bin/calls")).unwrap(), calls);
}
