//! What the box knows about its own parts, for the page, the API and the metrics alike.
//!
//! Parts write, outlets read: the data path does not go by what it finds here. A reload looks here whether a destination
//! works. Nothing here is durable.

mod camera;
mod pace;
mod pipeline;
mod sessions;
mod stages;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Serialize;

use crate::clock::Mono;
use crate::load::{LoadLevel, Reading};

pub use camera::{CameraHealth, CameraState, Shown, silent_after};
pub use pace::Pace;
pub use pipeline::{PipelineHealth, RecentTimes, StepTimes, Times};
pub use sessions::{PublisherHealth, SessionsHealth, Traffic};
pub use stages::{Flow, Stage, Stages, Trouble};

/// What a look at a camera's stages brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing that is new.
    Unchanged,
    /// The camera is connected to no use, or to less than before.
    Worse(Trouble),
    /// All stages work again, after this.
    Well(Trouble),
}

/// How a model is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelState {
    /// It is read, optimised and tried.
    #[default]
    Loading,
    /// It looks at pictures.
    Ready,
    /// It cannot be used. It is tried again when its files change, and now and then.
    Broken,
}

/// A model, as people want to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ModelHealth {
    /// How it is doing.
    pub state: ModelState,
    /// Why it cannot be used, in words for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Which version is in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// Newer versions that cannot be used, and why.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub failed: BTreeMap<u32, String>,
}

/// The certificate that the page shows, by which clients recognise the box.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PageCertificate {
    /// SHA-256 of it, as browsers show it.
    pub sha256: String,
    /// Whether the box made it itself.
    pub self_signed: bool,
}

/// How an outlet (an upload destination, the broker) is doing.
#[derive(Clone, Debug, Serialize)]
pub struct OutletHealth {
    /// `upload/<name>`, `mqtt`, `webhook/<name>`.
    pub name: String,
    /// Whether the last exchange worked; `None` before the first.
    pub online: Option<bool>,
    /// Since when, on the boot clock.
    pub since: Mono,
    /// Last error, in words for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
    /// What works less well than it could while the outlet works, in words for the operator.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remarks: Vec<String>,
    /// What is known of the line to it, where it is monitored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub transfers: Option<TransferHealth>,
}

/// How the line to an upload destination is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    /// One file is tried; others follow when it got through.
    #[default]
    Probing,
    /// All is well.
    Online,
    /// It works, but some of the last transfers failed: one file goes at a time.
    Degraded,
    /// Nothing gets through; it is tried again later.
    Offline,
    /// The destination answers and does not let us in: a person has to act.
    Refused,
}

impl LinkState {
    /// All states, for metrics.
    pub const ALL: [Self; 5] = [Self::Probing, Self::Online, Self::Degraded, Self::Offline, Self::Refused];

    /// The name used on the page, in topics and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probing => "probing",
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Offline => "offline",
            Self::Refused => "refused",
        }
    }
}

/// What an upload destination does at this moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct TransferHealth {
    /// How the line is.
    pub link: LinkState,
    /// Why not everything is sent, where the rules do not allow it; `None`: they do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// Bytes a second that got through lately; `None` before enough was sent to measure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_s: Option<u64>,
    /// Files that are on their way.
    pub current: Vec<Transfer>,
}

/// A file on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Transfer {
    /// Its key at the destination.
    pub key: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// How much of it the destination has.
    pub done: u64,
}

/// How much the box does, and why not everything.
#[derive(Clone, Debug, Default, Serialize)]
pub struct LoadHealth {
    /// What it does.
    pub level: LoadLevel,
    /// Since when, on the boot clock.
    pub since: Mono,
    /// Why it does not do everything.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// How the index is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StoreState {
    /// It holds all that lies on the disk.
    #[default]
    Ok,
    /// It was begun afresh and is being filled from the sidecars. Recording goes on.
    Rebuilding,
    /// It refuses new records because the disk is full.
    Full,
}

impl StoreState {
    /// The name used in topics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Rebuilding => "rebuilding",
            Self::Full => "full",
        }
    }
}

/// The index, as people want to know it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct StoreHealth {
    /// How it is doing.
    pub state: StoreState,
    /// While it is rebuilt: events that were looked at so far.
    pub rebuilt: u64,
    /// While it is rebuilt: events on the disk.
    pub rebuild_total: u64,
    /// Files of events that this run found damaged or missing.
    pub damaged_files: u64,
}

/// The health board that all parts write to. Cheap to clone; all clones are one board.
#[derive(Clone, Debug, Default)]
pub struct Health(Arc<Mutex<Board>>);

