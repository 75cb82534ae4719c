//! Against a plain map, whatever the order of the calls, and with rows of every kind beside each other.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use miniz_oxide::deflate::compress_to_vec_zlib;
use proptest::prelude::*;
use tempfile::TempDir;

use super::block::{MARK, decode, encode, is_block};
use super::*;

/// Whether stores that are opened from now on pack a few entries already.
static EAGER: AtomicBool = AtomicBool::new(false);

/// Makes stores that are opened from now on pack a few entries already, so that short tests meet blocks.
pub(in crate::store) fn pack_eagerly() {
    EAGER.store(true, Ordering::Relaxed);
}

/// What is chosen in place of the usual: by a test that packs eagerly, or by a benchmark.
pub(super) fn chosen() -> Option<Packing> {
    if EAGER.load(Ordering::Relaxed) {
        return Some(Packing { left: 1, many: 3, full: 300, looks: 2 });
    }
    let full = std::env::var("OUTPOST_BENCH_BLOCK_BYTES").ok()?.parse().ok()?;
    let many = if full < usize::MAX { 64 } else { full };
    Some(Packing { left: 16, many, full, looks: 16 })
}

struct Bench {
    _dir: TempDir,
    packing: Packing,
    tree: Packed,
    expected: BTreeMap<Vec<u8>, Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Call {
    /// Entries from a key on, each a little above the last.
    Append {
        from: u16,
        count: u16,
        bytes: usize,
    },
    Put {
        key: u16,
        bytes: usize,
    },
    /// The entries from a key on, up to so many.
    Remove {
        from: u16,
        count: u16,
    },
    Repack {
        rows_before: u16,
    },
}

fn call() -> impl Strategy<Value = Call> {
    prop_oneof![
        3 => (0..2000u16, 1..300u16, 0..600usize).prop_map(|(from, count, bytes)| Call::Append { from, count, bytes }),
        3 => (0..2500u16, 0..3000usize).prop_map(|(key, bytes)| Call::Put { key, bytes }),
        3 => (0..2500u16, 1..400u16).prop_map(|(from, count)| Call::Remove { from, count }),
        1 => (0..2500u16).prop_map(|rows_before| Call::Repack { rows_before }),
    ]
}

/// Keys of different lengths, some the beginning of others.
fn key(n: u16) -> Vec<u8> {
    let mut key = vec![0];
    key.extend_from_slice(&(n / 3).to_be_bytes());
    key.extend_from_slice(&b"ab"[..usize::from(n % 3)]);
    key
}

/// Bytes that do not compress; an odd number of them sometimes looks like a block.
fn value(n: u16, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(u64::from(n));
    let mut value: Vec<u8> = (0..bytes).map(|_| random.u8(..)).collect();
    let first = if n.is_multiple_of(5) && !bytes.is_multiple_of(2) { MARK } else { b'{' };
    value.iter_mut().take(1).for_each(|byte| *byte = first);
    value
}

impl Bench {
    fn new() -> Self {
        let packing = Packing { left: 16, many: 64, full: 8 * 1024, looks: 16 };
        let dir = TempDir::new().expect("temp dir");
        let db = sled::Config::new().path(dir.path()).open().expect("open sled");
        Self { packing, tree: Packed::new(db.open_tree("packed").expect("tree")), _dir: dir, expected: BTreeMap::new() }
    }

    fn apply(&mut self, call: &Call) -> Result<(), TestCaseError> {
        let tree = self.tree.clone();
        let view = View::packed(tree.tree(), self.packing);
        match *call {
            Call::Append { from, count, bytes } => {
                for n in from..from + count {
                    self.put(&view, n, bytes)?;
                }
            }
            Call::Put { key, bytes } => self.put(&view, key, bytes)?,
            Call::Remove { from, count } => {
                for n in from..from + count {
                    let old = view.remove(key(n)).expect("remove");
                    prop_assert_eq!(old.map(|old| old.to_vec()), self.expected.remove(&key(n)));
                    prop_assert_eq!(view.get(key(n)).expect("get"), None);
                }
            }
            Call::Repack { rows_before } => drop(view.repack(Some(&key(rows_before))).expect("repack")),
        }
        self.write(view);
        Ok(())
    }

    fn put(&mut self, view: &View<'_>, n: u16, bytes: usize) -> Result<(), TestCaseError> {
        let old = view.insert(key(n), value(n, bytes)).expect("insert");
        prop_assert_eq!(old.map(|old| old.to_vec()), self.expected.insert(key(n), value(n, bytes)));
        prop_assert_eq!(view.get(key(n)).expect("get").map(|value| value.to_vec()), Some(value(n, bytes)));
        Ok(())
    }

