//! Stretches of the training text are found wherever they stand, from 50 characters on.

use rnnx::programs::charlm::study::causes::repeats::{LONG, Trained};
use rnnx::programs::charlm::study::held_out::TrainingPart;
use rnnx::rng::{Purpose, Stream};

fn ids(n: usize, seed: u64) -> Vec<u32> {
    let mut random = Stream::new(seed, Purpose::Study, 0).reader();
    (0..n).map(|_| random.below(50)).collect()
}

fn part(ids: Vec<u32>) -> TrainingPart {
    TrainingPart {
        name: "a.py".into(),
        ids,
    }
}

#[test]
fn fifty_characters_are_found_at_every_place_and_forty_nine_are_not() {
    let parts = [part(ids(333, 1)), part(ids(200, 2))];
    let trained = Trained::new(&parts);
    let inside = |stretch: &[u32]| [&ids(30, 3), stretch, &ids(30, 4)].concat();
    for part in &parts {
        for stretch in part.ids.windows(LONG) {
            assert!(trained.holds_part_of(&inside(stretch)));
            assert!(trained.holds_part_of(stretch));
            // 100 is no id of the text.
            assert!(!trained.holds_part_of(&[&[100], &stretch[1..], &[100]].concat()));
        }
    }
}

#[test]
fn stretches_do_not_cross_parts() {
    let (a, b) = (ids(100, 5), ids(100, 6));
    let across = [&a[60..], &b[..40]].concat();
    assert!(!Trained::new(&[part(a.clone()), part(b.clone())]).holds_part_of(&across));
    assert!(Trained::new(&[part([a, b].concat())]).holds_part_of(&across));
    assert!(!Trained::new(&[]).holds_part_of(&across));
    assert!(!Trained::new(&[part(across)]).holds_part_of(&[]));
}
