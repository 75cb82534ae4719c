//! A long time of everything at once: four cameras, a link that comes and goes, a disk that is always full.
//! What the daemon holds of the box must not grow, and nothing may get lost that it promised to keep.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::end_to_end::{delivered_ids, ended_ids};
use crate::harness::broker::{Broker, Subscriber};
use crate::harness::bucket::{Object, S3Server};
use crate::harness::clips::leaves_at_8mbit;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::dice::Dice;
use crate::harness::proxy::{Proxy, Quality};
use crate::harness::rtsp::{Auth, RtspServer};
use crate::harness::{Scratch, fixture, seconds, setting, wait_for, wait_until};
use crate::retention::Volume;

/// A minute of video, and the index.
const VOLUME_MB: u32 = 56;
/// How long the short soak takes, after its warm-up.
const SHORT: Duration = seconds(75);
/// What the daemon holds is noted this often.
const SAMPLE_EVERY: Duration = seconds(5);

/// Threads that may come and go: those for blocking calls end only after they had nothing to do for a while.
const MORE_THREADS: u64 = 8;
/// Connections and files that may be open at one moment and not at another.
const MORE_FILES: u64 = 24;
/// Growth that a long soak tolerates, KiB of memory a minute: 15 MiB an hour, of which an index that fills its
/// cache takes the most.
const RSS_KIB_A_MINUTE: f64 = 256.0;
/// Below this length a slope says nothing.
const LONG: Duration = seconds(20 * 60);

/// What the daemon holds at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    rss_kib: u64,
    files: u64,
    threads: u64,
    index_kib: u64,
    to_upload: u64,
    to_report: u64,
    evicted: u64,
}

fn number_of(status: &str, field: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_else(|| panic!("no {field}"));
    line.split_whitespace().find_map(|word| word.parse().ok()).expect("a number")
}

/// Bytes of all files below a folder; what goes away meanwhile does not count.
fn size_of(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => size_of(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

/// Arenas of the allocator beside the first one: stretches of 64 MiB that begin at a multiple of that, of which a part is
/// in use.
fn more_arenas(pid: u32) -> usize {
    const ARENA: u64 = 64 << 20;
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).expect("it runs");
    let lines: Vec<(u64, u64, &str)> = maps
        .lines()
        .filter_map(|line| {
            let (range, rest) = line.split_once(' ')?;
            let (from, to) = range.split_once('-')?;
            Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?, rest))
        })
        .collect();
    let is_arena = |pair: &&[(u64, u64, &str)]| {
        let [(from, to, used), (rest, end, reserved)] = *pair else { return false };
        let is_one = from % ARENA == 0 && to == rest && end - from == ARENA;
        is_one && used.starts_with("rw-p 00000000 00:00 0") && reserved.starts_with("---p 00000000 00:00 0")
    };
    lines.windows(2).filter(is_arena).count()
}

fn sample(daemon: &mut Daemon, begun: Instant, index: &Path) -> Sample {
    let process = PathBuf::from(format!("/proc/{}", daemon.process().id()));
    let status = fs::read_to_string(process.join("status")).expect("it runs");
    let metrics = daemon.get("/metrics").unwrap_or_else(|e| panic!("{e}"));
    let metrics = String::from_utf8(metrics.body).expect("metrics are text");
    let sum = |prefix: &str| -> u64 {
        let values = metrics.lines().filter(|line| line.starts_with(prefix));
        values.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
    };
    Sample {
        at: begun.elapsed(),
        rss_kib: number_of(&status, "VmRSS:"),
        files: fs::read_dir(process.join("fd")).expect("its files").count() as u64,
        threads: number_of(&status, "Threads:"),
        index_kib: size_of(index) / 1024,
        to_upload: sum("outpost_queue_items{outlet=\"upload/cloud\"}"),
        to_report: sum("outpost_queue_items{outlet=\"mqtt\"}"),
        evicted: sum("outpost_evicted_files_total"),
    }
}

fn table(samples: &[Sample]) -> String {
    let mut text = "second,rss_kib,files,threads,index_kib,to_upload,to_report,evicted_files\n".to_owned();
    for s in samples {
        let second = s.at.as_secs();
        writeln!(
            text,
            "{second},{},{},{},{},{},{},{}",
            s.rss_kib, s.files, s.threads, s.index_kib, s.to_upload, s.to_report, s.evicted
        )
        .expect("strings take everything");
    }
    text
}

/// KiB of memory a minute, by least squares.
fn rss_slope(samples: &[Sample]) -> f64 {
    let n = samples.len() as f64;
    let minute = |s: &Sample| s.at.as_secs_f64() / 60.0;
    let (t, m) = samples.iter().fold((0.0, 0.0), |(t, m), s| (t + minute(s) / n, m + s.rss_kib as f64 / n));
    let (above, below) = samples.iter().fold((0.0, 0.0), |(above, below), s| {
        let off = minute(s) - t;
        (above + off * (s.rss_kib as f64 - m), below + off * off)
    });
    above / below
}

