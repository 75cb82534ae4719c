//! The main job: cameras in, and three places that agree about what happened: the box, the broker, the bucket.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::harness::broker::{Broker, Subscriber};
use crate::harness::bucket::{Object, S3Server};
use crate::harness::clips::{assert_sound, people_as};
use crate::harness::config::{Config, DEVICE, POST_ROLL_S, PRE_ROLL_S, PREFIX};
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::rtsp::{Auth, RtspServer};
use crate::harness::{Scratch, fixture, seconds, wait_for, wait_until};

/// A picture at 10 a second, and a little.
const PICTURE_S: f64 = 0.15;

/// Text of a field that must be there.
fn text<'a>(event: &'a Value, pointer: &str) -> &'a str {
    event.pointer(pointer).and_then(Value::as_str).unwrap_or_else(|| panic!("no {pointer} in {event}"))
}

/// Seconds since boot of a moment.
fn instant(event: &Value, pointer: &str) -> f64 {
    let ns = event.pointer(pointer).and_then(|moment| moment["mono_ns"].as_u64());
    ns.unwrap_or_else(|| panic!("no {pointer} in {event}")) as f64 / 1e9
}

/// From when to when the video of an event reaches, seconds since boot: what other events' clips hold, then its own.
fn filmed(event: &Value) -> (f64, f64) {
    let start = instant(event, "/start");
    let seconds = |of: &Value, key: &str| of[key].as_f64().expect("seconds");
    let shares = event["shares"].as_array().into_iter().flatten();
    let spans = shares.map(|part| (start + seconds(part, "after_s"), seconds(part, "duration_s")));
    let own = event["clip"].is_object().then(|| (instant(event, "/clip/start"), seconds(&event["clip"], "duration_s")));
    let spans: Vec<(f64, f64)> = spans.chain(own).map(|(from, length)| (from, from + length)).collect();
    assert!(!spans.is_empty(), "no video: {event}");
    assert!(spans.windows(2).all(|pair| pair[1].0 <= pair[0].1 + 0.001), "a gap: {event}");
    (spans[0].0, spans[spans.len() - 1].1)
}

fn ids(events: &[Value]) -> BTreeSet<String> {
    events.iter().map(|event| text(event, "/id").to_owned()).collect()
}

/// Ids of the `end` messages that a subscriber got.
pub fn ended_ids(subscriber: &Subscriber) -> BTreeSet<String> {
    subscriber.events("end").iter().map(|message| text(message, "/event/id").to_owned()).collect()
}

/// Folder of each event in a bucket, by event id, judged by the sidecar that is written last.
pub fn delivered_ids(objects: &BTreeMap<String, Object>) -> BTreeMap<String, String> {
    let folders = objects.keys().filter_map(|key| key.strip_suffix("/event.json"));
    folders.map(|folder| (folder.rsplit('/').next().unwrap_or_default().to_owned(), folder.to_owned())).collect()
}

/// Waits until box, broker and bucket name the same events, all of them over; gives the box's list.
pub fn wait_for_agreement(daemon: &Daemon, subscriber: &Subscriber, store: &S3Server) -> Vec<Value> {
    wait_until("every event to be over", seconds(60), || {
        let events = daemon.events();
        !events.is_empty() && events.iter().all(|event| event["state"] != "open")
    });
    wait_for("box, broker and bucket to agree", seconds(120), || {
        let events = daemon.events();
        let (here, published) = (ids(&events), ended_ids(subscriber));
        if here != published {
            return Err(format!(
                "{} events here, {} published, {} of them the same",
                here.len(),
                published.len(),
                (&here & &published).len()
            ));
        }
        let delivered: BTreeSet<String> = delivered_ids(&store.objects()).into_keys().collect();
        if here != delivered {
            return Err(format!("{} events here, {} in the bucket", here.len(), delivered.len()));
        }
        // The box knows that, too.
        match daemon.records().iter().find(|record| !is_delivered(record)) {
            Some(record) => Err(format!("{} is {}", record["event"]["id"], record["delivery"])),
            None => Ok(events),
        }
    })
}

/// Whether the box says of an event that both outlets have it, and the destination each of its files.
pub fn is_delivered(record: &Value) -> bool {
    let outlets = record["delivery"].as_array().expect("deliveries");
    let files: Vec<&Value> = outlets.iter().filter_map(|outlet| outlet["files"].as_array()).flatten().collect();
    let event = &record["event"];
    let named = event["pictures"].as_array().map_or(0, Vec::len) + usize::from(event["clip"].is_object()) + 1;
    let all = [outlets.iter().collect(), files.clone()].concat();
    outlets.len() == 2 && files.len() == named && all.iter().all(|of| of["state"] == "delivered")
}

