//! The last changes of photos, for those who follow the library.
//!
//! They are kept in memory alone: who comes again asks for its lists again. Numbers belong to one opening of an index.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use super::Position;
use super::photo_scope::Scope;
use crate::photo::{Photo, PhotoId};

/// Changes that are kept.
const KEPT: usize = 4096;

/// A photo came, is another, or went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PhotoChange {
    /// The photo.
    pub id: PhotoId,
    /// Who had it in a list before; none of one that is new.
    pub before: Option<Scope>,
    /// Who has it now; none of one that is gone.
    pub after: Option<Scope>,
    /// The users whose favourite it became or is no more, where nothing else changed.
    pub favorite_of: Option<Vec<Arc<str>>>,
}

impl PhotoChange {
    /// What became of a photo; nothing where it is as before.
    pub(super) fn between(before: Option<&Photo>, after: Option<&Photo>) -> Option<Self> {
        let id = after.or(before)?.id;
        let favorite_of = match (before, after) {
            (Some(before), Some(after)) if before == after => return None,
            (Some(before), Some(after)) => changed_favorites(before, after),
            _ => None,
        };
        Some(Self { id, before: before.map(Scope::of), after: after.map(Scope::of), favorite_of })
    }
}

fn changed_favorites(before: &Photo, after: &Photo) -> Option<Vec<Arc<str>>> {
    if (Photo { favorite_of: after.favorite_of.clone(), ..before.clone() }) != *after {
        return None;
    }
    let (before, after) = (&before.favorite_of, &after.favorite_of);
    let is_changed = |user: &&Arc<str>| before.contains(user) != after.contains(user);
    Some(before.iter().chain(after).filter(is_changed).cloned().collect())
}

/// The changes that are kept.
#[derive(Debug)]
pub(super) struct PhotoChanges {
    kept: Mutex<VecDeque<PhotoChange>>,
    last: watch::Sender<Position>,
}

impl PhotoChanges {
    pub(super) fn new() -> Self {
        let last = Position { epoch: fastrand::u32(1..), seq: 0 };
        Self { kept: Mutex::default(), last: watch::Sender::new(last) }
    }

    /// Adds what a commit changed that is on the disk.
    pub(super) fn add(&self, changes: Vec<PhotoChange>) {
        if changes.is_empty() {
            return;
        }
        let mut kept = self.kept.lock();
        let added = changes.len() as u64;
        kept.extend(changes);
        let surplus = kept.len().saturating_sub(KEPT);
        kept.drain(..surplus);
        self.last.send_modify(|last| last.seq += added);
    }

    pub(super) fn last(&self) -> watch::Receiver<Position> {
        self.last.subscribe()
    }

    /// The changes behind `position`; `None` where some of them are not known any more, or of another index.
    pub(super) fn after(&self, position: Position) -> (Option<Vec<PhotoChange>>, Position) {
        let kept = self.kept.lock();
        let last = *self.last.borrow();
        let missing = last.seq.checked_sub(position.seq).and_then(|missing| usize::try_from(missing).ok());
        let first = missing.and_then(|missing| kept.len().checked_sub(missing));
        let changes =
            first.filter(|_| position.epoch == last.epoch).map(|first| kept.range(first..).cloned().collect());
        (changes, last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::photo::fixture;

    fn photo(n: u64) -> Photo {
        let id = PhotoId::from_bytes(u128::from(n).to_be_bytes());
        fixture::photo(id, "anna", "2024-03-01T10:00:00", SystemClock::new().now())
    }

    fn added(n: u64) -> PhotoChange {
        PhotoChange::between(None, Some(&photo(n))).expect("a change")
    }

    #[test]
    fn a_photo_that_is_recorded_as_it_was_is_no_change_and_a_favourite_is_one_of_its_user() {
        let before = photo(1);
        assert_eq!(PhotoChange::between(Some(&before), Some(&before)), None);
        let (bea, cy): (Arc<str>, Arc<str>) = ("bea".into(), "cy".into());
        let favorite = Photo { favorite_of: vec![bea.clone()], ..before.clone() };
        let other = Photo { favorite_of: vec![cy.clone()], ..before.clone() };
        let change = PhotoChange::between(Some(&favorite), Some(&other)).expect("a change");
        assert_eq!(change.favorite_of, Some(vec![bea, cy]));
        let titled = Photo { title: "Heron".to_owned(), ..favorite };
        let change = PhotoChange::between(Some(&before), Some(&titled)).expect("a change");
        assert_eq!((change.favorite_of, change.before), (None, Some(Scope::Shared)));
    }

    #[test]
    fn changes_are_given_once_and_what_is_not_kept_any_more_is_said() {
        let changes = PhotoChanges::new();
        let begin = *changes.last().borrow();
        assert_eq!(changes.after(begin), (Some(Vec::new()), begin));
        changes.add(vec![added(1), added(2)]);
        let (found, second) = changes.after(begin);
        assert_eq!(found, Some(vec![added(1), added(2)]));
        changes.add(vec![added(3)]);
        let (found, third) = changes.after(second);
        assert_eq!((found, third.seq), (Some(vec![added(3)]), 3));
        assert_eq!(changes.after(Position { epoch: begin.epoch ^ 1, ..begin }).0, None, "another index");
        changes.add((0..KEPT as u64).map(added).collect());
        assert_eq!(changes.after(third).0.map(|all| all.len()), Some(KEPT));
        assert_eq!(changes.after(second).0, None, "one of them is gone");
    }
}
