//! A real archive with its index, damaged in every way that a bad disk may think of: the box starts all the same, and
//! whatever is still whole is known and delivered.

mod daemon;
mod damage;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use outpost::archive::{
    Archive, ArchiveDeps, Config as ArchiveConfig, Layout, Sidecar, look_at_event, measure, volume,
};
use outpost::asset::MediaFile;
use outpost::clock::SystemClock;
use outpost::decode::Decoder;
use outpost::event::{Event, EventId, EventState, IdSource};
use outpost::metrics::Metrics;
use outpost::record::{Look, RecordConfig, Recorder};
use outpost::recovery::recover;
use outpost::source::{self, Pace, Role};
use outpost::store::{Config as StoreConfig, Delivery, Query, Store};
use parking_lot::Mutex;

use crate::harness::{Scratch, fixture, patient, seconds, setting, wait_for};
use damage::{damage, files};
use outpost::reception::Reception;

/// Reports a child what to work on.
const CHILD_FOLDER: &str = "OUTPOST_TEST_TORN_FOLDER";
const CAMERAS: [&str; 3] = ["gate", "yard", "hall"];
/// Pictures from one event's beginning to the next one's; an event lasts for half of it.
const APART: usize = 20;
/// Starts that the service manager may need until the box serves.
const STARTS: usize = 3;
const HIGHEST: [u8; 16] = [0xff; 16];

/// One file of an event: the event's id and the file's name.
type Item = (String, String);

// --- What the children do: each is started by a test as a process of its own.

