//! The link as it is out there: slow, answered by others, in a storm, paused by hand, within a budget.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::clouds::{
    CONTAINER, assert_all_delivered, assert_same, expected, outlet, parts_sent, wait_for_empty_queue, wait_for_events,
};
use crate::harness::azure::{self, AzureServer};
use crate::harness::bucket::{BUCKET, Object, S3Server};
use crate::harness::clips::Lamp;
use crate::harness::config::{Config, PREFIX};
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::gcs::GcsServer;
use crate::harness::proxy::{Proxy, Quality};
use crate::harness::{Scratch, seconds, wait_for, wait_until};

/// A bucket behind a line of its own.
struct Site {
    scratch: Scratch,
    cloud: S3Server,
    line: Proxy,
}

impl Site {
    fn new(name: &str) -> Self {
        let scratch = Scratch::new(name);
        scratch.expect_log(&["the destination is offline", "a file was not delivered, it will be tried again"]);
        scratch.expect_log(&["a file cannot be delivered, it was moved to the dead letters"]);
        let cloud = S3Server::start(&scratch);
        let line = Proxy::start(cloud.port());
        Self { scratch, cloud, line }
    }

    fn config(&self, more: &str) -> Config<'_> {
        let mut config = Config::new(&self.scratch).uploads_through(&format!("http://127.0.0.1:{}", self.line.port()));
        config.add(more);
        config
    }

    /// What `outpost` says with these arguments.
    fn outpost(&self, arguments: &[&str]) -> String {
        let config = self.scratch.path("outpost.toml").display().to_string();
        let output = outpost(&[arguments, &["--config", &config]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }
}

fn transfers(daemon: &Daemon) -> Value {
    outlet(daemon, "cloud")["transfers"].take()
}

fn link(daemon: &Daemon) -> String {
    transfers(daemon)["link"].as_str().unwrap_or_default().to_owned()
}

/// The items of the queue as the API shows them.
fn items(daemon: &Daemon, state: &str) -> Vec<Value> {
    let mut answer = daemon.json(&format!("/api/v1/queue/items?outlet=upload/cloud&limit=1000&state={state}"));
    answer["items"].as_array_mut().map(std::mem::take).expect("items")
}

fn order(daemon: &Daemon, action: &str, command: &Value) -> Value {
    let answer = daemon.post(&format!("/api/v1/queue/{action}"), command).expect("an answer");
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    serde_json::from_slice(&answer.body).expect("JSON")
}

#[test]
fn a_login_page_is_not_the_cloud_and_no_storm_costs_a_file() {
    let site = Site::new("storm");
    site.line.set(Quality::Portal);
    let mut daemon =
        Daemon::start(&site.scratch, site.config("").lamp("gate", Lamp::OnceLarge).lamp("yard", Lamp::Twice));
    let events = wait_for_events(&daemon);
    wait_for("the login page to be recognised", seconds(60), || {
        let said = outlet(&daemon, "cloud");
        let reported = said["last_error"].as_str().is_some_and(|error| error.contains("login page"));
        if reported && said["online"] == false { Ok(()) } else { Err(said.to_string()) }
    });
    assert!(site.line.answered() > 0 && site.cloud.objects().is_empty());
    let untyped = |object: Object| Object { kind: String::new(), ..object };
    let expected: BTreeMap<String, Object> =
        expected(&site.scratch, &events).into_iter().map(|(key, object)| (key, untyped(object))).collect();
    assert_eq!(items(&daemon, "waiting").len(), expected.len());

    site.line.set(Quality::Storm);
    let before = site.line.answered();
    wait_for("the storm to be met", seconds(90), || {
        let met = site.line.answered() - before;
        if met >= 8 { Ok(()) } else { Err(format!("{met} answers")) }
    });
    site.line.set(Quality::Good);
    wait_for_empty_queue(&daemon, "cloud");
    assert_same("cloud", &site.cloud.objects(), &expected);
    assert_all_delivered(&daemon, "cloud", &expected);
    wait_for("the link to be steady again", seconds(60), || match link(&daemon).as_str() {
        state @ ("online" | "degraded") => Ok(state.to_owned()),
        other => Err(other.to_owned()),
    });
    assert!(daemon.terminate().success());
}

#[test]
fn what_the_destination_says_to_have_otherwise_is_sent_again() {
    let site = Site::new("garbled");
    site.line.set(Quality::Garbled);
    let mut daemon = Daemon::start(&site.scratch, site.config("").lamp("gate", Lamp::Twice));
    let events = wait_for_events(&daemon);
    let failures = || daemon.metric("outpost_delivery_failures_total{outlet=\"upload/cloud\"}");
    wait_for("wrong answers to be noticed", seconds(60), || {
        if failures() >= 3.0 { Ok(()) } else { Err(format!("{} failures", failures())) }
    });
    // Everything was sent, and nothing of it counts.
    assert!(site.line.answered() >= 3 && !site.cloud.objects().is_empty());
    assert_eq!(daemon.metric("outpost_delivered_items_total{outlet=\"upload/cloud\"}"), 0.0);
    assert!(daemon.log().contains("its MD5 differs"), "{}", daemon.log());
    site.line.set(Quality::Good);
    let untyped = |object: Object| Object { kind: String::new(), ..object };
    let expected: BTreeMap<String, Object> =
        expected(&site.scratch, &events).into_iter().map(|(key, object)| (key, untyped(object))).collect();
    wait_for_empty_queue(&daemon, "cloud");
    assert_same("cloud", &site.cloud.objects(), &expected);
    assert_all_delivered(&daemon, "cloud", &expected);
    assert!(daemon.terminate().success());
}

#[test]
fn killed_in_the_middle_of_a_clip_it_sends_no_more_than_one_part_again_anywhere() {
    let scratch = Scratch::new("midfile");
    scratch.expect_log(&["the destination is offline"]);
    let (cloud, azure, google) = (S3Server::start(&scratch), AzureServer::start(&scratch), GcsServer::start(&scratch));
    azure.create(CONTAINER);
    let (block, part) = ("comp=block&", "partNumber=");
    let valves = [
        ("cloud", part, Proxy::shuts_before(cloud.port(), part, 3)),
        ("azure", block, Proxy::shuts_before(azure.port(), block, 3)),
        ("google", part, Proxy::shuts_before(google.port(), part, 3)),
    ];
    let key = scratch.secret("azure.key", azure::KEY);
    let port = |index: usize| valves[index].2.port();
    let config = Config::new(&scratch)
        .uploads_through(&format!("http://127.0.0.1:{}", port(0)))
        .uploads_to_azure("azure", port(1), CONTAINER, &key)
        .uploads_to_google("google", port(2), BUCKET)
        .lamp("gate", Lamp::OnceLarge);
    let mut daemon = Daemon::start(&scratch, config);
    let cut = valves.each_ref().map(|(name, _, valve)| {
        wait_for(&format!("the third part to {name}"), seconds(150), || valve.shut_on().ok_or("not yet".to_owned()))
    });
    let events = wait_for_events(&daemon);
    daemon.process().kill();
    for (_, _, valve) in &valves {
        valve.open();
    }
    daemon.start_again();
    let expected = expected(&scratch, &events);
    for ((name, part, valve), cut) in valves.iter().zip(&cut) {
        wait_for_empty_queue(&daemon, name);
        let objects = match *name {
            "cloud" => cloud.objects(),
            "azure" => azure.objects(CONTAINER),
            _ => google.objects(),
        };
        // The clip is played again by the second run, so that there is more; and the S3 client reports no types.
        for (key, here) in &expected {
            let there = objects.get(key).map(|there| (there.bytes, &there.sha256));
            assert_eq!(there, Some((here.bytes, &here.sha256)), "{name}: {key}");
        }
        let (bytes, parts) = parts_sent(valve, cut, part, &objects);
        let again = parts.iter().sum::<u64>() - bytes;
        println!("{name}: {bytes} bytes in {} parts, {again} bytes sent again", parts.len());
        assert!(parts.len() >= 3 && again <= parts[0], "{name}: {parts:?} of {bytes}");
    }
    assert!(daemon.terminate().success());
}

#[test]
fn a_webdav_server_holds_what_the_box_holds() {
    let scratch = Scratch::new("webdav");
    let (cloud, url) = S3Server::start_with_webdav(&scratch);
    let mut config = Config::new(&scratch);
    config.add(&format!("[upload.cloud]\nurl = \"{url}/{PREFIX}\"\nallow_http = true"));
    let mut daemon = Daemon::start(&scratch, config.lamp("gate", Lamp::OnceLarge));
    let events = wait_for_events(&daemon);
    wait_for_empty_queue(&daemon, "cloud");
    let expected = expected(&scratch, &events);
    assert!(expected.values().any(|object| object.bytes > 8 << 20), "a clip is larger than what is held in memory");
    let untyped = |object: Object| Object { kind: String::new(), ..object };
    let untyped = expected.into_iter().map(|(key, object)| (key, untyped(object))).collect();
    assert_same("cloud", &cloud.objects(), &untyped);
    assert_all_delivered(&daemon, "cloud", &untyped);
    assert!(daemon.terminate().success());
}

#[test]
fn metadata_leaves_while_a_large_file_has_the_slow_line() {
    let site = Site::new("slow");
    // A first event, whose clip takes minutes at this speed, and then another.
    site.line.set(Quality::Cut);
    let mut daemon = Daemon::start(&site.scratch, site.config("parallel = 1").lamp("gate", Lamp::BlinkingLarge));
    daemon.wait_for_ended(1, seconds(90));
    site.line.set(Quality::Slow(48 * 1024));
    let clip = wait_for("a clip to be on its way", seconds(120), || {
        let on_the_way = transfers(&daemon)["current"].clone();
        let keys = on_the_way.as_array().into_iter().flatten().filter_map(|transfer| transfer["key"].as_str());
        keys.filter(|key| key.ends_with("/clip.mp4")).map(str::to_owned).next().ok_or(on_the_way.to_string())
    });
    let known: BTreeSet<String> = daemon.events().iter().map(|event| event["id"].to_string()).collect();
    let new = wait_for("another event to end", seconds(120), || {
        let ended = daemon.events_in("ended");
        let new = ended.iter().find(|event| !known.contains(&event["id"].to_string()));
        new.and_then(|event| event["id"].as_str()).map(str::to_owned).ok_or("none yet".to_owned())
    });
    wait_for("its metadata to be in the cloud", seconds(120), || {
        let there = site.cloud.keys();
        let reported = there.iter().any(|key| key.contains(&new) && key.ends_with("/event.json"));
        if reported { Ok(()) } else { Err(format!("{} objects", there.len())) }
    });
    let there = site.cloud.keys();
    assert!(!there.iter().any(|key| key.ends_with(&clip)), "the clip is not through yet");
    assert!(transfers(&daemon)["current"].to_string().contains(&clip), "and still on its way");
    assert!(daemon.terminate().success());
}

#[test]
fn a_queue_is_shown_paused_and_mended_from_the_command_line() {
    let site = Site::new("queue");
    let config = site.config("").lamp("gate", Lamp::Blinking);
    let mut daemon = Daemon::start(&site.scratch, config);
    daemon.wait_for_ended(1, seconds(90));
    assert_eq!(site.outpost(&["queue", "pause"]), "upload/cloud is paused\n");
    assert_eq!(site.outpost(&["queue", "pause"]), "upload/cloud is paused already\n");
    wait_until("what was on its way to be over", seconds(60), || transfers(&daemon)["current"] == json!([]));
    let sent = site.cloud.keys();
    daemon.wait_for_ended(3, seconds(90));
    assert!(daemon.terminate().success());
    daemon.start_again();
    daemon.wait_for_ended(4, seconds(90));
    assert_eq!(transfers(&daemon)["held"], "paused by hand");
    assert_eq!(site.cloud.keys(), sent, "nothing leaves, over a restart either");

    let (listed, waiting) = (site.outpost(&["queue", "list"]), items(&daemon, "waiting"));
    let lines: Vec<&str> = listed.lines().collect();
    assert!(lines.len() >= 5 && lines[0] == "upload/cloud:" && lines[1].contains("event.json"), "{listed}");
    let status = site.outpost(&["status"]);
    assert!(status.contains("upload/cloud: ") && status.contains("paused by hand"), "{status}");
    // One is dropped, one loses its file and is given up.
    let named = |what: &str| waiting.iter().filter(|item| item["what"] == what).collect::<Vec<_>>();
    let (dropped, lost) = (named("thumb.jpg")[0], named("snapshot.jpg")[0]);
    let seq = dropped["seq"].to_string();
    assert_eq!(site.outpost(&["queue", "drop", &seq]), "upload/cloud: 1 dropped\n");
    let shown: Value = serde_json::from_str(&site.outpost(&["queue", "show", &lost["seq"].to_string()])).expect("JSON");
    assert_eq!((&shown["what"], &shown["state"]), (&json!("snapshot.jpg"), &json!("waiting")));
    let event = lost["event"].as_str().expect("an event");
    let file = site.scratch.path("box/archive/gate").join(event).join("snapshot.jpg");
    let content = std::fs::read(&file).expect("the picture");
    std::fs::remove_file(&file).expect("lose it");

    assert_eq!(order(&daemon, "resume", &json!({"outlet": "upload/cloud"}))["changed"], 1);
    // Its rests after four failures would take minutes: the operator retries it.
    let dead = wait_for("the lost one to be given up", seconds(120), || {
        // Only while it rests: what was given up would be tried again.
        let rests =
            items(&daemon, "waiting").iter().any(|item| item["seq"] == lost["seq"] && item["state"] == "resting");
        if rests {
            order(&daemon, "retry", &json!({"outlet": "upload/cloud", "seq": lost["seq"]}));
        }
        items(&daemon, "dead").pop().ok_or("not yet".to_owned())
    });
    assert_eq!((&dead["class"], &dead["error"]), (&json!("local_file"), &json!("the local file is gone")));
    std::fs::write(&file, content).expect("find it again");
    assert_eq!(site.outpost(&["queue", "retry", "--all-dead"]), "upload/cloud: 1 tried again\n");
    let there = |event: &Value, file: &str| {
        let end = format!("{}/{file}", event.as_str().expect("an event"));
        site.cloud.keys().iter().any(|key| key.ends_with(&end))
    };
    wait_until("it to be in the cloud", seconds(60), || there(&lost["event"], "snapshot.jpg"));
    wait_until("the rest of the other to be there", seconds(60), || there(&dropped["event"], "clip.mp4"));
    assert!(!there(&dropped["event"], "thumb.jpg"), "what was dropped stays on the box");
    assert!(daemon.terminate().success());
}

#[test]
fn a_budget_is_kept_and_leaves_room_for_what_matters() {
    let site = Site::new("budget");
    let config = site.config("daily_bytes = 200000").lamp("gate", Lamp::Blinking);
    let mut daemon = Daemon::start(&site.scratch, config);
    wait_for("the budget to be spent but for its tenth", seconds(120), || {
        let held = transfers(&daemon)["held"].clone();
        if held.as_str().is_some_and(|held| held.contains("budget")) { Ok(()) } else { Err(held.to_string()) }
    });
    daemon.crash_and_restart();
    daemon.wait_for_ended(1, seconds(90));
    wait_until("the budget to hold after a crash", seconds(60), || {
        transfers(&daemon)["held"].as_str().is_some_and(|held| held.contains("budget"))
    });
    let objects = site.cloud.objects();
    let sent: u64 = objects.values().map(|object| object.bytes).sum();
    assert!(sent <= 200_000, "{sent}");
    assert!(waiting_clips(&daemon) > 0, "clips wait for tomorrow");
    assert!(small(&objects) > 0, "what matters is there");
    assert!(daemon.terminate().success());
}

fn waiting_clips(daemon: &Daemon) -> usize {
    items(daemon, "waiting").iter().filter(|item| item["what"] == "clip.mp4").count()
}

fn small(objects: &BTreeMap<String, Object>) -> usize {
    objects.keys().filter(|key| key.ends_with("/event.json")).count()
}
