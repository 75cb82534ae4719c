//! Who is served, by which way, and under which names.

use tokio::io::AsyncRead;
use tokio::net::UnixStream;

use super::*;
use crate::web::peer::Peer;
use crate::web::server::LocalSocket;

/// The page's routes, as the server calls them.
fn routes(bench: &Bench) -> Router {
    let names = Names { host: vec!["box-7".to_owned()], configured: vec!["cams.farm.example".to_owned()] };
    router(bench.services.clone(), 16, names, None, CancellationToken::new())
}

/// The status of the answer to a request that reached the listener on `listen`.
async fn status(bench: &Bench, listen: Option<&str>, peer: Option<Peer>, request: axum::http::request::Builder) -> u16 {
    let mut request = request.body(axum::body::Body::empty()).expect("a request");
    if let Some(listen) = listen {
        request.extensions_mut().insert(guard::ListenAddress(listen.parse().expect("an address")));
    }
    if let Some(peer) = peer {
        request.extensions_mut().insert(peer);
    }
    server::answer(routes(bench), request).await.status().as_u16()
}

fn tcp(address: &str) -> Option<Peer> {
    Some(Peer::Tcp { address: address.parse().expect("an address"), is_tls: true })
}

fn request(path: &str, host: &str) -> axum::http::request::Builder {
    axum::http::Request::get(path).header("host", host)
}

#[tokio::test]
async fn without_users_the_box_itself_is_served_and_strangers_are_not() {
    let bench = with_files().await;
    let all = ["/", "/metrics", "/api/v1/status", "/api/v1/config"];
    for path in all.into_iter().chain([media("digits.mp4").as_str()]) {
        let ask = || request(path, "10.0.0.5");
        let refused = if path.starts_with("/api/") { 401 } else { 303 };
        assert_eq!(status(&bench, Some("0.0.0.0"), tcp("10.0.0.9:5000"), ask()).await, refused, "{path}");
        assert_eq!(status(&bench, Some("0.0.0.0"), None, ask()).await, refused, "{path}: the other end is not known");
        assert_eq!(status(&bench, Some("0.0.0.0"), tcp("127.0.0.1:5000"), ask()).await, 200, "{path}");
        assert_eq!(status(&bench, None, Some(Peer::Local { uid: 7, gid: 7 }), ask()).await, 200, "{path}");
    }
}

#[tokio::test]
async fn the_host_has_to_be_ours_in_every_version_of_http() {
    let bench = Bench::new();
    let http2 = |uri: &str| axum::http::Request::get(uri).version(axum::http::Version::HTTP_2);
    for (listen, request, expected) in [
        ("127.0.0.1", request("/healthz", "127.0.0.1:8080"), 200),
        ("127.0.0.1", request("/healthz", "box-7"), 421),
        ("127.0.0.1", request("/healthz", "cams.farm.example"), 200),
        ("0.0.0.0", request("/healthz", "box-7:8080"), 200),
        ("0.0.0.0", request("/healthz", "10.0.0.5"), 200),
        ("0.0.0.0", request("/healthz", "evil.example"), 421),
        ("127.0.0.1", http2("https://localhost:8080/healthz"), 200),
        ("127.0.0.1", http2("https://evil.example/healthz"), 421),
        ("127.0.0.1", http2("https://localhost/healthz").header("host", "evil.example"), 421),
        ("127.0.0.1", http2("/healthz"), 421),
    ] {
        let said = format!("{listen} {request:?}");
        assert_eq!(status(&bench, Some(listen), tcp("127.0.0.1:5000"), request).await, expected, "{said}");
    }
    // Browsers cannot reach the local socket, so it has no name that could be rebound.
    let local = Some(Peer::Local { uid: 1, gid: 1 });
    assert_eq!(status(&bench, None, local, request("/healthz", "anything")).await, 200);
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused_in_words() {
    let site = Site::open(Bench::new()).await;
    let long = site.ask("GET", "/healthz", &format!("X-Long: {}\r\n", "x".repeat(20_000))).await;
    assert_eq!((long.status, &long.problem()["code"]), (431, &"headers_too_large".into()));
    assert_eq!(site.ask("GET", "/healthz", &format!("X-Long: {}\r\n", "x".repeat(200_000))).await.status, 431);
    let uri = site.get(&format!("/{}", "x".repeat(5000))).await;
    assert_eq!((uri.status, &uri.problem()["code"]), (414, &"uri_too_long".into()));
}

async fn ask_locally(path: &Path) -> String {
    let mut stream = UnixStream::connect(path).await.expect("connect");
    stream.write_all(b"GET /api/v1/status HTTP/1.1\r\nConnection: close\r\n\r\n").await.expect("write");
    text_of(&mut stream).await
}

async fn text_of(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.expect("an answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn programs_on_the_box_ask_by_the_local_socket_and_its_file_goes_with_the_daemon() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::open(Bench::new()).await;
    let path = site.folder.path().join("api.sock");
    // What a daemon left that was killed.
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale socket"));
    let (page, stop) = (site.page.clone(), CancellationToken::new());
    let stopped = stop.clone();
    let task = tokio::spawn(async move { page.serve_local(stopped).await });
    let mode = loop {
        if UnixStream::connect(&path).await.is_ok() {
            break std::fs::metadata(&path).expect("a file").permissions().mode();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    assert_eq!(mode & 0o777, 0o600, "a group is let in only where the place was chosen");
    let answer = ask_locally(&path).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("\"device\":\"box-7\""), "{answer}");
    stop.cancel();
    task.await.expect("no panic");
    assert!(!path.exists());
}

#[tokio::test(start_paused = true)]
async fn the_socket_of_a_daemon_that_lives_and_other_files_are_left_alone() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("api.sock");
    let first = LocalSocket::bind(&path, true).await.expect("bind");
    let said = format!("{:#}", LocalSocket::bind(&path, true).await.expect_err("taken"));
    assert!(said.contains("another daemon listens on") && said.contains("web.socket"), "{said}");
    assert!(UnixStream::connect(&path).await.is_ok());
    let permissions = std::fs::metadata(&path).expect("the socket").permissions();
    let mode = std::os::unix::fs::PermissionsExt::mode(&permissions);
    assert_eq!(mode & 0o777, 0o660, "for the group of the service");
    // The page of before leaves a moment later.
    let next = async { LocalSocket::bind(&path, true).await.expect("handed over") };
    let leave = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        drop(first);
    };
    let (second, ()) = futures::future::join(next, leave).await;
    assert!(UnixStream::connect(&path).await.is_ok());
    drop(second);
    std::fs::write(&path, "letters").expect("write");
    let said = format!("{:#}", LocalSocket::bind(&path, true).await.expect_err("a file"));
    assert!(said.contains("is no socket"), "{said}");
    assert_eq!(std::fs::read_to_string(&path).expect("read"), "letters");
    let long = dir.path().join("x".repeat(120));
    let said = format!("{:#}", LocalSocket::bind(&long, true).await.expect_err("too long"));
    assert!(said.contains("too long for a socket"), "{said}");
}
