//! From the source to the readers of packets. Never waits for any of them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use tokio::sync::watch;
use tracing::{info, warn};

use super::Shared;
use super::judge::Judge;
use super::received::Received;
use crate::clock::{Clock, Mono};
use crate::config;
use crate::frame::{AudioOffer, Packet};
use crate::health::{CameraState, Stages};
use crate::live::Broadcast;
use crate::metrics::{self, Metrics};
use crate::reception::Reception;
use crate::record::{RecordMode, Recorder};
use crate::source::{self, Client, Next, Patience, Role, Source, SourceError, Watched};
use crate::supervise::Failure;
use crate::webrtc;

/// The frame rate shown is measured over this time.
const FPS_WINDOW: Duration = Duration::from_secs(2);

/// A bounded queue of packets that drops to the next key frame when it is full, so that a decoder never
/// sees a hole in the middle of a GOP.
#[derive(Debug)]
pub struct PacketQueue {
    camera: Arc<str>,
    reason: &'static str,
    capacity: usize,
    queue: Mutex<Option<SyncSender<(Mono, Packet)>>>,
    dropping: AtomicBool,
    metrics: Metrics,
    clock: Arc<dyn Clock>,
}

impl PacketQueue {
    /// Holds `capacity` packets. Drops are counted under `reason`.
    pub fn new(
        camera: Arc<str>,
        reason: &'static str,
        capacity: usize,
        metrics: Metrics,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { camera, reason, capacity, queue: Mutex::default(), dropping: AtomicBool::new(false), metrics, clock }
    }

    /// Sets the reader; each packet comes with the time at which it was queued. A reader that was there before
    /// gets no more packets, and the new one begins with a key frame then.
    pub fn reader(&self) -> Receiver<(Mono, Packet)> {
        let (sender, inbox) = sync_channel(self.capacity);
        if self.queue.lock().replace(sender).is_some() {
            self.dropping.store(true, Ordering::Relaxed);
        }
        inbox
    }

    /// Hands the packet on, or drops it. Never waits.
    pub fn offer(&self, packet: &Packet) {
        let queue = self.queue.lock();
        let Some(queue) = &*queue else { return };
        if self.dropping.load(Ordering::Relaxed) && !packet.key_frame {
            self.count();
            return;
        }
        match queue.try_send((self.clock.mono(), packet.clone())) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => self.dropping.store(false, Ordering::Relaxed),
            Err(TrySendError::Full(_)) => {
                self.dropping.store(true, Ordering::Relaxed);
                self.count();
            }
        }
    }

    fn count(&self) {
        self.metrics.dropped.get_or_create(&metrics::dropped(&self.camera, self.reason)).inc();
    }
}

/// One stream of one camera.
pub(super) struct Feed {
    camera: Arc<str>,
    config: source::Config,
    role: Role,
    shared: Shared,
    recorder: Option<Arc<Recorder>>,
    /// Viewers of this stream.
    broadcast: Option<Arc<Broadcast>>,
    /// Decodes this stream, unless there is a substream for that.
    vision: Option<Arc<PacketQueue>>,
    /// Where the stages are notified of the connection. A substream has none: without it there is no detection, but
    /// recording goes on.
    reception: watch::Sender<Reception>,
    /// Since when the substream gives no pictures.
    substream_lost: Mutex<Option<Mono>>,
    runs: AtomicU32,
    judge: Judge,
    /// What was learned of the camera's pace; held by the run in progress.
    patience: tokio::sync::Mutex<Patience>,
}

impl Feed {
    pub(super) fn new(
        camera: &Arc<str>,
        config: &config::Camera,
        role: Role,
        shared: &Shared,
        recorder: Option<Arc<Recorder>>,
        vision: Arc<PacketQueue>,
        reception: watch::Sender<Reception>,
    ) -> Self {
        let takes_audio = role == Role::Main && config.record.audio && config.record.mode != RecordMode::Off;
        let decodes = role == Role::Sub || config.source.substream.is_none();
        Self {
            camera: camera.clone(),
            config: source::Config { takes_audio, ..config.source.clone() },
            role,
            shared: shared.clone(),
            recorder,
            broadcast: None,
            vision: decodes.then_some(vision),
            reception,
            substream_lost: Mutex::default(),
            runs: AtomicU32::new(0),
            judge: Judge::new(camera, shared, config.detect.enabled),
            patience: tokio::sync::Mutex::new(Patience::new(&config.source)),
        }
    }

