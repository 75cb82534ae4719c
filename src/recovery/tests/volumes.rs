//! Recording that moves from volume to volume, and the spool that is taken into the archive.

use std::os::unix::fs::OpenOptionsExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use tempfile::TempDir;

use super::*;
use crate::archive::bench::OUTBOXES;
use crate::archive::{ArchiveDeps, Config};
use crate::clock::{Clock, Mono};
use crate::destination::destination;
use crate::detection::BBox;
use crate::event::{DeliveryState, Phase};
use crate::frame::{Frame, Rgb};
use crate::metrics::Metrics;
use crate::reception::Reception;
use crate::record::{Look, RecordConfig, Recorder};
use crate::store::{Delivery, Lease, Query, Store};
use crate::waiting::block_until;

/// A box with two volumes, `main` and `spool`, on one clock.
struct Bench {
    dir: TempDir,
    clock: Arc<SimulatedClock>,
    main: Archive,
    spool: Archive,
}

impl Bench {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        volume::open(&dir.path().join("main"), None, Path::new("/")).expect("a volume");
        let (main, clock) = archive_and_clock(&dir.path().join("main"));
        let anchor = volume::Anchor::new(&dir.path().join("main")).expect("an identity");
        let layout = Layout::new(&dir.path().join("main")).with_anchor(anchor);
        let main = main.moved_to(layout, main.store.clone(), RecordingLevel::Full);
        let spool = Self::spool_of(&main, &clock, dir.path());
        Self { dir, clock, main, spool }
    }

    fn spool_of(main: &Archive, clock: &Arc<SimulatedClock>, dir: &Path) -> Archive {
        let path = dir.join("spool");
        let config = store::Config { path: path.clone(), deadline: Duration::from_secs(20), ..Default::default() };
        let store = Store::open(&config, &OUTBOXES.map(destination), clock.clone()).expect("open the spool");
        main.moved_to(Layout::new(&path), store, RecordingLevel::NoContinuous)
    }

    fn look(&self) -> Look {
        let picture = Rgb { width: 64, height: 48, data: vec![90; 3 * 64 * 48] };
        let frame = Frame { at: self.clock.mono(), picture: Arc::new(picture) };
        Look { frame, bbox: BBox { x: 0.2, y: 0.2, w: 0.4, h: 0.4 }, score: 0.8 }
    }

    fn recorder(&self) -> Recorder {
        Recorder::start(self.main.clone(), "yard".into(), RecordConfig::default(), Reception::unknown()).expect("start")
    }

    fn open_event(&self, n: u128) -> Event {
        Event { start: self.clock.now(), ..event(n, "open") }
    }
}

fn events(archive: &Archive) -> Vec<Event> {
    archive.store.events().find(&Query { limit: 10, ..Query::default() }).wait().expect("events")
}

/// Waits for what another thread does.
fn recorded(archive: &Archive, n: u128) -> bool {
    archive.store.events().get(id(n)).wait().expect("read").is_some()
}

#[test]
fn an_event_in_progress_goes_on_on_another_volume_with_its_start() {
    let bench = Bench::new();
    let (recorder, begun) = (bench.recorder(), bench.open_event(1));
    recorder.begin(begun.clone(), bench.look());
    block_until("the first event is recorded", || recorded(&bench.main, 1));
    bench.clock.advance(Duration::from_secs(2));
    let moving = recorder.move_to(bench.spool.clone()).expect("move");
    assert!(moving.wait(Duration::from_secs(20)), "the old volume is closed");
    let old = read_event(&bench.main.layout.folder("yard", id(1))).expect("a sidecar");
    assert_eq!(old.state, EventState::Interrupted);
    assert_eq!(bench.main.store.events().get(id(1)).wait().expect("read"), Some(old));

    // The rules know it by its first id.
    recorder.end(id(1), bench.clock.mono());
    recorder.stop();
    let [successor] = &events(&bench.spool)[..] else { panic!("one event") };
    assert_eq!((successor.continues, &successor.start), (Some(id(1)), &begun.start));
    assert_eq!((successor.state, successor.pictures.len()), (EventState::Ended, 3));
    assert_eq!(read_event(&bench.spool.layout.folder("yard", successor.id)).expect("a sidecar"), *successor);
    assert_eq!(queued(&bench.spool, "mqtt"), 2, "its start and its end");
}

