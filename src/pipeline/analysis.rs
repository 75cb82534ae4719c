//! Track, rules, and what they make of it: events.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use jiff::tz::TimeZone;
use tracing::{Span, info_span};

use super::Shared;
use crate::archive::{Change, Look, Recorder};
use crate::clock::Mono;
use crate::config;
use crate::detection::{Detection, TrackState};
use crate::event::{Event, EventId, EventState, Phase, SCHEMA_VERSION};
use crate::frame::Frame;
use crate::health::CameraState;
use crate::infer::Detected;
use crate::rules::{RuleEngine, Signal};
use crate::supervise::governor::LoadLevel;
use crate::track::Tracker;

/// Without a look for this long the camera is gone or the detector is late.
const SILENCE: Duration = Duration::from_secs(3);
/// An analysis that is silent for this long hangs: it waits for nobody but the recorder.
const HANGS_AFTER: Duration = Duration::from_secs(180);
const TICK: Duration = Duration::from_millis(500);

/// Tracker and rules of one camera: pure, shared by live cameras and replay.
#[derive(Debug)]
pub struct Analysis {
    tracker: Tracker,
    rules: RuleEngine,
    labels: Vec<Arc<str>>,
    objects: u32,
}

impl Analysis {
    /// For one camera.
    ///
    /// # Errors
    /// When zones, lines and rules do not fit together.
    pub fn new(config: &config::Camera) -> Result<Self, String> {
        Ok(Self {
            tracker: Tracker::new(&config.track, config.detect.min_score),
            rules: RuleEngine::new(&config.zones, &config.lines, &config.rules)?,
            labels: config.detect.labels.iter().map(|l| l.as_str().into()).collect(),
            objects: 0,
        })
    }

    /// Tells the size of the camera's pictures, which ratio filters are reckoned with.
    pub fn set_picture_size(&mut self, width: u32, height: u32) {
        self.rules.set_picture_size(width, height);
    }

    /// What the detections of a frame taken at `at` lead to. `local` is the local time, for schedules.
    pub fn look(&mut self, at: Mono, local: jiff::civil::DateTime, detections: &[Detection]) -> Vec<Signal> {
        let wanted = |d: &&Detection| self.labels.is_empty() || self.labels.contains(&d.label);
        let wanted: Vec<Detection> = detections.iter().filter(wanted).cloned().collect();
        let tracks = self.tracker.update(at, &wanted);
        let alive = |state| matches!(state, TrackState::Confirmed | TrackState::Occluded);
        self.objects = tracks.iter().filter(|t| alive(t.state)).count() as u32;
        self.rules.evaluate(at, local, &tracks)
    }

    /// Confirmed objects in view.
    pub fn objects(&self) -> u32 {
        self.objects
    }

    /// Ends everything that goes on, objects and events.
    pub fn end_all(&mut self, at: Mono) -> Vec<Signal> {
        self.tracker.end_all();
        self.objects = 0;
        self.rules.end_all(at)
    }
}

pub(super) struct Stage {
    camera: Arc<str>,
    shared: Shared,
    recorder: Arc<Recorder>,
    analysis: Analysis,
    model: Arc<str>,
    inbox: Receiver<Detected>,
    /// Events in progress, by the rule engine's key.
    open: HashMap<u64, EventId>,
    last: Option<(Mono, Mono)>,
    span: Span,
}

impl Stage {
    pub(super) fn new(
        camera: &Arc<str>,
        config: &config::Camera,
        shared: &Shared,
        recorder: Arc<Recorder>,
        model: Arc<str>,
        inbox: Receiver<Detected>,
    ) -> Result<Self> {
        let analysis = Analysis::new(config).map_err(|e| anyhow!("camera {camera}: {e}"))?;
        Ok(Self {
            camera: camera.clone(),
            shared: shared.clone(),
            recorder,
            analysis,
            model,
            inbox,
            open: HashMap::new(),
            last: None,
            span: info_span!("analysis", camera = %camera),
        })
    }

    /// Works until the detector's slot is gone.
    pub(super) fn run(mut self) {
        let span = self.span.clone();
        let _entered = span.enter();
        let mut rate = Rate::default();
        let heart = self.shared.hearts.register(format!("analysis {}", self.camera), HANGS_AFTER, true);
        loop {
            heart.beat();
            match self.inbox.recv_timeout(TICK) {
                Ok(detected) => {
                    let now = self.shared.clock.mono();
                    self.last = Some((now, detected.frame.at));
                    self.look(&detected.frame, &detected.detections);
                    let fps = rate.count(now);
                    self.shared.health.camera(&self.camera, |c| c.detect_fps = fps);
                }
                Err(RecvTimeoutError::Timeout) => self.silence(),
                Err(RecvTimeoutError::Disconnected) => return self.finish(),
            }
        }
    }

