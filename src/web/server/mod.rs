//! The server of the page: accepts connections, and bounds each in time, size and number.
//!
//! A connection speaks HTTP/1.1, or HTTP/2 where TLS agreed on it. Its task belongs to the server, as do the tasks of
//! its HTTP/2 requests; they end within about a second after the stop was asked for, or at once when the server is
//! dropped. What became a WebSocket lives on in a task of its own, and ends with its connection.

mod admission;
mod body;
mod connection;
mod listen;
mod local;
mod parse_error;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::{HeaderValue, Request, Response, StatusCode, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::guard::{self, ListenAddress};
use super::peer::Peer;
use super::problem::{Code, Problem};
use super::tls::{Tls, outward_address};
use admission::{Admission, Place, STALLED_AFTER, Usage};
use body::{HeldBody, PacedBody};
use connection::{Connection, IDLE, Transport};
use parse_error::ParseErrors;

pub(super) use listen::{bind, check, inherited};
pub(super) use local::LocalSocket;

/// How long open connections may go on after a stop was asked for.
const GRACE: Duration = Duration::from_millis(700);
/// How long a connection that was cut may take to notice.
const CUT_WITHIN: Duration = Duration::from_millis(200);

/// The pause after a failure to accept, such as no file descriptor being left.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// What a connection begins with on which HTTP/2 is spoken; HTTP/1.1 has no such method.
const HTTP2: &[u8] = b"PRI ";
/// How long a TLS handshake may take.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// How long the head of a request may take, and the next request may let wait for itself.
const HEAD_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of a request's head. `guard` refuses smaller ones already, and says why.
const MOST_HEAD: usize = 128 << 10;

/// Requests of one HTTP/2 connection at once.
const MOST_STREAMS: u32 = 100;
/// How often a silent HTTP/2 connection is tested, and how long the other end may take to answer.
const PING_EVERY: Duration = Duration::from_secs(20);
const PONG_WITHIN: Duration = Duration::from_secs(10);
/// Requests that were reset before they were looked at, and resets that the client provoked: more end the connection.
const MOST_EARLY_RESETS: usize = 20;
const MOST_PROVOKED_RESETS: usize = 128;
/// How long a connection that was asked to end may take.
const LEAVE_WITHIN: Duration = Duration::from_secs(10);

/// How often refused connections are logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// What accepts connections.
pub(super) enum Listener {
    /// By the network; with TLS where it is there.
    Tcp(tokio::net::TcpListener, Option<Tls>),
    /// From programs on this box.
    Local(LocalSocket),
}

impl Listener {
    /// Where the page is found; none for the local socket.
    pub(super) fn url(&self) -> Option<String> {
        let Self::Tcp(listener, tls) = self else { return None };
        let scheme = if tls.is_some() { "https" } else { "http" };
        let bound = listener.local_addr().ok()?;
        // A browser cannot open the address that stands for all of them.
        let address = if bound.ip().is_unspecified() { outward_address() } else { bound.ip() };
        Some(format!("{scheme}://{}/", SocketAddr::new(address, bound.port())))
    }

    /// Says where the page is found.
    pub(super) fn log_open(&self) {
        let address = self.url().unwrap_or_default();
        match self {
            Self::Tcp(_, Some(tls)) => {
                let sha256 = tls.fingerprint();
                info!(address, sha256, self_signed = tls.is_self_signed(), "the page is open");
            }
            Self::Tcp(_, None) => info!(address, "the page is open"),
            Self::Local(_) => {}
        }
    }
}

/// The server of one or several listeners.
#[derive(Clone)]
pub(super) struct Server {
    routes: TowerToHyperService<Router>,
    /// What is answered to HTTP without TLS where TLS is spoken.
    plain: TowerToHyperService<Router>,
    admission: Admission,
    refusals: Arc<Refusals>,
}

impl Server {
    /// `plain` answers what comes without TLS to a port that speaks it.
    pub(super) fn new(routes: Router, plain: Router) -> Self {
        let [routes, plain] = [routes, plain].map(TowerToHyperService::new);
        Self { routes, plain, admission: Admission::default(), refusals: Arc::default() }
    }

