//! Values that a setting cannot have, and settings that cannot stand together.

use super::*;

#[test]
fn values_out_of_range_are_refused() {
    type Spoil = fn(&mut CharLmConfig);
    let cases: &[(&str, Spoil)] = &[
        ("--max-chars 0", |c| c.max_chars = 0),
        ("--max-chars 9223372036854775807", |c| {
            c.max_chars = i64::MAX as usize
        }),
        ("--valid-fraction -0.1", |c| c.valid_fraction = -0.1),
        ("--valid-fraction 0.91", |c| c.valid_fraction = 0.91),
        ("--valid-fraction nan", |c| c.valid_fraction = f64::NAN),
        ("--epochs 0", |c| c.epochs = 0),
        ("--epochs 1000001", |c| c.epochs = 1_000_001),
        ("--max-steps 9223372036854775807", |c| {
            c.max_steps = Some(i64::MAX as usize)
        }),
        ("--batch-size 0", |c| c.batch_size = 0),
        ("--batch-size 65537", |c| c.batch_size = 65_537),
        ("--seq-length 0", |c| c.seq_length = 0),
        ("--seq-length 65537", |c| c.seq_length = 65_537),
        ("--embedding-dim 0", |c| c.embedding_dim = 0),
        ("--embedding-dim 16385", |c| c.embedding_dim = 16_385),
        ("--hidden-size 0", |c| c.hidden_size = 0),
        ("--hidden-size 16385", |c| c.hidden_size = 16_385),
        ("--num-layers 0", |c| c.num_layers = 0),
        ("--num-layers 17", |c| c.num_layers = 17),
        ("--dropout 1.0", |c| c.dropout = 1.0),
        ("--dropout -1.0", |c| c.dropout = -1.0),
        ("--dropout nan", |c| c.dropout = f64::NAN),
        ("--learning-rate 0.0", |c| c.learning_rate = 0.0),
        ("--learning-rate 10.5", |c| c.learning_rate = 10.5),
        ("--learning-rate inf", |c| c.learning_rate = f64::INFINITY),
        ("--warmup-steps 9223372036854775807", |c| {
            c.warmup_steps = i64::MAX as usize
        }),
        ("--min-lr -0.1", |c| c.min_lr = -0.1),
        ("--beta1 1.0", |c| c.beta1 = 1.0),
        ("--beta2 -0.1", |c| c.beta2 = -0.1),
        ("--epsilon 0.0", |c| c.epsilon = 0.0),
        ("--weight-decay -0.1", |c| c.weight_decay = -0.1),
        ("--min-lr nan", |c| c.min_lr = f64::NAN),
        ("--clip-norm -1.0", |c| c.clip_norm = -1.0),
        ("--clip-norm inf", |c| c.clip_norm = f64::INFINITY),
        ("--l2 -0.1", |c| c.l2 = -0.1),
        ("--l2 nan", |c| c.l2 = f64::NAN),
        ("--seed 9223372036854775807", |c| c.seed = i64::MAX as u64),
        ("--log-every 0", |c| c.log_every = 0),
        ("--checkpoint-every 0", |c| c.checkpoint_every = Some(0)),
        ("--keep 0", |c| c.keep = 0),
        ("--eval-every 0", |c| c.eval_every = Some(0)),
        ("--patience 0", |c| c.patience = Some(0)),
        ("--threads 0", |c| c.threads = Some(0)),
        ("--threads 1025", |c| c.threads = Some(1_025)),
    ];
    for (words, spoil) in cases {
        let mut config = CharLmConfig::default();
        spoil(&mut config);
        let message = usage(config.validate());
        let (flag, value) = words.split_once(' ').unwrap();
        let name = &flag[2..];
        let expected = format!("{name} = {value} (a TOML ");
        assert!(message.starts_with(&expected), "{message}");
        let allowed = CharLmConfig::settings().find(name).unwrap().allowed;
        let expected = format!(") cannot be used: {name} is {allowed} (");
        assert!(message.contains(&expected), "{message}");

        // The same as a flag: exit code 2, in a message that names flag, value and range.
        let error = try_flags(words).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        let text = error.to_string();
        assert!(
            text.contains(flag) && text.contains(&format!("'{value}'")),
            "{text}"
        );
        assert!(text.contains(&format!("give {allowed}")), "{text}");
    }
    CharLmConfig::default().validate().unwrap();
    unusual().validate().unwrap();
    // What no range of a single row says.
    let message = usage(config([&flags("--tie-embeddings --hidden-size 128")]));
    let words = [
        "embedding-dim = 64 ",
        "hidden-size = 128",
        "give embedding-dim = 128",
    ];
    assert!(words.iter().all(|w| message.contains(w)), "{message}");
    let message = usage(config([&flags("--variational-dropout --dropout 0")]));
    assert!(message.contains("give a dropout above 0"), "{message}");
    // What TOML cannot hold.
    let mut huge = unusual();
    huge.seed = u64::MAX;
    assert!(usage(huge.validate()).starts_with("configuration: "));
}
