//! The daemon under test: the built program, as a user would start it.

use std::path::PathBuf;
use std::process::{Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::config::Config;
use super::http::{self, Answer};
use super::process::Process;
use super::wall_clock::WallClock;
use super::websocket::WebSocket;
use super::{Scratch, seconds, wait_for};

/// The program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_outpost");

/// How long it may take to load models and open its store on a busy machine.
const START: Duration = seconds(60);
/// How long it may take to end cleanly.
pub const STOP: Duration = seconds(30);

/// A running daemon.
#[derive(Debug)]
pub struct Daemon {
    port: u16,
    config: PathBuf,
    log: PathBuf,
    /// `NAME=value` of its environment, over starts.
    environment: Option<String>,
    process: Process,
}

impl Daemon {
    /// Writes the configuration, starts `outpost run`, waits until it says that it is ready.
    pub fn start(scratch: &Scratch, config: Config<'_>) -> Self {
        let (config, port) = config.write();
        Self::launch(scratch, config, port, &[], None)
    }

    /// [`Daemon::start`] with an `environment`, `NAME=value`.
    pub fn start_in(scratch: &Scratch, config: Config<'_>, environment: &str) -> Self {
        let (config, port) = config.write();
        Self::launch(scratch, config, port, &[], Some(environment.to_owned()))
    }

    /// [`Daemon::start`] with a wall clock of its own, and with a configuration that the test has written.
    pub fn start_with_clock(scratch: &Scratch, config: PathBuf, port: u16, clock: &WallClock) -> Self {
        Self::launch(scratch, config, port, &clock.command(), None)
    }

    fn launch(scratch: &Scratch, config: PathBuf, port: u16, by: &[String], environment: Option<String>) -> Self {
        let log = scratch.path("outpost.log");
        let by = [by, &in_environment(environment.as_deref())].concat();
        let process = launch(&config, log.clone(), &by);
        let mut daemon = Self { port, config, log, environment, process };
        daemon.wait_ready();
        daemon
    }

    /// Kills it as a power cut would, and starts it again.
    pub fn crash_and_restart(&mut self) {
        self.process.kill();
        self.start_again();
    }

    /// Starts it again after it ended.
    pub fn start_again(&mut self) {
        self.process = launch(&self.config, self.log.clone(), &in_environment(self.environment.as_deref()));
        self.wait_ready();
    }

    fn wait_ready(&mut self) {
        let port = self.port;
        self.process.wait_ready(START, |_| http::get(port, "/readyz").is_ok_and(|answer| answer.status == 200));
    }

    /// Asks it to end, as systemd does, and waits until it has.
    pub fn terminate(&mut self) -> ExitStatus {
        self.process.terminate(STOP)
    }

    /// The process, for what only a process can report.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Everything that it logged, over restarts.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The port of its page and API.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Address of its page.
    pub fn page(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    /// Looks at a camera; the error is the answer that refuses it. `headers` are lines that end with CRLF.
    pub fn live(&self, camera: &str, headers: &str) -> Result<WebSocket, String> {
        WebSocket::open(self.port, &format!("/api/v1/cameras/{camera}/live"), headers)
    }

    /// Gives a command as JSON; the error says why there was no answer.
    pub fn post(&self, path: &str, json: &Value) -> Result<Answer, String> {
        http::post(self.port, path, json)
    }

    /// Sends JSON with another method and one more header; the error says why there was no answer.
    pub fn send(&self, method: &str, path: &str, header: &str, json: &Value) -> Result<Answer, String> {
        http::send(self.port, method, path, header, json)
    }

    /// Asks for a path; the error says why there was no answer.
    pub fn get(&self, path: &str) -> Result<Answer, String> {
        http::get(self.port, path)
    }

    /// [`Daemon::get`] of a daemon that may hang or end: it is given ten seconds.
    pub fn get_soon(&self, path: &str) -> Result<Answer, String> {
        http::get_within(seconds(10), self.port, path)
    }

    /// An answer of the API as JSON; fails the test unless there is one.
    pub fn json(&self, path: &str) -> Value {
        let answer = self.get(path).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(answer.status, 200, "GET {path}: {}", String::from_utf8_lossy(&answer.body));
        serde_json::from_slice(&answer.body).unwrap_or_else(|e| panic!("GET {path}: {e}"))
    }

    /// All events that it knows, newest first, with where each was delivered to: `{event, delivery}`.
    pub fn records(&self) -> Vec<Value> {
        let mut records = Vec::new();
        let mut before = String::new();
        loop {
            let mut page = self.json(&format!("/api/v1/events?limit=200{before}"));
            records.append(page["events"].as_array_mut().expect("a list of events"));
            match page["next"].as_str() {
                Some(next) => before = format!("&before={next}"),
                None => return records,
            }
        }
    }

    /// All events that it knows, newest first.
    pub fn events(&self) -> Vec<Value> {
        self.records().into_iter().map(|mut record| record["event"].take()).collect()
    }

    /// Those of its events that are in `state`.
    pub fn events_in(&self, state: &str) -> Vec<Value> {
        self.events().into_iter().filter(|event| event["state"] == state).collect()
    }

    /// Value of a counter or gauge of one camera or outlet; 0 before it was first touched.
    ///
    /// `series` is the name with its labels as /metrics spells them, e.g. `outpost_packets_total{camera="gate"}`.
    pub fn metric(&self, series: &str) -> f64 {
        let answer = self.get("/metrics").unwrap_or_else(|e| panic!("{e}"));
        let text = String::from_utf8(answer.body).expect("metrics are text");
        let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }

    /// Packets received from a camera.
    pub fn packets(&self, camera: &str) -> f64 {
        self.metric(&format!("outpost_packets_total{{camera=\"{camera}\"}}"))
    }

    /// Times that a camera had to be connected again.
    pub fn reconnects(&self, camera: &str) -> f64 {
        self.metric(&format!("outpost_reconnects_total{{camera=\"{camera}\"}}"))
    }

    /// Waits until at least `n` events are over.
    pub fn wait_for_ended(&self, n: usize, patience: Duration) -> Vec<Value> {
        wait_for(&format!("{n} events that are over"), patience, || {
            let ended = self.events_in("ended");
            if ended.len() >= n { Ok(ended) } else { Err(format!("{} of {}", ended.len(), self.events().len())) }
        })
    }
}

/// The beginning of a command line that sets a variable.
fn in_environment(environment: Option<&str>) -> Vec<String> {
    environment.into_iter().flat_map(|variable| ["env", variable]).map(str::to_owned).collect()
}

/// Starts it by the command `by`, which runs the command line behind it; without one, as it is.
fn launch(config: &std::path::Path, log: PathBuf, by: &[String]) -> Process {
    let run = [PROGRAM.as_ref(), "run".as_ref(), "--config".as_ref(), config.as_os_str()];
    let command: Vec<&std::ffi::OsStr> = by.iter().map(std::convert::AsRef::as_ref).chain(run).collect();
    Process::start("outpost", command[0], &command[1..], log)
}

/// Runs a command of the program that ends by itself.
pub fn outpost<S: AsRef<std::ffi::OsStr>>(arguments: &[S]) -> Output {
    Command::new(PROGRAM).args(arguments).stdin(Stdio::null()).output().expect("run the program")
}