/// Holds the last quarter against the second; the first is when everything was new.
fn assert_nothing_piles_up(samples: &[Sample]) {
    let quarter = samples.len() / 4;
    let (early, late) = (&samples[quarter..2 * quarter], &samples[3 * quarter..]);
    let most = |samples: &[Sample], of: fn(&Sample) -> u64| samples.iter().map(of).max().expect("some samples");
    let threads = (most(early, |s| s.threads), most(late, |s| s.threads));
    assert!(threads.1 <= threads.0 + MORE_THREADS, "threads grew from {} to {}", threads.0, threads.1);
    let files = (most(early, |s| s.files), most(late, |s| s.files));
    assert!(files.1 <= files.0 + MORE_FILES, "open files grew from {} to {}", files.0, files.1);
    let slope = rss_slope(&samples[samples.len() / 2..]);
    eprintln!("memory over the second half: {slope:+.0} KiB a minute");
    let length = samples.last().expect("a sample").at;
    assert!(length < LONG || slope <= RSS_KIB_A_MINUTE, "memory grows by {slope:.0} KiB a minute");
}

/// The lines to bucket and broker, and when they change next.
struct Link {
    lines: [Proxy; 2],
    dice: Dice,
    good: bool,
    next: Instant,
    outages: u32,
}

impl Link {
    fn to(bucket: u16, broker: u16) -> Self {
        let lines = [bucket, broker].map(Proxy::start);
        Self { lines, dice: Dice::new(), good: true, next: Instant::now() + seconds(5), outages: 0 }
    }

    fn go_on(&mut self) {
        if Instant::now() < self.next {
            return;
        }
        self.good = !self.good;
        self.next = Instant::now() + seconds(4) + self.dice.up_to(seconds(12));
        if self.good {
            self.mend();
            return;
        }
        self.outages += 1;
        let bad = if self.dice.coin() { Quality::Cut } else { Quality::Mute };
        // One of them or both.
        let which = self.dice.below(3);
        for (i, line) in self.lines.iter().enumerate().filter(|(i, _)| *i != which) {
            eprintln!("{} is {bad:?}", ["the bucket", "the broker"][i]);
            line.set(bad);
        }
    }

    fn mend(&self) {
        self.lines.iter().for_each(|line| line.set(Quality::Good));
    }
}

fn port_of(url: &str) -> u16 {
    url.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port")
}

fn texts(events: &[Value], pointer: &str) -> BTreeSet<String> {
    events.iter().filter_map(|event| event.pointer(pointer)?.as_str()).map(str::to_owned).collect()
}

fn wait_until_all_is_reported_and_delivered(daemon: &Daemon) {
    wait_until("every event to be over", seconds(60), || daemon.events_in("open").is_empty());
    wait_for("all queues to be empty", seconds(240), || {
        let left =
            ["upload/cloud", "mqtt"].map(|name| daemon.metric(&format!("outpost_queue_items{{outlet=\"{name}\"}}")));
        if left == [0.0, 0.0] { Ok(()) } else { Err(format!("{left:?} wait")) }
    });
}

/// Every file of the event that the box had when it was over is in the bucket, unless space was needed before.
/// Returns how many were lost to that.
fn assert_in_the_bucket(id: &str, folder: &Path, event: &Value, there: &BTreeMap<String, Object>, home: &str) -> usize {
    let mut lost = 0;
    let list = |key: &str| event[key].as_array().cloned().unwrap_or_default();
    let clip = event["clip"].is_object().then(|| event["clip"].clone());
    let present = list("pictures").into_iter().chain(clip).map(|file| (file, true));
    let gone = list("evicted").into_iter().map(|file| (file.clone(), file["delivered"] == true));
    for (file, promised) in present.chain(gone) {
        let (name, sha256) = (file["file"].as_str().expect("a name"), file["sha256"].as_str().expect("a sum"));
        match there.get(&format!("{home}/{name}")) {
            Some(object) => assert_eq!(object.sha256, sha256, "{id}: another {name} is in the bucket"),
            None => {
                assert!(!promised, "{id}: {name} is not in the bucket: {event}");
                lost += 1;
            }
        }
    }
    // Tombstones are delivered, too.
    let sidecar = fs::read(folder.join("event.json")).expect("a sidecar");
    let object = there.get(&format!("{home}/event.json")).expect("a sidecar in the bucket");
    assert_eq!(object.sha256, hex::encode(Sha256::digest(&sidecar)), "{id}: another event.json is in the bucket");
    lost
}

