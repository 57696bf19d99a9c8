//! The other commands through the binary.

use serde_json::Value;

use super::support::Place;

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn keys(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn help_version_and_unknown_words() {
    let place = Place::new();
    let help = place.run("").ok();
    for command in [
        "train-charlm",
        "generate",
        "report",
        "data",
        "bench",
        "selftest",
        "inspect",
        "doctor",
        "completions",
    ] {
        assert!(help.stdout.contains(command), "{}", help.stdout);
        let own = place.run(&format!("{command} --help")).ok();
        assert!(own.stdout.contains("Usage: rnnx "), "{}", own.stdout);
        assert_eq!(own.stderr, "");
    }
    assert!(help.stdout.contains("130 interrupted") && help.stderr.is_empty());
    let version = place.run("--version").ok();
    assert_eq!(
        version.stdout,
        format!("rnnx {}\n", env!("CARGO_PKG_VERSION"))
    );
    place
        .run("trian-charlm")
        .fails(2, &["'trian-charlm'", "'train-charlm'"]);
    place.run("generate").fails(2, &["<RUN>"]);
    place
        .run("train-charlm --hiden-size 3")
        .fails(2, &["'--hidden-size'"]);
    place.run("data stat").fails(2, &["'stats'"]);
}

#[test]
fn data_stats_describes_a_corpus() {
    let place = Place::new();
    let flags = "--corpus text.py --seq-length 16 --batch-size 4 --valid-fraction 0.1";
    let table = place.run(&format!("data stats {flags}")).ok();
    assert!(
        table.stdout.contains("vocabulary       32 characters"),
        "{}",
        table.stdout
    );
    let object = json(&place.run(&format!("data stats --json {flags}")).ok().stdout);
    assert_eq!(object["chars"], 617);
    assert_eq!(object["steps_per_epoch"], super::support::EPOCH);
    assert_eq!(object["source"], "text.py");
    place
        .run("data stats --corpus none")
        .fails(3, &["--corpus none", "no such file"]);
}

#[test]
fn doctor_says_what_is_here() {
    let place = Place::new();
    let object = json(&place.run("doctor --json").ok().stdout);
    assert_eq!(object["version"], env!("CARGO_PKG_VERSION"));
    assert!(place.run("doctor").ok().stdout.contains("CPU"));
    place
        .sh("RNNX_VECTORS=wide exec \"$0\" doctor", &[])
        .fails(2, &["RNNX_VECTORS=wide", "portable"]);
    // The limit holds for training and for generation.
    let narrow = "RNNX_VECTORS=portable exec \"$0\" doctor --json";
    let object = json(&place.sh(narrow, &[]).ok().stdout);
    assert_eq!(object["vectors"]["f32_lanes"], 4);
    assert_eq!(object["vectors"]["generation"], "portable");
}

#[test]
fn inspect_shows_files_checkpoints_and_runs() {
    let place = Place::with_run("a", "--epochs 1 --quiet");
    for path in ["a", "a/last", "a/last/model.safetensors"] {
        let table = place.run(&format!("inspect {path}")).ok();
        assert_eq!(table.stderr, "", "{path}");
        let object = json(&place.run(&format!("inspect {path} --json")).ok().stdout);
        assert!(object.is_object(), "{path}");
    }
    let table = place.run("inspect a/last/model.safetensors").ok().stdout;
    for words in ["lstm.weight_hh_l1", "out.bias"] {
        assert!(table.contains(words), "{words}: {table}");
    }
    place.run("inspect none").fails(3, &["none"]);
    place
        .run("inspect text.py")
        .fails(3, &["text.py", "safetensors"]);
}

#[test]
fn completions_for_every_shell() {
    let place = Place::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = place.run(&format!("completions {shell}")).ok().stdout;
        assert!(script.contains("train-charlm"), "{shell}");
    }
    place.run("completions csh").fails(2, &["'csh'", "bash"]);
}

#[test]
fn bench_prints_its_figures() {
    let place = Place::new();
    let small = "--batch-size 4 --seq-length 8 --hidden-size 16 --seconds 0.01";
    let done = place.run(&format!("bench charlm {small} --json")).ok();
    let object = json(&done.stdout);
    assert_eq!(keys(&object), ["device", "gemm", "charlm"]);
    assert_eq!(keys(&object["gemm"]), ["gflops", "size", "dtype"]);
    assert_eq!(
        keys(&object["charlm"]),
        [
            "batch_size",
            "seq_length",
            "hidden_size",
            "num_layers",
            "ms_per_step",
            "ms_best",
            "ms_worst",
            "runs",
            "chars_per_s",
            "gflops",
            "share_of_gemm",
            "peak_rss_mb",
            "graph",
        ]
    );
    assert_eq!(object["charlm"]["batch_size"], 4);
    assert!(object["charlm"]["runs"].as_u64().unwrap() >= 3);
    let done = place.run(&format!("bench generate {small}")).ok();
    assert!(
        done.stdout.starts_with("generate  1 stream, 16 units"),
        "{}",
        done.stdout
    );
    assert!(done.stderr.starts_with("device: cpu"), "{}", done.stderr);
    place.run("bench speed").fails(2, &["'speed'", "charlm"]);
}
