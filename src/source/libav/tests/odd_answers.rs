//! Answers that are no stream, and streams without measure.

use super::*;
use crate::source::scripted_rtsp::{Camera, Manners};

#[tokio::test]
async fn an_mjpeg_camera_may_change_its_size_and_not_send_pictures_without_measure() {
    let said = [MULTIPART.as_bytes(), &part(64, 48, 0).repeat(3), &part(32, 16, 0).repeat(2), &part(32, 16, 40 << 20)];
    let url = http_that_says(said.concat()).await;
    let (packets, end) = play_out(&mut *open(&at(&url)).await.expect("opens")).await;
    let sizes: Vec<_> = packets.iter().map(|p| (p.stream.width, p.stream.height)).collect();
    assert_eq!(sizes, [(64, 48), (64, 48), (64, 48), (32, 16), (32, 16)]);
    assert!(
        matches!(&end, SourceError::Protocol { .. }) && end.to_string().contains("a picture of more than 32 MiB"),
        "{end}"
    );
    let wide = [MULTIPART.as_bytes(), &part(17_000, 16, 0).repeat(3)].concat();
    let error = refused(&at(&http_that_says(wide).await)).await.to_string();
    assert!(error.contains("its picture of 17000x16 is too large"), "{error}");
}

/// Sends `begin` and then `filling` without end; gives how many bytes a viewer took before it hung up.
async fn endless(begin: Vec<u8>, filling: u8) -> (String, tokio::sync::mpsc::UnboundedReceiver<usize>) {
    let (begin, filling) = (Bytes::from(begin), Bytes::from(vec![filling; 1 << 16]));
    let (taken, took) = tokio::sync::mpsc::unbounded_channel();
    let url = http(Box::new(move |_, mut connection| {
        let (begin, filling, taken) = (begin.clone(), filling.clone(), taken.clone());
        Box::pin(async move {
            let mut sent = 0;
            let mut next = begin;
            // Far more than may be taken, so that a failure ends as well.
            while sent < 400 << 20 && connection.write_all(&next).await.is_ok() {
                sent += next.len();
                next = filling.clone();
            }
            let _ = taken.send(sent);
        })
    }))
    .await;
    (url, took)
}

/// What the buffers of the network hold of what the viewer has not read.
const IN_FLIGHT: usize = 16 << 20;

/// Works with: cameras | HTTP cameras that announce a picture of gigabytes, or never end one | left after 32 MiB with the reason, and tried again
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_without_measure_is_not_collected() {
    let dir = tempfile::tempdir().expect("tempdir");
    let flv = std::fs::read(clip(dir.path().join("a.flv"), "160x120", &X264)).expect("read");
    let ts = std::fs::read(clip(dir.path().join("a.ts"), "160x120", &X264)).expect("read");
    let begin = [MULTIPART.as_bytes(), &part(64, 48, 0).repeat(3)].concat();
    let head = |length: &str| format!("--picture\r\nContent-Type: image/jpeg\r\n{length}\r\n").into_bytes();
    let announced = head("Content-Length: 900000000\r\n");
    let answer = |body: &[u8]| [b"HTTP/1.0 200 OK\r\nContent-Type: application/octet-stream\r\n\r\n", body].concat();
    // A tag of video with the largest length, 16 MiB, may come; what follows are no tags.
    let cases = [
        ("announced", [&begin[..], &announced].concat(), 0xff),
        ("without end", [&begin[..], &head("")].concat(), b'x'),
        ("at once", [MULTIPART.as_bytes(), &announced].concat(), 0xff),
        ("at once and without end", [MULTIPART.as_bytes(), &head("")].concat(), b'x'),
        ("FLV that goes on as nonsense", answer(&flv), 0xff),
        ("MPEG-TS that goes on as nonsense", answer(&ts), 0x47),
    ];
    for (case, begin, filling) in cases {
        let (url, mut took) = endless(begin, filling).await;
        let end = match open(&at(&url)).await {
            Ok(mut source) => play_out(&mut *source).await.1,
            Err(failure) => failure,
        };
        let sent = took.recv().await.expect("a viewer came");
        assert!(sent < LARGEST_PACKET + (8 << 20) + IN_FLIGHT, "{case}: {sent} bytes were taken, {end}");
        assert!(end.is_transient(), "{case}: {end}");
        if !case.contains("nonsense") {
            assert!(end.to_string().contains("a picture of more than 32 MiB"), "{case}: {end}");
        }
    }
}

