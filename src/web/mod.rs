//! The box's own web page, its API, health routes and metrics.
//!
//! Everything shown comes from the [`Services`]; what belongs to HTTP alone lies here. An answer may take as long as it
//! likes: after a few seconds the page says that there is none. While the box has no users, what runs on the box itself may
//! use all of it: by loopback, and by the local socket. Routes: docs/api.md.

mod albums;
mod api;
mod audit;
mod body;
mod box_pictures;
mod camera_config;
mod camera_pipeline;
mod compact;
mod config;
mod event_changes;
mod event_query;
mod executions;
mod guard;
mod health;
mod idempotency;
mod inference;
mod jobs;
mod live;
mod login;
mod media;
mod models;
mod openapi;
mod pages;
mod peer;
mod photo_folders;
mod photo_similar;
mod photo_storage;
mod photo_usage;
mod photos;
mod pipelines;
mod plain_http;
mod problem;
mod problems;
mod proxy_login;
mod queue;
mod refusal;
mod reply;
mod routes;
mod sdp;
mod search;
mod sender;
mod server;
mod session;
mod settings;
mod shared_answers;
mod shared_photos;
mod shares;
mod shell;
mod stand_in;
mod stream;
mod switches;
mod system;
#[cfg(test)]
mod tests;
mod texts;
mod timeline;
mod tls;
mod turns;
mod uploads;
mod users;
mod whip;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::service::Services;
use crate::supervise::systemd;

use guard::Names;
use problem::ErrorLogLimiter;
use proxy_login::ProxyLogin;
use routes::Routes;
use server::{Listener, LocalSocket, Server};
use tls::Tls;

pub use proxy_login::Config as ProxyLoginConfig;
pub use settings::{Config, SERVICE_SOCKET, SOCKET};
pub use stand_in::{Trouble, stand_in};
pub use tls::Config as TlsConfig;

/// In the folder of the daemon's state: the certificate that the box makes, the keys of a proxy.
const FOLDER: &str = "web";

/// What all routes share.
struct Shared {
    services: Services,
    jpegs: live::JpegCache,
    viewers: live::Viewers,
    errors: ErrorLogLimiter,
    streams: stream::Streams,
    answers: idempotency::Answers,
    proxy: Option<Arc<ProxyLogin>>,
    turns: turns::Turns,
    stop: CancellationToken,
}

/// The page, which may be served by the network and by the local socket.
#[derive(Clone)]
pub struct Page {
    config: Config,
    deps: PageDeps,
    services: Services,
    server: Server,
    proxy: Option<Arc<ProxyLogin>>,
}

/// What a page needs of the daemon, beside its services.
#[derive(Clone)]
pub struct PageDeps {
    /// Where small things lie that outlive a start: the certificate that the box makes for itself.
    pub folder: PathBuf,
    /// By which that certificate comes to its end.
    pub clock: Arc<dyn Clock>,
}

/// What a page is reached by.
pub struct Opened {
    listeners: Vec<Listener>,
    addresses: Vec<SocketAddr>,
    tls: Option<Tls>,
}

impl Opened {
    /// Where the page is found.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }
}

impl Page {
    /// One that is not served for longer than until `stop`: streams that are open then end by themselves.
    pub fn new(config: Config, services: Services, deps: PageDeps, stop: CancellationToken) -> Self {
        let names = Names { host: tls::host_names(), configured: config.names.clone() };
        let proxy = ProxyLogin::new(config.proxy_login.as_ref(), &deps.folder.join(FOLDER), &deps.clock);
        let plain = plain_http::router(names.clone());
        let routes = router(services.clone(), config.max_viewers, names, proxy.clone(), stop);
        let server = Server::new(routes, plain);
        Self { config, deps, services, server, proxy }
    }

    /// Opens the page's port, or takes over those that the service manager opened.
    ///
    /// # Errors
    /// When the port is taken, or there is no certificate that can be used; says which and what to do.
    pub async fn open(&self) -> Result<Opened> {
        open(&self.config, &self.deps).await
    }

