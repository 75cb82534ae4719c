//! What a person sees of the queues, and can do about them.

use anyhow::Result;

use super::backend::PageBackend;
use crate::store::{DeadLetter, Delivery, Outbox, StoreError, Waiting};
use crate::web::{ItemState, QueueAction, QueueAnswer, QueueCommand, QueueItem, QueueQuery, Refusal};

/// Dead letters that one command deals with at a time.
const BATCH: usize = 500;

impl PageBackend {
    fn outbox(&self, name: &str) -> Result<Option<Outbox>> {
        match self.store().outbox(name) {
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
        let changed = match (action, command.seq) {
            (QueueAction::Pause | QueueAction::Resume, Some(_)) => {
                return Ok(Err(Refusal::Senseless("a queue is paused as a whole: leave out seq".to_owned())));
            }
            (QueueAction::Pause | QueueAction::Resume, None) => {
                if !command.outlet.starts_with("upload/") {
                    let why = format!("only uploads can be paused, and {} is none", command.outlet);
                    return Ok(Err(Refusal::Senseless(why)));
                }
                self.switch(&command.outlet, action == QueueAction::Pause).await?
            }
            (QueueAction::Retry, Some(seq)) => {
                let known = outbox.is_dead(seq).await? || outbox.contains(seq).await?;
                outbox.revive(seq).await?;
                outbox.hurry(seq);
                u64::from(known)
            }
            (QueueAction::Drop, Some(seq)) => u64::from(outbox.drop_item(seq).await?),
            (QueueAction::Retry | QueueAction::Drop, None) => all_dead(&outbox, action).await?,
        };
        Ok(Ok(QueueAnswer { changed }))
    }

    async fn switch(&self, outlet: &str, pause: bool) -> Result<u64> {
        let (control, outlet) = (self.control(), outlet.to_owned());
        let changed = tokio::task::spawn_blocking(move || {
            let mut changed = false;
            control.change(|switches| {
                changed = if pause { switches.paused.insert(outlet) } else { switches.paused.remove(&outlet) };
            })?;
            Ok::<_, std::io::Error>(changed)
        });
        Ok(u64::from(changed.await??))
    }
}

/// Puts all dead letters back, or forgets them.
async fn all_dead(outbox: &Outbox, action: QueueAction) -> Result<u64> {
    let mut changed = 0;
    loop {
        let letters = outbox.dead_letters(BATCH).await?;
        for letter in &letters {
            if action == QueueAction::Retry {
                outbox.revive(letter.seq).await?;
            } else {
                outbox.discard(letter.seq).await?;
            }
            changed += 1;
        }
        if letters.len() < BATCH {
            return Ok(changed);
        }
    }
}

/// A name for it, and its size.
fn describe(item: &Delivery) -> (String, u64) {
    match item {
        Delivery::Alert(phase) => (format!("alert {}", phase.as_str()), 0),
        Delivery::Upload { file, bytes, .. } => (file.clone(), *bytes),
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
