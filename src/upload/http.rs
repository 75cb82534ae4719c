//! Carries the requests of object stores: through the [`BandwidthLimiter`], and detects other servers that answer in their place.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http_body_util::BodyExt;
use md5::{Digest as _, Md5};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody, HttpResponse, HttpResponseBody,
    HttpService,
};
use reqwest::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, ETAG, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Certificate, Method, StatusCode, redirect};

use super::limiter::{BandwidthLimiter, RequestContext};
use super::link::{Failure, describe};
use super::proof::Stated;

/// How long a connection may take to come up.
const CONNECT: Duration = Duration::from_secs(20);
/// A connection over which nothing that was sent is confirmed is dead after so long.
const UNCONFIRMED: Duration = Duration::from_secs(90);
const KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Unused connections are kept for so long: a new one costs a slow link seconds.
const IDLE: Duration = Duration::from_secs(60);
/// What is handed to the network at a time.
const PIECE: usize = 16 << 10;
/// Smaller bodies are handed over whole, where nothing limits the line.
const AT_ONCE: usize = 64 << 10;
/// What is read from the disk at a time.
const READ: usize = 64 << 10;

/// S3's own checksum of a body.
const CHECKSUM: &str = "x-amz-checksum-sha256";
/// The standard's.
const CONTENT_MD5: &str = "content-md5";

/// Makes clients whose bodies go through one line.
#[derive(Debug)]
pub(super) struct Connector {
    pub limiter: BandwidthLimiter,
    /// To be trusted besides the system's.
    pub certificates: Vec<Certificate>,
    /// Sent with every request, where the store has no credentials of its own.
    pub authorization: Option<HeaderValue>,
    pub service: Service,
}

/// The kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    S3,
    /// Another one whose good answers are never web pages.
    Api,
    /// A plain web server, which greets a stored file with one.
    Web,
}

impl HttpConnector for Connector {
    fn connect(&self, _: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = reqwest::Client::builder()
            .user_agent(concat!("outpost/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT)
            .tcp_keepalive(KEEP_ALIVE)
            .tcp_user_timeout(UNCONFIRMED)
            .pool_idle_timeout(IDLE)
            // A redirected upload would arrive as the request for a web page.
            .redirect(redirect::Policy::none())
            .tls_certs_merge(self.certificates.iter().cloned())
            .build()
            .map_err(|error| object_store::Error::Generic { store: "HTTP", source: Box::new(error) })?;
        let (limiter, authorization) = (self.limiter.clone(), self.authorization.clone());
        Ok(HttpClient::new(Carrier { client, limiter, authorization, service: self.service }))
    }
}

/// PEM certificates of a file.
///
/// # Errors
/// When it holds none.
pub(super) fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<Certificate>, Failure> {
    let refuse = |reason: String| Failure::Refused(format!("{}: not PEM certificates: {reason}", file.display()));
    let certificates = Certificate::from_pem_bundle(pem).map_err(|e| refuse(describe(&e)))?;
    if certificates.is_empty() {
        return Err(refuse("there is none in it".to_owned()));
    }
    Ok(certificates)
}

#[derive(Debug)]
struct Carrier {
    client: reqwest::Client,
    limiter: BandwidthLimiter,
    authorization: Option<HeaderValue>,
    service: Service,
}

/// The answer was not the destination's.
#[derive(Debug, thiserror::Error)]
#[error("something on the way answers in the destination's place ({0}): a login page for the network?")]
struct Portal(String);

#[async_trait]
impl HttpService for Carrier {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        let (parts, body) = request.into_parts();
        let url =
            parts.uri.to_string().parse().map_err(|error| HttpError::new(HttpErrorKind::Unknown, NotUrl(error)))?;
        let mut request = reqwest::Request::new(parts.method.clone(), url);
        *request.headers_mut() = parts.headers;
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        let context = RequestContext::current();
        let sent = (self.service == Service::S3 && parts.method == Method::PUT).then(|| body.clone());
        if let Some(sent) =
            sent.clone().filter(|body| body.content_length() > 0 && !request.headers().contains_key(CHECKSUM))
        {
            // Without the one the service compares the other.
            let md5 = BASE64_STANDARD.encode(md5_of(sent).await?);
            request.headers_mut().insert(CONTENT_MD5, encoded(&md5));
        }
        let file = context.as_ref().filter(|_| parts.method == Method::PUT).and_then(|context| context.file.clone());
        let (length, body) = match file {
            Some(file) => self.on_disk(&file).await?,
            None => (body.content_length() as u64, self.paced(body).await?),
        };
        request.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(length));
        *request.body_mut() = Some(body);
        let answer = self.client.execute(request).await.map_err(sort)?;
        if let Some(portal) = portal(&parts.method, answer.status(), answer.headers(), self.service) {
            return Err(HttpError::new(HttpErrorKind::Unknown, portal));
        }
        if matches!(parts.method, Method::HEAD | Method::PUT)
            && answer.status().is_success()
            && let Some(context) = context
        {
            context.state(Stated::read(answer.headers(), self.service == Service::S3));
        }
        let is_part = parts.uri.query().is_some_and(|query| query.contains("partNumber="));
        let (mut parts, body) = http::Response::<reqwest::Body>::from(answer).into_parts();
        let lacks_etag = parts.status.is_success() && !parts.headers.contains_key(ETAG);
        if let Some(sent) = sent.filter(|_| is_part && lacks_etag) {
            // The list of parts that completes an upload needs one; where a service has one at all, it is this.
            let etag = format!("\"{}\"", hex::encode(md5_of(sent).await?));
            parts.headers.insert(ETAG, encoded(&etag));
        }
        Ok(HttpResponse::from_parts(parts, HttpResponseBody::new(body.map_err(sort))))
    }
}

