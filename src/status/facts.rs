//! The box, its cameras, queues and disk.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use super::cause::Cause;
use super::config::ConfigStatus;
use super::forecast::Forecast;
use crate::clock::{Mono, TimeQuality};
use crate::coverage::{Coverage, Interval};
use crate::health::{
    CameraHealth, CameraState, ModelHealth, OutletHealth, PageCertificate, PublisherHealth, SessionsHealth, Stage,
    StoreHealth, Traffic, TransferHealth,
};
use crate::load::{LoadLevel, Reading};

/// The box.
#[derive(Clone, Debug, Serialize)]
pub struct BoxStatus {
    /// Name of the box.
    pub device: Arc<str>,
    /// Where it stands; may be empty.
    pub site: Arc<str>,
    /// Version of the software.
    pub version: String,
    /// Seconds since the daemon started.
    pub uptime_s: u64,
    /// The box's wall clock.
    pub time: Timestamp,
    /// Trust in `time`.
    pub time_quality: TimeQuality,
    /// All cameras, in the order of the config.
    pub cameras: Vec<CameraStatus>,
    /// Whether cameras are configured, also such as are still being made.
    #[serde(skip)]
    pub has_cameras: bool,
    /// The models that cameras use, by name.
    pub models: BTreeMap<String, ModelHealth>,
    /// All configured outlets, in the order of the configuration.
    pub outlets: Vec<QueueStatus>,
    /// How much the box does, and why not everything.
    pub load: LoadStatus,
    /// The index of events.
    pub store: StoreHealth,
    /// Where recordings lie.
    pub disk: DiskStatus,
    /// Events on this box; left out for who sees a part of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_total: Option<u64>,
    /// Which configuration is in use.
    pub config: ConfigStatus,
    /// Originals of photos that are not as they were recorded; absent where there is none.
    #[serde(skip_serializing_if = "is_none")]
    pub damaged_originals: u64,
    /// The certificate of the page; absent where it speaks HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PageCertificate>,
    /// What the gauges of the box say; absent before they were read first.
    #[serde(skip)]
    pub reading: Option<Reading>,
}

fn is_none(count: &u64) -> bool {
    *count == 0
}

/// How much the box does.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LoadStatus {
    /// Level of the overload ladder.
    pub level: LoadLevel,
    /// For how long, seconds.
    pub level_for_s: u64,
    /// Why it does not do everything; empty where it does.
    pub reason: String,
}

/// Whether detection looks at a camera's pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DetectUse {
    /// It does.
    #[default]
    On,
    /// Not by the configuration.
    Off,
    /// Not since a person switched it off.
    SwitchedOff,
}

impl DetectUse {
    /// As it is configured.
    pub fn of(is_enabled: bool) -> Self {
        if is_enabled { Self::On } else { Self::Off }
    }
}

/// What is kept of a camera's video.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordUse {
    /// Clips of events.
    #[default]
    Events,
    /// Everything.
    Continuous,
    /// Nothing, by the configuration.
    Off,
    /// Nothing since a person switched it off.
    SwitchedOff,
}

/// One camera.
#[derive(Clone, Debug, Serialize)]
pub struct CameraStatus {
    /// Name in the config.
    pub name: Arc<str>,
    /// How it is doing.
    pub state: CameraState,
    /// For how long, seconds.
    pub state_for_s: u64,
    /// Since when, on the boot clock.
    #[serde(skip)]
    pub since: Mono,
    /// Why it is not online, or what is wrong although it is connected.
    pub reason: Option<String>,
    /// The same as a code, or why not all is detected, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// The stages that give nothing although it is connected.
    pub stages: Vec<Stage>,
    /// Seconds since the last packet.
    pub last_packet_age_s: Option<f64>,
    /// Whether its pictures are looked at.
    pub detect: DetectUse,
    /// What is kept of its video.
    pub record: RecordUse,
    /// Its events since midnight, in the zone of the box; left out for who sees a part of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events_today: Option<u64>,
    /// Its WebRTC sessions, where there are any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub webrtc: Option<SessionsStatus>,
    /// What else is known of it.
    #[serde(flatten)]
    pub health: CameraHealth,
}

/// WebRTC sessions of one camera.
#[derive(Clone, Debug, Serialize)]
pub struct SessionsStatus {
    /// Who publishes to it; null where no one does.
    pub publisher: Option<PublisherStatus>,
    /// How many play it.
    pub players: u32,
    /// What these get.
    pub played: Traffic,
    /// What comes of a camera that offers WHEP; null for all others.
    pub received: Option<Traffic>,
}

