//! What goes on beside recording and answering: what people asked for, and what the box does of its own.

use std::sync::Arc;

use anyhow::Result;
use jiff::Timestamp;
use serde::Serialize;

use super::context::Context;
use super::folders::{FolderService, FolderState, FolderStatus, Import, ImportState};
use super::library::LibraryService;
use super::photo_labels::PhotoLabels;
use super::playback::{Export, ExportService, ExportState};
use crate::health::StoreState;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// The index is filled from what lies on the disk.
    Index,
    /// A span of a camera's video becomes a file.
    Export,
    /// Files of a card become photos.
    Import,
    /// A folder is watched for files that become photos.
    Watch,
    /// A model looks at photos.
    Labels,
    /// Originals of photos are compared with what was recorded.
    Check,
}

/// Where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// Others come first, or it rests until there is something to do.
    Waiting,
    /// It goes on.
    Running,
    /// It came to its end.
    Done,
    /// It came to an end before that, or cannot go on; `reason` says why.
    Failed,
}

/// One of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Job {
    /// What is done.
    pub kind: JobKind,
    /// What it is done with: a camera, a folder, a model.
    pub subject: String,
    /// Where it stands.
    pub state: JobState,
    /// How much is done, of `total`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub done: Option<u64>,
    /// How much there is, where that is known: files, photos, events; of an export hundredths.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// Who asked for it; none: the box itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<Arc<str>>,
    /// When it was asked for, or was begun.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Why it failed, or what was found wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Job {
    fn new(kind: JobKind, subject: impl Into<String>, state: JobState) -> Self {
        let (done, total, by, since, reason) = (None, None, None, None, None);
        Self { kind, subject: subject.into(), state, done, total, by, since, reason }
    }

    fn of_export(export: Export) -> Self {
        let state = match export.state {
            ExportState::Waiting => JobState::Waiting,
            ExportState::Running => JobState::Running,
            ExportState::Done => JobState::Done,
            ExportState::Failed => JobState::Failed,
        };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let done = (export.progress.clamp(0.0, 1.0) * 100.0) as u64;
        Self {
            done: Some(done),
            total: Some(100),
            by: Some(export.by),
            since: Some(export.asked.wall),
            reason: export.error,
            ..Self::new(JobKind::Export, &*export.camera, state)
        }
    }

    fn of_import(import: Import) -> Self {
        let state = match import.state {
            ImportState::Waiting => JobState::Waiting,
            ImportState::Running => JobState::Running,
            ImportState::Done | ImportState::Cancelled => JobState::Done,
            ImportState::Failed => JobState::Failed,
        };
        Self {
            done: Some(import.looked_at),
            total: Some(import.files).filter(|files| *files > 0),
            by: Some(import.owner),
            since: Some(import.asked.wall),
            reason: import.error,
            ..Self::new(JobKind::Import, import.path.display().to_string(), state)
        }
    }

    fn of_folder(folder: FolderStatus) -> Self {
        let state = match folder.state {
            FolderState::Reading => JobState::Running,
            FolderState::Watching | FolderState::Paused => JobState::Waiting,
            FolderState::Unreadable => JobState::Failed,
        };
        Self {
            done: Some(folder.added),
            by: Some(folder.owner.into()),
            since: folder.looked_through,
            reason: folder.error,
            ..Self::new(JobKind::Watch, folder.path.display().to_string(), state)
        }
    }
}

/// Lists them.
#[derive(Clone)]
pub struct JobService {
    pub(super) context: Arc<Context>,
    pub(super) exports: ExportService,
    pub(super) folders: FolderService,
    pub(super) library: LibraryService,
    pub(super) labels: PhotoLabels,
}

impl JobService {
    /// What goes on: of exports those that `sees` holds for, of imports and folders those of owners that `owns` holds for.
    ///
    /// # Errors
    /// When index or disk do not answer.
    pub async fn list(&self, sees: impl Fn(&Export) -> bool, owns: impl Fn(&str) -> bool) -> Result<Vec<Job>> {
        let mut jobs: Vec<Job> = self.index().into_iter().collect();
        jobs.extend(self.exports.list().await?.into_iter().filter(sees).map(Job::of_export));
        let imports = self.folders.imports().await?.into_iter().filter(|import| owns(&import.owner));
        jobs.extend(imports.map(Job::of_import));
        jobs.extend(self.folders.watched().into_iter().filter(|folder| owns(&folder.owner)).map(Job::of_folder));
        let photos = self.context.store().photos().count().await?;
        jobs.extend(self.labels.job(photos));
        jobs.extend(self.check(photos).await?);
        Ok(jobs)
    }

    fn index(&self) -> Option<Job> {
        let store = self.context.health.store();
        (store.state == StoreState::Rebuilding).then(|| Job {
            done: Some(store.rebuilt),
            total: Some(store.rebuild_total),
            ..Job::new(JobKind::Index, "", JobState::Running)
        })
    }

    /// The check of originals; none of a box without photos.
    async fn check(&self, photos: u64) -> Result<Option<Job>> {
        if photos == 0 {
            return Ok(None);
        }
        let report = self.library.check_report().await?;
        let (damaged, round) = (report.damaged(), report.current);
        let state = if round.begun.is_some() { JobState::Running } else { JobState::Waiting };
        let reason = (damaged > 0).then(|| format!("originals that are not as they were recorded: {damaged}"));
        Ok(Some(Job {
            done: Some(round.originals),
            total: Some(photos),
            since: round.begun.or(report.last.and_then(|last| last.finished)).map(|at| at.wall),
            reason,
            ..Job::new(JobKind::Check, "", state)
        }))
    }
}

impl PhotoLabels {
    /// What a model sees in photos, as a job; none where none looks.
    fn job(&self, photos: u64) -> Option<Job> {
        let progress = self.progress.lock().clone();
        let model = progress.model?;
        let state = if progress.rests { JobState::Waiting } else { JobState::Running };
        let job = Job::new(JobKind::Labels, model, state);
        (photos > 0).then_some(Job { done: Some(progress.passed.min(photos)), total: Some(photos), ..job })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_failed_says_why_and_whose_it_is() {
        let folder = FolderStatus {
            state: FolderState::Unreadable,
            error: Some("it cannot be read".to_owned()),
            added: 3,
            ..FolderStatus::new("scans", "/srv/scans".into(), "anna")
        };
        let job = Job::of_folder(folder);
        assert_eq!(
            (job.kind, &*job.subject, job.state, job.done),
            (JobKind::Watch, "/srv/scans", JobState::Failed, Some(3))
        );
        assert_eq!((job.by.as_deref(), job.reason.as_deref()), (Some("anna"), Some("it cannot be read")));
    }
}
