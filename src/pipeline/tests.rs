//! Threads that hang and are restarted while the camera goes on.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::broadcast::Receiver;

use super::door::{Asked, Door, DoorClock};
use super::feed::{Feed, Window};
use super::*;
use crate::archive::{ArchiveDeps, Layout};
use crate::clock::{Mono, SimulatedClock};
use crate::control::Control;
use crate::destination::destination;
use crate::detection::{BBox, Detection};
use crate::event::{Event, Phase};
use crate::frame::{Codec, Frame, Packet, Rgb, StreamInfo};
use crate::health::{CameraState, Stage};
use crate::infer::Detected;
use crate::load::LoadLevel;
use crate::metrics;
use crate::mux;
use crate::reception::Reception;
use crate::record::RecordMode;
use crate::source;
use crate::store::{self, Store};
use crate::supervise::{Hang, MOST_ABANDONED};
use crate::waiting::{PATIENCE, block_until};

/// A thread hangs when it is silent for this long on the test's clock. Less than the recorder takes for a gap.
const SILENT: Duration = Duration::from_secs(1);
const START: Mono = Mono(70_000_000_000);

/// What the cameras of a box share, whose storage is `path`.
pub(crate) fn a_box(path: &Path) -> (Shared, Archive, Arc<SimulatedClock>) {
    let clock = Arc::new(SimulatedClock::new(START, jiff::Timestamp::UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
    let config = store::Config { path: path.to_owned(), deadline: PATIENCE, ..store::Config::default() };
    let store = Store::open(&config, &[destination("mqtt")], clock.clone()).expect("open the store");
    let (metrics, host) = (Metrics::new(), ArchiveDeps::new("box", clock.clone()));
    let (ids, heartbeats, pressure) = (host.ids.clone(), host.heartbeats.clone(), host.pressure.clone());
    let health = host.health.clone();
    let kept = crate::archive::Config::default();
    let archive = Archive::new(Layout::new(path), store, clock.clone(), metrics.clone(), kept, host);
    let shared = Shared {
        publishers: Default::default(),
        clock: clock.clone(),
        metrics,
        health,
        heartbeats,
        ids,
        pressure,
        control: Control::default(),
        state: path.into(),
        device: "box".into(),
        site: "".into(),
    };
    (shared, archive, clock)
}

/// Every packet of a clip of the test data.
fn packets(name: &str, clock: &Arc<SimulatedClock>) -> Vec<Packet> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name);
    let url = format!("replay:{}", path.display());
    let config = source::Config { url, pace: source::Pace::Fast, ..source::Config::default() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut source = source::connect(&config, Role::Main, clock.clone()).await.expect("connect");
        let mut packets = Vec::new();
        while let Ok(packet) = source.next().await {
            packets.push(packet);
        }
        packets
    })
}

/// The threads of a camera, supervised on a runtime of their own.
struct Stages {
    runtime: tokio::runtime::Runtime,
    running: Running,
}

impl Stages {
    fn start<T: Send + 'static>(
        shared: &Shared,
        spec: Spec,
        state: T,
        runs: impl FnMut() -> Option<crate::supervise::ThreadBody<T>> + Send + 'static,
    ) -> Self {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).enable_time().build().expect("a runtime");
        let _entered = runtime.enter();
        let mut supervisor = Supervisor::new(CancellationToken::new(), &shared.heartbeats, &shared.metrics);
        supervisor.thread(spec.heartbeat(SILENT, Hang::Replace { most: MOST_ABANDONED }), state, runs);
        let running = supervisor.start(PATIENCE);
        Self { running, runtime }
    }

    fn stop(self) {
        self.runtime.block_on(self.running.stop()).expect("stopped");
    }
}

fn restarts(shared: &Shared, part: &str) -> u64 {
    shared.metrics.part_restarts.get_or_create(&metrics::part(part)).get()
}

