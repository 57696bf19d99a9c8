//! The order in which the shards of a step are added: a binary tree over their numbers, which the
//! number of ranks does not change.
//!
//! A node is a stretch of shards; one with more than one has two parts, cut in its middle. A rank owns
//! a stretch, too, and can add up the largest nodes that lie in it by itself: of 8 shards and 2, 4 or 8
//! ranks each owns one node.

use std::ops::Range;

/// The shards that a rank owns.
pub fn owned(shards: usize, rank: usize, ranks: usize) -> Range<usize> {
    rank * shards / ranks..(rank + 1) * shards / ranks
}

/// The largest nodes of the tree over `node` that lie in `own`, in order.
pub fn cover(node: Range<usize>, own: &Range<usize>) -> Vec<Range<usize>> {
    if own.start <= node.start && node.end <= own.end {
        return match node.is_empty() {
            true => Vec::new(),
            false => vec![node],
        };
    }
    if node.end <= own.start || own.end <= node.start {
        return Vec::new();
    }
    let [left, right] = parts(&node);
    [cover(left, own), cover(right, own)].concat()
}

fn parts(node: &Range<usize>) -> [Range<usize>; 2] {
    let middle = usize::midpoint(node.start, node.end);
    [node.start..middle, middle..node.end]
}

/// What is known of a node.
#[derive(Clone, Debug, PartialEq)]
pub enum Known<T> {
    /// Its sum; none where its shards have no rows.
    Sum(Option<T>),
    /// Nothing: it is the sum of its parts.
    Parts,
}

/// The sum of a node: what `known` says of it, or the sums of its parts, the left one first, added.
///
/// # Errors
/// Those of `known` and of `add`.
pub fn sum<T, E>(
    node: Range<usize>,
    known: &mut impl FnMut(&Range<usize>) -> Result<Known<T>, E>,
    add: &impl Fn(T, T) -> Result<T, E>,
) -> Result<Option<T>, E> {
    if let Known::Sum(sum) = known(&node)? {
        return Ok(sum);
    }
    let [left, right] = parts(&node);
    let left = self::sum(left, known, add)?;
    let right = self::sum(right, known, add)?;
    Ok(match (left, right) {
        (Some(left), Some(right)) => Some(add(left, right)?),
        (left, right) => left.or(right),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree as text, where shard 2 has no rows.
    fn text(shards: usize) -> Option<String> {
        let known = &mut |node: &Range<usize>| {
            Ok::<_, ()>(match node.len() {
                1 if node.start == 2 => Known::Sum(None),
                1 => Known::Sum(Some(node.start.to_string())),
                _ => Known::Parts,
            })
        };
        sum(0..shards, known, &|a, b| Ok(format!("({a} {b})"))).unwrap()
    }

    #[test]
    fn the_tree_of_eight_shards() {
        assert_eq!(text(8).unwrap(), "(((0 1) 3) ((4 5) (6 7)))");
        assert_eq!(text(3).unwrap(), "(0 1)");
        assert_eq!(text(1).unwrap(), "0");
    }

    #[test]
    fn ranks_own_every_shard_once_and_give_the_same_tree() {
        for shards in 1..20 {
            let whole = text(shards);
            for ranks in 1..=shards {
                let mut at = 0;
                let mut given = Vec::new();
                for rank in 0..ranks {
                    let own = owned(shards, rank, ranks);
                    assert_eq!(own.start, at);
                    assert!(!own.is_empty(), "{shards} {ranks}");
                    at = own.end;
                    given.extend(cover(0..shards, &own));
                }
                assert_eq!(at, shards);
                // Each given node is added up by itself, and then all of them.
                let leaf = &mut |node: &Range<usize>| {
                    Ok::<_, ()>(match node.len() {
                        1 if node.start == 2 => Known::Sum(None),
                        1 => Known::Sum(Some(node.start.to_string())),
                        _ => Known::Parts,
                    })
                };
                let add = &|a: String, b: String| Ok(format!("({a} {b})"));
                let sums: Vec<_> = given
                    .iter()
                    .map(|node| sum(node.clone(), leaf, add).unwrap())
                    .collect();
                let mut next = given.iter().zip(sums).peekable();
                let all = sum(
                    0..shards,
                    &mut |node| {
                        let is_given = next.peek().is_some_and(|(n, _)| *n == node);
                        Ok::<_, ()>(match next.next_if(|_| is_given) {
                            Some((_, sum)) => Known::Sum(sum),
                            None => Known::Parts,
                        })
                    },
                    add,
                );
                assert_eq!(all.unwrap(), whole, "{shards} shards, {ranks} ranks");
            }
        }
    }

    #[test]
    fn a_rank_of_a_power_of_two_owns_one_node() {
        for ranks in [1, 2, 4, 8] {
            for rank in 0..ranks {
                let own = owned(8, rank, ranks);
                assert_eq!(cover(0..8, &own), [own]);
            }
        }
        assert_eq!(cover(0..8, &owned(8, 1, 3)), [2..4, 4..5]);
    }
}
