//! The package on a machine of its own: what an operator does, and what systemd does for him.

use std::path::Path;

use serde_json::Value;

use crate::harness::broker::{self, Broker, Subscriber};
use crate::harness::clips::assert_sound;
use crate::harness::config::with_rules;
use crate::harness::machine::{Machine, SHARED, package};
use crate::harness::{Scratch, fixture, http, port, seconds, wait_for, wait_until};

const UNIT: &str = "outpost";
const CONFIG: &str = "/etc/outpost/outpost.toml";

/// A machine, and the folder that it shares with the test: packages, and a clip to play.
fn boot(scratch: &Scratch) -> (Machine, std::path::PathBuf) {
    let shared = scratch.path("shared");
    std::fs::create_dir(&shared).expect("make the shared folder");
    std::fs::copy(fixture("people.mp4"), shared.join("people.mp4")).expect("share a clip");
    (Machine::boot(scratch, &shared), shared)
}

/// One camera that plays the clip, a page, a cloud that is a folder.
fn config(port: u16) -> String {
    with_rules(&format!(
        "[device]\nid = \"box1\"\n[web]\nlisten = \"127.0.0.1:{port}\"\n\
         [archive]\ntime_hold = \"0s\"\n\
         [storage]\npath = \"/var/lib/outpost/box\"\n[upload.cloud]\nurl = \"file:///var/lib/outpost/cloud\"\n\
         [camera.gate.source]\nurl = \"replay:{SHARED}/people.mp4\"\nrepeat = true\n\
         [camera.gate.detect]\nlabels = [\"person\"]\n\
         [camera.gate.record]\npre_roll = \"1s\"\npost_roll = \"1s\"\n"
    ))
}

/// What an operator adds to the unit.
fn drop_in(machine: &Machine, lines: &str) {
    machine.write("/etc/systemd/system/outpost.service.d/site.conf", &format!("[Service]\n{lines}\n"));
    machine.run(&["systemctl", "daemon-reload"]);
}

fn install(machine: &Machine, package: &str) -> String {
    machine.run(&["dpkg", "--force-confold", "--install", &format!("{SHARED}/{package}")])
}

fn wait_healthy(port: u16) {
    wait_for("the page to say that all is well", seconds(60), || {
        let answer = http::get(port, "/healthz")?;
        if answer.status == 200 { Ok(()) } else { Err(format!("status {}", answer.status)) }
    });
}

fn json(port: u16, path: &str) -> Value {
    let answer = http::get(port, &format!("/api/v1/{path}")).expect("an answer");
    serde_json::from_slice(&answer.body).expect("JSON")
}

/// Folders of the events whose clip is in the cloud.
fn delivered(machine: &Machine) -> Vec<String> {
    let (_, found) = machine.attempt(&["find", "/var/lib/outpost/cloud", "-name", "clip.mp4"]);
    found.lines().filter_map(|line| line.strip_suffix("/clip.mp4")).map(str::to_owned).collect()
}

fn files(machine: &Machine, folder: &str) -> Vec<String> {
    let found = machine.run(&["find", folder, "-type", "f"]);
    let mut files: Vec<String> = found.lines().map(str::to_owned).collect();
    files.sort();
    files
}

