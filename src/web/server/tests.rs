//! The server over real sockets, with routes of the tests' own.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::Bytes;
use axum::extract::WebSocketUpgrade;
use axum::extract::ws::{Message, WebSocket};
use axum::routing::{get, post};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use super::*;
use crate::web::tls;

/// For what must happen some time.
const PATIENCE: Duration = Duration::from_secs(120);

struct Site {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
    tls: Option<(Tls, tempfile::TempDir)>,
}

impl Site {
    async fn open(routes: Router) -> Self {
        Self::start(routes, None).await
    }

    async fn start(routes: Router, tls: Option<(Tls, tempfile::TempDir)>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let address = listener.local_addr().expect("an address");
        let listener = Listener::Tcp(listener, tls.as_ref().map(|(tls, _)| tls.clone()));
        let (server, stop) = (Server::new(routes, at("/", get(async || "plain"))), CancellationToken::new());
        let stopped = stop.clone();
        let task = tokio::spawn(async move { server.serve(vec![listener], stopped).await });
        Self { address, stop, task, tls }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.expect("connect")
    }

    async fn send(&self, bytes: &str) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_bytes()).await.expect("write");
        stream
    }

    async fn get(&self, path: &str) -> String {
        let stream = self.send(&format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")).await;
        to_end(stream).await
    }

    async fn end(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task).await.expect("the server ends").expect("no panic");
    }
}

/// Everything until the server closes the connection, however it does.
async fn to_end(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("an end");
    String::from_utf8_lossy(&answer).into_owned()
}

fn hello() -> Router {
    at("/", get(|| async { "hello" })).merge(at("/healthz", get(|| async { "alive" })))
}

fn at(path: &str, answer: axum::routing::MethodRouter) -> Router {
    Router::new().route(path, answer)
}

/// Keeps sending `byte` every few seconds until the server has had enough.
async fn trickle(mut stream: TcpStream, byte: &[u8]) {
    for _ in 0..1000 {
        tokio::time::sleep(Duration::from_secs(5)).await;
        let mut answer = [0; 1024];
        match stream.try_read(&mut answer) {
            Ok(0) => return,
            Err(e) if e.kind() != io::ErrorKind::WouldBlock => return,
            _ => {}
        }
        if stream.write_all(byte).await.is_err() {
            return;
        }
    }
    panic!("the server takes a byte every five seconds for ever");
}

// Time stands still but while all wait, and then goes to the next deadline.
#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_in_is_not_waited_for() {
    let site = Site::open(hello()).await;
    for beginning in ["", "GET / HTTP/1.1\r\n", "GET / HTTP/1.1\r\nHost: x\r\nX-", "PRI * HTTP/2.0\r\n"] {
        trickle(site.send(beginning).await, b"a").await;
    }
    let idle = site.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(to_end(idle).await.ends_with("hello"), "a connection without a further request ends too");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_trickles_in_is_not_waited_for() {
    let take = |body: axum::body::Body| async move {
        axum::body::to_bytes(body, 1 << 20).await.map(|all| all.len().to_string()).unwrap_or_default()
    };
    let site = Site::open(at("/", post(take))).await;
    let head = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n";
    trickle(site.send(head).await, b"a").await;
    // One that comes at a pace is taken, however long it takes.
    let mut stream = site.send(head).await;
    for _ in 0..100 {
        stream.write_all(&[b'a'; 1000]).await.expect("write");
        tokio::time::sleep(Duration::from_millis(900)).await;
    }
    let mut answer = [0; 4096];
    let n = stream.read(&mut answer).await.expect("an answer");
    assert!(String::from_utf8_lossy(&answer[..n]).ends_with("100000"));
}

/// An answer without an end.
fn endless() -> Router {
    let body = || async {
        let more = || Ok::<_, io::Error>(Bytes::from_static(&[0; 4096]));
        axum::body::Body::from_stream(futures::stream::repeat_with(more))
    };
    at("/endless", get(body))
}

