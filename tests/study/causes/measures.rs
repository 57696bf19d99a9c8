//! The measures as a study takes them: on every cell, as JSON and back, and their blanks.

use std::fmt::Debug;

use rnnx::data::chars::CharVocab;
use rnnx::nn::CellKind;
use rnnx::programs::charlm::generate::sample;
use rnnx::programs::charlm::generate::weights::CharLmWeights;
use rnnx::programs::charlm::model::{CharLm, CharLmSizes};
use rnnx::programs::charlm::study::causes::dyck::DyckSpec;
use rnnx::programs::charlm::study::causes::follow::Label;
use rnnx::programs::charlm::study::causes::measures::{
    Amounts, contexts, language, swaps, units, written,
};
use rnnx::programs::charlm::study::causes::network::Part;
use rnnx::programs::charlm::study::causes::tables;
use rnnx::programs::charlm::study::estimate::SEED;
use rnnx::programs::charlm::study::grid::Name;
use rnnx::programs::charlm::study::held_out::StudyText;
use rnnx::programs::charlm::study::source::{Half, SourceFile};
use rnnx::train::model::Model;
use serde::{Serialize, de::DeserializeOwned};

use super::models::{file, files, vocab};

/// What stands above its column.
const MODEL: Name = Name {
    text: "model",
    recipe: None,
};

fn weights(cell: CellKind) -> CharLmWeights {
    let sizes = CharLmSizes {
        cell,
        vocab: vocab().len(),
        embedding: 4,
        hidden: 9,
        layers: 2,
        tied: false,
    };
    let model = CharLm::new::<f32>(sizes, 3);
    sample::weights(&model.export().expect("exports"), false).expect("a character LM")
}

fn text(files: Vec<SourceFile>, vocab: CharVocab) -> StudyText {
    StudyText {
        source: "by hand".into(),
        files,
        training: None,
        vocab,
        left_out: 0,
        duplicates: Vec::new(),
        notes: Vec::new(),
    }
}

/// Files of more than 1,200 characters, some in each half.
fn long_text() -> StudyText {
    let joined = |n: u32| {
        let parts = files(u64::from(n), 3);
        let text: String = parts.iter().flat_map(|part| &part.chars).collect();
        file(&format!("{n}.py"), &text)
    };
    let text = text((0..10).map(joined).collect(), vocab());
    for half in [Half::Choose, Half::Report] {
        assert!(text.files.iter().filter(|file| file.half() == half).count() > 2);
    }
    text
}

fn amounts(cell: CellKind) -> Amounts {
    let mut amounts = Amounts::new(true, cell, SEED);
    amounts.record.chars = 400;
    amounts.writing.samples = 50;
    amounts.writing.temperatures = vec![1.0];
    amounts.dyck = DyckSpec {
        steps: 20,
        words: 50,
        hidden: 8,
        trained_length: 10,
        ..amounts.dyck
    };
    amounts
}

/// What `study.json` holds is what was found.
#[track_caller]
fn as_json<T: Serialize + DeserializeOwned + PartialEq + Debug>(found: &T) {
    let value = serde_json::to_value(found).expect("all figures are numbers");
    let back: T = serde_json::from_value(value).expect("of the same type");
    assert_eq!(&back, found);
}

#[test]
fn every_cell_is_measured() {
    let text = long_text();
    for cell in CellKind::ALL {
        let (weights, amounts) = (weights(cell), amounts(cell));
        let found = units(&weights, &text, &amounts).expect("enough files");
        as_json(&found);
        assert_eq!(Some(&found), units(&weights, &text, &amounts).as_ref());
        assert_eq!(found.gates.is_some(), cell != CellKind::Rnn);
        let depth = found.depth.as_ref().expect("depth varies");
        assert_eq!(depth.unit.part == Part::C, cell.has_c());
        let labels: Vec<Label> = found.effects.iter().map(|effect| effect.label).collect();
        assert_eq!(labels[..3], [Label::Depth; 3]);
        assert_eq!(labels[3..], [Label::Square; 3]);
        let table = tables::units(&[(MODEL, found)]);
        for part in ["held at its mean", "by depth", "column (r)"] {
            assert!(table.contains(part), "{table}");
        }
        assert_eq!(table.contains("half-life"), cell != CellKind::Rnn);

        let swapped = swaps(&weights, &text, &amounts).expect("there are pairs");
        as_json(&swapped);
        assert!(tables::swaps(&[(MODEL, swapped)]).contains("16-31"));
        let changed = contexts(&weights, &text, &amounts).expect("files are long enough");
        as_json(&changed);
        assert!(tables::contexts(&[(MODEL, changed)]).contains("lines shuffled"));
    }
}

#[test]
fn written_functions_and_the_language_are_kept_as_they_are() {
    let (weights, amounts) = (weights(CellKind::Lstm), amounts(CellKind::Lstm));
    let rows = written(&weights, &long_text(), &amounts).expect("writes");
    as_json(&rows);
    assert!(tables::writing(&[(MODEL, rows)]).contains("held-out functions"));
    let found = language(&amounts).expect("trains");
    as_json(&found);
    assert_eq!(found.cells.len(), 4);
    let table = tables::language(&[(MODEL, found)]);
    assert!(
        table.contains("no longer, deeper") && table.contains("20 steps"),
        "{table}"
    );
}

#[test]
fn what_cannot_be_measured_is_blank() {
    let (weights, amounts) = (weights(CellKind::Gru), amounts(CellKind::Gru));
    // All files in one half.
    let mut half = long_text();
    half.files.retain(|file| file.half() == Half::Choose);
    assert_eq!(units(&weights, &half, &amounts), None);
    // No pair of brackets, and too short for a context.
    let short = text(vec![file("a.py", "a = b\n")], vocab());
    assert_eq!(swaps(&weights, &short, &amounts), None);
    assert_eq!(contexts(&weights, &short, &amounts), None);
    // No brackets in the vocabulary: as many tokens, and none of them a bracket or a blank.
    let tokens = ('a'..='z').chain('\u{400}'..).take(vocab().len());
    let other = CharVocab::from_tokens(tokens).expect("a vocabulary");
    let without = text(long_text().files, other);
    assert_eq!(swaps(&weights, &without, &amounts), None);
    assert_eq!(contexts(&weights, &without, &amounts), None);
    let found = units(&weights, &without, &amounts).expect("units follow without brackets' ids");
    assert!(found.effects.is_empty() && !found.followed.is_empty());
}
