//! The files that hold a stretch of a camera's time, one behind the other.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;

use super::super::context::Context;
use crate::archive::Layout;
use crate::asset::AssetId;
use crate::clock::TimeQuality;
use crate::event::{Clip, Event};
use crate::segment::Segment;
use crate::store::{Query, SegmentQuery, Store};

/// How far before a time an event may have begun and still have video of it.
const LOOK_BACK: SignedDuration = SignedDuration::from_hours(6);
/// Rows that are read at once.
const PAGE: usize = 500;
/// Pieces in one answer.
const MOST: usize = 4000;
/// What is shorter is no piece of its own: a few pictures between a segment and a clip.
const SHORTEST: SignedDuration = SignedDuration::from_millis(250);

/// What a piece is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PieceKind {
    /// A segment of continuous recording.
    Segment,
    /// The clip of an event.
    Clip,
}

/// A part of a file that is to be played.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Piece {
    /// What it is part of.
    pub kind: PieceKind,
    /// Of which segment or event.
    pub id: AssetId,
    /// Name of the file.
    pub file: String,
    /// When its first picture that is to be played was taken.
    pub from: Timestamp,
    /// When its last ended, exclusive.
    pub until: Timestamp,
    /// Where [`Piece::from`] lies in the file, seconds.
    pub offset_s: f64,
    /// How long the whole file is, seconds.
    pub file_s: f64,
    /// Size of the whole file.
    pub bytes: u64,
    /// Coding, such as `h264`.
    pub codec: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Trust in its times.
    pub time_quality: TimeQuality,
    /// From when to when what it belongs to reaches: by that it is decided who may see it.
    #[serde(skip)]
    pub extent: (Timestamp, Timestamp),
}

impl Piece {
    /// Where its file lies.
    pub fn path(&self, layout: &Layout, camera: &str) -> PathBuf {
        match self.kind {
            PieceKind::Segment => layout.recordings(camera).join(&self.file),
            PieceKind::Clip => layout.folder(camera, self.id).join(&self.file),
        }
    }

    /// When the first picture of the file was taken.
    pub fn file_from(&self) -> Timestamp {
        let offset = SignedDuration::try_from_secs_f64(self.offset_s).unwrap_or_default();
        self.from.checked_sub(offset).unwrap_or(self.from)
    }

    /// How long it is to be played.
    pub fn length(&self) -> SignedDuration {
        self.until.duration_since(self.from)
    }

    /// Bytes of the part that is played, by its length.
    pub fn estimated_bytes(&self) -> u64 {
        let share = if self.file_s > 0.0 { (self.length().as_secs_f64() / self.file_s).min(1.0) } else { 1.0 };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bytes = (self.bytes as f64 * share) as u64;
        bytes
    }

    /// The part of it within `time`; `None` where too little is left.
    fn within(&self, time: &Range<Timestamp>) -> Option<Self> {
        let (from, until) = (self.from.max(time.start), self.until.min(time.end));
        let is_whole = (from, until) == (self.from, self.until);
        if from >= until || !is_whole && until.duration_since(from) < SHORTEST {
            return None;
        }
        let offset_s = self.offset_s + from.duration_since(self.from).as_secs_f64();
        Some(Self { from, until, offset_s, ..self.clone() })
    }
}

/// What can be played of a stretch of time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Pieces {
    /// The pieces, oldest first, without an overlap.
    pub pieces: Vec<Piece>,
    /// From when there is more; absent where that is all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Timestamp>,
}

/// Finds what can be played.
#[derive(Clone)]
pub struct PlaybackService {
    pub(super) context: Arc<Context>,
    /// Held while the video of an event is cut.
    pub(super) cutting: Arc<Mutex<()>>,
}

impl PlaybackService {
    pub(in crate::service) fn new(context: Arc<Context>) -> Self {
        Self { context, cutting: Arc::default() }
    }

    /// The pieces of `camera` from `since` to `until`: segments, and clips where there is no segment. `sees` holds for
    /// times that may be seen.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn pieces(
        &self,
        camera: &str,
        since: Timestamp,
        until: Timestamp,
        sees: impl Fn(Timestamp, Timestamp) -> bool + Send + 'static,
    ) -> Result<Pieces> {
        let (store, camera) = (self.context.store(), camera.to_owned());
        tokio::task::spawn_blocking(move || find(&store, &camera, &(since..until), sees)).await?
    }
}