#[test]
fn an_event_that_the_volume_does_not_take_waits_for_one_that_does() {
    let bench = Bench::new();
    let recorder = bench.recorder();
    let away = bench.dir.path().join("away");
    fs::rename(bench.dir.path().join("main"), &away).expect("unmount");
    recorder.begin(bench.open_event(1), bench.look());
    // The recorder has dealt with it when it asks for help.
    let trouble = bench.main.trouble().clone();
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    runtime.block_on(trouble.notified());
    assert!(!bench.dir.path().join("main").exists(), "nothing is written where the volume was");
    recorder.end(id(1), bench.clock.mono());
    recorder.move_to(bench.spool.clone()).expect("move");
    recorder.stop();
    let [kept] = &events(&bench.spool)[..] else { panic!("one event") };
    assert_eq!((kept.continues, kept.state), (Some(id(1)), EventState::Ended));
}

#[test]
fn a_recorder_that_hangs_in_a_dead_volume_is_left_behind_with_nothing_lost() {
    let bench = Bench::new();
    let recorder = bench.recorder();
    // A pipe without a reader blocks its opener, as a dead disk does.
    let folder = bench.main.layout.folder("yard", id(1));
    fs::create_dir_all(&folder).expect("a folder");
    let trap = folder.join(".event.json.tmp");
    assert!(Command::new("mkfifo").arg(&trap).status().expect("mkfifo").success());
    recorder.begin(bench.open_event(1), bench.look());
    recorder.begin(bench.open_event(2), bench.look());
    recorder.end(id(2), bench.clock.mono());
    recorder.move_to(bench.spool.clone()).expect("move");
    block_until("two events are in the spool", || events(&bench.spool).len() == 2);
    recorder.end(id(1), bench.clock.mono());
    assert!(!bench.main.heartbeats.stalled().iter().any(|part| part.critical));
    recorder.stop();
    let kept = events(&bench.spool);
    let of = |n| kept.iter().find(|event| event.id == id(n) || event.continues == Some(id(n))).expect("kept").state;
    assert_eq!((of(1), of(2)), (EventState::Ended, EventState::Ended));
    bench.clock.advance(Duration::from_secs(600));
    assert_eq!(bench.main.heartbeats.stalled(), vec![], "a recorder that was left behind is not waited for");
    assert!(!recorded(&bench.main, 2), "the thread that hangs took nothing more");
    // The disk answers again: the thread ends. One that had not come that far when it was left behind opens nothing.
    let answer = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&trap);
    drop(answer.expect("read"));
}

#[test]
fn a_recorder_that_was_only_slow_closes_what_it_had_open() {
    let bench = Bench::new();
    let recorder = bench.recorder();
    recorder.begin(bench.open_event(1), bench.look());
    block_until("the first event is recorded", || recorded(&bench.main, 1));
    // It hangs with the next event, and goes on when the disk answers.
    let folder = bench.main.layout.folder("yard", id(2));
    fs::create_dir_all(&folder).expect("a folder");
    let trap = folder.join(".event.json.tmp");
    assert!(Command::new("mkfifo").arg(&trap).status().expect("mkfifo").success());
    recorder.begin(bench.open_event(2), bench.look());
    block_until("the second event is written", || bench.main.writing.writer_of(id(2)).is_some());
    let moving = recorder.move_to(bench.spool.clone()).expect("move");
    block_until("two events are in the spool", || events(&bench.spool).len() == 2);
    assert!(!moving.wait(Duration::from_millis(100)), "the old volume is not closed yet");
    let answer = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&trap);
    drop(answer.expect("read"));
    assert!(moving.wait(Duration::from_secs(60)), "the old volume is closed");
    let old = read_event(&bench.main.layout.folder("yard", id(1))).expect("a sidecar");
    assert_eq!(old.state, EventState::Interrupted);
    recorder.stop();
    let continued: Vec<_> = events(&bench.spool).iter().map(|event| event.continues).collect();
    assert_eq!(continued.len(), 2, "none goes on twice: {continued:?}");
}

