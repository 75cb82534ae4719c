//! Sets of photos by number, in chunks: what a term's list is made of, and what lists are combined as.

/// Numbers of one chunk.
pub(super) const NUMBERS: u32 = 2048;
/// Words of a chunk's bitmap.
const WORDS: usize = NUMBERS as usize / 64;
/// Bytes of a bitmap in the index. A shorter row is a list of two bytes for each number.
const BITMAP: usize = NUMBERS as usize / 8;

type Bits = [u64; WORDS];

/// A set of numbers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Numbers {
    /// By chunk, in order; none is empty.
    chunks: Vec<(u32, Bits)>,
}

/// Which word of a bitmap, and which bit of it.
fn place(number: u32) -> (usize, u64) {
    let within = number % NUMBERS;
    (within as usize / 64, 1 << (within % 64))
}

/// The row of a chunk with `number` in it, or without. `None`: nothing is left of it.
pub(super) fn changed(row: Option<&[u8]>, number: u32, is_in: bool) -> Option<Vec<u8>> {
    let mut bits = row.map_or([0; WORDS], read);
    let (word, bit) = place(number);
    if let Some(word) = bits.get_mut(word) {
        *word = if is_in { *word | bit } else { *word & !bit };
    }
    write(&bits)
}

/// The chunk that a number is in.
pub(super) fn chunk_of(number: u32) -> u32 {
    number / NUMBERS
}

/// Whether the row of its chunk has a number.
pub(super) fn contains(row: &[u8], number: u32) -> bool {
    let (word, bit) = place(number);
    read(row).get(word).is_some_and(|word| word & bit != 0)
}

fn write(bits: &Bits) -> Option<Vec<u8>> {
    let count: u32 = bits.iter().map(|word| word.count_ones()).sum();
    match count {
        0 => None,
        few if (few as usize) < BITMAP / 2 => {
            Some(numbers_of(bits).flat_map(|within| u16::try_from(within).unwrap_or(0).to_be_bytes()).collect())
        }
        _ => Some(bits.iter().flat_map(|word| word.to_be_bytes()).collect()),
    }
}

fn read(row: &[u8]) -> Bits {
    let mut bits = [0; WORDS];
    read_into(&mut bits, row);
    bits
}

/// Adds the numbers of a row.
fn read_into(bits: &mut Bits, row: &[u8]) {
    if row.len() == BITMAP {
        for (word, bytes) in bits.iter_mut().zip(row.as_chunks().0) {
            *word |= u64::from_be_bytes(*bytes);
        }
    } else {
        for bytes in row.as_chunks().0 {
            let (word, bit) = place(u32::from(u16::from_be_bytes(*bytes)));
            if let Some(word) = bits.get_mut(word) {
                *word |= bit;
            }
        }
    }
}

fn numbers_of(bits: &Bits) -> impl Iterator<Item = u32> {
    bits.iter().zip((0..).step_by(64)).flat_map(|(word, first)| {
        let mut left = *word;
        std::iter::from_fn(move || {
            let next = (left != 0).then(|| first + left.trailing_zeros());
            left &= left.wrapping_sub(1);
            next
        })
    })
}

impl Numbers {
    /// Adds the row of a chunk.
    pub(super) fn add_row(&mut self, chunk: u32, row: &[u8]) {
        let at = self.chunks.binary_search_by_key(&chunk, |(known, _)| *known).unwrap_or_else(|at| {
            self.chunks.insert(at, (chunk, [0; WORDS]));
            at
        });
        if let Some((_, bits)) = self.chunks.get_mut(at) {
            read_into(bits, row);
        }
    }

    /// What is in this set or in the other.
    pub(super) fn or(mut self, other: &Self) -> Self {
        if self.chunks.is_empty() {
            return other.clone();
        }
        let mut all = Vec::with_capacity(self.chunks.len() + other.chunks.len());
        let mut others = other.chunks.iter().peekable();
        for (chunk, mut bits) in self.chunks.drain(..) {
            while let Some(before) = others.next_if(|(known, _)| *known < chunk) {
                all.push(*before);
            }
            if let Some((_, more)) = others.next_if(|(known, _)| *known == chunk) {
                bits.iter_mut().zip(more).for_each(|(word, more)| *word |= more);
            }
            all.push((chunk, bits));
        }
        all.extend(others.copied());
        Self { chunks: all }
    }

    /// What is in this set and in the other.
    pub(super) fn and(self, other: &Self) -> Self {
        self.combined(other, |word, other| word & other)
    }

    /// What is in this set and not in the other.
    pub(super) fn without(self, other: &Self) -> Self {
        self.combined(other, |word, other| word & !other)
    }

