//! What people say of an event.

use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;

/// Most tags of an event.
pub const MOST_TAGS: usize = 12;
/// Longest tag, bytes of UTF-8.
pub const LONGEST_TAG: usize = 40;
/// Longest note, bytes of UTF-8. All of it fits into a row of the index, however its characters are written there.
pub const LONGEST_NOTE: usize = 1000;

/// Whether an event was worth an alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It shows what it is said to show.
    TrueAlarm,
    /// It does not.
    FalseAlarm,
}

/// How an event was judged, as people say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// It shows what it is said to show.
    TrueAlarm,
    /// It does not.
    FalseAlarm,
    /// It was not judged.
    None,
}

impl Judgement {
    /// The verdict, where there is one.
    pub fn verdict(self) -> Option<Verdict> {
        match self {
            Self::TrueAlarm => Some(Verdict::TrueAlarm),
            Self::FalseAlarm => Some(Verdict::FalseAlarm),
            Self::None => None,
        }
    }
}

/// What people say of an event, and who said something last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Annotations {
    /// In the order in which they were given; none twice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<Arc<str>>,
    /// In their own words; empty where there is none.
    #[serde(default, skip_serializing_if = "str::is_empty")]
    pub note: Arc<str>,
    /// Whether it was worth an alarm, where that was judged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// Who changed this, or the pin, last.
    pub by: Arc<str>,
    /// When.
    pub at: Moment,
}

/// Who has looked an event through.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// The user.
    pub by: Arc<str>,
    /// When, by the box's clock.
    pub at: Timestamp,
}

/// Why a tag or note is not taken: says what is allowed.
///
/// # Errors
/// A sentence.
pub fn check_tag(tag: &str) -> Result<(), String> {
    let is_plain =
        !tag.is_empty() && tag.len() <= LONGEST_TAG && tag.trim() == tag && !tag.chars().any(char::is_control);
    if is_plain {
        Ok(())
    } else {
        Err(format!("a tag has 1 to {LONGEST_TAG} bytes on one line, without spaces around it"))
    }
}

/// As [`check_tag`].
///
/// # Errors
/// A sentence.
pub fn check_note(note: &str) -> Result<(), String> {
    let is_fine = note.len() <= LONGEST_NOTE && !note.chars().any(|c| c.is_control() && c != '\n');
    if is_fine {
        Ok(())
    } else {
        Err(format!("a note has {LONGEST_NOTE} bytes at most, and no control characters but line breaks"))
    }
}
