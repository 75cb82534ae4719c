//! Track, rules, and what they make of it: events.

use std::collections::{BTreeMap, HashMap};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Result, anyhow};
use tracing::{Span, info_span};

use super::{ANALYSIS_QUEUE, Shared};
use crate::clock::Mono;
use crate::config;
use crate::detection::{Detection, TrackState};
use crate::event::{Event, EventId, EventState, Phase, SCHEMA_VERSION};
use crate::frame::Frame;
use crate::health::CameraState;
use crate::infer::Detected;
use crate::record::{Change, Look, Recorder};
use crate::rules::{RuleEngine, Signal};
use crate::supervise::Heartbeat;
use crate::supervise::governor::LoadLevel;
use crate::supervise::replaceable::{OwnedState, ReplaceableThread, ThreadBody};
use crate::track::Tracker;
use crate::zone;

/// Without a look for this long the camera is gone or the detector is late.
const SILENCE: Duration = Duration::from_secs(3);
/// A camera that is connected and silent for this long counts as gone, however long the connection is kept.
const SILENT_CAMERA: Duration = Duration::from_secs(10);
/// An analysis that is silent for this long hangs: it waits only for the recorder.
pub(super) const HANGS_AFTER: Duration = Duration::from_secs(180);
const TICK: Duration = Duration::from_millis(500);

/// Tracker and rules of one camera: pure, shared by live cameras and replay.
#[derive(Debug)]
pub struct Analysis {
    tracker: Tracker,
    rules: RuleEngine,
    labels: Vec<Arc<str>>,
    objects: u32,
    counts: Counts,
}

/// Confirmed objects by zone (none: anywhere) and label, of every pair that was ever seen.
type Counts = BTreeMap<(Option<Arc<str>>, Arc<str>), u32>;

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
            counts: Counts::new(),
        })
    }

    /// Sets the size of the camera's pictures, which ratio filters are reckoned with.
    pub fn set_picture_size(&mut self, width: u32, height: u32) {
        self.rules.set_picture_size(width, height);
    }

    /// What the detections of a frame taken at `at` lead to. `local` is the local time, for schedules.
    pub fn look(&mut self, at: Mono, local: jiff::civil::DateTime, detections: &[Detection]) -> Vec<Signal> {
        let wanted = |d: &&Detection| self.labels.is_empty() || self.labels.contains(&d.label);
        let wanted: Vec<Detection> = detections.iter().filter(wanted).cloned().collect();
        let tracks = self.tracker.update(at, &wanted);
        let alive = |state| matches!(state, TrackState::Confirmed | TrackState::Occluded);
        let present = || tracks.iter().filter(|track| alive(track.state));
        self.objects = present().count() as u32;
        self.counts.values_mut().for_each(|count| *count = 0);
        for track in present() {
            let ground = track.bbox.bottom_centre();
            let zones = self.rules.zones().filter(|(_, zone)| zone.holds(&track.label, ground));
            for place in zones.map(|(name, _)| Some(name.clone())).chain([None]) {
                *self.counts.entry((place, track.label.clone())).or_default() += 1;
            }
        }
        self.rules.evaluate(at, local, &tracks)
    }

    /// Confirmed objects in view.
    pub fn objects(&self) -> u32 {
        self.objects
    }

    /// The same by zone and label.
    pub fn counts(&self) -> &BTreeMap<(Option<Arc<str>>, Arc<str>), u32> {
        &self.counts
    }

    /// Whether events may start at any time from now on, whatever the schedules of the rules say.
    pub fn ignore_schedules(&mut self, anytime: bool) {
        self.rules.ignore_schedules(anytime);
    }

    /// Ends everything that goes on, objects and events.
    pub fn end_all(&mut self, at: Mono) -> Vec<Signal> {
        self.tracker.end_all();
        self.objects = 0;
        self.counts.values_mut().for_each(|count| *count = 0);
        self.rules.end_all(at)
    }
}

