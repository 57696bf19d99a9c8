//! What cannot be used: the message names the thing and the way out, and nothing is lost.

use std::fs;

use super::support::{Place, python, snapshot};

// ---- the corpus ----------------------------------------------------------------------------

#[test]
fn a_corpus_that_cannot_be_used() {
    let place = Place::new();
    place.write("empty.py", "");
    place.write("blank.py", "\u{1}\u{1}\r");
    place.write("short.py", "x = 1\n");
    place.write("few.py", python(2));
    place.write("folder/readme.txt", "no Python here");
    let cases: [(&str, &[&str]); 8] = [
        ("none.py", &["corpus none.py", "no such file", "embedded"]),
        ("empty.py", &["empty.py", "is empty"]),
        (
            "blank.py",
            &[
                "blank.py",
                "is empty",
                "3 characters dropped: '\\u{1}' 2 times, '\\r' once",
            ],
        ),
        (
            "short.py",
            &["shorter than a window", "seq-length 16", "lower"],
        ),
        (
            "few.py",
            &["too short for one batch", "lower batch-size to at most 3"],
        ),
        ("folder", &["corpus folder", ".py", "name text files"]),
        ("/dev/null", &["/dev/null", "save the text to a file"]),
        (
            "text.py/deeper",
            &["corpus text.py/deeper", "check the path"],
        ),
    ];
    for (corpus, words) in cases {
        place
            .train("a", &format!("--corpus {corpus}"))
            .fails(3, words);
        assert!(!place.path("a").exists(), "{corpus}");
    }
    place
        .train("a", "--valid-fraction 0.01")
        .fails(3, &["nothing to validate on", "raise valid-fraction"]);
    place
        .train("a", "--max-chars 40")
        .fails(3, &["too short for one batch"]);
    assert!(!place.path("a").exists());
}

#[test]
fn bytes_that_are_not_utf_8_are_dropped_and_counted() {
    let place = Place::new();
    let mut bytes = python(19).into_bytes();
    bytes.splice(40..40, b"\xff\xfe\xe9caf\xc3\xa9".iter().copied());
    place.write("latin.py", &bytes);
    for (charset, note) in [
        (
            "ascii",
            "note: dropped 4 characters outside printable ASCII (3 invalid UTF-8 sequences): \
             '\u{fffd}' 3 times, '\u{e9}' once",
        ),
        (
            "auto",
            "note: dropped 3 characters that are not text (3 invalid UTF-8 sequences): '\u{fffd}' 3 \
             times",
        ),
    ] {
        let flags = format!("--corpus latin.py --max-steps 1 --force --charset {charset}");
        let done = place.train("a", &flags).ok();
        assert!(done.stderr.contains(note), "{}", done.stderr);
    }
}

// ---- the run's folder ----------------------------------------------------------------------

#[test]
fn a_run_that_is_there_is_not_overwritten() {
    let place = Place::with_run("a", "--max-steps 2 --quiet");
    let before = snapshot(&place.path("a"));
    place.train("a", "").fails(
        2,
        &["a already holds a run", "--resume", "--force", "--out"],
    );
    place
        .train("a", "--resume --force")
        .fails(2, &["--resume", "--force"]);
    place
        .train("a", "--resume --init-from a")
        .fails(2, &["--init-from"]);
    place
        .train("text.py", "")
        .fails(2, &["text.py is a file", "--out"]);
    // Somebody else's folder, even with --force.
    place.write("photos/cat.jpg", "miaow");
    for flags in ["", "--force"] {
        place
            .train("photos", flags)
            .fails(2, &["photos holds files", "not a run", "--out"]);
    }
    assert_eq!(fs::read(place.path("photos/cat.jpg")).unwrap(), b"miaow");
    // Every other failure of a start leaves an old run alone too, even with --force.
    for (flags, code) in [
        ("--force --corpus none.py", 3),
        ("--force --init-from none", 3),
        ("--force --device cuda", 4),
        ("--force --hidden-size 0", 2),
    ] {
        assert_eq!(place.train("a", flags).code, Some(code), "{flags}");
    }
    assert!(snapshot(&place.path("a")) == before);
}

