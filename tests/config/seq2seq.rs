//! The configuration of seq2seq training: the same rules over another table of keys.

use std::path::PathBuf;

use rnnx::data::syntax::GrammarChoice;
use rnnx::data::tokens::TokenizerKind;
use rnnx::optim::{AdamConfig, Clip, OptimizerKind, ScheduleKind};
use rnnx::programs::charlm::config::CharLmConfig;
use rnnx::programs::seq2seq::config::Seq2SeqConfig;
use rnnx::programs::seq2seq::language::TargetLanguage;
use rnnx::programs::seq2seq::model::ModelKind;
use rnnx::programs::seq2seq::tokens::SourceText;
use rnnx::train::config_file::{parse, resolve, to_toml};
use rnnx::train::device::{DeviceChoice, Precision};
use rnnx::train::settings::Config;
use toml::Table;

use super::file::contradiction;
use super::{command, given, read_file, usage, words};

fn flags(words: &str) -> Table {
    let words: Vec<_> = words.split_whitespace().map(str::to_owned).collect();
    given(Seq2SeqConfig::settings(), &words).unwrap()
}

fn config(flags: &Table, saved: Option<&Table>) -> rnnx::Result<Seq2SeqConfig> {
    Seq2SeqConfig::from_table(resolve(Seq2SeqConfig::settings(), saved, false, [flags])?)
}

/// The settings of one file of pairs, which stands in place of three.
const ONE_FILE: [&str; 3] = ["pairs", "valid-fraction", "test-fraction"];

/// The settings that are the default in [`unusual`].
const SAME: [&str; 3] = ["copy", "virtual-shards", "reduce"];

