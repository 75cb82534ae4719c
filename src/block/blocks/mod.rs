//! The blocks, one file each. A further one is a file here, and a line in each of the two lists below.

mod count;
mod crop_objects;
mod detect;
mod draw;
mod resize;

use super::Block;

/// All of them.
pub(super) const ALL: &[&'static dyn Block] = &[
    &count::Count,
    &crop_objects::CropObjects,
    &detect::Detect,
    &draw::Draw,
    &resize::Resize,
];
