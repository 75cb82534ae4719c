//! Cameras that offer WHEP, behind an HTTP server that answers as a script says.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::source::{Config as SourceConfig, Role, SourceError};
use crate::webrtc::connect;

/// A request: its first line, its headers in lower case, and its body.
#[derive(Clone, Debug)]
struct Asked {
    line: String,
    head: String,
    body: String,
}

/// A camera.
struct Camera {
    port: u16,
    asked: Arc<Mutex<Vec<Asked>>>,
    site: Arc<TestBox>,
}

type Script = fn(&Asked) -> Option<String>;

impl Camera {
    /// One that answers with what `script` gives, and otherwise does what it is asked. It plays `pictures` pictures to each
    /// that connects.
    async fn start(script: Script, pictures: usize) -> Self {
        let site = Arc::new(TestBox::start().await);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
        let port = listener.local_addr().expect("address").port();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (list, own) = (asked.clone(), site.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (list, site) = (list.clone(), own.clone());
                tokio::spawn(async move {
                    while let Some(request) = read(&mut stream).await {
                        list.lock().push(request.clone());
                        let answer = match script(&request) {
                            Some(answer) => answer,
                            None => act(&site, &request, pictures).await,
                        };
                        stream.write_all(answer.as_bytes()).await.expect("written");
                    }
                });
            }
        });
        Self { port, asked, site }
    }

    fn config(&self) -> SourceConfig {
        SourceConfig { url: format!("whep+http://127.0.0.1:{}/cam", self.port), ..SourceConfig::default() }
    }

    async fn connect(&self) -> Result<Box<dyn Source>, SourceError> {
        connect(self.config(), Role::Main, self.site.sessions.clock()).await
    }

    /// Waits until something was asked.
    async fn until(&self, line: &str) -> Asked {
        loop {
            if let Some(asked) = self.asked.lock().iter().find(|asked| asked.line.starts_with(line)) {
                return asked.clone();
            }
            tokio::task::yield_now().await;
        }
    }
}

async fn read(stream: &mut TcpStream) -> Option<Asked> {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or("0", str::trim);
            if body.len() >= length.parse().expect("a length") {
                let line = text.lines().next().unwrap_or_default().to_owned();
                return Some(Asked { line, head, body: body.to_owned() });
            }
        }
        let mut buffer = [0; 4096];
        let read = stream.read(&mut buffer).await.ok().filter(|read| *read > 0)?;
        bytes.extend_from_slice(&buffer[..read]);
    }
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// Begins or ends a session.
async fn act(site: &TestBox, asked: &Asked, pictures: usize) -> String {
    if let Some(rest) = asked.line.strip_prefix("DELETE /sessions/") {
        let id = rest.split(' ').next().expect("an id");
        return match site.sessions.end("phone", &SessionId::from(id)).await {
            Ok(()) => answer("200 OK", "", ""),
            Err(refusal) => answer("404 Not Found", "", &refusal.to_string()),
        };
    }
    let mut pace = tokio::time::interval(Duration::from_millis(20));
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let paced = stream::unfold(pace, async |mut pace| Some((pace.tick().await, pace)));
    let some = paced.zip(stream::iter(h264().iter().cycle().enumerate())).take(pictures);
    let pictures = some.map(|(_, (i, picture))| Packet { at: Mono(i as u64 * 100_000_000), ..picture.clone() });
    let opened = site.begin(asked.body.clone(), Purpose::Play(pictures.boxed())).await.expect("begun");
    let headers = format!("Content-Type: application/sdp\r\nLocation: ../sessions/{}\r\n", opened.id.as_str());
    answer("201 Created", &headers, &opened.answer)
}

#[tokio::test]
async fn a_camera_is_asked_for_its_pictures_and_its_session_is_deleted() {
    let camera = Camera::start(|_| None, usize::MAX).await;
    let mut source = camera.connect().await.expect("connected");
    let taken = take(&mut *source, |taken| taken.iter().filter(|packet| packet.key_frame).count() == 4).await;
    assert!(taken[0].key_frame && taken[0].stream.codec == Codec::H264 && taken[0].stream.width == 640);
    assert!(taken.windows(2).all(|two| two[0].at < two[1].at), "times grow");
    let sent: Vec<_> = h264().iter().map(|packet| units(&packet.data)).collect();
    let place = |packet: &Packet| sent.iter().position(|sent| *sent == units(&packet.data));
    let places: Vec<usize> = taken.iter().map(|packet| place(packet).expect("a picture of the camera")).collect();
    assert!(places.windows(2).all(|two| two[1] == (two[0] + 1) % sent.len()), "{places:?}");
    let offer = camera.until("POST").await;
    assert!(offer.head.contains("content-type: application/sdp") && offer.body.contains("a=recvonly"), "{offer:?}");
    assert!(!offer.head.contains("authorization"), "{offer:?}");
    while source.traffic().is_none_or(|traffic| traffic.packets == 0) {
        source.next().await.expect("a picture");
    }
    drop(source);
    camera.until("DELETE /sessions/").await;
}

#[tokio::test]
async fn the_end_of_a_camera_is_an_end_with_a_reason() {
    let camera = Camera::start(|_| None, 25).await;
    let mut source = camera.connect().await.expect("connected");
    let end = loop {
        if let Err(end) = source.next().await {
            break end;
        }
    };
    assert!(matches!(&end, SourceError::Lost { what, .. } if what.starts_with("whep+http://127")), "{end}");
    assert!(end.to_string().contains("it was ended there"), "{end}");
    assert!(source.next().await.is_err(), "it stays over");
}

