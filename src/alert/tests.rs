//! The alerter against a real broker (mosquitto on a free port), with a queue in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use futures::future::BoxFuture;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event as MqttEvent, Incoming, MqttOptions};
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::{Mono, SystemClock};
use crate::health::CameraState;

pub(super) mod fixture {
    use super::super::Item;
    use crate::clock::Clock;
    use crate::event::{Clip, Event, EventId, EventKind, EventState, MediaFile, Phase, SCHEMA_VERSION};

    fn file(name: &str) -> MediaFile {
        MediaFile { file: name.to_owned(), bytes: 1000, sha256: "00".repeat(32) }
    }

    /// An alert about an event at camera `yard`.
    pub(in crate::alert) fn item(clock: &dyn Clock, seq: u64, phase: Phase) -> Item {
        let now = clock.now();
        let event = Event {
            version: SCHEMA_VERSION,
            id: EventId::from_bytes(u128::from(seq).to_be_bytes()),
            device: "box".into(),
            site: "gate".into(),
            camera: "yard".into(),
            rule: "person-in-yard".into(),
            kind: EventKind::Object,
            state: EventState::Ended,
            label: "person".into(),
            score: 0.875,
            count: 1,
            track: 3,
            zones: vec!["drive".into()],
            start: now.clone(),
            end: Some(now.clone()),
            best: None,
            model: "".into(),
            clip: Some(Clip {
                media: file("clip.mp4"),
                start: now.clone(),
                duration_s: 12.5,
                codec: "h264".into(),
                width: 1920,
                height: 1080,
                truncated: false,
            }),
            pictures: vec![file("snapshot.jpg"), file("thumb.jpg")],
        };
        Item { seq, phase, event, created: now }
    }
}

/// Waits for a state of the world; the test fails when it does not come.
async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..4000 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never came true: {what}");
}

#[derive(Default)]
struct FakeQueue {
    rows: Mutex<Rows>,
    news: Notify,
}

#[derive(Default)]
struct Rows {
    waiting: BTreeMap<u64, Item>,
    leased: BTreeSet<u64>,
    acked: Vec<u64>,
    rejected: Vec<(u64, String)>,
}

impl FakeQueue {
    fn put(&self, seqs: impl IntoIterator<Item = u64>) {
        let clock = SystemClock::new();
        let mut rows = self.rows.lock().expect("lock");
        for seq in seqs {
            rows.waiting.insert(seq, fixture::item(&clock, seq, Phase::Start));
        }
        self.news.notify_one();
    }

    fn look<T>(&self, f: impl FnOnce(&Rows) -> T) -> T {
        f(&self.rows.lock().expect("lock"))
    }
}

impl Queue for FakeQueue {
    fn lease(&self, max: usize) -> BoxFuture<'_, Result<Vec<Item>>> {
        async move {
            let mut rows = self.rows.lock().expect("lock");
            let free = rows.waiting.values().filter(|item| !rows.leased.contains(&item.seq));
            let items: Vec<Item> = free.take(max).cloned().collect();
            rows.leased.extend(items.iter().map(|item| item.seq));
            Ok(items)
        }
        .boxed()
    }

    fn ack(&self, seq: u64) -> BoxFuture<'_, Result<()>> {
        async move {
            let mut rows = self.rows.lock().expect("lock");
            assert!(rows.leased.remove(&seq), "{seq} was not leased");
            rows.waiting.remove(&seq);
            rows.acked.push(seq);
            Ok(())
        }
        .boxed()
    }

    fn release(&self, seq: u64) -> BoxFuture<'_, Result<()>> {
        async move {
            assert!(self.rows.lock().expect("lock").leased.remove(&seq), "{seq} was not leased");
            Ok(())
        }
        .boxed()
    }

    fn reject<'a>(&'a self, seq: u64, reason: &'a str) -> BoxFuture<'a, Result<()>> {
        async move {
            let mut rows = self.rows.lock().expect("lock");
            assert!(rows.leased.remove(&seq), "{seq} was not leased");
            rows.waiting.remove(&seq);
            rows.rejected.push((seq, reason.to_owned()));
            Ok(())
        }
        .boxed()
    }

    fn wait(&self) -> BoxFuture<'_, ()> {
        self.news.notified().boxed()
    }
}

