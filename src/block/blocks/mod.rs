//! The blocks, one file each. A further one is a file here, and a line in each of the two lists below.

mod alert;
mod count;
mod count_in_regions;
mod count_unique;
mod crop_objects;
mod detect;
mod draw;
mod encode;
mod filter;
mod keep;
mod library;
mod merge;
mod regions;
mod resize;
mod sort;
mod table;
mod track;

use super::Block;

/// All of them.
pub(super) const ALL: &[&'static dyn Block] = &[
    &alert::Alert,
    &count::Count,
    &count_in_regions::CountInRegions,
    &count_unique::CountUnique,
    &crop_objects::CropObjects,
    &detect::Detect,
    &draw::Draw,
    &encode::Encode,
    &filter::Filter,
    &keep::Keep,
    &library::Library,
    &merge::Merge,
    &regions::Regions,
    &resize::Resize,
    &sort::Sort,
    &table::Table,
    &track::Track,
];
