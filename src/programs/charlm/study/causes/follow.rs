//! Which unit best follows the structure of the text.
//!
//! For every unit of h and c of each layer: how well its value alone tells the depth of brackets,
//! whether a string is open, the type of the innermost bracket, the indentation, the column. The unit
//! is chosen on one half of the files and reported on the other. Beside it stands a control task
//! (Hewitt & Liang, "Designing and interpreting probes with control tasks", EMNLP 2019, arXiv
//! 1909.03368): the same search for labels that have nothing to do with the text, here each file's own
//! labels rotated by a random distance, so that they change as often and as slowly as the true ones.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::auc::{Ranked, auc};
use super::draws::Draw;
use super::network::Unit;
use super::record::{Place, Record};
use crate::programs::charlm::study::estimate::{Bootstrap, Estimate, FEWEST};
use crate::programs::charlm::study::syntax::BracketKind;

/// Units that are listed.
const LISTED: usize = 5;

/// What a unit may follow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Label {
    /// Brackets that are open.
    Depth,
    /// Whether a string is open.
    InString,
    /// Whether the innermost bracket is `[` rather than `(`; elsewhere there is no label.
    Square,
    /// Levels of indentation.
    Indent,
    /// Characters of the line so far.
    Column,
}

impl Label {
    /// Every label.
    pub const ALL: [Label; 5] = [
        Label::Depth,
        Label::InString,
        Label::Square,
        Label::Indent,
        Label::Column,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Label::Depth => "depth",
            Label::InString => "in a string",
            Label::Square => "[ or (",
            Label::Indent => "indentation",
            Label::Column => "column",
        }
    }

    /// Its value at a place.
    pub fn at(self, place: &Place) -> Option<f64> {
        match self {
            Label::Depth => Some(f64::from(place.depth)),
            Label::InString => Some(f64::from(u8::from(place.in_string))),
            Label::Square => match place.innermost? {
                BracketKind::Round => Some(0.0),
                BracketKind::Square => Some(1.0),
                BracketKind::Curly => None,
            },
            Label::Indent => Some(f64::from(place.indent)),
            Label::Column => Some(f64::from(place.column)),
        }
    }

    /// How following is scored.
    pub fn score(self) -> Score {
        match self {
            Label::InString | Label::Square => Score::Auc,
            Label::Depth | Label::Indent | Label::Column => Score::Correlation,
        }
    }
}

/// How following is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Score {
    /// Pearson's r. 0 is nothing, 1 all.
    Correlation,
    /// The probability that the unit is higher at a place with the label than at one without (area
    /// under the ROC curve). 1/2 is nothing, 1 all.
    Auc,
}

/// How well one unit follows a label.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct UnitScore {
    /// The unit.
    pub unit: Unit,
    /// Whether it falls where the label rises; scores are of its negative then.
    pub falls: bool,
    /// The score on the files that it was chosen on.
    pub chosen: f64,
    /// The score on the other files; none of fewer than 50 places, and where r is not defined, since the
    /// unit or the label does not vary there, or an area, since the label does not. (The area of a
    /// constant is one half.)
    pub reported: Option<f64>,
}

/// The unit that best follows a label.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Followed {
    /// The label.
    pub label: Label,
    /// How it is scored.
    pub score: Score,
    /// Places with a label in the files that scores are reported on.
    pub places: usize,
    /// The best units on the files for choosing, the best first.
    pub best: Vec<UnitScore>,
    /// The best unit of each part of each layer.
    pub by_layer: Vec<UnitScore>,
    /// The first one's score on the other files.
    pub reported: Option<Estimate>,
    /// Of a label that is there or not: the mean of the shares that a threshold on the first unit,
    /// set on the files for choosing, gets right of the places with it and of those without.
    pub balanced_accuracy: Option<f64>,
    /// The score on the other files of the unit that best follows rotated labels.
    pub control: Option<Estimate>,
    /// The median over the units that have a score of it on the files for choosing.
    pub median: f64,
}

impl Followed {
    /// The best unit of the part that carries the state from one character to the next: c of an LSTM,
    /// whose h is made anew at each; h of other cells.
    pub fn carrier(&self) -> Option<Unit> {
        let part = self.by_layer.iter().map(|best| best.unit.part).max()?;
        let of_part = self.by_layer.iter().filter(|best| best.unit.part == part);
        let best = of_part.max_by(|a, b| a.chosen.total_cmp(&b.chosen));
        best.map(|best| best.unit)
    }
}

