//! The account of each camera's day, as a file that is delivered: `coverage/<camera>/<yyyy-mm-dd>.json`.
//!
//! A day is *open* from the moment that the box knows of it until its file is final: the day is over and the
//! clock was synchronised when the file was made. The open days are noted in `coverage/open.json`, so that the
//! day in which the box lost power, and those that it missed, are exported when it is back. One file is looked
//! at in each step.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use anyhow::{Context, Result};
use jiff::civil::Date;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::{Deserialize, Serialize};
use tracing::{debug, warn};

use super::footage;
use crate::archive::Archive;
use crate::archive::filing::may_file;
use crate::archive::sidecar::{account_path, write_durable};
use crate::clock::Moment;
use crate::coverage::{Account, Footage, compose, midnight, midnight_after, utc_date};
use crate::store::{Document, Query, SegmentQuery};

/// The note of the open days in the folder of the accounts.
const OPEN: &str = "open.json";
/// How often a day that is not over is exported, so that most of it is exported when a box dies.
const TODAY_EVERY: SignedDuration = SignedDuration::from_hours(6);
/// How long after midnight a day counts as over: its last clips and entries are closed by then.
const SETTLES: SignedDuration = SignedDuration::from_mins(10);
/// How many missed days are exported at most.
const MISSED: i64 = 31;
/// Open days that are noted at most. A box whose clock is never synchronised closes none.
const OPEN_AT_MOST: usize = 2000;
/// Rows that are read at once.
const PAGE: usize = 500;

/// How far an open day was exported.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ExportState {
    /// Until when; before the first file when the day was opened.
    until: Timestamp,
    /// There is a file.
    #[serde(default)]
    exported: bool,
    /// It was made when the day was over.
    #[serde(default)]
    complete: bool,
    /// It was made when the clock was synchronised.
    #[serde(default)]
    trusted: bool,
    /// A synchronised clock opened the day: it has passed, even where the box knows nothing of it.
    #[serde(default)]
    certain: bool,
}

/// The note of what is open.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Days {
    /// The last day by a synchronised clock that was opened, by camera.
    through: BTreeMap<String, Date>,
    /// Open days by camera.
    open: BTreeMap<String, BTreeMap<Date, ExportState>>,
}

/// Writes the accounts and queues them for every destination.
pub struct Export {
    archive: Archive,
    cameras: Vec<String>,
    days: Option<Days>,
}

/// The time of one step.
struct Now {
    moment: Moment,
    today: Date,
    /// The clock is synchronised, and what was written before that is corrected.
    trusted: bool,
}

impl Now {
    /// Whether a day with `exported` is to be exported now.
    fn asks_for(&self, day: Date, exported: &ExportState) -> bool {
        let over = self.is_over(day);
        let is_stale = || self.moment.wall.duration_since(exported.until).abs() >= TODAY_EVERY;
        match exported {
            ExportState { trusted: false, .. } if self.trusted && (exported.exported || exported.complete) => true,
            ExportState { complete: true, .. } => false,
            _ if over => true,
            _ => day == self.today && is_stale(),
        }
    }

    fn is_over(&self, day: Date) -> bool {
        midnight_after(day).is_some_and(|end| self.moment.wall.duration_since(end) >= SETTLES)
    }
}

impl Export {
    /// For the cameras of the box that records into `archive`.
    pub fn new(archive: Archive, cameras: Vec<String>) -> Self {
        Self { archive, cameras, days: None }
    }

    /// Writes the next file that is due, if one is. `trusted`: the clock is synchronised, and times of this boot
    /// were corrected since.
    ///
    /// # Errors
    /// When index or disk fail; the next step tries the same again.
    pub fn step(&mut self, trusted: bool) -> Result<()> {
        let clock = &*self.archive.clock;
        // While there is hardly any room it is for events; and what is not taken in yet cannot be exported.
        let must_wait = !self.archive.level().has_stills() || self.archive.is_incomplete.load(Ordering::Relaxed);
        if must_wait || !may_file(clock, &self.archive.config) {
            return Ok(());
        }
        let moment = clock.now();
        let now = Now { today: utc_date(moment.wall), moment, trusted };
        let mut days = self.days.take().unwrap_or_else(|| self.read_days());
        let opened = days.open_up_to(&now, &self.cameras);
        let outcome = self.next(&mut days, &now);
        // After the file: a power cut between them exports the same once more.
        let noted = match &outcome {
            Ok(false) | Err(_) if !opened => Ok(()),
            _ => self.note(&days),
        };
        self.days = Some(days);
        outcome.and(noted)
    }

    /// Returns whether `days` changed.
    fn next(&self, days: &mut Days, now: &Now) -> Result<bool> {
        let due = days.open.iter().find_map(|(camera, open)| {
            let (day, _) = open.iter().find(|(day, exported)| now.asks_for(**day, exported))?;
            Some((camera.clone(), *day))
        });
        let Some((camera, day)) = due else { return Ok(false) };
        let (complete, trusted) = (now.is_over(day), now.trusted);
        let open = days.open.entry(camera.clone()).or_default();
        let certain = open.get(&day).is_some_and(|exported| exported.certain);
        let account = self.account(&camera, day, now)?;
        let exported = certain || account.knows_anything() || self.path(&account).exists();
        if exported {
            self.export(&account).with_context(|| format!("export {camera}'s {day}"))?;
        }
        if complete && trusted {
            open.remove(&day);
        } else {
            open.insert(day, ExportState { until: now.moment.wall, exported, complete, trusted, certain });
        }
        Ok(true)
    }

