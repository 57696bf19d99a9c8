//! `rnnx bench hardware` and `rnnx bench recurrence`, and the table that `--recurrence auto` reads.

use super::python;
use super::seq2seq::pairs;
use super::support::{Done, Place};
use serde_json::Value;
use std::process::Command;

fn bench(place: &Place, words: &str) -> Value {
    let done = place
        .run(&format!("bench {words} --seconds 0.01 --json -q"))
        .ok();
    serde_json::from_str(&done.stdout).unwrap()
}

#[test]
fn without_a_gpu_nothing_is_measured() {
    let place = Place::new();
    for kind in ["hardware", "recurrence"] {
        assert!(bench(&place, &format!("{kind} --device cpu"))[kind].is_null());
        let said = place
            .run(&format!("bench {kind} --device cpu --seconds 0.01"))
            .ok();
        assert!(
            said.stdout.contains("not measured: this is the CPU"),
            "{}",
            said.stdout
        );
    }
    let json = bench(&place, "hardware --device emulated");
    for size in ["4", "8", "16"] {
        assert_eq!(json["hardware"]["clusters_at_once"][size], 3);
    }
    assert!(json["hardware"]["mma_tflops"].as_f64().unwrap() > 0.0);
}

/// The emulated device's times mean nothing, but they choose.
#[test]
fn a_table_that_is_kept_decides() {
    let place = Place::new();
    let cache = place.path("cache");
    let with_cache = |words: &str| {
        let words: Vec<&str> = words.split_whitespace().collect();
        let mut command = place.command(&words);
        command.env("XDG_CACHE_HOME", &cache);
        Done::of(command.output().unwrap())
    };
    let words = "bench recurrence --device emulated --seconds 0.01 --json";
    assert!(!with_cache(words).ok().stderr.contains("is kept in"));
    assert!(!cache.exists());
    let done = with_cache(&format!("{words} --keep")).ok();
    assert!(
        done.stderr.contains("the table is kept in"),
        "{}",
        done.stderr
    );
    let json: Value = serde_json::from_str(&done.stdout).unwrap();
    let rows = json["recurrence"].as_array().unwrap();
    // Two cells of two sizes and the decoder of one, forward and both passes.
    assert_eq!(rows.len(), 10);
    let mut files = std::fs::read_dir(cache.join("rnnx")).unwrap();
    let file = files.next().unwrap().unwrap().path();
    for (whole, says) in [
        (1.0, "whole sequences (auto)"),
        (9.0, "auto: measured to be faster here"),
    ] {
        let mut table = json["recurrence"].clone();
        for row in table.as_array_mut().unwrap() {
            row["whole_us"] = whole.into();
            row["steps_us"] = 5.0.into();
        }
        std::fs::write(&file, table.to_string()).unwrap();
        let words = format!(
            "train-charlm --corpus text.py --valid-fraction 0.1 --out run{whole} --max-steps 1 \
             --hidden-size 64 --seq-length 8 --batch-size 3 --device emulated"
        );
        let said = with_cache(&words).ok().stderr;
        assert!(said.contains(says), "{said}");
    }
}

/// The figures say which way was taken.
#[test]
fn the_step_says_how_its_recurrence_was_taken() {
    let place = Place::new();
    let words = "charlm --device emulated --batch-size 3 --seq-length 3 --hidden-size";
    for (size, taken) in [
        ("64", "whole"),
        ("64 --recurrence steps", "steps"),
        ("16", "steps"),
    ] {
        let json = bench(&place, &format!("{words} {size}"));
        assert_eq!(json["charlm"]["recurrence"], taken, "{size}");
    }
    let json = bench(
        &place,
        "charlm --device cpu --batch-size 3 --seq-length 3 --hidden-size 16",
    );
    assert!(json["charlm"]["recurrence"].is_null());
}

