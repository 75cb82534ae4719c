//! The file that people send for help: it has what is wrong, and no secret.

use std::process::Command;

use serde_json::{Value, json};

use crate::access::{command_line, user};
use crate::harness::broker;
use crate::harness::bucket;
use crate::harness::clips::Lamp;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::run;
use crate::harness::{Scratch, seconds, wait_until};

/// Nothing listens there.
const NOWHERE: &str = "127.0.0.1:9";
const CAMERA: &str = "camera-secret-4711";
const HOOK: &str = "hook-secret-4712";
const USER: &str = "purple staircase 4713";

/// A box with a secret of every kind, whose far ends are all away.
fn with_secrets(scratch: &Scratch) -> Config<'_> {
    let hook = scratch.secret("hook.secret", HOOK);
    let camera = scratch.secret("yard.password", CAMERA).display().to_string();
    let (broker, bucket) =
        (scratch.secret("mqtt.password", broker::PASSWORD).display().to_string(), format!("http://{NOWHERE}"));
    let mut config = Config::new(scratch).uploads_through(&bucket).lamp("gate", Lamp::Blinking);
    config = config.posts_to("ops", &format!("http://{NOWHERE}/{HOOK}"), &hook);
    config.add(&format!("[mqtt]\nurl = \"mqtt://{NOWHERE}\"\nusername = \"box\"\npassword_file = \"{broker}\""));
    config.add(&format!(
        "[camera.yard.source]\nurl = \"rtsp://{NOWHERE}/yard\"\nusername = \"viewer\"\npassword_file = \"{camera}\""
    ));
    config
}

fn diagnostics(daemon: &Daemon, key: &str) -> String {
    let url = format!("{}api/v1/diagnostics", daemon.page());
    let key = format!("Authorization: Bearer {key}");
    run(Command::new("curl").args(["-s", "--fail", "-H", &key, &url]))
}

#[test]
fn the_diagnostics_name_what_is_wrong_and_hold_no_secret() {
    let scratch = Scratch::new("diagnostics");
    scratch.expect_log(&[
        "offline",
        "unreachable",
        "cannot be reached",
        "delivered",
        "connect",
        "camera",
        "alerts wait",
    ]);
    let mut daemon = Daemon::start(&scratch, with_secrets(&scratch));
    let setup = daemon.log().split("#setup=").nth(1).and_then(|rest| rest.split_whitespace().next()).map(str::to_owned);
    let setup = setup.expect("the set-up link");
    daemon.wait_for_ended(1, seconds(90));
    wait_until("all far ends to be missed", seconds(60), || {
        let status = daemon.json("/api/v1/status");
        let is_offline = |outlet: &Value| outlet["error"].is_string() || outlet["last_error"].is_string();
        status["outlets"].as_array().is_some_and(|outlets| outlets.len() >= 3 && outlets.iter().all(is_offline))
    });
    // As the box itself, before there is a user.
    let first = daemon.get("/api/v1/diagnostics").expect("an answer");
    assert_eq!(first.status, 200);
    let first = String::from_utf8_lossy(&first.body).into_owned();

    let password = format!("{USER}\n");
    let (added, why) = user(&scratch, &["add", "anna", "--role", "admin"], &password);
    assert!(added, "{why}");
    let (body, url) =
        (json!({ "name": "anna", "password": USER }).to_string(), format!("{}api/v1/login", daemon.page()));
    let login = run(Command::new("curl").args(["-si", "-H", "Content-Type: application/json", "-d", &body, &url]));
    let session = login.split("outpost_session=").nth(1).and_then(|rest| rest.split(';').next()).expect("a cookie");
    let (made, key) = command_line(&scratch, "key", &["add", "a program", "--role", "admin"], "");
    assert!(made, "{key}");
    let later = diagnostics(&daemon, key.trim());
    // `outpost_key_<id>_<token>`; a token may hold `_` itself.
    let token = key.trim().splitn(4, '_').nth(3).expect("a token");
    let secrets = [CAMERA, HOOK, USER, broker::PASSWORD, bucket::SECRET_KEY, session, key.trim(), token, &setup];
    for text in [&first, &later] {
        for secret in secrets {
            assert!(secret.len() > 5 && !text.contains(secret), "{secret:?} is in {text}");
        }
        let read: Value = serde_json::from_str(text).expect("JSON");
        for part in ["concerns", "parts", "log"] {
            assert!(read[part].as_array().is_some_and(|list| !list.is_empty()), "{part}");
        }
        assert!(text.contains("yard") && text.contains("upload/cloud") && text.contains("no users yet"));
    }
    assert!(daemon.terminate().success());
}
