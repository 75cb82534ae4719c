//! The archive's volume goes away, fails and comes back while the daemon records on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::harness::broker::{Broker, Subscriber};
use crate::harness::clips::{Lamp, assert_sound};
use crate::harness::config::{Config, DEVICE};
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::volume::{Disk, FaultyDisk};
use crate::harness::{Scratch, fixture, seconds, wait_for, wait_until};

/// What no loss of a disk may come to.
const NEVER: [&str; 8] = [
    "an alert cannot be delivered and is put aside",
    "a file cannot be delivered, it was moved to the dead letters",
    "a sidecar is damaged and was set aside",
    "is damaged and stays there",
    "the index is bad and was set aside",
    "no volume takes events for too long, this one is lost",
    "the recorder panicked",
    "it panicked and was restarted",
];

/// A box whose archive lies on a volume of its own, with a spool beside it, a broker and a folder as the cloud.
struct Site {
    scratch: Scratch,
    cloud: PathBuf,
}

impl Site {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        scratch.expect_any_log("what fails first when a disk goes away is chance");
        scratch.forbid_log(&NEVER);
        let cloud = scratch.path("cloud");
        fs::create_dir_all(&cloud).expect("make a destination");
        Self { scratch, cloud }
    }

    fn storage(&self) -> PathBuf {
        self.scratch.path("box")
    }

    /// A lamp burns before the camera every four seconds.
    fn config<'a>(&'a self, broker: &Broker) -> Config<'a> {
        self.without_camera(broker).lamp("gate", Lamp::Blinking)
    }

    /// People walk before the camera all the time: there is no moment without an event in progress.
    fn with_people<'a>(&'a self, broker: &Broker) -> Config<'a> {
        self.without_camera(broker).replay("gate", &fixture("people.mp4"))
    }

    fn without_camera<'a>(&'a self, broker: &Broker) -> Config<'a> {
        let config = Config::new(&self.scratch).alerts_to(broker).copies_to(&self.cloud);
        config.spools_to(&self.scratch.path("spool"))
    }
}

/// What the status says of the disk; nothing while a dead volume keeps it from answering.
fn disk(daemon: &Daemon) -> Value {
    let answer = daemon.get_soon("/api/v1/status").ok().filter(|answer| answer.status == 200);
    let status = answer.and_then(|answer| serde_json::from_slice::<Value>(&answer.body).ok());
    status.map(|mut status| status["disk"].take()).unwrap_or_default()
}

fn wait_for_spool(daemon: &Daemon) -> String {
    wait_for("the spool to stand in", seconds(60), || {
        let disk = disk(daemon);
        if disk["spooling"] == true { Ok(disk["trouble"].to_string()) } else { Err(disk.to_string()) }
    })
}

/// Waits until the archive's volume is in use, and what was in the spool is in the archive.
fn wait_for_return(daemon: &Daemon, site: &Site) {
    wait_until("the archive to be back", seconds(120), || disk(daemon)["spooling"] == false);
    wait_until("the spool to be empty", seconds(60), || !site.scratch.path("spool/box").exists());
    assert_eq!(disk(daemon)["trouble"], Value::Null);
}

fn ids(events: &[Value]) -> BTreeSet<String> {
    events.iter().map(|event| event["id"].as_str().expect("an id").to_owned()).collect()
}

/// Every file below `folder`, by the name of the event's folder and its own.
fn files(folder: &Path, found: &mut BTreeMap<(String, String), Vec<u8>>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            files(&path, found);
            continue;
        }
        let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let event = path.parent().map(name).unwrap_or_default();
        // What is written beside its place goes from there meanwhile.
        if let Ok(bytes) = fs::read(&path) {
            found.insert((event, name(&path)), bytes);
        }
    }
}

