//! Executions that were asked for together.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};

use super::ExecutionService;
use crate::execution::{ExecutionId, ExecutionState, ExecutionSummary};
use crate::executor::ExecutorError;
use crate::store::ExecutionQuery;

/// Executions that are ended at once: the index commits them together.
const AT_ONCE: usize = 16;
/// Executions that are read of the index at once.
const PAGE: usize = 1000;

impl ExecutionService {
    /// How many executions of a batch there are in each state, of one owner where one is named.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn batch_states(
        &self,
        batch: ExecutionId,
        owner: Option<Arc<str>>,
    ) -> Result<BTreeMap<ExecutionState, u64>> {
        let mut states = BTreeMap::new();
        for execution in self.of_batch(batch, owner).await? {
            *states.entry(execution.state).or_default() += 1;
        }
        Ok(states)
    }

    /// Ends what of a batch is not over: what waits at once, what runs between two steps. Returns how many that are; `None`
    /// where there is no such batch.
    ///
    /// # Errors
    /// When index or disk fail; the same may be asked for again.
    pub async fn cancel_batch(&self, batch: ExecutionId, owner: Option<Arc<str>>) -> Result<Option<u64>> {
        let executions = self.of_batch(batch, owner).await?;
        if executions.is_empty() {
            return Ok(None);
        }
        let open = executions.into_iter().filter(|execution| !execution.state.is_over());
        let ends = open.map(|execution| async move {
            match self.cancel_at_once(execution.id).await {
                Ok(_) => Ok(1),
                // It came to its end meanwhile.
                Err(ExecutorError::Refused(_) | ExecutorError::Unknown) => Ok(0),
                Err(error) => Err(anyhow::Error::new(error).context("cancel an execution")),
            }
        });
        stream::iter(ends)
            .buffer_unordered(AT_ONCE)
            .try_fold(0, |sum, one| async move { Ok(sum + one) })
            .await
            .map(Some)
    }

    async fn of_batch(&self, batch: ExecutionId, owner: Option<Arc<str>>) -> Result<Vec<ExecutionSummary>> {
        let (mut found, mut before) = (Vec::new(), None);
        loop {
            let query = ExecutionQuery {
                batch: Some(batch),
                owner: owner.clone(),
                before,
                limit: PAGE,
                ..ExecutionQuery::default()
            };
            let page = self.find(query).await?;
            found.extend(page.executions);
            before = page.next;
            if before.is_none() {
                return Ok(found);
            }
        }
    }
}
