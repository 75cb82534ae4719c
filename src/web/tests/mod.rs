//! All routes over a real socket, with services over a real index and archive in a temporary folder.

mod access;
mod all_pages;
mod camera_config;
mod compression;
mod connections;
mod event_changes;
mod events;
mod executions;
mod fuzz;
mod library;
mod live;
mod models;
mod openapi;
mod proxy_login;
mod queue;
mod search;
mod shares;
mod stream;
mod switches;
mod texts;
mod timeline;
mod whip;

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::service::fixture::{Bench, id};

struct Site {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
    bench: Bench,
    page: Page,
    folder: tempfile::TempDir,
}

struct Answer {
    status: u16,
    headers: HashMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    fn json(&self) -> serde_json::Value {
        assert_eq!(self.headers["content-type"], "application/json", "{}", self.text());
        serde_json::from_slice(&self.body).expect("JSON")
    }

    /// A problem in the one form that all have.
    fn problem(&self) -> serde_json::Value {
        assert_eq!(self.headers["content-type"], "application/problem+json", "{}", self.text());
        let problem: serde_json::Value = serde_json::from_slice(&self.body).expect("JSON");
        assert_eq!(problem["status"], self.status, "{problem}");
        let code = problem["code"].as_str().expect("a code");
        assert_eq!(problem["type"], format!("/api/v1/problems/{code}"));
        assert!(problem["title"].is_string() && problem["detail"].is_string(), "{problem}");
        problem
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map(String::as_str).unwrap_or_default()
    }
}

impl Site {
    async fn open(bench: Bench) -> Self {
        Self::open_with(bench, Config::default()).await
    }

    /// On a port of its own, whatever `config` says.
    async fn open_with(bench: Bench, config: Config) -> Self {
        let folder = tempfile::tempdir().expect("tempdir");
        let config = Config { listen: (config.listen.ip(), 0).into(), ..config };
        let place = PageDeps { folder: folder.path().to_owned(), clock: bench.clock.clone() };
        let stop = CancellationToken::new();
        let page = Page::new(config, bench.services.clone(), place, stop.clone());
        let opened = page.open().await.expect("open");
        let address = opened.addresses()[0];
        let (served, stopped) = (page.clone(), stop.clone());
        let task = tokio::spawn(async move { served.serve(opened, stopped).await });
        Self { address, stop, task, bench, page, folder }
    }

    async fn ask(&self, method: &str, target: &str, headers: &str) -> Answer {
        let host = if headers.to_ascii_lowercase().contains("host:") {
            String::new()
        } else {
            format!("Host: {}\r\n", self.address)
        };
        self.send(&format!("{method} {target} HTTP/1.1\r\n{host}{headers}Connection: close\r\n\r\n")).await
    }

    async fn get(&self, target: &str) -> Answer {
        self.ask("GET", target, "").await
    }

    async fn send(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut stream = TcpStream::connect(self.address).await.expect("connect");
        stream.write_all(request.as_ref()).await.expect("ask");
        let mut raw = Vec::new();
        stream.read_to_end(&mut raw).await.expect("answer");
        let split = raw.windows(4).position(|w| w == b"\r\n\r\n").expect("a head");
        let head = String::from_utf8(raw[..split].to_vec()).expect("UTF-8");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("status").parse().expect("number");
        let headers =
            lines.filter_map(|line| line.split_once(": ")).map(|(k, v)| (k.to_ascii_lowercase(), v.to_owned()));
        Answer { status, headers: headers.collect(), body: raw[split + 4..].to_vec() }
    }
}

/// A box with event 4 and some of its files.
async fn with_files() -> Bench {
    let bench = Bench::new();
    bench.record(4, "yard", Vec::new()).await;
    let folder = bench.folder(4, "yard");
    std::fs::write(folder.join("digits.mp4"), "0123456789").expect("write");
    std::fs::write(folder.join("event.json"), "{}").expect("write");
    std::fs::create_dir(folder.join("folder")).expect("folder");
    bench
}

