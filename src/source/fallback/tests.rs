use super::*;
use crate::clock::SystemClock;
use crate::source::Role;

use crate::source::scripted_rtsp::{self, Camera, Manners, Refuses};

fn quick() -> Manners {
    Manners { interval: Duration::from_millis(10), ..Manners::default() }
}

/// A camera of which nothing is known: another one may have had its port before.
fn camera(manners: Manners) -> Camera {
    let camera = Camera::start(manners);
    known(&Url::parse(&camera.url()).expect("valid"), |known| *known = Known::default());
    camera
}

fn of(camera: &Camera) -> Config {
    Config { url: camera.url(), ..Config::default() }
}

async fn open(config: &Config) -> Result<Box<dyn Source>, SourceError> {
    crate::source::connect(config, Role::Main, Arc::new(SystemClock::new())).await
}

/// Plays some packets and gives what read them.
async fn played(config: &Config) -> Result<Client, SourceError> {
    let mut source = open(config).await?;
    let mut packets = Vec::new();
    while packets.len() < 25 {
        packets.push(source.next().await?);
    }
    let stream = &packets[0].stream;
    assert_eq!((&stream.codec, stream.width, stream.height), (&crate::frame::Codec::H264, 96, 64));
    assert!(packets.iter().filter(|packet| packet.key_frame).count() >= 2);
    assert!(packets.windows(2).all(|pair| pair[1].at > pair[0].at));
    Ok(source.client().expect("a network camera has one"))
}

