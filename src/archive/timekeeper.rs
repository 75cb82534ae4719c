//! Wall time that is put right: what a box writes before its clock is synchronised is corrected when it is.
//!
//! Everything carries the boot clock's time, so once the kernel says that the wall clock is right, the wall
//! times of this boot can be calculated again. Until then finished events are not filed: the folder in the cloud
//! has the date in its name and must never change. Alerts go out at once, with the trust that their times
//! deserve. The wait is bounded ([`super::Config::time_hold`]): a box that never hears of the time files by
//! what its own clock says.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::SignedDuration;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::export::Export;
use super::recording::uploads;
use super::segments::{of_same_boot, write_sidecar};
use super::sidecar::{SIDECAR, measure, read_event, write_event};
use super::{Archive, Config};
use crate::clock::{Clock, Moment, Mono, TimeQuality};
use crate::event::{Event, EventId, EventState};
use crate::segment::SegmentState;
use crate::store::{self, Delivery, Query, SegmentQuery};

/// How often the clock is asked.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Parts of that wait, so that a stop is noticed in between.
const PARTS: u32 = 8;
/// Looks that are left out after a failure, which is most likely a full disk.
const REST: u32 = 30;
/// Events in hand at once.
const PAGE: usize = 100;
/// A correction smaller than this is not worth writing anything again.
const WORTH_IT: SignedDuration = SignedDuration::from_millis(500);
/// A clock that deviates by less was not set: the two clocks are not read in one instant, and boxes are busy.
const TORN: SignedDuration = SignedDuration::from_secs(2);

/// Whether what ends now may be filed under the date that the clock shows.
pub(super) fn may_file(clock: &dyn Clock, config: &Config) -> bool {
    clock.quality() == TimeQuality::Synchronised || clock.mono() >= Mono::default() + config.time_hold
}

/// The folder of the day in the cloud: `2026/11/22`, in UTC.
pub(super) fn day(moment: &Moment) -> Arc<str> {
    moment.wall.strftime("%Y/%m/%d").to_string().into()
}

/// The moment by today's knowledge, where it is of this boot and that knowledge is better: an unsynchronised clock that
/// vouches for and that is set again says nothing of what it showed before. Returns whether that changed it.
pub(super) fn correct(clock: &dyn Clock, moment: &mut Moment) -> bool {
    if moment.boot_id != clock.boot_id() {
        return false;
    }
    let now = clock.moment(moment.mono());
    if !knows_better(now.time_quality, moment.time_quality) {
        return false;
    }
    let changed = now.wall.duration_since(moment.wall).abs() >= WORTH_IT || now.time_quality != moment.time_quality;
    if changed {
        *moment = now;
    }
    changed
}

/// Whether a clock of quality `now` may change what was said when it was of quality `then`.
fn knows_better(now: TimeQuality, then: TimeQuality) -> bool {
    now < then || now == TimeQuality::Synchronised
}

/// Whether the wall clock was set since it said `earlier`, while neither time was synchronised: what is said
/// at `at` does not continue what was said then.
pub(super) fn is_torn(clock: &dyn Clock, earlier: &Moment, at: Mono) -> bool {
    let now = clock.moment(at);
    let deviation = now.wall.duration_since(of_same_boot(earlier, at).wall).abs();
    deviation >= TORN && !knows_better(now.time_quality, earlier.time_quality)
}

/// Puts `moment` into the time that `start` is given in, so that what lies between them is as long as it was.
/// Returns whether that changed it.
fn follow(start: &Moment, moment: &mut Moment) -> bool {
    if moment.boot_id != start.boot_id || moment.time_quality < start.time_quality {
        return false;
    }
    let followed = of_same_boot(start, moment.mono());
    let changed = followed.wall.duration_since(moment.wall).abs() >= WORTH_IT;
    if changed {
        *moment = followed;
    }
    changed
}

/// Corrects each of `moments`. Returns whether that changed one.
fn correct_all<'a>(clock: &dyn Clock, moments: impl Iterator<Item = &'a mut Moment>) -> bool {
    let changed = moments.map(|moment| correct(clock, moment)).filter(|changed| *changed);
    changed.count() > 0
}

