//! Cameras that offer WHEP: the box is the client, and their pictures are a source.
//!
//! Each has a socket of its own, from which its session begins, so nothing has to get through to the box unasked. The source
//! is driven where its pictures are taken: by its feed.

mod camera;
mod exchange;
mod offer;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tracing::info;

use super::session::Session;
use super::socket::{LONGEST, MediaSocket};
use super::{Purpose, SessionId};
use crate::clock::Clock;
use crate::frame::Packet;
use crate::health::Traffic;
use crate::source::{self, Config, Publishers, Role, Source, SourceError};

use camera::Camera;
use exchange::{Begun, Resource};
use offer::Offer;

/// What the camera's answer begins has to be connected by then.
const CONNECTED_WITHIN: Duration = Duration::from_secs(15);

/// Connects to a camera: by WHEP where that is what it offers, otherwise as [`source::connect`] does.
///
/// # Errors
/// [`SourceError`] says what is wrong with which camera and what to do about it.
pub fn connect(
    config: Config,
    role: Role,
    clock: Arc<dyn Clock>,
) -> BoxFuture<'static, Result<Box<dyn Source>, SourceError>> {
    Box::pin(async move {
        let Some(url) = config.whep_of(role) else { return source::connect(&config, role, clock).await };
        let what = config.display_url_of(role);
        config.validate().map_err(|reason| SourceError::Unsupported { what: what.clone(), reason })?;
        let token = match &config.password_file {
            None => None,
            Some(file) => Some(
                source::read_secret(file)
                    .await
                    .map_err(|reason| SourceError::Unauthorised { what: what.clone(), reason })?,
            ),
        };
        let camera = Camera { url, what, token, verify_tls: config.verify_tls };
        Ok(Box::new(WhepSource::connect(camera, clock).await?) as Box<dyn Source>)
    })
}

/// A camera that sends.
struct WhepSource {
    what: String,
    socket: MediaSocket,
    /// Until it is over.
    session: Option<Session>,
    pictures: Box<dyn Source>,
    resource: Option<Resource>,
    /// Of a session that is over.
    traffic: Traffic,
    buffer: Vec<u8>,
}

impl WhepSource {
    async fn connect(camera: Camera, clock: Arc<dyn Clock>) -> Result<Self, SourceError> {
        let peer = camera.address().await?;
        let any = if peer.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
        let bound = MediaSocket::bind((any, 0).into()).await;
        let mut socket = bound.map_err(|e| camera.unreachable(format!("no UDP socket can be opened: {e}")))?;
        let offer = Offer::new(socket.local_towards(peer));
        let offer = offer.ok_or_else(|| camera.unsupported("no offer can be made".to_owned()))?;
        let Begun { answer, session: resource } = exchange::begin(&camera, offer.sdp.clone()).await?;
        // From here on its session is ended whatever happens.
        let resource = Ending(resource);
        let negotiated = offer.answered(&answer, &mut socket).map_err(|reason| camera.misbehaves(reason))?;
        let (Some((publisher, pictures)), Some(id)) = (Publishers::direct(clock), SessionId::new()) else {
            return Err(camera.unreachable("the system gives no random numbers".to_owned()));
        };
        let session =
            Session::new(id, camera.what.as_str().into(), negotiated, Purpose::Receive(publisher), Instant::now());
        let mut source = Self {
            what: camera.what.clone(),
            socket,
            session: Some(session),
            pictures,
            resource: resource.taken(),
            traffic: Traffic::default(),
            buffer: vec![0; LONGEST],
        };
        let until = Instant::now() + CONNECTED_WITHIN;
        while source.session.as_ref().is_some_and(|session| !session.is_connected()) {
            if Instant::now() >= until {
                let udp = "it answered, but no media packets (UDP) get through between the box and the camera";
                return Err(camera.unreachable(udp.to_owned()));
            }
            source.step().await;
        }
        Ok(source)
    }

    /// Waits until something happens, and does what follows from it. Cancel-safe.
    async fn step(&mut self) {
        let Some(session) = &mut self.session else { return };
        if session.due() <= Instant::now() {
            session.advance(&self.socket);
        }
        let due = session.due();
        if session.over().is_none() {
            let received = tokio::select! {
                received = self.socket.receive(&mut self.buffer) => received.ok(),
                () = tokio::time::sleep_until(due.into()) => None,
            };
            if let Some((length, from)) = received {
                let to = self.socket.local_towards(from);
                session.receive(self.buffer.get(..length).unwrap_or_default(), from, to, &self.socket);
            }
        }
        if session.over().is_some()
            && let Some(session) = self.session.take()
        {
            let reason = session.over().unwrap_or_default().to_owned();
            info!(camera = %session.camera, kind = session.kind(), reason, "WebRTC session over");
            self.traffic = session.traffic();
            session.end(&reason, Some(&self.socket));
        }
    }
}

impl Source for WhepSource {
    fn traffic(&self) -> Option<Traffic> {
        Some(self.session.as_ref().map_or(self.traffic, Session::traffic))
    }

    fn next(&mut self) -> BoxFuture<'_, Result<Packet, SourceError>> {
        Box::pin(async {
            loop {
                match self.pictures.next().now_or_never() {
                    Some(Err(SourceError::Lost { reason, .. })) => {
                        return Err(SourceError::Lost { what: self.what.clone(), reason });
                    }
                    Some(next) => return next,
                    None => self.step().await,
                }
            }
        })
    }
}

impl Drop for WhepSource {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            session.end("it is not wanted any more", Some(&self.socket));
        }
        drop(Ending(self.resource.take()));
    }
}

/// A session at a camera that is ended there when this is dropped.
struct Ending(Option<Resource>);

impl Ending {
    fn taken(mut self) -> Option<Resource> {
        self.0.take()
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        if let (Some(resource), Ok(runtime)) = (self.0.take(), tokio::runtime::Handle::try_current()) {
            runtime.spawn(resource.end());
        }
    }
}
