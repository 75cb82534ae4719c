//! What MQTT reports of the box beside its events.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use serde_json::json;

use super::executions::NextOfAll;
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

    fn executions(&self) -> BoxStream<'static, Vec<u8>> {
        let followed = futures::stream::unfold(self.executions.follow_all(), |mut all| async move {
            let json = match all.next().await? {
                NextOfAll::Event(event) => serde_json::to_vec(&*event),
                NextOfAll::Missed(missed) => serde_json::to_vec(&json!({ "event": "missed", "events": missed })),
            };
            Some((json.unwrap_or_default(), all))
        });
        followed.fuse().boxed()
    }
}
