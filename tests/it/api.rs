//! The API as programs use it that others wrote: what it says of itself is valid, and it keeps to that.

use std::process::{Command, Output};

use serde_json::Value;

use crate::harness::clips::assert_sound;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::dice::Dice;
use crate::harness::{Scratch, fixture, installed, repository, seconds, setting};

/// Runs a command in a folder of its own, and gives all that it printed.
fn run_in(scratch: &Scratch, mut command: Command) -> (Output, String) {
    let output = command.current_dir(scratch.path("")).output().expect("run the command");
    let text = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    (output, text)
}

/// Works with: system | OpenAPI 3.1 | openapi-spec-validator accepts the document, and schemathesis finds no answer that differs from it
#[test]
fn the_document_is_valid_and_the_daemon_keeps_to_it() {
    let scratch = Scratch::new("openapi");
    let config = Config::new(&scratch).replay("gate", &fixture("people.mp4")).copies_to(&scratch.path("cloud"));
    let daemon = Daemon::start(&scratch, config);
    daemon.wait_for_ended(1, seconds(90));

    let document = scratch.path("openapi.json");
    std::fs::write(&document, daemon.get("/api/v1/openapi.json").expect("the document").body).expect("save it");
    let mut validate = Command::new(installed("api/bin/openapi-spec-validator"));
    validate.arg("--schema").arg("3.1").arg(&document);
    let (output, text) = run_in(&scratch, validate);
    assert!(output.status.success(), "{text}");

    let seed = Dice::new().below(1 << 30);
    let mut explore = Command::new(installed("api/bin/schemathesis"));
    explore.args(["--no-color", "run"]).arg(&document).arg("--url").arg(daemon.page());
    explore.args(["--seed", &seed.to_string()]);
    explore.args(["--max-examples", &setting("OUTPOST_API_EXAMPLES", 10).to_string()]);
    explore.args(["--phases", "examples,coverage,fuzzing", "--suppress-health-check", "all"]);
    explore.args(["--generation-database", "none", "--request-timeout", "100", "--continue-on-failure"]);
    let checks = [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_headers_conformance",
        "response_schema_conformance",
    ];
    explore.args(["--checks", &checks.join(",")]);
    // Streams do not end; the first user ends that the box itself needs no login; a login takes a while.
    explore.args(["--exclude-path-regex", "^/api/v1/(stream|setup|login|users|cameras/.*/live.*)$"]);
    let (output, text) = run_in(&scratch, explore);
    assert!(output.status.success(), "seed {seed}\n{text}");
    println!("{text}");
}

/// The client in docs/.
fn client(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = Command::new(installed("api/bin/python"));
    command.arg(repository().join("docs/outpost_client.py")).args(["--url", &daemon.page()]).args(arguments);
    command
}

#[test]
fn the_client_in_the_docs_lists_events_saves_a_clip_and_follows() {
    let scratch = Scratch::new("client");
    let daemon = Daemon::start(&scratch, Config::new(&scratch).replay("gate", &fixture("people.mp4")));
    let ended: Vec<Value> = daemon.wait_for_ended(1, seconds(90));
    let id = ended[0]["id"].as_str().expect("an id");

    let (output, text) = run_in(&scratch, client(&daemon, &["list", "--camera", "gate", "--label", "person"]));
    assert!(output.status.success() && text.lines().any(|line| line.starts_with(id)), "{text}");
    let (output, text) = run_in(&scratch, client(&daemon, &["list", "--camera", "none"]));
    assert!(output.status.success() && text.is_empty(), "{text}");
    let (output, text) = run_in(&scratch, client(&daemon, &["clip", id, "saved.mp4"]));
    assert!(output.status.success(), "{text}");
    assert_sound(&scratch.path("saved.mp4"));
    let (output, text) = run_in(&scratch, client(&daemon, &["clip", "none", "saved.mp4"]));
    assert!(!output.status.success() && text.starts_with("not_found: there is no event"), "{text}");
    let (output, text) = run_in(&scratch, client(&daemon, &["follow", "--count", "2"]));
    let is_change = |line: &str| ["start ", "update ", "end "].iter().any(|name| line.starts_with(name));
    assert!(output.status.success() && text.lines().filter(|line| is_change(line)).count() == 2, "{text}");
}
