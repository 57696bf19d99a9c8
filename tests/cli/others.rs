//! The other commands through the binary.

use std::fs;

use serde_json::Value;

use super::seq2seq::{KINDS, pairs};
use super::support::{Place, json};

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
    // Without a command nothing was asked: the help is no result.
    let alone = place.run("");
    assert_eq!((alone.code, alone.stdout.as_str()), (Some(2), ""));
    let help = place.run("--help").ok();
    assert_eq!(alone.stderr, help.stdout);
    for command in [
        "train-charlm",
        "generate",
        "export",
        "import",
        "report",
        "data",
        "bench",
        "selftest",
        "inspect",
        "doctor",
        "completions",
        "man",
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
fn every_command_takes_q() {
    let place = Place::new();
    place.train("a", "--max-steps 1 -q").ok();
    for (file, n) in [("t.jsonl", 22), ("v.jsonl", 3), ("e.jsonl", 3)] {
        place.write(file, pairs(n, 1));
    }
    let seq2seq = "train-seq2seq --train t.jsonl --valid v.jsonl --test e.jsonl --hidden-size 4";
    for line in [
        "train-charlm --out a --resume",
        &format!("{seq2seq} --model lstm --max-steps 0 --out b"),
        "generate a --length 5",
        "translate b load",
        "eval a",
        "eval b",
        "report a",
        "export a --format onnx -o a.onnx",
        "data prepare text.py --task text --out c",
        "data stats --corpus text.py",
        "bench gemm --seconds 0.01",
        "selftest --filter dropout --device cpu",
        "inspect a",
        "doctor",
        "completions bash",
        "man -o pages",
    ] {
        let done = place.run(&format!("{line} -q")).ok();
        assert_eq!(done.stderr, "", "{line}");
        let done = place.run(&format!("-q {line} --help")).ok();
        assert!(done.stdout.contains("-q, --quiet"), "{}", done.stdout);
    }
    let done = place.run("data fetch -q --packages none");
    done.fails(3, &["none"]);
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
        .fails(3, &["corpus none", "no such file"]);
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
fn a_manual_page_a_command() {
    let place = Place::new();
    let program = place.run("man").ok().stdout;
    let title = format!(".TH rnnx 1  \"rnnx {}\" rnnx", env!("CARGO_PKG_VERSION"));
    assert!(program.contains(&title), "{program}");
    let done = place.run("man -o new/pages -q").ok();
    assert_eq!(done.stderr, "");
    let read = |name: &str| fs::read_to_string(place.path(name)).unwrap();
    assert_eq!(read("new/pages/rnnx.1"), program);
    let pages: Vec<&str> = done.stdout.lines().collect();
    assert_eq!(
        fs::read_dir(place.path("new/pages")).unwrap().count(),
        pages.len()
    );
    // Each command, with its flags, and those of `rnnx data` below it.
    for (command, flag) in [
        ("train-charlm", "hidden\\-size"),
        ("train-seq2seq", "max\\-source"),
        ("data-prepare", "task"),
        ("man", "out"),
    ] {
        let name = format!("new/pages/rnnx-{command}.1");
        assert!(pages.contains(&name.as_str()), "{pages:?}");
        let page = read(&name);
        assert!(page.contains(&format!(".TH rnnx-{command} 1 ")), "{page}");
        assert!(page.contains(&format!("\\-\\-{flag}")), "{page}");
    }
    for page in &pages[1..] {
        let name = page.trim_start_matches("new/pages/").trim_end_matches(".1");
        let escaped = name.replace('-', "\\-");
        let data = name.starts_with("rnnx-data-");
        let above = if data {
            read("new/pages/rnnx-data.1")
        } else {
            program.clone()
        };
        assert!(above.contains(&format!("{escaped}(1)")), "{name}");
    }
    place.write("file", "");
    place.run("man -o file").fails(1, &["file"]);
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
            "wall_ms_per_step",
            "graph",
            "graph_refused",
            "recurrence",
            "ms_per_step",
            "ms_best",
            "ms_worst",
            "runs",
            "chars_per_s",
            "gflops",
            "share_of_gemm",
            "peak_rss_mb",
        ]
    );
    assert_eq!(object["charlm"]["batch_size"], 4);
    assert!(object["charlm"]["runs"].as_u64().unwrap() >= 3);
    let done = place.run(&format!("bench charlm {small}")).ok();
    assert!(done.stdout.contains(" characters/s, "), "{}", done.stdout);
    let done = place.run(&format!("bench generate {small}")).ok();
    assert!(
        done.stdout.starts_with("generate  1 stream, 16 units"),
        "{}",
        done.stdout
    );
    assert!(done.stdout.ends_with(" characters/s\n"), "{}", done.stdout);
    assert!(done.stderr.starts_with("device: cpu"), "{}", done.stderr);
    place.run("bench speed").fails(2, &["'speed'", "charlm"]);
}

