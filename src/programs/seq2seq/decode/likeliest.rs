//! The tokens of a row, the likeliest first, as many as are looked at.

use std::cmp::Ordering;

/// Rows are looked through for so many tokens at first, and for four times as many each time that they do not do.
const FIRST: usize = 16;
/// Logits that are looked at together.
const CHUNK: usize = 32;

/// Tokens and logits of a row, the largest logit first, of equal ones the lower token. What is minus infinity is not
/// among them: no token of the source has such an id. Neither is what is not a number.
pub(super) struct Descending<'a> {
    row: &'a [f32],
    /// The last that has been given.
    last: Option<(u32, f32)>,
    /// Those that come next, in order.
    found: std::vec::IntoIter<(u32, f32)>,
    /// As many as are looked for when these have been given; none where there are no more.
    wanted: usize,
}

impl<'a> Descending<'a> {
    pub(super) fn of(row: &'a [f32]) -> Self {
        Descending {
            row,
            last: None,
            found: Vec::new().into_iter(),
            wanted: FIRST,
        }
    }

    /// Looks through the row for those that come next.
    fn look(&mut self) {
        let (last, wanted) = (self.last, self.wanted);
        let mut best: Vec<(u32, f32)> = Vec::with_capacity(2 * wanted.min(self.row.len()));
        let mut least = f32::NEG_INFINITY;
        let behind = |token: u32, x: f32| {
            last.is_none_or(|(before, top)| x < top || (x == top && token > before))
        };
        for (at, part) in self.row.chunks(CHUNK).enumerate() {
            // Most parts have none, which is seen without a branch for each.
            if !part.iter().fold(false, |any, &x| any | (x > least)) {
                continue;
            }
            for (token, &x) in (at * CHUNK..).zip(part) {
                if x > least && behind(token as u32, x) {
                    best.push((token as u32, x));
                    if best.len() == 2 * wanted {
                        best.select_nth_unstable_by(wanted - 1, order);
                        best.truncate(wanted);
                        least = best[wanted - 1].1;
                    }
                }
            }
        }
        best.sort_unstable_by(order);
        best.truncate(wanted);
        self.wanted = if best.len() == wanted { 4 * wanted } else { 0 };
        self.found = best.into_iter();
    }
}

impl Iterator for Descending<'_> {
    type Item = (u32, f32);

    fn next(&mut self) -> Option<(u32, f32)> {
        if self.found.len() == 0 && self.wanted > 0 {
            self.look();
        }
        self.last = self.found.next();
        self.last
    }
}

/// The larger logit first, of equal ones the lower token.
fn order(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    let larger = b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal);
    larger.then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use super::Descending;

    #[test]
    fn the_largest_come_first_and_the_lower_of_equal_ones() {
        let row = [f32::NAN, 1.0, f32::NEG_INFINITY, 3.0, f32::NAN, 2.0, 3.0];
        let all: Vec<_> = Descending::of(&row).collect();
        assert_eq!(all, [(3, 3.0), (6, 3.0), (5, 2.0), (1, 1.0)]);
        assert_eq!(Descending::of(&[f32::NAN, f32::NEG_INFINITY]).next(), None);
        assert_eq!(Descending::of(&[]).next(), None);
        let mut full: Descending = Descending::of(&[1.0; 16]);
        assert_eq!(full.by_ref().count(), 16);
        assert_eq!((full.next(), full.next()), (None, None));
    }

    #[test]
    fn both_zeros_are_equal() {
        let mut row = [-0.0; 40];
        row[1..].iter_mut().step_by(2).for_each(|x| *x = 0.0);
        let found = Descending::of(&row).map(|(token, _)| token);
        assert!(found.eq(0..40));
    }

    /// Rows of few values, so that equal ones stand on both sides of what was found before.
    #[test]
    fn all_tokens_come_in_order_however_often_they_are_looked_for() {
        for tokens in [1, 15, 16, 17, 80, 81, 1000] {
            for values in [1, 3, 50, 100_000] {
                let value = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) % values;
                let row: Vec<f32> = (0..tokens).map(|i| value(i) as f32 - 7.0).collect();
                let mut want: Vec<u32> = (0..tokens).collect();
                want.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
                let found: Vec<u32> = Descending::of(&row).map(|(token, _)| token).collect();
                assert_eq!(found, want, "{tokens} tokens, {values} values");
            }
        }
    }
}
