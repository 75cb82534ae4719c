//! Ends, wanted and unwanted: what was begun is kept, and the next start goes on with it.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::Value;

use crate::end_to_end::{delivered_ids, ended_ids, on_disk, wait_for_agreement};
use crate::harness::broker::{Broker, Subscriber};
use crate::harness::bucket::S3Server;
use crate::harness::clips::{Lamp, assert_sound, has_video, lamp};
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::dice::Dice;
use crate::harness::rtsp::{Auth, RtspServer};
use crate::harness::{Scratch, fixture, seconds, setting, wait_for, wait_until};

/// Bytes that a clip has before its first fragment, at most.
const MOOV: u64 = 4096;

fn started(subscriber: &Subscriber) -> BTreeSet<String> {
    let messages = subscriber.events("start");
    messages.iter().map(|message| message["event"]["id"].as_str().expect("an id").to_owned()).collect()
}

/// A camera, a daemon, and all that it delivers to.
struct Site {
    camera: RtspServer,
    subscriber: Subscriber,
    store: S3Server,
    daemon: Daemon,
    _broker: Broker,
}

impl Site {
    /// People walk before the camera all the time.
    fn with_people(scratch: &Scratch, auth: Auth) -> Self {
        let camera = RtspServer::start(scratch, auth, &[("/gate", "h264", &fixture("people.mp4"))]);
        Self::start(scratch, camera, |config, camera| config.camera("gate", camera, "/gate", auth))
    }

    /// A lamp burns before the camera every four seconds.
    fn with_a_lamp(scratch: &Scratch) -> Self {
        let camera = RtspServer::start(scratch, Auth::None, &[("/gate", "h264", &lamp(Lamp::Blinking))]);
        Self::start(scratch, camera, |config, camera| config.lamp_camera("gate", camera, "/gate"))
    }

    fn start<'a>(
        scratch: &'a Scratch,
        camera: RtspServer,
        seen: impl FnOnce(Config<'a>, &RtspServer) -> Config<'a>,
    ) -> Self {
        let broker = Broker::start(scratch);
        let subscriber = Subscriber::start(scratch, &broker, "outpost/#");
        let store = S3Server::start(scratch);
        let config = Config::new(scratch).alerts_to(&broker).uploads_to(&store);
        let daemon = Daemon::start(scratch, seen(config, &camera));
        Self { camera, subscriber, store, daemon, _broker: broker }
    }
}

#[test]
fn an_event_cut_short_by_a_crash_is_kept_and_delivered() {
    let scratch = Scratch::new("crash");
    scratch.expect_log(&["camera offline", "task failed, trying again"]);
    let Site { mut camera, subscriber, store, mut daemon, _broker } = Site::with_people(&scratch, Auth::Digest);

    let mut cut_short = BTreeSet::new();
    for round in 0..setting("OUTPOST_CRASHES", 2) {
        // An event that was reported is durable, so it must survive, whatever comes.
        let id = wait_for("an event in its middle", seconds(90), || {
            let over = ended_ids(&subscriber);
            // One that has its own clip: others share that.
            let is_filmed = |id: &String| scratch.path("box/archive/gate").join(id).join("clip.mp4").exists();
            let is_wanted = |id: &String| !over.contains(id) && !cut_short.contains(id) && is_filmed(id);
            let going_on = started(&subscriber).into_iter().find(is_wanted);
            going_on.ok_or_else(|| format!("{} events are over", over.len()))
        });
        // It is reported before its clip has a fragment, which takes longer on a busy box.
        let clip = scratch.path("box/archive/gate").join(&id).join("clip.mp4");
        wait_until("its clip to have begun", seconds(30), || {
            std::fs::metadata(&clip).is_ok_and(|clip| clip.len() > MOOV)
        });
        // At a different place in the event each time: a few pictures in, between fragments, ...
        let packets = daemon.packets("gate");
        let further = 5.0 + 7.0 * (round % 5) as f64;
        wait_until("a few more pictures", seconds(30), || daemon.packets("gate") >= packets + further);
        daemon.crash_and_restart();
        cut_short.insert(id);
    }
    camera.stop();
    let events = wait_for_agreement(&daemon, &subscriber, &store);
    let known: BTreeSet<&str> = events.iter().filter_map(|event| event["id"].as_str()).collect();
    let lost: Vec<String> = started(&subscriber).into_iter().filter(|id| !known.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "reported, and then lost: {lost:?}");
    let delivered = delivered_ids(&store.objects());
    let mut interrupted = 0;
    for event in &events {
        let id = event["id"].as_str().expect("an id");
        interrupted += u64::from(event["state"] == "interrupted");
        assert!(delivered.contains_key(id), "{id} is not in the bucket");
        if event["clip"] != Value::Null {
            assert_sound(&on_disk(&scratch, event, "clip.mp4"));
        }
        if cut_short.contains(id) && event["state"] == "interrupted" {
            assert!(event["clip"]["bytes"].as_u64().is_some_and(|bytes| bytes > 0), "{id}: no clip: {event}");
        }
    }
    // The event may have ended between the look at it and the kill; not every time, though.
    assert!(interrupted > 0, "no event was cut short");
    assert!(daemon.terminate().success());
}

