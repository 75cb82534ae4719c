//! WebRTC: phones and browsers as cameras (WHIP, RFC 9725), and as players of cameras (WHEP); cameras that offer WHEP.
//!
//! ```text
//! web --offers--> engine        8, full: the offer waits
//! one UDP socket --packets--> engine --pictures--> source::Publisher    see `source::published`
//! live --pictures--> engine --packets--> the same socket                what the socket does not take is lost, as on the way
//! ```
//!
//! One task drives all sessions ([`WebRtc::run`]); the socket is open while there are any. A session begins with an offer and
//! ends with its DELETE, its publisher or player, its pictures, or when its peer is not heard of any more. What arrives from
//! the network is read by str0m, which authenticates each packet; sessions are bounded in number, and str0m bounds what each
//! of them holds. A camera that offers WHEP is a source of its own with a socket of its own ([`connect`]).

mod access_units;
mod answer;
mod board;
mod config;
mod crypto;
mod egress;
mod engine;
mod fragment;
#[cfg(test)]
mod fuzz;
mod ingress;
mod meter;
mod session;
mod socket;
#[cfg(test)]
mod tests;
mod whep;

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Result;
use futures::stream::BoxStream;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::frame::Packet;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::source::{Publisher, Taken};

use board::Board;
use engine::{Engine, Request};

pub use config::Config;
pub use whep::connect;

/// Offers that wait for the engine.
const OFFERS: usize = 8;

/// The engine answers at once, but for a port that has to be opened.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// What a session is known by; not to be guessed.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(Arc<str>);

impl SessionId {
    fn new() -> Option<Self> {
        let random = ring::rand::generate::<[u8; 16]>(&ring::rand::SystemRandom::new()).ok()?.expose();
        Some(Self(hex::encode(random).into()))
    }

    /// As it stands in addresses.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for SessionId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

/// Whether a publisher may go on, asked again and again: its session or key may end, and what it may see.
pub type Permit = Box<dyn Fn() -> bool + Send + Sync>;

/// What a session is for.
pub enum Purpose {
    /// The peer sends pictures of a camera, for as long as it may. It takes its place there when the session begins.
    Publish(Publisher, Permit),
    /// The peer gets pictures, until they end.
    Play(BoxStream<'static, Packet>),
    /// The peer is a camera that the box asked for its pictures.
    Receive(Publisher),
}

impl fmt::Debug for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Publish(..) => "Publish",
            Self::Play(_) => "Play",
            Self::Receive(_) => "Receive",
        })
    }
}

/// What begins a session.
#[derive(Debug)]
pub struct Offer {
    /// Camera that it is about.
    pub camera: Arc<str>,
    /// As it came: SDP.
    pub sdp: String,
    /// Addresses by which the peer may reach the box.
    pub addresses: Vec<IpAddr>,
    /// What for.
    pub purpose: Purpose,
    /// The name under which it was let in.
    pub by: Arc<str>,
    /// Where it came from.
    pub from: Option<IpAddr>,
    /// The settings in use.
    pub config: Config,
}

/// A session that has begun.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Its name.
    pub id: SessionId,
    /// SDP.
    pub answer: String,
    /// Which ICE session it is, for `ETag`.
    pub tag: String,
}

/// Another ICE session of a session that goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restarted {
    /// What the peer has to know of it: a piece of SDP.
    pub fragment: String,
    /// Which it is, for `ETag`.
    pub tag: String,
}

