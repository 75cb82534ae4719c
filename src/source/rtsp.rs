//! Network cameras, through retina.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use retina::client::{
    Credentials, Demuxed, PlayOptions, Session, SessionGroup, SessionOptions, SetupOptions, TcpTransportOptions,
    UdpTransportOptions,
};
use retina::codec::{CodecItem, FrameFormat, ParametersRef, VideoFrame, VideoParameters};
use tokio::runtime::Handle;
use tokio::time::{Instant, timeout, timeout_at};
use tracing::{debug, info};
use url::Url;

use super::timeline::LiveTimeline;
use super::{Config, Source, SourceError, Transport};
use crate::clock::Clock;
use crate::frame::{Codec, Packet, StreamInfo};

/// Limit of each request to the camera.
const STEP_LIMIT: Duration = Duration::from_secs(10);

/// Video must begin within this after the camera agreed to play.
const FIRST_PICTURE_LIMIT: Duration = Duration::from_secs(10);

/// Silence for longer ends the connection. Retina's keep-alive notices a dead peer too, but later, and
/// not a camera that answers and sends nothing.
const SILENCE_LIMIT: Duration = Duration::from_secs(20);

/// Pictures without the parameters to decode them are of no use for longer than this.
const PARAMETERS_LIMIT: Duration = Duration::from_secs(20);

/// Old live555 firmware keeps sending into a closed session for 65 s.
const STALE_LIMIT: Duration = Duration::from_secs(70);

/// No password is longer; a file that is was named by mistake.
const MAX_PASSWORD_BYTES: usize = 4096;

/// Encodings that retina unpacks, with what we call them.
fn codec_of(stream: &retina::client::Stream) -> Option<Codec> {
    match (stream.media(), stream.encoding_name()) {
        ("video", "h264") => Some(Codec::H264),
        ("video", "h265") => Some(Codec::H265),
        ("video" | "image", "jpeg") => Some(Codec::Mjpeg),
        _ => None,
    }
}

