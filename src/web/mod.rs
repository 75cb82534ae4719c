//! The box's own web page, its API, health routes and metrics. Read only but for the queues and the reload of the configuration.
//!
//! Everything shown comes from the [`Services`]; what belongs to HTTP alone lies here. An answer may take as long as it
//! likes: after a few seconds the page says that there is none. Until there is a login the page is served on loopback
//! only. Routes: docs/api.md.

mod api;
mod audit;
mod body;
mod config;
mod event_query;
mod guard;
mod health;
mod idempotency;
mod listener;
mod live;
mod login;
mod media;
mod openapi;
mod pages;
mod peer;
mod problem;
mod problems;
mod queue;
mod reply;
mod routes;
mod sender;
mod session;
mod stream;
#[cfg(test)]
mod tests;
mod timeline;
mod users;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use axum::Router;
use axum::middleware::from_fn_with_state;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::service::Services;

use listener::LimitedListener;
use peer::Peer;
use problem::ErrorLogLimiter;
use routes::Routes;

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
    /// Live views at once, of all cameras: video and Motion JPEG. Default: 16.
    pub max_viewers: u16,
}

impl Default for Config {
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 8080)), max_viewers: 16 }
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
        ensure!(self.max_viewers > 0, "web.max_viewers is 0; at least one has to be allowed");
        Ok(())
    }
}

/// What all routes share.
struct Shared {
    services: Services,
    jpegs: live::JpegCache,
    viewers: live::Viewers,
    errors: ErrorLogLimiter,
    streams: stream::Streams,
    answers: idempotency::Answers,
    stop: CancellationToken,
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
pub async fn serve(listener: TcpListener, config: &Config, services: Services, stop: CancellationToken) -> Result<()> {
    let address = listener.local_addr().context("read the page's address")?;
    let setup = services.access.known().setup_secret()?;
    let cut = CancellationToken::new();
    let listener = LimitedListener::new(listener, cut.clone());
    let viewers = live::Viewers::new(config.max_viewers.into(), stop.clone());
    let service = router(services, viewers, address, stop.clone()).into_make_service_with_connect_info::<Peer>();
    let server = axum::serve(listener, service).with_graceful_shutdown(stop.clone().cancelled_owned());
    info!(address = %format!("http://{address}/"), "the page is open");
    if let Some(secret) = setup {
        info!(link = %format!("http://{address}/login#setup={secret}"), "no users yet: this link adds the first one");
    }
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

fn router(services: Services, viewers: live::Viewers, address: SocketAddr, stop: CancellationToken) -> Router {
    let shared = Arc::new(Shared {
        services,
        jpegs: live::JpegCache::default(),
        viewers,
        errors: ErrorLogLimiter::default(),
        streams: stream::Streams::default(),
        answers: idempotency::Answers::default(),
        stop,
    });
    let (routes, _) = all_routes().finish();
    let routes = routes
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(shared.clone(), session::identify));
    guard::guarded(routes, address).with_state(shared)
}

fn all_routes() -> Routes {
    pages::routes()
        .merge(health::routes())
        .merge(login::routes())
        .merge(users::routes())
        .merge(api::routes())
        .merge(timeline::routes())
        .merge(queue::routes())
        .merge(config::routes())
        .merge(live::routes())
        .merge(problems::routes())
        .merge(stream::routes())
        .merge(openapi::routes())
}