#[tokio::test]
async fn a_head_that_cannot_be_read_is_refused_in_words() {
    let site = Site::open(hello()).await;
    let many = "X: y\r\n".repeat(150);
    for (request, status, code) in [
        (format!("GET / HTTP/1.1\r\nHost: x\r\n{many}\r\n"), 431, "headers_too_large"),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX: {}\r\n\r\n", "y".repeat(2 * MOST_HEAD)), 431, "headers_too_large"),
        (format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "y".repeat(65_535)), 414, "uri_too_long"),
        ("GET / / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400, "bad_request"),
        ("\u{1}\u{2}\r\n\r\n".to_owned(), 400, "bad_request"),
    ] {
        let answer = to_end(site.send(&request).await).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{head}");
        assert!(head.contains("content-type: application/problem+json"), "{head}");
        assert!(head.contains(&format!("content-length: {}", body.len())), "{head}");
        let problem: serde_json::Value = serde_json::from_str(body).expect("JSON");
        assert_eq!((&problem["code"], &problem["status"]), (&code.into(), &status.into()));
    }
}

#[tokio::test]
async fn a_crowd_of_idle_connections_keeps_no_one_out() {
    let site = Site::open(hello()).await;
    let mut crowd = Vec::new();
    for n in 0..300 {
        crowd.push(site.send(["", "GET / HTTP/1.1\r\nHost:"][n % 2]).await);
        if n % 50 == 0 {
            assert!(site.get("/").await.ends_with("hello"), "{n}");
        }
    }
    assert!(site.get("/").await.ends_with("hello"));
    // The first to come were the first to go.
    assert_eq!(to_end(crowd.swap_remove(0)).await, "");
    site.end().await;
}

#[tokio::test]
async fn requests_in_flight_do_not_give_way_and_others_are_refused() {
    let wait = CancellationToken::new();
    let (go, waiting) = (wait.clone(), Arc::new(AtomicUsize::new(0)));
    let count = waiting.clone();
    let held = move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        go.cancelled().await;
        "held"
    };
    let site = Site::open(hello().merge(at("/held", get(held)))).await;
    let mut crowd = Vec::new();
    for _ in 0..128 {
        crowd.push(site.send("GET /held HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await);
    }
    while waiting.load(Ordering::SeqCst) < 128 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let refused = site.get("/").await;
    assert!(refused.starts_with("HTTP/1.1 503 ") && refused.contains("too_many_connections"), "{refused}");
    assert!(refused.contains("\r\nconnection: close\r\n"), "{refused}");
    assert!(site.get("/healthz").await.ends_with("alive"), "who watches the box is answered");
    wait.cancel();
    for stream in crowd {
        assert!(to_end(stream).await.ends_with("held"));
    }
    assert!(site.get("/").await.ends_with("hello"));
}

async fn echo(mut socket: WebSocket) {
    while let Some(Ok(Message::Text(text))) = socket.recv().await {
        let _ = socket.send(Message::Text(text)).await;
    }
}

#[tokio::test]
async fn a_websocket_lives_on_and_ends_with_the_server() {
    let routes = hello().merge(at("/ws", get(|upgrade: WebSocketUpgrade| async { upgrade.on_upgrade(echo) })));
    let site = Site::open(routes).await;
    let mut stream = site
        .send(
            "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )
        .await;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a head"));
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    // A crowd does not push it out: it is in use.
    let mut crowd = Vec::new();
    for _ in 0..200 {
        crowd.push(site.connect().await);
    }
    // One frame: final, text, masked with zeros.
    stream.write_all(&[0x81, 0x82, 0, 0, 0, 0, b'h', b'i']).await.expect("write");
    let mut frame = [0; 4];
    stream.read_exact(&mut frame).await.expect("a frame");
    assert_eq!(frame, [0x81, 2, b'h', b'i']);
    site.end().await;
    to_end(stream).await;
}

/// A connection by TLS that speaks `protocol`, to a server whose certificate is known.
async fn by_tls(site: &Site, protocol: &[u8]) -> tokio_rustls::client::TlsStream<TcpStream> {
    let mut roots = rustls::RootCertStore::empty();
    let (tls, _) = site.tls.as_ref().expect("TLS");
    roots.add(tls.certificate()).expect("a certificate");
    let mut client = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(roots)
        .with_no_client_auth();
    client.alpn_protocols = vec![protocol.to_vec()];
    let name = "localhost".try_into().expect("a name");
    let stream = site.connect().await;
    tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await.expect("a handshake")
}

async fn with_tls(routes: Router) -> Site {
    let folder = tempfile::tempdir().expect("tempdir");
    let clock: Arc<dyn crate::clock::Clock> = Arc::new(crate::clock::SystemClock::new());
    let tls = Tls::new(&tls::Config::default(), folder.path(), &clock).await.expect("a certificate");
    Site::start(routes, Some((tls, folder))).await
}

#[tokio::test]
async fn tls_is_spoken_with_a_certificate_of_the_boxs_own() {
    let site = with_tls(hello()).await;
    let mut stream = by_tls(&site, b"http/1.1").await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.expect("write");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    assert!(answer.ends_with(b"hello"), "{}", String::from_utf8_lossy(&answer));
    site.end().await;
}

#[tokio::test]
async fn http_without_tls_is_answered_where_tls_is_spoken() {
    let site = with_tls(hello()).await;
    let answer = site.get("/").await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("plain"), "{answer}");
    to_end(site.send("\u{1}\u{2}\u{3}\r\n\r\n").await).await;
    site.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_never_comes_is_not_waited_for() {
    let site = with_tls(hello()).await;
    trickle(site.connect().await, b"").await;
}

/// A frame of HTTP/2.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
/// GET, https, /, and a host named x, in HPACK: four entries, the last with a value of its own.
const REQUEST: [u8; 6] = [0x82, 0x87, 0x84, 0x41, 0x01, b'x'];

/// The next frame: kind and payload; none at the end.
async fn next_frame(stream: &mut (impl AsyncRead + Unpin)) -> Option<(u8, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], payload))
}

