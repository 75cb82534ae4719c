//! The page itself: a handful of files inside the binary, so that it works without any other host.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};

use super::problem;
use super::routes::{Needs, Routes};

pub(super) struct Asset {
    pub(super) name: &'static str,
    kind: &'static str,
    body: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

static PAGES: [Asset; 4] = [
    Asset { name: "index.html", kind: HTML, body: include_str!("assets/index.html") },
    Asset { name: "login.html", kind: HTML, body: include_str!("assets/login.html") },
    Asset { name: "account.html", kind: HTML, body: include_str!("assets/account.html") },
    Asset { name: "people.html", kind: HTML, body: include_str!("assets/people.html") },
];

/// What the pages consist of beside their text.
pub(super) static FILES: [Asset; 18] = [
    Asset { name: "app.css", kind: CSS, body: include_str!("assets/app.css") },
    Asset { name: "app.js", kind: JS, body: include_str!("assets/app.js") },
    Asset { name: "account.js", kind: JS, body: include_str!("assets/account.js") },
    Asset { name: "cameras.js", kind: JS, body: include_str!("assets/cameras.js") },
    Asset { name: "coverage.js", kind: JS, body: include_str!("assets/coverage.js") },
    Asset { name: "delivery.js", kind: JS, body: include_str!("assets/delivery.js") },
    Asset { name: "events.js", kind: JS, body: include_str!("assets/events.js") },
    Asset { name: "form.js", kind: JS, body: include_str!("assets/form.js") },
    Asset { name: "format.js", kind: JS, body: include_str!("assets/format.js") },
    Asset { name: "live.css", kind: CSS, body: include_str!("assets/live.css") },
    Asset { name: "live.js", kind: JS, body: include_str!("assets/live.js") },
    Asset { name: "live-overlay.js", kind: JS, body: include_str!("assets/live-overlay.js") },
    Asset { name: "live-player.js", kind: JS, body: include_str!("assets/live-player.js") },
    Asset { name: "live-text.js", kind: JS, body: include_str!("assets/live-text.js") },
    Asset { name: "login.js", kind: JS, body: include_str!("assets/login.js") },
    Asset { name: "nav.js", kind: JS, body: include_str!("assets/nav.js") },
    Asset { name: "people.js", kind: JS, body: include_str!("assets/people.js") },
    Asset { name: "favicon.svg", kind: SVG, body: include_str!("assets/favicon.svg") },
];

/// One tag for all files: they change together, with the binary. Weak, since it is the same with and without compression.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    PAGES.iter().chain(&FILES).for_each(|asset| hash.update(asset.body));
    let hash = hex::encode(hash.finalize());
    format!("W/\"{}\"", hash.get(..16).unwrap_or_default())
});

pub(super) fn routes() -> Routes {
    let page = |name: &'static str| move |request: HeaderMap| async move { page(name, &request) };
    Routes::default()
        .get("/", Needs::VIEW, page("index.html"))
        .get("/login", Needs::Nothing, page("login.html"))
        .get("/account", Needs::Login, page("account.html"))
        .get("/people", Needs::ADMINISTER, page("people.html"))
        .get("/assets/{file}", Needs::Nothing, asset)
}

/// A page of the box; what it shows it asks for itself.
fn page(name: &str, request: &HeaderMap) -> Response {
    let page = PAGES.iter().find(|page| page.name == name);
    page.map_or_else(|| StatusCode::NOT_FOUND.into_response(), |page| answer(page, request))
}

async fn asset(file: Result<Path<String>, PathRejection>, uri: Uri, request: HeaderMap) -> Response {
    let wanted = file.ok().and_then(|Path(file)| FILES.iter().find(|asset| asset.name == file));
    match wanted {
        Some(asset) => answer(asset, &request),
        None => problem::not_found(uri).await,
    }
}

fn answer(asset: &'static Asset, request: &HeaderMap) -> Response {
    let fixed = [(header::ETAG, TAG.as_str()), (header::CACHE_CONTROL, "no-cache"), (header::CONTENT_TYPE, asset.kind)];
    let known = request.get(header::IF_NONE_MATCH).and_then(|tags| tags.to_str().ok());
    if known.is_some_and(|tags| tags.contains(TAG.as_str())) {
        return (StatusCode::NOT_MODIFIED, fixed).into_response();
    }
    (fixed, asset.body).into_response()
}
