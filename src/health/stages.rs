//! Whether what goes into a camera's stages comes out of them: the one rule behind "degraded".
//!
//! The stages note what they take, what they give and why they fail. A camera is degraded while it is connected and gives
//! no picture for longer than its pace explains, or while packets come, but nothing is decoded, looked at or recorded of
//! them. A stage that was switched off, is outside of its schedule or is
//! left out for lack of time says that it rests, and is not judged.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use crate::clock::Mono;

/// A stage that gives nothing for this long does not work, if key frames went in.
const SETTLES_WITHIN: Duration = Duration::from_secs(20);
/// The detector is shared by all cameras and may be slow.
const LOOKS_WITHIN: Duration = Duration::from_secs(60);
/// So long a camera may take from one key frame to the next, unless it was seen to take longer.
const KEY_FRAME_WITHIN: Duration = Duration::from_secs(90);
/// From fewer pictures nothing can be said.
const FEWEST: u32 = 3;

/// A stage of a camera that is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The connection to packets.
    Reception,
    /// Packets to pictures.
    Decoding,
    /// Pictures to detections.
    Detection,
    /// Packets to files.
    Recording,
}

impl Stage {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Reception, Self::Decoding, Self::Detection, Self::Recording];

    /// The name used in topics and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reception => "reception",
            Self::Decoding => "decoding",
            Self::Detection => "detection",
            Self::Recording => "recording",
        }
    }
}

/// Why a camera that is connected is not of full use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// The stages that give nothing, in the order of the data flow.
    pub stages: Vec<Stage>,
    /// Why, in words for the operator.
    pub reason: String,
    /// Since when, on the boot clock.
    pub since: Mono,
}

/// What went into a stage since something came out of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Waiting {
    since: Mono,
    inputs: u32,
    keys: u32,
}

/// One stage's balance of what it takes and gives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Flow {
    waiting: Option<Waiting>,
    failure: Option<String>,
    last_key: Option<Mono>,
    longest_key_gap: Duration,
}

impl Flow {
    /// The stage is to work on something; `key`: it can begin with that.
    pub fn takes(&mut self, now: Mono, key: bool) {
        let waiting = self.waiting.get_or_insert(Waiting { since: now, inputs: 0, keys: 0 });
        waiting.inputs = waiting.inputs.saturating_add(1);
        if key {
            waiting.keys = waiting.keys.saturating_add(1);
            if let Some(before) = self.last_key.replace(now) {
                self.longest_key_gap = self.longest_key_gap.max(now.since(before));
            }
        }
    }

    /// Something came out of it.
    pub fn gives(&mut self) {
        (self.waiting, self.failure) = (None, None);
    }

    /// Why nothing came out of it just now.
    pub fn fails(&mut self, reason: String) {
        self.failure = Some(reason);
    }

    /// Nothing is to come out of it at present.
    pub fn rests(&mut self) {
        (self.waiting, self.failure, self.last_key) = (None, None, None);
    }

    /// Since when nothing comes out although enough went in, within `patience`.
    fn stuck(&self, now: Mono, patience: Duration) -> Option<Mono> {
        let waiting = self.waiting.as_ref().filter(|waiting| waiting.inputs >= FEWEST)?;
        let patience = match waiting.keys {
            // One key frame may be damaged, and the next one may be far away.
            0 | 1 => patience.max(KEY_FRAME_WITHIN).max(self.longest_key_gap * 2),
            _ => patience,
        };
        (now.since(waiting.since) >= patience).then_some(waiting.since)
    }

    fn has_key(&self) -> bool {
        self.waiting.as_ref().is_none_or(|waiting| waiting.keys > 0)
    }
}

/// The stages of one camera, as they note it themselves.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stages {
    /// Since when no pictures come although the camera is connected and its pace does not explain it, and why.
    pub silence: Option<(Mono, String)>,
    /// Packets to pictures.
    pub decoding: Flow,
    /// Pictures to detections.
    pub detection: Flow,
    /// Packets to files.
    pub recording: Flow,
    /// Since when the substream that detection needs is lost, and why.
    pub substream: Option<(Mono, String)>,
    /// Since when there is nothing that could detect, and why.
    pub no_detector: Option<(Mono, String)>,
}

impl Stages {
    /// The camera is gone, or back: what comes later is judged afresh.
    pub fn rest(&mut self) {
        self.silence = None;
        self.decoding.rests();
        self.detection.rests();
        self.recording.rests();
    }

