//! Logins by a proxy whose keys are fetched from its address: while that is there, when they are exchanged, and without it.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{Ed25519KeyPair, KeyPair};
use serde_json::{Value, json};

use crate::access::user;
use crate::harness::clips::Lamp;
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::process::Process;
use crate::harness::tls::{Certificate, Front};
use crate::harness::{Scratch, port, seconds, wait_until};

const PUBLISHED: &str = "published/certs";

/// A key of the proxy.
struct Key {
    name: &'static str,
    pair: Ed25519KeyPair,
}

fn text(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Key {
    fn new(name: &'static str) -> Self {
        let secret = Ed25519KeyPair::generate_pkcs8(&ring::rand::SystemRandom::new()).expect("a key");
        Self { name, pair: Ed25519KeyPair::from_pkcs8(secret.as_ref()).expect("a key") }
    }

    fn published(&self) -> Value {
        json!({ "kty": "OKP", "crv": "Ed25519", "kid": self.name, "x": text(self.pair.public_key().as_ref()) })
    }

    /// The header with a token for `anna` that ends `ends` seconds from now.
    fn header(&self, ends: i64) -> String {
        let now = jiff::Timestamp::now().as_second();
        let header = json!({ "alg": "EdDSA", "kid": self.name });
        let claims = json!({ "iss": "farm", "aud": "box", "email": "anna", "iat": now - 1000, "exp": now + ends });
        let message = format!("{}.{}", text(header.to_string()), text(claims.to_string()));
        format!("Cf-Access-Jwt-Assertion: {message}.{}", text(self.pair.sign(message.as_bytes()).as_ref()))
    }
}

fn publish(scratch: &Scratch, keys: &[&Key]) {
    let keys: Vec<Value> = keys.iter().map(|key| key.published()).collect();
    let file = scratch.path(PUBLISHED);
    std::fs::create_dir_all(file.parent().unwrap_or(Path::new("."))).expect("a folder");
    std::fs::write(file, json!({ "keys": keys }).to_string()).expect("publish keys");
}

fn is_taken(daemon: &Daemon, header: &str) -> bool {
    let answer = daemon.send("GET", "/api/v1/me", header, &Value::Null).expect("an answer");
    assert!(matches!(answer.status, 200 | 401), "{}", answer.status);
    answer.status == 200
}

/// Works with: system | an identity-aware proxy: JWT, with a JWKS by https | users come by its tokens; keys are exchanged while the box runs, and kept for a start without the proxy
#[test]
fn a_proxys_keys_are_fetched_exchanged_and_kept_for_a_start_without_it() {
    let scratch = Scratch::new("proxy-login");
    scratch.expect_log(&["the keys of the proxy cannot be read, those that are known go on"]);
    let (first, second, stranger) = (Key::new("k1"), Key::new("k2"), Key::new("k1"));
    publish(&scratch, &[&first]);
    let certificate = Certificate::make(&scratch);
    let upstream = port::free();
    let folder = scratch.path("published").display().to_string();
    let arguments = ["-m", "http.server", "--bind", "127.0.0.1", "--directory", &folder, &upstream.to_string()];
    let mut server = Process::start("http.server", "python3", &arguments, scratch.path("jwks.log"));
    server.wait_ready(seconds(30), |_| std::net::TcpStream::connect(("127.0.0.1", upstream)).is_ok());
    let front = Front::start(&scratch, &certificate, upstream);
    let mut config = Config::new(&scratch).lamp("gate", Lamp::Blinking);
    config.add(&format!(
        "[web.proxy_login]\nissuer = \"farm\"\naudience = [\"box\"]\njwks_url = \"{}/certs\"\nca_file = \"{}\"",
        front.url(),
        certificate.authority.display()
    ));
    let mut daemon = Daemon::start(&scratch, config);
    assert_eq!(daemon.get("/api/v1/me").expect("an answer").status, 401, "loopback is not the box itself");
    let (done, said) = user(&scratch, &["add", "anna", "--role", "admin"], "correct horse battery\n");
    assert!(done, "{said}");
    wait_until("the first key", seconds(60), || is_taken(&daemon, &first.header(300)));
    for header in [stranger.header(300), first.header(-300), second.header(300)] {
        assert!(!is_taken(&daemon, &header), "{header}");
    }
    publish(&scratch, &[&second]);
    wait_until("the second key", seconds(60), || is_taken(&daemon, &second.header(300)));
    assert!(!is_taken(&daemon, &first.header(300)), "it was withdrawn");
    let audit = daemon.send("GET", "/api/v1/audit?text=login%20by%20proxy", &second.header(300), &Value::Null);
    let audit: Value = serde_json::from_slice(&audit.expect("an answer").body).expect("JSON");
    let entries = audit["entries"].as_array().expect("entries");
    assert!(entries.iter().any(|entry| entry["who"] == "anna" && entry["kind"] == "proxy"), "{entries:?}");
    assert!(entries.iter().any(|entry| entry["who"] == "" && entry["status"] == 401), "{entries:?}");

    drop((front, server));
    assert!(is_taken(&daemon, &second.header(300)));
    assert!(daemon.terminate().success());
    daemon.start_again();
    wait_until("the second key again", seconds(60), || is_taken(&daemon, &second.header(300)));
    assert!(!is_taken(&daemon, &first.header(300)));
    assert!(daemon.terminate().success());
}
