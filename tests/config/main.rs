//! Flags, configuration files, presets and what a resumed run may change.

mod commands;
mod file;
mod ranges;
mod rounds;
mod seq2seq;
mod toy;

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::{CommandFactory, Parser};
use rnnx::Error;
use rnnx::cli::args::{BenchArgs, DataStatsArgs, GenerateArgs};
use rnnx::cli::score::ScoreArgs;
use rnnx::cli::translate_args::TranslateArgs;
use rnnx::cli::{flags as cli_flags, train};
use rnnx::data::charset::CharsetChoice;
use rnnx::nn::CellKind;
use rnnx::optim::{AdamConfig, Clip, OptimizerKind, ScheduleKind};
use rnnx::programs::charlm::config::{CharLmConfig, ClipMode};
use rnnx::programs::charlm::division::ValidSplit;
use rnnx::train::config_file::{parse, read_table, resolve, to_toml};
use rnnx::train::device::{DeviceChoice, Precision};
use rnnx::train::settings::{Config, Settings};
use toml::Table;

#[derive(Debug, Parser)]
struct Generate {
    #[command(flatten)]
    args: GenerateArgs,
}

#[derive(Debug, Parser)]
struct Translate {
    #[command(flatten)]
    args: TranslateArgs,
}

#[derive(Debug, Parser)]
struct Score {
    #[command(flatten)]
    args: ScoreArgs,
}

#[derive(Debug, Parser)]
struct Bench {
    #[command(flatten)]
    _args: BenchArgs,
}

#[derive(Debug, Parser)]
struct Stats {
    #[command(flatten)]
    _args: DataStatsArgs,
}

/// The training command over these settings.
fn command(settings: &Settings) -> clap::Command {
    train::flags(clap::Command::new("train"), settings)
}

/// The settings that these words give as flags.
fn given(settings: &Settings, words: &[String]) -> Result<Table, clap::Error> {
    let matches =
        command(settings).try_get_matches_from([&["train".to_owned()], words].concat())?;
    Ok(cli_flags::given(settings, |_| true, &matches))
}

fn try_flags(words: &str) -> Result<Table, clap::Error> {
    let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
    given(CharLmConfig::settings(), &words)
}

fn flags(words: &str) -> Table {
    try_flags(words).unwrap()
}

/// The configuration in a file.
fn read_file<C: Config>(path: &Path) -> rnnx::Result<C> {
    C::from_table(read_table(C::settings(), path)?)
}

/// The words that set every value of a table.
fn words(table: &Table) -> Vec<String> {
    let words = table.iter().flat_map(|(key, value)| match value {
        toml::Value::Boolean(false) => vec![format!("--no-{key}")],
        toml::Value::Boolean(true) => vec![format!("--{key}")],
        toml::Value::Array(paths) => paths
            .iter()
            .map(|p| format!("--{key}={}", p.as_str().unwrap()))
            .collect(),
        toml::Value::String(s) => vec![format!("--{key}={s}")],
        other => vec![format!("--{key}={other}")],
    });
    words.collect()
}

fn usage<T>(result: rnnx::Result<T>) -> String {
    match result {
        Err(Error::Usage(message)) => message,
        Err(other) => panic!("not a usage error: {other}"),
        Ok(_) => panic!("accepted"),
    }
}

/// The configuration of these layers.
fn config<const N: usize>(layers: [&Table; N]) -> rnnx::Result<CharLmConfig> {
    CharLmConfig::from_table(resolve(CharLmConfig::settings(), None, false, layers)?)
}

/// The configuration of a run that goes on.
fn resumed(words: &str, saved: &CharLmConfig) -> rnnx::Result<CharLmConfig> {
    resumed_with(false, words, saved)
}

/// The same, where it may change what can change on the way.
fn resumed_with(change: bool, words: &str, saved: &CharLmConfig) -> rnnx::Result<CharLmConfig> {
    let (saved, flags) = (saved.table()?, flags(words));
    let table = resolve(CharLmConfig::settings(), Some(&saved), change, [&flags])?;
    CharLmConfig::from_table(table)
}

fn preset(name: &str) -> Table {
    let mut presets = CharLmConfig::settings().presets.iter();
    (presets.find(|p| p.name == name).unwrap().values)().unwrap()
}

/// A configuration in which every key that can differs from its default.
fn unusual() -> CharLmConfig {
    CharLmConfig {
        cell: CellKind::Gru,
        corpus: vec![
            PathBuf::from("a \"quoted\" \\ path.py"),
            PathBuf::from("größe"),
        ],
        glob: vec!["*.txt".into(), "docs/**/[a-c]?.md".into()],
        charset: CharsetChoice::Bytes,
        min_char_count: 3,
        max_chars: 12_345,
        valid_fraction: 0.1,
        valid_split: ValidSplit::Files,
        shuffle: false,
        epochs: 3,
        max_steps: Some(0),
        batch_size: 7,
        seq_length: 9,
        embedding_dim: 13,
        tie_embeddings: true,
        hidden_size: 13,
        num_layers: 4,
        dropout: 0.3,
        variational_dropout: true,
        learning_rate: 1.7e-5,
        schedule: ScheduleKind::Cosine,
        warmup_steps: 4,
        min_lr: 1e-6,
        optimizer: OptimizerKind::Sgd,
        beta1: 0.8,
        beta2: 0.99,
        epsilon: 1e-4,
        weight_decay: 0.1,
        accumulate: 4,
        // These two as they are, for local steps contradict others.
        virtual_shards: 1,
        reduce: rnnx::train::shards::Reduce::Exact,
        local_steps: Some(1),
        outer_learning_rate: 0.5,
        outer_momentum: 0.6,
        clip_norm: 0.0,
        clip_mode: ClipMode::Global,
        l2: 1e-9,
        seed: 1 << 40,
        log_every: 1,
        checkpoint_every: Some(20),
        keep: 5,
        average: Some(3),
        eval_every: Some(30),
        patience: Some(3),
        max_time: Some("90m".parse().unwrap()),
        tensorboard: true,
        device: DeviceChoice::Cuda(1),
        precision: Precision::Fp32,
        recurrence: rnnx::device::Recurrence::Whole,
        exchange: rnnx::train::exchange::Exchange::Host,
        threads: Some(2),
    }
}

