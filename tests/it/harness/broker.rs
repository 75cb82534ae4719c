//! Mosquitto, and mosquitto_sub as the witness of what went out.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use parking_lot::Mutex;
use serde_json::Value;

use super::process::{Process, run};
use super::tls::Certificate;
use super::{Scratch, port, seconds, wait_until};

pub const USER: &str = "edge";
pub const PASSWORD: &str = "s3cret-broker";

/// A broker with a password, and with TLS on request.
#[derive(Debug)]
pub struct Broker {
    port: u16,
    config: PathBuf,
    log: PathBuf,
    authority: Option<PathBuf>,
    process: Option<Process>,
}

impl Broker {
    /// Starts a plain one.
    pub fn start(scratch: &Scratch) -> Self {
        Self::prepare(scratch, None)
    }

    /// Starts one that speaks TLS only, with a certificate for `localhost` and `127.0.0.1`.
    pub fn start_tls(scratch: &Scratch) -> Self {
        Self::prepare(scratch, Some(Certificate::make(scratch)))
    }

    /// Starts a plain one that keeps for its subscribers also what has QoS 0. To a subscriber of QoS 0 it passes on
    /// a message before it confirms it, so that whatever was confirmed is on its way even if the broker is killed.
    pub fn start_for_a_witness(scratch: &Scratch) -> Self {
        let mut broker = Self::prepare(scratch, None);
        broker.stop();
        let text = std::fs::read_to_string(&broker.config).expect("read the broker's config");
        std::fs::write(&broker.config, format!("queue_qos0_messages true\n{text}")).expect("write the broker's config");
        broker.resume();
        broker
    }

    fn prepare(scratch: &Scratch, tls: Option<Certificate>) -> Self {
        let port = port::free();
        let name = |what: &str| scratch.path(&format!("mosquitto-{port}{what}"));
        let (data, passwords, config) = (name(""), name(".passwd"), name(".conf"));
        std::fs::create_dir(&data).expect("make the broker's folder");
        run(Command::new("mosquitto_passwd").args(["-b", "-c"]).arg(&passwords).args([USER, PASSWORD]));
        // It keeps its user, so that it can read what only the owner of the test may read, and so that the
        // kernel still ends it together with the test.
        let mut text = format!(
            "user {}\nper_listener_settings false\nallow_anonymous false\npassword_file {}\n\
             persistence true\nlog_type error\nlog_type warning\nlog_type notice\npersistence_location {}/\nautosave_interval 1\nlistener {port} 127.0.0.1\n",
            run(Command::new("id").arg("-un")).trim(),
            passwords.display(),
            data.display()
        );
        if let Some(Certificate { authority, certificate, key }) = &tls {
            text += &format!(
                "cafile {}\ncertfile {}\nkeyfile {}\n",
                authority.display(),
                certificate.display(),
                key.display()
            );
        }
        std::fs::write(&config, text).expect("write the broker's config");
        let authority = tls.map(|tls| tls.authority);
        let mut broker = Self { port, config, log: name(".log"), authority, process: None };
        broker.resume();
        broker
    }

    /// Starts it again, with what it had kept, after [`Broker::stop`].
    pub fn resume(&mut self) {
        let arguments = ["-c".as_ref(), self.config.as_os_str()];
        let mut process = Process::start("mosquitto", "/usr/sbin/mosquitto", &arguments, self.log.clone());
        let address = ("127.0.0.1", self.port);
        process.wait_ready(seconds(20), |_| std::net::TcpStream::connect(address).is_ok());
        self.process = Some(process);
    }

    /// Stops it; it writes down what it holds for absent subscribers.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(seconds(20));
        }
    }

    /// Kills it: what it holds for absent subscribers is lost.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// `mqtt://` or `mqtts://` address.
    pub fn url(&self) -> String {
        let scheme = if self.authority.is_some() { "mqtts" } else { "mqtt" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// The certificate authority that signed its certificate, if it speaks TLS.
    pub fn authority(&self) -> Option<&PathBuf> {
        self.authority.as_ref()
    }

    /// How often a client of this name has come so far.
    fn visits(&self, client: &str) -> usize {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let visit = format!(" as {client} (");
        log.lines().filter(|line| line.contains("New client connected") && line.contains(&visit)).count()
    }

    fn client_arguments(&self) -> Vec<String> {
        let mut arguments: Vec<String> =
            ["-V", "5", "-h", "127.0.0.1", "-u", USER, "-P", PASSWORD].map(str::to_owned).to_vec();
        arguments.extend(["-p".to_owned(), self.port.to_string()]);
        if let Some(authority) = &self.authority {
            arguments.extend(["--cafile".to_owned(), authority.display().to_string()]);
        }
        arguments
    }

    /// Publishes one message, as a neighbour of the daemon would.
    pub fn publish(&self, topic: &str, payload: &str) {
        let arguments = self.client_arguments();
        run(Command::new("mosquitto_pub").args(arguments).args(["-q", "1", "-t", topic, "-m", payload]));
    }
}

/// One message as it was received.
#[derive(Clone, Debug)]
pub struct Message {
    pub topic: String,
    pub retain: bool,
    pub payload: String,
}

impl Message {
    /// The payload as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.payload).unwrap_or_else(|e| panic!("{}: {e}: {}", self.topic, self.payload))
    }
}

