//! Where originals lie: here, and at a destination alone after their term. These are brought back when a person asks.
//!
//! An original goes only when nothing of it waits any more and the destination has said at that moment that it has it
//! (`upload`); its thumbnails, its sidecar and a note of where it is stay.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use super::intake::blocking;
use super::layout;
use super::trash::{Term, term};
use super::{Library, LibraryError, Thumb};
use crate::asset::LIBRARY;
use crate::away::{self, Away};
use crate::clock::{Moment, Mono};
use crate::destination::Destination;
use crate::photo::{Photo, PhotoId};
use crate::store::{Document, DocumentTask};

/// Photos that are looked at in one go.
const PAGE: usize = 200;
/// Originals that are queued in one go.
const MOST_QUEUED: usize = 500;
/// After so long all photos are looked at again.
const ROUND_LASTS: Duration = Duration::from_secs(24 * 3600);

/// Where the original of a photo is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OriginalState {
    /// Whether it is on this box.
    pub here: bool,
    /// The destination where it lies alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub away: Option<Away>,
    /// Bytes of it that are back, of one that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fetched_bytes: Option<u64>,
    /// Destinations that it waits for.
    pub waits_in: Vec<Destination>,
}

impl Library {
    /// Where the original of a photo is.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn original_state(&self, photo: &Photo) -> Result<OriginalState, LibraryError> {
        let (path, store, document) = (self.original(photo), self.archive.store().clone(), path_of(photo));
        blocking(move || {
            let waits_in = store.outboxes().waits_in(&document)?;
            let here = path.is_file();
            let away = away::find(&path);
            let part = std::fs::metadata(away::part_of(&path)).ok().map(|part| part.len());
            let is_fetched = away.is_some() && !waits_in.is_empty();
            Ok(OriginalState { here, away, fetched_bytes: is_fetched.then(|| part.unwrap_or(0)), waits_in })
        })
        .await
    }

    /// Asks for the original of a photo that lies at a destination alone; it comes when the link allows. Durable when it
    /// returns.
    ///
    /// # Errors
    /// [`LibraryError::NotAway`] where it is here, or nowhere; else when the index is out of service.
    pub async fn fetch_original(&self, photo: &Photo) -> Result<OriginalState, LibraryError> {
        let state = self.original_state(photo).await?;
        let Some(away) = state.away.filter(|_| !state.here) else { return Err(LibraryError::NotAway) };
        self.fetch_from(photo, &away.destination).await?;
        self.original_state(photo).await
    }

    pub(super) async fn fetch_from(&self, photo: &Photo, destination: &Destination) -> Result<(), LibraryError> {
        let document = Document::new(path_of(photo), photo.bytes, photo.sha256.clone());
        let outboxes = self.archive.store().outboxes();
        Ok(outboxes.deliver_to(destination, document.with_task(DocumentTask::Fetch)).await?)
    }

    /// Queues the removal of one original from this box, as [`Library::release_originals`] does, before its term.
    ///
    /// # Errors
    /// [`LibraryError::NotReleased`] where it is not here, not delivered yet, or could not be read again; else when the index
    /// is out of service.
    pub async fn release_original(
        &self,
        photo: &Photo,
        openable: &[Destination],
    ) -> Result<OriginalState, LibraryError> {
        let refused = |why: &str| Err(LibraryError::NotReleased(why.to_owned()));
        let state = self.original_state(photo).await?;
        let Some(to) = openable.first() else {
            return refused("there is no upload destination that the box can read: one without seal_to");
        };
        if !state.here {
            return refused("the original is not on this box");
        }
        if let Some(waits) = state.waits_in.first() {
            return refused(&format!("the original waits for {waits}: it goes when it is delivered"));
        }
        self.queue_release(photo, to).await?;
        self.original_state(photo).await
    }

    async fn queue_release(&self, photo: &Photo, to: &Destination) -> Result<(), LibraryError> {
        for size in [Thumb::Small, Thumb::Large] {
            // They are made of the original.
            self.thumbnail(photo, size).await?;
        }
        let document = Document::new(path_of(photo), photo.bytes, photo.sha256.clone());
        let outboxes = self.archive.store().outboxes();
        Ok(outboxes.deliver_to(to, document.with_task(DocumentTask::Release)).await?)
    }

    /// Queues the removal of originals whose term is over from this box, for the first of `openable`: destinations whose
    /// files the box can read. Returns how many. Those that were looked at are left out, but once a day: originals come back.
    ///
    /// # Errors
    /// When index or disk fail.
    pub async fn release_originals(&self, openable: &[Destination]) -> Result<usize, LibraryError> {
        let (Some(lasts), Some(to)) = (self.config.keep_originals(), openable.first()) else { return Ok(0) };
        let now = self.archive.now();
        self.released.lock().begin_round(now.mono());
        let (mut after, mut queued) = (self.released.lock().after, 0);
        let mut is_contiguous = true;
        while queued < MOST_QUEUED {
            let photos = self.archive.store().photos().by_id(after, PAGE).await?;
            let Some(last) = photos.last().map(|photo| photo.id) else { break };
            for photo in &photos {
                let is_done = match term(kept_from(photo), &now, lasts) {
                    Term::Over => self.release(photo, to, &mut queued, lasts).await?,
                    Term::Begins => {
                        self.begin_kept(photo.id).await?;
                        false
                    }
                    Term::Runs if photo.kept_from.is_some() => false,
                    // The rest came later.
                    Term::Runs => return Ok(queued),
                };
                is_contiguous &= is_done;
                if is_contiguous {
                    self.released.lock().after = Some(photo.id);
                }
            }
            after = Some(last);
        }
        Ok(queued)
    }

    /// Begins the term of an original that was taken in under a clock that cannot be trusted.
    async fn begin_kept(&self, id: PhotoId) -> Result<(), LibraryError> {
        let _changing = self.archive.changing_photos.lock().await;
        let Some(photo) = self.archive.store().photos().get(id).await? else { return Ok(()) };
        self.record(Photo { kept_from: Some(self.archive.now()), ..photo }).await.map(|_| ())
    }

    /// Whether the original was queued, or is not to be: it need not be looked at again today.
    async fn release(
        &self,
        photo: &Photo,
        to: &Destination,
        queued: &mut usize,
        lasts: Duration,
    ) -> Result<bool, LibraryError> {
        let state = self.original_state(photo).await?;
        if !state.here {
            return Ok(true);
        }
        if !state.waits_in.is_empty() {
            return Ok(false);
        }
        let now = self.archive.now();
        let all = self.archive.store().photos().with_content(&photo.sha256).await?;
        if !all.iter().all(|photo| term(kept_from(photo), &now, lasts) == Term::Over) {
            return Ok(true);
        }
        self.queue_release(photo, to).await?;
        *queued += 1;
        Ok(true)
    }
}

fn kept_from(photo: &Photo) -> &Moment {
    photo.kept_from.as_ref().unwrap_or(&photo.added)
}

/// The path of an original as a document.
pub(super) fn path_of(photo: &Photo) -> String {
    format!("{LIBRARY}/{}/{}", layout::relative(&photo.sha256), photo.file)
}

/// How far [`Library::release_originals`] is.
pub(super) type Released = Arc<Mutex<Round>>;

/// A round through all photos.
#[derive(Debug, Default)]
pub(super) struct Round {
    /// Photos up to this one need not be looked at again in this round.
    after: Option<PhotoId>,
    begun: Option<Mono>,
}

impl Round {
    fn begin_round(&mut self, now: Mono) {
        if self.begun.is_none_or(|begun| now.since(begun) >= ROUND_LASTS) {
            *self = Self { after: None, begun: Some(now) };
        }
    }
}
