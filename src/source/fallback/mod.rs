//! RTSP with two clients: retina first, and libavformat for cameras whose descriptions or packets retina refuses.
//!
//! Many cameras break the standards in ways that most players let pass. retina stays the first choice: it says
//! more about what is wrong, needs no thread, and tears sessions down carefully. What it refused is remembered
//! per address until the process ends, so that a later firmware gets another chance at the next start.
//!
//! What retina refuses before the first picture moves the camera to libavformat at once. Later in a session it does
//! - if it is a known manner of cameras ([`SourceError::Protocol`]) and retina has never played this camera for
//!   longer than [`YOUNG`],
//! - or if [`YOUNG_ENDS`] sessions in a row end so before that age,
//! - or if a known manner ends [`REGULAR_ENDS`] sessions in a row within [`REGULAR`], as a nonce does that goes stale
//!   every few minutes.
//!
//! A camera that was moved in the middle of a session is tried with retina again by the first connection that is
//! made [`RETINA_AGAIN`] later. Nothing that plays is interrupted for that.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use tracing::{info, warn};
use url::Url;

use super::{Arrivals, Client, Config, Source, SourceError, libav, rtsp};
use crate::clock::Clock;
use crate::frame::{AudioOffer, Packet};

/// So long the refused session may take to be torn down: many cameras have one to give.
const TEARDOWN_LIMIT: Duration = Duration::from_secs(2);

/// A session that retina refuses to go on with before this age counts as refused at once. An older one was
/// probably hit by a fault of the network.
const YOUNG: Duration = Duration::from_secs(60);

/// So many young sessions in a row are the camera's manner, not an accident.
const YOUNG_ENDS: u32 = 2;

/// So many older sessions in a row are its manner, if none was older than [`REGULAR`].
const REGULAR_ENDS: u32 = 3;

/// A refusal at a greater age is an accident.
const REGULAR: Duration = Duration::from_secs(3600);

/// After so long, a camera that was moved in the middle of a session is tried with retina again.
const RETINA_AGAIN: Duration = Duration::from_secs(24 * 3600);

/// What is known of an address.
#[derive(Clone, Default)]
struct Known {
    /// Why libavformat reads it.
    reason: Option<Arc<str>>,
    /// Young sessions in a row that ended with a refusal.
    young_ends: u32,
    /// Older sessions in a row that ended with a refusal for a known manner, within [`REGULAR`].
    regular_ends: u32,
    /// Whether retina has played it for longer than [`YOUNG`].
    is_proven: bool,
    /// When it was moved to libavformat in the middle of a session.
    moved: Option<Instant>,
}

impl Known {
    /// Takes note of a session of retina that was refused at this age, and says whether the camera is moved.
    fn note_end(&mut self, age: Duration, refusal: &SourceError) -> bool {
        let is_manner = matches!(refusal, SourceError::Protocol { .. });
        if age < YOUNG {
            self.young_ends += 1;
        } else {
            self.note_long_play();
            self.regular_ends = if is_manner && age < REGULAR { self.regular_ends + 1 } else { 0 };
        }
        let is_sure = is_manner && !self.is_proven;
        let moves = is_sure || self.young_ends >= YOUNG_ENDS || self.regular_ends >= REGULAR_ENDS;
        if !moves || self.reason.is_some() {
            return false;
        }
        self.reason = Some(refusal.reason().into());
        self.moved = Some(Instant::now());
        true
    }

    /// Retina has played the camera for longer than [`YOUNG`].
    fn note_long_play(&mut self) {
        self.is_proven = true;
        self.young_ends = 0;
    }

    /// Why libavformat reads the camera now, if it does.
    fn reason(&mut self) -> Option<Arc<str>> {
        if self.moved.is_some_and(|moved| moved.elapsed() >= RETINA_AGAIN) {
            *self = Self::default();
        }
        self.reason.clone()
    }
}

static KNOWN: LazyLock<Mutex<HashMap<Url, Known>>> = LazyLock::new(Mutex::default);

fn known<R>(url: &Url, look: impl FnOnce(&mut Known) -> R) -> R {
    let mut all = KNOWN.lock();
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
    if let Some(reason) = known(&target.url, Known::reason) {
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
            // Pictures come first.
            Err(other) if refusal.reason().starts_with(rtsp::audio::BY_OTHER) => {
                rtsp::audio::leave_out(&self.url);
                let reason = other.reason();
                warn!(camera = self.what, reason, "libavformat does not play the camera, whose sound is not recorded");
                rtsp::connect(&self.config, self.url, self.what, self.clock).await
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
    /// Whether it is still to be noted that retina played the camera for long.
    is_on_trial: bool,
    /// Retina has played it for longer than [`REGULAR`] without a refusal.
    is_regular: bool,
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
        Self {
            target,
            start: Instant::now(),
            began: false,
            is_on_trial: true,
            is_regular: false,
            stage: Stage::Playing(source),
        }
    }

    /// All state is in `self` and changes only between two awaits, so this may be dropped at any time.
    async fn receive(&mut self) -> Result<Packet, SourceError> {
        loop {
            let failure = match &mut self.stage {
                Stage::Playing(source) => match source.next().await {
                    Ok(packet) => {
                        self.began = true;
                        self.note_age();
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
                        self.is_on_trial = false;
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

    fn note_age(&mut self) {
        let age = self.start.elapsed();
        if self.is_on_trial && age >= YOUNG {
            self.is_on_trial = false;
            known(&self.target.url, Known::note_long_play);
        }
        if !self.is_regular && age >= REGULAR {
            self.is_regular = true;
            known(&self.target.url, |known| known.regular_ends = 0);
        }
    }

    /// The next connection is made by libavformat where this is the camera's manner.
    fn note_end(&self, refusal: &SourceError) {
        let age = self.start.elapsed();
        if known(&self.target.url, |known| known.note_end(age, refusal)) {
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

    fn audio(&self) -> Option<AudioOffer> {
        match &self.stage {
            Stage::Playing(source) => source.audio(),
            Stage::Opening(_) | Stage::Over(_) => None,
        }
    }
}

#[cfg(test)]
mod tests;
