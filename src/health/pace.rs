//! How much is recorded.

use std::collections::BTreeMap;
use std::time::Duration;

/// How much was recorded lately, whether or not it is still there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pace {
    /// Over what time that was measured.
    pub over: Duration,
    /// Bytes, by the class of the files.
    pub written: BTreeMap<&'static str, u64>,
}
