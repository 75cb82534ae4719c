//! RTSP with two clients: retina first, and libavformat for cameras whose descriptions or packets retina refuses.
//!
//! Many cameras break the standards in ways that most players let pass. retina stays the first choice: it says
//! more about what is wrong, needs no thread, and tears sessions down carefully. What it refused is remembered
//! per address until the process ends, so that a later firmware gets another chance at the next start.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use tracing::info;
use url::Url;

use super::{Arrivals, Client, Config, Source, SourceError, libav, rtsp};
use crate::clock::Clock;
use crate::frame::Packet;

/// So long the refused session may take to be torn down: many cameras have one to give.
const TEARDOWN_LIMIT: Duration = Duration::from_secs(2);

/// A session that retina refuses to go on with before this age counts as refused at once. An older one was
/// probably hit by a fault of the network.
const YOUNG: Duration = Duration::from_secs(60);

/// So many young sessions in a row are the camera's manner, not an accident.
const YOUNG_ENDS: u32 = 2;

/// What is known of an address.
#[derive(Clone, Default)]
struct Known {
    /// Why libavformat reads it.
    reason: Option<Arc<str>>,
    /// Young sessions in a row that ended with a refusal.
    young_ends: u32,
}

static KNOWN: LazyLock<Mutex<HashMap<Url, Known>>> = LazyLock::new(Mutex::default);

fn known<R>(url: &Url, look: impl FnOnce(&mut Known) -> R) -> R {
    let mut all = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    look(all.entry(url.clone()).or_default())
}

/// What it takes to connect to a camera.
#[derive(Clone)]
struct Target {
    config: Config,
    url: Url,
    what: String,
    clock: Arc<dyn Clock>,
}

/// Connects to an RTSP camera with the client that can.
pub(super) async fn connect(
    config: &Config,
    url: Url,
    what: String,
    clock: Arc<dyn Clock>,
) -> Result<Box<dyn Source>, SourceError> {
    let target = Target { config: config.clone(), url, what, clock };
    if let Some(reason) = known(&target.url, |known| known.reason.clone()) {
        return target.by_libavformat(reason).await;
    }
    match rtsp::connect(config, target.url.clone(), target.what.clone(), target.clock.clone()).await {
        Ok(source) => Ok(Box::new(FallbackSource::new(target, source))),
        Err(SourceError::Refused(refusal)) => target.after_refusal(*refusal).await,
        Err(failure) => Err(failure),
    }
}

impl Target {
    /// Opens the camera by libavformat, and remembers it if that works.
    async fn after_refusal(self, refusal: SourceError) -> Result<Box<dyn Source>, SourceError> {
        rtsp::settle(TEARDOWN_LIMIT).await;
        let reason: Arc<str> = refusal.reason().into();
        match self.clone().by_libavformat(reason.clone()).await {
            Ok(source) => {
                info!(
                    camera = self.what,
                    reason = &*reason,
                    "retina refuses the camera, libavformat reads it from now on"
                );
                known(&self.url, |known| known.reason = Some(reason));
                Ok(source)
            }
            // Two clients agree that the login is the matter.
            Err(other @ SourceError::Unauthorised { .. }) => Err(other),
            Err(other) => Err(refusal.with_more(&format!("; libavformat does not play it either: {}", other.reason()))),
        }
    }

    async fn by_libavformat(self, reason: Arc<str>) -> Result<Box<dyn Source>, SourceError> {
        let source = libav::connect(&self.config, self.url.clone(), self.what, Some(reason), self.clock).await;
        if let Err(SourceError::Protocol { .. } | SourceError::Unsupported { .. }) = &source {
            // The camera has changed since; the next try begins with retina.
            known(&self.url, |known| *known = Known::default());
        }
        source
    }
}

/// A camera that retina plays until it refuses something.
struct FallbackSource {
    target: Target,
    start: Instant,
    /// Whether a packet has come. From then on a change of the client would tear the times apart.
    began: bool,
    stage: Stage,
}

enum Stage {
    Playing(Box<dyn Source>),
    /// libavformat is being tried.
    Opening(BoxFuture<'static, Result<Box<dyn Source>, SourceError>>),
    Over(SourceError),
}

impl FallbackSource {
    fn new(target: Target, source: Box<dyn Source>) -> Self {
        Self { target, start: Instant::now(), began: false, stage: Stage::Playing(source) }
    }

    /// All state is in `self` and changes only between two awaits, so this may be dropped at any time.
    async fn receive(&mut self) -> Result<Packet, SourceError> {
        loop {
            let failure = match &mut self.stage {
                Stage::Playing(source) => match source.next().await {
                    Ok(packet) => {
                        self.began = true;
                        return Ok(packet);
                    }
                    Err(SourceError::Refused(refusal)) if !self.began => {
                        // The assignment drops the refused session before the other one begins.
                        self.stage = Stage::Opening(Box::pin(self.target.clone().after_refusal(*refusal)));
                        continue;
                    }
                    Err(SourceError::Refused(refusal)) => {
                        self.note_end(&refusal);
                        *refusal
                    }
                    Err(failure) => failure,
                },
                Stage::Opening(opening) => match opening.await {
                    Ok(source) => {
                        self.stage = Stage::Playing(source);
                        continue;
                    }
                    Err(failure) => failure,
                },
                Stage::Over(failure) => return Err(failure.clone()),
            };
            self.stage = Stage::Over(failure.clone());
            return Err(failure);
        }
    }

    /// The next connection is made by libavformat where this happens again and again.
    fn note_end(&self, refusal: &SourceError) {
        let is_young = self.start.elapsed() < YOUNG;
        let switched = known(&self.target.url, |known| {
            known.young_ends = if is_young { known.young_ends + 1 } else { 0 };
            // A manner of the camera that is known for sure comes again.
            let is_sure = matches!(refusal, SourceError::Protocol { .. });
            let switched = (is_sure || known.young_ends >= YOUNG_ENDS) && known.reason.is_none();
            if switched {
                known.reason = Some(refusal.reason().into());
            }
            switched
        });
        if switched {
            let (camera, reason) = (&self.target.what, refusal.reason());
            info!(camera, reason, "retina refuses the camera's packets, libavformat reads it from now on");
        }
    }
}

impl Source for FallbackSource {
    fn next(&mut self) -> BoxFuture<'_, Result<Packet, SourceError>> {
        Box::pin(self.receive())
    }

    fn arrivals(&self) -> Arrivals {
        match &self.stage {
            Stage::Playing(source) => source.arrivals(),
            Stage::Opening(_) | Stage::Over(_) => Arrivals::default(),
        }
    }

    fn client(&self) -> Option<Client> {
        match &self.stage {
            Stage::Playing(source) => source.client(),
            Stage::Opening(_) | Stage::Over(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
