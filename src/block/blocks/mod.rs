//! The blocks, one file each. A further one is a file here, and a line in each of the two lists below.

mod alert;
mod blur;
mod classify;
mod compose;
mod condition;
mod convert;
mod count;
mod count_in_regions;
mod count_unique;
mod crop;
mod crop_objects;
mod detect;
mod draw;
mod encode;
mod expression;
mod filter;
mod first;
mod join_texts;
mod keep;
mod library;
mod merge;
mod number;
mod overlay;
mod pad;
mod rate_limit;
mod regions;
mod resize;
mod rotate;
mod sort;
mod stitch;
mod switch;
mod table;
mod text;
mod tile;
mod track;
mod webhook;

use super::Block;

/// All of them.
pub(super) const ALL: &[&'static dyn Block] = &[
    &alert::Alert,
    &blur::Blur,
    &classify::Classify,
    &compose::Compose,
    &condition::Condition,
    &convert::Convert,
    &count::Count,
    &count_in_regions::CountInRegions,
    &count_unique::CountUnique,
    &crop::Crop,
    &crop_objects::CropObjects,
    &detect::Detect,
    &draw::Draw,
    &encode::Encode,
    &expression::Expression,
    &filter::Filter,
    &first::First,
    &join_texts::JoinTexts,
    &keep::Keep,
    &library::Library,
    &merge::Merge,
    &number::Number,
    &overlay::Overlay,
    &pad::Pad,
    &rate_limit::RateLimit,
    &regions::Regions,
    &resize::Resize,
    &rotate::Rotate,
    &sort::Sort,
    &stitch::Stitch,
    &switch::Switch,
    &table::Table,
    &text::Text,
    &tile::Tile,
    &track::Track,
    &webhook::Webhook,
];
