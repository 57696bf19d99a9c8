//! Means over files with their intervals.

use rnnx::programs::charlm::study::causes::figure::{FEWEST, Share, bootstrap, mean};

fn shares(values: &[f64], events: usize) -> Vec<Share> {
    let share = |&value: &f64| Share {
        sum: value * events as f64,
        events,
    };
    values.iter().map(share).collect()
}

#[test]
fn a_mean_weighs_events_and_its_interval_is_that_of_files() {
    let mut files = shares(&[0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0], 100);
    let figure = mean(&files, 1).expect("enough events");
    assert_eq!((figure.value, figure.events), (0.5, 800));
    // The mean of 8 coins: standard deviation 0.177, whatever the number of events in a file.
    assert!(
        (0.1..=0.3).contains(&figure.low) && (0.7..=0.9).contains(&figure.high),
        "{figure:?}"
    );
    assert_eq!(mean(&files, 1), Some(figure));
    files[0].events = 900;
    assert_eq!(
        mean(&files, 1).expect("enough events").value,
        400.0 / 1600.0
    );
}

#[test]
fn files_that_agree_leave_no_doubt_and_few_events_no_figure() {
    let figure = mean(&shares(&[0.25; 10], 5), 2).expect("50 events");
    assert_eq!((figure.value, figure.low, figure.high), (0.25, 0.25, 0.25));
    assert_eq!(figure.events, FEWEST);
    assert_eq!(mean(&shares(&[0.25; 7], 7), 2), None);
    assert_eq!(mean(&[], 2), None);
    assert_eq!(bootstrap(3, 100, 1, |_| f64::NAN), None);
}

#[test]
fn every_file_is_drawn_with_its_weight() {
    let figure = bootstrap(4, 100, 5, |weights| {
        assert_eq!((weights.len(), weights.iter().sum::<u32>()), (4, 4));
        f64::from(weights[3])
    });
    let figure = figure.expect("enough events");
    assert_eq!(figure.value, 1.0);
    // Binomial(4, 1/4): 0 and 3 are the 2.5 % and 97.5 % points.
    assert_eq!((figure.low, figure.high), (0.0, 3.0));
}
