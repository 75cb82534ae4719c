//! The box's own web page, its API, health routes and metrics. Read only but for the queues.
//!
//! Everything shown comes through [`Backend`]; nothing here knows the store. Until there is a login the
//! page is served on loopback only. Routes: docs/api.md.

mod api;
mod guard;
mod health;
mod listener;
mod live;
mod media;
mod pages;
mod problem;
mod queue;
mod status;
#[cfg(test)]
mod tests;
mod timeline;

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use axum::Router;
use axum::middleware::from_fn_with_state;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::event::{Event, EventId, OutletDelivery};
use crate::frame::Frame;
use crate::segment::SegmentId;

use listener::LimitedListener;
use problem::ErrorLogLimiter;

pub use queue::{ItemState, QueueAction, QueueAnswer, QueueCommand, QueueItem, QueueQuery, Refusal};
pub use status::{CameraStatus, DiskStatus, Level, LoadStatus, OutletStatus, Status, Summary};
pub use timeline::{Mark, Timeline};

/// How long open connections may go on after a stop was asked for.
const GRACE: Duration = Duration::from_millis(700);

/// How long a connection that was cut may take to notice.
const CUT_WITHIN: Duration = Duration::from_millis(200);

/// `[web]`: the page.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Address and port. Loopback only, because there is no login yet. Default: `127.0.0.1:8080`.
    pub listen: SocketAddr,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)) }
    }
}

impl Config {
    /// # Errors
    /// When the address is not on loopback; says how to reach the page from elsewhere.
    pub fn validate(&self) -> Result<()> {
        ensure!(
            self.listen.ip().is_loopback(),
            "web.listen is {}; allowed are loopback addresses such as 127.0.0.1:8080, because the page has no login \
             yet: from another computer, use \"ssh -L 8080:127.0.0.1:8080 <this box>\"",
            self.listen
        );
        Ok(())
    }
}

/// Which events are wanted: the newest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// Of this camera only.
    pub camera: Option<String>,
    /// With this label only.
    pub label: Option<String>,
    /// Older than this event only.
    pub before: Option<EventId>,
    /// At most so many.
    pub limit: usize,
}

/// An event as the page shows it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventRecord {
    /// The event.
    pub event: Event,
    /// How far each outlet got; without those of which nothing is known.
    pub delivery: Vec<OutletDelivery>,
}

/// The newest picture of a camera.
#[derive(Clone, Debug)]
pub enum Live {
    /// There is no camera with that name.
    Unknown,
    /// The camera has given no picture yet.
    NoSignal,
    /// It gives none at present; this was the last.
    Past(Frame),
    /// Here it is.
    Picture(Frame),
}

/// What the page shows. Calls may take as long as they like; after a few seconds the page says that
/// there is no answer.
pub trait Backend: Send + Sync + 'static {
    /// The box at this moment.
    fn status(&self) -> BoxFuture<'_, Result<Status>>;
    /// Events, newest first.
    fn events(&self, query: EventQuery) -> BoxFuture<'_, Result<Vec<EventRecord>>>;
    /// One event.
    fn event(&self, id: EventId) -> BoxFuture<'_, Result<Option<EventRecord>>>;
    /// Where file `file` of an event lies. Asked only for names that the event itself lists, and for `event.json`.
    fn media<'a>(&'a self, id: EventId, file: &'a str) -> BoxFuture<'a, Result<Option<PathBuf>>>;
    /// One camera's time from `since` to `until`, or to now where that is in the future; `None` for a camera
    /// that the box does not know.
    fn timeline<'a>(
        &'a self,
        camera: &'a str,
        since: Timestamp,
        until: Timestamp,
    ) -> BoxFuture<'a, Result<Option<Timeline>>>;
    /// Where a segment lies; `None` for one that the index does not know.
    fn segment<'a>(&'a self, camera: &'a str, id: SegmentId) -> BoxFuture<'a, Result<Option<PathBuf>>>;
    /// Whether the box does its work; if not, why.
    fn ready(&self) -> BoxFuture<'_, Result<(), String>>;
    /// All metrics as OpenMetrics text.
    fn metrics(&self) -> BoxFuture<'_, Result<String>>;
    /// What waits in a queue, or was given up; `None` where there is no such queue.
    fn queue(&self, query: QueueQuery) -> BoxFuture<'_, Result<Option<Vec<QueueItem>>>>;
    /// Does something about a queue.
    fn command(
        &self,
        action: QueueAction,
        command: QueueCommand,
    ) -> BoxFuture<'_, Result<Result<QueueAnswer, Refusal>>>;
    /// The newest picture of `camera`.
    fn live(&self, camera: &str) -> Live;
}

/// What all routes share.
struct Shared {
    backend: Arc<dyn Backend>,
    jpegs: live::JpegCache,
    errors: ErrorLogLimiter,
}

/// Opens the page's port.
///
/// # Errors
/// When the address is not allowed or the port is taken; says which and what to do.
pub async fn bind(config: &Config) -> Result<TcpListener> {
    config.validate()?;
    let listen = config.listen;
    TcpListener::bind(listen).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => anyhow!(
            "port {} is taken by another program (\"ss -ltnp\" shows which): end it, or set web.listen to another port",
            listen.port()
        ),
        std::io::ErrorKind::PermissionDenied => {
            anyhow!("port {} needs privileges: set web.listen to a port above 1023", listen.port())
        }
        _ => anyhow!(e).context(format!("open web.listen {listen}")),
    })
}

/// Serves until `stop`; ends within about a second, even with connections open.
///
/// # Errors
/// When the listener's address cannot be read.
pub async fn serve(listener: TcpListener, backend: Arc<dyn Backend>, stop: CancellationToken) -> Result<()> {
    let address = listener.local_addr().context("read the page's address")?;
    let cut = CancellationToken::new();
    let listener = LimitedListener::new(listener, cut.clone());
    let server = axum::serve(listener, router(backend, address)).with_graceful_shutdown(stop.clone().cancelled_owned());
    info!(address = %format!("http://{address}/"), "the page is open");
    let overtime = async {
        stop.cancelled().await;
        tokio::time::sleep(GRACE).await;
        cut.cancel();
        tokio::time::sleep(CUT_WITHIN).await;
    };
    tokio::select! {
        served = server => served.context("serve the page"),
        () = overtime => {
            warn!("connections to the page did not end in time");
            Ok(())
        }
    }
}

fn router(backend: Arc<dyn Backend>, address: SocketAddr) -> Router {
    let shared = Arc::new(Shared { backend, jpegs: live::JpegCache::default(), errors: ErrorLogLimiter::default() });
    Router::new()
        .merge(pages::routes())
        .merge(health::routes())
        .merge(api::routes())
        .merge(timeline::routes())
        .merge(queue::routes())
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(address, guard::guard))
        .with_state(shared)
}