/// Who publishes to a camera.
#[derive(Clone, Debug, Serialize)]
pub struct PublisherStatus {
    /// The name under which it was let in.
    pub by: Arc<str>,
    /// Where it asked from.
    pub from: Option<IpAddr>,
    /// For how long, seconds.
    pub for_s: u64,
    /// Whether media packets go back and forth.
    pub connected: bool,
    /// What it sends.
    #[serde(flatten)]
    pub traffic: Traffic,
}

impl SessionsStatus {
    /// What health knows of them at `now`.
    pub fn new(sessions: SessionsHealth, now: Mono) -> Self {
        let SessionsHealth { publisher, players, played, received } = sessions;
        let publisher = publisher.map(|PublisherHealth { by, from, since, connected, traffic }| PublisherStatus {
            by,
            from,
            for_s: now.since(since).as_secs(),
            connected,
            traffic,
        });
        Self { publisher, players, played, received }
    }
}

impl CameraStatus {
    /// What health knows of camera `name` at `now`; as if all of its pictures were looked at, and clips kept.
    pub fn new(name: Arc<str>, health: &CameraHealth, now: Mono) -> Self {
        let shown = health.shown();
        Self {
            name,
            state: shown.state,
            state_for_s: now.since(shown.since).as_secs(),
            since: shown.since,
            reason: shown.reason.map(str::to_owned),
            cause: shown.reason.or(health.not_detected.as_deref()).and_then(Cause::of),
            stages: health.troubled_stages().to_vec(),
            last_packet_age_s: health.last_packet.map(|at| now.since(at).as_secs_f64()),
            detect: DetectUse::default(),
            record: RecordUse::default(),
            events_today: Some(0),
            webrtc: None,
            health: health.clone(),
        }
    }

    /// Whether video of it is kept at this moment: all of it, or clips of what is detected. `disk`: what takes it.
    pub fn is_recorded(&self, disk: &DiskStatus) -> bool {
        let lacks = |stages: &[Stage]| stages.iter().any(|stage| self.stages.contains(stage));
        let detects = self.detect == DetectUse::On && !lacks(&[Stage::Decoding, Stage::Detection]);
        let is_wanted = match self.record {
            RecordUse::Continuous => disk.keeps_continuous || detects && disk.keeps_clips,
            RecordUse::Events => detects && disk.keeps_clips,
            RecordUse::Off | RecordUse::SwitchedOff => false,
        };
        let comes = matches!(self.state, CameraState::Online | CameraState::Degraded);
        comes && is_wanted && !lacks(&[Stage::Reception, Stage::Recording])
    }
}

/// One outlet and its queue.
#[derive(Clone, Debug, Serialize)]
pub struct QueueStatus {
    /// `upload/<name>`, `mqtt`, `webhook/<name>`.
    pub name: String,
    /// Whether the last exchange worked; absent before the first.
    pub online: Option<bool>,
    /// For how long, seconds.
    pub state_for_s: u64,
    /// Last error.
    pub last_error: Option<String>,
    /// What works less well than it could; empty where all is well.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// Items in the queue.
    #[serde(rename = "queued_items")]
    pub items: u64,
    /// Bytes in the queue; 0 where items are small.
    #[serde(rename = "queued_bytes")]
    pub bytes: u64,
    /// Seconds that the oldest item has waited.
    pub oldest_wait_s: Option<u64>,
    /// Items that were given up.
    pub dead_letters: u64,
    /// Whether a person paused it; left out where not.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    /// What an upload destination does at this moment; absent for others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfers: Option<TransferStatus>,
}

/// What an upload destination does at this moment.
#[derive(Clone, Debug, Serialize)]
pub struct TransferStatus {
    /// As it was noted.
    #[serde(flatten)]
    pub health: TransferHealth,
    /// Why something is held back, as a code, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Seconds until the queue is empty at the present speed, where both are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
}

impl QueueStatus {
    /// What is known at `now` of outlet `name`, with an empty queue. One that reported nothing yet counts as silent since
    /// `started`.
    pub fn new(name: &str, health: Option<&OutletHealth>, started: Mono, now: Mono) -> Self {
        let health = health.cloned().unwrap_or_else(|| OutletHealth {
            name: name.to_owned(),
            online: None,
            since: started,
            last_error: None,
            remarks: Vec::new(),
            transfers: None,
        });
        Self {
            name: health.name,
            online: health.online,
            state_for_s: now.since(health.since).as_secs(),
            last_error: health.last_error,
            remarks: health.remarks,
            items: 0,
            bytes: 0,
            oldest_wait_s: None,
            dead_letters: 0,
            paused: false,
            transfers: health.transfers.map(|health| TransferStatus {
                cause: health.held.as_deref().and_then(Cause::of),
                health,
                left_s: None,
            }),
        }
    }

