//! What is deleted, in which order, and what is recorded while there is no room.

mod ages;
mod delivered;
mod model;
mod pins;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::bail;
use tempfile::TempDir;

use super::*;
use crate::age_limit::Age;
use crate::archive::bench::read_event;
use crate::archive::filing::uploads;
use crate::archive::sidecar::{write_durable, write_event};
use crate::archive::{ArchiveDeps, Layout};
use crate::clock::{Clock, SimulatedClock};
use crate::destination::destination;
use crate::detection::BBox;
use crate::event::{Annotations, Clip, Event, EventId, EventState, MediaSkipped};
use crate::frame::{Frame, Rgb};
use crate::metrics::Metrics;
use crate::reception::Reception;
use crate::record::{Look, RecordConfig, Recorder};
use crate::recovery::recover;
use crate::store::{self, Change, Delivery, Store};
use crate::supervise::Heartbeats;
use crate::waiting::block_until;

const MIB: u64 = 1 << 20;

/// A box on a volume of 1 GiB that says of itself what the test wants.
struct Bench {
    dir: TempDir,
    clock: Arc<SimulatedClock>,
    free: Arc<AtomicU64>,
}

impl Bench {
    fn new() -> Self {
        let now = "2026-11-22T10:00:00Z".parse().expect("a time");
        let clock = Arc::new(SimulatedClock::new(Mono(9_000_000_000), now));
        Self { dir: TempDir::new().expect("temp dir"), clock, free: Arc::new(AtomicU64::new(1000 * MIB)) }
    }

    fn archive(&self, outboxes: &[&str]) -> Archive {
        let path = self.dir.path().to_owned();
        let config = store::Config { path, deadline: Duration::from_secs(30), ..store::Config::default() };
        let outboxes: Vec<_> = outboxes.iter().map(|name| destination(name)).collect();
        let store = Store::open(&config, &outboxes, self.clock.clone()).expect("open");
        let deps = ArchiveDeps::new("box", self.clock.clone());
        Archive::new(Layout::new(self.dir.path()), store, self.clock.clone(), Metrics::new(), Default::default(), deps)
    }

    fn retention(&self, archive: &Archive, config: Config) -> Retention {
        let heartbeat = Heartbeats::new(self.clock.clone()).register("retention", Duration::from_secs(60), false);
        let free = self.free.clone();
        let space =
            move || Ok(Space { size_bytes: 1024 * MIB, free_bytes: free.load(Ordering::Relaxed), ..Space::default() });
        let retention = Retention::new(archive.clone(), config, Health::default(), heartbeat);
        Retention { space: Arc::new(space), ..retention }
    }

    fn event(&self, n: u128, state: EventState) -> Event {
        self.clock.advance(Duration::from_secs(1));
        let moment = serde_json::to_string(&self.clock.now()).expect("JSON");
        let id = EventId::from_bytes(n.to_be_bytes());
        let text = format!(
            r#"{{"version":1,"id":"{id}","device":"box","camera":"yard","rule":"object","kind":"object","state":"open",
                "label":"person","score":0.8,"count":1,"track":1,"zones":[],"start":{moment}}}"#
        );
        Event { state, ..serde_json::from_str(&text).expect("an event") }
    }
}

fn pass(retention: &Retention) {
    retention.pass(&CancellationToken::new()).expect("a pass");
}

/// Puts an event of `bytes` bytes of clip and a tenth of that in pictures on the disk and into the index.
fn put(archive: &Archive, mut event: Event, bytes: usize) -> Event {
    let folder = archive.layout.create_folder(&event.camera, event.id).expect("a folder");
    let write = |name: &str, bytes: usize| {
        let content = vec![u8::try_from(bytes % 251).expect("small"); bytes];
        write_durable(&folder, name, &content).expect("a file")
    };
    event.pictures = vec![write("thumb.jpg", bytes / 20), write("snapshot.jpg", bytes / 20)];
    if event.state != EventState::Open {
        event.clip = Some(Clip {
            media: write("clip.mp4", bytes),
            start: event.start.clone(),
            duration_s: 1.0,
            codec: "h264".into(),
            width: 2,
            height: 2,
            truncated: false,
        });
    }
    let sidecar = write_event(&folder, &event).expect("a sidecar");
    let deliveries = if event.state == EventState::Open { Vec::new() } else { uploads(&event, sidecar) };
    archive.store.events().record(store::Change { event: event.clone(), deliveries }).expect("record");
    event
}