#[test]
fn a_recovery_leaves_what_is_being_written_to_its_recorder() {
    let bench = Bench::new();
    let recorder = bench.recorder();
    recorder.begin(bench.open_event(1), bench.look());
    block_until("the first event is recorded", || recorded(&bench.main, 1));
    assert_eq!(recover(&bench.main, id(10), &mut |_| ()).expect("recover"), Recovered::default());
    assert_eq!(events(&bench.main)[0].state, EventState::Open);
    // The same volume is opened again, and a recorder still has its files in hand.
    let again = bench.main.moved_to(bench.main.layout.clone(), bench.main.store.clone(), RecordingLevel::Full);
    let held = again.writing.elsewhere().hold(id(2));
    let (device, camera, state) = ("box".into(), "yard".into(), crate::segment::SegmentState::Open);
    let segment =
        Segment { version: 1, id: id(2), device, camera, state, start: bench.clock.now(), end: None, video: None };
    again.store.ledger().record_segment(segment).expect("record");
    let failure = recover(&again, id(10), &mut |_| ()).expect_err("not everything could be looked at");
    assert_eq!(failure.downcast_ref(), Some(&StillWritten(2)), "{failure:#}");
    assert_eq!(events(&again)[0].state, EventState::Open);
    assert_eq!(again.store.ledger().open_segments().expect("read").len(), 1);

    recorder.end(id(1), bench.clock.mono());
    recorder.stop();
    drop(held);
    let found = recover(&again, id(10), &mut |_| ()).expect("recover");
    assert_eq!(found, Recovered { segments_closed: 1, ..Recovered::default() });
    assert_eq!(events(&again)[0].state, EventState::Ended);
    assert_eq!(queued(&again, "mqtt"), 2, "its start and its end, once");
}

fn leases(archive: &Archive, runtime: &tokio::runtime::Runtime, outbox: &str) -> Vec<Lease> {
    let outbox = archive.store.outboxes().get(&destination(outbox)).expect("outbox");
    runtime.block_on(outbox.lease(100)).expect("lease")
}

fn of(lease: &Lease) -> &Event {
    lease.event.as_ref().expect("of an event")
}

/// Two events in the spool. Of the second the alerts wait for the broker, those of the first were delivered there; the
/// webhook has not got the end of the first.
fn fill_spool(bench: &Bench, runtime: &tokio::runtime::Runtime) {
    for n in [1, 2] {
        let event = event(n, "ended");
        let folder = bench.spool.layout.create_folder("yard", event.id).expect("a folder");
        fs::write(folder.join("thumb.jpg"), [u8::try_from(n).expect("small"); 100]).expect("a picture");
        let picture = measure(&folder, "thumb.jpg").expect("measure");
        let event = Event { pictures: vec![picture], filed: Some("2026/11/22".into()), ..event };
        write_event(&folder, &event).expect("a sidecar");
        let sidecar = measure(&folder, "event.json").expect("measure");
        let sidecar = Delivery::Upload(sidecar);
        for (phase, state, files) in
            [(Phase::Start, EventState::Open, vec![]), (Phase::End, EventState::Ended, vec![sidecar])]
        {
            let event = Event { state, ..event.clone() };
            let deliveries = [vec![Delivery::Alert(phase)], files].concat();
            bench.spool.store.events().record(store::Change { event, deliveries }).expect("record");
        }
    }
    let is_delivered = |outbox: &str, lease: &&Lease| match outbox {
        "mqtt" => of(lease).id == id(1),
        _ => of(lease).id == id(2) || lease.item == Delivery::Alert(Phase::Start),
    };
    for name in ["mqtt", "webhook/office"] {
        let outbox = bench.spool.store.outboxes().get(&destination(name)).expect("outbox");
        for lease in leases(&bench.spool, runtime, name).iter().filter(|lease| is_delivered(name, lease)) {
            runtime.block_on(outbox.ack(lease)).expect("ack");
        }
    }
}