    /// Whether nothing gets through to it, although it is to.
    pub fn is_cut(&self) -> bool {
        self.online == Some(false) && !self.paused
    }

    /// Why the rules hold it back, where they do.
    pub fn held(&self) -> Option<&str> {
        self.transfers.as_ref()?.health.held.as_deref()
    }

    /// Estimates when the queue is empty; to be called when its size is known.
    pub fn estimate(&mut self) {
        if let Some(transfers) = &mut self.transfers {
            let speed = transfers.health.bytes_per_s.filter(|speed| *speed > 0);
            transfers.left_s = speed.map(|speed| self.bytes.div_ceil(speed));
        }
    }
}

/// The archive's volume.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DiskStatus {
    /// Where the archive lies.
    pub path: String,
    /// Free bytes.
    pub free_bytes: u64,
    /// All bytes.
    pub size_bytes: u64,
    /// Bytes of recordings, where known.
    pub archive_bytes: Option<u64>,
    /// Bytes that recordings may take, where a quota is set.
    pub quota_bytes: Option<u64>,
    /// When it is full, at the present pace.
    pub forecast: Forecast,
    /// What is not recorded for lack of space, in words.
    pub left_out: Option<&'static str>,
    /// Whether the volume takes continuous video.
    #[serde(skip)]
    pub keeps_continuous: bool,
    /// Whether the volume takes clips.
    #[serde(skip)]
    pub keeps_clips: bool,
    /// What is wrong with the archive's volume, in words.
    pub trouble: Option<String>,
    /// Whether recordings lie in the spool on the system disk for the time being.
    pub spooling: bool,
}

impl DiskStatus {
    /// Free bytes; `None` where the file system does not know its size.
    pub fn known_free_bytes(&self) -> Option<u64> {
        (self.size_bytes > 0).then_some(self.free_bytes)
    }
}

/// What became of a camera's day so far, seconds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct CameraCoverage {
    /// The day, UTC.
    pub day: String,
    /// There is video, or there was.
    pub recorded_s: i64,
    /// There were pictures, and nothing was to be recorded.
    pub watched_s: i64,
    /// The camera gave no pictures.
    pub offline_s: i64,
    /// There were pictures that the box could not keep.
    pub shed_s: i64,
    /// The box did not run.
    pub stopped_s: i64,
}

impl CameraCoverage {
    /// The sums of `intervals`, which are of `day`.
    pub fn of(day: Date, intervals: &[Interval]) -> Self {
        let mut sums: BTreeMap<Coverage, Duration> = BTreeMap::new();
        for interval in intervals {
            let lasted = interval.until.duration_since(interval.from);
            *sums.entry(interval.state).or_default() += Duration::try_from(lasted).unwrap_or_default();
        }
        let seconds = |states: &[Coverage]| {
            let sum: Duration = states.iter().filter_map(|state| sums.get(state)).sum();
            i64::try_from(sum.as_secs()).unwrap_or(i64::MAX)
        };
        Self {
            day: day.to_string(),
            recorded_s: seconds(&[Coverage::Recorded, Coverage::Uploaded, Coverage::Evicted]),
            watched_s: seconds(&[Coverage::Watched]),
            offline_s: seconds(&[Coverage::Offline]),
            shed_s: seconds(&[Coverage::Shed]),
            stopped_s: seconds(&[Coverage::Stopped]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_day_is_summed_up_by_what_became_of_it() {
        let at = |second| Timestamp::from_second(second).expect("in range");
        let interval = |from, until, state| Interval { from: at(from), until: at(until), state, reason: None };
        let intervals = [
            interval(0, 10, Coverage::Stopped),
            interval(10, 30, Coverage::Recorded),
            interval(30, 35, Coverage::Offline),
            interval(35, 135, Coverage::Uploaded),
            interval(135, 136, Coverage::Shed),
            interval(136, 140, Coverage::Watched),
            interval(140, 141, Coverage::Evicted),
        ];
        let expected = CameraCoverage {
            day: "1970-01-01".to_owned(),
            recorded_s: 121,
            watched_s: 4,
            offline_s: 5,
            shed_s: 1,
            stopped_s: 10,
        };
        assert_eq!(CameraCoverage::of(Date::constant(1970, 1, 1), &intervals), expected);
    }
}
