//! Cameras at present: stills, video, and pictures for browsers that do not play that.

mod mjpeg;
mod still;
mod video;
mod viewers;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;

use super::Shared;

pub(super) use still::{JpegCache, frame, last};
pub(super) use viewers::Viewers;

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/api/v1/cameras/{name}/live", get(video::live))
        .route("/api/v1/cameras/{name}/live.mjpeg", get(mjpeg::stream))
}
