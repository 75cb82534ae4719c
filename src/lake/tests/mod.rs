//! What comes into the lake, and that nothing of it is lost.

mod waiting;

use std::collections::BTreeMap;
use std::path::Path;

use futures::FutureExt;
use jiff::Timestamp;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use super::rows::Values;
use super::table::Kind;
use super::*;
use crate::audit::Act;
use crate::clock::{SimulatedClock, TimeQuality};
use crate::coverage::{Account, Coverage, Interval};
use crate::destination::Destination;
use crate::destination::destination;
use crate::event::{Annotations, EvictReason, Evicted, MediaFile, Verdict};
use crate::load::Reading;
use crate::status::{BoxStatus, fixture};
use crate::store::{self, Change, Delivery};
use crate::supervise::Heartbeats;

const HOUR: Duration = Duration::from_secs(3600);
const CLOUDS: [&str; 2] = ["upload/a", "upload/b"];

/// A destination: what it has by path.
type Cloud = BTreeMap<String, Vec<u8>>;

/// A box with a lake and two destinations.
struct Site {
    dir: TempDir,
    clock: Arc<SimulatedClock>,
    runtime: Runtime,
    store: Store,
    status: Arc<Mutex<BoxStatus>>,
    max_bytes: u64,
}

fn time(text: &str) -> Timestamp {
    text.parse().expect("a time")
}

impl Site {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("tempdir");
        let clock = Arc::new(SimulatedClock::new(Mono(9_000_000_000), time("2026-11-22T10:00:00Z")));
        clock.step_wall(time("2026-11-22T10:00:00Z"), TimeQuality::Synchronised);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
        let store = open(dir.path(), &clock);
        let status = Arc::new(Mutex::new(fixture::status()));
        Self { dir, clock, runtime, store, status, max_bytes: Config::default().max_bytes }
    }

    /// The daemon's start.
    fn lake(&self) -> Lake {
        let outbox = |name: &str| self.store.outboxes().get(&destination(name)).expect("outbox");
        let deps = Deps {
            storage: self.dir.path().to_owned(),
            store: self.store.clone(),
            outbox: outbox("lake"),
            uploads: CLOUDS.map(outbox).to_vec(),
            audit: self.audit(),
            may_write: Arc::new(|| Ok(true)),
            folder_of: Arc::new(|event| format!("box/{}", event.id)),
            status: {
                let status = self.status.clone();
                Arc::new(move || {
                    let status = status.lock().clone();
                    async { Ok(status) }.boxed()
                })
            },
            queue_status: Arc::new(|name, _| QueueStatus::new(name.as_str(), None, Mono(0), Mono(0))),
            clock: self.clock.clone(),
            runtime: self.runtime.handle().clone(),
        };
        let heartbeat = Heartbeats::new(self.clock.clone()).register("lake", HOUR, false);
        Lake::new(Config { max_bytes: self.max_bytes, ..Config::default() }, deps, heartbeat)
    }

    fn audit(&self) -> Audit {
        Audit::open(&self.dir.path().join("system/audit"), self.clock.clone())
    }

    /// The process dies, and the next one opens the index.
    fn restart(mut self) -> Self {
        self.store.close().expect("close the store");
        self.store = open(self.dir.path(), &self.clock);
        self
    }

    /// An event that is over, or what changed about it.
    fn record(&self, event: &Event) {
        let sidecar = Delivery::Upload(MediaFile::new("event.json", 5, "aa"));
        self.store.events().record(Change { event: event.clone(), deliveries: vec![sidecar] }).expect("record");
    }

    /// Everything that waits for one destination goes there. No name may come twice with other contents.
    fn send(&self, outlet: &str, cloud: &mut Cloud) {
        let outbox = self.store.outboxes().get(&destination(outlet)).expect("outbox");
        for lease in self.runtime.block_on(outbox.lease(10_000)).expect("lease") {
            if let Delivery::Document(document) = &lease.item {
                let bytes = std::fs::read(self.dir.path().join(&document.path)).expect("a document");
                assert_eq!(bytes.len() as u64, document.bytes);
                let known = cloud.insert(document.path.clone(), bytes.clone());
                assert!(known.is_none_or(|known| known == bytes), "{} was written again", document.path);
            }
            self.runtime.block_on(outbox.ack(&lease)).expect("ack");
        }
    }

    fn files(&self) -> Vec<String> {
        LakeFolder::new(self.dir.path()).pieces().into_iter().map(|(piece, _)| piece.path()).collect()
    }
}