#[test]
fn every_command_is_well_formed() {
    command(CharLmConfig::settings()).debug_assert();
    Generate::command().debug_assert();
    Bench::command().debug_assert();
    Stats::command().debug_assert();
    rnnx::cli::Cli::command().debug_assert();
}

#[test]
fn help_gives_defaults_as_papers_write_them() {
    let help = command(CharLmConfig::settings()).render_help().to_string();
    // As it reads, wherever its lines end.
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
    for default in ["1.8e-4", "0.05", "1e-4", "6000000"] {
        assert!(help.contains(&format!("[default: {default}]")), "{help}");
    }
}

#[test]
fn defaults_are_the_published_configuration() {
    let config = config([&flags("")]).unwrap();
    assert_eq!(config, CharLmConfig::default());
    assert_eq!(config, crate::config([&preset("published")]).unwrap());
    assert_eq!(
        (config.batch_size, config.seq_length, config.epochs),
        (512, 256, 300)
    );
    assert_eq!(
        (config.embedding_dim, config.hidden_size, config.num_layers),
        (64, 256, 2)
    );
    assert_eq!(
        (config.learning_rate, config.clip_norm, config.l2),
        (1.8e-4, 1.0, 1e-4)
    );
    assert_eq!(
        (config.dropout, config.valid_fraction, config.max_chars),
        (0.1, 0.05, 6_000_000)
    );
    assert_eq!(config.optimizer(), AdamConfig::keras(1.8e-4));
    assert_eq!(
        (config.seed, config.log_every, config.shuffle),
        (1, 50, true)
    );
}

/// Keras divides by the norm itself, with `clipnorm` and with `global_clipnorm`.
#[test]
fn clipping_adds_nothing_to_the_norm() {
    let clip = |words: &str| config([&flags(words)]).unwrap().clip();
    let global = Clip::Global {
        max: 0.5,
        epsilon: 0.0,
    };
    assert_eq!(clip("--clip-norm 0.5 --clip-mode global"), global);
    assert_eq!(clip("--clip-norm 0.5"), Clip::PerTensor { max: 0.5 });
    assert_eq!(clip("--clip-norm 0"), Clip::Off);
}

#[test]
fn flag_beats_file_beats_preset_beats_default() {
    let with_file = |text: &str, preset: &Table, words: &str| {
        let file = parse(CharLmConfig::settings(), text, "my.toml").unwrap();
        config([preset, &file, &flags(words)]).unwrap()
    };
    let file = "batch-size = 32\nseq-length = 100\n";
    let config = with_file(file, &preset("quick"), "--batch-size 16");
    assert_eq!(config.batch_size, 16);
    assert_eq!(config.seq_length, 100);
    assert_eq!(config.learning_rate, 2e-3);
    assert_eq!(config.hidden_size, 256);
    let with_file = |text: &str, words: &str| with_file(text, &Table::new(), words);
    assert!(!with_file("shuffle = false", "").shuffle);
    assert!(with_file("shuffle = false", "--shuffle").shuffle);
    assert!(!with_file("shuffle = true", "--no-shuffle").shuffle);
    // The last of two wins.
    assert!(with_file("", "--no-shuffle --shuffle").shuffle);
    assert!(!with_file("", "--shuffle --no-shuffle").shuffle);
    // An integer will do for a real number, and is one from then on.
    let config = with_file("dropout = 0\n", "");
    assert_eq!(config.dropout, 0.0);
    assert_eq!(config.table().unwrap()["dropout"], toml::Value::Float(0.0));
}

#[test]
fn every_flag_reaches_its_key() {
    let table = unusual().table().unwrap();
    let flags = given(CharLmConfig::settings(), &words(&table)).unwrap();
    assert_eq!(config([&flags]).unwrap(), unusual());
}

#[test]
fn toml_round_trip() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.toml");
    for config in [CharLmConfig::default(), unusual()] {
        let text = to_toml(CharLmConfig::settings(), &config.table().unwrap());
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read_file::<CharLmConfig>(&path).unwrap(), config, "{text}");
        assert!(text.contains("\nkind = \"charlm\"\nrnnx-version = \""));
        for key in CharLmConfig::settings().keys {
            assert!(text.contains(&format!("# {}: ", key.about)), "{}", key.name);
        }
    }
}

#[test]
fn the_table_of_keys_is_complete() {
    let keys = CharLmConfig::settings().keys;
    let names: Vec<_> = keys.iter().map(|k| k.name.to_owned()).collect();
    let mut sorted = names.clone();
    sorted.sort();
    assert_eq!(
        unusual()
            .table()
            .unwrap()
            .into_iter()
            .map(|(k, _)| k)
            .collect::<Vec<_>>(),
        sorted
    );
    let help = command(CharLmConfig::settings()).render_help().to_string();
    for name in names {
        assert!(help.contains(&format!("--{name}")), "{name}");
    }
}
