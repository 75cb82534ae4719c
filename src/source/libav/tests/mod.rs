mod odd_answers;

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::clock::SystemClock;
use crate::frame::{Codec, Rgb};
use crate::source::Role;

const X264: [&str; 6] = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p"];

fn at(url: &str) -> Config {
    Config { url: format!("ffmpeg:{url}"), ..Config::default() }
}

async fn open(config: &Config) -> Result<Box<dyn Source>, SourceError> {
    super::super::connect(config, Role::Main, Arc::new(SystemClock::new())).await
}

async fn refused(config: &Config) -> SourceError {
    open(config).await.err().expect("must not open")
}

async fn take(source: &mut dyn Source, packets: usize) -> Vec<Packet> {
    let mut taken = Vec::new();
    while taken.len() < packets {
        taken.push(source.next().await.expect("a packet"));
    }
    taken
}

/// Plays to the end and gives all packets and the reason of the end.
async fn play_out(source: &mut dyn Source) -> (Vec<Packet>, SourceError) {
    let mut packets = Vec::new();
    loop {
        match source.next().await {
            Ok(packet) => packets.push(packet),
            Err(end) => return (packets, end),
        }
    }
}

/// What an HTTP server of these tests does with a connection after it has read the request.
type Answer = Box<dyn Fn(String, TcpStream) -> futures::future::BoxFuture<'static, ()> + Send>;

/// Serves HTTP, one task a connection; gives `http://127.0.0.1:port`.
async fn http(answer: Answer) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("address");
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") && connection.read_buf(&mut request).await.is_ok_and(|n| n > 0) {}
            tokio::spawn(answer(String::from_utf8_lossy(&request).into_owned(), connection));
        }
    });
    format!("http://{address}")
}

fn with_head(status: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {length}\r\n");
    [head.as_bytes(), b"Connection: close\r\n\r\n", body].concat()
}

/// Answers every request with these bytes and closes.
async fn http_that_says(answer: Vec<u8>) -> String {
    let answer = Bytes::from(answer);
    http(Box::new(move |_, mut connection| {
        let answer = answer.clone();
        Box::pin(async move {
            let _ = connection.write_all(&answer).await;
        })
    }))
    .await
}

/// Serves the files of a folder.
async fn http_folder(folder: &Path) -> String {
    http_folder_that_notes(folder, Arc::default()).await
}

/// The same, and notes what was asked for.
async fn http_folder_that_notes(folder: &Path, asked: Arc<parking_lot::Mutex<Vec<String>>>) -> String {
    let folder = folder.to_owned();
    http(Box::new(move |request, mut connection| {
        let name = request.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
        asked.lock().push(name.clone());
        let answer = match std::fs::read(folder.join(name)) {
            Ok(body) => with_head("200 OK", "application/octet-stream", &body),
            Err(_) => with_head("404 Not Found", "text/plain", b"no such file"),
        };
        Box::pin(async move {
            let _ = connection.write_all(&answer).await;
        })
    }))
    .await
}

/// A picture as a camera sends it, `length` bytes long if that is more than it needs.
fn part(width: u32, height: u32, length: usize) -> Vec<u8> {
    let pixels = vec![90; (width * height * 3) as usize];
    let mut jpeg = Rgb { width, height, data: pixels }.to_jpeg(80).expect("encode");
    jpeg.resize(jpeg.len().max(length), 0);
    let head = format!("--picture\r\nContent-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
    [head.as_bytes(), &jpeg, b"\r\n"].concat()
}

const MULTIPART: &str = "HTTP/1.0 200 OK\r\nContent-Type: multipart/x-mixed-replace; boundary=picture\r\n\r\n";

/// A camera that sends JPEG pictures without end, to clients with `login` where there is one ("user:password").
async fn mjpeg_camera(login: Option<&'static str>) -> String {
    let part = part(64, 48, 0);
    http(Box::new(move |request, mut connection| {
        let part = part.clone();
        Box::pin(async move {
            if login.is_some_and(|login| !request.contains(&format!("Authorization: Basic {login}"))) {
                let head = "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Basic realm=\"cam\"\r\n\
                            Content-Length: 0\r\nConnection: close\r\n\r\n";
                let _ = connection.write_all(head.as_bytes()).await;
                return;
            }
            let _ = connection.write_all(MULTIPART.as_bytes()).await;
            while connection.write_all(&part).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(40)).await;
            }
        })
    }))
    .await
}

/// Makes a clip of two seconds, 20 frames, a key frame every ten.
fn clip(path: PathBuf, size: &str, arguments: &[&str]) -> PathBuf {
    let input = format!("testsrc2=size={size}:rate=10");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-f", "lavfi", "-i", &input, "-t", "2", "-g", "10"]).args(arguments);
    assert!(command.arg("-y").arg(&path).status().expect("the ffmpeg command must be installed").success());
    path
}

