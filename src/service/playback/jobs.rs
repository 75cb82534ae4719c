//! The exports that lie on one volume: `exports/<id>.json` says of each where it stands, `exports/<id>.mp4` is its file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;

use super::export::{Export, ExportId, ExportState, KEPT_FOR, VERSION};
use crate::clock::Moment;
use crate::durable;

/// Folder below the storage folder.
const FOLDER: &str = "exports";
/// After so many stops in the middle of it an export may be what stops the box.
const MOST_TRIES: u32 = 3;

/// The exports of the volume in use.
#[derive(Default)]
pub(super) struct Jobs {
    pub(super) folder: PathBuf,
    pub(super) by_id: BTreeMap<ExportId, Job>,
}

pub(super) struct Job {
    pub(super) export: Export,
    pub(super) stop: CancellationToken,
}

impl Job {
    pub(super) fn of(export: Export) -> Self {
        Self { export, stop: CancellationToken::new() }
    }
}

impl Jobs {
    /// What lies in `folder`. What a stop interrupted waits again; files of nothing are removed.
    pub(super) fn load(folder: PathBuf, now: &Moment) -> Self {
        let mut jobs = Self { folder, by_id: BTreeMap::new() };
        let Ok(entries) = std::fs::read_dir(&jobs.folder) else { return jobs };
        let names: Vec<String> = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        for name in names.iter().filter_map(|name| name.strip_suffix(".json")) {
            let path = jobs.folder.join(format!("{name}.json"));
            let read = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Export>(&text).ok());
            if let Some(export) = read.filter(|export| export.version <= VERSION && export.id.to_string() == name) {
                jobs.by_id.insert(export.id, Job::of(export));
            }
        }
        let interrupted: Vec<ExportId> =
            jobs.by_id.values().filter(|job| job.export.is_pending()).map(|job| job.export.id).collect();
        for id in interrupted {
            let Some(job) = jobs.by_id.get_mut(&id) else { continue };
            job.export.state = ExportState::Waiting;
            if job.export.tries >= MOST_TRIES {
                job.export.error = Some(format!(
                    "interrupted {MOST_TRIES} times by a stop of the box: export it again, or a shorter time"
                ));
                job.export.finish(ExportState::Failed, now.clone());
            }
            let export = job.export.clone();
            let _ = jobs.write(&export);
        }
        for name in names {
            let id = name.split('.').next().and_then(|id| id.parse::<ExportId>().ok());
            let (Some(id), path) = (id, jobs.folder.join(name)) else { continue };
            let is_done = jobs.by_id.get(&id).is_some_and(|job| job.export.state == ExportState::Done);
            let is_wanted = path == sidecar(&jobs.folder, id) || is_done && path == video(&jobs.folder, id);
            if !is_wanted {
                let _ = std::fs::remove_file(path);
            }
        }
        jobs
    }

    pub(super) fn write(&self, export: &Export) -> Result<()> {
        let path = sidecar(&self.folder, export.id);
        durable::replace(&path, &serde_json::to_vec_pretty(export)?)
            .with_context(|| format!("write {}", path.display()))
    }

    pub(super) fn remove(&mut self, id: ExportId) -> Result<bool> {
        let Some(job) = self.by_id.remove(&id) else { return Ok(false) };
        job.stop.cancel();
        remove_files(&self.folder, id);
        durable::sync_folder(&self.folder).context("sync the folder of exports")?;
        Ok(true)
    }

    /// Deletes what was finished long ago. Returns whether anything was.
    pub(super) fn expire(&mut self, now: &Moment) -> bool {
        let is_old = |job: &&Job| job.export.age(now).is_some_and(|age| age >= KEPT_FOR);
        let old: Vec<ExportId> = self.by_id.values().filter(is_old).map(|job| job.export.id).collect();
        let has_old = !old.is_empty();
        for id in old {
            // What cannot be deleted is tried again at the next start.
            let _ = self.remove(id);
        }
        // One of an earlier boot whose age no clock says counts from now on.
        let doubtful: Vec<ExportId> = self
            .by_id
            .values()
            .filter(|job| job.export.finished.is_some() && job.export.age(now).is_none())
            .map(|job| job.export.id)
            .collect();
        for id in doubtful {
            let Some(job) = self.by_id.get_mut(&id) else { continue };
            job.export.finish(job.export.state, now.clone());
            let export = job.export.clone();
            let _ = self.write(&export);
        }
        has_old
    }
}

/// The folder of exports on the volume at `storage`.
pub(super) fn folder_on(storage: &Path) -> PathBuf {
    storage.join(FOLDER)
}

fn sidecar(folder: &Path, id: ExportId) -> PathBuf {
    folder.join(format!("{id}.json"))
}

pub(super) fn video(folder: &Path, id: ExportId) -> PathBuf {
    folder.join(format!("{id}.mp4"))
}

pub(super) fn partial(folder: &Path, id: ExportId) -> PathBuf {
    folder.join(format!("{id}.partial"))
}

pub(super) fn remove_video(folder: &Path, id: ExportId) {
    // What is not there is as good.
    let _ = std::fs::remove_file(video(folder, id));
    let _ = std::fs::remove_file(partial(folder, id));
}

pub(super) fn remove_files(folder: &Path, id: ExportId) {
    remove_video(folder, id);
    let _ = std::fs::remove_file(sidecar(folder, id));
}
