//! What a person should know of the box or do about it, each fact once. The summary, the page and the command line are made
//! of these.

use serde::Serialize;

use super::cause::Cause;
use super::config::{ConfigState, ConfigStatus};
use super::facts::{BoxStatus, CameraStatus, DetectUse, QueueStatus, RecordUse};
use super::wording::{duration, items};
use crate::clock::TimeQuality;
use crate::health::{CameraState, ModelHealth, ModelState, StoreHealth, StoreState};
use crate::load::LoadLevel;

/// Below this share of free space a volume counts as almost full.
const ALMOST_FULL: f64 = 0.02;

/// How much a person should care.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// All is well.
    Ok,
    /// Will probably mend itself.
    Attention,
    /// Something is not being recorded, or soon will not be.
    Problem,
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Concern {
    /// How much a person should care.
    pub level: Level,
    /// What it is.
    pub code: ConcernCode,
    /// The camera, outlet or model that it is about, where it is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Why, as the part concerned says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The same as a code, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// How many items, where items are counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<u64>,
    /// All of it in one sentence, without full stop.
    pub text: String,
    /// What mends it, where a command does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<Remedy>,
}

/// What may not be as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ConcernCode {
    /// There is no camera to be recorded.
    NoCamera,
    /// A camera is lost.
    CameraOffline,
    /// A camera is connected, and gives nothing of use.
    CameraDegraded,
    /// A camera is tried for the first time.
    CameraConnecting,
    /// A person switched detection off.
    DetectionSwitchedOff,
    /// A person switched recording off.
    RecordingSwitchedOff,
    /// Not all that is asked for can be detected.
    NotDetected,
    /// A model cannot be used.
    ModelBroken,
    /// A destination does not answer.
    NoLink,
    /// A person paused an upload.
    UploadPaused,
    /// Items were given up.
    DeadLetters,
    /// The box does not do everything that it is asked for.
    LoadShed,
    /// The list of events is not complete yet.
    IndexRebuilding,
    /// The list of events takes no more.
    IndexFull,
    /// A changed configuration is not used.
    ConfigRefused,
    /// A changed configuration was undone.
    ConfigRolledBack,
    /// The last good configuration stands in for the file.
    ConfigLastGood,
    /// Some keys need a restart.
    RestartNeeded,
    /// Something is wrong with the volume of the archive.
    VolumeTrouble,
    /// Something is not recorded for lack of space.
    LeftOut,
    /// The disk is almost full.
    DiskAlmostFull,
    /// Originals of photos are not as they were recorded.
    OriginalsDamaged,
    /// The clock was never set.
    ClockImplausible,
}

/// A command that mends a concern; what it is about is the concern's subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// `POST /api/v1/queue/retry`.
    Retry,
    /// `POST /api/v1/queue/resume`.
    Resume,
    /// `PATCH /api/v1/cameras/{name}/switches`, `detect`.
    SwitchOnDetection,
    /// `PATCH /api/v1/cameras/{name}/switches`, `record`.
    SwitchOnRecording,
    /// `POST /api/v1/config/reload`.
    Reload,
    /// `POST /api/v1/cameras`; the page of cameras asks for what it takes.
    AddCamera,
}

impl Concern {
    fn new(level: Level, code: ConcernCode, text: impl Into<String>) -> Self {
        Self { level, code, subject: None, reason: None, cause: None, count: None, text: text.into(), remedy: None }
    }