/// An `ffmpeg` that waits for one viewer and sends pictures for a minute, 10 a second. Ends with the test.
struct Sender(Child);

impl Sender {
    fn start(coding: &[&str], output: &[&str]) -> Self {
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=160x120:rate=10", "-t", "60"]);
        command.args(["-g", "10"]).args(coding).args(output).stdin(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("the ffmpeg command must be installed"))
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
    listener.local_addr().expect("address").port()
}

/// Tries until the sender listens.
async fn open_when_it_listens(config: &Config) -> Box<dyn Source> {
    let mut last = None;
    for _ in 0..150 {
        match open(config).await {
            Ok(source) => return source,
            Err(failure) => last = Some(failure),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("does not open: {last:?}")
}

/// Works with: cameras | HTTP MJPEG (`multipart/x-mixed-replace`) | read by libavformat as `ffmpeg:http://...`; pictures have the time of their arrival
#[tokio::test]
async fn an_http_mjpeg_camera_gives_pictures_with_the_times_of_their_arrival() {
    let url = mjpeg_camera(None).await;
    let clock = SystemClock::new();
    let mut source = open(&at(&url)).await.expect("opens");
    let packets = take(&mut *source, 10).await;
    let stream = &packets[0].stream;
    assert_eq!((&stream.codec, stream.width, stream.height, stream.fps), (&Codec::Mjpeg, 64, 48, None));
    assert!(packets.iter().all(|p| p.key_frame && p.data.starts_with(&[0xff, 0xd8])));
    assert!(packets.windows(2).all(|w| w[1].at > w[0].at));
    assert!(packets[9].at <= clock.mono());
}

/// Works with: cameras | HTTP cameras with a login (Basic, Digest, or in the address) | user name and password file, `{username}` and `{password}` in the address
#[tokio::test]
async fn a_login_reaches_an_http_camera_and_never_an_error() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("password");
    std::fs::write(&path, "hunter2@/\n").expect("write");
    // "cam:hunter2@/" in base 64.
    let url = mjpeg_camera(Some("Y2FtOmh1bnRlcjJALw==")).await;
    let named = |name: &str| Config { username: Some(name.into()), password_file: Some(path.clone()), ..at(&url) };
    take(&mut *open(&named("cam")).await.expect("opens"), 2).await;
    for config in [named("other"), at(&url)] {
        let error = refused(&config).await;
        assert!(matches!(error, SourceError::Unauthorised { .. }), "{error}");
        assert!(error.to_string().contains("password_file") && !error.to_string().contains("hunter2"), "{error}");
    }
    let error = refused(&Config { url: format!("{}/x?pwd={{password}}", named("cam").url), ..named("cam") }).await;
    assert!(!error.to_string().contains("hunter2"), "{error}");
}

/// Works with: cameras | `https://` cameras that made their certificate themselves | refused with the advice; read with `verify_tls = false`
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_an_unknown_authority_is_taken_only_on_request() {
    let dir = tempfile::tempdir().expect("tempdir");
    clip(dir.path().join("a.ts"), "160x120", &X264);
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    make.args(["-subj", "/CN=127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]).current_dir(dir.path());
    assert!(make.stderr(Stdio::null()).status().expect("the openssl command must be installed").success());
    let port = free_port();
    let mut serve = Command::new("openssl");
    serve.args(["s_server", "-quiet", "-WWW", "-cert", "cert.pem", "-key", "key.pem", "-accept"]);
    serve.arg(format!("127.0.0.1:{port}")).current_dir(dir.path()).stdin(Stdio::null()).stderr(Stdio::null());
    let _server = Sender(serve.spawn().expect("the openssl command must be installed"));
    let config = at(&format!("https://127.0.0.1:{port}/a.ts"));
    let mut source = open_when_it_listens(&Config { verify_tls: false, ..config.clone() }).await;
    // To the end: this server has one viewer at a time.
    assert_eq!(play_out(&mut *source).await.0.len(), 20);
    drop(source);
    let error = refused(&config).await;
    assert!(error.to_string().contains("set verify_tls = false"), "{error}");
}

#[tokio::test]
async fn a_server_that_never_answers_is_left_at_once() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    for scheme in ["http", "rtmp", "rtsp"] {
        let url = format!("{scheme}://{}/x", listener.local_addr().expect("address"));
        let config = at(&url);
        let mut opening = Box::pin(open(&config));
        let (mut connection, _) = tokio::select! {
            _ = &mut opening => panic!("{scheme}: nothing was said that it could open"),
            accepted = listener.accept() => accepted.expect("accept"),
        };
        let mut asked = [0; 4096];
        tokio::select! {
            _ = &mut opening => panic!("{scheme}: nothing was said that it could open"),
            read = connection.read(&mut asked) => assert!(read.is_ok_and(|bytes| bytes > 0)),
        }
        drop(opening);
        let closed = tokio::time::timeout(Duration::from_secs(8), async {
            while connection.read(&mut asked).await.is_ok_and(|bytes| bytes > 0) {}
        });
        assert!(closed.await.is_ok(), "{scheme}: the connection is still held");
    }
}

#[tokio::test]
async fn a_camera_that_falls_silent_is_left_at_once() {
    let said = Bytes::from([MULTIPART.as_bytes(), &part(64, 48, 0).repeat(5), b"--picture\r\n"].concat());
    let (gone, left) = tokio::sync::oneshot::channel();
    let gone = parking_lot::Mutex::new(Some(gone));
    let url = http(Box::new(move |_, mut connection| {
        let (said, gone) = (said.clone(), gone.lock().take());
        Box::pin(async move {
            let _ = connection.write_all(&said).await;
            let _ = connection.read(&mut [0; 16]).await;
            let _ = gone.map(|gone| gone.send(()));
        })
    }))
    .await;
    let mut source = open(&at(&url)).await.expect("opens");
    take(&mut *source, 4).await;
    drop(source);
    tokio::time::timeout(Duration::from_secs(8), left).await.expect("the connection is still held").expect("sent");
}

/// Works with: cameras | HLS | played at the rate at which it was taken, some seconds behind
#[tokio::test]
async fn a_playlist_is_played_at_its_own_rate() {
    let dir = tempfile::tempdir().expect("tempdir");
    clip(dir.path().join("a.m3u8"), "160x120", &[&X264[..], &["-hls_time", "1", "-hls_list_size", "0"]].concat());
    let url = http_folder(dir.path()).await;
    let clock = SystemClock::new();
    let mut source = open(&at(&format!("{url}/a.m3u8"))).await.expect("opens");
    let first = take(&mut *source, 1).await.remove(0);
    assert_eq!((&first.stream.codec, first.stream.width, first.stream.height), (&Codec::H264, 160, 120));
    assert!(first.key_frame && annexb_starts(&first.data) && annexb_starts(&first.stream.extradata));
    let (rest, end) = play_out(&mut *source).await;
    assert_eq!(rest.len(), 19);
    let times: Vec<_> = rest.iter().map(|p| p.at.since(first.at).as_millis()).collect();
    assert_eq!(times, (1..20).map(|i| i * 100).collect::<Vec<_>>());
    assert!(rest.iter().all(|p| p.at <= clock.mono() && Arc::ptr_eq(&p.stream, &first.stream)));
    assert!(matches!(&end, SourceError::Lost { .. }) && end.to_string().contains("the stream ended"), "{end}");
}

/// Works with: cameras | HLS with several sizes of the picture | the largest is taken, the others are not fetched
#[tokio::test]
async fn of_the_sizes_in_a_playlist_the_largest_is_taken() {
    let dir = tempfile::tempdir().expect("tempdir");
    let longer = [&X264[..], &["-t", "6", "-hls_time", "1", "-hls_list_size", "0"]].concat();
    let sizes = [("small", "160x120"), ("large", "320x240"), ("middle", "240x180")];
    let mut playlist = "#EXTM3U\n".to_owned();
    for (name, size) in sizes {
        clip(dir.path().join(format!("{name}.m3u8")), size, &longer);
        playlist.push_str(&format!("#EXT-X-STREAM-INF:BANDWIDTH=200000,RESOLUTION={size}\n{name}.m3u8\n"));
    }
    std::fs::write(dir.path().join("all.m3u8"), playlist).expect("write");
    let asked = Arc::<parking_lot::Mutex<Vec<String>>>::default();
    let url = http_folder_that_notes(dir.path(), asked.clone()).await;
    let mut source = open(&at(&format!("{url}/all.m3u8"))).await.expect("opens");
    let (packets, _) = play_out(&mut *source).await;
    assert!(packets.len() > 50 && packets.iter().all(|p| (p.stream.width, p.stream.height) == (320, 240)));
    let asked = asked.lock();
    let last = |name: &str| asked.iter().any(|path| *path == format!("{name}5.ts"));
    assert!(last("large") && !last("small") && !last("middle"), "{asked:?}");
}

fn annexb_starts(data: &[u8]) -> bool {
    crate::source::annexb::has_start_code(data)
}

/// Works with: cameras | a playlist that points to files of the box | refused: only network protocols may be opened
#[tokio::test]
async fn a_playlist_reads_no_files_of_the_box() {
    let dir = tempfile::tempdir().expect("tempdir");
    let clip = clip(dir.path().join("secret.ts"), "160x120", &X264);
    let inside = clip.display();
    for entry in [format!("file://{inside}"), format!("concat:{inside}"), format!("subfile,,start,0,end,0,,:{inside}")]
    {
        let playlist = format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{entry}\n#EXT-X-ENDLIST\n");
        std::fs::write(dir.path().join("a.m3u8"), playlist).expect("write");
        let url = http_folder(dir.path()).await;
        let error = refused(&at(&format!("{url}/a.m3u8"))).await;
        assert!(!error.to_string().contains("secret"), "{entry}: {error}");
    }
}

/// Works with: cameras | RTMP, HTTP-FLV, SRT, MPEG-TS over UDP or TCP | read by libavformat as `ffmpeg:` and the address, with the camera's own times
#[tokio::test(flavor = "multi_thread")]
async fn live_protocols_give_packets_with_the_cameras_times() {
    let h264 = X264.as_slice();
    let port = free_port;
    let (rtmp, flv, srt, udp) = (port(), port(), port(), port());
    let rtmp = format!("rtmp://127.0.0.1:{rtmp}/live/cam");
    let flv = format!("http://127.0.0.1:{flv}/live.flv");
    let srt = format!("srt://127.0.0.1:{srt}");
    let udp = format!("udp://127.0.0.1:{udp}");
    let h265 = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none", "-pix_fmt", "yuv420p"];
    let cases: [(&str, &[&str], &[&str], Codec); 4] = [
        (&rtmp, h264, &["-f", "flv", "-listen", "1", &rtmp], Codec::H264),
        (&flv, h264, &["-f", "flv", "-listen", "1", &flv], Codec::H264),
        (&srt, &h265, &["-f", "mpegts", &format!("{srt}?mode=listener")], Codec::H265),
        (&udp, h264, &["-f", "mpegts", &format!("{udp}?pkt_size=1316")], Codec::H264),
    ];
    let opened = cases.map(|(url, coding, output, codec)| {
        let sender = Sender::start(coding, output);
        let url = url.to_owned();
        async move {
            let mut source = open_when_it_listens(&at(&url)).await;
            let packets = take(&mut *source, 25).await;
            let stream = &packets[0].stream;
            assert_eq!((&stream.codec, stream.width, stream.height), (&codec, 160, 120), "{url}");
            assert!(!stream.extradata.is_empty() && packets.iter().any(|p| p.key_frame), "{url}");
            // The length by the camera's clock, whatever the arrival was like.
            let length = packets[24].at.since(packets[0].at);
            assert!(packets.windows(2).all(|w| w[1].at > w[0].at), "{url}");
            assert!(length <= Duration::from_secs(20), "{url}: {length:?}");
            drop(sender);
            // Datagrams say nothing about their end, and silence takes its time.
            let is_connected = !url.starts_with("udp:");
            if is_connected {
                let (_, end) = play_out(&mut *source).await;
                assert!(matches!(end, SourceError::Lost { .. }), "{url}: {end}");
            }
        }
    });
    futures::future::join_all(opened).await;
}

/// Works with: cameras | codec parameters that change while the stream plays (MPEG-TS, FLV) | taken over with the new size
#[tokio::test]
async fn parameters_that_change_in_the_stream_are_taken_over() {
    let dir = tempfile::tempdir().expect("tempdir");
    let h265 = ["-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=none:repeat-headers=1"];
    for (coding, container, header) in [(&X264[..], "ts", 0), (&h265, "ts", 0), (&X264[..], "flv", 13)] {
        let part = |name: &str, size: &str| {
            let path = clip(dir.path().join(format!("{name}.{container}")), size, coding);
            std::fs::read(path).expect("read")
        };
        // The file's own header stands at its beginning only.
        let body = [&part("a", "160x120")[..], &part("b", "320x240")[header..]].concat();
        let url = http_that_says(with_head("200 OK", "video/mp2t", &body)).await;
        let (packets, _) = play_out(&mut *open(&at(&url)).await.expect("opens")).await;
        let sizes: Vec<_> = packets.iter().map(|p| (p.stream.width, p.stream.height)).collect();
        let changes: Vec<_> =
            (1..packets.len()).filter(|i| !Arc::ptr_eq(&packets[*i].stream, &packets[i - 1].stream)).collect();
        assert_eq!(changes.len(), 1, "{sizes:?}");
        assert_eq!((sizes.first(), sizes.last()), (Some(&(160, 120)), Some(&(320, 240))), "{changes:?}");
        assert!(packets[changes[0]].key_frame);
    }
}