    /// Serves until `stop`; ends within about a second, even with connections open.
    pub(super) async fn serve(&self, listeners: Vec<Listener>, stop: CancellationToken) {
        let cut = CancellationToken::new();
        // Whatever ends this ends all connections.
        let _guard = cut.clone().drop_guard();
        let tasks = Tasks { tracker: TaskTracker::new(), cut };
        let run = Run { server: self.clone(), tasks: tasks.clone(), stop: stop.clone() };
        tokio::select! {
            _ = futures::future::join_all(listeners.iter().map(|listener| run.accept(listener))) => {}
            () = stop.cancelled() => {}
        }
        drop(listeners);
        tasks.tracker.close();
        if tokio::time::timeout(GRACE, tasks.tracker.wait()).await.is_err() {
            tasks.cut.cancel();
            if tokio::time::timeout(CUT_WITHIN, tasks.tracker.wait()).await.is_err() {
                warn!("connections to the page did not end in time");
            }
        }
    }
}

/// What the connections of one run share.
#[derive(Clone)]
struct Run {
    server: Server,
    tasks: Tasks,
    stop: CancellationToken,
}

impl Run {
    async fn accept(&self, listener: &Listener) {
        loop {
            match self.accept_one(listener).await {
                Ok(()) => {}
                Err(e) if matches!(e.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    warn!(%error, "a connection to the page could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    async fn accept_one(&self, listener: &Listener) -> io::Result<()> {
        let (stream, peer, listen, tls): (Box<dyn Transport>, _, _, _) = match listener {
            Listener::Tcp(listener, tls) => {
                let (stream, address) = listener.accept().await?;
                // Small answers should not wait for more; a failure costs only speed.
                let _ = stream.set_nodelay(true);
                let address = SocketAddr::new(address.ip().to_canonical(), address.port());
                let peer = Peer::Tcp { address, is_tls: tls.is_some() };
                (Box::new(stream), peer, Some(ListenAddress(listener.local_addr()?.ip())), tls.clone())
            }
            Listener::Local(socket) => {
                let (stream, peer) = socket.accept().await?;
                (Box::new(stream), peer, None, None)
            }
        };
        let Some(place) = self.server.admission.admit(&peer, &self.tasks.cut) else {
            self.server.refusals.note(&peer);
            return Ok(());
        };
        let is_spare = place.is_spare();
        if is_spare {
            self.server.refusals.note(&peer);
        }
        let (routes, usage) = (self.server.routes.clone(), place.usage().clone());
        let requests = Requests { routes, peer, listen, is_spare, usage };
        let run = self.clone();
        self.tasks.tracker.spawn(async move { run.hold(stream, tls, place, requests).await });
        Ok(())
    }

    /// Holds one connection until its end.
    async fn hold(self, stream: Box<dyn Transport>, tls: Option<Tls>, place: Place, requests: Requests) {
        let mut io = Connection::new(stream, place);
        let Some(tls) = tls else { return self.plain(io, requests).await };
        match tokio::time::timeout(HANDSHAKE_WITHIN, io.first_byte()).await {
            // A method begins with a capital letter, and a handshake does not.
            Ok(Ok(Some(b'A'..=b'Z'))) => {
                let requests = Requests { routes: self.server.plain.clone(), ..requests };
                return self.http1(io, requests).await;
            }
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None) | Err(_)) | Err(_) => return debug!("no TLS handshake came"),
        }
        match tokio::time::timeout(HANDSHAKE_WITHIN, tls.accept(io)).await {
            Ok(Ok(io)) if io.get_ref().1.alpn_protocol() == Some(b"h2") => self.http2(io, requests).await,
            Ok(Ok(io)) => self.http1(io, requests).await,
            Ok(Err(error)) => debug!(%error, "a TLS handshake failed"),
            Err(_) => debug!("a TLS handshake took too long"),
        }
    }

    /// Without TLS: HTTP/1.1, or HTTP/2 where the client knows beforehand that it is spoken, as gRPC does.
    async fn plain(&self, mut io: Connection, requests: Requests) {
        let begins = tokio::select! {
            begins = tokio::time::timeout(HEAD_WITHIN, io.begins_with(HTTP2)) => begins,
            () = self.stop.cancelled() => return,
        };
        match begins {
            Ok(Ok(true)) => self.http2(io, requests).await,
            Ok(Ok(false)) => self.http1(io, requests).await,
            Ok(Err(_)) | Err(_) => debug!("no request came"),
        }
    }

    async fn http1(&self, io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, requests: Requests) {
        let usage = requests.usage.clone();
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_WITHIN).max_header_size(MOST_HEAD);
        let connection = http.serve_connection(TokioIo::new(ParseErrors::new(io)), requests).with_upgrades();
        self.drive(connection, |connection| connection.graceful_shutdown(), &usage).await;
    }

    async fn http2(&self, io: impl AsyncRead + AsyncWrite + Send + Unpin + 'static, requests: Requests) {
        let usage = requests.usage.clone();
        let mut http = http2::Builder::new(self.tasks.clone());
        http.timer(TokioTimer::new())
            .max_concurrent_streams(MOST_STREAMS)
            .max_header_list_size(MOST_HEAD as u32)
            .max_pending_accept_reset_streams(MOST_EARLY_RESETS)
            .max_local_error_reset_streams(MOST_PROVOKED_RESETS)
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(PONG_WITHIN);
        let connection = http.serve_connection(TokioIo::new(io), requests);
        self.drive(connection, |connection| connection.graceful_shutdown(), &usage).await;
    }

    /// Keeps a connection going until it ends, or has to.
    async fn drive<C: Future>(&self, connection: C, end: impl FnOnce(Pin<&mut C>), usage: &Usage) {
        let mut connection = pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => return,
            () = self.stop.cancelled() => {}
            () = usage.idle_for(IDLE) => {}
            () = usage.stood_still_for(IDLE) => return debug!("a client takes nothing of its answers: its connection ends"),
            () = usage.abused() => return debug!("a client asks only to give up: its connection ends"),
        }
        end(connection.as_mut());
        let _ = tokio::time::timeout(LEAVE_WITHIN, connection).await;
    }
}

/// The tasks of connections and of the requests on them.
#[derive(Clone)]
struct Tasks {
    tracker: TaskTracker,
    cut: CancellationToken,
}

impl<F> Executor<F> for Tasks
where
    F: Future + Send + 'static,
    F::Output: Send,
{
    fn execute(&self, request: F) {
        let cut = self.cut.clone();
        self.tracker.spawn(async move { cut.run_until_cancelled(request).await });
    }
}

/// Answers the requests of one connection.
struct Requests {
    routes: TowerToHyperService<Router>,
    peer: Peer,
    listen: Option<ListenAddress>,
    /// All other places are in use: health is answered, and nothing else.
    is_spare: bool,
    usage: Usage,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<HeldBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let (mut in_flight, version) = (self.usage.begin(), request.version());
        if self.is_spare && !guard::is_health(request.uri()) {
            let mut answer = no_place().map(|body| HeldBody::new(body, in_flight, version));
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            return Box::pin(async move { Ok(answer) });
        }
        let mut request = request.map(PacedBody::new);
        request.extensions_mut().insert(self.peer);
        if let Some(listen) = self.listen {
            request.extensions_mut().insert(listen);
        }
        let answer = self.routes.call(request);
        Box::pin(async move {
            let answer = answer.await?;
            in_flight.answered();
            if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
                in_flight.upgraded();
            }
            Ok(answer.map(|body| HeldBody::new(body, in_flight, version)))
        })
    }
}

/// The answer where all places are in use.
fn no_place() -> Response<axum::body::Body> {
    let detail = "as many connections are in use as may be open: close some, or try again in a few seconds";
    Problem::new(Code::TooManyConnections, detail.to_owned()).after(STALLED_AFTER).into_response()
}

/// What `routes` answer to a request, without a connection.
#[cfg(test)]
pub(super) async fn answer(routes: Router, request: Request<axum::body::Body>) -> Response<axum::body::Body> {
    let Ok(answer) = TowerToHyperService::new(routes).call(request).await;
    answer
}

/// Logs connections that were refused, but not each of them.
#[derive(Debug, Default)]
struct Refusals(Mutex<Option<(Instant, u64)>>);

impl Refusals {
    fn note(&self, peer: &Peer) {
        let mut last = self.0.lock();
        match &mut *last {
            Some((at, more)) if at.elapsed() < LOG_EVERY => *more += 1,
            _ => {
                let more = last.take().map_or(0, |(_, more)| more);
                warn!(
                    ?peer,
                    not_logged_before = more,
                    "a connection to the page got health alone, or was refused: too many are in use"
                );
                *last = Some((Instant::now(), 0));
            }
        }
    }
}
