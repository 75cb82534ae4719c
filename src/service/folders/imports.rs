//! Imports: asked for, carried out one after the other, begun again after a restart. What was taken in before is known
//! then.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::import::{Import, ImportId, ImportReport, ImportState, NewImport, RefusedFile, VERSION};
use super::mounts::{self, ImportSource};
use super::{FolderService, found_below};
use crate::durable;
use crate::library::{Entry, FileResult, FolderSource, LibraryError};

/// Folder below the storage folder.
const FOLDER: &str = "imports";
/// Imports that are kept; with another one the oldest that is over goes.
const MOST: usize = 20;
/// After so many stops in the middle of it an import may be what stops the box.
const MOST_TRIES: u32 = 5;
/// How often it is noted how far an import is.
const NOTED_EVERY: Duration = Duration::from_secs(10);
/// How often it is looked for imports that wait.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How often an import that waits for room or a volume is tried again.
const RETRY_EVERY: Duration = Duration::from_secs(30);

/// Why an import is not begun.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportRefusal {
    /// The folder is none that may be imported.
    #[error("{0}")]
    Folder(String),
    /// There are as many as may be.
    #[error("{MOST} imports wait already: cancel one, or wait until one is done")]
    TooMany,
    /// The volume of the archive is away.
    #[error("the volume of the archive is away: photos are taken in again when it is back")]
    VolumeAway,
}

/// How an import ended.
enum End {
    Done,
    /// By a person, or because the daemon stops.
    Cancelled,
    Failed(String),
}

/// The imports of the volume in use.
#[derive(Default)]
pub(super) struct Imports {
    folder: PathBuf,
    by_id: BTreeMap<ImportId, (Import, CancellationToken)>,
}

impl Imports {
    /// What lies in `folder`. What a stop interrupted waits again.
    fn load(folder: PathBuf) -> Self {
        let mut imports = Self { folder, by_id: BTreeMap::new() };
        let Ok(entries) = std::fs::read_dir(&imports.folder) else { return imports };
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let read = std::fs::read(&path).ok().and_then(|text| serde_json::from_slice::<Import>(&text).ok());
            let Some(mut import) = read.filter(|import| import.version <= VERSION) else { continue };
            if import.state == ImportState::Running {
                import.state = ImportState::Waiting;
            }
            imports.by_id.insert(import.id, (import, CancellationToken::new()));
        }
        imports
    }

    fn path(&self, id: ImportId) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    fn write(&self, import: &Import) -> Result<()> {
        let path = self.path(import.id);
        let text = serde_json::to_vec_pretty(import)?;
        durable::replace(&path, &text).with_context(|| format!("write {}", path.display()))
    }

    /// Makes room for another one. Whether there is.
    fn make_room(&mut self) -> bool {
        if self.by_id.len() < MOST {
            return true;
        }
        let oldest = self.by_id.values().find(|(import, _)| !import.is_pending()).map(|(import, _)| import.id);
        let Some(oldest) = oldest else { return false };
        let _ = std::fs::remove_file(self.path(oldest));
        self.by_id.remove(&oldest).is_some()
    }
}

impl FolderService {
    /// What may be imported: the volumes that are mounted where the configuration says.
    ///
    /// # Errors
    /// When the kernel does not say what is mounted.
    pub async fn import_sources(&self) -> Result<Vec<ImportSource>> {
        let roots = self.context.configured().library.import_from.clone();
        tokio::task::spawn_blocking(move || mounts::sources(&roots)).await?
    }

    /// All imports, the newest first.
    ///
    /// # Errors
    /// When the disk does not answer.
    pub async fn imports(&self) -> Result<Vec<Import>> {
        self.with_imports(|imports| imports.by_id.values().rev().map(|(import, _)| import.clone()).collect()).await
    }

    /// One of them.
    ///
    /// # Errors
    /// When the disk does not answer.
    pub async fn import(&self, id: ImportId) -> Result<Option<Import>> {
        self.with_imports(move |imports| imports.by_id.get(&id).map(|(import, _)| import.clone())).await
    }

    /// Begins an import; it is carried out in its turn.
    ///
    /// # Errors
    /// When the disk does not answer; within, why it is refused.
    pub async fn begin_import(&self, new: NewImport) -> Result<Result<Import, ImportRefusal>> {
        let this = self.clone();
        let begun = tokio::task::spawn_blocking(move || this.begin_import_now(new)).await??;
        self.due.notify_one();
        Ok(begun)
    }

