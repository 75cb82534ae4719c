//! The page itself: a handful of files inside the binary, so that it works without any other host.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::extract::Path;
use axum::extract::rejection::PathRejection;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

use super::{Shared, problem};

struct Asset {
    name: &'static str,
    kind: &'static str,
    body: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

static ASSETS: [Asset; 14] = [
    Asset { name: "index.html", kind: HTML, body: include_str!("assets/index.html") },
    Asset { name: "app.css", kind: CSS, body: include_str!("assets/app.css") },
    Asset { name: "app.js", kind: JS, body: include_str!("assets/app.js") },
    Asset { name: "cameras.js", kind: JS, body: include_str!("assets/cameras.js") },
    Asset { name: "coverage.js", kind: JS, body: include_str!("assets/coverage.js") },
    Asset { name: "delivery.js", kind: JS, body: include_str!("assets/delivery.js") },
    Asset { name: "events.js", kind: JS, body: include_str!("assets/events.js") },
    Asset { name: "format.js", kind: JS, body: include_str!("assets/format.js") },
    Asset { name: "live.css", kind: CSS, body: include_str!("assets/live.css") },
    Asset { name: "live.js", kind: JS, body: include_str!("assets/live.js") },
    Asset { name: "live-overlay.js", kind: JS, body: include_str!("assets/live-overlay.js") },
    Asset { name: "live-player.js", kind: JS, body: include_str!("assets/live-player.js") },
    Asset { name: "live-text.js", kind: JS, body: include_str!("assets/live-text.js") },
    Asset { name: "favicon.svg", kind: SVG, body: include_str!("assets/favicon.svg") },
];

/// One tag for all files: they change together, with the binary. Weak, since it is the same with and without compression.
static TAG: LazyLock<String> = LazyLock::new(|| {
    let mut hash = Sha256::new();
    ASSETS.iter().for_each(|asset| hash.update(asset.body));
    let hash = hex::encode(hash.finalize());
    format!("W/\"{}\"", hash.get(..16).unwrap_or_default())
});

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/", get(index)).route("/assets/{file}", get(asset))
}

/// Where each of them is found.
#[cfg(test)]
pub(super) fn names() -> Vec<String> {
    let path =
        |asset: &Asset| if asset.name == "index.html" { "/".to_owned() } else { format!("/assets/{}", asset.name) };
    ASSETS.iter().map(path).collect()
}

async fn index(request: HeaderMap) -> Response {
    ASSETS.first().map_or_else(|| StatusCode::NOT_FOUND.into_response(), |index| answer(index, &request))
}

async fn asset(file: Result<Path<String>, PathRejection>, uri: Uri, request: HeaderMap) -> Response {
    let wanted = file.ok().and_then(|Path(file)| ASSETS.iter().skip(1).find(|asset| asset.name == file));
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