fn folder_of_child() -> PathBuf {
    PathBuf::from(std::env::var(CHILD_FOLDER).expect("started by its parent"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

fn open(path: &Path) -> Result<(Archive, Store), String> {
    volume::open(path, None, Path::new("/")).map_err(|e| format!("{e:#}"))?;
    let clock = Arc::new(SystemClock::new());
    let config = StoreConfig { path: path.to_owned(), deadline: seconds(4), ..StoreConfig::default() };
    let outboxes = ["mqtt", "upload/cloud"].map(|text| text.parse().expect("a destination"));
    let store = Store::open(&config, &outboxes, clock.clone()).map_err(|e| e.to_string())?;
    let layout = Layout::new(path);
    let deps = ArchiveDeps::new("box", clock.clone());
    // This machine may have booted a moment ago.
    let config = ArchiveConfig { time_hold: seconds(0), ..ArchiveConfig::default() };
    Ok((Archive::new(layout, store.clone(), clock, Metrics::new(), config, deps), store))
}

/// Leaves at once, as a killed process does: no destructor runs, threads end where they are.
#[expect(clippy::disallowed_methods, reason = "what is left behind is the point")]
fn leave(status: i32) -> ! {
    std::process::exit(status)
}

#[test]
#[ignore = "a part of the tests of this file, which start it as a process"]
fn child_records() {
    let (archive, store) = open(&folder_of_child()).expect("open");
    let clock = Arc::new(SystemClock::new());
    let ids = IdSource::new(clock.clone(), None);
    let record = RecordConfig { pre_roll: seconds(0), post_roll: seconds(0), ..RecordConfig::default() };
    let source = source::Config {
        url: format!("replay:{}", fixture("people.mp4").display()),
        pace: Pace::Fast,
        ..source::Config::default()
    };
    runtime().block_on(async {
        let mut left_open = Vec::new();
        for camera in CAMERAS {
            let recorder = Recorder::start(archive.clone(), camera.into(), record.clone(), Reception::unknown())
                .expect("a recorder");
            let mut source = source::connect(&source, Role::Main, clock.clone()).await.expect("a source");
            let (mut decoder, mut pictures, mut going_on) = (Decoder::new(Default::default()), 0, None);
            while let Ok(packet) = source.next().await {
                recorder.packet(&packet);
                for frame in decoder.decode(&packet).unwrap_or_default() {
                    let at = frame.at;
                    if pictures % APART == 0 {
                        let look =
                            Look { frame, bbox: serde_json::from_str("[0.1,0.2,0.3,0.4]").expect("a box"), score: 0.7 };
                        let event = event(ids.next(), camera, &clock, at);
                        going_on = Some(event.id);
                        recorder.begin(event, look);
                    } else if pictures % APART == APART / 2 && pictures < 7 * APART {
                        recorder.end(going_on.take().expect("one goes on"), at);
                    }
                    pictures += 1;
                }
            }
            left_open.push(recorder);
        }
        // Of what is over, a part is delivered already.
        let wanted = CAMERAS.len() * 7;
        wait_for("the events to end", seconds(60), || {
            let ended =
                store.events().find(&Query { state: Some(EventState::Ended), limit: 500, ..Query::default() }).wait();
            let ended = ended.map_err(|e| e.to_string())?.len();
            let open = store.events().open().map_err(|e| e.to_string())?.len();
            if (ended, open) == (wanted, CAMERAS.len()) { Ok(()) } else { Err(format!("{ended} ended, {open} open")) }
        });
        for (name, part) in [("mqtt", 20), ("upload/cloud", 40)] {
            let outbox = store.outboxes().get(&name.parse().expect("a destination")).expect("an outbox");
            for lease in &outbox.lease(part).await.expect("lease") {
                outbox.ack(lease).await.expect("ack");
                if let Delivery::Upload(MediaFile { file, .. }) = &lease.item {
                    println!("\ndelivered {} {file}", lease.event.as_ref().expect("of an event").id);
                }
            }
        }
        leave(0);
    });
}

fn event(id: EventId, camera: &str, clock: &SystemClock, at: outpost::clock::Mono) -> Event {
    use outpost::clock::Clock;
    let start = serde_json::to_value(clock.moment(at)).expect("JSON");
    let text = serde_json::json!({
        "version": 1, "id": id, "device": "box1", "camera": camera, "rule": "object", "kind": "object",
        "state": "open", "label": "person", "score": 0.7, "count": 1, "track": 1, "zones": ["door"], "start": start,
    });
    serde_json::from_value(text).expect("an event")
}

#[test]
#[ignore = "a part of the tests of this file, which start it as a process"]
fn child_starts_and_delivers() {
    let failed = serve(&folder_of_child()).err();
    if let Some(why) = &failed {
        eprintln!("{why}");
    }
    leave(i32::from(failed.is_some()));
}

/// What the daemon does with its store, in short: open, recover, deliver everything, report what it knows, close.
fn serve(path: &Path) -> Result<(), String> {
    let (archive, store) = open(path)?;
    let text = |e: anyhow::Error| format!("{e:#}");
    recover(&archive, EventId::from_bytes(HIGHEST), &mut |_| ()).map_err(text)?;
    runtime().block_on(async {
        for name in ["mqtt", "upload/cloud"] {
            let outbox = store.outboxes().get(&name.parse().expect("a destination")).map_err(|e| e.to_string())?;
            loop {
                let leases = outbox.lease(50).await.map_err(|e| e.to_string())?;
                if leases.is_empty() {
                    break;
                }
                for lease in &leases {
                    if let Delivery::Upload(MediaFile { file, bytes, sha256, .. }) = &lease.item {
                        // As the uploader does: only what was recorded is delivered.
                        let event = lease.event.as_ref().expect("of an event");
                        let folder = archive.layout().folder(&event.camera, event.id);
                        let whole = measure(&folder, file).is_ok_and(|is| (&is.bytes, &is.sha256) == (bytes, sha256));
                        println!("\n{} {} {file}", if whole { "delivered" } else { "refused" }, event.id);
                    }
                    outbox.ack(lease).await.map_err(|e| e.to_string())?;
                }
            }
        }
        Ok::<(), String>(())
    })?;
    for event in store.events().find(&Query { limit: 500, ..Query::default() }).wait().map_err(|e| e.to_string())? {
        println!("\nknown {} {:?}", event.id, event.state);
    }
    let again = recover(&archive, EventId::from_bytes(HIGHEST), &mut |_| ()).map_err(text)?;
    if (again.damaged, again.interrupted, again.reindexed) != (0, 0, 0) {
        return Err(format!("a second recovery finds more to do: {again:?}"));
    }
    drop(archive);
    store.close().map_err(|e| e.to_string())
}

// --- The tests.

/// Runs a child to its end. Gives whether it went well, and what it said.
fn run_child(name: &str, folder: &Path) -> (bool, String) {
    let log = folder.with_extension("log");
    let said = File::create(&log).expect("a log");
    let mut child = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", &format!("torn_writes::{name}"), "--ignored", "--nocapture"])
        .env(CHILD_FOLDER, folder)
        .stdin(Stdio::null())
        .stdout(said.try_clone().expect("share a log"))
        .stderr(said)
        .spawn()
        .expect("start a child");
    let text = || String::from_utf8_lossy(&fs::read(&log).expect("a log")).into_owned();
    let begun = std::time::Instant::now();
    loop {
        if let Some(status) = child.try_wait().expect("look after a child") {
            return (status.success(), text());
        }
        if begun.elapsed() > patient(seconds(60)) {
            child.kill().expect("kill");
            child.wait().expect("wait");
            panic!("{name} hangs in {}: {}", folder.display(), text());
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

/// Second and third words of the lines that begin with `word`.
fn lines(said: &str, word: &str) -> BTreeSet<Item> {
    let fields = said.lines().filter_map(|line| line.strip_prefix(word)?.strip_prefix(' ')?.split_once(' '));
    fields.map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
}

/// An archive as a kill leaves it, and what of it had been delivered.
struct Template {
    folder: PathBuf,
    delivered: BTreeSet<Item>,
    sidecars: BTreeMap<PathBuf, Event>,
}

impl Template {
    fn record(scratch: &Scratch) -> Self {
        // A seed says the same again only on the same archive, so a failing test keeps it.
        let (folder, said) = match std::env::var_os("OUTPOST_TORN_TEMPLATE") {
            Some(kept) => (PathBuf::from(&kept), fs::read_to_string(Path::new(&kept).with_extension("log"))),
            None => {
                let folder = scratch.path("template");
                fs::create_dir(&folder).expect("a folder");
                let (well, said) = run_child("child_records", &folder);
                assert!(well, "{said}");
                (folder, Ok(said))
            }
        };
        let said = said.expect("what was delivered");
        let mut sidecars = BTreeMap::new();
        for file in files(&folder).into_iter().filter(|file| file.ends_with("event.json")) {
            let event = serde_json::from_slice(&fs::read(folder.join(&file)).expect("a sidecar")).expect("an event");
            sidecars.insert(file, event);
        }
        assert_eq!(sidecars.len(), 8 * CAMERAS.len());
        Self { folder, delivered: lines(&said, "delivered"), sidecars }
    }

    fn copy(&self, to: &Path) {
        for file in files(&self.folder) {
            let target = to.join(&file);
            fs::create_dir_all(target.parent().expect("a parent")).expect("a folder");
            fs::copy(self.folder.join(&file), target).expect("copy");
        }
    }

    /// Whether a file in `damaged` is still as it was.
    fn is_whole(&self, damaged: &Path, file: &Path) -> bool {
        fs::read(damaged.join(file)).is_ok_and(|is| is == fs::read(self.folder.join(file)).expect("the original"))
    }

    /// Of what lies in `damaged`, the events that have to be known, and the files that have to be delivered still.
    fn intact(&self, damaged: &Path) -> (BTreeSet<String>, BTreeSet<Item>) {
        let (mut known, mut owed) = (BTreeSet::new(), BTreeSet::new());
        for (sidecar, event) in self.sidecars.iter().filter(|(sidecar, _)| self.is_whole(damaged, sidecar)) {
            let id = event.id.to_string();
            known.insert(id.clone());
            let media = event.media().map(|media| &*media.file);
            let whole = media.filter(|file| self.is_whole(damaged, &sidecar.with_file_name(file)));
            let items = whole.chain(["event.json"]).map(|file| (id.clone(), file.to_owned()));
            owed.extend(items.filter(|item| !self.delivered.contains(item)));
        }
        (known, owed)
    }
}

/// What the damage came to.
#[derive(Debug, Default)]
struct Harm {
    /// Boxes that needed more than one start.
    restarted: u32,
    /// Boxes whose index was set aside.
    indexes: u32,
    /// Boxes on which a sidecar or a media file was set aside.
    files: u32,
}

/// Damages a copy of the archive and starts on it until it serves. The error says what is wrong.
fn survive(template: &Template, folder: &Path, seed: u64) -> Result<Harm, String> {
    template.copy(folder);
    let done = damage(folder, seed);
    let (known, owed) = template.intact(folder);
    let mut said = String::new();
    let mut starts = 0;
    loop {
        let (well, text) = run_child("child_starts_and_delivers", folder);
        starts += 1;
        said += &text;
        if well {
            break;
        }
        if starts == STARTS {
            return Err(format!("{done:?}: does not serve after {starts} starts: {said}"));
        }
    }
    let indexed: BTreeSet<String> = lines(&said, "known").into_iter().map(|(id, _)| id).collect();
    let delivered = lines(&said, "delivered");
    let unknown: Vec<_> = known.difference(&indexed).collect();
    let undelivered: Vec<_> = owed.difference(&delivered).collect();
    if !unknown.is_empty() || !undelivered.is_empty() {
        return Err(format!("{done:?}: not in the index: {unknown:?}; not delivered: {undelivered:?}; {said}"));
    }
    // Whatever is queued for delivery has a sidecar that can be used; what could not is beside it.
    let waited: BTreeSet<&String> = owed.iter().chain(&delivered).map(|(id, _)| id).collect();
    for sidecar in template.sidecars.keys() {
        let id = sidecar.components().nth_back(1).expect("a folder").as_os_str().to_string_lossy().into_owned();
        let camera = sidecar.components().nth_back(2).expect("a camera").as_os_str().to_string_lossy().into_owned();
        let place = folder.join(sidecar.parent().expect("a folder"));
        let is_bad = matches!(look_at_event(&place, &camera, id.parse().expect("an id")), Ok(Sidecar::Damaged(_)));
        if is_bad && waited.contains(&id) {
            return Err(format!("{done:?}: {} is damaged and was left: {said}", sidecar.display()));
        }
    }
    let is_bad = |file: &PathBuf| file.starts_with("archive") && file.extension().is_some_and(|end| end == "bad");
    Ok(Harm {
        restarted: u32::from(starts > 1),
        indexes: u32::from(folder.join("index.bad-1").exists()),
        files: u32::from(files(folder).iter().any(is_bad)),
    })
}

#[test]
fn whatever_was_torn_the_box_starts_and_delivers_what_is_whole() {
    let scratch = Scratch::new("torn");
    let template = Template::record(&scratch);
    let first = setting("OUTPOST_TORN_SEED", 1);
    let next = AtomicU64::new(first);
    let end =
        first + setting("OUTPOST_TORN_WRITES", if std::env::var_os("OUTPOST_TORN_SEED").is_some() { 1 } else { 200 });
    let (failures, harm) = (Mutex::new(Vec::new()), Mutex::new(Harm::default()));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end {
                        return;
                    }
                    let folder = scratch.path(&format!("seed-{seed}"));
                    match survive(&template, &folder, seed) {
                        Err(wrong) => {
                            failures.lock().push(format!("OUTPOST_TORN_SEED={seed}: {wrong}"));
                        }
                        Ok(done) => {
                            let mut harm = harm.lock();
                            harm.restarted += done.restarted;
                            harm.indexes += done.indexes;
                            harm.files += done.files;
                            fs::remove_dir_all(&folder).expect("remove");
                        }
                    }
                }
            });
        }
    });
    let (failures, harm) = (failures.into_inner(), harm.into_inner());
    println!("{} archives: {harm:?}", end - first);
    // Or the damage would have hit nothing.
    assert!(end - first < 100 || harm.indexes.min(harm.files) > 0, "{harm:?}");
    assert!(
        failures.is_empty(),
        "{} of {}, on OUTPOST_TORN_TEMPLATE={}:\n{}",
        failures.len(),
        end - first,
        template.folder.display(),
        failures.join("\n\n")
    );
}

#[test]
fn the_archive_itself_is_sound_before_it_is_damaged() {
    let scratch = Scratch::new("sound");
    let template = Template::record(&scratch);
    let folder = scratch.path("copy");
    template.copy(&folder);
    let (known, owed) = template.intact(&folder);
    assert_eq!(known.len(), 8 * CAMERAS.len());
    assert!(
        owed.len() > 20 && template.delivered.len() > 20,
        "{} owed, {} delivered",
        owed.len(),
        template.delivered.len()
    );
    let (well, said) = run_child("child_starts_and_delivers", &folder);
    assert!(well, "{said}");
    let states: BTreeSet<Item> = lines(&said, "known");
    assert_eq!(states.iter().filter(|(_, state)| state == "Interrupted").count(), CAMERAS.len(), "{said}");
    let delivered = lines(&said, "delivered");
    assert!(owed.is_subset(&delivered) && delivered.is_disjoint(&template.delivered), "{said}");
    assert_eq!(lines(&said, "refused"), BTreeSet::new());
}