/// Compares one event as box, broker and bucket have it, file by file.
pub fn assert_one_truth(
    daemon: &Daemon,
    event: &Value,
    published: &Value,
    folder: &str,
    objects: &BTreeMap<String, Object>,
) {
    let (id, camera) = (text(event, "/id"), text(event, "/camera"));
    let date = text(event, "/start/wall")[..10].replace('-', "/");
    assert_eq!(folder, format!("{PREFIX}/{DEVICE}/{date}/{camera}/{id}"));
    let mut media: Vec<&Value> = event["pictures"].as_array().expect("pictures").iter().collect();
    media.extend(Some(&event["clip"]).filter(|clip| clip.is_object()));
    assert_eq!(
        (&published["event"]["clip"]["sha256"], &published["event"]["shares"]),
        (&event["clip"]["sha256"], &event["shares"]),
        "{id}: the broker was published another clip"
    );
    if event["clip"].is_object() {
        assert_eq!(published["objects"]["clip.mp4"], format!("{folder}/clip.mp4"), "{id}");
    }
    for item in media {
        let (file, sha256) = (text(item, "/file"), text(item, "/sha256"));
        let object =
            objects.get(&format!("{folder}/{file}")).unwrap_or_else(|| panic!("{id}: {file} is not in the bucket"));
        assert_eq!((object.sha256.as_str(), Some(object.bytes)), (sha256, item["bytes"].as_u64()), "{id}: {file}");
        let served = daemon.get(&format!("/api/v1/events/{id}/{file}")).expect("an answer").body;
        assert_eq!(hex::encode(Sha256::digest(&served)), sha256, "{id}: {file} as the box serves it");
    }
}

/// Path of an event's file on the box.
pub fn on_disk(scratch: &Scratch, event: &Value, file: &str) -> std::path::PathBuf {
    scratch.path("box/archive").join(text(event, "/camera")).join(text(event, "/id")).join(file)
}

/// Judges the clip of an event. `first_picture` is when the earliest picture known of this camera was taken.
fn assert_clip_covers(scratch: &Scratch, event: &Value, first_picture: f64, codec: &str) {
    let id = text(event, "/id");
    let (start, end) = (instant(event, "/start"), instant(event, "/end"));
    let (clip_start, clip_end) = filmed(event);
    let wanted = (start - PRE_ROLL_S).max(first_picture);
    assert!(clip_start <= wanted + 0.001, "{id}: the clip begins {:.2} s too late", clip_start - wanted);
    assert!(clip_end + PICTURE_S >= end, "{id}: the clip ends {:.2} s before the event", end - clip_end);
    if !event["clip"].is_object() {
        return;
    }
    let probe = assert_sound(&on_disk(scratch, event, "clip.mp4"));
    assert_eq!(probe.codec, codec, "{id}");
    let published = event["clip"]["duration_s"].as_f64().expect("a duration");
    assert!((published - probe.duration_s).abs() <= PICTURE_S, "{id}: {published} s by the sidecar, {probe:?}");
}

#[test]
fn box_broker_and_bucket_agree_on_every_event() {
    let scratch = Scratch::new("end-to-end");
    scratch.expect_log(&["camera offline", "task failed, trying again"]);
    let (people, leaves, people_h265) = (fixture("people.mp4"), fixture("leaves.mp4"), people_as("h265"));
    let mounts = [("/gate", "h264", people.as_path()), ("/yard", "h265", &people_h265), ("/tree", "h264", &leaves)];
    let mut cameras = RtspServer::start(&scratch, Auth::Digest, &mounts);
    let broker = Broker::start(&scratch);
    let subscriber = Subscriber::start(&scratch, &broker, "outpost/#");
    let store = S3Server::start(&scratch);
    let config = Config::new(&scratch).alerts_to(&broker).uploads_to(&store);
    let config = config.camera("gate", &cameras, "/gate", Auth::Digest).camera("yard", &cameras, "/yard", Auth::Digest);
    let mut daemon = Daemon::start(&scratch, config.camera("tree", &cameras, "/tree", Auth::Digest));

    // Two turns of the clip's loop, so that events begin well after the first picture too.
    wait_for("two turns of the clip", seconds(120), || {
        let (gate, yard) = (daemon.packets("gate"), daemon.packets("yard"));
        if gate >= 320.0 && yard >= 320.0 { Ok(()) } else { Err(format!("{gate} and {yard} packets")) }
    });
    cameras.stop();
    let events = wait_for_agreement(&daemon, &subscriber, &store);

    let objects = store.objects();
    let folders = delivered_ids(&objects);
    let published: BTreeMap<String, Value> =
        subscriber.events("end").into_iter().map(|message| (text(&message, "/event/id").to_owned(), message)).collect();
    let started: BTreeSet<String> =
        subscriber.events("start").iter().map(|message| text(message, "/event/id").to_owned()).collect();
    assert_eq!(started, ids(&events), "a start was published for every event");
    for (camera, codec) in [("gate", "h264"), ("yard", "hevc")] {
        let mine: Vec<&Value> = events.iter().filter(|event| event["camera"] == camera).collect();
        assert!(mine.len() >= 3, "{camera}: {} events", mine.len());
        let first_picture = mine.iter().map(|event| filmed(event).0).fold(f64::INFINITY, f64::min);
        let late = mine.iter().filter(|event| instant(event, "/start") > first_picture + PRE_ROLL_S + POST_ROLL_S);
        assert!(late.count() >= 1, "{camera}: no event that could have its whole pre-roll");
        for event in mine {
            let id = text(event, "/id");
            assert_eq!((text(event, "/label"), text(event, "/state")), ("person", "ended"), "{id}");
            assert_one_truth(&daemon, event, &published[id], &folders[id], &objects);
            let sidecar = std::fs::read(on_disk(&scratch, event, "event.json")).expect("a sidecar");
            assert_eq!(store.fetch(&format!("{}/event.json", folders[id])), sidecar, "{id}: the sidecar in the bucket");
            assert_clip_covers(&scratch, event, first_picture, codec);
        }
    }
    assert!(events.iter().all(|event| event["camera"] != "tree"), "leaves are no people");
    assert!(daemon.packets("tree") > 300.0, "the leaves were looked at");

    let availability = format!("outpost/{DEVICE}/availability");
    assert_eq!(subscriber.last(&availability).as_deref(), Some("online"));
    assert!(daemon.terminate().success());
    wait_until("the box to say goodbye", seconds(10), || subscriber.last(&availability).as_deref() == Some("stopped"));
    assert_no_secrets(&daemon.log());
}

