//! A write that fails while it is waited for, on a small file system in a process of its own.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc::channel;

use super::super::{settings, wake};
use super::*;
use crate::supervise::spawn_thread;

/// Where the child finds its file system.
const CHILD_VOLUME: &str = "OUTPOST_TEST_FAILING_VOLUME";
const CACHE_BYTES: u64 = 1 << 20;
/// In most of them the caller looks late enough to find the failure by itself.
const ROUNDS: usize = 25;

#[test]
fn a_caller_that_waits_for_a_write_that_fails_is_woken() {
    let dir = TempDir::new().expect("temp dir");
    let mount = "mount -t tmpfs -o size=8m none \"$0\" && exec \"$@\"";
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "--", "sh", "-ec", mount])
        .arg(dir.path())
        .arg(std::env::current_exe().expect("own path"))
        .args(["--exact", "store::tests::wake::child_fails_to_write", "--ignored", "--nocapture"])
        .env(CHILD_VOLUME, dir.path())
        .output()
        .expect("start");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{}: {said}", output.status);
}

#[test]
#[ignore = "a part of a_caller_that_waits_for_a_write_that_fails_is_woken, which starts it as a process"]
fn child_fails_to_write() {
    let volume = std::env::var(CHILD_VOLUME).expect("started by its parent");
    for round in 0..ROUNDS {
        fail_once(Path::new(&volume), round);
    }
}

/// Commits empty batches to a full volume: each is one small write, so that no other one wakes the caller.
fn fail_once(volume: &Path, round: usize) {
    let (index, junk) = (volume.join("index"), volume.join("junk"));
    let config = settings::of(&index, CACHE_BYTES).expect("settings").flush_every_ms(None);
    let db = config.open().expect("open");
    db.flush().expect("a volume that has room");
    let (stop, stopped) = channel();
    let (settings, watched) = (config.clone(), db.clone());
    let watcher = spawn_thread("watcher", move || wake::watch(&settings, &watched, &stopped)).expect("a thread");
    fs::write(&junk, vec![1; 8 << 20]).expect_err("fill the volume");
    let (failed, failure) = channel();
    let writer = spawn_thread("writer", move || {
        let write = || db.apply_batch(sled::Batch::default()).and_then(|()| db.flush());
        let error = (0..).find_map(|_: u32| write().err());
        drop(db);
        let _ = failed.send(error);
    })
    .expect("a thread");
    let noticed = failure.recv_timeout(Duration::from_secs(20));
    assert!(noticed.is_ok(), "round {round}: the writer waits for ever");
    drop(stop);
    // The space of a deleted file is free when the last thread has closed it.
    writer.join().expect("the writer");
    watcher.join().expect("the watcher");
    fs::remove_dir_all(&index).and_then(|()| fs::remove_file(&junk)).expect("make room");
}
