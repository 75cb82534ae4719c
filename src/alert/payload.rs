//! The alert as JSON, version 1. Documented in docs/mqtt.md; fields are only ever added.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::clock::Moment;
use crate::event::{Event, Phase};

use super::{Item, ObjectKey};

/// Version of the payload.
const VERSION: u32 = 1;

/// An alert that waited for longer than this is marked as late.
const LATE_AFTER: Duration = Duration::from_secs(10);

#[derive(Serialize)]
struct Message<'a> {
    version: u32,
    seq: u64,
    phase: Phase,
    late: bool,
    sent_at: &'a Moment,
    event: &'a Event,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    objects: BTreeMap<&'a str, String>,
}

/// The payload of `item` when it is sent at `now`.
///
/// # Errors
/// When an event does not serialise (a score that is no number).
pub(super) fn encode(item: &Item, now: &Moment, object_key: Option<&ObjectKey>) -> Result<Vec<u8>> {
    let objects = match (item.phase, object_key) {
        // An event that is not filed yet has no place to name; its time is not to be trusted either.
        (Phase::End, Some(key)) if item.event.filed.is_some() => {
            files(&item.event).map(|file| (file, key(&item.event, file))).collect()
        }
        _ => BTreeMap::new(),
    };
    let message = Message {
        version: VERSION,
        seq: item.seq,
        phase: item.phase,
        late: is_late(&item.created, now),
        sent_at: now,
        event: &item.event,
        objects,
    };
    serde_json::to_vec(&message).context("encode the alert as JSON")
}

/// The boot clock decides where it can; an alert from before the last boot is late by nature.
fn is_late(created: &Moment, now: &Moment) -> bool {
    created.boot_id != now.boot_id || now.mono().since(created.mono()) > LATE_AFTER
}

/// Files that an event has in the cloud once it is uploaded.
fn files(event: &Event) -> impl Iterator<Item = &str> {
    let clip = event.clip.iter().map(|clip| clip.media.file.as_str());
    std::iter::once("event.json").chain(clip).chain(event.pictures.iter().map(|picture| picture.file.as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::fixture;
    use super::*;
    use crate::clock::{Clock, Mono, SimulatedClock};
    use std::sync::Arc;

    fn key() -> ObjectKey {
        Arc::new(|event, file| format!("site/{}/{file}", event.camera))
    }

    fn json(item: &Item, now: &Moment) -> serde_json::Value {
        serde_json::from_slice(&encode(item, now, Some(&key())).expect("encode")).expect("JSON")
    }

    #[test]
    fn an_end_names_the_objects_and_a_start_does_not() {
        let clock = SimulatedClock::new(Mono(5), jiff::Timestamp::UNIX_EPOCH);
        let end = json(&fixture::item(&clock, 7, Phase::End), &clock.now());
        assert_eq!((&end["version"], &end["seq"], &end["phase"]), (&1.into(), &7.into(), &"end".into()));
        assert_eq!(end["objects"]["clip.mp4"], "site/yard/clip.mp4");
        assert_eq!(end["objects"]["thumb.jpg"], "site/yard/thumb.jpg");
        assert_eq!(end["objects"]["event.json"], "site/yard/event.json");
        assert_eq!(end["event"]["camera"], "yard");
        assert!(end["sent_at"]["wall"].is_string());
        let start = json(&fixture::item(&clock, 8, Phase::Start), &clock.now());
        assert!(start.get("objects").is_none());
    }

    #[test]
    fn late_means_more_than_ten_seconds_or_another_boot() {
        let clock = SimulatedClock::new(Mono(5), jiff::Timestamp::UNIX_EPOCH);
        let mut item = fixture::item(&clock, 1, Phase::Start);
        for (advance_s, late) in [(0, false), (10, false), (1, true)] {
            clock.advance(Duration::from_secs(advance_s));
            assert_eq!(json(&item, &clock.now())["late"], late, "after {advance_s} s more");
        }
        item.created = Moment { boot_id: "an-earlier-boot".into(), ..clock.now() };
        assert_eq!(json(&item, &clock.now())["late"], true);
    }
}
