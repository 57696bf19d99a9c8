//! Means, their intervals, and bins.

use rnnx::programs::charlm::study::bins::Span;
use rnnx::programs::charlm::study::estimate::{Bootstrap, FEWEST, Tally};

fn tally(files: &[(f64, usize)]) -> Tally {
    let mut tally = Tally::default();
    for (file, &(value, times)) in files.iter().enumerate() {
        for _ in 0..times {
            tally.add(file, value);
        }
    }
    tally
}

#[test]
fn an_interval_is_the_middle_of_resampled_files() {
    // Of two files both, the first twice, or the second twice: 0.5, 0 or 1.
    let two = Bootstrap::new(2)
        .estimate(&tally(&[(0.0, 50), (1.0, 50)]))
        .unwrap();
    assert_eq!((two.mean, two.low, two.high), (0.5, Some(0.0), Some(1.0)));
    // Events weigh, not files.
    let uneven = Bootstrap::new(2)
        .estimate(&tally(&[(0.0, 30), (1.0, 90)]))
        .unwrap();
    assert_eq!(uneven.mean, 0.75);
    // The mean of n files with half ones is about normal: half the width is near 1.96 / sqrt(4 n).
    let many: Vec<_> = (0..400).map(|i| (f64::from(i % 2), 1)).collect();
    let many = Bootstrap::new(400).estimate(&tally(&many)).unwrap();
    let [low, high] = [many.low, many.high].map(Option::unwrap);
    assert!(
        (0.44..0.46).contains(&low) && (0.54..0.56).contains(&high),
        "{many:?}"
    );
    // One file has no spread.
    let one = Bootstrap::new(1).estimate(&tally(&[(0.25, 60)])).unwrap();
    assert_eq!((one.mean, one.low, one.high), (0.25, None, None));
    // Nor has what is seen in one file of many, or one of two figures that is.
    let twenty = Bootstrap::new(20);
    let lone = tally(&[(0.0, 0), (0.25, 60)]);
    let lone_mean = twenty.estimate(&lone).unwrap();
    assert_eq!(
        (lone_mean.mean, lone_mean.low, lone_mean.high),
        (0.25, None, None)
    );
    let both = tally(&[(0.0, 30), (1.0, 30)]);
    let less = twenty.of(&[&both, &lone], |means| means[0] - means[1]);
    assert_eq!(less.unwrap().low, None);
    assert!(twenty.estimate(&both).unwrap().low.is_some());
}

#[test]
fn few_events_are_blank() {
    let fewest = FEWEST as usize;
    let bootstrap = Bootstrap::new(1);
    assert!(bootstrap.estimate(&tally(&[(1.0, fewest - 1)])).is_none());
    assert!(bootstrap.estimate(&tally(&[(1.0, fewest)])).is_some());
    let enough = tally(&[(1.0, fewest)]);
    assert!(
        bootstrap
            .of(&[&enough, &tally(&[(1.0, 3)])], |m| m[0])
            .is_none()
    );
    let both = bootstrap.of(&[&enough, &tally(&[(3.0, fewest)])], |m| m[1] - m[0]);
    assert_eq!(both.unwrap().mean, 2.0);
}

#[test]
fn weights_are_what_a_mean_is_over() {
    let mut tally = Tally::default();
    tally.add_weighted(0, 1.0, 3.0);
    tally.add_weighted(1, 5.0, 1.0);
    assert_eq!((tally.events(), tally.mean()), (2, Some(2.0)));
    assert_eq!(
        tally.mean_of(|file| if file == 0 { 0.0 } else { 2.0 }),
        Some(5.0)
    );
    assert_eq!(tally.mean_of(|_| 0.0), None);
}

#[test]
fn bins_between_powers_of_two() {
    let name = |n| Span::between_powers(n).name();
    let names = [0, 1, 2, 3, 4, 7, 8, 1023, 1024].map(name);
    let wanted = [
        "0",
        "1",
        "2-3",
        "2-3",
        "4-7",
        "4-7",
        "8-15",
        "512-1023",
        "1024-2047",
    ];
    assert_eq!(names, wanted);
    assert_eq!(
        [0, 3, 4, 9].map(|n| Span::up_to(n, 4).name()),
        ["0", "3", "4+", "4+"]
    );
    assert_eq!(Span::between_powers(usize::MAX).to, Some(u64::MAX));
}
