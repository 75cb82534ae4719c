//! A box to show.

use crate::clock::{Clock, Mono, SimulatedClock, TimeQuality};
use crate::destination::Destination;
use crate::event::{DeliveryState, Event, EventId, EventKind, EventState, MediaFile, OutletDelivery, fixture};
use crate::health::{CameraHealth, CameraState, OutletHealth, StoreHealth};
use crate::web::{CameraStatus, DiskStatus, EventRecord, LoadStatus, OutletStatus, Status};

pub(in crate::web) fn camera(name: &str, state: CameraState) -> CameraStatus {
    CameraStatus::new(name.into(), &CameraHealth { state, ..CameraHealth::default() }, Mono(7_000_000_000))
}

pub(in crate::web) fn outlet(name: &str) -> OutletStatus {
    let health = OutletHealth {
        name: name.to_owned(),
        online: Some(true),
        since: Mono(0),
        last_error: None,
        remarks: Vec::new(),
        transfers: None,
    };
    OutletStatus::new(&health, Mono(7_000_000_000))
}

pub(in crate::web) fn status() -> Status {
    Status {
        device: "box-7".into(),
        site: "Gate".into(),
        version: "0.1.0".to_owned(),
        uptime_s: 90,
        time: jiff::Timestamp::UNIX_EPOCH,
        time_quality: TimeQuality::Synchronised,
        cameras: vec![camera("yard", CameraState::Online)],
        models: std::collections::BTreeMap::new(),
        outlets: vec![outlet("mqtt")],
        load: LoadStatus::default(),
        disk: DiskStatus { path: "/data".to_owned(), free_bytes: 600, size_bytes: 1000, ..DiskStatus::default() },
        store: StoreHealth::default(),
        events_total: 3,
    }
}

pub(in crate::web) fn id(n: u64) -> EventId {
    EventId::from_bytes(u128::from(n).to_be_bytes())
}

pub(in crate::web) fn record(n: u64, camera: &str, label: &str) -> EventRecord {
    let clock = SimulatedClock::new(Mono(5), jiff::Timestamp::UNIX_EPOCH);
    let file = |name: &str| MediaFile::new(name, 10, "00".repeat(32));
    let event = Event {
        device: "box-7".into(),
        rule: "r".into(),
        kind: EventKind::Enter,
        state: EventState::Ended,
        label: label.into(),
        track: n,
        zones: vec![],
        end: Some(clock.now()),
        pictures: vec![file("digits.mp4"), file("gone.jpg"), file("folder")],
        ..fixture::event(id(n), camera, clock.now())
    };
    let state = DeliveryState::Delivered;
    let delivery = vec![OutletDelivery { outlet: Destination::Mqtt, state, files: Vec::new() }];
    EventRecord { event, delivery }
}
