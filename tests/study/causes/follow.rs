//! The search for units finds those that hold what it asks for.

use super::models::{COUNT, DEPTH, KIND, Nothing, counter, files, stack};
use rnnx::programs::charlm::study::causes::follow::{Label, Score, follow};
use rnnx::programs::charlm::study::causes::network::{Network, Part};
use rnnx::programs::charlm::study::causes::record::{Record, RecordSpec};
use rnnx::programs::charlm::study::causes::stepper::Stepper;
use rnnx::programs::charlm::study::source::SourceFile;

const SPEC: RecordSpec = RecordSpec {
    files: 20,
    chars: 400,
    every: 2,
};

fn record<N: Network>(network: &N, files: &[SourceFile]) -> Record {
    Record::of(network, &files.iter().collect::<Vec<_>>(), &SPEC)
}

#[test]
fn places_are_those_between_two_characters() {
    let files = files(1, 6);
    let record = record(&stack(), &files);
    let number = record
        .units
        .iter()
        .position(|unit| *unit == DEPTH)
        .expect("is there");
    let kind = record
        .units
        .iter()
        .position(|unit| *unit == KIND)
        .expect("is there");
    assert_eq!(record.files.len(), 6);
    for file in &record.files {
        // One of two, of 400.
        assert!(
            (140..260).contains(&file.places.len()),
            "{}",
            file.places.len()
        );
        let depths = file.places.iter().zip(record.values(file, number));
        assert!(
            depths
                .clone()
                .all(|(place, depth)| f32::from(place.depth) == depth)
        );
        assert!(depths.clone().any(|(_, depth)| depth > 1.0));
        for (place, kind) in file.places.iter().zip(record.values(file, kind)) {
            let expected = place.innermost.map_or(0, |kind| 1 + kind as usize);
            assert_eq!(expected as f32, kind);
        }
    }
    let means = record.means();
    let values = record
        .files
        .iter()
        .flat_map(|file| record.values(file, number));
    let sum: f32 = values.sum();
    assert!((means[number] - sum / record.places() as f32).abs() < 1e-5);
}

#[test]
fn the_unit_that_counts_is_found_on_one_half_and_holds_on_the_other() {
    let (choose, report) = (files(1, 8), files(2, 8));
    let network = stack();
    let found = follow(&record(&network, &choose), &record(&network, &report));
    let of = |label| {
        found
            .iter()
            .find(|f| f.label == label)
            .expect("the label varies")
    };
    let depth = of(Label::Depth);
    assert_eq!(
        (depth.best[0].unit, depth.score),
        (DEPTH, Score::Correlation)
    );
    assert_eq!(depth.carrier(), Some(DEPTH));
    let figure = depth.reported.expect("enough places");
    assert!(
        (figure.mean - 1.0).abs() < 1e-9 && figure.low.is_some_and(|low| (low - 1.0).abs() < 1e-9)
    );
    assert!(
        !depth.best[0].falls
            && depth.best[0]
                .reported
                .is_some_and(|r| (r - 1.0).abs() < 1e-9)
    );
    // Rotated labels have the same statistics, and nothing follows them.
    let control = depth.control.expect("enough places");
    assert!(control.mean < 0.3, "{control:?}");
    assert!(depth.median < 0.9 && depth.places > 1000, "{depth:?}");

    let square = of(Label::Square);
    assert_eq!((square.best[0].unit, square.score), (KIND, Score::Auc));
    assert_eq!(square.reported.expect("enough places").mean, 1.0);
    assert_eq!(square.balanced_accuracy, Some(1.0));
    assert!(square.control.expect("enough places").mean < 0.75);
    assert_eq!(of(Label::Depth).balanced_accuracy, None);
    assert!(
        of(Label::Column)
            .best
            .iter()
            .all(|best| best.unit != COUNT || best.chosen < 0.9)
    );
}

#[test]
fn a_network_without_a_state_follows_nothing() {
    let files = files(1, 4);
    let record = record(&Nothing(100), &files);
    // A constant has no correlation, and as likely as not is above itself.
    let found = follow(&record, &record);
    let labels: Vec<Label> = found.iter().map(|found| found.label).collect();
    assert_eq!(labels, [Label::Square]);
    assert_eq!((found[0].best[0].chosen, found[0].median), (0.5, 0.5));
}

/// An LSTM whose first cell state is made to count: c rises by 1/2 at an opener and falls at a closer.
#[test]
fn the_cell_state_that_counts_is_found_in_an_lstm() {
    let network = Stepper::new(&counter());
    let (choose, report) = (files(1, 6), files(2, 6));
    let found = follow(&record(&network, &choose), &record(&network, &report));
    let depth = found
        .iter()
        .find(|f| f.label == Label::Depth)
        .expect("varies");
    let carrier = depth.carrier().expect("a unit");
    assert_eq!((carrier.layer, carrier.part, carrier.unit), (0, Part::C, 0));
    let best = depth
        .by_layer
        .iter()
        .find(|best| best.unit == carrier)
        .expect("listed");
    // The counter's gates are within 1e-8 of 0 and 1.
    assert!(
        best.chosen > 0.9999 && best.reported.is_some_and(|r| r > 0.9999),
        "{best:?}"
    );
    // Unit 1 is its negative.
    assert!(
        depth
            .best
            .iter()
            .any(|best| best.unit.unit == 1 && best.falls)
    );
}
