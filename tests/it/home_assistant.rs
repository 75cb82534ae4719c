//! What the box announces, judged by Home Assistant's own code.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::harness::broker::{Broker, Message, Subscriber};
use crate::harness::config::{Config, DEVICE};
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, fixture, installed, repository, seconds, wait_for, wait_until};

const PREFIX: &str = "homeassistant";

/// What the broker keeps: the last payload of each topic.
fn kept(messages: &[Message]) -> BTreeMap<String, String> {
    messages.iter().map(|message| (message.topic.clone(), message.payload.clone())).collect()
}

/// Topics of announcements that were not taken back.
fn announced(subscriber: &Subscriber) -> BTreeSet<String> {
    let kept = kept(&subscriber.messages());
    let standing = kept.into_iter().filter(|(topic, payload)| topic.starts_with(PREFIX) && !payload.is_empty());
    standing.map(|(topic, _)| topic).collect()
}

/// How often a topic was published.
fn publications(subscriber: &Subscriber, topic: &str) -> usize {
    subscriber.messages().iter().filter(|message| message.topic == topic).count()
}

/// The entities that Home Assistant would have, by the end of their id.
fn entities(scratch: &Scratch, subscriber: &Subscriber) -> BTreeMap<String, Value> {
    let path = scratch.path("kept.jsonl");
    let mut file = std::fs::File::create(&path).expect("make a file");
    for (topic, payload) in kept(&subscriber.messages()) {
        writeln!(file, "{}", serde_json::json!({ "topic": topic, "payload": payload })).expect("write");
    }
    let script = repository().join("tests/homeassistant/check.py");
    let python = installed("homeassistant/bin/python");
    let out = run(Command::new(python).env("PYTHONDONTWRITEBYTECODE", "1").arg(script).arg(&path).arg(PREFIX));
    let entity = |line: &str| -> Value { serde_json::from_str(line).expect("an entity") };
    let start = format!("outpost_{DEVICE}_");
    let short = |entity: &Value| {
        let id = entity["unique_id"].as_str().expect("an id");
        id.strip_prefix(&start).unwrap_or_else(|| panic!("{id} does not begin with {start}")).to_owned()
    };
    out.lines().map(entity).map(|entity| (short(&entity), entity)).collect()
}

fn config<'a>(scratch: &'a Scratch, broker: &Broker, cameras: &[&str], copies: &Path) -> Config<'a> {
    let config = Config::new(scratch).alerts_to(broker);
    let config =
        config.mqtt("commands = true\nhomeassistant_discovery = true\nreport_every = \"1s\"").copies_to(copies);
    let config = cameras.iter().fold(config, |config, camera| config.replay(camera, &fixture("people.mp4")));
    let zone = scratch.path("thermal/thermal_zone0");
    std::fs::create_dir_all(&zone).expect("make a thermometer");
    std::fs::write(zone.join("temp"), "41500\n").expect("write");
    let mut config = config;
    config.add(&format!("[load]\nthermal_dir = \"{}\"", scratch.path("thermal").display()));
    config.played_once("film", &fixture("people.mp4"), 1.0)
}

