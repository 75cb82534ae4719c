//! Another configuration while it records: `outpost reload`, SIGHUP, and what a start makes of a broken file.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::Value;

use crate::harness::broker::Broker;
use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::rtsp::{Auth, RtspServer};
use crate::harness::{Scratch, fixture, port, seconds, wait_for, wait_until};

/// The file of a daemon under test, edited as a person does.
struct File(PathBuf);

impl File {
    fn of(scratch: &Scratch) -> Self {
        Self(scratch.path("outpost.toml"))
    }

    fn text(&self) -> String {
        std::fs::read_to_string(&self.0).expect("read the configuration")
    }

    fn write(&self, text: &str) {
        std::fs::write(&self.0, text).expect("write the configuration");
    }

    fn add(&self, lines: &str) {
        self.write(&(self.text() + lines));
    }

    /// Reads it again by the command line; gives the exit code and what was printed.
    fn reload(&self) -> (Option<i32>, String) {
        let output = outpost(&["reload", "--config", &self.0.display().to_string()]);
        let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        (output.status.code(), text.concat())
    }
}

fn camera(name: &str, clip: &Path) -> String {
    format!("[camera.{name}.source]\nurl = \"replay:{}\"\nrepeat = true\n", clip.display())
}

fn camera_names(daemon: &Daemon) -> Vec<String> {
    let status = daemon.json("/api/v1/status");
    let cameras = status["cameras"].as_array().expect("cameras");
    cameras.iter().filter_map(|camera| Some(camera["name"].as_str()?.to_owned())).collect()
}

fn wait_for_state(daemon: &Daemon, state: &str) -> Value {
    wait_for(&format!("the configuration to be {state}"), seconds(90), || {
        let config = daemon.json("/api/v1/config");
        if config["state"] == state { Ok(config) } else { Err(config.to_string()) }
    })
}

/// The metrics of a camera.
fn series_of(daemon: &Daemon, camera: &str) -> String {
    let metrics = String::from_utf8(daemon.get("/metrics").expect("metrics").body).expect("text");
    let of_camera = format!("camera=\"{camera}\"");
    metrics.lines().filter(|line| line.contains(&of_camera)).collect::<Vec<_>>().join("\n")
}

fn wait_for_packets(daemon: &Daemon, camera: &str, more: f64) {
    let packets = daemon.packets(camera);
    wait_until("more packets", seconds(60), || daemon.packets(camera) >= packets + more);
}

/// Works with: system | a reload while it records | starts, stops and changes cameras and destinations; others miss no packet
#[test]
fn what_changed_is_put_to_use_and_other_cameras_miss_no_packet() {
    let scratch = Scratch::new("reload");
    let (begun, file) = (Timestamp::now(), File::of(&scratch));
    let config = Config::new(&scratch).replay("gate", &fixture("people.mp4"));
    // A server: its times go on whatever the load, where a file that is played again begins late on a busy machine.
    let server = RtspServer::start(&scratch, Auth::None, &[("/main", "h264", &fixture("people.mp4"))]);
    let config = config.camera("yard", &server, "/main", Auth::None).all_the_time(5);
    let mut daemon = Daemon::start(&scratch, config);
    let segments = |daemon: &Daemon| -> Vec<Value> {
        let timeline = daemon.json(&format!("/api/v1/cameras/yard/timeline?since={begun}"));
        timeline["segments"].as_array().expect("segments").clone()
    };
    wait_until("a first segment", seconds(60), || segments(&daemon).iter().any(|s| s["state"] == "closed"));
    assert_eq!(file.reload(), (Some(0), "nothing has changed\n".to_owned()));

    let cloud = scratch.path("cloud");
    std::fs::create_dir(&cloud).expect("make the cloud");
    file.write(&file.text().replacen("post_roll = \"2s\"", "post_roll = \"1s\"", 1));
    file.add(&camera("pier", &fixture("people.mp4")));
    file.add(&format!("[upload.cloud]\nurl = \"file://{}\"\n", cloud.display()));
    let (code, said) = file.reload();
    assert_eq!(
        (code, said.lines().next()),
        (Some(0), Some("in use: camera pier, camera gate, upload/cloud")),
        "{said}"
    );
    assert_eq!(camera_names(&daemon), ["gate", "pier", "yard"]);
    wait_until("an event in the cloud", seconds(90), || {
        let status = daemon.json("/api/v1/status");
        status["outlets"][0]["online"] == true && cloud.join("box1").exists()
    });
    wait_for_packets(&daemon, "pier", 10.0);

    file.write(&file.text().replace(&camera("pier", &fixture("people.mp4")), ""));
    assert_eq!(file.reload(), (Some(0), "in use: camera pier\n".to_owned()));
    assert_eq!(camera_names(&daemon), ["gate", "yard"]);
    let series = series_of(&daemon, "pier");
    assert!(series.contains("packets") && !series.contains("camera_online"), "{series}");

    let known = segments(&daemon).len();
    wait_until("more segments", seconds(60), || segments(&daemon).len() >= known + 2);
    let all = segments(&daemon);
    let closed: Vec<&Value> = all.iter().filter(|segment| segment["state"] != "open").collect();
    assert!(closed.iter().all(|segment| segment["state"] == "closed"), "{closed:?}");
    let time = |value: &Value| value["wall"].as_str().expect("a time").parse::<Timestamp>().expect("a time");
    for pair in closed.windows(2) {
        let gap = time(&pair[1]["start"]).duration_since(time(&pair[0]["end"])).as_secs_f64();
        assert!(gap.abs() < 0.2, "{gap} s are missing: {pair:?}\n{}", series_of(&daemon, "yard"));
    }
    assert!((daemon.reconnects("yard")).abs() < 0.5, "it was not touched");
    let series = series_of(&daemon, "yard");
    let lost = series.lines().find(|line| line.contains("recorder_queue") && !line.ends_with(" 0"));
    assert_eq!(lost, None, "{series}");
    assert!(daemon.terminate().success(), "{}", daemon.log());
}