/// Describes, sets up and plays the first video stream that we can use.
pub(super) async fn connect(
    config: &Config,
    url: Url,
    what: String,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Source>, SourceError> {
    let fault = Faults { what: &what, config };
    let group = session_group(&url);
    wait_out_stale_sessions(&group, &what).await;
    let options = SessionOptions::default()
        .creds(credentials(config, &what).await?)
        .session_group(group.clone())
        .user_agent(concat!("outpost/", env!("CARGO_PKG_VERSION")).to_owned());
    let mut session = fault.limited("DESCRIBE", Session::describe(url, options)).await?;
    let (video, codec) = choose(&session, &what)?;
    let transport = match config.transport {
        Transport::Tcp => retina::client::Transport::Tcp(TcpTransportOptions::default()),
        Transport::Udp => retina::client::Transport::Udp(UdpTransportOptions::default()),
    };
    let setup = SetupOptions::default().transport(transport).frame_format(FrameFormat::MP4);
    fault.limited("SETUP", session.setup(video, setup)).await?;
    let session = fault.limited("PLAY", session.play(PlayOptions::default())).await?;
    let session = session.demuxed().map_err(|e| fault.classify("DESCRIBE", &e))?;
    info!(camera = what, %codec, transport = ?config.transport, "RTSP camera plays");
    Ok(Box::new(RtspSource {
        deadline: Instant::now() + FIRST_PICTURE_LIMIT,
        session: Some(session),
        _group: group,
        runtime: Handle::current(),
        video,
        codec,
        stream: None,
        timeline: LiveTimeline::default(),
        clock,
        lost: 0,
        useless_since: None,
        ended: None,
        is_udp: config.transport == Transport::Udp,
        what,
    }))
}

/// Waits until dropped sessions are torn down.
pub(super) async fn settle(limit: Duration) {
    let groups: Vec<_> =
        GROUPS.lock().unwrap_or_else(PoisonError::into_inner).values().filter_map(Weak::upgrade).collect();
    let all = join_all(groups.iter().map(|group| group.await_teardown()));
    match timeout(limit, all).await {
        Ok(outcomes) => {
            for failure in outcomes.into_iter().filter_map(Result::err) {
                debug!(error = first_sentence(&failure.to_string()), "RTSP teardown failed");
            }
        }
        Err(_) => info!("some RTSP cameras did not confirm the end of their sessions"),
    }
}

/// Sessions per address. Retina's own tasks keep a group alive as long as it has stale sessions, so
/// this holds nothing but what is in use.
static GROUPS: LazyLock<Mutex<HashMap<Url, Weak<SessionGroup>>>> = LazyLock::new(Mutex::default);

fn session_group(url: &Url) -> Arc<SessionGroup> {
    let mut groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
    groups.retain(|_, group| group.strong_count() > 0);
    if let Some(group) = groups.get(url).and_then(Weak::upgrade) {
        return group;
    }
    let group = Arc::new(SessionGroup::default());
    groups.insert(url.clone(), Arc::downgrade(&group));
    group
}

/// Cameras have few sessions to give, and old firmware sends a dead session's packets into a new one.
async fn wait_out_stale_sessions(group: &SessionGroup, what: &str) {
    let status = group.stale_sessions();
    if status.num_sessions == 0 {
        return;
    }
    info!(camera = what, sessions = status.num_sessions, "waiting for the camera to give up old sessions");
    // After the limit it is tried anyway: the worst is one more failure.
    let _ = timeout(STALE_LIMIT, group.await_stale_sessions(&status)).await;
}

async fn credentials(config: &Config, what: &str) -> Result<Option<Credentials>, SourceError> {
    let (Some(username), Some(path)) = (&config.username, &config.password_file) else { return Ok(None) };
    let password = read_password(path).await.map_err(|reason| SourceError::Unauthorised {
        what: what.to_owned(),
        reason: format!("password_file {} {reason}", path.display()),
    })?;
    Ok(Some(Credentials { username: username.clone(), password }))
}

async fn read_password(path: &Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(path).await.map_err(|e| format!("cannot be read: {e}"))?;
    let password = text.strip_suffix('\n').unwrap_or(&text);
    let password = password.strip_suffix('\r').unwrap_or(password);
    if password.is_empty() {
        return Err("is empty: write the password into it".to_owned());
    }
    if password.len() > MAX_PASSWORD_BYTES || password.contains('\n') {
        return Err("holds more than one line: write only the password into it".to_owned());
    }
    Ok(password.to_owned())
}

fn choose(session: &Session<retina::client::Described>, what: &str) -> Result<(usize, Codec), SourceError> {
    let streams = session.streams();
    let found = streams.iter().enumerate().find_map(|(i, stream)| Some((i, codec_of(stream)?)));
    found.ok_or_else(|| {
        let offers: Vec<_> = streams.iter().map(|s| format!("{}/{}", s.media(), s.encoding_name())).collect();
        let offers = if offers.is_empty() { "nothing".to_owned() } else { offers.join(", ") };
        let reason = format!("it offers {offers}; set the camera to H.264, H.265 or MJPEG");
        SourceError::Unsupported { what: what.to_owned(), reason }
    })
}

/// Turns retina's failures into ours.
struct Faults<'a> {
    what: &'a str,
    config: &'a Config,
}

impl Faults<'_> {
    async fn limited<T>(
        &self,
        step: &str,
        request: impl Future<Output = Result<T, retina::Error>>,
    ) -> Result<T, SourceError> {
        match timeout(STEP_LIMIT, request).await {
            Ok(outcome) => outcome.map_err(|e| self.classify(step, &e)),
            Err(_) => Err(SourceError::Unreachable {
                what: self.what.to_owned(),
                reason: format!("no answer to {step} within {} s; check power and network", STEP_LIMIT.as_secs()),
            }),
        }
    }

    fn classify(&self, step: &str, error: &retina::Error) -> SourceError {
        let what = self.what.to_owned();
        let said = first_sentence(&error.to_string());
        match error.status_code() {
            Some(401) if self.config.username.is_some() => SourceError::Unauthorised {
                what,
                reason: "the camera does not accept username and the password in password_file".to_owned(),
            },
            Some(401) => SourceError::Unauthorised {
                what,
                reason: "the camera asks for a password: set username and password_file".to_owned(),
            },
            Some(403) => {
                SourceError::Unauthorised { what, reason: format!("this user may not watch this stream ({said})") }
            }
            Some(404) => SourceError::NotFound {
                what,
                reason: "the camera has no stream of that name, check the path in url".to_owned(),
            },
            Some(453 | 503) => {
                SourceError::Busy { what, reason: format!("the camera has no room for another viewer ({said})") }
            }
            Some(461) => SourceError::Unsupported {
                what,
                reason: "the camera refuses this transport: set transport to the other of tcp and udp".to_owned(),
            },
            Some(_) => SourceError::Protocol { what, reason: format!("{step} failed: {said}") },
            // Retina does not tell its errors apart but by text; a test watches this one.
            None => match said.strip_prefix("Unable to connect to RTSP server: ") {
                Some(cause) => SourceError::Unreachable {
                    what,
                    reason: format!("{}; check power, network, and host and port in url", cause.to_lowercase()),
                },
                None => SourceError::Protocol { what, reason: format!("{step} failed: {said}") },
            },
        }
    }
}