/// The MD5 of a body.
async fn md5_of(mut body: HttpRequestBody) -> Result<[u8; 16], HttpError> {
    let mut md5 = Md5::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            md5.update(&data);
        }
    }
    Ok(md5.finalize().into())
}

fn encoded(text: &str) -> HeaderValue {
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static(""))
}

#[derive(Debug, thiserror::Error)]
#[error("{} cannot be read: {error}", path.display())]
struct Unreadable {
    path: PathBuf,
    error: std::io::Error,
}

#[derive(Debug, thiserror::Error)]
#[error("not a URL: {0}")]
struct NotUrl(url::ParseError);

impl Carrier {
    /// The body in pieces, each of which waits for its turn. What belongs to no context (tokens) is small.
    async fn paced(&self, mut body: HttpRequestBody) -> Result<reqwest::Body, HttpError> {
        let mut pieces = VecDeque::new();
        while let Some(frame) = body.frame().await {
            if let Ok(mut data) = frame?.into_data() {
                while !data.is_empty() {
                    pieces.push_back(data.split_to(PIECE.min(data.len())));
                }
            }
        }
        let length: usize = pieces.iter().map(Bytes::len).sum();
        let Some(context) = RequestContext::current().filter(|_| length > 0) else {
            return Ok(reqwest::Body::from(pieces.into_iter().flatten().collect::<Vec<u8>>()));
        };
        context.begin(length as u64);
        if length <= AT_ONCE && !self.limiter.is_limited() {
            self.limiter.admit(&context, length as u64).await;
            return Ok(match Vec::from(pieces).as_slice() {
                [only] => reqwest::Body::from(only.clone()),
                several => reqwest::Body::from(several.concat()),
            });
        }
        Ok(reqwest::Body::wrap_stream(priority(self.limiter.clone(), context, pieces)))
    }

    /// A file as the body, read on the way.
    async fn on_disk(&self, path: &Path) -> Result<(u64, reqwest::Body), HttpError> {
        let unreadable = |error| HttpError::new(HttpErrorKind::Unknown, Unreadable { path: path.to_owned(), error });
        let path = path.to_owned();
        let opened = tokio::task::spawn_blocking(move || {
            let file = File::open(path)?;
            Ok((file.metadata()?.len(), file))
        });
        let opened = opened.await.map_err(std::io::Error::other).and_then(|opened| opened);
        let (length, file) = opened.map_err(unreadable)?;
        let limiter = self.limiter.clone();
        let context = RequestContext::current();
        if let Some(context) = &context {
            context.begin(length);
        }
        let body = futures::stream::try_unfold((limiter, context, file), |(limiter, context, file)| async move {
            let Some((piece, file)) = read_piece(file).await? else { return Ok::<_, std::io::Error>(None) };
            if let Some(context) = &context {
                limiter.admit(context, piece.len() as u64).await;
            }
            Ok(Some((piece, (limiter, context, file))))
        });
        Ok((length, reqwest::Body::wrap_stream(body)))
    }
}

