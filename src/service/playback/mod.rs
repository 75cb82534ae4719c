//! Going over what was recorded: which files hold a stretch of time, pictures of any moment of it, and exports of a stretch
//! as one file.

mod cut;
mod export;
mod exports;
#[cfg(test)]
pub(crate) mod fixture;
mod jobs;
mod pieces;
mod preview;
mod remux;
#[cfg(test)]
mod tests;

pub use cut::CutRefusal;
pub(super) use cut::remove_with as remove_cuts;
pub use export::{Export, ExportId, ExportState, ExportedPart, SeenTime};
pub use exports::{ExportRefusal, ExportService, NewExport};
pub use pieces::{Piece, PieceKind, Pieces, PlaybackService};
pub use preview::{Preview, PreviewService};

use crate::load::LoadLevel;

/// The highest level of load shedding at which video is still decoded or copied for people.
pub(super) const MOST_LOAD: LoadLevel = LoadLevel::QuarterRate;
