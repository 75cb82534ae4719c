//! Pictures and video: where files lie, and what cameras show at present.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;

use super::context::Context;
use crate::archive::SIDECAR;
use crate::asset::MediaKind;
use crate::clock::{Moment, Mono};
use crate::event::Event;
use crate::frame::Frame;
use crate::live::Broadcast;
use crate::segment::{Segment, SegmentId};

/// A frame older than this is not shown as live, unless such pauses are usual for its camera.
const FRESH: Duration = Duration::from_secs(10);

/// Stills of an event, the most useful first.
const STILLS: [MediaKind; 3] = [MediaKind::SnapshotBoxes, MediaKind::Snapshot, MediaKind::Thumbnail];

/// The newest picture of a camera.
#[derive(Clone, Debug)]
pub enum Live {
    /// There is no camera with that name.
    Unknown,
    /// The camera has given no picture yet.
    NoPicture,
    /// It gives none at present; this was the last.
    Past(Frame),
    /// Here it is.
    Picture(Frame),
}

/// Finds files and pictures.
#[derive(Clone)]
pub struct MediaService(Arc<Context>);

impl MediaService {
    pub(super) fn new(context: Arc<Context>) -> Self {
        Self(context)
    }

    /// Where file `file` of `event` lies or lay; `None` for a name that the event does not list. A name that comes from
    /// outside never becomes a path otherwise.
    pub fn of_event(&self, event: &Event, file: &str) -> Option<PathBuf> {
        let is_listed = file == SIDECAR || event.media().any(|media| media.file == file);
        is_listed.then(|| self.0.volume.archive().layout().folder(&event.camera, event.id).join(file))
    }

    /// Where the most useful still of `event` lies; `None` where it has none.
    pub fn still(&self, event: &Event) -> Option<PathBuf> {
        let of_kind = |kind| event.pictures.iter().find(|picture| picture.kind == kind);
        self.of_event(event, &STILLS.into_iter().find_map(of_kind)?.file)
    }

    /// A segment and where it lies; `None` for one that the index does not know.
    ///
    /// # Errors
    /// When the index is out of service.
    pub async fn segment(&self, camera: &str, id: SegmentId) -> Result<Option<(Segment, PathBuf)>> {
        let segment = self.0.store().ledger().segment(camera, id).await?;
        let folder = self.0.volume.archive().layout().recordings(camera);
        Ok(segment.map(|segment| {
            let path = folder.join(Segment::file_name(segment.id));
            (segment, path)
        }))
    }

    /// Live video of `camera`; `None` where there is no camera with that name.
    pub fn broadcast(&self, camera: &str) -> Option<Arc<Broadcast>> {
        self.0.configured().broadcasts.get(camera).cloned()
    }

    /// The time that live video and what was seen in it are stated in.
    pub fn boot_time(&self) -> Mono {
        self.0.clock.mono()
    }

    /// When a time on the boot clock was.
    pub fn moment(&self, at: Mono) -> Moment {
        self.0.clock.moment(at)
    }

    /// The newest picture of `camera`.
    pub fn live(&self, camera: &str) -> Live {
        let Some(latest) = self.0.configured().frames.get(camera).cloned() else { return Live::Unknown };
        let now = self.0.clock.mono();
        let Some(frame) = latest.get(now, Duration::MAX) else { return Live::NoPicture };
        let is_live = now.since(frame.at) <= self.0.health.silence_of(camera, FRESH);
        if is_live { Live::Picture(frame) } else { Live::Past(frame) }
    }
}
