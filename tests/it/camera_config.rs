//! Cameras that are tried, added, changed and removed by the API while the box records: what is written, what is undone, and
//! what a power cut leaves.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::rtsp::{Auth, PASSWORD, RtspServer, USER};
use crate::harness::{Scratch, fixture, installed, port, repository, seconds, wait_for, wait_until};

/// A box whose camera `gate` plays a file, with a folder of the service's own.
struct Rig {
    daemon: Daemon,
    file: PathBuf,
    state: PathBuf,
}

impl Rig {
    fn start(scratch: &Scratch, config: Config<'_>) -> Self {
        let state = scratch.path("state");
        std::fs::create_dir(&state).expect("make the folder");
        let daemon = Daemon::start_in(scratch, config, &format!("STATE_DIRECTORY={}", state.display()));
        Self { daemon, file: scratch.path("outpost.toml"), state }
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.file).expect("read the configuration")
    }

    fn send(&self, method: &str, path: &str, header: &str, json: &Value) -> (u16, Value) {
        let answer = self.daemon.send(method, path, header, json).unwrap_or_else(|e| panic!("{e}"));
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        (answer.status, serde_json::from_str(&text).unwrap_or_else(|e| panic!("{method} {path}: {e}: {text}")))
    }

    /// Changes a camera, which is in use from then on.
    fn change(&self, camera: &str, patch: &Value) -> Value {
        let (status, edited) = self.send("PATCH", &of(camera), "", patch);
        assert!(matches!(status, 200 | 202), "{status}: {edited}");
        edited
    }

    fn wait_for_state(&self, state: &str) -> Value {
        wait_for(&format!("the configuration to be {state}"), seconds(90), || {
            let config = self.daemon.json("/api/v1/config");
            if config["state"] == state { Ok(config) } else { Err(config.to_string()) }
        })
    }

    fn wait_for_packets(&self, camera: &str) {
        wait_until("packets", seconds(60), || self.daemon.packets(camera) >= 5.0);
    }
}

fn of(camera: &str) -> String {
    format!("/api/v1/cameras/{camera}/config")
}

fn replaying(scratch: &Scratch) -> Config<'_> {
    let mut config = Config::new(scratch).replay("gate", &fixture("people.mp4"));
    config.add("# How long it may take.\n[reload]\nconfirm_within = \"6s\" # short\n");
    config
}

fn is_in(folder: &Path, secret: &str) -> bool {
    std::fs::read_to_string(folder).is_ok_and(|text| text.contains(secret))
}