    fn write(&self, view: View<'_>) {
        for (key, value) in view.changes() {
            match value {
                Some(value) => self.tree.tree().insert(key, value).expect("insert"),
                None => self.tree.tree().remove(key).expect("remove"),
            };
        }
    }

    /// Whether the tree holds what it should, and its rows are as they should be.
    fn check(&self) -> Result<(), TestCaseError> {
        let own = |entry: Result<Entry, StoreError>| {
            let (key, value) = entry.expect("read");
            (key.to_vec(), value.to_vec())
        };
        let expected: Vec<_> = self.expected.clone().into_iter().collect();
        prop_assert_eq!(self.tree.iter().map(own).collect::<Vec<_>>(), expected.clone());
        prop_assert_eq!(
            self.tree.iter().rev().map(own).collect::<Vec<_>>(),
            expected.iter().rev().cloned().collect::<Vec<_>>()
        );
        let mut lookup = self.tree.lookup();
        for n in (0..2500).step_by(7) {
            let key = key(n);
            prop_assert_eq!(lookup.get(&key).expect("get").map(|v| v.to_vec()), self.expected.get(&key).cloned());
            prop_assert_eq!(self.tree.get(&key).expect("get").map(|v| v.to_vec()), self.expected.get(&key).cloned());
            let below = self.expected.range(..key.clone()).next_back().map(|(key, _)| key.clone());
            prop_assert_eq!(self.tree.get_lt(&key).expect("get").map(|(key, _)| key.to_vec()), below);
            let above = self.expected.range((Bound::Excluded(key.clone()), Bound::Unbounded)).next();
            let above = above.map(|(key, _)| key.clone());
            prop_assert_eq!(self.tree.get_gt(&key).expect("get").map(|(key, _)| key.to_vec()), above);
            let prefix = &key[..3];
            let with_prefix = self.expected.range(prefix.to_vec()..).take_while(|(key, _)| key.starts_with(prefix));
            prop_assert_eq!(self.tree.scan_prefix(prefix).count(), with_prefix.count());
        }
        for row in self.tree.tree() {
            let (_, row) = row.expect("read");
            prop_assert!(row.len() <= 6 * 1024 + 64, "a row of {} bytes", row.len());
        }
        Ok(())
    }

    fn blocks(&self) -> usize {
        self.tree.tree().iter().values().filter(|row| is_block(row.as_ref().expect("read"))).count()
    }