/// A box whose index is out of service.
fn broken() -> Bench {
    let bench = Bench::new();
    bench.store.clone().close().expect("close the store");
    bench
}

fn media(file: &str) -> String {
    format!("/api/v1/events/{}/{file}", id(4))
}

#[tokio::test]
async fn health_readiness_and_metrics() {
    let site = Site::open(Bench::new()).await;
    assert_eq!(site.get("/healthz").await.text(), "ok\n");
    assert_eq!(site.get("/readyz").await.status, 200);
    let metrics = site.get("/metrics").await;
    assert_eq!(metrics.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(metrics.text().ends_with("# EOF\n") && metrics.text().contains("disk_free_bytes"), "{}", metrics.text());
    let recorder = site.bench.heartbeats.register("recorder yard", Duration::from_secs(60), true);
    site.bench.clock.advance(Duration::from_secs(90));
    let answer = site.get("/readyz").await;
    assert_eq!((answer.status, answer.text()), (503, "recorder yard shows no life for 90 s\n"));
    recorder.beat();
    assert_eq!(site.get("/readyz").await.status, 200);
    let ill = Site::open(broken()).await;
    assert_eq!(ill.get("/readyz").await.status, 503);
    assert_eq!(ill.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn the_status_has_a_sentence_and_units_and_a_failure_shows_no_detail() {
    let site = Site::open(Bench::new()).await;
    let status = site.get("/api/v1/status").await.json();
    let text = status["summary"]["text"].as_str().expect("a sentence");
    // The disk of the tests' folders is a real one.
    let text = text.strip_suffix("; the disk is almost full").unwrap_or(text);
    assert_eq!(text, "The camera is recording, nothing waits for delivery");
    assert_eq!((&status["device"], &status["uptime_s"]), (&"box-7".into(), &90.into()));
    assert_eq!((&status["cameras"][0]["state"], &status["cameras"][0]["state_for_s"]), (&"online".into(), &7.into()));
    assert!(status["disk"]["free_bytes"].as_u64() > Some(0), "{status}");
    let site = Site::open(broken()).await;
    let answer = site.get("/api/v1/status").await;
    assert_eq!((answer.status, &answer.problem()["code"]), (500, &"internal".into()));
    let detail = site.bench.store.stats().wait().expect_err("closed").to_string();
    assert!(!detail.is_empty() && !answer.text().contains(&detail), "{}", answer.text());
}

#[tokio::test]
async fn events_come_in_pages_until_there_are_no_more() {
    let bench = Bench::new();
    for n in 1..=9 {
        bench.record(n, if n % 2 == 0 { "yard" } else { "gate" }, Vec::new()).await;
    }
    let site = Site::open(bench).await;
    let mut target = "/api/v1/events?limit=4".to_owned();
    let mut sizes = vec![];
    loop {
        let page = site.get(&target).await.json();
        sizes.push(page["events"].as_array().expect("list").len());
        assert_eq!(page["events"][0]["delivery"][0]["state"], "delivered");
        let Some(next) = page["next"].as_str() else { break };
        target = format!("/api/v1/events?limit=4&before={next}");
    }
    assert_eq!(sizes, [4, 4, 1]);
    let exact = site.get("/api/v1/events?limit=9").await.json();
    assert!(exact.get("next").is_none(), "nothing follows a full last page");
    let of_one = site.get("/api/v1/events?camera=yard&label=person").await.json();
    assert_eq!(of_one["events"].as_array().expect("list").len(), 4);
    let of_none = site.get("/api/v1/events?camera=yard&label=car").await.json();
    assert_eq!(of_none["events"].as_array().expect("list").len(), 0);
}

#[tokio::test]
async fn bad_parameters_are_named_with_what_is_allowed() {
    let site = Site::open(Bench::new()).await;
    let long = format!("camera={}", "x".repeat(2000));
    let cases = [
        ("limit=0", "limit", "0", "1 to 200"),
        ("limit=201", "limit", "201", "1 to 200"),
        ("limit=many", "limit", "many", "1 to 200"),
        ("limit=-1", "limit", "-1", "1 to 200"),
        ("limit=1&limit=2", "limit", "2", "once"),
        ("before=yesterday", "before", "yesterday", "id of an event"),
        ("camera=", "camera", "", "1 to 200 bytes"),
        ("offset=3", "offset", "3", "camera, label, zone, rule, state"),
        (long.as_str(), "camera", &long[7..107], "1 to 200 bytes"),
    ];
    for (query, name, value, allowed) in cases {
        let answer = site.get(&format!("/api/v1/events?{query}")).await;
        assert_eq!(answer.status, 400, "{query}");
        let error = answer.problem();
        assert_eq!((&error["parameter"]["name"], &error["parameter"]["value"]), (&name.into(), &value.into()));
        assert!(error["parameter"]["allowed"].as_str().expect("text").contains(allowed), "{error}");
        assert!(answer.body.len() < 1000);
    }
    for odd in ["%", "%zz=%ff", "&&&", "camera=%00", "=", "label=%F0%9F%90%95"] {
        let answer = site.get(&format!("/api/v1/events?{odd}")).await;
        assert!(answer.status == 200 || answer.status == 400, "{odd}: {}", answer.status);
    }
    let huge = site.get(&format!("/api/v1/events?camera={}", "x".repeat(50_000))).await;
    assert_eq!(huge.status, 414);
}

#[tokio::test]
async fn one_event_and_its_files_with_ranges() {
    let site = Site::open(with_files().await).await;
    let event = site.get(&format!("/api/v1/events/{}", id(4))).await;
    assert_eq!(event.json()["event"]["camera"], "yard");
    let whole = site.get(&media("digits.mp4")).await;
    assert_eq!((whole.status, whole.text(), whole.header("content-type")), (200, "0123456789", "video/mp4"));
    assert_eq!((whole.header("accept-ranges"), whole.header("content-length")), ("bytes", "10"));
    let cases = [
        ("bytes=2-5", 206, "2345", "bytes 2-5/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=0-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=10-", 416, "", "bytes */10"),
        ("nonsense", 200, "0123456789", ""),
    ];
    for (range, status, body, content_range) in cases {
        let answer = site.ask("GET", &media("digits.mp4"), &format!("Range: {range}\r\n")).await;
        assert_eq!(
            (answer.status, answer.text(), answer.header("content-range")),
            (status, body, content_range),
            "{range}"
        );
        assert_eq!(answer.header("content-length"), body.len().to_string(), "{range}");
    }
    let tag = whole.header("etag");
    let same = site.ask("GET", &media("digits.mp4"), &format!("If-None-Match: {tag}\r\n")).await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    let changed = site.ask("GET", &media("digits.mp4"), "Range: bytes=0-1\r\nIf-Range: \"old\"\r\n").await;
    assert_eq!((changed.status, changed.text()), (200, "0123456789"));
    let current = site.ask("GET", &media("digits.mp4"), &format!("Range: bytes=0-1\r\nIf-Range: {tag}\r\n")).await;
    assert_eq!((current.status, current.text()), (206, "01"));
    let head = site.ask("HEAD", &media("digits.mp4"), "").await;
    assert_eq!((head.status, head.header("content-length"), head.body.len()), (200, "10", 0));
    assert_eq!(site.get(&media("event.json")).await.text(), "{}");
}

#[tokio::test]
async fn a_large_file_arrives_whole() {
    let bench = with_files().await;
    let bytes: Vec<u8> = (0..1_000_003u32).map(|n| u8::try_from(n % 251).expect("small")).collect();
    std::fs::write(bench.folder(4, "yard").join("digits.mp4"), &bytes).expect("write");
    let site = Site::open(bench).await;
    assert_eq!(site.get(&media("digits.mp4")).await.body, bytes);
    let part = site.ask("GET", &media("digits.mp4"), "Range: bytes=65530-500000\r\n").await;
    assert_eq!(part.body, bytes[65_530..=500_000]);
}

#[tokio::test]
async fn what_the_event_does_not_list_is_not_served() {
    let bench = with_files().await;
    let folder = bench.folder(4, "yard");
    for folder in [folder.as_path(), folder.parent().unwrap_or(Path::new("."))] {
        std::fs::write(folder.join("secret"), "s3cret").expect("write");
    }
    let site = Site::open(bench).await;
    let names = [
        "secret",
        "..%2fsecret",
        "%2e%2e%2fsecret",
        "..",
        "%2fetc%2fpasswd",
        "..%5csecret",
        "digits.mp4%00",
        "digits.mp4%2f..%2fsecret",
        "%ff",
    ];
    for name in names {
        let answer = site.get(&media(name)).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (404, &"not_found".into()), "{name}");
    }
    for target in ["/../../etc/passwd", "/assets/../mod.rs", "/assets/%2e%2e%2fmod.rs", "/assets/index.html"] {
        assert_eq!(site.get(target).await.status, 404, "{target}");
    }
    // Listed, but not there (any more), or no file at all.
    for name in ["gone.jpg", "folder"] {
        let answer = site.get(&media(name)).await;
        assert!(answer.status == 404 && answer.text().contains("is not on this box any more"), "{name}");
    }
    for id in ["01KAMZXQ5D3V7N2WJ8R4T6Y9BC", "no-id", "%ff"] {
        assert_eq!(site.get(&format!("/api/v1/events/{id}")).await.status, 404);
        assert_eq!(site.get(&format!("/api/v1/events/{id}/event.json")).await.status, 404);
    }
}

#[tokio::test]
async fn the_newest_frame_is_a_small_jpeg_and_its_lack_is_explained() {
    let site = Site::open(Bench::new()).await;
    for _ in 0..2 {
        let frame = site.get("/api/v1/cameras/yard/frame.jpg?t=1").await;
        assert_eq!((frame.status, frame.header("content-type")), (200, "image/jpeg"));
        let picture = image::load_from_memory(&frame.body).expect("a JPEG");
        assert_eq!((picture.width(), picture.height()), (640, 360));
    }
    let lost = site.get("/api/v1/cameras/lost/frame.jpg").await;
    assert_eq!((lost.status, &lost.problem()["code"]), (503, &"no_picture".into()), "it is not of now");
    for camera in ["lost", "yard"] {
        let last = site.get(&format!("/api/v1/cameras/{camera}/last.jpg")).await;
        assert_eq!((last.status, last.header("content-type")), (200, "image/jpeg"), "{camera}");
    }
    assert_eq!(site.get("/api/v1/cameras/dark%2F%20side/last.jpg").await.status, 503);
    let dark = site.get("/api/v1/cameras/dark%2F%20side/frame.jpg").await;
    assert_eq!((dark.status, &dark.problem()["code"]), (503, &"no_picture".into()));
    let unknown = site.get("/api/v1/cameras/attic/frame.jpg").await;
    assert_eq!((unknown.status, &unknown.problem()["code"]), (404, &"not_found".into()));
}

#[tokio::test]
async fn wrong_paths_and_methods_get_json_or_a_page() {
    let site = Site::open(Bench::new()).await;
    for target in ["/api", "/api/", "/api/v1", "/api/v2/status", "/api/v1/events/x/y/z", "/api/v1/problems/none"] {
        let answer = site.get(target).await;
        assert_eq!((answer.status, &answer.problem()["code"]), (404, &"not_found".into()), "{target}");
    }
    let page = site.get("/nothing").await;
    assert_eq!((page.status, page.header("content-type")), (404, "text/html; charset=utf-8"));
    for method in ["POST", "PUT", "DELETE", "PATCH"] {
        let answer = site.ask(method, "/api/v1/status", "Content-Length: 0\r\n").await;
        assert_eq!((answer.status, &answer.problem()["code"]), (405, &"method_not_allowed".into()), "{method}");
        assert_eq!(site.ask(method, "/", "Content-Length: 0\r\n").await.status, 405);
    }
}

#[tokio::test]
async fn each_problem_is_documented_where_its_type_says() {
    let site = Site::open(Bench::new()).await;
    let all = site.get("/api/v1/problems").await.json();
    let all = all["problems"].as_array().expect("a list");
    assert_eq!(all.len(), problem::Code::ALL.len());
    for documented in all {
        let one = site.get(documented["type"].as_str().expect("a path")).await;
        assert_eq!((one.status, &one.json()), (200, documented));
    }
    let wrong = site.get("/api/v1/events?limit=0").await.problem();
    let documented = site.get(wrong["type"].as_str().expect("a path")).await.json();
    assert_eq!(
        ["code", "status", "title"].map(|name| &documented[name]),
        ["code", "status", "title"].map(|name| &wrong[name])
    );
}

#[tokio::test]
async fn a_request_for_another_host_is_turned_away_on_every_route() {
    let site = Site::open(Bench::new()).await;
    for target in ["/", "/api/v1/status", "/healthz", "/metrics", "/nothing"] {
        let answer = site.ask("GET", target, "Host: evil.example\r\n").await;
        assert_eq!((answer.status, &answer.problem()["code"]), (421, &"wrong_host".into()), "{target}");
    }
    assert_eq!(site.ask("GET", "/healthz", "Host: localhost:9999\r\n").await.status, 200);
    assert_eq!(site.ask("GET", "http://evil.example/healthz", "Host: localhost\r\n").await.status, 421);
    assert_eq!(site.ask("GET", "http://localhost/healthz", "Host: evil.example\r\n").await.status, 421);
    assert_eq!(site.ask("GET", "/healthz", "Host: localhost\r\nHost: evil.example\r\n").await.status, 421);
    for target in ["/healthz", "/readyz"] {
        assert_eq!(site.send(&format!("GET {target} HTTP/1.0\r\n\r\n")).await.status, 200, "{target}");
    }
    assert_eq!(site.send("GET /api/v1/status HTTP/1.0\r\n\r\n").await.status, 421);
    assert_eq!(site.send("GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n").await.status, 421);
}

#[tokio::test]
async fn a_stop_ends_open_connections() {
    let bench = with_files().await;
    // Sparse, and more than any socket buffer holds.
    let clip = std::fs::File::create(bench.folder(4, "yard").join("digits.mp4")).expect("file");
    clip.set_len(1 << 30).expect("length");
    let site = Site::open(bench).await;
    let requests = [
        String::new(),
        "GET /healthz HTTP/1.1\r\nHost: local".to_owned(),
        format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", media("digits.mp4")),
    ];
    let mut guests = vec![];
    for request in requests {
        let mut guest = TcpStream::connect(site.address).await.expect("connect");
        guest.write_all(request.as_bytes()).await.expect("write");
        guests.push(guest);
    }
    // The download has begun, and the client does not read on.
    guests[2].readable().await.expect("an answer");
    assert_eq!(site.get("/healthz").await.status, 200);
    site.stop.cancel();
    let soon = Duration::from_secs(120);
    tokio::time::timeout(soon, site.task).await.expect("the server ends").expect("no panic").expect("orderly");
    for mut guest in guests {
        let mut rest = Vec::new();
        // Whether orderly or cut: the other side sees the end.
        let _ = tokio::time::timeout(soon, guest.read_to_end(&mut rest)).await.expect("the connection ends");
        assert!(rest.len() < 1 << 30);
    }
    assert!(TcpStream::connect(site.address).await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_taken_port_and_a_foreign_address_are_explained() {
    let bench = Bench::new();
    let first = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let listen = first.local_addr().expect("address");
    let said = |config: Config| {
        let place = PageDeps { folder: "/nowhere".into(), clock: bench.clock.clone() };
        let page = Page::new(config, bench.services.clone(), place, CancellationToken::new());
        async move { format!("{:#}", page.open().await.err().expect("refused")) }
    };
    let message = said(Config { listen, ..Config::default() }).await;
    let expected = format!("port {} is taken by another program", listen.port());
    assert!(message.contains(&expected) && message.contains("set web.listen"), "{message}");
    let foreign = Config { listen: "192.0.2.1:8080".parse().expect("address"), ..Config::default() };
    let message = said(foreign).await;
    assert!(message.contains("192.0.2.1 is no address of this box"), "{message}");
}