fn on_disk(archive: &Archive, event: &Event) -> Vec<String> {
    let Ok(files) = fs::read_dir(archive.layout.folder(&event.camera, event.id)) else { return Vec::new() };
    let mut names: Vec<String> = files.flatten().map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

const ALL: [&str; 4] = ["clip.mp4", "event.json", "snapshot.jpg", "thumb.jpg"];
const WITHOUT_CLIP: [&str; 3] = ["event.json", "snapshot.jpg", "thumb.jpg"];

#[test]
fn all_files_of_a_clip_that_goes_on_in_others_are_deleted_and_named() {
    let bench = Bench::new();
    let archive = bench.archive(&["upload/cloud"]);
    let mut event = bench.event(1, EventState::Ended);
    let folder = archive.layout.create_folder(&event.camera, event.id).expect("a folder");
    let clip = |n| Clip {
        media: write_durable(&folder, &Clip::file_name(n), &[7; 10_000]).expect("a file"),
        start: event.start.clone(),
        duration_s: 1.0,
        codec: "h264".into(),
        width: 2,
        height: 2,
        truncated: false,
    };
    event.set_clips([0, 1, 2].map(clip).to_vec());
    let sidecar = write_event(&folder, &event).expect("a sidecar");
    let deliveries = uploads(&event, sidecar);
    assert_eq!(deliveries.len(), 4);
    archive.store.events().record(store::Change { event: event.clone(), deliveries }).expect("record");
    pass(&bench.retention(&archive, Config { max_bytes: 9000, ..Config::default() }));
    assert_eq!(on_disk(&archive, &event), ["event.json"]);
    let reported = read_event(&folder).expect("a sidecar");
    let mut gone: Vec<&str> = reported.evicted.iter().map(|gone| gone.media.file.as_str()).collect();
    gone.sort_unstable();
    assert_eq!((reported.clips().count(), gone), (0, vec!["clip-2.mp4", "clip-3.mp4", "clip.mp4"]));
    assert_eq!(archive.store.events().get(event.id).wait().expect("read"), Some(reported));
}

#[test]
fn a_quota_deletes_the_least_worthy_and_event_json_says_so() {
    let bench = Bench::new();
    let archive = bench.archive(&["upload/cloud"]);
    let weak = put(&archive, Event { score: 0.3, ..bench.event(1, EventState::Ended) }, 10_000);
    let good = put(&archive, Event { score: 0.9, ..bench.event(2, EventState::Ended) }, 10_000);
    let retention = bench.retention(&archive, Config { max_bytes: 20_000, ..Config::default() });
    pass(&retention);
    assert_eq!(
        (on_disk(&archive, &weak), on_disk(&archive, &good)),
        (WITHOUT_CLIP.map(String::from).to_vec(), ALL.map(String::from).to_vec())
    );
    let reported = read_event(&archive.layout.folder("yard", weak.id)).expect("a sidecar");
    let [gone] = reported.evicted.as_slice() else { panic!("{reported:?}") };
    assert_eq!(Some(&gone.media), weak.clip.as_ref().map(|clip| &clip.media));
    assert_eq!((reported.clip.is_none(), gone.reason, gone.delivered), (true, EvictReason::Quota, false));
    assert_eq!(
        archive.store.events().get(weak.id).wait().expect("read"),
        Some(reported),
        "disk and index say the same"
    );
    let stats = archive.store.stats().wait().expect("stats");
    assert_eq!(stats.outboxes[0].items, 7, "its clip is no longer sent, its sidecar is sent as it is now");
    let text = archive.metrics.encode().expect("metrics");
    assert!(text.contains("outpost_evicted_bytes_total{class=\"clips\",reason=\"quota\"} 10000"), "{text}");
}

/// Works with: disks | file systems that do not know their size | nothing is deleted or left out for want of space, max_bytes holds
#[test]
fn a_volume_that_does_not_know_its_size_is_not_full_and_a_quota_holds_on_it() {
    let bench = Bench::new();
    let archive = bench.archive(&["upload/cloud"]);
    let weak = put(&archive, Event { score: 0.3, ..bench.event(1, EventState::Ended) }, 10_000);
    let good = put(&archive, Event { score: 0.9, ..bench.event(2, EventState::Ended) }, 10_000);
    let unknown = |config| Retention { space: Arc::new(|| Ok(Space::default())), ..bench.retention(&archive, config) };
    pass(&unknown(Config::default()));
    assert_eq!((on_disk(&archive, &weak), archive.level()), (ALL.map(String::from).to_vec(), RecordingLevel::Full));
    pass(&unknown(Config { max_bytes: 20_000, ..Config::default() }));
    assert_eq!(on_disk(&archive, &weak), WITHOUT_CLIP.map(String::from).to_vec());
    assert_eq!((on_disk(&archive, &good), archive.level()), (ALL.map(String::from).to_vec(), RecordingLevel::Full));
}

#[test]
fn little_free_space_deletes_and_what_is_no_longer_needed_is_not_deleted() {
    let bench = Bench::new();
    let archive = bench.archive(&[]);
    let events: Vec<Event> = (1..=4).map(|n| put(&archive, bench.event(n, EventState::Ended), 20_000)).collect();
    let retention = bench.retention(&archive, Config { min_free: Some(100 * MIB), ..Config::default() });
    pass(&retention);
    assert!(archive.layout.storage().join("reserve").is_file());
    // 30 kB too few: two clips of 20 kB.
    bench.free.store(100 * MIB - 30_000, Ordering::Relaxed);
    pass(&retention);
    let clips =
        || events.iter().map(|event| on_disk(&archive, event).contains(&"clip.mp4".to_owned())).collect::<Vec<_>>();
    assert_eq!(clips(), [false, false, true, true]);
    // The volume has not noticed yet.
    pass(&retention);
    assert_eq!(clips(), [false, false, true, true]);
    bench.clock.advance(SETTLES);
    pass(&retention);
    assert_eq!(clips(), [false; 4], "it never became free, so there is need still");
    assert_eq!(archive.level(), RecordingLevel::Full);
}

#[test]
fn ages_delete_what_was_delivered_or_never_had_to_be() {
    let day = Duration::from_secs(24 * 3600);
    let cloud = &["upload/cloud"][..];
    for (outboxes, undelivered_too, goes) in [(&[][..], false, true), (cloud, false, false), (cloud, true, true)] {
        let bench = Bench::new();
        let archive = bench.archive(outboxes);
        let old = put(&archive, bench.event(1, EventState::Ended), 100);
        bench.clock.advance(2 * day);
        let new = put(&archive, bench.event(2, EventState::Ended), 100);
        let ages = Config {
            clips: Age(day),
            metadata: Age(3 * day),
            expire_undelivered: undelivered_too,
            ..Config::default()
        };
        let retention = bench.retention(&archive, ages);
        pass(&retention);
        assert_eq!(on_disk(&archive, &old).contains(&"clip.mp4".to_owned()), !goes, "{outboxes:?} {undelivered_too}");
        assert_eq!(on_disk(&archive, &new), ALL);
        bench.clock.advance(day);
        pass(&retention);
        assert_eq!(on_disk(&archive, &old).is_empty(), goes, "{outboxes:?} {undelivered_too}: the whole event");
        assert_eq!(archive.store.events().get(old.id).wait().expect("read").is_none(), goes);
    }
}

#[test]
fn an_event_that_goes_as_a_whole_is_reported_to_the_lake_with_all_that_it_had() {
    let day = Duration::from_secs(24 * 3600);
    let bench = Bench::new();
    let archive = bench.archive(&["lake"]);
    let old = put(&archive, bench.event(1, EventState::Ended), 100);
    bench.clock.advance(2 * day);
    put(&archive, bench.event(2, EventState::Ended), 100);
    let ages = Config { clips: Age(day), metadata: Age(day), ..Config::default() };
    pass(&bench.retention(&archive, ages));
    assert_eq!((on_disk(&archive, &old), archive.store.events().get(old.id).wait().expect("read")), (vec![], None));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let leases = runtime
        .block_on(archive.store.outboxes().get(&destination("lake")).expect("a queue").lease(100))
        .expect("lease");
    let reported: Vec<&Event> = leases.iter().filter_map(|lease| lease.event.as_ref()).collect();
    let last = reported.iter().rfind(|event| event.id == old.id).expect("reported");
    let mut gone: Vec<&str> = last.evicted.iter().map(|gone| &*gone.media.file).collect();
    gone.sort_unstable();
    assert_eq!(gone, ALL);
    assert!(last.evicted.iter().all(|gone| gone.reason == EvictReason::Age) && last.media().count() == 0, "{last:?}");
}

#[test]
fn a_pin_keeps_an_event_and_is_written_down_also_of_one_that_goes_on() {
    let bench = Bench::new();
    let archive = bench.archive(&["upload/cloud"]);
    let kept = put(&archive, bench.event(1, EventState::Ended), 1000);
    let other = put(&archive, bench.event(2, EventState::Ended), 1000);
    let recorder =
        Recorder::start(archive.clone(), "yard".into(), RecordConfig::default(), Reception::unknown()).expect("start");
    let going_on = bench.event(3, EventState::Open);
    recorder.begin(going_on.clone(), look(&bench));
    block_until("the event is recorded", || archive.store.events().get(going_on.id).wait().expect("read").is_some());
    assert!(archive.pin(kept.id, true).expect("pin") && archive.pin(going_on.id, true).expect("pin"));
    assert!(!archive.pin(EventId::from_bytes([7; 16]), true).expect("no such event"));
    recorder.stop();
    for id in [kept.id, going_on.id] {
        assert!(read_event(&archive.layout.folder("yard", id)).expect("a sidecar").pinned, "{id}");
        assert!(archive.store.events().get(id).wait().expect("read").expect("there").pinned);
    }
    let retention = bench.retention(&archive, Config { max_bytes: 1, ..Config::default() });
    pass(&retention);
    assert_eq!(
        (on_disk(&archive, &kept), on_disk(&archive, &other)),
        (ALL.map(String::from).to_vec(), vec!["event.json".into(), "thumb.jpg".into()])
    );
    archive.pin(kept.id, false).expect("unpin");
    pass(&retention);
    assert_eq!(on_disk(&archive, &kept), ["event.json", "thumb.jpg"]);
}

#[test]
fn what_a_person_says_of_an_event_that_goes_on_is_there_when_it_is_over() {
    let bench = Bench::new();
    let archive = bench.archive(&["upload/cloud"]);
    let recorder =
        Recorder::start(archive.clone(), "yard".into(), RecordConfig::default(), Reception::unknown()).expect("start");
    let going_on = bench.event(3, EventState::Open);
    recorder.begin(going_on.clone(), look(&bench));
    block_until("the event is recorded", || archive.store.events().get(going_on.id).wait().expect("read").is_some());
    let said = Annotations {
        tags: vec!["van".into()],
        note: "the gardener".into(),
        verdict: None,
        by: "anna".into(),
        at: archive.clock.now(),
    };
    let change = |event: &mut Event| {
        event.annotations = Some(said.clone());
        Ok(true)
    };
    archive.annotate(going_on.id, change).expect("annotate").expect("there");
    archive.review(going_on.id, "anna", true).expect("review").expect("there");
    assert_eq!(delete_event(&archive, going_on.id).expect("asked"), Deletion::GoingOn);
    recorder.stop();
    let written = read_event(&archive.layout.folder("yard", going_on.id)).expect("a sidecar");
    assert!(written.state != EventState::Open && written.annotations == Some(said.clone()), "{written:?}");
    let known = archive.store.events().get(going_on.id).wait().expect("read").expect("there");
    assert_eq!(known.annotations, Some(said));
    let by = archive.store.events().reviewed(vec![going_on.id]).wait().expect("read").remove(0);
    assert_eq!(by.iter().map(|reviewed| &*reviewed.by).collect::<Vec<_>>(), ["anna"]);
}

#[test]
fn an_event_that_a_person_deletes_is_gone_from_disk_index_and_queues_unless_it_is_pinned() {
    let bench = Bench::new();
    let archive = bench.archive(&["upload/cloud", "lake"]);
    let (deleted, kept) = (put(&archive, bench.event(1, EventState::Ended), 1000), bench.event(2, EventState::Ended));
    let kept = put(&archive, kept, 1000);
    // No day yet, so that the catalogue does not know its sidecar.
    let unfiled = Event { filed: None, ..bench.event(3, EventState::Ended) };
    let folder = archive.layout.create_folder("yard", unfiled.id).expect("a folder");
    write_event(&folder, &unfiled).expect("a sidecar");
    archive.store.events().record(Change { event: unfiled.clone(), deliveries: Vec::new() }).expect("record");
    archive.review(deleted.id, "anna", true).expect("review");
    archive.pin(kept.id, true).expect("pin");
    assert_eq!(delete_event(&archive, kept.id).expect("asked"), Deletion::Pinned);
    for event in [&deleted, &unfiled] {
        assert_eq!(delete_event(&archive, event.id).expect("delete"), Deletion::Done);
        assert_eq!(delete_event(&archive, event.id).expect("again"), Deletion::Unknown);
        assert!(archive.store.events().get(event.id).wait().expect("read").is_none());
        assert_eq!(archive.store.assets().files_of(event.id).expect("list"), []);
        let folders = std::fs::read_dir(archive.layout.root().join("yard")).expect("list").flatten();
        assert!(folders.into_iter().all(|at| !at.file_name().to_string_lossy().starts_with(&event.id.to_string())));
    }
    assert_eq!(archive.store.events().reviewed(vec![deleted.id]).wait().expect("read"), [vec![]]);
    assert_eq!(on_disk(&archive, &kept), ALL.map(String::from).to_vec());
    let waiting = archive.store.stats().wait().expect("stats");
    let items = |name: &str| waiting.outboxes.iter().find(|queue| queue.name.as_str() == name).map(|queue| queue.items);
    assert_eq!(items("upload/cloud"), Some(4), "only files of the one that was kept wait");
}

#[test]
fn a_deletion_that_a_pass_of_the_retention_carries_out_is_done() {
    let bench = Bench::new();
    let archive = bench.archive(&["upload/cloud"]);
    let events: Vec<Event> = (1..=40).map(|n| put(&archive, bench.event(n, EventState::Ended), 100)).collect();
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let evictor = Evictor { archive: &archive, between_steps: &|| Ok(()) };
            while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                evictor.finish(9).expect("a pass");
            }
        });
        let outcomes: Vec<_> = events.iter().map(|event| delete_event(&archive, event.id)).collect();
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Ok(Deletion::Done))), "{outcomes:?}");
    });
}

