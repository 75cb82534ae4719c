//! Exports: asked for, written one at a time, kept for a day. They lie on the archive's volume, in `exports/`, and are
//! begun again after a restart.

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::super::context::Context;
use super::MOST_LOAD;
use super::cut::remove_expired;
use super::export::{Export, ExportId, ExportState, SeenTime, VERSION, file_name};
use super::jobs::{Job, Jobs, folder_on, partial, remove_files, remove_video, video};
use super::pieces::{self, Pieces};
use super::remux::{RemuxError, remux};
use crate::archive::{Archive, volume};
use crate::clock::TimeQuality;
use crate::durable;

/// Longest time in one export.
const LONGEST: SignedDuration = SignedDuration::from_hours(24);
/// Exports that there are at once.
const MOST: usize = 20;
/// Bytes of all of them, and of one.
const MOST_BYTES: u64 = 16 << 30;
/// And no more than this share of the volume.
const SHARE: u64 = 10;
/// What stays free on the volume beside twice what retention keeps free.
const KEPT_FREE: u64 = 64 << 20;
/// What retention keeps free of a large volume where nothing else is configured.
const USUALLY_FREE: u64 = 1 << 30;
/// How often it is looked for exports that are too old.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often a copy that waits for the load to fall looks at it.
const LOAD_EVERY: Duration = Duration::from_millis(500);

/// What is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct NewExport {
    /// Name of the camera.
    pub camera: String,
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// Who asks.
    pub by: Arc<str>,
    /// When what may be seen begins and ends.
    pub seen: SeenTime,
}

/// Why an export is not begun; says what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExportRefusal {
    /// The time is not one that can be exported.
    #[error("{0}")]
    Time(String),
    /// There is no video of that time.
    #[error("there is no video of camera {0:?} in that time: choose one that the timeline shows as recorded")]
    NoVideo(String),
    /// There are as many exports as may be.
    #[error("there are {MOST} exports already: delete one, or wait until one expires")]
    TooMany,
    /// The disk has no room for it.
    #[error("{0}")]
    NoRoom(String),
    /// The volume of the archive is away.
    #[error("the volume of the archive is away, and the video with it: try again when it is back")]
    VolumeAway,
}

/// Makes exports.
#[derive(Clone)]
pub struct ExportService {
    context: Arc<Context>,
    jobs: Arc<Mutex<Jobs>>,
    /// Something is to be done.
    due: Arc<Notify>,
    /// Another number whenever one of them is another.
    changes: watch::Sender<u64>,
}

impl ExportService {
    pub(in crate::service) fn new(context: Arc<Context>) -> Self {
        Self { context, jobs: Arc::default(), due: Arc::default(), changes: watch::Sender::new(0) }
    }

    /// The same as after a restart.
    #[cfg(test)]
    pub(in crate::service) fn as_after_restart(&self) -> Self {
        Self::new(self.context.clone())
    }

    /// All exports, the newest first.
    ///
    /// # Errors
    /// When the disk does not answer.
    pub async fn list(&self) -> Result<Vec<Export>> {
        let all = |jobs: &mut Jobs| jobs.by_id.values().rev().map(|job| job.export.clone()).collect();
        self.with(all).await
    }

    /// One of them.
    ///
    /// # Errors
    /// When the disk does not answer.
    pub async fn get(&self, id: ExportId) -> Result<Option<Export>> {
        self.with(move |jobs| jobs.by_id.get(&id).map(|job| job.export.clone())).await
    }