    /// The same, with viewers.
    pub(super) fn shown_on(self, broadcast: Arc<Broadcast>) -> Self {
        Self { broadcast: Some(broadcast), ..self }
    }

    /// Connects and distributes packets until the source fails or ends.
    ///
    /// # Errors
    /// Why the camera has to be connected again.
    pub(super) async fn run_once(&self) -> Result<()> {
        if self.runs.fetch_add(1, Ordering::Relaxed) > 0 {
            self.shared.metrics.reconnects.get_or_create(&metrics::camera(&self.camera)).inc();
            self.shared.health.camera(&self.camera, |c| c.reconnects += 1);
        }
        let mut patience = self.patience.lock().await;
        if self.config.is_published() {
            self.follow_publishers(&mut patience).await;
        }
        match self.stream(&mut patience).await {
            end @ SourceError::Ended => {
                self.set_state(CameraState::Finished, Some(end.to_string()));
                Ok(())
            }
            failure => {
                let reason = failure.to_string();
                let is_logged = self.set_state(CameraState::Offline, Some(reason.clone()));
                Err(Failure { reason, is_logged, had_worked: patience.hung() }.into())
            }
        }
    }

    /// One publisher after the other, for ever. That there is none is no fault.
    async fn follow_publishers(&self, patience: &mut Patience) -> ! {
        let mut reason = source::AWAY.to_owned();
        loop {
            self.set_state(CameraState::Idle, Some(reason));
            let source = self.shared.publishers.source(&self.camera).await;
            reason = format!("{}; the last one ended: {}", source::AWAY, self.read(source, patience).await.reason());
        }
    }

    async fn stream(&self, patience: &mut Patience) -> SourceError {
        match patience.connect(webrtc::connect, &self.config, self.role, self.shared.clock.clone()).await {
            Ok(source) => self.read(source, patience).await,
            Err(failure) => failure,
        }
    }

    /// Distributes what a source gives until it fails or ends.
    async fn read(&self, source: Box<dyn Source>, patience: &mut Patience) -> SourceError {
        let clock = self.shared.clock.clone();
        let mut source = Watched::new(source, patience, self.config.display_url_of(self.role), clock);
        let (mut window, mut has_picture) = (Window::default(), false);
        let mut received = Received::new(&self.shared, &self.camera);
        loop {
            match source.next().await {
                Ok(Next::Packet(packet)) => {
                    if !std::mem::replace(&mut has_picture, true) {
                        self.note_client(source.client());
                        self.note_audio(source.audio().as_ref());
                    }
                    window.longest_pause = source.longest_pause();
                    received.note(source.traffic());
                    self.distribute(&packet, &mut window);
                }
                Ok(Next::Waiting(words)) if has_picture => self.note_silence(words, &mut window),
                Ok(Next::Waiting(words)) => self.note_wait(words),
                Err(failure) => return failure,
            }
        }
    }

    pub(super) fn distribute(&self, packet: &Packet, window: &mut Window) {
        if std::mem::take(&mut window.is_silent) {
            self.note_end_of_silence();
        }
        let (metrics, label) = (&self.shared.metrics, metrics::camera(&self.camera));
        metrics.packets.get_or_create(&label).inc();
        metrics.packet_bytes.get_or_create(&label).inc_by(packet.data.len() as u64);
        if packet.loss > 0 {
            metrics.packets_lost.get_or_create(&label).inc_by(u64::from(packet.loss));
        }
        if let Some(recorder) = &self.recorder {
            recorder.packet(packet);
        }
        // Sound is for recordings alone.
        let silent = packet.audio.is_some().then(|| Packet { audio: None, ..packet.clone() });
        let packet = silent.as_ref().unwrap_or(packet);
        if let Some(broadcast) = &self.broadcast {
            broadcast.packet(packet);
        }
        if let Some(vision) = &self.vision {
            let now = self.shared.clock.mono();
            self.substream_lost.lock().take();
            self.shared.health.stages(&self.camera, |stages| {
                stages.substream = None;
                stages.decoding.takes(now, packet.key_frame);
            });
            vision.offer(packet);
        }
        if self.role == Role::Main {
            self.note(packet, window);
        }
    }

