//! The configuration of seq2seq training: the same rules over another table of keys.

use std::path::PathBuf;

use clap::{CommandFactory, Parser};
use rnnx::cli::seq2seq_args::{Models, TrainSeq2seqArgs};
use rnnx::cli::train_args::resolve;
use rnnx::optim::Clip;
use rnnx::programs::charlm::config::{CharLmConfig, DeviceChoice, Precision};
use rnnx::programs::seq2seq::config::Seq2SeqConfig;
use rnnx::programs::seq2seq::model::ModelKind;
use rnnx::train::config_file::{parse, read, to_toml};
use rnnx::train::keys::{KEYS, SEQ2SEQ_KEYS};
use rnnx::train::settings::Config;

use super::usage;

#[derive(Debug, Parser)]
struct Train {
    #[command(flatten)]
    args: TrainSeq2seqArgs,
}

fn flags(words: &str) -> TrainSeq2seqArgs {
    let words = ["train"].into_iter().chain(words.split_whitespace());
    Train::try_parse_from(words).unwrap().args
}

/// A configuration in which every key but the number of layers differs from its default.
fn unusual() -> Seq2SeqConfig {
    Seq2SeqConfig {
        train: Some(PathBuf::from("a \"quoted\".jsonl")),
        valid: Some(PathBuf::from("größe.jsonl.gz")),
        test: Some(PathBuf::from("c.jsonl")),
        max_source: 7,
        max_target: 9,
        min_frequency: 1,
        shuffle: false,
        bucket_batches: 4,
        model: ModelKind::Rnn,
        embedding_dim: 11,
        hidden_size: 13,
        num_layers: 1,
        dropout: 0.0,
        epochs: 3,
        max_steps: Some(0),
        batch_size: 5,
        learning_rate: 1.7e-5,
        clip_norm: 0.25,
        teacher_forcing: 0.5,
        beam: 3,
        seed: 1 << 40,
        log_every: 1,
        checkpoint_every: Some(20),
        device: DeviceChoice::Cuda(1),
        precision: Precision::Fp32,
        threads: Some(2),
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = resolve(&flags(""), None).unwrap();
    assert_eq!(config, Seq2SeqConfig::default());
    assert_eq!(
        (config.max_source, config.max_target, config.min_frequency),
        (30, 50, 2)
    );
    assert_eq!(
        (config.embedding_dim, config.hidden_size, config.num_layers),
        (256, 256, 1)
    );
    assert_eq!(
        (config.dropout, config.learning_rate, config.teacher_forcing),
        (0.3, 1e-3, 1.0)
    );
    assert_eq!((config.batch_size, config.epochs), (128, 20));
    assert_eq!((config.bucket_batches, config.beam), (1, 1));
    assert!(config.shuffle && config.seed == 1);
    let clip = Clip::Global {
        max: 5.0,
        epsilon: 1e-6,
    };
    assert_eq!(config.clip(), clip);
    let off = resolve(&flags("--clip-norm 0"), None).unwrap();
    assert_eq!(off.clip(), Clip::Off);
}

#[test]
fn every_flag_reaches_its_key() {
    let config = unusual();
    let mut words = vec!["train".to_owned()];
    for (key, value) in config.table() {
        match value {
            toml::Value::Boolean(false) => words.push(format!("--no-{key}")),
            toml::Value::String(s) => words.push(format!("--{key}={s}")),
            other => words.push(format!("--{key}={other}")),
        }
    }
    let args = Train::try_parse_from(words).unwrap().args;
    assert_eq!(resolve(&args, None).unwrap(), config);
}

#[test]
fn the_table_of_keys_is_complete() {
    Train::command().debug_assert();
    let table = unusual().table();
    let mut names: Vec<_> = SEQ2SEQ_KEYS.iter().map(|k| k.name.to_owned()).collect();
    names.sort();
    assert_eq!(table.keys().cloned().collect::<Vec<_>>(), names);
    let help = Train::command().render_help().to_string();
    for name in &names {
        assert!(help.contains(&format!("--{name}")), "{name}");
    }
    let default = Seq2SeqConfig::default().table();
    for name in names.iter().filter(|n| *n != "num-layers") {
        assert_ne!(table.get(name), default.get(name), "{name} is not unusual");
    }
    // A word that both programs know is limited alike, so one message serves both.
    for key in SEQ2SEQ_KEYS.iter().filter(|k| k.name != "num-layers") {
        if let Some(other) = KEYS.iter().find(|k| k.name == key.name) {
            assert_eq!(
                (key.allowed, key.fixed),
                (other.allowed, other.fixed),
                "{}",
                key.name
            );
        }
    }
}

#[test]
fn toml_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    for config in [Seq2SeqConfig::default(), unusual()] {
        let text = to_toml(&config);
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read::<Seq2SeqConfig>(&path).unwrap(), config, "{text}");
        assert!(
            text.contains("`rnnx train-seq2seq --config FILE`"),
            "{text}"
        );
        assert!(text.contains("\nkind = \"seq2seq\"\nrnnx-version = \""));
    }
    // A file of the other program is refused by its kind, whatever stands before it.
    std::fs::write(&path, to_toml(&CharLmConfig::default())).unwrap();
    let message = usage(read::<Seq2SeqConfig>(&path));
    let expected = "config.toml:2: kind = \"charlm\" is not a seq2seq model's: train-seq2seq takes \
                    \"seq2seq\"";
    assert!(message.ends_with(expected), "{message}");
    let early = "batch-size = 3\nteacher-forcing = 1\nkind = \"seq2seq\"\n";
    let message = usage(parse::<CharLmConfig>(early, "my.toml"));
    assert!(message.starts_with("my.toml:3: kind = \"seq2seq\" is not a character LM's"));
}

