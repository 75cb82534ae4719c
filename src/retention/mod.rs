//! Making room: what is too old or too much is deleted, in an order, and when that is not enough less is recorded.
//!
//! One task looks at the volume every second. Files go in small batches, each one an orderly deletion
//! (`evict`), in the order that the store's catalogue keeps: what every destination has; what is older than
//! its age; then by value and age. Metadata goes last. Pinned events and those going on stay.

mod accounts;
mod ages;

mod config;

mod delete;
mod evict;
mod pace;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use parking_lot::{Mutex, MutexGuard};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::archive::space::{Marks, wanted_files};
use crate::archive::volume::{self, Space};
use crate::archive::{Archive, RecordingLevel};
use crate::asset::MediaKind;
use crate::clock::Mono;
use crate::event::EvictReason;
use crate::health::Health;
use crate::metrics;
use crate::store::{Class, HeldFile};
use crate::supervise::Heartbeat;
use ages::{Ages, Reading};
use evict::Evictor;
use pace::PaceMeter;

pub(crate) use accounts::delete_accounts;
pub use config::Config;
pub use delete::{Deletion, delete_event};

/// How often the volume is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How often it is looked at while there is too little space.
const LOOK_AGAIN: Duration = Duration::from_millis(100);
/// How often ages are looked at.
const AGES_EVERY: Duration = Duration::from_secs(60);
/// How often it is noted how much is recorded.
const PACE_EVERY: Duration = Duration::from_secs(60);
/// How often it is looked for old accounts of coverage, which are small and of which one a day comes.
const ACCOUNTS_EVERY: Duration = Duration::from_secs(3600);
/// Files of one batch: between two of them other users of the index get their turn.
const BATCH: usize = 32;
/// Files of one batch where it is files that the volume lacks: no more is deleted than has to be.
const FILES_AT_ONCE: usize = 8;
/// How long a volume may take to show space that was freed (a reader may still hold the file) before more is
/// deleted for it.
const SETTLES: Duration = Duration::from_secs(3);

/// The task that makes room. Clones are one.
#[derive(Clone)]
pub struct Retention {
    archive: Archive,
    config: Config,
    health: Health,
    heartbeat: Heartbeat,
    ages: Arc<Ages>,
    memory: Arc<Mutex<Memory>>,
    /// Fails between two steps of a deletion, in tests.
    between_steps: Arc<dyn Fn() -> Result<()> + Send + Sync>,
    /// What the volume says of itself.
    space: Arc<dyn Fn() -> Result<Space> + Send + Sync>,
}

#[derive(Debug, Default)]
struct Memory {
    /// Deletions of the last run are finished, and the catalogue is in order.
    swept: bool,
    ages_seen: Option<Mono>,
    accounts_seen: Option<Mono>,
    /// Until when at least so many bytes should have become free.
    settling: Option<(Mono, u64)>,
    /// It was said that there is nothing to delete.
    exhausted: bool,
    no_reserve: bool,
    pace: PaceMeter,
    pace_noted: Option<Mono>,
}

impl Retention {
    /// Makes room for `archive`.
    pub fn new(archive: Archive, config: Config, health: Health, heartbeat: Heartbeat) -> Self {
        let storage = archive.layout.storage().to_owned();
        let ages = Arc::new(Ages::new(archive.clock.clone(), &storage));
        Self {
            ages,
            archive,
            config,
            health,
            heartbeat,
            memory: Arc::default(),
            between_steps: Arc::new(|| Ok(())),
            space: Arc::new(move || volume::space(&storage)),
        }
    }

    /// Beats with `heartbeat`.
    #[must_use]
    pub fn with_heartbeat(self, heartbeat: Heartbeat) -> Self {
        Self { heartbeat, ..self }
    }

