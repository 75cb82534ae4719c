//! The box at one moment, for the API and the page alike, and the one sentence that sums it up.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use serde::Serialize;

use crate::clock::{Mono, TimeQuality};
use crate::health::{
    CameraHealth, CameraState, ModelHealth, ModelState, OutletHealth, Stage, StoreHealth, StoreState, TransferHealth,
};
use crate::load::LoadLevel;

/// Below this share of free space a volume counts as almost full.
const ALMOST_FULL: f64 = 0.02;

/// The box.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
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
    /// The models that cameras use, by name.
    pub models: BTreeMap<String, ModelHealth>,
    /// All upload destinations and the broker.
    pub outlets: Vec<OutletStatus>,
    /// How much the box does, and why not everything.
    pub load: LoadStatus,
    /// The index of events.
    pub store: StoreHealth,
    /// Where recordings lie.
    pub disk: DiskStatus,
    /// Events on this box.
    pub events_total: u64,
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

/// One camera.
#[derive(Clone, Debug, Serialize)]
pub struct CameraStatus {
    /// Name in the config.
    pub name: Arc<str>,
    /// How it is doing.
    pub state: CameraState,
    /// For how long, seconds.
    pub state_for_s: u64,
    /// Why it is not online, or what is wrong although it is connected.
    pub reason: Option<String>,
    /// The stages that give nothing although it is connected.
    pub stages: Vec<Stage>,
    /// Seconds since the last packet.
    pub last_packet_age_s: Option<f64>,
    /// What else is known of it.
    #[serde(flatten)]
    pub health: CameraHealth,
}

impl CameraStatus {
    /// What health knows of camera `name` at `now`.
    pub fn new(name: Arc<str>, health: &CameraHealth, now: Mono) -> Self {
        let shown = health.shown();
        Self {
            name,
            state: shown.state,
            state_for_s: now.since(shown.since).as_secs(),
            reason: shown.reason.map(str::to_owned),
            stages: health.troubled_stages().to_vec(),
            last_packet_age_s: health.last_packet.map(|at| now.since(at).as_secs_f64()),
            health: health.clone(),
        }
    }
}

/// One outlet and its queue.
#[derive(Clone, Debug, Serialize)]
pub struct OutletStatus {
    /// `upload/<name>`, `mqtt`.
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
    pub queued_items: u64,
    /// Bytes in the queue; 0 where items are small.
    pub queued_bytes: u64,
    /// Seconds that the oldest item has waited.
    pub oldest_wait_s: Option<u64>,
    /// Items that were given up.
    pub dead_letters: u64,
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
    /// Seconds until the queue is empty at the present speed, where both are known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_s: Option<u64>,
}

impl OutletStatus {
    /// Estimates when the queue is empty; to be called when its size is known.
    pub fn estimate(&mut self) {
        if let Some(transfers) = &mut self.transfers {
            let speed = transfers.health.bytes_per_s.filter(|speed| *speed > 0);
            transfers.left_s = speed.map(|speed| self.queued_bytes.div_ceil(speed));
        }
    }

