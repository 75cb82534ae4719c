//! Cameras: tests/servers/rtsp_server.py.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::process::Process;
use super::{Scratch, port, repository, seconds};

pub const USER: &str = "cam";
pub const PASSWORD: &str = "s3cret-camera";

/// How a camera wants to be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    None,
    Basic,
    Digest,
}

impl fmt::Display for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Auth::None => "none",
            Auth::Basic => "basic",
            Auth::Digest => "digest",
        })
    }
}

/// One camera server with a mount for each clip.
#[derive(Debug)]
pub struct RtspServer {
    port: u16,
    arguments: Vec<String>,
    log: PathBuf,
    process: Option<Process>,
}

impl RtspServer {
    /// Starts a server; `mounts` are path, coding (`h264`, `h265`, `mjpeg`, and `h264+aac` with a tone) and clip.
    pub fn start(scratch: &Scratch, auth: Auth, mounts: &[(&str, &str, &Path)]) -> Self {
        let port = port::free();
        let script = repository().join("tests/servers/rtsp_server.py");
        let mut arguments = vec![script.display().to_string(), format!("--port={port}"), format!("--auth={auth}")];
        arguments.extend([format!("--user={USER}"), format!("--password={PASSWORD}")]);
        for (path, codec, clip) in mounts {
            arguments.extend(["--mount".to_owned(), format!("{path}={codec}:{}", clip.display())]);
        }
        let mut server = Self { port, arguments, log: scratch.path(&format!("rtsp-{port}.log")), process: None };
        server.resume();
        server
    }

    /// Starts it again on its port after [`RtspServer::stop`].
    pub fn resume(&mut self) {
        let _ = std::fs::remove_file(&self.log);
        // Debian's interpreter: it is the one that has the GStreamer bindings.
        let mut process = Process::start("rtsp server", "/usr/bin/python3", &self.arguments, self.log.clone());
        process.wait_ready(seconds(30), |log| log.contains("READY"));
        self.process = Some(process);
    }

    /// Pulls its plug.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Stops it in its tracks: connections stay, nothing comes through them.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// The end of a [`RtspServer::freeze`].
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    fn signal(&self, signal: Signal) {
        self.process.as_ref().expect("the server runs").signal(signal);
    }

    /// The streams that were asked for: `/gate/stream=0` are the pictures of a mount, `stream=1` is its sound.
    pub fn setups(&self) -> Vec<String> {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        log.lines().filter_map(|line| line.strip_prefix("SETUP ")).map(str::to_owned).collect()
    }

    /// Address of a mount, without credentials.
    pub fn url(&self, mount: &str) -> String {
        format!("rtsp://127.0.0.1:{}{mount}", self.port)
    }
}