fn look(bench: &Bench) -> Look {
    let picture = Rgb { width: 64, height: 48, data: vec![90; 3 * 64 * 48] };
    let frame = Frame { at: bench.clock.mono(), picture: Arc::new(picture) };
    Look { frame, bbox: BBox { x: 0.2, y: 0.2, w: 0.4, h: 0.4 }, score: 0.8 }
}

#[test]
fn less_is_recorded_while_there_is_less_room_and_event_json_says_so() {
    let bench = Bench::new();
    let archive = bench.archive(&[]);
    let retention = bench.retention(&archive, Config { min_free: Some(108 * MIB), ..Config::default() });
    // 8 MiB for the box itself, four steps of 25 MiB.
    let cases = [
        (200, RecordingLevel::Full, true, 3, None),
        (70, RecordingLevel::NoContinuous, true, 3, None),
        (40, RecordingLevel::Snapshots, true, 3, Some(MediaSkipped::NoSpace)),
        (20, RecordingLevel::Metadata, true, 0, Some(MediaSkipped::NoSpace)),
        (3, RecordingLevel::Nothing, false, 0, None),
        (200, RecordingLevel::Full, true, 3, None),
    ];
    for (n, (free, level, is_recorded, pictures, skipped)) in cases.into_iter().enumerate() {
        bench.free.store(free * MIB, Ordering::Relaxed);
        pass(&retention);
        assert_eq!(archive.level(), level, "{free}");
        let event = bench.event(100 + n as u128, EventState::Open);
        let recorder = Recorder::start(archive.clone(), "yard".into(), RecordConfig::default(), Reception::unknown())
            .expect("start");
        recorder.begin(event.clone(), look(&bench));
        recorder.stop();
        let found = archive.store.events().get(event.id).wait().expect("read");
        assert_eq!(found.is_some(), is_recorded, "{level:?}");
        let Some(found) = found else { continue };
        assert_eq!(
            (found.state, found.pictures.len(), found.media_skipped),
            (EventState::Interrupted, pictures, skipped),
            "{level:?}"
        );
        assert_eq!(read_event(&archive.layout.folder("yard", event.id)).expect("a sidecar"), found);
    }
    assert_eq!(retention.health.left_out(), None);
}