#[test]
fn a_vision_that_hangs_is_restarted_and_not_a_packet_is_lost_to_the_recording() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (shared, archive, clock) = a_box(dir.path());
    // Time goes by for the heartbeats alone: a recorder that lags behind the test would take it for a silent camera.
    let time = Arc::new(SimulatedClock::new(START, jiff::Timestamp::UNIX_EPOCH));
    let shared = Shared { heartbeats: Heartbeats::new(time.clone()), ..shared };
    let camera: Arc<str> = "yard".into();
    let mut config = config::Camera::default();
    config.record.mode = RecordMode::Continuous;
    let (latest, door) = (Arc::<LatestFrame>::default(), Arc::<Door>::default());
    let recorder = Arc::new(
        Recorder::start(archive.clone(), camera.clone(), config.record.clone(), Reception::unknown())
            .expect("recorder"),
    );
    let queue =
        Arc::new(PacketQueue::new(camera.clone(), "decode_queue", VISION_QUEUE, shared.metrics.clone(), clock.clone()));
    let slots = Slots { usual: None, light: None };
    let outlets = Outlets { slots, pipeline: None, latest: latest.clone() };
    let watched = Arc::new(DoorClock { clock: clock.clone(), door: door.clone(), at: ("vis-yard", Asked::Mono) });
    let runs = vision::runs(
        &camera,
        &StagePlan::from_config(&config),
        &Shared { clock: watched.clone(), ..shared.clone() },
        &queue,
        &watch::channel(0).1,
    );
    let stages = Stages::start(&shared, vision::spec(&camera), outlets, runs);
    // Each run holds one, the supervisor one, and this test one.
    let runs = || Arc::strong_count(&watched).saturating_sub(2);
    let feed = Feed::new(
        &camera,
        &config,
        Role::Main,
        &shared,
        Some(recorder.clone()),
        queue.clone(),
        watch::Sender::default(),
    );
    drop(queue);

    let newest = || latest.get(clock.mono(), Duration::MAX).map(|frame| frame.at);
    let (mut window, mut replaced_at) = (Window::default(), None);
    let packets = packets("people.mp4", &clock);
    for (i, packet) in packets.iter().enumerate() {
        if i == 45 {
            door.shut();
        }
        feed.distribute(packet, &mut window);
        let hangs = i >= 45 && replaced_at.is_none();
        if hangs {
            block_until("it hangs", || door.has_guest());
            time.advance(Duration::from_millis(100));
            if i == 56 {
                block_until("it is restarted", || restarts(&shared, "vision yard") == 1);
                replaced_at = Some(i);
            }
            assert_eq!(restarts(&shared, "vision yard"), u64::from(i == 56), "it is given its time");
        }
        // The new one begins with a key frame.
        let sees = !hangs && replaced_at.is_none_or(|at| packets[at + 1..=i].iter().any(|packet| packet.key_frame));
        if sees {
            block_until("the picture", || newest() == Some(packet.at));
        }
    }
    assert_eq!(newest(), packets.last().map(|packet| packet.at), "the new one sees the last picture");
    assert_eq!((restarts(&shared, "vision yard"), runs()), (1, 2));

    let decoded = || shared.metrics.frames_decoded.get_or_create(&metrics::camera("yard")).get();
    let before = decoded();
    door.open();
    block_until("the old one ends", || runs() == 1);
    assert!(decoded() <= before + 1, "what else was in its queue is left alone");
    assert_eq!(newest(), packets.last().map(|packet| packet.at), "an old picture is not shown over a new one");

    drop(feed);
    block_until("it ends with its feed", || Arc::strong_count(&watched) == 1);
    stages.stop();
    let recorder = Arc::into_inner(recorder).expect("the last reference");
    recorder.stop();
    let files = std::fs::read_dir(dir.path().join("recordings/yard")).expect("recordings");
    let clips =
        files.map(|file| file.expect("a file").path()).filter(|path| path.extension().is_some_and(|e| e == "mp4"));
    let recorded: u64 = clips.map(|clip| mux::repair(&clip).expect("read").expect("a clip").frames).sum();
    assert_eq!(recorded, packets.len() as u64);
}

