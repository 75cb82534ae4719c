//! The video of an interrupted event that other events' clips hold.

use jiff::SignedDuration;
use std::time::Duration;

use anyhow::Result;

use crate::archive::Archive;
use crate::archive::holders::{Holders, Piece};
use crate::clock::Mono;
use crate::event::{Event, SharedClip};
use crate::store::Query;

/// How long before or behind its beginning the events may have begun whose clips it shares.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(1);
/// Events that are looked at.
const MOST: usize = 500;

/// What of the interrupted event `event`, which has its own clips already, other events' clips hold, those that are complete
/// by now, and when the last of it ends. As the recorder noted it at the beginning where nothing more is known.
///
/// # Errors
/// When the index fails.
pub(super) fn shared_video(archive: &Archive, event: &Event) -> Result<(Vec<SharedClip>, Option<Mono>)> {
    let Some(first) = event.shares.first() else { return Ok((Vec::new(), None)) };
    let since = event.start.wall.saturating_sub(LOOK_BACK)?;
    let camera = Some(event.camera.to_string());
    let until = Some(event.start.wall.saturating_add(LOOK_BACK)?);
    let query = Query { camera, since: Some(since), until, limit: MOST, ..Query::default() };
    let others = archive.store.events().find(&query).wait()?;
    let of_boot = others.iter().filter(|other| other.start.boot_id == event.start.boot_id);
    let pieces: Vec<Piece> = of_boot.flat_map(pieces_of).collect();
    let holders = Holders::new(Duration::MAX);
    let start = event.start.mono();
    let from = first.start(start);
    let own = event.clips().next().map(|clip| clip.start.mono());
    let until = own.unwrap_or_else(|| holders.reach(from, &pieces));
    let parts = holders.parts((event.id, start), (from, until), &pieces);
    let shares = if parts.is_empty() { event.shares.clone() } else { parts };
    Ok((shares, own.is_none().then_some(until)))
}

fn pieces_of(event: &Event) -> impl Iterator<Item = Piece> {
    event.clips().map(|clip| {
        let from = clip.start.mono();
        let length = Duration::try_from_secs_f64(clip.duration_s).unwrap_or_default();
        Piece { event: event.id, file: clip.media.file.clone(), from, until: from + length }
    })
}
