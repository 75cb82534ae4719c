//! Deliveries to a folder, and to a store that fails in every way that counts.

mod answers;
mod documents;
mod fake;
mod lies;
mod local_copy;
mod many;
mod plan;

use std::collections::HashMap;
use std::fs;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use futures::stream::BoxStream;
use jiff::Timestamp;
use object_store::memory::InMemory;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartId, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::remote::{Parts, Whole};
use super::*;
use crate::asset::MediaFile;
use crate::clock::{Moment, Mono, SimulatedClock, TimeQuality};
use crate::destination::destination;
use crate::event::{Event, EventState, fixture};
use crate::store::{self, Change, Document, Store};
use fake::{Fake, no_link};

pub(super) fn event(id: &str, camera: &str, start: &str) -> Event {
    let start = Moment {
        wall: start.parse().expect("time"),
        mono_ns: 1,
        boot_id: "boot".into(),
        time_quality: TimeQuality::Synchronised,
    };
    Event { state: EventState::Ended, ..fixture::event(id.parse().expect("id"), camera, start) }
}

/// An archive, a store and an uploader on a clock that the test drives.
struct Bench {
    dir: TempDir,
    clock: Arc<SimulatedClock>,
    store: Option<Store>,
    control: Control,
    health: Health,
    metrics: Metrics,
    event: Event,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(SimulatedClock::new(Mono(1), Timestamp::UNIX_EPOCH + Duration::from_secs(1_800_000_000)));
        let mut bench = Self {
            dir: TempDir::new().expect("temp dir"),
            clock,
            store: None,
            control: Control::default(),
            health: Health::default(),
            metrics: Metrics::new(),
            event: event("01JD0000000000000000000000", "yard", "2026-03-01T12:00:00Z"),
        };
        bench.open_store();
        bench
    }

    fn open_store(&mut self) {
        self.store = None;
        let config = store::Config { path: self.dir.path().join("box"), ..store::Config::default() };
        let store = Store::open(&config, &[destination("upload/cloud")], self.clock.clone()).expect("open");
        self.store = Some(store);
    }

    fn store(&self) -> &Store {
        self.store.as_ref().expect("open")
    }

    fn outbox(&self) -> Outbox {
        self.store().outboxes().get(&destination("upload/cloud")).expect("outbox")
    }

    /// Writes the file into the archive.
    fn write(&self, file: &str, content: &[u8]) {
        let folder = self.dir.path().join("box/archive/yard").join(self.event.id.to_string());
        fs::create_dir_all(&folder).expect("create");
        fs::write(folder.join(file), content).expect("write");
    }

    /// Queues the file as if its content were `content`.
    async fn queue(&self, file: &str, content: &[u8]) {
        let sha256: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
        let delivery = Delivery::Upload(MediaFile::new(file, content.len() as u64, sha256));
        let change = Change { event: self.event.clone(), deliveries: vec![delivery] };
        self.store().events().record(change).expect("record");
    }

    async fn add(&self, file: &str, content: &[u8]) {
        self.write(file, content);
        self.queue(file, content).await;
    }

    fn start(&self, url: &str, fake: Option<&Arc<Fake>>) -> Running {
        let uploader = self.uploader(url);
        let Some(fake) = fake.cloned() else { return Running::start(uploader) };
        self.start_with(url, move |limiter| Remote {
            store: fake.clone(),
            parts: Some(Parts(fake.clone() as Arc<dyn MultipartStore>)),
            smallest_part: 5 << 20,
            whole: Whole::Pieces,
            checksums: false,
            folder: None,
            limiter: limiter.clone(),
        })
    }

    /// With a destination that the test made.
    fn start_with(&self, url: &str, open: impl Fn(&BandwidthLimiter) -> Remote + Send + Sync + 'static) -> Running {
        let mut uploader = self.uploader(url);
        uploader.open = Opener(Arc::new(move |_, limiter| Ok(open(limiter))));
        uploader.link = Link::hasty;
        Running::start(uploader)
    }

    fn uploader(&self, url: &str) -> Uploader {
        self.uploader_with(Config { url: url.to_owned(), ..Config::default() })
    }

    fn uploader_with(&self, config: Config) -> Uploader {
        let storage = self.dir.path().join("box");
        let deps = Deps {
            device: "box".into(),
            storage,
            state: Some(self.dir.path().join("state")),
            outbox: self.outbox(),
            control: self.control.clone(),
            health: self.health.clone(),
            metrics: self.metrics.clone(),
            clock: self.clock.clone(),
        };
        Uploader::new("cloud", config, deps).expect("config")
    }

    /// Lets the clock run until nothing waits; gives up after a generous time.
    async fn until_drained(&self) {
        self.until("the outbox is empty", async || self.outbox().waiting().await.expect("count") == 0).await;
    }

    async fn until(&self, what: &str, condition: impl AsyncFn() -> bool) {
        let wait = async {
            while !condition().await {
                self.clock.advance(Duration::from_secs(1));
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), wait).await.unwrap_or_else(|_| panic!("not reached: {what}"));
    }

    async fn dead(&self) -> Vec<(String, u32, String)> {
        let letters = self.outbox().dead_letters(100).await.expect("list");
        letters
            .into_iter()
            .map(|letter| match letter.item {
                Delivery::Upload(MediaFile { file, .. }) | Delivery::Document(Document { path: file, .. }) => {
                    (file, letter.attempts, letter.error)
                }
                Delivery::Alert(_) => panic!("no alerts here"),
            })
            .collect()
    }

    fn key(&self, file: &str) -> Path {
        key::path("box", &self.event, file)
    }

    fn last_error(&self) -> Option<String> {
        self.health.outlets().first().and_then(|outlet| outlet.last_error.clone())
    }
}

