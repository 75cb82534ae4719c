//! What a large index costs, beside a small one: start-up, memory, and the time of a durable record. A measurement
//! and no test; `make bench` runs it.

use std::path::Path;
use std::process::Command;

use super::*;

/// Where the child finds the index that it measures.
const CHILD_STORE: &str = "OUTPOST_BENCH_STORE";
const SMALL: u64 = 1_000;
const RECORDS: usize = 1_000;

#[derive(Debug, Serialize, Deserialize)]
struct Figures {
    /// Until the store is open.
    open_ms: f64,
    /// Until newest id, open events and numbers are known too: what the daemon asks for at its start.
    ready_ms: f64,
    rss_mib: f64,
    record_p50_ms: f64,
    record_p99_ms: f64,
    /// What sled wrote for each record.
    record_kib: f64,
    page_ms: f64,
    /// Pages of 50 with their delivery, as the API gives them, from places all over the index: of all cameras, of one.
    all_p99_ms: f64,
    camera_p99_ms: f64,
    /// One look at 2000 events, of which none matches.
    nothing_p99_ms: f64,
    /// After the records and the page.
    rss_end_mib: f64,
}

/// Events, bytes of the index, and what the first and the next start on it cost.
type Measured = (u64, u64, Figures, Figures);

#[test]
#[ignore = "a measurement: make bench"]
fn a_large_index_beside_a_small_one() {
    let large = std::env::var("OUTPOST_BENCH_EVENTS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_000_000);
    let measured: [Measured; 2] = [SMALL, large].map(|events| {
        // Beside the program: a temporary folder may lie in memory, where a flush costs nothing.
        let program = std::env::current_exe().expect("own path");
        let dir = TempDir::new_in(program.parent().expect("a folder")).expect("temp dir");
        build(dir.path(), events);
        let bytes = index_bytes(&dir.path().join("index"));
        // sled reads at an open what was written since the last one: here everything, at the next one little.
        let first = in_a_process_of_its_own(dir.path());
        (events, bytes, first, in_a_process_of_its_own(dir.path()))
    });
    println!("{:<18}{:>12}{:>12}{:>9}", "events", measured[0].0, measured[1].0, "ratio");
    let line = |name: &str, of: &dyn Fn(&Measured) -> f64| {
        let (a, b) = (of(&measured[0]), of(&measured[1]));
        println!("{name:<18}{a:>12.2}{b:>12.2}{:>9.2}", b / a);
    };
    #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
    line("index MiB", &|(_, bytes, ..)| *bytes as f64 / (1 << 20) as f64);
    line("first open ms", &|(_, _, first, _)| first.open_ms);
    line("next open ms", &|(.., next)| next.open_ms);
    line("ready ms", &|(.., next)| next.ready_ms);
    line("rss MiB", &|(.., next)| next.rss_mib);
    line("record p50 ms", &|(.., next)| next.record_p50_ms);
    line("record p99 ms", &|(.., next)| next.record_p99_ms);
    line("written KiB each", &|(.., next)| next.record_kib);
    line("page of 100 ms", &|(.., next)| next.page_ms);
    line("list p99 ms", &|(.., next)| next.all_p99_ms);
    line("of a camera p99 ms", &|(.., next)| next.camera_p99_ms);
    line("no match p99 ms", &|(.., next)| next.nothing_p99_ms);
    line("rss at end MiB", &|(.., next)| next.rss_end_mib);
}

/// Events of an undelivered backlog: each with an alert and two files that wait.
fn build(path: &Path, events: u64) {
    let clock = simulated();
    let ids = IdSource::new(clock.clone(), None);
    let config = Config { path: path.to_owned(), deadline: Duration::from_secs(120), ..Config::default() };
    let store = Store::open(&config, &names(&["mqtt", "upload/a"]), clock.clone()).expect("open");
    let hash = "0123456789abcdef".repeat(4);
    for n in 0..events.div_ceil(200) {
        let changes = (n * 200..events.min((n + 1) * 200)).map(|n| {
            clock.advance(Duration::from_secs(1));
            let mut event =
                event(ids.next(), ["yard", "gate", "hall"][usize::try_from(n % 3).expect("small")], &*clock);
            event.state = EventState::Ended;
            let deliveries =
                vec![Delivery::Alert(Phase::End), upload("event.json", 900, &hash), upload("clip.mp4", 900_000, &hash)];
            change(&event, deliveries)
        });
        store.events().record_all(changes.collect()).into_iter().for_each(|outcome| outcome.expect("record"));
    }
    store.close().expect("close");
}

fn in_a_process_of_its_own(path: &Path) -> Figures {
    let output = Command::new(std::env::current_exe().expect("own path"))
        .args(["--exact", "store::tests::size::child_measures", "--ignored", "--nocapture"])
        .env(CHILD_STORE, path)
        .output()
        .expect("start");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("figures ")).unwrap_or_else(|| panic!("{text}"));
    serde_json::from_str(line).expect("figures")
}

