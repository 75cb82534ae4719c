//! Google Cloud Storage, as far as tests/servers/gcs.py is one.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::bucket::{BUCKET, Object};
use super::process::Process;
use super::{Scratch, port, repository, seconds};

/// A server with the bucket [`BUCKET`]. It needs no login.
#[derive(Debug)]
pub struct GcsServer {
    port: u16,
    folder: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl GcsServer {
    /// Starts it.
    pub fn start(scratch: &Scratch) -> Self {
        let (folder, log) = (scratch.path("gcs"), scratch.path("gcs.log"));
        let mut server = Self { port: port::free(), folder, log, process: None };
        server.resume();
        server
    }

    /// Starts it again, with what it had, after [`GcsServer::stop`].
    pub fn resume(&mut self) {
        let script = repository().join("tests/servers/gcs.py").display().to_string();
        let folder = self.folder.display().to_string();
        let arguments = [&script, "--port", &self.port.to_string(), "--folder", &folder, "--bucket", BUCKET];
        let mut process = Process::start("gcs", "python3", &arguments, self.log.clone());
        let address = ("127.0.0.1", self.port);
        process.wait_ready(seconds(30), |_| std::net::TcpStream::connect(address).is_ok());
        self.process = Some(process);
    }

    /// Takes it off the net at once.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Drops uploads in parts that are not complete, as services do after days. Gives how many.
    pub fn forget_uploads(&self) -> usize {
        let uploads = std::fs::read_dir(self.folder.join("uploads")).expect("list uploads").flatten();
        uploads.map(|upload| std::fs::remove_dir_all(upload.path()).expect("forget an upload")).count()
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything in the bucket by key, as it lies in the server's folder.
    pub fn objects(&self) -> BTreeMap<String, Object> {
        let entries = std::fs::read_dir(self.folder.join("objects")).expect("list the bucket");
        let lines = entries.map(|entry| {
            let folder = entry.expect("list the bucket").path();
            let about = std::fs::read(folder.join("about.json")).expect("an object's properties");
            let mut about: Value = serde_json::from_slice(&about).expect("JSON");
            let data = std::fs::read(folder.join("data")).expect("an object's contents");
            about["bytes"] = data.len().into();
            about["sha256"] = hex::encode(Sha256::digest(&data)).into();
            about.to_string()
        });
        Object::by_key(&lines.collect::<Vec<_>>().join("\n"))
    }
}

/// A service account for a server on `port`, which needs no token.
pub fn service_account(port: u16) -> String {
    let account = serde_json::json!({
        "gcs_base_url": format!("http://127.0.0.1:{port}"),
        "disable_oauth": true,
        "client_email": "",
        "private_key": "",
        "private_key_id": "",
    });
    account.to_string()
}
