//! What was dropped is not shown as delivered: outlets that nobody reaches, and an operator who empties their queues.

use serde_json::Value;

use crate::clouds::wait_for_events;
use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::{Scratch, fixture, port, seconds, wait_until};

/// What `outpost queue` prints.
fn queue(config: &str, arguments: &[&str]) -> String {
    let output = outpost(&[&["queue"], arguments, &["--config", config]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Drops everything that waits in `outlet`, item by item; gives how many.
fn drop_all(config: &str, outlet: &str) -> usize {
    let listed = queue(config, &["list", "--queue", outlet, "--json", "--limit", "1000"]);
    let items: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for item in &items {
        let said = queue(config, &["drop", "--queue", outlet, &item["seq"].to_string()]);
        assert_eq!(said, format!("{outlet}: 1 dropped\n"));
    }
    items.len()
}

fn share<'a>(record: &'a Value, outlet: &str) -> &'a Value {
    let shares = record["delivery"].as_array().expect("deliveries");
    shares.iter().find(|share| share["outlet"] == outlet).unwrap_or_else(|| panic!("no {outlet} in {record}"))
}

/// Checks that an outlet, and each file of the event, is in `state`.
fn assert_files(record: &Value, outlet: &str, state: &str) {
    let share = share(record, outlet);
    assert_eq!(share["state"], state, "{record}");
    let files = share["files"].as_array().expect("files");
    assert!(files.len() >= 4 && files.iter().all(|file| file["state"] == state), "{share}");
    for file in ["event.json", "clip.mp4"] {
        assert!(files.iter().any(|of| of["file"] == file), "{file}: {share}");
    }
}

fn seconds_of(daemon: &Daemon, state: &str) -> f64 {
    daemon.json("/api/v1/cameras/gate/timeline")["seconds"][state].as_f64().unwrap_or_default()
}

/// Works with: stores | a destination that was given up, and its queue dropped (`outpost queue drop`) | such files are shown as dropped, per outlet and file, and never as delivered
#[test]
fn what_was_dropped_is_not_delivered_and_a_new_destination_did_not_want_it() {
    let scratch = Scratch::new("dropped");
    let away = format!("http://127.0.0.1:{}", port::free());
    let mut config = Config::new(&scratch).uploads_through(&away);
    config.add(&format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"", port::free()));
    let mut daemon = Daemon::start(&scratch, config.played_once("gate", &fixture("people.mp4"), 4.0));
    let events = wait_for_events(&daemon);
    for record in daemon.records() {
        assert_files(&record, "upload/cloud", "waiting");
        assert_eq!(share(&record, "mqtt")["state"], "waiting", "{record}");
    }

    let file = scratch.path("outpost.toml");
    let config = file.to_str().expect("text");
    assert!(drop_all(config, "upload/cloud") >= 4 * events.len());
    assert!(drop_all(config, "mqtt") >= 2 * events.len(), "start and end of each");
    for record in daemon.records() {
        assert_files(&record, "upload/cloud", "dropped");
        assert_eq!(share(&record, "mqtt")["state"], "dropped", "{record}");
    }
    assert!(seconds_of(&daemon, "recorded") > 1.0, "{}", seconds_of(&daemon, "recorded"));
    assert!(seconds_of(&daemon, "uploaded") < 0.001, "nothing was uploaded");

    // A destination that comes later does not get what was recorded before; the rest is as it was.
    let text = std::fs::read_to_string(&file).expect("the configuration");
    let folder = scratch.path("later");
    std::fs::create_dir_all(&folder).expect("a folder");
    std::fs::write(&file, format!("{text}[upload.later]\nurl = \"file://{}\"\n", folder.display())).expect("write");
    assert!(daemon.terminate().success());
    daemon.start_again();
    let ids: Vec<&Value> = events.iter().map(|event| &event["id"]).collect();
    let (old, _): (Vec<Value>, _) = daemon.records().into_iter().partition(|of| ids.contains(&&of["event"]["id"]));
    assert_eq!(old.len(), events.len());
    for record in &old {
        assert_files(record, "upload/later", "not_wanted");
        assert_files(record, "upload/cloud", "dropped");
        assert_eq!(share(record, "mqtt")["state"], "dropped", "{record}");
    }
    // What is recorded from now on goes there, and the box says so.
    wait_until("a new event to be delivered to the new destination", seconds(120), || {
        let records = daemon.records();
        let mut new = records.iter().filter(|record| !ids.contains(&&record["event"]["id"]));
        new.any(|record| {
            let there = share(record, "upload/later");
            let files = there["files"].as_array().expect("files");
            there["state"] == "delivered" && files.iter().all(|file| file["state"] == "delivered")
        })
    });
}