/// Works with: cameras | a camera whose stream nothing here can decode or encode | is shown as degraded with the reason, not as online
#[test]
fn a_camera_whose_packets_come_to_no_use_is_degraded_until_they_do() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (shared, archive, clock) = a_box(dir.path());
    let camera: Arc<str> = "yard".into();
    let mut config = config::Camera::default();
    config.record.mode = RecordMode::Continuous;
    let recorder = Arc::new(
        Recorder::start(archive, camera.clone(), config.record.clone(), Reception::unknown()).expect("recorder"),
    );
    let queue =
        Arc::new(PacketQueue::new(camera.clone(), "decode_queue", VISION_QUEUE, shared.metrics.clone(), clock.clone()));
    let latest = Arc::<LatestFrame>::default();
    let slots = Slots { usual: None, light: None };
    let outlets = Outlets { slots, pipeline: None, latest: latest.clone() };
    let watched = Arc::new(DoorClock { clock: clock.clone(), door: Arc::default(), at: ("", Asked::Mono) });
    let runs = vision::runs(
        &camera,
        &StagePlan::from_config(&config),
        &Shared { clock: watched.clone(), ..shared.clone() },
        &queue,
        &watch::channel(0).1,
    );
    // Time goes by for the camera alone.
    let time = Arc::new(SimulatedClock::new(START, jiff::Timestamp::UNIX_EPOCH));
    let supervised = Shared { heartbeats: Heartbeats::new(time), ..shared.clone() };
    let stages = Stages::start(&supervised, vision::spec(&camera), outlets, runs);
    let feed = Feed::new(
        &camera,
        &config,
        Role::Main,
        &shared,
        Some(recorder.clone()),
        queue.clone(),
        watch::Sender::default(),
    );
    drop(queue);
    let judge = Judge::new(&camera, &shared, true);
    let health = || shared.health.cameras()[&camera].clone();
    let degraded = |stage: &str| shared.metrics.camera_degraded.get_or_create(&metrics::stage("yard", stage)).get();

    let good = packets("people.mp4", &clock);
    let unknown = StreamInfo { codec: Codec::Other("smoke-signals".into()), ..(*good[0].stream).clone() };
    let unknown = Arc::new(unknown);
    let mut window = Window::default();
    for _ in 0..30 {
        feed.distribute(&Packet { stream: unknown.clone(), at: clock.mono(), ..good[0].clone() }, &mut window);
        judge.look();
        let so_far = clock.mono().since(START);
        let expected = if so_far < Duration::from_secs(20) { CameraState::Online } else { CameraState::Degraded };
        assert_eq!(health().shown().state, expected, "after {so_far:?}");
        clock.advance(Duration::from_secs(1));
    }
    block_until("both stages say why", || {
        judge.look();
        let reason = health().trouble.map(|trouble| trouble.reason).unwrap_or_default();
        reason.matches("no decoder for smoke-signals").count() == 2
    });
    let trouble = health().trouble.expect("degraded");
    assert_eq!((trouble.stages, trouble.since), (vec![Stage::Decoding, Stage::Recording], START));
    assert_eq!((degraded("decoding"), degraded("recording"), degraded("detection")), (1, 1, 0));

    for packet in &good[..20] {
        feed.distribute(&Packet { at: clock.mono(), ..packet.clone() }, &mut window);
        clock.advance(Duration::from_millis(100));
    }
    block_until("it works again", || {
        judge.look();
        health().shown().state == CameraState::Online
    });
    assert_eq!((health().trouble, degraded("decoding"), degraded("recording")), (None, 0, 0));
    drop(feed);
    block_until("it ends with its feed", || Arc::strong_count(&watched) == 1);
    stages.stop();
    Arc::into_inner(recorder).expect("the last reference").stop();
}