#[derive(Debug, Default)]
struct Board {
    cameras: BTreeMap<Arc<str>, CameraHealth>,
    models: BTreeMap<String, ModelHealth>,
    outlets: BTreeMap<String, OutletHealth>,
    load: LoadHealth,
    reading: Option<Reading>,
    left_out: Option<&'static str>,
    pace: Pace,
    volume_trouble: Option<String>,
    spooling: bool,
    store: StoreHealth,
    certificate: Option<PageCertificate>,
    damaged_originals: u64,
    sessions: BTreeMap<Arc<str>, SessionsHealth>,
}

impl Board {
    /// The entry of outlet `name`, made on first use.
    fn outlet(&mut self, name: &str, now: Mono) -> &mut OutletHealth {
        self.outlets.entry(name.to_owned()).or_insert_with(|| OutletHealth {
            name: name.to_owned(),
            online: None,
            since: now,
            last_error: None,
            remarks: Vec::new(),
            transfers: None,
        })
    }
}

impl Health {
    fn with<T>(&self, f: impl FnOnce(&mut Board) -> T) -> T {
        f(&mut self.0.lock())
    }

    /// Changes what is known of a camera (made on first use).
    pub fn camera(&self, name: &Arc<str>, change: impl FnOnce(&mut CameraHealth)) {
        self.with(|board| change(board.cameras.entry(name.clone()).or_default()));
    }

    /// Changes what the stages of a camera take and give.
    pub fn stages(&self, name: &Arc<str>, change: impl FnOnce(&mut Stages)) {
        self.camera(name, |camera| change(&mut camera.stages));
    }

    /// Why nothing can look at a camera's pictures, in words for the operator; `None`: something can again. While
    /// detection is wanted, the camera is degraded for that reason.
    pub fn set_no_detector(&self, name: &Arc<str>, now: Mono, reason: Option<String>) {
        self.stages(name, |stages| {
            let since = stages.no_detector.as_ref().map_or(now, |(since, _)| *since);
            stages.no_detector = reason.map(|reason| (since, reason));
        });
    }

    /// Looks at a camera's stages, and notes what is wrong with them. `detection_wanted`: not switched off, not
    /// outside of its schedule, not left out under load. Returns what changed, for the log, and the stages in trouble.
    pub fn assess(&self, name: &Arc<str>, now: Mono, detection_wanted: bool) -> (Verdict, Vec<Stage>) {
        self.with(|board| {
            let volume_works = board.volume_trouble.is_none() && board.left_out.is_none();
            let camera = board.cameras.entry(name.clone()).or_default();
            let is_online = camera.state == CameraState::Online;
            let trouble = camera.stages.judge(now, detection_wanted, volume_works).filter(|_| is_online);
            let before = std::mem::replace(&mut camera.trouble, trouble.clone());
            let stages = camera.troubled_stages().to_vec();
            let verdict = match (before, trouble) {
                (Some(before), Some(trouble)) if before.stages == trouble.stages => Verdict::Unchanged,
                (_, Some(trouble)) => Verdict::Worse(trouble),
                // One that is lost or over has its own line.
                (Some(before), None) if is_online => Verdict::Well(before),
                (_, None) => Verdict::Unchanged,
            };
            (verdict, stages)
        })
    }

    /// After how long without a picture camera `name` is silent: `least`, or more where longer pauses are its usual pace.
    pub fn silence_of(&self, name: &str, least: Duration) -> Duration {
        let pause = self.with(|board| board.cameras.get(name).map(|camera| camera.usual_pause).unwrap_or_default());
        silent_after(least, pause)
    }

    /// All cameras by name.
    pub fn cameras(&self) -> BTreeMap<Arc<str>, CameraHealth> {
        self.with(|board| board.cameras.clone())
    }

    /// Notes how model `name` is doing.
    pub fn set_model(&self, name: &str, model: ModelHealth) {
        self.with(|board| board.models.insert(name.to_owned(), model));
    }

    /// All models that cameras use, by name.
    pub fn models(&self) -> BTreeMap<String, ModelHealth> {
        self.with(|board| board.models.clone())
    }

    /// Notes how an exchange of outlet `name` went. Returns whether its state changed.
    pub fn outlet(&self, name: &str, now: Mono, result: Result<(), String>) -> bool {
        self.with(|board| {
            let outlet = board.outlet(name, now);
            let online = result.is_ok();
            let changed = outlet.online != Some(online);
            if changed {
                (outlet.online, outlet.since) = (Some(online), now);
            }
            outlet.last_error = result.err().or_else(|| if online { None } else { outlet.last_error.take() });
            changed
        })
    }

