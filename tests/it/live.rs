//! Live video: over the API, and on the page in a real browser.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use serde_json::Value;

use crate::harness::browser::Browser;
use crate::harness::clips::{people_as, probe, shown};
use crate::harness::config::Config;
use crate::harness::daemon::Daemon;
use crate::harness::rtsp::{Auth, RtspServer};
use crate::harness::websocket::{Message, WebSocket};
use crate::harness::{Scratch, fixture, seconds, wait_for, wait_until};

fn viewers(daemon: &Daemon, camera: &str) -> f64 {
    daemon.metric(&format!("outpost_live_viewers{{camera=\"{camera}\"}}"))
}

/// A view of camera `camera`, as soon as there is something to see.
fn look(daemon: &Daemon, camera: &str) -> WebSocket {
    wait_for("a live view", seconds(60), || daemon.live(camera, ""))
}

/// What came over a connection, until `enough` says so.
#[derive(Default)]
struct Seen {
    header: Value,
    outlines: Value,
    objects: Vec<Value>,
    file: Vec<u8>,
    fragments: usize,
}

impl Seen {
    fn until(socket: &mut WebSocket, mut enough: impl FnMut(&Seen) -> bool) -> Self {
        let mut seen = Self::default();
        while !enough(&seen) {
            match socket.next().expect("it goes on") {
                Message::Text(text) if text["codec"].is_string() => seen.header = text,
                Message::Text(text) if text["zones"].is_array() => seen.outlines = text,
                Message::Text(text) => seen.objects.push(text),
                Message::Binary(data) => {
                    seen.fragments += usize::from(data.get(4..8) == Some(b"moof"));
                    seen.file.extend(data);
                }
                Message::Close(code, reason) => panic!("closed: {code} {reason}"),
            }
        }
        seen
    }

    fn write(&self, path: &Path) {
        std::fs::write(path, &self.file).expect("write");
    }
}

/// Works with: page | live video of an H.264 camera over RTSP | the camera's own pictures, two viewers at once, with the objects that are seen in them
#[test]
fn a_camera_is_shown_over_a_websocket_while_viewers_look() {
    let scratch = Scratch::new("live-socket");
    let server = RtspServer::start(&scratch, Auth::None, &[("/people", "h264", &fixture("people.mp4"))]);
    let mut config = Config::new(&scratch).camera("yard", &server, "/people", Auth::None);
    config.add("[camera.yard.zones.path]\npoints = [[0.0, 0.5], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0]]");
    let mut daemon = Daemon::start(&scratch, config);
    let mut socket = look(&daemon, "yard");
    let mut second = look(&daemon, "yard");
    wait_until("two viewers", seconds(20), || viewers(&daemon, "yard") == 2.0);
    let seen = Seen::until(&mut socket, |seen| seen.fragments >= 25 && seen.objects.len() >= 3);
    let other = Seen::until(&mut second, |seen| seen.fragments >= 3);

    let codec = seen.header["codec"].as_str().unwrap_or_default();
    assert!(codec.starts_with("avc1.") && seen.header["codec"] == other.header["codec"], "{}", seen.header);
    let clip = scratch.path("live.mp4");
    seen.write(&clip);
    let probe = probe(&clip);
    assert_eq!(seen.header["width"].as_u64(), Some(probe.width));
    assert!(probe.codec == "h264" && probe.starts_with_key_frame && probe.packets >= 25, "{probe:?}");
    let times = shown(&clip);
    let start = seen.header["start"].as_f64().expect("a time");
    assert!((times[0] - start).abs() < 0.001, "{times:?} from {start}");
    assert!(times.is_sorted_by(|a, b| a < b && b - a < 2.0), "{times:?}");
    let now = seen.header["now"].as_f64().expect("a time");
    assert!(now >= start, "{}", seen.header);

    assert_eq!(seen.outlines["zones"][0]["name"], "path", "{}", seen.outlines);
    let person = seen.objects.iter().find(|look| look["objects"][0]["label"] == "person").expect("a person");
    let at = person["at"].as_f64().expect("a time");
    assert!(at > start - 5.0 && person["objects"][0]["box"].as_array().is_some_and(|b| b.len() == 4), "{person}");

    drop(socket);
    wait_until("the first one has gone", seconds(60), || viewers(&daemon, "yard") == 1.0);
    let on = Seen::until(&mut second, |seen| seen.fragments >= 5);
    assert!(on.header.is_null(), "the header was sent once");
    // A stop ends what is open, in time.
    assert!(daemon.terminate().success());
    let last = std::iter::from_fn(|| second.next()).find_map(|message| match message {
        Message::Close(code, _) => Some(code),
        _ => None,
    });
    assert_eq!(last, Some(1001));
}

