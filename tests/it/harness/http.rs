//! Just enough HTTP to ask the daemon.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// One GET on the loopback interface. The error says why there was no answer.
pub fn get(port: u16, path: &str) -> Result<Answer, String> {
    get_within(super::patient(Duration::from_secs(20)), port, path)
}

/// [`get`] that waits for an answer no longer than `limit`, for programs that may end before they give one.
pub fn get_within(limit: Duration, port: u16, path: &str) -> Result<Answer, String> {
    ask(limit, port, &format!("GET {path}"), "")
}

/// One POST of JSON.
pub fn post(port: u16, path: &str, json: &serde_json::Value) -> Result<Answer, String> {
    ask(super::patient(Duration::from_secs(20)), port, &format!("POST {path}"), &json.to_string())
}

/// One request of another method, with JSON and one more header (`name: value`, or empty).
pub fn send(port: u16, method: &str, path: &str, header: &str, json: &serde_json::Value) -> Result<Answer, String> {
    let more = if header.is_empty() { String::new() } else { format!("{header}\r\n") };
    ask_with(super::patient(Duration::from_secs(40)), port, &format!("{method} {path}"), &more, &json.to_string())
}

/// HTTP/1.0, so that the server closes the connection after an answer that is not chunked.
fn ask(limit: Duration, port: u16, what: &str, body: &str) -> Result<Answer, String> {
    ask_with(limit, port, what, "", body)
}

fn ask_with(limit: Duration, port: u16, what: &str, headers: &str, body: &str) -> Result<Answer, String> {
    let failed = |e: std::io::Error| format!("{what}: {e}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
    stream.set_read_timeout(Some(limit)).map_err(failed)?;
    let length = body.len();
    write!(
        stream,
        "{what} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\nContent-Type: application/json\r\n{headers}\
         Content-Length: {length}\r\n\r\n{body}"
    )
    .map_err(failed)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map_err(failed)?;
    parse(&bytes).ok_or_else(|| format!("{what}: no HTTP answer in {} bytes", bytes.len()))
}

fn parse(bytes: &[u8]) -> Option<Answer> {
    let split = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let head = std::str::from_utf8(bytes.get(..split)?).ok()?;
    let status = head.strip_prefix("HTTP/1.")?.get(2..5)?.parse().ok()?;
    Some(Answer { status, body: bytes.get(split + 4..)?.to_vec() })
}

#[test]
fn an_answer_is_taken_apart() {
    let answer = parse(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno").expect("parse");
    assert_eq!((answer.status, answer.body.as_slice()), (503, b"no".as_slice()));
    assert!(parse(b"SSH-2.0-OpenSSH\r\n\r\n").is_none());
}
