//! Which volume there is to record on, and whether it still works.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::archive::volume::{self, Anchor, Remembered};
use crate::archive::{make_room, spool};
use crate::clock::Clock;
use crate::config::Config;
use crate::control::Control;
use crate::pipeline::Shared;
use crate::store::{self, Store, StoreError};
use crate::supervise::{Backoff, spawn_thread, systemd};
use crate::web::{self, PageDeps};

/// The spool's own folder, all of which may be deleted.
const BOX: &str = "box";
/// What people switched.
const SWITCHES: &str = "switches.json";
/// What was announced to Home Assistant.
const ANNOUNCED: &str = "announced.json";
/// How long a trial of the index may take: a few syncs of the system disk.
const TRIAL_WITHIN: Duration = Duration::from_secs(10);

/// The archive's volume and its stand-in.
#[derive(Clone)]
pub struct Storage {
    config: Arc<Config>,
    clock: Arc<dyn Clock>,
    /// The service's own folder on the system disk, under systemd.
    state: Option<PathBuf>,
    /// Folder on the system disk, where there is one for this.
    spool: Option<PathBuf>,
}

/// Where a session records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// On the archive's own volume.
    Main,
    /// On the system disk, until that volume is back.
    Spool,
}

/// A place that was opened.
pub struct Opened {
    /// Which of the two it is.
    pub place: Place,
    /// Where it lies.
    pub folder: PathBuf,
    /// Its index.
    pub store: Store,
    /// Why it is not the archive's own volume.
    pub trouble: Option<String>,
}

impl Opened {
    /// Notes for all that read it where is recorded.
    pub fn note(&self, shared: &Shared) {
        let spooling = self.place == Place::Spool;
        shared.health.set_volume_trouble(self.trouble.clone());
        shared.health.set_spooling(spooling);
        shared.metrics.spooling.set(i64::from(spooling));
        if let Some(trouble) = &self.trouble {
            error!(reason = trouble, folder = %self.folder.display(), "recording goes on in the spool");
            systemd::status(&format!("recording into the spool: {trouble}"));
        } else {
            info!(folder = %self.folder.display(), "recording on the archive's volume");
            systemd::status("recording on the archive's volume");
        }
    }
}

impl Storage {
    /// As configured, and as systemd provides.
    pub fn new(config: &Arc<Config>, clock: &Arc<dyn Clock>) -> Self {
        let state = std::env::var_os("STATE_DIRECTORY").map(PathBuf::from);
        let spool = config.spool.folder(state.as_deref(), &config.storage.path).unwrap_or_else(|error| {
            warn!(%error, "spool.path cannot be used: without the archive's volume nothing will be recorded");
            None
        });
        Self { config: config.clone(), clock: clock.clone(), state, spool }
    }

    /// Opens volumes with the outboxes of `config` from now on. Its storage and spool are those of before.
    pub(super) fn set_config(&mut self, config: &Arc<Config>) {
        self.config = config.clone();
    }

    /// Where is kept what was announced to Home Assistant; beside the switches.
    pub(super) fn announced(&self) -> PathBuf {
        self.state().join(ANNOUNCED)
    }

    /// The switches. They lie on the system disk, where there is a place for that, so that they hold on any volume.
    pub fn control(&self) -> Control {
        Control::open(&self.state().join(SWITCHES))
    }

    /// Where small things lie that hold on any volume.
    pub fn state(&self) -> &Path {
        self.state.as_deref().or(self.spool.as_deref()).unwrap_or(self.main())
    }

    fn main(&self) -> &Path {
        &self.config.storage.path
    }

    /// The spool's folder, where it can be of use.
    fn spool_box(&self) -> Option<PathBuf> {
        let spool = self.spool.as_ref()?;
        let known = volume::recall(&spool.join(spool::NOTE)).is_some_and(|known| known.path == self.main());
        // While the volume is away, its mount point lies on the system disk as the spool does.
        (known || spool::is_elsewhere(spool, self.main())).then(|| spool.join(BOX))
    }

    /// The spool's folder, where something of an earlier time lies in it.
    pub(super) fn leftover(&self) -> Option<PathBuf> {
        self.spool.as_ref().map(|spool| spool.join(BOX)).filter(|folder| folder.exists())
    }

    /// Opens the archive's volume or else the spool, and waits where neither can be had: ending the process would only
    /// bring the next one to the same place. Meanwhile health is served, and what is wrong. `None` when a stop was asked for.
    ///
    /// # Errors
    /// What waiting does not mend.
    pub async fn open(&self, stop: &CancellationToken) -> Result<Option<Opened>> {
        let (trouble, found) = watch::channel(None);
        let deps = PageDeps { folder: self.state().to_owned(), clock: self.clock.clone() };
        tokio::select! {
            opened = self.open_some_time(stop, &trouble) => opened,
            never = web::stand_in(&self.config.web, &deps, found) => match never {},
        }
    }