/// Retina adds paragraphs of addresses and positions, which help nobody who reads a status line.
fn first_sentence(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default();
    line.split(" (os error ").next().unwrap_or_default().trim_end_matches('.').to_owned()
}

struct RtspSource {
    /// `None` once it is over.
    session: Option<Demuxed>,
    /// Keeps count of this address's sessions for the next connect.
    _group: Arc<SessionGroup>,
    /// Dropping a session spawns its teardown, which must happen inside the runtime.
    runtime: Handle,
    video: usize,
    codec: Codec,
    stream: Option<Arc<StreamInfo>>,
    timeline: LiveTimeline,
    clock: Arc<dyn Clock>,
    /// RTP packets lost before the next packet, with those of pictures that were skipped.
    lost: u16,
    /// Since when pictures come that nobody can decode.
    useless_since: Option<Instant>,
    /// By when the next picture must be here.
    deadline: Instant,
    ended: Option<SourceError>,
    is_udp: bool,
    what: String,
}

impl RtspSource {
    /// All state is in `self` and changes only between two awaits, so this may be dropped at any time.
    async fn receive(&mut self) -> Result<Packet, SourceError> {
        loop {
            let Some(session) = self.session.as_mut() else {
                return Err(self.ended.clone().unwrap_or(self.lost_because("it was closed".to_owned())));
            };
            let failure = match timeout_at(self.deadline, session.next()).await {
                Ok(Some(Ok(CodecItem::VideoFrame(frame)))) if frame.stream_id() == self.video => {
                    self.deadline = Instant::now() + SILENCE_LIMIT;
                    match self.packet(frame) {
                        Ok(Some(packet)) => return Ok(packet),
                        Ok(None) => continue,
                        Err(failure) => failure,
                    }
                }
                Ok(Some(Ok(_))) => continue,
                Ok(Some(Err(error))) => self.lost_because(first_sentence(&error.to_string())),
                Ok(None) => self.lost_because("the camera closed the connection".to_owned()),
                Err(_) => self.lost_because(self.silence()),
            };
            self.end(failure.clone());
            return Err(failure);
        }
    }

    /// The frame as a packet, or nothing while the camera has not said how to decode it.
    fn packet(&mut self, frame: VideoFrame) -> Result<Option<Packet>, SourceError> {
        self.lost = self.lost.saturating_add(frame.loss());
        if self.stream.is_none() || frame.has_new_parameters() {
            self.learn_parameters();
        }
        let Some(stream) = self.stream.clone() else {
            let since = *self.useless_since.get_or_insert_with(Instant::now);
            if since.elapsed() > PARAMETERS_LIMIT {
                return Err(SourceError::Protocol {
                    what: self.what.clone(),
                    reason: format!("it sends {} but never its parameter sets; restart the camera", self.codec),
                });
            }
            self.lost = self.lost.saturating_add(1);
            return Ok(None);
        };
        let timestamp = frame.timestamp();
        let ticks = i128::from(timestamp.elapsed()) * 1_000_000_000 / i128::from(timestamp.clock_rate().get());
        let stream_ns = i64::try_from(ticks).unwrap_or_default();
        Ok(Some(Packet {
            stream,
            at: self.timeline.place(stream_ns, self.clock.mono()),
            key_frame: frame.is_random_access_point() || (self.codec == Codec::H265 && has_irap(frame.data())),
            loss: std::mem::take(&mut self.lost),
            data: Bytes::from(frame.into_data()),
        }))
    }

