//! Goes from volume to volume: into the spool when the archive's volume is away, and back when it works again.

use std::pin::pin;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::guard::{Guard, Verdict};
use super::leftover::Leftover;
use super::open::OpenVolume;
use super::outlets::OutletContext;
use super::recovery;
use super::session::{self, VolumeSession};
use super::storage::{OpenError, Opened, Place, Storage};
use crate::archive::Archive;
use crate::config::Config;
use crate::pipeline::Shared;
use crate::record::{Moving, Recorder};
use crate::service::{CurrentVolume, Services};
use crate::store::Store;

/// What a switch works with.
#[derive(Clone)]
pub struct SwitchDeps {
    /// The whole configuration.
    pub config: Arc<Config>,
    /// What all cameras share.
    pub shared: Shared,
    /// Opens volumes.
    pub storage: Storage,
    /// Is set to each volume in turn.
    pub current: CurrentVolume,
    /// Answer outlets that report facts of the box.
    pub services: Services,
    /// The whole daemon is to end.
    pub asked: CancellationToken,
}

/// Why [`VolumeSwitch::follow`] came to its end.
#[derive(Debug)]
pub enum Followed<T> {
    /// A stop was asked for.
    Stopped,
    /// No volume can be recorded on.
    Failed(anyhow::Error),
    /// What the interrupt gave.
    Interrupted(T),
}

/// The session in use, and what it takes to replace it.
pub struct VolumeSwitch {
    deps: SwitchDeps,
    context: OutletContext,
    session: VolumeSession,
    /// The index of a spool that was just left, until it is taken into the archive.
    spool_store: Option<Store>,
}

impl VolumeSwitch {
    /// Starts the first session, on `volume`.
    ///
    /// # Errors
    /// When the configuration of an outlet is wrong.
    pub fn start(volume: OpenVolume, deps: SwitchDeps) -> Result<Self> {
        let context = OutletContext { services: deps.services.clone(), announced: deps.storage.announced() };
        let session = VolumeSession::start(volume, &deps.config, &deps.shared, &context)?;
        Ok(Self { deps, context, session, spool_store: None })
    }

    /// The archive in use.
    pub fn archive(&self) -> &Archive {
        &self.session.volume.archive
    }

    /// Puts in order what an earlier run left on the volume, beside recording.
    pub fn recover(&mut self) {
        self.begin_recovery(Vec::new());
    }

    /// Goes from volume to volume with `recorders`, until a stop is asked for, nothing else helps, or `interrupt` is over,
    /// which is waited for between two moves only.
    pub async fn follow<T>(&mut self, recorders: &[Arc<Recorder>], interrupt: impl Future<Output = T>) -> Followed<T> {
        let mut interrupt = pin!(interrupt);
        loop {
            let SwitchDeps { storage, shared, asked, .. } = self.deps.clone();
            let mut guard = Guard::new(&storage, &shared);
            let verdict = tokio::select! {
                () = asked.cancelled() => return Followed::Stopped,
                outcome = &mut interrupt => return Followed::Interrupted(outcome),
                verdict = guard.watch(&self.session) => verdict,
            };
            let outcome = match verdict {
                Verdict::Fail(failure) => return Followed::Failed(failure),
                Verdict::Return => self.go_to_main(recorders).await,
                Verdict::Leave(trouble) => self.leave_main(&trouble, recorders).await,
            };
            if let Err(failure) = outcome {
                error!(error = format!("{failure:#}"), "recording cannot go on on another volume yet");
                tokio::select! {
                    () = asked.cancelled() => return Followed::Stopped,
                    () = tokio::time::sleep(storage.check_every()) => {}
                }
            }
        }
    }

    /// Makes `config` hold for what runs on the volume, in place of the one before. Parts that the difference is not about
    /// go on. `config` has the storage and the spool of the one before.
    ///
    /// # Errors
    /// When an outlet does not take its settings, or the index is out of service; `config` counts as the one in use then, and
    /// another call with the one before brings that back.
    pub async fn reconfigure(&mut self, config: &Arc<Config>) -> Result<()> {
        let before = std::mem::replace(&mut self.deps.config, config.clone());
        self.deps.storage.set_config(config);
        self.session.reconfigure(&before, config, &self.deps.shared, &self.context).await
    }

