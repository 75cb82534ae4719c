//! In place of `file.rs` in a program without the feature `parquet`. The configuration refuses the lake there.

use anyhow::{Result, bail};

use super::ABSENT;
use super::rows::Rows;
use super::table::Table;

/// Writes no file.
///
/// # Errors
/// Always.
pub(super) fn encode(_: &Rows) -> Result<Vec<u8>> {
    bail!(ABSENT)
}

/// Reads no file.
///
/// # Errors
/// Always.
pub(super) fn decode(_: Table, _: Vec<u8>) -> Result<Rows> {
    bail!(ABSENT)
}