/// Works with: cameras | a camera with a password that is tried and added by the API | connects as the daemon does, shows a picture, keeps the password in a file of its own
#[test]
fn a_camera_is_tried_added_changed_and_removed_and_comments_stay() {
    let scratch = Scratch::new("camera-config");
    let server = RtspServer::start(&scratch, Auth::Digest, &[("/main", "h264", &fixture("people.mp4"))]);
    let mut rig = Rig::start(&scratch, replaying(&scratch));
    rig.wait_for_packets("gate");
    let before = rig.text();

    let address = server.url("/main");
    let (status, refused) = rig.send("POST", "/api/v1/cameras/probe", "", &json!({"source": {"url": address}}));
    assert_eq!((status, &refused["code"]), (422, &"camera_unusable".into()), "{refused}");
    assert!(refused["detail"].as_str().is_some_and(|why| why.contains("username")), "{refused}");
    let with_login = address.replace("rtsp://", &format!("rtsp://{USER}:{PASSWORD}@"));
    let (status, probed) = rig.send("POST", "/api/v1/cameras/probe", "", &json!({"source": {"url": with_login}}));
    assert_eq!(status, 200, "{probed}");
    assert_eq!(
        (&probed["width"], &probed["has_audio"], &probed["source"]),
        (&640.into(), &false.into(), &address.clone().into())
    );
    assert!(probed["picture"].as_str().is_some_and(|picture| picture.starts_with("/9j/")), "a JPEG");
    assert_eq!(std::fs::read_dir(rig.state.join("passwords")).expect("a folder").count(), 0, "nothing is saved");
    assert_eq!(rig.text(), before);

    let new = json!({"name": "pier", "settings": {"source": {"url": with_login}}});
    let (status, added) = rig.send("POST", "/api/v1/cameras", "Idempotency-Key: one", &new);
    assert!(matches!(status, 200 | 202), "{added}");
    assert_eq!(rig.send("POST", "/api/v1/cameras", "Idempotency-Key: one", &new).1, added, "once");
    rig.wait_for_packets("pier");
    rig.wait_for_state("in_use");
    let text = rig.text();
    let (head, rest) = text.split_once("\n[camera.pier.source]\n").expect("a section");
    let tail = rest.find("# How long").and_then(|at| rest.get(at..)).expect("what follows");
    assert_eq!(format!("{head}{tail}"), before, "all else stays");
    let settings = rig.daemon.json(&of("pier"));
    assert_eq!((&settings["settings"]["source"]["url"], &settings["labels"][0]), (&address.into(), &"person".into()));
    let log = rig.daemon.log();
    assert!(!text.contains(PASSWORD) && !settings.to_string().contains(PASSWORD) && !log.contains(PASSWORD));

    let known = settings["revision"].as_str().expect("a revision").to_owned();
    let header = format!("If-Match: \"{known}\"");
    let patch = json!({"record": {"post_roll": "7s"}});
    let (status, edited) = rig.send("PATCH", &of("gate"), &header, &patch);
    assert!(matches!(status, 200 | 202), "{edited}");
    assert_eq!(edited["status"]["changed"], json!(["camera gate"]));
    let (status, refused) = rig.send("PATCH", &of("gate"), &header, &json!({"record": {"post_roll": "8s"}}));
    assert_eq!((status, &refused["code"]), (412, &"changed_meanwhile".into()), "{refused}");
    assert_eq!(rig.text(), text.replacen("post_roll = \"2s\"", "post_roll = \"7s\"", 1));
    rig.wait_for_state("in_use");
    let (status, refused) = rig.send("PATCH", &of("gate"), "", &json!({"motion": {"sensitivty": 1}}));
    assert_eq!((status, &refused["code"]), (422, &"invalid_config".into()), "{refused}");
    assert!(refused["detail"].as_str().is_some_and(|why| why.contains("did you mean")), "{refused}");

    let (status, removed) = rig.send("DELETE", &of("pier"), "", &json!({}));
    assert!(matches!(status, 200 | 202), "{removed}");
    rig.wait_for_state("in_use");
    assert_eq!(rig.text(), before.replacen("post_roll = \"2s\"", "post_roll = \"7s\"", 1));
    let passwords = || std::fs::read_dir(rig.state.join("passwords")).expect("a folder").count();
    wait_until("the password to go", seconds(30), || passwords() == 0);
    assert!(rig.daemon.terminate().success(), "{}", rig.daemon.log());
}

/// Works with: system | a change of a camera by the API after which it does not come up | is undone by itself, in the file too, byte for byte
#[test]
fn a_change_after_which_a_camera_stays_away_is_undone_in_the_file_too() {
    let scratch = Scratch::new("camera-config-undo");
    scratch.expect_log(&["the changed configuration is undone", "task failed", "camera offline", "camera degraded"]);
    let server = RtspServer::start(&scratch, Auth::None, &[("/main", "h264", &fixture("people.mp4"))]);
    let mut config = Config::new(&scratch).camera("yard", &server, "/main", Auth::None);
    config.add("[reload]\nconfirm_within = \"6s\"\n");
    let mut rig = Rig::start(&scratch, config);
    rig.wait_for_packets("yard");
    let before = rig.text();
    let dead = format!("rtsp://127.0.0.1:{}/main", port::free());
    let edited = rig.change("yard", &json!({"source": {"url": dead}}));
    assert_eq!(edited["status"]["state"], "confirming");
    assert!(rig.text().contains(&dead));
    let undone = rig.wait_for_state("rolled_back");
    assert!(undone["reason"].as_str().is_some_and(|why| why.contains("camera yard worked before")), "{undone}");
    assert_eq!(rig.text(), before);
    wait_until("the camera again", seconds(60), || rig.daemon.metric("outpost_camera_online{camera=\"yard\"}") > 0.5);
    assert!(rig.daemon.terminate().success(), "{}", rig.daemon.log());
}