/// Every finished event is in the cloud as it is on the box, byte by byte, and its clip plays.
fn assert_delivered(daemon: &Daemon, site: &Site) -> Vec<Value> {
    let events: Vec<Value> = daemon.events().into_iter().filter(|event| event["state"] != "open").collect();
    wait_for("everything to be delivered", seconds(90), || {
        let mut there = BTreeMap::new();
        files(&site.cloud, &mut there);
        let folder = |id: &str| site.storage().join("archive/gate").join(id);
        for id in ids(&events) {
            let mut here = BTreeMap::new();
            files(&folder(&id), &mut here);
            if here.is_empty() {
                return Err(format!("{id} is not on the box"));
            }
            if let Some((name, _)) = here.iter().find(|(name, bytes)| there.get(name) != Some(bytes)) {
                return Err(format!("{name:?} is missing or another"));
            }
        }
        Ok(())
    });
    for event in events.iter().filter(|event| event["clip"].is_object()) {
        assert_sound(&site.storage().join("archive/gate").join(event["id"].as_str().expect("an id")).join("clip.mp4"));
    }
    events
}

/// Each event was published to begin and to end. Twice at most: the broker may have had what a dead volume no longer notes.
fn assert_published(subscriber: &Subscriber, events: &[Value]) {
    let published =
        |id: &str, phase: &str| subscriber.events(phase).iter().filter(|message| message["event"]["id"] == *id).count();
    wait_for("every event to be published", seconds(60), || {
        let silent: Vec<String> =
            ids(events).into_iter().filter(|id| published(id, "start") == 0 || published(id, "end") == 0).collect();
        if silent.is_empty() { Ok(()) } else { Err(format!("{silent:?}")) }
    });
    for id in ids(events) {
        assert!(published(&id, "start") <= 2 && published(&id, "end") <= 2, "{id}");
    }
}

/// The events that went on on another volume, by the one that they continue.
fn continued(events: &[Value]) -> usize {
    let all = ids(events);
    let going_on = events.iter().filter_map(|event| event["continues"].as_str());
    going_on.filter(|id| all.contains(*id)).count()
}

/// Waits until an event is in progress.
fn wait_for_open(daemon: &Daemon) {
    wait_until("an event in progress", seconds(60), || !daemon.events_in("open").is_empty());
}

/// The same, of an event whose start was published: all that the index promised of it is on the disk.
fn wait_for_published(daemon: &Daemon, subscriber: &Subscriber) {
    wait_until("an event in progress that was published", seconds(60), || {
        let open = ids(&daemon.events_in("open"));
        let started = subscriber.events("start");
        started.iter().filter_map(|message| message["event"]["id"].as_str()).any(|id| open.contains(id))
    });
}

/// What the camera of a site sees.
type Scene = for<'a> fn(&'a Site, &Broker) -> Config<'a>;

/// `fail` takes the volume away in the middle of an event, `mend` brings it back; between the two, and after, events are
/// recorded.
fn lose_and_regain(site: &Site, scene: Scene, reason: &str, fail: impl FnOnce(), mend: impl FnOnce()) {
    let broker = Broker::start(&site.scratch);
    let subscriber = Subscriber::start(&site.scratch, &broker, "outpost/#");
    let mut daemon = Daemon::start(&site.scratch, scene(site, &broker));
    let pid = daemon.process().id();
    let before = ids(&daemon.wait_for_ended(1, seconds(90)));
    let packets = daemon.packets("gate");
    wait_for_published(&daemon, &subscriber);
    fail();
    let trouble = wait_for_spool(&daemon);
    assert!(trouble.contains(reason), "{trouble}");
    daemon.wait_for_ended(2, seconds(120));
    let meanwhile = ids(&daemon.events());
    mend();
    wait_for_return(&daemon, site);
    let later = wait_for("an event on the archive's volume", seconds(90), || {
        let new: BTreeSet<String> = ids(&daemon.events_in("ended")).difference(&meanwhile).cloned().collect();
        if new.is_subset(&before) { Err(format!("{} events", new.len())) } else { Ok(new) }
    });
    assert!(!later.is_empty());
    let events = assert_delivered(&daemon, site);
    let known = ids(&daemon.events());
    assert!(before.is_subset(&known) && meanwhile.is_subset(&known), "{before:?} {meanwhile:?} {known:?}");
    assert_published(&subscriber, &events);
    // Only what the loss or the return of the volume cut in two is marked as cut, and its other half is there.
    let cut: BTreeSet<String> =
        ids(&events.iter().filter(|e| e["state"] == "interrupted").cloned().collect::<Vec<_>>());
    let going_on: BTreeSet<String> =
        daemon.events().iter().filter_map(|event| event["continues"].as_str().map(str::to_owned)).collect();
    assert!(cut.is_subset(&going_on), "{cut:?} {going_on:?}");
    println!("{} events, {} of them went on from another volume", events.len(), continued(&events));
    assert_eq!(daemon.process().id(), pid);
    assert!(daemon.process().is_running() && daemon.packets("gate") > packets);
    assert_eq!(daemon.reconnects("gate"), 0.0, "the camera was not touched");
    assert_eq!(daemon.log().matches("running cameras=").count(), 1, "{}", daemon.log());
}

