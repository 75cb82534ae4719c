//! Decode, gate, and hand frames to the detector.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::watch;
use tracing::{Span, info, info_span, warn};

use super::frame_slot::FrameSender;
use super::stages::{PipelineStage, Sampler, StagePlan};
use super::{PacketQueue, Shared};
use crate::clock::Mono;
use crate::decode::Decoder;
use crate::frame::{Frame, LatestFrame, Packet};
use crate::infer::Slot;
use crate::load::LoadLevel;
use crate::metrics;
use crate::supervise::{Context, Hang, MOST_ABANDONED, Spec, ThreadBody};

/// How often a thread without work shows that it lives.
const TICK: Duration = Duration::from_secs(1);
/// A vision thread that is silent for this long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);
/// How long vision may take for what is in its queue when the feed is gone.
pub(super) const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// What the log says of one that was restarted.
const RESTARTED: &str = "detection goes on with the next key frame, recording never stopped";

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

/// Where frames go that a pipeline looks at.
pub(super) struct ToPipeline {
    pub frames: FrameSender,
    /// It takes the place of the detector.
    pub replaces_model: bool,
}

/// What outlives a vision thread: where its frames go.
pub(super) struct Outlets {
    pub slots: Slots,
    /// The pipeline that people drew, where the camera has one.
    pub pipeline: Option<ToPipeline>,
    /// For viewers.
    pub latest: Arc<LatestFrame>,
}

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
    plan: &StagePlan,
    shared: &Shared,
    packets: &Arc<PacketQueue>,
    in_view: &watch::Receiver<u32>,
) -> impl FnMut() -> Option<ThreadBody<Outlets>> + Send + 'static {
    let (camera, plan, shared, in_view) = (camera.clone(), plan.clone(), shared.clone(), in_view.clone());
    // The feeds own the queue: without them there is nothing left to be looked at.
    let packets = Arc::downgrade(packets);
    move || {
        let inbox = packets.upgrade()?.reader();
        let thread = VisionThread::new(&camera, &plan, &shared, inbox, in_view.clone());
        Some(Box::new(move |owned| {
            thread.run(&owned);
            Ok(())
        }))
    }
}

/// What runs the first stages on the packets that come.
struct VisionThread {
    camera: Arc<str>,
    shared: Shared,
    decoder: Decoder,
    /// `None` where pictures are for viewers alone.
    sampler: Option<Sampler>,
    inbox: Receiver<(Mono, Packet)>,
    /// How many objects the analysis follows.
    in_view: watch::Receiver<u32>,
    /// Nothing is decoded until the next key frame, because nothing was for a while.
    blind: bool,
    span: Span,
    /// Pictures do not decode at present; that was logged.
    failing: bool,
}

impl VisionThread {
    fn new(
        camera: &Arc<str>,
        plan: &StagePlan,
        shared: &Shared,
        inbox: Receiver<(Mono, Packet)>,
        in_view: watch::Receiver<u32>,
    ) -> Self {
        Self {
            camera: camera.clone(),
            shared: shared.clone(),
            decoder: plan.decode(),
            sampler: plan.sample(),
            inbox,
            in_view,
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
        match self.decoder.step(packet) {
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
        let Some(sampler) = &mut self.sampler else { return Some(()) };
        let following = *self.in_view.borrow() > 0;
        let level = self.shared.pressure.level();
        let is_wanted = self.shared.control.switches().detects(&self.camera, self.shared.clock.wall());
        sampler.slow_down(level.slowness());
        let Some(sample) = sampler.sample(&frame, following) else { return Some(()) };
        let now = self.shared.clock.mono();
        owned.with(|outlets| {
            let slot = outlets.slots.at(level).filter(|_| is_wanted);
            let pipeline = outlets.pipeline.as_ref().filter(|_| is_wanted && level < LoadLevel::MotionOnly);
            let detects = slot.is_some() || pipeline.is_some_and(|pipeline| pipeline.replaces_model);
            self.shared.health.camera(&self.camera, |c| {
                c.motion = sample.motion;
                match detects {
                    true if sample.look => c.stages.detection.takes(now, true),
                    true => {}
                    false => c.stages.detection.rests(),
                }
            });
            if let (true, Some(pipeline)) = (sample.look, pipeline) {
                pipeline.frames.put(frame.clone());
            }
            if let (true, Some(slot)) = (sample.look, slot) {
                // Without a loaded model there is no detection, and the model's state says so.
                drop(slot.offer(frame));
            }
        })
    }
}
