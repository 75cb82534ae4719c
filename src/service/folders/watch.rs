//! One watched folder: changes as they happen, and a walk through all of it from time to time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::changes::{Changes, FolderChange};
use super::import::RefusedFile;
use super::state::{FolderState, FolderStatus};
use super::{FolderService, found_below};
use crate::library::{
    Entry, FileResult, FolderSource, LibraryError, Seen, Settling, WatchedFolder, files_below, is_wanted_below, look_at,
};
use crate::photo::{FileOutcome, FolderFile};

/// How long after a walk the next one begins.
const WALK_EVERY: Duration = Duration::from_secs(300);
/// A walk takes at most this part of the time, on shares and folders where it takes long.
const WALK_SHARE: u32 = 20;
/// How long after a failure it is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(60);
/// How often files that are being written are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often what is known of files that are gone is forgotten.
const CLEAN_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Files whose outcome is noted at once.
const NOTED_AT_ONCE: usize = 64;

/// Why a folder is left alone for a while.
enum Pause {
    /// The folder cannot be read.
    Unreadable(String),
    /// The library takes nothing in.
    Refused(String),
}

/// One folder that is being watched.
struct Watch<'a> {
    service: &'a FolderService,
    name: &'a str,
    folder: &'a WatchedFolder,
    source: FolderSource,
    settling: Settling,
    /// Files in the folder, when it was last looked through.
    files: u64,
    /// Why changes are not noticed as they happen; it is logged once.
    unnoticed: Option<String>,
    noted: Vec<(PathBuf, Option<FolderFile>)>,
    stop: &'a CancellationToken,
}

impl FolderService {
    pub(super) async fn watch(&self, name: &str, folder: &WatchedFolder, stop: &CancellationToken) {
        let status = FolderStatus::new(name, folder.path.clone(), &folder.owner);
        self.watched.lock().insert(name.to_owned(), status);
        let source =
            FolderSource { owner: folder.owner.as_str().into(), private: folder.private, tags: folder.tags.clone() };
        let (settling, noted) = (Settling::default(), Vec::new());
        Watch { service: self, name, folder, source, settling, files: 0, unnoticed: None, noted, stop }.run().await;
    }
}

