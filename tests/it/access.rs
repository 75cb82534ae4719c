//! Users, as people meet them: the first set-up, logins, second factors, users of some cameras, in a real browser.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::harness::clips::Lamp;
use crate::harness::config::Config;
use crate::harness::daemon::{Daemon, outpost};
use crate::harness::process::run;
use crate::harness::{Scratch, installed, repository, seconds, wait_for};

/// The link in the daemon's log that adds the first user.
fn setup_link(daemon: &Daemon) -> String {
    wait_for("the set-up link", seconds(30), || {
        let log = daemon.log();
        let link = log.split("link=").nth(1).and_then(|rest| rest.split_whitespace().next());
        link.map(|link| link.trim_matches('"').to_owned()).ok_or(log)
    })
}

/// What tests/browser/access.mjs saw. `OUTPOST_SCREENSHOTS` names a folder for pictures of the pages.
fn set_up_in_a_browser(link: &str) -> Value {
    let script = repository().join("tests/browser/access.mjs");
    let modules = installed("node/node_modules");
    let text = run(Command::new("node").arg(script).arg(link).env("OUTPOST_NODE_MODULES", modules));
    serde_json::from_str(&text).expect("the browser's report")
}

#[test]
fn a_box_is_set_up_and_used_by_its_users_in_a_browser() {
    let scratch = Scratch::new("access");
    let config = Config::new(&scratch).copies_to(&scratch.path("cloud")).lamp("gate", Lamp::Blinking);
    let mut daemon = Daemon::start(&scratch, config);
    daemon.wait_for_ended(1, seconds(90));
    let seen = set_up_in_a_browser(&setup_link(&daemon));
    assert_eq!(seen["errors"], json!([]), "on the console");
    let violations: BTreeMap<String, Vec<String>> = serde_json::from_value(seen["violations"].clone()).expect("lists");
    assert!(violations.len() >= 10 && violations.values().all(Vec::is_empty), "axe: {violations:#?}");
    let shifts: BTreeMap<String, f64> = serde_json::from_value(seen["shifts"].clone()).expect("numbers");
    assert!(shifts.len() >= 10 && shifts.values().all(|shift| *shift < 0.1), "layout shifts: {shifts:?}");
    let page = daemon.page();
    let requests: Vec<&str> = seen["requests"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let is_ours = |url: &&str| url.starts_with(&page) || url.starts_with("data:") || url.starts_with("blob:");
    assert!(requests.iter().all(is_ours), "{requests:?}");
    let cookie = json!([{ "name": "outpost_session", "httpOnly": true, "sameSite": "Strict" }]);
    let steps = &seen["steps"];
    assert_eq!((&steps["cookie"], &steps["recovery"], &steps["key"]), (&cookie, &json!(10), &json!(200)));
    assert_eq!(
        (&steps["viewerMayPause"], &steps["viewerMayEdit"], &steps["adminMayPause"]),
        (&json!(0), &json!(0), &json!(1)),
        "what a viewer may not do is not offered"
    );
    assert_eq!((&steps["secretFits"], &steps["factorOnThePhone"]), (&json!(true), &json!(true)), "{steps}");
    assert_eq!((&steps["ended"], &steps["link"]), (&json!(true), &json!(403)));
    assert_eq!(steps["japanese"], "ユーザーとキー");
    assert!(steps["wrong"].as_str().is_some_and(|text| text.contains("name or the password is wrong")), "{steps}");

    // What was set up holds after a kill, and secrets are neither in the log nor readable by others.
    daemon.crash_and_restart();
    let answer = daemon.get("/api/v1/events").expect("an answer");
    assert_eq!(answer.status, 401, "events without a login");
    assert!(!daemon.log().contains("correct horse") && !daemon.log().contains("outpost_key_"));
    let folder = access_folder(&scratch);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&folder).expect("folder").permissions());
    assert_eq!(mode & 0o077, 0, "{}", folder.display());
    assert!(daemon.terminate().success());
}

