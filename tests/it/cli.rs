//! The command line, as scripts and systemd see it: answers on standard output, exit codes that mean something.

use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, PROGRAM, outpost};
use crate::harness::{Scratch, fixture, repository};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs `outpost check` on a text; gives the exit code and what it said.
fn check(text: &str) -> (Option<i32>, String) {
    let scratch = Scratch::new("check");
    let path = scratch.path("outpost.toml");
    std::fs::write(&path, text).expect("write");
    let output = outpost(&["check".as_ref(), "--config".as_ref(), path.as_os_str()]);
    (output.status.code(), said(&output))
}

#[test]
fn replay_prints_one_line_per_person() {
    let models = repository().join("models");
    let clip = fixture("people.mp4");
    let output = outpost(&[
        "replay".as_ref(),
        clip.as_os_str(),
        "--labels".as_ref(),
        "person".as_ref(),
        "--model-dir".as_ref(),
        models.as_os_str(),
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let text = String::from_utf8(output.stdout).expect("text");
    let events: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    // A dozen people cross the picture; occlusions may split or join a few.
    assert!((5..=30).contains(&events.len()), "{} events: {text}", events.len());
    for event in &events {
        assert_eq!(event["label"], "person", "{event}");
        let (start, end) = (event["start"].as_f64().expect("start"), event["end"].as_f64().expect("end"));
        assert!(start >= 0.0 && start <= end && end <= 16.1, "{event}");
        let place: Vec<f64> = event["box"].as_array().expect("a box").iter().filter_map(Value::as_f64).collect();
        assert!(place.len() == 4 && place.iter().all(|side| (-0.1..=1.1).contains(side)), "{event}");
        assert!(event["score"].as_f64().is_some_and(|score| (0.4..=1.0).contains(&score)), "{event}");
    }
    assert!(
        events.iter().any(|event| event["start"].as_f64() < Some(1.5)),
        "people walk from the first second: {text}"
    );
}

#[test]
fn replay_of_leaves_prints_nothing() {
    let (models, clip) = (repository().join("models"), fixture("leaves.mp4"));
    let output = outpost(&["replay".as_ref(), clip.as_os_str(), "--model-dir".as_ref(), models.as_os_str()]);
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
}

#[test]
fn check_says_where_and_what_is_wrong() {
    let camera = "[camera.gate.source]\nurl = \"rtsp://10.0.0.5/main\"\n";
    let cases = [
        (format!("{camera}transprt = \"tcp\"\n"), vec!["outpost.toml:3:1:", "transprt", "did you mean `transport`"]),
        (
            format!("{camera}[camera.gate.record]\npre_rol = \"5s\"\n"),
            vec!["outpost.toml:4:1:", "did you mean `pre_roll`"],
        ),
        (format!("{camera}[camera.gate.record]\npre_roll = \"often\"\n"), vec!["outpost.toml:4:"]),
        (format!("{camera}[camera.gate\n"), vec!["outpost.toml:3:"]),
        ("[device]\nid = \"box 1\"\n".to_owned() + camera, vec!["device.id", "box 1"]),
        ("[camera.gate.source]\nurl = \"gopher://10.0.0.5\"\n".to_owned(), vec!["camera.gate.source", "gopher"]),
    ];
    for (text, expected) in cases {
        let (code, said) = check(&text);
        assert_eq!(code, Some(78), "{text}\n{said}");
        for part in expected {
            assert!(said.contains(part), "{part:?} is missing in: {said}");
        }
    }
}

#[test]
fn check_of_a_file_without_cameras_is_good_and_warns() {
    let (code, said) = check("# nothing yet\n");
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("is good: no camera yet") && said.contains("warning: no camera is used"), "{said}");
    assert!(said.contains("/cameras") && said.contains("[camera.<name>.source]"), "{said}");
}

#[test]
fn check_of_a_good_file_names_its_cameras() {
    let models = repository().join("models");
    let storage = Scratch::new("storage");
    let text = format!(
        "[storage]\npath = \"{}\"\n[infer]\nmodel_dir = \"{}\"\n[camera.gate.source]\nurl = \"rtsp://10.0.0.5/main\"\n",
        storage.path("").display(),
        models.display()
    );
    let (code, said) = check(&text);
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("gate"), "{said}");
}

/// A configuration with one camera and the models of the repository, and `lines` behind.
fn with_models(scratch: &Scratch, lines: &str) -> String {
    let (storage, models) = (scratch.path("box"), repository().join("models"));
    format!(
        "[storage]\npath = \"{}\"\n[infer]\nmodel_dir = \"{}\"\n[web]\nlisten = \"127.0.0.1:0\"\n\
         [camera.gate.source]\nurl = \"rtsp://127.0.0.1:9/main\"\n{lines}",
        storage.display(),
        models.display()
    )
}

#[test]
fn mistakes_that_only_show_at_the_start_are_mistakes_of_the_configuration() {
    let scratch = Scratch::new("mistakes");
    let path = scratch.path("outpost.toml");
    // What a model lacks keeps no camera from being recorded.
    let (check, both) = (&["check"][..], &["check", "run"][..]);
    for (commands, lines, expected) in [
        (check, "[camera.gate.detect]\nlabels = [\"person\", \"persn\"]\n", "10:1: camera.gate.detect.labels: "),
        (check, "[camera.gate.detect]\nmodel = \"no-such\"\n", "10:1: camera.gate.detect.model: "),
        (both, "[mqtt]\nretain_events = true\n", "9:2: mqtt: "),
        (both, "[spool]\nmax_bytes = \"2 MB\"\n", "10:1: spool.max_bytes: "),
    ] {
        std::fs::write(&path, with_models(&scratch, lines)).expect("write");
        for command in commands {
            let output = outpost(&[command.as_ref(), "--config".as_ref(), path.as_os_str()]);
            assert_eq!(output.status.code(), Some(78), "{command} {lines}: {}", said(&output));
            assert!(said(&output).contains(expected), "{command} {expected}: {}", said(&output));
        }
    }
}

