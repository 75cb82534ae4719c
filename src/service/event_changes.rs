//! What people do with events: they keep them, say something of them, have looked them through, delete them, and have
//! failed deliveries tried again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

use super::events::{EventRecord, EventService};
use super::playback::remove_cuts;
use crate::destination::Destination;
use crate::event::{
    Annotations, DeliveryState, Event, EventId, FileDelivery, Judgement, MOST_TAGS, check_note, check_tag,
};
use crate::retention::{Deletion, delete_event};
use crate::store::{ItemKind, QueueState, Selection, StoreError};

/// How long one command may go through its events before it answers that the rest is for later.
const WITHIN: Duration = Duration::from_secs(4);
/// How long the alerts of events that were deleted are looked for.
const ALERTS_WITHIN: Duration = Duration::from_secs(2);

/// What a person wants to be said of an event from now on; what is `None` stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventPatch {
    /// To be kept whatever its age.
    pub pinned: Option<bool>,
    /// All tags.
    pub tags: Option<Vec<String>>,
    /// The note; empty: none.
    pub note: Option<String>,
    /// Whether it was worth an alarm.
    pub verdict: Option<Judgement>,
    /// The caller has looked it through.
    pub reviewed: Option<bool>,
}

impl EventPatch {
    /// Whether it changes more than what the caller has looked through.
    pub fn is_for_all(&self) -> bool {
        let Self { pinned, tags, note, verdict, reviewed: _ } = self;
        pinned.is_some() || tags.is_some() || note.is_some() || verdict.is_some()
    }

    /// Checks what is to be said.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn check(&self) -> Result<(), String> {
        check_tags(self.tags.as_deref().unwrap_or_default())?;
        self.note.as_deref().map_or(Ok(()), check_note)
    }
}

fn check_tags(tags: &[String]) -> Result<(), String> {
    if tags.len() > MOST_TAGS {
        return Err(format!("an event has {MOST_TAGS} tags at most"));
    }
    tags.iter().try_for_each(|tag| check_tag(tag))
}

/// Why nothing was changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EventRefusal {
    /// There is no such event.
    Unknown,
    /// It is not any more as the caller knows it.
    Changed,
    /// It makes no sense; why, and what to do.
    Senseless(String),
}

/// What is done with many events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BulkAction {
    /// The caller has looked them through.
    Review,
    /// It has not.
    Unreview,
    /// Keep them.
    Pin,
    /// Keep them no longer than others.
    Unpin,
    /// Add tags.
    Tag,
    /// Take tags away.
    Untag,
    /// Delete them from the box.
    Delete,
    /// Try failed deliveries again.
    Retry,
}

/// A command to many events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BulkCommand {
    /// What is done.
    pub action: BulkAction,
    /// With which.
    pub ids: Vec<EventId>,
    /// The tags, of `tag` and `untag`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

impl BulkCommand {
    /// Events of one command.
    pub const MOST: usize = 100;

    /// Whether it changes more than what the caller has looked through.
    pub fn is_for_all(&self) -> bool {
        !matches!(self.action, BulkAction::Review | BulkAction::Unreview)
    }

    /// Checks what is to be done.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn check(&self) -> Result<(), String> {
        if !(1..=Self::MOST).contains(&self.ids.len()) {
            return Err(format!("ids has {}; allowed: 1 to {}", self.ids.len(), Self::MOST));
        }
        let is_about_tags = matches!(self.action, BulkAction::Tag | BulkAction::Untag);
        if is_about_tags == self.tags.is_empty() {
            return Err("tags are needed for the actions tag and untag, and for no other".to_owned());
        }
        check_tags(&self.tags)
    }
}

/// What became of one event of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum OutcomeState {
    /// It is done, or was so already.
    Done,
    /// There is no such event.
    NotFound,
    /// It makes no sense.
    Refused,
    /// The box could not.
    Failed,
    /// There was no time for it: the same command goes on.
    Later,
}

/// The same, with why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EventOutcome {
    /// The event.
    pub id: EventId,
    /// What became of it.
    pub outcome: OutcomeState,
    /// Why, where it is not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Of an event that was deleted: destinations that have files of it, which stay there.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kept_at: Vec<Destination>,
}

impl EventOutcome {
    fn of(id: EventId, outcome: OutcomeState) -> Self {
        Self { id, outcome, detail: None, kept_at: Vec::new() }
    }
}