#[test]
fn a_disk_that_is_pulled_and_plugged_in_again_costs_no_event() {
    let site = Site::new("pulled");
    let disk = Disk::mount(&site.scratch, "disk.ext4", 256, &site.storage());
    let storage = site.storage();
    let mend = || {
        assert_eq!(fs::read_dir(&storage).expect("the mount point").count(), 0, "nothing was written under the mount");
        disk.plug_in();
    };
    lose_and_regain(&site, Site::with_people, "not mounted", || disk.pull(), mend);
}

#[test]
fn a_volume_that_became_read_only_is_left_and_taken_again_when_it_was_mended() {
    let site = Site::new("readonly");
    let disk = Disk::mount(&site.scratch, "disk.ext4", 256, &site.storage());
    let mend = || {
        disk.pull();
        disk.mend();
        disk.plug_in();
    };
    lose_and_regain(&site, Site::config, "Read-only file system", || disk.break_down(), mend);
}

#[test]
fn a_disk_with_input_output_errors_is_left_until_it_has_none() {
    let site = Site::new("eio");
    let disk = FaultyDisk::mount(&site.scratch, &site.storage());
    lose_and_regain(&site, Site::config, "Input/output error", || disk.fail(), || disk.recover());
}

/// What systemd does for a daemon that ended by itself on a disk that hangs. `restarts` is how often it has, so far.
fn keep_running(daemon: &mut Daemon, faulty: &FaultyDisk, restarts: &mut usize) {
    if daemon.process().has_ended() {
        *restarts += 1;
        // What a thread asked of the disk holds the process until the kernel gives it up, as it does after a while.
        faulty.fail();
        wait_until("the kernel to let go of the daemon", seconds(30), || !daemon.process().is_running());
        faulty.hang();
        daemon.start_again();
    }
}

/// A hanging volume can hold on to the index's lock; the daemon then ends, and its successor records into the spool.
#[test]
fn a_disk_that_does_not_answer_costs_a_restart_at_most() {
    let site = Site::new("hang");
    let faulty = FaultyDisk::mount(&site.scratch, &site.storage());
    let broker = Broker::start(&site.scratch);
    let subscriber = Subscriber::start(&site.scratch, &broker, "outpost/#");
    let mut daemon = Daemon::start(&site.scratch, site.config(&broker));
    let before = ids(&daemon.wait_for_ended(1, seconds(90)));
    wait_for_published(&daemon, &subscriber);
    faulty.hang();
    let mut restarts = 0;
    let trouble = wait_for("the spool to stand in", seconds(120), || {
        keep_running(&mut daemon, &faulty, &mut restarts);
        let disk = disk(&daemon);
        if disk["spooling"] == true { Ok(disk["trouble"].to_string()) } else { Err(disk.to_string()) }
    });
    assert!(trouble.contains("has not answered"), "{trouble}");
    let meanwhile = wait_for("an event in the spool", seconds(120), || {
        keep_running(&mut daemon, &faulty, &mut restarts);
        let new: BTreeSet<String> = ids(&daemon.events_in("ended")).difference(&before).cloned().collect();
        if new.is_empty() { Err("none yet".to_owned()) } else { Ok(new) }
    });
    faulty.recover();
    wait_for_return(&daemon, &site);
    let events = assert_delivered(&daemon, &site);
    assert_published(&subscriber, &events);
    let known = ids(&daemon.events());
    assert!(before.is_subset(&known) && meanwhile.is_subset(&known), "{before:?} {meanwhile:?} {known:?}");
    println!("{} events, {restarts} restarts", events.len());
    assert!(restarts <= 1, "{}", daemon.log());
}

