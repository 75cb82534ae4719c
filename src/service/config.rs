//! Which configuration is in use, and how it is read again.

use serde_json::{Map, Value};
use tokio::sync::{mpsc, oneshot, watch};

use super::probe::ProbeSource;
use super::settings::{CameraEdit, CameraSettings, EditRefusal, EditRequest, Edited, SettingsRequest, SourceRequest};
use crate::status::ConfigStatus;

/// Reloads that may wait for their turn.
const QUEUE: usize = 8;

/// A request to read the file again.
#[derive(Debug)]
pub struct ReloadRequest {
    /// Gets what came of it, once that is in use, or refused. Whether it stays is not known yet then.
    pub reply: Option<oneshot::Sender<ConfigStatus>>,
}

/// What is asked of the configuration. One is carried out after the other.
#[derive(Debug)]
pub enum ConfigRequest {
    /// Read the file again.
    Reload(ReloadRequest),
    /// Change a camera.
    Edit(EditRequest),
    /// Make a source that can be tried.
    Source(SourceRequest),
    /// Say how a camera is set.
    Settings(SettingsRequest),
}

/// The end of the service that carries out reloads.
#[derive(Debug)]
pub struct ReloadQueue {
    /// What is asked for.
    pub requests: mpsc::Receiver<ConfigRequest>,
    /// Which configuration is in use.
    pub status: watch::Sender<ConfigStatus>,
}

/// Why a reload was not tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReloadUnavailable {
    /// Others wait already.
    #[error("several reloads wait for their turn already: try again in a moment")]
    Busy,
    /// It is about to end.
    #[error("the daemon is stopping")]
    Stopping,
}

impl From<ReloadUnavailable> for EditRefusal {
    fn from(unavailable: ReloadUnavailable) -> Self {
        match unavailable {
            ReloadUnavailable::Busy => Self::Busy,
            ReloadUnavailable::Stopping => Self::Stopping,
        }
    }
}

/// Knows which configuration is in use, and asks for another. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConfigService {
    requests: mpsc::Sender<ConfigRequest>,
    status: watch::Receiver<ConfigStatus>,
}

impl ConfigService {
    /// The service, and the end that carries out what it is asked for.
    pub fn new(status: ConfigStatus) -> (Self, ReloadQueue) {
        let (requests, queue) = mpsc::channel(QUEUE);
        let (sender, receiver) = watch::channel(status);
        (Self { requests, status: receiver }, ReloadQueue { requests: queue, status: sender })
    }

    /// Which configuration is in use.
    pub fn status(&self) -> ConfigStatus {
        self.status.borrow().clone()
    }

    /// Asks for the file to be read again, and does not wait.
    ///
    /// # Errors
    /// When it cannot be tried.
    pub fn request(&self) -> Result<(), ReloadUnavailable> {
        self.send(ConfigRequest::Reload(ReloadRequest { reply: None }))
    }

    /// Reads the file again. Gives what came of it, once that is in use, or refused.
    ///
    /// # Errors
    /// When it cannot be tried.
    pub async fn reload(&self) -> Result<ConfigStatus, ReloadUnavailable> {
        let (reply, answer) = oneshot::channel();
        self.send(ConfigRequest::Reload(ReloadRequest { reply: Some(reply) }))?;
        answer.await.map_err(|_| ReloadUnavailable::Stopping)
    }

    /// Changes a camera, unless the configuration is not of `revision` any more. Gives what came of it once it is in use.
    ///
    /// # Errors
    /// When nothing was changed.
    pub async fn edit(&self, edit: CameraEdit, revision: Option<String>) -> Result<Edited, EditRefusal> {
        let (reply, answer) = oneshot::channel();
        self.send(ConfigRequest::Edit(EditRequest { edit, revision, reply }))?;
        answer.await.unwrap_or(Err(EditRefusal::Stopping))
    }

    /// A source to be tried: that of `camera` with other keys, or a new one.
    ///
    /// # Errors
    /// When it is none.
    pub async fn source(&self, camera: Option<String>, source: Map<String, Value>) -> Result<ProbeSource, EditRefusal> {
        let (reply, answer) = oneshot::channel();
        self.send(ConfigRequest::Source(SourceRequest { camera, source, reply }))?;
        answer.await.unwrap_or(Err(EditRefusal::Stopping))
    }

    /// How a camera is set, without secrets.
    ///
    /// # Errors
    /// When there is none, or the files cannot be used.
    pub async fn settings(&self, camera: &str) -> Result<CameraSettings, EditRefusal> {
        let (reply, answer) = oneshot::channel();
        self.send(ConfigRequest::Settings(SettingsRequest { camera: camera.to_owned(), reply }))?;
        answer.await.unwrap_or(Err(EditRefusal::Stopping))
    }

    fn send(&self, request: ConfigRequest) -> Result<(), ReloadUnavailable> {
        self.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => ReloadUnavailable::Busy,
            mpsc::error::TrySendError::Closed(_) => ReloadUnavailable::Stopping,
        })
    }
}