fn access_folder(scratch: &Scratch) -> std::path::PathBuf {
    let folder = scratch.path("box/access");
    assert!(Path::new(&folder).join("users.json").exists(), "{}", folder.display());
    folder
}

/// Runs `outpost user` on the box of `scratch`, with `input` on standard input. Gives whether it went well, and what it printed.
pub fn user(scratch: &Scratch, arguments: &[&str], input: &str) -> (bool, String) {
    command_line(scratch, "user", arguments, input)
}

pub fn command_line(scratch: &Scratch, name: &str, arguments: &[&str], input: &str) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outpost"));
    command.arg(name).args(arguments).arg("--config").arg(scratch.path("outpost.toml"));
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run outpost user");
    // A command that is refused before it reads leaves a closed pipe.
    let _ = child.stdin.take().expect("a pipe").write_all(input.as_bytes());
    let output = child.wait_with_output().expect("its output");
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    (output.status.success(), text)
}

#[test]
fn users_are_added_on_the_box_and_the_command_line_needs_no_login() {
    let scratch = Scratch::new("users");
    let mut daemon = Daemon::start(&scratch, Config::new(&scratch).lamp("gate", Lamp::Blinking));
    let password = "correct horse battery\n";
    assert_eq!(user(&scratch, &["list"], "").1.lines().next().map(|line| line.contains("no user yet")), Some(true));
    let (done, text) = user(&scratch, &["add", "vera"], password);
    assert!(!done && text.contains("the first user has to be an admin"), "{text}");
    let (done, text) = user(&scratch, &["add", "anna", "--role", "admin"], "short\n");
    assert!(!done && text.contains("at least 10"), "{text}");
    let (done, text) = user(&scratch, &["add", "anna", "--role", "admin"], password);
    assert!(done && text.contains("anna may log in now"), "{text}");
    assert!(user(&scratch, &["add", "vera", "--camera", "gate"], password).0);
    let (_, text) = user(&scratch, &["list"], "");
    let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines, [vec!["anna", "admin", "all", "cameras"], vec!["vera", "viewer", "gate"]]);
    assert_eq!(daemon.get("/api/v1/status").expect("an answer").status, 401, "by the page a login is needed");
    let status = outpost(&["status", "--json", "--config", scratch.path("outpost.toml").to_str().expect("a path")]);
    assert!(status.status.success(), "{}", String::from_utf8_lossy(&status.stderr));

    let log_in = |name: &str, password: &str| {
        let body = json!({ "name": name, "password": password });
        daemon.post("/api/v1/login", &body).expect("an answer").status
    };
    assert_eq!(log_in("vera", "correct horse battery"), 200);
    assert!(user(&scratch, &["set", "vera", "--password"], "purple goat staircase\n").0);
    assert_eq!((log_in("vera", "correct horse battery"), log_in("vera", "purple goat staircase")), (401, 200));
    let key = |arguments: &[&str]| {
        let (done, text) = command_line(&scratch, "key", arguments, "");
        assert!(done, "{text}");
        text
    };
    let made = key(&["add", "a program", "--role", "operator", "--days", "30"]);
    let authorization = format!("Authorization: Bearer {}", made.trim());
    let me = run(Command::new("curl").args(["-s", "-H", &authorization, &format!("{}api/v1/me", daemon.page())]));
    assert!(me.contains(r#""role":"operator""#), "{me}");
    let listed = key(&["list"]);
    assert!(listed.contains("operator  a program, all cameras, last used"), "{listed}");
    key(&["remove", listed.split(' ').next().expect("an id")]);
    assert!(key(&["list"]).contains("no key yet"));
    assert!(user(&scratch, &["set", "vera", "--disable"], "").0);
    assert_eq!(log_in("vera", "purple goat staircase"), 401);
    let (done, text) = user(&scratch, &["remove", "anna"], "");
    assert!(!done && text.contains("last admin"), "{text}");
    assert!(user(&scratch, &["remove", "vera"], "").0);
    assert!(daemon.terminate().success());
    let (done, text) = user(&scratch, &["add", "eve"], password);
    assert!(!done && text.contains("local socket"), "{text}");
}