    fn about(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    fn because(mut self, reason: Option<&str>) -> Self {
        self.reason = reason.map(str::to_owned);
        self.cause = reason.and_then(Cause::of);
        self
    }

    fn of(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    fn mended_by(mut self, remedy: Remedy) -> Self {
        self.remedy = Some(remedy);
        self
    }
}

impl BoxStatus {
    /// What is not as it should be, the worst first.
    pub fn concerns(&self) -> Vec<Concern> {
        let mut concerns = Vec::new();
        // Right after the start cameras are still being made.
        if self.cameras.is_empty() && !self.has_cameras {
            let text = "no camera yet: add one on the page of cameras, or in the configuration";
            concerns.push(Concern::new(Level::Attention, ConcernCode::NoCamera, text).mended_by(Remedy::AddCamera));
        }
        concerns.extend(self.cameras.iter().flat_map(CameraStatus::concerns));
        concerns.extend(self.outlets.iter().flat_map(QueueStatus::concerns));
        concerns.extend(self.load_concern());
        concerns.extend(self.model_concerns());
        concerns.extend(self.store_concern());
        concerns.extend(self.config.concern());
        concerns.extend(self.disk_concerns());
        concerns.extend(self.library_concern());
        concerns.extend(self.clock_concern());
        // Sorting keeps the order of those that are as bad.
        concerns.sort_by_key(|concern| std::cmp::Reverse(concern.level));
        concerns
    }

    fn library_concern(&self) -> Option<Concern> {
        let count = self.damaged_originals;
        let text = match count {
            1 => "an original of a photo is damaged or missing".to_owned(),
            _ => format!("{count} originals of photos are damaged or missing"),
        };
        (count > 0).then(|| Concern::new(Level::Attention, ConcernCode::OriginalsDamaged, text).of(count))
    }

    fn load_concern(&self) -> Option<Concern> {
        let reason = &self.load.reason;
        let text = format!("too much to do: {reason}");
        let concern = || Concern::new(Level::Attention, ConcernCode::LoadShed, text).because(Some(reason));
        (self.load.level != LoadLevel::Normal).then(concern)
    }

    /// A light model that is not needed at present counts, too. A camera whose own model is broken says so itself.
    fn model_concerns(&self) -> Vec<Concern> {
        let says = |camera: &CameraStatus, reason: &str| {
            camera.state == CameraState::Degraded && camera.reason.as_ref().is_some_and(|said| said.contains(reason))
        };
        let is_said = |reason: &str| self.cameras.iter().any(|camera| says(camera, reason));
        let is_asked_for = self.cameras.iter().any(|camera| camera.health.not_detected.is_some());
        let broken = self.models.iter().filter(|(_, model)| model.state == ModelState::Broken);
        let reasons = broken.filter_map(|(name, ModelHealth { reason, .. })| Some((name, reason.as_ref()?)));
        let concerns = reasons.filter(|(_, reason)| !is_said(reason)).map(|(name, reason)| {
            let text = format!("model {name} cannot be used: {reason}");
            Concern::new(Level::Problem, ConcernCode::ModelBroken, text).about(name).because(Some(reason))
        });
        if is_asked_for { Vec::new() } else { concerns.collect() }
    }

    fn store_concern(&self) -> Option<Concern> {
        let StoreHealth { state, rebuilt, rebuild_total, .. } = self.store;
        match state {
            StoreState::Ok => None,
            StoreState::Rebuilding => {
                let text = format!("rebuilding the list of events, {rebuilt} of {rebuild_total}");
                Some(
                    Concern::new(Level::Attention, ConcernCode::IndexRebuilding, text)
                        .of(rebuild_total - rebuilt.min(rebuild_total)),
                )
            }
            StoreState::Full => Some(Concern::new(Level::Problem, ConcernCode::IndexFull, "no room for new events")),
        }
    }

    fn disk_concerns(&self) -> Vec<Concern> {
        let mut concerns = Vec::new();
        if let Some(trouble) = &self.disk.trouble {
            let level = if self.disk.spooling { Level::Problem } else { Level::Attention };
            let until_then = if self.disk.spooling { ", recording into the spool" } else { "" };
            let text = format!("{trouble}{until_then}");
            concerns.push(Concern::new(level, ConcernCode::VolumeTrouble, text).because(Some(trouble)));
        }
        #[expect(clippy::cast_precision_loss, reason = "a share needs no exact bytes")]
        let free = self.disk.free_bytes as f64 / self.disk.size_bytes.max(1) as f64;
        if let Some(left_out) = self.disk.left_out {
            concerns.push(Concern::new(Level::Problem, ConcernCode::LeftOut, left_out).because(Some(left_out)));
        } else if self.disk.size_bytes > 0 && free < ALMOST_FULL {
            concerns.push(Concern::new(Level::Attention, ConcernCode::DiskAlmostFull, "the disk is almost full"));
        }
        concerns
    }

    fn clock_concern(&self) -> Option<Concern> {
        // One that is only not synchronised may be right; the page says so beside its times.
        (self.time_quality == TimeQuality::Implausible)
            .then(|| Concern::new(Level::Attention, ConcernCode::ClockImplausible, "the clock was never set"))
    }
}

impl CameraStatus {
    fn concerns(&self) -> Vec<Concern> {
        let name = self.name.as_ref();
        let of_state = |level, code, what: &str| {
            let why = self.reason.as_ref().map(|reason| format!(": {reason}")).unwrap_or_default();
            Concern::new(level, code, format!("{name} is {what}{why}")).about(name).because(self.reason.as_deref())
        };
        let state = match self.state {
            CameraState::Offline => Some(of_state(Level::Problem, ConcernCode::CameraOffline, "offline")),
            CameraState::Degraded => Some(of_state(Level::Problem, ConcernCode::CameraDegraded, "degraded")),
            CameraState::Connecting => Some(of_state(Level::Attention, ConcernCode::CameraConnecting, "connecting")),
            CameraState::Online | CameraState::Finished | CameraState::Idle => None,
        };
        let switched = |what: &str, code, remedy| {
            let text = format!("{what} is switched off at {name}");
            Concern::new(Level::Attention, code, text).about(name).mended_by(remedy)
        };
        let (record_off, detect_off) = (self.record == RecordUse::SwitchedOff, self.detect == DetectUse::SwitchedOff);
        let recording =
            record_off.then(|| switched("recording", ConcernCode::RecordingSwitchedOff, Remedy::SwitchOnRecording));
        let detection =
            detect_off.then(|| switched("detection", ConcernCode::DetectionSwitchedOff, Remedy::SwitchOnDetection));
        let missing = self.health.not_detected.as_ref().map(|reason| {
            let text = format!("{name}: {reason}");
            Concern::new(Level::Problem, ConcernCode::NotDetected, text).about(name).because(Some(reason))
        });
        [state, recording, detection, missing].into_iter().flatten().collect()
    }
}

impl QueueStatus {
    fn concerns(&self) -> Vec<Concern> {
        let name = &self.name;
        let cut = (self.online == Some(false) && !self.paused).then(|| {
            let waiting = match self.items {
                0 => String::new(),
                n => format!(", {} waiting for {}", items(n), duration(self.oldest_wait_s.unwrap_or(0))),
            };
            let text = format!("no link to {name}{waiting}");
            let reason = self.last_error.as_deref();
            Concern::new(Level::Attention, ConcernCode::NoLink, text).about(name).because(reason).of(self.items)
        });
        let paused = self.paused.then(|| {
            let text = format!("{name} is paused, {} waiting", items(self.items));
            let concern = Concern::new(Level::Attention, ConcernCode::UploadPaused, text).about(name).of(self.items);
            concern.mended_by(Remedy::Resume)
        });
        let dead = (self.dead_letters > 0).then(|| {
            let text = format!("{} could not be delivered to {name}", items(self.dead_letters));
            let concern = Concern::new(Level::Attention, ConcernCode::DeadLetters, text).about(name);
            concern.of(self.dead_letters).mended_by(Remedy::Retry)
        });
        [cut, paused, dead].into_iter().flatten().collect()
    }
}

impl ConfigStatus {
    fn concern(&self) -> Option<Concern> {
        let reason = self.reason.as_deref().unwrap_or("see the log");
        let (level, code, text) = match self.state {
            ConfigState::Refused => {
                (Level::Attention, ConcernCode::ConfigRefused, "the changed configuration is not in use")
            }
            ConfigState::RolledBack => {
                (Level::Attention, ConcernCode::ConfigRolledBack, "the changed configuration was undone")
            }
            ConfigState::LastGood => {
                (Level::Problem, ConcernCode::ConfigLastGood, "running with the last good configuration")
            }
            ConfigState::InUse | ConfigState::Confirming if self.needs_restart.is_empty() => return None,
            ConfigState::InUse | ConfigState::Confirming => {
                let keys = self.needs_restart.join(", ");
                let text = format!("a restart is needed for {keys}");
                return Some(Concern::new(Level::Attention, ConcernCode::RestartNeeded, text).because(Some(&keys)));
            }
        };
        let concern = Concern::new(level, code, format!("{text}: {reason}")).because(Some(reason));
        Some(concern.mended_by(Remedy::Reload))
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    fn codes(status: &BoxStatus) -> Vec<(ConcernCode, Option<Remedy>)> {
        status.concerns().iter().map(|concern| (concern.code, concern.remedy)).collect()
    }

    #[test]
    fn a_box_that_is_well_has_none() {
        assert_eq!(codes(&fixture::status()), []);
    }

    #[test]
    fn what_a_person_switched_off_is_said_with_what_mends_it() {
        let mut status = fixture::status();
        (status.cameras[0].record, status.cameras[0].detect) = (RecordUse::SwitchedOff, DetectUse::SwitchedOff);
        (status.outlets[0].paused, status.outlets[0].items, status.outlets[0].dead_letters) = (true, 3, 2);
        // A paused destination is not tried, so whether it answers is not known.
        status.outlets[0].online = Some(false);
        let expected = [
            (ConcernCode::RecordingSwitchedOff, Some(Remedy::SwitchOnRecording)),
            (ConcernCode::DetectionSwitchedOff, Some(Remedy::SwitchOnDetection)),
            (ConcernCode::UploadPaused, Some(Remedy::Resume)),
            (ConcernCode::DeadLetters, Some(Remedy::Retry)),
        ];
        assert_eq!(codes(&status), expected);
        let texts: Vec<String> = status.concerns().into_iter().map(|concern| concern.text).collect();
        assert_eq!(texts[2], "mqtt is paused, 3 items waiting");
        assert_eq!(texts[3], "2 items could not be delivered to mqtt");
    }

    #[test]
    fn what_the_configuration_leaves_out_is_no_concern() {
        let mut status = fixture::status();
        (status.cameras[0].record, status.cameras[0].detect) = (RecordUse::Off, DetectUse::Off);
        assert_eq!(codes(&status), []);
    }

    #[test]
    fn the_worst_comes_first() {
        let mut status = fixture::status();
        status.time_quality = TimeQuality::Implausible;
        status.cameras.push(fixture::camera("gate", CameraState::Offline));
        status.config.state = ConfigState::Refused;
        let expected = [
            (ConcernCode::CameraOffline, None),
            (ConcernCode::ConfigRefused, Some(Remedy::Reload)),
            (ConcernCode::ClockImplausible, None),
        ];
        assert_eq!(codes(&status), expected);
    }
}
