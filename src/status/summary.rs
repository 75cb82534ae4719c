//! The one sentence that sums up the box, and how much a person should care.

use std::collections::BTreeSet;

use serde::Serialize;

use super::concerns::{Concern, ConcernCode, Level};
use super::facts::{BoxStatus, QueueStatus};
use super::wording::{duration, items};
use crate::health::CameraState;

/// What the first two parts of the sentence are about.
const HEADLINE: [ConcernCode; 9] = [
    ConcernCode::NoCamera,
    ConcernCode::CameraOffline,
    ConcernCode::CameraDegraded,
    ConcernCode::CameraConnecting,
    ConcernCode::RecordingSwitchedOff,
    ConcernCode::DetectionSwitchedOff,
    ConcernCode::NoLink,
    ConcernCode::UploadPaused,
    ConcernCode::DeadLetters,
];

/// The state of the box in one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// How much a person should care.
    pub level: Level,
    /// Cameras of which video is kept at this moment.
    pub recording: usize,
    /// Items that wait for delivery, at all outlets.
    pub waiting: u64,
    /// The sentence, without full stop.
    pub text: String,
}

impl BoxStatus {
    /// Sums up cameras, delivery, and what else is not as it should be.
    pub fn summary(&self) -> Summary {
        let concerns = self.concerns();
        let level = concerns.iter().map(|concern| concern.level).max().unwrap_or(Level::Ok);
        let (cameras, delivery) = (self.sum_up_cameras(), self.sum_up_delivery());
        let are_well = !concerns.iter().any(|concern| HEADLINE.contains(&concern.code));
        let joint = if are_well { ", " } else { "; " };
        let mut text = format!("{cameras}{joint}{delivery}");
        for further in self.further(&concerns) {
            text = format!("{text}; {further}");
        }
        Summary {
            level,
            recording: self.recorded(),
            waiting: self.outlets.iter().map(|outlet| outlet.items).sum(),
            text,
        }
    }

    /// Of how many cameras video is kept at this moment.
    fn recorded(&self) -> usize {
        self.cameras.iter().filter(|camera| camera.is_recorded(&self.disk)).count()
    }

    /// What cameras and delivery do not say already, in the order in which it was always said.
    fn further(&self, concerns: &[Concern]) -> Vec<String> {
        use ConcernCode::{
            ConfigLastGood, ConfigRefused, ConfigRolledBack, DetectionSwitchedOff, DiskAlmostFull, IndexFull,
            IndexRebuilding, LeftOut, LoadShed, ModelBroken, NotDetected, RecordingSwitchedOff, RestartNeeded,
            VolumeTrouble,
        };
        let of = |wanted: &[ConcernCode]| -> Vec<&Concern> {
            concerns.iter().filter(|concern| wanted.contains(&concern.code)).collect()
        };
        let mut further = Vec::new();
        further.extend(of(&[LoadShed]).into_iter().map(|concern| concern.text.clone()));
        match of(&[NotDetected]).as_slice() {
            [] => further.extend(of(&[ModelBroken]).first().map(|concern| concern.text.clone())),
            [one] => further.push(one.text.clone()),
            [first, others @ ..] => {
                let (name, reason) = (first.subject.as_deref(), first.reason.as_deref());
                let (name, reason) = (name.unwrap_or_default(), reason.unwrap_or_default());
                further.push(format!("{name} and {} more: {reason}", others.len()));
            }
        }
        let rest = [
            &[IndexRebuilding, IndexFull][..],
            &[ConfigRefused, ConfigRolledBack, ConfigLastGood, RestartNeeded],
            &[RecordingSwitchedOff, DetectionSwitchedOff],
            &[VolumeTrouble],
            &[LeftOut, DiskAlmostFull],
        ];
        further.extend(rest.into_iter().flat_map(of).map(|concern| concern.text.clone()));
        further
    }

