//! What the library does by itself, and what it takes.

use std::time::Duration;

use anyhow::Result;
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::library::{LibraryService, Viewer};
use super::playback::MOST_LOAD;
use crate::library::{CheckReport, LibraryError};
use crate::store::PhotoUsage;

/// How soon after the start the first round of upkeep begins: the box may be off most of the time.
const FIRST_AFTER: Duration = Duration::from_secs(60);
/// How long the library rests between two rounds of upkeep.
const ROUND_EVERY: Duration = Duration::from_secs(600);
/// For how long originals are read in each: an hour a day.
const CHECKED_EACH_ROUND: Duration = Duration::from_secs(25);

/// What the photos of a user take, as an admin sees it: how many there are is the user's own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UserUsage {
    /// The user.
    pub owner: String,
    /// Bytes of the originals.
    pub bytes: u64,
    /// Bytes that they may take, where there is a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
}

/// What a user's photos take, and may take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// The user.
    pub owner: String,
    /// What there is.
    #[serde(flatten)]
    pub used: PhotoUsage,
    /// Bytes that the user's photos may take, where there is a limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quota: Option<u64>,
    /// Bytes that are left of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left: Option<u64>,
}

impl LibraryService {
    /// What the photos of `viewer` take.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn usage(&self, viewer: &Viewer) -> Result<Usage> {
        let used = self.context.store().photos().usage(&viewer.name).await?;
        let quota = self.context.configured().library.quota_of(&viewer.name);
        let left = quota.map(|quota| quota.saturating_sub(used.bytes));
        Ok(Usage { owner: viewer.name.to_string(), used, quota, left })
    }

    /// What the photos of each user take who has some, by name.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn usages(&self) -> Result<Vec<UserUsage>> {
        let bounds = self.context.configured().library.clone();
        let usage = |(owner, used): (String, PhotoUsage)| {
            let quota = bounds.quota_of(&owner);
            UserUsage { owner, bytes: used.bytes, quota }
        };
        Ok(self.context.store().photos().usages().await?.into_iter().map(usage).collect())
    }

    /// Goes on with the check of originals, unless the box has too much to do with its cameras.
    async fn check(&self, stop: &CancellationToken) {
        if self.context.volume.archive().pressure.level() > MOST_LOAD || self.context.health.is_spooling() {
            return;
        }
        let (library, configured) = (self.library(), self.context.configured());
        let checked = tokio::select! {
            checked = library.check_originals(CHECKED_EACH_ROUND, &configured.openable) => checked,
            () = stop.cancelled() => return,
        };
        match checked {
            Ok(report) => self.context.health.set_damaged_originals(report.damaged()),
            Err(error) => warn!(%error, "originals could not be checked, trying again in a while"),
        }
    }

    /// What is known of the check of originals.
    ///
    /// # Errors
    /// When the disk does not answer.
    pub async fn check_report(&self) -> Result<CheckReport, LibraryError> {
        self.library().check_report().await
    }

    /// For how many days photos lie in the trash, where they do not lie there for ever.
    pub fn trash_days(&self) -> Option<u64> {
        self.context.configured().library.trash().map(|term| term.as_secs().div_ceil(24 * 3600))
    }

    /// Does what is due from time to time, until `stop`.
    pub async fn run(&self, stop: CancellationToken) {
        let mut rest = FIRST_AFTER;
        loop {
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = stop.cancelled() => return,
            }
            rest = ROUND_EVERY;
            match self.library().empty_trash().await {
                Ok(0) => {}
                Ok(photos) => info!(photos, "deleted for good what had lain in the trash for long enough"),
                Err(error) => warn!(%error, "the trash could not be emptied, trying again in a while"),
            }
            self.check(&stop).await;
            match self.library().release_originals(&self.context.configured().openable).await {
                Ok(0) => {}
                Ok(originals) => info!(originals, "originals are to lie at their destination alone from now on"),
                Err(error) => warn!(%error, "originals could not be queued, trying again in a while"),
            }
        }
    }
}
