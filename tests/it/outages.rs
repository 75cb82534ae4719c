//! What is away comes back: the cloud, the broker, a camera. Nothing is lost, nothing is told twice.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::end_to_end::{assert_one_truth, delivered_ids, wait_for_agreement};
use crate::harness::broker::{Broker, Subscriber};
use crate::harness::bucket::S3Server;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::rtsp::{Auth, RtspServer};
use crate::harness::{Scratch, fixture, seconds, setting, wait_for, wait_until};

/// The `seq` numbers under which each event's end was told. A broker may repeat a message (QoS 1), and
/// then the number is the same.
fn tellings(subscriber: &Subscriber) -> BTreeMap<String, BTreeSet<u64>> {
    let mut tellings: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for message in subscriber.events("end") {
        let id = message["event"]["id"].as_str().expect("an id").to_owned();
        tellings.entry(id).or_default().insert(message["seq"].as_u64().expect("a number"));
    }
    tellings
}

#[test]
fn what_happened_during_an_outage_is_delivered_once() {
    let scratch = Scratch::new("outage");
    let people = fixture("people.mp4");
    let mut camera = RtspServer::start(&scratch, Auth::None, &[("/gate", "h264", &people)]);
    let mut broker = Broker::start(&scratch);
    let subscriber = Subscriber::start(&scratch, &broker, "outpost/#");
    let mut store = S3Server::start(&scratch);
    let config = Config::new(&scratch).alerts_to(&broker).uploads_to(&store);
    let mut daemon = Daemon::start(&scratch, config.camera("gate", &camera, "/gate", Auth::None));

    let before = daemon.wait_for_ended(1, seconds(90)).len();
    store.stop();
    broker.stop();
    // At least three events that nobody could be told of while they happened.
    daemon.wait_for_ended(before + 3, seconds(90));
    std::thread::sleep(seconds(setting("OUTPOST_OUTAGE_SECONDS", 0)));
    let told_before = tellings(&subscriber).len();
    assert!(daemon.events_in("ended").len() >= told_before + 3, "the queue grew");
    assert!(daemon.process().is_running());
    broker.resume();
    store.resume();
    camera.stop();

    let events = wait_for_agreement(&daemon, &subscriber, &store);
    assert!(events.len() >= before + 3);
    let objects = store.objects();
    let folders = delivered_ids(&objects);
    let told = subscriber.events("end");
    for (id, numbers) in tellings(&subscriber) {
        assert_eq!(numbers.len(), 1, "{id} was told {} times: {numbers:?}", numbers.len());
        let event = events.iter().find(|event| event["id"] == id.as_str()).expect("a known event");
        let message: &Value = told.iter().find(|message| message["event"]["id"] == id.as_str()).expect("told");
        assert_one_truth(&daemon, event, message, &folders[&id], &objects);
    }
    let sidecars = objects.keys().filter(|key| key.ends_with("/event.json")).count();
    assert_eq!(sidecars, events.len(), "each event once in the bucket");
}

#[test]
fn a_camera_that_comes_back_is_taken_up_again_and_disturbs_no_other() {
    let scratch = Scratch::new("camera");
    let (people, leaves) = (fixture("people.mp4"), fixture("leaves.mp4"));
    let mut gate = RtspServer::start(&scratch, Auth::Basic, &[("/gate", "h264", &people)]);
    let tree = RtspServer::start(&scratch, Auth::None, &[("/tree", "h264", &leaves)]);
    let config = Config::new(&scratch).camera("gate", &gate, "/gate", Auth::Basic);
    let mut daemon = Daemon::start(&scratch, config.camera("tree", &tree, "/tree", Auth::None));
    let flows = |camera: &str| {
        let before = daemon.packets(camera);
        wait_for(&format!("pictures of {camera}"), seconds(60), || {
            let more = daemon.packets(camera) - before;
            if more >= 20.0 { Ok(()) } else { Err(format!("{more} packets")) }
        });
    };
    let online = |camera: &str| daemon.metric(&format!("outpost_camera_online{{camera=\"{camera}\"}}")) == 1.0;

    flows("gate");
    flows("tree");
    gate.stop();
    wait_until("the lost camera to be noticed", seconds(60), || !online("gate"));
    flows("tree");
    gate.resume();
    flows("gate");
    wait_until("the camera to be online again", seconds(10), || online("gate"));

    // A camera that keeps its connection and says nothing is lost too.
    gate.freeze();
    // By the pictures that do not come: whoever waits for the connection to end waits much longer.
    wait_for("the silent camera to be noticed", seconds(60), || {
        let status = daemon.json("/api/v1/status");
        let mut cameras = status["cameras"].as_array().expect("cameras").iter();
        let gate = cameras.find(|camera| camera["name"] == "gate").expect("the camera");
        let reason = gate["reason"].as_str().unwrap_or_default();
        if !online("gate") && reason.contains("no picture for") { Ok(()) } else { Err(gate.to_string()) }
    });
    flows("tree");
    gate.thaw();
    flows("gate");

    assert!(daemon.reconnects("gate") >= 2.0, "{} reconnects", daemon.reconnects("gate"));
    assert_eq!(daemon.reconnects("tree"), 0.0, "the other camera was disturbed");
    let lost = |camera: &str| daemon.metric(&format!("outpost_rtp_packets_lost_total{{camera=\"{camera}\"}}"));
    assert_eq!(lost("tree"), 0.0, "the other camera has a gap");
    assert!(daemon.terminate().success());
}
