//! What the configuration in use means for the services.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::destination::Destination;
use crate::frame::LatestFrame;
use crate::live::Broadcast;
use crate::status::{DetectUse, RecordUse};

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
    /// What is done with the pictures of each, before a person switched anything.
    pub uses: BTreeMap<String, CameraUse>,
}

/// What the configuration does with a camera's pictures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CameraUse {
    /// Whether they are looked at.
    pub detect: DetectUse,
    /// What is kept of the video.
    pub record: RecordUse,
}

impl Configured {
    /// A channel whose values are never replaced.
    pub fn fixed(self) -> watch::Receiver<Arc<Self>> {
        watch::channel(Arc::new(self)).1
    }
}
