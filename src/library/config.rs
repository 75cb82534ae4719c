//! Bounds of the photo library: `[library]`.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::age_limit::Age;

/// Bounds of the photo library. TOML `[library]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bytes that the photos of each user may take, the trash among them; 0: no limit. Default: 0.
    #[serde(with = "crate::byte_size")]
    pub quota: u64,
    /// The same of single users, by name. Default: none.
    pub quotas: BTreeMap<String, Quota>,
    /// For how long a photo lies in the trash before it is deleted for good; 0d: until a person deletes it. Default: 30d.
    pub trash: Age,
}

/// Bytes of one user; 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quota(#[serde(with = "crate::byte_size")] pub u64);

impl Default for Config {
    fn default() -> Self {
        Self { quota: 0, quotas: BTreeMap::new(), trash: Age(Duration::from_secs(30 * 24 * 3600)) }
    }
}

impl Config {
    /// Bytes that the photos of `owner` may take, where there is a limit.
    pub fn quota_of(&self, owner: &str) -> Option<u64> {
        let quota = self.quotas.get(owner).map_or(self.quota, |quota| quota.0);
        (quota > 0).then_some(quota)
    }

    /// After how long in the trash a photo is deleted for good, where it is.
    pub fn trash(&self) -> Option<Duration> {
        (!self.trash.0.is_zero()).then_some(self.trash.0)
    }
}
