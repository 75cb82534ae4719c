//! From detections to signals: track, rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::DateTime;

use super::{PipelineStage, StageKind};
use crate::clock::Mono;
use crate::config;
use crate::detection::{Detection, Track, TrackState};
use crate::rules::{RuleEngine, Signal};
use crate::track::Tracker;

/// Tracks the objects of the wanted labels.
#[derive(Debug)]
pub struct Followed {
    tracker: Tracker,
    labels: Vec<Arc<str>>,
}

impl PipelineStage for Followed {
    const KIND: StageKind = StageKind::Track;
    /// When the picture was taken, and what is in it.
    type Input<'a> = (Mono, &'a [Detection]);
    type Output = Vec<Track>;

    fn step(&mut self, (at, detections): (Mono, &[Detection])) -> Vec<Track> {
        let wanted = |d: &&Detection| self.labels.is_empty() || self.labels.contains(&d.label);
        let wanted: Vec<Detection> = detections.iter().filter(wanted).cloned().collect();
        self.tracker.update(at, &wanted)
    }
}

/// Applies the rules to tracks.
#[derive(Debug)]
pub struct ByRules(RuleEngine);

/// Tracks at one time.
#[derive(Clone, Copy, Debug)]
pub struct LookAtTracks<'a> {
    /// When the picture was taken.
    pub at: Mono,
    /// The same in local time, for schedules.
    pub local: DateTime,
    /// The objects.
    pub tracks: &'a [Track],
}

impl PipelineStage for ByRules {
    const KIND: StageKind = StageKind::Rules;
    type Input<'a> = LookAtTracks<'a>;
    type Output = Vec<Signal>;

    fn step(&mut self, LookAtTracks { at, local, tracks }: LookAtTracks<'_>) -> Vec<Signal> {
        self.0.evaluate(at, local, tracks)
    }
}

/// Tracker and rules of one camera: pure, shared by live cameras and replay.
#[derive(Debug)]
pub struct Analysis {
    track: Followed,
    rules: ByRules,
    objects: u32,
    counts: Counts,
    tracks: Vec<Track>,
}

/// Confirmed objects by zone (none: anywhere) and label, of every pair that was ever seen.
pub(in crate::pipeline) type Counts = BTreeMap<(Option<Arc<str>>, Arc<str>), u32>;

impl Analysis {
    /// For one camera.
    ///
    /// # Errors
    /// When zones, lines and rules do not fit together.
    pub(super) fn new(config: &config::Camera) -> Result<Self, String> {
        let tracker = Tracker::new(&config.track, config.detect.min_score);
        let labels = config.detect.labels.iter().map(|l| l.as_str().into()).collect();
        Ok(Self {
            track: Followed { tracker, labels },
            rules: ByRules(RuleEngine::new(&config.zones, &config.lines, &config.rules, config.record.max_clip)?),
            objects: 0,
            counts: Counts::new(),
            tracks: Vec::new(),
        })
    }

    /// Sets the size of the camera's pictures, which ratio filters are reckoned with.
    pub fn set_picture_size(&mut self, width: u32, height: u32) {
        self.rules.0.set_picture_size(width, height);
    }

    /// What the detections of a frame taken at `at` lead to. `local` is the local time, for schedules.
    pub fn look(&mut self, at: Mono, local: DateTime, detections: &[Detection]) -> Vec<Signal> {
        let tracks = self.track.step((at, detections));
        self.count(&tracks);
        let signals = self.rules.step(LookAtTracks { at, local, tracks: &tracks });
        self.tracks = tracks;
        signals
    }

    /// What was followed at the last look.
    pub fn tracks(&self) -> &[Track] {
        &self.tracks
    }

    fn count(&mut self, tracks: &[Track]) {
        let alive = |state| matches!(state, TrackState::Confirmed | TrackState::Occluded);
        let present = || tracks.iter().filter(|track| alive(track.state));
        self.objects = present().count() as u32;
        self.counts.values_mut().for_each(|count| *count = 0);
        for track in present() {
            let ground = track.bbox.bottom_centre();
            let zones = self.rules.0.zones().filter(|(_, zone)| zone.holds(&track.label, ground));
            for place in zones.map(|(name, _)| Some(name.clone())).chain([None]) {
                *self.counts.entry((place, track.label.clone())).or_default() += 1;
            }
        }
    }

    /// Confirmed objects in view.
    pub fn objects(&self) -> u32 {
        self.objects
    }

    /// The same by zone and label.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Whether events may start at any time from now on, whatever the schedules of the rules say.
    pub fn ignore_schedules(&mut self, anytime: bool) {
        self.rules.0.ignore_schedules(anytime);
    }

    /// Ends everything that goes on, objects and events.
    pub fn end_all(&mut self, at: Mono) -> Vec<Signal> {
        self.track.tracker.end_all();
        self.objects = 0;
        self.counts.values_mut().for_each(|count| *count = 0);
        self.rules.0.end_all(at)
    }
}
