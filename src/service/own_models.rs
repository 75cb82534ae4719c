//! Models that are loaded for people and programs, because no camera has them.
//!
//! What is held under a name is its newest version. A newer one on the disk is loaded behind the back of those who ask, and
//! takes over when it is ready; one that cannot be used leaves the one before as it is.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tracing::{error, info};

use super::model_facts::ModelRefusal;
use crate::infer::{self, Detector, Files, Limits, ModelError, parse_reference};
use crate::supervise::Backoff;

/// How long loading is waited for. It goes on behind that.
const LOADED_WITHIN: Duration = Duration::from_secs(15);
/// Models that stay in memory.
const MOST: usize = 3;
/// Longest pause before one that could not be used is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);
/// How often a newer version of one is looked for while it is asked.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// Where models are loaded from.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) folder: PathBuf,
    pub(super) limits: Limits,
}

/// The models that are held.
#[derive(Default)]
pub(super) struct OwnModels {
    held: Mutex<Vec<Held>>,
    /// One is loaded at a time.
    loading: Arc<tokio::sync::Mutex<()>>,
    /// Versions that could not be used, by name and number, with the reason.
    failed: Mutex<BTreeMap<(String, u32), String>>,
    /// References of which the newest version could not be used.
    waits: Mutex<BTreeMap<String, Wait>>,
}

/// A model that could not be used is tried again when its files change, and otherwise after growing pauses.
struct Wait {
    files: Files,
    due: Instant,
    pauses: Backoff,
    reason: String,
}

/// Why a model is not loaded.
#[derive(Debug, thiserror::Error)]
enum NotLoaded {
    #[error(transparent)]
    Model(#[from] ModelError),
    /// As it was said the last time.
    #[error("{0}")]
    Before(String),
}

/// A model as it is asked for; the one that was used last is the last.
struct Held {
    reference: String,
    detector: Arc<Detector>,
    looked: Instant,
    /// At the last look its version was not on the disk.
    is_missing: bool,
}

impl OwnModels {
    /// What is held by this name. A newer version is looked for every few seconds.
    pub(super) fn get(self: &Arc<Self>, reference: &str, place: &Place) -> Option<Arc<Detector>> {
        let (detector, is_due) = {
            let mut held = self.held.lock();
            let at = held.iter().position(|held| held.reference == reference)?;
            let mut used = held.remove(at);
            let is_due = parse_reference(reference).1.is_none() && used.looked.elapsed() >= LOOK_EVERY;
            if is_due {
                used.looked = Instant::now();
            }
            let detector = used.detector.clone();
            held.push(used);
            (detector, is_due)
        };
        if is_due && let Ok(turn) = self.loading.clone().try_lock_owned() {
            let (own, reference, place, than) = (self.clone(), reference.to_owned(), place.clone(), detector.version());
            // It is not waited for, and left behind at the end of the process.
            drop(tokio::task::spawn_blocking(move || {
                let _turn = turn;
                drop(own.load_newer(&reference, &place, than, false));
            }));
        }
        Some(detector)
    }

