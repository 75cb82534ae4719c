//! What goes on at a time: one event without rules, one recording with them.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Value, json};

use crate::harness::clips::assert_sound;
use crate::harness::config::{Config, POST_ROLL_S, PRE_ROLL_S};
use crate::harness::daemon::Daemon;
use crate::harness::{Scratch, fixture, seconds, wait_for};

/// The folders of events below `folder` that hold a file `name`.
fn with_file(folder: &Path, name: &str, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            with_file(&path, name, found);
        } else if path.file_name().is_some_and(|of| of == name) {
            found.extend(folder.file_name().map(|id| id.to_string_lossy().into_owned()));
        }
    }
}

/// Works with: cameras | a camera without rules in whose picture several people walk all the time | one event for all of them at a time, which goes on in another one after the longest clip
#[test]
fn without_rules_what_goes_on_at_a_time_is_one_event() {
    let scratch = Scratch::new("activity");
    let mut config = Config::new(&scratch).replay("gate", &fixture("people.mp4")).by_activity();
    config.add("max_clip = \"6s\"\n[load]\nenabled = false");
    let mut daemon = Daemon::start(&scratch, config);
    let mut events = wait_for("three events that are over", seconds(120), || {
        let events: Vec<Value> = daemon.events().into_iter().filter(|event| event["state"] == "ended").collect();
        if events.len() >= 3 { Ok(events) } else { Err(format!("{events:#?}")) }
    });
    events.sort_by_key(|event| event["start"]["mono_ns"].as_u64());
    let at = |event: &Value, key: &str| event[key]["mono_ns"].as_u64().expect("a time");
    for pair in events.windows(2) {
        assert!(at(&pair[0], "end") <= at(&pair[1], "start"), "one at a time: {pair:#?}");
    }
    for event in &events {
        assert_eq!(
            (&event["kind"], &event["rule"], &event["label"]),
            (&"activity".into(), &"activity".into(), &"person".into())
        );
        assert_eq!(event["labels"], serde_json::json!(["person"]), "{event:#}");
        assert!(event["clip"]["duration_s"].as_f64() > Some(1.0), "{event:#}");
    }
    assert!(events.iter().any(|event| event["count"].as_u64() > Some(1)), "{events:#?}");
    assert!(daemon.terminate().success(), "{}", daemon.log());
}

