//! The newest picture of a camera as JPEG, made only on request, and once per frame.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use crate::access::Caller;
use crate::clock::Mono;
use crate::frame::Frame;
use crate::service::Live;
use crate::web::Shared;
use crate::web::problem::{Code, Problem};
use crate::web::session::Known;

/// Widest picture served, pixels.
const MAX_WIDTH: u32 = 640;

/// JPEG quality, 1 to 100.
const QUALITY: u8 = 75;

/// Pictures encoded at once: lookers must not take the cores from the detector.
const AT_ONCE: usize = 2;

/// Cache of JPEG pictures; keeps the last of each camera for the next request.
pub(in crate::web) struct JpegCache {
    turns: Semaphore,
    last: Mutex<HashMap<String, (Mono, Bytes)>>,
}

impl Default for JpegCache {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), last: Mutex::default() }
    }
}

impl JpegCache {
    /// What was made of the picture of `at`, or of one that was taken less than `within` before.
    fn known(&self, camera: &str, at: Mono, within: Duration) -> Option<(Mono, Bytes)> {
        let last = self.last.lock();
        let will_do = |of: Mono| of == at || of < at && at.since(of) < within;
        last.get(camera).filter(|(of, _)| will_do(*of)).cloned()
    }

    /// The picture as JPEG, or that of one that was taken less than `within` before; and when it was taken.
    pub(super) async fn picture(&self, camera: &str, frame: Frame, within: Duration) -> anyhow::Result<(Mono, Bytes)> {
        if let Some(known) = self.known(camera, frame.at, within) {
            return Ok(known);
        }
        let _turn = self.turns.acquire().await?;
        // Another request may have made it meanwhile.
        if let Some(known) = self.known(camera, frame.at, within) {
            return Ok(known);
        }
        let at = frame.at;
        let jpeg = Bytes::from(tokio::task::spawn_blocking(move || encode(&frame)).await??);
        // Cameras come from the config, so this stays small.
        let mut last = self.last.lock();
        last.insert(camera.to_owned(), (at, jpeg.clone()));
        Ok((at, jpeg))
    }
}

fn encode(frame: &Frame) -> anyhow::Result<Vec<u8>> {
    let (width, height) = fit(frame.picture.width(), frame.picture.height());
    Ok(frame.picture.rgb(width, height)?.to_jpeg(QUALITY)?)
}

/// The size to show a picture at: not wider than [`MAX_WIDTH`], same shape.
fn fit(width: u32, height: u32) -> (u32, u32) {
    let (width, height) = (width.max(1), height.max(1));
    if width <= MAX_WIDTH {
        return (width, height);
    }
    let scaled = u64::from(height) * u64::from(MAX_WIDTH) / u64::from(width);
    (MAX_WIDTH, u32::try_from(scaled).unwrap_or(height).max(1))
}

/// The newest picture, if the camera gives some.
pub(in crate::web) async fn frame(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    camera: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    serve(&shared, &caller, camera, false).await
}

/// The last picture since the daemon started, however old.
pub(in crate::web) async fn last(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    camera: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    serve(&shared, &caller, camera, true).await
}

async fn serve(
    shared: &Shared,
    caller: &Caller,
    camera: Result<Path<String>, PathRejection>,
    may_be_old: bool,
) -> Result<Response, Problem> {
    let unknown = || Problem::not_found("there is no camera with this name");
    let Path(camera) = camera.map_err(|_| unknown())?;
    if !caller.sees(&camera, Timestamp::now()) {
        return Err(unknown());
    }
    let frame = match shared.services.media.live(&camera) {
        Live::Unknown => return Err(unknown()),
        Live::Picture(frame) => frame,
        Live::Past(frame) if may_be_old => frame,
        Live::Past(_) | Live::NoPicture => {
            let when = if may_be_old { "has given no picture yet" } else { "gives no picture at present" };
            let message = format!("camera {camera:?} {when}");
            return Err(Problem::new(Code::NoPicture, message));
        }
    };
    let age =
        SignedDuration::try_from(shared.services.media.boot_time().since(frame.at)).unwrap_or(SignedDuration::MAX);
    if !caller.sees(&camera, Timestamp::now().saturating_sub(age).unwrap_or(Timestamp::MIN)) {
        let message = format!("camera {camera:?} has given no picture since you may see it");
        return Err(Problem::new(Code::NoPicture, message));
    }
    let (_, jpeg) = shared.errors.ask("picture", shared.jpegs.picture(&camera, frame, Duration::ZERO)).await?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_keep_their_shape() {
        let cases = [((1920, 1080), (640, 360)), ((640, 480), (640, 480)), ((100_000, 10), (640, 1)), ((0, 0), (1, 1))];
        for ((width, height), expected) in cases {
            assert_eq!(fit(width, height), expected);
        }
    }
}
