//! A volume that is far too small: the daemon deletes in order, goes on recording, and starts again on it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::clips::{Lamp, assert_sound};
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, seconds, wait_for, wait_until};

/// Holds a dozen clips beside the index.
const VOLUME_MB: u32 = 24;

/// A small file system in memory, mounted where the daemon keeps everything; gone with the test.
pub struct Volume(PathBuf);

impl Volume {
    /// One of `megabytes`, at the place where the daemon of `scratch` keeps everything.
    pub fn mount(scratch: &Scratch, megabytes: u32) -> Self {
        Self::mount_with(scratch, &format!("size={megabytes}m"))
    }

    fn mount_with(scratch: &Scratch, size: &str) -> Self {
        let path = scratch.path("box");
        fs::create_dir_all(&path).expect("make a mount point");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", size, "outpost-test"]).arg(&path));
        Self(path)
    }

    /// Takes all the space that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("foreign");
        let mut file = fs::File::create(&path).expect("make a file");
        while file.write_all(&[0; 4096]).is_ok() {}
        path
    }

    /// Every event on it, by id: its folder and its sidecar.
    pub fn events(&self) -> BTreeMap<String, (PathBuf, Value)> {
        let cameras = fs::read_dir(self.0.join("archive")).expect("an archive").flatten();
        let folders = cameras.flat_map(|camera| fs::read_dir(camera.path()).expect("a camera").flatten());
        let event = |folder: fs::DirEntry| {
            let sidecar = fs::read(folder.path().join("event.json")).expect("a sidecar");
            let event = serde_json::from_slice(&sidecar).expect("JSON");
            (folder.file_name().to_string_lossy().into_owned(), (folder.path(), event))
        };
        folders.map(event).collect()
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Lazily, so that it goes even while a failing test still has files open.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Several cameras, so that the volume is soon full.
fn cameras<'a>(config: Config<'a>, names: &[&str]) -> Config<'a> {
    names.iter().fold(config, |config, name| config.lamp(name, Lamp::Blinking))
}

fn deleted_clips(daemon: &Daemon) -> f64 {
    daemon.metric("outpost_evicted_files_total{class=\"clips\",reason=\"min_free\"}")
}

/// Waits until so many clips were deleted, and events that began later have theirs.
fn wait_for_turnover(daemon: &mut Daemon, clips: f64) {
    wait_for("clips to be deleted", seconds(150), || {
        let deleted = deleted_clips(daemon);
        if deleted >= clips { Ok(()) } else { Err(format!("{deleted} were, {} events", daemon.events().len())) }
    });
    let newest = daemon.events().first().and_then(|event| Some(event["id"].as_str()?.to_owned()));
    wait_until("later events with clips", seconds(90), || {
        let later = |event: &Value| event["id"].as_str() > newest.as_deref() && event["clip"].is_object();
        daemon.events_in("ended").iter().filter(|event| later(event)).count() >= 2
    });
    assert!(daemon.process().is_running());
}

fn texts<'a>(list: &'a Value, key: &'static str) -> impl Iterator<Item = &'a str> {
    list.as_array().into_iter().flatten().filter_map(move |entry| entry[key].as_str())
}

/// What `event.json` says is what lies beside it. Returns the tombstones of clips.
fn assert_truthful(folder: &Path, event: &Value) -> Vec<Value> {
    let named: BTreeSet<&str> = texts(&event["pictures"], "file").chain(event["clip"]["file"].as_str()).collect();
    let evicted: BTreeSet<&str> = texts(&event["evicted"], "file").collect();
    let there = fs::read_dir(folder).expect("a folder").flatten();
    let there: BTreeSet<String> = there.map(|file| file.file_name().to_string_lossy().into_owned()).collect();
    let named_or_sidecar: BTreeSet<String> =
        named.iter().map(|&file| file.to_owned()).chain(["event.json".into()]).collect();
    assert_eq!(there, named_or_sidecar, "{}: {event}", folder.display());
    assert!(named.is_disjoint(&evicted), "{event}");
    // What a kill interrupts may have as little as its sidecar.
    if event["media_skipped"].is_null() && event["state"] == "ended" {
        let all = BTreeSet::from(["clip.mp4", "snapshot.jpg", "snapshot-boxes.jpg", "thumb.jpg"]);
        assert_eq!(&named | &evicted, all, "{event}");
    }
    if event["clip"].is_object() {
        assert_sound(&folder.join("clip.mp4"));
    }
    let tombstones = event["evicted"].as_array().into_iter().flatten();
    tombstones.filter(|gone| gone["file"] == "clip.mp4").cloned().collect()
}

