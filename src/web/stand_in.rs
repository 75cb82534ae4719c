//! What is served while the daemon waits for its storage: health, and why there is nothing else.

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::http::{StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::Timestamp;
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

/// How often the clock is looked at that shows no time that HTTP can state.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Serves until it is dropped, from when there is a `trouble` on.
pub async fn stand_in(config: &Config, deps: &PageDeps, mut trouble: Trouble) -> Infallible {
    if trouble.wait_for(Option::is_some).await.is_err() {
        return std::future::pending().await;
    }
    // Answers have a date, which hyper cannot write before 1970.
    while deps.clock.wall() < Timestamp::UNIX_EPOCH {
        tokio::time::sleep(LOOK_EVERY).await;
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::net::TcpStream;

    use super::*;
    use crate::clock::{Mono, SimulatedClock, TimeQuality};

    #[tokio::test]
    async fn nothing_is_answered_before_1970_since_answers_have_a_date() {
        let folder = tempfile::tempdir().expect("folder");
        let moon: Timestamp = "1969-07-20T20:17:00Z".parse().expect("a time");
        let clock = Arc::new(SimulatedClock::new(Mono(0), moon));
        let deps = PageDeps { folder: folder.path().to_owned(), clock: clock.clone() };
        let free = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port").local_addr().expect("address");
        let config = Config { listen: free, ..Config::default() };
        let (_says, trouble) = watch::channel(Some("the clock is not set".to_owned()));
        let asked = async {
            for _ in 0..100 {
                tokio::task::yield_now().await;
                assert!(TcpStream::connect(free).await.is_err(), "it is open");
            }
            clock.step_wall("2026-11-30T22:00:00Z".parse().expect("a time"), TimeQuality::Synchronised);
            while TcpStream::connect(free).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::select! {
            _ = stand_in(&config, &deps, trouble) => panic!("it ended"),
            done = tokio::time::timeout(Duration::from_secs(60), asked) => done.expect("it opens"),
        }
    }
}
