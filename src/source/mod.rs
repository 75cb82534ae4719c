//! Stage 1: get packets from a camera.
//!
//! A source knows how to run once: [`connect`] it, call [`Source::next`] until it fails. Trying again,
//! the stall watchdog and the distribution of packets live in the pipeline.
#![allow(missing_docs)]

use std::sync::Arc;

use futures::future::BoxFuture;

use crate::clock::Clock;
use crate::frame::Packet;

/// Placeholder of the contract.
#[derive(Clone, Debug)]
pub struct Config {}

#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    #[error("placeholder")]
    Ended,
}

pub trait Source: Send {
    /// The next packet.
    fn next(&mut self) -> BoxFuture<'_, Result<Packet, SourceError>>;
}

pub async fn connect(_config: &Config, _clock: Arc<dyn Clock>) -> Result<Box<dyn Source>, SourceError> {
    Err(SourceError::Ended)
}
