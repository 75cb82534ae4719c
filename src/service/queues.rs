//! What waits for delivery, and what can be done about it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use serde::{Deserialize, Serialize};

use super::context::Context;
use crate::clock::Moment;
use crate::destination::Destination;
use crate::event::EventId;
use crate::status::QueueStatus;
use crate::store::{DeadLetter, Delivery, Outbox, Selected, Selection, Stats, StoreError, Waiting};

/// How long one command may go through a queue before it answers that there is more: its caller waits.
const WITHIN: Duration = Duration::from_secs(3);

/// How far an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemState {
    /// It goes when its turn comes.
    Waiting,
    /// It is on its way.
    Sending,
    /// It failed and is tried again later.
    Resting,
    /// It was given up.
    Dead,
}

/// An item of a queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct QueueItem {
    /// Its number.
    pub seq: u64,
    /// How far it is.
    pub state: ItemState,
    /// The event that it reports or belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<EventId>,
    /// What is to be delivered: a file's name, a document's path, `alert start`.
    pub what: String,
    /// Its size in bytes; 0 for alerts.
    pub bytes: u64,
    /// Tries that failed through its own fault.
    pub attempts: u32,
    /// When it was recorded.
    pub created: Moment,
    /// While it rests: seconds until it is tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rests_s: Option<u64>,
    /// What kind of failure made it a dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// What went wrong last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Which items are wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueueQuery {
    /// `upload/<name>`, `mqtt`.
    pub outlet: String,
    /// Those that were given up, oldest first; else those that wait, in the order in which they go.
    pub dead: bool,
    /// At most so many.
    pub limit: usize,
}

/// What a person wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum QueueAction {
    /// Try again now: dead letters, or items that rest.
    Retry,
    /// Deliver no more: dead letters, or items that wait.
    Drop,
    /// Send nothing until it is resumed.
    Pause,
    /// Send again.
    Resume,
}

/// A command to one queue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QueueCommand {
    /// `upload/<name>`, `mqtt`.
    pub outlet: String,
    /// The item.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Or many; with neither: all dead letters, or the whole queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<Selection>,
    /// Only count what it would be about.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
}

/// What became of a command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueAnswer {
    /// Items, or queues, for which it changed something, or would.
    pub changed: u64,
    /// Size of these items; 0 for alerts.
    #[serde(default)]
    pub bytes: u64,
    /// Of these, items that were on their way: what is dropped then may still arrive.
    #[serde(default)]
    pub sending: u64,
    /// There was no time for all: the same command again goes on.
    #[serde(default)]
    pub more: bool,
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such queue.
    UnknownOutlet,
    /// It makes no sense; why.
    Senseless(String),
}

/// Reports on queues and carries out commands to them.
#[derive(Clone)]
pub struct QueueService(Arc<Context>);

