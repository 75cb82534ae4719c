//! Alerts through a broker that is killed at random, and commands that come through one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use outpost::alert::{AlertQueue, Alerter, Camera, Config as MqttConfig, Deps, DeviceContext, NoStatus};
use outpost::clock::{Clock, SystemClock};
use outpost::control::Control;
use outpost::destination::Destination;
use outpost::event::{Event, EventState, IdSource, Phase};
use outpost::health::Health;
use outpost::metrics::Metrics;
use outpost::store::{self, Change, Delivery, Store};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::harness::broker::{self, Broker, Subscriber};
use crate::harness::clips::has_video;
use crate::harness::config::{Config, DEVICE};
use crate::harness::daemon::Daemon;
use crate::harness::dice::Dice;
use crate::harness::{Scratch, fixture, seconds, setting, wait_for, wait_until};

const CAMERAS: [&str; 4] = ["gate", "yard", "barn", "road"];

/// A box whose events are made up.
struct Source {
    store: Store,
    ids: IdSource,
    clock: Arc<dyn Clock>,
    sample: Value,
}

impl Source {
    fn open(scratch: &Scratch) -> Self {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock::new());
        let config = store::Config { path: scratch.path("index"), ..store::Config::default() };
        let store = Store::open(&config, &[Destination::Mqtt], clock.clone()).expect("open the store");
        let moment = serde_json::to_value(clock.now()).expect("JSON");
        let sample = serde_json::json!({
            "version": 1, "device": DEVICE, "site": "", "rule": "object", "kind": "object", "state": "open",
            "label": "person", "score": 0.9, "count": 1, "track": 1, "zones": [], "start": moment, "end": null,
            "best": null, "model": "m", "clip": null, "pictures": [],
        });
        Self { store, ids: IdSource::new(clock.clone(), None), clock, sample }
    }

    /// An event of `camera` from its start to its end: three alerts.
    fn happen(&self, camera: &str) {
        let mut sample = self.sample.clone();
        sample["id"] = self.ids.next().to_string().into();
        sample["camera"] = camera.into();
        let mut event: Event = serde_json::from_value(sample).expect("an event");
        event.start = self.clock.now();
        for phase in [Phase::Start, Phase::Update, Phase::End] {
            if phase == Phase::End {
                (event.state, event.end) = (EventState::Ended, Some(self.clock.now()));
            }
            let change = Change { event: event.clone(), deliveries: vec![Delivery::Alert(phase)] };
            self.store.events().record(change).expect("record");
        }
    }

    fn alerter(&self, broker: &Broker, password: std::path::PathBuf) -> Alerter {
        let outbox = self.store.outboxes().get(&Destination::Mqtt).expect("the outbox");
        let config = MqttConfig {
            url: broker.url(),
            username: Some(broker::USER.to_owned()),
            password_file: Some(password),
            ..MqttConfig::default()
        };
        let deps = Deps {
            device: DEVICE.into(),
            queue: AlertQueue::new(outbox),
            object_key: None,
            posts: Arc::new(|_| Ok(None)),
            rule_ages: Arc::default(),
            health: Health::default(),
            metrics: Metrics::new(),
            clock: self.clock.clone(),
        };
        let device_context = DeviceContext {
            site: "".into(),
            cameras: CAMERAS.map(|name| Camera { name: name.into(), ..Camera::default() }).into(),
            uploads: Vec::new(),
            has_temperature: true,
            control: Control::default(),
            status: Arc::new(NoStatus),
            announced: None,
        };
        Alerter::new(config, deps, device_context).expect("a valid alerter")
    }
}

/// The alerts that a subscriber got.
#[derive(Default)]
struct Arrivals {
    /// Their numbers by camera, in the order of arrival.
    by_camera: BTreeMap<String, Vec<u64>>,
    all: usize,
    distinct: BTreeSet<u64>,
}

impl Arrivals {
    /// Counts what came since the last time; gives how many different alerts there are by now.
    fn count(&mut self, subscriber: &Subscriber) -> usize {
        for message in subscriber.messages_behind(self.all) {
            let body = message.json();
            let camera = body["event"]["camera"].as_str().expect("a camera").to_owned();
            let seq = body["seq"].as_u64().expect("a number");
            self.by_camera.entry(camera).or_default().push(seq);
            self.all += 1;
            self.distinct.insert(seq);
        }
        self.distinct.len()
    }
}

