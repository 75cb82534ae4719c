//! What is published of the device beside its events, and what can be switched there.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, bail};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};

use crate::control::Control;
use crate::event::Event;
use crate::frame::Frame;
use crate::status::{BoxStatus, CameraCoverage, CameraStatus};

/// What is known of the device beside its alerts.
#[derive(Clone)]
pub struct DeviceContext {
    /// Where it stands, for people; may be empty.
    pub site: Arc<str>,
    /// All cameras that are used.
    pub cameras: Vec<Camera>,
    /// Names of the upload destinations.
    pub uploads: Vec<String>,
    /// Whether it has a thermometer.
    pub has_temperature: bool,
    /// What can be switched.
    pub control: Control,
    /// What can be published.
    pub status: Arc<dyn StatusProvider>,
    /// Where is kept what was announced to Home Assistant, so that it can be taken back. None: in memory only.
    pub announced: Option<PathBuf>,
}

/// A camera as the broker knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Camera {
    /// Name in the config.
    pub name: Arc<str>,
    /// Labels that are looked for; empty where all are.
    pub labels: Vec<Arc<str>>,
    /// Names of its zones.
    pub zones: Vec<Arc<str>>,
    /// Whether anything is looked for, by the config.
    pub detects: bool,
    /// Whether video is kept, by the config.
    pub records: bool,
}

/// What the rest of the daemon knows.
pub trait StatusProvider: Send + Sync + 'static {
    /// The box at present. May take as long as the index takes to answer.
    fn report(&self) -> BoxFuture<'_, Result<Report>>;
    /// The cameras at present. At once.
    fn cameras(&self) -> Vec<CameraStatus>;
    /// The newest picture of a camera, unless it is old.
    fn picture(&self, camera: &str) -> Option<Frame>;
    /// Where the picture of an event lies.
    fn still(&self, event: &Event) -> Option<PathBuf>;
    /// What happens to executions from now on, each as JSON.
    fn executions(&self) -> BoxStream<'static, Vec<u8>> {
        futures::stream::pending().boxed()
    }
}

/// No status.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStatus;

impl StatusProvider for NoStatus {
    fn report(&self) -> BoxFuture<'_, Result<Report>> {
        async { bail!("nothing is known") }.boxed()
    }

    fn cameras(&self) -> Vec<CameraStatus> {
        Vec::new()
    }

    fn picture(&self, _: &str) -> Option<Frame> {
        None
    }

    fn still(&self, _: &Event) -> Option<PathBuf> {
        None
    }
}

/// The box at one moment.
#[derive(Clone, Debug)]
pub struct Report {
    /// Itself, its cameras and its outlets.
    pub status: BoxStatus,
    /// What became of today so far, by camera.
    pub coverage: BTreeMap<Arc<str>, CameraCoverage>,
}