    /// Works until `stop`.
    ///
    /// # Errors
    /// When the index or the volume cannot be asked.
    pub async fn run(self, stop: CancellationToken) -> Result<()> {
        loop {
            let (this, stopping) = (self.clone(), stop.clone());
            tokio::task::spawn_blocking(move || this.pass(&stopping)).await.context("make room")??;
            let rest = if self.archive.level() == RecordingLevel::Full { LOOK_EVERY } else { LOOK_AGAIN };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(rest) => {}
                () = self.archive.room.low.notified() => {}
            }
        }
    }

    /// Looks once, and deletes what has to go.
    ///
    /// # Errors
    /// As [`Retention::run`].
    pub fn pass(&self, stop: &CancellationToken) -> Result<()> {
        self.heartbeat.beat();
        // Under a volume that is not mounted any more lie another's space and another's files.
        self.archive.layout.check_volume().inspect_err(|_| self.archive.trouble.notify_one())?;
        self.sweep(stop)?;
        self.measure_pace()?;
        let now = self.archive.clock.mono();
        let ages_are_due = self.memory().ages_seen.is_none_or(|seen| now.since(seen) >= AGES_EVERY);
        if ages_are_due {
            self.expire(stop)?;
            self.memory().ages_seen = Some(now);
        }
        let space = self.volume()?;
        let marks = Marks::new(space.size_bytes, self.config.min_free);
        // Again, because the sidecars grow by what they say of it.
        while let over @ 1.. = self.over_quota()?
            && self.make_room(over, EvictReason::Quota, &marks, stop)? > 0
        {}
        if let Some(lacking) = self.lacking(&marks, &space, now) {
            let freed = self.make_room(lacking, EvictReason::MinFree, &marks, stop)?;
            let expected = space.free_bytes.saturating_add(freed / 2);
            let is_seen = self.volume()?.free_bytes >= expected;
            self.memory().settling = (!is_seen).then_some((now + SETTLES, expected));
        }
        self.make_room_for_files(&marks, stop)?;
        self.step_level(&marks)?;
        self.keep_reserve(&marks)
    }

    /// What the volume says of itself; one that does not know is not full.
    fn volume(&self) -> Result<Space> {
        Ok((self.space)()?.or_boundless())
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock()
    }

    fn evictor(&self) -> Evictor<'_> {
        Evictor { archive: &self.archive, between_steps: &*self.between_steps }
    }

    /// Once after the start: finishes deletions that a stop interrupted, and puts the catalogue in order when
    /// other destinations are configured than before. Later only what could not be deleted then.
    fn sweep(&self, stop: &CancellationToken) -> Result<()> {
        let gone = self.evictor().finish(BATCH)?;
        self.report(&gone);
        if self.memory().swept {
            return Ok(());
        }
        let mut after = None;
        while !stop.is_cancelled() {
            after = self.archive.store.assets().put_in_place(after)?;
            if after.is_none() {
                self.memory().swept = true;
                break;
            }
            self.heartbeat.beat();
        }
        Ok(())
    }

    /// Deletes what is older than its class may become, as far as that is certain (`ages`).
    fn expire(&self, stop: &CancellationToken) -> Result<()> {
        let now = self.ages.read();
        while self.archive.store.assets().date_undated(now.run_ms)? && !stop.is_cancelled() {}
        if let Reading { run_ms, wall_ms: Some(wall_ms), synchronised: true } = now {
            while self.archive.store.assets().settle_dates(run_ms, wall_ms)? && !stop.is_cancelled() {}
        }
        self.expire_accounts(&now)?;
        for (class, dates) in self.overdue() {
            let mut after = None;
            while !stop.is_cancelled() {
                let waiting_too = self.config.expire_undelivered;
                let (files, next) =
                    self.archive.store.assets().expired(class, dates.clone(), waiting_too, after, BATCH)?;
                self.evict(&files, EvictReason::Age)?;
                after = next;
                if after.is_none() {
                    break;
                }
            }
        }
        Ok(())
    }

    /// Deletes accounts of days that are older than events may become. By the wall clock alone, as far as it is
    /// certain: an account is named by a day.
    fn expire_accounts(&self, now: &Reading) -> Result<()> {
        let (Some(age), Some(wall_ms)) = (self.config.age(Class::Metadata), now.wall_ms) else { return Ok(()) };
        let mono = self.archive.clock.mono();
        if self.memory().accounts_seen.is_some_and(|looked| mono.since(looked) < ACCOUNTS_EVERY) {
            return Ok(());
        }
        let before = wall_ms.saturating_sub(u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
        let before = Timestamp::from_millisecond(i64::try_from(before)?)?;
        let deleted = delete_accounts(&self.archive, before, self.config.expire_undelivered)?;
        if deleted > 0 {
            info!(files = deleted, "deleted old accounts of coverage");
        }
        self.memory().accounts_seen = Some(mono);
        Ok(())
    }

    /// For each class with an age: dates whose files are too old.
    fn overdue(&self) -> Vec<(Class, Range<u64>)> {
        let now = self.ages.read();
        let aged = Class::ALL.into_iter().filter_map(|class| Some((class, self.config.age(class)?)));
        aged.flat_map(|(class, age)| now.older_than(age).map(move |dates| (class, dates))).collect()
    }

    fn held(&self) -> Result<u64> {
        Ok(self.archive.store.stats().wait()?.held.values().map(|held| held.bytes).sum())
    }

    /// Notes how much is recorded. An index that is being filled counts what was there before.
    fn measure_pace(&self) -> Result<()> {
        let now = self.archive.clock.mono();
        if self.memory().pace_noted.is_some_and(|noted| now.since(noted) < PACE_EVERY) {
            return Ok(());
        }
        let held = self.archive.store.stats().wait()?.held;
        let is_filled = self.archive.store.is_filled()?;
        let mut memory = self.memory();
        memory.pace_noted = Some(now);
        if !is_filled {
            memory.pace.reset();
        } else {
            memory.pace.note(now, held.into_iter().map(|(class, held)| (class, held.bytes)).collect());
        }
        self.health.set_pace(memory.pace.pace(now));
        Ok(())
    }

    fn over_quota(&self) -> Result<u64> {
        if self.config.max_bytes == 0 {
            return Ok(0);
        }
        Ok(self.held()?.saturating_sub(self.config.max_bytes))
    }

    /// How much has to be freed on the volume, if anything.
    fn lacking(&self, marks: &Marks, space: &Space, now: Mono) -> Option<u64> {
        let mut memory = self.memory();
        let reserve = if memory.no_reserve || self.archive.room.reserve.is_there() { 0 } else { marks.floor };
        let wanted = marks.keep.saturating_add(reserve);
        let lacking = wanted.checked_sub(space.free_bytes).filter(|lacking| *lacking > 0)?;
        let settling = memory.settling.take_if(|(until, free)| now >= *until || space.free_bytes >= *free);
        let waits = settling.is_none() && memory.settling.is_some();
        // Where recording suffers already, nothing is waited for.
        (!waits || self.archive.room.level() > RecordingLevel::Full).then_some(lacking)
    }

    /// Deletes until `bytes` are freed or nothing may be deleted any more. Returns how many were.
    fn make_room(&self, bytes: u64, reason: EvictReason, marks: &Marks, stop: &CancellationToken) -> Result<u64> {
        let mut freed = 0u64;
        while freed < bytes && !stop.is_cancelled() {
            let files = self.archive.store.assets().evictable(bytes - freed, &self.overdue(), BATCH)?;
            let gone = self.evict(&files, reason)?;
            if gone == 0 {
                if !std::mem::replace(&mut self.memory().exhausted, true) {
                    warn!(
                        lacking = bytes - freed,
                        reason = reason.as_str(),
                        "there is nothing left that may be deleted"
                    );
                }
                return Ok(freed);
            }
            self.memory().exhausted = false;
            freed = freed.saturating_add(gone);
            if freed < bytes {
                // Much has to go, and recording may not wait for that.
                self.step_level(marks)?;
            }
        }
        Ok(freed)
    }

    /// Deletes until the volume takes enough new files, or nothing may be deleted any more.
    fn make_room_for_files(&self, marks: &Marks, stop: &CancellationToken) -> Result<()> {
        loop {
            let space = self.volume()?;
            let lacking = wanted_files(&space).saturating_sub(space.free_files);
            if lacking == 0 || stop.is_cancelled() {
                return Ok(());
            }
            let most = usize::try_from(lacking).map_or(FILES_AT_ONCE, |lacking| lacking.min(FILES_AT_ONCE));
            let files = self.archive.store.assets().evictable_files(&self.overdue(), most)?;
            if self.evict(&files, EvictReason::MinFree)? == 0 {
                return Ok(());
            }
            self.step_level(marks)?;
        }
    }

    /// One batch. Returns the bytes that it freed.
    fn evict(&self, files: &[HeldFile], reason: EvictReason) -> Result<u64> {
        if files.is_empty() {
            return Ok(0);
        }
        let gone = self.evictor().evict(files, reason)?;
        self.report(&gone);
        self.heartbeat.beat();
        Ok(gone.iter().map(|file| file.media.bytes).sum())
    }

    fn report(&self, gone: &[HeldFile]) {
        let mut sums: BTreeMap<(Class, &'static str), (u64, u64)> = BTreeMap::new();
        for file in gone {
            let reason = file.condemned.map_or("none", EvictReason::as_str);
            let (files, bytes) = sums.entry((file.class, reason)).or_default();
            (*files, *bytes) = (*files + 1, *bytes + file.media.bytes);
            self.memory().pace.deleted(file.class, file.media.bytes);
        }
        for ((class, reason), (files, bytes)) in &sums {
            let label = metrics::evicted(class.as_str(), reason);
            self.archive.metrics.evicted_files.get_or_create(&label).inc_by(*files);
            self.archive.metrics.evicted_bytes.get_or_create(&label).inc_by(*bytes);
        }
        if !gone.is_empty() {
            let events = gone.iter().filter(|file| file.media.kind == MediaKind::EventSidecar).count();
            let undelivered = gone.iter().filter(|file| !file.delivered).count();
            let bytes: u64 = gone.iter().map(|file| file.media.bytes).sum();
            let reason = gone.first().and_then(|file| file.condemned).map_or("none", EvictReason::as_str);
            info!(files = gone.len(), bytes, undelivered, whole_events = events, reason, "deleted old recordings");
        }
    }

    /// A quota that cannot be kept counts as a volume that is as much too full.
    fn step_level(&self, marks: &Marks) -> Result<()> {
        let space = self.volume()?;
        let over = self.over_quota()?;
        let room = marks.room(&space);
        let free = if over > 0 { room.min(marks.keep.saturating_sub(over)) } else { room };
        let before = self.archive.room.level();
        let level = marks.level(before, free);
        self.archive.room.set_level(level);
        self.archive.metrics.recording_level.set(level as i64);
        self.health.set_left_out(level.left_out());
        if level > before {
            let free_files = space.free_files;
            warn!(
                free_bytes = space.free_bytes,
                free_files,
                over_quota = over,
                "{}",
                level.left_out().unwrap_or_default()
            );
        } else if level < before {
            let still = level.left_out().unwrap_or("everything is recorded again");
            info!(free_bytes = space.free_bytes, free_files = space.free_files, "there is more space: {still}");
        }
        Ok(())
    }

    fn keep_reserve(&self, marks: &Marks) -> Result<()> {
        let reserve = &self.archive.room.reserve;
        let free = marks.room(&self.volume()?);
        if reserve.is_there() {
            // Before the index meets a full volume: it would not survive that.
            if self.archive.level() == RecordingLevel::Nothing && reserve.release() {
                self.step_level(marks)?;
            }
        } else if free >= marks.keep.saturating_add(marks.floor) && !self.memory().no_reserve {
            // Of a disk that was pulled meanwhile the reserve seems to be gone, and the mount point has room.
            self.archive.layout.check_volume()?;
            if let Err(error) = reserve.make(marks.floor) {
                warn!(%error, "no reserve could be set apart on this volume");
                self.memory().no_reserve = true;
            }
        }
        Ok(())
    }
}