    /// What health knows of an outlet at `now`, with an empty queue.
    pub fn new(health: &OutletHealth, now: Mono) -> Self {
        Self {
            name: health.name.clone(),
            online: health.online,
            state_for_s: now.since(health.since).as_secs(),
            last_error: health.last_error.clone(),
            remarks: health.remarks.clone(),
            queued_items: 0,
            queued_bytes: 0,
            oldest_wait_s: None,
            dead_letters: 0,
            transfers: health.transfers.clone().map(|health| TransferStatus { health, left_s: None }),
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
    /// What is not recorded for lack of space, in words.
    pub left_out: Option<&'static str>,
    /// What is wrong with the archive's volume, in words.
    pub trouble: Option<String>,
    /// Whether recordings lie in the spool on the system disk for the time being.
    pub spooling: bool,
}

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

/// The state of the box in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How much a person should care.
    pub level: Level,
    /// The sentence, without full stop.
    pub text: String,
}

impl Status {
    /// Sums up cameras, delivery and disk.
    pub fn summary(&self) -> Summary {
        let (cameras_level, cameras) = self.sum_up_cameras();
        let (delivery_level, delivery) = self.sum_up_delivery();
        let mut level = cameras_level.max(delivery_level);
        let joint = if level == Level::Ok { ", " } else { "; " };
        let mut text = format!("{cameras}{joint}{delivery}");
        if self.load.level != LoadLevel::Normal {
            level = level.max(Level::Attention);
            text = format!("{text}; too much to do: {}", self.load.reason);
        }
        if let Some(undetected) = self.sum_up_detection() {
            (level, text) = (Level::Problem, format!("{text}; {undetected}"));
        }
        if let Some((store_level, store)) = self.sum_up_store() {
            (level, text) = (level.max(store_level), format!("{text}; {store}"));
        }
        if let Some(trouble) = &self.disk.trouble {
            level = level.max(if self.disk.spooling { Level::Problem } else { Level::Attention });
            let until_then = if self.disk.spooling { ", recording into the spool" } else { "" };
            text = format!("{text}; {trouble}{until_then}");
        }
        if let Some(left_out) = self.disk.left_out {
            return Summary { level: Level::Problem, text: format!("{text}; {left_out}") };
        }
        #[expect(clippy::cast_precision_loss, reason = "a share needs no exact bytes")]
        let free = self.disk.free_bytes as f64 / self.disk.size_bytes.max(1) as f64;
        if self.disk.size_bytes > 0 && free < ALMOST_FULL {
            return Summary { level: level.max(Level::Attention), text: format!("{text}; the disk is almost full") };
        }
        Summary { level, text }
    }

    /// What is wrong with detection; a light model that is not needed at present counts, too.
    fn sum_up_detection(&self) -> Option<String> {
        let troubled =
            self.cameras.iter().filter_map(|camera| Some((&camera.name, camera.health.not_detected.as_ref()?)));
        // A camera whose own model is broken says so itself.
        let is_said = self.cameras.iter().any(|camera| camera.state == CameraState::Degraded);
        let broken = self.models.iter().filter(|(_, model)| model.state == ModelState::Broken && !is_said);
        match (troubled.clone().count(), troubled.clone().next(), broken.clone().next()) {
            (1, Some((name, reason)), _) => Some(format!("{name}: {reason}")),
            (more, Some((name, reason)), _) => Some(format!("{name} and {} more: {reason}", more - 1)),
            (_, None, Some((model, ModelHealth { reason: Some(reason), .. }))) => {
                Some(format!("model {model} cannot be used: {reason}"))
            }
            _ => None,
        }
    }

    fn sum_up_store(&self) -> Option<(Level, String)> {
        let StoreHealth { state, rebuilt, rebuild_total, .. } = self.store;
        match state {
            StoreState::Ok => None,
            StoreState::Rebuilding => {
                Some((Level::Attention, format!("rebuilding the list of events, {rebuilt} of {rebuild_total}")))
            }
            StoreState::Full => Some((Level::Problem, "no room for new events".to_owned())),
        }
    }

    fn sum_up_cameras(&self) -> (Level, String) {
        let all = self.cameras.len();
        let count = |state| self.cameras.iter().filter(|camera| camera.state == state).count();
        let (offline, connecting) = (count(CameraState::Offline), count(CameraState::Connecting));
        let (finished, degraded) = (count(CameraState::Finished), count(CameraState::Degraded));
        let of_all = |n: usize, doing: &str| match (n, all) {
            (1, 1) => format!("The camera is {doing}"),
            (2, 2) => format!("Both cameras {doing}"),
            (n, all) if n == all => format!("All {all} cameras {doing}"),
            _ => format!("{n} of {all} cameras {doing}"),
        };
        if degraded > 0 {
            let offline = if offline > 0 { format!("{}; ", of_all(offline, "offline")) } else { String::new() };
            let reasons = self.cameras.iter().filter(|camera| camera.state == CameraState::Degraded);
            let reason = match reasons.map(|camera| camera.reason.as_deref()).collect::<Vec<_>>().as_slice() {
                [Some(reason)] => format!(": {reason}"),
                _ => String::new(),
            };
            return (Level::Problem, format!("{offline}{}{reason}", of_all(degraded, "degraded")));
        }
        match (all, offline, connecting, finished) {
            (0, ..) => (Level::Attention, "No camera is configured".to_owned()),
            (_, 1.., ..) => (Level::Problem, of_all(offline, "offline")),
            (_, _, 1.., _) => (Level::Attention, of_all(connecting, "connecting")),
            (.., 1..) if finished == all => (Level::Ok, of_all(finished, "finished")),
            _ => (Level::Ok, of_all(all - finished, "recording")),
        }
    }