    /// Outlet `name` is not configured any more.
    pub fn forget_outlet(&self, name: &str) {
        self.with(|board| board.outlets.remove(name));
    }

    /// Camera `name` is not configured any more, or begins afresh.
    pub fn forget_camera(&self, name: &str) {
        self.with(|board| board.cameras.remove(name));
    }

    /// Model `name` is not used any more.
    pub fn forget_model(&self, name: &str) {
        self.with(|board| board.models.remove(name));
    }

    /// Notes what works less well than it could at outlet `name`. Returns those that are new.
    pub fn outlet_remarks(&self, name: &str, now: Mono, remarks: Vec<String>) -> Vec<String> {
        self.with(|board| {
            let outlet = board.outlet(name, now);
            let fresh = remarks.iter().filter(|remark| !outlet.remarks.contains(remark)).cloned().collect();
            outlet.remarks = remarks;
            fresh
        })
    }

    /// Notes what an upload destination does.
    pub fn transfers(&self, name: &str, now: Mono, change: impl FnOnce(&mut TransferHealth)) {
        self.with(|board| {
            let outlet = board.outlet(name, now);
            change(outlet.transfers.get_or_insert_default());
        });
    }

    /// Notes how much the box does from now on.
    pub fn set_load(&self, load: LoadHealth) {
        self.with(|board| board.load = load);
    }

    /// How much the box does.
    pub fn load(&self) -> LoadHealth {
        self.with(|board| board.load.clone())
    }

    /// Notes what the gauges of the box say.
    pub fn set_reading(&self, reading: Reading) {
        self.with(|board| board.reading = Some(reading));
    }

    /// What the gauges of the box said last; `None` without sensors.
    pub fn reading(&self) -> Option<Reading> {
        self.with(|board| board.reading)
    }

    /// What is not recorded for lack of space, in words for the operator; `None`: everything is.
    pub fn set_left_out(&self, left_out: Option<&'static str>) {
        self.with(|board| board.left_out = left_out);
    }

    /// What [`Health::set_left_out`] was given last.
    pub fn left_out(&self) -> Option<&'static str> {
        self.with(|board| board.left_out)
    }

    /// Notes how much is recorded.
    pub fn set_pace(&self, pace: Pace) {
        self.with(|board| board.pace = pace);
    }

    /// How much is recorded.
    pub fn pace(&self) -> Pace {
        self.with(|board| board.pace.clone())
    }

    /// What is wrong with the archive's volume, in words for the operator; `None`: nothing.
    pub fn set_volume_trouble(&self, trouble: Option<String>) {
        self.with(|board| board.volume_trouble = trouble);
    }

    /// What [`Health::set_volume_trouble`] was given last.
    pub fn volume_trouble(&self) -> Option<String> {
        self.with(|board| board.volume_trouble.clone())
    }

    /// Whether the spool stands in for the archive's volume.
    pub fn set_spooling(&self, spooling: bool) {
        self.with(|board| board.spooling = spooling);
    }

    /// What [`Health::set_spooling`] was given last.
    pub fn is_spooling(&self) -> bool {
        self.with(|board| board.spooling)
    }

    /// The certificate of the page; `None`: it speaks HTTP.
    pub fn set_certificate(&self, certificate: Option<PageCertificate>) {
        self.with(|board| board.certificate = certificate);
    }

    /// How many originals of photos are not as they were recorded.
    pub fn set_damaged_originals(&self, originals: u64) {
        self.with(|board| board.damaged_originals = originals);
    }

    /// What [`Health::set_damaged_originals`] was given last.
    pub fn damaged_originals(&self) -> u64 {
        self.with(|board| board.damaged_originals)
    }

    /// What [`Health::set_certificate`] was given last.
    pub fn certificate(&self) -> Option<PageCertificate> {
        self.with(|board| board.certificate.clone())
    }

    /// Changes what is known of the index.
    pub fn note_store(&self, change: impl FnOnce(&mut StoreHealth)) {
        self.with(|board| change(&mut board.store));
    }

    /// The index.
    pub fn store(&self) -> StoreHealth {
        self.with(|board| board.store)
    }

    /// All outlets by name.
    pub fn outlets(&self) -> Vec<OutletHealth> {
        self.with(|board| board.outlets.values().cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outlet_reports_changes_once() {
        let health = Health::default();
        assert!(health.outlet("mqtt", Mono(1), Err("refused".into())));
        assert!(!health.outlet("mqtt", Mono(2), Err("refused again".into())));
        assert!(health.outlet("mqtt", Mono(3), Ok(())));
        let outlet = &health.outlets()[0];
        assert_eq!((outlet.online, outlet.since, &outlet.last_error), (Some(true), Mono(3), &None));
    }
}
