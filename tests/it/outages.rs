//! What is away comes back: the cloud, the broker, a camera. Nothing is lost, nothing is published twice.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::clouds::{expected, wait_for_empty_queue, wait_for_events};
use crate::end_to_end::{assert_one_truth, delivered_ids, wait_for_agreement};
use crate::harness::broker::{Broker, Subscriber};
use crate::harness::bucket::{BUCKET, S3Server};
use crate::harness::clips::{Lamp, lamp};
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::gcs::GcsServer;
use crate::harness::proxy::Proxy;
use crate::harness::rtsp::{Auth, RtspServer};
use crate::harness::wall_clock::WallClock;
use crate::harness::{Scratch, fixture, seconds, setting, wait_for, wait_until};

/// The `seq` numbers under which each event's end was published. A broker may repeat a message (QoS 1), and
/// then the number is the same.
fn publications(subscriber: &Subscriber) -> BTreeMap<String, BTreeSet<u64>> {
    let mut publications: BTreeMap<String, BTreeSet<u64>> = BTreeMap::new();
    for message in subscriber.events("end") {
        let id = message["event"]["id"].as_str().expect("an id").to_owned();
        publications.entry(id).or_default().insert(message["seq"].as_u64().expect("a number"));
    }
    publications
}

#[test]
fn what_happened_during_an_outage_is_delivered_once() {
    let scratch = Scratch::new("outage");
    scratch.expect_log(&[
        "alerts wait, the broker cannot be used",
        "the destination is offline",
        "camera offline",
        "task failed, trying again",
    ]);
    let mut camera = RtspServer::start(&scratch, Auth::None, &[("/gate", "h264", &lamp(Lamp::Blinking))]);
    let mut broker = Broker::start(&scratch);
    let subscriber = Subscriber::start(&scratch, &broker, "outpost/#");
    let mut store = S3Server::start(&scratch);
    let config = Config::new(&scratch).alerts_to(&broker).uploads_to(&store);
    let mut daemon = Daemon::start(&scratch, config.lamp_camera("gate", &camera, "/gate"));

    daemon.wait_for_ended(1, seconds(90));
    store.stop();
    broker.stop();
    // Others may have ended meanwhile, and may have been published.
    let before = daemon.events_in("ended").len();
    // At least three events that could not be published while they happened.
    daemon.wait_for_ended(before + 3, seconds(90));
    std::thread::sleep(seconds(setting("OUTPOST_OUTAGE_SECONDS", 0)));
    let published_before = publications(&subscriber).len();
    assert!(daemon.events_in("ended").len() >= published_before + 3, "the queue grew");
    assert!(daemon.process().is_running());
    broker.resume();
    store.resume();
    camera.stop();

    let events = wait_for_agreement(&daemon, &subscriber, &store);
    assert!(events.len() >= before + 3);
    let objects = store.objects();
    let folders = delivered_ids(&objects);
    let published = subscriber.events("end");
    for (id, numbers) in publications(&subscriber) {
        assert_eq!(numbers.len(), 1, "{id} was published {} times: {numbers:?}", numbers.len());
        let event = events.iter().find(|event| event["id"] == id.as_str()).expect("a known event");
        let message: &Value =
            published.iter().find(|message| message["event"]["id"] == id.as_str()).expect("published");
        assert_one_truth(&daemon, event, message, &folders[&id], &objects);
    }
    let sidecars = objects.keys().filter(|key| key.ends_with("/event.json")).count();
    assert_eq!(sidecars, events.len(), "each event once in the bucket");
}

/// The link breaks in the middle of a clip, the power goes, and when both are back the wall clock shows a week later and
/// the service has forgotten what had begun.
#[test]
fn a_week_without_a_link_loses_nothing_and_files_everything_under_its_own_day() {
    let scratch = Scratch::new("week");
    scratch.expect_log(&["alerts wait, the broker cannot be used", "the destination is offline"]);
    let cloud = GcsServer::start(&scratch);
    let valve = Proxy::shuts_before(cloud.port(), "partNumber=", 2);
    let mut broker = Broker::start(&scratch);
    let subscriber = Subscriber::start(&scratch, &broker, "outpost/#");
    let config = Config::new(&scratch).alerts_to(&broker).uploads_to_google("cloud", valve.port(), BUCKET);
    let (config, port) = config.lamp("gate", Lamp::OnceLarge).write();
    let clock = WallClock::new(&scratch, Timestamp::now() - SignedDuration::from_hours(7 * 24));
    let mut daemon = Daemon::start_with_clock(&scratch, config, port, &clock);
    let cut = wait_for("a clip to be cut", seconds(150), || valve.shut_on().ok_or("not yet".to_owned()));
    broker.stop();
    let events = wait_for_events(&daemon);
    daemon.process().kill();
    assert_eq!(cloud.forget_uploads(), 1, "what had begun");
    valve.open();
    broker.resume();
    daemon.start_again();

    let expected = expected(&scratch, &events);
    wait_for_empty_queue(&daemon, "cloud");
    let objects = cloud.objects();
    for (key, here) in &expected {
        let there = objects.get(key).map(|there| (there.bytes, &there.sha256));
        assert_eq!(there, Some((here.bytes, &here.sha256)), "{key}");
    }
    let is_cut = |event: &Value| cut.contains(event["id"].as_str().expect("an id"));
    assert!(events.iter().any(is_cut), "the clip that was cut is one of them: {cut}");
    let published = || publications(&subscriber);
    let is_published =
        |event: &Value| published().get(event["id"].as_str().expect("an id")).map(BTreeSet::len) == Some(1);
    wait_until("every event to be published, once", seconds(120), || events.iter().all(is_published));
    let now = daemon.json("/api/v1/status")["time"].as_str().expect("a time").parse::<Timestamp>().expect("a time");
    for event in &events {
        let start: Timestamp = event["start"]["wall"].as_str().expect("a time").parse().expect("a time");
        assert!(now.duration_since(start) > SignedDuration::from_hours(6 * 24), "{event}");
    }
}

#[test]
fn a_camera_that_comes_back_is_taken_up_again_and_disturbs_no_other() {
    let scratch = Scratch::new("camera");
    scratch.expect_log(&["camera offline", "camera degraded", "task failed, trying again"]);
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
    // By the pictures that do not come: waiting for the connection to end takes much longer.
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
