//! States, pictures and commands at a real broker.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PublishProperties;
use rumqttc::v5::{AsyncClient, MqttOptions};

use super::bench::{Bench, Listener, Mosquitto, device_context, plain, until};
use crate::alert::mqtt::*;
use crate::allowance::Metered;
use crate::clock::Mono;
use crate::control::Control;
use crate::event::Event;
use crate::frame::{Frame, Rgb};
use crate::health::{CameraState, Stage, Trouble};
use crate::load::Reading;
use crate::status::{BoxStatus, CameraCoverage, CameraStatus, QueueStatus, fixture};

const DETECT: &str = "outpost/box/camera/yard/detect";

fn obedient(port: u16) -> Config {
    Config { commands: true, report_every: Duration::from_secs(1), ..plain(port) }
}

/// A box that knows a little of itself, and whose camera shows grey.
struct Grey;

impl StatusProvider for Grey {
    fn report(&self) -> BoxFuture<'_, Result<Report>> {
        async {
            let coverage = CameraCoverage { recorded_s: 7, ..CameraCoverage::default() };
            let queue = QueueStatus { items: 3, bytes: 99, oldest_wait_s: Some(12), ..fixture::queue("mqtt") };
            let reading = Some(Reading { temperature_c: Some(41.5), ..Reading::default() });
            Ok(Report {
                status: BoxStatus { reading, outlets: vec![queue], ..fixture::status() },
                coverage: BTreeMap::from([("yard".into(), coverage)]),
            })
        }
        .boxed()
    }

    fn cameras(&self) -> Vec<CameraStatus> {
        Vec::new()
    }

    fn picture(&self, _: &str) -> Option<Frame> {
        let picture = Rgb { width: 64, height: 48, data: vec![90; 64 * 48 * 3] };
        Some(Frame { at: Mono(0), picture: Arc::new(picture) })
    }

    fn still(&self, _: &Event) -> Option<PathBuf> {
        None
    }
}

/// A client that sends commands.
struct Commander(AsyncClient);

impl Commander {
    async fn connect(port: u16) -> Self {
        let options = MqttOptions::new(format!("commander-{}", fastrand::u64(..)), "127.0.0.1", port);
        let (client, mut eventloop) = AsyncClient::new(options, 10);
        tokio::spawn(async move { while eventloop.poll().await.is_ok() {} });
        Self(client)
    }

    async fn say(&self, topic: &str, payload: impl Into<Vec<u8>>, retain: bool) {
        let sent = self.0.publish(topic, QoS::AtLeastOnce, retain, Bytes::from(payload.into()));
        sent.await.expect("publish");
    }
}

/// The next message of `topic`, others are passed over.
async fn next_of(listener: &mut Listener, topic: &str) -> String {
    loop {
        let (of, payload, _) = listener.next_bytes().await;
        if of == topic {
            return String::from_utf8(payload).expect("UTF-8");
        }
    }
}

#[tokio::test]
async fn what_the_box_knows_of_itself_is_published_when_it_changes_and_kept_by_the_broker() {
    let broker = Mosquitto::start("");
    let bench = Bench::start_in(obedient(broker.port), DeviceContext { status: Arc::new(Grey), ..device_context() });
    let mut counts = Listener::subscribe(broker.port, "outpost/box/camera/yard/count/person").await;
    assert_eq!(counts.next().await.1, "0");
    bench.health.camera(&"yard".into(), |camera| {
        (camera.objects, camera.motion) = (3, true);
        camera.counts.insert((None, "person".into()), 2);
        camera.counts.insert((Some("drive".into()), "person".into()), 1);
        camera.counts.insert((None, "car".into()), 1);
    });
    assert_eq!(counts.next().await.1, "2");
    bench.health.camera(&"yard".into(), |camera| {
        camera.counts.insert((None, "person".into()), 0);
    });
    assert_eq!(counts.next().await.1, "0");

    let mut late = Listener::subscribe(broker.port, "outpost/box/#").await;
    let mut published = BTreeMap::new();
    let awaited = ["health", "queue", "camera/yard/coverage", "camera/yard/zone/drive/count/person"];
    while !awaited.iter().all(|topic| published.contains_key(&format!("outpost/box/{topic}"))) {
        let (topic, payload, _) = late.next().await;
        published.insert(topic, payload);
    }
    let expected = [
        ("availability", "online"),
        ("store", "ok"),
        ("upload/cloud/paused", "OFF"),
        ("camera/yard/motion", "ON"),
        ("camera/yard/objects", "3"),
        ("camera/yard/count/person", "0"),
        ("camera/yard/count/car", "1"),
        ("camera/yard/zone/drive/count/person", "1"),
        ("camera/yard/detect", "ON"),
        ("camera/yard/record", "ON"),
        ("camera/yard/override", "AUTO"),
    ];
    for (topic, payload) in expected {
        assert_eq!(published.get(&format!("outpost/box/{topic}")).map(String::as_str), Some(payload), "{topic}");
    }
    let json = |topic: &str| -> serde_json::Value {
        serde_json::from_str(&published[&format!("outpost/box/{topic}")]).expect("JSON")
    };
    assert_eq!(json("health")["temperature_c"], 41.5);
    assert_eq!((&json("queue")["mqtt"]["items"], &json("queue")["mqtt"]["oldest_s"]), (&3.into(), &12.into()));
    assert_eq!(json("camera/yard/coverage")["recorded_s"], 7);
}