#[test]
fn a_box_that_starts_without_its_disk_records_and_knows_the_disk_from_another() {
    let site = Site::new("absent");
    let broker = Broker::start(&site.scratch);
    let disk = Disk::mount(&site.scratch, "disk.ext4", 256, &site.storage());
    let mut daemon = Daemon::start(&site.scratch, site.config(&broker));
    let first = ids(&daemon.wait_for_ended(1, seconds(90)));
    assert!(daemon.terminate().success());
    disk.pull();
    daemon.start_again();
    assert!(wait_for_spool(&daemon).contains("not mounted"));
    daemon.wait_for_ended(1, seconds(90));
    assert_eq!(fs::read_dir(site.storage()).expect("the mount point").count(), 0);
    // The disk of another box is plugged in.
    let other = Disk::mount(&site.scratch, "other.ext4", 64, &site.storage());
    fs::write(site.storage().join("volume.json"), r#"{"version": 1, "id": "foreign"}"#).expect("an identity");
    wait_until("the other disk to be noticed", seconds(30), || disk_trouble(&daemon).contains("another volume"));
    assert!(!site.storage().join("archive").exists());
    drop(other);
    disk.plug_in();
    wait_for_return(&daemon, &site);
    let events = assert_delivered(&daemon, &site);
    assert!(first.is_subset(&ids(&events)) && events.len() > first.len());
}

#[test]
fn another_disk_is_taken_on_request() {
    let site = Site::new("adopt");
    let broker = Broker::start(&site.scratch);
    let first = Disk::mount(&site.scratch, "disk.ext4", 128, &site.storage());
    let mut daemon = Daemon::start(&site.scratch, site.config(&broker));
    daemon.wait_for_ended(1, seconds(90));
    assert!(daemon.terminate().success());
    first.pull();
    let _other = Disk::mount(&site.scratch, "other.ext4", 128, &site.storage());
    fs::write(site.storage().join("volume.json"), r#"{"version": 1, "id": "foreign"}"#).expect("an identity");
    daemon.start_again();
    assert!(wait_for_spool(&daemon).contains("outpost store adopt"), "it says what to do");
    let meanwhile = ids(&daemon.wait_for_ended(1, seconds(90)));
    let config = site.scratch.path("outpost.toml").display().to_string();
    assert_ne!(disk(&daemon)["spooling"], false, "it does not take it by itself");
    let adopted = outpost(&["store", "adopt", "--config", &config]);
    assert!(adopted.status.success(), "{}", String::from_utf8_lossy(&adopted.stderr));
    // The daemon that runs takes it then.
    wait_for_return(&daemon, &site);
    let events = assert_delivered(&daemon, &site);
    assert!(meanwhile.is_subset(&ids(&events)), "what the spool had is on the new disk");
    daemon.wait_for_ended(events.len() + 1, seconds(90));
    assert!(daemon.terminate().success());
}

fn disk_trouble(daemon: &Daemon) -> String {
    disk(daemon)["trouble"].to_string()
}

/// Records some events on a volume with manners of its own. Nothing of it may look like a fault. Gives the log, and
/// what was published of the box.
fn record_on(name: &str, manners: &str) -> (String, Value) {
    let site = Site::new(name);
    let faulty = FaultyDisk::mount(&site.scratch, &site.storage());
    faulty.behave(manners);
    let broker = Broker::start(&site.scratch);
    let subscriber = Subscriber::start(&site.scratch, &broker, "outpost/#");
    let mut daemon = Daemon::start(&site.scratch, site.config(&broker));
    daemon.wait_for_ended(2, seconds(120));
    let disk = disk(&daemon);
    assert_eq!((&disk["spooling"], &disk["trouble"]), (&Value::Bool(false), &Value::Null), "{disk}");
    let events = assert_delivered(&daemon, &site);
    let whole = |event: &Value| event["state"] == "ended" && event["continues"].is_null() && event["clip"].is_object();
    assert!(events.iter().all(whole), "{events:?}");
    assert!(daemon.terminate().success());
    // What is there is known at the next start.
    daemon.start_again();
    let known = ids(&daemon.wait_for_ended(events.len() + 1, seconds(120)));
    assert!(ids(&events).is_subset(&known));
    assert!(daemon.terminate().success());
    let log = daemon.log();
    assert!(!log.contains("ERROR") && !log.contains("panicked"), "{log}");
    let health = subscriber.last(&format!("outpost/{DEVICE}/health")).expect("what is published of the box");
    (log, serde_json::from_str(&health).expect("JSON"))
}

/// Works with: disks | exFAT, FAT, FUSE and network shares: inode numbers that change | records as on any other disk
#[test]
fn files_that_get_other_numbers_at_each_look_are_the_same_files() {
    let (log, health) = record_on("numbers", "numbers");
    assert!(health["disk_size_bytes"].as_u64() > Some(0), "{health}");
    assert!(!log.contains("went on from another volume") && !log.contains("is not mounted"), "{log}");
}

/// Works with: disks | mounted object stores and shares that know no sizes and cannot sync folders | records, bounded by max_bytes alone, and logs once what a power cut may cost
#[test]
fn a_volume_that_cannot_sync_folders_and_does_not_know_its_size_is_recorded_on() {
    let (log, health) = record_on("manners", "no-folder-sync no-totals");
    assert_eq!((&health["disk_size_bytes"], &health["disk_free_bytes"]), (&Value::Null, &Value::Null), "{health}");
    assert_eq!(log.matches("cannot sync folders").count(), 2, "once in each of two runs: {log}");
    assert!(!log.contains("for lack of space"), "{log}");
}

/// Works with: disks | a disk that is pulled and comes back as another device, on a box without a spool | opens it again, closes what was open and goes on
#[test]
fn a_disk_that_comes_back_as_another_device_is_opened_again_where_there_is_no_spool() {
    let site = Site::new("replugged");
    let mut faulty = FaultyDisk::mount(&site.scratch, &site.storage());
    let broker = Broker::start(&site.scratch);
    let mut config = Config::new(&site.scratch).alerts_to(&broker).copies_to(&site.cloud);
    config.add("[spool]\ncheck_every = \"1s\"\npatience = \"3s\"");
    let mut daemon = Daemon::start(&site.scratch, config.lamp("gate", Lamp::Blinking));
    let before = ids(&daemon.wait_for_ended(1, seconds(90)));
    wait_for_open(&daemon);
    faulty.replug(&site.scratch);
    wait_until("the loss to be noticed", seconds(60), || daemon.log().contains("the archive's volume cannot be used"));
    let known = |daemon: &Daemon| daemon.get("/api/v1/events").is_ok_and(|answer| answer.status == 200);
    wait_until("the index to be open again", seconds(90), || known(&daemon) && disk(&daemon)["trouble"] == Value::Null);
    let meanwhile = ids(&daemon.events());
    assert!(before.is_subset(&meanwhile), "{before:?} {meanwhile:?}");
    wait_until("another event", seconds(90), || ids(&daemon.events_in("ended")).difference(&meanwhile).count() > 0);
    let open = |daemon: &Daemon| ids(&daemon.events_in("open"));
    wait_until("what was open to be closed", seconds(90), || open(&daemon).is_disjoint(&meanwhile));
    assert_delivered(&daemon, &site);
    assert!(daemon.terminate().success());
}
