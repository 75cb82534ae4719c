//! What people do with events that are there: they say something of them, keep them, have looked them through.
//!
//! What is said of an event changes in the index first, together with the note that `event.json` is still to say so,
//! then in `event.json`, then the index queues that for delivery and drops the note. What a power cut interrupts is
//! finished at the next start. So the answer to who said it means: it is in both.
//!
//! Who has looked an event through is nothing that destinations need to know, and would send them each `event.json` again
//! with each look: it has a file of its own beside, which goes with the event.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::context::Archive;
use super::sidecar::{read_event, write_durable, write_event};
use crate::asset::MediaKind;
use crate::event::{Event, EventId, EventState, Reviewed};
use crate::store::{Amendment, HeldFile};

/// Who has looked the event through, beside its `event.json`.
pub const REVIEWED: &str = "reviewed.json";

/// Version of that file.
const VERSION: u32 = 1;

/// What [`REVIEWED`] holds.
#[derive(Serialize, Deserialize)]
struct Written {
    version: u32,
    reviewed: Vec<Reviewed>,
}

impl Archive {
    /// Changes what people say of an event, or whether it is pinned: `change` says whether there is anything to do, and
    /// leaves all else alone. Gives the event as it is then; `None` where there is no such event. It is durable then.
    /// The events in whose clips the video of a pinned one lies are pinned before it.
    ///
    /// # Errors
    /// When the file system or the index refuses, and what `change` refuses; the event has not changed then.
    pub fn annotate(&self, id: EventId, change: impl FnOnce(&mut Event) -> Result<bool>) -> Result<Option<Event>> {
        let _changing = self.changing_sidecars();
        let Some(known) = self.store.events().get(id).wait()? else { return Ok(None) };
        // Its recorder writes the sidecar of an event that goes on, at its end. So may a holder of its video.
        let may_go_on = known.state == EventState::Open || !known.shares.is_empty();
        let _ending = may_go_on.then(|| self.ending.write());
        let Some(known) = self.store.events().get(id).wait()? else { return Ok(None) };
        let mut event = known.clone();
        let has_changed = change(&mut event)?;
        self.pin_holders(&event)?;
        if !has_changed {
            return Ok(Some(known));
        }
        self.say(known, &event)?;
        Ok(Some(event))
    }

    /// Writes into index and sidecar what is said of `event`, which was `known` so far.
    fn say(&self, known: Event, event: &Event) -> Result<()> {
        let id = event.id;
        self.store.assets().annotate(event.clone())?;
        self.write_annotations(event).inspect_err(|_| {
            let restored = self.store.assets().annotate(known).and_then(|()| self.store.assets().annotated(id));
            if let Err(error) = restored {
                warn!(event = %id, %error, "what was said of an event is kept, although it was answered that it is not");
            }
        })
    }

    /// Keeps an event whatever its age and however little space there is, or no longer so. Returns whether there is such
    /// an event.
    ///
    /// # Errors
    /// As [`Archive::annotate`].
    pub fn pin(&self, id: EventId, pinned: bool) -> Result<bool> {
        let pin = |event: &mut Event| Ok(std::mem::replace(&mut event.pinned, pinned) != pinned);
        Ok(self.annotate(id, pin)?.is_some())
    }

    /// Pins the events in whose clips the video of an event lies that is pinned. Nothing of theirs ends meanwhile.
    fn pin_holders(&self, event: &Event) -> Result<()> {
        let held_by = |event: &Event| event.shares.iter().map(|part| part.event).collect::<Vec<_>>();
        let mut holders = if event.pinned { held_by(event) } else { Vec::new() };
        // All of the video of a holder that is shown as pinned is kept too.
        while let Some(id) = holders.pop() {
            let Some(known) = self.store.events().get(id).wait()?.filter(|known| !known.pinned) else { continue };
            holders.extend(held_by(&known));
            let pinned = Event { pinned: true, ..known.clone() };
            self.say(known, &pinned)?;
        }
        Ok(())
    }

    /// The same of an event whose parts are new.
    ///
    /// # Errors
    /// As [`Archive::annotate`].
    pub fn keep_holders(&self, event: &Event) -> Result<()> {
        if !event.pinned || event.shares.is_empty() {
            return Ok(());
        }
        let _changing = self.changing_sidecars();
        let _ending = self.ending.write();
        self.pin_holders(event)
    }

