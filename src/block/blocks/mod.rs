//! The blocks, one file each. A further one is a file here, and a line in each of the two lists below.

mod alert;
mod condition;
mod count;
mod count_in_regions;
mod count_unique;
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
mod rate_limit;
mod regions;
mod resize;
mod sort;
mod switch;
mod table;
mod text;
mod track;

use super::Block;

/// All of them.
pub(super) const ALL: &[&'static dyn Block] = &[
    &alert::Alert,
    &condition::Condition,
    &count::Count,
    &count_in_regions::CountInRegions,
    &count_unique::CountUnique,
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
    &rate_limit::RateLimit,
    &regions::Regions,
    &resize::Resize,
    &sort::Sort,
    &switch::Switch,
    &table::Table,
    &text::Text,
    &track::Track,
];
