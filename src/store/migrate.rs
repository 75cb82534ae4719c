//! From older schemas to this one.
//!
//! Version 1 has no catalogue: its events are noted as not yet catalogued, and the archive, which can measure their
//! files, takes them in while the daemon runs. Versions 1 and 2 have one row for each entry: such an index is as good as
//! it is, and is packed step by step whenever the writer has nothing else to do. How far that came is committed
//! together with what was packed. Versions before 4 have no lanes: what waits there goes last (`place`). Versions before
//! 5 have not noted when their events began: a search by time looks at all of those (`event_times`).

use super::catalog::UNCATALOGUED;
use super::schema::VERSION;
use super::trees::{Database, Views};
use super::{StoreError, event_log, event_times};
use crate::event::EventId;

/// Key in `meta`: the tree that is being packed, 0, and the last key that was looked at; gone when all are packed.
const UNPACKED: &str = "unpacked";

/// Brings an older schema up to [`VERSION`], in one small step.
pub(super) fn begin(db: &Database) -> Result<(), StoreError> {
    let version = match db.meta.get("version")? {
        None if db.events.is_empty() && db.outbox.is_empty() => {
            let mut fresh = sled::Batch::default();
            let (key, from) = event_times::begin_after(None);
            fresh.insert(key, &from);
            fresh.insert("version", &VERSION.to_be_bytes());
            return Ok(db.meta.apply_batch(fresh)?);
        }
        None => return Err(StoreError::Corrupt("the schema version is missing".into())),
        Some(bytes) => bytes.as_ref().try_into().map(u32::from_be_bytes),
    };
    let mut changes = sled::Batch::default();
    match version {
        Ok(VERSION) => return Ok(()),
        Ok(1) => changes.insert(UNCATALOGUED, &EventId::from_bytes([0; 16]).to_bytes()),
        Ok(2..=4) => {}
        Ok(found) if found > VERSION => return Err(StoreError::NewerSchema { found, known: VERSION }),
        _ => return Err(StoreError::Corrupt("the schema version is not one".into())),
    }
    if matches!(version, Ok(1 | 2)) {
        let first = db.packed().first().map_or("", |(name, _)| name);
        changes.insert(UNPACKED, [first.as_bytes(), &[0]].concat());
    }
    let (key, from) = event_times::begin_after(event_log::newest_id(db)?);
    changes.insert(key, &from);
    changes.insert("version", &VERSION.to_be_bytes());
    Ok(db.meta.apply_batch(changes)?)
}

/// Packs a few hundred rows that an older schema left. Returns whether there may be more.
pub(super) fn pack_some(db: &Database) -> Result<bool, StoreError> {
    let Some(at) = db.meta.get(UNPACKED)? else { return Ok(false) };
    let views = Views::new(db);
    let names: Vec<&str> = db.packed().iter().map(|(name, _)| *name).collect();
    let mut parts = at.splitn(2, |byte| *byte == 0);
    let (tree, after) = (parts.next().unwrap_or_default(), parts.next().filter(|after| !after.is_empty()));
    // A tree that is not known any more was the last of its time: nothing that this version has is left out.
    let current = names.iter().position(|name| name.as_bytes() == tree);
    let (view, name) = match current.and_then(|index| Some((views.packed().get(index).copied()?, names.get(index)?))) {
        Some(found) => found,
        None => {
            views.meta.remove(UNPACKED)?;
            views.commit(db)?;
            return Ok(false);
        }
    };
    let next = match view.repack(after)? {
        Some(last) => Some([name.as_bytes(), &[0], &last].concat()),
        None => current.and_then(|index| names.get(index + 1)).map(|next| [next.as_bytes(), &[0]].concat()),
    };
    match &next {
        Some(next) => views.meta.insert(UNPACKED, next.as_slice())?,
        None => views.meta.remove(UNPACKED)?,
    };
    views.commit(db)?;
    Ok(next.is_some())
}