#[test]
fn killed_at_any_moment_it_keeps_what_it_reported_and_delivers_it_once() {
    let scratch = Scratch::new("kills");
    scratch.expect_log(&["camera offline", "task failed, trying again"]);
    let Site { mut camera, subscriber, store, mut daemon, _broker } = Site::with_a_lamp(&scratch);
    let mut dice = Dice::new();
    for _ in 0..setting("OUTPOST_KILLS", 20) {
        // Some rounds end while it starts, most in the middle of its work.
        let packets = dice.below(60) as f64;
        wait_until("some pictures", seconds(60), || daemon.packets("gate") >= packets);
        // Between two pictures, too.
        std::thread::sleep(dice.up_to(Duration::from_millis(300)));
        daemon.crash_and_restart();
    }
    wait_until("events after all that", seconds(60), || !daemon.events_in("ended").is_empty());
    camera.stop();
    let events = wait_for_agreement(&daemon, &subscriber, &store);
    let known: BTreeSet<&str> = events.iter().filter_map(|event| event["id"].as_str()).collect();
    let lost: Vec<String> = started(&subscriber).into_iter().filter(|id| !known.contains(id.as_str())).collect();
    assert!(lost.is_empty(), "reported, and then lost: {lost:?}");
    // All of them are in the bucket, says the agreement; and each in one place.
    let folders = store.objects().into_keys().filter(|key| key.ends_with("/event.json")).count();
    assert_eq!(folders, events.len());
    for event in &events {
        if event["clip"] != Value::Null {
            assert_sound(&on_disk(&scratch, event, "clip.mp4"));
        }
    }
    assert!(daemon.terminate().success());
}

#[test]
fn sigterm_ends_it_cleanly_and_leaves_nothing_running() {
    let scratch = Scratch::new("sigterm");
    let people = fixture("people.mp4");
    let camera = RtspServer::start(&scratch, Auth::None, &[("/gate", "h264", &people)]);
    let mut daemon = Daemon::start(&scratch, Config::new(&scratch).camera("gate", &camera, "/gate", Auth::None));
    wait_until("an event in its middle", seconds(60), || !daemon.events_in("open").is_empty());
    let status = daemon.terminate();
    assert_eq!(status.code(), Some(0), "{status}");
    assert_eq!(daemon.process().left_behind(), Vec::<String>::new());

    // What was going on was closed properly: there is a sound clip, and nothing half-written beside it.
    let archive = scratch.path("box/archive/gate");
    let folders: Vec<_> =
        std::fs::read_dir(&archive).expect("an archive").map(|entry| entry.expect("a folder").path()).collect();
    assert!(!folders.is_empty());
    for folder in folders {
        let sidecar = std::fs::read(folder.join("event.json")).expect("a sidecar");
        let event: Value = serde_json::from_slice(&sidecar).expect("JSON");
        assert_ne!(event["state"], "open", "{event}");
        assert!(has_video(&event), "{event}");
        let mut expected: BTreeSet<String> = BTreeSet::from(["event.json".to_owned()]);
        if event["clip"].is_object() {
            assert_sound(&folder.join("clip.mp4"));
            expected.insert("clip.mp4".to_owned());
        }
        let pictures = event["pictures"].as_array().expect("pictures");
        expected.extend(pictures.iter().filter_map(|picture| picture["file"].as_str()).map(str::to_owned));
        let names = std::fs::read_dir(&folder).expect("a folder");
        let names: BTreeSet<String> =
            names.map(|entry| entry.expect("a file").file_name().to_string_lossy().into_owned()).collect();
        assert_eq!(names, expected, "{}", folder.display());
    }
}