#[test]
fn the_spool_is_taken_over_once_with_what_was_not_delivered_in_whatever_state_a_try_was_left() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    fill_spool(&bench, &runtime);
    let handle = runtime.handle().clone();
    // Stopped after the first event, then twice to the end.
    let asked = AtomicU32::new(0);
    let stop = || asked.fetch_add(1, Ordering::SeqCst) == 1;
    merge(&bench.spool, &bench.main, &[], &handle, &stop).expect_err("stopped");
    assert_eq!(events(&bench.main).len(), 1);
    let merged = merge(&bench.spool, &bench.main, &[], &handle, &|| false).expect("merge");
    assert_eq!(merged, Merged { events: 1, left: 0 });
    assert_eq!(merge(&bench.spool, &bench.main, &[], &handle, &|| false).expect("again"), Merged::default());
    assert_eq!(events(&bench.main), events(&bench.spool));
    for n in [1, 2] {
        let folder = bench.main.layout.folder("yard", id(n));
        let kept = read_event(&folder).expect("a sidecar");
        assert_eq!(measure(&folder, "thumb.jpg").expect("copied"), kept.pictures[0]);
    }
    let alerts = |outbox| -> Vec<(EventId, EventState, Delivery)> {
        leases(&bench.main, &runtime, outbox).iter().map(|l| (of(l).id, of(l).state, l.item.clone())).collect()
    };
    let expected = [(EventState::Open, Phase::Start), (EventState::Ended, Phase::End)];
    assert_eq!(alerts("mqtt"), expected.map(|(state, phase)| (id(2), state, Delivery::Alert(phase))));
    let to_webhook = [(id(1), EventState::Ended, Delivery::Alert(Phase::End))];
    assert_eq!(alerts("webhook/office"), to_webhook, "each outlet gets what it lacks");
    assert_eq!((queued(&bench.spool, "mqtt"), queued(&bench.spool, "webhook/office")), (0, 0), "handed over");
    assert_eq!(queued(&bench.main, "upload/cloud"), 4, "every file is confirmed in the cloud");
    let states = |n| -> Vec<(String, DeliveryState)> {
        let event = bench.main.store.events().get(id(n)).wait().expect("read").expect("known");
        let outlets = bench.main.store.events().deliveries(&[event]).wait().expect("deliveries").remove(0);
        outlets.into_iter().map(|outlet| (outlet.outlet.into(), outlet.state)).collect()
    };
    let (delivered, waiting) = (DeliveryState::Delivered, DeliveryState::Waiting);
    for (n, mqtt, webhook) in [(1, delivered, waiting), (2, waiting, delivered)] {
        let expected = [("mqtt", mqtt), ("upload/cloud", waiting), ("webhook/office", webhook)];
        assert_eq!(states(n), expected.map(|(name, state)| (name.to_owned(), state)), "what the spool got rid of, too");
    }
}

#[test]
fn what_was_dropped_from_the_spool_is_not_delivered_from_the_archive() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    fill_spool(&bench, &runtime);
    let outbox = bench.spool.store.outboxes().get(&destination("upload/cloud")).expect("outbox");
    let items = runtime.block_on(outbox.items(10)).expect("items");
    let item = items.iter().find(|item| item.event == Some(id(1))).expect("its sidecar waits");
    assert!(runtime.block_on(outbox.drop_item(item.seq)).expect("drop"));
    merge(&bench.spool, &bench.main, &[], runtime.handle(), &|| false).expect("merge");
    assert_eq!(queued(&bench.main, "upload/cloud"), 3);
    let event = bench.main.store.events().get(id(1)).wait().expect("read").expect("known");
    let outlets = bench.main.store.events().deliveries(&[event]).wait().expect("deliveries").remove(0);
    let cloud = outlets.iter().find(|of| of.outlet.as_str() == "upload/cloud").expect("known");
    let states: Vec<_> = cloud.files.iter().map(|of| (of.file.as_str(), of.state)).collect();
    assert_eq!(states, [("event.json", DeliveryState::Dropped), ("thumb.jpg", DeliveryState::Waiting)]);
}