/// Works with: page | a camera that is connected again, or configured otherwise | its viewers go on, or connect again
#[test]
fn viewers_outlive_a_connection_to_the_camera_but_not_its_configuration() {
    let scratch = Scratch::new("live-again");
    scratch.expect_log(&["camera offline", "task failed, trying again"]);
    let mut server = RtspServer::start(&scratch, Auth::None, &[("/people", "h264", &people_as("h264-b-frames"))]);
    let config = Config::new(&scratch).camera("yard", &server, "/people", Auth::None);
    let daemon = Daemon::start(&scratch, config);
    let mut socket = look(&daemon, "yard");
    Seen::until(&mut socket, |seen| seen.fragments >= 10);
    server.stop();
    wait_until("it is away", seconds(60), || daemon.reconnects("yard") >= 1.0);
    server.resume();
    let before = daemon.packets("yard");
    wait_until("it is back", seconds(60), || daemon.packets("yard") > before + 10.0);
    let on = Seen::until(&mut socket, |seen| seen.fragments >= 10);
    assert!(on.fragments >= 10);
    drop(socket);

    let mut socket = look(&daemon, "yard");
    let whole = Seen::until(&mut socket, |seen| seen.fragments >= 30);
    let clip = scratch.path("b-frames.mp4");
    whole.write(&clip);
    let times = shown(&clip);
    assert!(times.windows(2).all(|pair| pair[1] > pair[0]), "each picture at a time of its own: {times:?}");
    let path = scratch.path("outpost.toml");
    let text = std::fs::read_to_string(&path).expect("read");
    std::fs::write(&path, format!("{text}\n[camera.yard.zones.all]\npoints = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0]]\n"))
        .expect("write");
    assert_eq!(daemon.post("/api/v1/config/reload", &serde_json::json!({})).expect("an answer").status, 202);
    let reason = std::iter::from_fn(|| socket.next()).find_map(|message| match message {
        Message::Close(1001, reason) => Some(reason),
        _ => None,
    });
    assert!(reason.as_deref().is_some_and(|reason| reason.contains("configured otherwise")), "{reason:?}");
    let again = Seen::until(&mut look(&daemon, "yard"), |seen| seen.fragments >= 3);
    assert_eq!(again.outlines["zones"][0]["name"], "all");
}

/// Works with: page | a camera that sends no H.264 or H.265 | its pictures are shown one after the other, as Motion JPEG
#[test]
fn what_cannot_be_shown_is_refused_with_the_reason_and_there_are_pictures_instead() {
    let scratch = Scratch::new("live-refused");
    let server = RtspServer::start(&scratch, Auth::None, &[("/jpeg", "mjpeg", &people_as("mjpeg"))]);
    let mut config =
        Config::new(&scratch).replay("gate", &fixture("people.mp4")).camera("jpeg", &server, "/jpeg", Auth::None);
    config.add("[camera.never.source]\nurl = \"rtsp://127.0.0.1:9/live\"");
    scratch.expect_log(&["camera offline", "task failed, trying again"]);
    let daemon = Daemon::start(&scratch, config);
    let has_picture = |camera: &str| {
        daemon.get(&format!("/api/v1/cameras/{camera}/frame.jpg")).is_ok_and(|answer| answer.status == 200)
    };
    wait_until("pictures", seconds(60), || has_picture("gate") && has_picture("jpeg"));
    let refusal = |camera: &str, headers: &str| daemon.live(camera, headers).expect_err("refused");
    for (camera, headers, status, code) in [
        ("nothing", "", " 404 ", "not_found"),
        ("never", "", " 503 ", "no_picture"),
        ("jpeg", "", " 409 ", "no_video"),
        ("gate", "Origin: http://evil.example\r\n", " 403 ", "foreign_page"),
        ("gate", "Sec-Fetch-Site: cross-site\r\n", " 403 ", "foreign_page"),
    ] {
        let answer = refusal(camera, headers);
        assert!(answer.contains(status) && answer.contains(code), "{camera}: {answer}");
    }
    assert_eq!(daemon.get("/api/v1/cameras/gate/live").expect("an answer").status, 426);
    assert_eq!(daemon.get("/api/v1/cameras/never/live.mjpeg").expect("an answer").status, 503);
    let open: Vec<WebSocket> = (0..8).map(|_| look(&daemon, "gate")).collect();
    let answer = refusal("gate", "");
    assert!(answer.contains(" 503 ") && answer.contains("too_many_viewers"), "{answer}");
    drop(open);
    wait_until("there is room again", seconds(60), || daemon.live("gate", "").is_ok());

    let port =
        daemon.page().rsplit(':').next().and_then(|rest| rest.trim_end_matches('/').parse().ok()).expect("a port");
    let pictures = motion_jpeg(port, "jpeg", 3);
    assert!(pictures.iter().all(|picture| picture.starts_with(&[0xff, 0xd8]) && picture.ends_with(&[0xff, 0xd9])));
    assert!(pictures.windows(2).all(|pair| pair[0] != pair[1]), "each is another one");
}

