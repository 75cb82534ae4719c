//! Watches the volume that is recorded on, and says when to go elsewhere.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use tracing::{error, info, warn};

use super::session::VolumeSession;
use super::storage::{Place, Storage};
use crate::pipeline::Shared;
use crate::store::StoreError;

/// A volume that takes longer for a small write is slow: it is said, and that is all.
const SLOW: Duration = Duration::from_secs(2);
/// How long the way back to the archive's volume waits for events in progress to end.
const CALM_WITHIN: Duration = Duration::from_secs(15);

/// What has to happen.
#[derive(Debug)]
pub(super) enum Verdict {
    /// The volume is away or does not work, for the reason given.
    Leave(String),
    /// The archive's own volume works again.
    Return,
    /// Nothing but a fresh process helps.
    Fail(anyhow::Error),
}

/// The guard of one session.
pub(super) struct Guard<'a> {
    storage: &'a Storage,
    shared: &'a Shared,
    /// Since when the archive's volume is back, while the spool has events in progress.
    back_since: Option<Instant>,
    /// What was wrong when the volume was tried last.
    trouble: Option<String>,
    slow: bool,
    /// The index is out of service.
    failure: Option<StoreError>,
}

impl<'a> Guard<'a> {
    pub(super) fn new(storage: &'a Storage, shared: &'a Shared) -> Self {
        Self { storage, shared, back_since: None, trouble: None, slow: false, failure: None }
    }

    /// Watches until something has to happen.
    pub(super) async fn watch(&mut self, session: &VolumeSession) -> Verdict {
        loop {
            self.wait(session).await;
            let verdict = match session.volume.place {
                Place::Main => self.look_at_main(session).await,
                Place::Spool => self.look_for_main(session).await,
            };
            if let Some(verdict) = verdict {
                return verdict;
            }
        }
    }

    async fn wait(&mut self, session: &VolumeSession) {
        let rest = self.storage.check_every();
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = session.volume.archive.trouble().notified() => {}
            failure = session.volume.store.poisoned(), if self.failure.is_none() => self.failure = Some(failure),
        }
    }

    async fn look_at_main(&mut self, session: &VolumeSession) -> Option<Verdict> {
        let anchor = session.volume.archive.layout().anchor()?;
        match self.storage.probe(anchor.clone()).await {
            Ok(took) => {
                if let Some(failure) = self.failure.take() {
                    return Some(Verdict::Fail(anyhow!("the store stopped working: {failure}")));
                }
                self.note_works(took);
                None
            }
            Err(failure) => {
                let trouble = format!("{failure:#}");
                self.note_trouble(&trouble);
                // Where there is no spool, the same volume may have come back as another file system.
                if !self.storage.has_spool() && self.storage.find_again(anchor.clone()).await.is_err() {
                    return None;
                }
                if !self.storage.can_open_another().await {
                    return Some(Verdict::Fail(anyhow!(
                        "{trouble}, and its index hangs: only a fresh process can go on"
                    )));
                }
                Some(Verdict::Leave(trouble))
            }
        }
    }

    async fn look_for_main(&mut self, session: &VolumeSession) -> Option<Verdict> {
        if let Some(failure) = self.failure.take() {
            return Some(Verdict::Fail(anyhow!("the spool's index stopped working: {failure}")));
        }
        if let Err(failure) = self.storage.find_main().await {
            self.back_since = None;
            self.note_trouble(&format!("{failure:#}"));
            return None;
        }
        let since = *self.back_since.get_or_insert_with(Instant::now);
        let calm: Result<bool, StoreError> = session.volume.store.events().open().map(|open| open.is_empty());
        (calm.unwrap_or(true) || since.elapsed() >= CALM_WITHIN).then_some(Verdict::Return)
    }

    fn note_works(&mut self, took: Duration) {
        if self.trouble.take().is_some() {
            info!("the archive's volume works again");
            self.shared.health.set_volume_trouble(None);
        }
        let slow = took >= SLOW;
        if slow != std::mem::replace(&mut self.slow, slow) {
            let trouble =
                slow.then(|| format!("the archive's volume is slow: a small write took {:.1} s", took.as_secs_f64()));
            match &trouble {
                Some(trouble) => warn!("{trouble}"),
                None => info!("the archive's volume is as fast as it should be again"),
            }
            self.shared.health.set_volume_trouble(trouble);
        }
        self.shared.metrics.volume_probe_seconds.observe(took.as_secs_f64());
    }

    fn note_trouble(&mut self, trouble: &str) {
        if self.trouble.as_deref() != Some(trouble) {
            error!(error = trouble, "the archive's volume cannot be used");
            self.shared.health.set_volume_trouble(Some(trouble.to_owned()));
            self.trouble = Some(trouble.to_owned());
        }
    }
}
