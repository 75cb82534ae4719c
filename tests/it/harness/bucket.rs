//! SeaweedFS as the cloud, and an S3 client that is not the product's own as the witness.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use super::process::{Process, run};
use super::{Scratch, installed, port, repository, seconds, wait_until};

pub const BUCKET: &str = "cams";
pub const ACCESS_KEY: &str = "ak-outpost";
pub const SECRET_KEY: &str = "s3cret-bucket";

/// One object of the bucket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Object {
    pub key: String,
    pub bytes: u64,
    pub sha256: String,
    /// Content type, from the servers whose witness reports it.
    #[serde(default, rename = "type")]
    pub kind: String,
}

impl Object {
    /// Reads what a witness printed: one object a line.
    pub fn by_key(text: &str) -> BTreeMap<String, Self> {
        let objects = text.lines().map(|line| serde_json::from_str::<Self>(line).expect("an object a line"));
        objects.map(|object| (object.key.clone(), object)).collect()
    }
}

/// A server with the bucket [`BUCKET`]. Signatures are checked.
#[derive(Debug)]
pub struct S3Server {
    ports: [u16; 8],
    data: PathBuf,
    fetched: PathBuf,
    log: PathBuf,
    arguments: Vec<String>,
    process: Option<Process>,
}

impl S3Server {
    /// Starts it and makes the bucket.
    pub fn start(scratch: &Scratch) -> Self {
        Self::start_with(scratch, "")
    }

    /// The same as a WebDAV server too; gives where the bucket is found in that way.
    pub fn start_with_webdav(scratch: &Scratch) -> (Self, String) {
        let webdav = port::free();
        let server = Self::start_with(scratch, &format!(" -webdav -webdav.port={webdav}"));
        wait_until("WebDAV to answer", seconds(60), || std::net::TcpStream::connect(("127.0.0.1", webdav)).is_ok());
        (server, format!("http://127.0.0.1:{webdav}/buckets/{BUCKET}"))
    }

    fn start_with(scratch: &Scratch, more: &str) -> Self {
        let ports: [u16; 8] = std::array::from_fn(|_| port::free());
        let (data, identities) = (scratch.path("seaweedfs"), scratch.path("seaweedfs.json"));
        std::fs::create_dir(&data).expect("make the store's folder");
        let who = serde_json::json!({"identities": [{
            "name": "edge",
            "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }]});
        std::fs::write(&identities, who.to_string()).expect("write the store's users");
        let [s3, s3_rpc, master, master_rpc, volume, volume_rpc, filer, filer_rpc] = ports;
        let arguments = format!(
            "server -ip=127.0.0.1 -ip.bind=127.0.0.1 -dir={} -s3 -s3.config={} -s3.port={s3} -s3.port.grpc={s3_rpc} \
             -s3.port.iceberg=0 -s3.port.lance=0 -master.port={master} -master.port.grpc={master_rpc} \
             -volume.port={volume} -volume.port.grpc={volume_rpc} -filer.port={filer} -filer.port.grpc={filer_rpc} \
             -master.telemetry=false -master.volumeSizeLimitMB=64 -volume.max=200{more}",
            data.display(),
            identities.display()
        );
        let arguments = arguments.split(' ').map(str::to_owned).collect();
        let (log, fetched) = (scratch.path("seaweedfs.log"), scratch.path("fetched"));
        let mut server = Self { ports, data, fetched, log, arguments, process: None };
        server.launch();
        wait_until("the bucket to be made", seconds(60), || server.client(&["create", BUCKET]).is_some());
        server
    }

    fn launch(&mut self) {
        let weed = installed("venv/bin/weed");
        self.process = Some(Process::start("seaweedfs", weed, &self.arguments, self.log.clone()));
    }

    /// Starts it again, with what it had, after [`S3Server::stop`].
    pub fn resume(&mut self) {
        // A master that finds the memory of an earlier one waits 15 s for its peers; it has none.
        let _ = std::fs::remove_dir_all(self.data.join(format!("m{}", self.ports[2])));
        self.launch();
        wait_until("the store to answer again", seconds(60), || self.client(&["list", BUCKET]).is_some());
    }

    /// Takes it off the net at once.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
    }

    /// Where S3 clients find it.
    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports[0])
    }

    /// The port of the S3 service.
    pub fn port(&self) -> u16 {
        self.ports[0]
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(installed("venv/bin/python"));
        command.arg(repository().join("tests/servers/bucket.py")).arg(self.endpoint()).args(arguments);
        command.env("AWS_ACCESS_KEY_ID", ACCESS_KEY).env("AWS_SECRET_ACCESS_KEY", SECRET_KEY);
        command
    }

    /// One run of the client; `None` when the server does not do as it was asked.
    fn client(&self, arguments: &[&str]) -> Option<String> {
        let output = self.command(arguments).stderr(Stdio::null()).output().expect("run the S3 client");
        output.status.success().then(|| String::from_utf8(output.stdout).expect("text"))
    }

    /// Everything in the bucket by key, each read in full.
    pub fn objects(&self) -> BTreeMap<String, Object> {
        Object::by_key(&run(&mut self.command(&["list", BUCKET])))
    }

    /// The keys of everything in the bucket.
    pub fn keys(&self) -> BTreeSet<String> {
        run(&mut self.command(&["keys", BUCKET])).lines().map(str::to_owned).collect()
    }

    /// The contents of one object.
    pub fn fetch(&self, key: &str) -> Vec<u8> {
        let file = self.fetched.display().to_string();
        run(&mut self.command(&["get", BUCKET, key, &file]));
        std::fs::read(&self.fetched).expect("read a fetched object")
    }
}

impl Drop for S3Server {
    fn drop(&mut self) {
        self.stop();
        // It leaves sockets named by port behind, in a folder that cannot be chosen.
        for kind in ["s3", "s3-grpc", "master-grpc", "volume-grpc", "filer", "filer-grpc"] {
            for port in self.ports {
                let _ = std::fs::remove_file(format!("/tmp/seaweedfs-{kind}-{port}.sock"));
            }
        }
    }
}

#[test]
fn a_store_keeps_its_objects_over_a_restart() {
    let scratch = Scratch::new("bucket");
    let mut server = S3Server::start(&scratch);
    assert!(server.objects().is_empty());
    let file = scratch.path("file");
    std::fs::write(&file, "contents").expect("write");
    run(&mut server.command(&["put", BUCKET, "a/b", &file.display().to_string()]));
    server.stop();
    assert!(server.client(&["list", BUCKET]).is_none());
    server.resume();
    assert_eq!(server.objects()["a/b"].bytes, 8);
    assert_eq!(server.fetch("a/b"), b"contents");
}