/// What outlives an analysis thread: the events in progress, and where they are recorded.
pub(super) struct OpenEvents {
    camera: Arc<str>,
    shared: Shared,
    recorder: Arc<Recorder>,
    model: Arc<str>,
    /// Events in progress, by the rule engine's key.
    open: HashMap<u64, EventId>,
    /// The last look: when it came, and when its picture was taken.
    last: Option<(Mono, Mono)>,
}

/// Called before each look is analysed. Hangs, in tests.
pub(super) type BeforeLook = Arc<dyn Fn() + Send + Sync>;

/// Where looks go on their way to the analysis of one camera. Never makes the detector wait.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<Option<SyncSender<Detected>>>);

impl Looks {
    /// Whether it was taken.
    pub(super) fn offer(&self, detected: Detected) -> bool {
        let queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        queue.as_ref().is_some_and(|queue| queue.try_send(detected).is_ok())
    }

    /// Replaces the reader.
    fn reader(&self) -> Receiver<Detected> {
        let (sender, inbox) = sync_channel(ANALYSIS_QUEUE);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sender);
        inbox
    }
}

impl OpenEvents {
    /// For one camera, whose pictures `model` looks at.
    pub(super) fn new(camera: &Arc<str>, shared: &Shared, recorder: Arc<Recorder>, model: Arc<str>) -> Self {
        let (camera, shared) = (camera.clone(), shared.clone());
        Self { camera, shared, recorder, model, open: HashMap::new(), last: None }
    }
}

/// Starts the analysis of what comes through `looks`. One that shows no life for `patience` is restarted,
/// with tracker and rules that begin from nothing; the events that the old one had open end with its last look.
///
/// # Errors
/// When zones, lines and rules do not fit together, or the thread cannot be started.
pub(super) fn start(
    config: &config::Camera,
    events: OpenEvents,
    looks: &Arc<Looks>,
    patience: Duration,
    before_look: BeforeLook,
) -> Result<ReplaceableThread<OpenEvents>> {
    let (camera, shared) = (events.camera.clone(), events.shared.clone());
    let (name, heartbeats, config) = (camera.clone(), shared.heartbeats.clone(), config.clone());
    Analysis::new(&config).map_err(|e| anyhow!("camera {camera}: {e}"))?;
    // The slots own the queue: without them no look will come any more.
    let looks = Arc::downgrade(looks);
    let next = move || {
        let stage = Stage {
            camera: name.clone(),
            shared: shared.clone(),
            analysis: Analysis::new(&config).ok()?,
            inbox: looks.upgrade()?.reader(),
            before_look: before_look.clone(),
            span: info_span!("analysis", camera = %name),
        };
        let body: ThreadBody<OpenEvents> = Box::new(move |owned, heartbeat| stage.run(owned, heartbeat));
        Some(body)
    };
    ReplaceableThread::start(format!("analysis {camera}"), format!("ana-{camera}"), patience, &heartbeats, events, next)
}

struct Stage {
    camera: Arc<str>,
    shared: Shared,
    analysis: Analysis,
    inbox: Receiver<Detected>,
    before_look: BeforeLook,
    span: Span,
}

impl Stage {
    /// Works until the detector's slot is gone or another thread took over.
    fn run(mut self, owned: &OwnedState<OpenEvents>, heartbeat: &Heartbeat) {
        let span = self.span.clone();
        let _entered = span.enter();
        let mut rate = Rate::default();
        owned.with(OpenEvents::end_unfollowed);
        loop {
            heartbeat.beat();
            let going_on = match self.inbox.recv_timeout(TICK) {
                Ok(detected) => self.look(owned, &detected, &mut rate),
                Err(RecvTimeoutError::Timeout) => self.silence(owned),
                Err(RecvTimeoutError::Disconnected) => {
                    self.finish(owned);
                    return;
                }
            };
            if going_on.is_none() {
                return;
            }
        }
    }

