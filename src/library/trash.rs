//! The term of the trash: what has lain there for long enough is deleted for good.

use std::time::Duration;

use super::{Library, LibraryError};
use crate::clock::{Moment, TimeQuality};
use crate::photo::{Photo, PhotoId};

/// Photos of the trash that are looked at in one go.
const PAGE: usize = 200;

/// Where a term is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Term {
    /// It goes on.
    Runs,
    /// It is over.
    Over,
    /// It begins now: the clock of before was not to be trusted.
    Begins,
}

/// Where a term that began at `begun` is.
pub(super) fn term(begun: &Moment, now: &Moment, lasts: Duration) -> Term {
    if now.time_quality != TimeQuality::Synchronised {
        return Term::Runs;
    }
    if begun.time_quality != TimeQuality::Synchronised || begun.wall > now.wall {
        return Term::Begins;
    }
    if now.wall.duration_since(begun.wall).unsigned_abs() >= lasts { Term::Over } else { Term::Runs }
}

impl Library {
    /// Deletes for good what has lain in the trash for as long as the configuration says; nothing while the clock cannot be
    /// trusted. Returns how many photos went.
    ///
    /// # Errors
    /// When index or disk fail.
    pub async fn empty_trash(&self) -> Result<u64, LibraryError> {
        let (Some(lasts), mut after, mut gone) = (self.config.trash(), None, 0) else { return Ok(0) };
        loop {
            let photos = self.archive.store().photos().trashed(after, PAGE).await?;
            let Some(last) = photos.last() else { return Ok(gone) };
            after = Some(last.clone());
            for photo in photos {
                gone += u64::from(self.end_term(&photo, lasts).await?);
            }
        }
    }

    /// Returns whether the photo went.
    async fn end_term(&self, photo: &Photo, lasts: Duration) -> Result<bool, LibraryError> {
        let Some(trashed) = &photo.trashed else { return Ok(false) };
        let done = match term(trashed, &self.archive.now(), lasts) {
            Term::Runs => return Ok(false),
            Term::Over => self.delete(photo.id, Some(photo)).await.map(|()| true),
            Term::Begins => self.begin_term(photo.id).await.map(|()| false),
        };
        match done {
            // A person was there before.
            Err(LibraryError::Changed | LibraryError::Unknown) => Ok(false),
            done => done,
        }
    }

    async fn begin_term(&self, id: PhotoId) -> Result<(), LibraryError> {
        let _changing = self.archive.changing_photos.lock().await;
        let Some(mut photo) = self.archive.store().photos().get(id).await? else { return Ok(()) };
        if photo.trashed.is_some() {
            photo.trashed = Some(self.archive.now());
            self.record(photo).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;

    #[test]
    fn a_term_is_counted_between_times_that_can_be_trusted() {
        use TimeQuality::{Implausible, Synchronised, Unsynchronised};
        let at = |days: i64, time_quality| Moment {
            wall: Timestamp::from_second(1_790_000_000 + days * 86_400).expect("a time"),
            mono_ns: 0,
            boot_id: "boot".into(),
            time_quality,
        };
        let lasts = Duration::from_secs(30 * 86_400);
        for (trashed, now, expected) in [
            (at(0, Synchronised), at(29, Synchronised), Term::Runs),
            (at(0, Synchronised), at(30, Synchronised), Term::Over),
            (at(0, Synchronised), at(90, Unsynchronised), Term::Runs),
            (at(-9000, Implausible), at(30, Synchronised), Term::Begins),
            (at(0, Unsynchronised), at(90, Synchronised), Term::Begins),
            (at(40, Synchronised), at(30, Synchronised), Term::Begins),
        ] {
            assert_eq!(term(&trashed, &now, lasts), expected, "{trashed:?} {now:?}");
        }
    }
}