/// A stand-in for the program, whose steps are always taken one by one.
#[cfg(unix)]
#[test]
fn gpu_check_fails_where_whole_sequences_went_by_steps() {
    use std::os::unix::fs::PermissionsExt;
    let Some(python) = python::with(&["json"]) else {
        return;
    };
    let place = Place::empty();
    let check = |clusters: u32, stages: &[&str], says: &str| {
        let script = format!(
            "#!/bin/sh\necho '{says}' >&2\ncase \"$*\" in\n\
             *hardware*) echo '{{\"hardware\": {{\"clusters_at_once\": {{\"4\": {clusters}, \"8\": {clusters}}}, \
             \"exchange_ns\": null, \"mma_tflops\": null}}}}' ;;\n\
             *selftest*) echo '{{\"by_steps\": 6}}' ;;\n\
             *) echo '{{\"charlm\": {{\"recurrence\": \"steps\", \"ms_per_step\": 2.0}}, \"seq2seq\": \
             {{\"models\": {{\"attention\": {{\"whole_passes_per_step\": 2.0, \"ms_per_step\": 3.0}}}}}}}}' ;;\nesac\n"
        );
        place.write("rnnx", script);
        let program = place.path("rnnx");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = Command::new(&python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/gpu-check"));
        command.arg(&program);
        for stage in stages {
            command.args(["--stage", stage]);
        }
        Done::of(command.output().unwrap())
    };
    let failed = |batch| format!("recurrence_whole_{batch}: went step by step");
    // Nobody said that there are no clusters.
    let done = check(0, &["recurrence"], "");
    assert_eq!(done.code, Some(1), "{}", done.stdout);
    assert!(done.stdout.contains(&failed(512)) && done.stdout.contains(&failed(128)));
    let all = ["selftest", "hardware", "recurrence"];
    let done = check(31, &all, "");
    assert_eq!(done.code, Some(1), "{}", done.stdout);
    let unchecked = "selftest: 6 sizes of whole sequences went step by step";
    assert!(done.stdout.contains(&failed(512)) && done.stdout.contains(unchecked));
    let done = check(0, &all, "").ok();
    assert!(
        done.stdout
            .contains("| whole | 2.00 by steps | 2.00 by steps |"),
        "{}",
        done.stdout
    );
    // The decoder with attention: two passes of four, though steps were asked for.
    let done = check(31, &["hardware", "attention"], "");
    assert_eq!(done.code, Some(1), "{}", done.stdout);
    for says in [
        "attention_whole: 2.0 of 4 passes a step took whole sequences",
        "attention_steps: took whole sequences in one kernel",
        "| whole | 3.000 | 2.0 |",
    ] {
        assert!(done.stdout.contains(says), "{}", done.stdout);
    }
    // A device whose blocks have too little memory says so.
    let says = "step by step back (whole: the device runs no clusters of as many blocks with as much shared memory)";
    let done = check(31, &["attention"], says);
    assert!(!done.stdout.contains("of 4 passes"), "{}", done.stdout);
    assert!(done.stdout.contains("attention_steps: took whole"));
}

/// The program itself, on emulated devices with defects.
#[cfg(unix)]
#[test]
fn gpu_check_fails_where_a_size_is_wrong_or_nobody_says_why_it_went_by_steps() {
    let Some(python) = python::with(&["json"]) else {
        return;
    };
    let place = Place::empty();
    let check = |defects: &str, stages: &[&str]| {
        let mut command = Command::new(&python);
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/benches/gpu-check"));
        command.args([
            env!("CARGO_BIN_EXE_rnnx"),
            "--device",
            "emulated",
            "--small",
        ]);
        command.args(["--seconds", "0.01", "--json"]);
        command.arg(place.path("result.json"));
        for stage in stages {
            command.args(["--stage", stage]);
        }
        command.env("RNNX_EMULATED", defects);
        Done::of(command.output().unwrap())
    };
    let done = check("no-clusters", &["grid"]);
    assert_eq!(done.code, Some(1), "{}", done.stdout);
    for unsaid in [
        "grid: 12 sizes went step by step that have kernels, lstm_whole (table, 192 units, 1 row of 3 steps) the first",
        "the device runs no clusters of as many blocks with as much shared memory); nothing says that",
    ] {
        assert!(done.stdout.contains(unsaid), "{}", done.stdout);
    }
    let done = check("no-clusters", &["hardware", "grid"]).ok();
    assert!(
        done.stdout.contains("| lstm_whole | 30 | 9 | 0 | 21 |"),
        "{}",
        done.stdout
    );
    // The cases of a run that failed are kept.
    let done = check("losing=1", &["grid"]);
    assert_eq!(done.code, Some(1), "{}", done.stdout);
    let named =
        "| table, 192 units, 1 row of 3 steps: the kernel lstm_whole_fwd_192 gave up waiting";
    assert!(
        done.stdout.contains(named) && done.stdout.contains("grid: exit code 1: error: selftest:"),
        "{}",
        done.stdout
    );
    let kept = std::fs::read_to_string(place.path("result.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert_eq!(kept["grid"]["cases"].as_array().unwrap().len(), 65);
}

/// What a kernel that gave up computed is no speed.
#[test]
fn a_step_whose_kernel_gives_up_is_not_timed() {
    let place = Place::new();
    for (file, n) in [("t.jsonl", 8), ("v.jsonl", 3), ("e.jsonl", 3)] {
        place.write(file, pairs(n, 1));
    }
    let files = "--train t.jsonl --valid v.jsonl --test e.jsonl";
    let seq2seq = format!(
        "seq2seq {files} --model attention --batch-size 4 --embedding-dim 6 --hidden-size 64"
    );
    for (words, kernel) in [
        (
            "charlm --batch-size 3 --seq-length 3 --hidden-size 192",
            "lstm_whole_fwd_192",
        ),
        (&seq2seq[..], "attention_whole_fwd_64"),
    ] {
        let words = format!("bench {words} --device emulated --seconds 0.01");
        let words: Vec<&str> = words.split(' ').collect();
        let mut command = place.command(&words);
        command.env("RNNX_EMULATED", "losing=1");
        let done = Done::of(command.output().unwrap());
        assert_eq!(done.code, Some(4), "{}", done.stderr);
        let gave_up = format!("the kernel {kernel} gave up waiting at step");
        assert!(done.stderr.contains(&gave_up), "{}", done.stderr);
        // There is no run to go on with.
        assert!(!done.stderr.contains("--resume"), "{}", done.stderr);
    }
}
