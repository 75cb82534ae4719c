//! What the configuration in use means for the services.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;

use crate::destination::Destination;
use crate::executor;
use crate::frame::LatestFrame;
use crate::infer;
use crate::library;
use crate::live::Broadcast;
use crate::retention;
use crate::status::{DetectUse, RecordUse};
use crate::webrtc;

/// What services need of the configuration in use. Replaced as one when that changes.
#[derive(Clone, Debug, Default)]
pub struct Configured {
    /// The configured outlets, in the order of the configuration.
    pub outlets: Vec<Destination>,
    /// The upload destinations whose files the box can read, in that order: those that it does not seal for.
    pub openable: Vec<Destination>,
    /// How much is kept, and for how long.
    pub retention: retention::Config,
    /// Bounds of the photo library.
    pub library: Arc<library::Config>,
    /// Bounds of executions.
    pub executions: Arc<executor::Config>,
    /// The newest picture of each configured camera.
    pub frames: BTreeMap<String, Arc<LatestFrame>>,
    /// Live video of each.
    pub broadcasts: BTreeMap<String, Arc<Broadcast>>,
    /// What is done with the pictures of each, before a person switched anything.
    pub uses: BTreeMap<String, CameraUse>,
    /// Cameras that phones and browsers publish to, with the files of their tokens.
    pub published: BTreeMap<String, Option<PathBuf>>,
    /// How media packets come in and go out.
    pub webrtc: webrtc::Config,
    /// Where models lie, and how long they may take.
    pub infer: infer::Config,
    /// The models that cameras use, with their cameras.
    pub models: BTreeMap<String, Vec<String>>,
}

/// What the configuration does with a camera's pictures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CameraUse {
    /// Whether they are looked at.
    pub detect: DetectUse,
    /// What is kept of the video.
    pub record: RecordUse,
    /// The pipeline that runs on them; empty: none.
    pub pipeline: String,
}

impl Configured {
    /// A channel whose values are never replaced.
    pub fn fixed(self) -> watch::Receiver<Arc<Self>> {
        watch::channel(Arc::new(self)).1
    }
}