#[test]
fn check_reports_to_programs_everything_that_is_wrong_with_its_place() {
    let scratch = Scratch::new("json");
    let path = scratch.path("outpost.toml");
    let check = |lines: &str| {
        std::fs::write(&path, with_models(&scratch, lines)).expect("write");
        let output = outpost(&["check".as_ref(), "--json".as_ref(), "--config".as_ref(), path.as_os_str()]);
        assert_eq!(output.stderr, b"", "{}", said(&output));
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).expect("one JSON object"))
    };
    let (code, report) = check("[lake]\nmax_bytes = \"10 GiB\"\n");
    assert_eq!((code, &report["ok"], &report["cameras"]), (Some(0), &true.into(), &serde_json::json!(["gate"])));
    let (code, report) = check("[camera.gate.detect]\nfps = \"fast\"\nlabel = [\"person\"]\n");
    assert_eq!((code, &report["ok"]), (Some(78), &false.into()));
    let errors = report["errors"].as_array().expect("errors");
    let place =
        |error: &Value| (error["line"].as_u64(), error["column"].as_u64(), error["key"].as_str().map(str::to_owned));
    let places: Vec<_> = errors.iter().map(place).collect();
    let expected = [(10, 7, "camera.gate.detect.fps"), (11, 1, "camera.gate.detect.label")];
    assert_eq!(
        places,
        expected.map(|(line, column, key)| (Some(line), Some(column), Some(key.to_owned()))),
        "{report}"
    );
    assert!(errors.iter().all(|error| error["file"] == path.display().to_string()), "{report}");
    assert!(errors[0]["message"].as_str().is_some_and(|said| said.contains("a number")), "{report}");
    let (code, report) = check("[camera.gate.detect]\nlabels = [\"persn\"]\n");
    assert_eq!((code, report["errors"][0]["line"].as_u64()), (Some(78), Some(10)), "{report}");
}

#[test]
fn a_password_in_an_address_is_refused_and_not_repeated() {
    let (code, said) = check("[camera.gate.source]\nurl = \"rtsp://cam:hunter2@10.0.0.5/main\"\n");
    assert_eq!(code, Some(78), "{said}");
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn wrong_usage_is_distinguished_from_wrong_configuration() {
    for arguments in [vec![], vec!["frobnicate"], vec!["run", "--confg", "x"], vec!["replay"]] {
        let output = outpost(&arguments);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {}", said(&output));
    }
    for arguments in [vec!["--help"], vec!["--version"], vec!["run", "--help"]] {
        let output = outpost(&arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", said(&output));
    }
    let output = outpost(&["run", "--config", "/no/such/outpost.toml"]);
    assert_eq!(output.status.code(), Some(78), "{}", said(&output));
    assert!(said(&output).contains("/no/such/outpost.toml"), "{}", said(&output));
}

#[test]
fn a_clip_that_is_not_there_is_named() {
    let output = outpost(&["replay", "/no/such/clip.mp4"]);
    assert_eq!(output.status.code(), Some(1), "{}", said(&output));
    assert!(said(&output).contains("/no/such/clip.mp4"), "{}", said(&output));
}

#[test]
fn only_a_standard_error_that_is_the_journal_is_written_for_the_journal() {
    use std::os::unix::fs::MetadataExt;
    let scratch = Scratch::new("stream");
    let path = scratch.path("stderr");
    let error = |named: &dyn Fn(&std::fs::Metadata) -> String| {
        let file = std::fs::File::create(&path).expect("make a file");
        let stream = named(&file.metadata().expect("look at a file"));
        let mut command = std::process::Command::new(PROGRAM);
        command.args(["check", "--config=/nowhere.toml"]).env("JOURNAL_STREAM", stream).stderr(file);
        assert_eq!(command.status().expect("run the program").code(), Some(78));
        std::fs::read_to_string(&path).expect("read")
    };
    let said = error(&|own| format!("{}:{}", own.dev(), own.ino()));
    assert!(said.starts_with("<3>outpost: /nowhere.toml"), "{said}");
    // A service's child, or a terminal that a service started: the variable is there, the journal is not.
    let said = error(&|own| format!("{}:{}", own.dev(), own.ino() + 1));
    assert!(said.starts_with("outpost: /nowhere.toml"), "{said}");
}

#[test]
fn a_time_zone_that_is_not_known_is_reported_by_check_and_at_the_start() {
    let scratch = Scratch::new("zone");
    scratch.expect_log(&["is not known: write one such as Europe/Berlin"]);
    let path = scratch.path("outpost.toml");
    std::fs::write(&path, with_models(&scratch, "")).expect("write");
    let check = |json: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.env("TZ", "Mars/Olympus").arg("check").args(json).arg("--config").arg(&path).output().expect("run")
    };
    let output = check(&[]);
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(said(&output).contains("warning: the time zone TZ=\"Mars/Olympus\" is not known"), "{}", said(&output));
    let report: Value = serde_json::from_slice(&check(&["--json"]).stdout).expect("one JSON object");
    assert!(report["warnings"][0].as_str().is_some_and(|said| said.contains("go by UTC")), "{report}");
    let config = Config::new(&scratch).replay("gate", &fixture("people.mp4"));
    let mut daemon = Daemon::start_in(&scratch, config, "TZ=Mars/Olympus");
    assert!(daemon.log().contains("go by UTC until it is mended"), "{}", daemon.log());
    assert!(daemon.terminate().success());
}