#[test]
fn levels_step_down_at_once_and_up_only_with_room_to_spare() {
    let marks = Marks::new(100 << 30, None);
    assert_eq!(marks, Marks { floor: 8 * MIB, keep: 1024 * MIB });
    assert_eq!(Marks::new(24 * MIB, None), Marks { floor: 3 * MIB / 2, keep: 3 * MIB });
    assert_eq!(Marks::new(24 * MIB, Some(0)).keep, 3 * MIB);
    let marks = Marks { floor: 100, keep: 900 };
    use RecordingLevel::{Full, Metadata, NoContinuous, Nothing, Snapshots};
    // (level before, free, level after); steps at 700, 500, 300, 50 and 100 more to climb.
    let cases = [
        (Full, 700, Full),
        (Full, 699, NoContinuous),
        (Full, 499, Snapshots),
        (Full, 299, Metadata),
        (Full, 50, Metadata),
        (Full, 49, Nothing),
        (NoContinuous, 799, NoContinuous),
        (NoContinuous, 800, Full),
        (Snapshots, 599, Snapshots),
        (Snapshots, 600, NoContinuous),
        (Metadata, 399, Metadata),
        (Metadata, 400, Snapshots),
        (Nothing, 149, Nothing),
        (Nothing, 150, Metadata),
        (Nothing, 5000, Full),
        (Nothing, 0, Nothing),
    ];
    for (before, free, after) in cases {
        assert_eq!(marks.level(before, free), after, "{before:?} {free}");
    }
}

/// Sizes of what is in an event's folder, the way that the catalogue counts them.
fn sizes(folder: &Path) -> BTreeMap<String, u64> {
    let files = fs::read_dir(folder).expect("a folder").flatten();
    files
        .map(|file| (file.file_name().to_string_lossy().into_owned(), file.metadata().expect("metadata").len()))
        .collect()
}

#[test]
fn ages_must_fit_together() {
    let config = |text: &str| toml::from_str::<Config>(text).expect("TOML").validate();
    assert_eq!(config("clips = \"7d\"\nmetadata = \"30d\""), Ok(()));
    assert_eq!(config("metadata = \"30d\""), Ok(()));
    let said = config("clips = \"60d\"\nmetadata = \"30d\"").expect_err("the clip would go with its event");
    assert!(said.contains("metadata is 30d") && said.contains("clips"), "{said}");
}
