//! The alerter against a real broker (mosquitto on a free port), with a queue in memory.

mod bench;
mod digests;
mod fuzz;
mod hangups;
mod refusals;
mod rogues;
mod scripted;
mod states;
mod versions;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::Result;
use bench::{Bench, FakeQueue, Listener, Mosquitto, deps, device_context, plain, until};
use futures::FutureExt;
use futures::future::BoxFuture;

use super::*;
use crate::alert::queue::Queue;
use crate::alert::{Taken, fixture};
use crate::clock::{Mono, SimulatedClock, SystemClock};
use crate::event::Phase;
use crate::health::{CameraState, Health, StoreState};
use crate::metrics::Metrics;
use crate::supervise::{Hang, Heartbeats, Spec, Supervisor};

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
    assert_eq!(bench.metrics.delivered.get_or_create(&crate::metrics::outlet(OUTLET.as_str())).get(), 100);
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
    assert!(bench.metrics.delivery_failures.get_or_create(&crate::metrics::outlet(OUTLET.as_str())).get() > 0);
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
    for (state, published) in [(CameraState::Online, "online"), (CameraState::Offline, "offline")] {
        bench.health.camera(&"yard".into(), |camera| camera.state = state);
        assert_eq!(cameras.next().await.1, published);
    }
    let mut index = Listener::subscribe(broker.port, "outpost/box/store").await;
    assert_eq!(index.next().await.1, "ok");
    bench.health.note_store(|store| store.state = StoreState::Rebuilding);
    assert_eq!(index.next().await.1, "rebuilding");
    bench.task.abort();
    assert_eq!(boxes.next().await.1, "offline");
    // All are retained: later subscribers get them, too.
    let mut late = Listener::subscribe(broker.port, "outpost/box/#").await;
    let mut published = BTreeMap::new();
    let awaited = ["outpost/box/store", "outpost/box/availability", "outpost/box/camera/yard/availability"];
    while !awaited.iter().all(|topic| published.contains_key(*topic)) {
        let (topic, payload, retained) = late.next().await;
        assert!(retained, "{topic}");
        published.insert(topic, payload);
    }
    assert_eq!(published["outpost/box/store"], "rebuilding");
    assert_eq!(published["outpost/box/availability"], "offline");
    assert_eq!(published["outpost/box/camera/yard/availability"], "offline");
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
    anonymous.problem_with("asks for a login: set mqtt.username and mqtt.password_file").await;

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
    std::fs::write(
        &rights,
        "topic readwrite outpost/box/availability\ntopic readwrite outpost/box/store\ntopic read #\n",
    )
    .expect("write");
    let broker = Mosquitto::start_in(folder, "acl_file {dir}/rights\nmax_packet_size 6000");
    let mut listener = Listener::subscribe(broker.port, "outpost/box/camera/+/event").await;
    let bench = Bench::start(plain(broker.port));
    bench.queue.put(1..=3);
    bench.problem_with("give this user the right to write to it").await;
    assert!(bench.queue.look(|rows| rows.acked.is_empty()));
    let clock = SystemClock::new();
    let mut large = fixture::item(&clock, 4, Phase::End);
    large.event.zones = vec!["z".repeat(7000).into()];
    bench.queue.rows.lock().waiting.insert(4, large);
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
async fn tls_trusts_the_configured_ca_alone() {
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
    with("localhost", "other.crt").problem_with("signed by an unknown authority: set mqtt.ca_file").await;
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
    let make = |config: Config, device: &str| {
        let clock = Arc::new(SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH));
        let deps = deps(Arc::new(FakeQueue::default()), &Health::default(), &Metrics::new(), clock);
        Alerter::new(config, Deps { device: device.into(), ..deps }, device_context())
    };
    assert!(make(Config::default(), "box").is_err());
    assert!(make(plain(1883), "").is_err());
    assert!(make(plain(1883), "box").is_ok());
}

/// A queue that never answers the first caller.
struct Mute {
    queue: Arc<FakeQueue>,
    asked: AtomicU32,
}

impl Queue for Mute {
    fn lease(&self, max: usize) -> BoxFuture<'_, Result<Vec<Taken>>> {
        match self.asked.fetch_add(1, Ordering::SeqCst) {
            0 => futures::future::pending().boxed(),
            _ => self.queue.lease(max),
        }
    }

    fn ack(&self, seq: u64) -> BoxFuture<'_, Result<()>> {
        self.queue.ack(seq)
    }

    fn release(&self, seq: u64) -> BoxFuture<'_, Result<()>> {
        self.queue.release(seq)
    }

    fn reject<'a>(&'a self, seq: u64, reason: &'a str) -> BoxFuture<'a, Result<()>> {
        self.queue.reject(seq, reason)
    }

    fn wait(&self) -> BoxFuture<'_, ()> {
        self.queue.wait()
    }
}

#[tokio::test]
async fn an_alerter_that_hangs_is_restarted_and_delivers() {
    let broker = Mosquitto::start("");
    let mut listener = Listener::subscribe(broker.port, "outpost/box/camera/+/event").await;
    let queue = Arc::new(Mute { queue: Arc::default(), asked: AtomicU32::new(0) });
    queue.queue.put(1..=3);
    let (metrics, stop, config) = (Metrics::new(), CancellationToken::new(), plain(broker.port));
    let deps = deps(queue.clone(), &Health::default(), &metrics, Arc::new(SystemClock::new()));
    let time = Arc::new(SimulatedClock::new(Mono(1), jiff::Timestamp::UNIX_EPOCH));
    let patience = Duration::from_millis(40);
    let mut supervisor = Supervisor::new(stop.clone(), &Heartbeats::new(time.clone()), &metrics);
    supervisor.task(Spec::new("alerts").heartbeat(patience, Hang::Replace { most: 1 }), move |part| {
        let alerter = Alerter::new(config.clone(), deps.clone(), device_context())
            .map(|alerter| alerter.with_heartbeat(part.heartbeat().clone()));
        async move { alerter?.run(part.stop().clone()).await }
    });
    let supervised = supervisor.start(Duration::from_secs(5));
    until("it hangs", || queue.asked.load(Ordering::SeqCst) == 1).await;
    time.advance(Duration::from_secs(1));
    for seq in 1..=3 {
        assert_eq!(listener.next_seq().await, seq);
    }
    assert_eq!(metrics.part_restarts.get_or_create(&crate::metrics::part("alerts")).get(), 1);
    supervised.stop().await.expect("stopped");
}