impl EventService {
    /// Changes what is said of an event, on behalf of `by`, where it is still as `known` says (if that is given).
    ///
    /// # Errors
    /// When index or disk fail; within, why nothing was changed.
    pub async fn patch(
        &self,
        id: EventId,
        patch: EventPatch,
        by: Arc<str>,
        known: Option<Event>,
    ) -> Result<Result<(), EventRefusal>> {
        let (archive, clock) = (self.context().volume.archive(), self.context().clock.clone());
        let work = move || {
            if patch.is_for_all() {
                let annotated = archive.annotate(id, |event| {
                    let is_other =
                        |known: &Event| (known.pinned, &known.annotations) != (event.pinned, &event.annotations);
                    if known.as_ref().is_some_and(is_other) {
                        bail!(Changed);
                    }
                    Ok(apply(event, &patch, &by, || clock.now()))
                });
                match annotated {
                    Err(failure) if failure.is::<Changed>() => return Ok(Err(EventRefusal::Changed)),
                    annotated => {
                        if annotated?.is_none() {
                            return Ok(Err(EventRefusal::Unknown));
                        }
                    }
                }
            }
            if let Some(reviewed) = patch.reviewed
                && archive.review(id, &by, reviewed)?.is_none()
            {
                return Ok(Err(EventRefusal::Unknown));
            }
            Ok(Ok(()))
        };
        tokio::task::spawn_blocking(work).await?
    }

    /// Deletes an event from the box. Gives the destinations that have files of it.
    ///
    /// # Errors
    /// When index or disk fail; within, why it was not deleted.
    pub async fn delete(&self, record: &EventRecord) -> Result<Result<Vec<Destination>, EventRefusal>> {
        let outcome = self.delete_files(record).await?;
        if outcome.is_ok() {
            self.drop_alerts(vec![record.event.id]).await?;
        }
        Ok(outcome)
    }