impl QueueService {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self(context)
    }

    /// One queue and its outlet, by the numbers in `stats`; empty where the queue never held anything.
    pub fn status(&self, outlet: &Destination, stats: &Stats) -> QueueStatus {
        let (now, outlets) = (self.0.clock.now(), self.0.health.outlets());
        let name = outlet.as_str();
        let health = outlets.iter().find(|known| known.name == name);
        let mut status = QueueStatus::new(name, health, self.0.started, now.mono());
        if let Some(queue) = stats.outboxes.iter().find(|queue| queue.name == *outlet) {
            (status.items, status.bytes, status.dead_letters) = (queue.items, queue.bytes, queue.dead_letters);
            status.oldest_wait_s = queue.oldest.as_ref().and_then(|created| waited_s(created, &now));
        }
        status.paused = self.0.control.switches().paused.contains(outlet);
        status.estimate();
        status
    }

    /// What waits in a queue, or was given up; `None` where there is no such queue.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn items(&self, query: QueueQuery) -> Result<Option<Vec<QueueItem>>> {
        let Some(outbox) = self.outbox(&query.outlet)? else { return Ok(None) };
        let items = if query.dead {
            outbox.dead_letters(query.limit).await?.into_iter().map(dead).collect()
        } else {
            outbox.items(query.limit).await?.into_iter().map(waiting).collect()
        };
        Ok(Some(items))
    }

    /// Carries out a command, or says why not.
    ///
    /// # Errors
    /// When index or disk fail.
    pub async fn command(&self, action: QueueAction, command: QueueCommand) -> Result<Result<QueueAnswer, Refusal>> {
        let Some(outbox) = self.outbox(&command.outlet)? else { return Ok(Err(Refusal::UnknownOutlet)) };
        if matches!(action, QueueAction::Pause | QueueAction::Resume) {
            return self.pause_or_resume(action, &command).await;
        }
        let selection = match (command.seq, command.select) {
            (Some(_), Some(_)) => {
                return Ok(Err(Refusal::Senseless("seq and select exclude each other".to_owned())));
            }
            (Some(seq), None) => Selection::number(seq),
            (None, Some(select)) if select == Selection::default() => {
                let why = "select is empty, which would be everything: name at least a state".to_owned();
                return Ok(Err(Refusal::Senseless(why)));
            }
            (None, Some(select)) => select,
            (None, None) => Selection::dead(),
        };
        let selected = match action {
            _ if command.dry_run => outbox.count_selected(&selection, WITHIN).await?,
            QueueAction::Retry => outbox.retry_selected(&selection).await?,
            _ => outbox.drop_selected(&selection, WITHIN).await?,
        };
        let Selected { items, bytes, sending, more } = selected;
        Ok(Ok(QueueAnswer { changed: items, bytes, sending, more }))
    }

    async fn pause_or_resume(
        &self,
        action: QueueAction,
        command: &QueueCommand,
    ) -> Result<Result<QueueAnswer, Refusal>> {
        if command.seq.is_some() || command.select.is_some() || command.dry_run {
            return Ok(Err(Refusal::Senseless("a queue is paused as a whole: name the outlet alone".to_owned())));
        }
        let Some(upload) = command.outlet.parse().ok().filter(Destination::takes_files) else {
            let why = format!("only uploads can be paused, and {} is none", command.outlet);
            return Ok(Err(Refusal::Senseless(why)));
        };
        let changed = self.switch(upload, action == QueueAction::Pause).await?;
        Ok(Ok(QueueAnswer { changed, ..QueueAnswer::default() }))
    }

    fn outbox(&self, name: &str) -> Result<Option<Outbox>> {
        let Ok(destination) = name.parse() else { return Ok(None) };
        match self.0.store().outboxes().get(&destination) {
            Ok(outbox) => Ok(Some(outbox)),
            Err(StoreError::NoSuchOutbox(_)) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    async fn switch(&self, upload: Destination, pause: bool) -> Result<u64> {
        let control = self.0.control.clone();
        let changed = tokio::task::spawn_blocking(move || {
            let mut changed = false;
            control.change(|switches| changed = switches.set_paused(&upload, pause))?;
            Ok::<_, std::io::Error>(changed)
        });
        Ok(u64::from(changed.await??))
    }
}

/// For how long an item waits: by the boot clock where it is of this boot, by the wall where it is older.
fn waited_s(created: &Moment, now: &Moment) -> Option<u64> {
    if created.boot_id == now.boot_id {
        return Some(now.mono().since(created.mono()).as_secs());
    }
    u64::try_from(now.wall.as_second() - created.wall.as_second()).ok()
}

/// A name for it, and its size.
fn describe(item: &Delivery) -> (String, u64) {
    match item {
        Delivery::Alert(phase) => (format!("alert {}", phase.as_str()), 0),
        Delivery::Upload(media) => (media.file.clone(), media.bytes),
        Delivery::Document(document) => (document.path.clone(), document.bytes),
    }
}

fn waiting(item: Waiting) -> QueueItem {
    let (what, bytes) = describe(&item.item);
    let state = match (item.leased, item.rests_s) {
        (true, _) => ItemState::Sending,
        (false, Some(_)) => ItemState::Resting,
        (false, None) => ItemState::Waiting,
    };
    QueueItem {
        seq: item.seq,
        state,
        event: item.event,
        what,
        bytes,
        attempts: item.attempts,
        created: item.created,
        rests_s: item.rests_s,
        class: None,
        error: item.error,
    }
}

fn dead(letter: DeadLetter) -> QueueItem {
    let (what, bytes) = describe(&letter.item);
    QueueItem {
        seq: letter.seq,
        state: ItemState::Dead,
        event: letter.event,
        what,
        bytes,
        attempts: letter.attempts,
        created: letter.created,
        rests_s: None,
        class: Some(letter.class),
        error: Some(letter.error),
    }
}
