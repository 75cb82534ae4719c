//! Track, rules, and what they make of it: events.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use anyhow::{Result, anyhow};
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{Span, info_span};

use super::object_path::ObjectPath;
use super::stages::{Analysis, Counts, StagePlan};
use super::{ANALYSIS_QUEUE, Shared, vision};
use crate::clock::Mono;
use crate::detection::Track;
use crate::event::{Beginning, Event, EventId, Phase};
use crate::frame::Frame;
use crate::health::CameraState;
use crate::infer::Detected;
use crate::live::Broadcast;
use crate::load::LoadLevel;
use crate::reception::Reception;
use crate::record::{Change, Look, Recorder};
use crate::rules::Signal;
use crate::supervise::{Context, Hang, MOST_ABANDONED, Spec, ThreadBody};
use crate::zone;

/// Without a look for this long the camera is gone or the detector is late.
const SILENCE: Duration = Duration::from_secs(3);
/// A camera that is connected and silent for this long counts as gone, however long the connection is kept.
const SILENT_CAMERA: Duration = Duration::from_secs(10);
/// Where an object was is forgotten when it was not in view for so long.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(30);
/// An analysis that is silent for this long hangs: it waits only for the recorder.
const HANGS_AFTER: Duration = Duration::from_secs(180);
/// It ends after vision, and may have to wait for a recorder with a slow disk.
const ENDS_WITHIN: Duration = Duration::from_secs(30);
/// What the log says of one that was restarted.
const RESTARTED: &str = "events in progress end here, what is still in view begins new ones";
const TICK: Duration = Duration::from_millis(500);

/// What outlives an analysis thread: the events in progress, and where they are recorded.
pub(super) struct OpenEvents {
    camera: Arc<str>,
    shared: Shared,
    recorder: Arc<Recorder>,
    model: Arc<str>,
    reception: watch::Receiver<Reception>,
    /// How many objects are in view, for the vision.
    in_view: watch::Sender<u32>,
    /// Viewers, who are shown what is followed.
    broadcast: Option<Arc<Broadcast>>,
    /// Events in progress, by the rule engine's key, each with its track.
    open: HashMap<u64, (EventId, u64)>,
    /// Where the objects in view were, by track.
    paths: HashMap<u64, ObjectPath>,
    /// The last look: when it came, and when its picture was taken.
    last: Option<(Mono, Mono)>,
}

/// Where looks go on their way to the analysis of one camera. Never makes the detector wait.
#[derive(Debug, Default)]
pub(super) struct Looks(Mutex<Option<SyncSender<Detected>>>);

impl Looks {
    /// Whether it was taken.
    pub(super) fn offer(&self, detected: Detected) -> bool {
        let queue = self.0.lock();
        queue.as_ref().is_some_and(|queue| queue.try_send(detected).is_ok())
    }

    /// Replaces the reader.
    fn reader(&self) -> Receiver<Detected> {
        let (sender, inbox) = sync_channel(ANALYSIS_QUEUE);
        *self.0.lock() = Some(sender);
        inbox
    }
}

impl OpenEvents {
    /// For one camera, whose pictures `model` looks at. `in_view` is given the number of objects.
    pub(super) fn new(
        camera: &Arc<str>,
        shared: &Shared,
        recorder: Arc<Recorder>,
        model: Arc<str>,
        reception: watch::Receiver<Reception>,
        in_view: watch::Sender<u32>,
    ) -> Self {
        let (camera, shared) = (camera.clone(), shared.clone());
        Self {
            camera,
            shared,
            recorder,
            model,
            reception,
            in_view,
            broadcast: None,
            open: HashMap::new(),
            paths: HashMap::new(),
            last: None,
        }
    }

    /// The same, with viewers.
    pub(super) fn shown_on(self, broadcast: Arc<Broadcast>) -> Self {
        Self { broadcast: Some(broadcast), ..self }
    }
}

