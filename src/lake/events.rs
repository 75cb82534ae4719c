//! Rows of events and of the files that were deleted of them.

use anyhow::Result;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::rows::{Rows, Value};
use crate::event::{Event, Evicted};

/// The day under which an event is filed, which never changes, so that all versions of it lie in one partition.
pub(super) fn date(event: &Event) -> Date {
    let filed = event.filed.as_ref().and_then(|day| day.replace('/', "-").parse().ok());
    filed.unwrap_or_else(|| event.start.wall.to_zoned(TimeZone::UTC).date())
}

/// Adds an event as it is now. `folder`: where its files go, below a destination's prefix.
pub(super) fn push(rows: &mut Rows, recorded: i64, event: &Event, folder: &str) -> Result<()> {
    let (best, clip) = (event.best.as_ref(), event.clip.as_ref());
    let clip_bytes = event.clips().map(|clip| clip.media.bytes).reduce(|all, bytes| all.saturating_add(bytes));
    let clip_seconds = event.clips().map(|clip| clip.duration_s).reduce(|all, seconds| all + seconds);
    let shared = event.shares.first();
    let shared_seconds = event.shares.iter().map(|part| part.duration_s).reduce(|all, seconds| all + seconds);
    let edge = |n: fn(&crate::detection::BBox) -> f32| Value::score(best.map(|best| n(&best.bbox)));
    let zones: Vec<&str> = event.zones.iter().map(|zone| &**zone).collect();
    let labels: Vec<&str> = event.labels.iter().map(|label| &**label).collect();
    let said = event.annotations.as_ref();
    let tags: Vec<&str> = said.iter().flat_map(|said| &said.tags).map(|tag| &**tag).collect();
    rows.push([
        ("recorded", Value::Int(Some(recorded))),
        ("event", Value::text(event.id.to_string())),
        ("site", Value::non_empty(&event.site)),
        ("camera", Value::text(&*event.camera)),
        ("rule", Value::text(&*event.rule)),
        ("kind", Value::word(&event.kind)),
        ("state", Value::word(&event.state)),
        ("label", Value::text(&*event.label)),
        ("score", Value::score(Some(event.score))),
        ("count", Value::count(u64::from(event.count))),
        ("track", Value::count(event.track)),
        ("zones", Value::non_empty(&zones.join(","))),
        ("started_at", Value::time(event.start.wall)),
        ("ended_at", Value::time(event.end.as_ref().map(|end| end.wall))),
        ("duration_s", Value::real(event.duration_s())),
        ("time_quality", Value::word(&event.start.time_quality)),
        ("boot", Value::text(&*event.start.boot_id)),
        ("boot_s", Value::real(event.start.mono().as_secs_f64())),
        ("model", Value::non_empty(&event.model)),
        ("best_at", Value::time(best.map(|best| best.at.wall))),
        ("best_score", Value::score(best.map(|best| best.score))),
        ("best_x", edge(|bbox| bbox.x)),
        ("best_y", edge(|bbox| bbox.y)),
        ("best_w", edge(|bbox| bbox.w)),
        ("best_h", edge(|bbox| bbox.h)),
        ("clip_bytes", Value::count(clip_bytes)),
        ("clip_duration_s", Value::real(clip_seconds)),
        ("clip_codec", Value::Text(clip.map(|clip| clip.codec.clone()))),
        ("clip_width", Value::count(clip.map(|clip| u64::from(clip.width)))),
        ("clip_height", Value::count(clip.map(|clip| u64::from(clip.height)))),
        ("stills", Value::count(event.pictures.len() as u64)),
        ("media_skipped", Value::word(&event.media_skipped)),
        ("continues", Value::Text(event.continues.map(|id| id.to_string()))),
        ("pinned", Value::flag(event.pinned)),
        ("folder", Value::text(folder)),
        ("tags", Value::non_empty(&tags.join(","))),
        ("note", Value::non_empty(said.map_or("", |said| &*said.note))),
        ("verdict", Value::word(&said.and_then(|said| said.verdict))),
        ("said_by", Value::Text(said.map(|said| said.by.to_string()))),
        ("said_at", Value::time(said.map(|said| said.at.wall))),
        ("labels", Value::non_empty(&labels.join(","))),
        ("shared_event", Value::Text(shared.map(|part| part.event.to_string()))),
        ("shared_file", Value::Text(shared.map(|part| part.file.clone()))),
        ("shared_offset_s", Value::real(shared.map(|part| part.offset_s))),
        ("shared_duration_s", Value::real(shared_seconds)),
    ])
}

/// The day, in UTC, on which a file was deleted.
pub(super) fn date_of_deletion(gone: &Evicted) -> Date {
    gone.at.wall.to_zoned(TimeZone::UTC).date()
}

/// Adds a file that was deleted from the box.
pub(super) fn push_tombstone(rows: &mut Rows, recorded: i64, event: &Event, gone: &Evicted) -> Result<()> {
    rows.push([
        ("recorded", Value::Int(Some(recorded))),
        ("event", Value::text(event.id.to_string())),
        ("camera", Value::text(&*event.camera)),
        ("file", Value::text(&gone.media.file)),
        ("bytes", Value::count(gone.media.bytes)),
        ("sha256", Value::text(&gone.media.sha256)),
        ("deleted_at", Value::time(gone.at.wall)),
        ("time_quality", Value::word(&gone.at.time_quality)),
        ("reason", Value::text(gone.reason.as_str())),
        ("delivered", Value::flag(gone.delivered)),
    ])
}
