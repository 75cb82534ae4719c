//! What the configuration in use means for the services.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::destination::Destination;
use crate::frame::LatestFrame;
use crate::live::Broadcast;

/// What services need of the configuration in use. Replaced as one when that changes.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// The configured outlets, in the order of the configuration.
    pub outlets: Vec<Destination>,
    /// Bytes that recordings may take, where a quota is set.
    pub quota_bytes: Option<u64>,
    /// Bytes that retention keeps free on the volume, where that is set.
    pub min_free_bytes: Option<u64>,
    /// The newest picture of each configured camera.
    pub frames: BTreeMap<String, Arc<LatestFrame>>,
    /// Live video of each.
    pub broadcasts: BTreeMap<String, Arc<Broadcast>>,
}

impl Configured {
    /// A channel whose values are never replaced.
    pub fn fixed(self) -> watch::Receiver<Arc<Self>> {
        watch::channel(Arc::new(self)).1
    }
}