/// The search for every label. A label that is the same at all places for choosing, or stands at fewer
/// than 50 of them, has no entry.
pub fn follow(choose: &Record, report: &Record) -> Vec<Followed> {
    let found = Label::ALL
        .iter()
        .filter_map(|&label| one(choose, report, label));
    found.collect()
}

/// The labels of a record's places, by file.
type Labels = Vec<Vec<Option<f64>>>;

fn one(choose: &Record, report: &Record, label: Label) -> Option<Followed> {
    let score = label.score();
    let true_labels = [choose, report].map(|record| labels(record, label));
    let places = true_labels
        .each_ref()
        .map(|labels| labels.iter().flatten().flatten().count());
    let enough = places.map(|places| places as u64 >= FEWEST);
    if !enough[0] {
        return None;
    }
    let scores = scores(choose, &true_labels[0], score);
    let order = best(&scores, score)?;
    let (first, falls) = (order[0], scores[order[0]] < score.nothing());
    let unit_score = |unit: usize| {
        let falls = scores[unit] < score.nothing();
        UnitScore {
            unit: choose.units[unit],
            falls,
            chosen: score.turned(scores[unit], falls),
            reported: enough[1]
                .then(|| score.of(&pairs(report, &true_labels[1], unit)))
                .filter(|found| found.is_finite())
                .map(|found| score.turned(found, falls)),
        }
    };
    let listed = order.iter().take(LISTED).map(|&unit| unit_score(unit));
    let by_layer = choose
        .units
        .chunk_by(|a, b| (a.layer, a.part) == (b.layer, b.part));
    let by_layer = by_layer.filter_map(|group| {
        let unit = order.iter().find(|&&n| group.contains(&choose.units[n]))?;
        Some(unit_score(*unit))
    });
    // The control: the same search with labels that do not belong to the text.
    let rotated = true_labels.clone().map(rotated);
    let by_chance = self::scores(choose, &rotated[0], score);
    let control = best(&by_chance, score).and_then(|order| {
        let falls = by_chance[order[0]] < score.nothing();
        figure(report, &rotated[1], order[0], falls, score)
    });
    let balanced_accuracy = (enough[1] && score == Score::Auc).then(|| {
        let flat = |record, labels| pairs(record, labels, first).concat();
        let threshold = Ranked::new(&flat(choose, &true_labels[0]), falls).threshold();
        Ranked::new(&flat(report, &true_labels[1]), falls).balanced_accuracy(threshold)
    });
    Some(Followed {
        label,
        score,
        places: places[1],
        best: listed.collect(),
        by_layer: by_layer.collect(),
        reported: figure(report, &true_labels[1], first, falls, score),
        balanced_accuracy: balanced_accuracy.filter(|share| share.is_finite()),
        control,
        median: score.strength(scores[order[order.len() / 2]]),
    })
}

impl Score {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Score::Correlation => "r",
            Score::Auc => "AUC",
        }
    }

    /// The score of a unit that says nothing.
    fn nothing(self) -> f64 {
        match self {
            Score::Correlation => 0.0,
            Score::Auc => 0.5,
        }
    }

    /// The score of the negative of a unit's value, where `falls`.
    pub fn turned(self, score: f64, falls: bool) -> f64 {
        match (self, falls) {
            (_, false) => score,
            (Score::Correlation, true) => -score,
            (Score::Auc, true) => 1.0 - score,
        }
    }

    /// The score of a unit or of its negative, whichever is higher.
    fn strength(self, score: f64) -> f64 {
        self.turned(score, score < self.nothing())
    }

    /// The score of values and labels.
    fn of(self, files: &[Vec<(f32, f64)>]) -> f64 {
        match self {
            Score::Correlation => {
                let sums = files.iter().map(|file| Moments::of(file));
                sums.fold(Moments::default(), |a, b| a.plus(b, 1.0)).r()
            }
            Score::Auc => auc(&files.concat()),
        }
    }
}