/// A configuration in which every key differs from its default but copying, which a tanh RNN has no
/// attention for, those that contradict local steps, and those that are of one file of pairs.
fn unusual() -> Seq2SeqConfig {
    Seq2SeqConfig {
        train: Some(PathBuf::from("a \"quoted\".jsonl")),
        valid: Some(PathBuf::from("größe.jsonl.gz")),
        test: Some(PathBuf::from("c.jsonl")),
        pairs: None,
        valid_fraction: None,
        test_fraction: None,
        pretrain: Some(PathBuf::from("code.jsonl")),
        source_field: "en \"quoted\"".into(),
        target_field: "2".into(),
        strict: true,
        target_language: TargetLanguage::Python,
        source: SourceText::Both,
        source_tokens: TokenizerKind::Words,
        target_tokens: TokenizerKind::Python,
        bpe_merges: 100,
        max_source: 7,
        max_target: 9,
        min_frequency: 1,
        shuffle: false,
        bucket_batches: 4,
        model: ModelKind::Rnn,
        embedding_dim: 11,
        hidden_size: 13,
        num_layers: Some(3),
        num_heads: 2,
        copy: false,
        tie_embeddings: true,
        dropout: 0.0,
        output_dropout: Some(0.25),
        epochs: 3,
        pretrain_epochs: Some(6),
        max_steps: Some(0),
        batch_size: 5,
        learning_rate: 1.7e-5,
        schedule: ScheduleKind::Linear,
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
        clip_norm: 0.25,
        label_smoothing: 0.1,
        teacher_forcing: 0.5,
        beam: 3,
        length_penalty: 0.5,
        grammar: GrammarChoice::Line,
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
fn defaults_are_those_of_the_contract() {
    let off = config(&flags("--clip-norm 0"), None).unwrap();
    assert_eq!(off.clip(), Clip::Off);
    let config = config(&Table::new(), None).unwrap();
    assert_eq!(config, Seq2SeqConfig::default());
    assert_eq!(
        (config.max_source, config.max_target, config.min_frequency),
        (30, 50, 2)
    );
    assert_eq!(
        (config.embedding_dim, config.hidden_size, config.layers()),
        (256, 256, 1)
    );
    assert_eq!(
        (config.dropout, config.learning_rate, config.teacher_forcing),
        (0.3, 1e-3, 1.0)
    );
    assert_eq!((config.batch_size, config.epochs), (128, 20));
    assert_eq!(config.optimizer(), AdamConfig::torch(1e-3));
    assert_eq!((config.bucket_batches, config.beam), (1, 1));
    assert!(config.shuffle && config.seed == 1);
    let clip = Clip::Global {
        max: 5.0,
        epsilon: 1e-6,
    };
    assert_eq!(config.clip(), clip);
}

/// Those of pre-training hold there alone: a run on pairs may be given them, too, as a row of a suite is.
#[test]
fn passes_are_those_of_what_is_learned() {
    let passes = |words: &str| config(&flags(words), None).unwrap().passes();
    assert_eq!(passes("--epochs 3"), 3);
    assert_eq!(passes("--epochs 3 --pretrain-epochs 5"), 3);
    assert_eq!(passes("--epochs 3 --pretrain code.jsonl"), 3);
    let both = "--epochs 3 --pretrain code.jsonl --pretrain-epochs 5";
    assert_eq!(passes(both), 5);
}

#[test]
fn every_flag_reaches_its_key() {
    let words = words(&unusual().table().unwrap());
    let flags = given(Seq2SeqConfig::settings(), &words).unwrap();
    assert_eq!(config(&flags, None).unwrap(), unusual());
}

#[test]
fn the_table_of_keys_is_complete() {
    let settings = Seq2SeqConfig::settings();
    command(settings).debug_assert();
    let table = unusual().table().unwrap();
    let mut names: Vec<_> = settings.keys.iter().map(|k| k.name.to_owned()).collect();
    names.sort();
    let set = names
        .iter()
        .filter(|name| !ONE_FILE.contains(&name.as_str()));
    assert!(table.keys().eq(set));
    let help = command(settings).render_help().to_string();
    for name in &names {
        assert!(help.contains(&format!("--{name}")), "{name}");
    }
    let default = Seq2SeqConfig::default().table().unwrap();
    for name in table.keys().filter(|n| !SAME.contains(&n.as_str())) {
        assert_ne!(table.get(name), default.get(name), "{name} is not unusual");
    }
    // A word that both programs know is limited alike, so one message serves both.
    for key in settings.keys {
        if let Some(other) = CharLmConfig::settings().find(key.name) {
            assert_eq!(
                (key.allowed, key.resume),
                (other.allowed, other.resume),
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
        let text = to_toml(Seq2SeqConfig::settings(), &config.table().unwrap());
        std::fs::write(&path, &text).unwrap();
        assert_eq!(read_file::<Seq2SeqConfig>(&path).unwrap(), config, "{text}");
        assert!(
            text.contains("`rnnx train-seq2seq --config FILE`"),
            "{text}"
        );
        assert!(text.contains("\nkind = \"seq2seq\"\nrnnx-version = \""));
    }
    // A file of the other program is refused by its kind, whatever stands before it.
    let table = CharLmConfig::default().table().unwrap();
    std::fs::write(&path, to_toml(CharLmConfig::settings(), &table)).unwrap();
    let message = usage(read_file::<Seq2SeqConfig>(&path));
    let expected = "config.toml:2: kind = \"charlm\" is not a seq2seq model's: train-seq2seq takes \
                    \"seq2seq\"";
    assert!(message.ends_with(expected), "{message}");
    let early = "batch-size = 3\nteacher-forcing = 1\nkind = \"seq2seq\"\n";
    let message = usage(parse(CharLmConfig::settings(), early, "my.toml"));
    assert!(message.starts_with("my.toml:3: kind = \"seq2seq\" is not a character LM's"));
}

#[test]
fn values_out_of_range_are_refused() {
    type Spoil = fn(&mut Seq2SeqConfig);
    let cases: &[(&str, Spoil)] = &[
        ("teacher-forcing = 1.5", |c| c.teacher_forcing = 1.5),
        ("teacher-forcing = -0.5", |c| c.teacher_forcing = -0.5),
        ("teacher-forcing = nan", |c| c.teacher_forcing = f64::NAN),
        ("dropout = 1.0", |c| c.dropout = 1.0),
        ("output-dropout = 1.0", |c| c.output_dropout = Some(1.0)),
        ("label-smoothing = 1.0", |c| c.label_smoothing = 1.0),
        ("label-smoothing = -0.1", |c| c.label_smoothing = -0.1),
        ("num-layers = 0", |c| c.num_layers = Some(0)),
        ("num-layers = 17", |c| c.num_layers = Some(17)),
        ("num-heads = 0", |c| c.num_heads = 0),
        ("max-source = 0", |c| c.max_source = 0),
        ("max-target = 0", |c| c.max_target = 0),
        ("min-frequency = 0", |c| c.min_frequency = 0),
        ("bpe-merges = 1000001", |c| c.bpe_merges = 1_000_001),
        ("bucket-batches = 0", |c| c.bucket_batches = 0),
        ("beam = 0", |c| c.beam = 0),
        ("train = \"\"", |c| c.train = Some(PathBuf::new())),
    ];
    for (words, spoil) in cases {
        let mut config = unusual();
        spoil(&mut config);
        let message = usage(config.validate());
        let start = format!("{words} (a TOML ");
        assert!(message.starts_with(&start), "{message}");
    }
    unusual().validate().unwrap();
    let copying = Seq2SeqConfig {
        model: ModelKind::Attention,
        copy: true,
        ..unusual()
    };
    let message = usage(copying.validate());
    assert!(
        message.starts_with("label-smoothing with copy: "),
        "{message}"
    );
    let half = Seq2SeqConfig {
        valid: None,
        test: None,
        ..unusual()
    };
    let message = usage(half.validate());
    assert!(
        message.starts_with("train without valid and test: "),
        "{message}"
    );
}

#[test]
fn resume_refuses_contradictions() {
    let saved = Seq2SeqConfig {
        precision: Precision::Fp32,
        num_layers: Some(1),
        ..Seq2SeqConfig::default()
    };
    let saved = saved.table().unwrap();
    for (words, now, was) in [
        ("--max-source 7", "max-source = 7", "30"),
        ("--max-target 7", "max-target = 7", "50"),
        (
            "--source-tokens bpe",
            "source-tokens = \"bpe\"",
            "\"whitespace\"",
        ),
        (
            "--target-tokens chars",
            "target-tokens = \"chars\"",
            "\"whitespace\"",
        ),
        ("--bpe-merges 9", "bpe-merges = 9", "4000"),
        ("--min-frequency 1", "min-frequency = 1", "2"),
        ("--no-shuffle", "shuffle = false", "true"),
        ("--bucket-batches 2", "bucket-batches = 2", "1"),
        ("--model lstm", "model = \"lstm\"", "\"attention\""),
        ("--embedding-dim 32", "embedding-dim = 32", "256"),
        ("--hidden-size 32", "hidden-size = 32", "256"),
        ("--num-layers 2", "num-layers = 2", "1"),
        ("--num-heads 2", "num-heads = 2", "4"),
        ("--dropout 0.5", "dropout = 0.5", "0.3"),
        ("--batch-size 3", "batch-size = 3", "128"),
        ("--learning-rate 0.5", "learning-rate = 0.5", "0.001"),
        ("--clip-norm 0.5", "clip-norm = 0.5", "5.0"),
        ("--label-smoothing 0.5", "label-smoothing = 0.5", "0.0"),
        ("--teacher-forcing 0.5", "teacher-forcing = 0.5", "1.0"),
        ("--grammar line", "grammar = \"line\"", "\"none\""),
        ("--seed 2", "seed = 2", "1"),
        ("--precision fp16", "precision = \"fp16\"", "\"fp32\""),
    ] {
        let message = usage(config(&flags(words), Some(&saved)));
        assert!(message.starts_with(&contradiction(now, was)), "{message}");
    }
    let free = "--epochs 9 --max-steps 5 --log-every 2 --checkpoint-every 3 --beam 4 --device cpu \
                --threads 1 --train a --valid b --test c";
    let config = config(&flags(free), Some(&saved)).unwrap();
    assert_eq!((config.epochs, config.beam), (9, 4));
}

#[test]
fn the_model_that_is_asked_for() {
    let settings = Seq2SeqConfig::settings();
    let (key, words) = settings.each().unwrap();
    assert_eq!(key.name, "model");
    assert_eq!(words, ["rnn", "lstm", "attention"]);
    assert!(flags("").is_empty());
    assert_eq!(flags("--model all")["model"].as_str(), Some("all"));
    for kind in ModelKind::ALL {
        let flags = flags(&format!("--model {kind}"));
        assert_eq!(flags["model"].as_str(), Some(&*kind.to_string()));
        assert_eq!(config(&flags, None).unwrap().model, kind);
    }
    // In a file there is one model.
    let message = usage(parse(settings, "model = \"all\"", "my.toml"));
    assert!(
        message.contains("model is rnn or lstm or attention"),
        "{message}"
    );
}

#[test]
fn what_a_transformer_takes() {
    let of = |words: &str| config(&flags(words), None);
    let default = of("--model transformer").unwrap();
    let sizes = default.sizes(10, 20);
    assert_eq!((sizes.layers, sizes.heads), (3, 4));
    let sizes = of("--model transformer --num-layers 6 --num-heads 8");
    let sizes = sizes.unwrap().sizes(10, 20);
    assert_eq!((sizes.layers, sizes.heads), (6, 8));
    assert!(of("--model transformer --copy --tie-embeddings").is_ok());
    for (words, expected) in [
        (
            "--model transformer --num-heads 3",
            "num-heads = 3 with embedding-dim = 256",
        ),
        (
            "--model transformer --teacher-forcing 0.5",
            "teacher-forcing = 0.5 with model = transformer",
        ),
        ("--model gru --copy", "copy with model = gru"),
    ] {
        let message = usage(of(words));
        assert!(message.starts_with(expected), "{message}");
    }
    // One setting for all models, and heads are a Transformer's alone.
    let layers = |words| of(words).unwrap().sizes(10, 20).layers;
    assert_eq!(layers("--model lstm --num-layers 2"), 2);
    assert_eq!(layers("--model lstm"), 1);
    assert!(of("--model lstm --num-heads 3").is_ok());
}

#[test]
fn the_preset_for_pseudo_code() {
    let presets = Seq2SeqConfig::settings().presets;
    assert_eq!(
        presets.iter().map(|p| p.name).collect::<Vec<_>>(),
        ["pseudocode"]
    );
    let preset = (presets[0].values)().unwrap();
    let settings = Seq2SeqConfig::settings();
    let of = |flags: &Table| resolve(settings, None, false, [&preset, flags]);
    let config = Seq2SeqConfig::from_table(of(&Table::new()).unwrap()).unwrap();
    let start = (config.model, config.copy, config.grammar);
    assert_eq!(start, (ModelKind::Attention, true, GrammarChoice::Line));
    // What is no setting of a preset is the default; a flag comes first.
    assert_eq!(config.hidden_size, 256);
    let config = Seq2SeqConfig::from_table(of(&flags("--beam 1")).unwrap()).unwrap();
    assert_eq!((config.beam, config.copy), (1, true));
}
