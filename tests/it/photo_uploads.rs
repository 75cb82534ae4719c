//! Photos that arrive over bad lines.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use serde_json::Value;

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::proxy::{Proxy, Quality};
use crate::harness::{Scratch, fixture, installed, repository, seconds, setting, wait_for};

const MIB: u64 = 1 << 20;

/// Bytes of the only upload that have arrived.
fn arrived(scratch: &Scratch) -> u64 {
    let files = std::fs::read_dir(scratch.path("box/library/incoming")).into_iter().flatten().flatten();
    let is_data = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "upload");
    let data = files.map(|file| file.path()).find(is_data);
    data.and_then(|path| std::fs::metadata(path).ok()).map_or(0, |file| file.len())
}

/// A picture of so many bytes.
fn large(scratch: &Scratch, bytes: u64) -> (PathBuf, Vec<u8>) {
    let path = scratch.path("large.png");
    let mut content = std::fs::read(repository().join("tests/reference/dog.png")).expect("read");
    content.resize(usize::try_from(bytes).expect("small"), 7);
    std::fs::write(&path, &content).expect("write");
    (path, content)
}

/// A client that sends a file in requests of `chunk` bytes; 0: all that is left in one.
fn client(proxy: &Proxy, file: &Path, chunk: u64) -> Child {
    let mut node = Command::new("node");
    node.arg(repository().join("tests/browser/resume.mjs")).arg(format!("http://127.0.0.1:{}/", proxy.port()));
    node.arg(file).arg(chunk.to_string());
    node.env("OUTPOST_NODE_MODULES", installed("node/node_modules")).stdout(Stdio::piped());
    node.spawn().expect("start node")
}

/// Waits until the client is done; gives what it saw. Its file is the only photo, byte for byte.
fn assert_arrived(daemon: &Daemon, client: Child, content: &[u8]) -> Value {
    let output = client.wait_with_output().expect("node's report");
    assert!(output.status.success(), "tus-js-client gave up");
    let photos = daemon.json("/api/v1/photos")["photos"].clone();
    let [photo] = photos.as_array().map_or(&[] as &[Value], Vec::as_slice) else { panic!("one photo: {photos}") };
    assert_eq!(photo["bytes"].as_u64(), Some(content.len() as u64), "{photo}");
    let id = photo["id"].as_str().expect("an id");
    let original = daemon.get(&format!("/api/v1/photos/{id}/original")).expect("an answer");
    assert!(original.body == content, "the bytes as they were");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

/// Works with: pictures | tus-js-client in Node | a file that is cut 20 times, and over a kill of the daemon, arrives once as it was
#[test]
fn an_upload_that_is_cut_twenty_times_and_over_a_kill_arrives_once_as_it_was() {
    let scratch = Scratch::new("resume");
    let config = Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0);
    let mut daemon = Daemon::start(&scratch, config);
    let proxy = Proxy::start(daemon.port());
    let (file, content) = large(&scratch, 24 * MIB);
    proxy.set(Quality::Slow(16 * MIB));
    let client = client(&proxy, &file, MIB);
    for cut in 0..20 {
        wait_for("more of the file", seconds(60), || {
            let there = arrived(&scratch);
            if there > cut * MIB { Ok(()) } else { Err(format!("{there} bytes before cut {cut}")) }
        });
        proxy.set(Quality::Cut);
        if cut == 10 {
            daemon.crash_and_restart();
        }
        proxy.set(Quality::Slow(16 * MIB));
    }
    proxy.set(Quality::Good);
    let report = assert_arrived(&daemon, client, &content);
    assert!(report["retries"].as_u64() >= Some(10), "the line broke: {report}");
}

/// Works with: pictures | an upload in one request over a line of 1 Mbit/s | after two kills of the daemon it goes on close to where it was
#[test]
fn an_upload_over_a_line_of_a_megabit_goes_on_after_two_kills() {
    const LINE: u64 = 125_000;
    let scratch = Scratch::new("megabit");
    let config = Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0);
    let mut daemon = Daemon::start(&scratch, config);
    let proxy = Proxy::start(daemon.port());
    let (file, content) = large(&scratch, setting("OUTPOST_SLOW_UPLOAD_MB", 2) * 1_000_000);
    let whole = content.len() as u64;
    proxy.set(Quality::Slow(LINE));
    let (begun, client) = (Instant::now(), client(&proxy, &file, 0));
    for kill in 1..=2 {
        wait_for("more of the file", seconds(60 + whole / LINE), || {
            let there = arrived(&scratch);
            if there > whole * kill / 3 { Ok(()) } else { Err(format!("{there} bytes before kill {kill}")) }
        });
        daemon.crash_and_restart();
    }
    let report = assert_arrived(&daemon, client, &content);
    let (took, twice) = (begun.elapsed().as_secs_f64(), proxy.carried().saturating_sub(whole));
    eprintln!("{whole} bytes in {took:.0} s, {twice} of them twice: {report}");
    // What came since the place was noted last, what was on the way, and heads.
    assert!(twice < 2 * (MIB + MIB / 2), "{twice} bytes were sent twice");
}