fn find(folder: &Path, id: &str, file: &str) -> Option<PathBuf> {
    fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).find_map(|path| {
        if path.ends_with(id) { Some(path.join(file)).filter(|path| path.is_file()) } else { find(&path, id, file) }
    })
}

#[test]
fn a_full_volume_loses_first_what_was_delivered() {
    let scratch = Scratch::new("retention");
    scratch.expect_log(&["the destination is offline, files wait"]);
    let volume = Volume::mount(&scratch, VOLUME_MB);
    let (cloud, away) = (scratch.path("cloud"), scratch.path("away"));
    fs::create_dir_all(&cloud).expect("make a destination");
    let mut daemon = Daemon::start(&scratch, cameras(Config::new(&scratch).copies_to(&cloud), &["gate", "yard"]));
    // The box says so itself: a file that has just appeared there may not be acknowledged yet.
    let is_delivered =
        |record: &Value| record["event"]["clip"].is_object() && record["delivery"][0]["state"] == "delivered";
    wait_until("two clips to be delivered", seconds(90), || {
        let records = daemon.records();
        // With nothing on its way, no file is cut off between its arrival and its acknowledgement.
        records.iter().all(is_delivered) && records.len() >= 2
    });
    // From now on nothing is delivered any more, and what was is the first to go.
    fs::rename(&cloud, &away).expect("take the destination away");
    fs::write(&cloud, "no folder any more").expect("keep its place");
    wait_for_turnover(&mut daemon, 6.0);
    assert!(daemon.terminate().success());
    let log = daemon.log();
    assert!(!log.contains("ERROR"), "{log}");

    let mut tombstones = Vec::new();
    for (id, (folder, event)) in &volume.events() {
        for tombstone in assert_truthful(folder, event) {
            let was_delivered = tombstone["delivered"].as_bool().expect("a flag");
            tombstones.push((tombstone["at"]["mono_ns"].as_u64().expect("a time"), !was_delivered));
            assert_eq!(tombstone["reason"], "min_free");
            let copy = find(&away, id, "clip.mp4");
            assert_eq!(copy.is_some(), was_delivered, "{id}");
            if let Some(copy) = copy {
                let sha256 = format!("{:x}", Sha256::digest(fs::read(copy).expect("a copy")));
                assert_eq!(tombstone["sha256"], sha256.as_str());
            }
        }
    }
    tombstones.sort_unstable();
    let gone: Vec<bool> = tombstones.iter().map(|(_, undelivered)| !undelivered).collect();
    assert!(gone.starts_with(&[true, true]) && gone.contains(&false), "{gone:?}");
    // Batches are distinguished by their time; of one that took the last delivered clips, these come first.
    assert!(gone.is_sorted_by(|before, after| before >= after), "not the delivered ones first: {gone:?}");
}

#[test]
fn a_full_volume_without_any_destination_keeps_what_is_worth_most_and_starts_again() {
    let scratch = Scratch::new("retention-alone");
    scratch.expect_log(&[
        "the volume is full, using the reserve",
        "for lack of space",
        "could not be recorded",
        "could not be completed",
        "no snapshot",
        "show the snapshot",
        "a clip cannot be used",
    ]);
    let volume = Volume::mount(&scratch, VOLUME_MB);
    let mut daemon = Daemon::start(&scratch, cameras(Config::new(&scratch), &["gate", "yard", "barn"]));
    wait_for_turnover(&mut daemon, 6.0);
    daemon.crash_and_restart();
    wait_for_turnover(&mut daemon, 2.0);
    assert!(daemon.terminate().success());
    let mut gone = 0;
    for (folder, event) in volume.events().values() {
        gone += assert_truthful(folder, event).len();
        // An event that the kill met in its first moments may not have got as far as its thumbnail.
        let has_thumbnail = texts(&event["pictures"], "file").any(|file| file == "thumb.jpg");
        assert!(has_thumbnail || event["state"] == "interrupted", "metadata outlives the rest: {event}");
        let delivered = event["evicted"].as_array().into_iter().flatten().filter(|gone| gone["delivered"] != false);
        assert_eq!(delivered.count(), 0, "{event}");
    }
    assert!(gone >= 8, "{gone}");

    // Not a byte left: it opens its index on the reserve, makes room, and is back at its best.
    let junk = volume.fill();
    let mut daemon = Daemon::start(&scratch, cameras(Config::new(&scratch), &["gate", "yard", "barn"]));
    wait_until("room for everything again", seconds(60), || {
        volume.0.join("reserve").is_file() && daemon.metric("outpost_recording_level") == 0.0
    });
    assert!(junk.is_file(), "what is not ours stays");
    assert!(daemon.log().contains("using the reserve"), "{}", daemon.log());
    assert!(daemon.terminate().success());
}

