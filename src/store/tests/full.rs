//! A disk that is full: on a small file system of its own, in a process that has it to itself.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use super::*;
use crate::destination::destination;

/// Where the child finds its file system.
const CHILD_VOLUME: &str = "OUTPOST_TEST_SMALL_VOLUME";
const MIB: usize = 1 << 20;

#[test]
fn a_full_disk_refuses_new_records_and_nothing_else_and_ends_by_itself() {
    let dir = TempDir::new().expect("temp dir");
    // The mount is seen by this process alone and goes away with it, whatever happens.
    let output = Command::new("unshare")
        .args([
            "--map-root-user",
            "--mount",
            "--",
            "sh",
            "-ec",
            "mount -t tmpfs -o size=48m none \"$0\" && exec \"$@\"",
        ])
        .arg(dir.path())
        .arg(std::env::current_exe().expect("own path"))
        .args(["--exact", "store::tests::full::child_fills_its_disk", "--ignored", "--nocapture"])
        .env(CHILD_VOLUME, dir.path())
        .output()
        .expect("start");
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success() && said.contains("1 passed"), "{}: {said}", output.status);
}

/// Takes up to `limit` bytes of what is left.
fn fill(path: &Path, limit: usize) {
    let mut file = fs::File::create(path).expect("create");
    let block = vec![1; MIB / 16];
    for _ in 0..limit / block.len() {
        if file.write_all(&block).is_err() {
            return;
        }
    }
}

#[test]
#[ignore = "a part of a_full_disk_refuses_new_records_and_nothing_else_and_ends_by_itself, which starts it as a process"]
fn child_fills_its_disk() {
    let volume = std::env::var(CHILD_VOLUME).expect("started by its parent");
    let volume = Path::new(&volume);
    let clock = simulated();
    let ids = IdSource::new(clock.clone(), None);
    let config = Config { path: volume.join("box"), deadline: Duration::from_secs(20), ..Config::default() };
    let open = || Store::open(&config, &names(&["mqtt"]), clock.clone()).expect("open");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("runtime");
    let reserve = volume.join("box/index.reserve");
    let (begun, other) = (event(ids.next(), "yard", &*clock), volume.join("foreign"));

    let store = open();
    store.events().record(change(&begun, vec![Delivery::Alert(Phase::Start)])).expect("record");
    assert!(reserve.exists() && !store.is_full());
    fill(&other, usize::MAX);
    let refused = store.events().record(change(&event(ids.next(), "yard", &*clock), vec![])).expect_err("no room");
    assert!(matches!(refused, StoreError::Full(_)) && refused.is_transient(), "{refused}");
    assert!(!reserve.exists() && store.is_full());
    // What is over is kept, and what was delivered leaves its queue.
    let ended = Event { state: EventState::Ended, ..begun.clone() };
    store
        .events()
        .record(change(&ended, vec![Delivery::Alert(Phase::End)]))
        .expect("the reserve was given up for this");
    runtime.block_on(async {
        let outbox = store.outboxes().get(&destination("mqtt")).expect("outbox");
        for lease in &outbox.lease(10).await.expect("lease") {
            outbox.ack(lease).await.expect("ack");
        }
    });
    // That room is taken too: nothing more can be kept, but nothing breaks.
    fill(&volume.join("more"), usize::MAX);
    let refused = store.events().record(change(&ended, vec![])).expect_err("no room at all");
    assert!(matches!(refused, StoreError::Full(_)), "{refused}");
    assert_eq!(store.stats().wait().expect("still reads").events, 1);
    drop(store);

    // The next start finds the disk as it is. Once there is room, everything goes on in the same process.
    fs::remove_file(volume.join("more")).expect("remove");
    let store = open();
    assert!(!store.was_reset());
    assert_eq!(store.events().get(begun.id).wait().expect("read"), Some(ended));
    store.events().record(change(&event(ids.next(), "yard", &*clock), vec![])).expect_err("still short");
    fs::remove_file(&other).expect("remove");
    store.events().record(change(&event(ids.next(), "yard", &*clock), vec![])).expect("there is room");
    assert!(reserve.exists() && !store.is_full());

    // sled itself meets the end of the disk: out of service, but not thrown away, and the next start has room.
    let failed = store.0.read::<()>(|_| Err(StoreError::Full("a write".into()))).expect_err("no room");
    assert!(matches!(failed, StoreError::Full(_)));
    assert!(!reserve.exists());
    assert!(matches!(store.events().record(change(&begun, vec![])), Err(StoreError::Poisoned(_))));
    // As in the daemon, the process would end here and free sled's lock.
    assert!(!volume.join("box/index.bad").exists());
}
