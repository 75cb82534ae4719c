//! The JSON API, version 1: the box and its events.

use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use axum::response::Response;
use jiff::Timestamp;
use serde::Serialize;

use crate::access::Caller;
use crate::event::{Clip, Event, EventId, WHOLE_VIDEO};
use crate::service::{CutRefusal, EventRecord, midnight};
use crate::status::{BoxStatus, Concern, Summary};

use super::audit::about;
use super::problem::{Code, Problem};
use super::reply::{self, Tag};
use super::routes::{Needs, Routes};
use super::session::Known;
use super::{Shared, event_query, live, media, session};

pub(super) fn routes() -> Routes {
    Routes::default()
        .get("/api/v1/status", Needs::VIEW, status)
        .get("/api/v1/events", Needs::VIEW, events)
        .get("/api/v1/events/{id}", Needs::VIEW, event)
        .look("/api/v1/events/{id}/{file}", Needs::VIEW, file)
        .look("/api/v1/cameras/{name}/frame.jpg", Needs::VIEW, live::frame)
        .look("/api/v1/cameras/{name}/last.jpg", Needs::VIEW, live::last)
}

/// The box, with a sentence that sums it up.
#[derive(Serialize)]
pub(super) struct StatusReply {
    summary: Summary,
    concerns: Vec<Concern>,
    #[serde(flatten)]
    status: BoxStatus,
}

impl StatusReply {
    /// What `caller` sees: the sentence speaks of no camera either that it does not see, and nothing counts its events.
    pub(super) fn new(mut status: BoxStatus, caller: &Caller) -> Self {
        status.cameras.retain(|camera| caller.grant(&camera.name).is_some());
        if !caller.sees_everything() {
            status.events_total = None;
            let midnight = midnight(status.time);
            for camera in &mut status.cameras {
                let sees_today = caller.sees_all(&camera.name, midnight, status.time);
                camera.events_today = camera.events_today.filter(|_| sees_today);
            }
        }
        Self { summary: status.summary(), concerns: status.concerns(), status }
    }
}

async fn status(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let status = shared.errors.ask("status", shared.services.status.read()).await?;
    reply::json(&request, &StatusReply::new(status, &caller))
}

/// The list of events. One that has not changed costs no look into the index.
async fn events(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    RawQuery(text): RawQuery,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let (text, service) = (text.unwrap_or_default(), &shared.services.events);
    let mut query = event_query::parse(&text, &service.outlets())?;
    query.caller = session::name_of(&caller);
    // Before the look: what changes during it makes the tag one that is not known any more.
    let tag = Tag::of((service.revision(), &text, &caller.name, format!("{:?}", caller.cameras)));
    if tag.is_known(&request) {
        return Ok(tag.not_modified());
    }
    let sees = |record: &EventRecord| is_seen(&caller, record);
    tag.answer(&shared.errors.ask("events", service.list(query, sees)).await?)
}

pub(super) fn is_seen(caller: &Caller, record: &EventRecord) -> bool {
    sees_event(caller, &record.event)
}

/// Whether `caller` may see all that an event's files hold.
pub(super) fn sees_event(caller: &Caller, event: &Event) -> bool {
    let (from, until) = event.extent(Timestamp::now());
    caller.sees_all(&event.camera, from, until)
}

/// An event that `caller` sees; the others are as if they were not there.
pub(super) async fn find(shared: &Shared, caller: &Caller, id: &str) -> Result<EventRecord, Problem> {
    let unknown = || Problem::not_found("there is no event with this id on this box");
    let id: EventId = id.parse().map_err(|_| unknown())?;
    let record = shared.errors.ask("event", shared.services.events.get(id)).await?;
    record.filter(|record| is_seen(caller, record)).ok_or_else(unknown)
}

async fn event(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    id: Result<Path<String>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Path(id) = id.map_err(|_| Problem::not_found("there is no event with this id on this box"))?;
    let record = find(&shared, &caller, &id).await?;
    let tag = reply::tag_of(&record)?;
    if tag.is_known(&request) {
        return Ok(tag.not_modified());
    }
    let video = video_size(&shared, &record.event).await?;
    tag.answer(&EventReply { record, video })
}

/// An event, with what its page needs before it has the video.
#[derive(Serialize)]
struct EventReply {
    #[serde(flatten)]
    record: EventRecord,
    #[serde(skip_serializing_if = "Option::is_none")]
    video: Option<VideoSize>,
}

/// Size of the picture of a video, pixels.
#[derive(Serialize)]
struct VideoSize {
    width: u32,
    height: u32,
}

/// The size of the event's video, in whatever clip it begins; none while that is not known.
async fn video_size(shared: &Shared, event: &Event) -> Result<Option<VideoSize>, Problem> {
    let size = |clip: &Clip| VideoSize { width: clip.width, height: clip.height };
    let Some(first) = event.shares.first() else { return Ok(event.clips().next().map(size)) };
    let holder = shared.errors.ask("event", shared.services.events.get(first.event)).await?;
    Ok(holder.and_then(|holder| holder.event.clips().find(|clip| clip.media.file == first.file).map(size)))
}

/// Where a file of `event` lies, or the one that is made of all its video: also in the place of a clip, where others' clips
/// hold it.
pub(super) async fn path_of(shared: &Shared, event: &Event, file: &str) -> Result<PathBuf, Problem> {
    let is_clip = event.clip.is_none() && !event.shares.is_empty() && file == Clip::file_name(0);
    if file != WHOLE_VIDEO && !is_clip {
        let path = shared.services.media.of_event(event, file);
        return path.ok_or_else(|| Problem::not_found("the event has no file with this name"));
    }
    let made = shared.errors.ask("video", shared.services.playback.whole_video(event)).await?;
    made.map_err(|why| match why {
        CutRefusal::NoVideo(why) => Problem::not_found(why),
        CutRefusal::NoRoom(why) => Problem::new(Code::NoRoom, why),
        CutRefusal::Senseless(why) => Problem::new(Code::Refused, why),
    })
}

async fn file(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    path: Result<Path<(String, String)>, PathRejection>,
    request: HeaderMap,
) -> Result<Response, Problem> {
    let Path((id, file)) = path.map_err(|_| Problem::not_found("there is no event with this id on this box"))?;
    let record = find(&shared, &caller, &id).await?;
    let path = path_of(&shared, &record.event, &file).await?;
    let answer = media::answer(&path, &file, &request).await?;
    let Event { camera, start, .. } = &record.event;
    Ok(about(format!("of camera {camera} at {:.0}", start.wall), answer))
}