    fn sum_up_delivery(&self) -> (Level, String) {
        if self.outlets.is_empty() {
            return (Level::Ok, "events stay on this box".to_owned());
        }
        let queued: u64 = self.outlets.iter().map(|outlet| outlet.queued_items).sum();
        let dead: u64 = self.outlets.iter().map(|outlet| outlet.dead_letters).sum();
        let oldest = self.outlets.iter().filter_map(|outlet| outlet.oldest_wait_s).max().unwrap_or(0);
        let cut: Vec<&OutletStatus> = self.outlets.iter().filter(|outlet| outlet.online == Some(false)).collect();
        let items = |n: u64| if n == 1 { "1 item".to_owned() } else { format!("{n} items") };
        let mut level = if cut.is_empty() && dead == 0 { Level::Ok } else { Level::Attention };
        let mut text = match (queued, cut.as_slice()) {
            (0, []) => "nothing waits for delivery".to_owned(),
            (0, [one]) => format!("no link to {}", one.name),
            (0, several) => format!("no link to {} destinations", several.len()),
            (n, []) => format!("{} being delivered", items(n)),
            (n, _) => format!("{} waiting for the link for {}", items(n), duration(oldest)),
        };
        if dead > 0 {
            level = level.max(Level::Attention);
            text = format!("{text}; {} could not be delivered", items(dead));
        }
        (level, text)
    }
}

/// `45 s`, `12 min`, `3 h`, `2 days`.
fn duration(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} s"),
        120..=7199 => format!("{} min", seconds / 60),
        7200..=172_799 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::fixture;
    use super::*;

    fn status(cameras: &[CameraState], outlets: Vec<OutletStatus>) -> Status {
        let cameras = cameras.iter().map(|&state| fixture::camera("c", state)).collect();
        Status { cameras, outlets, ..fixture::status() }
    }

    fn outlet(online: Option<bool>, queued_items: u64, oldest_wait_s: Option<u64>, dead_letters: u64) -> OutletStatus {
        OutletStatus { online, queued_items, oldest_wait_s, dead_letters, ..fixture::outlet("mqtt") }
    }

    #[test]
    fn one_sentence_says_what_matters() {
        use CameraState::{Connecting, Finished, Offline, Online};
        let fine = || outlet(Some(true), 0, None, 0);
        let cases = [
            (status(&[Online; 4], vec![fine()]), Level::Ok, "All 4 cameras recording, nothing waits for delivery"),
            (status(&[Online; 2], vec![]), Level::Ok, "Both cameras recording, events stay on this box"),
            (status(&[Online], vec![fine()]), Level::Ok, "The camera is recording, nothing waits for delivery"),
            (status(&[], vec![fine()]), Level::Attention, "No camera is configured; nothing waits for delivery"),
            (
                status(&[Online, Offline, Offline, Online], vec![fine(), outlet(Some(false), 37, Some(10_900), 0)]),
                Level::Problem,
                "2 of 4 cameras offline; 37 items waiting for the link for 3 h",
            ),
            (
                status(&[Connecting, Online, Online], vec![outlet(Some(true), 1, Some(2), 0)]),
                Level::Attention,
                "1 of 3 cameras connecting; 1 item being delivered",
            ),
            (
                status(&[Online; 3], vec![outlet(Some(false), 0, None, 0)]),
                Level::Attention,
                "All 3 cameras recording; no link to mqtt",
            ),
            (
                status(&[Online; 3], vec![outlet(Some(true), 0, None, 2)]),
                Level::Attention,
                "All 3 cameras recording; nothing waits for delivery; 2 items could not be delivered",
            ),
            (status(&[Finished; 3], vec![fine()]), Level::Ok, "All 3 cameras finished, nothing waits for delivery"),
            (
                status(&[Finished, Online, Online], vec![fine()]),
                Level::Ok,
                "2 of 3 cameras recording, nothing waits for delivery",
            ),
        ];
        for (status, level, text) in cases {
            assert_eq!(status.summary(), Summary { level, text: text.to_owned() });
        }
    }