    /// Changes with each of them, its progress included.
    pub fn changed(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Where the file of an export that is done lies.
    pub fn file(&self, export: &Export) -> Option<PathBuf> {
        let folder = self.folder();
        (export.state == ExportState::Done).then(|| video(&folder, export.id))
    }

    /// Begins an export; it is carried out in its turn.
    ///
    /// # Errors
    /// When the index or the disk does not answer; within, why it is refused.
    pub async fn add(&self, new: NewExport) -> Result<Result<Export, ExportRefusal>> {
        let this = self.clone();
        let added = tokio::task::spawn_blocking(move || this.add_now(&new)).await??;
        self.due.notify_one();
        Ok(added)
    }

    fn add_now(&self, new: &NewExport) -> Result<Result<Export, ExportRefusal>> {
        let now = self.context.clock.now();
        if let Some(refusal) = refuse_time(new, now.wall) {
            return Ok(Err(refusal));
        }
        if self.context.health.is_spooling() || self.context.health.volume_trouble().is_some() {
            return Ok(Err(ExportRefusal::VolumeAway));
        }
        let archive = self.context.volume.archive();
        let Pieces { pieces, next } =
            pieces::find(archive.store(), &new.camera, &(new.from..new.until), |from, until| {
                new.seen.covers(from, until)
            })?;
        let Some(first) = pieces.first() else { return Ok(Err(ExportRefusal::NoVideo(new.camera.clone()))) };
        if let Some(next) = next {
            return Ok(Err(ExportRefusal::Time(format!(
                "that is too many pieces: export the time until {next} at first"
            ))));
        }
        let quality = pieces.iter().map(|piece| piece.time_quality).max().unwrap_or(TimeQuality::Implausible);
        let export = Export {
            version: VERSION,
            id: archive.ids.next(),
            camera: new.camera.as_str().into(),
            from: new.from,
            until: new.until,
            by: new.by.clone(),
            seen: new.seen,
            asked: now,
            state: ExportState::Waiting,
            progress: 0.0,
            file: file_name(&new.camera, first.from, quality),
            time_quality: Some(quality),
            parts: Vec::new(),
            bytes: None,
            duration_s: None,
            finished: None,
            expires: None,
            error: None,
            tries: 0,
        };
        let needed = pieces.iter().map(pieces::Piece::estimated_bytes).sum();
        let mut jobs = self.jobs();
        if jobs.by_id.len() >= MOST {
            return Ok(Err(ExportRefusal::TooMany));
        }
        if let Some(refusal) = self.refuse_size(&archive, &jobs, needed)? {
            return Ok(Err(refusal));
        }
        archive.layout().create(&jobs.folder)?;
        jobs.write(&export)?;
        jobs.by_id.insert(export.id, Job::of(export.clone()));
        self.note_change();
        Ok(Ok(export))
    }

    /// Deletes an export; one that is being written ends. Gives whether there is one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn remove(&self, id: ExportId) -> Result<bool> {
        let removed = self.with(move |jobs| jobs.remove(id)).await?;
        self.note_change();
        removed
    }

