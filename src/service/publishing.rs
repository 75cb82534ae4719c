//! Phones and browsers that publish to cameras, and those that play them: who may, and how a session begins.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use futures::stream::BoxStream;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::context::Context;
use crate::frame::Packet;
use crate::webrtc::{Offer, Opened, Permit, Purpose, Refusal, Restarted, SessionId, WebRtc};

/// Shorter tokens could be guessed.
const SHORTEST_TOKEN: usize = 16;
/// No file of a token is longer, bytes.
const LONGEST_TOKEN: u64 = 4096;

/// Why a publisher is not let in.
#[derive(Debug, thiserror::Error)]
pub enum PublishRefusal {
    /// The camera is none that is published to.
    #[error("there is no camera with this name that phones and browsers publish to: its url must be \"whip:\"")]
    NoSuchCamera,
    /// The session does not begin.
    #[error(transparent)]
    Session(#[from] Refusal),
}

/// Who asks for a session.
#[derive(Clone, Debug)]
pub struct Asker {
    /// The name under which it was let in.
    pub by: Arc<str>,
    /// Where it asks from.
    pub from: Option<IpAddr>,
}

/// Begins and ends sessions of publishers and players.
#[derive(Clone)]
pub struct PublishService {
    context: Arc<Context>,
    sessions: WebRtc,
}

impl PublishService {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let sessions = WebRtc::new(context.clock.clone(), context.health.clone(), context.metrics.clone());
        Self { context, sessions }
    }

    /// Carries media packets until `stop`.
    ///
    /// # Errors
    /// None at present.
    pub async fn run(&self, stop: CancellationToken) -> Result<()> {
        self.sessions.run(stop).await
    }

    /// Whether phones and browsers may publish to `camera`.
    pub fn is_published(&self, camera: &str) -> bool {
        self.context.configured().published.contains_key(camera)
    }

    /// Whether `shown` is the token of `camera`. A camera without a token has none that fits.
    pub async fn is_token(&self, camera: &str, shown: &str) -> bool {
        let Some(Some(file)) = self.context.configured().published.get(camera).cloned() else { return false };
        let path = file.clone();
        let token = tokio::task::spawn_blocking(move || read_token(&path)).await;
        match token.unwrap_or_else(|failure| Err(failure.into())) {
            // Sums of equal length, so that the time of the comparison says nothing of the token.
            Ok(token) => Sha256::digest(token) == Sha256::digest(shown),
            Err(error) => {
                let error = format!("{error:#}");
                warn!(camera, error, "the token of publishers cannot be used");
                false
            }
        }
    }

    /// Begins to publish to `camera`, for as long as `permit` says.
    ///
    /// # Errors
    /// Says why not.
    pub async fn publish(
        &self,
        camera: &str,
        sdp: String,
        addresses: Vec<IpAddr>,
        permit: Permit,
        asker: Asker,
    ) -> Result<Opened, PublishRefusal> {
        if !self.is_published(camera) {
            return Err(PublishRefusal::NoSuchCamera);
        }
        let publisher = self.context.publishers.reserve(camera, self.context.clock.clone());
        let publisher = publisher.map_err(Refusal::from)?;
        Ok(self.begin(camera, sdp, addresses, Purpose::Publish(publisher, permit), asker).await?)
    }

    /// Begins to send `pictures` of `camera` to a player.
    ///
    /// # Errors
    /// Says why not.
    pub async fn play(
        &self,
        camera: &str,
        sdp: String,
        addresses: Vec<IpAddr>,
        pictures: BoxStream<'static, Packet>,
        asker: Asker,
    ) -> Result<Opened, Refusal> {
        self.begin(camera, sdp, addresses, Purpose::Play(pictures), asker).await
    }

    /// Ends session `id` of `camera`.
    ///
    /// # Errors
    /// When there is none.
    pub async fn end(&self, camera: &str, id: &str) -> Result<(), Refusal> {
        self.sessions.end(camera, &SessionId::from(id)).await
    }

    /// Adds candidates of the peer of session `id`, or begins another ICE session of it.
    ///
    /// # Errors
    /// When there is no such session, `tag` is not its, or the fragment cannot be read.
    pub async fn patch(
        &self,
        camera: &str,
        id: &str,
        tag: Option<String>,
        fragment: String,
    ) -> Result<Option<Restarted>, Refusal> {
        self.sessions.patch(camera, &SessionId::from(id), tag, fragment).await
    }

    async fn begin(
        &self,
        camera: &str,
        sdp: String,
        addresses: Vec<IpAddr>,
        purpose: Purpose,
        Asker { by, from }: Asker,
    ) -> Result<Opened, Refusal> {
        let config = self.context.configured().webrtc.clone();
        self.sessions.begin(Offer { camera: camera.into(), sdp, addresses, purpose, by, from, config }).await
    }
}

/// Finds out whether the file at `path` holds a token for publishers.
///
/// # Errors
/// Names the file, and what is wrong with it.
pub fn check_token(path: &Path) -> Result<()> {
    read_token(path).map(drop)
}

/// The token in a file, without the line's end.
fn read_token(file: &Path) -> Result<String> {
    let named = || format!("read {}", file.display());
    let length = std::fs::metadata(file).with_context(named)?.len();
    anyhow::ensure!(length <= LONGEST_TOKEN, "{} is longer than {LONGEST_TOKEN} bytes", file.display());
    let text = std::fs::read_to_string(file).with_context(named)?;
    let token = text.trim_end_matches(['\r', '\n']);
    let is_long = token.len() >= SHORTEST_TOKEN;
    anyhow::ensure!(is_long, "the token in {} is shorter than {SHORTEST_TOKEN} characters", file.display());
    Ok(token.to_owned())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_token_is_a_line_that_cannot_be_guessed() {
        let folder = tempfile::tempdir().expect("folder");
        let file: PathBuf = folder.path().join("token");
        let read = |text: &str| {
            std::fs::write(&file, text).expect("write");
            read_token(&file).map_err(|e| format!("{e:#}"))
        };
        assert_eq!(read("0123456789abcdef\n"), Ok("0123456789abcdef".to_owned()));
        for wrong in ["", "short\n", &"x".repeat(5000)] {
            assert!(read(wrong).is_err(), "{wrong:.20}");
        }
        let missing = read_token(&folder.path().join("none")).map_err(|e| format!("{e:#}"));
        assert!(missing.expect_err("missing").starts_with("read /"));
    }
}
