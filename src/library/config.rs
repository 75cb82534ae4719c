//! Bounds of the photo library: `[library]`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::age_limit::Age;
use crate::event::{MOST_TAGS, check_tag};

/// Bounds of the photo library. TOML `[library]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Bytes that the photos of each user may take, the trash among them; 0: no limit. Default: 0.
    #[serde(with = "crate::byte_size")]
    pub quota: u64,
    /// The same of single users, by name. Default: none.
    pub quotas: BTreeMap<String, Quota>,
    /// Folders whose pictures and videos are taken in as they come, by names of their own. Default: none.
    pub watch: BTreeMap<String, WatchedFolder>,
    /// Folders below which cards and sticks are mounted: what lies there may be imported.
    /// Default: /media, /mnt and /run/media.
    pub import_from: Vec<PathBuf>,
    /// The model that looks at photos, so that they are found by what is on them; "auto": the first that cameras use, "off":
    /// none. Default: auto.
    pub detect: String,
    /// For how long an original stays on this box after it was taken in; then it lies at the first upload destination alone,
    /// as long as that has it and does not seal it. 0d: for ever. Default: 0d.
    pub keep_originals: Age,
    /// For how long a photo lies in the trash before it is deleted for good; 0d: until a person deletes it. Default: 30d.
    pub trash: Age,
}

/// A folder that is watched. TOML `[library.watch.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchedFolder {
    /// Where it lies. The daemon's user has to be able to read it.
    pub path: PathBuf,
    /// The user whose photos its files become.
    pub owner: String,
    /// Whether their owner alone sees them. Default: false.
    #[serde(default)]
    pub private: bool,
    /// Tags that they get. Default: none.
    #[serde(default)]
    pub tags: Vec<String>,
}

/// Bytes of one user; 0: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Quota(#[serde(with = "crate::byte_size")] pub u64);

impl Default for Config {
    fn default() -> Self {
        Self {
            quota: 0,
            quotas: BTreeMap::new(),
            watch: BTreeMap::new(),
            import_from: ["/media", "/mnt", "/run/media"].map(PathBuf::from).to_vec(),
            detect: "auto".to_owned(),
            keep_originals: Age(Duration::ZERO),
            trash: Age(Duration::from_secs(30 * 24 * 3600)),
        }
    }
}

impl Config {
    /// Checks the values; `storage` is where the box keeps its own.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn validate(&self, storage: &Path) -> Result<(), String> {
        for (name, folder) in &self.watch {
            let place = |key: &str| format!("watch.{name}.{key}");
            let path = &folder.path;
            if !path.is_absolute() {
                return Err(format!("{} is {path:?}: give the whole path, from /", place("path")));
            }
            if path.starts_with(storage) || storage.starts_with(path) {
                return Err(format!("{} is {path:?}, and the box's own files lie in {storage:?}", place("path")));
            }
            let other = self.watch.iter().find(|(other, at)| *other != name && at.path.starts_with(path));
            if let Some((other, _)) = other {
                return Err(format!(
                    "{} is {path:?}, and watch.{other} lies in it: each file has one owner",
                    place("path")
                ));
            }
            if folder.owner.trim().is_empty() {
                return Err(format!("{} is empty: name the user whose photos they become", place("owner")));
            }
            if folder.tags.len() > MOST_TAGS {
                return Err(format!(
                    "{} has {} tags, a photo has {MOST_TAGS} at most",
                    place("tags"),
                    folder.tags.len()
                ));
            }
            folder.tags.iter().try_for_each(|tag| check_tag(tag)).map_err(|why| format!("{}: {why}", place("tags")))?;
        }
        match self.import_from.iter().find(|path| !path.is_absolute()) {
            Some(path) => Err(format!("import_from has {path:?}: give the whole path, from /")),
            None => Ok(()),
        }
    }

    /// Bytes that the photos of `owner` may take, where there is a limit.
    pub fn quota_of(&self, owner: &str) -> Option<u64> {
        let quota = self.quotas.get(owner).map_or(self.quota, |quota| quota.0);
        (quota > 0).then_some(quota)
    }

    /// After how long an original may lie elsewhere alone, where it may.
    pub fn keep_originals(&self) -> Option<Duration> {
        (!self.keep_originals.0.is_zero()).then_some(self.keep_originals.0)
    }

    /// After how long in the trash a photo is deleted for good, where it is.
    pub fn trash(&self) -> Option<Duration> {
        (!self.trash.0.is_zero()).then_some(self.trash.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(path: &str) -> WatchedFolder {
        WatchedFolder { path: path.into(), owner: "anna".to_owned(), private: false, tags: Vec::new() }
    }

    #[test]
    fn folders_that_cannot_be_watched_are_refused() {
        let of = |folders: &[(&str, WatchedFolder)]| {
            let watch = folders.iter().map(|(name, folder)| ((*name).to_owned(), folder.clone())).collect();
            Config { watch, ..Config::default() }.validate(Path::new("/var/lib/outpost"))
        };
        assert_eq!(of(&[("a", folder("/srv/a")), ("b", folder("/srv/b"))]), Ok(()));
        let wrong = [
            (vec![("a", folder("photos"))], "watch.a.path is \"photos\": give the whole path"),
            (vec![("a", folder("/var/lib/outpost/x"))], "the box's own files lie in"),
            (vec![("a", folder("/var"))], "the box's own files lie in"),
            (vec![("a", folder("/srv")), ("b", folder("/srv/b"))], "watch.b lies in it"),
            (vec![("a", folder("/srv")), ("b", folder("/srv"))], "lies in it"),
            (vec![("a", WatchedFolder { owner: " ".to_owned(), ..folder("/srv") })], "watch.a.owner is empty"),
            (vec![("a", WatchedFolder { tags: vec![String::new()], ..folder("/srv") })], "watch.a.tags"),
        ];
        for (folders, reason) in wrong {
            let refused = of(&folders).expect_err(reason);
            assert!(refused.contains(reason), "{refused}");
        }
        let from = Config { import_from: vec!["media".into()], ..Config::default() };
        assert!(from.validate(Path::new("/var/lib/outpost")).is_err_and(|why| why.contains("import_from")));
    }
}
