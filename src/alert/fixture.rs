//! Alerts to send.

use crate::alert::Item;
use crate::clock::Clock;
use crate::event::{Clip, Event, EventId, EventKind, EventState, MediaFile, Phase, SCHEMA_VERSION};

fn file(name: &str) -> MediaFile {
    MediaFile { file: name.to_owned(), bytes: 1000, sha256: "00".repeat(32) }
}

/// An alert about an event at camera `yard`.
pub(in crate::alert) fn item(clock: &dyn Clock, seq: u64, phase: Phase) -> Item {
    let now = clock.now();
    let event = Event {
        version: SCHEMA_VERSION,
        id: EventId::from_bytes(u128::from(seq).to_be_bytes()),
        device: "box".into(),
        site: "gate".into(),
        camera: "yard".into(),
        rule: "person-in-yard".into(),
        kind: EventKind::Object,
        state: EventState::Ended,
        label: "person".into(),
        score: 0.875,
        count: 1,
        track: 3,
        zones: vec!["drive".into()],
        start: now.clone(),
        end: Some(now.clone()),
        best: None,
        model: "".into(),
        clip: Some(Clip {
            media: file("clip.mp4"),
            start: now.clone(),
            duration_s: 12.5,
            codec: "h264".into(),
            width: 1920,
            height: 1080,
            truncated: false,
        }),
        pictures: vec![file("snapshot.jpg"), file("thumb.jpg")],
        filed: Some("2026/11/22".into()),
        segments: None,
        evicted: Vec::new(),
        media_skipped: None,
        continues: None,
        pinned: false,
    };
    Item { seq, phase, event, created: now }
}
