//! The task of all sessions.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use futures::stream::{BoxStream, SelectAll, StreamExt};
use futures::{FutureExt, stream};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::answer::{Way, negotiate};
use super::board::{Board, Noted};
use super::session::Session;
use super::socket::{LONGEST, MediaSocket};
use super::{Offer, Opened, Purpose, Refusal, Restarted, SessionId};
use crate::clock::Clock;
use crate::frame::Packet;

type Reply<T> = oneshot::Sender<Result<T, Refusal>>;

/// What is asked of the engine. Those who ask may be gone when it answers.
pub(super) enum Request {
    Begin(Box<Offer>, Reply<Opened>),
    End(Arc<str>, SessionId, Reply<()>),
    Patch { camera: Arc<str>, id: SessionId, tag: Option<String>, fragment: String, reply: Reply<Option<Restarted>> },
}

/// A picture for a player, or the end of its pictures.
type Played = (SessionId, Option<Packet>);

pub(super) struct Engine {
    /// Open while there are sessions.
    socket: Option<MediaSocket>,
    sessions: Vec<Session>,
    pictures: SelectAll<BoxStream<'static, Played>>,
    clock: Arc<dyn Clock>,
    noted: Noted,
    /// A session began or ended since it was noted.
    is_changed: bool,
}

/// What happened.
enum Happened {
    Stop,
    Asked(Request),
    Received(usize, SocketAddr),
    Picture(Played),
    Due,
    Nothing,
}

impl Engine {
    pub(super) fn new(clock: Arc<dyn Clock>, board: Board) -> Self {
        let (sessions, pictures) = (Vec::new(), SelectAll::default());
        Self { socket: None, sessions, pictures, clock, noted: Noted::new(board), is_changed: false }
    }

    pub(super) async fn run(mut self, queue: &mut mpsc::Receiver<Request>, stop: CancellationToken) {
        let mut buffer = vec![0; LONGEST];
        loop {
            match self.next(queue, &stop, &mut buffer).await {
                Happened::Stop => break,
                Happened::Asked(request) => self.answer(request).await,
                Happened::Received(length, from) => {
                    self.receive(buffer.get(..length).unwrap_or_default(), from);
                    // Those that came with it, so that a burst is read at once.
                    while let Some((length, from)) = self.received_already(&mut buffer) {
                        self.receive(buffer.get(..length).unwrap_or_default(), from);
                    }
                }
                Happened::Picture((id, picture)) => self.play(&id, picture),
                Happened::Due | Happened::Nothing => {}
            }
            self.advance();
            self.end_those_over();
            self.noted.note(&mut self.sessions, std::mem::take(&mut self.is_changed));
        }
        for session in self.sessions.drain(..) {
            session.end("the daemon stops", self.socket.as_ref());
        }
        self.noted.note(&mut [], true);
    }