    fn begin_import_now(&self, mut new: NewImport) -> Result<Result<Import, ImportRefusal>> {
        if self.context.health.is_spooling() || self.context.health.volume_trouble().is_some() {
            return Ok(Err(ImportRefusal::VolumeAway));
        }
        match mounts::allowed(&new.path, &self.context.configured().library.import_from) {
            Ok(path) => new.path = path,
            Err(why) => return Ok(Err(ImportRefusal::Folder(why))),
        }
        let archive = self.context.volume.archive();
        let import = Import::new(archive.ids.next(), new, self.context.clock.now());
        self.on_imports(|imports| {
            if !imports.make_room() {
                return Ok(Err(ImportRefusal::TooMany));
            }
            archive.layout().create(&imports.folder)?;
            imports.write(&import)?;
            imports.by_id.insert(import.id, (import.clone(), CancellationToken::new()));
            Ok(Ok(import))
        })
    }

    /// Ends an import that is not over, forgets one that is. Gives whether there is one.
    ///
    /// # Errors
    /// When the disk refuses.
    pub async fn end_import(&self, id: ImportId) -> Result<bool> {
        let now = self.context.clock.now();
        let ended = self.with_imports(move |imports| {
            let Some((import, stop)) = imports.by_id.get_mut(&id) else { return Ok(false) };
            if !import.is_pending() {
                std::fs::remove_file(imports.path(id)).context("remove an import")?;
                durable::sync_folder(&imports.folder).context("sync the folder of imports")?;
                imports.by_id.remove(&id);
                return Ok(true);
            }
            stop.cancel();
            import.finish(ImportState::Cancelled, None, now);
            let import = import.clone();
            imports.write(&import)?;
            Ok(true)
        });
        ended.await?
    }

