//! Azurite as Azure's Blob service, and a client that is not the product's own as the witness.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Command;

use super::bucket::Object;
use super::process::{Process, run};
use super::{Scratch, installed, port, repository, seconds};

/// The account that every Azurite has, with its key, which is no secret.
pub const ACCOUNT: &str = "devstoreaccount1";
pub const KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

/// A server with an account; it checks signatures.
#[derive(Debug)]
pub struct AzureServer {
    port: u16,
    data: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl AzureServer {
    /// Starts it, without any container.
    pub fn start(scratch: &Scratch) -> Self {
        let (data, log) = (scratch.path("azurite"), scratch.path("azurite.log"));
        let mut server = Self { port: port::free(), data, log, process: None };
        server.resume();
        server
    }

    /// Starts it again, with what it had, after [`AzureServer::stop`].
    pub fn resume(&mut self) {
        // With the API of the newest client too, and without requests to other servers.
        let options = "--blobHost 127.0.0.1 --skipApiVersionCheck --disableTelemetry --blobPort";
        let mut arguments: Vec<String> = options.split(' ').map(str::to_owned).collect();
        arguments.extend([self.port.to_string(), "--location".to_owned(), self.data.display().to_string()]);
        let program = installed("azurite/node_modules/.bin/azurite-blob");
        let mut process = Process::start("azurite", program, &arguments, self.log.clone());
        let address = ("127.0.0.1", self.port);
        process.wait_ready(seconds(60), |_| std::net::TcpStream::connect(address).is_ok());
        self.process = Some(process);
    }

    /// Takes it off the net; it writes down its index before it goes.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.terminate(seconds(20));
        }
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn command(&self, container: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("python3");
        command.arg(repository().join("tests/servers/azure.py")).arg(endpoint(self.port)).arg(container);
        command.args(arguments).env("AZURE_STORAGE_KEY", KEY);
        command
    }

    /// Makes a container.
    pub fn create(&self, container: &str) {
        run(&mut self.command(container, &["create"]));
    }

    /// Everything in a container by key, each read in full.
    pub fn objects(&self, container: &str) -> BTreeMap<String, Object> {
        Object::by_key(&run(&mut self.command(container, &["list"])))
    }
}

/// What clients are reported a server of [`ACCOUNT`] that they find on a port.
pub fn endpoint(port: u16) -> String {
    format!("http://127.0.0.1:{port}/{ACCOUNT}")
}

#[test]
fn azurite_keeps_its_containers_over_a_restart() {
    let scratch = Scratch::new("azurite");
    let mut server = AzureServer::start(&scratch);
    server.create("cams");
    server.stop();
    assert!(std::net::TcpStream::connect(("127.0.0.1", server.port())).is_err());
    server.resume();
    assert!(server.objects("cams").is_empty());
    let mut stranger = server.command("cams", &["list"]);
    let key = KEY.replace('E', "F");
    assert!(!stranger.env("AZURE_STORAGE_KEY", key).output().expect("run the client").status.success());
}
