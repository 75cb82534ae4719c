//! What MQTT reports of the box beside its events.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use futures::FutureExt;
use futures::future::BoxFuture;

use super::media::Live;
use super::services::Services;
use crate::alert;
use crate::event::Event;
use crate::frame::Frame;
use crate::status::CameraStatus;

impl alert::StatusProvider for Services {
    fn report(&self) -> BoxFuture<'_, Result<alert::Report>> {
        async move {
            let status = self.status.read().await?;
            let mut coverage = BTreeMap::new();
            for camera in &status.cameras {
                coverage.insert(camera.name.clone(), self.timeline.today(&camera.name).await?);
            }
            Ok(alert::Report { status, coverage })
        }
        .boxed()
    }

    fn cameras(&self) -> Vec<CameraStatus> {
        self.status.cameras()
    }

    fn picture(&self, camera: &str) -> Option<Frame> {
        match self.media.live(camera) {
            Live::Picture(frame) => Some(frame),
            Live::Past(_) | Live::NoPicture | Live::Unknown => None,
        }
    }

    fn still(&self, event: &Event) -> Option<PathBuf> {
        self.media.still(event)
    }
}
