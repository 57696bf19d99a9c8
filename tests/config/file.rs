//! Configuration files, and what `--resume` may change.

use super::*;

#[test]
fn an_unknown_key_names_line_and_neighbour() {
    let refuse = |text: &str| usage(parse(CharLmConfig::settings(), text, "my.toml"));
    assert_eq!(
        refuse("# comment\n\nhiden-size = 3\n"),
        "my.toml:3: unknown key \"hiden-size\": did you mean \"hidden-size\"?"
    );
    assert_eq!(
        refuse("seed = 2\nbatch_size = 3\n"),
        "my.toml:2: unknown key \"batch_size\": did you mean \"batch-size\"?"
    );
    let message = refuse("zzzzzzzzzzz = 1\n");
    assert!(
        message.starts_with("my.toml:1: unknown key \"zzzzzzzzzzz\"; the keys are corpus, "),
        "{message}"
    );
    // A table is a key that there is not.
    assert!(
        refuse("seed = 1\n[model]\nhidden-size = 3\n")
            .starts_with("my.toml:2: unknown key \"model\"")
    );
}

#[test]
fn a_wrong_value_names_line_key_and_what_is_expected() {
    let refuse = |text: &str| usage(parse(CharLmConfig::settings(), text, "my.toml"));
    assert_eq!(
        refuse("seed = 2\nhidden-size = \"big\"\n"),
        "my.toml:2: hidden-size = \"big\" (a TOML string) cannot be used: hidden-size is a whole \
         number from 1 to 16384 (units of each layer)"
    );
    for text in [
        "dropout = 1.0",
        "dropout = nan",
        "dropout = true",
        "learning-rate = inf",
        "epochs = -1",
        "epochs = 1.5",
        "clip-mode = \"both\"",
        "device = \"gpu\"",
        "shuffle = 1",
        "corpus = \"a.py\"",
        "max-time = 90",
        "max-time = \"soon\"",
        "corpus = [1]",
    ] {
        let key = text.split(' ').next().unwrap();
        let message = refuse(&format!("\n{text}\n"));
        assert!(
            message.starts_with(&format!("my.toml:2: {key} = ")),
            "{message}"
        );
    }
    assert!(refuse("seed = 1\nseed = 2\n").starts_with("my.toml:2: "));
    assert!(refuse("seed = \n").starts_with("my.toml:1: "));
    let message = refuse("kind = \"seq2seq\"\n");
    assert!(
        message.contains("my.toml:1: kind = \"seq2seq\""),
        "{message}"
    );
    let missing = read_file::<CharLmConfig>("no/such.toml".as_ref()).unwrap_err();
    assert_eq!(missing.exit_code(), 2);
    assert!(
        missing.to_string().contains("no/such.toml: No such file"),
        "{missing}"
    );
}

#[test]
fn a_file_that_is_no_text_names_the_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c.toml");
    std::fs::write(&path, b"seed = 1\n\xff\xfe").unwrap();
    let message = usage(read_file::<CharLmConfig>(&path));
    assert!(
        message.ends_with("c.toml:2: not UTF-8 text; is this a TOML file?"),
        "{message}"
    );
}

#[test]
fn resume_takes_the_saved_values() {
    let saved = unusual();
    assert_eq!(resumed("", &saved).unwrap(), saved);
    let saved = CharLmConfig {
        schedule: ScheduleKind::Plateau,
        ..saved
    };
    let free = "--epochs 9 --max-steps 5 --log-every 2 --checkpoint-every 3 --keep 7 --device cpu \
         --threads 1 --recurrence steps";
    let config = resumed(free, &saved).unwrap();
    assert_eq!(
        (
            config.epochs,
            config.max_steps,
            config.log_every,
            config.keep
        ),
        (9, Some(5), 2, 7)
    );
    assert_eq!(
        (config.checkpoint_every, config.device, config.threads),
        (Some(3), DeviceChoice::Cpu, Some(1))
    );
    assert_eq!(config.recurrence, rnnx::device::Recurrence::Steps);
    // What was said again is no contradiction, and neither is `auto`.
    resumed("--hidden-size 13 --no-shuffle --precision auto", &saved).unwrap();
}

