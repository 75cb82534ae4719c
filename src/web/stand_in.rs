//! What is served while the daemon waits for its storage: health, and why there is nothing else.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::guard::{self, Names};
use super::problem::{Code, Problem, is_api};
use super::server::{Listener, Server};
use super::{Config, PageDeps, open, open_local, plain_http, tls};

/// How often a port is tried that cannot be opened.
const TRY_EVERY: Duration = Duration::from_secs(10);

/// What keeps the daemon from its storage, in words for the operator; none as long as nothing was found.
pub type Trouble = watch::Receiver<Option<String>>;

/// Serves until it is dropped, from when there is a `trouble` on.
pub async fn stand_in(config: &Config, deps: &PageDeps, mut trouble: Trouble) -> Infallible {
    if trouble.wait_for(Option::is_some).await.is_err() {
        return std::future::pending().await;
    }
    let names = Names { host: tls::host_names(), configured: config.names.clone() };
    let server = Server::new(router(trouble, names.clone()), plain_http::router(names));
    let by_network = async {
        loop {
            match open(config, deps).await {
                Ok(opened) => server.serve(opened.listeners, CancellationToken::new()).await,
                Err(error) => warn!(error = format!("{error:#}"), "the page cannot be opened"),
            }
            tokio::time::sleep(TRY_EVERY).await;
        }
    };
    let locally = async {
        // The folder of its socket may be the one that cannot be used.
        let sockets = open_local(config, deps).await.unwrap_or_default();
        server.serve(sockets.into_iter().map(Listener::Local).collect(), CancellationToken::new()).await;
        std::future::pending::<()>().await
    };
    tokio::join!(by_network, locally).0
}

fn router(trouble: Trouble, names: Names) -> Router {
    let waits = move || format!("nothing is recorded: {}", trouble.borrow().as_deref().unwrap_or_default());
    let ready = waits.clone();
    let routes = Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(async move || (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", ready()))))
        .fallback(async move |uri: Uri| refuse(&uri, waits()));
    guard::guarded(routes, names)
}

fn refuse(uri: &Uri, reason: String) -> Response {
    if is_api(uri) {
        return Problem::new(Code::VolumeAway, reason).after(TRY_EVERY).into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response()
}
