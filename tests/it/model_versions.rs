//! Versions of a model side by side, as a camera and programs use them.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, fixture, installed, repository, seconds, wait_until};

const MODEL: &str = "nanodet-g-320";

/// A version of the shipped model that calls a dog something else.
fn install(models: &Path, version: u32, dog: &str) {
    let (folder, shipped) = (models.join(format!("{MODEL}/{version}")), repository().join("models"));
    fs::create_dir_all(&folder).expect("make a folder");
    let onnx = format!("{MODEL}.onnx");
    fs::copy(shipped.join(&onnx), folder.join(&onnx)).expect("copy");
    let labels = fs::read_to_string(shipped.join("coco.labels")).expect("labels");
    fs::write(folder.join("coco.labels"), labels.replacen("\ndog\n", &format!("\n{dog}\n"), 1)).expect("write");
    fs::copy(shipped.join(format!("{MODEL}.toml")), folder.join(format!("{MODEL}.toml"))).expect("copy");
}

fn programs(daemon: &Daemon) -> Value {
    let address = daemon.page().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut program = Command::new(installed("inference/bin/python"));
    program.arg(repository().join("tests/servers/model_versions.py")).arg(address).arg(fixture("pictures/person.jpg"));
    serde_json::from_str(&run(program.arg(MODEL))).expect("what it saw")
}

/// Works with: models | tritonclient: versions of a model (metadata, ready, infer, index) and statistics | Each version answers by its number, the newest that can be used without one; a broken one is UNAVAILABLE with its reason
#[test]
fn programs_ask_for_versions_and_statistics_and_a_newer_version_takes_over() {
    let scratch = Scratch::new("model-versions");
    scratch.expect_log(&["a newer version of a model cannot be used"]);
    let models = scratch.path("models");
    for (version, dog) in [(1, "dog"), (2, "hound"), (3, "puppy")] {
        install(&models, version, dog);
    }
    let newest = models.join(format!("{MODEL}/3/{MODEL}.onnx"));
    let whole = fs::read(&newest).expect("read");
    fs::write(&newest, &whole[..whole.len() / 2]).expect("write");
    let mut config = Config::new(&scratch).models_in(&models).played_once("gate", &fixture("people.mp4"), 4.0);
    config.add("[load]\nenabled = false\n");
    let mut daemon = Daemon::start(&scratch, config);
    wait_until("frames of the camera", seconds(120), || {
        daemon.metric("outpost_frames_detected_total{camera=\"gate\"}") > 0.0
    });

    let seen = programs(&daemon);
    for way in ["http", "grpc"] {
        let seen = &seen[way];
        assert_eq!(seen["versions"], json!(["1", "2", "3"]), "{seen}");
        assert_eq!((&seen["newest"], &seen["first"]), (&json!(["2", "hound"]), &json!(["1", "dog"])), "{seen}");
        assert_eq!(seen["ready"], json!([true, true, false]));
        let says = |what: &str, words: &str| seen[what].as_str().is_some_and(|text| text.contains(words));
        assert!(says("broken", "damaged or another model") && says("unknown", "has no version 9"), "{seen}");
        // The model's own input and output: 80 scores and a box for each of 2100 places or so.
        let raw = &seen["raw"];
        assert_eq!((&raw[0], &raw[1][0], &raw[2]), (&json!(1), &json!(1), &json!(true)), "{seen}");
        assert!(raw[1].as_array().is_some_and(|shape| shape.contains(&json!(84))), "{seen}");
        assert!(says("raw_wrong", "takes a tensor [1, 3, 320, 320], not [1, 3, 32, 32]"), "{seen}");
        let states = seen["index"].as_array().expect("an index").iter().filter(|entry| entry[0] == MODEL);
        let states: Vec<&Value> = states.map(|entry| &entry[2]).collect();
        assert_eq!(states, ["READY", "READY", "UNAVAILABLE"], "{seen}");
        assert!(seen["index"][2][3].as_str().is_some_and(|reason| reason.contains("damaged")), "{seen}");
        assert_eq!(seen["one"], json!([[MODEL, "1"]]));
        assert_eq!(seen["stats"]["3"]["success"], json!([0, 0]), "{seen}");
    }
    let http = &seen["http"];
    let tensors = &http["tensors"];
    let input = json!([{"name": "tensor", "datatype": "FP32", "shape": [1, 3, 320, 320]}]);
    assert_eq!((&tensors["inputs"], &tensors["outputs"][0]["shape"]), (&input, &http["raw"][1]), "{tensors}");
    assert_eq!(http["raw"], seen["grpc"]["raw"], "the same numbers");
    assert!(http["extensions"].as_array().is_some_and(|known| known.contains(&json!("statistics"))));
    let all = http["all"].as_array().expect("a list");
    assert_eq!(all[..3], [json!([MODEL, "1"]), json!([MODEL, "2"]), json!([MODEL, "3"])], "{all:?}");
    assert!(all[3..].contains(&json!(["objects", "0"])), "pipelines behind them: {all:?}");
    assert_eq!(http["counts"]["1"][0], 1, "{http}");
    // gRPC asked once more; nothing else asks for the first version.
    assert_eq!(seen["grpc"]["stats"]["1"]["success"][0], 2);
    let of_first = |name: &str| daemon.metric(&format!("outpost_model_{name}{{model=\"{MODEL}\",version=\"1\"}}"));
    assert_eq!((of_first("successes_total"), of_first("pending")), (2.0, 0.0));
    let ns = |name: &str| seen["grpc"]["stats"]["1"][name][1].as_f64().expect("a number") / 1e9;
    assert!((of_first("compute_seconds_total") - ns("compute_infer")).abs() < 1e-6 && ns("compute_infer") > 0.0);

    let listed = daemon.json("/api/v1/models")["models"][0].take();
    assert_eq!((&listed["version"], &listed["state"]), (&json!(2), &json!("ready")), "{listed}");
    let states: Vec<&Value> =
        listed["versions"].as_array().expect("versions").iter().map(|version| &version["state"]).collect();
    assert_eq!(states, ["broken", "ready", "ready"], "{listed}");
    let times = daemon.log().lines().filter(|line| line.contains("a newer version of a model cannot be used")).count();
    assert!((1..=2).contains(&times), "once for cameras, once for programs: {times}");

    fs::write(&newest, &whole).expect("write");
    wait_until("the newest version, once it is whole", seconds(120), || {
        daemon.json("/api/v1/models")["models"][0]["version"] == 3
    });
    let seen = programs(&daemon);
    assert_eq!((&seen["http"]["newest"], &seen["grpc"]["newest"]), (&json!(["3", "puppy"]), &json!(["3", "puppy"])));
    assert_eq!((&seen["http"]["first"][1], &seen["http"]["ready"]), (&json!("dog"), &json!([true, true, true])));
    assert!(daemon.terminate().success(), "{}", daemon.log());
}