/// Reads on a thread that may block.
async fn read_piece(mut file: File) -> std::io::Result<Option<(Bytes, File)>> {
    let read = move || {
        let mut piece = vec![0; READ];
        let length = file.read(&mut piece)?;
        piece.truncate(length);
        Ok((length > 0).then(|| (Bytes::from(piece), file)))
    };
    tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other)?
}

fn priority(
    limiter: BandwidthLimiter,
    context: Arc<RequestContext>,
    pieces: VecDeque<Bytes>,
) -> impl futures::Stream<Item = Result<Bytes, std::convert::Infallible>> {
    futures::stream::unfold((limiter, context, pieces), |(limiter, context, mut pieces)| async move {
        let piece = pieces.pop_front()?;
        limiter.admit(&context, piece.len() as u64).await;
        Some((Ok(piece), (limiter, context, pieces)))
    })
}

/// Login pages of hotels and ports answer in place of every server: with a page, or by sending us to one.
fn portal(method: &Method, status: StatusCode, headers: &HeaderMap, service: Service) -> Option<Portal> {
    let kind = headers.get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let is_page = kind.starts_with("text/html");
    if status == StatusCode::NETWORK_AUTHENTICATION_REQUIRED {
        return Some(Portal(status.to_string()));
    }
    // Services that send us elsewhere say so in XML or JSON.
    if status.is_redirection() && (is_page || kind.is_empty()) {
        let to = headers.get(LOCATION).and_then(|to| to.to_str().ok()).and_then(|to| to.parse::<url::Url>().ok());
        let to = to.and_then(|to| to.host_str().map(str::to_owned)).unwrap_or_else(|| "elsewhere".to_owned());
        return Some(Portal(format!("{status}, to {to}")));
    }
    // We store no web pages.
    let no_page = service != Service::Web || matches!(*method, Method::HEAD | Method::GET);
    (status.is_success() && is_page && no_page).then(|| Portal(format!("{status} with a web page")))
}

/// For `object_store`, which repeats by itself what never reached the service.
fn sort(error: reqwest::Error) -> HttpError {
    let kind = match () {
        () if error.is_connect() => HttpErrorKind::Connect,
        () if error.is_timeout() => HttpErrorKind::Timeout,
        () if error.is_decode() => HttpErrorKind::Decode,
        () => HttpErrorKind::Interrupted,
    };
    // The URL may carry a signature.
    HttpError::new(kind, error.without_url())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(method: &Method, status: u16, headers: &[(&'static str, &'static str)], is_api: bool) -> bool {
        let service = if is_api { Service::Api } else { Service::Web };
        let headers =
            headers.iter().map(|(name, value)| ((*name).parse().expect("name"), (*value).parse().expect("value")));
        portal(method, StatusCode::from_u16(status).expect("status"), &headers.collect(), service).is_some()
    }

    #[test]
    fn a_cheerful_page_is_not_the_service() {
        let html = ("content-type", "text/html; charset=utf-8");
        assert!(judged(&Method::PUT, 200, &[html], true));
        assert!(judged(&Method::HEAD, 200, &[html], false));
        assert!(judged(&Method::PUT, 302, &[("location", "http://login.example/?u=1")], true));
        assert!(judged(&Method::PUT, 307, &[html, ("location", "/login")], true));
        assert!(judged(&Method::PUT, 511, &[html], true));
    }

    #[test]
    fn services_may_say_what_they_say() {
        assert!(!judged(&Method::PUT, 200, &[("etag", "\"x\"")], true));
        assert!(!judged(&Method::PUT, 307, &[("content-type", "application/xml")], true));
        // Error pages of proxies in front of a service are errors already.
        assert!(!judged(&Method::PUT, 503, &[("content-type", "text/html")], true));
        // A plain web server greets a file that it has taken.
        assert!(!judged(&Method::PUT, 201, &[("content-type", "text/html")], false));
    }
}
