//! Accounts of days: what became of every second of a camera's day, composed from ledger, segments and clips.

mod export;
pub mod footage;
#[cfg(test)]
mod tests;

pub use export::Export;
