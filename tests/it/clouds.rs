//! Azure and Google beside S3: whole files with their types, uploads that go on, refusals in clear words.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::end_to_end::on_disk;
use crate::harness::azure::{self, AzureServer};
use crate::harness::bucket::{BUCKET, Object};
use crate::harness::clips::Lamp;
use crate::harness::config::{Config, DEVICE, PREFIX};
use crate::harness::daemon::Daemon;
use crate::harness::gcs::GcsServer;
use crate::harness::proxy::Proxy;
use crate::harness::{Scratch, seconds, wait_for, wait_until};

/// Container on the servers that stand for Azure.
pub const CONTAINER: &str = "cams";

/// What the API says of a destination.
pub fn outlet(daemon: &Daemon, name: &str) -> Value {
    let mut status = daemon.json("/api/v1/status");
    let outlets = status["outlets"].as_array_mut().expect("outlets");
    let found = outlets.iter_mut().find(|outlet| outlet["name"] == format!("upload/{name}").as_str());
    found.unwrap_or_else(|| panic!("no outlet {name}")).take()
}

pub fn metric(daemon: &Daemon, name: &str, destination: &str) -> u64 {
    daemon.metric(&format!("{name}{{outlet=\"upload/{destination}\"}}")) as u64
}

/// Waits until the clip was played and its events are over.
pub fn wait_for_events(daemon: &Daemon) -> Vec<Value> {
    wait_for("the clip to end and its events to be over", seconds(90), || {
        let finished = daemon.json("/api/v1/status")["cameras"][0]["state"] == "finished";
        let events = daemon.events();
        let over = !events.is_empty() && events.iter().all(|event| event["state"] == "ended");
        if finished && over { Ok(events) } else { Err(format!("finished: {finished}, {} events", events.len())) }
    })
}

pub fn wait_for_empty_queue(daemon: &Daemon, destination: &str) {
    wait_for(&format!("the queue of {destination} to be empty"), seconds(200), || {
        let said = outlet(daemon, destination);
        if said["queued_items"] == 0 { Ok(()) } else { Err(said.to_string()) }
    });
}

/// Every file of the events by the key that it should have, as it lies on the box.
pub fn expected(scratch: &Scratch, events: &[Value]) -> BTreeMap<String, Object> {
    let mut objects = BTreeMap::new();
    for event in events {
        let field = |pointer: &str| event.pointer(pointer).and_then(Value::as_str).expect("text");
        let date = field("/start/wall")[..10].replace('-', "/");
        let folder = format!("{PREFIX}/{DEVICE}/{date}/{}/{}", field("/camera"), field("/id"));
        let home = on_disk(scratch, event, "");
        for entry in std::fs::read_dir(&home).expect("an event's folder") {
            let path = entry.expect("an event's file").path();
            let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
            let object = describe(&path, format!("{folder}/{name}"));
            objects.insert(object.key.clone(), object);
        }
    }
    objects
}

fn describe(path: &Path, key: String) -> Object {
    let kind = match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => "application/json",
        Some("jpg") => "image/jpeg",
        Some("mp4") => "video/mp4",
        other => panic!("{key}: {other:?} is no kind of file that an event has"),
    };
    let bytes = std::fs::read(path).expect("an event's file");
    Object { key, bytes: bytes.len() as u64, sha256: hex::encode(Sha256::digest(&bytes)), kind: kind.to_owned() }
}

/// Names only what differs: the whole lists are long.
pub fn assert_same(destination: &str, there: &BTreeMap<String, Object>, here: &BTreeMap<String, Object>) {
    let keys: BTreeSet<&String> = there.keys().chain(here.keys()).collect();
    let differ: Vec<_> = keys.into_iter().map(|key| (there.get(key), here.get(key))).filter(|(a, b)| a != b).collect();
    assert!(differ.is_empty(), "{destination}: there and here differ: {differ:#?}");
}

/// What the box says of a destination that has everything.
pub fn assert_all_delivered(daemon: &Daemon, destination: &str, objects: &BTreeMap<String, Object>) {
    let said = outlet(daemon, destination);
    assert_eq!((&said["online"], &said["dead_letters"]), (&true.into(), &0.into()), "{said}");
    assert_eq!(said["last_error"], Value::Null, "{said}");
    let bytes: u64 = objects.values().map(|object| object.bytes).sum();
    assert_eq!(metric(daemon, "outpost_delivered_items_total", destination), objects.len() as u64, "{destination}");
    assert_eq!(metric(daemon, "outpost_delivered_bytes_total", destination), bytes, "{destination}");
    assert_eq!(metric(daemon, "outpost_queue_items", destination), 0, "{destination}");
    for record in daemon.records() {
        let deliveries = record["delivery"].as_array().expect("deliveries");
        let name = format!("upload/{destination}");
        let delivery = deliveries.iter().find(|delivery| delivery["outlet"] == name.as_str());
        assert_eq!(delivery.expect("known")["state"], "delivered", "{record}");
    }
}

/// Of a large file whose upload was cut: all of it went out, and nothing of it twice.
fn assert_sent_once(valve: &Proxy, cut: &str, part: &str, objects: &BTreeMap<String, Object>) {
    let (bytes, parts) = parts_sent(valve, cut, part, objects);
    assert!(parts.len() >= 2, "{cut}: {parts:?}");
    assert_eq!(parts.iter().sum::<u64>(), bytes, "{cut}: {parts:?}");
}

