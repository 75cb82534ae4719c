//! The status of a box, for tests.

use super::facts::{BoxStatus, CameraStatus, DiskStatus, LoadStatus, QueueStatus};
use crate::clock::{Mono, TimeQuality};
use crate::health::{CameraHealth, CameraState, OutletHealth, StoreHealth};
use crate::load::Reading;

const NOW: Mono = Mono(7_000_000_000);

pub(crate) fn camera(name: &str, state: CameraState) -> CameraStatus {
    CameraStatus::new(name.into(), &CameraHealth { state, ..CameraHealth::default() }, NOW)
}

pub(crate) fn queue(name: &str) -> QueueStatus {
    let health = OutletHealth {
        name: name.to_owned(),
        online: Some(true),
        since: Mono(0),
        last_error: None,
        remarks: Vec::new(),
        transfers: None,
    };
    QueueStatus::new(name, Some(&health), Mono(0), NOW)
}

pub(crate) fn status() -> BoxStatus {
    BoxStatus {
        device: "box-7".into(),
        site: "Gate".into(),
        version: "0.1.0".to_owned(),
        uptime_s: 90,
        time: jiff::Timestamp::UNIX_EPOCH,
        time_quality: TimeQuality::Synchronised,
        cameras: vec![camera("yard", CameraState::Online)],
        has_cameras: true,
        models: std::collections::BTreeMap::new(),
        outlets: vec![queue("mqtt")],
        load: LoadStatus::default(),
        disk: DiskStatus {
            path: "/data".to_owned(),
            free_bytes: 600,
            size_bytes: 1000,
            keeps_continuous: true,
            keeps_clips: true,
            ..DiskStatus::default()
        },
        store: StoreHealth::default(),
        events_total: Some(3),
        config: super::config::ConfigStatus::default(),
        certificate: None,
        damaged_originals: 0,
        reading: Some(Reading::default()),
    }
}