#[test]
fn a_silent_camera_is_degraded_with_the_words_until_its_next_picture() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (shared, _archive, clock) = a_box(dir.path());
    let (camera, config): (Arc<str>, _) = ("yard".into(), config::Camera::default());
    let queue = Arc::new(PacketQueue::new(camera.clone(), "decode_queue", 1, shared.metrics.clone(), clock.clone()));
    let feed = |role, received| Feed::new(&camera, &config, role, &shared, None, queue.clone(), received);
    let (received, reception) = watch::channel(Reception::default());
    let (main, sub) = (feed(Role::Main, received), feed(Role::Sub, watch::Sender::default()));
    let known = || {
        let reception = reception.borrow();
        (reception.state, reception.is_silent)
    };
    let health = || shared.health.cameras()[&camera].clone();
    let online = || shared.metrics.camera_online.get_or_create(&metrics::camera("yard")).get();
    let packets = packets("people.mp4", &clock);
    let mut window = Window::default();
    let play = |window: &mut Window| {
        for packet in &packets[..40] {
            main.distribute(packet, window);
            clock.advance(Duration::from_millis(100));
        }
    };
    play(&mut window);
    let last = health().last_packet.expect("a packet");
    assert_eq!((health().shown().state, health().fps > 9.0, online()), (CameraState::Online, true, 1));

    shared.health.camera(&camera, |camera| camera.motion = true);
    clock.advance(Duration::from_secs(30));
    main.note_silence("no pictures for more than 5 s".to_owned(), &mut window);
    let silent = health();
    let shown = silent.shown();
    assert_eq!((shown.state, shown.since), (CameraState::Degraded, last));
    assert_eq!(
        (shown.reason, silent.troubled_stages()),
        (Some("no pictures for more than 5 s"), &[Stage::Reception][..])
    );
    assert_eq!((silent.fps, silent.motion, silent.gives_pictures(), online()), (0.0, false, false, 0));
    assert_eq!(known(), (CameraState::Online, true), "the stages go by the same");

    play(&mut window);
    let back = health();
    assert_eq!((back.shown().state, back.shown().reason, online()), (CameraState::Online, None, 1));
    assert_eq!(known(), (CameraState::Online, false));
    assert!(back.fps > 9.0, "the silence does not count: {}", back.fps);

    // Without pictures of the substream there is no detection, and recording goes on.
    sub.note_silence("no pictures for more than 5 s".to_owned(), &mut Window::default());
    assert_eq!((health().gives_pictures(), health().stages.substream.is_some()), (true, true));
    sub.distribute(&packets[0], &mut Window::default());
    assert_eq!(health().stages.substream, None);
}

/// The next announcement of a phase.
fn announced(updates: &mut Receiver<(Phase, Arc<Event>)>, phase: Phase) -> Arc<Event> {
    let mut found = None;
    block_until(&format!("{phase:?}"), || {
        found = updates.try_recv().ok().filter(|(reported, _)| *reported == phase).map(|(_, event)| event);
        found.is_some()
    });
    found.expect("just seen")
}