    /// No look will come any more. A file that was played to its end ends what was still in view; when the
    /// daemon stops, events stay open for the recorder to mark them as interrupted.
    fn finish(&mut self) {
        let Some((_, at)) = self.last else { return };
        if self.shared.health.camera(&self.camera, |_| {}).1 == CameraState::Finished {
            self.end_all(at);
        }
    }

    /// Nothing was looked at for a while. When the camera is gone, or detection is shed, so is what was in view, as far as anybody
    /// knows: it ends with the last look. While the camera is there, the detector is late, and events go on.
    fn silence(&mut self) {
        let Some((seen, at)) = self.last else { return };
        if self.shared.clock.mono().since(seen) < SILENCE {
            return;
        }
        let state = self.shared.health.camera(&self.camera, |c| c.detect_fps = 0.0).1;
        let nobody_looks = state != CameraState::Online || self.shared.pressure.level() >= LoadLevel::MotionOnly;
        if nobody_looks && (self.analysis.objects() > 0 || !self.open.is_empty()) {
            self.end_all(at);
        }
    }

    fn end_all(&mut self, at: Mono) {
        for signal in self.analysis.end_all(at) {
            self.signal(signal, None);
        }
        self.shared.health.camera(&self.camera, |c| c.objects = 0);
    }

    fn look(&mut self, frame: &Frame, detections: &[Detection]) {
        let at = frame.at;
        self.analysis.set_picture_size(frame.picture.width(), frame.picture.height());
        let wall = self.shared.clock.moment(at).wall;
        let local = wall.to_zoned(TimeZone::system()).datetime();
        let signals = self.analysis.look(at, local, detections);
        let objects = self.analysis.objects();
        self.shared.health.camera(&self.camera, |c| c.objects = objects);
        for signal in signals {
            self.signal(signal, Some(frame));
        }
    }

    fn signal(&mut self, signal: Signal, frame: Option<&Frame>) {
        let look = frame.map(|frame| Look { frame: frame.clone(), bbox: signal.bbox, score: signal.frame_score });
        match signal.phase {
            Phase::Start => {
                let Some(look) = look else { return };
                let event = self.event(&signal);
                self.open.insert(signal.key, event.id);
                self.recorder.begin(event, look);
            }
            Phase::Update => {
                let Some(&id) = self.open.get(&signal.key) else { return };
                let look = look.filter(|_| signal.seen);
                let (label, zones) = (signal.label, signal.zones);
                self.recorder.update(id, Change { label, score: signal.score, count: signal.count, zones, look });
            }
            Phase::End => {
                let Some(id) = self.open.remove(&signal.key) else { return };
                self.recorder.end(id, signal.at);
            }
        }
    }

    fn event(&self, signal: &Signal) -> Event {
        Event {
            version: SCHEMA_VERSION,
            id: self.shared.ids.next(),
            device: self.shared.device.clone(),
            site: self.shared.site.clone(),
            camera: self.camera.clone(),
            rule: signal.rule.clone(),
            kind: signal.kind,
            state: EventState::Open,
            label: signal.label.clone(),
            score: signal.score,
            count: signal.count,
            track: signal.track,
            zones: signal.zones.clone(),
            start: self.shared.clock.moment(signal.at),
            end: None,
            best: None,
            model: self.model.clone(),
            clip: None,
            pictures: Vec::new(),
            filed: None,
            segments: None,
            evicted: Vec::new(),
            media_skipped: None,
            continues: None,
            pinned: false,
        }
    }
}

/// Looks a second, smoothed.
#[derive(Debug, Default)]
struct Rate {
    last: Option<Mono>,
    period_s: f32,
}

impl Rate {
    fn count(&mut self, now: Mono) -> f32 {
        let Some(last) = self.last.replace(now) else { return 0.0 };
        let period = now.since(last).as_secs_f32();
        self.period_s = if self.period_s == 0.0 { period } else { self.period_s * 0.8 + period * 0.2 };
        1.0 / self.period_s.max(0.001)
    }
}
