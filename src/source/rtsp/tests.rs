#[allow(dead_code, reason = "the scenarios use other settings")]
#[path = "../../../tests/it/harness/scripted_rtsp.rs"]
mod scripted_rtsp;

use std::sync::PoisonError;
use std::time::Duration;

use super::password::read_password;
use super::sessions::{GROUPS, group_of};
use super::*;
use crate::clock::SystemClock;
use crate::source::Role;

use scripted_rtsp::{Camera, Manners};

async fn refused(config: Config) -> SourceError {
    let clock = Arc::new(SystemClock::new());
    crate::source::connect(&config, Role::Main, clock).await.err().expect("must not connect")
}

fn at(port: u16) -> Config {
    Config { url: format!("rtsp://127.0.0.1:{port}/x"), ..Config::default() }
}

/// Answers one request with `answer` and closes; returns the port.
async fn camera_that_says(answer: &'static str) -> u16 {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.expect("accept");
        let mut request = [0; 1024];
        let _ = connection.read(&mut request).await;
        let _ = connection.write_all(answer.as_bytes()).await;
    });
    port
}

#[tokio::test]
async fn a_closed_port_is_unreachable() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    let port = listener.local_addr().expect("address").port();
    drop(listener);
    let error = refused(at(port)).await;
    assert!(matches!(&error, SourceError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("cannot be reached: connection refused; check power"), "{error}");
}

#[tokio::test]
async fn answers_of_a_camera_are_told_apart() {
    let cases = [
        ("RTSP/1.0 401 Unauthorized\r\nCSeq: 1\r\nWWW-Authenticate: Basic realm=\"x\"\r\n\r\n", "refuses access"),
        ("RTSP/1.0 403 Forbidden\r\nCSeq: 1\r\n\r\n", "refuses access"),
        ("RTSP/1.0 404 Not Found\r\nCSeq: 1\r\n\r\n", "not found"),
        ("RTSP/1.0 453 Not Enough Bandwidth\r\nCSeq: 1\r\n\r\n", "is busy"),
        ("RTSP/1.0 500 Internal Server Error\r\nCSeq: 1\r\n\r\n", "misbehaves"),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", "misbehaves"),
        ("", "misbehaves"),
    ];
    for (answer, expected) in cases {
        let error = refused(at(camera_that_says(answer).await)).await.to_string();
        assert!(error.contains(expected) && !error.contains('\n'), "{answer:?}: {error}");
    }
}

#[tokio::test]
async fn a_password_file_that_is_missing_or_wrong_is_named() {
    let dir = tempfile::tempdir().expect("tempdir");
    let with = |text: Option<&str>| {
        let path = dir.path().join("password");
        if let Some(text) = text {
            std::fs::write(&path, text).expect("write");
        }
        Config { username: Some("root".into()), password_file: Some(path), ..at(9) }
    };
    for (text, expected) in [(None, "cannot be read"), (Some("\n"), "is empty"), (Some("a\nb\n"), "more than one")] {
        let error = refused(with(text)).await;
        assert!(matches!(&error, SourceError::Unauthorised { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert_eq!(read_password(&with(Some("s3 cret\r\n")).password_file.expect("set")).await, Ok("s3 cret".to_owned()));
}

#[test]
fn open_gops_of_h265_begin_with_key_frames_too() {
    let unit = |kind: u8| [0, 0, 0, 3, kind << 1, 1, 0xaa];
    let picture = |kinds: &[u8]| kinds.iter().flat_map(|kind| unit(*kind)).collect::<Vec<_>>();
    assert!(has_irap(&picture(&[35, 21])), "CRA behind a delimiter");
    assert!(has_irap(&picture(&[19])), "IDR");
    assert!(!has_irap(&picture(&[35, 39, 1])), "a trailing picture");
    assert!(!has_irap(&[0, 0, 0, 9, 42]) && !has_irap(&[0, 0]) && !has_irap(&[]), "cut off");
}

#[test]
fn an_address_has_one_session_group_while_it_is_in_use() {
    let url = Url::parse("rtsp://group.test/a").expect("valid");
    let first = group_of(&url);
    assert!(Arc::ptr_eq(&first, &group_of(&url)));
    drop(first);
    group_of(&Url::parse("rtsp://group.test/b").expect("valid"));
    let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(!groups.contains_key(&url), "a dead group is forgotten");
}

async fn packets(source: &mut dyn Source, count: usize) -> Vec<Packet> {
    let mut packets = Vec::new();
    while packets.len() < count {
        packets.push(source.next().await.expect("a packet"));
    }
    packets
}

fn of(camera: &Camera) -> Config {
    Config { url: camera.url(), ..Config::default() }
}

async fn open(config: &Config) -> Result<Box<dyn Source>, SourceError> {
    crate::source::connect(config, Role::Main, Arc::new(SystemClock::new())).await
}

#[tokio::test]
async fn a_scripted_camera_plays_by_both_ways() {
    let camera = Camera::start(Manners { interval: Duration::from_millis(5), ..Manners::default() });
    for transport in [Transport::Tcp, Transport::Udp] {
        let mut source = open(&Config { transport, ..of(&camera) }).await.expect("connects");
        let packets = packets(&mut *source, 25).await;
        let keys: Vec<_> = packets.iter().map(|packet| packet.key_frame).collect();
        assert!((0..25).all(|i| keys[i] == (i % 10 == 0)), "{transport:?}: {keys:?}");
        assert_eq!((packets[0].stream.width, packets[0].stream.height), (96, 64));
    }
}

#[tokio::test]
async fn pictures_without_parameters_are_counted_as_packets_that_come() {
    let manners = Manners { parameters_in_sdp: false, begins_with: 3, ..Manners::default() };
    let camera = Camera::start(Manners { interval: Duration::from_millis(20), ..manners });
    let mut source = open(&of(&camera)).await.expect("connects");
    assert_eq!(source.arrivals(), Arrivals::default());
    let first = packets(&mut *source, 1).await;
    assert!(first[0].key_frame && !first[0].stream.extradata.is_empty());
    let arrivals = source.arrivals();
    assert_eq!(arrivals.unusable, 7, "the rest of the group that was joined");
    assert!(arrivals.why.expect("a reason").contains("H.264 comes without parameter sets so far"));
}