#[test]
fn values_out_of_range_are_refused() {
    type Spoil = fn(&mut Seq2SeqConfig);
    let cases: &[(&str, Spoil)] = &[
        ("--teacher-forcing 1.5", |c| c.teacher_forcing = 1.5),
        ("--teacher-forcing -0.5", |c| c.teacher_forcing = -0.5),
        ("--teacher-forcing nan", |c| c.teacher_forcing = f64::NAN),
        ("--dropout 1.0", |c| c.dropout = 1.0),
        ("--num-layers 2", |c| c.num_layers = 2),
        ("--max-source 0", |c| c.max_source = 0),
        ("--max-target 0", |c| c.max_target = 0),
        ("--min-frequency 0", |c| c.min_frequency = 0),
        ("--bucket-batches 0", |c| c.bucket_batches = 0),
        ("--beam 0", |c| c.beam = 0),
        ("--train ", |c| c.train = Some(PathBuf::new())),
    ];
    for (words, spoil) in cases {
        let mut config = unusual();
        spoil(&mut config);
        let message = usage(config.validate());
        let start = format!("{words} cannot be used: --");
        assert!(message.starts_with(&start), "{message}");
    }
    unusual().validate().unwrap();
    let half = Seq2SeqConfig {
        valid: None,
        test: None,
        ..unusual()
    };
    let message = usage(half.validate());
    assert!(
        message.starts_with("--train without --valid and --test: "),
        "{message}"
    );
}

#[test]
fn resume_refuses_contradictions() {
    let saved = Seq2SeqConfig {
        precision: Precision::Fp32,
        ..Seq2SeqConfig::default()
    };
    for (words, was) in [
        ("--max-source 7", "--max-source 30"),
        ("--max-target 7", "--max-target 50"),
        ("--min-frequency 1", "--min-frequency 2"),
        ("--no-shuffle", "--shuffle"),
        ("--bucket-batches 2", "--bucket-batches 1"),
        ("--model lstm", "--model attention"),
        ("--embedding-dim 32", "--embedding-dim 256"),
        ("--hidden-size 32", "--hidden-size 256"),
        ("--dropout 0.5", "--dropout 0.3"),
        ("--batch-size 3", "--batch-size 128"),
        ("--learning-rate 0.5", "--learning-rate 0.001"),
        ("--clip-norm 0.5", "--clip-norm 5.0"),
        ("--teacher-forcing 0.5", "--teacher-forcing 1.0"),
        ("--seed 2", "--seed 1"),
        ("--precision fp16", "--precision fp32"),
    ] {
        let message = usage(resolve(&flags(&format!("--resume {words}")), Some(&saved)));
        let expected = format!("--resume: {words} contradicts the saved run, which has {was}. ");
        assert!(message.starts_with(&expected), "{message}");
    }
    let free = "--resume --epochs 9 --max-steps 5 --log-every 2 --checkpoint-every 3 --beam 4 \
                --device cpu --threads 1 --train a --valid b --test c";
    let config = resolve(&flags(free), Some(&saved)).unwrap();
    assert_eq!((config.epochs, config.beam), (9, 4));
}

#[test]
fn the_model_that_is_asked_for() {
    assert_eq!(flags("").models(), None);
    assert_eq!(flags("--model all").models(), Some(Models::All));
    for kind in ModelKind::ALL {
        let args = flags(&format!("--model {kind}"));
        assert_eq!(args.models(), Some(Models::One(kind)));
        assert_eq!(flags("--model all").for_model(kind).models(), args.models());
        assert_eq!(resolve(&args, None).unwrap().model, kind);
    }
}
