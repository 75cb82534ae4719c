use std::time::Duration;

use super::password::read_password;
use super::sessions::{self, GROUPS, group_of};
use super::*;
use crate::clock::SystemClock;
use crate::source::Role;

use crate::source::scripted_rtsp::{Camera, Manners, PASSWORD, Refuses, Ssrc, USER};

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
async fn answers_of_a_camera_are_distinguished() {
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
async fn a_description_that_cannot_be_read_is_an_error_and_no_panic() {
    let answer = "RTSP/1.0 200 OK\r\nCSeq: 1\r\nContent-Type: application/sdp\r\nContent-Length: 98\r\n\r\n\
                  v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\nno line\r\na=rtpmap:96 H264/90000\r\n";
    let (description, url) = (answer.split("\r\n\r\n").nth(1).expect("one"), at(camera_that_says(answer).await).url);
    assert_eq!(description.len(), 98);
    let url = Url::parse(&url).expect("valid");
    let clock = Arc::new(SystemClock::new());
    let error =
        connect(&Config::default(), url, "yard".to_owned(), clock).await.err().expect("cannot be read").to_string();
    assert!(error.contains("yard misbehaves: its description cannot be read"), "{error}");
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
fn an_address_has_one_session_group_while_it_is_in_use() {
    let url = Url::parse("rtsp://group.test/a").expect("valid");
    let first = group_of(&url);
    assert!(Arc::ptr_eq(&first, &group_of(&url)));
    drop(first);
    group_of(&Url::parse("rtsp://group.test/b").expect("valid"));
    let groups = GROUPS.lock();
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

fn quick() -> Manners {
    Manners { interval: Duration::from_millis(10), ..Manners::default() }
}

/// Plays some packets and gives what read them.
async fn played(config: &Config, count: usize) -> Result<Client, SourceError> {
    let mut source = open(config).await?;
    for _ in 0..count {
        source.next().await?;
    }
    Ok(source.client().expect("a network camera has one"))
}

/// A password file for [`USER`], and the configuration with it.
fn with_login(camera: &Camera, password: &str) -> (tempfile::TempDir, Config) {
    let dir = tempfile::tempdir().expect("tempdir");
    let file = dir.path().join("password");
    std::fs::write(&file, password).expect("write");
    let config = Config { username: Some(USER.to_owned()), password_file: Some(file), ..of(camera) };
    (dir, config)
}

/// Works with: cameras | RTP-Info with a sequence number of another session; reports of another source before the first picture | are left aside
#[tokio::test]
async fn what_retina_can_be_lenient_about_it_is() {
    let info = "RTP-Info: url=rtsp://cam/live/track1;seq=40000;rtptime=12345\r\n".to_owned();
    let camera =
        Camera::start(Manners { rtp_info: Some(info), first_sequence: Some(100), stray_report: true, ..quick() });
    assert_eq!(played(&of(&camera), 15).await.expect("plays").name, "retina");
}

/// Works with: cameras | a camera that takes RTP over UDP only | is opened over UDP by itself, and remembered
#[tokio::test]
async fn a_camera_that_refuses_one_transport_gets_the_other() {
    let camera = Camera::start(Manners { refuses: Refuses::Tcp, ..quick() });
    for connection in ["first", "second"] {
        let client = played(&of(&camera), 15).await.expect(connection);
        let transport = client.transport.as_deref();
        assert_eq!((client.name, transport), ("retina", Some("UDP, as the camera refuses TCP")), "{connection}");
    }
    assert_eq!(camera.count("SETUP 461"), 1, "it is remembered: {:?}", camera.requests());
    camera.now(|manners| manners.refuses = Refuses::Udp);
    for _ in 0..2 {
        assert_eq!(played(&of(&camera), 15).await.expect("plays").transport.as_deref(), Some("TCP"));
    }
    assert_eq!(camera.count("SETUP 461"), 2, "and the other way round: {:?}", camera.requests());
}

#[tokio::test]
async fn a_transport_that_was_asked_for_is_the_only_one() {
    let camera = Camera::start(Manners { refuses: Refuses::Tcp, ..quick() });
    let error = refused(Config { transport: Transport::Tcp, ..of(&camera) }).await;
    assert!(matches!(error, SourceError::Unsupported { .. }), "{error}");
    assert!(error.to_string().ends_with("(TCP): remove transport, then the other one is tried by itself"), "{error}");
    assert_eq!(camera.count("SETUP 461"), 1);
}

/// Works with: cameras | DESCRIBE that is answered with 302 | is followed, with the password to the same host only
#[tokio::test]
async fn a_camera_that_sends_us_on_is_followed() {
    let target = Camera::start(Manners { nonce_uses: Some(100), ..quick() });
    let first = Camera::start(Manners { nonce_uses: Some(100), moved_to: Some(target.url()), ..quick() });
    let (_dir, config) = with_login(&first, PASSWORD);
    assert_eq!(played(&config, 15).await.expect("plays").name, "retina");
    assert_eq!((first.count("SETUP 200"), target.count("SETUP 200")), (0, 1));

    first.now(|manners| manners.moved_to = Some(target.url_at("localhost")));
    let error = open(&config).await.err().expect("another host");
    assert!(matches!(error, SourceError::Unauthorised { .. }), "{error}");
    assert!(error.to_string().contains("sends us on to localhost, which asks for a password"), "{error}");

    target.now(|manners| manners.moved_to = Some(first.url()));
    first.now(|manners| manners.moved_to = Some(target.url()));
    let error = open(&config).await.err().expect("a circle").to_string();
    assert!(error.contains("it sends us on more than 5 times"), "{error}");
    first.now(|manners| manners.moved_to = Some("http://127.0.0.1/login".to_owned()));
    let error = open(&config).await.err().expect("no camera").to_string();
    assert!(error.contains("it sends us on, but to an address of the scheme \"http\""), "{error}");
}

/// Works with: cameras | a synchronisation source (SSRC) that changes with each key frame (Uniview) | libavformat reads it from the second session on
#[tokio::test]
async fn a_camera_with_a_new_source_in_each_group_of_pictures_is_read_at_once() {
    let camera = Camera::start(Manners { ssrc: Ssrc::PerGop, ..quick() });
    let error = played(&of(&camera), 30).await.expect_err("retina ends with the first group of pictures");
    assert!(error.to_string().contains("change their synchronisation source"), "{error}");
    assert_eq!(played(&of(&camera), 60).await.expect("plays").name, "libavformat");
}

#[tokio::test]
async fn a_source_that_is_none_of_the_known_ones_is_not_waited_for() {
    let camera = Camera::start(Manners { ssrc: Ssrc::PerGop, ..quick() });
    let (url, group) =
        (Url::parse(&camera.url()).expect("valid"), group_of(&Url::parse(&camera.url()).expect("valid")));
    played(&of(&camera), 30).await.expect_err("retina ends with the first group of pictures");
    let wait = || tokio::time::timeout(Duration::from_secs(40), sessions::wait_out_stale_sessions(&group, &url, "cam"));
    wait().await.expect("retina's guess of 65 s is not waited for");
    sessions::sends_into_others(&url);
    let known =
        tokio::time::timeout(Duration::from_millis(200), sessions::wait_out_stale_sessions(&group, &url, "cam"));
    known.await.expect_err("software that does so is waited for");
}

/// Works with: cameras | SETUP that names another synchronisation source (SSRC) than the packets have | libavformat reads it
#[tokio::test]
async fn a_camera_that_names_another_source_than_its_packets_have_is_read() {
    let camera = Camera::start(Manners { claimed_ssrc: Some(0x1234_5678), ..quick() });
    for _ in 0..2 {
        let client = played(&of(&camera), 30).await.expect("plays");
        assert_eq!(client.name, "libavformat");
        assert!(client.reason.expect("a reason").contains("have another one than it said"));
    }
}

/// Works with: cameras | a digest nonce that goes stale within a session | libavformat keeps the session alive; it is not taken for a wrong password
#[tokio::test]
async fn a_nonce_that_goes_stale_loses_the_session_once() {
    let camera = Camera::start(Manners {
        interval: Duration::from_millis(50),
        nonce_uses: Some(3),
        session_suffix: ";timeout=2".to_owned(),
        session_timeout: Some(Duration::from_secs(20)),
        ..Manners::default()
    });
    let (_dir, config) = with_login(&camera, PASSWORD);
    let error = played(&config, usize::MAX).await.expect_err("the third request after the nonce is refused");
    assert!(error.to_string().contains("misbehaves: its digest nonce went stale"), "{error}");
    let mut source = open(&config).await.expect("opens");
    assert_eq!(source.client().map(|client| client.name), Some("libavformat"));
    while camera.count("GET_PARAMETER 401") < 2 || camera.requests().last().is_none_or(|last| last.ends_with("401")) {
        source.next().await.expect("the session goes on, though the nonce goes stale again and again");
    }
}

#[tokio::test]
async fn a_nonce_for_one_request_is_no_wrong_password_and_a_wrong_password_is_one() {
    let camera = Camera::start(Manners { nonce_uses: Some(1), ..quick() });
    let (_dir, config) = with_login(&camera, PASSWORD);
    let client = played(&config, 15).await.expect("plays");
    assert_eq!(client.name, "libavformat");
    assert!(client.reason.expect("a reason").contains("its digest nonce went stale before SETUP"));
    for uses in [1, 100] {
        let camera = Camera::start(Manners { nonce_uses: Some(uses), ..quick() });
        let (_dir, config) = with_login(&camera, "wrong");
        let error = refused(config).await;
        assert!(matches!(error, SourceError::Unauthorised { .. }), "{error}");
    }
}
