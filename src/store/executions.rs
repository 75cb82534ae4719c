//! The index of executions.

use std::sync::Arc;

use super::execution_index::{self, ExecutionQuery, ExecutionUsage, ExecutionsFound};
use super::op::Op;
use super::read::Read;
use super::worker::Core;
use super::{Delivery, Document, StoreError};
use crate::destination::Destination;
use crate::execution::{Execution, ExecutionId, ExecutionSummary};

/// The executions. Clones share one index.
#[derive(Clone, Debug)]
pub struct Executions(Arc<Core>);

impl Executions {
    pub(super) fn new(core: &Arc<Core>) -> Self {
        Self(core.clone())
    }

    /// Records an execution, or how far it is, together with the files that are to be delivered because of that. All or
    /// nothing; durable when it returns. Blocks.
    ///
    /// # Errors
    /// [`StoreError::TooLarge`]; else when the disk is full or the store is out of service.
    pub fn record(&self, execution: &Execution, documents: Vec<Document>) -> Result<(), StoreError> {
        self.0.write(self.recorded(execution, documents, Vec::new())?)
    }

    /// The same for one that is over, with files that one destination alone gets.
    ///
    /// # Errors
    /// As [`Executions::record`].
    pub fn record_over(
        &self,
        execution: &Execution,
        documents: Vec<Document>,
        posts: Vec<(Destination, Document)>,
    ) -> Result<(), StoreError> {
        self.0.write(self.recorded(execution, documents, posts)?)
    }

    /// The same for tasks.
    ///
    /// # Errors
    /// As [`Executions::record`].
    pub async fn record_async(&self, execution: &Execution, documents: Vec<Document>) -> Result<(), StoreError> {
        self.0.write_async(self.recorded(execution, documents, Vec::new())?).await
    }

    fn recorded(
        &self,
        execution: &Execution,
        documents: Vec<Document>,
        posts: Vec<(Destination, Document)>,
    ) -> Result<Op, StoreError> {
        posts.iter().try_for_each(|(_, document)| Delivery::Document(document.clone()).check())?;
        let summary = execution.summary();
        let json = execution_index::index_form(&summary)?;
        let deliveries = checked(documents)?;
        let key = execution.idempotency_key.clone();
        Ok(Op::Execution { summary: Box::new(summary), json, key, deliveries, posts, now: self.0.clock.now() })
    }

    /// Takes an execution out of the index, with the key that it was sent under, together with what destinations are to
    /// remove. Blocks.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn forget(&self, id: ExecutionId, key: Option<String>, documents: Vec<Document>) -> Result<(), StoreError> {
        self.0.write(Op::ForgetExecution { id, key, deliveries: checked(documents)?, now: self.0.clock.now() })
    }

    /// One execution.
    pub fn get(&self, id: ExecutionId) -> Read<Option<ExecutionSummary>> {
        Read::new(&self.0, move |db| execution_index::get(db, id))
    }

    /// The execution that `owner` sent under `key`.
    pub fn with_key(&self, owner: &str, key: &str) -> Read<Option<ExecutionId>> {
        let key = execution_index::key_of(owner, key);
        Read::new(&self.0, move |db| execution_index::with_key(db, &key))
    }

    /// Executions, the newest first.
    pub fn find(&self, query: ExecutionQuery) -> Read<ExecutionsFound> {
        Read::new(&self.0, move |db| execution_index::find(db, &query))
    }

    /// The first `limit` executions that are not over, behind `after`, the oldest first.
    pub fn open(&self, after: Option<ExecutionId>, limit: usize) -> Read<Vec<ExecutionSummary>> {
        Read::new(&self.0, move |db| execution_index::open(db, after, limit))
    }

    /// The first `limit` executions behind `after`, the oldest first.
    pub fn by_id(&self, after: Option<ExecutionId>, limit: usize) -> Read<Vec<ExecutionSummary>> {
        Read::new(&self.0, move |db| execution_index::by_id(db, after, limit))
    }

    /// What the executions of all users take.
    pub fn usage(&self) -> Read<ExecutionUsage> {
        Read::new(&self.0, execution_index::usage)
    }
}

fn checked(documents: Vec<Document>) -> Result<Vec<Delivery>, StoreError> {
    let deliveries: Vec<Delivery> = documents.into_iter().map(Delivery::Document).collect();
    deliveries.iter().try_for_each(Delivery::check)?;
    Ok(deliveries)
}