struct Running {
    task: JoinHandle<Result<()>>,
    stop: CancellationToken,
}

impl Running {
    fn start(uploader: Uploader) -> Self {
        let stop = CancellationToken::new();
        Self { task: tokio::spawn(uploader.run(stop.clone())), stop }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("join").expect("orderly end");
    }
}

/// Bytes that differ from place to place.
fn bytes(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..length).map(|_| random.u8(..)).collect()
}

const BIG: usize = 12 * 1024 * 1024 + 17;

async fn content(fake: &Fake, key: &Path) -> Vec<u8> {
    fake.inner.get(key).await.expect("there").bytes().await.expect("read").to_vec()
}

#[tokio::test]
async fn files_arrive_in_a_folder_that_is_made_for_them() {
    let bench = Bench::new();
    let big = bytes(BIG);
    bench.add("event.json", b"{}").await;
    bench.add("clip.mp4", &big).await;
    let target = bench.dir.path().join("usb");
    let running = bench.start(&format!("file://{}", target.display()), None);
    bench.until_drained().await;
    bench.add("thumb.jpg", b"jpeg").await;
    bench.until_drained().await;
    running.stop().await;
    let at = |file: &str| fs::read(target.join(bench.key(file).as_ref())).expect("read");
    assert_eq!((at("event.json"), at("clip.mp4") == big, at("thumb.jpg")), (b"{}".to_vec(), true, b"jpeg".to_vec()));
    let label = outlet("upload/cloud");
    assert_eq!(bench.metrics.delivered.get_or_create(&label).get(), 3);
    assert_eq!(bench.metrics.delivered_bytes.get_or_create(&label).get(), BIG as u64 + 6);
    assert_eq!(bench.health.outlets()[0].online, Some(true));
    assert_eq!(bench.dead().await, []);
}

#[tokio::test]
async fn what_a_power_cut_left_of_a_copy_does_not_stay() {
    let bench = Bench::new();
    let target = bench.dir.path().join("usb");
    let object = target.join(bench.key("clip.mp4").as_ref());
    let folder = object.parent().expect("a folder");
    fs::create_dir_all(folder).expect("create");
    for left_over in ["clip.mp4#1", "clip.mp4#2"] {
        fs::write(folder.join(left_over), b"cl").expect("write");
    }
    bench.add("clip.mp4", b"clip").await;
    let running = bench.start(&format!("file://{}", target.display()), None);
    bench.until_drained().await;
    running.stop().await;
    let names = fs::read_dir(folder).expect("list").map(|entry| entry.expect("entry").file_name());
    assert_eq!(names.collect::<Vec<_>>(), ["clip.mp4"]);
}

#[tokio::test]
async fn a_disk_that_is_not_mounted_is_named_and_used_once_it_is_there() {
    let bench = Bench::new();
    bench.add("event.json", b"{}").await;
    let mount = bench.dir.path().join("mnt");
    let running = bench.start(&format!("file://{}/outpost", mount.display()), None);
    bench.until("the reason is shown", async || bench.last_error().is_some()).await;
    let reason = bench.last_error().expect("reason");
    assert!(reason.contains("mnt does not exist; is the disk mounted?"), "{reason}");
    fs::create_dir(&mount).expect("mount");
    bench.until_drained().await;
    running.stop().await;
    assert!(mount.join("outpost").join(bench.key("event.json").as_ref()).exists());
}

#[tokio::test]
async fn a_link_that_fails_costs_no_attempts_and_loses_nothing() {
    let bench = Bench::new();
    let big = bytes(BIG);
    let fake = Arc::new(Fake { flaky: 1, ..Fake::default() });
    for n in 0..4 {
        bench.add(&format!("{n}.jpg"), format!("picture {n}").as_bytes()).await;
    }
    bench.add("clip.mp4", &big).await;
    let running = bench.start("s3://bucket", Some(&fake));
    bench.until("the link is reported", async || bench.last_error().is_some()).await;
    assert_eq!(bench.last_error().as_deref(), Some("network is unreachable"));
    bench.until_drained().await;
    running.stop().await;
    assert_eq!(bench.dead().await, []);
    assert_eq!(content(&fake, &bench.key("3.jpg")).await, b"picture 3");
    assert!(content(&fake, &bench.key("clip.mp4")).await == big);
    assert_eq!(bench.health.outlets()[0].online, Some(true));
}