#[test]
fn nothing_piles_up_and_nothing_is_lost_in_the_long_run() {
    let minutes = setting("OUTPOST_SOAK_MINUTES", 0);
    let length = if minutes == 0 { SHORT } else { seconds(60 * minutes) };
    let scratch = Scratch::new("soak");
    scratch.expect_any_log("faults come at random and at once for as long as it runs");
    scratch.forbid_log(&[
        "an alert cannot be delivered and is put aside",
        "a sidecar is damaged and was set aside",
        "the index is bad and was set aside",
        "the store is out of service",
        "it panicked and was restarted",
    ]);
    let volume = Volume::mount(&scratch, VOLUME_MB);
    let (people, leaves, large) = (fixture("people.mp4"), fixture("leaves.mp4"), leaves_at_8mbit());
    let mounts: [(&str, &str, &Path); 4] =
        [("/gate", "h264", &people), ("/yard", "h264", &large), ("/tree", "h264", &leaves), ("/wood", "h264", &leaves)];
    let mut cameras = RtspServer::start(&scratch, Auth::None, &mounts);
    let broker = Broker::start(&scratch);
    let subscriber = Subscriber::start(&scratch, &broker, "outpost/#");
    let store = S3Server::start(&scratch);
    let mut link = Link::to(port_of(&store.endpoint()), port_of(&broker.url()));
    let [bucket, alerts] = [0, 1].map(|i| link.lines[i].port());
    let config = Config::new(&scratch)
        .alerts_through(&broker, &format!("mqtt://127.0.0.1:{alerts}"))
        .uploads_through(&format!("http://127.0.0.1:{bucket}"))
        .camera("gate", &cameras, "/gate", Auth::None)
        .camera("tree", &cameras, "/tree", Auth::None)
        .camera("wood", &cameras, "/wood", Auth::None)
        .camera("yard", &cameras, "/yard", Auth::None)
        .all_the_time(5);
    let mut daemon = Daemon::start(&scratch, config);
    let index = scratch.path("box/index");

    wait_until("the volume to be full, and the first deletions", seconds(180), || {
        link.go_on();
        daemon.metric("outpost_evicted_files_total{class=\"continuous\",reason=\"min_free\"}") >= 1.0
    });
    let (begun, mut samples) = (Instant::now(), Vec::new());
    while begun.elapsed() < length {
        if begun.elapsed() >= SAMPLE_EVERY * u32::try_from(samples.len()).expect("not that many") {
            samples.push(sample(&mut daemon, begun, &index));
        }
        link.go_on();
        std::thread::sleep(Duration::from_millis(250));
    }
    let csv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("soak.csv");
    let table = table(&samples);
    fs::write(&csv, &table).expect("write the table");
    eprintln!("{table}also in {}", csv.display());
    assert!(daemon.process().is_running());
    let arenas = more_arenas(daemon.process().id());
    assert!((1..=4).contains(&arenas), "{arenas} arenas: memory ends up in pieces");

    link.mend();
    cameras.stop();
    wait_until_all_is_reported_and_delivered(&daemon);
    let known = texts(&daemon.events(), "/id");
    assert!(daemon.terminate().success());
    let log = daemon.log();
    assert_eq!(log.matches(" starting ").count(), 1, "it was started again");
    for bad in ["panicked", "shows no life", "restarted"] {
        assert!(!log.contains(bad), "the log reports what {bad}");
    }

    assert_nothing_piles_up(&samples);
    let evicted = samples.last().expect("samples").evicted - samples[0].evicted;
    let (events, objects) = (volume.events(), store.objects());
    let (reported, homes) = (ended_ids(&subscriber), delivered_ids(&objects));
    let mut lost = 0;
    for (id, (folder, event)) in &events {
        assert_ne!(event["state"], "open", "{event}");
        assert!(known.contains(id), "{id} is on the disk only");
        assert!(reported.contains(id), "{id}: its end was not reported");
        let home = homes.get(id).unwrap_or_else(|| panic!("{id} is not in the bucket: {event}"));
        lost += assert_in_the_bucket(id, folder, event, &objects, home);
    }
    let begun_but_gone = texts(&subscriber.events("start"), "/event/id").difference(&reported).count();
    let delivered_mb = objects.values().map(|object| object.bytes).sum::<u64>() / 1_000_000;
    eprintln!(
        "{} outages, {} events ({begun_but_gone} reported and deleted before their end was), {evicted} files deleted, \
         {lost} of them before they could be delivered, {delivered_mb} MB delivered",
        link.outages,
        events.len()
    );
    assert!(link.outages >= 2 && events.len() >= 3 && evicted >= 3, "too little happened");
    assert_eq!(begun_but_gone, 0, "events were reported whose end was not reported");
}
