//! One request, and what its answer means.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use parking_lot::Mutex;
use reqwest::header::{CONTENT_TYPE, HeaderMap, RETRY_AFTER};
use reqwest::{Client, Response, StatusCode, redirect};
use url::Url;

use super::Config;
use super::signature::{read_secret, sign};

/// Bytes of an answer that are read, so that the connection can be used again. They are not looked at.
const ANSWER: usize = 64 << 10;
/// How long the rest of a good answer is waited for.
const REST_WITHIN: Duration = Duration::from_secs(2);
/// The longest that a receiver can put us off with one answer.
const LONGEST_REST: Duration = Duration::from_secs(3600);

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Taken,
    /// What was to be sent is not there any more, in words for the operator.
    Gone(String),
    /// The receiver calls it wrong, in words for the operator.
    Wrong(String),
    /// It may work later; when the receiver said so, not before.
    Later {
        reason: String,
        rest: Option<Duration>,
        /// Another alert may fare better at the same moment.
        may_be_its_own: bool,
    },
}

/// What is posted.
pub(super) struct Request<'a> {
    pub body: Vec<u8>,
    /// `alert`, `digest` or `pipeline`.
    pub kind: &'a str,
    /// The number by which a repeat is known.
    pub seq: u64,
    /// The wall clock.
    pub now: Timestamp,
}

pub(super) struct Sender {
    config: Config,
    url: Url,
    headers: HeaderMap,
    /// Rebuilt after a failure, with the certificates that the file has then.
    client: Mutex<Option<Client>>,
}

impl Sender {
    /// # Errors
    /// As [`Config::validate`].
    pub(super) fn new(config: &Config) -> Result<Self> {
        let headers = config.header_map()?.into_iter().collect();
        Ok(Self { config: config.clone(), url: config.address()?, headers, client: Mutex::default() })
    }

    /// Sends it once.
    pub(super) async fn send(&self, post: Request<'_>) -> Outcome {
        let now = post.now;
        let sent = match self.request(post).await {
            Ok(request) => request.send().await,
            Err(failure) => return later(format!("{failure:#}"), false),
        };
        match sent {
            Ok(response) => self.judge(response, now).await,
            Err(failure) => {
                *self.client.lock() = None;
                later(self.explain(&failure), !failure.is_connect())
            }
        }
    }

    async fn request(&self, post: Request<'_>) -> Result<reqwest::RequestBuilder> {
        let Request { body, kind, seq, now } = post;
        let mut request = self.client()?.post(self.url.clone()).headers(self.headers.clone());
        if let Some(file) = self.config.secret_file.clone() {
            let secret = tokio::task::spawn_blocking(move || read_secret(&file)).await.context("read the secret")??;
            request = request.header("Outpost-Signature", sign(&secret, now.as_second(), &body));
        }
        let request = request.header(CONTENT_TYPE, "application/json").header("Outpost-Type", kind);
        Ok(request.header("Outpost-Seq", seq).body(body))
    }

    fn client(&self) -> Result<Client> {
        let mut client = self.client.lock();
        if let Some(client) = &*client {
            return Ok(client.clone());
        }
        let mut builder = Client::builder()
            .redirect(redirect::Policy::none())
            .timeout(self.config.timeout)
            .user_agent(concat!("outpost/", env!("CARGO_PKG_VERSION")));
        if let Some(file) = &self.config.ca_file {
            builder = builder.tls_certs_only(certificates(file)?);
        }
        Ok(client.insert(builder.build().context("set up HTTP")?).clone())
    }

    async fn judge(&self, response: Response, now: Timestamp) -> Outcome {
        let status = response.status();
        let rest = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let rest = rest.and_then(|value| retry_after(value, now));
        let host = self.host();
        let outcome = match status {
            status if status.is_success() => Outcome::Taken,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => Outcome::Later {
                reason: format!("{host} asks to be left alone for now ({status})"),
                rest,
                may_be_its_own: false,
            },
            status if status.is_redirection() => later(
                format!("{host} wants us to go elsewhere ({status}), which is not followed: set the new url"),
                true,
            ),
            // What is refused here is the box, not this alert.
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::PROXY_AUTHENTICATION_REQUIRED => {
                later(format!("{host} does not let the box in ({status}): check headers, secret_file and url"), true)
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => {
                later(format!("{host} has nothing that takes alerts at this path ({status}): check url"), true)
            }
            status if status.is_client_error() => Outcome::Wrong(format!("{host} does not take it ({status})")),
            status => {
                // One that says when to come back speaks of itself.
                Outcome::Later { reason: format!("{host} fails ({status})"), rest, may_be_its_own: rest.is_none() }
            }
        };
        let _ = tokio::time::timeout(REST_WITHIN, read_on(response)).await;
        outcome
    }

    fn host(&self) -> String {
        let port = self.url.port().map_or(String::new(), |port| format!(":{port}"));
        format!("{}{port}", self.url.host_str().unwrap_or_default())
    }

    /// In words for the operator, without the address: its path may be a secret.
    fn explain(&self, failure: &reqwest::Error) -> String {
        let host = self.host();
        if failure.is_timeout() {
            return format!("{host} does not answer within {:?}", self.config.timeout);
        }
        let mut cause: &dyn Error = failure;
        while let Some(deeper) = cause.source() {
            cause = deeper;
        }
        let what = if failure.is_connect() { "cannot be reached" } else { "breaks the connection" };
        format!("{host} {what}: {cause}")
    }
}

fn later(reason: String, may_be_its_own: bool) -> Outcome {
    Outcome::Later { reason, rest: None, may_be_its_own }
}

async fn read_on(mut response: Response) {
    let mut read = 0;
    while let Ok(Some(chunk)) = response.chunk().await {
        read += chunk.len();
        if read > ANSWER {
            return;
        }
    }
}

fn certificates(file: &PathBuf) -> Result<Vec<reqwest::Certificate>> {
    let pem = std::fs::read(file).with_context(|| format!("read ca_file {}", file.display()))?;
    let found = reqwest::Certificate::from_pem_bundle(&pem);
    let found = found.with_context(|| format!("ca_file {} is not valid PEM", file.display()))?;
    ensure!(!found.is_empty(), "ca_file {} holds no certificate in PEM form", Path::new(file).display());
    Ok(found)
}

/// What `Retry-After` asks for: seconds, or a date.
fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let seconds = value.trim().parse().ok().map(Duration::from_secs);
    let until = || {
        let date = rfc2822::parse(value.trim()).ok()?.timestamp();
        Some(Duration::try_from(date.duration_since(now)).unwrap_or_default())
    };
    seconds.or_else(until).map(|rest| rest.min(LONGEST_REST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_can_ask_for_a_rest_in_seconds_or_until_a_date_but_not_for_ever() {
        let now: Timestamp = "2026-11-22T12:00:00Z".parse().expect("a time");
        let cases = [
            ("7", Some(7)),
            ("Sun, 22 Nov 2026 12:01:40 GMT", Some(100)),
            ("Sun, 22 Nov 2026 11:00:00 GMT", Some(0)),
            ("99999999", Some(3600)),
            ("soon", None),
            ("-1", None),
        ];
        for (value, seconds) in cases {
            assert_eq!(retry_after(value, now), seconds.map(Duration::from_secs), "{value}");
        }
    }
}
