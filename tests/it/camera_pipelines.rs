//! Pipelines that people drew, on the pictures of cameras.

use serde_json::{Value, json};

use crate::harness::broker::{Broker, Subscriber};
use crate::harness::clips::has_video;
use crate::harness::config::{Config, DEVICE};
use crate::harness::daemon::Daemon;
use crate::harness::executions::save;
use crate::harness::websocket::Message;
use crate::harness::{Scratch, fixture, seconds, wait_for, wait_until};

/// Counts things of a label, draws them, alerts where there are any, and keeps the picture.
fn counting(label: &str) -> String {
    format!(
        r#"
name = "people"
[[steps]]
id = "find"
type = "detect@1"
inputs.image = "$inputs.image"
parameters = {{ model = "nanodet-g-320", labels = ["{label}"], min_score = 0.3 }}
[[steps]]
id = "count"
type = "count@1"
inputs.objects = "$steps.find.objects"
[[steps]]
id = "draw"
type = "draw@1"
inputs = {{ image = "$inputs.image", objects = "$steps.find.objects" }}
[[steps]]
id = "some"
type = "condition@1"
inputs = {{ value = "$steps.draw.image", a = "$steps.count.number" }}
parameters.expression = "a > 0"
[[steps]]
id = "alert"
type = "alert@1"
inputs = {{ image = "$steps.some.then", a = "$steps.count.number" }}
parameters.message = "{{{{ a | int }}}} at the gate"
[[steps]]
id = "seldom"
type = "rate_limit@1"
inputs.value = "$steps.some.then"
parameters.seconds = 3600
[[steps]]
id = "keep"
type = "keep@1"
inputs.value = "$steps.seldom.value"
parameters.name = "seen"
[outputs]
found = "$steps.find.objects"
people = "$steps.count.number"
"#
    )
}

/// What the pipeline of a camera does, once there is something.
fn pipeline(daemon: &Daemon, camera: &str) -> Option<Value> {
    let answer = daemon.get(&format!("/api/v1/cameras/{camera}/pipeline")).ok()?;
    (answer.status == 200).then(|| serde_json::from_slice(&answer.body).expect("JSON"))
}

fn wait_for_pipeline(daemon: &Daemon, camera: &str, what: &str, is_it: impl Fn(&Value) -> bool) -> Value {
    wait_for(what, seconds(120), || match pipeline(daemon, camera) {
        Some(seen) if is_it(&seen) => Ok(seen),
        seen => Err(format!("{seen:?}")),
    })
}