/// A subscriber that connects as soon as the broker is up.
fn wait_for_witness(broker: &Broker, witness: &Subscriber, round: usize) {
    let topic = format!("witness/{round}");
    let topics = || -> Vec<String> { witness.messages().into_iter().map(|message| message.topic).collect() };
    wait_for("the witness to be back", seconds(60), || {
        broker.publish(&topic, "{}");
        let there = topics().contains(&topic);
        if there { Ok(()) } else { Err(format!("round {round}")) }
    });
}

#[test]
fn alerts_survive_a_broker_that_is_stopped_and_killed_at_random() {
    let alerts = usize::try_from(setting("OUTPOST_ALERTS", 2_000)).expect("a number");
    let mut dice = Dice::new();
    let scratch = Scratch::new("alerts");
    let mut broker = Broker::start_for_a_witness(&scratch);
    let events = Subscriber::start_at_once(&scratch, &broker, &format!("outpost/{DEVICE}/camera/+/event"));
    let here = Subscriber::start_at_once(&scratch, &broker, "witness/#");
    // Who listens is on the disk of the broker from now on.
    broker.stop();
    broker.resume();
    let source = Source::open(&scratch);
    let password = scratch.secret("alerts.password", broker::PASSWORD);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mut stop = CancellationToken::new();
    let mut task = runtime.spawn(source.alerter(&broker, password.clone()).run(stop.clone()));

    let (mut made, mut round, mut kills, mut restarts) = (0, 0, 0, 0);
    let mut arrivals = Arrivals::default();
    while made < alerts {
        round += 1;
        wait_for_witness(&broker, &here, round);
        for _ in 0..10 + dice.below(50) {
            source.happen(CAMERAS[dice.below(CAMERAS.len())]);
            made += 3;
        }
        // In the middle of what is being sent.
        let until = arrivals.count(&events) + dice.below(40);
        wait_for("some of it to arrive", seconds(120), || {
            let arrived = arrivals.count(&events);
            if arrived >= until.min(made) { Ok(()) } else { Err(format!("{arrived} of {until}")) }
        });
        match dice.below(4) {
            0 => broker.stop(),
            1 => {
                // The box restarts, too: what it had leased is due again.
                stop.cancel();
                runtime.block_on(&mut task).expect("no panic").expect("orderly");
                stop = CancellationToken::new();
                task = runtime.spawn(source.alerter(&broker, password.clone()).run(stop.clone()));
                restarts += 1;
                continue;
            }
            _ => {
                broker.kill();
                kills += 1;
            }
        }
        source.happen("gate");
        made += 3;
        broker.resume();
    }
    wait_for("every alert to arrive", seconds(300), || {
        let arrived = arrivals.count(&events);
        if arrived >= made { Ok(()) } else { Err(format!("{arrived} of {made}")) }
    });
    wait_until("the queue to be empty", seconds(60), || {
        runtime.block_on(source.store.outboxes().get(&Destination::Mqtt).expect("the outbox").waiting()).expect("count")
            == 0
    });
    stop.cancel();
    runtime.block_on(task).expect("no panic").expect("orderly");
    let dead = runtime
        .block_on(source.store.outboxes().get(&Destination::Mqtt).expect("the outbox").dead_letters(10))
        .expect("letters");
    assert!(dead.is_empty(), "put aside: {dead:?}");

    assert_eq!(arrivals.count(&events), made, "none lost, none made up");
    let repeats = arrivals.all - made;
    println!("{made} alerts, {repeats} repeats, {round} rounds, {kills} kills, {restarts} restarts of the box");
    for (camera, seqs) in &arrivals.by_camera {
        // A repeat has a known number; what comes for the first time comes in order.
        let mut firsts = BTreeSet::new();
        let firsts: Vec<u64> = seqs.iter().copied().filter(|seq| firsts.insert(*seq)).collect();
        assert!(firsts.windows(2).all(|pair| pair[0] < pair[1]), "{camera}: first arrivals out of order");
    }
    // Each repeat belongs to a connection that broke: the window bounds how many there can be.
    assert!(repeats <= 16 * (round + 1), "{repeats} repeats in {round} rounds");
}

/// The daemon's state of a camera, by its API.
fn camera(daemon: &Daemon) -> Value {
    daemon.json("/api/v1/status")["cameras"][0].clone()
}