    /// The rule. `detection_wanted`: not switched off, not outside of its schedule, not left out under load.
    /// `volume_works`: otherwise it is the volume's trouble, and said there, that nothing is recorded.
    pub fn judge(&self, now: Mono, detection_wanted: bool, volume_works: bool) -> Option<Trouble> {
        let mut found = Findings::default();
        if let Some((since, reason)) = &self.silence {
            // Nothing goes into the others.
            found.add(Stage::Reception, *since, reason);
            return found.trouble();
        }
        let undecoded = self.decoding.stuck(now, SETTLES_WITHIN);
        let unrecorded = self.recording.stuck(now, SETTLES_WITHIN).filter(|_| volume_works);
        let keyless = |flow: &Flow, since: Option<Mono>| since.filter(|_| !flow.has_key());
        match (keyless(&self.decoding, undecoded), keyless(&self.recording, unrecorded)) {
            (Some(since), Some(_)) => {
                found.add(Stage::Decoding, since, "packets come, but no key frame: nothing can be decoded or recorded");
                found.stages.push(Stage::Recording);
            }
            (no_picture, no_file) => {
                if let Some(since) = undecoded {
                    found.add(Stage::Decoding, since, &self.why_undecoded(no_picture.is_some()));
                }
                if let Some(since) = unrecorded {
                    found.add(Stage::Recording, since, &self.why_unrecorded(no_file.is_some()));
                }
            }
        }
        // Without pictures there is nothing to be looked at, and that was said.
        if detection_wanted && undecoded.is_none() {
            self.judge_detection(now, &mut found);
        }
        found.trouble()
    }

    fn judge_detection(&self, now: Mono, found: &mut Findings) {
        let lost = self.substream.as_ref().filter(|(since, _)| now.since(*since) >= SETTLES_WITHIN);
        if let Some((since, reason)) = &self.no_detector {
            found.add(Stage::Detection, *since, &format!("recorded without detection: {reason}"));
        } else if let Some((since, reason)) = lost {
            found.add(Stage::Detection, *since, &format!("nothing is detected without the substream: {reason}"));
        } else if let Some(since) = self.detection.stuck(now, LOOKS_WITHIN) {
            let why =
                "pictures come, but the detector has looked at none of them; the log says whether it fails or hangs";
            found.add(Stage::Detection, since, why);
        }
    }

    fn why_undecoded(&self, keyless: bool) -> String {
        match &self.decoding.failure {
            _ if keyless => "packets come, but no key frame: nothing can be decoded".to_owned(),
            Some(failure) => format!("packets come, but nothing can be decoded: {failure}"),
            None => "packets come, but the decoder makes no picture of them".to_owned(),
        }
    }

    fn why_unrecorded(&self, keyless: bool) -> String {
        match &self.recording.failure {
            _ if keyless => "packets come, but no key frame: nothing can be recorded".to_owned(),
            Some(failure) => format!("nothing can be recorded: {failure}"),
            None => "nothing can be recorded: its key frames lack the parameters that a file needs".to_owned(),
        }
    }
}

#[derive(Default)]
struct Findings {
    stages: Vec<Stage>,
    since: Option<Mono>,
    reason: String,
}

impl Findings {
    fn add(&mut self, stage: Stage, since: Mono, reason: &str) {
        self.stages.push(stage);
        self.since = Some(self.since.map_or(since, |earlier| earlier.min(since)));
        let joint = if self.reason.is_empty() { "" } else { "; " };
        // Writing to a string does not fail.
        let _ = write!(self.reason, "{joint}{reason}");
    }