    fn sum_up_cameras(&self) -> String {
        let all = self.cameras.len();
        let count = |state| self.cameras.iter().filter(|camera| camera.state == state).count();
        let (offline, connecting) = (count(CameraState::Offline), count(CameraState::Connecting));
        let (finished, degraded) = (count(CameraState::Finished), count(CameraState::Degraded));
        let idle = count(CameraState::Idle);
        let of_all = |n: usize, doing: &str| match (n, all) {
            (1, 1) => format!("The camera is {doing}"),
            (2, 2) => format!("Both cameras {doing}"),
            (n, all) if n == all => format!("All {all} cameras {doing}"),
            _ => format!("{n} of {all} cameras {doing}"),
        };
        if degraded > 0 {
            let offline = if offline > 0 { format!("{}; ", of_all(offline, "offline")) } else { String::new() };
            let reasons = self.cameras.iter().filter(|camera| camera.state == CameraState::Degraded);
            let reasons: BTreeSet<Option<&str>> = reasons.map(|camera| camera.reason.as_deref()).collect();
            // One for all of them.
            let reason = match (reasons.len(), reasons.first()) {
                (1, Some(Some(reason))) => format!(": {reason}"),
                _ => String::new(),
            };
            return format!("{offline}{}{reason}", of_all(degraded, "degraded"));
        }
        let recording = self.recorded();
        match (all, offline, connecting, finished) {
            (0, ..) if self.has_cameras => "Cameras are being started".to_owned(),
            (0, ..) => "No camera yet".to_owned(),
            (_, 1.., ..) => of_all(offline, "offline"),
            (_, _, 1.., _) => of_all(connecting, "connecting"),
            (.., 1..) if finished == all => of_all(finished, "finished"),
            _ if idle > 0 && finished + idle == all => of_all(idle, "waiting for a phone or browser"),
            _ if recording == 0 => format!("{}, nothing is recorded", of_all(all - finished - idle, "connected")),
            _ => of_all(recording, "recording"),
        }
    }

    fn sum_up_delivery(&self) -> String {
        if self.outlets.is_empty() {
            return "events stay on this box".to_owned();
        }
        let queued: u64 = self.outlets.iter().map(|outlet| outlet.items).sum();
        let dead: u64 = self.outlets.iter().map(|outlet| outlet.dead_letters).sum();
        let paused: Vec<&QueueStatus> = self.outlets.iter().filter(|outlet| outlet.paused).collect();
        let cut: Vec<&QueueStatus> = self.outlets.iter().filter(|outlet| outlet.is_cut()).collect();
        let for_link: u64 = cut.iter().map(|outlet| outlet.items).sum();
        let oldest = cut.iter().filter_map(|outlet| outlet.oldest_wait_s).max().unwrap_or(0);
        let mut text = match (cut.as_slice(), for_link) {
            ([], _) => self.sum_up_waiting(queued, &paused),
            ([one], 0) => format!("no link to {}", one.name),
            (several, 0) => format!("no link to {} destinations", several.len()),
            (_, n) => format!("{} waiting for the link for {}", items(n), duration(oldest)),
        };
        if !cut.is_empty() && queued > for_link {
            let others = self.sum_up_waiting(queued - for_link, &paused);
            text = format!("{text}, {others}");
        } else if let (false, Some(paused)) = (cut.is_empty(), paused.first()) {
            text = format!("{text}, {} is paused", paused.name);
        }
        if dead > 0 {
            text = format!("{text}; {} could not be delivered", items(dead));
        }
        text
    }