    /// Loads what a reference means, where it is not held yet or `than` is not the newest version. `is_asked`: a person or
    /// program asks for just that, and does not wait until it is time to try again.
    ///
    /// # Errors
    /// Why it cannot be used.
    pub(super) async fn load(
        self: &Arc<Self>,
        reference: &str,
        place: Place,
        than: u32,
        is_asked: bool,
    ) -> Result<Arc<Detector>, ModelRefusal> {
        let turn = self.loading.clone().lock_owned().await;
        if let Some(detector) = self.peek(reference).filter(|detector| detector.version() > than) {
            return Ok(detector);
        }
        let (own, asked) = (self.clone(), reference.to_owned());
        let load = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            own.load_newer(&asked, &place, than, is_asked)
        });
        match tokio::time::timeout(LOADED_WITHIN, load).await {
            Ok(Ok(Ok(detector))) => Ok(detector),
            Ok(Ok(Err(NotLoaded::Model(unknown)))) if unknown.is_unknown() => {
                Err(ModelRefusal::Unknown(unknown.to_string()))
            }
            Ok(Ok(Err(failure))) => Err(ModelRefusal::Unusable(failure.to_string())),
            Ok(Err(_)) => Err(ModelRefusal::Unusable(format!("loading model {reference} failed; the log says why"))),
            Err(_) => {
                Err(ModelRefusal::Busy(format!("model {reference} is still being loaded; try again in a minute")))
            }
        }
    }

    /// Holds the newest version above `than`. Blocks.
    fn load_newer(
        &self,
        reference: &str,
        place: &Place,
        than: u32,
        is_asked: bool,
    ) -> Result<Arc<Detector>, NotLoaded> {
        let name = parse_reference(reference).0;
        let found = infer::versions(&place.folder, reference);
        let newest = found.iter().map(|version| version.number).next();
        let is_gone = than > 0 && found.iter().all(|version| version.number != than);
        // It may be being replaced: the next look shows whether it is.
        let above = if self.missed(reference, is_gone) && newest.is_some() { 0 } else { than };
        if above > 0 && newest.is_none_or(|newest| newest <= above) {
            // What is held is the newest.
            return Ok(self.peek(reference).ok_or_else(|| infer::unknown(&place.folder, reference))?);
        }
        let files = infer::files_of(&place.folder, reference, above);
        if !is_asked {
            self.check_due(reference, &files)?;
        }
        match Detector::load_newer(&place.folder, reference, above, place.limits) {
            Ok((detector, failed)) => {
                self.failed.lock().retain(|(known, version), _| known != name || *version > detector.version());
                failed.into_iter().for_each(|(version, failure)| self.note(name, version, &failure, true));
                let (model, version) = (detector.name(), detector.version());
                info!(%model, version, "model loaded for people and programs");
                let detector = Arc::new(detector);
                let fresh = Held {
                    reference: reference.to_owned(),
                    detector: detector.clone(),
                    looked: Instant::now(),
                    is_missing: false,
                };
                let oldest = {
                    let mut held = self.held.lock();
                    held.retain(|held| held.reference != reference);
                    held.push(fresh);
                    (held.len() > MOST).then(|| held.remove(0))
                };
                drop(oldest);
                match self.failed.lock().iter().find(|((known, above), _)| known == name && *above > version) {
                    Some((_, reason)) => self.wait(reference, files, reason.clone()),
                    None => drop(self.waits.lock().remove(reference)),
                }
                Ok(detector)
            }
            Err(failure) => {
                if let Some(newest) = newest {
                    self.note(name, newest, &failure, than > 0);
                    self.wait(reference, files, failure.to_string());
                }
                Err(failure.into())
            }
        }
    }

    /// Whether it is time to try a model again that could not be used, or its `files` are others.
    fn check_due(&self, reference: &str, files: &Files) -> Result<(), NotLoaded> {
        let waits = self.waits.lock();
        let wait = waits.get(reference).filter(|wait| wait.files == *files && Instant::now() < wait.due);
        wait.map_or(Ok(()), |wait| Err(NotLoaded::Before(wait.reason.clone())))
    }

    fn wait(&self, reference: &str, files: Files, reason: String) {
        let mut waits = self.waits.lock();
        let before = waits.remove(reference).filter(|wait| wait.files == files);
        let mut pauses =
            before.map_or_else(|| Backoff::new(LOOK_EVERY, LONGEST_PAUSE, LONGEST_PAUSE * 2), |wait| wait.pauses);
        let due = Instant::now() + pauses.next_pause(Duration::ZERO);
        waits.insert(reference.to_owned(), Wait { files, due, pauses, reason });
    }

    /// Notes whether what is held under a name is on the disk; gives whether it was missing in two looks.
    fn missed(&self, reference: &str, is_gone: bool) -> bool {
        let mut held = self.held.lock();
        let of = held.iter_mut().find(|held| held.reference == reference);
        of.is_some_and(|held| std::mem::replace(&mut held.is_missing, is_gone) && is_gone)
    }

    /// The log has each reason once.
    fn note(&self, model: &str, version: u32, failure: &ModelError, has_older: bool) {
        let reason = failure.to_string();
        let before = self.failed.lock().insert((model.to_owned(), version), reason.clone());
        if has_older && before.as_ref() != Some(&reason) {
            error!(%model, version, reason, "a newer version of a model cannot be used, an older one stays in use");
        }
    }

    /// What is held by this name, without a look at the disk.
    pub(super) fn peek(&self, reference: &str) -> Option<Arc<Detector>> {
        let held = self.held.lock();
        held.iter().find(|held| held.reference == reference).map(|held| held.detector.clone())
    }

    /// The version that is held by this name.
    pub(super) fn version(&self, reference: &str) -> Option<u32> {
        self.peek(reference).map(|detector| detector.version())
    }

    /// Whether a version of a model is held by any name.
    pub(super) fn has(&self, name: &str, version: u32) -> bool {
        self.held.lock().iter().any(|held| **held.detector.name() == *name && held.detector.version() == version)
    }

    /// Why a version could not be used the last time.
    pub(super) fn failure(&self, name: &str, version: u32) -> Option<String> {
        self.failed.lock().get(&(name.to_owned(), version)).cloned()
    }

    /// Gives up all versions of a model, or one.
    pub(super) fn give_up(&self, reference: &str) {
        self.held.lock().retain(|held| !held.detector.is(reference));
    }
}