/// The first `count` pictures of a camera's Motion JPEG.
fn motion_jpeg(port: u16, camera: &str, count: usize) -> Vec<Vec<u8>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connect");
    stream.set_read_timeout(Some(seconds(60))).expect("a limit");
    write!(stream, "GET /api/v1/cameras/{camera}/live.mjpeg HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\n\r\n").expect("ask");
    let (mut bytes, mut pictures) = (Vec::new(), Vec::new());
    while pictures.len() < count {
        let mut more = [0; 65536];
        let read = stream.read(&mut more).expect("it goes on");
        assert!(read > 0, "ended: {}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&more[..read]);
        pictures = parts(&bytes);
    }
    pictures
}

/// The bodies of the parts that are complete.
fn parts(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    let mut parts = Vec::new();
    while let Some(at) = find(bytes, b"Content-Length: ") {
        let rest = &bytes[at + 16..];
        let Some(end) = find(rest, b"\r\n\r\n") else { break };
        let length: usize = std::str::from_utf8(&rest[..end]).expect("text").parse().expect("a length");
        let Some(body) = rest.get(end + 4..end + 4 + length) else { break };
        parts.push(body.to_vec());
        bytes = &rest[end + 4 + length..];
    }
    parts
}

/// Works with: page | a camera that sends Motion JPEG, and H.265 in a browser that does not play it | pictures instead of video, and the page says why
#[test]
fn the_page_shows_pictures_where_it_cannot_play_video_and_says_why() {
    let scratch = Scratch::new("live-pictures");
    let (jpeg, h265) = (people_as("mjpeg"), people_as("h265"));
    let server = RtspServer::start(&scratch, Auth::None, &[("/jpeg", "mjpeg", &jpeg), ("/h265", "h265", &h265)]);
    let mut config = Config::new(&scratch);
    for (camera, mount) in [("jpeg", "/jpeg"), ("large", "/h265")] {
        config.add(&format!("[camera.{camera}.source]\nurl = \"{}\"", server.url(mount)));
        config.add(&format!("[camera.{camera}.detect]\nenabled = false"));
    }
    let daemon = Daemon::start(&scratch, config);
    let codec = Seen::until(&mut look(&daemon, "large"), |seen| seen.fragments >= 10).header["codec"].clone();
    assert!(codec.as_str().is_some_and(|codec| codec.starts_with("hvc1.")), "{codec}");
    let mut browser = Browser::start(&daemon.page());
    for (camera, why) in [("jpeg", "The camera sends MJPEG"), ("large", "cannot play")] {
        wait_view(&mut browser, 1, camera, "a tile that opens", |view| view["canOpen"] == true);
        browser.ask(1, &format!("open {camera}"));
        let has_picture = |view: &Value| view["picture"][0].as_u64() > Some(0) && view["state"] == "pictures";
        let view = wait_view(&mut browser, 1, "dialog", "pictures", has_picture);
        assert!(view["why"].as_str().is_some_and(|text| text.contains(why)), "{view}");
        assert_eq!(browser.ask(1, "snapshot")["begins"], "ffd8ff");
        assert_eq!(browser.ask(1, "close"), camera, "the focus is where it was");
    }
    assert_eq!(browser.ask(1, "errors"), serde_json::json!([]), "on the console");
}