/// Works with: clips | several events of one camera at the same time | what they show is recorded and delivered once; each names its part, and has all its video as one file on request
#[test]
fn events_that_overlap_share_one_clip_and_each_has_its_video() {
    let scratch = Scratch::new("sharing");
    let cloud = scratch.path("cloud");
    let mut config = Config::new(&scratch).copies_to(&cloud).replay("gate", &fixture("people.mp4"));
    config.add("max_clip = \"20s\"\n[load]\nenabled = false");
    let mut daemon = Daemon::start(&scratch, config);
    let is_over = |event: &Value| event["state"] == "ended";
    let shares = |event: &Value| event["shares"].as_array().cloned().unwrap_or_default();
    let is_within = |event: &Value| event["clip"].is_null() && !shares(event).is_empty();
    let goes_on = |event: &Value| !event["clip"].is_null() && !shares(event).is_empty();
    let holders = |event: &Value| -> BTreeSet<String> {
        shares(event).iter().filter_map(|part| part["event"].as_str().map(str::to_owned)).collect()
    };
    let has_one_holder = |event: &&Value| is_within(event) && holders(event).len() == 1;
    let events = wait_for("events that share a clip, and one that goes on by itself", seconds(180), || {
        let events: Vec<Value> = daemon.events().into_iter().filter(is_over).collect();
        let are_all = events.iter().any(|event| has_one_holder(&event)) && events.iter().any(goes_on);
        let enough = events.len() >= 8 && are_all;
        if enough { Ok(events) } else { Err(format!("{events:#?}")) }
    });
    let length = |event: &Value| event["clip"]["duration_s"].as_f64().unwrap_or_default();
    let shared = |event: &Value| shares(event).iter().filter_map(|part| part["duration_s"].as_f64()).sum::<f64>();
    let wall = |of: &Value| of["mono_ns"].as_u64().expect("a time") as f64 / 1e9;
    let first = events.iter().map(|event| wall(&event["start"])).fold(f64::MAX, f64::min);
    let last = events.iter().map(|event| wall(&event["end"])).fold(0.0, f64::max);
    let recorded: f64 = events.iter().map(length).sum();
    // With pre-roll and post-roll, and up to two groups of pictures where one clip takes over from another.
    let own = events.iter().filter(|event| length(event) > 0.0).count() as f64;
    assert!(recorded <= last - first + PRE_ROLL_S + POST_ROLL_S + 4.0 * own, "{recorded} s of clips: {events:#?}");
    let asked: f64 = events.iter().map(|event| wall(&event["end"]) - wall(&event["start"])).sum();
    assert!(recorded < asked, "{recorded} s of clips for {asked} s of events");
    for event in events.iter().filter(|event| is_within(event) || goes_on(event)) {
        let id = event["id"].as_str().expect("an id");
        let video = daemon.get(&format!("/api/v1/events/{id}/video.mp4")).expect("an answer");
        assert_eq!(video.status, 200, "{event:#}");
        let file = scratch.path(&format!("{id}.mp4"));
        std::fs::write(&file, video.body).expect("write");
        let probe = assert_sound(&file);
        let expected = length(event) + shared(event);
        // Each part begins with a key frame.
        let more = probe.duration_s - expected;
        assert!(
            (-0.5..4.0 * (1.0 + shares(event).len() as f64)).contains(&more),
            "{} of {expected}: {event:#}",
            probe.duration_s
        );
    }
    let delivered = |name: &str| {
        let mut ids = BTreeSet::new();
        with_file(&cloud, name, &mut ids);
        ids
    };
    let ids: BTreeSet<String> = events.iter().filter_map(|event| event["id"].as_str()).map(str::to_owned).collect();
    wait_for("their sidecars at the destination", seconds(90), || {
        let there = delivered("event.json");
        if ids.is_subset(&there) { Ok(()) } else { Err(format!("{there:?}")) }
    });
    let clips = delivered("clip.mp4");
    for event in &events {
        let id = event["id"].as_str().expect("an id");
        assert!(!(clips.contains(id) && event["clip"].is_null()), "no clip twice: {event:#}");
    }

    // Whose clip is deleted takes its part of the video from all, and from what was made of it.
    let within = events.iter().find(has_one_holder).expect("one of a single clip");
    let holder = holders(within).pop_first().expect("a holder");
    let deleted = daemon.send("DELETE", &format!("/api/v1/events/{holder}"), "", &json!({})).expect("an answer");
    assert_eq!(deleted.status, 200, "{}", String::from_utf8_lossy(&deleted.body));
    let cuts = std::fs::read_dir(scratch.path("box/cuts")).expect("a folder").flatten();
    let stays = cuts.map(|cut| cut.file_name().to_string_lossy().into_owned()).find(|name| name.contains(&holder));
    assert_eq!(stays, None, "a cut with video that was deleted stays");
    let id = within["id"].as_str().expect("an id");
    let gone = daemon.get(&format!("/api/v1/events/{id}/video.mp4")).expect("an answer");
    assert_eq!(gone.status, 404, "{}", String::from_utf8_lossy(&gone.body));
    let rest = events.iter().find(|event| goes_on(event) && holders(event).contains(&holder));
    if let Some(id) = rest.and_then(|event| event["id"].as_str()) {
        let video = daemon.get(&format!("/api/v1/events/{id}/video.mp4")).expect("an answer");
        let file = scratch.path("rest.mp4");
        std::fs::write(&file, video.body).expect("write");
        assert_sound(&file);
    }
    assert!(daemon.terminate().success(), "{}", daemon.log());
}
