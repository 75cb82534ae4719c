//! The executions: what a commit does to them, and how they are read.

use std::ops::Bound;
use std::sync::Arc;

use super::StoreError;
use super::commit::Group;
use super::schema::{decode, encode, id_of};
use super::trees::Database;
use crate::execution::{ExecutionId, ExecutionState, ExecutionSummary};

/// Largest execution in the index, bytes of JSON.
const LARGEST: usize = 3 * 1024;
/// Rows that one question looks at.
const MOST_LOOKED_AT: usize = 20_000;
/// Key of what they take in all, in `execution_usage`.
const ALL: &[u8] = b"all";

/// Which executions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecutionQuery {
    /// Those of this user or key.
    pub owner: Option<Arc<str>>,
    /// Those of the pipeline with this name.
    pub pipeline: Option<String>,
    /// Those that are as far as this.
    pub state: Option<ExecutionState>,
    /// Those that were given together.
    pub batch: Option<ExecutionId>,
    /// Those that are older than this one.
    pub before: Option<ExecutionId>,
    /// At most so many.
    pub limit: usize,
}

/// Executions, the newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ExecutionsFound {
    /// The executions.
    pub executions: Vec<ExecutionSummary>,
    /// Where the next page begins; none after the last.
    pub next: Option<ExecutionId>,
}

/// What executions take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExecutionUsage {
    /// How many there are.
    pub executions: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// How many of them are not over.
    pub open: u64,
}

impl ExecutionUsage {
    fn to_bytes(self) -> Vec<u8> {
        [self.executions, self.bytes, self.open].iter().flat_map(|number| number.to_be_bytes()).collect()
    }

    fn from_bytes(row: &[u8]) -> Self {
        let mut numbers = row.as_chunks().0.iter().map(|bytes| u64::from_be_bytes(*bytes));
        let mut next = || numbers.next().unwrap_or(0);
        Self { executions: next(), bytes: next(), open: next() }
    }

    fn change(&mut self, of: &ExecutionSummary, came: bool) {
        let step = |number: &mut u64, by: u64| {
            *number = if came { number.saturating_add(by) } else { number.saturating_sub(by) };
        };
        step(&mut self.executions, 1);
        step(&mut self.bytes, of.bytes);
        step(&mut self.open, u64::from(!of.state.is_over()));
    }
}

/// The execution as the index keeps it.
pub(super) fn index_form(summary: &ExecutionSummary) -> Result<Vec<u8>, StoreError> {
    let json = encode(summary)?;
    if json.len() > LARGEST {
        return Err(StoreError::TooLarge { what: "an execution", bytes: json.len(), limit: LARGEST });
    }
    Ok(json)
}

/// The key of what `owner` sent under `key`.
pub(super) fn key_of(owner: &str, key: &str) -> Vec<u8> {
    [owner.as_bytes(), &[0], key.as_bytes()].concat()
}

impl Group<'_> {
    /// Puts an execution into the index, or a newer state in place of the older.
    pub(super) fn put_execution(
        &mut self,
        summary: &ExecutionSummary,
        json: &[u8],
        key: Option<&str>,
    ) -> Result<(), StoreError> {
        let id = summary.id.to_bytes();
        let known = self.views.executions.insert(id, json)?.map(|row| decode(&row)).transpose()?;
        if summary.state.is_over() {
            self.views.open_executions.remove(id)?;
        } else {
            self.views.open_executions.insert(id, &[])?;
        }
        if let Some(key) = key {
            self.views.execution_keys.insert(key_of(&summary.owner, key), &id)?;
        }
        self.count_executions(known.as_ref(), Some(summary))
    }

    /// Takes an execution out of the index.
    pub(super) fn forget_execution(&mut self, id: ExecutionId, key: Option<&str>) -> Result<(), StoreError> {
        let Some(row) = self.views.executions.remove(id.to_bytes())? else { return Ok(()) };
        let known: ExecutionSummary = decode(&row)?;
        self.views.open_executions.remove(id.to_bytes())?;
        if let Some(key) = key {
            self.views.execution_keys.remove(key_of(&known.owner, key))?;
        }
        self.count_executions(Some(&known), None)
    }

    fn count_executions(
        &self,
        known: Option<&ExecutionSummary>,
        now: Option<&ExecutionSummary>,
    ) -> Result<(), StoreError> {
        let view = &self.views.execution_usage;
        let mut usage = view.get(ALL)?.map(|row| ExecutionUsage::from_bytes(&row)).unwrap_or_default();
        known.into_iter().for_each(|known| usage.change(known, false));
        now.into_iter().for_each(|now| usage.change(now, true));
        view.insert(ALL, usage.to_bytes())?;
        Ok(())
    }
}