/// An analysis that hangs is replaced. It ends with the detector's slots, which vision owns.
pub(super) fn spec(camera: &Arc<str>) -> Spec {
    Spec::of_camera("analysis", camera)
        .thread_name(format!("ana-{camera}"))
        .heartbeat(HANGS_AFTER, Hang::Replace { most: MOST_ABANDONED })
        .consequence(RESTARTED)
        .ends_within(vision::ENDS_WITHIN + ENDS_WITHIN)
}

/// The runs of the analysis of what comes through `looks`. Each has a tracker and rules that begin from nothing; events that
/// the one before had open end with its last look.
///
/// # Errors
/// When zones, lines and rules do not fit together.
pub(super) fn runs(
    plan: &StagePlan,
    events: &OpenEvents,
    looks: &Arc<Looks>,
) -> Result<impl FnMut() -> Option<ThreadBody<OpenEvents>> + Send + 'static> {
    let (camera, shared, plan) = (events.camera.clone(), events.shared.clone(), plan.clone());
    let reception = events.reception.clone();
    plan.follow().map_err(|e| anyhow!("camera {camera}: {e}"))?;
    // The slots own the queue: without them no look will come any more.
    let looks = Arc::downgrade(looks);
    Ok(move || {
        let thread = AnalysisThread {
            camera: camera.clone(),
            shared: shared.clone(),
            analysis: plan.follow().ok()??,
            inbox: looks.upgrade()?.reader(),
            reception: reception.clone(),
            span: info_span!("analysis", camera = %camera),
        };
        let body: ThreadBody<OpenEvents> = Box::new(move |owned| {
            thread.run(&owned);
            Ok(())
        });
        Some(body)
    })
}

/// What runs the last stages on the detections that come.
struct AnalysisThread {
    camera: Arc<str>,
    shared: Shared,
    analysis: Analysis,
    inbox: Receiver<Detected>,
    reception: watch::Receiver<Reception>,
    span: Span,
}