#[test]
fn an_analysis_that_hangs_is_restarted_and_its_events_do_not_stay_open() {
    let dir = tempfile::tempdir().expect("tempdir");
    let (shared, archive, clock) = a_box(dir.path());
    // Time goes by for the heartbeats alone, so that only what hangs is late.
    let time = Arc::new(SimulatedClock::new(START, jiff::Timestamp::UNIX_EPOCH));
    let shared = Shared { heartbeats: Heartbeats::new(time.clone()), ..shared };
    let camera: Arc<str> = "yard".into();
    let mut config = config::Camera::default();
    config.record.post_roll = Duration::ZERO;
    let recorder = Arc::new(
        Recorder::start(archive.clone(), camera.clone(), config.record.clone(), Reception::unknown())
            .expect("recorder"),
    );
    let (looks, door) = (Arc::<Looks>::default(), Arc::<Door>::default());
    // The camera's own code looks at the wall clock once for each look.
    let watched = Arc::new(DoorClock { clock: clock.clone(), door: door.clone(), at: ("ana-yard", Asked::Wall) });
    let events = OpenEvents::new(
        &camera,
        &Shared { clock: watched.clone(), ..shared.clone() },
        recorder.clone(),
        "m".into(),
        watch::channel(Reception::default()).1,
        watch::Sender::default(),
    );
    let runs = analysis::runs(&StagePlan::from_config(&config), &events, &looks).expect("analysis");
    let stages = Stages::start(&shared, analysis::spec(&camera), events, runs);
    let mut updates = archive.announcements();
    let person =
        Detection { label: "person".into(), score: 0.9, bbox: BBox { x: 0.4, y: 0.4, w: 0.2, h: 0.4 }, shape: None };
    let look = || {
        clock.advance(Duration::from_millis(100));
        let picture = Arc::new(Rgb { width: 64, height: 36, data: vec![90; 64 * 36 * 3] });
        let frame = Frame { at: clock.mono(), picture };
        let detected = Detected { frame, detections: vec![person.clone()], took: Duration::ZERO };
        block_until("room for a look", || looks.offer(detected.clone()));
        clock.mono()
    };
    for _ in 0..10 {
        look();
    }
    let first = announced(&mut updates, Phase::Start);
    block_until("all looks are through", || door.passed.load(Ordering::SeqCst) == 10);
    door.shut();
    let last = look();
    block_until("it hangs", || door.has_guest());
    time.advance(SILENT * 2);
    block_until("it is restarted", || restarts(&shared, "analysis yard") == 1);
    clock.advance(SILENT * 2);
    // The camera fell silent, so the recorder goes by the clock.
    clock.advance(Duration::from_secs(5));
    let ended = announced(&mut updates, Phase::End);
    assert_eq!(ended.id, first.id);
    assert_eq!(ended.end.as_ref().map(|end| end.mono()), Some(last), "it ends with the last look");

    for _ in 0..10 {
        look();
    }
    let second = announced(&mut updates, Phase::Start);
    assert_ne!(second.id, first.id, "an object that is still there gets an event of its own");
    door.open();
    // One for this test, one for what is open, one for the supervisor, one for the run.
    block_until("the old one ends", || Arc::strong_count(&watched) == 4);
    drop(looks);
    block_until("it ends with its detector", || Arc::strong_count(&watched) == 1);
    stages.stop();
}

#[tokio::test]
async fn a_light_model_that_cannot_be_used_leaves_the_usual_one_at_work() {
    let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::new(START, jiff::Timestamp::UNIX_EPOCH));
    let (config, heartbeats) = (crate::infer::Config::default(), Heartbeats::new(clock.clone()));
    let workers = Scheduler::start(&config, Metrics::new(), clock, &heartbeats);
    let slot = |name: &str| Some(workers.slot(name.into(), Model::named(name), 0.4, |_| ()));
    let slots = Slots { usual: slot("usual"), light: slot("light") };
    let chosen = slots.at(LoadLevel::LightModel).map(|slot| format!("{slot:?}"));
    assert_eq!(chosen.as_deref(), Some("Slot(usual)"));
    drop(slots);
    workers.stop().await;
}

/// Plays a clip to the vision of a camera without slots; whether motion was noticed on the way.
fn notices_motion(motion: bool) -> bool {
    let dir = tempfile::tempdir().expect("tempdir");
    let (shared, _archive, clock) = a_box(dir.path());
    let camera: Arc<str> = "yard".into();
    let mut config = config::Camera::default();
    (config.detect.enabled, config.motion.enabled) = (false, motion);
    let queue =
        Arc::new(PacketQueue::new(camera.clone(), "decode_queue", VISION_QUEUE, shared.metrics.clone(), clock.clone()));
    let latest = Arc::<LatestFrame>::default();
    let slots = Slots { usual: None, light: None };
    let outlets = Outlets { slots, pipeline: None, latest: latest.clone() };
    let plan = StagePlan::from_config(&config);
    let runs = vision::runs(&camera, &plan, &shared, &queue, &watch::channel(0).1);
    let stages = Stages::start(&shared, vision::spec(&camera), outlets, runs);
    let mut noticed = false;
    for packet in packets("people.mp4", &clock) {
        queue.offer(&packet);
        block_until("the live picture", || {
            latest.get(clock.mono(), Duration::MAX).is_some_and(|frame| frame.at == packet.at)
        });
        noticed |= shared.health.cameras()[&camera].motion;
    }
    drop(queue);
    stages.stop();
    noticed
}

#[test]
fn without_detection_a_camera_shows_its_pictures_and_motion_where_that_is_wanted() {
    assert!(notices_motion(true));
    assert!(!notices_motion(false));
}