#[tokio::test]
async fn a_thermometer_is_announced_where_there_is_one() {
    for has_temperature in [true, false] {
        let broker = Mosquitto::start("");
        let mut announced = Listener::subscribe(broker.port, "homeassistant/#").await;
        let config = Config { homeassistant_discovery: true, ..obedient(broker.port) };
        let _bench = Bench::start_in(config, DeviceContext { has_temperature, ..device_context() });
        let mut is_found = false;
        loop {
            let (topic, ..) = announced.next().await;
            is_found |= topic.contains("temperature");
            // Topics go in their order.
            if topic.starts_with("homeassistant/switch/") {
                break;
            }
        }
        assert_eq!(is_found, has_temperature);
    }
}

/// Works with: brokers | a camera whose packets come to no use | publishes `degraded` with the reason and the time, and takes it back
#[tokio::test]
async fn a_degraded_camera_is_published_with_its_reason() {
    let broker = Mosquitto::start("");
    let bench = Bench::start_in(obedient(broker.port), device_context());
    let mut cameras = Listener::subscribe(broker.port, "outpost/box/camera/yard/+").await;
    let (yard, topic) = ("yard".into(), "outpost/box/camera/yard");
    let trouble = Trouble { stages: vec![Stage::Decoding], reason: "no key frame".to_owned(), since: Mono(0) };
    bench.health.camera(&yard, |camera| {
        (camera.state, camera.trouble) = (CameraState::Online, Some(trouble));
    });
    let (mut availability, mut health) = (String::new(), serde_json::Value::Null);
    while availability != "degraded" || health["state"] != "degraded" {
        let (of, payload, _) = cameras.next_bytes().await;
        if of == format!("{topic}/availability") {
            availability = String::from_utf8(payload).expect("UTF-8");
        } else if of == format!("{topic}/health") {
            health = serde_json::from_slice(&payload).expect("JSON");
        }
    }
    assert_eq!((&health["reason"], &health["stages"][0]), (&"no key frame".into(), &"decoding".into()), "{health}");
    assert!(health["since"].is_string(), "{health}");
    bench.health.camera(&yard, |camera| camera.trouble = None);
    while next_of(&mut cameras, &format!("{topic}/availability")).await != "online" {}
}

