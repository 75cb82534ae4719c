//! Cameras at present: stills, video, and pictures for browsers that do not play that.

mod mjpeg;
mod still;
mod video;
mod viewers;

use super::routes::{Needs, Routes};

pub(super) use still::{JpegCache, frame, last};
pub(super) use viewers::{Viewers, check_page};

pub(super) fn routes() -> Routes {
    let routes = Routes::default().look("/api/v1/cameras/{name}/live", Needs::VIEW, video::live);
    routes.look("/api/v1/cameras/{name}/live.mjpeg", Needs::VIEW, mjpeg::stream)
}
