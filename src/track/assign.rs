//! The assignment of detections to tracks with the greatest total likeness.

use pathfinding::kuhn_munkres::kuhn_munkres;
use pathfinding::matrix::Matrix;

/// Likeness is weighed in whole thousandths.
const SCALE: f32 = 1000.0;

/// Pairs up `rows` tracks and `columns` detections so that the sum of `likeness(row, column)` is greatest.
/// A likeness of `None` (or not above 0) means that the two cannot be the same. Returns `(row, column)` pairs.
pub(super) fn assign(
    rows: usize,
    columns: usize,
    likeness: impl Fn(usize, usize) -> Option<f32>,
) -> Vec<(usize, usize)> {
    if rows == 0 || columns == 0 {
        return Vec::new();
    }
    let weight = |row, column| likeness(row, column).map_or(0, |like| (like * SCALE).clamp(0.0, 1e6) as i64);
    // The algorithm wants no more rows than columns.
    let is_turned = rows > columns;
    let weights = if is_turned {
        Matrix::from_fn(columns, rows, |(column, row)| weight(row, column))
    } else {
        Matrix::from_fn(rows, columns, |(row, column)| weight(row, column))
    };
    if weights.values().all(|&w| w == 0) {
        return Vec::new();
    }
    let (_, partners) = kuhn_munkres(&weights);
    let pairs = partners.into_iter().enumerate().filter(|&at| weights.get(at).is_some_and(|&w| w > 0));
    pairs.map(|(a, b)| if is_turned { (b, a) } else { (a, b) }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_best_sum_wins_over_the_best_pair() {
        // Greedy would take 0.9 and leave the other two with nothing.
        let likeness = [[0.9, 0.8], [0.8, 0.0]];
        let pairs = assign(2, 2, |r, c| Some(likeness[r][c]));
        assert_eq!(pairs, [(0, 1), (1, 0)]);
    }

    #[test]
    fn impossible_pairs_are_left_out() {
        assert_eq!(assign(2, 1, |row, _| (row == 1).then_some(0.2)), [(1, 0)]);
        assert_eq!(assign(1, 3, |_, _| None), []);
        assert_eq!(assign(0, 3, |_, _| Some(1.0)), []);
    }

    proptest! {
        #[test]
        fn no_index_is_paired_twice(rows in 0usize..8, columns in 0usize..8, seed: u64) {
            let mut random = fastrand::Rng::with_seed(seed);
            let table: Vec<f32> = (0..64).map(|_| random.f32() * 1.5 - 0.5).collect();
            let pairs = assign(rows, columns, |r, c| Some(table[r * 8 + c]));
            let (mut r, mut c): (Vec<_>, Vec<_>) = pairs.iter().copied().unzip();
            r.sort_unstable();
            c.sort_unstable();
            r.dedup();
            c.dedup();
            prop_assert!(r.len() == pairs.len() && c.len() == pairs.len());
            prop_assert!(pairs.iter().all(|&(r, c)| r < rows && c < columns && table[r * 8 + c] > 0.0));
        }
    }
}