/// A unit's score, files resampled.
fn figure(
    record: &Record,
    labels: &Labels,
    unit: usize,
    falls: bool,
    score: Score,
) -> Option<Estimate> {
    let files = pairs(record, labels, unit);
    let events: usize = files.iter().map(Vec::len).sum();
    let moments: Vec<Moments> = files.iter().map(|file| Moments::of(file)).collect();
    let ranked = Ranked::of_files(&files, falls);
    let figure = |times: &dyn Fn(usize) -> f64| {
        let found = match score {
            Score::Correlation => {
                let weighted = moments.iter().enumerate();
                let all = weighted.fold(Moments::default(), |all, (n, file)| {
                    all.plus(*file, times(n))
                });
                score.turned(all.r(), falls)
            }
            Score::Auc => ranked.auc(times),
        };
        Some(found).filter(|found| found.is_finite())
    };
    let mean = figure(&|_| 1.0).filter(|_| events as u64 >= FEWEST)?;
    let with_events = files.iter().filter(|file| !file.is_empty()).count();
    let [low, high] = Bootstrap::new(files.len()).interval(with_events, figure);
    Some(Estimate { mean, low, high })
}

/// The score of each unit.
fn scores(record: &Record, labels: &Labels, score: Score) -> Vec<f64> {
    let units = (0..record.units.len()).into_par_iter();
    units
        .map(|unit| score.of(&pairs(record, labels, unit)))
        .collect()
}

/// Units by their scores, the highest first; those without one (r of a unit or a label that does not
/// change, the area of such a label) are left out. None where no unit has one.
fn best(scores: &[f64], score: Score) -> Option<Vec<usize>> {
    let mut order: Vec<usize> = (0..scores.len())
        .filter(|&n| scores[n].is_finite())
        .collect();
    let strength = |n: &usize| score.strength(scores[*n]);
    order.sort_by(|a, b| strength(b).total_cmp(&strength(a)));
    (!order.is_empty()).then_some(order)
}

fn labels(record: &Record, label: Label) -> Labels {
    let files = record.files.iter();
    files
        .map(|file| file.places.iter().map(|place| label.at(place)).collect())
        .collect()
}

/// Each file's labels, begun a quarter to three quarters of them later.
fn rotated(mut labels: Labels) -> Labels {
    for (n, file) in (0..).zip(&mut labels) {
        let quarter = file.len() / 4;
        let mut random = Draw::Rotations.stream(n).reader();
        let more = random.below(2 * quarter as u32 + 1) as usize;
        file.rotate_left(quarter + more);
    }
    labels
}

/// A unit's values and the labels, at the places that have one, by file.
fn pairs(record: &Record, labels: &Labels, unit: usize) -> Vec<Vec<(f32, f64)>> {
    let files = record.files.iter().zip(labels).map(|(file, labels)| {
        let values = record.values(file, unit).zip(labels);
        values
            .filter_map(|(value, label)| Some((value, (*label)?)))
            .collect()
    });
    files.collect()
}

/// Sums of values x and labels y.
#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    n: f64,
    x: f64,
    y: f64,
    xx: f64,
    yy: f64,
    xy: f64,
}

impl Moments {
    fn of(pairs: &[(f32, f64)]) -> Self {
        let one = |&(x, y): &(f32, f64)| {
            let x = f64::from(x);
            Moments {
                n: 1.0,
                x,
                y,
                xx: x * x,
                yy: y * y,
                xy: x * y,
            }
        };
        let moments = pairs.iter().map(one);
        moments.fold(Moments::default(), |a, b| a.plus(b, 1.0))
    }

    fn plus(self, other: Moments, weight: f64) -> Self {
        Moments {
            n: self.n + weight * other.n,
            x: self.x + weight * other.x,
            y: self.y + weight * other.y,
            xx: self.xx + weight * other.xx,
            yy: self.yy + weight * other.yy,
            xy: self.xy + weight * other.xy,
        }
    }

    /// Pearson's r; not a number where x or y does not vary.
    fn r(self) -> f64 {
        let Moments { n, .. } = self;
        let (x, y) = (self.x / n, self.y / n);
        let (vx, vy) = (self.xx / n - x * x, self.yy / n - y * y);
        // What rounding leaves of a constant's variance.
        let varies = |v: f64, square: f64| v > 1e-12 * (square / n);
        match varies(vx, self.xx) && varies(vy, self.yy) {
            true => (self.xy / n - x * y) / (vx * vy).sqrt(),
            false => f64::NAN,
        }
    }
}
