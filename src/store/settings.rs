//! sled's settings. sled panics when they are made while the wall clock shows a time before 1970: it makes up a name for
//! temporary data from it, which is never used here.

use std::path::Path;
use std::time::SystemTime;

use parking_lot::Mutex;

use super::StoreError;

/// Settings that were made at a time that sled takes, for indexes that are opened at another. Each is for one index
/// alone: sled keeps the failure of a database with its settings, and clones share it.
static SPARE: Mutex<Vec<sled::Config>> = Mutex::new(Vec::new());
/// How many are kept; an index is opened at the start, and when the volume changes.
const SPARES: usize = 16;

/// Settings for an index in the folder `index`.
///
/// # Errors
/// [`StoreError::NoTime`] while the clock shows a time before 1970 and has done so since the process began.
#[expect(clippy::disallowed_methods, reason = "it is this clock that sled asks")]
pub(super) fn of(index: &Path, cache_bytes: u64) -> Result<sled::Config, StoreError> {
    let mut spare = SPARE.lock();
    let settings = if SystemTime::now() < SystemTime::UNIX_EPOCH {
        spare.pop().ok_or(StoreError::NoTime)?
    } else {
        while spare.len() < SPARES {
            spare.push(sled::Config::new());
        }
        sled::Config::new()
    };
    Ok(settings.cache_capacity(cache_bytes).path(index))
}
