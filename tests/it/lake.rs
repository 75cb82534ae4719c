//! A fleet is searched by the tables in its bucket: two boxes, one bucket, the real DuckDB, the documented SQL.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::clouds::{outlet, wait_for_events};
use crate::harness::bucket::{ACCESS_KEY, S3Server, SECRET_KEY};
use crate::harness::clips::people_for_a_while;
use crate::harness::config::{Config, DEVICE, PREFIX};
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, installed, repository, seconds, wait_for, wait_until};

const LOOKS: f64 = 4.0;
const OTHER: &str = "box2";
const PROGRAM: &str = "a viewer";

/// What docs/lake.md promises to answer, by the title of the block.
fn documented(cloud: &S3Server) -> BTreeMap<String, Vec<Value>> {
    let mut command = Command::new(installed("lake/bin/python"));
    command.arg(repository().join("tests/servers/lake.py")).arg(cloud.endpoint());
    command.arg(repository().join("docs/lake.md"));
    command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
    let blocks = run(&mut command);
    let blocks = blocks.lines().map(|line| serde_json::from_str::<Value>(line).expect("a block a line"));
    let part = |mut block: Value| {
        let rows = block["rows"].as_array_mut().map(std::mem::take).expect("rows");
        (block["title"].as_str().expect("a title").to_owned(), rows)
    };
    blocks.map(part).collect()
}

/// A box that exports everything within a second.
fn site<'a>(scratch: &'a Scratch, cloud: &S3Server, device: &str) -> Config<'a> {
    let mut config = Config::new(scratch).named(device).uploads_to(cloud);
    config.add("[lake]\nevery = \"1s\"\nhealth_every = \"1s\"");
    // What an earlier day left.
    let folder = scratch.path("box").join("coverage/gate");
    std::fs::create_dir_all(&folder).expect("a folder");
    let account = json!({
        "version": 1, "device": device, "camera": "gate", "day": "2026-11-20", "complete": true,
        "written": {"wall": "2026-11-21T00:10:00Z", "mono_ns": 5, "boot_id": "b", "time_quality": "synchronised"},
        "from": "2026-11-20T00:00:00Z", "until": "2026-11-21T00:00:00Z",
        "intervals": [
            {"from": "2026-11-20T00:00:00Z", "until": "2026-11-20T18:00:00Z", "state": "watched"},
            {"from": "2026-11-20T18:00:00Z", "until": "2026-11-21T00:00:00Z", "state": "offline", "reason": "unplugged"},
        ],
    });
    std::fs::write(folder.join("2026-11-20.json"), account.to_string()).expect("write an account");
    config.played_once("gate", &people_for_a_while(), LOOKS)
}

/// Waits until the lake of a box has all that there is to export its events, and the cloud has it.
fn wait_until_exported(daemon: &Daemon) {
    wait_for("the lake to have everything", seconds(90), || {
        let unexported = daemon.metric("outpost_queue_items{outlet=\"lake\"}");
        let waiting = outlet(daemon, "cloud")["queued_items"].clone();
        if unexported == 0.0 && waiting == 0 {
            Ok(())
        } else {
            Err(format!("{unexported} unexported, {waiting} waiting"))
        }
    });
}

/// A program with a key says something of the newest event that has a picture, and looks at that. Gives the event.
fn look_with_a_key(daemon: &Daemon) -> Value {
    let made = daemon.post("/api/v1/keys", &json!({"name": PROGRAM, "role": "operator"})).expect("an answer");
    let key: Value = serde_json::from_slice(&made.body).expect("a key");
    let authorization = format!("Authorization: Bearer {}", key["key"].as_str().expect("a key"));
    let event = daemon.events().into_iter().find(|event| event["pictures"].is_array()).expect("one with a picture");
    let path = format!("/api/v1/events/{}", event["id"].as_str().expect("an id"));
    let said = json!({"tags": ["courier", "blue van"], "note": "asked for ben", "verdict": "true_alarm"});
    assert_eq!(daemon.send("PATCH", &path, &authorization, &said).expect("an answer").status, 200);
    let picture = daemon.send("GET", &format!("{path}/thumb.jpg"), &authorization, &Value::Null);
    assert_eq!(picture.expect("an answer").status, 200);
    event
}

