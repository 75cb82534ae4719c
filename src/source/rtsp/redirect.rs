//! Cameras and recorders that redirect a DESCRIBE to another address.

use std::time::Duration;

use http_auth::{PasswordClient, PasswordParams};
use retina::client::Credentials;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;
use url::Url;

/// Statuses that name another address. Retina keeps the address to itself, so it is asked for once more.
const STATUSES: [u16; 5] = [301, 302, 303, 307, 308];

/// More in a row are a circle.
pub(super) const MOST: usize = 5;

/// Limit of the question, with connecting.
const LIMIT: Duration = Duration::from_secs(10);

/// No head of an answer is longer.
const LONGEST_HEAD: u64 = 16 * 1024;

/// Whether the camera sent us on.
pub(super) fn is_one(error: &retina::Error) -> bool {
    error.status_code().is_some_and(|status| STATUSES.contains(&status))
}

/// Where the camera at `url` sends a client that sends DESCRIBE.
///
/// # Errors
/// Why that does not become clear; continues "it sends us on, but".
pub(super) async fn location(url: &Url, credentials: Option<&Credentials>) -> Result<Url, String> {
    timeout(LIMIT, ask(url, credentials))
        .await
        .map_err(|_| format!("does not say where to within {} s", LIMIT.as_secs()))?
}

async fn ask(url: &Url, credentials: Option<&Credentials>) -> Result<Url, String> {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let failed = |e: std::io::Error| format!("the second question failed: {}", crate::source::error::plain(&e));
    let stream = TcpStream::connect((host, url.port().unwrap_or(554))).await.map_err(failed)?;
    let mut stream = BufReader::new(stream);
    let mut authorization = None;
    for cseq in 1..=2 {
        let line = authorization.as_ref().map(|value| format!("Authorization: {value}\r\n")).unwrap_or_default();
        let request = format!(
            "DESCRIBE {url} RTSP/1.0\r\nCSeq: {cseq}\r\nUser-Agent: outpost/{}\r\nAccept: application/sdp\r\n{line}\r\n",
            env!("CARGO_PKG_VERSION")
        );
        stream.write_all(request.as_bytes()).await.map_err(failed)?;
        let answer = read_head(&mut stream).await.map_err(failed)?;
        match (answer.status, credentials) {
            (401, Some(credentials)) if authorization.is_none() => {
                authorization = Some(respond(&answer, url, credentials)?);
            }
            (status, _) if STATUSES.contains(&status) => {
                let location = answer.header("Location").ok_or("names no address")?;
                return target(url, location);
            }
            (status, _) => return Err(format!("answers the second question with status {status}")),
        }
    }
    Err("asks for the password again and again".to_owned())
}

/// The address that `location` means. A login in it is not used.
fn target(url: &Url, location: &str) -> Result<Url, String> {
    let mut target = url.join(location).map_err(|e| format!("to an address that is not valid ({e})"))?;
    if target.scheme() != "rtsp" || target.host().is_none() {
        return Err(format!("to an address of the scheme {:?}, which is not RTSP", target.scheme()));
    }
    // Never fails where there is a host.
    let _ = target.set_username("");
    let _ = target.set_password(None);
    Ok(target)
}

fn respond(answer: &Head, url: &Url, credentials: &Credentials) -> Result<String, String> {
    let unclear = |e: String| format!("asks for a password in a way that is not understood: {e}");
    let challenge = answer.header("WWW-Authenticate").unwrap_or_default();
    let mut client = PasswordClient::try_from(challenge).map_err(unclear)?;
    let params = PasswordParams {
        username: &credentials.username,
        password: &credentials.password,
        uri: url.as_str(),
        method: "DESCRIBE",
        body: Some(&[]),
    };
    client.respond(&params).map_err(unclear)
}

/// The status and the headers of an answer. What follows them is skipped.
struct Head {
    status: u16,
    lines: Vec<String>,
}

impl Head {
    fn header(&self, name: &str) -> Option<&str> {
        self.lines.iter().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.trim().eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

async fn read_head(stream: &mut BufReader<TcpStream>) -> std::io::Result<Head> {
    let mut head = Head { status: 0, lines: Vec::new() };
    let mut limited = (&mut *stream).take(LONGEST_HEAD);
    loop {
        let mut line = String::new();
        if limited.read_line(&mut line).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = line.trim_end();
        if head.status == 0 {
            head.status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(u16::MAX);
        } else if line.is_empty() {
            break;
        } else {
            head.lines.push(line.to_owned());
        }
    }
    let length = head.header("Content-Length").and_then(|length| length.parse::<u64>().ok()).unwrap_or(0);
    if length > LONGEST_HEAD {
        return Err(std::io::ErrorKind::InvalidData.into());
    }
    tokio::io::copy(&mut (&mut *stream).take(length), &mut tokio::io::sink()).await?;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_rtsp_addresses_without_a_login() {
        let from = Url::parse("rtsp://cam:554/live?x=1").expect("valid");
        let to = |location: &str| target(&from, location).map(String::from);
        assert_eq!(to("rtsp://other:8554/live").as_deref(), Ok("rtsp://other:8554/live"));
        assert_eq!(to("/elsewhere").as_deref(), Ok("rtsp://cam:554/elsewhere"));
        assert_eq!(to("rtsp://root:x@other/a").as_deref(), Ok("rtsp://other/a"));
        for location in ["http://other/a", "file:///etc/passwd", "rtsp:///a"] {
            assert!(to(location).is_err(), "{location}");
        }
    }
}
