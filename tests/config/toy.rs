//! A row that is added to a program is a flag, help, a key of files, a check and a row of the report.

use std::fs;

use super::*;

rnnx::settings! {
    /// A program with a setting of its own. It bears the name of one that has a page.
    ToyConfig {
        kind: "charlm",
        model: "a toy",
        log_every: 7,
        optimizer: AdamConfig::keras(1e-3),
        together: |_| Ok(()),
        presets: {},
    }
    "Toys" {
        toy_blocks: usize = 12, Whole(1, 99), fixed, "blocks in the tower";
    }
}

#[test]
fn a_row_is_found_in_all_five() {
    let settings = ToyConfig::settings();
    let flags = |words: &str| given(settings, &[words.to_owned()]);

    // The flag, and the typed field.
    let given = flags("--toy-blocks=34").unwrap();
    let table = resolve(settings, None, false, [&given]).unwrap();
    let config = ToyConfig::from_table(table.clone()).unwrap();
    assert_eq!((config.toy_blocks, config.log_every), (34, 7));

    // Its help, with the default.
    let help = command(settings).render_help().to_string();
    let line = "--toy-blocks <N>  Blocks in the tower [default: 12]";
    assert!(help.contains(&format!("\nToys:\n      {line}\n")), "{help}");

    // The key of files, with its comment.
    let text = to_toml(settings, &table);
    let key = "# Toys\n\n# blocks in the tower: a whole number from 1 to 99\ntoy-blocks = 34\n";
    assert!(text.contains(key), "{text}");
    assert_eq!(parse(settings, &text, "my.toml").unwrap(), table);

    // The check, in the same words wherever the value comes from.
    let allowed = "a whole number from 1 to 99";
    let refused = flags("--toy-blocks=100").unwrap_err().to_string();
    assert!(refused.contains(&format!("give {allowed}")), "{refused}");
    for message in [
        usage(parse(settings, "toy-blocks = 100", "my.toml")),
        usage(
            ToyConfig {
                toy_blocks: 100,
                ..config.clone()
            }
            .validate(),
        ),
    ] {
        let expected = format!("toy-blocks is {allowed} (blocks in the tower)");
        assert!(message.ends_with(&expected), "{message}");
    }
    let saved = ToyConfig::default().table().unwrap();
    let message = usage(resolve(settings, Some(&saved), false, [&given]));
    assert!(
        message.starts_with(&file::contradiction("toy-blocks = 34", "12")),
        "{message}"
    );

    // The report's row.
    let run = tempfile::tempdir().unwrap();
    fs::write(run.path().join("config.toml"), text).unwrap();
    let epoch = "{\"event\": \"epoch\", \"epoch\": 1, \"step\": 3, \"train_loss\": 2.0, \
                 \"train_accuracy\": 0.5, \"valid_loss\": 2.5, \"valid_accuracy\": 0.25, \
                 \"seconds\": 1.0}\n";
    fs::write(run.path().join("metrics.jsonl"), epoch).unwrap();
    let report = Command::new(env!("CARGO_BIN_EXE_rnnx"))
        .arg("report")
        .arg(run.path())
        .output();
    assert_eq!(report.unwrap().status.code(), Some(0));
    let page = fs::read_to_string(run.path().join("report.html")).unwrap();
    let row = page.split("toy-blocks").nth(1).unwrap();
    let mut texts = row.split('<').filter_map(|tag| tag.split_once('>'));
    let value = texts.find(|(_, text)| !text.is_empty());
    assert_eq!(value.unwrap().1, "34", "{row:.80}");
}