#[tokio::test]
async fn http2_answers_and_requests_that_are_reset_at_once_end_the_connection() {
    let (started, asked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let count = started.clone();
    let slow = move || async move {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::pending::<()>().await;
    };
    let site = with_tls(hello().merge(at("/slow", get(slow)))).await;

    let mut stream = by_tls(&site, b"h2").await;
    stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.expect("write");
    stream.write_all(&frame(HEADERS, 5, 1, &REQUEST)).await.expect("write");
    let block = loop {
        let (kind, payload) = next_frame(&mut stream).await.expect("an answer");
        if kind == HEADERS {
            break payload;
        }
    };
    assert_eq!(block[0], 0x88, "status 200 in HPACK: {block:?}");

    let stream = by_tls(&site, b"h2").await;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let path = [&[0x82, 0x87, 0x04, 0x05][..], b"/slow", &[0x41, 0x01, b'x']].concat();
    let sent = asked.clone();
    let flood = async move {
        writer.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.ok()?;
        for n in 0..100_000u32 {
            let id = 2 * n + 1;
            let one = [frame(HEADERS, 5, id, &path), frame(RST_STREAM, 0, id, &8u32.to_be_bytes())].concat();
            writer.write_all(&one).await.ok()?;
            writer.flush().await.ok()?;
            sent.fetch_add(1, Ordering::SeqCst);
            // The server gets to look at each.
            tokio::task::yield_now().await;
        }
        Some(())
    };
    let listen = async { while next_frame(&mut reader).await.is_some_and(|(kind, _)| kind != GOAWAY) {} };
    let (flooded, ()) = tokio::time::timeout(PATIENCE, futures::future::join(flood, listen)).await.expect("an end");
    assert!(flooded.is_none(), "all {} requests were taken", asked.load(Ordering::SeqCst));
    assert!(started.load(Ordering::SeqCst) <= 2000, "{started:?}");
    assert!(site.tls.is_some());
    site.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_of_http2_whose_windows_stay_shut_is_not_waited_for() {
    let site = Site::open(hello()).await;
    let mut stream = site.connect().await;
    // The windows of its streams begin with 0 bytes.
    let shut = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    stream.write_all(&[PREFACE, &shut, &frame(HEADERS, 5, 1, &REQUEST)].concat()).await.expect("write");
    let (mut answered, begun) = (false, Instant::now());
    let lives = async {
        while let Some((kind, payload)) = next_frame(&mut stream).await {
            answered |= kind == HEADERS;
            // It lives, and says so.
            if kind == PING && stream.write_all(&frame(PING, 1, 0, &payload)).await.is_err() {
                break;
            }
        }
    };
    tokio::time::timeout(PATIENCE * 10, lives).await.expect("an end");
    assert!(answered && begun.elapsed() >= IDLE);
}

#[tokio::test]
async fn a_stop_ends_what_is_open() {
    let site = Site::open(hello().merge(endless())).await;
    let open = [
        site.connect().await,
        site.send("GET / HT").await,
        site.send("GET /endless HTTP/1.1\r\nHost: x\r\n\r\n").await,
    ];
    open[2].readable().await.expect("an answer");
    site.end().await;
    for stream in open {
        to_end(stream).await;
    }
}