/// The size of the clip whose upload was cut, and of the parts in which it went out.
pub fn parts_sent(valve: &Proxy, cut: &str, part: &str, objects: &BTreeMap<String, Object>) -> (u64, Vec<u64>) {
    // Google's client encodes the slashes of a key, Azure's does not; the event's id is the same.
    let mut clips = objects.values().filter(|object| object.key.ends_with("/clip.mp4"));
    let id = |object: &Object| object.key.rsplit('/').nth(1).unwrap_or_default().to_owned();
    let object = clips.find(|object| cut.contains(&id(object))).expect("the clip that was cut");
    let passed = valve.passed();
    let mine = passed.iter().filter(|request| request.path() == cut);
    let parts = mine.filter(|r| r.target.contains(part)).map(|request| request.body_bytes).collect();
    (object.bytes, parts)
}

#[test]
fn azure_and_google_hold_what_the_box_holds_though_they_were_away_in_the_middle_of_a_clip() {
    let scratch = Scratch::new("clouds");
    scratch.expect_log(&["the destination is offline"]);
    let (mut azure, mut google) = (AzureServer::start(&scratch), GcsServer::start(&scratch));
    azure.create(CONTAINER);
    let (block, part) = ("comp=block&", "partNumber=");
    let (to_azure, to_google) =
        (Proxy::shuts_before(azure.port(), block, 2), Proxy::shuts_before(google.port(), part, 2));
    let key = scratch.secret("azure.key", azure::KEY);
    let config = Config::new(&scratch)
        .uploads_to_azure("azure", to_azure.port(), CONTAINER, &key)
        .uploads_to_google("google", to_google.port(), BUCKET)
        .lamp("gate", Lamp::OnceLarge);
    let mut daemon = Daemon::start(&scratch, config);

    let cut = |name: &str, valve: &Proxy| wait_for(name, seconds(120), || valve.shut_on().ok_or("not yet".to_owned()));
    let cut_azure = cut("the first block of a clip to be in Azure", &to_azure);
    let cut_google = cut("the first part of a clip to be in Google", &to_google);
    azure.stop();
    google.stop();
    let events = wait_for_events(&daemon);
    for name in ["azure", "google"] {
        wait_for(&format!("{name} to be missed"), seconds(60), || {
            let said = outlet(&daemon, name);
            let missed = said["online"] == false && said["last_error"].is_string();
            if missed { Ok(()) } else { Err(said.to_string()) }
        });
        assert!(outlet(&daemon, name)["queued_items"].as_u64() > Some(0));
    }

    azure.resume();
    google.resume();
    to_azure.open();
    to_google.open();
    let expected = expected(&scratch, &events);
    for (name, valve, cut, part) in [("azure", &to_azure, &cut_azure, block), ("google", &to_google, &cut_google, part)]
    {
        wait_for_empty_queue(&daemon, name);
        let objects = if name == "azure" { azure.objects(CONTAINER) } else { google.objects() };
        assert_same(name, &objects, &expected);
        assert_all_delivered(&daemon, name, &objects);
        assert!(metric(&daemon, "outpost_delivery_failures_total", name) >= 1, "{name}");
        assert_sent_once(valve, cut, part, &objects);
    }
    assert!(daemon.terminate().success());
    assert!(!daemon.log().contains(azure::KEY), "a secret is in the log");
}

#[test]
fn a_destination_that_refuses_says_why_and_holds_up_no_other() {
    let scratch = Scratch::new("refused");
    scratch.expect_log(&["the destination refuses us"]);
    let (azure, google) = (AzureServer::start(&scratch), GcsServer::start(&scratch));
    azure.create(CONTAINER);
    let right = scratch.secret("azure.key", azure::KEY);
    // Another account's: well formed, and not this one's.
    let wrong = scratch.secret("wrong.key", &azure::KEY.replace('E', "F"));
    let config = Config::new(&scratch)
        .uploads_to_azure("stranger", azure.port(), CONTAINER, &wrong)
        .uploads_to_azure("nowhere", azure.port(), "not-made-yet", &right)
        .uploads_to_google("lost", google.port(), "no-such-bucket")
        .uploads_to_google("google", google.port(), BUCKET)
        .lamp("gate", Lamp::Twice);
    let mut daemon = Daemon::start(&scratch, config);
    let events = wait_for_events(&daemon);
    wait_for_empty_queue(&daemon, "google");
    let expected = expected(&scratch, &events);
    assert_same("google", &google.objects(), &expected);
    assert_all_delivered(&daemon, "google", &expected);

    let missing = "the bucket or container does not exist: 404 ";
    for (name, reason) in [
        (
            "stranger",
            "the secret does not belong to the key, or the clock is off: 403 AuthorizationFailure: ".to_owned(),
        ),
        ("nowhere", format!("{missing}ContainerNotFound: ")),
        ("lost", format!("{missing}NoSuchBucket: ")),
    ] {
        let said = outlet(&daemon, name);
        assert_eq!((&said["online"], &said["dead_letters"]), (&false.into(), &0.into()), "{said}");
        assert_eq!(said["queued_items"], expected.len(), "{said}");
        let reported = said["last_error"].as_str().expect("a reason");
        assert!(reported.starts_with(&reason), "{name}: {reported}");
        assert_eq!(metric(&daemon, "outpost_delivered_items_total", name), 0, "{name}");
    }
    assert!(daemon.log().contains("the destination refuses us"), "the log does not say it");

    // The fault is mended; the daemon finds out by itself.
    azure.create("not-made-yet");
    scratch.secret("wrong.key", azure::KEY);
    for (name, container) in [("stranger", CONTAINER), ("nowhere", "not-made-yet")] {
        wait_for_empty_queue(&daemon, name);
        assert_same(name, &azure.objects(container), &expected);
        assert_all_delivered(&daemon, name, &expected);
    }
    wait_until("the lost one to be alone", seconds(10), || outlet(&daemon, "lost")["online"] == false);
    assert!(daemon.terminate().success());
    assert!(!daemon.log().contains(azure::KEY), "a secret is in the log");
}