#[tokio::test]
async fn refused_access_waits_for_a_person_and_gives_nothing_up() {
    let bench = Bench::new();
    let fake = Arc::new(Fake { locked: Mutex::new(true), ..Fake::default() });
    bench.add("event.json", b"{}").await;
    let running = bench.start("s3://bucket", Some(&fake));
    bench.until("the reason is shown", async || bench.last_error().is_some()).await;
    let advice = "the access key is not known there, check it: 403 InvalidAccessKeyId";
    assert_eq!(bench.last_error().as_deref(), Some(advice));
    *fake.locked.lock() = false;
    bench.until_drained().await;
    running.stop().await;
    assert_eq!(bench.dead().await, []);
    assert_eq!(bench.last_error(), None);
}

#[tokio::test]
async fn bad_items_are_given_up_after_five_tries_and_hold_back_no_others() {
    let bench = Bench::new();
    let fake = Arc::new(Fake { loses: Some("lost.mp4"), ..Fake::default() });
    bench.queue("gone.mp4", b"never written").await;
    bench.write("changed.mp4", b"something else");
    bench.queue("changed.mp4", b"what it should").await;
    bench.add("lost.mp4", b"halved on the way").await;
    bench.add("good.mp4", b"good").await;
    let running = bench.start("s3://bucket", Some(&fake));
    // The clock stands still, so that the failed one still rests when the good one arrives.
    let delivered = async || fake.inner.head(&bench.key("good.mp4")).await.is_ok();
    while !delivered().await {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(bench.dead().await, []);
    bench.until_drained().await;
    running.stop().await;
    let dead = bench.dead().await;
    let dead: Vec<_> = dead.iter().map(|(file, tries, error)| (file.as_str(), *tries, error.as_str())).collect();
    let differs = "the local file is not what was recorded: its SHA-256 differs";
    assert_eq!(
        dead,
        [
            ("gone.mp4", 5, "the local file is gone"),
            ("changed.mp4", 5, differs),
            ("lost.mp4", 5, "the destination holds 16 bytes of 17"),
        ]
    );
}

#[tokio::test]
async fn a_large_file_goes_on_where_it_stopped_even_after_a_restart() {
    let mut bench = Bench::new();
    let big = bytes(BIG);
    let fake = Arc::new(Fake { breaks_part: Mutex::new(Some(1)), ..Fake::default() });
    bench.add("clip.mp4", &big).await;
    let running = bench.start("s3://bucket", Some(&fake));
    bench.until("the link breaks", async || bench.last_error().is_some()).await;
    running.stop().await;
    assert_eq!(fake.parts_sent.load(Ordering::SeqCst), 1);
    bench.open_store();
    let running = bench.start("s3://bucket", Some(&fake));
    bench.until_drained().await;
    running.stop().await;
    assert_eq!(fake.parts_sent.load(Ordering::SeqCst), 3, "each of the three parts goes over the link once");
    assert!(content(&fake, &bench.key("clip.mp4")).await == big);
}

#[test]
fn configs_are_checked_and_say_what_is_wrong() {
    let config = |text: &str| toml::from_str::<Config>(text).expect("toml").validate().err().unwrap_or_default();
    let good = [
        "url = 'file:///mnt/usb/outpost'",
        "url = 's3://bucket/a/b'\naccess_key_id = 'k'\nsecret_access_key_file = '/run/s'",
        "url = 'gs://bucket'",
        "url = 'https://nas.local/dav/cams'\nusername = 'farm'\npassword_file = '/run/p'",
        "url = 's3://b'\nmax_kbit_per_s = 64\ndaily_bytes = 1000000\nwindows = ['22:00-06:00']\non_metered = 'nothing'",
        "url = 'az://container/x'\naccount = 'a'\naccount_key_file = '/run/k'",
        "url = 's3://bucket'\nendpoint = 'http://10.0.0.1:9000'\nallow_http = true",
    ];
    for text in good {
        assert_eq!(config(text), "", "{text}");
    }
    let bad = [
        ("", "url: missing"),
        ("url = 'ftp://host/x'", "ftp:// is not known"),
        ("url = 's3://'", "no bucket"),
        ("url = 's3://key:secret@bucket/x'", "credentials"),
        ("url = 's3://bucket'\nendpoint = 'http://10.0.0.1:9000'", "allow_http"),
        ("url = 's3://bucket'\naccess_key_id = 'k'", "one needs the other"),
        ("url = 'az://container'", "account: az:// needs it"),
        ("url = 'gs://bucket'\nparallel = 0", "parallel: 0"),
        ("url = 'gs://bucket'\nmax_kbit_per_s = 4", "max_kbit_per_s: 4 is less than 8"),
        ("url = 'gs://bucket'\nmonthly_bytes = 10", "monthly_bytes: 10 is less than 65536"),
        ("url = 'http://nas/dav'", "allow_http"),
        ("url = 'https://nas/dav'\nusername = 'farm'", "password_file: username needs it"),
    ];
    for (text, reason) in bad {
        assert!(config(text).contains(reason), "{text}: {}", config(text));
    }
    assert!(toml::from_str::<Config>("ulr = 'gs://bucket'").is_err());
}