/// Works with: system | a power cut before a change by the API is confirmed | the next start has the configuration before
#[test]
fn a_power_cut_before_a_change_is_confirmed_leaves_the_one_before() {
    let scratch = Scratch::new("camera-config-cut");
    scratch.expect_log(&[
        "a change of the configuration was not confirmed before the last stop, and is undone",
        "task failed",
        "camera offline",
        "camera degraded",
    ]);
    let server = RtspServer::start(&scratch, Auth::None, &[("/main", "h264", &fixture("people.mp4"))]);
    let mut config = Config::new(&scratch).camera("yard", &server, "/main", Auth::None);
    config.add("[reload]\nconfirm_within = \"1h\"\n");
    let mut rig = Rig::start(&scratch, config);
    rig.wait_for_packets("yard");
    let before = rig.text();
    let dead = format!("rtsp://127.0.0.1:{}/main", port::free());
    assert_eq!(rig.change("yard", &json!({"source": {"url": dead}}))["status"]["state"], "confirming");
    rig.daemon.crash_and_restart();
    assert_eq!(rig.text(), before);
    let status = rig.daemon.json("/api/v1/config");
    assert_eq!(status["state"], "rolled_back", "{status}");
    wait_until("the camera again", seconds(60), || rig.daemon.metric("outpost_camera_online{camera=\"yard\"}") > 0.5);
    assert!(rig.daemon.terminate().success(), "{}", rig.daemon.log());
}

/// Works with: system | a configuration that the daemon cannot write | changes of cameras go into cameras.toml in its state folder
#[test]
fn where_the_file_is_not_the_daemons_changes_go_into_its_own() {
    let scratch = Scratch::new("camera-config-own");
    let mut rig = Rig::start(&scratch, replaying(&scratch));
    rig.wait_for_packets("gate");
    let before = rig.text();
    // Tests may run as root, who may write everywhere but where a file is mounted.
    let mount = |arguments: &[&str]| {
        let done = Command::new(arguments[0]).args(&arguments[1..]).status().expect("run");
        assert!(done.success(), "{arguments:?}");
    };
    let path = rig.file.display().to_string();
    mount(&["mount", "--bind", &path, &path]);
    let _unmount = Unmount(path);
    let edited = rig.change("gate", &json!({"record": {"post_roll": "7s"}}));
    let own = rig.state.join("cameras.toml");
    assert_eq!(edited["file"], own.display().to_string());
    rig.wait_for_state("in_use");
    assert_eq!(rig.text(), before);
    assert!(is_in(&own, "post_roll = \"7s\"") && is_in(&own, "url = \"replay:"), "the whole section");
    let settings = rig.daemon.json(&of("gate"));
    assert_eq!((&settings["effective"]["record"]["post_roll"], &settings["file"]), (&"7s".into(), &edited["file"]));
    assert!(rig.daemon.terminate().success(), "{}", rig.daemon.log());
    rig.daemon.start_again();
    assert_eq!(rig.daemon.json(&of("gate"))["effective"]["record"]["post_roll"], "7s", "over a start");
    assert!(rig.daemon.terminate().success(), "{}", rig.daemon.log());
}

struct Unmount(String);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

/// What tests/browser/setup.mjs saw. `OUTPOST_SCREENSHOTS` names a folder for pictures of the pages.
fn set_up_in_a_browser(page: &str, address: &str) -> Value {
    let script = repository().join("tests/browser/setup.mjs");
    let modules = installed("node/node_modules");
    let mut node = Command::new("node");
    let text = run(node.arg(script).args([page, address]).env("OUTPOST_NODE_MODULES", modules));
    serde_json::from_str(&text).expect("the browser's report")
}