    async fn with_imports<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Imports) -> T + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        Ok(tokio::task::spawn_blocking(move || this.on_imports(work)).await?)
    }

    /// Blocks.
    fn on_imports<T>(&self, work: impl FnOnce(&mut Imports) -> T) -> T {
        let folder = self.context.volume.archive().layout().storage().join(FOLDER);
        let mut imports = self.imports.lock();
        if imports.folder != folder {
            for (_, stop) in imports.by_id.values() {
                stop.cancel();
            }
            *imports = Imports::load(folder);
        }
        work(&mut imports)
    }

    /// Carries out what is waiting until `stop`, one after the other.
    pub(super) async fn run_imports(&self, stop: &CancellationToken) {
        while !stop.is_cancelled() {
            let cancelled = stop.child_token();
            let next = self.with_imports(move |imports| {
                let (import, stop) = imports.by_id.values_mut().find(|(import, _)| import.is_pending())?;
                (import.state, import.tries) = (ImportState::Running, import.tries + 1);
                (import.report, import.looked_at, import.looked_at_bytes) = (ImportReport::default(), 0, 0);
                *stop = cancelled.clone();
                let next = (import.clone(), cancelled);
                let _ = imports.write(&next.0);
                Some(next)
            });
            match next.await {
                Ok(Some((import, cancelled))) => self.carry_out(import, &cancelled, stop).await,
                _ => tokio::select! {
                    () = self.due.notified() => {}
                    // Another volume may have others.
                    () = tokio::time::sleep(LOOK_EVERY) => {}
                    () = stop.cancelled() => {}
                },
            }
        }
    }

    async fn carry_out(&self, mut import: Import, cancelled: &CancellationToken, stop: &CancellationToken) {
        let end = if import.tries > MOST_TRIES {
            End::Failed(format!("interrupted {MOST_TRIES} times by a stop of the box: import less at once"))
        } else {
            self.take_all(&mut import, cancelled).await
        };
        let now = self.context.clock.now();
        match end {
            // The next start begins it again.
            End::Cancelled if stop.is_cancelled() => return,
            End::Cancelled => import.finish(ImportState::Cancelled, None, now),
            End::Done => import.finish(ImportState::Done, None, now),
            End::Failed(error) => import.finish(ImportState::Failed, Some(error), now),
        }
        let ImportReport { added, known, refused, .. } = &import.report;
        let (path, error) = (import.path.display(), import.error.as_deref());
        info!(import = %import.id, %path, added, known, refused, error, "an import came to its end");
        if let Err(error) = self.note_import(&import).await {
            warn!(import = %import.id, error = format!("{error:#}"), "what became of an import could not be noted");
        }
    }

    /// Notes how far an import is, as long as it is one.
    async fn note_import(&self, import: &Import) -> Result<()> {
        let import = import.clone();
        self.with_imports(move |imports| {
            let Some((known, _)) = imports.by_id.get_mut(&import.id) else { return Ok(()) };
            known.clone_from(&import);
            imports.write(&import)
        })
        .await?
    }

    async fn take_all(&self, import: &mut Import, cancelled: &CancellationToken) -> End {
        if let Err(end) = self.count(import, cancelled).await {
            return end;
        }
        let source = FolderSource { owner: import.owner.clone(), private: import.private, tags: import.tags.clone() };
        let mut found = found_below(&import.path);
        let mut noted = Instant::now();
        while let Some(entry) = found.recv().await {
            if cancelled.is_cancelled() {
                return End::Cancelled;
            }
            match entry {
                Ok(entry) => {
                    if let Err(end) = self.take_one(import, &entry, &source, cancelled).await {
                        return end;
                    }
                }
                Err(error) => import.report.refuse(RefusedFile { file: String::new(), reason: error.to_string() }),
            }
            if let Some((known, _)) =
                self.imports.lock().by_id.get_mut(&import.id).filter(|_| !cancelled.is_cancelled())
            {
                known.clone_from(import);
            }
            if noted.elapsed() >= NOTED_EVERY && self.note_import(import).await.is_ok() {
                noted = Instant::now();
            }
        }
        match import.path.is_dir() {
            true => End::Done,
            false => End::Failed(gone(&import.path)),
        }
    }

    /// Counts the files, so that it is known how far the import is.
    async fn count(&self, import: &mut Import, cancelled: &CancellationToken) -> Result<(), End> {
        let mut found = found_below(&import.path);
        (import.files, import.bytes) = (0, 0);
        while let Some(entry) = found.recv().await {
            match entry {
                Ok(entry) => (import.files, import.bytes) = (import.files + 1, import.bytes + entry.bytes),
                Err(_) if !import.path.is_dir() => return Err(End::Failed(gone(&import.path))),
                // It is named when it is to be taken in.
                Err(_) => {}
            }
            if cancelled.is_cancelled() {
                return Err(End::Cancelled);
            }
        }
        Ok(())
    }

    async fn take_one(
        &self,
        import: &mut Import,
        entry: &Entry,
        source: &FolderSource,
        cancelled: &CancellationToken,
    ) -> Result<(), End> {
        let name = entry.path.strip_prefix(&import.path).unwrap_or(&entry.path).display().to_string();
        let refused = |reason: String| RefusedFile { file: name.clone(), reason };
        let taken = loop {
            self.wait_for_load(cancelled).await;
            let library = self.library.library();
            // It is not left in the middle of a file: what is begun is finished, or given up by itself.
            match library.take_file(entry, source, None, cancelled).await {
                Err(error @ (LibraryError::Away | LibraryError::Full)) => {
                    import.error = Some(error.to_string());
                    let _ = self.note_import(import).await;
                    tokio::select! {
                        () = tokio::time::sleep(RETRY_EVERY) => {}
                        () = cancelled.cancelled() => return Err(End::Cancelled),
                    }
                }
                taken => break taken,
            }
        };
        import.error = None;
        let report = &mut import.report;
        match taken {
            Ok(FileResult::Added(_)) => {
                report.added += 1;
                report.added_bytes += entry.bytes;
            }
            Ok(FileResult::Known(_)) => report.known += 1,
            Ok(FileResult::Deleted) => report.deleted += 1,
            Ok(FileResult::NotAPicture) => report.other += 1,
            Ok(FileResult::Changing) if cancelled.is_cancelled() => return Err(End::Cancelled),
            Ok(FileResult::Changing) if !import.path.is_dir() => return Err(End::Failed(gone(&import.path))),
            Ok(FileResult::Changing) => report.refuse(refused("it changed while it was read".to_owned())),
            Ok(FileResult::Unreadable(_)) if !import.path.is_dir() => return Err(End::Failed(gone(&import.path))),
            Ok(FileResult::Refused(reason) | FileResult::Unreadable(reason)) => report.refuse(refused(reason)),
            Err(error) => report.refuse(refused(error.to_string())),
        }
        (import.looked_at, import.looked_at_bytes) = (import.looked_at + 1, import.looked_at_bytes + entry.bytes);
        Ok(())
    }
}

fn gone(path: &Path) -> String {
    format!("{} is gone: put it in again, and import it again; what was taken in is known then", path.display())
}