/// Receives everything below a prefix, without a gap over restarts of the broker: its session is
/// kept by the broker, and all is delivered at least once.
#[derive(Debug)]
pub struct Subscriber {
    log: PathBuf,
    /// What was read of the log so far, and how much of it that is.
    read: Mutex<(Vec<Message>, u64)>,
    _process: Process,
}

impl Subscriber {
    /// Subscribes to `filter`; when this returns, the broker knows.
    pub fn start(scratch: &Scratch, broker: &Broker, filter: &str) -> Self {
        Self::subscribe(scratch, broker, filter, "1")
    }

    /// The same with QoS 0; see [`Broker::start_for_a_witness`].
    pub fn start_at_once(scratch: &Scratch, broker: &Broker, filter: &str) -> Self {
        Self::subscribe(scratch, broker, filter, "0")
    }

    fn subscribe(scratch: &Scratch, broker: &Broker, filter: &str, qos: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let id = format!("witness-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let log = scratch.path(&format!("{id}.log"));
        let mut arguments = broker.client_arguments();
        arguments.extend(["-c", "-x", "3600", "-q", qos, "-i", &id, "-t", filter].map(str::to_owned));
        // Once to lay the session, once to stay.
        run(Command::new("mosquitto_sub").args(&arguments).arg("-E"));
        arguments.extend(["-F", "%j"].map(str::to_owned));
        let process = Process::start("mosquitto_sub", "mosquitto_sub", &arguments, log.clone());
        // It comes back to a broker that went away, but gives up one that it never met.
        wait_until("the subscriber to be there", seconds(30), || broker.visits(&id) >= 2);
        Self { log, read: Mutex::default(), _process: process }
    }

    /// Everything received so far.
    pub fn messages(&self) -> Vec<Message> {
        self.messages_behind(0)
    }

    /// The same without the first `n` messages.
    pub fn messages_behind(&self, n: usize) -> Vec<Message> {
        let mut read = self.read.lock();
        let (messages, offset) = &mut *read;
        let mut bytes = Vec::new();
        let mut file = std::fs::File::open(&self.log).expect("open the log of a subscriber");
        file.seek(SeekFrom::Start(*offset)).and_then(|_| file.read_to_end(&mut bytes)).expect("read what is new in it");
        // A line that is being written is read when it is whole.
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        *offset += whole as u64;
        // Pictures are no text.
        let text = String::from_utf8_lossy(&bytes[..whole]);
        // Words about a lost connection are no messages.
        let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        messages.extend(lines.map(|line| Message {
            topic: line["topic"].as_str().expect("a topic").to_owned(),
            retain: line["retain"] == 1,
            // An empty one is left out.
            payload: line["payload"].as_str().unwrap_or_default().to_owned(),
        }));
        messages.get(n..).unwrap_or_default().to_vec()
    }

    /// The topics that something came from, of messages of any kind.
    pub fn topics(&self) -> std::collections::BTreeSet<String> {
        self.messages().into_iter().map(|message| message.topic).collect()
    }

    /// The `event` messages of a phase, of all cameras, in the order of arrival.
    pub fn events(&self, phase: &str) -> Vec<Value> {
        let messages = self.messages().into_iter().filter(|message| message.topic.ends_with("/event"));
        messages.map(|message| message.json()).filter(|event| event["phase"] == phase).collect()
    }

    /// The last payload of a topic.
    pub fn last(&self, topic: &str) -> Option<String> {
        self.messages().into_iter().rfind(|message| message.topic == topic).map(|message| message.payload)
    }
}

#[test]
fn a_subscriber_misses_nothing_while_the_broker_is_away() {
    let scratch = Scratch::new("broker");
    let mut broker = Broker::start_tls(&scratch);
    let subscriber = Subscriber::start(&scratch, &broker, "outpost/#");
    broker.publish("outpost/a", "1");
    broker.stop();
    broker.resume();
    broker.publish("outpost/a", "2");
    super::wait_until("both messages", seconds(60), || {
        let mut payloads: Vec<String> = subscriber.messages().into_iter().map(|message| message.payload).collect();
        // At least once: what the broker had not yet seen acknowledged when it stopped, it sends again.
        payloads.dedup();
        payloads == ["1", "2"]
    });
    assert!(broker.url().starts_with("mqtts://") && broker.authority().is_some());
    assert_eq!(subscriber.last("outpost/a").as_deref(), Some("2"));
    assert!(subscriber.messages().iter().all(|message| !message.retain));
}