#[test]
fn bench_scale_times_shards_and_ranks() {
    let place = Place::new();
    let small = "--batch-size 9 --seq-length 8 --hidden-size 16 --seconds 0.01";
    let done = place.run(&format!("bench scale {small} --json")).ok();
    let object = json(&done.stdout);
    assert_eq!(keys(&object), ["device", "scale"]);
    let cases = object["scale"]["cases"].as_array().unwrap();
    let number = |case: usize, key: &str| cases[case][key].as_f64().unwrap();
    assert_eq!([number(0, "ranks"), number(0, "shards")], [1.0, 1.0]);
    assert_eq!([number(1, "ranks"), number(1, "shards")], [1.0, 8.0]);
    for (n, case) in cases.iter().enumerate() {
        assert!(number(n, "ms_per_step") > 0.0, "{case}");
        assert!((0.0..=1.0).contains(&number(n, "exchange_share")), "{case}");
        // A rank that has others sends a gradient and gets one.
        assert_eq!(
            number(n, "bytes_per_step") > 1e3,
            number(n, "ranks") > 1.0,
            "{case}"
        );
    }
}

#[test]
fn bench_times_the_seq2seq_models_on_pairs() {
    let place = Place::new();
    for (file, n) in [("t.jsonl", 22), ("v.jsonl", 3), ("e.jsonl", 3)] {
        place.write(file, pairs(n, 1));
    }
    let files = "--train t.jsonl --valid v.jsonl --test e.jsonl";
    let small = "--batch-size 4 --embedding-dim 6 --hidden-size 10 --seconds 0.01";
    let bench = format!("bench seq2seq {files} {small}");
    let object = json(&place.run(&format!("{bench} --json")).ok().stdout);
    assert_eq!(keys(&object), ["device", "gemm", "seq2seq"]);
    let found = &object["seq2seq"];
    assert_eq!(found["pairs"], "t.jsonl, v.jsonl, e.jsonl");
    assert_eq!(found["train_pairs"], 22);
    assert_eq!(found["batch_size"], 4);
    assert_eq!(keys(&found["models"]), KINDS);
    for kind in KINDS {
        let model = &found["models"][kind];
        assert!(model["runs"].as_u64().unwrap() >= 5, "{model}");
        // Four pairs have four tokens and <EOS> at least.
        assert!(model["target_tokens_per_step"].as_f64().unwrap() > 20.0);
        // Of several models in one process none has a peak of its own.
        assert!(model["peak_rss_mb"].is_null());
    }

    let one = place.run(&format!("{bench} --model lstm --quiet")).ok();
    let lines: Vec<&str> = one.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", one.stdout);
    assert!(lines[0].starts_with("gemm ") && one.stderr.is_empty());
    let start = "seq2seq   lstm, B 4 E 6 H 10, target vocabulary ";
    assert!(lines[1].starts_with(start), "{}", one.stdout);
    assert!(lines[1].contains("peak memory") == cfg!(target_os = "linux"));

    // A batch of more pairs than there are is all of them.
    let large = bench.replace("--batch-size 4", "--batch-size 50");
    let object = json(
        &place
            .run(&format!("{large} --model rnn --json"))
            .ok()
            .stdout,
    );
    assert_eq!(object["seq2seq"]["batch_size"], 22);
}

#[test]
fn bench_on_the_emulated_device_times_the_same_models() {
    let place = Place::new();
    for file in ["t.jsonl", "v.jsonl", "e.jsonl"] {
        place.write(file, pairs(9, 1));
    }
    let bench = "bench seq2seq --train t.jsonl --valid v.jsonl --test e.jsonl --batch-size 3 \
                 --embedding-dim 6 --hidden-size 10 --seconds 0.01 --device emulated --json";
    let object = json(&place.run(bench).ok().stdout);
    assert_eq!(object["gemm"]["dtype"], "f16");
    assert_eq!(keys(&object["seq2seq"]["models"]), KINDS);
}

#[test]
fn bench_of_pairs_refuses_what_training_refuses() {
    let place = Place::new();
    place.write("t.jsonl", pairs(9, 1));
    place
        .run("bench seq2seq --train t.jsonl")
        .fails(2, &["train without valid and test"]);
    place
        .run("bench seq2seq --train t.jsonl --valid t.jsonl --test none.jsonl")
        .fails(3, &["none.jsonl"]);
    place
        .run("bench seq2seq --model gpt")
        .fails(2, &["'gpt'", "attention"]);
}