/// The pieces of `camera` within `time`: segments, and clips where there is no segment. `sees` holds for times that may
/// be seen, from and until. Blocks.
///
/// # Errors
/// When the index is out of service.
pub(super) fn find(
    store: &Store,
    camera: &str,
    time: &Range<Timestamp>,
    sees: impl Fn(Timestamp, Timestamp) -> bool,
) -> Result<Pieces> {
    let segments = segments(store, camera, time)?;
    let clips = clips(store, camera, time)?;
    let seen = |piece: &Piece| sees(piece.extent.0, piece.extent.1);
    let mut pieces = without_overlap(segments.into_iter().filter(seen), clips.into_iter().filter(seen), time);
    let next = pieces.get(MOST).map(|piece| piece.from);
    pieces.truncate(MOST);
    Ok(Pieces { pieces, next })
}

fn segments(store: &Store, camera: &str, time: &Range<Timestamp>) -> Result<Vec<Piece>> {
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let (camera, since, until) = (camera.to_owned(), Some(time.start), Some(time.end));
        let page = store.ledger().segments(&SegmentQuery { camera, since, until, before, limit: PAGE }).wait()?;
        let Some(first) = page.first() else { break };
        before = Some(first.id);
        found.extend(page.iter().filter_map(of_segment));
    }
    Ok(found)
}

/// One that is being written cannot be played to its end, and comes with the next answer.
fn of_segment(segment: &Segment) -> Option<Piece> {
    let (video, end) = (segment.video.as_ref()?, segment.end.as_ref()?);
    let (from, until) = (segment.start.wall, end.wall);
    Some(Piece {
        kind: PieceKind::Segment,
        id: segment.id,
        file: video.media.file.clone(),
        from,
        until,
        offset_s: 0.0,
        file_s: until.duration_since(from).as_secs_f64(),
        bytes: video.media.bytes,
        codec: video.codec.clone(),
        width: video.width,
        height: video.height,
        time_quality: segment.start.time_quality,
        extent: (from, until),
    })
}

fn clips(store: &Store, camera: &str, time: &Range<Timestamp>) -> Result<Vec<Piece>> {
    let since = time.start.saturating_sub(LOOK_BACK).unwrap_or(Timestamp::MIN);
    // A clip begins before its event.
    let until = time.end.saturating_add(LOOK_BACK).unwrap_or(Timestamp::MAX);
    let (mut found, mut before) = (Vec::new(), None);
    loop {
        let (camera, since, until) = (Some(camera.to_owned()), Some(since), Some(until));
        let page =
            store.events().find(&Query { camera, since, until, before, limit: PAGE, ..Query::default() }).wait()?;
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        found.extend(page.iter().flat_map(of_event));
    }
    Ok(found)
}

fn of_event(event: &Event) -> impl Iterator<Item = Piece> {
    event.clips().filter_map(|clip| of_clip(event, clip))
}

fn of_clip(event: &Event, clip: &Clip) -> Option<Piece> {
    let length = SignedDuration::try_from_secs_f64(clip.duration_s).ok().filter(|length| length.is_positive())?;
    Some(Piece {
        kind: PieceKind::Clip,
        id: event.id,
        file: clip.media.file.clone(),
        from: clip.start.wall,
        until: clip.start.wall.checked_add(length).ok()?,
        offset_s: 0.0,
        file_s: clip.duration_s,
        bytes: clip.media.bytes,
        codec: clip.codec.clone(),
        width: clip.width,
        height: clip.height,
        time_quality: clip.start.time_quality,
        extent: event.extent(clip.start.wall),
    })
}