/// Why a session does not begin, or what was asked of it is not done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The offer is not one.
    #[error("the offer cannot be read: {0}")]
    BadOffer(String),
    /// It offers nothing that fits.
    #[error("{0}")]
    NothingInCommon(String),
    /// Another one publishes.
    #[error(transparent)]
    Taken(#[from] Taken),
    /// There are as many sessions as may be.
    #[error("there are {0} sessions already: end one, or raise webrtc.max_sessions")]
    TooMany(usize),
    /// The port cannot be opened.
    #[error("the port of media packets cannot be opened: {0}; change webrtc.listen")]
    NoSocket(String),
    /// The camera has no session with this name.
    #[error("there is no such session: it has ended, begin another one")]
    Unknown,
    /// What `If-Match` names is not the session's.
    #[error("the ICE session is another one by now")]
    OtherTag,
    /// The engine does not run.
    #[error("the daemon is stopping, or WebRTC is being restarted: try again")]
    NotRunning,
}

/// Begins and ends sessions. Cheap to clone.
#[derive(Clone)]
pub struct WebRtc {
    requests: mpsc::Sender<Request>,
    queue: Arc<Mutex<mpsc::Receiver<Request>>>,
    /// Whether anything is driven at present.
    runs: Arc<AtomicBool>,
    clock: Arc<dyn Clock>,
    board: Board,
}

impl WebRtc {
    /// Sessions that begin once [`WebRtc::run`] does, and are noted in `health` and `metrics`.
    pub fn new(clock: Arc<dyn Clock>, health: Health, metrics: Metrics) -> Self {
        let (requests, queue) = mpsc::channel(OFFERS);
        let board = Board { health, metrics };
        Self { requests, queue: Arc::new(Mutex::new(queue)), runs: Arc::default(), clock, board }
    }

    /// The clock of pictures.
    pub fn clock(&self) -> Arc<dyn Clock> {
        self.clock.clone()
    }

    /// Drives all sessions until `stop`, and ends them then.
    ///
    /// # Errors
    /// None; a socket that cannot be opened refuses the session that needs it.
    pub async fn run(&self, stop: CancellationToken) -> Result<()> {
        let mut queue = self.queue.lock().await;
        let _running = Running::new(&self.runs);
        Engine::new(self.clock.clone(), self.board.clone()).run(&mut queue, stop).await;
        Ok(())
    }

    /// Begins a session.
    ///
    /// # Errors
    /// Says why not.
    pub async fn begin(&self, offer: Offer) -> Result<Opened, Refusal> {
        self.ask(|reply| Request::Begin(Box::new(offer), reply)).await?
    }

    /// Ends session `id` of `camera`.
    ///
    /// # Errors
    /// When there is none.
    pub async fn end(&self, camera: &str, id: &SessionId) -> Result<(), Refusal> {
        self.ask(|reply| Request::End(camera.into(), id.clone(), reply)).await?
    }

    /// Adds candidates of the peer, lines of SDP, to session `id` of `camera`, whose tag is `tag` where that is known.
    /// Where the peer begins another ICE session with them, gives what it has to know of that.
    ///
    /// # Errors
    /// When there is no such session, its tag is another one, or the fragment cannot be read.
    pub async fn patch(
        &self,
        camera: &str,
        id: &SessionId,
        tag: Option<String>,
        fragment: String,
    ) -> Result<Option<Restarted>, Refusal> {
        self.ask(|reply| Request::Patch { camera: camera.into(), id: id.clone(), tag, fragment, reply }).await?
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Refusal> {
        if !self.runs.load(Ordering::Acquire) {
            return Err(Refusal::NotRunning);
        }
        let (reply, answer) = oneshot::channel();
        let answered = async {
            self.requests.send(request(reply)).await.map_err(|_| Refusal::NotRunning)?;
            answer.await.map_err(|_| Refusal::NotRunning)
        };
        tokio::time::timeout(ANSWERS_WITHIN, answered).await.unwrap_or(Err(Refusal::NotRunning))
    }
}

/// Says that the engine runs, until it is dropped.
struct Running<'a>(&'a AtomicBool);

impl<'a> Running<'a> {
    fn new(runs: &'a AtomicBool) -> Self {
        runs.store(true, Ordering::Release);
        Self(runs)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

impl fmt::Debug for WebRtc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebRtc").finish_non_exhaustive()
    }
}
