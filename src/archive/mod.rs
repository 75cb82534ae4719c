//! The files of one volume and what is known of them: layout, sidecars, identity and space of the volume.
//!
//! `record` writes into the archive, `recovery` finishes what a stop or a power cut left open and merges a spool,
//! `retention` deletes, `timekeeper` corrects times, `coverage_export` gives accounts of days. They share an
//! [`Archive`]. Sidecars are the truth; the index is made from them.

pub(crate) mod annotations;
#[cfg(test)]
pub(crate) mod bench;
mod context;
pub(crate) mod filing;
#[cfg(test)]
mod fuzz;
pub(crate) mod holders;
mod layout;
pub(crate) mod removal;
pub(crate) mod sidecar;
pub(crate) mod space;
pub mod spool;
pub(crate) mod times;
pub mod volume;
mod walk;
mod writing;

pub use context::{Archive, ArchiveDeps, Config};
pub use layout::Layout;
pub use sidecar::{SIDECAR, Sidecar, look_at_event, measure, write_durable};
pub use space::{RecordingLevel, make_room};
pub use walk::{Place, Walk};
pub(crate) use writing::{Held, Writer};