#[test]
fn the_installed_service_records_delivers_survives_an_upgrade_and_leaves_its_archive() {
    let scratch = Scratch::new("service");
    let (machine, shared) = boot(&scratch);
    let (old, new) = (package(&shared, "0.0.1-1"), package(&shared, "9.0.0-1"));
    let port = port::free();
    machine.write(CONFIG, &format!("[web]\nlisten = \"127.0.0.1:{port}\"\n"));
    machine.run(&["chmod", "644", CONFIG]);
    let said = install(&machine, &old);
    // Without a camera it runs already, so that the first one can be added on the page.
    assert!(said.contains("runs without a camera yet"), "{said}");
    assert_eq!(machine.attempt(&["systemctl", "is-enabled", UNIT]), (true, "enabled\n".to_owned()));
    assert_eq!(machine.property(UNIT, "ActiveState"), "active");
    wait_healthy(port);

    // A broker that wants a password, which only root may read.
    let broker = Broker::start(&scratch);
    let subscriber = Subscriber::start(&scratch, &broker, "outpost/#");
    machine.write("/etc/outpost/secrets/broker", broker::PASSWORD);
    let reads = ["runuser", "-u", "outpost", "--", "cat", "/etc/outpost/secrets/broker"];
    assert!(!machine.attempt(&reads).0, "the service's user can read the secrets of root");
    drop_in(&machine, "LoadCredential=broker:/etc/outpost/secrets/broker\nTimeoutStopSec=20");
    let edited = config(port)
        + &format!(
            "[mqtt]\nurl = \"{}\"\nusername = \"{}\"\npassword_file = \"/run/credentials/outpost.service/broker\"\n",
            broker.url(),
            broker::USER
        );
    let path = machine.path(CONFIG);
    std::fs::write(&path, &edited).expect("edit the configuration");
    // This returns when the daemon has said that it is ready.
    machine.run(&["systemctl", "restart", UNIT]);
    let state = ["Type", "ActiveState", "StatusText"].map(|name| machine.property(UNIT, name));
    assert_eq!(state, ["notify", "active", "1 cameras"]);
    wait_healthy(port);

    let folder = wait_for("a delivered clip", seconds(90), || delivered(&machine).pop().ok_or("none".to_owned()));
    assert_sound(&machine.path(&format!("{folder}/clip.mp4")));
    wait_until("an alert", seconds(30), || !subscriber.events("end").is_empty());
    assert_eq!(machine.run(&["stat", "--format=%U %a", "/var/lib/outpost"]), "outpost 750");
    assert_journal(&machine);
    assert_sandbox(&machine);

    let before = machine.property(UNIT, "MainPID");
    install(&machine, &new);
    wait_healthy(port);
    assert_eq!(machine.property(UNIT, "ActiveState"), "active");
    assert_ne!(machine.property(UNIT, "MainPID"), before, "the old program still runs");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), edited, "the upgrade changed the configuration");
    let id = folder.rsplit('/').next().expect("an id");
    let answer = http::get(port, &format!("/api/v1/events/{id}")).expect("an answer");
    assert_eq!(answer.status, 200, "the upgraded daemon does not know event {id}");

    machine.run(&["systemctl", "stop", UNIT]);
    // A stop that takes longer than TimeoutStopSec is no success.
    let outcome = ["ActiveState", "Result", "ExecMainStatus", "NRestarts"].map(|name| machine.property(UNIT, name));
    assert_eq!(outcome, ["inactive", "success", "0", "0"]);
    let archive = files(&machine, "/var/lib/outpost/box/archive");
    assert!(archive.iter().any(|file| file.contains(id)), "{archive:?}");
    machine.run(&["rm", "-r", "/etc/outpost/secrets/broker", "/etc/systemd/system/outpost.service.d"]);
    machine.run(&["dpkg", "--purge", UNIT]);
    assert_eq!(files(&machine, "/var/lib/outpost/box/archive"), archive, "a purge touched the recordings");
    assert!(!machine.path("/etc/outpost").exists());
    assert_eq!(machine.property(UNIT, "LoadState"), "not-found");
    let links = machine.attempt(&["find", "/etc/systemd", "/var/lib/systemd", "-name", "outpost*"]);
    assert_eq!(links, (true, String::new()));
}

/// The journal has what an operator filters by, and no error.
fn assert_journal(machine: &Machine) {
    let journal = machine.journal(UNIT);
    let message = |entry: &Value| entry["MESSAGE"].as_str().unwrap_or_default().to_owned();
    let started: Vec<&Value> = journal.iter().filter(|entry| message(entry).starts_with("event started")).collect();
    assert!(!started.is_empty(), "no event in the journal: {journal:?}");
    for entry in started {
        let fields = ["F_CAMERA", "F_LABEL", "PRIORITY", "SYSLOG_IDENTIFIER", "_TRANSPORT"].map(|name| &entry[name]);
        assert_eq!(fields, ["gate", "person", "5", "outpost", "journal"], "{entry}");
        // What journalctl shows without being asked for more.
        assert!(message(entry).contains(" camera=gate") && message(entry).contains(" label=person"), "{entry}");
    }
    let warning_or_worse = |entry: &&Value| entry["PRIORITY"].as_str().is_none_or(|priority| priority <= "4");
    let errors: Vec<&Value> = journal.iter().filter(warning_or_worse).collect();
    assert!(errors.is_empty(), "{errors:?}");
}

/// The running service can write its state and nothing else.
fn assert_sandbox(machine: &Machine) {
    let pid = machine.property(UNIT, "MainPID");
    let status = machine.run(&["cat", &format!("/proc/{pid}/status")]);
    for line in ["CapEff:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"] {
        assert!(status.contains(line), "no {line:?} in {status}");
    }
    // Root in the service's view of the file system: what it cannot write, nothing there can.
    let touch = |path: &str| machine.attempt(&["nsenter", "--target", &pid, "--mount", "--", "touch", path]);
    let (written, said) = touch("/var/lib/outpost/probe");
    assert!(written, "{said}");
    for path in ["/usr/probe", "/etc/outpost/probe", "/var/lib/probe", "/home/probe"] {
        let (written, said) = touch(path);
        assert!(!written, "{path} can be written");
        assert!(said.contains("Read-only") || said.contains("Permission denied"), "{path}: {said}");
    }
    let (_, judged) = machine.attempt(&["systemd-analyze", "security", "--no-pager", "outpost.service"]);
    println!("{}", judged.lines().last().unwrap_or_default());
    // In tenths; above this something was opened that had been closed.
    let (below, _) =
        machine.attempt(&["systemd-analyze", "security", "--no-pager", "--threshold=25", "outpost.service"]);
    assert!(below, "{judged}");
}

