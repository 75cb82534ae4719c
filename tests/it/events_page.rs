//! Events as people work with them: the list and the page of one, in a real browser, and what is on the disk then.

use std::collections::BTreeMap;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, fixture, installed, repository, seconds, wait_for};

#[test]
fn people_find_judge_keep_and_delete_events_in_a_browser() {
    let scratch = Scratch::new("events-page");
    let people = fixture("people.mp4");
    let config = Config::new(&scratch)
        .copies_to(&scratch.path("cloud"))
        .played_once("yard", &people, 4.0)
        .played_once("gate", &people, 4.0);
    let mut daemon = Daemon::start(&scratch, config);
    daemon.wait_for_ended(4, seconds(120));
    wait_for("the films to end", seconds(120), || {
        let status = daemon.json("/api/v1/status");
        let cameras = status["cameras"].as_array().expect("cameras");
        let is_over = cameras.iter().all(|camera| camera["state"] == "finished");
        if is_over && daemon.events_in("open").is_empty() { Ok(()) } else { Err(status.to_string()) }
    });
    let link = wait_for("the set-up link", seconds(30), || {
        let log = daemon.log();
        let link = log.split("link=").nth(1).and_then(|rest| rest.split_whitespace().next());
        link.map(|link| link.trim_matches('"').to_owned()).ok_or(log)
    });
    let script = repository().join("tests/browser/events.mjs");
    let modules = installed("node/node_modules");
    let text = run(Command::new("node").arg(script).arg(link).env("OUTPOST_NODE_MODULES", modules));
    let seen: Value = serde_json::from_str(&text).expect("the browser's report");

    assert_eq!(seen["errors"], json!([]), "on the console");
    let violations: BTreeMap<String, Vec<String>> = serde_json::from_value(seen["violations"].clone()).expect("lists");
    assert!(violations.len() >= 7 && violations.values().all(Vec::is_empty), "axe: {violations:#?}");
    let shifts: BTreeMap<String, f64> = serde_json::from_value(seen["shifts"].clone()).expect("numbers");
    assert!(shifts.values().all(|shift| *shift < 0.1), "layout shifts: {shifts:?}: {}", seen["moved"]);
    let page = daemon.page();
    let requests: Vec<&str> = seen["requests"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let is_ours = |url: &&str| url.starts_with(&page) || url.starts_with("data:") || url.starts_with("blob:");
    assert!(requests.iter().all(is_ours), "{requests:?}");

    let steps = &seen["steps"];
    assert_eq!((&steps["all"], &steps["filtered"]), (&json!(["gate", "yard"]), &json!(["yard"])));
    assert_eq!((&steps["address"], &steps["selected"]), (&json!("?camera=yard"), &json!("2 selected")));
    assert_eq!((&steps["playing"]["moved"], &steps["playing"]["at"]), (&json!(3), &json!(true)), "the box moves");
    assert!(steps["path"].as_u64().is_some_and(|places| (2..=64).contains(&places)), "{steps}");
    assert_eq!(
        (&steps["kept"]["note"], &steps["kept"]["tags"]),
        (&json!("The gardener, <b>again</b>"), &json!("van, parcel"))
    );
    let lost = &steps["lost"];
    assert!(lost["said"].as_str().is_some_and(|said| said.contains("anna changed this meanwhile")), "{lost}");
    assert!(lost["newer"].as_str().is_some_and(|newer| newer.contains("theirs")), "{lost}");
    assert_eq!(lost["mine"], json!("mine"), "{lost}");
    assert_eq!(steps["leaving"], json!(["beforeunload", "unsaved"]), "{steps}");
    assert!(steps["kept"]["by"].as_str().is_some_and(|by| by.contains("anna")), "{steps}");
    assert!(steps["kept"]["timeline"].as_str().is_some_and(|url| url.starts_with("/timeline?camera=")), "{steps}");
    let shared = &steps["shared"];
    assert_eq!((&shared["name"], &shared["namesTheCamera"]), (&json!("video.mp4"), &json!(false)), "{shared}");
    assert!(shared["gone"].as_str().is_some_and(|text| text.contains("does not lead anywhere")), "{shared}");
    assert_eq!(steps["wide"], json!(true), "nothing is wider than the phone");
    assert!(
        steps["many"]["loaded"].as_u64() > Some(3000) && steps["many"]["inDocument"].as_u64() < Some(600),
        "{steps}"
    );

    // What was said is in the sidecars, and what was deleted is nowhere on the box.
    assert!(daemon.terminate().success());
    let archive = scratch.path("box/archive");
    let sidecars = || {
        ["gate", "yard"]
            .into_iter()
            .flat_map(|camera| std::fs::read_dir(archive.join(camera)).expect("a folder").flatten())
    };
    let read = |name: &str| {
        let texts = sidecars().filter_map(|folder| std::fs::read(folder.path().join(name)).ok());
        texts.map(|text| serde_json::from_slice::<Value>(&text).expect("JSON")).collect::<Vec<_>>()
    };
    let said = |event: &&Value| event["annotations"]["note"] == "The gardener, <b>again</b>";
    let events = read("event.json");
    let judged = events.iter().find(said).unwrap_or_else(|| panic!("{events:?}"));
    assert_eq!(
        (&judged["annotations"]["verdict"], &judged["annotations"]["by"]),
        (&json!("false_alarm"), &json!("anna"))
    );
    assert!(judged["pinned"] == true && judged["path"].as_array().is_some_and(|path| path.len() > 1), "{judged}");
    assert!(read("reviewed.json").iter().any(|file| file["reviewed"][0]["by"] == "anna"));
    let deleted = steps["deleted"]["id"].as_str().expect("an id");
    assert!(sidecars().all(|folder| !folder.file_name().to_string_lossy().starts_with(deleted)));
}
