//! What became of a camera's time, from the same account that is delivered for each day.

use std::sync::Arc;

use anyhow::Result;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};
use serde::Serialize;
use tokio::sync::Semaphore;

use super::context::Context;
use super::mark::Mark;
use super::strip::{Account, KeptAccounts, Strip, Wanted};
use crate::coverage::{Interval, midnight, midnight_after, utc_date};
use crate::coverage_export::footage::{self, CameraTime};
use crate::event::Event;
use crate::segment::Segment;
use crate::status::CameraCoverage;

/// Segments in one answer at most.
const SEGMENTS: usize = 10_000;
/// Events in one answer at most.
const EVENTS: usize = 5_000;
/// Events of a strip before they are merged.
const STRIP_EVENTS: usize = 20_000;
/// Accounts of strips that are made at once: each goes through the index of a camera.
static TURNS: Semaphore = Semaphore::const_new(2);

/// One camera's time.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Timeline {
    /// What became of it: without gaps, oldest first.
    pub coverage: Vec<Interval>,
    /// Continuous recording, oldest first.
    pub segments: Vec<Segment>,
    /// Events, oldest first.
    pub events: Vec<Mark>,
}

/// Accounts for the time of cameras.
#[derive(Clone)]
pub struct TimelineService(Arc<Context>, KeptAccounts);

impl TimelineService {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self(context, KeptAccounts::default())
    }

    /// One camera's time from `since` to `until`, or to now where that is in the future; `None` for a camera that the
    /// box does not know. A camera that is not configured any more still has a past.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn of(&self, camera: &str, since: Timestamp, until: Timestamp) -> Result<Option<Timeline>> {
        let (time, marks, _) = self.account_for(camera, since, until, EVENTS).await?;
        let CameraTime { intervals, mut segments } = time;
        let known = self.0.configured().frames.contains_key(camera) || !segments.is_empty() || !marks.is_empty();
        segments.drain(..segments.len().saturating_sub(SEGMENTS));
        Ok(known.then_some(Timeline { coverage: intervals, segments, events: marks }))
    }

    /// What became of today so far, in UTC.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn today(&self, camera: &str) -> Result<CameraCoverage> {
        let now = self.0.clock.wall();
        let day = now.to_zoned(TimeZone::UTC).date();
        let since = day.to_zoned(TimeZone::UTC)?.timestamp();
        let until = since.checked_add(24.hours())?.min(now);
        let (time, ..) = self.account_for(camera, since, until, EVENTS).await?;
        Ok(CameraCoverage::of(day, &time.intervals))
    }

    /// Cameras that the configuration has, in the order of their names.
    pub fn cameras(&self) -> Vec<String> {
        self.0.configured().frames.keys().cloned().collect()
    }

    /// The strip of one camera from `since` to `until`, or to now where that is in the future, merged to `resolution`;
    /// `None` for a camera that the box does not know. What reaches over times that `covers` does not hold for is left out.
    /// May be some seconds old, and minutes for a long time.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn strip(
        &self,
        camera: &str,
        since: Timestamp,
        until: Timestamp,
        resolution: SignedDuration,
        covers: impl Fn(Timestamp, Timestamp) -> bool,
    ) -> Result<Option<Strip>> {
        let account = self.account(camera, since, until).await?;
        let until = until.min(self.0.clock.wall());
        Ok(account.is_known.then(|| account.strip(since, until, resolution, covers)))
    }

    /// The account of whole days that hold the time from `since` to `until`.
    async fn account(&self, camera: &str, since: Timestamp, until: Timestamp) -> Result<Arc<Account>> {
        let wanted = Wanted {
            storage: self.0.volume.archive().layout().storage().to_owned(),
            camera: camera.to_owned(),
            from: midnight(utc_date(since)).unwrap_or(since),
            until: midnight_after(utc_date(until)).unwrap_or(until),
        };
        if let Some(known) = self.1.get(&wanted, self.0.clock.mono()) {
            return Ok(known);
        }
        let _turn = TURNS.acquire().await?;
        // Another request may have made it meanwhile.
        let now = self.0.clock.mono();
        if let Some(known) = self.1.get(&wanted, now) {
            return Ok(known);
        }
        let (time, marks, more_marks) = self.account_for(camera, wanted.from, wanted.until, STRIP_EVENTS).await?;
        let is_known =
            self.0.configured().frames.contains_key(camera) || !time.segments.is_empty() || !marks.is_empty();
        let account = Arc::new(Account { intervals: time.intervals, marks, more_marks, is_known });
        self.1.put(wanted, now, account.clone());
        Ok(account)
    }

    /// The account, the newest `most` events in that time, oldest first, and whether there are more.
    async fn account_for(
        &self,
        camera: &str,
        since: Timestamp,
        until: Timestamp,
        most: usize,
    ) -> Result<(CameraTime, Vec<Mark>, bool)> {
        let (now, store, camera) = (self.0.clock.now(), self.0.store(), camera.to_owned());
        let until = until.min(now.wall).max(since);
        let read = move || {
            let (mut seen, mut marks) = (0, Vec::new());
            let reaches = |event: &&Event| event.end.as_ref().is_none_or(|end| end.wall >= since);
            let time = footage::account_for(&store, &camera, since..until, &now, |events| {
                let room = most.saturating_sub(seen);
                seen += events.len();
                marks.extend(events.iter().take(room).filter(reaches).map(Mark::of));
            })?;
            marks.reverse();
            Ok((time, marks, seen > most))
        };
        // Several reads of the index, each with a deadline.
        tokio::task::spawn_blocking(read).await?
    }
}