    /// Says in `waiting` what is waited for.
    async fn open_some_time(
        &self,
        stop: &CancellationToken,
        waiting: &watch::Sender<Option<String>>,
    ) -> Result<Option<Opened>> {
        let mut backoff = Backoff::for_connections();
        loop {
            let trouble = match self.open_main().await {
                Ok(opened) => return Ok(Some(opened)),
                Err(OpenError::Fatal(failure)) => return Err(failure),
                Err(OpenError::NotYet(trouble)) => trouble,
                Err(OpenError::Volume(trouble)) => match self.open_spool(&trouble).await {
                    Ok(Some(opened)) => return Ok(Some(opened)),
                    Ok(None) => trouble,
                    Err(failure) => format!("{trouble}; nor can the spool: {failure:#}"),
                },
            };
            let rest = backoff.next_pause(Duration::ZERO);
            error!(error = trouble, again_in_s = rest.as_secs(), "the store cannot be opened");
            systemd::status(&format!("waiting for the disk: {trouble}"));
            waiting.send_replace(Some(trouble));
            tokio::select! {
                () = stop.cancelled() => return Ok(None),
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// How often a volume is tried.
    pub(super) fn check_every(&self) -> Duration {
        self.config.spool.check_every
    }

    /// Whether there is anywhere else to record.
    pub(super) fn has_spool(&self) -> bool {
        self.spool_box().is_some()
    }

    /// Whether this process can open an index while that of the archive's volume is open and may hang.
    pub(super) async fn can_open_another(&self) -> bool {
        let Some(folder) = self.spool_box() else { return true };
        let tried = tokio::task::spawn_blocking(move || store::can_commit(&folder, TRIAL_WITHIN)).await;
        tried.unwrap_or(false)
    }

    /// Looks whether the right volume lies at `storage.path` and takes writes.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) async fn find_main(&self) -> Result<()> {
        let this = self.clone();
        self.patiently("look at the volume", move || this.identify()).await
    }

    /// Looks whether a volume lies at `storage.path` again where there is no spool that remembers which one should, and
    /// whether it takes writes. `anchor` is of the one that was there.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) async fn find_again(&self, anchor: Anchor) -> Result<()> {
        let this = self.clone();
        self.patiently("look at the volume", move || {
            anchor.has_successor(Path::new("/"))?;
            this.identify()
        })
        .await
    }

    /// Opens the archive's own volume, if it is there and works.
    pub(super) async fn open_main(&self) -> Result<Opened, OpenError> {
        self.find_main().await.map_err(|failure| OpenError::Volume(format!("{failure:#}")))?;
        make_room(self.main());
        let store = self.open_store(self.main()).await?;
        Ok(Opened { place: Place::Main, folder: self.main().to_owned(), store, trouble: None })
    }

    /// Opens the spool, where there is one.
    ///
    /// # Errors
    /// When its index cannot be opened.
    pub(super) async fn open_spool(&self, trouble: &str) -> Result<Option<Opened>> {
        let Some(folder) = self.spool_box() else { return Ok(None) };
        let store = self.open_store(&folder).await.map_err(OpenError::into_error)?;
        let trouble = Some(trouble.to_owned());
        Ok(Some(Opened { place: Place::Spool, folder, store, trouble }))
    }

    async fn open_store(&self, folder: &Path) -> Result<Store, OpenError> {
        let storage = store::Config { path: folder.to_owned(), ..self.config.storage.clone() };
        let (outboxes, clock) = (self.config.outboxes(), self.clock.clone());
        let opened = tokio::task::spawn_blocking(move || Store::open(&storage, &outboxes, clock)).await;
        match opened.map_err(|error| OpenError::Fatal(anyhow!("open the store: {error}")))? {
            Ok(store) => Ok(store),
            Err(not_yet @ (StoreError::Full(_) | StoreError::NoTime)) => Err(OpenError::NotYet(not_yet.to_string())),
            Err(disk @ StoreError::Disk(_)) => Err(OpenError::Volume(disk.to_string())),
            Err(other) => Err(OpenError::Fatal(anyhow::Error::new(other).context("open the store"))),
        }
    }

    /// Makes sure that the right volume lies at `storage.path`, and remembers it where it is one of its own.
    fn identify(&self) -> Result<()> {
        let note = self.spool.as_ref().map(|spool| spool.join(spool::NOTE));
        let known = note.as_deref().and_then(volume::recall);
        let system = self.spool.as_deref().unwrap_or(Path::new("/"));
        let id = volume::open(self.main(), known.as_ref(), system)?.id;
        Anchor::new(self.main()).context("read the volume's identity")?.probe()?;
        let separate = self.spool.as_deref().is_some_and(|spool| spool::is_elsewhere(spool, self.main()));
        if let Some(note) = note.filter(|_| separate) {
            volume::remember(&note, &Remembered { path: self.main().to_owned(), id })?;
        }
        Ok(())
    }

    /// Tries the volume that a session stands on. Gives the time that it took.
    ///
    /// # Errors
    /// What is wrong with it, in words for the operator.
    pub(super) async fn probe(&self, anchor: Anchor) -> Result<Duration> {
        let begun = Instant::now();
        self.patiently("try the volume", move || Ok(anchor.probe()?)).await?;
        Ok(begun.elapsed())
    }

    /// Does `work` on a thread of its own, which is left behind when the volume does not answer.
    async fn patiently<T: Send + 'static>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (done, outcome) = tokio::sync::oneshot::channel();
        // The receiver is gone where it took too long.
        spawn_thread("volume", move || drop(done.send(work()))).context("start a thread")?;
        let patience = self.config.spool.patience;
        match tokio::time::timeout(patience, outcome).await {
            Ok(outcome) => outcome.context(what)?,
            Err(_) => Err(anyhow!("{} has not answered for {} s", self.main().display(), patience.as_secs())),
        }
    }
}

/// Why a place cannot be opened.
pub(super) enum OpenError {
    /// It is full, or the clock is not set: waiting may help, and no other place does.
    NotYet(String),
    /// The volume is away or does not work.
    Volume(String),
    /// Nothing helps but another start.
    Fatal(anyhow::Error),
}

impl OpenError {
    fn into_error(self) -> anyhow::Error {
        match self {
            Self::NotYet(reason) | Self::Volume(reason) => anyhow!(reason),
            Self::Fatal(failure) => failure,
        }
    }
}