/// Works with: disks | alerts that became dead letters while the box recorded into its spool | they are taken over as dead letters, with the reason, and can be tried again
#[test]
fn alerts_that_were_given_up_in_the_spool_are_dead_letters_of_the_archive() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    fill_spool(&bench, &runtime);
    let outbox = bench.spool.store.outboxes().get(&destination("mqtt")).expect("outbox");
    for lease in leases(&bench.spool, &runtime, "mqtt") {
        if lease.item == Delivery::Alert(Phase::End) {
            runtime.block_on(outbox.give_up(&lease, "rejected", "the broker never takes it")).expect("give up");
        }
    }
    for _ in 0..2 {
        merge(&bench.spool, &bench.main, &[], runtime.handle(), &|| false).expect("merge");
    }
    let taken_over = bench.main.store.outboxes().get(&destination("mqtt")).expect("outbox");
    let letters = runtime.block_on(taken_over.dead_letters(10)).expect("letters");
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!((letter.event, &letter.item), (Some(id(2)), &Delivery::Alert(Phase::End)));
    assert_eq!((letter.class.as_str(), letter.error.as_str()), ("rejected", "the broker never takes it"));
    assert_eq!(letter.recorded_event.as_ref().map(|event| event.state), Some(EventState::Ended));
    assert!(runtime.block_on(outbox.dead_letters(10)).expect("letters").is_empty(), "handed over");
    let state = || {
        let event = bench.main.store.events().get(id(2)).wait().expect("read").expect("known");
        let outlets = bench.main.store.events().deliveries(&[event]).wait().expect("deliveries").remove(0);
        outlets.into_iter().find(|of| of.outlet.as_str() == "mqtt").expect("known").state
    };
    assert_eq!((queued(&bench.main, "mqtt"), state()), (1, DeliveryState::Failed), "its start waits");
    for lease in leases(&bench.main, &runtime, "mqtt") {
        runtime.block_on(taken_over.ack(&lease)).expect("ack");
    }
    assert_eq!(state(), DeliveryState::Failed);
    runtime.block_on(taken_over.revive(letter.seq)).expect("revive");
    assert_eq!((queued(&bench.main, "mqtt"), state()), (1, DeliveryState::Waiting));
}

#[test]
fn a_damaged_file_in_the_spool_is_left_out_and_the_event_arrives() {
    let bench = Bench::new();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    fill_spool(&bench, &runtime);
    let damaged = bench.spool.layout.folder("yard", id(2)).join("thumb.jpg");
    fs::write(&damaged, [9; 100]).expect("damage");
    let merged = merge(&bench.spool, &bench.main, &[], runtime.handle(), &|| false).expect("merge");
    assert_eq!(merged, Merged { events: 2, left: 0 });
    let kept = read_event(&bench.main.layout.folder("yard", id(2))).expect("a sidecar");
    assert_eq!(kept.pictures, vec![]);
    assert!(!bench.main.layout.folder("yard", id(2)).join("thumb.jpg").exists());
}

/// A clock that panics on the thread of a recorder, once, when it is armed and `also` says so.
struct Panicking {
    clock: Arc<SimulatedClock>,
    is_armed: AtomicBool,
    also: Box<dyn Fn() -> bool + Send + Sync>,
}

impl std::fmt::Debug for Panicking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Panicking")
    }
}

impl Clock for Panicking {
    fn mono(&self) -> Mono {
        let is_recorder = std::thread::current().name() == Some("rec-panicky");
        if is_recorder && self.is_armed.load(Ordering::SeqCst) && (self.also)() {
            assert!(!self.is_armed.swap(false, Ordering::SeqCst), "injected");
        }
        self.clock.mono()
    }

