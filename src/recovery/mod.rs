//! What a stop or a power cut left: open events and segments are closed, what the index lost is taken in from the sidecars,
//! and a spool is merged into the archive.

mod merge;
mod recover;
mod segments;
mod shared;
#[cfg(test)]
mod tests;

pub use merge::{Merged, merge};
pub use recover::{Progress, Recovered, StillWritten, recover};
