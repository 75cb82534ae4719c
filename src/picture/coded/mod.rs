//! Pictures that libavcodec decodes: HEIC, AVIF, and the beginning of videos.

mod container;
#[cfg(test)]
mod fuzz;
mod libav;
mod still;
mod strip;
mod video;

pub(super) use container::Container;
pub(super) use still::{Profile, decode, size};
pub(super) use strip::strip;
pub(super) use video::look;
