//! Flags of commands, and what the program makes of them.

use super::*;

#[test]
fn flags_that_are_no_numbers_are_refused() {
    for words in [
        "--dropout -NaN",
        "--dropout -inf",
        "--hidden-size -1",
        "--hidden-size 2.5",
        "--hidden-size 99999999999999999999999",
        "--seed -1",
        "--learning-rate fast",
        "--device gpu",
        "--device cuda:x",
        "--precision fp64",
        "--recurrence fast",
        "--clip-mode all",
        "--preset slow",
        "--max-time 5",
        "--max-time 0s",
        "--max-time 1.5h",
    ] {
        let error = try_flags(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words}");
        let (flag, value) = words.split_once(' ').unwrap();
        let text = error.to_string();
        assert!(
            text.contains(flag) && text.contains(&format!("'{value}'")),
            "{text}"
        );
    }
    let text = try_flags("--hiden-size 3").unwrap_err().to_string();
    assert!(
        text.contains("a similar argument exists: '--hidden-size'"),
        "{text}"
    );
    assert!(try_flags("--resume --force").is_err());
    assert!(try_flags("--resume --init-from w.safetensors").is_err());
}

#[test]
fn generation_flags() {
    let read = |words: &str| {
        Generate::try_parse_from(["g", "runs/a"].into_iter().chain(words.split_whitespace()))
    };
    let args = read("").unwrap().args;
    assert_eq!(
        (args.sampling.seed, args.streams, args.prompt, args.length),
        (1, 1, None, None)
    );
    assert_eq!(
        read("--prompt -x --temperature 0")
            .unwrap()
            .args
            .prompt
            .as_deref(),
        Some("-x")
    );
    for words in [
        "--temperature -1",
        "--temperature NaN",
        "--top-k 0",
        "--top-p 0",
        "--top-p 1.5",
        "--length 0",
        "--streams 0",
        "--oov drop",
    ] {
        let error = read(words).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert!(
            error.to_string().contains(words.split_once(' ').unwrap().0),
            "{error}"
        );
    }
}

#[test]
fn translation_flags() {
    let read = |words: &str| {
        let words = words.split_whitespace();
        Translate::try_parse_from(["t", "runs/a", "text"].into_iter().chain(words))
    };
    let args = read("").unwrap().args;
    assert!(!args.sampling && args.beam.is_none() && args.n_best.is_none());
    let args = read("--sampling --n-best 3").unwrap().args;
    let options = args.draws.options();
    assert_eq!((args.draws.seed, args.n_best), (1, Some(3)));
    assert_eq!(
        (options.temperature, options.top_k, options.top_p),
        (0.7, None, None)
    );
    let args = read("--sampling -t 1 --top-k 5 --top-p 0.9 --seed 7")
        .unwrap()
        .args;
    let options = args.draws.options();
    assert_eq!(args.draws.seed, 7);
    assert_eq!(
        (options.temperature, options.top_k, options.top_p),
        (1.0, Some(5), Some(0.9))
    );
    // How tokens are drawn is for those who draw, and told in the words of `rnnx generate`.
    let generate = Generate::command();
    let translate = Translate::command();
    for flag in ["temperature", "top-k", "top-p", "seed"] {
        let error = read(&format!("--{flag} 1")).unwrap_err().to_string();
        assert!(error.contains("--sampling"), "{error}");
        let [a, b] = [&generate, &translate].map(|command| {
            let arg = command
                .get_arguments()
                .find(|arg| arg.get_long() == Some(flag));
            arg.unwrap().get_help().unwrap().to_string()
        });
        assert_eq!(a, b);
    }
}

#[test]
fn scoring_flags() {
    let read = |words: &str| {
        Score::try_parse_from(["s", "runs/a"].into_iter().chain(words.split_whitespace()))
    };
    let args = read("--source a --target -b --signature (c) --json --top 2")
        .unwrap()
        .args;
    assert_eq!(
        [args.source, args.target, args.signature].map(Option::unwrap),
        ["a", "-b", "(c)"]
    );
    assert_eq!((args.top, args.oov, args.file), (Some(2), None, None));
    let args = read("--file f --source-field 1 --target-field b --strict")
        .unwrap()
        .args;
    assert!(args.strict && args.source_field.as_deref() == Some("1"));
    for words in [
        "x --file f",
        "--source a",
        "--target b",
        "x --source a --target b",
        "--file f --target b",
        "--file f --signature c",
        "--source a --target b --strict",
        "--source-field a",
        "--source a --target b --top 2",
    ] {
        let error = read(words).unwrap_err();
        assert_eq!(error.exit_code(), 2, "{words}");
    }
}

#[test]
fn the_program_keeps_its_exit_codes() {
    let run = |words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_rnnx"))
            .args(words)
            .output()
            .unwrap()
    };
    let help = run(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(String::from_utf8_lossy(&help.stdout).contains("Usage: rnnx"));
    let alone = run(&[]);
    assert_eq!(alone.status.code(), Some(2));
    assert!(alone.stdout.is_empty());
    assert!(String::from_utf8_lossy(&alone.stderr).contains("Usage: rnnx"));
    assert_eq!(run(&["no-such-command"]).status.code(), Some(2));
    let typo = String::from_utf8(run(&["docter"]).stderr).unwrap();
    assert!(typo.contains("'doctor'"), "{typo}");
    let version = String::from_utf8(run(&["--version"]).stdout).unwrap();
    assert_eq!(version, format!("rnnx {}\n", env!("CARGO_PKG_VERSION")));
    let script = String::from_utf8(run(&["completions", "bash"]).stdout).unwrap();
    assert!(script.contains("_rnnx()") && script.contains("doctor"));
    assert_eq!(run(&["completions", "cmd"]).status.code(), Some(2));
}

#[test]
fn doctor_says_what_it_found() {
    let run = |words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_rnnx"))
            .args(words)
            .output()
            .unwrap()
    };
    let output = run(&["doctor", "--json"]);
    assert_eq!(output.status.code(), Some(0));
    let facts: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(facts["version"], env!("CARGO_PKG_VERSION"));
    assert!(facts["threads"]["used"].as_u64().unwrap() >= 1);
    assert!(facts["vectors"]["f32_lanes"].as_u64().unwrap() >= 1);
    assert!(facts["gpus"].is_array());
    // Each part is there with its version, or missing with the places tried.
    for (part, version) in [
        ("driver", "cuda"),
        ("nvrtc", "version"),
        ("cublas", "version"),
        ("nccl", "version"),
    ] {
        let missing = facts[part]["missing"]
            .as_str()
            .is_some_and(|m| m.contains("Tried:"));
        assert!(
            missing || facts[part][version].is_string(),
            "{}",
            facts[part]
        );
    }
    // Graphs are known where there is a GPU.
    let gpus = facts["gpus"].as_array().unwrap();
    assert_eq!(facts["graph"].is_null(), gpus.is_empty());
    let table = String::from_utf8(run(&["doctor"]).stdout).unwrap();
    assert!(table.starts_with("rnnx"), "{table}");
    for part in ["GPU driver", "NVRTC", "cuBLAS", "NCCL", "CUDA graph"] {
        assert!(table.contains(part), "{table}");
    }
}