#[test]
fn the_documented_sql_finds_what_two_boxes_saw_lost_covered_and_were() {
    let (scratch, other) = (Scratch::new("lake"), Scratch::new("lake-other"));
    for scratch in [&scratch, &other] {
        scratch.expect_log(&["there is nothing left that may be deleted"]);
    }
    let cloud = S3Server::start(&scratch);
    let mut boxes = [
        Daemon::start(&scratch, site(&scratch, &cloud, DEVICE)),
        // One with hardly any room: its clips go as soon as they may.
        Daemon::start(&other, site(&other, &cloud, OTHER).keeps_at_most(100_000)),
    ];
    boxes.iter().for_each(|daemon| drop(wait_for_events(daemon)));
    wait_until("clips of the other box to be deleted", seconds(90), || {
        boxes[1].events().iter().any(|event| event["evicted"].is_array())
    });
    // A box that dies goes on where it was, and sees the clip again.
    boxes[0].crash_and_restart();
    let events: Vec<Vec<Value>> = boxes.iter().map(wait_for_events).collect();
    boxes.iter().for_each(wait_until_exported);
    let tables = ["events", "health", "coverage", "tombstones"];
    wait_until("all tables to be there", seconds(60), || {
        let keys = cloud.keys();
        tables.iter().all(|table| {
            let folder = format!("{PREFIX}/lake/{table}/device={OTHER}/date=");
            keys.iter().any(|key| key.starts_with(&folder) && key.ends_with(".parquet"))
        })
    });
    let looked_at = look_with_a_key(&boxes[0]);
    wait_until("the audit log to be there", seconds(90), || {
        let has_log = cloud.keys().iter().any(|key| key.contains("/lake/audit/"));
        let found = if has_log { documented(&cloud) } else { BTreeMap::new() };
        ["who looked at what", "events that were judged or marked"]
            .iter()
            .all(|title| found.get(*title).is_some_and(|rows| !rows.is_empty()))
    });
    let answers = documented(&cloud);
    assert_eq!(answers.len(), 8, "{:?}", answers.keys());

    let seen = &answers["what was seen"];
    for (device, events) in [(DEVICE, &events[0]), (OTHER, &events[1])] {
        let exported: u64 =
            seen.iter().filter(|row| row["device"] == device).filter_map(|row| row["events"].as_u64()).sum();
        assert_eq!(exported, events.len() as u64, "{device}: {seen:?}");
    }
    let keys = cloud.keys();
    let clips = &answers["the clips of people of the last week, newest first"];
    assert!(clips.iter().any(|row| row["device"] == DEVICE), "{clips:?}");
    for row in clips {
        let clip = row["clip"].as_str().and_then(|clip| clip.strip_prefix("s3://cams/")).expect("a clip's address");
        assert!(keys.contains(clip), "{clip} is not there");
    }
    let looks = &answers["who looked at what"];
    let started = looked_at["start"]["wall"].as_str().map(|wall| wall[..19].replace('T', " ")).expect("a time");
    for row in looks {
        assert_eq!(
            (&row["who"], &row["device"], &row["looks"]),
            (&json!(PROGRAM), &json!(DEVICE), &json!(1)),
            "{looks:?}"
        );
        assert!(row["started_at"].as_str().is_some_and(|at| at.starts_with(&started)), "{row} of {looked_at}");
    }
    let said = &answers["events that were judged or marked"];
    let said: Vec<_> = said.iter().map(|row| [&row["verdict"], &row["tags"], &row["note"], &row["said_by"]]).collect();
    // A key is not the user of the same name.
    assert_eq!(said, [["true_alarm", "courier,blue van", "asked for ben", "key a viewer"]]);
    let deleted = &answers["what was deleted, and whether any of it was lost"];
    assert!(!deleted.is_empty() && deleted.iter().all(|row| row["device"] == OTHER), "{deleted:?}");
    assert!(deleted.iter().all(|row| row["reason"] == "quota" && row["bytes"].as_u64() > Some(0)), "{deleted:?}");
    let hours = &answers["hours of every state, by camera and day"];
    for device in [DEVICE, OTHER] {
        let of_box = hours.iter().filter(|row| row["device"] == device && row["date"] == "2026-11-20");
        let exported: Vec<_> = of_box.map(|row| (row["state"].as_str(), row["hours"].as_f64())).collect();
        assert_eq!(exported, [(Some("offline"), Some(6.0)), (Some("watched"), Some(18.0))], "{hours:?}");
    }
    let heard = &answers["the boxes, those first that were silent for the longest time"];
    let devices: Vec<_> = heard.iter().filter_map(|row| row["device"].as_str()).collect();
    assert!(devices.contains(&DEVICE) && devices.contains(&OTHER) && devices.len() == 2, "{heard:?}");
    assert!(heard.iter().all(|row| row["free_bytes"].as_u64() > Some(0)), "{heard:?}");
    for daemon in &mut boxes {
        assert!(daemon.terminate().success());
        assert!(!daemon.log().contains("the lake could not be written"), "{}", daemon.log());
    }
}