/// A broker process; ends with the test.
struct Mosquitto {
    child: Child,
    folder: TempDir,
    port: u16,
}

impl Mosquitto {
    /// Starts on a free port; `listener` are the lines that belong to the listener (`{dir}` is its folder).
    fn start(listener: &str) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        Self::start_in(folder, listener)
    }

    fn start_in(folder: TempDir, listener: &str) -> Self {
        // Another process may take the port between the probe and the start: try again with another one.
        for _ in 0..10 {
            let probe = TcpListener::bind("127.0.0.1:0").expect("bind");
            let port = probe.local_addr().expect("address").port();
            drop(probe);
            let dir = folder.path().display().to_string();
            let config = format!(
                "user root\nallow_anonymous true\npersistence true\npersistence_location {dir}/\n\
                 listener {port} 127.0.0.1\n{}\n",
                listener.replace("{dir}", &dir)
            );
            std::fs::write(folder.path().join("mosquitto.conf"), config).expect("write config");
            if let Some(child) = Self::spawn(folder.path(), port) {
                return Self { child, folder, port };
            }
        }
        panic!("mosquitto does not start");
    }

    fn spawn(folder: &Path, port: u16) -> Option<Child> {
        let start = |program: &str| {
            let log = std::fs::File::create(folder.join("log")).expect("log file");
            let config = folder.join("mosquitto.conf");
            Command::new(program).arg("-c").arg(config).stdout(Stdio::null()).stderr(log).spawn()
        };
        let mut child = start("mosquitto").or_else(|_| start("/usr/sbin/mosquitto")).expect("mosquitto is installed");
        for _ in 0..1000 {
            if child.try_wait().expect("state of mosquitto").is_some() {
                return None;
            }
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Some(child);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = child.kill();
        let _ = child.wait();
        None
    }

    /// Ends it in order, so that it writes down its sessions.
    fn stop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("stop mosquitto");
        self.child.wait().expect("wait for mosquitto");
    }

    fn start_again(&mut self) {
        self.child = Self::spawn(self.folder.path(), self.port).expect("mosquitto starts again");
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody who listens; outlives a broker's restart and misses nothing meanwhile.
struct Listener {
    messages: mpsc::UnboundedReceiver<(String, String, bool)>,
    task: JoinHandle<()>,
}

impl Listener {
    async fn subscribe(port: u16, filter: &'static str) -> Self {
        let mut options = MqttOptions::new(format!("listener-{}", fastrand::u64(..)), "127.0.0.1", port);
        options.set_clean_start(false).set_session_expiry_interval(Some(600)).set_max_packet_size(Some(1 << 20));
        let (client, mut eventloop) = AsyncClient::new(options, 10);
        let (out, messages) = mpsc::unbounded_channel();
        let (ready, subscribed) = tokio::sync::oneshot::channel();
        let task = tokio::spawn(async move {
            client.subscribe(filter, QoS::AtLeastOnce).await.expect("subscribe");
            let mut ready = Some(ready);
            loop {
                match eventloop.poll().await {
                    Ok(MqttEvent::Incoming(Incoming::SubAck(_))) => {
                        let _ = ready.take().map(|ready| ready.send(()));
                    }
                    Ok(MqttEvent::Incoming(Incoming::Publish(p))) => {
                        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("UTF-8");
                        let _ = out.send((text(&p.topic), text(&p.payload), p.retain));
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        subscribed.await.expect("subscribed");
        Self { messages, task }
    }

    async fn next(&mut self) -> (String, String, bool) {
        let next = tokio::time::timeout(Duration::from_secs(20), self.messages.recv());
        next.await.expect("a message in time").expect("the listener runs")
    }

    async fn next_seq(&mut self) -> u64 {
        let (topic, payload, retained) = self.next().await;
        assert_eq!(topic, "outpost/box/camera/yard/event");
        assert!(!retained);
        let json: serde_json::Value = serde_json::from_str(&payload).expect("JSON");
        json["seq"].as_u64().expect("seq")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An alerter at work.
struct Bench {
    queue: Arc<FakeQueue>,
    health: Health,
    metrics: Metrics,
    stop: CancellationToken,
    task: JoinHandle<Result<()>>,
}

impl Bench {
    fn start(config: Config) -> Self {
        let queue = Arc::new(FakeQueue::default());
        let (health, metrics) = (Health::default(), Metrics::new());
        let deps = Deps {
            device: "box".into(),
            cameras: vec!["yard".into()],
            queue: queue.clone(),
            object_key: None,
            health: health.clone(),
            metrics: metrics.clone(),
            clock: Arc::new(SystemClock::new()),
        };
        let stop = CancellationToken::new();
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50), Duration::from_secs(60));
        let alerter = Alerter::new(config, deps).expect("valid config");
        let task = tokio::spawn(alerter.run_with(stop.clone(), backoff));
        Self { queue, health, metrics, stop, task }
    }

    fn problem(&self) -> Option<String> {
        self.health.outlets().into_iter().find(|outlet| outlet.name == OUTLET)?.last_error
    }

    fn is_online(&self) -> bool {
        self.health.outlets().iter().any(|outlet| outlet.online == Some(true))
    }

    async fn problem_with(&self, words: &str) {
        until(words, || self.problem().is_some_and(|problem| problem.contains(words))).await;
    }
}

fn plain(port: u16) -> Config {
    Config { url: format!("mqtt://127.0.0.1:{port}"), ..Config::default() }
}

#[tokio::test]
async fn alerts_arrive_in_order_and_leave_the_queue_when_the_broker_has_confirmed_them() {
    let broker = Mosquitto::start("");
    let mut listener = Listener::subscribe(broker.port, "outpost/box/camera/+/event").await;
    let bench = Bench::start(plain(broker.port));
    bench.queue.put(1..=100);
    for seq in 1..=100 {
        assert_eq!(listener.next_seq().await, seq);
    }
    until("all are acknowledged", || bench.queue.look(|rows| rows.acked.len() == 100)).await;
    assert_eq!(bench.queue.look(|rows| rows.acked.clone()), (1..=100).collect::<Vec<_>>());
    assert_eq!(bench.metrics.delivered.get_or_create(&crate::metrics::outlet(OUTLET)).get(), 100);
    bench.queue.put([101]);
    assert_eq!(listener.next_seq().await, 101);
}

#[tokio::test]
async fn a_broker_that_never_confirms_gets_no_more_than_the_window_and_nothing_is_acknowledged() {
    let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let bench = Bench::start(plain(silent.local_addr().expect("address").port()));
    bench.queue.put(1..=100);
    let (mut socket, _) = silent.accept().await.expect("connection");
    // CONNACK of MQTT 5: success, no properties.
    tokio::io::AsyncWriteExt::write_all(&mut socket, &[0x20, 0x03, 0x00, 0x00, 0x00]).await.expect("welcome");
    until("the window is full", || bench.queue.look(|rows| rows.leased.len() >= usize::from(link::WINDOW))).await;
    drop((socket, silent));
    bench.problem_with("nothing listens").await;
    until("all is back", || bench.queue.look(|rows| rows.leased.is_empty())).await;
    assert_eq!(bench.queue.look(|rows| (rows.acked.len(), rows.waiting.len())), (0, 100));
    assert!(bench.metrics.delivery_failures.get_or_create(&crate::metrics::outlet(OUTLET)).get() > 0);
}

#[tokio::test]
async fn a_broker_that_restarts_in_mid_stream_gets_every_alert_in_order() {
    let mut broker = Mosquitto::start("");
    let mut listener = Listener::subscribe(broker.port, "outpost/box/camera/+/event").await;
    let bench = Bench::start(plain(broker.port));
    bench.queue.put(1..=300);
    let mut seen = vec![];
    while seen.len() < 40 {
        seen.push(listener.next_seq().await);
    }
    broker.stop();
    bench.problem_with("nothing listens at 127.0.0.1").await;
    bench.queue.put(301..=400);
    broker.start_again();
    while seen.last() != Some(&400) {
        seen.push(listener.next_seq().await);
    }
    until("all are acknowledged", || bench.queue.look(|rows| rows.acked.len() == 400)).await;
    // A repeat is allowed (and only when the confirmation was lost); a gap or a swap is not.
    let mut highest = 0;
    for seq in seen {
        assert!(seq <= highest + 1, "{seq} came after {highest}");
        highest = highest.max(seq);
    }
    assert_eq!(highest, 400);
    assert!(bench.is_online());
}

#[tokio::test]
async fn availability_follows_the_box_and_its_cameras_and_the_last_will_speaks_when_the_line_is_cut() {
    let broker = Mosquitto::start("");
    let mut boxes = Listener::subscribe(broker.port, "outpost/box/availability").await;
    let mut cameras = Listener::subscribe(broker.port, "outpost/box/camera/yard/availability").await;
    let bench = Bench::start(plain(broker.port));
    assert_eq!(boxes.next().await.1, "online");
    assert_eq!(cameras.next().await.1, "connecting");
    for (state, told) in [(CameraState::Online, "online"), (CameraState::Offline, "offline")] {
        bench.health.camera(&"yard".into(), |camera| camera.state = state);
        assert_eq!(cameras.next().await.1, told);
    }
    bench.task.abort();
    assert_eq!(boxes.next().await.1, "offline");
    // Both are retained: whoever comes later knows, too.
    let mut late = Listener::subscribe(broker.port, "outpost/box/#").await;
    let mut told = BTreeMap::new();
    while told.len() < 2 {
        let (topic, payload, retained) = late.next().await;
        assert!(retained);
        told.insert(topic, payload);
    }
    assert_eq!(told["outpost/box/availability"], "offline");
    assert_eq!(told["outpost/box/camera/yard/availability"], "offline");
}

#[tokio::test]
async fn an_orderly_stop_says_stopped_and_gives_back_what_is_left() {
    let broker = Mosquitto::start("");
    let mut boxes = Listener::subscribe(broker.port, "outpost/box/availability").await;
    let bench = Bench::start(plain(broker.port));
    assert_eq!(boxes.next().await.1, "online");
    bench.stop.cancel();
    bench.task.await.expect("no panic").expect("orderly");
    assert_eq!(boxes.next().await.1, "stopped");
    assert!(bench.queue.look(|rows| rows.leased.is_empty()));
    // No last will follows: the next word is that of the next start.
    let again = Bench::start(plain(broker.port));
    assert_eq!(boxes.next().await.1, "online");
    again.stop.cancel();
    again.task.await.expect("no panic").expect("orderly");
}

#[tokio::test]
async fn a_wrong_password_is_named_and_a_corrected_file_counts_without_a_restart() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let passwords = folder.path().join("passwords");
    let made = Command::new("mosquitto_passwd").arg("-b").arg("-c").arg(&passwords).args(["edge", "s3cret"]).status();
    assert!(made.expect("mosquitto_passwd runs").success());
    let broker = Mosquitto::start_in(folder, "allow_anonymous false\npassword_file {dir}/passwords");
    let anonymous = Bench::start(plain(broker.port));
    anonymous.problem_with("wants to know who we are: set mqtt.username and mqtt.password_file").await;

    let password_file = broker.file("password");
    let config =
        Config { username: Some("edge".into()), password_file: Some(password_file.clone()), ..plain(broker.port) };
    let bench = Bench::start(config);
    bench.problem_with("read mqtt.password_file").await;
    std::fs::write(&password_file, "wr0ng\n").expect("write");
    bench.problem_with("does not let user \"edge\" in").await;
    assert!(!bench.problem().expect("problem").contains("wr0ng"));
    std::fs::write(&password_file, "s3cret\n").expect("write");
    until("connected", || bench.is_online()).await;
}

#[tokio::test]
async fn a_topic_that_is_not_allowed_is_tried_again_and_one_that_is_too_large_is_put_aside() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let rights = folder.path().join("rights");
    std::fs::write(&rights, "topic readwrite outpost/box/availability\ntopic read #\n").expect("write");
    let broker = Mosquitto::start_in(folder, "acl_file {dir}/rights\nmax_packet_size 6000");
    let mut listener = Listener::subscribe(broker.port, "outpost/box/camera/+/event").await;
    let bench = Bench::start(plain(broker.port));
    bench.queue.put(1..=3);
    bench.problem_with("give this user the right to write to it").await;
    assert!(bench.queue.look(|rows| rows.acked.is_empty()));
    let clock = SystemClock::new();
    let mut large = fixture::item(&clock, 4, Phase::End);
    large.event.zones = vec!["z".repeat(7000).into()];
    bench.queue.rows.lock().expect("lock").waiting.insert(4, large);
    bench.queue.put([5]);
    std::fs::write(&rights, "topic readwrite #\n").expect("write");
    let pid = i32::try_from(broker.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("pid");
    rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("reload mosquitto");
    for seq in [1, 2, 3, 5] {
        assert_eq!(listener.next_seq().await, seq);
    }
    until("all is settled", || bench.queue.look(|rows| rows.waiting.is_empty())).await;
    let rejected = bench.queue.look(|rows| rows.rejected.clone());
    assert_eq!(rejected.len(), 1);
    assert!(rejected[0].0 == 4 && rejected[0].1.contains("more than the broker takes (6000)"), "{rejected:?}");
    assert_eq!(bench.problem(), None);
}

fn openssl(folder: &Path, args: &str) {
    let status =
        Command::new("openssl").args(args.split_whitespace()).current_dir(folder).stderr(Stdio::null()).status();
    assert!(status.expect("openssl runs").success(), "openssl {args}");
}

#[tokio::test]
async fn tls_trusts_the_configured_ca_and_nobody_else() {
    let folder = tempfile::tempdir().expect("temporary folder");
    let new_key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    for ca in ["ca", "other"] {
        openssl(folder.path(), &format!("req -x509 {new_key} -keyout {ca}.key -out {ca}.crt -days 2 -subj /CN={ca}"));
    }
    openssl(
        folder.path(),
        &format!(
            "req {new_key} -keyout server.key -out server.csr -subj /CN=broker -addext subjectAltName=DNS:localhost"
        ),
    );
    openssl(
        folder.path(),
        "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -copy_extensions copy -out server.crt",
    );
    let broker =
        Mosquitto::start_in(folder, "cafile {dir}/ca.crt\ncertfile {dir}/server.crt\nkeyfile {dir}/server.key");
    let with = |host: &str, ca: &str| {
        let url = format!("mqtts://{host}:{}", broker.port);
        Bench::start(Config { url, ca_file: Some(broker.file(ca)), ..Config::default() })
    };
    let good = with("localhost", "ca.crt");
    good.queue.put([1]);
    until("delivered over TLS", || good.queue.look(|rows| rows.acked == [1])).await;
    with("localhost", "other.crt").problem_with("signed by nobody we trust: set mqtt.ca_file").await;
    with("127.0.0.1", "ca.crt").problem_with("is for another name than \"127.0.0.1\"").await;
    with("localhost", "server.key").problem_with("holds no certificate in PEM form").await;
    Bench::start(plain(broker.port)).problem_with("should it be mqtts:// instead of mqtt://?").await;

    let unencrypted = Mosquitto::start("");
    let confused = Bench::start(Config {
        url: format!("mqtts://localhost:{}", unencrypted.port),
        ca_file: Some(broker.file("ca.crt")),
        ..Config::default()
    });
    confused.problem_with("speak TLS").await;
}

#[test]
fn an_alerter_without_a_broker_or_with_a_bad_name_is_not_made() {
    let deps = |device: &str| Deps {
        device: device.into(),
        cameras: vec![],
        queue: Arc::new(FakeQueue::default()),
        object_key: None,
        health: Health::default(),
        metrics: Metrics::new(),
        clock: Arc::new(crate::clock::SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH)),
    };
    assert!(Alerter::new(Config::default(), deps("box")).is_err());
    assert!(Alerter::new(plain(1883), deps("")).is_err());
    assert!(Alerter::new(plain(1883), deps("box")).is_ok());
}
