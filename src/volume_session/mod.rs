//! What runs on one volume, and the way from one volume to another.
//!
//! A `VolumeSession` is an open index and archive with the outlets, retention, timekeeper, lake and recovery on them. When
//! the archive's volume goes away or comes back, the cameras keep running, and [`VolumeSwitch`] replaces the session:
//! `storage` opens what there is to record on, `guard` tries it and says when to go elsewhere, `recovery` puts in order
//! what an earlier run left there.

mod alert_settings;
mod guard;
mod leftover;
mod open;
mod outlets;
mod parts;
mod recovery;
mod session;
mod storage;
mod switch;
#[cfg(test)]
mod tests;

pub use open::OpenVolume;
pub use storage::{Opened, Storage};
pub use switch::{Followed, SwitchDeps, VolumeSwitch};
