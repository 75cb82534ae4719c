//! The alert as JSON, version 1. Documented in docs/mqtt.md; fields are only ever added.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::asset::SIDECAR;
use crate::clock::Moment;
use crate::event::{Event, Phase};

use super::age::is_late;
use super::digest::{self, Parcel};
use super::history::{History, Published};
use super::{Item, ObjectKey, Post};

/// Version of the payload.
const VERSION: u32 = 1;
/// What values of executions are called.
pub(super) const PIPELINE: &str = "pipeline";

#[derive(Serialize)]
struct Alert<'a> {
    version: u32,
    r#type: &'static str,
    seq: u64,
    phase: Phase,
    late: bool,
    sent_at: &'a Moment,
    event: &'a Event,
    #[serde(skip_serializing_if = "Option::is_none")]
    before: Option<&'a Published>,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<Published>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    objects: BTreeMap<&'a str, String>,
}

#[derive(Serialize)]
struct Summary<'a> {
    version: u32,
    r#type: &'static str,
    seq: u64,
    late: bool,
    sent_at: &'a Moment,
    #[serde(flatten)]
    digest: digest::Published<'a>,
}

#[derive(Serialize)]
struct Posted<'a> {
    version: u32,
    r#type: &'static str,
    seq: u64,
    late: bool,
    sent_at: &'a Moment,
    #[serde(flatten)]
    values: Map<String, Value>,
}

/// The payload of `parcel` when it is sent at `now`.
///
/// # Errors
/// When an event does not serialise (a score that is no number).
pub(super) fn encode(
    parcel: &Parcel,
    now: &Moment,
    object_key: Option<&ObjectKey>,
    history: &Mutex<History>,
) -> Result<Vec<u8>> {
    match parcel {
        Parcel::Alert(item) => {
            let before = history.lock().publishing(item);
            encode_alert(item, now, object_key, before.as_ref())
        }
        Parcel::Digest(digest) => {
            let (seq, digest) = (digest.seq(), digest.published());
            let summary = Summary { version: VERSION, r#type: "digest", seq, late: true, sent_at: now, digest };
            serde_json::to_vec(&summary).context("encode the digest as JSON")
        }
        Parcel::Post(_) => bail!("values of executions go to webhooks alone"),
    }
}

/// The payload of values of an execution, when they are sent at `now`.
///
/// # Errors
/// When they do not serialise.
pub(super) fn encode_post(post: &Post, values: Map<String, Value>, now: &Moment) -> Result<Vec<u8>> {
    let late = is_late(&post.created, now);
    let sent = Posted { version: VERSION, r#type: PIPELINE, seq: post.seq, late, sent_at: now, values };
    serde_json::to_vec(&sent).context("encode the values as JSON")
}

fn encode_alert(
    item: &Item,
    now: &Moment,
    object_key: Option<&ObjectKey>,
    before: Option<&Published>,
) -> Result<Vec<u8>> {
    let objects = match (item.phase, object_key) {
        // An event that is not filed yet has no place to name; its time is not to be trusted either.
        (Phase::End, Some(key)) if item.event.filed.is_some() => {
            files(&item.event).map(|file| (file, key(&item.event, file))).collect()
        }
        _ => BTreeMap::new(),
    };
    let is_update = item.phase == Phase::Update;
    let message = Alert {
        version: VERSION,
        r#type: "alert",
        seq: item.seq,
        phase: item.phase,
        late: is_late(&item.created, now),
        sent_at: now,
        event: &item.event,
        before: before.filter(|_| is_update),
        after: is_update.then(|| Published::of(&item.event)),
        objects,
    };
    serde_json::to_vec(&message).context("encode the alert as JSON")
}

/// Files that an event has in the cloud once it is uploaded.
fn files(event: &Event) -> impl Iterator<Item = &str> {
    std::iter::once(SIDECAR).chain(event.media().map(|media| media.file.as_str()))
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;
    use crate::clock::{Clock, Mono, SimulatedClock};
    use std::sync::Arc;
    use std::time::Duration;

    fn key() -> ObjectKey {
        Arc::new(|event, file| format!("site/{}/{file}", event.camera))
    }

    fn json(item: &Item, now: &Moment) -> serde_json::Value {
        serde_json::from_slice(&encode_alert(item, now, Some(&key()), None).expect("encode")).expect("JSON")
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
    fn an_update_says_what_was_published_before_and_what_is_so_now() {
        let clock = SimulatedClock::new(Mono(5), jiff::Timestamp::UNIX_EPOCH);
        let history = Mutex::default();
        let mut item = fixture::item(&clock, 1, Phase::Start);
        let publish = |item: &Item| -> serde_json::Value {
            let parcel = Parcel::Alert(Box::new(item.clone()));
            serde_json::from_slice(&encode(&parcel, &clock.now(), None, &history).expect("encode")).expect("JSON")
        };
        let start = publish(&item);
        assert!(start.get("before").is_none() && start.get("after").is_none() && start["type"] == "alert");
        (item.seq, item.phase, item.event.count) = (2, Phase::Update, 3);
        let update = publish(&item);
        assert_eq!((&update["before"]["count"], &update["after"]["count"]), (&1.into(), &3.into()));
        assert_eq!(update["after"]["label"], "person");
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
