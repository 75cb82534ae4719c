//! Decoded pictures one after the other, for cameras and browsers that have no video in common.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures::stream;

use super::still::MAX_WIDTH;
use super::viewers::{AdmittedViewer, check_page};
use crate::clock::Mono;
use crate::service::Live;
use crate::web::Shared;
use crate::web::problem::{Code, Problem};
use crate::web::session::Known;

/// The time between two pictures.
pub(super) const EVERY: Duration = Duration::from_millis(200);

const KIND: &str = "multipart/x-mixed-replace; boundary=picture";
/// Browsers show a picture when the line behind it has come.
const BOUNDARY: &[u8] = b"\r\n--picture\r\n";

pub(super) async fn stream(
    State(shared): State<Arc<Shared>>,
    Known(caller): Known,
    camera: Result<Path<String>, PathRejection>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    check_page(&headers)?;
    let unknown = || Problem::not_found("there is no camera with this name");
    let Path(camera) = camera.map_err(|_| unknown())?;
    if !caller.sees(&camera, jiff::Timestamp::now()) {
        return Err(unknown());
    }
    match shared.services.media.live(&camera) {
        Live::Unknown => return Err(unknown()),
        Live::Picture(_) => {}
        Live::Past(_) | Live::NoPicture => {
            let message = format!("camera {camera:?} gives no picture at present");
            return Err(Problem::new(Code::NoPicture, message));
        }
    }
    let admission = shared.viewers.admit(caller, &camera)?;
    let reader = Reader { shared, camera, admission, last: None };
    let parts = stream::unfold(reader, |mut reader| async move {
        let part = reader.next().await?;
        Some((Ok::<_, Infallible>(part), reader))
    });
    Ok(([(header::CONTENT_TYPE, KIND)], Body::from_stream(parts)).into_response())
}

/// One viewer.
struct Reader {
    shared: Arc<Shared>,
    camera: String,
    admission: AdmittedViewer,
    /// When the last picture that was sent was taken.
    last: Option<Mono>,
}

impl Reader {
    /// The next picture as a part of the answer; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        let is_first = self.last.is_none();
        loop {
            if !is_first {
                tokio::select! {
                    () = self.admission.ended() => return None,
                    () = tokio::time::sleep(EVERY) => {}
                }
            }
            let frame = match self.shared.services.media.live(&self.camera) {
                Live::Picture(frame) => frame,
                Live::Past(_) | Live::NoPicture if !is_first => continue,
                Live::Past(_) | Live::NoPicture | Live::Unknown => return None,
            };
            let (at, jpeg) = self.shared.jpegs.picture(&self.camera, MAX_WIDTH, frame, EVERY).await.ok()?;
            if self.last.replace(at) != Some(at) {
                return Some(part(&jpeg, is_first));
            }
        }
    }
}

fn part(jpeg: &[u8], is_first: bool) -> Bytes {
    let start = if is_first { BOUNDARY } else { &[] };
    let head = format!("Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", jpeg.len());
    [start, head.as_bytes(), jpeg, BOUNDARY].concat().into()
}