#[tokio::test]
async fn an_offer_follows_redirections_that_keep_it_and_sessions_are_relative_to_where_it_went() {
    let camera = Camera::start(
        |asked| {
            let moved = asked.line.starts_with("POST /cam ");
            moved.then(|| answer("307 Temporary Redirect", "Location: /elsewhere/whep\r\n", ""))
        },
        usize::MAX,
    )
    .await;
    let mut source = camera.connect().await.expect("connected");
    source.next().await.expect("a picture");
    assert!(camera.until("POST /elsewhere/whep").await.body.contains("a=recvonly"));
    drop(source);
    camera.until("DELETE /sessions/").await;
}

#[tokio::test]
async fn the_token_stays_with_the_camera_where_an_offer_is_led_to_another_host() {
    static ELSEWHERE: AtomicU16 = AtomicU16::new(0);
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "the-token\n").expect("write");
    let other = Camera::start(|_| None, usize::MAX).await;
    ELSEWHERE.store(other.port, Ordering::Relaxed);
    let led = |_: &Asked| {
        let to = format!("Location: http://127.0.0.1:{}/cam\r\n", ELSEWHERE.load(Ordering::Relaxed));
        Some(answer("307 Temporary Redirect", &to, ""))
    };
    let camera = Camera::start(led, 1).await;
    let config = SourceConfig { password_file: Some(file), ..camera.config() };
    drop(connect(config, Role::Main, camera.site.sessions.clock()).await.expect("connected"));
    assert!(camera.until("POST").await.head.contains("authorization: bearer the-token"));
    other.until("DELETE").await;
    assert!(other.asked.lock().iter().all(|asked| !asked.head.contains("authorization")), "{:?}", other.asked);
}

#[tokio::test]
async fn the_token_is_shown_and_its_refusal_said() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("token");
    std::fs::write(&file, "the-token\n").expect("write");
    let camera = Camera::start(
        |asked| {
            let shows = asked.head.contains("authorization: bearer the-token");
            (!shows).then(|| answer("401 Unauthorized", "", r#"{"detail": "log in"}"#))
        },
        usize::MAX,
    )
    .await;
    let fault = camera.connect().await.map(drop).expect_err("no token");
    assert!(matches!(&fault, SourceError::Unauthorised { .. }), "{fault}");
    assert!(fault.to_string().contains("log in") && fault.to_string().contains("set password_file"), "{fault}");
    let with = |file| SourceConfig { password_file: Some(file), ..camera.config() };
    let source = connect(with(file.clone()), Role::Main, camera.site.sessions.clock()).await.expect("let in");
    drop(source);
    assert!(camera.until("DELETE").await.head.contains("authorization: bearer the-token"));
    std::fs::write(&file, "another\n").expect("write");
    let fault = connect(with(file.clone()), Role::Main, camera.site.sessions.clock()).await.map(drop);
    let fault = fault.expect_err("another token").to_string();
    assert!(fault.contains("the token in password_file") && !fault.contains("another"), "{fault}");
    let missing = connect(with(folder.path().join("none")), Role::Main, camera.site.sessions.clock()).await.map(drop);
    assert!(missing.expect_err("no file").to_string().contains("cannot be read"));
}

#[tokio::test]
async fn refusals_say_what_is_wrong_and_what_to_do() {
    let says = async |script: Script| {
        let camera = Camera::start(script, 1).await;
        camera.connect().await.map(drop).expect_err("refused")
    };
    let fault = says(|_| Some(answer("404 Not Found", "", "no such stream"))).await;
    assert!(matches!(&fault, SourceError::NotFound { reason, .. } if reason.contains("no such stream")), "{fault}");
    let fault = says(|_| Some(answer("503 Service Unavailable", "", r#"{"detail": "no picture yet"}"#))).await;
    assert!(matches!(&fault, SourceError::Busy { reason, .. } if reason.contains("no picture yet")), "{fault}");
    assert!(fault.is_transient());
    let fault = says(|_| Some(answer("302 Found", "Location: http://elsewhere.example/\r\n", ""))).await;
    assert!(
        matches!(&fault, SourceError::Unsupported { reason, .. } if reason.contains("elsewhere.example")),
        "{fault}"
    );
    let fault = says(|_| Some(answer("405 Method Not Allowed", "", "<html>"))).await;
    assert!(matches!(&fault, SourceError::Unsupported { reason, .. } if reason.contains("check the path")), "{fault}");
    let fault = says(|_| Some(answer("201 Created", "Content-Type: application/sdp\r\n", "v=0\r\n"))).await;
    assert!(matches!(&fault, SourceError::Protocol { reason, .. } if reason.contains("no video")), "{fault}");
    let gone = SourceConfig { url: "whep+http://127.0.0.1:1/x".to_owned(), ..SourceConfig::default() };
    let fault = connect(gone, Role::Main, Arc::new(SystemClock::new())).await.map(drop).expect_err("nothing there");
    assert!(matches!(fault, SourceError::Unreachable { .. }), "{fault}");
}

#[tokio::test]
async fn a_session_whose_answer_is_of_no_use_is_deleted() {
    let camera = Camera::start(
        |asked| {
            let begins = asked.line.starts_with("POST");
            begins.then(|| answer("201 Created", "Location: /sessions/x\r\n", "m=video 9\r\nnonsense"))
        },
        1,
    )
    .await;
    let fault = camera.connect().await.map(drop).expect_err("nonsense");
    assert!(matches!(fault, SourceError::Protocol { .. }), "{fault}");
    camera.until("DELETE /sessions/x").await;
}
