//! Just enough of a WebSocket to look at a camera.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// What the server sends.
#[derive(Debug)]
pub enum Message {
    Text(Value),
    Binary(Vec<u8>),
    /// Its last word: code and reason.
    Close(u16, String),
}

/// A connection that was upgraded.
#[derive(Debug)]
pub struct WebSocket(TcpStream);

impl WebSocket {
    /// Asks for `path`; the error is the answer where there is no upgrade. `headers` are lines that end with CRLF.
    pub fn open(port: u16, path: &str, headers: &str) -> Result<Self, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|e| e.to_string())?;
        stream.set_read_timeout(Some(super::patient(Duration::from_secs(20)))).expect("a limit");
        write!(
            stream,
            "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
        )
        .map_err(|e| e.to_string())?;
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).map_err(|e| format!("{e} after {:?}", String::from_utf8_lossy(&head)))?;
            head.push(byte[0]);
        }
        let head = String::from_utf8_lossy(&head).into_owned();
        if head.starts_with("HTTP/1.1 101 ") {
            return Ok(Self(stream));
        }
        let length =
            head.lines().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).map_err(|e| e.to_string())?;
        Err(format!("{} {}", head.lines().next().unwrap_or_default(), String::from_utf8_lossy(&body)))
    }

    /// The next message; `None` when the connection is over. Pings are answered.
    pub fn next(&mut self) -> Option<Message> {
        loop {
            let (kind, body) = self.frame()?;
            match kind {
                1 => return Some(Message::Text(serde_json::from_slice(&body).expect("JSON"))),
                2 => return Some(Message::Binary(body)),
                8 => {
                    let (code, reason) = body.split_at_checked(2).unwrap_or((&[0, 0], &[]));
                    let code = u16::from_be_bytes([code[0], code[1]]);
                    return Some(Message::Close(code, String::from_utf8_lossy(reason).into_owned()));
                }
                9 => self.0.write_all(&[0x8a, 0x80, 0, 0, 0, 0]).expect("answer a ping"),
                _ => {}
            }
        }
    }

    fn frame(&mut self) -> Option<(u8, Vec<u8>)> {
        let [first, length] = self.bytes()?;
        let length = match length & 0x7f {
            126 => u64::from(u16::from_be_bytes(self.bytes()?)),
            127 => u64::from_be_bytes(self.bytes()?),
            length => u64::from(length),
        };
        let mut body = vec![0; usize::try_from(length).expect("a length")];
        self.0.read_exact(&mut body).ok()?;
        Some((first & 0x0f, body))
    }

    fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let mut bytes = [0; N];
        self.0.read_exact(&mut bytes).ok()?;
        Some(bytes)
    }
}