impl Watch<'_> {
    async fn run(&mut self) {
        let (mut changes, mut is_cleaned) = (None, Instant::now());
        let (mut next_walk, mut next_look) = (Instant::now(), Instant::now());
        while !self.stop.is_cancelled() {
            if next_walk <= Instant::now() {
                if changes.is_none() {
                    changes = self.begin_changes().await;
                }
                let begun = Instant::now();
                let walked = self.walk().await;
                let rest = if walked { WALK_EVERY.max(begun.elapsed() * WALK_SHARE) } else { RETRY_EVERY };
                if !walked {
                    // The folder may be another one when it is back.
                    changes = None;
                }
                next_walk = Instant::now() + rest;
                // An empty folder may be where a volume is to be mounted.
                if walked && self.files > 0 && is_cleaned.elapsed() >= CLEAN_EVERY {
                    is_cleaned = Instant::now();
                    self.forget_gone().await;
                }
            }
            let next_change = async {
                match &mut changes {
                    Some(changes) => changes.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = tokio::time::sleep_until(next_walk) => {}
                change = next_change => match change {
                    FolderChange::At(path) => self.note(&path),
                    FolderChange::Anywhere => next_walk = Instant::now(),
                },
                // Changes that come all the time do not put it off.
                () = tokio::time::sleep_until(next_look), if !self.settling.is_empty() => {
                    next_look = Instant::now() + LOOK_EVERY;
                    if !self.look_at_settling().await {
                        next_walk = Instant::now() + RETRY_EVERY;
                    }
                }
            }
        }
    }

    fn status(&self, change: impl FnOnce(&mut FolderStatus)) {
        if let Some(status) = self.service.watched.lock().get_mut(self.name) {
            change(status);
        }
    }

    async fn begin_changes(&mut self) -> Option<Changes> {
        let path = self.folder.path.clone();
        let begun = tokio::task::spawn_blocking(move || Changes::of(&path)).await.ok()?;
        self.status(|status| status.immediate = begun.is_ok());
        let why = begun.as_ref().err().cloned();
        if let Some(why) = why.as_ref().filter(|why| self.unnoticed.as_ref() != Some(why)) {
            info!(folder = self.name, why, "changes in a watched folder are found by looking through it");
        }
        self.unnoticed = why;
        begun.ok()
    }

    fn note(&mut self, path: &Path) {
        if is_wanted_below(&self.folder.path, path) {
            self.settling.note(path, self.service.context.clock.mono());
        }
    }

    /// Looks through the folder. Whether it could.
    async fn walk(&mut self) -> bool {
        self.status(|status| status.state = FolderState::Reading);
        let mut found = found_below(&self.folder.path);
        let (mut files, mut outcome) = (0, Ok(()));
        while let Some(entry) = found.recv().await {
            let taken = match entry {
                Ok(entry) => {
                    files += 1;
                    self.see(entry, Seen::Walk).await
                }
                Err(error) => self.unreadable(&error),
            };
            if taken.is_err() || self.stop.is_cancelled() {
                outcome = taken;
                break;
            }
        }
        let outcome = outcome.and(self.write_noted().await);
        let is_through = outcome.is_ok() && !self.stop.is_cancelled();
        let now = self.service.context.clock.now().wall;
        if is_through {
            self.files = files;
            self.status(|status| (status.files, status.looked_through) = (files, Some(now)));
        }
        self.end(outcome)
    }

    /// Looks at files that may be done by now. Whether it could.
    async fn look_at_settling(&mut self) -> bool {
        let mut outcome = Ok(());
        for path in self.settling.due(self.service.context.clock.mono()) {
            let looked = path.clone();
            let found = tokio::task::spawn_blocking(move || {
                let is_folder = looked.symlink_metadata().is_ok_and(|metadata| metadata.is_dir());
                if is_folder {
                    files_below(&looked).collect()
                } else {
                    look_at(&looked)
                        .map(Vec::from_iter)
                        .map_or_else(|error| vec![Err(error)], |found| found.into_iter().map(Ok).collect())
                }
            });
            let found = found.await.unwrap_or_default();
            if !matches!(&found[..], [Ok(entry)] if entry.path == path) {
                self.settling.forget(&path);
            }
            if found.is_empty() {
                self.noted.push((path, None));
            }
            for entry in found {
                outcome = match entry {
                    Ok(entry) => self.see(entry, Seen::Change).await,
                    Err(error) => self.unreadable(&error),
                };
                if outcome.is_err() {
                    break;
                }
            }
            if outcome.is_err() || self.stop.is_cancelled() {
                break;
            }
        }
        let outcome = outcome.and(self.write_noted().await);
        self.end(outcome)
    }

    /// What is said of the folder after files of it were looked at. Whether that went well.
    fn end(&self, outcome: Result<(), Pause>) -> bool {
        let waiting = self.settling.len() as u64;
        let (state, error) = match outcome {
            Ok(()) => (FolderState::Watching, None),
            Err(Pause::Unreadable(error)) => (FolderState::Unreadable, Some(error)),
            Err(Pause::Refused(error)) => (FolderState::Paused, Some(error)),
        };
        let is_well = error.is_none();
        self.status(|status| {
            if status.error != error
                && let Some(error) = &error
            {
                warn!(folder = self.name, error, "files of a watched folder are not taken in, trying again in a while");
            }
            (status.state, status.error, status.waiting) = (state, error, waiting);
        });
        is_well
    }

    fn unreadable(&self, error: &std::io::Error) -> Result<(), Pause> {
        let text = error.to_string();
        if !self.folder.path.is_dir() {
            return Err(Pause::Unreadable(format!("{} cannot be read: {text}", self.folder.path.display())));
        }
        self.status(|status| status.refuse(RefusedFile { file: String::new(), reason: text }));
        Ok(())
    }

    /// A file as it is now: taken in where that was not done yet and it is done.
    async fn see(&mut self, entry: Entry, seen: Seen) -> Result<(), Pause> {
        let context = &self.service.context;
        let files = context.store().folder_files();
        let known = files.get(&entry.path).await.map_err(|error| Pause::Refused(format!("{error:#}")))?;
        let is_same = |known: &FolderFile| (known.bytes, known.modified_ns) == (entry.bytes, entry.modified_ns);
        let library = self.service.library.library();
        if known.as_ref().is_some_and(is_same) {
            let had_no_room = known.as_ref().is_some_and(|known| known.outcome == FileOutcome::OverQuota);
            if !had_no_room || library.check_quota(&self.source.owner, entry.bytes, 0).await.is_err() {
                self.settling.forget(&entry.path);
                return Ok(());
            }
        }
        let now = context.clock.now();
        let wall_ns = i64::try_from(now.wall.as_nanosecond()).unwrap_or(i64::MAX);
        if !self.settling.is_done(&entry, seen, now.mono(), wall_ns) {
            return Ok(());
        }
        self.service.wait_for_load(self.stop).await;
        let before = known.and_then(|known| known.photo);
        let taken = library.take_file(&entry, &self.source, before, self.stop).await;
        let (outcome, photo) = match taken {
            Ok(FileResult::Added(id)) => {
                self.status(|status| status.added += 1);
                (FileOutcome::Kept, Some(id))
            }
            Ok(FileResult::Known(id)) => (FileOutcome::Kept, Some(id)),
            Ok(FileResult::Deleted) => (FileOutcome::Deleted, None),
            Ok(FileResult::NotAPicture) => (FileOutcome::NotAPicture, None),
            Ok(FileResult::Changing) => {
                self.settling.note(&entry.path, context.clock.mono());
                return Ok(());
            }
            Ok(FileResult::Refused(reason)) => {
                self.refuse(&entry, reason);
                (FileOutcome::Refused, None)
            }
            // It is tried again with the next walk.
            Ok(FileResult::Unreadable(reason)) => {
                self.refuse(&entry, reason);
                return Ok(());
            }
            Err(error @ LibraryError::OverQuota { .. }) => {
                self.refuse(&entry, error.to_string());
                (FileOutcome::OverQuota, None)
            }
            Err(error @ (LibraryError::Away | LibraryError::Full)) => return Err(Pause::Refused(error.to_string())),
            Err(error) => {
                self.refuse(&entry, error.to_string());
                return Ok(());
            }
        };
        let file = FolderFile { bytes: entry.bytes, modified_ns: entry.modified_ns, outcome, photo };
        self.noted.push((entry.path, Some(file)));
        if self.noted.len() >= NOTED_AT_ONCE { self.write_noted().await } else { Ok(()) }
    }

    fn refuse(&self, entry: &Entry, reason: String) {
        let file = entry.path.strip_prefix(&self.folder.path).unwrap_or(&entry.path).display().to_string();
        self.status(|status| status.refuse(RefusedFile { file, reason }));
    }

    async fn write_noted(&mut self) -> Result<(), Pause> {
        if self.noted.is_empty() {
            return Ok(());
        }
        let files = self.service.context.store().folder_files();
        let written = files.note(std::mem::take(&mut self.noted)).await;
        written.map_err(|error| Pause::Refused(format!("{error:#}")))
    }

    /// Forgets files that are gone. What is known of them is of no use any more, and is found again where they come back.
    async fn forget_gone(&mut self) {
        let files = self.service.context.store().folder_files();
        let mut after = None;
        while let Ok(rows) = files.below(&self.folder.path, after.take(), NOTED_AT_ONCE).await {
            let Some((last, _)) = rows.last() else { break };
            after = Some(last.clone());
            let gone = tokio::task::spawn_blocking(move || -> Vec<_> {
                let is_gone = |path: &PathBuf| matches!(look_at(path), Ok(None));
                rows.into_iter().map(|(path, _)| path).filter(is_gone).map(|path| (path, None)).collect()
            });
            self.noted.extend(gone.await.unwrap_or_default());
            if self.stop.is_cancelled() || self.write_noted().await.is_err() {
                break;
            }
        }
    }
}
