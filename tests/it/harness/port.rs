//! Ports on the loopback interface that no other test takes.

use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::Path;

use parking_lot::Mutex;
use rustix::fs::{FlockOperation, flock};

/// Below the range that the kernel hands out for outgoing connections.
const RANGE: std::ops::Range<u16> = 20_000..32_000;

/// Lock files of the ports that this process has; the kernel lets go of them when it ends.
static TAKEN: Mutex<Vec<File>> = Mutex::new(Vec::new());

/// A port without a listener and that no other test process will be given.
pub fn free() -> u16 {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("ports");
    std::fs::create_dir_all(&folder).expect("make the folder of port locks");
    for _ in 0..1000 {
        let port = fastrand::u16(RANGE);
        let file = OpenOptions::new().create(true).append(true).open(folder.join(port.to_string()));
        let file = file.expect("open a port lock");
        if flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
            && TcpListener::bind(("127.0.0.1", port)).is_ok()
        {
            TAKEN.lock().push(file);
            return port;
        }
    }
    panic!("no free port found");
}

#[test]
fn ports_differ() {
    let ports: std::collections::BTreeSet<u16> = (0..20).map(|_| free()).collect();
    assert_eq!(ports.len(), 20);
}