fn open(path: &Path, clock: &Arc<SimulatedClock>) -> Store {
    let config = store::Config { path: path.to_owned(), deadline: Duration::from_secs(20), ..store::Config::default() };
    let names: Vec<Destination> = ["lake"].into_iter().chain(CLOUDS).map(destination).collect();
    Store::open(&config, &names, clock.clone()).expect("open the store")
}

fn event(n: u128, day: &str) -> Event {
    let id = crate::event::EventId::from_bytes(n.to_be_bytes());
    let moment = format!(
        r#"{{"wall":"{}T09:00:00Z","mono_ns":5000000000,"boot_id":"b","time_quality":"synchronised"}}"#,
        day.replace('/', "-")
    );
    let text = format!(
        r#"{{"version":1,"id":"{id}","device":"box","camera":"yard","rule":"people","kind":"object","state":"ended",
            "label":"person","score":0.8,"count":1,"track":1,"zones":["gate","drive"],"start":{moment},"end":{moment},
            "filed":"{day}"}}"#
    );
    serde_json::from_str(&text).expect("an event")
}

/// The rows of a table as maps, of all files, in the order of their numbers.
fn table(cloud: &Cloud, table: Table) -> Vec<BTreeMap<&'static str, String>> {
    let mut found = Vec::new();
    for bytes in cloud.iter().filter(|(path, _)| path.starts_with(&format!("lake/{table}/"))).map(|(_, bytes)| bytes) {
        let rows = file::decode(table, bytes.clone()).expect("a readable file");
        let cell = |values: &Values, row: usize, kind: Kind| match values {
            Values::Text(values) => values[row].clone(),
            Values::Int(values) if kind == Kind::Time => {
                values[row].map(|us| Timestamp::from_microsecond(us).expect("a time").to_string())
            }
            Values::Int(values) => values[row].map(|value| value.to_string()),
            Values::Real(values) => values[row].map(|value| value.to_string()),
            Values::Flag(values) => values[row].map(|value| value.to_string()),
        };
        for row in 0..rows.len() {
            let columns = table.columns().iter().zip(rows.columns());
            let cells = columns.filter_map(|((name, kind), values)| Some((*name, cell(values, row, *kind)?)));
            found.push(cells.collect::<BTreeMap<_, _>>());
        }
    }
    found.sort_by_key(|row| row["recorded"].parse::<i64>().expect("a number"));
    found
}

