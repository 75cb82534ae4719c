//! What holds for every request and every answer, whatever the route.

use std::net::{IpAddr, SocketAddr};

use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Extensions, StatusCode, Uri, Version};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};
use tower_http::set_header::SetResponseHeaderLayer;

use super::problem::{Code, Problem};

/// No request of ours is anywhere near it.
const MAX_URI_BYTES: usize = 4096;

/// What fits into one packet gets no cheaper, bytes.
const COMPRESSED_ABOVE: u16 = 1024;

/// Kinds of content that are compressed, beside text.
const COMPRESSED: [&str; 3] = ["application/json", "application/openmetrics-text", "image/svg+xml"];

const HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(
            "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'none'; \
             frame-ancestors 'none'",
        ),
    ),
    (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("same-origin")),
    (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
];

/// All routes as they are served on `address`.
pub(super) fn guarded<S: Clone + Send + Sync + 'static>(routes: Router<S>, address: SocketAddr) -> Router<S> {
    let compression = CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED_ABOVE).and(is_compressed));
    let routes = routes.layer(compression).layer(from_fn_with_state(address, guard));
    let cached = SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let set = |routes: Router<S>, (name, value)| routes.layer(SetResponseHeaderLayer::overriding(name, value));
    HEADERS.into_iter().fold(routes.layer(cached), set)
}

/// Turns away requests that were meant for another name.
async fn guard(State(address): State<SocketAddr>, request: Request, next: Next) -> Response {
    match refusal(&request, address.ip()) {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

/// Media are compressed already, and whatever is served in ranges has to keep its bytes.
fn is_compressed(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    // A stream would wait until there is enough to compress.
    let is_text = kind.starts_with("text/") && kind != "text/event-stream" || COMPRESSED.contains(&kind);
    is_text && !headers.contains_key(header::ACCEPT_RANGES)
}

fn refusal(request: &Request, listen: IpAddr) -> Option<Problem> {
    if uri_len(request.uri()) > MAX_URI_BYTES {
        let message = format!("the address is longer than {MAX_URI_BYTES} bytes");
        return Some(Problem::new(Code::UriTooLong, message));
    }
    // A page elsewhere can point its own name at loopback (DNS rebinding) and would then be "same origin"
    // with us in the browser's eyes; but its requests carry its own name.
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = hosts.next().and_then(|host| host.to_str().ok()).unwrap_or_default();
    let target = request.uri().authority().map_or(host, |authority| authority.as_str());
    if hosts.next().is_some() || !is_us(host, listen) || !is_us(target, listen) {
        let message = "this is not the host that you asked for: use localhost or 127.0.0.1".to_owned();
        return Some(Problem::new(Code::WrongHost, message));
    }
    None
}

fn uri_len(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |path| path.as_str().len())
}

/// Whether a Host header names this server: `localhost`, a loopback address, or the address listened on.
/// The port does not matter: tunnels change it, and a name cannot be bound to it.
fn is_us(host: &str, listen: IpAddr) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((ip, port)) => (ip, port),
            None => return false,
        },
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let name_is_fine = name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == listen);
    port_is_fine && name_is_fine
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_and_the_own_address_are_us() {
        let listen: IpAddr = "127.0.0.1".parse().expect("address");
        for host in ["localhost", "LOCALHOST:8080", "127.0.0.1", "127.0.0.1:8080", "127.1.2.3:1", "[::1]", "[::1]:8080"]
        {
            assert!(is_us(host, listen), "{host}");
        }
        let foreign = [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.5:8080",
            "localhost:",
            "localhost:99999",
            "localhost:80:80",
            "[::1",
            "[::2]",
            "::1",
            "127.0.0.1@evil.example",
            "user@localhost",
        ];
        for host in foreign {
            assert!(!is_us(host, listen), "{host}");
        }
        assert!(is_us("10.0.0.5:8080", "10.0.0.5".parse().expect("address")));
    }
}
