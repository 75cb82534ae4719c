//! What is not needed for recording costs nothing but itself: a model that cannot be used, a page whose port is taken.

use std::fs;
use std::net::TcpListener;

use serde_json::Value;

use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, PROGRAM, STOP, outpost};
use crate::harness::process::Process;
use crate::harness::rtsp::{Auth, RtspServer};
use crate::harness::{Scratch, fixture, http, repository, seconds, wait_for, wait_until};

const MODEL: &str = "nanodet-g-320";

fn camera(daemon: &Daemon) -> Value {
    daemon.json("/api/v1/status")["cameras"][0].take()
}

/// Why the camera detects nothing, once it knows.
fn trouble(daemon: &Daemon) -> String {
    wait_for("a camera that says what is wrong", seconds(60), || {
        let camera = camera(daemon);
        let degraded = camera["state"] == "degraded";
        camera["reason"].as_str().filter(|_| degraded).map(str::to_owned).ok_or_else(|| camera.to_string())
    })
}

/// Works with: system | The page's port is taken by another program | Cameras are recorded; the page opens once the port is free
#[test]
fn a_taken_port_costs_the_page_alone() {
    let scratch = Scratch::new("taken-port");
    scratch.expect_log(&["task failed, trying again"]);
    let cameras = RtspServer::start(&scratch, Auth::None, &[("/gate", "h264", fixture("people.mp4").as_path())]);
    let (config, port) = Config::new(&scratch).camera("gate", &cameras, "/gate", Auth::None).all_the_time(5).write();
    let taken = TcpListener::bind(("127.0.0.1", port)).expect("take the port");
    let run = ["run".as_ref(), "--config".as_ref(), config.as_os_str()];
    let mut daemon = Process::start("outpost", PROGRAM, &run, scratch.path("outpost.log"));
    daemon.wait_ready(seconds(60), |log| log.contains(&format!("port {port} is taken by another program")));
    wait_for_video(&scratch);
    drop(taken);
    daemon.wait_ready(seconds(90), |_| http::get(port, "/readyz").is_ok_and(|answer| answer.status == 200));
    assert!(daemon.terminate(STOP).success());
}

/// Waits for a whole segment of video.
fn wait_for_video(scratch: &Scratch) {
    wait_until("a segment on the disk", seconds(60), || {
        let files = fs::read_dir(scratch.path("box/recordings/gate")).into_iter().flatten().flatten();
        files.into_iter().any(|file| file.path().extension().is_some_and(|extension| extension == "json"))
    });
}

fn times(log: &str, line: &str) -> usize {
    log.lines().filter(|logged| logged.contains(line)).count()
}

/// Works with: models | A model file that is missing when the box starts | Cameras are recorded and the page says why nothing is detected; detection begins when the file is there, without a restart
#[test]
fn a_box_without_its_model_records_says_why_and_detects_once_the_file_is_there() {
    let scratch = Scratch::new("models");
    scratch.expect_log(&["a model cannot be used", "camera degraded"]);
    let (models, shipped) = (scratch.path("models"), repository().join("models"));
    fs::create_dir_all(&models).expect("make a folder for models");
    for file in ["nanodet-g-320.toml", "coco.labels"] {
        fs::copy(shipped.join(file), models.join(file)).expect("copy");
    }
    let cameras = RtspServer::start(&scratch, Auth::None, &[("/gate", "h264", fixture("people.mp4").as_path())]);
    let config = Config::new(&scratch).models_in(&models).camera("gate", &cameras, "/gate", Auth::None);
    let mut daemon = Daemon::start(&scratch, config.all_the_time(5));

    wait_for_video(&scratch);
    let reason = trouble(&daemon);
    assert!(reason.starts_with("recorded without detection: "), "{reason}");
    assert!(reason.contains("nanodet-g-320.onnx is missing, though the model's manifest names it"), "{reason}");
    let status = daemon.json("/api/v1/status");
    assert_eq!(status["models"][MODEL]["state"], "broken", "{status}");
    assert_eq!(daemon.get("/").expect("the page").status, 200);
    let checked = outpost(&["check", "--config", &scratch.path("outpost.toml").display().to_string()]);
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(!checked.status.success() && said.contains("nanodet-g-320.onnx is missing"), "{said}");
    // Some more tries, none of which is worth a line.
    let packets = daemon.packets("gate");
    wait_until("more of the camera", seconds(60), || daemon.packets("gate") >= packets + 60.0);
    assert_eq!(times(&daemon.log(), "a model cannot be used"), 1, "{}", daemon.log());

    fs::copy(shipped.join("nanodet-g-320.onnx"), models.join("nanodet-g-320.onnx")).expect("copy");
    wait_until("an event", seconds(60), || !daemon.events().is_empty());
    wait_until("a camera that is well", seconds(60), || camera(&daemon)["state"] == "online");
    assert_eq!(daemon.json("/api/v1/status")["models"][MODEL]["state"], "ready");
    assert_eq!(times(&daemon.log(), "running"), 1, "it was never restarted: {}", daemon.log());
    assert!(daemon.terminate().success());
}

#[test]
fn a_model_that_is_too_slow_for_the_box_leaves_the_camera_recorded() {
    let scratch = Scratch::new("slow-model");
    scratch.expect_log(&["a model cannot be used", "camera degraded"]);
    let cameras = RtspServer::start(&scratch, Auth::None, &[("/gate", "h264", fixture("people.mp4").as_path())]);
    let mut config = Config::new(&scratch);
    // No processor is so fast.
    config.add("max_picture_time = \"10us\"");
    let config = config.camera("gate", &cameras, "/gate", Auth::None).all_the_time(5);
    let mut daemon = Daemon::start(&scratch, config);
    let reason = trouble(&daemon);
    for part in ["recorded without detection: ", "too slow for this box: one picture takes more than 10µs", "smaller"]
    {
        assert!(reason.contains(part), "{reason}");
    }
    wait_for_video(&scratch);
    assert!(daemon.terminate().success());
}