fn all(rows: &[BTreeMap<&'static str, String>], column: &str) -> Vec<String> {
    rows.iter().map(|row| row.get(column).cloned().unwrap_or_default()).collect()
}

#[test]
fn events_wait_for_others_and_become_a_file_of_their_day_for_every_destination() {
    let site = Site::new();
    let mut lake = site.lake();
    site.record(&event(1, "2026/11/21"));
    site.record(&event(2, "2026/11/22"));
    site.clock.advance(HOUR - Duration::from_secs(1));
    site.record(&event(3, "2026/11/22"));
    lake.look().expect("look");
    assert_eq!(site.files(), Vec::<String>::new(), "nothing has waited for an hour");
    site.clock.advance(Duration::from_secs(1));
    lake.look().expect("look");
    let files: Vec<String> = site.files().into_iter().filter(|path| path.starts_with("lake/events")).collect();
    assert_eq!(files.len(), 2, "one for each day: {files:?}");
    assert!(files[0].starts_with("lake/events/date=2026-11-21/") && files[1].contains("/date=2026-11-22/"));
    assert_eq!(site.store.outboxes().count_items(&Destination::Lake).expect("count"), 0);
    let (mut a, mut b) = (Cloud::new(), Cloud::new());
    site.send("upload/a", &mut a);
    lake.look().expect("look");
    assert!(site.files().len() >= 2, "the other one does not have them");
    site.send("upload/b", &mut b);
    lake.look().expect("look");
    assert_eq!(site.files(), Vec::<String>::new(), "every destination has them");
    assert_eq!(a, b);
    let rows = table(&a, Table::Events);
    assert_eq!(all(&rows, "event"), [1, 2, 3].map(|n: u8| format!("{n:026}")));
    let row = &rows[0];
    let exported = ["camera", "kind", "state", "zones", "started_at", "score", "time_quality", "folder"];
    let exported: Vec<&str> = exported.iter().map(|column| row[column].as_str()).collect();
    let folder = format!("box/{:026}", 1);
    assert_eq!(
        exported,
        ["yard", "object", "ended", "gate,drive", "2026-11-21T09:00:00Z", "0.8", "synchronised", &folder]
    );
    assert!(!row.contains_key("clip_bytes") && !row.contains_key("best_at"));
}

#[test]
fn an_event_that_changes_gives_another_row_and_what_was_deleted_a_tombstone() {
    let (site, mut cloud) = (Site::new(), Cloud::new());
    let mut lake = site.lake();
    let mut event = event(1, "2026/11/21");
    site.record(&event);
    event.count = 2;
    site.record(&event);
    site.clock.advance(HOUR);
    lake.look().expect("look");
    let media = MediaFile::new("clip.mp4", 77, "cc");
    event.evicted.push(Evicted { media, at: site.clock.now(), reason: EvictReason::Quota, delivered: false });
    site.record(&event);
    site.clock.advance(HOUR);
    lake.look().expect("look");
    site.send("upload/a", &mut cloud);
    let rows = table(&cloud, Table::Events);
    assert_eq!(all(&rows, "count"), ["2", "2"], "what was replaced before it was written is not exported");
    let paths: Vec<&String> = cloud.keys().filter(|path| path.starts_with("lake/events")).collect();
    assert!(paths.iter().all(|path| path.contains("/date=2026-11-21/")), "one partition: {paths:?}");
    let rows = table(&cloud, Table::Tombstones);
    let exported =
        ["event", "file", "bytes", "reason", "delivered", "deleted_at"].map(|column| rows[0][column].clone());
    assert_eq!(exported[1..], ["clip.mp4", "77", "quota", "false", "2026-11-22T11:00:00Z"]);
    assert_eq!(rows.len(), 1);
}

fn looks(who: &str, target: &str) -> Act {
    Act { who: who.into(), action: "GET /clip".into(), target: target.into(), status: 200, ..Act::default() }
}

#[test]
fn acts_are_exported_once_over_restarts_and_again_where_the_log_is_another_one() {
    let (mut site, mut cloud) = (Site::new(), Cloud::new());
    site.audit().note(looks("anna", "clip 1"));
    let mut lake = site.lake();
    lake.look().expect("look");
    assert!(!site.files().iter().any(|path| path.contains("/audit/")), "it waits for others");
    site.clock.advance(HOUR);
    // The lake of a daemon has the log that the page writes.
    lake.deps.audit.note(looks("ben", "clip 2"));
    drop(lake);
    site = site.restart();
    lake = site.lake();
    lake.look().expect("what an earlier run noted has waited");
    lake.look().expect("look");
    site.send("upload/a", &mut cloud);
    let exported = |cloud: &Cloud| {
        let rows = table(cloud, Table::Audit);
        rows.iter().map(|row| format!("{} {} {}", row["seq"], row["who"], row["target"])).collect::<Vec<_>>()
    };
    assert_eq!(exported(&cloud), ["1 anna clip 1", "2 ben clip 2"]);
    assert_eq!(all(&table(&cloud, Table::Audit), "at"), ["2026-11-22T10:00:00Z", "2026-11-22T11:00:00Z"]);
    // Another system disk.
    drop(lake);
    std::fs::remove_dir_all(site.dir.path().join("system")).expect("remove the log");
    site.clock.advance(Duration::from_secs(1));
    let audit = site.audit();
    (3..6).for_each(|n| audit.note(looks("cleo", &format!("clip {n}"))));
    site.clock.advance(HOUR);
    site.lake().look().expect("look");
    site.send("upload/a", &mut cloud);
    assert_eq!(exported(&cloud)[2..], ["1 cleo clip 3", "2 cleo clip 4", "3 cleo clip 5"]);
}

#[test]
fn what_is_said_of_an_event_is_in_its_newest_row() {
    let (site, mut cloud) = (Site::new(), Cloud::new());
    let mut lake = site.lake();
    let mut event = event(1, "2026/11/21");
    site.record(&event);
    site.clock.advance(HOUR);
    lake.look().expect("look");
    event.annotations = Some(Annotations {
        tags: vec!["courier".into(), "blue van".into()],
        note: "asked for ben".into(),
        verdict: Some(Verdict::TrueAlarm),
        by: "anna".into(),
        at: site.clock.now(),
    });
    site.record(&event);
    site.clock.advance(HOUR);
    lake.look().expect("look");
    site.send("upload/a", &mut cloud);
    let rows = table(&cloud, Table::Events);
    let columns = ["tags", "note", "verdict", "said_by", "said_at"];
    assert!(rows.len() == 2 && columns.iter().all(|column| !rows[0].contains_key(column)), "{rows:?}");
    let said = columns.map(|column| rows[1][column].as_str());
    assert_eq!(said, ["courier,blue van", "asked for ben", "true_alarm", "anna", "2026-11-22T11:00:00Z"]);
}

fn account(site: &Site, day: &str, reason: &str) -> Account {
    let from = time(&format!("{day}T00:00:00Z"));
    let until = from + HOUR;
    let state = Coverage::Offline;
    Account {
        version: Account::VERSION,
        device: "box".into(),
        camera: "yard".into(),
        day: day.parse().expect("a day"),
        written: site.clock.now(),
        complete: false,
        from,
        until: until + HOUR,
        intervals: vec![
            Interval { from, until, state, reason: Some(reason.to_owned()) },
            Interval { from: until, until: until + HOUR, state: Coverage::Uploaded, reason: None },
        ],
    }
}

fn write_account(site: &Site, account: &Account) {
    let folder = site.dir.path().join("coverage/yard");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(folder.join(account.file_name()), serde_json::to_vec(account).expect("JSON")).expect("write");
}

#[test]
fn each_version_of_a_days_account_is_exported_once_and_health_from_time_to_time() {
    let (mut site, mut cloud) = (Site::new(), Cloud::new());
    write_account(&site, &account(&site, "2026-11-22", "unplugged"));
    let mut lake = site.lake();
    for _ in 0..24 {
        lake.look().expect("look");
        site.clock.advance(HOUR / 12);
    }
    write_account(&site, &account(&site, "2026-11-22", "unplugged by hand"));
    // Samples and accounts that are not written yet survive the process.
    drop(lake);
    site = site.restart();
    lake = site.lake();
    for _ in 0..13 {
        site.clock.advance(HOUR / 12);
        lake.look().expect("look");
    }
    site.send("upload/a", &mut cloud);
    let rows = table(&cloud, Table::Coverage);
    assert_eq!(all(&rows, "state"), ["offline", "uploaded", "offline", "uploaded"]);
    assert_eq!(all(&rows, "reason"), ["unplugged", "", "unplugged by hand", ""]);
    assert_eq!(rows[0]["recorded"], rows[1]["recorded"]);
    assert_ne!(rows[0]["recorded"], rows[2]["recorded"]);
    let rows = table(&cloud, Table::Health);
    let samples = all(&rows, "outlet").iter().filter(|outlet| *outlet == "upload/a").count();
    // 24 of the first run, then at the start of the second and every five minutes; the last ones still wait.
    assert!((24 + 1..=24 + 13).contains(&samples), "{samples}");
    assert!(rows.iter().all(|row| row["free_bytes"] != "0" && row["load_level"] == "normal"), "{rows:?}");
    let numbers: std::collections::BTreeSet<_> = all(&rows, "recorded").into_iter().collect();
    assert_eq!(numbers.len(), samples, "each sample once");
}

#[test]
fn a_sample_has_the_facts_of_the_status_once_the_gauges_were_read() {
    let site = Site::new();
    let mut lake = site.lake();
    let sampled = |lake: &mut Lake, reading: Option<Reading>| {
        site.status.lock().reading = reading;
        lake.look().expect("look");
        let samples = lake.journal.samples();
        samples.into_iter().map(|sample| serde_json::to_value(sample).expect("JSON")).collect::<Vec<_>>()
    };
    assert!(sampled(&mut lake, None).is_empty(), "they are read a second after the start");
    let reading = Reading { memory_bytes: Some(77), temperature_c: Some(41.5), ..Reading::default() };
    let samples = sampled(&mut lake, Some(reading));
    let [sample] = samples.as_slice() else { panic!("{samples:?}") };
    // As in the fixture: a volume of 1000 bytes, and one camera that is online.
    let facts = ["free_bytes", "resident_bytes", "temperature_c", "load_level", "cameras", "cameras_online"];
    assert_eq!(facts.map(|fact| sample[fact].to_string()), ["600", "77", "41.5", "\"normal\"", "1", "1"]);
    site.clock.advance(HOUR / 12);
    let samples = sampled(&mut lake, None);
    assert!(
        samples.len() == 2 && samples[1]["resident_bytes"].is_null(),
        "a sensor that hangs stops nothing: {samples:?}"
    );
}
