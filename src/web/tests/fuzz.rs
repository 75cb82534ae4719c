//! Fuzz target: requests for the page's API.

use super::*;

/// A request in the making: method and target, header lines, body; empty lines lie between them.
const SEEDS: [&str; 8] = [
    "GET /api/v1/events?camera=yard&label=person&limit=3&before=00000000000000000000000004",
    "GET /api/v1/cameras/yard/timeline?since=2026-11-22T10:00:00Z&until=2026-11-22T11:00:00Z",
    "GET /api/v1/queue/items?outlet=upload%2Fcloud&state=dead&limit=10",
    "POST /api/v1/queue/retry\n\ncontent-type: application/json\n\n{\"outlet\": \"upload/cloud\", \"seq\": 7}",
    "GET /api/v1/events/00000000000000000000000004/clip.mp4\n\nrange: bytes=2-5\nif-range: \"x\"",
    "GET /api/v1/cameras/yard/segments/00000000000000000000000004.mp4\n\nrange: bytes=-4\nif-none-match: \"x\"",
    "HEAD /api/v1/status",
    "GET /",
];

/// Sends a request that is complete whatever the input is; gives the answer's status.
async fn ask(site: &Site, input: &str) -> Option<u16> {
    let mut parts = input.splitn(3, "\n\n");
    let (line, headers, body) =
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let line = line.replace(['\r', '\n'], "");
    let framing = ["content-length", "transfer-encoding", "connection", "upgrade", "expect"];
    let own = |line: &&str| !framing.iter().any(|name| line.to_ascii_lowercase().contains(name)) && !line.is_empty();
    let headers: String = headers.lines().filter(own).map(|line| format!("{line}\r\n")).collect();
    let request = format!(
        "{line} HTTP/1.1\r\nhost: {}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n{body}",
        site.address,
        body.len()
    );
    let mut stream = TcpStream::connect(site.address).await.expect("connect");
    // The server may answer and close while it is being written to.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let head = answer.strip_prefix(b"HTTP/1.1 ").or(answer.strip_prefix(b"HTTP/1.0 "))?;
    std::str::from_utf8(head.get(..3)?).ok()?.parse().ok()
}

#[test]
fn any_request_is_answered_and_none_with_an_error_of_the_server() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let site = runtime.block_on(async { Site::open(with_files().await).await });
    let words =
        ["%00", "%2e%2e%2f", "../", "&limit=", "&since=", "bytes=", "range: ", "-0", "%ff", "?", "\n\n", "event.json"];
    crate::fuzz::run("http", &SEEDS.map(str::as_bytes), &words, |input| {
        let text = String::from_utf8_lossy(input);
        let status = runtime.block_on(ask(&site, &text));
        let allowed = status.is_some_and(|status| status < 500 || matches!(status, 501 | 503 | 505));
        assert!(allowed, "{status:?} for {text:?}");
        let path = text.split(['?', '\n']).next().unwrap_or_default();
        let known = SEEDS.iter().position(|seed| seed.starts_with(path));
        format!("{status:?} {known:?}")
    });
}