/// A view of the page: `dialog`, or the camera of a tile.
fn view(browser: &mut Browser, tab: u32, name: &str) -> Value {
    let views = browser.ask(tab, "look");
    let found = views.as_array().expect("views").iter().find(|view| view["camera"] == name);
    found.cloned().unwrap_or_default()
}

/// Waits for something in a view.
fn wait_view(browser: &mut Browser, tab: u32, name: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
    wait_for(&format!("{name}: {what}"), seconds(60), || {
        let view = view(browser, tab, name);
        if is_so(&view) { Ok(view) } else { Err(view.to_string()) }
    })
}

/// Works with: page | live video in Chromium | plays, with boxes that move, again after the camera was away, and only while the page is seen
#[test]
fn the_page_plays_live_video_with_boxes_and_again_after_the_camera_was_away() {
    let scratch = Scratch::new("live-page");
    scratch.expect_log(&["camera offline", "task failed, trying again"]);
    let mut server = RtspServer::start(&scratch, Auth::None, &[("/people", "h264", &fixture("people.mp4"))]);
    let mut config = Config::new(&scratch).camera("yard", &server, "/people", Auth::None);
    config.add("[camera.yard.zones.path]\npoints = [[0.0, 0.5], [1.0, 0.5], [1.0, 1.0], [0.0, 1.0]]");
    let mut daemon = Daemon::start(&scratch, config);
    wait_until("video", seconds(60), || daemon.live("yard", "").is_ok());
    let mut browser = Browser::start(&daemon.page());
    let time = |view: &Value| view["time"].as_f64().unwrap_or(0.0);

    // One view, by the keyboard.
    wait_view(&mut browser, 1, "yard", "a tile that opens", |view| view["canOpen"] == true);
    browser.ask(1, "open yard");
    let first = wait_view(&mut browser, 1, "dialog", "live", |view| view["state"] == "live" && time(view) > 0.0);
    assert!(first["size"][0].as_u64() > Some(0), "{first}");
    wait_view(&mut browser, 1, "dialog", "goes on", |view| time(view) > time(&first) + 1.0);
    let has_box = |view: &Value| view["objects"].as_str().is_some_and(|objects| objects.contains(':'));
    let boxes = wait_view(&mut browser, 1, "dialog", "a box", has_box);
    wait_view(&mut browser, 1, "dialog", "it moves", |view| has_box(view) && view["objects"] != boxes["objects"]);
    let picture = browser.ask(1, "snapshot");
    assert!(picture["begins"] == "ffd8ff" && picture["name"].as_str().is_some_and(|name| name.starts_with("yard-")));

    // All tiles in another tab: the two are fed by one.
    wait_view(&mut browser, 2, "yard", "a tile that opens", |view| view["canOpen"] == true);
    browser.ask(2, "grid");
    wait_view(&mut browser, 2, "yard", "live", |view| view["state"] == "live" && time(view) > 0.0);
    wait_until("two viewers", seconds(20), || viewers(&daemon, "yard") == 2.0);
    browser.ask(2, "hidden true");
    wait_until("a hidden page looks at nothing", seconds(20), || viewers(&daemon, "yard") == 1.0);
    browser.ask(2, "hidden false");
    wait_view(&mut browser, 2, "yard", "live again", |view| view["state"] == "live" && time(view) > 0.0);
    wait_until("two viewers again", seconds(20), || viewers(&daemon, "yard") == 2.0);
    browser.ask(2, "grid");
    wait_until("one viewer", seconds(20), || viewers(&daemon, "yard") == 1.0);

    // The camera goes and comes.
    server.stop();
    wait_view(&mut browser, 1, "dialog", "frozen", |view| view["state"] == "frozen");
    server.resume();
    let back = wait_view(&mut browser, 1, "dialog", "live", |view| view["state"] == "live");
    wait_view(&mut browser, 1, "dialog", "goes on", |view| time(view) > time(&back) + 1.0);
    assert_eq!(browser.ask(1, "errors"), serde_json::json!([]), "on the console");

    // So does the box.
    daemon.crash_and_restart();
    wait_view(&mut browser, 1, "dialog", "live", |view| view["state"] == "live" && time(view) > 0.5);
    assert_eq!(browser.ask(1, "close"), "yard", "the focus is where it was");
    wait_until("no viewers", seconds(20), || viewers(&daemon, "yard") == 0.0);
}
