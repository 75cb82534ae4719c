//! A broker, a listener, a queue and an alerter to put together.

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use futures::future::BoxFuture;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::{AsyncClient, Event as MqttEvent, Incoming, MqttOptions};
use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub(super) use crate::alert::fixture::FakeQueue;
use crate::alert::mqtt::*;
use crate::alert::queue::Queue;
use crate::alert::{AlertQueue, RuleAges};
use crate::clock::{Clock, Mono, SystemClock};
use crate::control::Control;
use crate::event::Event;
use crate::frame::Frame;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::status::CameraStatus;
pub(super) use crate::waiting::until;

/// A broker process; ends with the test.
pub(super) struct Mosquitto {
    pub(super) child: Child,
    pub(super) folder: TempDir,
    pub(super) port: u16,
}

impl Mosquitto {
    /// Starts on a free port; `listener` are the lines that belong to the listener (`{dir}` is its folder).
    pub(super) fn start(listener: &str) -> Self {
        let folder = tempfile::tempdir().expect("temporary folder");
        Self::start_in(folder, listener)
    }

    pub(super) fn start_in(folder: TempDir, listener: &str) -> Self {
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

    pub(super) fn spawn(folder: &Path, port: u16) -> Option<Child> {
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
    pub(super) fn stop(&mut self) {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).expect("pid");
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("stop mosquitto");
        self.child.wait().expect("wait for mosquitto");
    }

    pub(super) fn start_again(&mut self) {
        self.child = Self::spawn(self.folder.path(), self.port).expect("mosquitto starts again");
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A subscriber; outlives a broker's restart and misses nothing meanwhile.
pub(super) struct Listener {
    pub(super) messages: mpsc::UnboundedReceiver<(String, Vec<u8>, bool)>,
    pub(super) task: JoinHandle<()>,
}

impl Listener {
    pub(super) async fn subscribe(port: u16, filter: &str) -> Self {
        let mut options = MqttOptions::new(format!("listener-{}", fastrand::u64(..)), "127.0.0.1", port);
        options.set_clean_start(false).set_session_expiry_interval(Some(600)).set_max_packet_size(Some(1 << 20));
        let (client, mut eventloop) = AsyncClient::new(options, 10);
        let (out, messages) = mpsc::unbounded_channel();
        let (ready, subscribed) = tokio::sync::oneshot::channel();
        let filter = filter.to_owned();
        let task = tokio::spawn(async move {
            client.subscribe(filter, QoS::AtLeastOnce).await.expect("subscribe");
            let mut ready = Some(ready);
            loop {
                match eventloop.poll().await {
                    Ok(MqttEvent::Incoming(Incoming::SubAck(_))) => {
                        let _ = ready.take().map(|ready| ready.send(()));
                    }
                    Ok(MqttEvent::Incoming(Incoming::Publish(p))) => {
                        let topic = String::from_utf8(p.topic.to_vec()).expect("UTF-8");
                        let _ = out.send((topic, p.payload.to_vec(), p.retain));
                    }
                    Ok(_) => {}
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        });
        subscribed.await.expect("subscribed");
        Self { messages, task }
    }

    pub(super) async fn next_bytes(&mut self) -> (String, Vec<u8>, bool) {
        self.next_within(Duration::from_secs(20)).await
    }

    async fn next_within(&mut self, patience: Duration) -> (String, Vec<u8>, bool) {
        let next = tokio::time::timeout(patience, self.messages.recv());
        next.await.expect("a message in time").expect("the listener runs")
    }

    pub(super) async fn next(&mut self) -> (String, String, bool) {
        let (topic, payload, retained) = self.next_bytes().await;
        (topic, String::from_utf8(payload).expect("UTF-8"), retained)
    }

    pub(super) async fn next_seq(&mut self) -> u64 {
        self.next_seq_within(Duration::from_secs(20)).await
    }

    pub(super) async fn next_seq_within(&mut self, patience: Duration) -> u64 {
        let (topic, payload, retained) = self.next_within(patience).await;
        assert_eq!(topic, "outpost/box/camera/yard/event");
        assert!(!retained);
        let json: serde_json::Value = serde_json::from_slice(&payload).expect("JSON");
        json["seq"].as_u64().expect("seq")
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An alerter at work.
pub(super) struct Bench {
    pub(super) queue: Arc<FakeQueue>,
    pub(super) health: Health,
    pub(super) metrics: Metrics,
    pub(super) stop: CancellationToken,
    pub(super) task: JoinHandle<Result<()>>,
}

/// A box with one camera, `yard`, and one destination, `cloud`.
pub(super) fn device_context() -> DeviceContext {
    let camera = Camera {
        name: "yard".into(),
        labels: vec!["person".into()],
        zones: vec!["drive".into()],
        detects: true,
        records: true,
    };
    DeviceContext {
        site: "".into(),
        cameras: vec![camera],
        uploads: vec!["cloud".into()],
        has_temperature: true,
        control: Control::default(),
        status: Arc::new(NoStatus),
        announced: None,
    }
}

/// A status whose cameras are those that `health` knows.
struct WithCameras {
    status: Arc<dyn StatusProvider>,
    health: Health,
}

impl StatusProvider for WithCameras {
    fn report(&self) -> BoxFuture<'_, Result<Report>> {
        self.status.report()
    }

    fn cameras(&self) -> Vec<CameraStatus> {
        let cameras = self.health.cameras();
        cameras.iter().map(|(name, camera)| CameraStatus::new(name.clone(), camera, Mono::default())).collect()
    }

    fn picture(&self, camera: &str) -> Option<Frame> {
        self.status.picture(camera)
    }

    fn still(&self, event: &Event) -> Option<PathBuf> {
        self.status.still(event)
    }
}

pub(super) fn deps(queue: Arc<dyn Queue>, health: &Health, metrics: &Metrics, clock: Arc<dyn Clock>) -> Deps {
    Deps {
        device: "box".into(),
        queue: AlertQueue::fake(queue),
        object_key: None,
        posts: Arc::new(|_| Ok(None)),
        rule_ages: Arc::default(),
        health: health.clone(),
        metrics: metrics.clone(),
        clock,
    }
}

impl Bench {
    pub(super) fn start(config: Config) -> Self {
        Self::start_in(config, device_context())
    }

    pub(super) fn start_in(config: Config, device_context: DeviceContext) -> Self {
        Self::start_at(config, device_context, Arc::new(SystemClock::new()))
    }

    pub(super) fn start_at(config: Config, device_context: DeviceContext, clock: Arc<dyn Clock>) -> Self {
        Self::start_with(config, device_context, clock, RuleAges::new(), |_| ())
    }

    /// With rules that have ages of their own, and what `prepare` puts into the queue before it begins.
    pub(super) fn start_with(
        config: Config,
        device_context: DeviceContext,
        clock: Arc<dyn Clock>,
        ages: RuleAges,
        prepare: impl FnOnce(&FakeQueue),
    ) -> Self {
        let queue = Arc::new(FakeQueue::default());
        prepare(&queue);
        let (health, metrics) = (Health::default(), Metrics::new());
        let status = Arc::new(WithCameras { status: device_context.status, health: health.clone() });
        let device_context = DeviceContext { status, ..device_context };
        let deps = Deps { rule_ages: Arc::new(ages), ..deps(queue.clone(), &health, &metrics, clock) };
        let stop = CancellationToken::new();
        let backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(50), Duration::from_secs(60));
        let alerter = Alerter::new(config, deps, device_context).expect("valid config");
        let rests = Backoff::new(Duration::from_millis(100), Duration::from_secs(1), Duration::MAX);
        alerter.terms(|terms| terms.refusals = refusals::Refusals::new(rests));
        let task = tokio::spawn(alerter.run_with(stop.clone(), backoff));
        Self { queue, health, metrics, stop, task }
    }

    pub(super) fn problem(&self) -> Option<String> {
        self.health.outlets().into_iter().find(|outlet| outlet.name == OUTLET.as_str())?.last_error
    }

    pub(super) fn is_online(&self) -> bool {
        self.health.outlets().iter().any(|outlet| outlet.online == Some(true))
    }

    pub(super) async fn problem_with(&self, words: &str) {
        until(words, || self.problem().is_some_and(|problem| problem.contains(words))).await;
    }
}

pub(super) fn plain(port: u16) -> Config {
    Config { url: format!("mqtt://127.0.0.1:{port}"), ..Config::default() }
}
