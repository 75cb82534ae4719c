//! How much the box may hold, and for how long: `[retention]`.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::age_limit::Age;
use crate::store::Class;

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

    /// Bytes that all recordings may take, if there is a limit.
    pub fn quota(&self) -> Option<u64> {
        Some(self.max_bytes).filter(|bytes| *bytes > 0)
    }

    /// How old files of `class` may become, if there is a limit.
    pub fn age(&self, class: Class) -> Option<Duration> {
        let Age(age) = match class {
            Class::Continuous => self.continuous,
            Class::Clips => self.clips,
            Class::Snapshots => self.snapshots,
            Class::Metadata => self.metadata,
        };
        (!age.is_zero()).then_some(age)
    }
}