fn assert_no_secrets(log: &str) {
    use crate::harness::{broker, bucket, rtsp};
    for secret in [broker::PASSWORD, bucket::SECRET_KEY, rtsp::PASSWORD] {
        assert!(!log.contains(secret), "a secret is in the log");
    }
}

/// Overlap of two boxes `[x, y, w, h]`, 0..1.
fn iou(a: &Value, b: &Value) -> f64 {
    let side = |value: &Value, i: usize| value[i].as_f64().expect("four numbers");
    let span = |i: usize| {
        let (from, to) = (side(a, i).max(side(b, i)), (side(a, i) + side(a, i + 2)).min(side(b, i) + side(b, i + 2)));
        (to - from).max(0.0)
    };
    let (both, area) = (span(0) * span(1), |v: &Value| side(v, 2) * side(v, 3));
    both / (area(a) + area(b) - both)
}

/// Plays the clip once as a camera; gives its events, or nothing when the machine was too busy to look at
/// every frame that was due (a late frame is replaced by a newer one).
fn play_once(scratch: &Scratch, looks: f64) -> Option<Vec<Value>> {
    let config = Config::new(scratch).played_once("clip", &fixture("people.mp4"), looks);
    let mut daemon = Daemon::start(scratch, config);
    wait_until("the clip to end and its events to be over", seconds(90), || {
        let status = daemon.json("/api/v1/status");
        let events = daemon.events();
        status["cameras"][0]["state"] == "finished" && !events.is_empty() && events.iter().all(|e| e["state"] != "open")
    });
    let skipped = daemon.metric("outpost_dropped_total{camera=\"clip\",reason=\"infer_slot\"}");
    let looked_at = daemon.metric("outpost_frames_detected_total{camera=\"clip\"}");
    assert!((1.0..=16.0 * looks + 1.0).contains(&looked_at), "16 s of clip, {looked_at} looks counted");
    let events = daemon.events();
    assert!(daemon.terminate().success());
    (skipped == 0.0).then_some(events)
}

#[test]
fn a_played_clip_gives_the_events_that_replay_prints() {
    // Two looks a second leave time enough that usually none is skipped, so that both see the same frames.
    const LOOKS: f64 = 2.0;
    // What is still in view when the clip ends, ends with the last look; replay knows the last picture.
    const CLIP_S: f64 = 15.0;
    let tries = (0..4).map(|_| Scratch::new("replay"));
    let played = tries.into_iter().find_map(|scratch| play_once(&scratch, LOOKS).map(|events| (events, scratch)));
    let (events, scratch) = played.expect("a machine that manages two looks a second, at least once in four times");
    let config = scratch.path("outpost.toml");
    let clip = fixture("people.mp4");
    let output = outpost(&["replay".as_ref(), clip.as_os_str(), "--config".as_ref(), config.as_os_str()]);
    let printed = String::from_utf8(output.stdout).expect("text");
    let printed: Vec<Value> = printed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();

    let with_clip = events.iter().filter(|event| event["clip"].is_object());
    let first_picture = with_clip.map(|event| instant(event, "/clip/start")).fold(f64::INFINITY, f64::min);
    assert!(printed.len() >= 3, "{printed:?}");
    assert_eq!(events.len(), printed.len(), "{events:#?}\n{printed:#?}");
    for printed in &printed {
        let near = |a: f64, b: f64| (a - b).abs() < 0.01;
        let (start, end) = (printed["start"].as_f64().expect("start"), printed["end"].as_f64().expect("end"));
        let same = |event: &&Value| {
            near(instant(event, "/start") - first_picture, start)
                && (end > CLIP_S || near(instant(event, "/end") - first_picture, end))
                && event["label"] == printed["label"]
                && (end > CLIP_S || iou(&event["best"]["box"], &printed["box"]) > 0.9)
        };
        assert!(events.iter().any(|event| same(&event)), "{printed} has no match in {events:#?}");
    }
}