/// Works with: cameras | RTSP: SDP without `v=` or with an origin line of too few fields (H3C) | retina, else libavformat
/// Works with: cameras | RTSP: `rtpmap` without a clock rate, SETUP answer without `interleaved` | retina, else libavformat
/// Works with: cameras | RTSP: `Session: id ; timeout = 60`, RTP-Info that does not fit the packets | retina, else libavformat
/// Works with: cameras | RTSP: start codes inside of RTP packets | retina, else libavformat
#[tokio::test(flavor = "multi_thread")]
async fn what_retina_refuses_libavformat_reads() {
    let standard = Manners::default().sdp;
    let said = |from: &str, to: &str| {
        assert!(standard.contains(from));
        Manners { sdp: standard.replace(from, to), ..quick() }
    };
    let with_info = |line: &str| Manners { rtp_info: Some(format!("RTP-Info: {line}\r\n")), ..quick() };
    // What retina says to it; nothing where it gets on with the camera.
    let cases = [
        ("nothing odd", quick(), None),
        ("no version line", said("v=0\r\n", ""), Some("No version line")),
        ("a short origin line", said("o=- 1 1 IN IP4 127.0.0.1", "o=- 1 1"), Some("Missing field Origin")),
        ("no clock rate", said("H264/90000", "H264"), Some("unparseable streams")),
        ("no channels", Manners { names_channels: false, ..quick() }, Some("missing interleaved")),
        (
            "spaces in the session line",
            Manners { session_suffix: " ; timeout = 60".to_owned(), ..quick() },
            Some("Unparseable Session header"),
        ),
        ("RTP-Info of another time", with_info("url=rtsp://cam/live/track1;seq=1;rtptime=12345"), None),
        ("RTP-Info of no number", with_info("url=;seq=x;rtptime=y"), Some("bad seq")),
        ("start codes", Manners { start_codes: true, ..quick() }, Some("bad nal header")),
    ];
    for (manner, manners, refusal) in cases {
        let camera = camera(manners);
        for connection in ["first", "second"] {
            let client = played(&of(&camera)).await.unwrap_or_else(|e| panic!("{manner}, {connection}: {e}"));
            let reason = client.reason.as_deref();
            match refusal {
                None => assert_eq!((client.name, reason), ("retina", None), "{manner}, {connection}"),
                Some(refusal) => {
                    assert_eq!(client.name, "libavformat", "{manner}, {connection}");
                    assert!(
                        reason.is_some_and(|reason| reason.contains(refusal)),
                        "{manner}, {connection}: {reason:?}"
                    );
                }
            }
        }
        // libavformat begins with OPTIONS, retina with DESCRIBE.
        let first_requests = camera.requests().iter().filter(|request| *request == "OPTIONS 200").count();
        assert_eq!(first_requests, if refusal.is_some() { 2 } else { 0 }, "{manner}: {:?}", camera.requests());
        if refusal.is_some() && manner != "start codes" {
            assert_eq!(camera.count("DESCRIBE 200"), 3, "{manner}: it is remembered, {:?}", camera.requests());
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_neither_client_plays_is_reported_with_both_reasons_and_tried_with_retina_again() {
    let camera = camera(Manners { sdp: "o=nothing\r\nm=\r\n".to_owned(), ..quick() });
    for _ in 0..2 {
        let error = played(&of(&camera)).await.expect_err("nothing to play");
        assert!(matches!(error, SourceError::Protocol { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("Unable to parse SDP") && text.contains("libavformat does not play it either"), "{text}");
    }
    camera.now(|manners| *manners = quick());
    assert_eq!(played(&of(&camera)).await.expect("plays").name, "retina");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_changed_since_is_asked_by_retina_again() {
    let camera = camera(Manners { names_channels: false, ..quick() });
    assert_eq!(played(&of(&camera)).await.expect("plays").name, "libavformat");
    camera.now(|manners| *manners = Manners { sdp: "v=0\r\n".to_owned(), ..quick() });
    assert!(played(&of(&camera)).await.is_err());
    camera.now(|manners| *manners = quick());
    assert_eq!(played(&of(&camera)).await.expect("plays").name, "retina");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_login_and_the_transport_are_the_same_for_both_clients() {
    let dir = tempfile::tempdir().expect("tempdir");
    let password_file = dir.path().join("password");
    std::fs::write(&password_file, scripted_rtsp::PASSWORD).expect("write");
    let sdp = Manners::default().sdp.replace("v=0\r\n", "");
    for refuses in [Refuses::Nothing, Refuses::Tcp, Refuses::Udp] {
        let camera = camera(Manners { nonce_uses: Some(99), refuses, sdp: sdp.clone(), ..quick() });
        let config = Config {
            username: Some(scripted_rtsp::USER.to_owned()),
            password_file: Some(password_file.clone()),
            ..of(&camera)
        };
        let client = played(&config).await.unwrap_or_else(|e| panic!("{refuses:?}: {e}, {:?}", camera.requests()));
        assert_eq!(client.name, "libavformat", "{refuses:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_refusal_of_retina_is_not_tried_twice() {
    let camera = camera(Manners { nonce_uses: Some(9), ..quick() });
    let error = played(&of(&camera)).await.expect_err("asks for a password");
    assert!(matches!(error, SourceError::Unauthorised { .. }), "{error}");
    assert!(!camera.requests().iter().any(|request| request.starts_with("OPTIONS")), "{:?}", camera.requests());
}

/// A source that gives one packet and is then refused.
struct Short(Option<Packet>);

impl Source for Short {
    fn next(&mut self) -> BoxFuture<'_, Result<Packet, SourceError>> {
        let refusal = SourceError::Lost { what: "cam".to_owned(), reason: "odd packets".to_owned() };
        let next = self.0.take().ok_or_else(|| SourceError::Refused(Box::new(refusal)));
        Box::pin(async move { next })
    }
}

/// Works with: cameras | RTSP: one odd packet after hours of good pictures | stays with retina
/// Works with: cameras | RTSP: odd packets soon after the start of a session, again and again | read by libavformat, and a day later by retina again
#[test]
fn one_refusal_after_long_play_does_not_move_a_camera_to_libavformat() {
    let what = || "cam".to_owned();
    let manner = SourceError::Protocol { what: what(), reason: "another SSRC".to_owned() };
    let other = SourceError::Lost { what: what(), reason: "odd packets".to_owned() };
    let (young, older, old) = (Duration::from_secs(5), 5 * YOUNG, 5 * REGULAR);
    // What ends the sessions in a row, and after which of them the camera is moved.
    type Ends<'a> = &'a [(Duration, &'a SourceError)];
    let cases: [(&str, Ends<'_>, Option<usize>); 8] = [
        ("a manner at once", &[(young, &manner)], Some(0)),
        ("once after hours", &[(old, &manner), (old, &manner), (old, &manner), (old, &manner)], None),
        ("after hours, then at once", &[(old, &manner), (young, &manner)], None),
        ("after hours, then at once twice", &[(old, &manner), (young, &manner), (young, &manner)], Some(2)),
        ("young and old by turns", &[(old, &other), (young, &other), (old, &other), (young, &other)], None),
        ("accidents at once", &[(young, &other), (young, &other)], Some(1)),
        ("a manner every few minutes", &[(older, &manner), (older, &manner), (older, &manner)], Some(2)),
        ("accidents every few minutes", &[(older, &other), (older, &other), (older, &other)], None),
    ];
    for (case, ends, expected) in cases {
        let mut known = Known::default();
        let moved = ends.iter().position(|(age, refusal)| known.note_end(*age, refusal));
        assert_eq!(moved, expected, "{case}");
        assert_eq!(known.reason().is_some(), expected.is_some(), "{case}");
        known.moved = known.moved.and_then(|moved| moved.checked_sub(RETINA_AGAIN));
        assert_eq!(known.reason(), None, "{case}: retina gets another chance");
    }
}

/// Works with: cameras | RTSP: a session that ends in whatever way after long play | the camera counts as one that retina plays
#[tokio::test(flavor = "multi_thread")]
async fn a_camera_that_retina_played_for_long_is_not_moved_by_the_next_young_refusal() {
    let camera = camera(quick());
    let packet = open(&of(&camera)).await.expect("opens").next().await.expect("a packet");
    let url = Url::parse(&camera.url()).expect("valid");
    let target =
        Target { config: of(&camera), url: url.clone(), what: camera.url(), clock: Arc::new(SystemClock::new()) };
    let mut source = FallbackSource::new(target, Box::new(Short(Some(packet))));
    source.start = source.start.checked_sub(YOUNG).expect("the clock of Linux goes below zero");
    assert!(source.next().await.is_ok());
    let manner = SourceError::Protocol { what: camera.url(), reason: "another SSRC".to_owned() };
    assert!(!known(&url, |known| known.note_end(Duration::ZERO, &manner)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_camera_whose_sessions_are_refused_again_and_again_is_read_by_libavformat() {
    let camera = camera(quick());
    let packet = open(&of(&camera)).await.expect("opens").next().await.expect("a packet");
    let target = Target {
        config: of(&camera),
        url: Url::parse(&camera.url()).expect("valid"),
        what: camera.url(),
        clock: Arc::new(SystemClock::new()),
    };
    for client in ["retina", "libavformat"] {
        let mut source = FallbackSource::new(target.clone(), Box::new(Short(Some(packet.clone()))));
        assert!(source.next().await.is_ok());
        for _ in 0..2 {
            let error = source.next().await.expect_err("over");
            assert_eq!(error.to_string(), "cam was lost: odd packets");
        }
        assert_eq!(played(&of(&camera)).await.expect("plays").name, client);
    }
}
