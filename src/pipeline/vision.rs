//! Decode, gate, and hand frames to the detector.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{Span, debug, info, info_span, warn};

use super::{PacketQueue, Shared};
use crate::clock::Mono;
use crate::config;
use crate::decode::Decoder;
use crate::frame::{Frame, LatestFrame, Packet};
use crate::gate::Gate;
use crate::infer::Slot;
use crate::load::LoadLevel;
use crate::metrics;
use crate::supervise::{Context, Hang, MOST_ABANDONED, Spec, ThreadBody};

/// An idle camera is looked at this often all the same: something may stand there without moving.
const IDLE_LOOK: Duration = Duration::from_secs(10);
/// And this often while objects are in view that do not move: they may have gone unnoticed. Less than the
/// time for which the tracker believes in what it does not see.
const STILL_LOOK: Duration = Duration::from_secs(1);
/// How often a thread without work shows that it lives.
const TICK: Duration = Duration::from_secs(1);
/// A vision thread that is silent for this long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);
/// How long vision may take for what is in its queue when the feed is gone.
pub(super) const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// What the log says of one that was restarted.
const RESTARTED: &str = "detection goes on with the next key frame, recording never stopped";

/// Decides which frames the detector is offered. Shared by live cameras and replay, so both see the same.
#[derive(Debug)]
pub struct Sampler {
    gate: Gate,
    gated: bool,
    usual_period: Duration,
    period: Duration,
    due: Option<Mono>,
    last_look: Option<Mono>,
}

impl Sampler {
    /// A sampler for one camera.
    pub fn new(config: &config::Camera) -> Self {
        let period = Duration::from_secs_f32(1.0 / config.detect.fps.max(0.01));
        Self {
            gate: Gate::new(&config.motion),
            gated: config.motion.enabled,
            usual_period: period,
            period,
            due: None,
            last_look: None,
        }
    }

    /// Samples so many times more slowly from now on.
    pub fn slow_down(&mut self, times: u32) {
        self.period = self.usual_period * times;
    }

    /// Whether the frame is worth a look, and whether pixels move. `following`: objects are being tracked.
    /// `None`: it is not yet time for the next frame.
    pub fn sample(&mut self, frame: &Frame, following: bool) -> Option<Sample> {
        let due = *self.due.get_or_insert(frame.at);
        if frame.at < due {
            return None;
        }
        // Keep the beat; after a gap start a new one instead of catching up.
        self.due = Some(if frame.at.since(due) > self.period { frame.at + self.period } else { due + self.period });
        let (mut admitted, mut motion) = (true, false);
        if self.gated {
            let (width, height) = Gate::plane_size(frame.picture.width(), frame.picture.height());
            match frame.picture.luma(width, height) {
                Ok(plane) => {
                    let verdict = self.gate.admit(frame.at, &plane);
                    (admitted, motion) = (verdict.is_admitted(), !verdict.regions.is_empty());
                }
                Err(failure) => debug!(error = %failure, "no grey plane, letting the frame through"),
            }
        }
        let longest = if following { STILL_LOOK } else { IDLE_LOOK };
        let look = admitted || self.last_look.is_none_or(|last| frame.at.since(last) >= longest);
        if look {
            self.last_look = Some(frame.at);
        }
        Some(Sample { look, motion })
    }
}

/// What the sampler says of a frame whose time has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Offer it to the detector.
    pub look: bool,
    /// Pixels move.
    pub motion: bool,
}

/// Where frames are offered; none where detection is off.
pub(super) struct Slots {
    pub usual: Option<Slot>,
    pub light: Option<Slot>,
}

impl Slots {
    pub(super) fn at(&self, level: LoadLevel) -> Option<&Slot> {
        match level {
            LoadLevel::Normal | LoadLevel::HalfRate | LoadLevel::QuarterRate => self.usual.as_ref(),
            // A light model that cannot be used must not end the looks.
            LoadLevel::LightModel => self.light.as_ref().filter(|slot| slot.is_ready()).or(self.usual.as_ref()),
            LoadLevel::MotionOnly | LoadLevel::RecordOnly | LoadLevel::RecordLess => None,
        }
    }
}

/// What outlives a vision thread: where its frames go.
pub(super) struct Outlets {
    pub slots: Slots,
    /// For viewers.
    pub latest: Arc<LatestFrame>,
}

/// Called before each packet is decoded. Hangs, in tests.
pub(super) type BeforeDecode = Arc<dyn Fn() + Send + Sync>;

/// A vision that hangs is replaced. It ends with its feeds.
pub(super) fn spec(camera: &Arc<str>) -> Spec {
    Spec::of_camera("vision", camera)
        .thread_name(format!("vis-{camera}"))
        .heartbeat(HANGS_AFTER, Hang::Replace { most: MOST_ABANDONED })
        .consequence(RESTARTED)
        .ends_within(ENDS_WITHIN)
}

