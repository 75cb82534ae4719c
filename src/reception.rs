//! What a camera's feed knows of its connection, for the stages that go by it.
//!
//! Each camera has one channel of it. Its feed is the only writer; the board of `health` shows the same to outlets.

use std::time::Duration;

use tokio::sync::watch;

use crate::health::{CameraState, silent_after};

/// The connection to one camera at this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reception {
    /// How the connection is; never [`CameraState::Degraded`], which is only shown.
    pub state: CameraState,
    /// Why it is not online, in words for the operator.
    pub reason: Option<String>,
    /// It is connected, and its pace does not explain why there are no pictures.
    pub is_silent: bool,
    /// The longest pause between two of its pictures that is usual.
    pub usual_pause: Duration,
}

impl Reception {
    /// Of a camera that no feed reports on.
    pub fn unknown() -> watch::Receiver<Self> {
        watch::channel(Self::default()).1
    }

    /// Whether it is a file that was played to its end.
    pub fn has_finished(&self) -> bool {
        self.state == CameraState::Finished
    }

    /// After how long without a picture the camera is silent: `least`, or more where longer pauses are its usual pace.
    pub fn silent_after(&self, least: Duration) -> Duration {
        silent_after(least, self.usual_pause)
    }
}
