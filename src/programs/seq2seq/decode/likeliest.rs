//! The tokens of a row that may follow, the likeliest first, as many as are asked for.

use std::cmp::Ordering;

/// The likeliest of all tokens that are looked at first: mostly enough of them may follow.
const FIRST: usize = 16;
/// Logits that are looked at together.
const CHUNK: usize = 32;

/// Tokens that may follow and their logits, the largest logit first, of equal ones the lower token. What is minus
/// infinity is not among them: no token of the source has such an id. Neither is what is not a number.
pub(super) struct Descending<'a, F> {
    row: &'a [f32],
    may: F,
    /// The last that has been looked at.
    last: Option<(u32, f32)>,
    /// Those that come next, in order.
    found: std::vec::IntoIter<(u32, f32)>,
    /// Whether they may all follow; the first are not asked about before it is their turn.
    held: bool,
    /// As many as are looked for behind them; none where there are no more.
    wanted: usize,
}

impl<'a, F: Fn(u32) -> bool> Descending<'a, F> {
    /// Those of `row` that `may` follow. That `wanted`, at least one, will be asked for is a guess, and no limit.
    pub(super) fn of(row: &'a [f32], wanted: usize, may: F) -> Self {
        let first = look(row, None, FIRST, |_| true);
        Descending {
            row,
            may,
            last: None,
            wanted: if first.len() == FIRST { wanted } else { 0 },
            found: first.into_iter(),
            held: false,
        }
    }
}

impl<F: Fn(u32) -> bool> Iterator for Descending<'_, F> {
    type Item = (u32, f32);

    fn next(&mut self) -> Option<(u32, f32)> {
        loop {
            for (token, x) in self.found.by_ref() {
                self.last = Some((token, x));
                if self.held || (self.may)(token) {
                    return self.last;
                }
            }
            if self.wanted == 0 {
                return None;
            }
            let found = look(self.row, self.last, self.wanted, &self.may);
            self.wanted = if found.len() == self.wanted {
                4 * self.wanted
            } else {
                0
            };
            (self.found, self.held) = (found.into_iter(), true);
        }
    }
}

/// The `wanted` next ones behind `last` of which `may` is true, in order.
fn look(
    row: &[f32],
    last: Option<(u32, f32)>,
    wanted: usize,
    may: impl Fn(u32) -> bool,
) -> Vec<(u32, f32)> {
    let mut best: Vec<(u32, f32)> = Vec::with_capacity(2 * wanted.min(row.len()));
    let mut least = f32::NEG_INFINITY;
    let behind = |token: u32, x: f32| {
        last.is_none_or(|(before, top)| x < top || (x == top && token > before))
    };
    for (at, part) in row.chunks(CHUNK).enumerate() {
        // Most parts have none, which is seen without a branch for each.
        if !part.iter().fold(false, |any, &x| any | (x > least)) {
            continue;
        }
        for (token, &x) in (at * CHUNK..).zip(part) {
            let token = token as u32;
            if x > least && behind(token, x) && may(token) {
                best.push((token, x));
                if best.len() == 2 * wanted - 1 {
                    best.select_nth_unstable_by(wanted - 1, order);
                    best.truncate(wanted);
                    least = best[wanted - 1].1;
                }
            }
        }
    }
    best.sort_unstable_by(order);
    best.truncate(wanted);
    best
}

/// The larger logit first, of equal ones the lower token.
fn order(a: &(u32, f32), b: &(u32, f32)) -> Ordering {
    let larger = b.1.partial_cmp(&a.1).unwrap_or(Ordering::Equal);
    larger.then(a.0.cmp(&b.0))
}

#[cfg(test)]
mod tests {
    use super::Descending;

    fn all_of(row: &[f32]) -> Descending<'_, fn(u32) -> bool> {
        Descending::of(row, 1, |_| true)
    }

    #[test]
    fn the_largest_come_first_and_the_lower_of_equal_ones() {
        let row = [f32::NAN, 1.0, f32::NEG_INFINITY, 3.0, f32::NAN, 2.0, 3.0];
        let all: Vec<_> = all_of(&row).collect();
        assert_eq!(all, [(3, 3.0), (6, 3.0), (5, 2.0), (1, 1.0)]);
        assert_eq!(all_of(&[f32::NAN, f32::NEG_INFINITY]).next(), None);
        assert_eq!(all_of(&[]).next(), None);
        let mut full = all_of(&[1.0; 16]);
        assert_eq!(full.by_ref().count(), 16);
        assert_eq!((full.next(), full.next()), (None, None));
    }

    #[test]
    fn both_zeros_are_equal() {
        let mut row = [-0.0; 40];
        row[1..].iter_mut().step_by(2).for_each(|x| *x = 0.0);
        let found = all_of(&row).map(|(token, _)| token);
        assert!(found.eq(0..40));
    }

    /// Rows of few values, so that equal ones stand on both sides of what was found before.
    #[test]
    fn those_that_may_follow_come_in_order_however_many_are_asked_for() {
        for tokens in [1, 15, 16, 17, 80, 81, 1000] {
            for values in [1, 3, 50, 100_000] {
                let value = |i: u32| (i.wrapping_mul(2_654_435_761) >> 8) % values;
                let row: Vec<f32> = (0..tokens).map(|i| value(i) as f32 - 7.0).collect();
                let mut order: Vec<u32> = (0..tokens).collect();
                order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]));
                for (every, guess) in [(1, 1), (2, 3), (30, 1), (30, 2), (999, 1), (2000, 5)] {
                    let may = |token: u32| token % every == every / 2;
                    let want = order.iter().copied().filter(|&token| may(token));
                    let found = Descending::of(&row, guess, may).map(|(token, _)| token);
                    let found: Vec<u32> = found.collect();
                    assert!(
                        want.eq(found),
                        "{tokens} tokens, {values} values, one of {every}"
                    );
                }
            }
        }
    }

    /// A row whose likeliest tokens may not follow is not looked through more often than it takes.
    #[test]
    fn no_token_is_asked_about_twice_for_one_answer() {
        let row: Vec<f32> = (0..500).map(|i| -(i as f32)).collect();
        let asked = std::cell::RefCell::new(vec![0; row.len()]);
        let may = |token: u32| {
            asked.borrow_mut()[token as usize] += 1;
            token == 400
        };
        assert_eq!(Descending::of(&row, 1, may).next(), Some((400, -400.0)));
        let asked = asked.into_inner();
        assert_eq!(asked, [vec![1; 401], vec![0; 99]].concat());
    }
}
