//! One answer of the index, for threads that wait and for tasks.

use std::fmt;
use std::future::IntoFuture;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;

use super::StoreError;
use super::trees::Database;
use super::worker::Core;

type Query<T> = Box<dyn FnOnce(&Database) -> Result<T, StoreError> + Send>;

/// A question to the index. Nothing is read until it is awaited, or waited for.
#[must_use = "nothing is read until it is awaited, or waited for"]
pub struct Read<T> {
    core: Arc<Core>,
    query: Query<T>,
}

impl<T> fmt::Debug for Read<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Read")
    }
}

impl<T: Send + 'static> Read<T> {
    pub(super) fn new(
        core: &Arc<Core>,
        query: impl FnOnce(&Database) -> Result<T, StoreError> + Send + 'static,
    ) -> Self {
        Self { core: core.clone(), query: Box::new(query) }
    }

    /// Blocks until the answer is there; in async code await it instead.
    ///
    /// # Errors
    /// When the store is out of service.
    pub fn wait(self) -> Result<T, StoreError> {
        self.core.read(self.query)
    }
}

impl<T: Send + 'static> IntoFuture for Read<T> {
    type Output = Result<T, StoreError>;
    type IntoFuture = BoxFuture<'static, Self::Output>;

    fn into_future(self) -> Self::IntoFuture {
        async move { self.core.read_async(self.query).await }.boxed()
    }
}