#[test]
fn a_standard_error_that_cannot_be_written_ends_nothing() {
    let place = Place::with_run("run", "--max-steps 0 --quiet");
    for (n, script) in [
        "exec \"$0\" \"$@\" 2>/dev/full",
        "{ \"$0\" \"$@\" 2>&1 >text; echo $? >code; } | head -1 >/dev/null; exit $(cat code)",
    ]
    .iter()
    .enumerate()
    {
        let out = format!("out{n}");
        let args = super::support::train_args(&out, "--max-steps 3 --log-every 1");
        place.sh(script, &args).ok();
        assert!(place.path(&out).join("last/model.safetensors").is_file());
        place.sh(script, &["generate", "run", "--prompt", "d"]).ok();
        place
            .sh(script, &["selftest", "--device", "cpu", "--filter", "mul"])
            .ok();
    }
}

#[test]
fn resume_where_nothing_is() {
    let place = Place::new();
    place
        .train("none", "--resume")
        .fails(3, &["none: no such run", "--out"]);
    place.write("empty/readme", "");
    place
        .train("empty", "--resume")
        .fails(3, &["empty", "config.toml"]);
    assert!(!place.path("none").exists());
    // A run that was stopped before its first checkpoint.
    place.train("early", "--max-steps 0 --quiet").ok();
    fs::remove_file(place.path("early/last")).unwrap();
    fs::remove_dir_all(place.path("early/checkpoints")).unwrap();
    place
        .train("early", "--resume")
        .fails(3, &["early", "no checkpoint yet", "--force"]);
}

#[test]
fn resume_with_a_contradicting_flag() {
    let place = Place::with_run("a", "--max-steps 2 --quiet");
    let before = snapshot(&place.path("a"));
    for (flag, now, was) in [
        ("--hidden-size 32", "hidden-size = 32", "hidden-size = 16"),
        ("--batch-size 3", "batch-size = 3", "batch-size = 4"),
        ("--seed 7", "seed = 7", "seed = 1"),
        ("--dropout 0.9", "dropout = 0.9", "dropout = 0.1"),
        ("--no-shuffle", "shuffle = false", "shuffle = true"),
        (
            "--precision fp16",
            "precision = \"fp16\"",
            "which has \"fp32\"",
        ),
    ] {
        place
            .run(&format!("train-charlm --out a --resume {flag}"))
            .fails(2, &[now, "contradicts", was, "--init-from"]);
    }
    assert!(snapshot(&place.path("a")) == before);
}

#[test]
fn a_prompt_with_unknown_characters() {
    let place = Place::with_run("a", "--max-steps 2 --quiet");
    let args = [
        "generate",
        "a",
        "--length",
        "20",
        "--quiet",
        "--prompt",
        "de\u{e9}f",
    ];
    place
        .run_args(&args)
        .fails(3, &["U+00E9", "position 3", "--oov skip"]);
    let done = place
        .run_args(&[&args[..], &["--oov", "skip"]].concat())
        .ok();
    assert!(done.stdout.starts_with("def"), "{}", done.stdout);
    assert_eq!(done.stdout.len(), 23);
}

// ---- flags ---------------------------------------------------------------------------------

/// Every numeric flag with values that it must refuse, with exit code 2, before anything is done.
const REFUSED: &[(&str, &str)] = &[
    ("--max-chars", "0 -1 nan 1e3 99999999999999999999"),
    ("--valid-fraction", "-0.1 1 NaN inf"),
    ("--min-char-count", "0 -1 nan 99999999999999999999"),
    ("--embedding-dim", "0 -1 nan 999999999"),
    ("--hidden-size", "0 -1 nan 2.5 999999999"),
    ("--num-layers", "0 -1 nan 999"),
    ("--dropout", "-0.1 1 1.5 nan inf"),
    ("--epochs", "0 -1 nan 99999999999999999999"),
    ("--max-steps", "-1 nan 99999999999999999999"),
    ("--batch-size", "0 -1 nan 99999999999"),
    ("--seq-length", "0 -1 nan 99999999999"),
    ("--learning-rate", "0 -1 nan inf 1e30"),
    ("--clip-norm", "-1 nan inf"),
    ("--l2", "-1 nan inf 1e30"),
    ("--seed", "-1 nan 1.5 99999999999999999999"),
    ("--log-every", "0 -1 nan 99999999999999999999"),
    ("--checkpoint-every", "0 -1 nan 99999999999999999999"),
    ("--threads", "0 -1 nan 99999999"),
];

