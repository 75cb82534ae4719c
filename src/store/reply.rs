//! Answers of the store's threads to their callers.

use std::sync::mpsc::{Receiver, TrySendError, sync_channel};

use tokio::sync::oneshot;

use super::StoreError;

/// Takes an answer to its caller.
pub(super) type Reply<T> = Box<dyn FnOnce(Result<T, StoreError>) + Send>;

/// Why a call could not be handed to a thread of the store.
pub(super) fn full_or_gone<T>(error: TrySendError<T>) -> StoreError {
    match error {
        TrySendError::Full(_) => StoreError::Busy,
        TrySendError::Disconnected(_) => StoreError::Closed,
    }
}

/// An answer that a thread waits for.
pub(super) fn blocking_reply<T: Send + 'static>() -> (Reply<T>, Receiver<Result<T, StoreError>>) {
    let (tx, rx) = sync_channel(1);
    // The receiver is gone when the caller missed its deadline.
    (Box::new(move |result| drop(tx.try_send(result))), rx)
}

/// An answer that a task waits for.
pub(super) fn async_reply<T: Send + 'static>() -> (Reply<T>, oneshot::Receiver<Result<T, StoreError>>) {
    let (tx, rx) = oneshot::channel();
    (Box::new(move |result| drop(tx.send(result))), rx)
}
