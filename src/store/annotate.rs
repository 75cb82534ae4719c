//! What a commit changes of what people say of events, and of who has looked them through.

use super::StoreError;
use super::annotations::Row;
use super::changes::ChangeKind;
use super::commit::Group;
use super::schema::{decode, encode};
use crate::event::{Event, EventId, Reviewed};

/// Bytes that the list of those who looked through one event may take; the first ones go.
const MOST_BYTES: usize = 3 * 1024;

impl Group<'_> {
    /// People say this of an event from now on, which `event.json` is still to say.
    pub(super) fn annotate(&mut self, event: &Event) -> Result<(), StoreError> {
        let row = Row { said: event.annotations.clone(), unwritten: true };
        self.views.annotations.insert(event.id.to_bytes(), encode(&row)?)?;
        self.note_change(event.id, ChangeKind::Update)
    }

    /// `event.json` says what people say.
    pub(super) fn annotation_written(&mut self, id: EventId) -> Result<(), StoreError> {
        let Some(row) = self.views.annotations.get(id.to_bytes())? else { return Ok(()) };
        let row = Row { unwritten: false, ..decode(&row)? };
        self.views.annotations.insert(id.to_bytes(), encode(&row)?)?;
        Ok(())
    }

    /// What an `event.json` says, where the index knows nothing of that: the index is the one that people change first.
    pub(super) fn take_annotations(&mut self, event: &Event) -> Result<(), StoreError> {
        let Some(said) = &event.annotations else { return Ok(()) };
        if self.views.annotations.get(event.id.to_bytes())?.is_none() {
            let row = Row { said: Some(said.clone()), unwritten: false };
            self.views.annotations.insert(event.id.to_bytes(), encode(&row)?)?;
        }
        Ok(())
    }

    /// These have looked an event through, and no other.
    pub(super) fn review(&mut self, id: EventId, by: &[Reviewed]) -> Result<(), StoreError> {
        // The event may have gone meanwhile.
        if self.views.events.get(id.to_bytes())?.is_none() {
            return Ok(());
        }
        let mut by = by;
        while let Some((_, rest)) = by.split_first()
            && encode(&by)?.len() > MOST_BYTES
        {
            by = rest;
        }
        if by.is_empty() {
            self.views.reviewed.remove(id.to_bytes())?;
        } else {
            self.views.reviewed.insert(id.to_bytes(), encode(&by)?)?;
        }
        self.note_change(id, ChangeKind::Update)
    }
}