#[test]
fn a_frozen_daemon_is_started_again_and_one_that_is_configured_wrongly_is_not() {
    let scratch = Scratch::new("watchdog");
    let (machine, shared) = boot(&scratch);
    let package = package(&shared, "1.0.0-1");
    // A box that is set up by a script has its configuration before it has the package.
    let port = port::free();
    machine.run(&["install", "-d", Path::new(CONFIG).parent().and_then(Path::to_str).expect("a folder")]);
    std::fs::write(machine.path(CONFIG), config(port)).expect("write the configuration");
    drop_in(&machine, "WatchdogSec=3");
    install(&machine, &package);
    assert_eq!(machine.property(UNIT, "ActiveState"), "active", "it was not started");
    wait_healthy(port);

    // Fed more than once, so that it is the freeze that ends it.
    let number = |name: &str| machine.property(UNIT, name).parse::<u64>().expect("a number");
    let ready = number("ActiveEnterTimestampMonotonic");
    wait_until("the watchdog to be fed", seconds(60), || number("WatchdogTimestampMonotonic") > ready + 3_000_000);
    assert_eq!(machine.property(UNIT, "NRestarts"), "0");
    let frozen = machine.property(UNIT, "MainPID");
    machine.run(&["systemctl", "kill", "--kill-who=main", "--signal=STOP", UNIT]);
    machine.wait_for_property(UNIT, "NRestarts", |value| value == "1");
    machine.wait_for_property(UNIT, "ActiveState", |value| value == "active");
    assert_ne!(machine.property(UNIT, "MainPID"), frozen);
    wait_healthy(port);
    let reported = machine.run(&["journalctl", "--no-pager", "--output=cat", "UNIT=outpost.service"]);
    assert!(reported.contains("Failed with result 'watchdog'"), "{reported}");

    // A change while it records; then a typing error, which costs neither the recording nor a start.
    let pid = machine.property(UNIT, "MainPID");
    std::fs::write(machine.path(CONFIG), config(port) + "[retention]\nmax_bytes = \"1 GiB\"\n").expect("edit it");
    machine.run(&["systemctl", "reload", UNIT]);
    assert_eq!(json(port, "status")["disk"]["quota_bytes"], 1 << 30);
    let line = config(port).lines().count() + 1;
    let wrong = config(port) + "[camera.gate.detekt]\n";
    std::fs::write(machine.path(CONFIG), wrong).expect("write the configuration");
    assert!(!machine.attempt(&["systemctl", "reload", UNIT]).0, "a wrong file was not refused");
    assert_eq!(["MainPID", "ActiveState"].map(|name| machine.property(UNIT, name)), [pid, "active".to_owned()]);
    machine.run(&["systemctl", "restart", UNIT]);
    assert_eq!(machine.property(UNIT, "ActiveState"), "active");
    wait_healthy(port);
    assert_eq!(json(port, "config")["state"], "last_good");

    // Where none was good before: said where people look for it, and not tried again and again.
    machine.run(&["rm", "/var/lib/outpost/last-good.toml"]);
    machine.attempt(&["systemctl", "restart", UNIT]);
    machine.wait_for_property(UNIT, "ActiveState", |value| value == "failed");
    let outcome = ["Result", "ExecMainStatus", "NRestarts"].map(|name| machine.property(UNIT, name));
    assert_eq!(outcome, ["exit-code", "78", "0"]);
    let journal = machine.journal(UNIT);
    let reason = journal.last().expect("a reason");
    let message = reason["MESSAGE"].as_str().unwrap_or_default();
    assert!(message.contains(&format!("{CONFIG}:{line}:")) && message.contains("detekt"), "{reason}");
    assert_eq!(reason["PRIORITY"], "3", "{reason}");

    // What an operator switched off stays off.
    machine.run(&["systemctl", "disable", UNIT]);
    install(&machine, &package);
    assert_eq!(machine.attempt(&["systemctl", "is-enabled", UNIT]), (false, "disabled\n".to_owned()));
    assert_eq!(machine.property(UNIT, "ActiveState"), "failed");
}
