//! What was dropped is not shown as delivered: outlets that are unreachable, and an operator who empties their queues.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

use outpost::clock::SystemClock;
use outpost::event::{DeliveryState, Event, FileDelivery, OutletDelivery};
use outpost::store::{Query, Store};
use serde_json::Value;

use crate::browser::look;
use crate::clouds::wait_for_events;
use crate::end_to_end::is_delivered;
use crate::harness::clips::Lamp;
use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, PROGRAM, outpost};
use crate::harness::{Scratch, port, seconds, wait_until};
use crate::older_version::unpack;

/// What `outpost queue` prints.
fn queue(config: &str, arguments: &[&str]) -> String {
    let output = outpost(&[&["queue"], arguments, &["--config", config]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// Drops everything that waits in `outlet`; gives how many.
fn drop_all(config: &str, outlet: &str) -> usize {
    let said = queue(config, &["drop", "--queue", outlet, "--waiting", "--yes"]);
    let count = said.strip_prefix(&format!("{outlet}: ")).and_then(|rest| rest.split_once(" dropped\n"));
    let (count, _) = count.unwrap_or_else(|| panic!("{said}"));
    assert_eq!(queue(config, &["list", "--queue", outlet]), format!("{outlet}: nothing waits\n"));
    count.parse().expect("a number")
}

/// What the program says on a terminal with an answer.
fn asked_on_a_terminal(arguments: &[&str], answer: &str) -> String {
    let command = [&[PROGRAM], arguments].concat().join(" ");
    let mut script = Command::new("script");
    script.args(["-qec", &command, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut script = script.spawn().expect("script of util-linux");
    script.stdin.take().expect("input").write_all(answer.as_bytes()).expect("answer");
    String::from_utf8(script.wait_with_output().expect("output").stdout).expect("text")
}

/// Tries what `outpost queue drop` is to be asked for, without a terminal, before anything is dropped.
fn look_before_dropping(config: &str, events: usize) {
    let listed = || {
        let listed = queue(config, &["list", "--queue", "upload/cloud", "--json", "--limit", "1000"]);
        listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect::<Vec<Value>>()
    };
    let items = listed();
    let refused = outpost(&["queue", "drop", "--queue", "upload/cloud", "--waiting", "--config", config]);
    let said = String::from_utf8(refused.stderr).expect("text");
    assert!(!refused.status.success() && said.contains("add --yes") && said.contains("upload/cloud: "), "{said}");
    let nothing = outpost(&["queue", "drop", "--queue", "upload/cloud", "--yes", "--config", config]);
    assert_eq!(nothing.status.code(), Some(64), "nothing was selected");
    let would =
        |arguments: &[&str]| queue(config, &[&["drop", "--queue", "upload/cloud", "--dry-run"], arguments].concat());
    assert!(
        would(&["--kind", "clip"]).starts_with(&format!("upload/cloud: {events} item")),
        "{}",
        would(&["--kind", "clip"])
    );
    assert!(would(&["--camera", "cellar", "--kind", "clip"]).starts_with("upload/cloud: 0 items"));
    assert!(would(&["--before", "1d", "--camera", "gate"]).starts_with("upload/cloud: 0 items"));
    let asked =
        asked_on_a_terminal(&["queue", "drop", "--queue", "upload/cloud", "--waiting", "--config", config], "n\n");
    let question = format!("upload/cloud: {} items (", items.len());
    assert!(asked.contains(&question) && asked.contains("Go on? [y/N]"), "{asked}");
    assert!(asked.contains("nothing was dropped"), "{asked}");
    assert_eq!(listed().len(), items.len(), "nothing was dropped");

    // One that is named, a range of one camera, and the same again.
    let clip = |item: &&Value| item["what"] == "clip.mp4";
    let seq = items.iter().find(clip).expect("a clip")["seq"].to_string();
    assert!(queue(config, &["drop", "--queue", "upload/cloud", &seq]).starts_with("upload/cloud: 1 dropped\n"));
    let again = outpost(&["queue", "drop", "--queue", "upload/cloud", &seq, "--config", config]);
    let said = String::from_utf8(again.stderr).expect("text");
    assert!(!again.status.success() && said.contains(&format!("upload/cloud has no item {seq}")), "{said}");
    let seqs = items.iter().filter_map(|item| item["seq"].as_u64());
    let (first, last) = (seqs.clone().min().expect("some"), seqs.max().expect("some"));
    let range = format!("{first}-{last}");
    let clips = ["drop", "--queue", "upload/cloud", &range, "--camera", "gate", "--kind", "clip", "--yes"];
    assert!(queue(config, &clips).starts_with(&format!("upload/cloud: {} dropped\n", events - 1)));
    assert!(queue(config, &clips).starts_with("upload/cloud: 0 dropped\n"));
    assert_eq!(listed().len(), items.len() - events, "all else waits");
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

/// Works with: stores | a destination that was given up, and its queue dropped (`outpost queue drop`) | such files are shown as dropped, per outlet and file, and never as delivered, also after a rebuild of the index
#[test]
fn what_was_dropped_is_not_delivered_and_a_new_destination_did_not_want_it() {
    let scratch = Scratch::new("dropped");
    scratch.expect_log(&["alerts wait, the broker cannot be used", "the destination is offline"]);
    let away = format!("http://127.0.0.1:{}", port::free());
    let mut config = Config::new(&scratch).uploads_through(&away);
    config.add(&format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"", port::free()));
    let mut daemon = Daemon::start(&scratch, config.lamp("gate", Lamp::Twice));
    let events = wait_for_events(&daemon);
    for record in daemon.records() {
        assert_files(&record, "upload/cloud", "waiting");
        assert_eq!(share(&record, "mqtt")["state"], "waiting", "{record}");
    }

    let file = scratch.path("outpost.toml");
    let config = file.to_str().expect("text");
    look_before_dropping(config, events.len());
    assert!(drop_all(config, "upload/cloud") >= 3 * events.len());
    assert!(drop_all(config, "mqtt") >= 2 * events.len(), "start and end of each");
    for record in daemon.records() {
        assert_files(&record, "upload/cloud", "dropped");
        assert_eq!(share(&record, "mqtt")["state"], "dropped", "{record}");
        assert!(!is_delivered(&record), "{record}");
    }
    let page = look(&daemon.page());
    // The camera is over, so there is no live picture of it.
    let errors = page["errors"].as_array().expect("a list").iter().filter_map(Value::as_str);
    let errors: Vec<&str> = errors.filter(|error| !error.starts_with("Failed to load resource")).collect();
    assert!(errors.is_empty(), "on the console: {errors:?}");
    let words = page["text"].as_str().expect("text");
    assert!(words.contains("dropped") && !words.contains("delivered"), "{words}");
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
    // The index is lost: what was dropped does not wait again.
    assert!(daemon.terminate().success());
    std::fs::remove_dir_all(scratch.path("box/index")).expect("remove the index");
    daemon.start_again();
    wait_until("the index to be made again", seconds(120), || {
        let records = daemon.records();
        ids.iter().all(|id| records.iter().any(|of| of["event"]["id"] == **id))
    });
    for record in daemon.records().iter().filter(|of| ids.contains(&&of["event"]["id"])) {
        assert_files(record, "upload/cloud", "dropped");
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

/// Every event of the box's index, with how far the outlets got.
fn deliveries(scratch: &Scratch) -> Vec<(Event, Vec<OutletDelivery>)> {
    let config = outpost::store::Config { path: scratch.path("box"), ..Default::default() };
    let outlets = ["mqtt", "upload/away", "upload/cloud", "upload/sealed", "upload/strict"]
        .map(|text| text.parse().expect("a destination"));
    let store = Store::open(&config, &outlets, Arc::new(SystemClock::new())).expect("open");
    assert!(!store.was_reset());
    let events = store.events().find(&Query { limit: 500, ..Query::default() }).wait().expect("events");
    let deliveries = store.events().deliveries(&events).wait().expect("deliveries");
    store.close().expect("close");
    events.into_iter().zip(deliveries).collect()
}

/// Works with: system | an update from a version that did not distinguish dropped from delivered | the states come from the marks that the index has, and from the queues; after `outpost store rebuild` everything waits again
#[test]
fn an_index_of_version_0_1_says_what_waits_what_failed_and_what_was_delivered() {
    use DeliveryState::{Delivered, Failed, Waiting};
    let scratch = Scratch::new("older");
    let config = unpack(&scratch);
    let mut seen = BTreeSet::new();
    let before = deliveries(&scratch);
    assert!(before.len() > 10);
    for (event, outlets) in &before {
        assert_eq!(outlets.len(), 5, "{outlets:?}");
        for outlet in outlets {
            for FileDelivery { file, state } in &outlet.files {
                let allowed: &[DeliveryState] = match (outlet.outlet.as_str(), file.as_str()) {
                    ("upload/cloud", _) => &[Delivered, Waiting],
                    ("upload/strict", "clip.mp4") => &[Failed, Waiting],
                    ("upload/strict", _) => &[Delivered, Waiting],
                    _ => &[Waiting],
                };
                assert!(allowed.contains(state), "{}, {}: {file} is {state:?}", event.id, outlet.outlet);
                seen.insert((outlet.outlet.clone(), *state));
                if (outlet.outlet.as_str(), *state) == ("upload/cloud", Delivered) {
                    let day = event.filed.as_ref().expect("a day");
                    let (camera, id) = (&event.camera, event.id);
                    let there = scratch.path("cloud").join(format!("box1/{day}/{camera}/{id}/{file}"));
                    assert!(there.is_file(), "{} is not there", there.display());
                }
            }
        }
        assert_eq!((outlets[0].outlet.as_str(), outlets[0].state), ("mqtt", Waiting), "{}", event.id);
    }
    let reporting = [("upload/cloud", Delivered), ("upload/strict", Delivered), ("upload/strict", Failed)];
    assert!(
        reporting.iter().all(|(outlet, state)| seen.contains(&(outlet.parse().expect("a destination"), *state))),
        "{seen:?}"
    );

    let output = outpost(&["store", "rebuild", "--config", config.to_str().expect("text")]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let after = deliveries(&scratch);
    assert_eq!(after.len(), before.len());
    for (event, outlets) in after {
        let reported: Vec<&str> = outlets.iter().map(|outlet| outlet.outlet.as_str()).collect();
        let of_files = ["upload/away", "upload/cloud", "upload/sealed", "upload/strict"];
        assert!(reported.ends_with(&of_files), "{}: {reported:?}", event.id);
        let files = outlets.iter().flat_map(|outlet| &outlet.files);
        assert!(files.clone().count() > 0 && files.clone().all(|file| file.state == Waiting), "{}", event.id);
    }
}