/// Works with: cameras | RTSP by libavformat: a picture that never ends | left after 32 MiB with the reason, and tried again
#[tokio::test(flavor = "multi_thread")]
async fn a_picture_without_end_over_rtsp_is_not_collected() {
    let manners = Manners { interval: Duration::from_millis(5), endless_after: Some(25), ..Manners::default() };
    let camera = Camera::start(manners);
    let (packets, end) = play_out(&mut *open(&at(&camera.url())).await.expect("opens")).await;
    assert!(!packets.is_empty(), "{end}");
    assert!(end.is_transient() && end.to_string().contains("a picture of more than 32 MiB"), "{end}");
    let taken = camera.count("100 PACKETS") * 100 * 60_000;
    assert!(taken < LARGEST_PACKET + IN_FLIGHT, "{taken} bytes were taken");
}

/// Answers in plain text whatever it is asked.
async fn plain_port(answer: &'static [u8]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let port = listener.local_addr().expect("address").port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            tokio::spawn(async move {
                let _ = connection.read(&mut [0; 4096]).await;
                let _ = connection.write_all(answer).await;
            });
        }
    });
    port
}

/// Works with: cameras | `https://` or `rtsps://` to a port without TLS, and `http://` or `rtsp://` to one with | the reason says so and what to write
#[tokio::test(flavor = "multi_thread")]
async fn tls_on_one_side_alone_is_named() {
    let port = plain_port(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n").await;
    for (scheme, advice) in [("https", "write http://"), ("rtsps", "write rtsp://"), ("rtmps", "write rtmp://")] {
        let error = refused(&at(&format!("{scheme}://127.0.0.1:{port}/x"))).await.to_string();
        assert!(error.contains("does not speak TLS") && error.contains(advice), "{scheme}: {error}");
    }
    let alert = plain_port(&[0x15, 3, 3, 0, 2, 2, 10]).await;
    for (address, advice) in [
        (format!("ffmpeg:http://127.0.0.1:{alert}/x"), "write ffmpeg:https://"),
        (format!("ffmpeg:rtsp://127.0.0.1:{alert}/x"), "write ffmpeg:rtsps://"),
        (format!("rtsp://127.0.0.1:{alert}/x"), "write ffmpeg:rtsps://"),
    ] {
        let error = refused(&Config { url: address.clone(), ..Config::default() }).await.to_string();
        assert!(error.contains("speaks TLS; ") && error.contains(advice), "{address}: {error}");
    }
}

/// Works with: cameras | a login page or another text in place of an HTTP stream | named as that, with what to check
#[tokio::test]
async fn a_web_page_in_place_of_a_stream_is_named() {
    let page = "<!DOCTYPE html>\n<html><body><form>log in</form></body></html>";
    let chunked = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/html; charset=utf-8\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{page}\r\n0\r\n\r\n",
        page.len()
    );
    let cases = [
        (with_head("200 OK", "text/html", page.as_bytes()), "answers with a web page (HTML)"),
        (
            with_head("200 OK", "Text/HTML; charset=utf-8", page.repeat(200).as_bytes()),
            "answers with a web page (HTML)",
        ),
        (chunked.into_bytes(), "answers with a web page (HTML)"),
        (with_head("200 OK", "text/html", b""), "answers with a web page (HTML)"),
        (with_head("200 OK", "application/json", b"{\"error\": 7}"), "answers with application/json"),
        (with_head("200 OK", "text/plain", b"go away"), "answers with text/plain"),
    ];
    for (answer, expected) in cases {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(60)]).into_owned();
        let error = refused(&at(&http_that_says(answer).await)).await.to_string();
        let expected = format!("cannot be used: the server {expected}");
        assert!(error.contains(&expected) && error.contains("username and password_file"), "{shown}: {error}");
    }
}

#[tokio::test]
async fn what_is_no_stream_is_refused_in_plain_words() {
    let page = with_head("200 OK", "text/html", "<html><body>log in</body></html>".repeat(100).as_bytes());
    let cases = [
        (page, "cannot be used: the server answers with a web page (HTML)"),
        (with_head("200 OK", "video/x-flv", b""), "is the path in url right?"),
        (with_head("404 Not Found", "text/plain", b"x"), "not found: the camera has no stream of that name"),
        (with_head("403 Forbidden", "text/plain", b"x"), "refuses access: this user may not watch"),
        (with_head("500 Internal Server Error", "text/plain", b"x"), "misbehaves: it cannot be played"),
        (Vec::new(), "misbehaves: it closed the connection before a picture came"),
    ];
    for (answer, expected) in cases {
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(30)]).into_owned();
        let error = refused(&at(&http_that_says(answer).await)).await.to_string();
        assert!(error.contains(expected), "{shown}: {error}");
    }
    let error = refused(&at(&format!("http://127.0.0.1:{}/x", free_port()))).await;
    assert!(matches!(&error, SourceError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("connection refused; check power"), "{error}");
}
