//! Wall time that is put right: what a box writes before its clock is synchronised is corrected when it is.
//!
//! Everything carries the boot clock's time, so once the kernel says that the wall clock is right, the wall
//! times of this boot can be calculated again. Until then finished events are not filed: the folder in the cloud
//! has the date in its name and must never change. Alerts go out at once, with the trust that their times
//! deserve. The wait is bounded ([`crate::archive::Config::time_hold`]): a box that never hears of the time files by
//! what its own clock says.

#[cfg(test)]
mod tests;

use std::time::Duration;

use anyhow::{Context, Result};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::archive::Archive;
use crate::archive::filing::{day, may_file, uploads};
use crate::archive::sidecar::{read_event, write_event, write_segment};
use crate::archive::times::{correct, correct_all, correct_event};
use crate::clock::TimeQuality;
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

/// Files what could not be filed when it ended, and corrects the times of this boot.
pub struct Timekeeper {
    archive: Archive,
    cameras: Vec<String>,
    /// The first event of this run; those before it that are not filed belong to runs that are over.
    first: EventId,
    corrected: bool,
}

impl Timekeeper {
    /// For the box's `archive` and the cameras whose recordings it corrects. `first` is the first id of this run.
    pub fn new(archive: Archive, cameras: Vec<String>, first: EventId) -> Self {
        Self { archive, cameras, first, corrected: false }
    }

    /// Looks at the clock until `stop`. After each look `export` is called, so that it finds the times put right, with
    /// whether the clock is trusted. Blocks; run it on a thread of its own.
    pub fn run(
        mut self,
        stop: &CancellationToken,
        mut export: impl FnMut(bool) -> Result<()>,
        mut alive: impl FnMut(),
    ) {
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
                && let Err(failure) = export(self.is_corrected())
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

    /// Whether the times of this boot are right by a synchronised clock.
    pub fn is_corrected(&self) -> bool {
        self.corrected
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
        let mut event = read_event(&folder, &known.camera, id).unwrap_or_else(|_| known.clone());
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
                    write_segment(&archive.layout.recordings(&segment.camera), &segment)?;
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