    /// Stops everything on the volume, in bounded time also where it is dead.
    pub async fn stop(&mut self) {
        self.session.stop().await;
    }

    /// Closes the index, after a stop.
    ///
    /// # Errors
    /// What the store says.
    pub async fn close(self) -> Result<()> {
        session::close(self.session.volume.store).await
    }

    async fn leave_main(&mut self, trouble: &str, recorders: &[Arc<Recorder>]) -> Result<()> {
        match self.deps.storage.open_spool(trouble).await? {
            Some(opened) => self.move_to(opened, recorders).await.map(drop),
            // No spool, but the volume is back already: the index was opened on what is not there any more.
            None => {
                close_in_background(self.session.volume.store.clone()).await;
                self.go_to_main(recorders).await
            }
        }
    }

    async fn go_to_main(&mut self, recorders: &[Arc<Recorder>]) -> Result<()> {
        let opened = match self.deps.storage.open_main().await {
            Ok(opened) => opened,
            Err(OpenError::NotYet(reason) | OpenError::Volume(reason)) => return Err(anyhow!(reason)),
            Err(OpenError::Fatal(failure)) => return Err(failure),
        };
        let leaving = self.move_to(opened, recorders).await?;
        self.begin_recovery(leaving);
        Ok(())
    }

    /// Makes `opened` the current: first the recorders go there, then the outlets of the old session end, since a broker
    /// knows one session of a name, then the new ones begin.
    async fn move_to(&mut self, opened: Opened, recorders: &[Arc<Recorder>]) -> Result<Vec<Moving>> {
        let SwitchDeps { config, shared, current, .. } = self.deps.clone();
        let volume = OpenVolume::new(&opened, &config, &shared, Some(self.archive()))?;
        let (archive, recorders) = (volume.archive.clone(), recorders.to_vec());
        let moved = tokio::task::spawn_blocking(move || {
            recorders.iter().map(|recorder| recorder.move_to(archive.clone())).collect::<Vec<_>>()
        });
        let mut leaving = Vec::new();
        for moving in moved.await.context("move the recorders")? {
            match moving {
                Ok(moving) => leaving.push(moving),
                Err(failure) => error!(error = format!("{failure:#}"), "a recorder could not move"),
            }
        }
        current.set(&volume.archive, &volume.store);
        opened.note(&shared);
        self.session.stop().await;
        let next = VolumeSession::start(volume, &config, &shared, &self.context)?;
        let old = std::mem::replace(&mut self.session, next);
        // What is open there is closed by then, or never.
        match opened.place {
            Place::Spool => drop(tokio::spawn(close_in_background(old.volume.store))),
            Place::Main => self.spool_store = Some(old.volume.store),
        }
        Ok(leaving)
    }

    /// Puts what the past left on this volume in order; on the archive's own volume also what lies in the spool.
    fn begin_recovery(&mut self, leaving: Vec<Moving>) {
        let store = self.spool_store.take();
        let (volume, deps) = (&self.session.volume, &self.deps);
        let leftover = |folder| Leftover {
            folder,
            config: deps.config.clone(),
            clock: deps.shared.clock.clone(),
            runtime: Handle::current(),
            leaving: Mutex::new(leaving),
            store: Mutex::new(store),
        };
        let spool = deps.storage.leftover().filter(|_| volume.place == Place::Main).map(leftover);
        let (shared, archive, first_id) = (deps.shared.clone(), volume.archive.clone(), volume.first_id);
        let asked = deps.asked.clone();
        archive.set_incomplete(volume.place == Place::Spool || spool.is_some());
        self.session.recover(recovery::Work { shared, archive, first_id, spool, asked });
    }
}

/// Closes an index whose volume may be dead.
async fn close_in_background(store: Store) {
    if let Err(failure) = session::close(store).await {
        warn!(error = format!("{failure:#}"), "the index of the volume that was left");
    }
}
