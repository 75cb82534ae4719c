//! The daemon and a receiver of webhooks that is not ours.

use std::collections::BTreeSet;
use std::path::PathBuf;

use serde_json::Value;

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::executions::{ids, save, send};
use crate::harness::process::Process;
use crate::harness::{Scratch, fixture, port, repository, seconds, wait_for, wait_until};

const SECRET: &str = "a-secret-of-the-office";

/// tests/servers/webhook.py at work.
pub struct Receiver {
    pub port: u16,
    log: PathBuf,
    pub secret: PathBuf,
    process: Option<Process>,
    output: PathBuf,
}

impl Receiver {
    pub fn start(scratch: &Scratch) -> Self {
        let (log, output) = (scratch.path("requests.jsonl"), scratch.path("receiver.log"));
        let secret = scratch.secret("office.secret", &format!("{SECRET}\n"));
        let mut receiver = Self { port: port::free(), log, secret, process: None, output };
        receiver.resume();
        receiver
    }

    fn resume(&mut self) {
        let server = repository().join("tests/servers/webhook.py");
        let doc = repository().join("docs/webhooks.md");
        let port = self.port.to_string();
        let arguments =
            [server.as_os_str(), port.as_ref(), doc.as_os_str(), self.secret.as_os_str(), self.log.as_os_str()];
        let mut process = Process::start("webhook.py", "python3", &arguments, self.output.clone());
        let address = ("127.0.0.1", self.port);
        process.wait_ready(seconds(30), |_| std::net::TcpStream::connect(address).is_ok());
        self.process = Some(process);
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }
}

#[test]
fn every_alert_reaches_the_receiver_signed_and_in_order_over_outages_and_restarts() {
    let scratch = Scratch::new("webhooks");
    scratch.expect_log(&["the receiver does not take them"]);
    let mut receiver = Receiver::start(&scratch);
    let clip = fixture("people.mp4");
    let config = Config::new(&scratch).replay("gate", &clip).replay("yard", &clip);
    let url = format!("http://127.0.0.1:{}/hook", receiver.port);
    let mut daemon = Daemon::start(&scratch, config.posts_to("office", &url, &receiver.secret));
    let ends = |receiver: &Receiver| receiver.seen().iter().filter(|request| request["body"]["phase"] == "end").count();

    wait_until("a first event is published to its end", seconds(120), || ends(&receiver) >= 1);
    receiver.kill();
    wait_for("several events of each camera to end", seconds(240), || {
        let ended = daemon.events_in("ended");
        let of = |camera: &str| ended.iter().filter(|event| event["camera"] == camera).count();
        let counts = (of("gate"), of("yard"));
        if counts.0.min(counts.1) >= 3 { Ok(()) } else { Err(format!("{counts:?}")) }
    });
    daemon.crash_and_restart();
    receiver.resume();
    let known = daemon.events_in("ended");
    wait_for("all that ended before to be published", seconds(120), || {
        let seen = receiver.seen();
        let is_published = |event: &&Value| {
            seen.iter().any(|r| r["body"]["phase"] == "end" && r["body"]["event"]["id"] == event["id"])
        };
        let missing = known.iter().filter(|event| !is_published(event)).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} of {} are missing", known.len())) }
    });
    assert!(daemon.terminate().success());

    let seen = receiver.seen();
    for request in &seen {
        assert_eq!((&request["genuine"], &request["forged"]), (&true.into(), &false.into()), "{request}");
        assert_eq!(request["seq"], request["body"]["seq"]);
    }
    for camera in ["gate", "yard"] {
        let seqs = seen.iter().filter(|request| request["camera"] == camera).map(|request| request["seq"].as_u64());
        let mut seqs: Vec<u64> = seqs.map(|seq| seq.expect("a number")).collect();
        assert!(seqs.len() >= 6, "{camera}: {seqs:?}");
        // An answer that a crash swallowed makes a repeat, right behind the first.
        seqs.dedup();
        assert!(seqs.windows(2).all(|pair| pair[0] < pair[1]), "{camera}: {seqs:?}");
    }
    assert!(!daemon.log().contains(SECRET) && !daemon.log().contains("/hook"), "a secret is in the log");
}

/// Posts the size of a picture.
const SIZES: &str = r#"
name = "sizes"
[[steps]]
id = "resize"
type = "resize@1"
inputs.image = "$inputs.image"
parameters = { width = 32 }
[[steps]]
id = "width"
type = "number@1"
parameters.number = 32
[[steps]]
id = "post"
type = "webhook@1"
inputs = { image = "$steps.resize.image", a = "$steps.width.number" }
parameters = { webhook = "office", message = "{{ a | int }} wide" }
"#;

#[test]
fn values_of_executions_reach_the_receiver_once_each_over_outages_and_kills() {
    let scratch = Scratch::new("webhook-values");
    scratch.expect_log(&["the receiver does not take them"]);
    let mut receiver = Receiver::start(&scratch);
    let url = format!("http://127.0.0.1:{}/hook", receiver.port);
    let config = Config::new(&scratch).played_once("yard", &fixture("leaves.mp4"), 4.0);
    let mut config = config.posts_to("office", &url, &receiver.secret);
    config.add("[load]\nenabled = false\n");
    let mut daemon = Daemon::start(&scratch, config);
    save(&daemon, &scratch, SIZES);
    let pictures = [fixture("pictures/dog.jpg"), fixture("pictures/person.jpg")];
    let take = |daemon: &Daemon| send(&daemon.page(), "pipeline=sizes", &[], &pictures).map(|answer| ids(&answer));
    let mut accepted = take(&daemon).expect("an answer");
    let of_pipelines = |receiver: &Receiver| {
        let seen = receiver.seen().into_iter().filter(|request| request["type"] == "pipeline");
        seen.collect::<Vec<Value>>()
    };
    wait_until("the first values come", seconds(60), || of_pipelines(&receiver).len() >= accepted.len());
    receiver.kill();
    for _ in 0..2 {
        accepted.extend(take(&daemon).expect("an answer"));
        daemon.crash_and_restart();
    }
    receiver.resume();
    let posted = |request: &Value| request["body"]["execution"].as_str().expect("an id").to_owned();
    wait_for("the values of all that were accepted", seconds(120), || {
        let seen: BTreeSet<String> = of_pipelines(&receiver).iter().map(posted).collect();
        let missing = accepted.iter().filter(|id| !seen.contains(*id)).count();
        if missing == 0 { Ok(()) } else { Err(format!("{missing} of {} are missing", accepted.len())) }
    });
    assert!(daemon.terminate().success());
    let seen = of_pipelines(&receiver);
    let numbers: BTreeSet<(String, u64)> =
        seen.iter().map(|request| (posted(request), request["seq"].as_u64().expect("a number"))).collect();
    assert_eq!(numbers.len(), accepted.len(), "a repeat has the number of the first: {numbers:?}");
    for request in &seen {
        let body = &request["body"];
        assert_eq!((&request["genuine"], &request["forged"]), (&true.into(), &false.into()), "{request}");
        assert_eq!((&body["values"]["a"], &body["message"]), (&32.0.into(), &"32 wide".into()));
        assert_eq!((&body["step"], &body["pipeline"]["name"]), (&"post".into(), &"sizes".into()));
        assert!(body["picture"]["base64"].as_str().is_some_and(|text| text.starts_with("/9j/")), "a JPEG");
    }
}