    /// Writes into `event.json` what the index says that people say, where a stop came in between.
    ///
    /// # Errors
    /// When the index fails; what is wrong with one event is reported.
    pub(crate) fn finish_annotations(&self) -> Result<()> {
        for id in self.store.assets().unwritten_annotations()? {
            let _changing = self.changing_sidecars();
            let Some(event) = self.store.events().get(id).wait()? else { continue };
            match self.write_annotations(&event) {
                Ok(()) => info!(event = %id, "wrote down what was said of an event before the last stop"),
                Err(failure) => {
                    warn!(event = %id, error = format!("{failure:#}"), "what was said of an event is in the index alone");
                }
            }
        }
        Ok(())
    }

    fn write_annotations(&self, event: &Event) -> Result<()> {
        let folder = self.layout.folder(&event.camera, event.id);
        let mut written = match read_event(&folder, &event.camera, event.id) {
            Ok(written) => written,
            // Its folder went by hand: what is delivered of it is what the index knows.
            Err(failure) if !folder.is_dir() => return Err(failure.context("the event's folder is gone")),
            Err(failure) => {
                warn!(event = %event.id, error = format!("{failure:#}"), "rewriting the sidecar from the index");
                event.clone()
            }
        };
        (written.pinned, written.annotations) = (event.pinned, event.annotations.clone());
        let sidecar = self.with_room(|| write_event(&folder, &written))?;
        let is_sidecar = |file: &HeldFile| file.media.kind == MediaKind::EventSidecar;
        let is_queued = || -> Result<bool> {
            Ok(written.filed.is_some() || self.store.assets().files_of(event.id)?.iter().any(is_sidecar))
        };
        // Else it is queued at the event's end, or once that has its day.
        if written.state != EventState::Open && is_queued()? {
            self.store.assets().amend(vec![Amendment { event: written, sidecar, dropped: Vec::new() }])?;
        }
        Ok(self.store.assets().annotated(event.id)?)
    }

    /// Notes that `by` has looked an event through, or has not. Gives all users who have; `None` where there is no such
    /// event. It is durable then.
    ///
    /// # Errors
    /// When the file system or the index refuses.
    pub fn review(&self, id: EventId, by: &str, reviewed: bool) -> Result<Option<Vec<Reviewed>>> {
        let _changing = self.changing_sidecars();
        let Some(event) = self.store.events().get(id).wait()? else { return Ok(None) };
        let folder = self.layout.folder(&event.camera, id);
        let mut all = match reviewed_of(&folder) {
            Ok(all) => all,
            Err(failure) => {
                warn!(event = %id, error = format!("{failure:#}"), "rewriting from the index who has looked an event through");
                self.store.events().reviewed(vec![id]).wait()?.into_iter().flatten().collect()
            }
        };
        if all.iter().any(|known| *known.by == *by) != reviewed {
            all.retain(|known| *known.by != *by);
            if reviewed {
                all.push(Reviewed { by: by.into(), at: self.clock.wall() });
            }
            self.with_room(|| write_reviewed(&folder, &all))?;
        }
        // Also where the file said so: a power cut may have come before the index heard of it.
        self.store.events().set_reviewed(id, all.clone())?;
        Ok(Some(all))
    }
}

/// Who has looked the event of `folder` through.
///
/// # Errors
/// When that cannot be read, or is from a newer version of Outpost.
pub(crate) fn reviewed_of(folder: &Path) -> Result<Vec<Reviewed>> {
    let path = folder.join(REVIEWED);
    let text = match fs::read(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.with_context(|| format!("read {}", path.display()))?,
    };
    let Written { version, reviewed } =
        serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
    if version > VERSION {
        bail!("{} has version {version}, this Outpost knows up to {VERSION}: update it", path.display());
    }
    Ok(reviewed)
}

/// Writes who has looked the event of `folder` through.
///
/// # Errors
/// When the file system refuses.
pub(crate) fn write_reviewed(folder: &Path, all: &[Reviewed]) -> Result<()> {
    let mut text = serde_json::to_vec(&Written { version: VERSION, reviewed: all.to_vec() }).context("encode it")?;
    text.push(b'\n');
    write_durable(folder, REVIEWED, &text)?;
    Ok(())
}