    /// No look will come any more. A file that was played to its end ends what was still in view; when the
    /// daemon stops, events stay open for the recorder to mark them as interrupted.
    fn finish(&mut self, owned: &OwnedState<OpenEvents>) -> Option<()> {
        let (_, at) = owned.with(|events| events.last)??;
        if self.shared.health.camera(&self.camera, |_| {}).1 == CameraState::Finished {
            self.end_all(owned, at)?;
        }
        Some(())
    }

    /// Nothing was looked at for a while. When the camera is gone, or detection is shed or switched off, so is what was in view, as far as is
    /// knows: it ends with the last look. While the camera is there, the detector is late, and events go on.
    fn silence(&mut self, owned: &OwnedState<OpenEvents>) -> Option<()> {
        let (last, has_open) = owned.with(|events| (events.last, !events.open.is_empty()))?;
        let Some((seen, at)) = last else { return Some(()) };
        let unseen = self.shared.clock.mono().since(seen);
        if unseen < SILENCE {
            return Some(());
        }
        let mut is_gone = false;
        self.shared.health.camera(&self.camera, |c| {
            c.detect_fps = 0.0;
            is_gone = c.state != CameraState::Online || (!c.gives_pictures() && unseen >= SILENT_CAMERA);
        });
        let switched_off = !self.shared.control.switches().detects(&self.camera, self.shared.clock.wall());
        let shed = self.shared.pressure.level() >= LoadLevel::MotionOnly;
        let is_blind = is_gone || shed || switched_off;
        if is_blind && (self.analysis.objects() > 0 || has_open) {
            self.end_all(owned, at)?;
        }
        Some(())
    }

    fn end_all(&mut self, owned: &OwnedState<OpenEvents>, at: Mono) -> Option<()> {
        let signals = self.analysis.end_all(at);
        let counts = self.analysis.counts().clone();
        owned.with(|events| events.take(signals, 0, counts, None))
    }

    fn look(&mut self, owned: &OwnedState<OpenEvents>, detected: &Detected, rate: &mut Rate) -> Option<()> {
        let (now, frame) = (self.shared.clock.mono(), &detected.frame);
        owned.with(|events| events.last = Some((now, frame.at)))?;
        self.shared.health.stages(&self.camera, |stages| stages.detection.gives());
        (self.before_look)();
        self.analysis.set_picture_size(frame.picture.width(), frame.picture.height());
        let wall = self.shared.clock.moment(frame.at).wall;
        let local = wall.to_zoned(zone::local()).datetime();
        let forced = self.shared.control.switches().forced(&self.camera, self.shared.clock.wall());
        self.analysis.ignore_schedules(forced == Some(true));
        let signals = self.analysis.look(frame.at, local, &detected.detections);
        let (objects, counts, fps) = (self.analysis.objects(), self.analysis.counts().clone(), rate.count(now));
        owned.with(|events| {
            events.take(signals, objects, counts, Some(frame));
            events.shared.health.camera(&events.camera, |c| c.detect_fps = fps);
        })
    }
}

impl OpenEvents {
    /// Tracker and rules are new: whatever goes on is new to them, and gets events of its own.
    fn end_unfollowed(&mut self) {
        let Some((_, at)) = self.last else { return };
        for (_, id) in self.open.drain() {
            self.recorder.end(id, at);
        }
        self.shared.health.camera(&self.camera, |c| {
            c.objects = 0;
            c.counts.values_mut().for_each(|count| *count = 0);
        });
    }

    fn take(&mut self, signals: Vec<Signal>, objects: u32, counts: Counts, frame: Option<&Frame>) {
        self.shared.health.camera(&self.camera, |c| (c.objects, c.counts) = (objects, counts));
        for signal in signals {
            self.signal(signal, frame);
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
            more_clips: Vec::new(),
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
