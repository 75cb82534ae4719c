//! In place of `v4l2` in a program without the feature `v4l`. The configuration refuses such cameras there.

use std::path::PathBuf;
use std::sync::Arc;

use super::{Config, Device, Source, SourceError};
use crate::clock::Clock;

/// Opens no device.
///
/// # Errors
/// Always [`SourceError::Unsupported`].
pub(super) async fn connect(_: &Config, path: PathBuf, _: Arc<dyn Clock>) -> Result<Box<dyn Source>, SourceError> {
    let reason = super::config::NO_V4L2.to_owned();
    Err(SourceError::Unsupported { what: path.display().to_string(), reason })
}

/// Finds no device.
pub(super) fn devices() -> Vec<Device> {
    Vec::new()
}
