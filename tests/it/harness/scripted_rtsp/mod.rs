//! A camera whose manners are settings: an RTSP server that plays one group of pictures again and again.
//!
//! It speaks H.264 within the RTSP connection or as datagrams, to any number of viewers. The file is used by
//! the scenarios and by the unit tests of `source::rtsp`, and so stands on nothing but tokio.

mod player;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;

use player::{Player, clip};

/// User name of cameras that ask for one.
pub const USER: &str = "viewer";
/// And the password.
pub const PASSWORD: &str = "s3cret-viewer";
const REALM: &str = "scripted";

/// Which way of sending a camera refuses with status 461.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refuses {
    Nothing,
    Tcp,
    Udp,
}

/// What becomes of the synchronisation source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ssrc {
    /// One for the whole session.
    Same,
    /// Another one with each key frame.
    PerGop,
}

/// How the camera behaves.
#[derive(Clone, Debug)]
pub struct Manners {
    /// From the request for a description to its answer.
    pub describes_after: Duration,
    /// From the answer to PLAY to the first picture.
    pub first_picture: Duration,
    /// From one picture to the next.
    pub interval: Duration,
    /// Pictures from one key frame to the next, 1 to 32.
    pub gop: usize,
    /// The picture of the group that a session begins with; 0 is the key frame.
    pub begins_with: usize,
    /// Key frames and the parameter sets in front of them are left out; looked at before each of them.
    pub holds_key_frames: bool,
    /// Whether the SDP holds the parameter sets. They are sent before each key frame in any case.
    pub parameters_in_sdp: bool,
    /// Sessions end after so many pictures.
    pub pictures: Option<usize>,
    /// After so many pictures of a session nothing comes any more, and the connection stays; looked at again and again.
    pub hangs_after: Option<usize>,
    /// The picture after so many never ends.
    pub endless_after: Option<usize>,
    /// What becomes of the synchronisation source.
    pub ssrc: Ssrc,
    /// The synchronisation source that the answer to SETUP claims.
    pub claimed_ssrc: Option<u32>,
    /// Asks for [`USER`] and [`PASSWORD`] by digest; a nonce goes stale after so many requests.
    pub nonce_uses: Option<usize>,
    /// Redirects a DESCRIBE to this address.
    pub moved_to: Option<String>,
    /// Which way of sending it refuses.
    pub refuses: Refuses,
    /// What stands behind the session's number.
    pub session_suffix: String,
    /// The session ends when nothing was asked successfully for so long.
    pub session_timeout: Option<Duration>,
    /// Whether the answer to SETUP names the channels.
    pub names_channels: bool,
    /// `{sets}` stands for the attribute with the parameter sets.
    pub sdp: String,
    /// The number of the first packet; any where there is none.
    pub first_sequence: Option<u16>,
    /// Before the first picture comes a report of another synchronisation source.
    pub stray_report: bool,
    /// Header lines of the answer to PLAY.
    pub rtp_info: Option<String>,
    /// Plays these pictures instead, again and again: each one's NAL units, with parameter sets where a key frame needs them.
    pub film: Option<Arc<Vec<Vec<Vec<u8>>>>>,
    /// Whether a start code stands in front of each NAL unit, as in a file.
    pub start_codes: bool,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            describes_after: Duration::ZERO,
            first_picture: Duration::ZERO,
            interval: Duration::from_millis(100),
            gop: 10,
            begins_with: 0,
            holds_key_frames: false,
            parameters_in_sdp: true,
            pictures: None,
            hangs_after: None,
            endless_after: None,
            ssrc: Ssrc::Same,
            claimed_ssrc: None,
            nonce_uses: None,
            moved_to: None,
            refuses: Refuses::Nothing,
            session_suffix: ";timeout=60".to_owned(),
            session_timeout: None,
            names_channels: true,
            sdp: "v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=scripted\r\nt=0 0\r\na=control:*\r\n\
                  m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n{sets}a=control:track1\r\n"
                .to_owned(),
            first_sequence: None,
            stray_report: false,
            rtp_info: None,
            film: None,
            start_codes: false,
        }
    }
}

/// A running camera. It ends when it is dropped.
#[derive(Debug)]
pub struct Camera {
    address: SocketAddr,
    shared: Arc<Shared>,
    end: Option<oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    manners: Mutex<Manners>,
    requests: Mutex<Vec<String>>,
}

