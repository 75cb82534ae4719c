//! Pictures of this box that a caller names: of an event, of a photo, the newest of a camera.

use std::sync::Arc;

use axum::extract::Path;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::problem::{Code, Problem};
use super::{Shared, api, photos};
use crate::access::Caller;
use crate::frame::Picture;
use crate::service::{GivenPicture, Live};

/// Largest file that is read, bytes.
const LARGEST: u64 = 64 << 20;
/// JPEG quality of a camera's picture.
const QUALITY: u8 = 95;

/// A picture of this box.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Reference {
    /// The clean still of an event.
    Event(String),
    /// The original of a photo.
    Photo(String),
    /// The newest picture of a camera.
    Camera(String),
    /// Where one of these is: `/api/v1/events/{id}/snapshot.jpg`, `/api/v1/photos/{id}/original`,
    /// `/api/v1/cameras/{name}/frame.jpg`.
    Url(String),
}

/// Reads a picture that the caller sees.
///
/// # Errors
/// When there is none, or none that the caller sees.
pub(super) async fn read(shared: &Arc<Shared>, caller: &Caller, reference: Reference) -> Result<GivenPicture, Problem> {
    match reference {
        Reference::Event(id) => of_event(shared, caller, &id, None).await,
        Reference::Photo(id) => of_photo(shared, caller, id).await,
        Reference::Camera(name) => of_camera(shared, caller, &name).await,
        Reference::Url(url) => {
            let path = url.split(['?', '#']).next().unwrap_or_default();
            let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
            match parts.as_slice() {
                ["api", "v1", "events", id, file] => of_event(shared, caller, id, Some(file)).await,
                ["api", "v1", "photos", id, "original"] => of_photo(shared, caller, (*id).to_owned()).await,
                ["api", "v1", "cameras", name, "frame.jpg" | "last.jpg"] => of_camera(shared, caller, name).await,
                _ => {
                    let allowed =
                        "a path of this box to a still of an event, the original of a photo, or the frame of a camera";
                    Err(Problem::parameter("url", &url, allowed))
                }
            }
        }
    }
}

async fn of_event(
    shared: &Arc<Shared>,
    caller: &Caller,
    id: &str,
    file: Option<&str>,
) -> Result<GivenPicture, Problem> {
    let record = api::find(shared, caller, id).await?;
    let media = &shared.services.media;
    let path = match file {
        Some(file) => media.of_event(&record.event, file),
        None => media.of_event(&record.event, crate::asset::SNAPSHOT).or_else(|| media.still(&record.event)),
    };
    let path = path.ok_or_else(|| Problem::not_found(format!("event {id} has no such picture")))?;
    from_disk(format!("event-{id}.jpg"), path).await
}

async fn of_photo(shared: &Arc<Shared>, caller: &Caller, id: String) -> Result<GivenPicture, Problem> {
    let record = photos::find(shared, caller, Ok(Path(id))).await?;
    let path = shared.services.library.original(&record.photo);
    from_disk(record.photo.name, path).await
}

async fn from_disk(name: String, path: std::path::PathBuf) -> Result<GivenPicture, Problem> {
    let gone = |_| Problem::not_found(format!("the picture {name} is not on this box any more"));
    let bytes = tokio::fs::metadata(&path).await.map_err(gone)?.len();
    if bytes > LARGEST {
        return Err(Problem::new(Code::TooLarge, format!("{name} has {bytes} bytes, and {LARGEST} are the most")));
    }
    let content = tokio::fs::read(&path).await.map_err(gone)?;
    Ok(GivenPicture { name, bytes: content.into(), is_live: false })
}

async fn of_camera(shared: &Arc<Shared>, caller: &Caller, name: &str) -> Result<GivenPicture, Problem> {
    let unknown = || Problem::not_found(format!("there is no camera {name:?} on this box"));
    if !caller.sees(name, Timestamp::now()) {
        return Err(unknown());
    }
    let none = || Problem::new(Code::NoPicture, format!("camera {name:?} gives no picture at present"));
    let frame = match shared.services.media.live(name) {
        Live::Unknown => return Err(unknown()),
        Live::Picture(frame) => frame,
        Live::Past(_) | Live::NoPicture => return Err(none()),
    };
    let since = shared.services.media.boot_time().since(frame.at);
    let age = SignedDuration::try_from(since).unwrap_or(SignedDuration::MAX);
    if !caller.sees(name, Timestamp::now().saturating_sub(age).unwrap_or(Timestamp::MIN)) {
        return Err(none());
    }
    let coded = tokio::task::spawn_blocking(move || {
        let picture: &dyn Picture = &*frame.picture;
        picture.rgb(picture.width(), picture.height())?.to_jpeg(QUALITY)
    });
    let broken = |reason: String| Problem::new(Code::Internal, format!("the picture of {name:?} failed: {reason}"));
    let bytes = coded.await.map_err(|error| broken(error.to_string()))?.map_err(|error| broken(error.to_string()))?;
    Ok(GivenPicture { name: format!("{name}.jpg"), bytes: bytes.into(), is_live: true })
}