    /// Takes over new parameters. The old `Arc` stays where they are the same.
    fn learn_parameters(&mut self) {
        let Some(stream) = self.session.as_ref().and_then(|s| s.streams().get(self.video)) else { return };
        let Some(ParametersRef::Video(parameters)) = stream.parameters() else { return };
        let info = describe(&self.codec, parameters, stream.framerate());
        if self.stream.as_ref().is_none_or(|known| **known != info) {
            if self.stream.is_some() {
                info!(camera = self.what, stream = ?info, "the camera changed its parameters");
            }
            self.stream = Some(Arc::new(info));
        }
    }

    fn silence(&self) -> String {
        match (&self.stream, self.is_udp) {
            (None, true) => format!(
                "no video within {} s after it began to play; a firewall may stop UDP, try transport = \"tcp\"",
                FIRST_PICTURE_LIMIT.as_secs()
            ),
            (None, false) => format!("no video within {} s after it began to play", FIRST_PICTURE_LIMIT.as_secs()),
            (Some(_), _) => format!("no video for {} s", SILENCE_LIMIT.as_secs()),
        }
    }

    fn lost_because(&self, reason: String) -> SourceError {
        SourceError::Lost { what: self.what.clone(), reason }
    }

    fn end(&mut self, why: SourceError) {
        self.ended = Some(why);
        let _inside = self.runtime.enter();
        self.session = None;
    }
}

impl Source for RtspSource {
    fn next(&mut self) -> BoxFuture<'_, Result<Packet, SourceError>> {
        Box::pin(self.receive())
    }
}

impl Drop for RtspSource {
    fn drop(&mut self) {
        let _inside = self.runtime.enter();
        self.session = None;
    }
}

/// Whether length-prefixed H.265 NAL units hold a picture that decoding can start with. Retina counts
/// IDR pictures only, but cameras that use open GOPs send nothing but CRA pictures after the first one.
fn has_irap(mut data: &[u8]) -> bool {
    while let Some((length, rest)) = data.split_first_chunk::<4>() {
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let Some((nal, next)) = rest.split_at_checked(length) else { return false };
        if nal.first().is_some_and(|header| (16..=21).contains(&((header >> 1) & 0x3f))) {
            return true;
        }
        data = next;
    }
    false
}

fn describe(codec: &Codec, parameters: &VideoParameters, announced: Option<f32>) -> StreamInfo {
    let (width, height) = parameters.pixel_dimensions();
    // Retina gives the duration of a frame, as a fraction of a second.
    let coded = parameters.frame_rate().filter(|(duration, _)| *duration > 0);
    #[allow(clippy::cast_possible_truncation)]
    let coded = coded.map(|(duration, second)| (f64::from(second) / f64::from(duration)) as f32);
    let fps = announced.or(coded).filter(|fps| (0.01..1000.0).contains(fps));
    let extradata = match codec {
        Codec::Mjpeg => Bytes::new(),
        _ => Bytes::copy_from_slice(parameters.extra_data()),
    };
    StreamInfo { codec: codec.clone(), width, height, extradata, fps }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::source::Role;

    async fn refused(config: Config) -> SourceError {
        let clock = Arc::new(SystemClock::new());
        super::super::connect(&config, Role::Main, clock).await.err().expect("must not connect")
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
        for (text, expected) in [(None, "cannot be read"), (Some("\n"), "is empty"), (Some("a\nb\n"), "more than one")]
        {
            let error = refused(with(text)).await;
            assert!(matches!(&error, SourceError::Unauthorised { .. }), "{error}");
            assert!(error.to_string().contains(expected), "{error}");
        }
        assert_eq!(
            read_password(&with(Some("s3 cret\r\n")).password_file.expect("set")).await,
            Ok("s3 cret".to_owned())
        );
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
        let first = session_group(&url);
        assert!(Arc::ptr_eq(&first, &session_group(&url)));
        drop(first);
        session_group(&Url::parse("rtsp://group.test/b").expect("valid"));
        let groups = GROUPS.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!groups.contains_key(&url), "a dead group is forgotten");
    }
}