/// The runs of a camera's vision, which decodes what comes through `packets`. Each has a decoder, a gate, and an end of the
/// queue of its own.
pub(super) fn runs(
    camera: &Arc<str>,
    config: &config::Camera,
    shared: &Shared,
    packets: &Arc<PacketQueue>,
    in_view: &watch::Receiver<u32>,
    before_decode: BeforeDecode,
) -> impl FnMut() -> Option<ThreadBody<Outlets>> + Send + 'static {
    let (camera, config, shared, in_view) = (camera.clone(), config.clone(), shared.clone(), in_view.clone());
    // The feeds own the queue: without them there is nothing left to be looked at.
    let packets = Arc::downgrade(packets);
    move || {
        let inbox = packets.upgrade()?.reader();
        let stage = Stage::new(&camera, &config, &shared, inbox, in_view.clone(), before_decode.clone());
        Some(Box::new(move |owned| {
            stage.run(&owned);
            Ok(())
        }))
    }
}

struct Stage {
    camera: Arc<str>,
    shared: Shared,
    decoder: Decoder,
    sampler: Sampler,
    inbox: Receiver<(Mono, Packet)>,
    /// How many objects the analysis follows.
    in_view: watch::Receiver<u32>,
    before_decode: BeforeDecode,
    /// Nothing is decoded until the next key frame, because nothing was for a while.
    blind: bool,
    span: Span,
    /// Pictures do not decode at present; that was logged.
    failing: bool,
}

impl Stage {
    fn new(
        camera: &Arc<str>,
        config: &config::Camera,
        shared: &Shared,
        inbox: Receiver<(Mono, Packet)>,
        in_view: watch::Receiver<u32>,
        before_decode: BeforeDecode,
    ) -> Self {
        Self {
            camera: camera.clone(),
            shared: shared.clone(),
            decoder: Decoder::new(config.decode.clone()),
            sampler: Sampler::new(config),
            inbox,
            in_view,
            before_decode,
            blind: false,
            span: info_span!("vision", camera = %camera),
            failing: false,
        }
    }

    /// Works until the feed is gone or another thread took over.
    fn run(mut self, owned: &Context<Outlets>) {
        let span = self.span.clone();
        let _entered = span.enter();
        loop {
            owned.beat();
            match self.inbox.recv_timeout(TICK) {
                Ok((queued, packet)) => {
                    if !owned.is_current() {
                        return;
                    }
                    self.shared.pressure.decoder.note(self.shared.clock.mono().since(queued));
                    if self.packet(owned, &packet).is_none() {
                        info!("a vision thread that was given up woke up and ends");
                        return;
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return self.finish(owned),
            }
        }
    }

    /// No packet will come any more: what the decoder held back is shown too.
    fn finish(&mut self, owned: &Context<Outlets>) {
        let label = metrics::camera(&self.camera);
        for frame in self.decoder.flush() {
            self.shared.metrics.frames_decoded.get_or_create(&label).inc();
            if self.frame(owned, frame).is_none() {
                return;
            }
        }
    }

    /// `None` when another thread took over meanwhile.
    fn packet(&mut self, owned: &Context<Outlets>, packet: &Packet) -> Option<()> {
        if self.shared.pressure.level() >= LoadLevel::RecordOnly {
            self.blind = true;
            self.shared.health.stages(&self.camera, |stages| stages.decoding.rests());
            return Some(());
        }
        if self.blind && !packet.key_frame {
            return Some(());
        }
        self.blind = false;
        let label = metrics::camera(&self.camera);
        (self.before_decode)();
        match self.decoder.decode(packet) {
            Ok(frames) => {
                if !frames.is_empty() {
                    self.failing = false;
                    self.shared.health.stages(&self.camera, |stages| stages.decoding.gives());
                }
                self.shared.metrics.frames_decoded.get_or_create(&label).inc_by(frames.len() as u64);
                for frame in frames {
                    self.frame(owned, frame)?;
                }
            }
            Err(failure) => {
                self.shared.metrics.decode_errors.get_or_create(&label).inc();
                self.shared.health.stages(&self.camera, |stages| stages.decoding.fails(failure.to_string()));
                if !std::mem::replace(&mut self.failing, true) {
                    warn!(error = %failure, "pictures do not decode, waiting for the next key frame");
                }
            }
        }
        Some(())
    }

    fn frame(&mut self, owned: &Context<Outlets>, frame: Frame) -> Option<()> {
        owned.with(|outlets| outlets.latest.set(frame.clone()))?;
        let following = *self.in_view.borrow() > 0;
        let level = self.shared.pressure.level();
        let is_wanted = self.shared.control.switches().detects(&self.camera, self.shared.clock.wall());
        self.sampler.slow_down(level.slowness());
        let Some(sample) = self.sampler.sample(&frame, following) else { return Some(()) };
        let now = self.shared.clock.mono();
        owned.with(|outlets| {
            let slot = outlets.slots.at(level).filter(|_| is_wanted);
            self.shared.health.camera(&self.camera, |c| {
                c.motion = sample.motion;
                match slot {
                    Some(_) if sample.look => c.stages.detection.takes(now, true),
                    Some(_) => {}
                    None => c.stages.detection.rests(),
                }
            });
            if let (true, Some(slot)) = (sample.look, slot) {
                // Without a loaded model there is no detection, and the model's state says so.
                drop(slot.offer(frame));
            }
        })
    }
}