/// Works with: system | SIGHUP, which asks many daemons to read their configuration again | does so; a broken file is named with line and column and changes nothing
#[test]
fn a_broken_file_changes_nothing_and_is_named_with_its_line() {
    let scratch = Scratch::new("reload-broken");
    scratch.expect_log(&["the configuration cannot be used, the one before goes on"]);
    let file = File::of(&scratch);
    let mut daemon = Daemon::start(&scratch, Config::new(&scratch).replay("gate", &fixture("people.mp4")));
    let good = file.text();
    let line = good.lines().count() + 2;
    for (lines, place, words) in [
        ("[camera.gate.motion]\nsensitivty = 3\n", format!("{line}:1"), "did you mean"),
        ("[upload.cloud]\nurl = \"gopher://x\"\n", format!("{line}:1"), "upload.cloud"),
        (
            "[camera.pier.detect]\nmodel = \"none-such\"\n[camera.pier.source]\nurl = \"replay:/x\"\n",
            format!("{line}:1"),
            "none-such",
        ),
    ] {
        file.write(&(good.clone() + lines));
        let before = daemon.log().len();
        daemon.process().signal(Signal::HUP);
        wait_until("the answer in the log", seconds(20), || daemon.log()[before..].contains("the one before goes on"));
        let said = daemon.log()[before..].to_owned();
        assert!(said.contains(&format!("outpost.toml:{place}")) && said.contains(words), "{lines}: {said}");
        let config = wait_for_state(&daemon, "refused");
        assert!(config["problems"][0]["message"].is_string(), "{config}");
        let summary = daemon.json("/api/v1/status")["summary"]["text"].to_string();
        assert!(summary.contains("the changed configuration is not in use"), "{summary}");
        wait_for_packets(&daemon, "gate", 5.0);
        assert_eq!(camera_names(&daemon), ["gate"]);
    }
    let (code, said) = file.reload();
    assert!(code == Some(1) && said.contains("none-such"), "{code:?}: {said}");
    file.write(&(good.clone() + "[camera\n"));
    let (code, said) = file.reload();
    assert!(code == Some(78) && said.contains(&format!("{}:", line - 1)), "{code:?}: {said}");
    file.write(&good);
    assert_eq!(file.reload(), (Some(0), "nothing has changed\n".to_owned()));
    assert_eq!(daemon.json("/api/v1/config")["state"], "in_use");
    assert!(daemon.terminate().success(), "{}", daemon.log());
}

