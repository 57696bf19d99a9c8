//! Gates and values whose time is known.

use super::models::{COUNTER_STEP, counter, file, files};
use rnnx::programs::charlm::study::causes::memory::{by_depth, layer_gates, unit_gates};
use rnnx::programs::charlm::study::causes::network::Part;
use rnnx::programs::charlm::study::causes::record::{Gates, Record, RecordSpec};
use rnnx::programs::charlm::study::causes::stepper::Stepper;

#[test]
fn half_lives_are_those_of_constant_gates() {
    // Ten characters each: 1/2, 1/2 ^ (1/100), 1, and 0.05 at one half of the characters, 1 at the other.
    let log = |f: f64| 10.0 * f.ln();
    let gates = Gates {
        chars: 10,
        closed: vec![0, 0, 0, 5],
        open: vec![0, 10, 10, 5],
        log: vec![log(0.5), log(0.5) / 100.0, 0.0, log(0.05) / 2.0],
    };
    let units = unit_gates(&gates, 2);
    let places: Vec<_> = units.iter().map(|unit| (unit.layer, unit.unit)).collect();
    assert_eq!(places, [(0, 0), (0, 1), (1, 0), (1, 1)]);
    let life = |n: usize| units[n].half_life.unwrap_or(f64::INFINITY);
    assert!((life(0) - 1.0).abs() < 1e-12 && (life(1) - 100.0).abs() < 1e-9);
    assert_eq!(units[2].half_life, None);
    assert!((life(3) - 2.0 * 2.0_f64.ln() / 20.0_f64.ln()).abs() < 1e-12);
    assert_eq!((units[3].closed, units[3].open), (0.5, 0.5));
    let layers = layer_gates(&units);
    assert_eq!(layers.len(), 2);
    assert_eq!((layers[0].closed, layers[0].open), (0.0, 0.5));
    assert_eq!((layers[1].closed, layers[1].open), (0.25, 0.75));
    // 1 is in the bin from 1 to 2, 100 in that from 64 to 128, 0.46 below 1, for ever the last.
    let bins = |layer: usize| {
        let bins = layers[layer].half_lives.iter().enumerate();
        bins.filter(|(_, n)| **n > 0)
            .map(|(bin, _)| bin)
            .collect::<Vec<_>>()
    };
    assert_eq!((bins(0), bins(1)), (vec![1, 7], vec![0, 11]));
    assert!(
        layers[0]
            .median_half_life
            .is_some_and(|life| (life - 100.0).abs() < 1e-9)
    );
    assert_eq!(layers[1].median_half_life, None);
}

#[test]
fn a_counter_holds_its_steps_and_never_lets_go() {
    let network = Stepper::new(&counter());
    let spec = RecordSpec {
        files: 6,
        chars: 400,
        every: 1,
    };
    let files = files(4, 6);
    let record = Record::of(&network, &files.iter().collect::<Vec<_>>(), &spec);
    let unit = record
        .units
        .iter()
        .position(|u| u.part == Part::C && u.unit == 0);
    let depths = by_depth(&record, unit.expect("an LSTM has c"));
    assert_eq!(
        depths.iter().map(|at| at.places).sum::<usize>(),
        record.places()
    );
    for at in depths.iter().filter(|at| at.places >= 50) {
        let (mean, spread) = at.mean.zip(at.spread).expect("enough places");
        let expected = COUNTER_STEP * f64::from(at.depth);
        assert!((mean - expected).abs() < 1e-3 && spread < 1e-3, "{at:?}");
    }
    assert!(depths.iter().filter(|at| at.mean.is_some()).count() >= 3);
    assert!(
        depths
            .iter()
            .all(|at| at.mean.is_some() == (at.places >= 50))
    );
    let units = unit_gates(record.gates.as_ref().expect("an LSTM has f"), 3);
    assert_eq!((units[0].open, units[0].closed), (1.0, 0.0));
    assert!(units[0].half_life.is_none_or(|life| life > 1e6));
    // Unit 2 forgets half at each character: f = sigmoid(0).
    assert!((units[2].half_life.expect("it forgets") - 1.0).abs() < 1e-6);
}

#[test]
fn brackets_deeper_than_a_mark_counts_are_of_the_deepest() {
    let text = format!("a = {}{}\n", "(".repeat(300), ")".repeat(300));
    let spec = RecordSpec {
        files: 1,
        chars: 1000,
        every: 1,
    };
    let deep = file("deep.py", &text);
    let record = Record::of(&Stepper::new(&counter()), &[&deep], &spec);
    let depths = by_depth(&record, 0);
    let counted: Vec<usize> = depths.iter().map(|at| usize::from(at.depth)).collect();
    assert_eq!(counted, (0..=255).collect::<Vec<_>>());
    // 255 to 300 on the way in and out; the others once each way.
    assert!(
        depths[255].places > 80 && depths[254].places == 2,
        "{depths:?}"
    );
}