/// Works with: page | a camera that is added, drawn on and given rules in a browser, by mouse, keyboard and touch | is tried with a picture before, saved with comments kept, and undone where it does not come up
#[test]
fn a_camera_is_set_up_in_a_browser_and_events_follow_the_zone() {
    let scratch = Scratch::new("camera-setup");
    scratch.expect_log(&["the changed configuration is undone", "task failed", "camera offline", "camera degraded"]);
    let server = RtspServer::start(&scratch, Auth::Digest, &[("/main", "h264", &fixture("people.mp4"))]);
    let mut rig = Rig::start(&scratch, replaying(&scratch));
    let address = server.url("/main").replace("rtsp://", &format!("rtsp://{USER}:{PASSWORD}@"));
    let seen = set_up_in_a_browser(&rig.daemon.page(), &address);
    let steps = &seen["steps"];
    assert_eq!(seen["errors"], json!([]), "on the console");
    let violations = seen["violations"].as_object().expect("lists");
    assert!(violations.len() == 4 && violations.values().all(|found| *found == json!([])), "axe: {violations:#?}");
    let shifts = seen["shifts"].as_object().expect("numbers");
    assert!(shifts.values().all(|shift| shift.as_f64().is_some_and(|shift| shift < 0.1)), "{shifts:?}");
    let page = rig.daemon.page();
    let requests: Vec<&str> = seen["requests"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    assert!(requests.iter().all(|url| url.starts_with(&page) || url.starts_with("data:")), "{requests:?}");
    assert!(steps["wrong"].as_str().is_some_and(|text| text.contains("password")), "{steps}");
    assert!(steps["tried"].as_str().is_some_and(|text| text.contains("H.264 · 640×")), "{steps}");
    assert_eq!((&steps["picture"], &steps["url"]), (&json!(640), &server.url("/main").into()));
    assert_eq!(steps["drawn"][0], "0, 0.2", "snapped to the edge");
    assert_eq!((&steps["undone"], &steps["redone"]), (&steps["drawn"], &steps["dragged"]));
    assert_ne!(steps["moved"], steps["redone"]);
    assert_eq!((&steps["undoneOnAMac"], &steps["meanwhile"]), (&steps["drawn"], &json!(["7s", true])));
    assert_eq!((&steps["kept"], &steps["added"], &steps["deleted"]), (&steps["moved"], &json!(4), &json!(3)));
    assert_eq!(steps["saved"], "Saved and in use.");
    assert!(steps["hint"].as_str().is_some_and(|text| text.contains("restarts pier alone")), "{steps}");
    assert!(
        steps["backtest"]
            .as_str()
            .is_some_and(|text| text.contains("Would have") || text.contains("nothing that this camera recorded")),
        "{steps}"
    );
    let undone = steps["undoneByItself"].as_str().expect("words");
    assert!(undone.contains("Undone") && undone.contains("camera pier worked before"), "{undone}");
    assert_eq!((&steps["urlAgain"], &steps["touched"]), (&steps["url"], &json!(2)));

    let text = rig.text();
    assert!(text.contains("# How long it may take.\n[reload]\nconfirm_within = \"6s\" # short\n"), "{text}");
    assert!(text.contains("[camera.pier.zones.water]\npoints = [[0, 0], [1, 0], [1, 1], [0, 1]]"), "{text}");
    let of_rule = |event: &Value| {
        event["camera"] == "pier" && event["rule"] == "at-the-water" && event["zones"] == json!(["water"])
    };
    wait_until("an event in the zone", seconds(90), || rig.daemon.events().iter().any(of_rule));
    assert!(rig.daemon.terminate().success(), "{}", rig.daemon.log());
}

/// Works with: cameras | rules that are tried by the API before they are saved | are run over what was recorded, and the events that they would have made are counted; nothing is saved
#[test]
fn rules_are_tried_against_what_was_recorded() {
    let scratch = Scratch::new("backtest");
    let mut config = Config::new(&scratch).recorded_all_the_time("gate", &fixture("people.mp4"), 5);
    // On a busy machine it would rest.
    config.add("[load]\nenabled = false\n");
    let mut rig = Rig::start(&scratch, config);
    let closed = |rig: &Rig| {
        let timeline = rig.daemon.json("/api/v1/cameras/gate/timeline");
        timeline["segments"].as_array().expect("segments").iter().filter(|one| one["state"] == "closed").count()
    };
    wait_until("recordings", seconds(90), || closed(&rig) >= 3);
    wait_until("an event", seconds(90), || !rig.daemon.events().is_empty());
    // Cameras go first; here there is nothing else to infer.
    rig.change("gate", &json!({"detect": {"enabled": false}}));
    rig.wait_for_state("in_use");
    // Each try looks at all that there is; no more is to come.
    let (status, switched) = rig.send("PATCH", "/api/v1/cameras/gate/switches", "", &json!({"record": false}));
    assert_eq!(status, 200, "{switched}");
    let before = rig.text();
    let path = "/api/v1/cameras/gate/rules/try";
    let tried = |keys: Value| {
        let (status, begun) = rig.send("POST", path, "", &keys);
        assert_eq!((status, &begun["state"]), (202, &"running".into()), "{begun}");
        wait_for("the end of it", seconds(120), || {
            let test = rig.daemon.json(path);
            if test["state"] == "running" { Err(test.to_string()) } else { Ok(test) }
        })
    };
    let all = tried(json!({"hours": 1, "rules": [{"name": "anyone", "labels": ["person"]}]}));
    assert_eq!(all["state"], "done", "{all}");
    assert!(
        all["looked_at_s"].as_f64() > Some(5.0) && all["looked_at_s"].as_f64() <= all["recorded_s"].as_f64(),
        "{all}"
    );
    assert!(all["events"].as_u64() > Some(0) && all["by_rule"]["anyone"] == all["events"], "{all}");
    assert_eq!(all["judged_false"], 0, "nothing was judged");
    // Events of that time are judged; what the same rule would make again is known by them.
    for event in rig.daemon.events() {
        let id = event["id"].as_str().expect("an id");
        let (status, said) = rig.send("PATCH", &format!("/api/v1/events/{id}"), "", &json!({"verdict": "false_alarm"}));
        assert_eq!(status, 200, "{said}");
    }
    let judged = tried(json!({"hours": 1, "rules": [{"name": "anyone", "labels": ["person"]}]}));
    let marked = judged["found"].as_array().expect("a list").iter().filter(|event| event["judged_false"] == true);
    let marked = marked.count() as u64;
    assert!(marked > 0 && judged["judged_false"] == marked, "{judged}");
    let others = tried(json!({"hours": 1, "rules": [{"name": "cars", "labels": ["car"]}]}));
    assert_eq!(others["judged_false"], 0, "of another label: {others}");
    assert_eq!((&all["found"][0]["rule"], &all["found"][0]["label"]), (&"anyone".into(), &"person".into()));
    let zones = json!({"sky": {"points": [[0.0, 0.0], [1.0, 0.0], [1.0, 0.02]]}});
    let none = tried(json!({"hours": 1, "rules": [{"name": "up", "when": "enter", "zones": ["sky"]}], "zones": zones}));
    assert_eq!((&none["state"], &none["events"]), (&"done".into(), &0.into()), "{none}");
    let wrong = tried(json!({"hours": 1, "rules": [{"name": "up", "when": "enter", "zones": ["none"]}]}));
    assert_eq!(wrong["state"], "failed");
    assert!(wrong["reason"].as_str().is_some_and(|why| why.contains("unknown zone")), "{wrong}");
    assert_eq!(rig.text(), before);
    assert!(rig.daemon.terminate().success(), "{}", rig.daemon.log());
}