#[test]
fn a_camera_that_worked_and_does_not_come_up_brings_the_configuration_before_back() {
    let scratch = Scratch::new("reload-undone");
    scratch.expect_log(&["the changed configuration is undone", "task failed", "camera offline", "camera degraded"]);
    let server = RtspServer::start(&scratch, Auth::None, &[("/main", "h264", &fixture("people.mp4"))]);
    let file = File::of(&scratch);
    let mut config = Config::new(&scratch).camera("gate", &server, "/main", Auth::None);
    config = config.replay("yard", &fixture("people.mp4"));
    config.add("[reload]\nconfirm_within = \"6s\"");
    let mut daemon = Daemon::start(&scratch, config);
    wait_for_packets(&daemon, "gate", 10.0);
    let good = file.text();
    let dead = format!("rtsp://127.0.0.1:{}/main", port::free());
    file.write(
        &good.replace(&server.url("/main"), &dead).replace("[reload]", "[retention]\nmax_bytes = 1000000000\n[reload]"),
    );
    let (code, said) = file.reload();
    assert!(code == Some(1) && said.contains("camera gate worked before and does not now"), "{code:?}: {said}");
    let config = daemon.json("/api/v1/config");
    assert_eq!((&config["state"], &config["problems"]), (&"rolled_back".into(), &Value::Array(vec![])), "{config}");
    wait_for_packets(&daemon, "gate", 10.0);
    assert_eq!(daemon.json("/api/v1/status")["disk"]["quota_bytes"], Value::Null, "all of it is undone");
    // One that was away before is not held against the change.
    file.write(&(good.clone() + &format!("[camera.pier.source]\nurl = \"{dead}\"\n")));
    let (code, said) = file.reload();
    assert!(code == Some(0) && said.contains("not seen to work yet: camera pier"), "{code:?}: {said}");
    assert_eq!(camera_names(&daemon), ["gate", "pier", "yard"]);
    assert!(daemon.terminate().success(), "{}", daemon.log());
}

#[test]
fn a_broker_that_worked_and_does_not_answer_at_its_new_address_is_used_at_the_old_one() {
    let scratch = Scratch::new("reload-broker");
    scratch.expect_log(&["the changed configuration is undone", "the broker cannot be used"]);
    let (broker, file) = (Broker::start(&scratch), File::of(&scratch));
    let mut config = Config::new(&scratch).replay("gate", &fixture("people.mp4")).alerts_to(&broker);
    config.add("[reload]\nconfirm_within = \"4s\"");
    let mut daemon = Daemon::start(&scratch, config);
    let is_online = |daemon: &Daemon| daemon.json("/api/v1/status")["outlets"][0]["online"] == true;
    wait_until("the broker", seconds(60), || is_online(&daemon));
    let good = file.text();
    file.write(&good.replace(&broker.url(), &format!("mqtt://127.0.0.1:{}", port::free())));
    let (code, said) = file.reload();
    assert!(code == Some(1) && said.contains("mqtt worked before and does not now: "), "{code:?}: {said}");
    wait_until("the broker again", seconds(60), || is_online(&daemon));
    assert!((daemon.reconnects("gate")).abs() < 0.5, "the camera was not touched");
    assert!(daemon.terminate().success(), "{}", daemon.log());
}

#[test]
fn a_start_with_a_broken_file_takes_the_last_good_configuration() {
    let scratch = Scratch::new("reload-start");
    scratch.expect_log(&["the configuration cannot be used, starting with the last good one"]);
    let state = scratch.path("state");
    std::fs::create_dir(&state).expect("make the folder");
    let file = File::of(&scratch);
    let config = Config::new(&scratch).replay("gate", &fixture("people.mp4"));
    let mut daemon = Daemon::start_in(&scratch, config, &format!("STATE_DIRECTORY={}", state.display()));
    let good = file.text();
    wait_until("the copy", seconds(30), || {
        std::fs::read_to_string(state.join("last-good.toml")).is_ok_and(|kept| kept == good)
    });
    assert!(daemon.terminate().success());
    file.write(&(good.clone() + "[camera.gate.motion]\nsensitivty = 3\n"));
    daemon.start_again();
    wait_for_packets(&daemon, "gate", 5.0);
    let config = wait_for_state(&daemon, "last_good");
    assert!(config["reason"].as_str().is_some_and(|reason| reason.contains("did you mean")), "{config}");
    let summary = daemon.json("/api/v1/status")["summary"].clone();
    assert_eq!(summary["level"], "problem", "{summary}");
    file.write(&good);
    assert_eq!(file.reload(), (Some(0), "nothing has changed\n".to_owned()));
    assert_eq!(daemon.json("/api/v1/config")["state"], "in_use");
    assert!(daemon.terminate().success(), "{}", daemon.log());
}
