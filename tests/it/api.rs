//! The API as programs use it that others wrote: what it says of itself is valid, and it keeps to that.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::access::{command_line, user};
use crate::harness::clips::assert_sound;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::dice::Dice;
use crate::harness::process::run;
use crate::harness::{Scratch, fixture, installed, repository, seconds, setting};

/// Runs a command in a folder of its own, and gives all that it printed.
fn run_in(scratch: &Scratch, mut command: Command) -> (Output, String) {
    let output = command.current_dir(scratch.path("")).output().expect("run the command");
    let text = [&output.stdout, &output.stderr].map(|text| String::from_utf8_lossy(text).into_owned()).concat();
    (output, text)
}

/// Works with: system | OpenAPI 3.1 | openapi-spec-validator accepts the document, and schemathesis finds no answer that differs from it, for each kind of caller
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

    // As much as one caller alone would be given is shared out.
    let (examples, seed) = (setting("OUTPOST_API_EXAMPLES", 10), Dice::new().below(1 << 30));
    let share = (examples / 6).max(1);
    let exploration = Exploration { scratch: &scratch, document: &document, page: daemon.page(), seed };
    exploration.explore("the box itself, without users", None, share * 2, &["examples", "coverage", "fuzzing"]);
    // The borders of each parameter are the same for all; longer runs look whether the answers are too.
    let phases: &[&str] = if examples > 10 { &["examples", "coverage", "fuzzing"] } else { &["examples", "fuzzing"] };
    for (who, header) in callers(&scratch, &daemon) {
        exploration.explore(who, header.as_deref(), share, phases);
    }
    assert_eq!(daemon.get("/readyz").expect("an answer").status, 200);
}

/// Adds users, and gives the header of each kind of caller.
fn callers(scratch: &Scratch, daemon: &Daemon) -> Vec<(&'static str, Option<String>)> {
    let mut callers = vec![("no one", None)];
    // The first user is an admin.
    for role in ["admin", "operator", "viewer"] {
        let (added, text) = user(scratch, &["add", role, "--role", role], "correct horse battery\n");
        assert!(added, "{text}");
        let login = json!({ "name": role, "password": "correct horse battery" });
        callers.push((role, Some(format!("Cookie: outpost_session={}", session(daemon, &login)))));
    }
    let (added, text) = command_line(scratch, "key", &["add", "a program", "--role", "operator"], "");
    let key = text.split_whitespace().find(|word| word.starts_with("outpost_key_"));
    assert!(added && key.is_some(), "{text}");
    callers.push(("a key", key.map(|key| format!("Authorization: Bearer {key}"))));
    callers
}

/// The token of a fresh login.
fn session(daemon: &Daemon, login: &Value) -> String {
    let mut ask = Command::new("curl");
    ask.args(["--silent", "--include", "--json", &login.to_string()]).arg(format!("{}api/v1/login", daemon.page()));
    let answer = run(&mut ask);
    let (_, rest) = answer.split_once("outpost_session=").unwrap_or_else(|| panic!("no session: {answer}"));
    rest.split(';').next().unwrap_or_default().to_owned()
}

/// Not explored, beside what the comment at its use says: bytes of uploads, which schemathesis cannot make, and inference,
/// which a box with much to do refuses.
const EXCLUDED: &str = "^/api/v1/(stream|log/stream|executions/events|setup|login|logout|users|uploads.*|models/.*/(speed|detections)|cameras/.*/live.*)$";

/// What all runs of schemathesis have in common.
struct Exploration<'a> {
    scratch: &'a Scratch,
    document: &'a Path,
    page: String,
    seed: usize,
}

impl Exploration<'_> {
    /// Tries each route as a caller who shows `header`: no answer may differ from the document, and none be a failure.
    fn explore(&self, who: &str, header: Option<&str>, examples: u64, phases: &[&str]) {
        let mut explore = Command::new(installed("api/bin/schemathesis"));
        explore.args(["--no-color", "run"]).arg(self.document).arg("--url").arg(&self.page);
        explore.args(["--seed", &self.seed.to_string(), "--max-examples", &examples.to_string()]);
        explore.args(["--phases", &phases.join(","), "--suppress-health-check", "all"]);
        explore.args(["--generation-database", "none", "--request-timeout", "100", "--continue-on-failure"]);
        if let Some(header) = header {
            explore.args(["--header", header]);
        }
        let checks = [
            "not_a_server_error",
            "status_code_conformance",
            "content_type_conformance",
            "response_headers_conformance",
            "response_schema_conformance",
        ];
        explore.args(["--checks", &checks.join(",")]);
        // Streams do not end; the first user ends that the box itself needs no login; a login takes a while; and a caller
        // that logs out is none any more.
        explore.args(["--exclude-path-regex", EXCLUDED]);
        let begun = std::time::Instant::now();
        let (output, text) = run_in(self.scratch, explore);
        assert!(output.status.success(), "{who}, seed {}\n{text}", self.seed);
        println!("{who}: {:?}\n{text}", begun.elapsed());
    }
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
