//! The area under the ROC curve, and the threshold that divides best.

/// The probability that a value with label 1 is above one with label 0, ties counted half; not a
/// number where a label is missing. (Mann & Whitney 1947.)
pub fn auc(pairs: &[(f32, f64)]) -> f64 {
    Ranked::new(pairs, false).auc(&|_| 1.0)
}

/// Values with labels, ascending.
#[derive(Clone, Debug)]
pub struct Ranked {
    /// Value, whether its label is 1, and its file.
    events: Vec<(f32, bool, usize)>,
}

impl Ranked {
    /// Values and labels (0 or 1) of one file; of the values' negatives where `falls`.
    pub fn new(pairs: &[(f32, f64)], falls: bool) -> Self {
        Ranked::sorted(pairs.iter().map(|pair| (pair, 0)), falls)
    }

    /// Those of several files.
    pub fn of_files(files: &[Vec<(f32, f64)>], falls: bool) -> Self {
        let files = files.iter().enumerate();
        let pairs = files.flat_map(|(n, file)| file.iter().map(move |pair| (pair, n)));
        Ranked::sorted(pairs, falls)
    }

    fn sorted<'a>(pairs: impl Iterator<Item = (&'a (f32, f64), usize)>, falls: bool) -> Self {
        let sign = if falls { -1.0 } else { 1.0 };
        let events = pairs.map(|(&(value, label), file)| (sign * value, label > 0.5, file));
        let mut events: Vec<_> = events.collect();
        events.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        Ranked { events }
    }

    /// The area, each file taken so many times.
    pub fn auc(&self, times: &dyn Fn(usize) -> f64) -> f64 {
        let (mut below, mut with, mut area) = (0.0, 0.0, 0.0);
        for equal in self.events.chunk_by(|a, b| a.0 == b.0) {
            let (mut zeros, mut ones) = (0.0, 0.0);
            for &(_, label, file) in equal {
                let weight = times(file);
                *(if label { &mut ones } else { &mut zeros }) += weight;
            }
            area += ones * (below + zeros / 2.0);
            below += zeros;
            with += ones;
        }
        area / (below * with)
    }

    /// The value above which a label is best taken for 1: the mean of the shares that are right of both
    /// labels is the highest. Of equals the lowest; minus infinity takes all.
    pub fn threshold(&self) -> f32 {
        let ones = self.events.iter().filter(|event| event.1).count() as f64;
        let zeros = self.events.len() as f64 - ones;
        let (mut gain, mut best) = (0.0, (0.0, f32::NEG_INFINITY));
        for equal in self.events.chunk_by(|a, b| a.0 == b.0) {
            for &(_, label, _) in equal {
                gain += if label { -1.0 / ones } else { 1.0 / zeros };
            }
            if gain > best.0 {
                best = (gain, equal[0].0);
            }
        }
        best.1
    }

    /// The mean of the shares that are right of both labels; not a number where a label is missing.
    pub fn balanced_accuracy(&self, threshold: f32) -> f64 {
        let share = |label: bool| {
            let of = self.events.iter().filter(|event| event.1 == label);
            let right = of.clone().filter(|event| (event.0 > threshold) == label);
            right.count() as f64 / of.count() as f64
        };
        (share(true) + share(false)) / 2.0
    }
}