const REFUSED_BY_GENERATE: &[(&str, &str)] = &[
    ("--length", "0 -1 nan 99999999999999999999"),
    ("--temperature", "-1 nan inf 1e30"),
    ("--top-k", "0 -1 nan 99999999999"),
    ("--top-p", "0 -1 1.5 nan"),
    ("--seed", "-1 nan 99999999999999999999"),
    ("--streams", "0 -1 nan 4097 99999999999"),
    ("--threads", "0 -1 nan 99999999"),
];

const REFUSED_BY_BENCH: &[(&str, &str)] = &[
    ("--batch-size", "0 -1 nan 99999999999"),
    ("--seq-length", "0 -1 nan 99999999999"),
    ("--hidden-size", "0 -1 nan 99999999999"),
    ("--num-layers", "0 -1 nan 99999999999"),
    ("--seconds", "0 -1 nan inf 1e30"),
    ("--threads", "0 -1 nan 99999999"),
];

#[test]
fn numbers_out_of_range() {
    let place = Place::with_run("run", "--max-steps 0 --quiet");
    for (command, table) in [
        ("train-charlm --corpus text.py --out a", REFUSED),
        ("generate run", REFUSED_BY_GENERATE),
        ("bench charlm", REFUSED_BY_BENCH),
        ("data stats", &REFUSED[..3]),
    ] {
        for (flag, values) in table {
            for value in values.split(' ') {
                let done = place.run(&format!("{command} {flag} {value}"));
                let value = format!("'{value}'");
                done.fails(2, &[flag, &value, "give a ", "number"]);
            }
        }
    }
    assert!(!place.path("a").exists());
}

#[test]
fn sizes_that_no_memory_holds() {
    let place = Place::new();
    // The parameters alone; then the activations of a batch, of the embedded corpus.
    place
        .train("a", "--hidden-size 16384 --num-layers 16")
        .fails(2, &["GB", "hidden-size"]);
    place
        .run("train-charlm --out a --hidden-size 8192 --batch-size 20000")
        .fails(2, &["GB", "lower batch-size"]);
    place
        .run("bench charlm --batch-size 65536 --seq-length 65536")
        .fails(2, &["GB", "lower batch-size"]);
    assert!(!place.path("a").exists());
}

#[test]
fn a_batch_beyond_the_limit_of_the_shell() {
    let place = Place::new();
    place.write("text.py", python(4000));
    // 1 GB of address space; the step needs 1.2 GB.
    let script = "ulimit -v 1000000; exec \"$0\" \"$@\"";
    let flags = "--hidden-size 256 --batch-size 512 --seq-length 128 --threads 1";
    let args = super::support::train_args("a", flags);
    place
        .sh(script, &args)
        .fails(2, &["GB of memory", "lower batch-size"]);
    assert!(!place.path("a").exists());
    let flags = "--hidden-size 16 --batch-size 8 --max-steps 1 --threads 1 --quiet";
    let args = super::support::train_args("a", flags);
    place.sh(script, &args).ok();
}

#[test]
fn devices_and_precisions_that_are_not_there() {
    let place = Place::with_run("run", "--max-steps 0 --quiet");
    for command in [
        "train-charlm --corpus text.py --out a",
        "generate run",
        "bench gemm",
    ] {
        for device in ["cuda", "cuda:1"] {
            place
                .run(&format!("{command} --device {device}"))
                .fails(4, &[&format!("device {device}: no NVIDIA"), "device cpu"]);
        }
        place
            .run(&format!("{command} --device cpu --precision fp16"))
            .fails(2, &["precision fp16", "fp32"]);
        place
            .run(&format!("{command} --device gpu"))
            .fails(2, &["--device", "'gpu'"]);
    }
    assert!(!place.path("a").exists());
}