    fn combined(mut self, other: &Self, with: impl Fn(u64, u64) -> u64) -> Self {
        let mut others = other.chunks.iter().peekable();
        self.chunks.retain_mut(|(chunk, bits)| {
            while others.next_if(|(known, _)| known < chunk).is_some() {}
            let other = others.next_if(|(known, _)| known == chunk).map_or([0; WORDS], |(_, bits)| *bits);
            bits.iter_mut().zip(other).for_each(|(word, other)| *word = with(*word, other));
            bits.iter().any(|word| *word != 0)
        });
        self
    }

    /// Those that `is_kept` says.
    pub(super) fn only(mut self, is_kept: impl Fn(u32) -> bool) -> Self {
        self.chunks.retain_mut(|(chunk, bits)| {
            let before = *bits;
            for within in numbers_of(&before).filter(|within| !is_kept(*chunk * NUMBERS + within)) {
                let (word, bit) = place(within);
                if let Some(word) = bits.get_mut(word) {
                    *word &= !bit;
                }
            }
            bits.iter().any(|word| *word != 0)
        });
        self
    }

    /// Whether a number is among them.
    pub(super) fn contains(&self, number: u32) -> bool {
        let (word, bit) = place(number);
        let at = self.chunks.binary_search_by_key(&(number / NUMBERS), |(known, _)| *known);
        let chunk = at.ok().and_then(|at| self.chunks.get(at));
        chunk.and_then(|(_, bits)| bits.get(word)).is_some_and(|word| word & bit != 0)
    }

    /// How many of the row of a chunk are among them.
    pub(super) fn count_in(&self, chunk: u32, row: &[u8]) -> u64 {
        let Ok(at) = self.chunks.binary_search_by_key(&chunk, |(known, _)| *known) else { return 0 };
        let bits = self.chunks.get(at).map_or([0; WORDS], |(_, bits)| *bits);
        bits.iter().zip(read(row)).map(|(word, other)| u64::from((word & other).count_ones())).sum()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn len(&self) -> u64 {
        self.chunks.iter().flat_map(|(_, bits)| bits).map(|word| u64::from(word.count_ones())).sum()
    }

    /// The numbers, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        self.chunks.iter().flat_map(|(chunk, bits)| numbers_of(bits).map(move |within| chunk * NUMBERS + within))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn rows(numbers: &BTreeSet<u32>) -> BTreeMap<u32, Vec<u8>> {
        let mut rows: BTreeMap<u32, Vec<u8>> = BTreeMap::new();
        for number in numbers {
            let chunk = number / NUMBERS;
            let row = changed(rows.get(&chunk).map(Vec::as_slice), *number, true).expect("not empty");
            rows.insert(chunk, row);
        }
        rows
    }

    fn set(numbers: &BTreeSet<u32>) -> Numbers {
        let mut set = Numbers::default();
        // From the last to the first: rows come in any order.
        for (chunk, row) in rows(numbers).iter().rev() {
            set.add_row(*chunk, row);
        }
        set
    }

    #[test]
    fn a_row_is_a_list_while_that_is_shorter() {
        let many: BTreeSet<u32> = (0..300).collect();
        assert_eq!(rows(&(0..127).collect())[&0].len(), 254);
        assert_eq!(rows(&(0..128).collect())[&0].len(), BITMAP);
        assert_eq!(set(&many).iter().collect::<BTreeSet<u32>>(), many);
        let mut row = rows(&many).remove(&0);
        for number in many {
            assert!(row.is_some(), "{number}");
            row = changed(row.as_deref(), number, false);
        }
        assert_eq!(row, None);
    }

    proptest! {
        #[test]
        fn sets_are_combined_as_sets(
            a in prop::collection::btree_set(0u32..9000, 0..400),
            b in prop::collection::btree_set(0u32..9000, 0..400),
        ) {
            let all = |numbers: Numbers| numbers.iter().collect::<BTreeSet<u32>>();
            prop_assert_eq!(all(set(&a).or(&set(&b))), a.union(&b).copied().collect::<BTreeSet<u32>>());
            prop_assert_eq!(all(set(&a).and(&set(&b))), a.intersection(&b).copied().collect::<BTreeSet<u32>>());
            prop_assert_eq!(all(set(&a).without(&set(&b))), a.difference(&b).copied().collect::<BTreeSet<u32>>());
            prop_assert_eq!(set(&a).len(), a.len() as u64);
            prop_assert_eq!(set(&a).is_empty(), a.is_empty());
            let (both, of_b) = (set(&a), rows(&b));
            prop_assert_eq!(of_b.iter().map(|(chunk, row)| both.count_in(*chunk, row)).sum::<u64>(), a.intersection(&b).count() as u64);
            prop_assert!((0..9000).all(|number| both.contains(number) == a.contains(&number)));
        }
    }
}
