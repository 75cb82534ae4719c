//! Files that are being written are waited for: nothing says when the other program is done but that nothing changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::walk::Entry;
use crate::clock::Mono;

/// For how long a file is to stay as it is.
pub const SETTLE: Duration = Duration::from_secs(10);
/// What was changed longer ago than this by the file system's clock is not being written.
const OLD_NS: i64 = 120_000_000_000;
/// Files that are waited for at once; more are found by the next walk.
const MOST: usize = 100_000;

/// How a file was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// By a walk through its folder.
    Walk,
    /// By a change of it.
    Change,
}

/// Files that may be being written.
#[derive(Debug, Default)]
pub struct Settling(BTreeMap<PathBuf, Waiting>);

#[derive(Debug)]
struct Waiting {
    /// As it was when it was seen to be another than before; none for one that is to be looked at.
    entry: Option<Entry>,
    since: Mono,
}

impl Settling {
    /// A file may have changed.
    pub fn note(&mut self, path: &Path, now: Mono) {
        if self.0.len() < MOST || self.0.contains_key(path) {
            let waiting = self.0.entry(path.to_owned()).or_insert(Waiting { entry: None, since: now });
            waiting.since = now;
        }
    }

    /// A file as it is now, at `wall_ns` (nanoseconds since 1970) by this box. Whether it is done: it is not waited for any
    /// more then.
    pub fn is_done(&mut self, entry: &Entry, seen: Seen, now: Mono, wall_ns: i64) -> bool {
        let Some(waiting) = self.0.get_mut(&entry.path) else {
            let last = entry.modified_ns.max(entry.changed_ns);
            if seen == Seen::Walk && wall_ns.saturating_sub(last) > OLD_NS {
                return true;
            }
            if self.0.len() < MOST {
                self.0.insert(entry.path.clone(), Waiting { entry: Some(entry.clone()), since: now });
            }
            return false;
        };
        if !waiting.entry.as_ref().is_some_and(|known| known.is_as(entry)) {
            *waiting = Waiting { entry: Some(entry.clone()), since: now };
            return false;
        }
        let is_done = now.since(waiting.since) >= SETTLE;
        if is_done {
            self.0.remove(&entry.path);
        }
        is_done
    }

    /// A file is not waited for any more.
    pub fn forget(&mut self, path: &Path) {
        self.0.remove(path);
    }

    /// Those that are to be looked at, by name.
    pub fn due(&self, now: Mono) -> Vec<PathBuf> {
        let is_due = |waiting: &Waiting| waiting.entry.is_none() || now.since(waiting.since) >= SETTLE;
        self.0.iter().filter(|(_, waiting)| is_due(waiting)).map(|(path, _)| path.clone()).collect()
    }

    /// How many they are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn entry(bytes: u64, modified_s: i64) -> Entry {
        let (modified_ns, changed_ns) = (modified_s * SECOND, modified_s * SECOND);
        Entry { path: PathBuf::from("/card/a.jpg"), bytes, modified_ns, changed_ns }
    }

    fn at(seconds: u64) -> Mono {
        Mono(seconds * 1_000_000_000)
    }

    #[test]
    fn a_file_that_grows_is_waited_for_until_it_stays() {
        let mut settling = Settling::default();
        let wall = 2_000 * SECOND;
        assert!(!settling.is_done(&entry(10, 1_999), Seen::Walk, at(0), wall), "just written");
        assert!(!settling.is_done(&entry(10, 1_999), Seen::Walk, at(9), wall));
        assert!(!settling.is_done(&entry(20, 2_008), Seen::Walk, at(9), wall), "it grew");
        assert!(!settling.is_done(&entry(20, 2_008), Seen::Walk, at(18), wall));
        assert!(settling.is_done(&entry(20, 2_008), Seen::Walk, at(19), wall));
        assert!(settling.is_empty());
    }

    #[test]
    fn a_change_begins_the_wait_again_though_size_and_time_stay() {
        let mut settling = Settling::default();
        settling.note(Path::new("/card/a.jpg"), at(0));
        assert_eq!(settling.due(at(0)), [PathBuf::from("/card/a.jpg")], "never looked at");
        assert!(!settling.is_done(&entry(10, 5), Seen::Change, at(1), 2_000 * SECOND));
        settling.note(Path::new("/card/a.jpg"), at(8));
        assert_eq!((settling.due(at(17)).len(), settling.due(at(18)).len()), (0, 1));
        assert!(!settling.is_done(&entry(10, 5), Seen::Change, at(12), 2_000 * SECOND), "written to at 8 s");
        assert!(settling.is_done(&entry(10, 5), Seen::Change, at(18), 2_000 * SECOND));
        settling.note(Path::new("/card/a.jpg"), at(20));
        settling.forget(Path::new("/card/a.jpg"));
        assert_eq!(settling.len(), 0);
    }

    #[test]
    fn what_has_long_been_there_is_not_waited_for() {
        let mut settling = Settling::default();
        assert!(settling.is_done(&entry(10, 1_000), Seen::Walk, at(0), 1_121 * SECOND));
        assert!(!settling.is_done(&entry(10, 1_000), Seen::Walk, at(0), 1_119 * SECOND));
        let copied = Entry { changed_ns: 1_999 * SECOND, ..entry(10, 5) };
        assert!(
            !Settling::default().is_done(&copied, Seen::Walk, at(0), 2_000 * SECOND),
            "an old file that came just now"
        );
        assert!(!Settling::default().is_done(&entry(10, 3_000), Seen::Walk, at(0), 2_000 * SECOND), "by a wrong clock");
    }
}
