//! The HTTP of WHEP: an offer goes, an answer comes, and the session is deleted at its end.

use std::error::Error;
use std::time::Duration;

use reqwest::{Client, Response, StatusCode, header, redirect};
use tracing::debug;
use url::Url;

use super::camera::Camera;
use crate::source::SourceError;
use crate::webrtc::answer::LONGEST_OFFER;

/// Kind of offers and answers.
const SDP: &str = "application/sdp";

/// How long each request may take.
const WITHIN: Duration = Duration::from_secs(10);

/// Redirections that are followed.
const MOST_REDIRECTS: usize = 5;

/// What is shown of a camera's own words, characters.
const LONGEST_WORDS: usize = 200;

/// An answer, and the session that it began.
pub(super) struct Begun {
    pub(super) answer: String,
    pub(super) session: Option<Resource>,
}

/// A session as the camera knows it.
#[derive(Clone)]
pub(super) struct Resource {
    client: Client,
    url: Url,
    token: Option<String>,
}

/// Sends an offer.
pub(super) async fn begin(camera: &Camera, offer: String) -> Result<Begun, SourceError> {
    let client = client(camera.verify_tls).map_err(|e| camera.unsupported(format!("HTTP cannot be set up: {e}")))?;
    let mut request = client.post(camera.url.clone()).header(header::CONTENT_TYPE, SDP).header(header::ACCEPT, SDP);
    if let Some(token) = &camera.token {
        request = request.bearer_auth(token);
    }
    let answer = request.body(offer).send().await.map_err(|failure| unreachable(camera, &failure))?;
    let status = answer.status();
    if !status.is_success() {
        return Err(refused(camera, answer).await);
    }
    // Relative to where the offer went in the end.
    let at = answer.headers().get(header::LOCATION).and_then(|at| answer.url().join(at.to_str().ok()?).ok());
    // The token is for the camera alone, wherever it led the offer.
    let is_camera = |at: &Url| at.origin() == camera.url.origin();
    let token = camera.token.clone().filter(|_| at.as_ref().is_some_and(is_camera));
    let session = at.map(|url| Resource { client, url, token });
    let text = text(answer, LONGEST_OFFER).await;
    match text.map_err(|reason| camera.misbehaves(format!("its answer: {reason}"))) {
        Ok(answer) => Ok(Begun { answer, session }),
        Err(failure) => {
            if let Some(session) = session {
                session.end().await;
            }
            Err(failure)
        }
    }
}

impl Resource {
    /// Ends the session at the camera. It ends by itself where that fails.
    pub(super) async fn end(self) {
        let mut request = self.client.delete(self.url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Err(failure) = request.send().await {
            debug!(error = deepest(&failure), "the end of a WHEP session could not be sent");
        }
    }
}

fn client(verify_tls: bool) -> Result<Client, reqwest::Error> {
    // Others make a GET of the offer, and lead from TLS to a plain line what is a secret.
    let follows = redirect::Policy::custom(|attempt| {
        let is_kept = matches!(attempt.status(), StatusCode::TEMPORARY_REDIRECT | StatusCode::PERMANENT_REDIRECT);
        let was_tls = attempt.previous().last().is_some_and(|before| before.scheme() == "https");
        let is_safe = attempt.url().scheme() == "https" || !was_tls;
        if is_kept && is_safe && attempt.previous().len() <= MOST_REDIRECTS { attempt.follow() } else { attempt.stop() }
    });
    // The command line has none yet where it tries a camera.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .no_proxy()
        .redirect(follows)
        .timeout(WITHIN)
        .user_agent(concat!("outpost/", env!("CARGO_PKG_VERSION")))
        .tls_danger_accept_invalid_certs(!verify_tls)
        .build()
}

fn unreachable(camera: &Camera, failure: &reqwest::Error) -> SourceError {
    let cause = deepest(failure);
    if cause.contains("certificate") {
        return camera
            .unsupported(format!("{cause}; set verify_tls = false for a camera that made its certificate itself"));
    }
    let reason = if failure.is_timeout() { format!("no answer within {} s", WITHIN.as_secs()) } else { cause };
    let reason = format!("{reason}; check power, network, and host and port in url");
    SourceError::Unreachable { what: camera.what.clone(), reason }
}

async fn refused(camera: &Camera, answer: Response) -> SourceError {
    let status = answer.status();
    let to = answer.headers().get(header::LOCATION).and_then(|to| to.to_str().ok()).map(str::to_owned);
    let words = text(answer, 64 << 10).await.map(|text| words(&text)).unwrap_or_default();
    let (what, said) = (camera.what.clone(), if words.is_empty() { words } else { format!(": {words}") });
    match status.as_u16() {
        401 | 403 => SourceError::Unauthorised {
            what,
            reason: match &camera.token {
                Some(_) => format!("it does not accept the token in password_file ({status}{said})"),
                None => format!("it asks for a token ({status}{said}): set password_file"),
            },
        },
        404 | 410 => {
            SourceError::NotFound { what, reason: format!("it has no stream there, check the path in url{said}") }
        }
        // What is not ready yet, or has no place for one more.
        409 | 429 | 500..=599 => SourceError::Busy { what, reason: format!("it answers {status}{said}") },
        300..=399 => {
            let to = to.unwrap_or_else(|| "nowhere".to_owned());
            camera.unsupported(format!(
                "it answers {status} and leads to {to:.200}, which is not followed: write the address that it leads to"
            ))
        }
        _ => camera.unsupported(format!("it answers {status} to an offer of WHEP{said}; check the path in url")),
    }
}

/// The body, where it is text and not longer than `most` bytes.
async fn text(mut answer: Response, most: usize) -> Result<String, String> {
    let mut bytes = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(|failure| deepest(&failure))? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > most {
            return Err(format!("it is longer than {most} bytes"));
        }
    }
    String::from_utf8(bytes).map_err(|_| "it is not text".to_owned())
}

/// What a camera says of its refusal: the words of a problem (RFC 9457), or text.
fn words(body: &str) -> String {
    let problem: Option<serde_json::Value> = serde_json::from_str(body).ok();
    let field = |of: &serde_json::Value| {
        let keys = ["detail", "message", "error", "title"];
        keys.iter().find_map(|key| of.get(key)?.as_str().map(str::to_owned))
    };
    let words = match problem {
        Some(problem) => field(&problem).unwrap_or_default(),
        // A page is for browsers.
        None if body.contains('<') => String::new(),
        None => body.trim().to_owned(),
    };
    words.chars().filter(|c| !c.is_control()).take(LONGEST_WORDS).collect()
}

/// The cause in words for the operator.
fn deepest(failure: &reqwest::Error) -> String {
    let mut cause: &dyn Error = failure;
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    cause.to_string().split(" (os error ").next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_camera_says_of_a_refusal_is_taken_from_problems_and_text_but_not_from_pages() {
        assert_eq!(
            words(r#"{"code": "no_picture", "detail": "camera yard has given no picture yet"}"#),
            "camera yard has given no picture yet"
        );
        assert_eq!(words(r#"{"status":"error","error":"no stream"}"#), "no stream");
        assert_eq!(words("stream\nnot found"), "streamnot found");
        assert_eq!(words("<html>nginx</html>"), "");
        assert_eq!(words(&"x".repeat(1000)).len(), LONGEST_WORDS);
    }
}
