//! Takes what was recorded in the spool into the archive, once the archive's volume is back.
//!
//! An event's files are copied first, its sidecar last, then the index of the archive learns of it together with
//! what still has to be delivered; only then the spool's alerts count as handed over. Whatever interrupts this, the
//! next try goes on: what the archive's index knows is left out.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::Path;

use anyhow::{Context, Result, bail};
use tokio::runtime::Handle;
use tracing::{error, info, warn};

use super::recover::recover;
use crate::archive::annotations::{reviewed_of, write_reviewed};
use crate::archive::filing::{deliveries, file_if_possible};
use crate::archive::sidecar::{Sidecar, look_at_event, measure, sync_folder, write_event};
use crate::archive::{Archive, Place, Walk};
use crate::clock::Moment;
use crate::destination::Destination;
use crate::event::{DeliveryState, Event, EventId, FileDelivery, MediaFile, Phase};
use crate::store::{Change, Delivery, DeliveryStatus, GivenUp, Lease, MigratedAlert, Outbox, TakenOver};

/// Events that are looked up in one go.
const BATCH: usize = 64;
/// Alerts that are taken over in one go.
const ALERTS: usize = 100;

/// What a merge did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Merged {
    /// Events that the archive has now.
    pub events: u32,
    /// Events that could not be taken over; their folders stay in the spool.
    pub left: u32,
}

/// Copies every event of `spool` that `archive` lacks, with its deliveries and the coverage ledger of `cameras`.
/// The spool must not be used otherwise meanwhile; nothing is deleted there. Blocks; `runtime` serves the queues.
///
/// # Errors
/// When one of the two indexes or volumes fails, or `is_stopped` says so; what was taken over until then stays.
pub fn merge(
    spool: &Archive,
    archive: &Archive,
    cameras: &[String],
    runtime: &Handle,
    is_stopped: &dyn Fn() -> bool,
) -> Result<Merged> {
    let everything = EventId::from_bytes([0xff; 16]);
    recover(spool, everything, &mut |_| ()).context("put the spool in order")?;
    let mut alerts = Alerts::of(spool, runtime)?;
    let mut merged = Merged::default();
    for places in Walk::new(spool.layout.clone(), everything) {
        for batch in places.chunks(BATCH) {
            let delivery_statuses =
                archive.store.events().delivery_statuses(batch.iter().map(|(id, _)| *id).collect())?;
            for (place, status) in batch.iter().zip(delivery_statuses) {
                if is_stopped() {
                    bail!("stopped, the next try goes on");
                }
                if status == DeliveryStatus::Unknown {
                    match take_over(spool, archive, place, &alerts)? {
                        true => merged.events += 1,
                        false => merged.left += 1,
                    }
                }
                alerts.hand_over(place.0)?;
            }
        }
    }
    for camera in cameras {
        for span in spool.store.ledger().all_spans(camera)? {
            archive.store.ledger().record_span(span)?;
        }
    }
    info!(events = merged.events, left = merged.left, "took the events of the spool into the archive");
    Ok(merged)
}

/// One event. Returns whether the archive has it now.
fn take_over(spool: &Archive, archive: &Archive, (id, camera): &Place, alerts: &Alerts<'_>) -> Result<bool> {
    let from = spool.layout.folder(camera, *id);
    let mut event = match look_at_event(&from, camera, *id) {
        Ok(Sidecar::Good(event)) => *event,
        Ok(Sidecar::Missing) => return Ok(false),
        Ok(Sidecar::Damaged(reason)) => {
            error!(event = %id, %camera, reason, "an event of the spool is damaged and stays there");
            return Ok(false);
        }
        Err(failure) => {
            error!(event = %id, %camera, error = format!("{failure:#}"), "an event of the spool cannot be read and stays there");
            return Ok(false);
        }
    };
    let folder = archive.with_room(|| archive.layout.create_folder(camera, *id))?;
    let mut lost = Vec::new();
    for media in event.media() {
        if !archive.with_room(|| copy(&from, &folder, media))? {
            error!(event = %id, %camera, file = media.file, "a file in the spool is damaged or gone");
            lost.push(media.file.clone());
        }
    }
    event.pictures.retain(|picture| !lost.contains(&picture.file));
    event.retain_clips(|clip| !lost.contains(&clip.media.file));
    file_if_possible(archive, &mut event);
    archive.with_room(|| write_event(&folder, &event))?;
    let reviewed = reviewed_of(&from).unwrap_or_else(|failure| {
        warn!(event = %id, error = format!("{failure:#}"), "who looked an event through is not known");
        Vec::new()
    });
    if !reviewed.is_empty() {
        archive.with_room(|| write_reviewed(&folder, &reviewed))?;
    }
    // What was delivered from the spool is confirmed there without being sent again.
    let files = deliveries(archive, &event)?;
    let counted = spool.store.events().alert_counts(*id)?;
    let dropped = dropped_of(spool, &event)?;
    let change = Change { event, deliveries: files };
    for outcome in
        archive.store.events().take_over(TakenOver { change, alerts: alerts.of_event(*id), counted, dropped })
    {
        outcome?;
    }
    if !reviewed.is_empty() {
        archive.store.events().set_reviewed(*id, reviewed)?;
    }
    Ok(true)
}