#[test]
fn a_volume_that_takes_no_more_files_is_a_full_one() {
    let scratch = Scratch::new("retention-files");
    scratch.expect_log(&[
        "the volume is full, using the reserve",
        "for lack of space",
        "could not be recorded",
        "could not be completed",
        "no snapshot",
        "show the snapshot",
        "a clip cannot be used",
    ]);
    // Bytes for hundreds of clips, names for two dozen events.
    let volume = Volume::mount_with(&scratch, "size=512m,nr_inodes=170");
    let mut daemon = Daemon::start(&scratch, cameras(Config::new(&scratch), &["gate", "yard", "barn"]));
    wait_for_turnover(&mut daemon, 6.0);
    // All the names are taken that are left: older events make room for new ones all the same.
    let junk = volume.0.join("foreign");
    fs::create_dir(&junk).expect("a folder");
    let taken = (0..1000).take_while(|n| fs::write(junk.join(n.to_string()), "").is_ok()).count();
    assert!(taken < 1000, "the volume takes files without end");
    let deleted = deleted_clips(&daemon);
    wait_for_turnover(&mut daemon, deleted + 3.0);
    wait_until("everything to be recorded", seconds(60), || daemon.metric("outpost_recording_level") == 0.0);
    assert!(daemon.terminate().success());
    for (folder, event) in volume.events().values() {
        assert_truthful(folder, event);
    }
}

/// What is in the way when an event ends is no reason to leave it open: it is completed when there is room.
#[test]
fn an_event_that_ends_on_a_full_volume_is_completed_when_there_is_room() {
    let scratch = Scratch::new("retention-end");
    scratch.expect_log(&[
        "the volume is full, using the reserve",
        "for lack of space",
        "could not be recorded",
        "could not be completed",
        // Another camera's event begins where the names are gone already.
        "no clip",
        "no snapshot",
        "show the snapshot",
        "a clip cannot be used",
        "nothing is recorded",
    ]);
    let volume = Volume::mount_with(&scratch, "size=512m,nr_inodes=170");
    let mut daemon = Daemon::start(&scratch, cameras(Config::new(&scratch), &["gate", "yard", "barn"]));
    wait_until("an event", seconds(60), || !daemon.events_in("open").is_empty());
    // What the recorder deletes for room is taken too, until an event finds none at its end.
    let junk = volume.0.join("of-another-program");
    fs::create_dir(&junk).expect("a folder");
    let mut names = 0..;
    let unfinished = wait_for("an event without room for its end", seconds(90), || {
        let name = |n: u32| junk.join(n.to_string());
        names.by_ref().take(2000).take_while(|&n| fs::write(name(n), "").is_ok()).for_each(drop);
        let log = daemon.log();
        let line = log.lines().find(|line| line.contains("the event could not be completed on disk"));
        let id = line.and_then(|line| line.split("event=").nth(1)?.split(' ').next().map(str::to_owned));
        id.ok_or_else(|| format!("{} events are open", daemon.events_in("open").len()))
    });
    fs::remove_dir_all(&junk).expect("give the names back");
    wait_until("the event to be complete", seconds(30), || {
        daemon.events_in("ended").iter().any(|event| event["id"] == unfinished.as_str())
    });
    assert!(daemon.terminate().success());
    let events = volume.events();
    let (folder, event) = &events[&unfinished];
    assert_eq!(event["state"], "ended", "{event}");
    assert_truthful(folder, event);
}