    /// Tries failed deliveries of events again. Gives how many there were.
    ///
    /// # Errors
    /// When the index fails.
    pub async fn retry(&self, events: Vec<EventId>) -> Result<u64> {
        let selection = Selection { events, state: Some(QueueState::Dead), ..Selection::default() };
        let mut items = 0;
        for outlet in &self.context().configured().outlets {
            match self.context().store().outboxes().get(outlet) {
                Ok(outbox) => items += outbox.retry_selected(&selection).await?.items,
                Err(StoreError::NoSuchOutbox(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(items)
    }

    /// Does the same with many events, of those that `sees` holds for, on behalf of `by`. Gives what became of each, in
    /// their order.
    ///
    /// # Errors
    /// When the index fails as a whole.
    pub async fn bulk(
        &self,
        command: BulkCommand,
        by: Arc<str>,
        sees: impl Fn(&EventRecord) -> bool,
    ) -> Result<Vec<EventOutcome>> {
        let begun = Instant::now();
        let (mut outcomes, mut deleted, mut failed) = (Vec::with_capacity(command.ids.len()), Vec::new(), Vec::new());
        for id in &command.ids {
            if begun.elapsed() >= WITHIN {
                outcomes.push(EventOutcome::of(*id, OutcomeState::Later));
                continue;
            }
            let Some(record) = self.get(*id).await?.filter(&sees) else {
                outcomes.push(EventOutcome::of(*id, OutcomeState::NotFound));
                continue;
            };
            let outcome = match command.action {
                BulkAction::Delete => self.delete_files(&record).await,
                BulkAction::Retry => {
                    failed.extend(has_failed(&record).then_some(*id));
                    Ok(Ok(Vec::new()))
                }
                action => self.apply_one(action, &record, &command.tags, by.clone()).await,
            };
            if command.action == BulkAction::Delete && matches!(outcome, Ok(Ok(_))) {
                deleted.push(*id);
            }
            outcomes.push(outcome_of(*id, outcome));
        }
        if !deleted.is_empty() {
            self.drop_alerts(deleted).await?;
        }
        if !failed.is_empty() {
            self.retry(failed).await?;
        }
        Ok(outcomes)
    }

    async fn apply_one(
        &self,
        action: BulkAction,
        record: &EventRecord,
        tags: &[String],
        by: Arc<str>,
    ) -> Result<Result<Vec<Destination>, EventRefusal>> {
        let known = record.event.annotations.as_ref().map(|said| said.tags.as_slice()).unwrap_or_default();
        let mut patch = EventPatch::default();
        match action {
            BulkAction::Review => patch.reviewed = Some(true),
            BulkAction::Unreview => patch.reviewed = Some(false),
            BulkAction::Pin => patch.pinned = Some(true),
            BulkAction::Unpin => patch.pinned = Some(false),
            BulkAction::Tag => {
                let new = tags.iter().filter(|tag| known.iter().all(|known| **known != ***tag));
                patch.tags = Some(known.iter().map(|tag| tag.to_string()).chain(new.cloned()).collect());
            }
            BulkAction::Untag => {
                let stays = known.iter().filter(|known| tags.iter().all(|tag| ***known != **tag));
                patch.tags = Some(stays.map(|tag| tag.to_string()).collect());
            }
            BulkAction::Delete | BulkAction::Retry => {}
        }
        if let Err(why) = patch.check() {
            return Ok(Err(EventRefusal::Senseless(why)));
        }
        // Tags are those that it had a moment ago.
        let known = patch.tags.is_some().then(|| record.event.clone());
        Ok(self.patch(record.event.id, patch, by, known).await?.map(|()| Vec::new()))
    }

    async fn delete_files(&self, record: &EventRecord) -> Result<Result<Vec<Destination>, EventRefusal>> {
        let (archive, id) = (self.context().volume.archive(), record.event.id);
        let senseless = |why: &str| Ok(Err(EventRefusal::Senseless(why.to_owned())));
        let delete = move || {
            let deleted = delete_event(&archive, id)?;
            if deleted == Deletion::Done {
                remove_cuts(&archive, id);
            }
            anyhow::Ok(deleted)
        };
        match tokio::task::spawn_blocking(delete).await?? {
            Deletion::Unknown => Ok(Err(EventRefusal::Unknown)),
            Deletion::GoingOn => senseless("the event is still going on: delete it when it is over"),
            Deletion::Pinned => senseless("the event is pinned: unpin it first"),
            Deletion::Done => {
                let is_there = |file: &FileDelivery| file.state == DeliveryState::Delivered;
                let kept = record.delivery.iter().filter(|outlet| outlet.files.iter().any(is_there));
                Ok(Ok(kept.map(|outlet| outlet.outlet.clone()).collect()))
            }
        }
    }

    /// Takes the alerts of events that are gone out of the queues, and out of the dead letters.
    async fn drop_alerts(&self, events: Vec<EventId>) -> Result<()> {
        let selection = Selection { events, kind: Some(ItemKind::Alert), ..Selection::default() };
        for outlet in self.context().configured().outlets.iter().filter(|outlet| outlet.takes_alerts()) {
            match self.context().store().outboxes().get(outlet) {
                Ok(outbox) => drop(outbox.drop_selected(&selection, ALERTS_WITHIN).await?),
                Err(StoreError::NoSuchOutbox(_)) => {}
                Err(other) => return Err(other.into()),
            }
        }
        Ok(())
    }
}

/// The event is not as the caller knows it.
#[derive(Debug, thiserror::Error)]
#[error("it was changed meanwhile")]
struct Changed;

/// Returns whether that changed anything.
fn apply(event: &mut Event, patch: &EventPatch, by: &Arc<str>, now: impl FnOnce() -> crate::clock::Moment) -> bool {
    let pinned = patch.pinned.unwrap_or(event.pinned);
    let known = event.annotations.clone();
    let (mut tags, mut note, mut verdict) =
        known.as_ref().map(|said| (said.tags.clone(), said.note.clone(), said.verdict)).unwrap_or_default();
    if let Some(wanted) = &patch.tags {
        tags.clear();
        for tag in wanted {
            if tags.iter().all(|known| **known != **tag) {
                tags.push(tag.as_str().into());
            }
        }
    }
    if let Some(wanted) = &patch.note {
        note = wanted.trim_end().into();
    }
    if let Some(judgement) = patch.verdict {
        verdict = judgement.verdict();
    }
    let before = known.map(|said| (said.tags, said.note, said.verdict)).unwrap_or_default();
    if event.pinned == pinned && before == (tags.clone(), note.clone(), verdict) {
        return false;
    }
    event.pinned = pinned;
    event.annotations = Some(Annotations { tags, note, verdict, by: by.clone(), at: now() });
    true
}

fn has_failed(record: &EventRecord) -> bool {
    record.delivery.iter().any(|outlet| outlet.state == DeliveryState::Failed)
}

fn outcome_of(id: EventId, outcome: Result<Result<Vec<Destination>, EventRefusal>>) -> EventOutcome {
    let with = |outcome, detail: String| EventOutcome { detail: Some(detail), ..EventOutcome::of(id, outcome) };
    match outcome {
        Ok(Ok(kept_at)) => EventOutcome { kept_at, ..EventOutcome::of(id, OutcomeState::Done) },
        Ok(Err(EventRefusal::Unknown)) => EventOutcome::of(id, OutcomeState::NotFound),
        Ok(Err(EventRefusal::Changed)) => with(OutcomeState::Refused, "it was changed meanwhile: try again".to_owned()),
        Ok(Err(EventRefusal::Senseless(why))) => with(OutcomeState::Refused, why),
        Err(failure) => {
            tracing::warn!(event = %id, error = format!("{failure:#}"), "an event could not be changed");
            with(OutcomeState::Failed, "the box could not; its log says why".to_owned())
        }
    }
}