impl Camera {
    /// Starts a camera on a port of its own.
    pub fn start(manners: Manners) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bind");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared { manners: Mutex::new(manners), requests: Mutex::default() });
        let (end, ended) = oneshot::channel();
        let serving = shared.clone();
        let serve = move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = TcpListener::from_std(listener).expect("a listener");
                tokio::select! {
                    () = accept(listener, serving) => {}
                    _ = ended => {}
                }
            });
        };
        let thread = std::thread::Builder::new().name("scripted camera".to_owned()).spawn(serve);
        Self { address, shared, end: Some(end), thread: Some(thread.expect("a thread")) }
    }

    /// Where it is found.
    pub fn url(&self) -> String {
        format!("rtsp://{}/live", self.address)
    }

    /// Changes its manners, for requests and sessions from now on.
    pub fn now(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.shared.manners.lock());
    }

    /// What it is found by under another name of the same machine.
    pub fn url_at(&self, host: &str) -> String {
        format!("rtsp://{host}:{}/live", self.address.port())
    }

    /// Every request so far with the status of its answer, like `SETUP 461`.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().clone()
    }

    /// How many of them were answered so.
    pub fn count(&self, request: &str) -> usize {
        self.requests().iter().filter(|seen| *seen == request).count()
    }
}

impl Drop for Camera {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        if let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(Viewer::new(connection, shared.clone()).serve());
        }
    }
}

/// One connection, which has one session at most.
struct Viewer {
    input: OwnedReadHalf,
    output: Arc<tokio::sync::Mutex<OwnedWriteHalf>>,
    peer: SocketAddr,
    shared: Arc<Shared>,
    /// The nonce, and how often it was used.
    nonce: Option<(String, usize)>,
    datagrams: Option<UdpSocket>,
    heard: Arc<Mutex<Instant>>,
    player: Option<tokio::task::JoinHandle<()>>,
}

struct Request {
    method: String,
    url: String,
    head: String,
}

impl Request {
    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

struct Answer {
    status: u16,
    headers: String,
    body: String,
}

fn answer(status: u16, headers: impl Into<String>) -> Answer {
    Answer { status, headers: headers.into(), body: String::new() }
}

impl Viewer {
    fn new(connection: TcpStream, shared: Arc<Shared>) -> Self {
        let peer = connection.peer_addr().expect("a peer");
        let (input, output) = connection.into_split();
        Self {
            input,
            output: Arc::new(tokio::sync::Mutex::new(output)),
            peer,
            shared,
            nonce: None,
            datagrams: None,
            heard: Arc::new(Mutex::new(Instant::now())),
            player: None,
        }
    }

    async fn serve(mut self) {
        while let Some(request) = self.read().await {
            let manners = self.shared.manners.lock().clone();
            let answer = match self.unauthorised(&request, &manners) {
                Some(refusal) => refusal,
                None => self.answer(&request, &manners).await,
            };
            if answer.status == 200 {
                *self.heard.lock() = Instant::now();
            }
            self.shared.requests.lock().push(format!("{} {}", request.method, answer.status));
            let cseq = request.header("CSeq").unwrap_or("0");
            let text = format!(
                "RTSP/1.0 {} Said\r\nCSeq: {cseq}\r\n{}Content-Length: {}\r\n\r\n{}",
                answer.status,
                answer.headers,
                answer.body.len(),
                answer.body
            );
            if self.output.lock().await.write_all(text.as_bytes()).await.is_err() {
                break;
            }
            if request.method == "PLAY" && answer.status == 200 {
                let player = Player::new(&mut self, manners);
                self.player = Some(tokio::spawn(player.play()));
            }
        }
        if let Some(player) = self.player {
            player.abort();
        }
    }