/// All moments of an event by today's knowledge. Returns whether that changed one.
pub(super) fn correct_event(clock: &dyn Clock, event: &mut Event) -> bool {
    let best = event.best.iter_mut().map(|best| &mut best.at);
    let clip = event.clip.iter_mut().chain(&mut event.more_clips).map(|clip| &mut clip.start);
    let changed = correct(clock, &mut event.start);
    let start = &event.start;
    event.end.as_mut().into_iter().chain(best).chain(clip).fold(changed, |changed, moment| {
        // Where the clock was set in the middle of an event, it goes on in the time that it began in.
        correct(clock, moment) | follow(start, moment) | changed
    })
}

/// Files what could not be filed when it ended, and corrects the times of this boot.
pub struct Timekeeper {
    archive: Archive,
    cameras: Vec<String>,
    /// The first event of this run; those before it that are not filed belong to runs that are over.
    first: EventId,
    corrected: bool,
    export: Export,
}

impl Timekeeper {
    /// For the box's `archive` and the cameras whose recordings it corrects. `first` is the first id of this run.
    pub fn new(archive: Archive, cameras: Vec<String>, first: EventId) -> Self {
        let export = Export::new(archive.clone(), cameras.clone());
        Self { archive, cameras, first, corrected: false, export }
    }

    /// Looks at the clock until `stop`. Blocks; run it on a thread of its own.
    pub fn run(mut self, stop: &CancellationToken, mut alive: impl FnMut()) {
        let mut rest = 0;
        while !stop.is_cancelled() {
            if rest > 0 {
                rest -= 1;
            } else if let Err(failure) = self.look() {
                warn!(error = format!("{failure:#}"), "times could not be corrected, trying again in a while");
                rest = REST;
            }
            alive();
            if rest == 0
                && let Err(failure) = self.export()
            {
                warn!(
                    error = format!("{failure:#}"),
                    "the coverage ledger could not be exported, trying again in a while"
                );
                rest = REST;
            }
            alive();
            for _ in 0..PARTS {
                if !stop.is_cancelled() {
                    std::thread::sleep(LOOK_EVERY / PARTS);
                }
            }
        }
    }

    /// Does what the clock allows now.
    ///
    /// # Errors
    /// When index or disk fail; the next look goes on where this one stopped.
    pub fn look(&mut self) -> Result<()> {
        let synchronised = self.archive.clock.quality() == TimeQuality::Synchronised;
        if synchronised && !self.corrected {
            self.correct_this_boot()?;
        }
        // A clock that is lost and found again has something to correct again.
        self.corrected = synchronised;
        let everything = may_file(&*self.archive.clock, &self.archive.config);
        for id in self.archive.store.events().unfiled()? {
            let Some(event) = self.archive.store.events().get(id).wait()? else { continue };
            // An earlier boot's clock will not become better any more.
            let is_over = id < self.first && event.start.boot_id != self.archive.clock.boot_id();
            if everything || is_over {
                self.file(id)?;
            }
        }
        Ok(())
    }

    /// Exports a camera's day, if one is due. After a look, so that its times
    /// are right.
    ///
    /// # Errors
    /// When index or disk fail; the next call tries the same again.
    pub fn export(&mut self) -> Result<()> {
        self.export.step(self.corrected)
    }

    /// Gives an event its day and queues its files.
    fn file(&self, id: EventId) -> Result<()> {
        self.rewrite(id, |archive, event| {
            correct_event(&*archive.clock, event);
            event.state != EventState::Open
        })
    }

    fn correct_this_boot(&self) -> Result<()> {
        let mut events = 0;
        let mut before = None;
        loop {
            let query = Query { before, limit: PAGE, ..Query::default() };
            let page = self.archive.store.events().find(&query).wait()?;
            let Some(last) = page.last() else { break };
            before = Some(last.id);
            let of_this_boot = |event: &&Event| event.start.boot_id == self.archive.clock.boot_id();
            for event in page.iter().filter(of_this_boot).filter(|event| event.state != EventState::Open) {
                let mut probe = event.clone();
                if correct_event(&*self.archive.clock, &mut probe) {
                    self.rewrite(event.id, |archive, event| {
                        correct_event(&*archive.clock, event);
                        true
                    })?;
                    events += 1;
                }
            }
            // Ids are in the order of creation, so what comes before another boot's is another boot's too.
            if !page.iter().all(|event| of_this_boot(&event)) {
                break;
            }
        }
        let mut segments = 0;
        for camera in &self.cameras {
            segments += self.correct_segments(camera)? + self.correct_ledger(camera)?;
        }
        if events + segments > 0 {
            info!(events, segments, "the clock is synchronised now: wall times of this boot were corrected");
        }
        Ok(())
    }