    /// What becomes of `n` items that wait for no link.
    fn sum_up_waiting(&self, n: u64, paused: &[&QueueStatus]) -> String {
        let is_held = |outlet: &&QueueStatus| outlet.items > 0 && !outlet.paused && !outlet.is_cut();
        let held = self.outlets.iter().filter(is_held).find_map(|outlet| Some((&outlet.name, outlet.held()?)));
        match (n, paused, held) {
            (0, [], _) => "nothing waits for delivery".to_owned(),
            (0, [one, ..], _) => format!("nothing waits for delivery, {} is paused", one.name),
            (n, [one], _) => format!("{} waiting, {} is paused", items(n), one.name),
            (n, [_, _, ..], _) => format!("{} waiting, {} uploads are paused", items(n), paused.len()),
            (n, [], Some((name, reason))) => format!("{} waiting, {name} is held back: {reason}", items(n)),
            (n, [], None) => format!("{} being delivered", items(n)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::{DetectUse, RecordUse};
    use super::super::facts::{LoadStatus, TransferStatus};
    use super::super::fixture;
    use super::*;
    use crate::clock::Mono;
    use crate::health::{
        ModelHealth, ModelState, OutletHealth, Stage, StoreHealth, StoreState, Transfer, TransferHealth,
    };
    use crate::load::LoadLevel;

    fn status(cameras: &[CameraState], outlets: Vec<QueueStatus>) -> BoxStatus {
        let cameras: Vec<_> = cameras.iter().map(|&state| fixture::camera("c", state)).collect();
        BoxStatus { has_cameras: !cameras.is_empty(), cameras, outlets, ..fixture::status() }
    }

    fn outlet(online: Option<bool>, items: u64, oldest_wait_s: Option<u64>, dead_letters: u64) -> QueueStatus {
        QueueStatus { online, items, oldest_wait_s, dead_letters, ..fixture::queue("mqtt") }
    }

    fn said(status: &BoxStatus) -> (Level, String) {
        let Summary { level, text, .. } = status.summary();
        (level, text)
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
        status.models.insert(
            "m".to_owned(),
            ModelHealth { state: ModelState::Broken, reason: Some("gone".to_owned()), ..ModelHealth::default() },
        );
        let expected = concat!(
            r#"{"device":"box-7","site":"Gate","version":"0.1.0","uptime_s":90,"time":"1970-01-01T00:00:00Z","#,
            r#""time_quality":"synchronised","cameras":[{"name":"c","state":"online","state_for_s":7,"reason":null,"#,
            r#""stages":[],"last_packet_age_s":null,"detect":"on","record":"events","events_today":0,"not_detected":null,"client":null,"client_reason":null,"#,
            r#""transport":null,"codec":"","width":0,"height":0,"fps":0.0,"detect_fps":0.0,"motion":false,"#,
            r#""objects":0,"reconnects":0}],"models":{"m":{"state":"broken","reason":"gone"}},"#,
            r#""outlets":[{"name":"mqtt","online":true,"state_for_s":7,"last_error":null,"queued_items":0,"#,
            r#""queued_bytes":0,"oldest_wait_s":null,"dead_letters":0},{"name":"upload/cloud","online":false,"#,
            r#""state_for_s":2,"last_error":"no route","remarks":["old TLS"],"queued_items":3,"queued_bytes":9,"#,
            r#""oldest_wait_s":60,"dead_letters":1,"transfers":{"link":"probing","bytes_per_s":4,"#,
            r#""current":[{"key":"a/clip.mp4","bytes":9,"done":4}],"left_s":3}}],"load":{"level":"normal","#,
            r#""level_for_s":0,"reason":""},"store":{"state":"ok","rebuilt":0,"rebuild_total":0,"damaged_files":0},"#,
            r#""disk":{"path":"/data","free_bytes":600,"size_bytes":1000,"archive_bytes":null,"quota_bytes":null,"#,
            r#""forecast":{"state":"unknown","text":""},"left_out":null,"trouble":null,"spooling":false},"events_total":3,"#,
            r#""config":{"state":"in_use","read_at":"1970-01-01T00:00:00Z","tried_at":"1970-01-01T00:00:00Z","#,
            r#""changed":[],"needs_restart":[],"problems":[]}}"#,
        );
        assert_eq!(serde_json::to_string(&status).expect("JSON"), expected);
    }

    #[test]
    fn one_sentence_says_what_matters() {
        use CameraState::{Connecting, Finished, Idle, Offline, Online};
        let fine = || outlet(Some(true), 0, None, 0);
        let cases = [
            (status(&[Online; 4], vec![fine()]), Level::Ok, "All 4 cameras recording, nothing waits for delivery"),
            (status(&[Online; 2], vec![]), Level::Ok, "Both cameras recording, events stay on this box"),
            (status(&[Online], vec![fine()]), Level::Ok, "The camera is recording, nothing waits for delivery"),
            (status(&[], vec![fine()]), Level::Attention, "No camera yet; nothing waits for delivery"),
            (
                BoxStatus { has_cameras: true, ..status(&[], vec![fine()]) },
                Level::Ok,
                "Cameras are being started, nothing waits for delivery",
            ),
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
            (
                status(&[Idle], vec![fine()]),
                Level::Ok,
                "The camera is waiting for a phone or browser, nothing waits for delivery",
            ),
            (status(&[Idle, Online], vec![fine()]), Level::Ok, "1 of 2 cameras recording, nothing waits for delivery"),
            (status(&[Finished; 3], vec![fine()]), Level::Ok, "All 3 cameras finished, nothing waits for delivery"),
            (
                status(&[Finished, Online, Online], vec![fine()]),
                Level::Ok,
                "2 of 3 cameras recording, nothing waits for delivery",
            ),
        ];
        for (status, level, text) in cases {
            assert_eq!(said(&status), (level, text.to_owned()));
        }
    }

    #[test]
    fn a_camera_whose_packets_come_to_no_use_is_said_with_the_reason() {
        use CameraState::{Degraded, Offline, Online};
        let mut one = status(&[Online, Degraded], vec![]);
        one.cameras[1].reason = Some("nothing can be decoded".to_owned());
        let text = "1 of 2 cameras degraded: nothing can be decoded; events stay on this box";
        assert_eq!(said(&one), (Level::Problem, text.to_owned()));
        let many = status(&[Online, Degraded, Degraded, Offline], vec![]).summary();
        assert_eq!(many.text, "1 of 4 cameras offline; 2 of 4 cameras degraded; events stay on this box");
    }

    #[test]
    fn degraded_cameras_with_one_reason_say_it_and_count_as_recorded_where_their_video_is_kept() {
        let mut all = status(&[CameraState::Degraded; 3], vec![]);
        for camera in &mut all.cameras {
            (camera.reason, camera.stages) = (Some("recorded without detection: m".to_owned()), vec![Stage::Detection]);
        }
        assert_eq!(said(&all).1, "All 3 cameras degraded: recorded without detection: m; events stay on this box");
        assert_eq!(all.summary().recording, 0, "clips of events alone are kept, and nothing finds events");
        all.cameras[0].record = RecordUse::Continuous;
        assert_eq!(all.summary().recording, 1);
        all.cameras[0].stages = vec![Stage::Recording];
        assert_eq!(all.summary().recording, 0);
        let broken = |reason: &str| ModelHealth {
            state: ModelState::Broken,
            reason: Some(reason.to_owned()),
            ..ModelHealth::default()
        };
        all.models.insert("m".to_owned(), broken("m"));
        all.models.insert("light".to_owned(), broken("x.onnx is missing"));
        let text = said(&all).1;
        assert!(
            text.ends_with("; model light cannot be used: x.onnx is missing"),
            "the other one is said there: {text}"
        );
    }

    #[test]
    fn what_the_volume_does_not_take_is_not_recorded() {
        let mut status = status(&[CameraState::Online; 2], vec![]);
        status.cameras[0].record = RecordUse::Continuous;
        status.disk.keeps_continuous = false;
        assert_eq!(status.summary().recording, 2, "clips are kept of both");
        status.disk.keeps_clips = false;
        assert_eq!(status.summary().text, "Both cameras connected, nothing is recorded, events stay on this box");
    }

    #[test]
    fn each_queue_is_said_to_wait_for_what_it_waits_for() {
        let named = |name: &str, outlet: QueueStatus| QueueStatus { name: name.into(), ..outlet };
        let text = |outlets| said(&status(&[CameraState::Online], outlets)).1;
        let cut = || named("mqtt", outlet(Some(false), 0, None, 0));
        let cloud = || named("upload/cloud", outlet(Some(true), 30, Some(18_000), 0));
        assert_eq!(text(vec![cut(), cloud()]), "The camera is recording; no link to mqtt, 30 items being delivered");
        let away = named("mqtt", outlet(Some(false), 2, Some(7200), 0));
        let sentence = "The camera is recording; 2 items waiting for the link for 2 h, 30 items being delivered";
        assert_eq!(text(vec![away, cloud()]), sentence);
        let paused = QueueStatus { paused: true, ..named("upload/cloud", outlet(Some(true), 0, None, 0)) };
        assert_eq!(text(vec![cut(), paused]), "The camera is recording; no link to mqtt, upload/cloud is paused");
        let health = TransferHealth { held: Some("outside of its windows".to_owned()), ..TransferHealth::default() };
        let transfers = Some(TransferStatus { cause: None, health, left_s: None });
        let held = QueueStatus { transfers, ..cloud() };
        let sentence = "The camera is recording, 30 items waiting, upload/cloud is held back: outside of its windows";
        assert_eq!(text(vec![held]), sentence);
    }

    #[test]
    fn only_what_is_recorded_is_called_recorded() {
        use CameraState::Online;
        let text = |change: &dyn Fn(&mut BoxStatus)| {
            let mut status = status(&[Online; 2], vec![outlet(Some(true), 3, Some(9), 0)]);
            change(&mut status);
            (status.summary().text, status.summary().recording)
        };
        assert_eq!(text(&|_| ()), ("Both cameras recording, 3 items being delivered".to_owned(), 2));
        let off = text(&|status| status.cameras[0].record = RecordUse::Off);
        assert_eq!(off, ("1 of 2 cameras recording, 3 items being delivered".to_owned(), 1));
        let blind = text(&|status| status.cameras.iter_mut().for_each(|camera| camera.detect = DetectUse::Off));
        assert_eq!(blind, ("Both cameras connected, nothing is recorded, 3 items being delivered".to_owned(), 0));
        let continuous = text(&|status| {
            status.cameras.iter_mut().for_each(|camera| {
                (camera.detect, camera.record) = (DetectUse::Off, RecordUse::Continuous);
            });
        });
        assert_eq!(continuous.1, 2, "all is kept, whatever is detected");
        let switched = text(&|status| status.cameras[1].record = RecordUse::SwitchedOff).0;
        assert_eq!(switched, "1 of 2 cameras recording; 3 items being delivered; recording is switched off at c");
        let paused = text(&|status| status.outlets[0].paused = true).0;
        assert_eq!(paused, "Both cameras recording; 3 items waiting, mqtt is paused");
    }

    #[test]
    fn doing_less_is_said_with_the_reason() {
        let mut status = status(&[CameraState::Online], vec![]);
        status.load =
            LoadStatus { level: LoadLevel::HalfRate, level_for_s: 3, reason: "95 °C, limit 90 °C".to_owned() };
        let text = "The camera is recording, events stay on this box; too much to do: 95 °C, limit 90 °C";
        assert_eq!(said(&status), (Level::Attention, text.to_owned()));
    }

    #[test]
    fn a_camera_without_detection_is_a_problem_and_says_why() {
        let mut status = status(&[CameraState::Online; 2], vec![]);
        let broken = ModelHealth {
            state: ModelState::Broken,
            reason: Some("m.onnx is missing".to_owned()),
            ..ModelHealth::default()
        };
        status.models.insert("m".to_owned(), broken);
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
