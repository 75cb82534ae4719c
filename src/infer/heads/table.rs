//! A tensor read as a table: a row for each box, a column for each number of it.

/// A view of a tensor `[1, rows, columns]` or, transposed, `[1, columns, rows]`.
#[derive(Clone, Copy)]
pub(super) struct Table<'a> {
    pub data: &'a [f32],
    pub rows: usize,
    pub columns: usize,
    /// The numbers of one column lie next to each other.
    pub transposed: bool,
}

impl Table<'_> {
    /// One number; not a number outside of the table.
    pub fn at(&self, row: usize, column: usize) -> f32 {
        let index = if self.transposed { column * self.rows + row } else { row * self.columns + column };
        self.data.get(index).copied().unwrap_or(f32::NAN)
    }

    /// For each row the column with the greatest finite number among `count` columns from `first` on, counted
    /// from there, and that number (minus infinity where there is none).
    ///
    /// Walks memory in order in both layouts: this is the one loop that sees every number.
    pub fn greatest(&self, first: usize, count: usize) -> Vec<(usize, f32)> {
        let mut greatest = vec![(0, f32::NEG_INFINITY); self.rows];
        let wins = |value: f32, (_, best): (usize, f32)| value > best && value < f32::INFINITY;
        if self.transposed {
            for (class, column) in self.data.chunks_exact(self.rows.max(1)).skip(first).take(count).enumerate() {
                for (best, &value) in greatest.iter_mut().zip(column) {
                    if wins(value, *best) {
                        *best = (class, value);
                    }
                }
            }
        } else {
            for (best, row) in greatest.iter_mut().zip(self.data.chunks_exact(self.columns.max(1))) {
                for (class, &value) in row.iter().skip(first).take(count).enumerate() {
                    if wins(value, *best) {
                        *best = (class, value);
                    }
                }
            }
        }
        greatest
    }
}
