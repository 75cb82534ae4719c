//! sled's settings. sled panics when they are made while the wall clock shows a time before 1970: it makes up a name for
//! temporary data from it, which is never used here.

use std::path::Path;
use std::sync::OnceLock;
use std::time::SystemTime;

use super::StoreError;

/// Settings that were made at a time that sled takes, for all that are needed later.
static MADE: OnceLock<sled::Config> = OnceLock::new();

/// Settings for an index in the folder `index`.
///
/// # Errors
/// [`StoreError::NoTime`] while the clock shows a time before 1970 and has done so since the process began.
#[expect(clippy::disallowed_methods, reason = "it is this clock that sled asks")]
pub(super) fn of(index: &Path, cache_bytes: u64) -> Result<sled::Config, StoreError> {
    let made = match MADE.get() {
        Some(made) => made,
        None if SystemTime::now() < SystemTime::UNIX_EPOCH => return Err(StoreError::NoTime),
        None => MADE.get_or_init(sled::Config::new),
    };
    // The cache comes first: `path` wants settings that nobody else has.
    Ok(made.clone().cache_capacity(cache_bytes).path(index))
}
