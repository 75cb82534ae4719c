//! Certificates, and servers behind them.

use std::io::Write;
use std::path::PathBuf;
use std::process::Command;

use super::process::{Process, run};
use super::{Scratch, port, repository, seconds};

/// A certificate and the authority that signed it.
#[derive(Debug)]
pub struct Certificate {
    pub authority: PathBuf,
    pub certificate: PathBuf,
    pub key: PathBuf,
}

impl Certificate {
    /// For this machine; the authority is one of its own.
    pub fn make(scratch: &Scratch) -> Self {
        let [authority, authority_key, certificate, key] =
            ["ca.pem", "ca.key", "server.pem", "server.key"].map(|name| scratch.path(name));
        let new_key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
        run(Command::new("openssl")
            .args(["req", "-x509", "-subj", "/CN=test authority"])
            .args(new_key)
            .arg("-keyout")
            .arg(&authority_key)
            .arg("-out")
            .arg(&authority));
        let mut extensions = tempfile::NamedTempFile::new().expect("make a file");
        writeln!(extensions, "subjectAltName=DNS:localhost,IP:127.0.0.1").expect("write extensions");
        let request = scratch.path("server.csr");
        run(Command::new("openssl")
            .args(["req", "-subj", "/CN=localhost"])
            .args(&new_key[..5])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&request));
        run(Command::new("openssl")
            .args(["x509", "-req", "-days", "2", "-CAcreateserial", "-in"])
            .arg(request)
            .arg("-CA")
            .arg(&authority)
            .arg("-CAkey")
            .arg(authority_key)
            .arg("-extfile")
            .arg(extensions.path())
            .arg("-out")
            .arg(&certificate));
        Self { authority, certificate, key }
    }
}

/// tests/servers/tls.py at work: makes a server that speaks in the clear one that does not.
#[derive(Debug)]
pub struct Front {
    port: u16,
    _process: Process,
}

impl Front {
    /// In front of the server on port `upstream`.
    pub fn start(scratch: &Scratch, certificate: &Certificate, upstream: u16) -> Self {
        let port = port::free();
        let server = repository().join("tests/servers/tls.py");
        let ports = [port, upstream].map(|port| port.to_string());
        let arguments = [
            server.as_os_str(),
            ports[0].as_ref(),
            ports[1].as_ref(),
            certificate.certificate.as_os_str(),
            certificate.key.as_os_str(),
        ];
        let mut process = Process::start("tls.py", "python3", &arguments, scratch.path(&format!("tls-{port}.log")));
        process.wait_ready(seconds(30), |_| std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
        Self { port, _process: process }
    }

    /// Where clients find it, by a name that is in the certificate.
    pub fn url(&self) -> String {
        format!("https://localhost:{}", self.port)
    }
}