impl AnalysisThread {
    /// Works until the detector's slot is gone or another thread took over.
    fn run(mut self, owned: &Context<OpenEvents>) {
        let span = self.span.clone();
        let _entered = span.enter();
        let mut rate = Rate::default();
        owned.with(OpenEvents::end_unfollowed);
        loop {
            owned.beat();
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
    fn finish(&mut self, owned: &Context<OpenEvents>) -> Option<()> {
        let (_, at) = owned.with(|events| events.last)??;
        if self.reception.borrow().has_finished() {
            self.end_all(owned, at)?;
        }
        Some(())
    }

    /// Nothing was looked at for a while. When the camera is gone, or detection is shed or switched off, so is what was in view, as far as is
    /// knows: it ends with the last look. While the camera is there, the detector is late, and events go on.
    fn silence(&mut self, owned: &Context<OpenEvents>) -> Option<()> {
        let (last, has_open) = owned.with(|events| (events.last, !events.open.is_empty()))?;
        let Some((seen, at)) = last else { return Some(()) };
        let unseen = self.shared.clock.mono().since(seen);
        if unseen < SILENCE {
            return Some(());
        }
        self.shared.health.camera(&self.camera, |c| c.detect_fps = 0.0);
        let is_gone = {
            let reception = self.reception.borrow();
            reception.state != CameraState::Online || (reception.is_silent && unseen >= SILENT_CAMERA)
        };
        let switched_off = !self.shared.control.switches().detects(&self.camera, self.shared.clock.wall());
        let shed = self.shared.pressure.level() >= LoadLevel::MotionOnly;
        let is_blind = is_gone || shed || switched_off;
        if is_blind && (self.analysis.objects() > 0 || has_open) {
            self.end_all(owned, at)?;
        }
        Some(())
    }

    fn end_all(&mut self, owned: &Context<OpenEvents>, at: Mono) -> Option<()> {
        let signals = self.analysis.end_all(at);
        let counts = self.analysis.counts().clone();
        owned.with(|events| events.take(signals, 0, counts, None))
    }

    fn look(&mut self, owned: &Context<OpenEvents>, detected: &Detected, rate: &mut Rate) -> Option<()> {
        let (now, frame) = (self.shared.clock.mono(), &detected.frame);
        owned.with(|events| events.last = Some((now, frame.at)))?;
        self.shared.health.stages(&self.camera, |stages| stages.detection.gives());
        self.analysis.set_picture_size(frame.picture.width(), frame.picture.height());
        let wall = self.shared.clock.moment(frame.at).wall;
        let local = wall.to_zoned(zone::local()).datetime();
        let forced = self.shared.control.switches().forced(&self.camera, self.shared.clock.wall());
        self.analysis.ignore_schedules(forced == Some(true));
        let signals = self.analysis.look(frame.at, local, &detected.detections);
        let (objects, counts, fps) = (self.analysis.objects(), self.analysis.counts().clone(), rate.count(now));
        let tracks = self.analysis.tracks();
        owned.with(|events| {
            if let Some(broadcast) = &events.broadcast {
                broadcast.objects(frame.at, tracks);
            }
            events.follow(frame.at, tracks);
            events.take(signals, objects, counts, Some(frame));
            events.shared.health.camera(&events.camera, |c| c.detect_fps = fps);
        })
    }
}

impl OpenEvents {
    /// Tracker and rules are new: whatever goes on is new to them, and gets events of its own.
    fn end_unfollowed(&mut self) {
        let Some((_, at)) = self.last else { return };
        for (_, (id, track)) in self.open.drain() {
            if let Some(path) = self.paths.get(&track) {
                self.recorder.path(id, path.places());
            }
            self.recorder.end(id, at);
        }
        // The next run begins with the first number again.
        self.paths.clear();
        self.in_view.send_replace(0);
        self.shared.health.camera(&self.camera, |c| {
            c.objects = 0;
            c.counts.values_mut().for_each(|count| *count = 0);
        });
    }

    /// Notes where objects are.
    fn follow(&mut self, at: Mono, tracks: &[Track]) {
        for track in tracks {
            self.paths
                .entry(track.id)
                .and_modify(|path| path.add(at, track.bbox))
                .or_insert_with(|| ObjectPath::new(at, track.bbox));
        }
        let is_open = |track: &u64| self.open.values().any(|(_, of)| of == track);
        self.paths.retain(|track, path| at.since(path.last_at()) < FORGOTTEN_AFTER || is_open(track));
    }

    fn report_path(&self, id: EventId, track: u64) {
        if let Some(path) = self.paths.get(&track) {
            self.recorder.path(id, path.places());
        }
    }

    fn take(&mut self, signals: Vec<Signal>, objects: u32, counts: Counts, frame: Option<&Frame>) {
        self.in_view.send_replace(objects);
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
                self.open.insert(signal.key, (event.id, signal.track));
                self.recorder.begin(event, look);
            }
            Phase::Update => {
                let Some(&(id, track)) = self.open.get(&signal.key) else { return };
                // So that one which the stop interrupts has most of it.
                self.report_path(id, track);
                let look = look.filter(|_| signal.seen);
                let (label, zones) = (signal.label, signal.zones);
                self.recorder.update(
                    id,
                    Change { label, score: signal.score, count: signal.count, labels: signal.labels, zones, look },
                );
            }
            Phase::End => {
                let Some((id, track)) = self.open.remove(&signal.key) else { return };
                self.report_path(id, track);
                self.recorder.end(id, signal.at);
            }
        }
    }

    fn event(&self, signal: &Signal) -> Event {
        Event::begin(Beginning {
            id: self.shared.ids.next(),
            device: self.shared.device.clone(),
            site: self.shared.site.clone(),
            camera: self.camera.clone(),
            rule: signal.rule.clone(),
            kind: signal.kind,
            label: signal.label.clone(),
            score: signal.score,
            count: signal.count,
            labels: signal.labels.clone(),
            track: signal.track,
            zones: signal.zones.clone(),
            model: self.model.clone(),
            start: self.shared.clock.moment(signal.at),
        })
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