    /// Carries out what is waiting until `stop`, one after the other.
    pub async fn run(&self, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let (this, asked) = (self.clone(), stop.clone());
            let worked = tokio::task::spawn_blocking(move || this.work(&asked));
            // A dead disk holds that thread alone.
            let did_something = tokio::select! {
                worked = worked => worked.unwrap_or_default(),
                () = stop_later(&stop) => return,
            };
            if !did_something {
                tokio::select! {
                    () = self.due.notified() => {}
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }

    /// Deletes what is too old, and carries out the export whose turn it is, if any.
    fn work(&self, stop: &CancellationToken) -> bool {
        remove_expired(&self.context.volume.archive());
        let next = {
            let mut jobs = self.jobs();
            if jobs.expire(&self.context.clock.now()) {
                self.note_change();
            }
            jobs.by_id.values_mut().find(|job| job.export.is_pending()).map(|job| {
                job.export.state = ExportState::Running;
                (job.export.clone(), job.stop.clone())
            })
        };
        let Some((export, cancelled)) = next else { return false };
        let archive = self.context.volume.archive();
        let written = self.carry_out(&archive, &export, &cancelled, stop);
        if written.is_err() {
            remove_video(&folder_on(archive.layout().storage()), export.id);
        }
        let now = self.context.clock.now();
        let mut jobs = self.jobs();
        let folder = jobs.folder.clone();
        let Some(job) = jobs.by_id.get_mut(&export.id) else {
            remove_files(&folder, export.id);
            return true;
        };
        match written {
            // The next start begins it again.
            Err(RemuxError::Stopped) => job.export.state = ExportState::Waiting,
            Ok(done) => {
                job.export =
                    Export { parts: done.parts, bytes: done.bytes, duration_s: done.duration_s, ..job.export.clone() };
                job.export.progress = 1.0;
                job.export.finish(ExportState::Done, now);
            }
            Err(error) => {
                warn!(camera = %export.camera, export = %export.id, %error, "a stretch of video could not be exported");
                job.export.error = Some(error.to_string());
                job.export.finish(ExportState::Failed, now);
            }
        }
        let export = job.export.clone();
        self.note_change();
        if let Err(error) = jobs.write(&export) {
            warn!(export = %export.id, error = format!("{error:#}"), "what became of an export could not be noted");
        }
        true
    }

    fn carry_out(
        &self,
        archive: &Archive,
        export: &Export,
        cancelled: &CancellationToken,
        stop: &CancellationToken,
    ) -> Result<Export, RemuxError> {
        let folder = folder_on(archive.layout().storage());
        self.note(export.id, |known| {
            known.tries += 1;
            known.progress = 0.0;
        });
        remove_video(&folder, export.id);
        let time = export.from..export.until;
        let found = pieces::find(archive.store(), &export.camera, &time, |from, until| export.seen.covers(from, until));
        let found = found.map_err(|error| RemuxError::Other(format!("the index cannot be read: {error:#}")))?;
        let layout = archive.layout();
        let files: Vec<_> = found.pieces.into_iter().map(|piece| (piece.path(layout, &export.camera), piece)).collect();
        let partial = partial(&folder, export.id);
        let mut go_on = |progress: f64| {
            if let ControlFlow::Break(why) = self.check(archive, cancelled, stop) {
                return Err(why);
            }
            if let Some(job) = self.jobs.lock().by_id.get_mut(&export.id) {
                job.export.progress = progress;
                self.note_change();
            }
            Ok(())
        };
        let remuxed = remux(&files, &partial, &mut go_on)?;
        let place = || -> Result<()> {
            std::fs::rename(&partial, video(&folder, export.id)).context("name the file")?;
            durable::sync_folder(&folder).context("sync the folder")
        };
        place().map_err(|error| RemuxError::Other(format!("{error:#}")))?;
        let (bytes, duration_s) = (Some(remuxed.facts.bytes), Some(remuxed.facts.duration.as_secs_f64()));
        info!(camera = %export.camera, export = %export.id, bytes, duration_s, "a stretch of video is exported");
        Ok(Export { parts: remuxed.parts, bytes, duration_s, ..export.clone() })
    }

    /// Whether a copy may go on; waits while the box has too much to do.
    fn check(
        &self,
        archive: &Archive,
        cancelled: &CancellationToken,
        stop: &CancellationToken,
    ) -> ControlFlow<RemuxError> {
        loop {
            if cancelled.is_cancelled() || stop.is_cancelled() {
                return ControlFlow::Break(RemuxError::Stopped);
            }
            if archive.layout().storage() != self.context.volume.archive().layout().storage() {
                let away = "the volume of the archive went away: try again when it is back".to_owned();
                return ControlFlow::Break(RemuxError::Other(away));
            }
            if archive.level().left_out().is_some() {
                return ControlFlow::Break(RemuxError::Full);
            }
            if archive.pressure.level() <= MOST_LOAD {
                return ControlFlow::Continue(());
            }
            std::thread::sleep(LOAD_EVERY);
        }
    }

    /// Whether so many bytes are too many for the quota of exports or for the volume.
    fn refuse_size(&self, archive: &Archive, jobs: &Jobs, needed: u64) -> Result<Option<ExportRefusal>> {
        let space = volume::space(archive.layout().storage())?.or_boundless();
        let quota = if space.size_bytes > 0 { MOST_BYTES.min(space.size_bytes / SHARE) } else { MOST_BYTES };
        let held: u64 = jobs.by_id.values().filter_map(|job| job.export.bytes).sum();
        let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
        if held.saturating_add(needed) > quota {
            let text = format!(
                "it takes about {} MiB, and exports may take {} MiB in all, of which {} are in use: delete exports, or choose a shorter time",
                megabytes(needed),
                megabytes(quota),
                megabytes(held)
            );
            return Ok(Some(ExportRefusal::NoRoom(text)));
        }
        let keep =
            self.context.configured().retention.min_free.unwrap_or_else(|| USUALLY_FREE.min(space.size_bytes / 20));
        let keep = keep.saturating_mul(2).saturating_add(KEPT_FREE);
        if space.free_bytes < needed.saturating_add(keep) || archive.level().left_out().is_some() {
            let text = format!(
                "it takes about {} MiB, and only {} MiB are free, which recording needs: free some space, or choose a shorter time",
                megabytes(needed),
                megabytes(space.free_bytes)
            );
            return Ok(Some(ExportRefusal::NoRoom(text)));
        }
        Ok(None)
    }

    fn note(&self, id: ExportId, change: impl FnOnce(&mut Export)) {
        let mut jobs = self.jobs();
        let Some(job) = jobs.by_id.get_mut(&id) else { return };
        change(&mut job.export);
        let export = job.export.clone();
        // What cannot be noted is begun again once more often.
        let _ = jobs.write(&export);
    }

    fn note_change(&self) {
        self.changes.send_modify(|changes| *changes += 1);
    }

    fn folder(&self) -> PathBuf {
        folder_on(self.context.volume.archive().layout().storage())
    }

    /// The exports of the volume that is in use at this moment. Blocks where that is another one than before.
    fn jobs(&self) -> parking_lot::MutexGuard<'_, Jobs> {
        let folder = self.folder();
        let mut jobs = self.jobs.lock();
        if jobs.folder != folder {
            jobs.by_id.values().for_each(|job| job.stop.cancel());
            *jobs = Jobs::load(folder, &self.context.clock.now());
            self.note_change();
        }
        jobs
    }

    async fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut Jobs) -> T + Send + 'static) -> Result<T> {
        let this = self.clone();
        Ok(tokio::task::spawn_blocking(move || act(&mut this.jobs())).await?)
    }
}

fn refuse_time(new: &NewExport, now: Timestamp) -> Option<ExportRefusal> {
    let length = new.until.duration_since(new.from);
    let text = if !length.is_positive() {
        "until has to be later than from".to_owned()
    } else if length > LONGEST {
        format!("one export has {} hours at most: make several", LONGEST.as_hours())
    } else if new.from >= now {
        "that time has not come yet".to_owned()
    } else {
        return None;
    };
    Some(ExportRefusal::Time(text))
}

/// Some time after `stop`: a copy looks at it between two key frames.
async fn stop_later(stop: &CancellationToken) {
    stop.cancelled().await;
    tokio::time::sleep(Duration::from_secs(1)).await;
}
