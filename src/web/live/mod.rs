//! Cameras at present: stills, video, and pictures for browsers that do not play that.

mod mjpeg;
mod still;
mod video;
mod viewers;
mod whep;

use super::routes::{Needs, Routes};
use super::sdp;

pub(super) use still::{JpegCache, frame, last};
pub(super) use viewers::{Viewers, check_page};

pub(super) fn routes() -> Routes {
    let routes = Routes::default().look("/api/v1/cameras/{name}/live", Needs::VIEW, video::live);
    routes
        .look("/api/v1/cameras/{name}/live.mjpeg", Needs::VIEW, mjpeg::stream)
        .post("/whep/{name}", Needs::VIEW, whep::play)
        .preflight("/whep/{name}", sdp::preflight)
        .proceed("/whep/{name}/{id}", Needs::VIEW, whep::patch)
        .delete("/whep/{name}/{id}", Needs::VIEW, whep::end)
        .preflight("/whep/{name}/{id}", sdp::preflight)
}
