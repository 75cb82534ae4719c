//! What all services work with.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::clock::{Clock, Mono};
use crate::control::Control;
use crate::destination::Destination;
use crate::frame::LatestFrame;
use crate::health::Health;
use crate::metrics::Metrics;
use crate::store::Store;
use crate::supervise::Heartbeats;

use super::current_volume::CurrentVolume;

/// What the services work with.
#[derive(Clone)]
pub struct Context {
    /// Name of the box.
    pub device: Arc<str>,
    /// Where it stands; may be empty.
    pub site: Arc<str>,
    /// Index and archive in use.
    pub volume: CurrentVolume,
    /// The box's clock.
    pub clock: Arc<dyn Clock>,
    /// When the daemon started.
    pub started: Mono,
    /// What the parts know of themselves.
    pub health: Health,
    /// Signs of life.
    pub heartbeats: Heartbeats,
    /// Counters.
    pub metrics: Metrics,
    /// What people switched.
    pub control: Control,
    /// The configured outlets, in the order of the configuration.
    pub outlets: Vec<Destination>,
    /// Bytes that recordings may take, where a quota is set.
    pub quota_bytes: Option<u64>,
    /// The newest picture of each configured camera.
    pub frames: BTreeMap<String, Arc<LatestFrame>>,
}

impl Context {
    /// The index in use.
    pub(super) fn store(&self) -> Store {
        self.volume.store()
    }
}
