//! How much the box may hold, and for how long: `[retention]`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::SignedDuration;
use serde::{Deserialize, Serialize};

use crate::store::Class;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// How much the box may hold, and for how long. TOML `[retention]`.
///
/// Ages never count more time than has passed for certain: what a synchronised clock vouches for, else the time that
/// the box has run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bytes that all recordings together may take; 0: as many as the volume has. Default: 0.
    #[serde(with = "crate::byte_size")]
    pub max_bytes: u64,
    /// Bytes that stay free on the volume. Default: 1 GiB, on small volumes 5 % of them.
    #[serde(with = "crate::byte_size::optional", skip_serializing_if = "Option::is_none")]
    pub min_free: Option<u64>,
    /// For how long video that belongs to no event is kept; 0d: no limit. Default: 0d.
    pub continuous: Age,
    /// For how long clips are kept; 0d: no limit. Default: 0d.
    pub clips: Age,
    /// For how long full pictures are kept; 0d: no limit. Default: 0d.
    pub snapshots: Age,
    /// For how long events are kept at all, and the accounts of each day's coverage; 0d: no limit. Default: 0d.
    pub metadata: Age,
    /// Whether these ages delete what a destination is still to get. Default: false.
    pub expire_undelivered: bool,
}

impl Config {
    /// Checks the values.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn validate(&self) -> Result<(), String> {
        for class in [Class::Clips, Class::Snapshots] {
            let (age, whole) = (self.age(class), self.age(Class::Metadata));
            if let (Some(age), Some(whole)) = (age, whole)
                && age > whole
            {
                let (name, metadata) = (class.as_str(), self.metadata);
                return Err(format!(
                    "metadata is {metadata}, and with it goes the event: {name} cannot be kept longer"
                ));
            }
        }
        Ok(())
    }

    /// The same for a spool that may hold `max_bytes`.
    pub fn for_spool(&self, max_bytes: u64) -> Self {
        Self { max_bytes, min_free: None, ..self.clone() }
    }

    /// How old files of `class` may become, if there is a limit.
    pub(super) fn age(&self, class: Class) -> Option<Duration> {
        let Age(age) = match class {
            Class::Continuous => self.continuous,
            Class::Clips => self.clips,
            Class::Snapshots => self.snapshots,
            Class::Metadata => self.metadata,
        };
        (!age.is_zero()).then_some(age)
    }
}

/// A length of time in which days may be counted: `30d`, `12h`, `1d 12h`. A day has 24 hours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Age(pub Duration);

impl FromStr for Age {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("{text:?} is not an age such as \"30d\", \"12h\" or \"1d 12h\"");
        let days = text.split_once('d').and_then(|(days, rest)| Some((days.trim().parse::<u32>().ok()?, rest.trim())));
        let rest = match days.map_or(text.trim(), |(_, rest)| rest) {
            "" if days.is_some() => Duration::ZERO,
            rest => rest.parse::<SignedDuration>().ok().and_then(|rest| rest.try_into().ok()).ok_or_else(bad)?,
        };
        Ok(Self(DAY * days.map_or(0, |(days, _)| days) + rest))
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let days = self.0.as_secs() / DAY.as_secs();
        let rest = self.0 - DAY * u32::try_from(days).unwrap_or(u32::MAX);
        match (days, rest) {
            (days, Duration::ZERO) => write!(f, "{days}d"),
            (0, rest) => write!(f, "{}s", rest.as_secs()),
            (days, rest) => write!(f, "{days}d {}s", rest.as_secs()),
        }
    }
}

impl TryFrom<String> for Age {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Age> for String {
    fn from(age: Age) -> String {
        age.to_string()
    }
}
