//! The one sentence that sums up the box, and how much a person should care.

use serde::Serialize;

use super::config::{ConfigState, ConfigStatus};
use super::facts::{BoxStatus, QueueStatus};
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

/// The state of the box in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How much a person should care.
    pub level: Level,
    /// The sentence, without full stop.
    pub text: String,
}

impl BoxStatus {
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
        if let Some((config_level, config)) = self.config.trouble() {
            (level, text) = (level.max(config_level), format!("{text}; {config}"));
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
        let queued: u64 = self.outlets.iter().map(|outlet| outlet.items).sum();
        let dead: u64 = self.outlets.iter().map(|outlet| outlet.dead_letters).sum();
        let oldest = self.outlets.iter().filter_map(|outlet| outlet.oldest_wait_s).max().unwrap_or(0);
        let cut: Vec<&QueueStatus> = self.outlets.iter().filter(|outlet| outlet.online == Some(false)).collect();
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

impl ConfigStatus {
    /// What a person should know of it, and how much to care; `None`: the file is in use as it is.
    fn trouble(&self) -> Option<(Level, String)> {
        let reason = || self.reason.as_deref().unwrap_or("see the log").to_owned();
        match self.state {
            ConfigState::Refused => {
                Some((Level::Attention, format!("the changed configuration is not in use: {}", reason())))
            }
            ConfigState::RolledBack => {
                Some((Level::Attention, format!("the changed configuration was undone: {}", reason())))
            }
            ConfigState::LastGood => {
                Some((Level::Problem, format!("running with the last good configuration: {}", reason())))
            }
            ConfigState::InUse | ConfigState::Confirming if !self.needs_restart.is_empty() => {
                Some((Level::Attention, format!("a restart is needed for {}", self.needs_restart.join(", "))))
            }
            ConfigState::InUse | ConfigState::Confirming => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::LoadStatus;
    use super::super::fixture;
    use super::*;
    use crate::clock::Mono;
    use crate::health::{OutletHealth, Transfer, TransferHealth};

    fn status(cameras: &[CameraState], outlets: Vec<QueueStatus>) -> BoxStatus {
        let cameras = cameras.iter().map(|&state| fixture::camera("c", state)).collect();
        BoxStatus { cameras, outlets, ..fixture::status() }
    }

    fn outlet(online: Option<bool>, items: u64, oldest_wait_s: Option<u64>, dead_letters: u64) -> QueueStatus {
        QueueStatus { online, items, oldest_wait_s, dead_letters, ..fixture::queue("mqtt") }
    }

    /// What the page, the command line and other programs read: names, order and what is left out.
    #[test]
    fn the_json_of_a_box_is_what_programs_know() {
        let transfer = Transfer { key: "a/clip.mp4".to_owned(), bytes: 9, done: 4 };
        let transfers = TransferHealth { bytes_per_s: Some(4), current: vec![transfer], ..TransferHealth::default() };
        let cloud = OutletHealth {
            name: "upload/cloud".to_owned(),
            online: Some(false),
            since: Mono(5_000_000_000),
            last_error: Some("no route".to_owned()),
            remarks: vec!["old TLS".to_owned()],
            transfers: Some(transfers),
        };
        let mut cloud = QueueStatus::new("upload/cloud", Some(&cloud), Mono(0), Mono(7_000_000_000));
        (cloud.items, cloud.bytes, cloud.oldest_wait_s, cloud.dead_letters) = (3, 9, Some(60), 1);
        cloud.estimate();
        let mut status = status(&[CameraState::Online], vec![fixture::queue("mqtt"), cloud]);
        status
            .models
            .insert("m".to_owned(), ModelHealth { state: ModelState::Broken, reason: Some("gone".to_owned()) });
        let expected = concat!(
            r#"{"device":"box-7","site":"Gate","version":"0.1.0","uptime_s":90,"time":"1970-01-01T00:00:00Z","#,
            r#""time_quality":"synchronised","cameras":[{"name":"c","state":"online","state_for_s":7,"reason":null,"#,
            r#""stages":[],"last_packet_age_s":null,"not_detected":null,"client":null,"client_reason":null,"#,
            r#""transport":null,"codec":"","width":0,"height":0,"fps":0.0,"detect_fps":0.0,"motion":false,"#,
            r#""objects":0,"reconnects":0}],"models":{"m":{"state":"broken","reason":"gone"}},"#,
            r#""outlets":[{"name":"mqtt","online":true,"state_for_s":7,"last_error":null,"queued_items":0,"#,
            r#""queued_bytes":0,"oldest_wait_s":null,"dead_letters":0},{"name":"upload/cloud","online":false,"#,
            r#""state_for_s":2,"last_error":"no route","remarks":["old TLS"],"queued_items":3,"queued_bytes":9,"#,
            r#""oldest_wait_s":60,"dead_letters":1,"transfers":{"link":"probing","bytes_per_s":4,"#,
            r#""current":[{"key":"a/clip.mp4","bytes":9,"done":4}],"left_s":3}}],"load":{"level":"normal","#,
            r#""level_for_s":0,"reason":""},"store":{"state":"ok","rebuilt":0,"rebuild_total":0,"damaged_files":0},"#,
            r#""disk":{"path":"/data","free_bytes":600,"size_bytes":1000,"archive_bytes":null,"quota_bytes":null,"#,
            r#""left_out":null,"trouble":null,"spooling":false},"events_total":3,"#,
            r#""config":{"state":"in_use","read_at":"1970-01-01T00:00:00Z","tried_at":"1970-01-01T00:00:00Z","#,
            r#""changed":[],"needs_restart":[],"problems":[]}}"#,
        );
        assert_eq!(serde_json::to_string(&status).expect("JSON"), expected);
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
        let said = |status: &BoxStatus| (status.summary().level, status.summary().text);
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