#[test]
fn switches_of_a_camera_work_are_published_and_survive_a_crash() {
    let scratch = Scratch::new("switches");
    let broker = Broker::start(&scratch);
    let subscriber = Subscriber::start(&scratch, &broker, "outpost/#");
    let config = Config::new(&scratch).alerts_to(&broker).mqtt("commands = true\nreport_every = \"1s\"");
    let mut daemon = Daemon::start(&scratch, config.replay("gate", &fixture("people.mp4")));
    let topic = |leaf: &str| format!("outpost/{DEVICE}/camera/gate/{leaf}");
    let set = |leaf: &str, payload: &str| broker.publish(&topic(&format!("{leaf}/set")), payload);
    let state = |leaf: &str| subscriber.last(&topic(leaf));
    let published = |leaf: &str, payload: &str| {
        wait_for(&format!("{leaf} {payload}"), seconds(30), || {
            if state(leaf).as_deref() == Some(payload) { Ok(()) } else { Err(format!("{:?}", state(leaf))) }
        });
    };
    let ended = daemon.wait_for_ended(1, seconds(120));
    assert!(ended.iter().all(has_video));
    published("detect", "ON");

    // Recording off: events go on, without video.
    set("record", "OFF");
    published("record", "OFF");
    published("record/answer", r#"{"version":1,"ok":true}"#);
    let ids =
        |daemon: &Daemon| -> BTreeSet<String> { daemon.events().iter().map(|event| event["id"].to_string()).collect() };
    let known = ids(&daemon);
    wait_for("an event that began and ended since", seconds(120), || {
        let events = daemon.events_in("ended");
        let new = events.iter().find(|event| !known.contains(&event["id"].to_string()));
        let Some(new) = new else { return Err(format!("{} events", events.len())) };
        assert!(!has_video(new) && new["pictures"].as_array().is_some_and(|p| !p.is_empty()), "{new}");
        Ok(())
    });

    // Detection off: events in progress end, and it stays so over a crash.
    set("detect", "OFF");
    published("detect", "OFF");
    let is_blind = |daemon: &Daemon| camera(daemon)["detect_fps"] == 0.0 && camera(daemon)["objects"] == 0;
    wait_until("detection to end", seconds(60), || is_blind(&daemon) && daemon.events_in("open").is_empty());
    daemon.crash_and_restart();
    wait_until("pictures after the crash", seconds(60), || daemon.packets("gate") > 100.0);
    published("detect", "OFF");
    assert!(is_blind(&daemon) && daemon.metric("outpost_frames_detected_total{camera=\"gate\"}") == 0.0);
    assert!(daemon.events_in("open").is_empty());

    // And on again, for a while.
    set("override", r#"{"detect":"on","for":"1h"}"#);
    wait_until("detection to run again", seconds(60), || {
        camera(&daemon)["detect_fps"].as_f64().is_some_and(|fps| fps > 0.0)
    });
    assert!(state("override").is_some_and(|text| text.contains("\"detect\":\"on\"")));
    let known = ids(&daemon);
    set("record", "ON");
    // What began before the first key frame has no video, what begins behind it does.
    wait_until("an event with video again", seconds(120), || {
        daemon.events_in("ended").iter().any(|event| !known.contains(&event["id"].to_string()) && has_video(event))
    });
    let (count, coverage) = (topic("count/person"), topic("coverage"));
    wait_until("an object to be counted", seconds(60), || {
        subscriber.messages().iter().any(|m| m.topic == count && m.payload != "0")
    });
    let json = |text: Option<String>| -> Value { serde_json::from_str(&text.unwrap_or_default()).unwrap_or_default() };
    wait_until("the day is published", seconds(30), || {
        json(subscriber.last(&coverage))["recorded_s"].as_i64() > Some(0)
    });
    let health = json(subscriber.last(&format!("outpost/{DEVICE}/health")));
    assert!(
        health["disk_free_bytes"].as_u64() > Some(0) && health["memory_bytes"].as_u64() > Some(1 << 20),
        "{health}"
    );
    assert!(json(subscriber.last(&format!("outpost/{DEVICE}/queue")))["mqtt"]["online"] == true);

    // What asks for nothing sensible is answered and changes nothing.
    set("detect", "perhaps");
    wait_until("an answer", seconds(30), || state("detect/answer").is_some_and(|text| text.contains("send ON or OFF")));
    let snapshot = topic("snapshot");
    wait_until("a picture", seconds(60), || subscriber.topics().contains(&snapshot));
    assert!(daemon.terminate().success());
}