/// What is within `time`, in order: the first ones whole, of the others what those do not hold.
fn without_overlap(
    first: impl Iterator<Item = Piece>,
    others: impl Iterator<Item = Piece>,
    time: &Range<Timestamp>,
) -> Vec<Piece> {
    let mut taken: Vec<Piece> = Vec::new();
    for group in [first.collect::<Vec<_>>(), others.collect()] {
        let mut group = group;
        group.sort_by_key(|piece| (piece.from, piece.id));
        let known = std::mem::take(&mut taken);
        let mut at_known = known.iter().peekable();
        let mut reached = time.start;
        let mut fresh = Vec::new();
        for piece in group {
            // What of it is free between the known ones.
            while at_known.peek().is_some_and(|known| known.until <= piece.from.max(reached)) {
                at_known.next();
            }
            let mut ahead = at_known.clone();
            let mut from = piece.from.max(reached);
            loop {
                let next = ahead.next();
                let until = next.map_or(time.end, |next| next.from).min(piece.until);
                fresh.extend(piece.within(&(from..until.max(from))));
                match next {
                    Some(next) if next.from < piece.until => from = from.max(next.until),
                    _ => break,
                }
            }
            reached = reached.max(piece.until);
        }
        taken = known;
        taken.extend(fresh);
        taken.sort_by_key(|piece| piece.from);
    }
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + s).expect("a time")
    }

    fn piece(kind: PieceKind, n: u8, from: i64, until: i64) -> Piece {
        Piece {
            kind,
            id: AssetId::from_bytes([n; 16]),
            file: "clip.mp4".into(),
            from: at(from),
            until: at(until),
            offset_s: 0.0,
            file_s: (until - from) as f64,
            bytes: 1000,
            codec: "h264".into(),
            width: 16,
            height: 16,
            time_quality: TimeQuality::Synchronised,
            extent: (at(from), at(until)),
        }
    }

    fn taken(segments: &[(i64, i64)], clips: &[(i64, i64)], from: i64, until: i64) -> Vec<(u8, i64, i64, f64)> {
        let of = |kind, all: &[(i64, i64)]| {
            let all = all.iter().zip(0u8..);
            all.map(|((from, until), n)| piece(kind, n, *from, *until)).collect::<Vec<_>>()
        };
        let (segments, clips) = (of(PieceKind::Segment, segments), of(PieceKind::Clip, clips));
        let pieces = without_overlap(segments.into_iter(), clips.into_iter(), &(at(from)..at(until)));
        let second = |at: Timestamp| at.as_second() - 1_790_000_000;
        let said = pieces.iter().map(|piece| {
            let kind = if piece.kind == PieceKind::Segment { 0 } else { 1 };
            (kind, second(piece.from), second(piece.until), piece.offset_s)
        });
        said.collect()
    }

    #[test]
    fn clips_fill_what_segments_leave_and_each_second_is_played_once() {
        let played = taken(&[(0, 60), (60, 120), (200, 260)], &[(50, 70), (100, 230), (250, 300), (280, 310)], 10, 305);
        let expected = [
            (0, 10, 60, 10.0),
            (0, 60, 120, 0.0),
            (1, 120, 200, 20.0),
            (0, 200, 260, 0.0),
            (1, 260, 300, 10.0),
            (1, 300, 305, 20.0),
        ];
        assert_eq!(played, expected);
        assert_eq!(taken(&[(40, 50)], &[(30, 60)], 0, 100), [(1, 30, 40, 0.0), (0, 40, 50, 0.0), (1, 50, 60, 20.0)]);
        assert_eq!(taken(&[], &[], 0, 100), []);
    }

    proptest! {
        #[test]
        fn no_second_is_played_twice_and_none_is_missing(
            segments in prop::collection::vec((0..200i64, 1..60i64), 0..8),
            clips in prop::collection::vec((0..200i64, 1..60i64), 0..8),
            (from, length) in (0..100i64, 1..150i64),
        ) {
            let ends = |all: &[(i64, i64)]| all.iter().map(|(from, length)| (*from, from + length)).collect::<Vec<_>>();
            let (segments, clips) = (ends(&segments), ends(&clips));
            let played = taken(&segments, &clips, from, from + length);
            for second in from..from + length {
                let holds = |(from, until): &(i64, i64)| *from <= second && second < *until;
                let is_there = segments.iter().any(holds) || clips.iter().any(holds);
                let times = played.iter().filter(|(_, from, until, _)| *from <= second && second < *until).count();
                prop_assert_eq!(times, usize::from(is_there), "second {}", second);
            }
        }
    }
}