    /// Serves the page until `stop`; ends within about a second, even with connections open.
    ///
    /// # Errors
    /// When the secret of the set-up link cannot be made.
    pub async fn serve(&self, opened: Opened, stop: CancellationToken) -> Result<()> {
        let Opened { listeners, tls, .. } = opened;
        let setup = self.services.access.known().setup_secret()?;
        for listener in &listeners {
            listener.log_open();
        }
        if let (Some(secret), Some(page)) = (setup, listeners.first().and_then(Listener::url)) {
            info!(link = %format!("{page}login#setup={secret}"), "no users yet: this link adds the first one");
        }
        let status = &self.services.status;
        let keep_current = async {
            match &tls {
                Some(tls) => tls.keep_current(|certificate| status.note_certificate(Some(certificate))).await,
                None => {
                    status.note_certificate(None);
                    std::future::pending().await
                }
            }
        };
        let keep_keys = async {
            match &self.proxy {
                Some(proxy) => proxy.keep_current(self.services.access.known()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = self.server.serve(listeners, stop) => {}
            () = keep_current => {}
            () = keep_keys => {}
        }
        Ok(())
    }

    /// Serves programs on the box until `stop`. A socket that cannot be opened is logged, and costs nothing else.
    pub async fn serve_local(&self, stop: CancellationToken) {
        let sockets = match open_local(&self.config, &self.deps).await {
            Ok(sockets) => sockets,
            Err(error) => {
                let error = format!("{error:#}");
                // Not every file system can hold one, and without the service no one chose the place.
                return if self.config.is_socket_chosen() {
                    warn!(error, "the local socket cannot be used");
                } else {
                    info!(error, "there is no local socket");
                };
            }
        };
        self.server.serve(sockets.into_iter().map(Listener::Local).collect(), stop).await;
    }
}

async fn open(config: &Config, deps: &PageDeps) -> Result<Opened> {
    let mut sockets = server::inherited().context("take over the sockets of the service manager")?;
    if sockets.is_empty() {
        sockets.push(server::bind(config.listen).await?);
    }
    let mut opened = Opened { listeners: Vec::new(), addresses: Vec::new(), tls: None };
    for socket in sockets {
        let address = socket.local_addr().context("read the page's address")?;
        let needs_tls = config.has_tls(address.ip());
        if needs_tls && opened.tls.is_none() {
            opened.tls = Some(Tls::new(&config.tls, &deps.folder.join(FOLDER), &deps.clock).await?);
        }
        opened.listeners.push(Listener::Tcp(socket, opened.tls.clone().filter(|_| needs_tls)));
        opened.addresses.push(address);
    }
    Ok(opened)
}

async fn open_local(config: &Config, deps: &PageDeps) -> Result<Vec<LocalSocket>> {
    let inherited = systemd::unix_listeners().context("take over the sockets of the service manager")?;
    if !inherited.is_empty() {
        return inherited.into_iter().map(|socket| Ok(LocalSocket::inherited(socket)?)).collect();
    }
    let path = config.socket_in(&deps.folder);
    Ok(vec![LocalSocket::bind(&path, config.is_socket_chosen()).await?])
}

/// Finds out whether the page could move from the address that it has to that of `after`.
///
/// # Errors
/// When the port is taken, or the address is not this box's; says what to do.
pub async fn check_address(before: &Config, after: &Config) -> Result<()> {
    server::check(before.listen, after.listen).await
}

/// Finds out whether the certificate that `config` names can be used.
///
/// # Errors
/// Names the file, and what to do.
pub async fn check_certificate(config: &Config) -> Result<()> {
    tls::check(&config.tls).await
}

/// The same as [`check_certificate`], blocking.
///
/// # Errors
/// As there.
pub fn check_certificate_files(config: &Config) -> Result<()> {
    tls::check_files(&config.tls)
}

fn router(
    services: Services,
    max_viewers: u16,
    names: Names,
    proxy: Option<Arc<ProxyLogin>>,
    stop: CancellationToken,
) -> Router {
    let shared = Arc::new(Shared {
        services,
        jpegs: live::JpegCache::default(),
        viewers: live::Viewers::new(max_viewers.into(), stop.clone()),
        errors: ErrorLogLimiter::default(),
        streams: stream::Streams::default(),
        answers: idempotency::Answers::default(),
        proxy,
        turns: turns::Turns::default(),
        stop,
    });
    let (routes, _) = all_routes().finish();
    let routes = routes
        .fallback(pages::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(from_fn_with_state(shared.clone(), session::identify))
        .layer(from_fn(sdp::readable_elsewhere));
    guard::guarded(routes, names).with_state(shared)
}

fn all_routes() -> Routes {
    pages::routes()
        .merge(health::routes())
        .merge(login::routes())
        .merge(users::routes())
        .merge(api::routes())
        .merge(event_changes::routes())
        .merge(timeline::routes())
        .merge(photos::routes())
        .merge(photo_usage::routes())
        .merge(photo_folders::routes())
        .merge(photo_storage::routes())
        .merge(photo_similar::routes())
        .merge(search::routes())
        .merge(jobs::routes())
        .merge(albums::routes())
        .merge(uploads::routes())
        .merge(queue::routes())
        .merge(config::routes())
        .merge(camera_config::routes())
        .merge(switches::routes())
        .merge(models::routes())
        .merge(pipelines::routes())
        .merge(camera_pipeline::routes())
        .merge(executions::routes())
        .merge(inference::routes())
        .merge(system::routes())
        .merge(shares::routes())
        .merge(shared_photos::routes())
        .merge(live::routes())
        .merge(whip::routes())
        .merge(problems::routes())
        .merge(stream::routes())
        .merge(openapi::routes())
}