    fn rows(&self) -> usize {
        self.tree.tree().len()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_packed_tree_is_a_map(calls in proptest::collection::vec(call(), 1..25), full in 200..10_000usize) {
        let mut bench = Bench::new();
        bench.packing = Packing { left: full / 400, many: full / 100, full, looks: 1 + full as u64 / 600 };
        for call in calls {
            bench.apply(&call)?;
            bench.check()?;
        }
    }
}

#[test]
fn entries_next_to_each_other_come_to_share_rows_and_the_newest_do_not() {
    let mut bench = Bench::new();
    // One entry in each commit, as a quiet box has them.
    for n in 0..2000 {
        bench.apply(&Call::Put { key: n, bytes: 10 }).expect("put");
        let (newest, row) = bench.tree.tree().last().expect("read").expect("not empty");
        assert!(newest == key(n) && !is_block(&row), "the newest change often");
    }
    bench.check().expect("as expected");
    assert!(bench.rows() < 2000 / 10, "{} rows", bench.rows());
    // All at once it is no different.
    let mut at_once = Bench::new();
    at_once.apply(&Call::Append { from: 0, count: 2000, bytes: 10 }).expect("append");
    assert!(at_once.rows() < 2000 / 10, "{} rows", at_once.rows());
}

#[test]
fn rows_that_became_small_are_put_together() {
    let mut bench = Bench::new();
    bench.apply(&Call::Append { from: 0, count: 2000, bytes: 100 }).expect("append");
    let before = bench.blocks();
    for n in (0..1900).filter(|n| n % 10 > 0) {
        bench.apply(&Call::Remove { from: n, count: 1 }).expect("remove");
    }
    bench.check().expect("as expected");
    assert!(bench.blocks() < before / 2, "{} blocks, {before} before", bench.blocks());
}

#[test]
fn old_rows_are_packed_in_steps_from_any_place_on() {
    let mut bench = Bench::new();
    for n in 0..2000 {
        bench.tree.tree().insert(key(n), value(n, 20)).expect("insert");
        bench.expected.insert(key(n), value(n, 20));
    }
    let (mut after, mut steps) = (None, 0);
    loop {
        let tree = bench.tree.clone();
        let view = View::packed(tree.tree(), bench.packing);
        after = view.repack(after.as_deref()).expect("repack");
        bench.write(view);
        bench.check().expect("as expected at every step");
        steps += 1;
        if after.is_none() {
            break;
        }
    }
    assert!(steps >= 3 && bench.rows() < 2000 / 10, "{steps} steps, {} rows", bench.rows());
}

#[test]
fn a_scan_meets_every_entry_once_while_the_rows_change_under_it() {
    let mut bench = Bench::new();
    bench.apply(&Call::Append { from: 0, count: 1500, bytes: 40 }).expect("append");
    let odd = |n: &u16| n % 2 == 1;
    let expected: Vec<Vec<u8>> = (0..1500).filter(odd).map(key).collect();
    let tree = bench.tree.clone();
    let (mut up, mut down) = (tree.iter().keys(), tree.iter().keys());
    let (mut met, mut met_back) = (Vec::new(), Vec::new());
    for step in 0..750 {
        met.extend(up.next().map(|key| key.expect("read").to_vec()));
        met_back.extend(down.next_back().map(|key| key.expect("read").to_vec()));
        // Rows become small and are put together, and others are split, ahead of both scans and behind them.
        for n in [2 * step, 2 * step + 1].map(|n| (n * 7) % 1500) {
            let call = match (n % 2, n % 500) {
                (0, _) => Call::Remove { from: n, count: 1 },
                (_, 0..100) => Call::Put { key: n, bytes: 400 },
                _ => Call::Put { key: n, bytes: 4 },
            };
            bench.apply(&call).expect("change");
        }
    }
    met.extend(up.map(|key| key.expect("read").to_vec()));
    met_back.extend(down.rev().map(|key| key.expect("read").to_vec()));
    met_back.reverse();
    for met in [met, met_back] {
        assert!(met.is_sorted_by(|a, b| a < b), "an entry was met twice or out of order");
        assert_eq!(met.into_iter().filter(|key| expected.contains(key)).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_damaged_block_is_found_out_and_never_panics() {
    let entries: Vec<Entry> = (0..200).map(|n| (key(n).into(), value(n, 30).into())).collect();
    let block = encode(&entries);
    assert_eq!(decode(&block).expect("whole"), entries);
    let mut harmed = 0;
    for n in 0..block.len() {
        for cut in [true, false] {
            let mut damaged = block.to_vec();
            if cut {
                damaged.truncate(n);
            } else {
                damaged[n] ^= 1 << (n % 8);
            }
            let read = decode(&damaged);
            // The last bits before the checksum mean nothing.
            let harmless = read.as_ref().is_ok_and(|read| *read == entries);
            assert!(harmless || matches!(read, Err(StoreError::Corrupt(_))), "byte {n}, cut {cut}: {read:?}");
            harmed += u32::from(!harmless);
        }
    }
    assert!(harmed as usize > 2 * block.len() - 8, "{harmed} of {}", block.len());
}

#[test]
fn few_bytes_cannot_stand_for_gigabytes_nor_for_entries_without_order() {
    let block = |entries: &[[&[u8]; 2]]| {
        let plain: Vec<u8> = entries.concat().concat();
        [&[MARK][..], &compress_to_vec_zlib(&plain, 1)].concat()
    };
    // Lengths, seven bits a byte: of the beginning that is shared, of the rest of the key, and of the value.
    let ordered: [[&[u8]; 2]; 2] = [[&[0, 2, 1], b"abv"], [&[1, 1, 0], b"c"]];
    let whole = block(&ordered);
    let keys = decode(&whole).expect("whole").into_iter().map(|(key, _)| key.to_vec()).collect::<Vec<_>>();
    assert_eq!(keys, [b"ab", b"ac"]);

    let long = [b'k'; 60_000];
    let first: [&[u8]; 2] = [&[0, 0xe0, 0xd4, 0x03, 0], &long];
    // Each repeats the key before it and adds one byte.
    let further: [&[u8]; 2] = [&[0xff, 0xff, 0x7f, 1, 0], b"k"];
    let repeats: [&[u8]; 2] = [&[0xe0, 0xd4, 0x03, 1, 0], b"k"];
    for entries in [vec![first, repeats, repeats], vec![first, further], [vec![first], vec![repeats; 1_000]].concat()] {
        let read = decode(&block(&entries));
        let number = read.as_ref().map(Vec::len);
        assert!(matches!(read, Err(StoreError::Corrupt(_))), "{} rows: {number:?}", entries.len());
    }
    for unordered in [[[&[0, 1, 0][..], b"b"], [&[0, 1, 0][..], b"a"]], [[&[0, 1, 0][..], b"a"], [&[1, 0, 0][..], b""]]]
    {
        assert!(matches!(decode(&block(&unordered)), Err(StoreError::Corrupt(_))), "{unordered:?}");
    }
}