    /// The camera is connected, and has given no picture yet.
    fn note_wait(&self, words: String) {
        info!(camera = %self.camera, stream = ?self.role, wait = words, "no picture yet");
        if self.role == Role::Main {
            self.shared.health.camera(&self.camera, |c| c.waiting = Some(words));
        }
    }

    /// The camera is connected and gave pictures, but its pace does not explain why there has been none for a while.
    pub(super) fn note_silence(&self, words: String, window: &mut Window) {
        if self.role == Role::Sub {
            self.note_substream(words);
            return;
        }
        *window = Window { is_silent: true, longest_pause: window.longest_pause, ..Window::default() };
        let now = self.shared.clock.mono();
        self.reception.send_modify(|reception| reception.is_silent = true);
        self.shared.health.camera(&self.camera, |c| {
            (c.fps, c.motion) = (0.0, false);
            c.stages.silence = Some((c.last_packet.unwrap_or(now), words));
        });
        self.count_as_online(Some(false));
        self.judge.look();
    }

    fn note_end_of_silence(&self) {
        self.reception.send_modify(|reception| reception.is_silent = false);
        self.shared.health.stages(&self.camera, Stages::rest);
        self.count_as_online(Some(true));
        self.judge.look();
    }

    /// The stream that detection needs gives no pictures, since now or since before. Gives whether that is new.
    fn note_substream(&self, reason: String) -> bool {
        let now = self.shared.clock.mono();
        let mut lost = self.substream_lost.lock();
        let is_new = lost.is_none();
        let since = *lost.get_or_insert(now);
        self.shared.health.stages(&self.camera, |stages| {
            stages.decoding.rests();
            stages.substream = Some((since, reason));
        });
        is_new
    }

    /// A camera that is over, like a file that was played to its end, has no such metric: it is not missed.
    fn count_as_online(&self, is_online: Option<bool>) {
        let (gauges, label) = (&self.shared.metrics.camera_online, metrics::camera(&self.camera));
        match is_online {
            Some(is_online) => {
                gauges.get_or_create(&label).set(i64::from(is_online));
            }
            None => {
                gauges.remove(&label);
            }
        }
    }

    fn note(&self, packet: &Packet, window: &mut Window) {
        let now = self.shared.clock.mono();
        let fps = window.count(now);
        self.set_state(CameraState::Online, None);
        let pause = window.longest_pause;
        self.reception.send_if_modified(|reception| std::mem::replace(&mut reception.usual_pause, pause) != pause);
        self.shared.health.camera(&self.camera, |c| {
            (c.last_packet, c.usual_pause) = (Some(now), window.longest_pause);
            c.fps = fps.unwrap_or(c.fps);
            let stream = &packet.stream;
            (c.width, c.height) = stream.upright_size();
            if c.codec != stream.codec.to_string() {
                c.codec = stream.codec.to_string();
            }
        });
    }

    /// Which library reads the recorded stream.
    fn note_client(&self, client: Option<Client>) {
        if self.role == Role::Main {
            self.shared.health.camera(&self.camera, |c| {
                c.client = client.as_ref().map(|client| client.name);
                (c.client_reason, c.transport) =
                    client.map(|client| (client.reason, client.transport)).unwrap_or_default();
            });
        }
    }

    /// What of the camera's sound is recorded.
    fn note_audio(&self, offer: Option<&AudioOffer>) {
        if self.role != Role::Main || !self.config.takes_audio {
            return;
        }
        let note = offer.and_then(AudioOffer::note);
        let audio = match offer {
            Some(AudioOffer::Recorded(codec)) => Some(codec.to_string()),
            _ => None,
        };
        let mut is_new = false;
        self.shared.health.camera(&self.camera, |c| {
            is_new = c.audio_note != note;
            (c.audio, c.audio_note) = (audio, note.clone());
        });
        if let Some(note) = note.filter(|_| is_new) {
            info!(camera = %self.camera, note, "no sound is recorded");
        }
    }