    fn trouble(mut self) -> Option<Trouble> {
        self.stages.sort_unstable();
        Some(Trouble { stages: self.stages, reason: self.reason, since: self.since? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn at(second: u64) -> Mono {
        Mono(second * SECOND)
    }

    /// Packets of the seconds `seconds`, a key frame every `gop` of them, into decoder and recorder.
    fn packets(stages: &mut Stages, seconds: impl IntoIterator<Item = u64>, gop: u64) {
        for second in seconds {
            let key = second % gop == 0;
            stages.decoding.takes(at(second), key);
            stages.recording.takes(at(second), key);
        }
    }

    fn judged(stages: &Stages, second: u64) -> Option<(Vec<Stage>, String, Mono)> {
        stages.judge(at(second), true, true).map(|trouble| (trouble.stages, trouble.reason, trouble.since))
    }

    #[test]
    fn packets_that_do_not_decode_are_reported_after_a_while_with_the_decoders_reason() {
        let mut stages = Stages::default();
        packets(&mut stages, 100..119, 2);
        stages.recording.gives();
        stages.decoding.fails("no decoder for av9".to_owned());
        assert_eq!(judged(&stages, 119), None, "it may yet come");
        packets(&mut stages, 119..125, 2);
        stages.recording.gives();
        let reason = "packets come, but nothing can be decoded: no decoder for av9".to_owned();
        assert_eq!(judged(&stages, 125), Some((vec![Stage::Decoding], reason, at(100))));
        stages.decoding.gives();
        assert_eq!(judged(&stages, 125), None);
        packets(&mut stages, 125..130, 2);
        assert_eq!(judged(&stages, 130), None, "it is judged from the last picture on");
    }

    #[test]
    fn slow_cameras_and_long_groups_of_pictures_are_not_taken_for_broken_ones() {
        // A group of pictures of 32 s that is joined in its middle.
        let mut stages = Stages::default();
        packets(&mut stages, 1..32, 32);
        assert_eq!(judged(&stages, 31), None);
        packets(&mut stages, [32], 32);
        stages.decoding.gives();
        stages.recording.gives();
        // Its next key frame is damaged.
        packets(&mut stages, 33..96, 32);
        stages.recording.gives();
        assert_eq!(judged(&stages, 95), None);
        // One picture every 30 s, each decoded.
        let mut slow = Stages::default();
        for turn in 1..10 {
            packets(&mut slow, [turn * 30], 1);
            assert_eq!(judged(&slow, turn * 30 + 29), None);
            slow.decoding.gives();
            slow.recording.gives();
        }
        // Two minutes from key frame to key frame, as was seen before: the one in between does not decode.
        let mut rare = Stages::default();
        packets(&mut rare, 0..=120, 120);
        rare.decoding.gives();
        rare.recording.gives();
        packets(&mut rare, 121..=250, 120);
        rare.recording.gives();
        assert_eq!(judged(&rare, 250), None);
    }

    #[test]
    fn a_stream_without_key_frames_is_reported_once_for_decoder_and_recorder() {
        let mut stages = Stages::default();
        packets(&mut stages, 1..200, 1000);
        let (stages, reason, since) = judged(&stages, 200).expect("degraded");
        assert_eq!((stages, since), (vec![Stage::Decoding, Stage::Recording], at(1)));
        assert_eq!(reason, "packets come, but no key frame: nothing can be decoded or recorded");
    }

    #[test]
    fn a_recorder_that_fails_is_reported_unless_its_volume_is_the_reason() {
        let mut stages = Stages::default();
        packets(&mut stages, 0..30, 2);
        stages.decoding.gives();
        stages.recording.fails("encode clip: no decoder for av9".to_owned());
        let (troubled, reason, _) = judged(&stages, 30).expect("degraded");
        assert_eq!(troubled, [Stage::Recording]);
        assert_eq!(reason, "nothing can be recorded: encode clip: no decoder for av9");
        assert_eq!(stages.judge(at(30), true, false), None, "the volume's trouble is said elsewhere");
        stages.recording.rests();
        assert_eq!(judged(&stages, 60), None, "switched off");
    }

    #[test]
    fn detection_is_judged_only_while_it_is_wanted() {
        let mut stages = Stages::default();
        for second in 0..10 {
            stages.detection.takes(at(second * 10), true);
        }
        assert_eq!(judged(&stages, 59), None, "the detector may be slow");
        assert_eq!(judged(&stages, 100).map(|(troubled, ..)| troubled), Some(vec![Stage::Detection]));
        assert_eq!(stages.judge(at(100), false, true), None, "switched off, or shed");
        stages.detection.gives();
        assert_eq!(judged(&stages, 100), None);
        stages.no_detector = Some((at(7), "the model yolox.onnx is damaged".to_owned()));
        let (troubled, reason, since) = judged(&stages, 100).expect("degraded");
        assert_eq!((troubled, since), (vec![Stage::Detection], at(7)));
        assert_eq!(reason, "recorded without detection: the model yolox.onnx is damaged");
        assert_eq!(stages.judge(at(100), false, true), None);
    }

    #[test]
    fn a_silent_camera_is_reported_as_such_and_its_stages_are_judged_afresh_afterwards() {
        let mut stages = Stages::default();
        packets(&mut stages, 100..110, 2);
        stages.silence = Some((at(109), "no pictures for more than 5 s".to_owned()));
        let expected = Some((vec![Stage::Reception], "no pictures for more than 5 s".to_owned(), at(109)));
        assert_eq!(judged(&stages, 150), expected);
        stages.rest();
        packets(&mut stages, 150..155, 2);
        assert_eq!(judged(&stages, 155), None);
    }

    #[test]
    fn a_lost_substream_means_that_nothing_is_detected() {
        let mut stages = Stages { substream: Some((at(10), "it does not answer".to_owned())), ..Stages::default() };
        stages.recording.gives();
        assert_eq!(judged(&stages, 20), None);
        let (troubled, reason, _) = judged(&stages, 30).expect("degraded");
        assert_eq!(troubled, [Stage::Detection]);
        assert_eq!(reason, "nothing is detected without the substream: it does not answer");
    }
}
