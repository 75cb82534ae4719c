//! What goes wrong with a camera, in our words.

use std::time::Duration;

use tokio::time::timeout;

use crate::source::error::plain;
use crate::source::{Config, SourceError};

/// Limit of each request to the camera.
const STEP_LIMIT: Duration = Duration::from_secs(10);

/// And where the camera may take longer. A host that is away and comes back is found sooner by asking again.
const LONGEST_STEP: Duration = Duration::from_secs(40);

/// Turns retina's failures into ours.
pub(super) struct Faults<'a> {
    pub(super) what: &'a str,
    pub(super) config: &'a Config,
    /// The host that the camera sent us to and that was not given the password.
    pub(super) withheld_at: Option<&'a str>,
}

impl Faults<'_> {
    pub(super) async fn limited<T>(
        &self,
        step: &str,
        request: impl Future<Output = Result<T, retina::Error>>,
    ) -> Result<T, SourceError> {
        self.within(step, request).await?.map_err(|e| self.classify(step, &e))
    }

    /// Retina's own outcome, within the limit of a request.
    pub(super) async fn within<T>(
        &self,
        step: &str,
        request: impl Future<Output = Result<T, retina::Error>>,
    ) -> Result<Result<T, retina::Error>, SourceError> {
        let limit = self.config.max_silence.map_or(STEP_LIMIT, |silence| silence.clamp(STEP_LIMIT, LONGEST_STEP));
        timeout(limit, request).await.map_err(|_| SourceError::Unreachable {
            what: self.what.to_owned(),
            reason: format!("no answer to {step} within {} s; check power and network", limit.as_secs()),
        })
    }

    pub(super) fn classify(&self, step: &str, error: &retina::Error) -> SourceError {
        let what = self.what.to_owned();
        let said = first_sentence(&error.to_string());
        match (error.status_code(), self.withheld_at) {
            (Some(401), Some(host)) => SourceError::Unauthorised {
                what,
                reason: format!(
                    "the camera sends us on to {host}, which asks for a password; it is given to the host in url alone: \
                     write the new address into url"
                ),
            },
            // It was let in by the same password for the description.
            (Some(401), _) if step != "DESCRIBE" && self.config.username.is_some() => refused(SourceError::Protocol {
                what,
                reason: format!("its digest nonce went stale before {step}, and retina does not take the fresh one"),
            }),
            (Some(401), _) if self.config.username.is_some() => SourceError::Unauthorised {
                what,
                reason: "the camera does not accept username and the password in password_file".to_owned(),
            },
            (Some(401), _) => SourceError::Unauthorised {
                what,
                reason: "the camera asks for a password: set username and password_file".to_owned(),
            },
            (Some(403), _) => {
                SourceError::Unauthorised { what, reason: format!("this user may not watch this stream ({said})") }
            }
            (Some(404), _) => SourceError::NotFound {
                what,
                reason: "the camera has no stream of that name, check the path in url".to_owned(),
            },
            (Some(453 | 503), _) => {
                SourceError::Busy { what, reason: format!("the camera has no room for another viewer ({said})") }
            }
            (Some(461), _) => SourceError::Unsupported { what, reason: "the camera refuses the transport".to_owned() },
            // Other clients ask in other ways.
            (Some(_), _) => refused(SourceError::Protocol { what, reason: format!("{step} failed: {said}") }),
            // Retina does not say its errors apart but by text; a test watches this one.
            (None, _) => match said.strip_prefix("Unable to connect to RTSP server: ") {
                Some(cause) => SourceError::Unreachable {
                    what,
                    reason: format!("{}; check power, network, and host and port in url", plain(&cause)),
                },
                None => {
                    let fault = SourceError::Protocol { what, reason: format!("{step} failed: {said}") };
                    if is_about_the_line(&said) { fault } else { refused(fault) }
                }
            },
        }
    }
}

/// Retina's beginnings of errors of the network, after which another client would have no more luck.
const LINE_FAULTS: [&str; 5] = [
    "Unable to connect to RTSP server",
    "Error reading from RTSP peer",
    "Error writing to RTSP peer",
    "Error receiving UDP packet",
    "Timeout",
];

/// Whether retina's error is about the network. All others are about what the camera says.
pub(super) fn is_about_the_line(said: &str) -> bool {
    LINE_FAULTS.iter().any(|beginning| said.starts_with(beginning))
}

/// Whether the error may come from TLS that the camera's port speaks.
pub(super) fn may_be_tls(error: &retina::Error) -> bool {
    let said = first_sentence(&error.to_string());
    ["RTSP framing error", "Error reading from RTSP peer", "Error writing to RTSP peer"]
        .iter()
        .any(|beginning| said.starts_with(beginning))
}

/// Marks a fault that lies in what retina accepts.
pub(super) fn refused(fault: SourceError) -> SourceError {
    SourceError::Refused(Box::new(fault))
}

/// Retina adds paragraphs of addresses and positions, which do not help in a status line.
pub(super) fn first_sentence(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}