    fn wall(&self) -> jiff::Timestamp {
        self.clock.wall()
    }

    fn quality(&self) -> crate::clock::TimeQuality {
        self.clock.quality()
    }

    fn boot_id(&self) -> Arc<str> {
        self.clock.boot_id()
    }
}

fn has_thread(name: &str) -> bool {
    let threads = fs::read_dir("/proc/self/task").expect("threads").flatten();
    threads
        .into_iter()
        .any(|thread| fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim() == name))
}

#[test]
fn a_recorder_that_panics_is_left_to_the_watchdog_and_a_stop_does_not_wait_for_it() {
    let bench = Bench::new();
    let (is_armed, also) = (AtomicBool::new(false), Box::new(|| true));
    let clock = Arc::new(Panicking { clock: bench.clock.clone(), is_armed, also });
    let deps = ArchiveDeps::new("box", clock.clone());
    let (layout, store, heartbeats) = (bench.main.layout.clone(), bench.main.store.clone(), deps.heartbeats.clone());
    let archive = Archive::new(layout, store, clock.clone(), Metrics::new(), Config::default(), deps);
    let recorder = Recorder::start(archive.clone(), "panicky".into(), RecordConfig::default(), Reception::unknown());
    let recorder = recorder.expect("start");
    recorder.begin(bench.open_event(1), bench.look());
    block_until("the first event is recorded", || recorded(&archive, 1));
    clock.is_armed.store(true, Ordering::SeqCst);
    block_until("the recorder has panicked and is gone", || {
        !clock.is_armed.load(Ordering::SeqCst) && !has_thread("rec-panicky")
    });
    bench.clock.advance(Duration::from_secs(121));
    let stalled: Vec<_> = heartbeats.stalled().into_iter().map(|part| (part.name.to_string(), part.critical)).collect();
    assert_eq!(stalled, [("recorder panicky".to_owned(), true)]);
    recorder.stop();
}

#[test]
fn events_that_a_move_did_not_come_to_go_on_after_the_next_one() {
    let bench = Bench::new();
    let spool = bench.spool.store.clone();
    let of_spool =
        move || !spool.events().find(&Query { limit: 1, ..Query::default() }).wait().expect("read").is_empty();
    let clock = Panicking { clock: bench.clock.clone(), is_armed: AtomicBool::new(false), also: Box::new(of_spool) };
    let clock = Arc::new(clock);
    let deps = ArchiveDeps::new("box", clock.clone());
    let (layout, store) = (bench.main.layout.clone(), bench.main.store.clone());
    let main = Archive::new(layout, store, clock.clone(), Metrics::new(), Config::default(), deps);
    let spool = main.moved_to(bench.spool.layout.clone(), bench.spool.store.clone(), RecordingLevel::NoContinuous);
    let recorder = Recorder::start(main.clone(), "panicky".into(), RecordConfig::default(), Reception::unknown());
    let recorder = recorder.expect("start");
    for n in 1..=3 {
        recorder.begin(bench.open_event(n), bench.look());
    }
    block_until("the events are recorded", || recorded(&main, 3));
    // The first one has gone over when the thread ends.
    clock.is_armed.store(true, Ordering::SeqCst);
    let _ = recorder.move_to(spool.clone());
    block_until("the thread has panicked", || !clock.is_armed.load(Ordering::SeqCst) && !has_thread("rec-panicky"));
    assert_eq!(events(&spool).iter().map(|event| event.continues).collect::<Vec<_>>(), [Some(id(1))]);

    recorder.move_to(main.clone()).expect("another thread");
    for n in 1..=3 {
        recorder.end(id(n), bench.clock.mono());
    }
    recorder.stop();
    let (first, ended) = (events(&spool)[0].id, |event: &Event| event.state == EventState::Ended);
    let mut went_on: Vec<_> = events(&main).into_iter().filter(ended).map(|event| event.continues).collect();
    went_on.sort();
    assert_eq!(went_on, [Some(id(2)), Some(id(3)), Some(first)]);
}