    /// Reads the sidecar, changes it, writes it, and records it; `change` says whether there is anything to do.
    fn rewrite(&self, id: EventId, change: impl FnOnce(&Archive, &mut Event) -> bool) -> Result<()> {
        let archive = &self.archive;
        let _edit = archive.changing_sidecars();
        let Some(known) = archive.store.events().get(id).wait()? else { return Ok(()) };
        let folder = archive.layout.folder(&known.camera, id);
        let mut event = read_event(&folder).unwrap_or_else(|_| known.clone());
        if !change(archive, &mut event) {
            return Ok(());
        }
        // By the index: a power cut may have come after the sidecar was written and before that was recorded.
        let first_time = known.filed.is_none();
        if first_time && may_file(&*archive.clock, &archive.config) || event.start.boot_id != archive.clock.boot_id() {
            event.filed.get_or_insert_with(|| day(&event.start));
        }
        let sidecar = write_event(&folder, &event)?;
        let deliveries = match (&event.filed, first_time) {
            (Some(_), true) => uploads(&event, sidecar),
            (Some(_), false) => vec![Delivery::Upload(sidecar)],
            (None, _) => Vec::new(),
        };
        archive.store.events().record(store::Change { event, deliveries }).context("record a corrected event")
    }

    fn correct_segments(&self, camera: &str) -> Result<u32> {
        let archive = &self.archive;
        let (mut corrected, mut before) = (0, None);
        loop {
            let camera = camera.to_owned();
            let query = SegmentQuery { camera, since: None, until: None, before, limit: PAGE };
            let page = archive.store.ledger().segments(&query).wait()?;
            let Some(first) = page.first() else { return Ok(corrected) };
            before = Some(first.id);
            let of_this_boot = first.start.boot_id == archive.clock.boot_id();
            for mut segment in page {
                let moments = std::iter::once(&mut segment.start).chain(segment.end.as_mut());
                let changed = correct_all(&*archive.clock, moments);
                // One that is being written is corrected when it is closed.
                if changed && segment.state != SegmentState::Open {
                    write_sidecar(&archive.layout.recordings(&segment.camera), &segment)?;
                    archive.store.ledger().record_segment(segment)?;
                    corrected += 1;
                }
            }
            if !of_this_boot {
                return Ok(corrected);
            }
        }
    }

    fn correct_ledger(&self, camera: &str) -> Result<u32> {
        let archive = &self.archive;
        let mut corrected = 0;
        for mut span in archive.store.ledger().spans_of_boot(camera, &archive.clock.boot_id())? {
            if correct(&*archive.clock, &mut span.from) | correct(&*archive.clock, &mut span.until) {
                archive.store.ledger().record_span(span)?;
                corrected += 1;
            }
        }
        Ok(corrected)
    }
}

/// What a finished event's files are queued as: nothing yet, while its day is not known.
pub(super) fn file_if_possible(archive: &Archive, event: &mut Event) {
    correct_event(&*archive.clock, event);
    let of_this_boot = event.start.boot_id == archive.clock.boot_id();
    if event.filed.is_none() && (!of_this_boot || may_file(&*archive.clock, &archive.config)) {
        event.filed = Some(day(&event.start));
    }
}

/// The deliveries of a finished event's files, none while it is not filed.
pub(super) fn deliveries(archive: &Archive, event: &Event) -> Result<Vec<Delivery>> {
    if event.filed.is_none() {
        return Ok(Vec::new());
    }
    let sidecar = measure(&archive.layout.folder(&event.camera, event.id), SIDECAR)?;
    Ok(uploads(event, sidecar))
}