#[test]
fn home_assistant_understands_every_announcement_and_forgets_a_camera_that_left() {
    let scratch = Scratch::new("home-assistant");
    let copies = scratch.path("copies");
    std::fs::create_dir(&copies).expect("make a folder");
    let broker = Broker::start(&scratch);
    let subscriber = Subscriber::start(&scratch, &broker, "#");
    let mut daemon = Daemon::start(&scratch, config(&scratch, &broker, &["gate", "front-yard"], &copies));
    wait_until("the box to be published", seconds(60), || {
        let kept = kept(&subscriber.messages());
        let topics = ["health", "queue", "camera/gate/coverage", "camera/gate/count/person", "camera/gate/motion"];
        topics.iter().all(|topic| kept.contains_key(&format!("outpost/{DEVICE}/{topic}")))
    });
    wait_until("the cameras to be online", seconds(60), || {
        let topic = |camera: &str| format!("outpost/{DEVICE}/camera/{camera}/availability");
        let expected = [("gate", "online"), ("front-yard", "online"), ("film", "finished")];
        expected.iter().all(|(camera, state)| subscriber.last(&topic(camera)).as_deref() == Some(*state))
    });
    let found = entities(&scratch, &subscriber);
    let expected = [
        ("online", "binary_sensor"),
        ("disk_free", "sensor"),
        ("temperature", "sensor"),
        ("queue_mqtt", "sensor"),
        ("pause_cloud", "switch"),
        ("gate_online", "binary_sensor"),
        ("gate_motion", "binary_sensor"),
        ("gate_problem", "binary_sensor"),
        ("gate_occupancy_person", "binary_sensor"),
        ("gate_count_person", "sensor"),
        ("gate_objects", "sensor"),
        ("gate_recorded", "sensor"),
        ("gate_snapshot", "image"),
        ("gate_detect", "switch"),
        ("gate_record", "switch"),
        ("gate_take_snapshot", "button"),
    ];
    for (id, component) in expected {
        let entity = found.get(id).unwrap_or_else(|| panic!("no {id} in {found:#?}"));
        assert_eq!((&entity["component"], &entity["available"]), (&component.into(), &true.into()), "{entity}");
    }
    let state = |id: &str| found[id]["state"].as_str().unwrap_or_default().to_owned();
    assert_eq!([state("gate_online"), state("gate_detect"), state("pause_cloud")], ["ON", "ON", "OFF"]);
    // A file that was played to its end is neither connected nor a fault.
    assert_eq!((state("film_online").as_str(), &found["film_motion"]["available"]), ("None", &true.into()));
    assert!(state("disk_free").parse::<u64>().is_ok_and(|bytes| bytes > 0), "{}", state("disk_free"));
    // A queue whose name has a slash in it, and a camera whose name has a dash.
    assert_eq!(found.keys().filter(|id| id.starts_with("queue_")).count(), 2);
    let yard: Vec<&Value> = found.iter().filter(|(id, _)| id.starts_with("front_yard_")).map(|(_, e)| e).collect();
    assert!(yard.len() >= 10 && yard.iter().all(|entity| entity["device"] == "front-yard"), "{yard:?}");

    // A switch does what Home Assistant makes of it.
    let command = found["gate_detect"]["command_topic"].as_str().expect("a topic").to_owned();
    broker.publish(&command, "OFF");
    let detect = format!("outpost/{DEVICE}/camera/gate/detect");
    wait_until("the switch is off", seconds(30), || subscriber.last(&detect).as_deref() == Some("OFF"));
    assert_eq!(entities(&scratch, &subscriber)["gate_detect"]["state"], "OFF");

    // Home Assistant starts: all is announced again.
    let topic = announced(&subscriber).first().expect("an announcement").clone();
    let before = publications(&subscriber, &topic);
    broker.publish(&format!("{PREFIX}/status"), "online");
    wait_until("it is announced again", seconds(30), || publications(&subscriber, &topic) > before);

    // An orderly stop: nothing is available any more.
    let all = announced(&subscriber);
    assert!(daemon.terminate().success());
    let availability = format!("outpost/{DEVICE}/availability");
    wait_until("the box to say goodbye", seconds(20), || subscriber.last(&availability).as_deref() == Some("stopped"));
    let gone = entities(&scratch, &subscriber);
    assert!(gone.iter().all(|(id, entity)| id == "online" || entity["available"] == false), "{gone:#?}");

    // A camera leaves the configuration while the box does not run.
    let mut daemon = Daemon::start(&scratch, config(&scratch, &broker, &["gate"], &copies));
    wait_for("the camera to be taken back", seconds(60), || {
        let left: Vec<String> =
            announced(&subscriber).into_iter().filter(|topic| topic.contains("front_yard")).collect();
        if left.is_empty() { Ok(()) } else { Err(format!("{left:?}")) }
    });
    let gate: BTreeSet<String> = all.iter().filter(|topic| !topic.contains("front_yard")).cloned().collect();
    assert_eq!(announced(&subscriber), gate, "the others stay");
    assert!(daemon.terminate().success());
}