#[test]
fn a_file_of_an_older_run_has_what_was_before_there_was_a_choice() {
    let settings = CharLmConfig::settings();
    let config = |text: &str| {
        let table = parse(settings, text, "config.toml").unwrap();
        let config = CharLmConfig::from_table(table).unwrap();
        (config.charset, config.valid_split)
    };
    let whole = to_toml(settings, &CharLmConfig::default().table().unwrap());
    assert_eq!(config(&whole), (CharsetChoice::Auto, ValidSplit::Tail));
    let is_new = |line: &&str| {
        ["charset = ", "valid-split = "]
            .iter()
            .any(|key| line.starts_with(key))
    };
    let lines = whole.lines().filter(|line| !is_new(line));
    let older = lines.collect::<Vec<_>>().join("\n");
    assert!(older.contains("rnnx-version") && older.len() < whole.len());
    assert_eq!(config(&older), (CharsetChoice::Ascii, ValidSplit::End));
    // A file of the user's sets what it sets.
    assert_eq!(config("seed = 3"), (CharsetChoice::Auto, ValidSplit::Tail));
}

#[test]
fn resume_refuses_contradictions() {
    let saved = CharLmConfig {
        precision: Precision::Fp32,
        ..CharLmConfig::default()
    };
    for (words, now, was) in [
        ("--max-chars 100", "max-chars = 100", "6000000"),
        ("--valid-fraction 0.2", "valid-fraction = 0.2", "0.05"),
        ("--valid-split files", "valid-split = \"files\"", "\"tail\""),
        ("--charset ascii", "charset = \"ascii\"", "\"auto\""),
        ("--min-char-count 2", "min-char-count = 2", "1"),
        ("--no-shuffle", "shuffle = false", "true"),
        ("--embedding-dim 32", "embedding-dim = 32", "64"),
        ("--cell gru", "cell = \"gru\"", "\"lstm\""),
        ("--hidden-size 128", "hidden-size = 128", "256"),
        ("--num-layers 1", "num-layers = 1", "2"),
        ("--dropout 0.5", "dropout = 0.5", "0.1"),
        ("--batch-size 64", "batch-size = 64", "512"),
        ("--seq-length 64", "seq-length = 64", "256"),
        ("--learning-rate 0.5", "learning-rate = 0.5", "0.00018"),
        ("--optimizer sgd", "optimizer = \"sgd\"", "\"adam\""),
        ("--beta1 0.5", "beta1 = 0.5", "0.9"),
        ("--weight-decay 0.5", "weight-decay = 0.5", "0.0"),
        ("--clip-norm 0.5", "clip-norm = 0.5", "1.0"),
        (
            "--clip-mode global",
            "clip-mode = \"global\"",
            "\"per-tensor\"",
        ),
        ("--l2 0.5", "l2 = 0.5", "0.0001"),
        ("--seed 2", "seed = 2", "1"),
        ("--precision fp16", "precision = \"fp16\"", "\"fp32\""),
    ] {
        let message = usage(resumed(words, &saved));
        assert!(message.starts_with(&contradiction(now, was)), "{message}");
        assert!(message.contains("--init-from"), "{message}");
    }
    let saved = saved.table().unwrap();
    let settings = CharLmConfig::settings();
    let quick = resolve(settings, Some(&saved), false, [&preset("quick")]);
    let quick = usage(quick);
    assert!(quick.contains("batch-size = 64 contradicts"), "{quick}");
}