/// Files of an event that were taken out of the spool's queues, with the outbox of each.
fn dropped_of(spool: &Archive, event: &Event) -> Result<Vec<(Destination, String)>> {
    let outlets = spool.store.events().deliveries(std::slice::from_ref(event)).wait()?.into_iter().flatten();
    let dropped = |of: &FileDelivery| of.state == DeliveryState::Dropped;
    let files = outlets.flat_map(|of| {
        of.files.into_iter().filter(dropped).map(move |file| (of.outlet.clone(), file.file)).collect::<Vec<_>>()
    });
    Ok(files.collect())
}

/// Copies `media`, durably but for the folder's entry. Returns whether what arrived is what it should be.
fn copy(from: &Path, to: &Path, media: &MediaFile) -> Result<bool> {
    let (source, target) = (from.join(&media.file), to.join(&media.file));
    let write = || -> io::Result<()> {
        let (mut source, mut target) = (File::open(&source)?, File::create(&target)?);
        io::copy(&mut source, &mut target)?;
        target.sync_all()
    };
    match write() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && !source.exists() => return Ok(false),
        outcome => outcome.with_context(|| format!("copy {} to {}", source.display(), target.display()))?,
    }
    sync_folder(to)?;
    if measure(to, &media.file)? == *media {
        return Ok(true);
    }
    fs::remove_file(&target).with_context(|| format!("remove {}", target.display()))?;
    Ok(false)
}

/// The alerts that the spool did not get rid of, or gave up.
struct Alerts<'a> {
    outboxes: Vec<Outbox>,
    waiting: BTreeMap<EventId, Vec<Waiting>>,
    runtime: &'a Handle,
}

/// One of them.
struct Waiting {
    /// Place of its outbox among those of the spool.
    outbox: usize,
    phase: Phase,
    event: Event,
    created: Moment,
    held: Held,
}

/// How the spool holds it.
enum Held {
    Waiting(Box<Lease>),
    /// Given up, under this number.
    Dead(u64, GivenUp),
}

impl<'a> Alerts<'a> {
    fn of(spool: &Archive, runtime: &'a Handle) -> Result<Self> {
        let known = spool.store.stats().wait()?.outboxes;
        let alerts = known.iter().filter(|known| known.name.takes_alerts());
        // What left the configuration since gets none of it.
        let outboxes: Vec<Outbox> = alerts.filter_map(|known| spool.store.outboxes().get(&known.name).ok()).collect();
        let mut waiting: BTreeMap<EventId, Vec<Waiting>> = BTreeMap::new();
        for (place, outbox) in outboxes.iter().enumerate() {
            loop {
                let leases = runtime.block_on(outbox.lease(ALERTS))?;
                if leases.is_empty() {
                    break;
                }
                for lease in leases {
                    if let (Some(event), Delivery::Alert(phase)) = (lease.event.clone(), &lease.item) {
                        let (phase, created) = (*phase, lease.created.clone());
                        let alert =
                            Waiting { outbox: place, phase, event, created, held: Held::Waiting(Box::new(lease)) };
                        waiting.entry(alert.event.id).or_default().push(alert);
                    }
                }
            }
            for letter in runtime.block_on(outbox.dead_letters(usize::MAX))? {
                let (Some(event), Delivery::Alert(phase)) = (letter.recorded_event, letter.item) else { continue };
                let how = GivenUp { attempts: letter.attempts, class: letter.class, error: letter.error };
                let (created, held) = (letter.created, Held::Dead(letter.seq, how));
                waiting.entry(event.id).or_default().push(Waiting { outbox: place, phase, event, created, held });
            }
        }
        Ok(Self { outboxes, waiting, runtime })
    }

    /// Those of one event, in order, each with the event as it was then, for the outbox that has not reported it.
    fn of_event(&self, id: EventId) -> Vec<MigratedAlert> {
        let waiting = self.waiting.get(&id).into_iter().flatten();
        let migrated = waiting.filter_map(|alert| {
            let outbox = self.outboxes.get(alert.outbox)?.destination().clone();
            let (event, created) = (alert.event.clone(), alert.created.clone());
            let given_up = match &alert.held {
                Held::Waiting(_) => None,
                Held::Dead(_, how) => Some(how.clone()),
            };
            Some(MigratedAlert { outbox, phase: alert.phase, event, created, given_up })
        });
        migrated.collect()
    }

    /// The archive has them now.
    fn hand_over(&mut self, id: EventId) -> Result<()> {
        for alert in self.waiting.remove(&id).unwrap_or_default() {
            let Some(outbox) = self.outboxes.get(alert.outbox) else { continue };
            match alert.held {
                Held::Waiting(lease) => self.runtime.block_on(outbox.ack(&lease))?,
                Held::Dead(seq, _) => self.runtime.block_on(outbox.discard(seq))?,
            }
        }
        Ok(())
    }
}
