//! What goes wrong with a camera, in our words.

use std::time::Duration;

use tokio::time::timeout;

use crate::source::error::plain;
use crate::source::{Config, SourceError};

/// Limit of each request to the camera.
const STEP_LIMIT: Duration = Duration::from_secs(10);

/// Turns retina's failures into ours.
pub(super) struct Faults<'a> {
    pub(super) what: &'a str,
    pub(super) config: &'a Config,
}

impl Faults<'_> {
    pub(super) async fn limited<T>(
        &self,
        step: &str,
        request: impl Future<Output = Result<T, retina::Error>>,
    ) -> Result<T, SourceError> {
        match timeout(STEP_LIMIT, request).await {
            Ok(outcome) => outcome.map_err(|e| self.classify(step, &e)),
            Err(_) => Err(SourceError::Unreachable {
                what: self.what.to_owned(),
                reason: format!("no answer to {step} within {} s; check power and network", STEP_LIMIT.as_secs()),
            }),
        }
    }

    pub(super) fn classify(&self, step: &str, error: &retina::Error) -> SourceError {
        let what = self.what.to_owned();
        let said = first_sentence(&error.to_string());
        match error.status_code() {
            Some(401) if self.config.username.is_some() => SourceError::Unauthorised {
                what,
                reason: "the camera does not accept username and the password in password_file".to_owned(),
            },
            Some(401) => SourceError::Unauthorised {
                what,
                reason: "the camera asks for a password: set username and password_file".to_owned(),
            },
            Some(403) => {
                SourceError::Unauthorised { what, reason: format!("this user may not watch this stream ({said})") }
            }
            Some(404) => SourceError::NotFound {
                what,
                reason: "the camera has no stream of that name, check the path in url".to_owned(),
            },
            Some(453 | 503) => {
                SourceError::Busy { what, reason: format!("the camera has no room for another viewer ({said})") }
            }
            Some(461) => SourceError::Unsupported {
                what,
                reason: "the camera refuses this transport: set transport to the other of tcp and udp".to_owned(),
            },
            Some(_) => SourceError::Protocol { what, reason: format!("{step} failed: {said}") },
            // Retina does not tell its errors apart but by text; a test watches this one.
            None => match said.strip_prefix("Unable to connect to RTSP server: ") {
                Some(cause) => SourceError::Unreachable {
                    what,
                    reason: format!("{}; check power, network, and host and port in url", plain(&cause)),
                },
                None => SourceError::Protocol { what, reason: format!("{step} failed: {said}") },
            },
        }
    }
}

/// Retina adds paragraphs of addresses and positions, which help nobody who reads a status line.
pub(super) fn first_sentence(text: &str) -> String {
    text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned()
}
