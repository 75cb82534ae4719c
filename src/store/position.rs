//! Places in the sequence of changes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A place in the sequence: behind the change with this number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Which index; 0 before the first change.
    pub epoch: u32,
    /// The number of the change, from 1.
    pub seq: u64,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}-{}", self.epoch, self.seq)
    }
}

impl FromStr for Position {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (epoch, seq) = text.split_once('-').ok_or(())?;
        let epoch = u32::from_str_radix(epoch, 16).map_err(drop)?;
        Ok(Self { epoch, seq: seq.parse().map_err(drop)? })
    }
}

/// What is kept of the sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sequence {
    /// The last change.
    pub last: Position,
    /// The number of the oldest change that is kept.
    pub first: u64,
}
