//! Webhooks against a receiver that answers as each test wants.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::alert::AlertQueue;
use crate::alert::fixture::FakeQueue;
use crate::clock::{Clock, Mono, SimulatedClock, SystemClock};
use crate::health::Health;
use crate::metrics::Metrics;
use crate::waiting::until;

/// What the receiver does with a request.
#[derive(Clone, Copy, Debug)]
enum Reply {
    Status(u16),
    /// With a header line.
    With(u16, &'static str),
    /// Closes the connection in the middle.
    Reset,
    /// Says nothing, ever.
    Hang,
    /// A good answer whose body never ends.
    Endless,
    /// No HTTP.
    Garbage,
}

#[derive(Default)]
struct Script {
    replies: VecDeque<Reply>,
    /// Cameras whose alerts are answered in a way of their own.
    of_camera: Vec<(&'static str, Reply)>,
    /// An alert that is answered in a way of its own.
    of_alert: Option<(u64, Reply)>,
    /// Head and body of each request, and what was answered.
    seen: Vec<(String, Value, Reply)>,
}

/// A receiver; says 200 once its script is through.
struct Receiver {
    port: u16,
    script: Arc<Mutex<Script>>,
    task: JoinHandle<()>,
}

impl Receiver {
    async fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let script = Arc::new(Mutex::new(Script { replies: replies.into_iter().collect(), ..Script::default() }));
        let shared = script.clone();
        let task = tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, shared.clone()));
            }
        });
        Self { port, script, task }
    }

    fn look<T>(&self, f: impl FnOnce(&mut Script) -> T) -> T {
        f(&mut self.script.lock())
    }

    /// Numbers of the alerts that were answered well, by camera.
    fn taken(&self, camera: &str) -> Vec<u64> {
        self.look(|script| {
            let good = script.seen.iter().filter(|(.., reply)| matches!(reply, Reply::Status(200) | Reply::Endless));
            let of_camera = good.filter(|(_, body, _)| body["event"]["camera"] == camera);
            of_camera.map(|(_, body, _)| body["seq"].as_u64().expect("seq")).collect()
        })
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut socket: TcpStream, script: Arc<Mutex<Script>>) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            match socket.read(&mut chunk).await {
                Ok(read @ 1..) => bytes.extend_from_slice(&chunk[..read]),
                _ => return,
            }
            continue;
        };
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).expect("a length");
        let whole = end + 4 + length.parse::<usize>().expect("a number");
        while bytes.len() < whole {
            match socket.read(&mut chunk).await {
                Ok(read @ 1..) => bytes.extend_from_slice(&chunk[..read]),
                _ => return,
            }
        }
        let body: Value = serde_json::from_slice(&bytes[end + 4..whole]).expect("JSON");
        bytes.drain(..whole);
        let reply = {
            let mut script = script.lock();
            let own = script.of_camera.iter().find(|(camera, _)| body["event"]["camera"] == *camera);
            let alone = script.of_alert.filter(|(seq, _)| body["seq"] == *seq).map(|(_, reply)| reply);
            let reply = alone.or_else(|| own.map(|(_, reply)| *reply));
            let reply = reply.or_else(|| script.replies.pop_front()).unwrap_or(Reply::Status(200));
            script.seen.push((head, body, reply));
            reply
        };
        let said = match reply {
            Reply::Status(status) => format!("HTTP/1.1 {status} X\r\ncontent-length: 0\r\n\r\n"),
            Reply::With(status, header) => format!("HTTP/1.1 {status} X\r\n{header}\r\ncontent-length: 0\r\n\r\n"),
            Reply::Reset => return,
            Reply::Hang => std::future::pending().await,
            Reply::Garbage => "\0\u{1}\u{2} what?\r\n\r\n".to_owned(),
            Reply::Endless => {
                let _ = socket.write_all(b"HTTP/1.1 200 X\r\ntransfer-encoding: chunked\r\n\r\n").await;
                while socket.write_all(b"400\r\n").await.is_ok() && socket.write_all(&[b'x'; 0x400]).await.is_ok() {
                    if socket.write_all(b"\r\n").await.is_err() {
                        return;
                    }
                }
                return;
            }
        };
        if socket.write_all(said.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// A webhook at work.
struct Bench {
    queue: Arc<FakeQueue>,
    health: Health,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Bench {
    fn start(config: Config) -> Self {
        Self::start_at(config, Arc::new(SystemClock::new()))
    }

    fn start_at(config: Config, clock: Arc<dyn Clock>) -> Self {
        Self::start_with(config, clock, |hook| hook)
    }

    /// With the last word on the webhook.
    fn start_with(config: Config, clock: Arc<dyn Clock>, change: impl FnOnce(Webhook) -> Webhook) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let queue = Arc::new(FakeQueue::default());
        let (health, stop) = (Health::default(), CancellationToken::new());
        let deps = Deps {
            device: "box".into(),
            queue: AlertQueue::fake(queue.clone()),
            object_key: None,
            posts: Arc::new(|_| Ok(None)),
            rule_ages: Arc::default(),
            health: health.clone(),
            metrics: Metrics::new(),
            clock,
        };
        let hook = Webhook::new("office", &config, deps).expect("valid config");
        let backoff = || Backoff::new(Duration::from_millis(5), Duration::from_millis(20), Duration::from_secs(60));
        let task = tokio::spawn(change(hook.with_backoff(backoff)).run(stop.clone()));
        Self { queue, health, stop, task }
    }

    fn problem(&self) -> Option<String> {
        self.health.outlets().into_iter().find(|outlet| outlet.name == "webhook/office")?.last_error
    }

    async fn acked(&self, count: usize) {
        until(&format!("{count} are acknowledged"), || self.queue.look(|rows| rows.acked.len() >= count)).await;
    }
}

fn to(port: u16) -> Config {
    let timeout = Duration::from_secs(1);
    Config { url: format!("http://127.0.0.1:{port}/hook"), allow_http: true, timeout, ..Config::default() }
}

#[tokio::test]
async fn whatever_may_mend_itself_is_tried_again_until_it_is_taken_in_order() {
    use Reply::{Endless, Garbage, Hang, Reset, Status, With};
    let trouble = [
        Status(200),
        Status(500),
        Reset,
        Status(503),
        With(429, "Retry-After: 0"),
        Garbage,
        Status(408),
        With(302, "Location: http://127.0.0.1:1/elsewhere"),
        Hang,
        Endless,
        Status(502),
    ];
    let receiver = Receiver::start(trouble).await;
    let bench = Bench::start(to(receiver.port));
    bench.queue.put(1..=20);
    bench.acked(20).await;
    assert_eq!(receiver.taken("yard"), (1..=20).collect::<Vec<_>>());
    assert!(bench.queue.look(|rows| rows.rejected.is_empty() && rows.waiting.is_empty()));
    assert_eq!(bench.problem(), None);
    let paths = receiver.look(|script| script.seen.iter().all(|(head, ..)| head.starts_with("post /hook http/1.1")));
    assert!(paths, "no redirect was followed");
}

#[tokio::test]
async fn a_receiver_that_refuses_the_login_or_is_not_there_costs_no_alert() {
    let refusals = [401, 403, 404, 405, 407];
    let receiver = Receiver::start(refusals.map(Reply::Status)).await;
    let bench = Bench::start(Config { tries: 1, ..to(receiver.port) });
    bench.queue.put(1..=3);
    bench.acked(3).await;
    assert!(bench.queue.look(|rows| rows.rejected.is_empty()), "an alert was put aside for the receiver's fault");
    assert_eq!(receiver.look(|script| script.seen.len()), refusals.len() + 3);
}

#[tokio::test]
async fn what_the_receiver_calls_wrong_is_put_aside_after_its_tries_and_the_next_goes_on() {
    let receiver = Receiver::start([Reply::Status(410), Reply::Status(422), Reply::Status(410)]).await;
    let bench = Bench::start(Config { tries: 3, ..to(receiver.port) });
    bench.queue.put(1..=3);
    bench.acked(2).await;
    let (acked, rejected) = bench.queue.look(|rows| (rows.acked.clone(), rows.rejected.clone()));
    assert_eq!(acked, [2, 3]);
    let [(1, reason)] = rejected.as_slice() else { panic!("{rejected:?}") };
    assert!(reason.contains("does not take it (410 Gone), 3 times"), "{reason}");
    assert_eq!(receiver.look(|script| script.seen.len()), 5);
}

/// A webhook that does not wait for minutes before it blames an alert.
fn impatient(config: Config) -> Bench {
    Bench::start_with(config, Arc::new(SystemClock::new()), |hook| hook.with_patience(Duration::ZERO))
}

/// Works with: brokers | a webhook receiver that answers 5xx to one alert alone | after some minutes in which it takes others, that alert is put aside with the reason, and the camera's later ones go on
#[tokio::test]
async fn an_alert_that_the_receiver_fails_at_is_put_aside_while_it_takes_others() {
    // An answer of a broken application, of a firewall, and none at all; of an only camera, whose later alerts are what
    // shows that the receiver is well, and beside another one.
    for (reply, words) in [
        (Reply::Status(500), "fails (500 Internal Server Error)"),
        (Reply::Status(403), "403 Forbidden"),
        (Reply::Reset, "breaks the connection"),
    ] {
        let receiver = Receiver::start([]).await;
        receiver.look(|script| script.of_alert = Some((3, reply)));
        let bench = impatient(to(receiver.port));
        bench.queue.put(1..=30);
        until("it is put aside", || bench.queue.look(|rows| !rows.rejected.is_empty())).await;
        bench.acked(29).await;
        let rejected = bench.queue.look(|rows| rows.rejected.clone());
        let [(3, reason)] = rejected.as_slice() else { panic!("{rejected:?}") };
        assert!(reason.contains(words) && reason.ends_with("times, and took other alerts between them"), "{reason}");
        let others: Vec<u64> = (1..=30).filter(|seq| *seq != 3).collect();
        assert_eq!(receiver.taken("yard"), others, "the order is kept otherwise");
        until("all is well", || bench.problem().is_none()).await;
    }
}

#[tokio::test]
async fn a_receiver_that_takes_nothing_keeps_everything_waiting() {
    let receiver = Receiver::start([]).await;
    let clock = SystemClock::new();
    receiver.look(|script| script.of_camera = vec![("gate", Reply::Status(502)), ("yard", Reply::Status(502))]);
    let bench = impatient(to(receiver.port));
    bench.queue.put_at(&clock, "gate", 1..=20);
    bench.queue.put_at(&clock, "yard", 21..=40);
    until("it is tried many times", || receiver.look(|script| script.seen.len() > 100)).await;
    assert!(bench.queue.look(|rows| rows.rejected.is_empty() && rows.acked.is_empty()));
    receiver.look(|script| script.of_camera.clear());
    bench.acked(40).await;
    assert!(bench.queue.look(|rows| rows.rejected.is_empty()));
}

#[tokio::test]
async fn a_camera_that_the_receiver_fails_at_keeps_no_other_waiting() {
    let receiver = Receiver::start([]).await;
    receiver.look(|script| script.of_camera = vec![("gate", Reply::Status(500))]);
    let bench = Bench::start(to(receiver.port));
    let clock = SystemClock::new();
    bench.queue.put_at(&clock, "gate", 1..=30);
    bench.queue.put_at(&clock, "yard", 31..=60);
    bench.acked(30).await;
    assert_eq!(receiver.taken("yard"), (31..=60).collect::<Vec<_>>());
    assert!(bench.problem().expect("a problem").contains("fails (500 Internal Server Error)"));
    receiver.look(|script| script.of_camera.clear());
    bench.acked(60).await;
    assert_eq!(receiver.taken("gate"), (1..=30).collect::<Vec<_>>());
}

#[tokio::test]
async fn after_a_long_time_without_a_line_a_digest_comes_first_and_then_the_present() {
    let receiver = Receiver::start([]).await;
    let clock = Arc::new(SimulatedClock::new(Mono(0), "2026-11-22T06:00:00Z".parse().expect("a time")));
    receiver.look(|script| script.of_camera = vec![("yard", Reply::Status(503))]);
    let bench = Bench::start_at(to(receiver.port), clock.clone());
    // Some were taken out already when they grow old.
    bench.queue.put_at(&*clock, "yard", 1..=40);
    until("they are tried", || receiver.look(|script| script.seen.len() > 2)).await;
    bench.queue.put_at(&*clock, "gate", 41..=45);
    bench.acked(5).await;
    clock.advance(Duration::from_secs(3 * 24 * 3600));
    bench.queue.put_at(&*clock, "yard", [46, 47]);
    receiver.look(|script| {
        script.seen.clear();
        script.of_camera.clear();
    });
    bench.acked(47).await;
    let seen = receiver.look(|script| script.seen.clone());
    let published: Vec<_> = seen
        .iter()
        .map(|(_, body, _)| body)
        .filter(|body| body["camera"] == "yard" || body["event"]["camera"] == "yard")
        .collect();
    let digests: Vec<_> = published.iter().filter(|body| body["type"] == "digest").collect();
    let [digest] = digests.as_slice() else { panic!("{published:#?}") };
    assert_eq!((&digest["alerts"], &digest["first_seq"], &digest["seq"]), (&40.into(), &1.into(), &40.into()));
    assert_eq!(receiver.taken("yard"), [46, 47], "the present, by itself");
    let place = |wanted: &Value| published.iter().position(|body| *body == wanted).expect("published");
    assert!(place(digest) < published.iter().position(|body| body["seq"] == 46).expect("published"));
}

#[tokio::test]
async fn a_stop_gives_everything_back() {
    let receiver = Receiver::start([Reply::Hang, Reply::Hang]).await;
    let bench = Bench::start(Config { timeout: Duration::from_secs(300), ..to(receiver.port) });
    bench.queue.put(1..=30);
    until("one is on its way", || receiver.look(|script| !script.seen.is_empty())).await;
    bench.stop.cancel();
    bench.task.await.expect("no panic").expect("orderly");
    assert!(bench.queue.look(|rows| rows.leased.is_empty() && rows.waiting.len() == 30));
}

#[tokio::test]
async fn headers_and_signature_are_as_documented_and_the_secret_counts_once_its_file_is_there() {
    let receiver = Receiver::start([]).await;
    let dir = tempfile::tempdir().expect("tempdir");
    let secret = dir.path().join("secret");
    let config = Config {
        secret_file: Some(secret.clone()),
        headers: [("X-Site".to_owned(), "Farm 7".to_owned())].into(),
        ..to(receiver.port)
    };
    let bench = Bench::start(config);
    bench.queue.put([1]);
    until("the secret is missed", || bench.problem().is_some_and(|problem| problem.contains("read secret_file"))).await;
    assert!(receiver.look(|script| script.seen.is_empty()), "nothing goes out unsigned");
    std::fs::write(&secret, "0123456789abcdef\n").expect("write");
    bench.acked(1).await;
    let (head, body, _) = receiver.look(|script| script.seen[0].clone());
    for line in ["content-type: application/json", "outpost-seq: 1", "outpost-type: alert", "x-site: farm 7"] {
        assert!(head.lines().any(|known| known == line), "{line} is missing in {head}");
    }
    let signature = head.lines().find_map(|line| line.strip_prefix("outpost-signature: t=")).expect("a signature");
    let (time, mac) = signature.split_once(",v1=").expect("two parts");
    assert!(time.parse::<i64>().is_ok() && mac.len() == 64, "{signature}");
    assert_eq!((&body["type"], &body["seq"]), (&"alert".into(), &1.into()));
}

#[tokio::test]
async fn a_missing_or_broken_ca_file_is_named_and_a_mended_one_counts() {
    // A port that speaks no TLS at all.
    let receiver = Receiver::start([]).await;
    let dir = tempfile::tempdir().expect("tempdir");
    let ca = dir.path().join("ca.pem");
    let url = format!("https://127.0.0.1:{}/hook", receiver.port);
    let bench =
        Bench::start(Config { url, ca_file: Some(ca.clone()), timeout: Duration::from_secs(1), ..Config::default() });
    bench.queue.put([1]);
    let problem = |words: &'static str| {
        let bench = &bench;
        async move { until(words, || bench.problem().is_some_and(|problem| problem.contains(words))).await }
    };
    problem("read ca_file").await;
    std::fs::write(&ca, "no certificate").expect("write");
    problem("holds no certificate").await;
    let made = std::process::Command::new("openssl")
        .args(
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=x -keyout".split(' '),
        )
        .arg(dir.path().join("ca.key"))
        .arg("-out")
        .arg(&ca)
        .stderr(std::process::Stdio::null())
        .status();
    assert!(made.expect("openssl runs").success());
    problem("127.0.0.1").await;
    assert!(bench.queue.look(|rows| rows.acked.is_empty()));
}