    /// Gives whether the log has a line of it with the reason.
    fn set_state(&self, state: CameraState, reason: Option<String>) -> bool {
        // The substream has no state of its own: without it there is no detection, but recording goes on.
        if self.role == Role::Sub {
            let Some(reason) = reason else { return false };
            let is_new = self.note_substream(reason.clone());
            if is_new {
                warn!(camera = %self.camera, reason, "substream lost");
            }
            return is_new;
        }
        let now = self.shared.clock.mono();
        let mut is_new = false;
        self.reception.send_if_modified(|reception| {
            let is_silent = reception.is_silent && state == CameraState::Online;
            let next = Reception { state, reason: reason.clone(), is_silent, ..reception.clone() };
            is_new = reception.state != state;
            std::mem::replace(reception, next.clone()) != next
        });
        self.shared.health.camera(&self.camera, |c| {
            if c.state != state {
                (c.state, c.since) = (state, now);
            }
            (c.waiting, c.reason) = (None, reason.clone());
            if state != CameraState::Online {
                (c.fps, c.motion, c.trouble) = (0.0, false, None);
                c.stages.rest();
            }
        });
        if !is_new {
            return false;
        }
        let is_at_rest = matches!(state, CameraState::Finished | CameraState::Idle);
        self.count_as_online((!is_at_rest).then_some(state == CameraState::Online));
        match reason {
            Some(reason) if state == CameraState::Offline => {
                warn!(camera = %self.camera, reason, "camera offline")
            }
            _ => info!(camera = %self.camera, state = state.as_str(), "camera"),
        }
        true
    }
}

/// Counts packets over a sliding window.
#[derive(Debug, Default)]
pub(super) struct Window {
    start: Option<Mono>,
    packets: u32,
    /// What is usual between two packets of the camera at most.
    longest_pause: Duration,
    /// It was said that none come although the camera is connected.
    is_silent: bool,
}

impl Window {
    /// Packets a second, once every window.
    fn count(&mut self, now: Mono) -> Option<f32> {
        let start = *self.start.get_or_insert(now);
        self.packets += 1;
        let span = now.since(start);
        if span < FPS_WINDOW {
            return None;
        }
        let fps = (self.packets.saturating_sub(1)) as f32 / span.as_secs_f32();
        (self.start, self.packets) = (Some(now), 1);
        Some(fps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;
    use crate::frame::{Codec, Orientation, StreamInfo};
    use bytes::Bytes;

    #[test]
    fn a_full_queue_drops_up_to_the_next_key_frame() {
        let metrics = Metrics::new();
        let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
        let queue = PacketQueue::new("yard".into(), "decode_queue", 2, metrics.clone(), clock);
        let inbox = queue.reader();
        let stream = Arc::new(StreamInfo {
            codec: Codec::H264,
            width: 4,
            height: 4,
            extradata: Bytes::new(),
            fps: None,
            orientation: Orientation::default(),
        });
        let offer = |ms: u64, key_frame| {
            queue.offer(&Packet::new(stream.clone(), Mono(ms), key_frame, Bytes::new()));
        };
        offer(0, true);
        offer(1, false);
        offer(2, false); // full
        assert_eq!(inbox.recv().expect("first").1.at, Mono(0));
        offer(3, false); // there is room, but it would follow a hole
        offer(4, true);
        assert_eq!(inbox.recv().expect("second").1.at, Mono(1));
        assert_eq!(inbox.recv().expect("third").1.at, Mono(4));
        let dropped = metrics.dropped.get_or_create(&metrics::dropped("yard", "decode_queue")).get();
        assert_eq!(dropped, 2);

        let next = queue.reader();
        assert!(inbox.recv().is_err(), "the reader before gets no more");
        offer(5, false); // what it refers to went to another reader
        offer(6, true);
        assert_eq!(next.recv().expect("for the new reader").1.at, Mono(6));
    }

    #[test]
    fn pages_know_why_a_camera_without_a_publisher_is_away() {
        let code = |reason: &str| crate::status::Cause::of(reason).map(|cause| cause.code);
        assert_eq!(code(source::AWAY), Some("no_publisher"));
        let ended = format!("{}; the last one ended: it was ended there", source::AWAY);
        let cause = crate::status::Cause::of(&ended).expect("known");
        assert_eq!((cause.code, cause.because.map(|of| of.code)), ("publisher_ended", Some("ended_there")));
    }

    #[test]
    fn the_frame_rate_is_that_of_the_window() {
        let mut window = Window::default();
        let rates: Vec<f32> = (0..60u64).filter_map(|i| window.count(Mono(i * 100_000_000))).collect();
        assert_eq!(rates.len(), 2);
        assert!(rates.iter().all(|fps| (fps - 10.0).abs() < 0.01), "{rates:?}");
    }
}
