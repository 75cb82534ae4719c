//! What holds for every request and every answer, whatever the route.

use std::net::IpAddr;
use std::sync::Arc;

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
/// All header fields of a request, bytes.
const MAX_HEADER_BYTES: usize = 16 << 10;

/// What programs that watch may ask for without a Host header, which HTTP/1.0 does not know.
const HEALTH: [&str; 2] = ["/healthz", "/readyz"];

/// Whether a program that watches asks how the box is.
pub(super) fn is_health(uri: &Uri) -> bool {
    HEALTH.contains(&uri.path())
}

/// The address that a connection's listener has; the server puts it into the extensions of each request that came by the
/// network.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListenAddress(pub(super) IpAddr);

/// What the box is called.
#[derive(Clone, Debug, Default)]
pub(super) struct Names {
    /// By its own network; they count beyond loopback.
    pub(super) host: Vec<String>,
    /// By its operator (`web.names`).
    pub(super) configured: Vec<String>,
}

/// Less than this gets hardly smaller, bytes.
const COMPRESSED_ABOVE: u16 = 512;

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

/// All routes as they are served to those who ask for one of `names`.
pub(super) fn guarded<S: Clone + Send + Sync + 'static>(routes: Router<S>, names: Names) -> Router<S> {
    let compression = CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED_ABOVE).and(is_compressed));
    let routes = routes.layer(compression).layer(from_fn_with_state(Arc::new(names), guard));
    let cached = SetResponseHeaderLayer::if_not_present(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    let set = |routes: Router<S>, (name, value)| routes.layer(SetResponseHeaderLayer::overriding(name, value));
    HEADERS.into_iter().fold(routes.layer(cached), set)
}

/// Turns away requests that were meant for another name, and those that are too long.
async fn guard(State(names): State<Arc<Names>>, mut request: Request, next: Next) -> Response {
    if let Some(problem) = refusal(&request, &names) {
        return problem.into_response();
    }
    // HTTP/2 has the host in another place; what follows finds it in one.
    if !request.headers().contains_key(header::HOST)
        && let Some(host) = request.uri().authority().and_then(|host| HeaderValue::from_str(host.as_str()).ok())
    {
        request.headers_mut().insert(header::HOST, host);
    }
    next.run(request).await
}

/// Media are compressed already, and whatever is served in ranges has to keep its bytes.
fn is_compressed(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default();
    // A stream would wait until there is enough to compress.
    let is_text = kind.starts_with("text/") && kind != "text/event-stream" || COMPRESSED.contains(&kind);
    is_text && !headers.contains_key(header::ACCEPT_RANGES)
}

fn refusal(request: &Request, names: &Names) -> Option<Problem> {
    if uri_len(request.uri()) > MAX_URI_BYTES {
        let message = format!("the address is longer than {MAX_URI_BYTES} bytes");
        return Some(Problem::new(Code::UriTooLong, message));
    }
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len());
    if fields.sum::<usize>() > MAX_HEADER_BYTES {
        let message = format!("the header fields are longer than {MAX_HEADER_BYTES} bytes");
        return Some(Problem::new(Code::HeadersTooLarge, message));
    }
    if let Some(ListenAddress(listen)) = request.extensions().get()
        && !is_for_us(request, *listen, names)
    {
        let message = if is_beyond_loopback(*listen) {
            "this is not the host that you asked for: use its address, its host name, or a name of web.names"
        } else {
            "this is not the host that you asked for: use localhost or 127.0.0.1"
        };
        return Some(Problem::new(Code::WrongHost, message.to_owned()));
    }
    None
}

/// A page elsewhere can point its own name at this box (DNS rebinding) and would then be "same origin" with us in the
/// browser's eyes; but its requests carry its own name.
fn is_for_us(request: &Request, listen: IpAddr, names: &Names) -> bool {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let target = request.uri().authority().map(|authority| authority.as_str());
    let host = match hosts.next() {
        Some(host) => host.to_str().unwrap_or_default(),
        None if request.version() == Version::HTTP_10 && is_health(request.uri()) => {
            return target.is_none_or(|target| is_us(target, listen, names));
        }
        None if request.version() == Version::HTTP_2 => target.unwrap_or_default(),
        None => return false,
    };
    hosts.next().is_none() && is_us(host, listen, names) && target.is_none_or(|target| is_us(target, listen, names))
}

fn uri_len(uri: &Uri) -> usize {
    uri.path_and_query().map_or(0, |path| path.as_str().len())
}

/// Whether a Host header names this server: `localhost`, a loopback address, the address listened on, or a name of
/// `web.names`; beyond loopback also any other address, and the box's host name. An address cannot be rebound.
/// The port does not matter: tunnels change it, and a name cannot be bound to it.
fn is_us(host: &str, listen: IpAddr, names: &Names) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((ip, port)) if ip.contains(':') => (ip, port),
            _ => return false,
        },
        None => host.find(':').map_or((host, ""), |colon| host.split_at(colon)),
    };
    let port_is_fine = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    let beyond = is_beyond_loopback(listen);
    let is_one_of = |names: &[String]| names.iter().any(|own| own.eq_ignore_ascii_case(name));
    let name_is_fine = match name.parse::<IpAddr>() {
        Ok(ip) => beyond || ip.is_loopback() || ip == listen,
        Err(_) => {
            name.eq_ignore_ascii_case("localhost") || is_one_of(&names.configured) || (beyond && is_one_of(&names.host))
        }
    };
    port_is_fine && name_is_fine
}

fn is_beyond_loopback(listen: IpAddr) -> bool {
    !listen.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_names_and_the_own_address_are_us() {
        let listen: IpAddr = "127.0.0.1".parse().expect("address");
        let names = Names { host: vec!["box-7".to_owned(), "box-7.local".to_owned()], configured: Vec::new() };
        let is_us = |host: &str, listen: IpAddr| super::is_us(host, listen, &names);
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
            "box-7",
            "[127.0.0.1]",
        ];
        for host in foreign {
            assert!(!is_us(host, listen), "{host}");
        }
        assert!(is_us("10.0.0.5:8080", "10.0.0.5".parse().expect("address")));
    }

    #[test]
    fn beyond_loopback_any_address_and_the_names_of_the_box_are_us() {
        let listen: IpAddr = "0.0.0.0".parse().expect("address");
        let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let names = Names { host: own(&["box-7", "box-7.local"]), configured: own(&["cams.farm.example"]) };
        for host in
            ["10.0.0.5:8080", "[2001:db8::7]:8080", "box-7:8080", "BOX-7.local", "cams.farm.example:443", "localhost"]
        {
            assert!(is_us(host, listen, &names), "{host}");
        }
        for host in ["evil.example", "box-7.evil.example", "box-8.local", "", "10.0.0.5.evil.example", "farm.example"] {
            assert!(!is_us(host, listen, &names), "{host}");
        }
        let loopback = "127.0.0.1".parse().expect("address");
        assert!(is_us("cams.farm.example", loopback, &names), "a proxy on the box hands the name on");
    }
}