    #[test]
    fn a_camera_whose_packets_come_to_no_use_is_said_with_the_reason() {
        use CameraState::{Degraded, Offline, Online};
        let mut one = status(&[Online, Degraded], vec![]);
        one.cameras[1].reason = Some("nothing can be decoded".to_owned());
        let text = "1 of 2 cameras degraded: nothing can be decoded; events stay on this box";
        assert_eq!(one.summary(), Summary { level: Level::Problem, text: text.to_owned() });
        let many = status(&[Online, Degraded, Degraded, Offline], vec![]).summary();
        assert_eq!(many.text, "1 of 4 cameras offline; 2 of 4 cameras degraded; events stay on this box");
    }

    #[test]
    fn doing_less_is_said_with_the_reason() {
        let mut status = status(&[CameraState::Online], vec![]);
        status.load =
            LoadStatus { level: LoadLevel::HalfRate, level_for_s: 3, reason: "95 °C, limit 90 °C".to_owned() };
        let text = "The camera is recording, events stay on this box; too much to do: 95 °C, limit 90 °C";
        assert_eq!(status.summary(), Summary { level: Level::Attention, text: text.to_owned() });
    }

    #[test]
    fn a_camera_without_detection_is_a_problem_and_says_why() {
        let mut status = status(&[CameraState::Online; 2], vec![]);
        let broken = ModelHealth { state: ModelState::Broken, reason: Some("m.onnx is missing".to_owned()) };
        status.models.insert("m".to_owned(), broken);
        let said = |status: &Status| (status.summary().level, status.summary().text);
        let (level, text) = said(&status);
        assert_eq!(level, Level::Problem);
        assert!(text.ends_with("; model m cannot be used: m.onnx is missing"), "{text}");
        status.cameras[0].health.not_detected = Some("the model never sees a persn".to_owned());
        assert!(said(&status).1.ends_with("; c: the model never sees a persn"));
        status.cameras[1].health.not_detected = status.cameras[0].health.not_detected.clone();
        assert!(said(&status).1.ends_with("; c and 1 more: the model never sees a persn"));
    }

    #[test]
    fn an_index_that_is_not_complete_is_said() {
        let mut status = status(&[CameraState::Online], vec![]);
        status.store = StoreHealth { state: StoreState::Rebuilding, rebuilt: 3, rebuild_total: 9, damaged_files: 0 };
        assert_eq!(status.summary().level, Level::Attention);
        assert!(status.summary().text.ends_with("; rebuilding the list of events, 3 of 9"));
        status.store.state = StoreState::Full;
        assert_eq!(status.summary().level, Level::Problem);
    }

    #[test]
    fn a_full_disk_is_said() {
        let mut status = status(&[CameraState::Online], vec![]);
        (status.disk.size_bytes, status.disk.free_bytes) = (1000, 19);
        assert_eq!(status.summary().level, Level::Attention);
        assert!(status.summary().text.ends_with("; the disk is almost full"));
        status.disk.left_out = Some("no video is recorded for lack of space");
        assert_eq!(status.summary().level, Level::Problem);
        assert!(status.summary().text.ends_with("; no video is recorded for lack of space"));
        status.disk.left_out = None;
        (status.disk.trouble, status.disk.spooling) = (Some("the volume is not mounted".to_owned()), true);
        assert_eq!(status.summary().level, Level::Problem);
        assert!(status.summary().text.contains("; the volume is not mounted, recording into the spool"));
    }
}
