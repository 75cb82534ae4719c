//! What people switch at a camera while the box runs.

use std::sync::Arc;

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::context::Context;

/// What is switched; what is left out stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SwitchChange {
    /// Whether pictures are looked at.
    pub detect: Option<bool>,
    /// Whether video is kept.
    pub record: Option<bool>,
}

/// How a camera is switched. What the configuration leaves out stays out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Switched {
    /// Whether pictures are looked at.
    pub detect: bool,
    /// Whether video is kept.
    pub record: bool,
}

/// Switches detection and recording of cameras.
#[derive(Clone)]
pub struct SwitchService(Arc<Context>);

impl SwitchService {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self(context)
    }

    /// Whether there is such a camera.
    pub fn has_camera(&self, camera: &str) -> bool {
        self.0.configured().uses.contains_key(camera)
    }

    /// The cameras on whose pictures `pipeline` runs.
    pub fn cameras_with(&self, pipeline: &str) -> Vec<String> {
        let configured = self.0.configured();
        let with = configured.uses.iter().filter(|(_, of)| of.pipeline == pipeline);
        with.map(|(camera, _)| camera.clone()).collect()
    }

    /// Changes the switches of `camera`, on the disk first.
    ///
    /// # Errors
    /// When the disk refuses; nothing is changed then.
    pub async fn change(&self, camera: &str, change: SwitchChange) -> Result<Switched> {
        let (control, camera, at) = (self.0.control.clone(), camera.to_owned(), self.0.clock.wall());
        let changed = tokio::task::spawn_blocking(move || {
            control.change(|switches| {
                switches.camera(&camera, |switched| {
                    if let Some(detect) = change.detect {
                        // What a program forces for a while ends with what a person says.
                        (switched.detect_off, switched.force) = (!detect, None);
                    }
                    if let Some(record) = change.record {
                        switched.record_off = !record;
                    }
                });
            })?;
            let switches = control.switches();
            Ok(Switched { detect: switches.detects(&camera, at), record: switches.records(&camera) })
        });
        changed.await.context("write the switches")?
    }
}