#[tokio::test]
async fn a_command_is_executed_kept_answered_and_published_as_a_state() {
    let broker = Mosquitto::start("");
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("switches.json");
    let control = Control::open(&file);
    let bench = Bench::start_in(obedient(broker.port), DeviceContext { control: control.clone(), ..device_context() });
    let mut states = Listener::subscribe(broker.port, "outpost/box/camera/yard/#").await;
    let mut client = Listener::subscribe(broker.port, "client/7").await;
    let commander = Commander::connect(broker.port).await;
    assert_eq!(next_of(&mut states, DETECT).await, "ON");

    let properties = PublishProperties {
        response_topic: Some("client/7".to_owned()),
        correlation_data: Some(Bytes::from_static(b"42")),
        ..PublishProperties::default()
    };
    let command = format!("{DETECT}/set");
    let said = commander.0.publish_with_properties(&command, QoS::AtLeastOnce, false, "OFF", properties).await;
    said.expect("publish");
    assert_eq!(next_of(&mut states, DETECT).await, "OFF");
    assert_eq!(next_of(&mut states, &format!("{DETECT}/answer")).await, r#"{"version":1,"ok":true}"#);
    assert_eq!(client.next().await.1, r#"{"version":1,"ok":true}"#);
    assert!(!control.switches().detects("yard", jiff::Timestamp::UNIX_EPOCH));
    assert_eq!(Control::open(&file).switches(), control.switches(), "on the disk before the answer");

    commander.say("outpost/box/camera/yard/override/set", r#"{"detect":"on","for":"1h"}"#, false).await;
    let forced = next_of(&mut states, "outpost/box/camera/yard/override").await;
    assert!(forced.contains("\"detect\":\"on\""), "{forced}");
    let now = jiff::Timestamp::now();
    assert_eq!(control.switches().forced("yard", now), Some(true));
    commander.say("outpost/box/upload/cloud/paused/set", "ON", false).await;
    until("the upload is paused", || control.switches().paused.contains("upload/cloud")).await;
    drop(bench);
}

#[tokio::test]
async fn what_is_no_command_is_answered_and_does_nothing() {
    let broker = Mosquitto::start("");
    let commander = Commander::connect(broker.port).await;
    let command = format!("{DETECT}/set");
    // Kept by the broker: it comes with each connection.
    commander.say(&command, "OFF", true).await;
    let mut answers = Listener::subscribe(broker.port, "outpost/box/+/+/+/answer").await;
    let control = Control::default();
    let device_context = DeviceContext { control: control.clone(), ..device_context() };
    let bench = Bench::start_in(obedient(broker.port), device_context);
    assert!(answers.next().await.1.contains("a retained command is not executed"));
    // Sent while the box listens, too; and nothing is said where one is cleared.
    commander.say(&command, "OFF", true).await;
    assert!(answers.next().await.1.contains("a retained command is not executed"));
    commander.say(&command, "", true).await;
    commander.say(&command, vec![0xff, 0xfe, 0x00], false).await;
    assert!(answers.next().await.1.contains("not UTF-8"));
    commander.say(&command, vec![b'x'; 5000], false).await;
    assert!(answers.next().await.1.contains("5000 bytes"));
    // Larger than what the box takes at all: the broker keeps it to itself.
    commander.say(&command, vec![b'x'; 100_000], false).await;
    commander.say("outpost/box/camera/gone/detect/set", "OFF", false).await;
    let (topic, answer, _) = answers.next().await;
    assert!(topic.contains("/gone/") && answer.contains("no such camera"), "{topic} {answer}");
    assert_eq!(*control.switches(), crate::control::Switches::default());
    // And alerts go on.
    bench.queue.put([1]);
    until("delivered", || bench.queue.look(|rows| rows.acked == [1])).await;
    assert_eq!(bench.problem(), None);
}

#[tokio::test]
async fn a_flood_of_commands_does_not_keep_alerts_back() {
    let broker = Mosquitto::start("max_inflight_messages 0\nmax_queued_messages 0");
    let bench = Bench::start_in(obedient(broker.port), device_context());
    until("connected", || bench.is_online()).await;
    let commander = Commander::connect(broker.port).await;
    let flood = tokio::spawn(async move {
        loop {
            commander.say("outpost/box/camera/yard/record/set", "maybe", false).await;
        }
    });
    bench.queue.put(1..=500);
    until("all are delivered", || bench.queue.look(|rows| rows.acked.len() == 500)).await;
    flood.abort();
}

#[tokio::test]
async fn commands_are_not_heard_where_they_are_not_wanted() {
    let broker = Mosquitto::start("");
    let control = Control::default();
    let bench = Bench::start_in(plain(broker.port), DeviceContext { control: control.clone(), ..device_context() });
    until("connected", || bench.is_online()).await;
    let commander = Commander::connect(broker.port).await;
    let mut witness = Listener::subscribe(broker.port, "outpost/box/camera/yard/#").await;
    commander.say(&format!("{DETECT}/set"), "OFF", false).await;
    assert_eq!(next_of(&mut witness, &format!("{DETECT}/set")).await, "OFF");
    // Whatever the box would have made of it is made by the time of its next states but one.
    for is_moving in [true, false] {
        bench.health.camera(&"yard".into(), |camera| camera.motion = is_moving);
        let motion = if is_moving { "ON" } else { "OFF" };
        while next_of(&mut witness, "outpost/box/camera/yard/motion").await != motion {}
    }
    assert_eq!(*control.switches(), crate::control::Switches::default());
}

#[tokio::test]
async fn the_newest_picture_is_kept_by_the_broker_and_can_be_asked_for() {
    let broker = Mosquitto::start("");
    let bench = Bench::start_in(obedient(broker.port), DeviceContext { status: Arc::new(Grey), ..device_context() });
    let mut pictures = Listener::subscribe(broker.port, "outpost/box/camera/yard/snapshot").await;
    bench.queue.put([1]);
    let size = |jpeg: &[u8]| image::load_from_memory(jpeg).map(|image| (image.width(), image.height())).expect("JPEG");
    assert_eq!(size(&pictures.next_bytes().await.1), (64, 48), "of the start of an event");
    let commander = Commander::connect(broker.port).await;
    commander.say("outpost/box/camera/yard/snapshot/set", "NOW", false).await;
    assert_eq!(size(&pictures.next_bytes().await.1), (64, 48), "on command");
    let mut late = Listener::subscribe(broker.port, "outpost/box/camera/yard/snapshot").await;
    let (_, jpeg, retained) = late.next_bytes().await;
    assert!(retained && size(&jpeg) == (64, 48));
}

#[tokio::test]
async fn quality_of_service_and_retention_are_as_configured() {
    let broker = Mosquitto::start("");
    let config =
        Config { state_qos: 0, snapshot_qos: 0, retain_snapshots: false, retain_events: true, ..plain(broker.port) };
    let bench = Bench::start_in(config, DeviceContext { status: Arc::new(Grey), ..device_context() });
    let mut pictures = Listener::subscribe(broker.port, "outpost/box/camera/yard/snapshot").await;
    bench.queue.put(1..=50);
    until("all are acknowledged", || bench.queue.look(|rows| rows.acked.len() == 50)).await;
    assert!(!pictures.next_bytes().await.2);
    let mut late = Listener::subscribe(broker.port, "outpost/box/camera/yard/event").await;
    let (_, payload, retained) = late.next().await;
    let json: serde_json::Value = serde_json::from_str(&payload).expect("JSON");
    assert!(retained && json["seq"] == 50, "the last alert is kept");
    let mut state = Listener::subscribe(broker.port, "outpost/box/availability").await;
    assert_eq!(state.next().await.1, "online");
}

/// How many pictures come up to a change of state that is made after `number` have come.
async fn pictures_of(witness: &mut Listener, bench: &Bench, number: usize) -> usize {
    let (mut seen, mut is_moving) = (0, None);
    loop {
        let (topic, payload, _) = witness.next_bytes().await;
        match topic.as_str() {
            "outpost/box/camera/yard/snapshot" => seen += 1,
            "outpost/box/camera/yard/motion" if is_moving.is_some() && payload == b"ON" => return seen,
            _ => {}
        }
        if seen >= number && is_moving.is_none() {
            // Whatever waits already is published before that.
            is_moving = Some(true);
            bench.health.camera(&"yard".into(), |camera| camera.motion = true);
        }
    }
}

#[tokio::test]
async fn many_alerts_make_one_picture_for_a_while_and_a_metered_link_none_but_on_command() {
    for (metered, number) in [(Metered::No, 2), (Metered::Yes, 1)] {
        let broker = Mosquitto::start("");
        let config = Config { metered, ..obedient(broker.port) };
        let bench = Bench::start_in(config, DeviceContext { status: Arc::new(Grey), ..device_context() });
        let mut witness = Listener::subscribe(broker.port, "outpost/box/camera/yard/#").await;
        bench.queue.put(1..=50);
        until("all are acknowledged", || bench.queue.look(|rows| rows.acked.len() == 50)).await;
        let commander = Commander::connect(broker.port).await;
        commander.say("outpost/box/camera/yard/snapshot/set", "NOW", false).await;
        assert_eq!(pictures_of(&mut witness, &bench, number).await, number, "{metered:?}");
    }
}