/// One execution.
pub(super) fn get(db: &Database, id: ExecutionId) -> Result<Option<ExecutionSummary>, StoreError> {
    db.executions.get(id.to_bytes())?.map(|json| decode(&json)).transpose()
}

/// The execution that was sent under a key.
pub(super) fn with_key(db: &Database, key: &[u8]) -> Result<Option<ExecutionId>, StoreError> {
    Ok(db.execution_keys.get(key)?.and_then(|id| id_of(&id)))
}

/// Executions, the newest first.
pub(super) fn find(db: &Database, query: &ExecutionQuery) -> Result<ExecutionsFound, StoreError> {
    let to = query.before.map_or(Bound::Unbounded, |id| Bound::Excluded(id.to_bytes()));
    // Those that were given together have ids from that of the first on.
    let from = query.batch.map_or(Bound::Unbounded, |id| Bound::Included(id.to_bytes()));
    let mut found = ExecutionsFound::default();
    let (mut last, mut looked_at) = (None, 0);
    for entry in db.executions.range((from, to)).rev() {
        if found.executions.len() >= query.limit || looked_at >= MOST_LOOKED_AT {
            found.next = last;
            break;
        }
        let summary: ExecutionSummary = decode(&entry?.1)?;
        (last, looked_at) = (Some(summary.id), looked_at + 1);
        if is_asked_for(query, &summary) {
            found.executions.push(summary);
        }
    }
    Ok(found)
}

fn is_asked_for(query: &ExecutionQuery, summary: &ExecutionSummary) -> bool {
    query.owner.as_ref().is_none_or(|owner| *owner == summary.owner)
        && query.pipeline.as_ref().is_none_or(|name| *name == summary.pipeline.name)
        && query.state.is_none_or(|state| state == summary.state)
        && query.batch.is_none_or(|batch| summary.batch == Some(batch))
}

/// Executions that are not over, the oldest first.
pub(super) fn open(
    db: &Database,
    after: Option<ExecutionId>,
    limit: usize,
) -> Result<Vec<ExecutionSummary>, StoreError> {
    let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.to_bytes()));
    let mut found = Vec::new();
    for key in db.open_executions.range((from, Bound::Unbounded)).keys().take(limit) {
        if let Some(json) = db.executions.get(key?)? {
            found.push(decode(&json)?);
        }
    }
    Ok(found)
}

/// Executions, the oldest first.
pub(super) fn by_id(
    db: &Database,
    after: Option<ExecutionId>,
    limit: usize,
) -> Result<Vec<ExecutionSummary>, StoreError> {
    let from = after.map_or(Bound::Unbounded, |id| Bound::Excluded(id.to_bytes()));
    db.executions.range((from, Bound::Unbounded)).take(limit).map(|entry| decode(&entry?.1)).collect()
}

/// What all executions take.
pub(super) fn usage(db: &Database) -> Result<ExecutionUsage, StoreError> {
    Ok(db.execution_usage.get(ALL)?.map(|row| ExecutionUsage::from_bytes(&row)).unwrap_or_default())
}

/// The highest id of an execution.
pub(super) fn newest_id(db: &Database) -> Result<Option<ExecutionId>, StoreError> {
    Ok(db.executions.last()?.and_then(|(key, _)| id_of(&key)))
}