#[test]
#[ignore = "a part of a_large_index_beside_a_small_one, which starts it as a process"]
fn child_measures() {
    let path = std::env::var(CHILD_STORE).expect("started by its parent");
    let clock = Arc::new(SystemClock::new());
    let ms = |since: Mono| clock.mono().since(since).as_secs_f64() * 1000.0;
    let config = Config { path: path.into(), deadline: Duration::from_secs(120), ..Config::default() };
    let begun = clock.mono();
    let store = Store::open(&config, &names(&["mqtt", "upload/a"]), clock.clone()).expect("open");
    let open_ms = ms(begun);
    let ids = IdSource::new(clock.clone(), store.newest_id().expect("newest"));
    store.events().open().expect("open events");
    store.stats().wait().expect("stats");
    let (ready_ms, rss_mib) = (ms(begun), rss_mib());
    let before = written_kib();
    let mut records: Vec<f64> = (0..RECORDS)
        .map(|_| {
            let change = change(&event(ids.next(), "yard", &*clock), vec![Delivery::Alert(Phase::Start)]);
            let begun = clock.mono();
            store.events().record(change).expect("record");
            ms(begun)
        })
        .collect();
    let record_kib = (written_kib() - before) / RECORDS as f64;
    records.sort_by(f64::total_cmp);
    let begun = clock.mono();
    store.events().find(&Query { camera: Some("gate".into()), ..Query::default() }).wait().expect("page");
    let page_ms = ms(begun);
    let [all_p99_ms, camera_p99_ms, nothing_p99_ms] = pages(&store, &*clock);
    let (record_p50_ms, record_p99_ms) = (records[RECORDS / 2], records[RECORDS * 99 / 100]);
    let rss_end_mib = self::rss_mib();
    let figures = Figures {
        open_ms,
        ready_ms,
        rss_mib,
        record_p50_ms,
        record_p99_ms,
        record_kib,
        page_ms,
        all_p99_ms,
        camera_p99_ms,
        nothing_p99_ms,
        rss_end_mib,
    };
    println!("\nfigures {}", serde_json::to_string(&figures).expect("JSON"));
}

/// The slowest but one in a hundred of pages of all cameras, of one camera, and of looks that find nothing.
fn pages(store: &Store, clock: &dyn Clock) -> [f64; 3] {
    let ids = store.0.read(|db| Ok((db.events.first()?, db.events.last()?))).expect("both ends");
    let number = |entry: Option<(sled::IVec, sled::IVec)>| {
        u128::from_be_bytes(entry.expect("events").0.as_ref().try_into().expect("an id"))
    };
    let (first, last) = (number(ids.0), number(ids.1));
    let gate = || vec!["gate".to_owned()];
    let searches = [
        Search { limit: 51, rows: 2000, ..Search::default() },
        Search { cameras: gate(), limit: 51, rows: 2000, ..Search::default() },
        Search { labels: vec!["bear".to_owned()], limit: 51, rows: 2000, ..Search::default() },
    ];
    searches.map(|search| {
        let mut times: Vec<f64> = (1..=200u128)
            .map(|part| {
                let before = Some(EventId::from_bytes((first + (last - first) / 200 * part).to_be_bytes()));
                let begun = clock.mono();
                let found = store.events().search(Search { before, ..search.clone() }).wait().expect("search");
                store.events().deliveries(&found.events).wait().expect("deliveries");
                clock.mono().since(begun).as_secs_f64() * 1000.0
            })
            .collect();
        times.sort_by(f64::total_cmp);
        times[times.len() * 99 / 100]
    })
}

/// What this process handed to the system to write.
fn written_kib() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").expect("io");
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: ")).expect("wchar");
    line.trim().parse::<f64>().expect("a number") / 1024.0
}

fn rss_mib() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<f64>().expect("a number") / 1024.0
}

fn index_bytes(index: &Path) -> u64 {
    let entries = std::fs::read_dir(index).expect("list");
    entries
        .map(|entry| entry.expect("entry").metadata().expect("metadata"))
        .filter(|at| at.is_file())
        .map(|at| at.len())
        .sum()
}