    async fn next(
        &mut self,
        queue: &mut mpsc::Receiver<Request>,
        stop: &CancellationToken,
        buffer: &mut [u8],
    ) -> Happened {
        let due = self.sessions.iter().map(Session::due).min();
        let wait = async {
            match due {
                Some(due) => tokio::time::sleep_until(due.into()).await,
                None => std::future::pending().await,
            }
        };
        let received = async {
            match &self.socket {
                Some(socket) => socket.receive(buffer).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => Happened::Stop,
            request = queue.recv() => request.map_or(Happened::Stop, Happened::Asked),
            received = received => match received {
                Ok((length, from)) => Happened::Received(length, from),
                // Of an earlier datagram that could not be delivered.
                Err(_) => Happened::Nothing,
            },
            Some(played) = self.pictures.next(), if !self.pictures.is_empty() => Happened::Picture(played),
            () = wait => Happened::Due,
        }
    }

    fn received_already(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        self.socket.as_ref()?.receive(buffer).now_or_never()?.ok()
    }

    async fn answer(&mut self, request: Request) {
        match request {
            Request::Begin(offer, reply) => {
                let outcome = self.begin(*offer).await;
                let _ = reply.send(outcome);
            }
            Request::End(camera, id, reply) => {
                let found = self.sessions.iter().position(|session| session.id == id && session.camera == camera);
                let ended = found.map(|at| self.sessions.swap_remove(at)).ok_or(Refusal::Unknown);
                let outcome = ended.map(|mut session| {
                    self.noted.count(&mut session);
                    self.is_changed = true;
                    info!(camera = %session.camera, kind = session.kind(), "WebRTC session ended by its peer");
                    session.end("it was ended there", self.socket.as_ref());
                });
                let _ = reply.send(outcome);
            }
            Request::Patch { camera, id, tag, fragment, reply } => {
                let outcome = self.patch(&camera, &id, tag, &fragment);
                let _ = reply.send(outcome);
            }
        }
    }

    async fn begin(&mut self, offer: Offer) -> Result<Opened, Refusal> {
        let Offer { camera, sdp, addresses, purpose, by, from, config } = offer;
        let most = usize::from(config.max_sessions);
        if self.sessions.len() >= most {
            return Err(Refusal::TooMany(most));
        }
        if self.socket.is_none() {
            let bound = MediaSocket::bind(config.listen).await;
            self.socket = Some(bound.map_err(|e| {
                warn!(listen = %config.listen, error = %e, "the port of media packets cannot be opened");
                Refusal::NoSocket(format!("{}: {e}", config.listen))
            })?);
        }
        let socket = self.socket.as_mut().ok_or(Refusal::NotRunning)?;
        socket.forget_ways();
        let way = if matches!(purpose, Purpose::Play(_)) { Way::Out } else { Way::In };
        let negotiated = negotiate(&sdp, way, &addresses, &config, socket)?;
        let id = SessionId::new().ok_or(Refusal::NotRunning)?;
        if let Purpose::Publish(publisher, _) = &purpose {
            // Only now: an offer that is refused ends no other's session.
            publisher.take_place()?;
        }
        let opened = Opened { id: id.clone(), answer: negotiated.answer.clone(), tag: negotiated.tag.clone() };
        let mut session = Session::new(id, camera, negotiated, purpose, Instant::now());
        session = session.asked_for(by, from, self.clock.mono());
        self.is_changed = true;
        session.advance(socket);
        info!(camera = %session.camera, kind = session.kind(), "WebRTC session begun");
        self.sessions.push(session);
        Ok(opened)
    }

    fn patch(
        &mut self,
        camera: &str,
        id: &SessionId,
        tag: Option<String>,
        fragment: &str,
    ) -> Result<Option<Restarted>, Refusal> {
        let socket = self.socket.as_ref().ok_or(Refusal::Unknown)?;
        let session = self.sessions.iter_mut().find(|session| session.id == *id && &*session.camera == camera);
        let session = session.ok_or(Refusal::Unknown)?;
        if tag.is_some_and(|tag| tag != session.tag) {
            return Err(Refusal::OtherTag);
        }
        let restarted = session.patch(fragment, socket)?;
        if restarted.is_some() {
            info!(camera = %session.camera, kind = session.kind(), "WebRTC session goes on by another way");
        }
        Ok(restarted)
    }

    /// A datagram that no session knows is none of ours.
    fn receive(&mut self, datagram: &[u8], from: SocketAddr) {
        let Some(socket) = &mut self.socket else { return };
        let to = socket.local_towards(from);
        let _ = self.sessions.iter_mut().any(|session| session.receive(datagram, from, to, socket));
    }

    fn play(&mut self, id: &SessionId, picture: Option<Packet>) {
        let (Some(socket), Some(session)) =
            (self.socket.as_ref(), self.sessions.iter_mut().find(|session| session.id == *id))
        else {
            return;
        };
        match picture {
            Some(picture) => session.play(&picture, socket),
            None => session.has_ended(),
        }
    }

    fn advance(&mut self) {
        let Some(socket) = &self.socket else { return };
        let now = Instant::now();
        for session in &mut self.sessions {
            if session.due() <= now {
                session.advance(socket);
            }
            if let Some(pictures) = session.wanted() {
                let (of, at_end) = (session.id.clone(), session.id.clone());
                let pictures = pictures.map(move |picture| (of.clone(), Some(picture)));
                self.pictures.push(pictures.chain(stream::iter([(at_end, None)])).boxed());
            }
        }
    }

    fn end_those_over(&mut self) {
        while let Some(at) = self.sessions.iter().position(|session| session.over().is_some()) {
            let mut session = self.sessions.swap_remove(at);
            self.noted.count(&mut session);
            self.is_changed = true;
            let reason = session.over().unwrap_or_default().to_owned();
            info!(camera = %session.camera, kind = session.kind(), reason, "WebRTC session over");
            session.end(&reason, self.socket.as_ref());
        }
        if self.sessions.is_empty() {
            self.socket = None;
            self.pictures.clear();
        }
    }
}
