//! The recordings of a camera that are on the box, in the order of time: segments, and clips of events where there are
//! none.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use jiff::{SignedDuration, Timestamp};

use crate::event::Verdict;
use crate::segment::{Segment, SegmentState};
use crate::service::CurrentVolume;
use crate::store::{Query, Search, SegmentQuery, Store};

/// Segments that are looked at, at most; the newest.
const MOST_SEGMENTS: usize = 10_080;
/// Events on one page.
const PAGE: usize = 500;
/// Rows of the index that one look for judged events goes through.
const ROWS: usize = 10_000;

/// One file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Stretch {
    pub(super) path: PathBuf,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

/// How much time these hold, seconds; what two of them hold counts once.
pub(super) fn recorded_s(stretches: &[Stretch]) -> f64 {
    let mut covered = Timestamp::MIN;
    let mut seconds = 0.0;
    for Stretch { start, end, .. } in stretches {
        seconds += end.duration_since(covered.max(*start)).as_secs_f64().max(0.0);
        covered = covered.max(*end);
    }
    seconds
}

/// What there is.
#[derive(Clone, Debug, Default)]
pub(super) struct Footage {
    /// Oldest first.
    pub(super) stretches: Vec<Stretch>,
    /// Events that were made in that time.
    pub(super) made: u64,
    /// Those of them that were judged false alarms.
    pub(super) judged_false: Vec<Judged>,
}

/// An event that was judged.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Judged {
    pub(super) label: Arc<str>,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
}

impl Judged {
    /// Whether another event of that label and time would be the same one.
    pub(super) fn is(&self, label: &str, start: Timestamp, end: Timestamp) -> bool {
        &*self.label == label && start <= self.end && self.start <= end
    }
}

/// The recordings of `camera` from `since` to `until`.
pub(super) async fn find(volume: &CurrentVolume, camera: &str, since: Timestamp, until: Timestamp) -> Result<Footage> {
    let (store, layout) = (volume.store(), volume.archive().layout().clone());
    let query = SegmentQuery {
        camera: camera.to_owned(),
        since: Some(since),
        until: Some(until),
        before: None,
        limit: MOST_SEGMENTS,
    };
    let segments = store.ledger().segments(&query).await?;
    let folder = layout.recordings(camera);
    let mut stretches: Vec<Stretch> = segments
        .iter()
        .filter(|segment| segment.state != SegmentState::Open)
        .filter_map(|segment| {
            let path = folder.join(Segment::file_name(segment.id));
            Some(Stretch { path, start: segment.start.wall, end: segment.end.as_ref()?.wall })
        })
        .collect();
    let (mut before, mut made) = (None, 0);
    loop {
        let (camera, since, until) = (Some(camera.to_owned()), Some(since), Some(until));
        let query = Query { camera, since, until, before, limit: PAGE, ..Query::default() };
        let page = store.events().find(&query).await?;
        let Some(last) = page.last() else { break };
        before = Some(last.id);
        made += page.len() as u64;
        for event in &page {
            let folder = layout.folder(&event.camera, event.id);
            stretches.extend(event.clip.iter().chain(&event.more_clips).map(|clip| {
                let length = SignedDuration::from_secs_f64(clip.duration_s.clamp(0.0, 86_400.0));
                let (path, start) = (folder.join(&clip.media.file), clip.start.wall);
                Stretch { path, start, end: start.checked_add(length).unwrap_or(start) }
            }));
        }
    }
    let stretches = tokio::task::spawn_blocking(move || in_order(stretches)).await?;
    let judged_false = judged_false(&store, camera, since, until).await?;
    Ok(Footage { stretches, made, judged_false })
}

/// The events of a camera that were judged false alarms.
async fn judged_false(store: &Store, camera: &str, since: Timestamp, until: Timestamp) -> Result<Vec<Judged>> {
    let (mut judged, mut before) = (Vec::new(), None);
    loop {
        let search = Search {
            cameras: vec![camera.to_owned()],
            verdicts: vec![Some(Verdict::FalseAlarm)],
            since: Some(since),
            until: Some(until),
            before,
            limit: PAGE,
            rows: ROWS,
            ..Search::default()
        };
        let found = store.events().search(search).await?;
        judged.extend(found.events.iter().map(|event| {
            let (start, end) = (event.start.wall, event.end.as_ref().map_or(until, |end| end.wall));
            Judged { label: event.label.clone(), start, end }
        }));
        let is_over = found.back_to.is_some_and(|back_to| back_to < since);
        before = match found.last {
            Some(last) if !is_over => Some(last),
            _ => return Ok(judged),
        };
    }
}

/// Those that are there, oldest first, without those whose time others hold.
fn in_order(mut stretches: Vec<Stretch>) -> Vec<Stretch> {
    stretches.retain(|stretch| stretch.path.exists());
    // Of two that begin together, the longer one.
    stretches.sort_by(|a, b| a.start.cmp(&b.start).then(b.end.cmp(&a.end)));
    let mut covered = Timestamp::MIN;
    stretches.retain_mut(|stretch| {
        let is_new = stretch.end > covered;
        covered = covered.max(stretch.end);
        is_new
    });
    stretches
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recordings_are_looked_at_in_the_order_of_time_and_none_twice() {
        let folder = tempfile::tempdir().expect("tempdir");
        let stretch = |name: &str, start: i64, end: i64| {
            let path = folder.path().join(name);
            std::fs::write(&path, "").expect("write");
            let at = |second: i64| Timestamp::from_second(second).expect("a time");
            Stretch { path, start: at(start), end: at(end) }
        };
        let gone = Stretch { path: folder.path().join("gone"), ..stretch("x", 0, 10) };
        let (a, b) = (stretch("a", 100, 160), stretch("b", 160, 220));
        let (within, across) = (stretch("within", 110, 150), stretch("across", 210, 240));
        let found = in_order(vec![across.clone(), within, b.clone(), gone, a.clone()]);
        assert!((recorded_s(&found) - 140.0).abs() < 0.001, "{}", recorded_s(&found));
        assert_eq!(found, [a, b, across]);
    }

    #[test]
    fn what_overlaps_a_judged_event_of_its_label_is_that_one() {
        let at = |second: i64| Timestamp::from_second(second).expect("a time");
        let judged = Judged { label: "person".into(), start: at(100), end: at(110) };
        for (label, start, end, is_it) in [
            ("person", 90, 100, true),
            ("person", 104, 105, true),
            ("person", 110, 130, true),
            ("person", 80, 99, false),
            ("person", 111, 120, false),
            ("car", 104, 105, false),
        ] {
            assert_eq!(judged.is(label, at(start), at(end)), is_it, "{label} {start} {end}");
        }
    }
}
