//! What a person sees of the queues, and can do about them.

use std::time::Duration;

use anyhow::Result;

use super::backend::PageBackend;
use crate::destination::Destination;
use crate::store::{DeadLetter, Delivery, Outbox, Selected, Selection, StoreError, Waiting};
use crate::web::{ItemState, QueueAction, QueueAnswer, QueueCommand, QueueItem, QueueQuery, Refusal};

/// How long one command may go through a queue before it answers that there is more: its caller waits.
const WITHIN: Duration = Duration::from_secs(3);

impl PageBackend {
    fn outbox(&self, name: &str) -> Result<Option<Outbox>> {
        let Ok(destination) = name.parse() else { return Ok(None) };
        match self.store().outboxes().get(&destination) {
            Ok(outbox) => Ok(Some(outbox)),
            Err(StoreError::NoSuchOutbox(_)) => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    pub(super) async fn items_of(&self, query: QueueQuery) -> Result<Option<Vec<QueueItem>>> {
        let Some(outbox) = self.outbox(&query.outlet)? else { return Ok(None) };
        let items = if query.dead {
            outbox.dead_letters(query.limit).await?.into_iter().map(dead).collect()
        } else {
            outbox.items(query.limit).await?.into_iter().map(waiting).collect()
        };
        Ok(Some(items))
    }

    pub(super) async fn carry_out(
        &self,
        action: QueueAction,
        command: QueueCommand,
    ) -> Result<Result<QueueAnswer, Refusal>> {
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

    async fn switch(&self, upload: Destination, pause: bool) -> Result<u64> {
        let control = self.control();
        let changed = tokio::task::spawn_blocking(move || {
            let mut changed = false;
            control.change(|switches| {
                changed = if pause { switches.paused.insert(upload) } else { switches.paused.remove(&upload) };
            })?;
            Ok::<_, std::io::Error>(changed)
        });
        Ok(u64::from(changed.await??))
    }
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