    /// The next request; what comes within the connection for the channels is skipped.
    async fn read(&mut self) -> Option<Request> {
        loop {
            let first = self.input.read_u8().await.ok()?;
            if first == b'$' {
                let _channel = self.input.read_u8().await.ok()?;
                let length = self.input.read_u16().await.ok()?;
                self.input.read_exact(&mut vec![0; usize::from(length)]).await.ok()?;
                continue;
            }
            let mut head = vec![first];
            while !head.ends_with(b"\r\n\r\n") {
                head.push(self.input.read_u8().await.ok()?);
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let mut words = head.split(' ');
            let (method, url) = (words.next()?.to_owned(), words.next()?.to_owned());
            return Some(Request { method, url, head });
        }
    }

    fn unauthorised(&mut self, request: &Request, manners: &Manners) -> Option<Answer> {
        let uses = manners.nonce_uses?;
        let claim = request.header("Authorization");
        let part = |name: &str| {
            let text = claim?.split_once(&format!("{name}=\""))?.1;
            Some(text.split_once('"')?.0.to_owned())
        };
        let mut stale = false;
        if let (Some((nonce, used)), Some(said)) = (&mut self.nonce, part("response")) {
            let hex = |byte: &u8| format!("{byte:02x}");
            let md5 = |text: String| Md5::digest(text.as_bytes()).iter().map(hex).collect::<String>();
            let user = md5(format!("{USER}:{REALM}:{PASSWORD}"));
            let what = md5(format!("{}:{}", request.method, request.url));
            let nonce_said = part("nonce").unwrap_or_default();
            let right = said == md5(format!("{user}:{nonce_said}:{what}"));
            *used += 1;
            if right && nonce_said == *nonce && *used <= uses {
                return None;
            }
            stale = right;
        }
        let nonce = format!("{:032x}", fastrand::u128(..));
        let header = format!(
            "WWW-Authenticate: Digest realm=\"{REALM}\", nonce=\"{nonce}\", stale={}\r\n",
            if stale { "TRUE" } else { "FALSE" }
        );
        self.nonce = Some((nonce, 0));
        Some(answer(401, header))
    }

    async fn answer(&mut self, request: &Request, manners: &Manners) -> Answer {
        match request.method.as_str() {
            "OPTIONS" => answer(200, "Public: OPTIONS, DESCRIBE, SETUP, PLAY, GET_PARAMETER, TEARDOWN\r\n"),
            "DESCRIBE" => match &manners.moved_to {
                Some(location) => answer(302, format!("Location: {location}\r\n")),
                None => {
                    tokio::time::sleep(manners.describes_after).await;
                    Answer {
                        status: 200,
                        headers: format!("Content-Base: {}/\r\nContent-Type: application/sdp\r\n", request.url),
                        body: sdp(manners),
                    }
                }
            },
            "SETUP" => self.set_up(request, manners).await,
            "PLAY" => answer(200, format!("Session: 4711\r\n{}", manners.rtp_info.as_deref().unwrap_or_default())),
            "GET_PARAMETER" => answer(200, "Session: 4711\r\n"),
            "TEARDOWN" => {
                if let Some(player) = self.player.take() {
                    player.abort();
                }
                answer(200, "Session: 4711\r\n")
            }
            _ => answer(501, ""),
        }
    }

    async fn set_up(&mut self, request: &Request, manners: &Manners) -> Answer {
        let wish = request.header("Transport").unwrap_or_default().to_owned();
        let refused = if wish.contains("/TCP") { Refuses::Tcp } else { Refuses::Udp };
        if manners.refuses == refused {
            return answer(461, "");
        }
        let mut transport = wish.clone();
        if wish.contains("/TCP") {
            if !manners.names_channels {
                transport = "RTP/AVP/TCP;unicast".to_owned();
            }
        } else {
            let port = wish.split_once("client_port=").and_then(|(_, ports)| ports.split('-').next()?.parse().ok());
            let socket = UdpSocket::bind("127.0.0.1:0").await.expect("bind");
            let own = socket.local_addr().expect("an address").port();
            socket.connect(("127.0.0.1", port.unwrap_or(9))).await.expect("connect");
            self.datagrams = Some(socket);
            transport = format!("{transport};server_port={own}-{}", own.saturating_add(1));
        }
        if let Some(ssrc) = manners.claimed_ssrc {
            transport = format!("{transport};ssrc={ssrc:08X}");
        }
        answer(200, format!("Session: 4711{}\r\nTransport: {transport}\r\n", manners.session_suffix))
    }
}

fn sdp(manners: &Manners) -> String {
    use base64::Engine;
    let encode = |unit: &[u8]| base64::engine::general_purpose::STANDARD.encode(unit);
    let (sets, _) = clip();
    let sets = if manners.parameters_in_sdp {
        let sets: Vec<_> = sets.iter().map(|unit| encode(unit)).collect();
        format!("a=fmtp:96 packetization-mode=1;profile-level-id=42C00A;sprop-parameter-sets={}\r\n", sets.join(","))
    } else {
        "a=fmtp:96 packetization-mode=1\r\n".to_owned()
    };
    manners.sdp.replace("{sets}", &sets)
}