#[test]
fn a_pipeline_on_a_cameras_pictures_counts_alerts_and_keeps() {
    let scratch = Scratch::new("camera-pipeline");
    scratch.expect_log(&["the camera's pipeline cannot run", "there is no pipeline \"people\""]);
    let broker = Broker::start(&scratch);
    let subscriber = Subscriber::start(&scratch, &broker, "outpost/#");
    let cloud = scratch.path("cloud");
    let mut config = Config::new(&scratch).alerts_to(&broker).copies_to(&cloud);
    config = config.replay("gate", &fixture("people.mp4"));
    config.add("[camera.gate.pipeline]\nname = \"people\"\n[load]\nenabled = false\n");
    let mut daemon = Daemon::start(&scratch, config);

    // It may be drawn later.
    let missing = wait_for_pipeline(&daemon, "gate", "a reason", |seen| !seen["failure"].is_null());
    assert!(missing["failure"].as_str().is_some_and(|why| why.contains("no pipeline \"people\"")), "{missing}");
    save(&daemon, &scratch, &counting("person"));
    let running = wait_for_pipeline(&daemon, "gate", "people that are counted", |seen| {
        seen["version"] == 1 && seen["runs"].as_u64() > Some(5) && seen["values"]["people"].as_f64() > Some(0.0)
    });
    assert_eq!((&running["failure"], &running["mode"]), (&Value::Null, &"beside".into()), "{running}");
    let steps: Vec<&str> =
        running["steps"].as_array().into_iter().flatten().filter_map(|s| s["step"].as_str()).collect();
    assert_eq!(steps.len(), 7, "{running}");
    assert!(running["latency"]["p50_ms"].as_f64() >= running["took"]["p50_ms"].as_f64(), "{running}");
    assert!(daemon.metric("outpost_camera_pipeline_seconds_count") > 5.0);

    // Viewers see its objects and values beside what the camera's own model finds.
    let mut socket = daemon.live("gate", "").expect("a live view");
    wait_for("what it finds, over the live view", seconds(60), || match socket.next() {
        Some(Message::Text(said)) => {
            let is_it = said["pipeline"]["people"].as_f64() > Some(0.0) && said["objects"][0]["label"] == "person";
            if is_it { Ok(()) } else { Err(said.to_string()) }
        }
        Some(_) => Err("video".to_owned()),
        None => Err("the connection was closed".to_owned()),
    });
    drop(socket);

    // What it keeps is an execution that is over, and is delivered once.
    let kept = wait_for("what it keeps", seconds(60), || {
        let executions = daemon.json("/api/v1/executions");
        let all = executions["executions"].as_array().cloned().unwrap_or_default();
        if all.len() == 1 { Ok(all[0].clone()) } else { Err(executions.to_string()) }
    });
    assert_eq!((&kept["owner"], &kept["state"]), (&"camera gate".into(), &"finished".into()), "{kept}");
    let id = kept["id"].as_str().expect("an id").to_owned();
    wait_for("the picture in the cloud", seconds(60), || {
        let path = cloud.join(format!("{DEVICE}/executions/{id}/keep-seen.jpg"));
        image::open(&path).map(drop).map_err(|error| format!("{}: {error}", path.display()))
    });

    // A version that is saved is what runs.
    save(&daemon, &scratch, &counting("toothbrush"));
    wait_for_pipeline(&daemon, "gate", "the newer version", |seen| {
        seen["version"] == 2 && seen["values"]["people"].as_f64() == Some(0.0)
    });

    // Its alert is an event of the camera, with video.
    let alert = wait_for("the alert to be over", seconds(120), || {
        let ended = daemon.events_in("ended");
        ended.into_iter().find(|event| event["kind"] == "alert").ok_or_else(|| "none".to_owned())
    });
    assert_eq!((&alert["camera"], &alert["rule"]), (&"gate".into(), &"people".into()));
    assert!(alert["message"].as_str().is_some_and(|text| text.ends_with(" at the gate")), "{alert}");
    assert!(has_video(&alert) && alert["pictures"].as_array().is_some_and(|p| !p.is_empty()), "{alert}");
    let alerts = daemon.events().into_iter().filter(|event| event["kind"] == "alert").count();
    assert!(alerts < 4, "one for as long as it goes on alerting, not one a picture: {alerts}");
    wait_until("the alert at the broker", seconds(30), || {
        subscriber.events("start").iter().any(|event| event["event"]["kind"] == "alert" || event["kind"] == "alert")
    });
    let topic = format!("outpost/{DEVICE}/camera/gate/pipeline");
    wait_until("its values at the broker", seconds(30), || {
        subscriber.messages().iter().any(|m| m.topic == topic && m.payload.contains(r#""values":{"people":"#))
    });

    // And goes on after a kill, with what was kept.
    daemon.crash_and_restart();
    wait_for_pipeline(&daemon, "gate", "the same after a kill", |seen| {
        seen["version"] == 2 && seen["runs"].as_u64() > Some(2)
    });
    let executions = daemon.json("/api/v1/executions");
    assert_eq!(executions["executions"].as_array().map(Vec::len), Some(1), "{executions}");
    assert!(daemon.terminate().success());
}

#[test]
fn a_pipeline_in_place_of_the_model_makes_events_by_rules() {
    let scratch = Scratch::new("camera-pipeline-instead");
    scratch.expect_log(&["the camera's pipeline cannot run", "there is no pipeline \"people\"", "degraded"]);
    let mut config = Config::new(&scratch).replay("gate", &fixture("people.mp4"));
    config.add("[camera.gate.pipeline]\nname = \"people\"\nmode = \"instead\"\n[load]\nenabled = false\n");
    config.add("[[camera.gate.rules]]\nname = \"people at the gate\"\nlabels = [\"person\"]\n");
    let mut daemon = Daemon::start(&scratch, config);
    let camera = |daemon: &Daemon| daemon.json("/api/v1/status")["cameras"][0].clone();
    wait_until("the camera to say that nothing detects", seconds(60), || {
        let camera = camera(&daemon);
        camera["state"] == "degraded" && camera["reason"].as_str().is_some_and(|why| why.contains("no pipeline"))
    });
    let models = daemon.json("/api/v1/models");
    let used = models["models"].as_array().into_iter().flatten().any(|model| model["cameras"] == json!(["gate"]));
    assert!(!used, "its own model is not loaded: {models}");
    save(&daemon, &scratch, &counting("person"));
    let event = wait_for("an event by the rule", seconds(120), || {
        let ended = daemon.events_in("ended");
        ended.into_iter().find(|event| event["kind"] == "object").ok_or_else(|| "none".to_owned())
    });
    assert_eq!((&event["rule"], &event["label"]), (&"people at the gate".into(), &"person".into()), "{event}");
    assert_eq!(event["model"], "people", "{event}");
    assert!(has_video(&event), "{event}");
    let camera = camera(&daemon);
    assert_eq!((&camera["state"], &camera["reason"]), (&"online".into(), &Value::Null), "{camera}");
    assert!(daemon.terminate().success());
}

/// Works with: models | a pipeline that is tried against a week of a camera's recordings before it runs there | alerts, objects and numbers that it would have given are reported, with the time of each step; nothing is kept and no alert is sent
#[test]
fn a_pipeline_is_tried_against_what_was_recorded() {
    let scratch = Scratch::new("camera-pipeline-trial");
    let mut config = Config::new(&scratch).recorded_all_the_time("gate", &fixture("people.mp4"), 5);
    config.add("[load]\nenabled = false\n");
    let mut daemon = Daemon::start(&scratch, config);
    save(&daemon, &scratch, &counting("person"));
    let path = "/api/v1/cameras/gate/pipeline/try";
    let closed = |daemon: &Daemon| {
        let timeline = daemon.json("/api/v1/cameras/gate/timeline");
        timeline["segments"].as_array().into_iter().flatten().filter(|one| one["state"] == "closed").count()
    };
    wait_until("recordings", seconds(90), || closed(&daemon) >= 3);
    // Each try looks at all that there is; no more is to come.
    let path_of_switches = "/api/v1/cameras/gate/switches";
    let switched = daemon.send("PATCH", path_of_switches, "", &json!({"record": false, "detect": false}));
    assert_eq!(switched.expect("an answer").status, 200);
    let unknown = daemon.post(path, &json!({"hours": 1, "pipeline": {"name": "nothing"}})).expect("an answer");
    assert_eq!(unknown.status, 422, "{}", String::from_utf8_lossy(&unknown.body));
    assert_eq!(daemon.get(path).expect("an answer").status, 404, "nothing was tried");
    let tried = |daemon: &Daemon, mode: &str| {
        let begun = daemon.post(path, &json!({"hours": 168, "pipeline": {"name": "people", "mode": mode}}));
        assert_eq!(begun.expect("an answer").status, 202);
        wait_for("the end of it", seconds(180), || {
            let trial = daemon.json(path);
            if trial["state"] == "running" { Err(trial.to_string()) } else { Ok(trial) }
        })
    };
    let all = tried(&daemon, "beside");
    assert_eq!((&all["state"], &all["events"]), (&"done".into(), &0.into()), "{all}");
    let of = &all["pipeline"];
    assert_eq!((&of["name"], &of["version"], &of["failures"]), (&"people".into(), &1.into(), &0.into()), "{of}");
    assert!(of["pictures"].as_u64() > Some(5) && of["labels"]["person"].as_u64() > Some(0), "{of}");
    assert!(of["alerts"].as_u64() > Some(0) && of["kept"] == 1, "{of}");
    assert!(of["found"][0]["message"].as_str().is_some_and(|text| text.ends_with(" at the gate")), "{of}");
    assert!(of["numbers"]["people"]["most"].as_f64() >= of["numbers"]["people"]["mean"].as_f64(), "{of}");
    assert_eq!(of["steps"].as_array().map(Vec::len), Some(7), "{of}");
    // In place of the model its objects are followed, and rules make events of them.
    let instead = tried(&daemon, "instead");
    assert!(instead["events"].as_u64() > Some(0), "{instead}");
    // None of that happened.
    assert!(daemon.events().iter().all(|event| event["kind"] != "alert"), "{:?}", daemon.events());
    assert_eq!(daemon.json("/api/v1/executions")["executions"], json!([]));
    assert!(daemon.terminate().success());
}
