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
///
/// HTTP/1.0, so that the server closes the connection after an answer that is not chunked.
pub fn get(port: u16, path: &str) -> Result<Answer, String> {
    let failed = |e: std::io::Error| format!("GET {path}: {e}");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(failed)?;
    stream.set_read_timeout(Some(Duration::from_secs(20))).map_err(failed)?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAccept: */*\r\n\r\n").map_err(failed)?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).map_err(failed)?;
    parse(&bytes).ok_or_else(|| format!("GET {path}: no HTTP answer in {} bytes", bytes.len()))
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