#[test]
fn change_lets_a_resumed_run_have_another_learning_rate() {
    let saved = CharLmConfig::default();
    let words = "--learning-rate 0.5 --schedule cosine --warmup-steps 7 --min-lr 0.25";
    // One after the other, as each is named by its own message.
    for one in [
        "--learning-rate 0.5",
        "--schedule cosine",
        "--warmup-steps 7",
    ] {
        let message = usage(resumed(one, &saved));
        assert!(message.contains("--change"), "{message}");
    }
    let changed = resumed_with(true, words, &saved).unwrap();
    let expected = CharLmConfig {
        learning_rate: 0.5,
        schedule: ScheduleKind::Cosine,
        warmup_steps: 7,
        min_lr: 0.25,
        ..saved.clone()
    };
    assert_eq!(changed, expected);
    let (now, was) = (changed.table().unwrap(), saved.table().unwrap());
    let changes = CharLmConfig::settings().changes(&now, &was).unwrap();
    let names: Vec<&str> = changes.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["learning-rate", "min-lr", "schedule", "warmup-steps"]
    );
    assert_eq!(changes["learning-rate"], [1.8e-4, 0.5]);
    assert_eq!(changes["schedule"], ["constant", "cosine"]);
    // What cannot change on the way cannot with it either.
    let message = usage(resumed_with(true, "--hidden-size 7", &saved));
    let expected = contradiction("hidden-size = 7", "256");
    assert!(message.starts_with(&expected), "{message}");
    assert!(!message.contains("--change"), "{message}");
}

/// A rate that falls to the last step is another one where that moves.
#[test]
fn the_end_of_a_falling_schedule_moves_only_with_change() {
    for (schedule, moves) in [
        (ScheduleKind::Constant, true),
        (ScheduleKind::Plateau, true),
        (ScheduleKind::Linear, false),
        (ScheduleKind::Cosine, false),
    ] {
        let saved = CharLmConfig {
            schedule,
            ..CharLmConfig::default()
        };
        for words in ["--epochs 301", "--max-steps 5"] {
            let result = resumed(words, &saved);
            assert_eq!(result.is_ok(), moves, "{schedule:?} {words}");
            if let Err(error) = result {
                assert!(error.to_string().contains("--change"), "{error}");
            }
            let changed = resumed_with(true, words, &saved).unwrap();
            let (now, was) = (changed.table().unwrap(), saved.table().unwrap());
            let changes = CharLmConfig::settings().changes(&now, &was).unwrap();
            assert_eq!(changes.is_empty(), moves, "{changes:?}");
        }
    }
    // With a plateau the rate follows from the validations.
    for (schedule, free) in [(ScheduleKind::Cosine, true), (ScheduleKind::Plateau, false)] {
        let saved = CharLmConfig {
            schedule,
            ..CharLmConfig::default()
        };
        let result = resumed("--eval-every 9", &saved);
        assert_eq!(result.is_ok(), free, "{schedule:?}");
        resumed("--patience 2 --max-time 5m", &saved).unwrap();
    }
    let message = usage(resumed("--max-steps 5", &unusual()));
    assert!(message.contains("max-steps = 5 contradicts"), "{message}");
    let saved = CharLmConfig {
        schedule: ScheduleKind::Linear,
        ..CharLmConfig::default()
    };
    let message = usage(resumed("--max-steps 5", &saved));
    assert!(
        message.contains("the saved run, which has no max-steps"),
        "{message}"
    );
}

#[test]
fn a_least_learning_rate_above_the_learning_rate_is_refused() {
    let message = usage(config([&flags("--min-lr 0.5 --schedule linear")]));
    assert!(
        message.starts_with("min-lr = 0.5 is above learning-rate = 0.00018"),
        "{message}"
    );
    config([&flags("--min-lr 0.5 --learning-rate 0.5")]).unwrap();
}

/// How the message begins that says what a resumed run cannot change.
pub fn contradiction(now: &str, was: &str) -> String {
    let name = now.split(' ').next().unwrap();
    format!("--resume: {now} contradicts the saved run, which has {name} = {was}. ")
}