    /// Writes one file and queues it, unless that would export nothing new.
    fn export(&self, account: &Account) -> Result<()> {
        let before = std::fs::read(self.path(account)).ok();
        let before = before.and_then(|text| serde_json::from_slice::<Account>(&text).ok());
        if before.is_some_and(|before| before.says_the_same(account)) {
            return Ok(());
        }
        let mut text = serde_json::to_vec_pretty(account).context("encode an account")?;
        text.push(b'\n');
        let (folder, name) = (self.folder().join(&*account.camera), account.file_name());
        self.create(&folder)?;
        let media = write_durable(&folder, &name, &text)?;
        let path = account_path(&account.camera, &name);
        self.archive.store.deliver(Document { path, bytes: media.bytes, sha256: media.sha256 })?;
        debug!(camera = %account.camera, day = %account.day, complete = account.complete, "exported a camera's day");
        Ok(())
    }

    fn path(&self, account: &Account) -> PathBuf {
        self.folder().join(&*account.camera).join(account.file_name())
    }

    fn account(&self, camera: &str, day: Date, now: &Now) -> Result<Account> {
        let from = midnight(day).context("a day that has no time")?;
        // Of a day that has not come, as a clock that was ahead may have opened, there is nothing to export.
        let until = midnight_after(day).unwrap_or(Timestamp::MAX).min(now.moment.wall).max(from);
        let mut spans = self.archive.store.spans(camera, footage::ledger_since(from), until)?;
        footage::answer_for_the_last(&mut spans, &now.moment);
        let mut footage = self.segments_between(camera, from, until, now.moment.wall)?;
        footage.extend(self.clips_between(camera, from, until, now.moment.wall)?);
        Ok(Account {
            version: Account::VERSION,
            device: self.archive.device.clone(),
            camera: camera.into(),
            day,
            written: now.moment.clone(),
            complete: now.is_over(day),
            from,
            until,
            intervals: compose(from, until, &spans, &footage),
        })
    }

    fn segments_between(
        &self,
        camera: &str,
        from: Timestamp,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Vec<Footage>> {
        let (mut segments, mut before) = (Vec::new(), None);
        loop {
            let camera = camera.to_owned();
            let query = SegmentQuery { camera, since: Some(from), until: Some(until), before, limit: PAGE };
            let page = self.archive.store.segments(&query)?;
            let Some(first) = page.first() else { break };
            before = Some(first.id);
            segments.push(page);
        }
        let segments: Vec<_> = segments.into_iter().rev().flatten().collect();
        Ok(footage::of_segments(&segments, now))
    }

    fn clips_between(&self, camera: &str, from: Timestamp, until: Timestamp, now: Timestamp) -> Result<Vec<Footage>> {
        let since = from.saturating_sub(footage::LOOK_BACK).unwrap_or(Timestamp::MIN);
        let (mut clips, mut before) = (Vec::new(), None);
        loop {
            let camera = Some(camera.to_owned());
            let query =
                Query { camera, since: Some(since), until: Some(until), before, limit: PAGE, ..Query::default() };
            let page = self.archive.store.events(&query)?;
            let Some(last) = page.last() else { return Ok(clips) };
            before = Some(last.id);
            clips.extend(footage::of_events(&page, &self.archive.store.deliveries(&page)?, now));
        }
    }

    fn folder(&self) -> PathBuf {
        self.archive.layout.coverage()
    }

    fn create(&self, folder: &std::path::Path) -> Result<()> {
        if !folder.is_dir() {
            self.archive.layout.create(folder)?;
        }
        Ok(())
    }

    fn read_days(&self) -> Days {
        let path = self.folder().join(OPEN);
        let Ok(text) = std::fs::read(&path) else { return Days::default() };
        serde_json::from_slice(&text).unwrap_or_else(|error| {
            warn!(%error, file = %path.display(), "is damaged: days before today are not exported again");
            Days::default()
        })
    }

    fn note(&self, days: &Days) -> Result<()> {
        let text = serde_json::to_vec(days).context("encode the open days")?;
        self.create(&self.folder())?;
        write_durable(&self.folder(), OPEN, &text).map(|_| ())
    }
}

impl Days {
    /// Opens today and, when the clock can be trusted, the days that were missed. Returns whether that changed
    /// anything.
    fn open_up_to(&mut self, now: &Now, cameras: &[String]) -> bool {
        let mut changed = false;
        for camera in cameras {
            let through = self.through.get(camera).copied();
            let missed = through.filter(|_| now.trusted).and_then(|through| through.tomorrow().ok());
            let earliest = now.today.saturating_sub(MISSED.days());
            let first = missed.unwrap_or(now.today).clamp(earliest, now.today);
            let open = self.open.entry(camera.clone()).or_default();
            let days = first.series(1.day()).take_while(|day| *day <= now.today);
            for day in days.filter(|day| through != Some(*day)) {
                let known = open.entry(day).or_insert_with(|| {
                    changed = true;
                    ExportState {
                        until: now.moment.wall,
                        exported: false,
                        complete: false,
                        trusted: false,
                        certain: false,
                    }
                });
                changed |= now.trusted && !known.certain;
                known.certain |= now.trusted;
            }
            if now.trusted && through != Some(now.today) {
                // Also back, after a clock that was ahead; nothing was exported for the days that it opened in vain.
                open.retain(|day, exported| exported.exported || *day <= now.today);
                self.through.insert(camera.clone(), now.today);
                changed = true;
            }
            while open.len() > OPEN_AT_MOST {
                open.pop_first();
                changed = true;
            }
        }
        changed
    }
}
