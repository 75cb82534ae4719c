//! What a model sees in photos: a job that goes through the library while cameras leave room, and through what is added.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Result;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::context::Context;
use super::library::LibraryService;
use super::model_facts::ModelRefusal;
use super::models::ModelService;
use super::playback::MOST_LOAD;
use crate::detection::Detection;
use crate::frame::Rgb;
use crate::library::{LibraryError, Thumb};
use crate::photo::{MOST_OBJECTS, Photo, PhotoId, PhotoObject, Seen};

/// How long it rests where all is done, or the box has too much to do.
const REST: Duration = Duration::from_secs(5);
/// After so many photos in a row that fail it rests.
const MOST_FAILURES: u32 = 3;
/// How long it rests then, and after a failure of the index.
const RETRY: Duration = Duration::from_secs(300);
/// How long it rests between two photos: a photo costs a camera no picture, and the box is to stay cool.
const BETWEEN: Duration = Duration::from_millis(50);
/// Photos that are read of the index at once.
const PAGE: usize = 100;
/// Scores below are not believed.
const LEAST_SCORE: f32 = 0.5;

/// Looks at photos.
#[derive(Clone)]
pub(super) struct PhotoLabels {
    context: Arc<Context>,
    library: LibraryService,
    models: ModelService,
    pub(super) progress: Arc<Mutex<LabelsProgress>>,
}

/// How far it is.
#[derive(Clone, Debug, Default)]
pub(super) struct LabelsProgress {
    /// The model that looks.
    pub(super) model: Option<String>,
    /// Photos that were passed since it looks, those that it had seen before among them.
    pub(super) passed: u64,
    /// All were looked at, or the box has too much to do.
    pub(super) rests: bool,
}

impl PhotoLabels {
    pub(super) fn new(context: Arc<Context>, library: LibraryService, models: ModelService) -> Self {
        Self { context, library, models, progress: Arc::default() }
    }

    /// Looks at photos until `stop`.
    pub(super) async fn run(&self, stop: CancellationToken) {
        let (mut model, mut after, mut failures) = (None, None, 0);
        while !stop.is_cancelled() {
            let wanted = self.model();
            if wanted != model {
                (model, after) = (wanted, None);
                *self.progress.lock() = LabelsProgress { model: model.clone(), passed: 0, rests: true };
            }
            let rest = match &model {
                None => REST,
                Some(_) if self.has_too_much_to_do() => REST,
                Some(name) => self.page(name, &mut after, &mut failures, &stop).await.unwrap_or_else(|failure| {
                    warn!(error = format!("{failure:#}"), "photos could not be looked at, trying again in a while");
                    RETRY
                }),
            };
            self.progress.lock().rests = !rest.is_zero();
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// The model that looks at photos: the configured one, else the first that cameras use.
    fn model(&self) -> Option<String> {
        let configured = self.context.configured();
        match configured.library.detect.as_str() {
            "off" => None,
            "auto" => configured.models.keys().next().cloned(),
            name => Some(name.to_owned()),
        }
    }

    fn has_too_much_to_do(&self) -> bool {
        let archive = self.context.volume.archive();
        archive.pressure.level() > MOST_LOAD
            || self.context.health.is_spooling()
            || archive.is_incomplete.load(Ordering::Relaxed)
    }

    /// Looks at the next photos. Gives how long to rest then.
    async fn page(
        &self,
        model: &str,
        after: &mut Option<PhotoId>,
        failures: &mut u32,
        stop: &CancellationToken,
    ) -> Result<Duration> {
        let photos = self.context.store().photos().by_id(*after, PAGE).await?;
        if photos.is_empty() {
            return Ok(REST);
        }
        for photo in photos {
            if self.model().as_deref() != Some(model) || self.has_too_much_to_do() || stop.is_cancelled() {
                return Ok(REST);
            }
            let is_seen = photo.seen.as_ref().is_some_and(|seen| seen.model == model);
            if !is_seen && photo.facts.unreadable.is_none() {
                match self.look(&photo, model).await {
                    Ok(()) => {
                        *failures = 0;
                        tokio::time::sleep(BETWEEN).await;
                    }
                    Err(ModelRefusal::Busy(reason)) => {
                        debug!(reason, "a photo is looked at later");
                        return Ok(REST);
                    }
                    Err(ModelRefusal::Picture(error)) => info!(photo = %photo.id, %error, "a photo is not looked at"),
                    Err(ModelRefusal::Stopping) => return Ok(REST),
                    Err(error) => {
                        // One photo holds up no others; where all fail, the model is not tried all the time.
                        info!(photo = %photo.id, %error, "a photo is not looked at");
                        *failures += 1;
                        if *failures >= MOST_FAILURES {
                            (*failures, *after) = (0, Some(photo.id));
                            return Ok(RETRY);
                        }
                    }
                }
            }
            *after = Some(photo.id);
            self.progress.lock().passed += 1;
        }
        Ok(Duration::ZERO)
    }

    async fn look(&self, photo: &Photo, model: &str) -> Result<(), ModelRefusal> {
        let failed = |error: LibraryError| ModelRefusal::Unusable(format!("photo {}: {error}", photo.id));
        let Some(path) = self.library.thumbnail(photo, Thumb::Large).await.map_err(failed)? else { return Ok(()) };
        let decoded = tokio::task::spawn_blocking(move || -> Result<Rgb, ModelRefusal> {
            let unread = |error: std::io::Error| ModelRefusal::Busy(format!("{}: {error}", path.display()));
            Ok(Rgb::decode(&std::fs::read(&path).map_err(unread)?)?)
        });
        let picture = decoded.await.map_err(|error| ModelRefusal::Unusable(error.to_string()))??;
        let found = self.models.look(model, Arc::new(picture), LEAST_SCORE).await?;
        let seen = Seen { model: model.to_owned(), objects: found.iter().take(MOST_OBJECTS).map(object).collect() };
        match self.library.library().set_seen(photo.id, seen).await {
            // It was deleted meanwhile.
            Ok(()) | Err(LibraryError::Unknown) => Ok(()),
            Err(error) => Err(failed(error)),
        }
    }
}

fn object(found: &Detection) -> PhotoObject {
    // To thousandths: it is written into every sidecar.
    let rounded = |value: f32| (value * 1000.0).round() / 1000.0;
    let bbox = <[f32; 4]>::from(found.bbox).map(rounded);
    PhotoObject { label: found.label.clone(), score: rounded(found.score), bbox: bbox.into() }
}
