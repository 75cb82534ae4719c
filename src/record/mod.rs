//! Recording: the pre-roll ring, clips of events, segments of continuous video, stills, and the ledger of a camera's day.
//!
//! One [`Recorder`] thread per camera keeps the ring and writes the clips of the events in progress. The order in which
//! an event becomes durable is the box's first promise:
//!
//! 1. start: folder, `event.json` (state `open`), then the index together with the alert's outbox row;
//! 2. while it lasts: stills and the clip's fragments, synced every few seconds;
//! 3. end: clip and stills synced, `event.json` (state `ended`) last, then the index together with the
//!    outbox rows of every file and of the closing alert.
//!
//! Where detection looks at a substream, a thread of its own (`main_still`) makes the stills large, of the main stream's
//! picture at that time, which a recorder decodes nothing of. The small ones stand until then.
//!
//! What a stop or a power cut leaves open is finished by `recovery` at the next start.

mod clip_files;
mod config;
mod event_stills;
mod ledger;
pub(crate) mod main_still;
mod preroll;
mod progress;
mod recorder;
mod recording;
mod segments;
mod snapshot;
#[cfg(test)]
mod tests;

pub use config::{RecordConfig, RecordMode};
pub use main_still::{StillQueue, StillTurn};
pub use progress::{Change, Look};
pub use recorder::{Moving, Recorder};
pub(crate) use segments::settle;
