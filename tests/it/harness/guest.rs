//! The daemon in a machine of its own.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use super::daemon::PROGRAM;
use super::process::run;
use super::vm::Vm;
use super::{Scratch, fixture, http, repository, seconds, wait_for};

/// The configuration, but for cameras.
///
/// `storage` and `cloud` are folders inside the machine. The only model is one that sees a lamp whenever the picture
/// is light. The machine has just booted and its clock is not set; how busy an emulated processor is says nothing.
pub fn config(port: u16, storage: &str, cloud: &str) -> String {
    format!(
        "[device]\nid = \"box1\"\n[storage]\npath = \"{storage}\"\n[web]\nlisten = \"127.0.0.1:{port}\"\n\
         [archive]\ntime_hold = \"0s\"\n[load]\nenabled = false\n\
         [infer]\nmodel_dir = \"{}\"\n[upload.cloud]\nurl = \"file://{cloud}\"\n",
        repository().join("tests/vm/models").display()
    )
}

/// The people clip, small and slow, by turns two seconds in the dark and two in the light; in the shared folder.
pub fn lamp_clip(scratch: &Scratch, codec: &str) -> PathBuf {
    let (extension, options) = match codec {
        "mjpeg" => ("mkv", "-c:v mjpeg -q:v 5 -pix_fmt yuvj420p"),
        "h264" => ("mp4", "-c:v libx264 -preset veryfast -g 5 -bf 0 -pix_fmt yuv420p"),
        _ => panic!("{codec}: neither mjpeg nor h264"),
    };
    let clip = Vm::share(scratch).join(format!("people.{extension}"));
    let turns = "fps=5,scale=320:240,eq=eval=frame:brightness='if(lt(mod(t,4),2),-0.5,0.3)'";
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-i"]).arg(fixture("people.mp4")).args(["-vf", turns]);
    run(command.args(options.split(' ')).arg(&clip));
    clip
}

/// A daemon that runs in a machine.
#[derive(Debug)]
pub struct Guest {
    port: u16,
    log: PathBuf,
    /// What earlier ones have logged.
    before: usize,
}

impl Guest {
    /// Starts `outpost run`, waits until it says that it is ready. Its log goes to the shared folder.
    pub fn start(vm: &mut Vm, scratch: &Scratch, config: &str, port: u16) -> Self {
        let folder = Vm::share(scratch);
        let (file, log) = (folder.join("outpost.toml"), folder.join("outpost.log"));
        std::fs::write(&file, config).expect("write the configuration");
        let before = std::fs::metadata(&log).map_or(0, |log| usize::try_from(log.len()).expect("a size"));
        vm.sh(&format!(
            "setsid {PROGRAM} run --config {} >>{} 2>&1 & echo $! >/run/outpost.pid",
            file.display(),
            log.display()
        ));
        let guest = Self { port, log, before };
        wait_for("the daemon in the machine", seconds(120), || match http::get(port, "/readyz") {
            Ok(answer) if answer.status == 200 => Ok(()),
            other => Err(format!("{:?}; {}", other.map(|a| a.status), guest.log().lines().last().unwrap_or_default())),
        });
        guest
    }

    /// Everything that it logged.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(bytes.get(self.before..).unwrap_or_default()).into_owned()
    }

    /// An answer of the API.
    pub fn json(&self, path: &str) -> Result<Value, String> {
        let answer = http::get(self.port, path)?;
        let text = String::from_utf8_lossy(&answer.body);
        if answer.status != 200 {
            return Err(format!("GET {path}: {} {text}", answer.status));
        }
        serde_json::from_str(&text).map_err(|e| format!("GET {path}: {e} in {text}"))
    }

    /// What it says about a camera.
    pub fn camera(&self, name: &str) -> Result<Value, String> {
        let mut status = self.json("/api/v1/status")?;
        let cameras = status["cameras"].as_array_mut().expect("a list of cameras");
        let camera = cameras.iter_mut().find(|camera| camera["name"] == name);
        Ok(camera.unwrap_or_else(|| panic!("no camera {name}")).take())
    }

    /// Waits until it says that a camera is in `state`; gives all that it says then.
    pub fn wait_camera(&self, name: &str, state: &str) -> Value {
        wait_for(&format!("camera {name} to be {state}"), seconds(90), || {
            let camera = self.camera(name)?;
            if camera["state"] == state { Ok(camera) } else { Err(camera.to_string()) }
        })
    }

    /// All events, newest first, with where each was delivered to: `{event, delivery}`.
    pub fn records(&self) -> Result<Vec<Value>, String> {
        let (mut records, mut before) = (Vec::new(), String::new());
        loop {
            let mut page = self.json(&format!("/api/v1/events?limit=200{before}"))?;
            records.append(page["events"].as_array_mut().expect("a list of events"));
            match page["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => return Ok(records),
            }
        }
    }

    /// Waits for an event of a camera that is in `state` and not one of `known`, and for its delivery
    /// where it is over.
    pub fn wait_event(&self, camera: &str, state: &str, known: &[String]) -> Value {
        wait_for(&format!("an event of {camera} that is {state}"), seconds(120), || {
            let records = self.records()?;
            let found = records.iter().find(|record| {
                let event = &record["event"];
                let new = !known.iter().any(|id| event["id"] == id.as_str());
                let delivered = state == "open" || record["delivery"][0]["state"] == "delivered";
                event["camera"] == camera && event["state"] == state && new && delivered
            });
            let seen: Vec<_> =
                records.iter().map(|r| format!("{} {}", r["event"]["camera"], r["event"]["state"])).collect();
            found.map(|record| record["event"].clone()).ok_or_else(|| seen.join(", "))
        })
    }

    /// Asks it to end as systemd does; fails the test unless it ends cleanly.
    pub fn terminate(self, vm: &mut Vm) {
        vm.sh("pid=$(cat /run/outpost.pid); kill $pid; while [ -d /proc/$pid ]; do sleep 0.2; done");
        let log = self.log();
        assert!(log.contains("INFO stopped"), "it does not stop cleanly: {log}");
    }
}

/// A file of an event in the destination; `cloud` as the host sees it.
pub fn delivered(cloud: &Path, event: &Value, file: &str) -> PathBuf {
    let text = |name: &str| event[name].as_str().expect("text");
    let (year, rest) = event["start"]["wall"].as_str().expect("a time").split_once('-').expect("a date");
    let day = rest.replace('-', "/");
    cloud.join(text("device")).join(year).join(&day[..5]).join(text("camera")).join(text("id")).join(file)
}
