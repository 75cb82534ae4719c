//! The command line, as scripts and systemd see it: answers on standard output, exit codes that mean something.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, PROGRAM, outpost};
use crate::harness::process::Process;
use crate::harness::{Scratch, fixture, http, port, repository, seconds, wait_until};

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs a command whose standard output leads to `output`; gives the exit code and what it said on standard error.
fn to(output: impl Into<Stdio>, arguments: &[String]) -> (Option<i32>, String) {
    let output = Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).stdout(output).output().expect("run");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn commands_end_quietly_where_their_output_is_full_or_has_no_reader() {
    let scratch = Scratch::new("output");
    let write = |name: &str, text: &str| {
        std::fs::write(scratch.path(name), text).expect("write");
        scratch.path(name).display().to_string()
    };
    let good = write("good.toml", &with_models(&scratch, ""));
    let bad = write("bad.toml", "[web]\nlisten = 7\n");
    let (clip, snapshot) = (fixture("people.mp4").display().to_string(), scratch.path("s.jpg").display().to_string());
    let box_folder = scratch.path("box");
    std::fs::create_dir_all(&box_folder).expect("create");
    let (box_folder, models) = (box_folder.display().to_string(), repository().join("models").display().to_string());
    // The exit code without a reader: that of the result.
    let cases: [(&[&str], i32); 9] = [
        (&["check", "--config", &good], 0),
        (&["check", "--json", "--config", &good], 0),
        (&["check", "--json", "--config", &bad], 78),
        (&["probe", &clip, "--snapshot", &snapshot], 0),
        (&["store", "check", "--dir", &box_folder], 1),
        (&["store", "rebuild", "--dir", &box_folder], 0),
        (&["store", "stats", "--dir", &box_folder], 0),
        (&["detect", &snapshot, "--model-dir", &models], 0),
        (&["--help"], 0),
    ];
    for (arguments, code) in cases {
        let arguments: Vec<String> = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let unread = to(writer, &arguments);
        assert_eq!(unread.0, Some(code), "{arguments:?}: {unread:?}");
        let full = to(std::fs::File::create("/dev/full").expect("open"), &arguments);
        assert_eq!(full.0, Some(if code == 0 { 1 } else { code }), "{arguments:?}: {full:?}");
        for (_, said) in [unread, full] {
            assert!(!said.contains("panicked") && !said.contains("backtrace"), "{arguments:?}: {said}");
        }
    }
    assert!(scratch.path("s.jpg").exists(), "the snapshot is made all the same");
    let mut mute = Command::new(PROGRAM);
    mute.args(["check", "--config", &bad]).stdout(Stdio::null());
    let code = mute.stderr(std::fs::File::create("/dev/full").expect("open")).status().expect("run").code();
    assert_eq!(code, Some(78), "where the reason cannot be said either");
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
fn check_finds_what_a_start_would_stumble_over_all_at_once_with_its_place() {
    let scratch = Scratch::new("preflight");
    std::fs::write(scratch.path("short"), "abc\n").expect("write");
    let (short, inside) = (scratch.path("short"), scratch.path("box/copies"));
    let lines = format!(
        "[[camera.gate.rules]]\nname = \"x\"\nwhen = \"object\"\nlabels = [\"persn\"]\n\
         [camera.file.source]\nurl = \"replay:/no/clip.mp4\"\n\
         [camera.gate.zones.z]\npoints = [[0.1, 0.1, 0.5], [0.9, 0.1], [0.9, 0.9]]\n\
         [mqtt]\nusername = \"u\"\npassword_file = \"/no/password\"\n\
         [webhook.office]\nurl = \"https://h/x\"\nsecret_file = \"{}\"\n\
         [upload.usb]\nurl = \"file://{}\"\n[retention]\nmax_bytes = 1\n",
        short.display(),
        inside.display()
    );
    let (code, said) = check(&with_models(&scratch, &lines));
    assert_eq!(code, Some(78), "{said}");
    for expected in [
        ":12:1: camera.gate.rules.0.labels: model nanodet-g-320 knows no label \"persn\"; did you mean \"person\"?",
        ":14:1: camera.file.source.url: /no/clip.mp4 does not exist",
        ":16:",
        "camera.gate.zones.z.points: a list of 3 is not allowed here",
        ":17:2: mqtt: url is empty",
        ":22:1: webhook.office.secret_file: secret_file",
        "holds 3 bytes; at least 16 are needed",
        ":24:1: upload.usb.url: ",
        "lies within storage.path",
        ":26:1: retention.max_bytes: max_bytes is 1",
    ] {
        assert!(said.contains(expected), "{expected} is missing in: {said}");
    }
}

/// Starts a box whose storage lies in `folder`, by way of the command `by`, which is not usable because of `reason`, sees what it
/// says of that, and then that it is ready once `mend` was called.
fn serves_health_without_storage(scratch: &Scratch, folder: &Path, by: &[&str], reason: &str, mend: &dyn Fn()) {
    scratch.expect_log(&["the store cannot be opened"]);
    let (config, port) = (scratch.path("outpost.toml"), port::free());
    let text = format!(
        "[storage]\npath = \"{}/box\"\n[web]\nlisten = \"127.0.0.1:{port}\"\nsocket = \"{}\"\n",
        folder.display(),
        scratch.path("api.sock").display()
    );
    std::fs::write(&config, text).expect("write");
    let run = [PROGRAM.as_ref(), "run".as_ref(), "--config".as_ref(), config.as_os_str()];
    let line: Vec<&OsStr> = by.iter().map(OsStr::new).chain(run).collect();
    let (program, arguments) = line.split_first().expect("a program");
    let daemon = Process::start("outpost", program, arguments, scratch.path("outpost.log"));
    let ask = |path: &str| {
        http::get(port, path).map(|answer| (answer.status, String::from_utf8_lossy(&answer.body).into_owned()))
    };
    wait_until("the port to answer", seconds(60), || ask("/healthz").is_ok_and(|(status, _)| status == 200));
    let (status, said) = ask("/readyz").expect("an answer");
    assert_eq!(status, 503, "{said}");
    assert!(said.contains(reason), "{said}");
    let (status, said) = ask("/api/v1/status").expect("an answer");
    assert!(status == 503 && said.contains("\"code\":\"volume_away\""), "{status} {said}");
    let output = outpost(&["status".as_ref(), "--config".as_ref(), config.as_os_str()]);
    assert_eq!(output.status.code(), Some(1));
    let said = crate::cli::said(&output);
    assert!(said.contains("nothing is recorded: ") && said.contains(reason), "{said}");
    mend();
    wait_until("the box to be ready", seconds(120), || ask("/readyz").is_ok_and(|(status, _)| status == 200));
    assert!(daemon.log().contains("the store cannot be opened"));
}

#[test]
fn a_box_without_storage_serves_health_and_says_why_until_there_is_one() {
    let scratch = Scratch::new("no-storage");
    let file = scratch.path("file");
    std::fs::write(&file, "in the way").expect("write");
    let mend = || std::fs::remove_file(&file).expect("remove");
    serves_health_without_storage(&scratch, &file, &[], "which is no folder: name another one", &mend);
}

#[test]
fn a_box_that_may_not_write_its_storage_serves_health_and_says_so_until_it_may() {
    let scratch = Scratch::new("storage-denied");
    let folder = scratch.path("locked");
    std::fs::create_dir(&folder).expect("make a folder");
    let set = |mode| std::fs::set_permissions(&folder, Permissions::from_mode(mode)).expect("set the mode");
    set(0o500);
    // Root without the right to go round permissions.
    let by = ["setpriv", "--bounding-set=-dac_override,-dac_read_search"];
    serves_health_without_storage(&scratch, &folder, &by, "ermission denied", &|| set(0o700));
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
