//! The same with the whole daemon: it starts, says what it found, and delivers.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use outpost::event::{EventId, EventState};
use serde_json::Value;

use super::damage::{damage, files};
use super::{STARTS, Template};
use crate::harness::daemon::PROGRAM;
use crate::harness::process::Process;
use crate::harness::volume::FaultyDisk;
use crate::harness::{Scratch, fixture, http, port, repository, seconds, wait_for};

/// A daemon that is started again when it ends, as the service manager does.
struct Service {
    port: u16,
    process: Process,
    starts: usize,
    arguments: [PathBuf; 3],
    log: PathBuf,
}

impl Service {
    /// On the archive in `scratch/<name>`, delivering to the folder beside it; `more` configuration at the end.
    fn start(scratch: &Scratch, name: &str, more: &str) -> Self {
        let port = port::free();
        let (folder, cloud) = (scratch.path(name), scratch.path(&format!("{name}-cloud")));
        fs::create_dir_all(&cloud).expect("a folder");
        let config = scratch.path(&format!("{name}.toml"));
        let text = format!(
            "[device]\nid = \"box1\"\n[storage]\npath = \"{}\"\ndeadline = \"4s\"\n[archive]\ntime_hold = \"0s\"\n[web]\nlisten = \"127.0.0.1:{port}\"\n\
             [infer]\nmodel_dir = \"{}\"\n[upload.cloud]\nurl = \"file://{}\"\n{more}",
            folder.display(),
            repository().join("models").display(),
            cloud.display()
        );
        fs::write(&config, text).expect("write the configuration");
        let arguments = ["run".into(), "--config".into(), config];
        let log = scratch.path(&format!("outpost-{name}.log"));
        let process = Process::start("outpost", PROGRAM, &arguments, log.clone());
        Self { port, process, starts: 1, arguments, log }
    }

    fn status(&mut self) -> Result<Value, String> {
        if !self.process.is_running() {
            assert!(self.starts < STARTS, "ended {STARTS} times: {}", self.process.log());
            self.process = Process::start("outpost", PROGRAM, &self.arguments, self.log.clone());
            self.starts += 1;
        }
        let answer = http::get(self.port, "/api/v1/status")?;
        serde_json::from_slice(&answer.body).map_err(|e| e.to_string())
    }

    fn stop(mut self) {
        assert!(self.process.terminate(seconds(30)).success(), "{}", self.process.log());
    }
}

/// `<id>` and file of what lies in the folder that stands for a cloud.
fn delivered(cloud: &Path) -> BTreeSet<(String, String)> {
    let place = |file: PathBuf| {
        let names: Vec<String> = file.iter().map(|name| name.to_string_lossy().into_owned()).collect();
        let [.., id, file] = names.as_slice() else { panic!("{names:?}") };
        (id.clone(), file.clone())
    };
    files(cloud).into_iter().map(place).collect()
}

#[test]
fn the_daemon_starts_on_what_was_torn_and_delivers_what_is_whole() {
    let scratch = Scratch::new("torn-daemon");
    scratch.expect_log(&[
        "camera offline",
        "a file was not delivered, it will be tried again",
        "a sidecar is damaged and was set aside",
        "rewritten from the index",
        "identity is damaged",
    ]);
    let template = Template::record(&scratch);
    for seed in 1..=4 {
        let name = format!("box-{seed}");
        let folder = scratch.path(&name);
        template.copy(&folder);
        let done = damage(&folder, seed);
        let (known, owed) = template.intact(&folder);
        let mut service = Service::start(&scratch, &name, "[camera.gate.source]\nurl = \"rtsp://127.0.0.1:9/\"\n");
        wait_for("everything whole to be delivered", seconds(90), || {
            let status = service.status()?;
            let delivered = delivered(&scratch.path(&format!("{name}-cloud")));
            let missing: Vec<_> = owed.difference(&delivered).collect();
            if missing.is_empty()
                && status["store"]["state"] == "ok"
                && status["events_total"].as_u64() >= Some(known.len() as u64)
            {
                return Ok(());
            }
            Err(format!("{done:?}: missing {missing:?}: {status}"))
        });
        service.stop();
    }
}

#[test]
fn recording_goes_on_while_a_fresh_index_is_filled_however_often_it_is_interrupted() {
    const EVENTS: u32 = 600;
    let scratch = Scratch::new("rebuild");
    scratch.expect_log(&["no reserve could be set apart"]);
    let template = Template::record(&scratch);
    let (_, event) = template.sidecars.iter().find(|(_, event)| event.state == EventState::Ended).expect("one ended");
    let disk = FaultyDisk::mount(&scratch, &scratch.path("box"));
    let archive = scratch.path("box/archive/gate");
    let id = |n: u32| EventId::from_bytes((u128::from(n) << 80).to_be_bytes());
    for n in 1..=EVENTS {
        let mut event = event.clone();
        (event.id, event.camera, event.clip) = (id(n), "gate".into(), None);
        event.pictures.clear();
        let folder = archive.join(event.id.to_string());
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("event.json"), serde_json::to_vec(&event).expect("JSON")).expect("a sidecar");
    }
    let camera = format!("[camera.gate.source]\nurl = \"replay:{}\"\nrepeat = true\n", fixture("people.mp4").display());
    // The disk withholds an event in the middle, so that the index stays incomplete for as long as the test wants.
    disk.hold(&id(EVENTS / 2).to_string());
    let mut service = Service::start(&scratch, "box", &camera);
    // Killed in the middle, the next start goes on: it is the disk that says when an index is complete.
    for round in 0..2 {
        wait_for("pictures while the index is being filled", seconds(60), || {
            let status = service.status()?;
            let (store, camera) = (&status["store"], &status["cameras"][0]);
            let summary = status["summary"]["text"].as_str().unwrap_or_default();
            let filling = store["state"] == "rebuilding" && summary.contains("rebuilding the list of events");
            let seen = filling && store["rebuilt"].as_u64() > Some(0);
            if seen && camera["state"] == "online" && camera["last_packet_age_s"].is_f64() {
                Ok(())
            } else {
                Err(status.to_string())
            }
        });
        if round == 0 {
            service.process.kill();
            service.starts = 0;
        }
    }
    let status = service.status().expect("it serves");
    assert_eq!(status["store"]["state"], "rebuilding", "one event is still withheld: {status}");
    disk.recover();
    wait_for("a complete index", seconds(120), || {
        let status = service.status()?;
        let complete = status["store"]["state"] == "ok" && status["events_total"].as_u64() >= Some(u64::from(EVENTS));
        if complete { Ok(()) } else { Err(status.to_string()) }
    });
    service.stop();
}
