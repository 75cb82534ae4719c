//! What arrives without encryption at a port that speaks HTTPS: browsers are sent to the right address, programs get it
//! as an error.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};

use super::guard::{self, Names};
use super::problem::{Code, Problem, is_api};

/// The answers of that port, for the names of the box.
pub(super) fn router(names: Names) -> Router {
    guard::guarded(Router::new().fallback(to_https), names)
}

async fn to_https(method: Method, uri: Uri, headers: HeaderMap) -> Response {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    let address = format!("https://{host}{path}");
    let is_page = matches!(method, Method::GET | Method::HEAD) && !is_api(&uri);
    let detail = format!("this port speaks HTTPS: use {address}");
    let mut answer = match HeaderValue::from_str(&address) {
        Ok(address) if is_page => {
            (StatusCode::TEMPORARY_REDIRECT, [(header::LOCATION, address)], detail).into_response()
        }
        // A program that sends a key would go on sending it for all to read if it were led on.
        _ => Problem::new(Code::HttpsNeeded, detail).into_response(),
    };
    answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    answer
}
