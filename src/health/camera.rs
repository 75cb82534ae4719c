//! What is known of one camera.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::pipeline::PipelineHealth;
use super::stages::{Stage, Stages, Trouble};
use crate::clock::Mono;

/// How a camera is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CameraState {
    /// Trying to reach it for the first time.
    #[default]
    Connecting,
    /// Packets arrive.
    Online,
    /// Connected, but nothing arrives, or nothing is decoded, looked at or recorded of what does. Only shown: see
    /// [`CameraHealth::shown`].
    Degraded,
    /// Lost; being tried again.
    Offline,
    /// A file that was played to its end.
    Finished,
    /// A phone or browser may publish to it, and none does.
    Idle,
}

impl CameraState {
    /// The name used on the page, in topics and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Online => "online",
            Self::Degraded => "degraded",
            Self::Offline => "offline",
            Self::Finished => "finished",
            Self::Idle => "idle",
        }
    }
}

/// After how long without a picture a camera is silent whose pauses are `usual_pause` at most: `least`, or more where
/// longer pauses are its pace.
pub fn silent_after(least: Duration, usual_pause: Duration) -> Duration {
    least.max(usual_pause.saturating_mul(3) / 2)
}

/// A camera's state as it is published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown<'a> {
    /// How it is doing.
    pub state: CameraState,
    /// Since when, on the boot clock.
    pub since: Mono,
    /// Why not everything is well, in words for the operator.
    pub reason: Option<&'a str>,
}

/// One camera, as people want to know it. What is serialised is published as it is; the state and times are published in
/// other words.
#[derive(Clone, Debug, Default, Serialize)]
pub struct CameraHealth {
    /// How it is doing.
    #[serde(skip)]
    pub state: CameraState,
    /// Since when, on the boot clock.
    #[serde(skip)]
    pub since: Mono,
    /// Why it is not online, in words for the operator.
    #[serde(skip)]
    pub reason: Option<String>,
    /// What is waited for while it is connected and has given no picture yet, in words for the operator.
    #[serde(skip)]
    pub waiting: Option<String>,
    /// The longest pause between two of its pictures that is usual.
    #[serde(skip)]
    pub usual_pause: Duration,
    /// Why not all that is asked for is detected, in words for the operator; `None`: nothing is wrong.
    pub not_detected: Option<String>,
    /// The library that reads it, where there is a choice: `retina` or `libavformat`.
    pub client: Option<&'static str>,
    /// Why that is not the usual one, in words for the operator.
    pub client_reason: Option<Arc<str>>,
    /// What carries its pictures: `TCP`, `UDP`, and why it is not the usual one, in words for the operator.
    pub transport: Option<String>,
    /// The coding of the sound that is recorded: `AAC`, `Opus`; absent where none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<String>,
    /// Why the sound that the camera offers is not recorded, and what to do, in words for the operator.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio_note: Option<String>,
    /// `H.264`, ...; empty while unknown.
    pub codec: String,
    /// Pixels; 0 while unknown.
    pub width: u32,
    /// Pixels; 0 while unknown.
    pub height: u32,
    /// Packets a second over the last seconds.
    pub fps: f32,
    /// Frames a second that the detector looked at.
    pub detect_fps: f32,
    /// When the last packet arrived.
    #[serde(skip)]
    pub last_packet: Option<Mono>,
    /// Whether pixels move at present.
    pub motion: bool,
    /// Confirmed objects in view.
    pub objects: u32,
    /// The same by zone (none: anywhere in the picture) and label; pairs that were never seen are missing.
    #[serde(skip)]
    pub counts: BTreeMap<(Option<Arc<str>>, Arc<str>), u32>,
    /// What its pipeline does; `None` where it has none, or that has seen no picture yet.
    #[serde(skip)]
    pub pipeline: Option<PipelineHealth>,
    /// Times that it had to be connected again.
    pub reconnects: u64,
    /// What its stages take and give.
    #[serde(skip)]
    pub stages: Stages,
    /// What is wrong although it is connected, by the last look at the stages.
    #[serde(skip)]
    pub trouble: Option<Trouble>,
}

impl CameraHealth {
    /// The stages that give nothing although it is connected, by the last look at them.
    pub fn troubled_stages(&self) -> &[Stage] {
        self.trouble.as_ref().map(|trouble| trouble.stages.as_slice()).unwrap_or_default()
    }

    /// Whether pictures come.
    pub fn gives_pictures(&self) -> bool {
        self.state == CameraState::Online && self.stages.silence.is_none()
    }

    /// The state that outlets publish: a camera that is connected to no use is degraded, not online.
    pub fn shown(&self) -> Shown<'_> {
        match &self.trouble {
            Some(trouble) if self.state == CameraState::Online => {
                Shown { state: CameraState::Degraded, since: trouble.since, reason: Some(&trouble.reason) }
            }
            _ => {
                let waiting = self.waiting.as_deref().filter(|_| self.state != CameraState::Online);
                Shown { state: self.state, since: self.since, reason: waiting.or(self.reason.as_deref()) }
            }
        }
    }
}
