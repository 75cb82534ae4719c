//! The newest picture of a camera as JPEG, made only on request, and once per frame.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use url::form_urlencoded;

use crate::access::Caller;
use crate::clock::Mono;
use crate::frame::Frame;
use crate::service::Live;
use crate::web::Shared;
use crate::web::problem::{Code, Problem};
use crate::web::session::Known;

/// Widths that are served, pixels: few, so that lookers share what is made.
const WIDTHS: [u32; 3] = [160, 320, MAX_WIDTH];
/// The widest.
pub(super) const MAX_WIDTH: u32 = 640;

/// JPEG quality, 1 to 100.
const QUALITY: u8 = 75;

/// Pictures encoded at once: lookers must not take the cores from the detector.
const AT_ONCE: usize = 2;

/// Cache of JPEG pictures; keeps the last of each camera and width for the next request.
pub(in crate::web) struct JpegCache {
    turns: Semaphore,
    last: Mutex<HashMap<(String, u32), (Mono, Bytes)>>,
}

impl Default for JpegCache {
    fn default() -> Self {
        Self { turns: Semaphore::new(AT_ONCE), last: Mutex::default() }
    }
}

impl JpegCache {
    /// What was made of the picture of `at`, or of one that was taken less than `within` before.
    fn known(&self, shown: &(String, u32), at: Mono, within: Duration) -> Option<(Mono, Bytes)> {
        let last = self.last.lock();
        let will_do = |of: Mono| of == at || of < at && at.since(of) < within;
        last.get(shown).filter(|(of, _)| will_do(*of)).cloned()
    }

    /// The picture as JPEG, at most `width` wide, or that of one that was taken less than `within` before; and when it was
    /// taken.
    pub(super) async fn picture(
        &self,
        camera: &str,
        width: u32,
        frame: Frame,
        within: Duration,
    ) -> anyhow::Result<(Mono, Bytes)> {
        let shown = (camera.to_owned(), width);
        if let Some(known) = self.known(&shown, frame.at, within) {
            return Ok(known);
        }
        let _turn = self.turns.acquire().await?;
        // Another request may have made it meanwhile.
        if let Some(known) = self.known(&shown, frame.at, within) {
            return Ok(known);
        }
        let at = frame.at;
        let jpeg = Bytes::from(tokio::task::spawn_blocking(move || encode(&frame, width)).await??);
        // Cameras come from the config, so this stays small.
        let mut last = self.last.lock();
        last.insert(shown, (at, jpeg.clone()));
        Ok((at, jpeg))
    }
}

fn encode(frame: &Frame, most: u32) -> anyhow::Result<Vec<u8>> {
    let (width, height) = fit(frame.picture.width(), frame.picture.height(), most);
    Ok(frame.picture.rgb(width, height)?.to_jpeg(QUALITY)?)
}

/// The size to show a picture at: not wider than `most`, same shape.
fn fit(width: u32, height: u32, most: u32) -> (u32, u32) {
    let (width, height) = (width.max(1), height.max(1));
    if width <= most {
        return (width, height);
    }
    let scaled = u64::from(height) * u64::from(most) / u64::from(width);
    (most, u32::try_from(scaled).unwrap_or(height).max(1))
}

/// The newest picture, if the camera gives some.
pub(in crate::web) async fn frame(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    camera: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    serve(&shared, &caller, camera, width(query.as_deref())?, false).await
}

/// The last picture since the daemon started, however old.
pub(in crate::web) async fn last(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    camera: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
) -> Result<Response, Problem> {
    serve(&shared, &caller, camera, width(query.as_deref())?, true).await
}

/// The width to serve, of those that are: the least that is not below what is asked for.
fn width(query: Option<&str>) -> Result<u32, Problem> {
    let mut pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let Some((_, asked)) = pairs.find(|(name, _)| name == "width") else { return Ok(MAX_WIDTH) };
    let width = asked.parse().ok().filter(|width| (1..=MAX_WIDTH).contains(width));
    let width = width.ok_or_else(|| Problem::parameter("width", &asked, format!("1 to {MAX_WIDTH}")))?;
    Ok(WIDTHS.into_iter().find(|served| *served >= width).unwrap_or(MAX_WIDTH))
}

async fn serve(
    shared: &Shared,
    caller: &Caller,
    camera: Result<Path<String>, PathRejection>,
    width: u32,
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
    let (_, jpeg) = shared.errors.ask("picture", shared.jpegs.picture(&camera, width, frame, Duration::ZERO)).await?;
    Ok(([(header::CONTENT_TYPE, "image/jpeg")], jpeg).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_keep_their_shape() {
        let cases = [((1920, 1080), (640, 360)), ((640, 480), (640, 480)), ((100_000, 10), (640, 1)), ((0, 0), (1, 1))];
        for ((width, height), expected) in cases {
            assert_eq!(fit(width, height, MAX_WIDTH), expected);
        }
        assert_eq!(fit(1920, 1080, 160), (160, 90));
    }

    #[test]
    fn a_width_is_one_of_a_few() {
        let served = |query| width(query).ok();
        assert_eq!(
            [None, Some("width=200"), Some("t=1&width=160"), Some("width=640")].map(served),
            [Some(640), Some(320), Some(160), Some(640)]
        );
        assert_eq!(["width=0", "width=641", "width=wide"].map(|query| served(Some(query))), [None; 3]);
    }
}
