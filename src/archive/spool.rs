//! A small stand-in for the archive on the system disk, for as long as the archive's own volume is away.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::volume;

/// The note about the archive's volume, in the spool's folder.
pub const NOTE: &str = "volume";
/// The service's state folder, as systemd/outpost.service has it.
const SERVICE_STATE: &str = "/var/lib/outpost";

/// Where recording goes on while the archive's volume is missing or does not work. TOML `[spool]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Folder on another disk than `storage.path`. Default: empty, which is `spool` in the service's state folder
    /// (/var/lib/outpost/spool) when systemd runs Outpost, and else none.
    pub path: PathBuf,
    /// Bytes that recordings may take there. Default: 1073741824 (1 GiB).
    #[serde(with = "crate::byte_size")]
    pub max_bytes: u64,
    /// How often the archive's volume is tried with a small write. Default: 15s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub check_every: Duration,
    /// A volume that does not answer for so long counts as gone; less than `storage.deadline`, or the index counts as
    /// damaged first. Default: 15s.
    #[serde(with = "jiff::fmt::serde::unsigned_duration::friendly::compact::required")]
    pub patience: Duration,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            path: PathBuf::new(),
            max_bytes: 1 << 30,
            check_every: Duration::from_secs(15),
            patience: Duration::from_secs(15),
        }
    }
}

impl Config {
    /// Checks the values.
    ///
    /// # Errors
    /// A sentence that names the key.
    pub fn validate(&self) -> Result<(), String> {
        if !self.path.as_os_str().is_empty() && !self.path.is_absolute() {
            return Err(format!("path: {} is not an absolute path", self.path.display()));
        }
        if self.max_bytes < 16 << 20 {
            return Err(format!("max_bytes is {}, it must be at least 16777216 (16 MiB)", self.max_bytes));
        }
        for (key, value) in [("check_every", self.check_every), ("patience", self.patience)] {
            if !(Duration::from_secs(1)..=Duration::from_secs(600)).contains(&value) {
                return Err(format!("{key} is {value:?}, it goes from 1s to 10m"));
            }
        }
        Ok(())
    }

    /// The folder, made if need be; `None` where there is to be none, or where it would lie within `storage`, with which
    /// it would be lost. `state` is the service's state folder.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn folder(&self, state: Option<&Path>, storage: &Path) -> std::io::Result<Option<PathBuf>> {
        let configured = Some(&self.path).filter(|path| !path.as_os_str().is_empty()).cloned();
        let folder = configured.or_else(|| Some(state?.join("spool"))).filter(|folder| !folder.starts_with(storage));
        folder.iter().try_for_each(std::fs::create_dir_all)?;
        Ok(folder)
    }

    /// The folder as the service sees it, also for commands on the command line. It need not exist.
    pub fn folder_of_service(&self) -> PathBuf {
        let in_state = || Path::new(SERVICE_STATE).join("spool");
        Some(&self.path).filter(|path| !path.as_os_str().is_empty()).cloned().unwrap_or_else(in_state)
    }
}

/// Whether `spool` can stand in for `storage`: it has to lie on another file system. A path that is not there
/// says nothing against it.
pub fn is_elsewhere(spool: &Path, storage: &Path) -> bool {
    match (volume::device(spool), volume::device(storage)) {
        (Ok(spool), Ok(storage)) => spool != storage,
        (spool, _) => spool.is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_the_configured_one_or_in_the_state_folder_or_none() {
        let dir = tempfile::tempdir().expect("tempdir");
        let (none, here) = (Config::default(), Config { path: dir.path().join("here"), ..Config::default() });
        let storage = Path::new("/srv/archive");
        assert_eq!(none.folder(None, storage).expect("none"), None);
        assert_eq!(none.folder(Some(dir.path()), dir.path()).expect("none"), None);
        assert!(!dir.path().join("spool").exists());
        assert_eq!(none.folder(Some(dir.path()), storage).expect("made"), Some(dir.path().join("spool")));
        assert_eq!(here.folder(Some(dir.path()), storage).expect("made"), Some(dir.path().join("here")));
        assert!(dir.path().join("here").is_dir());
        assert!(!is_elsewhere(dir.path(), dir.path()));
        assert!(is_elsewhere(Path::new("/proc"), dir.path()));
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        let bad = |change: fn(&mut Config)| {
            let mut config = Config::default();
            change(&mut config);
            config.validate().expect_err("nonsense")
        };
        assert!(bad(|c| c.path = "spool".into()).contains("spool is not an absolute path"));
        assert!(bad(|c| c.max_bytes = 1).starts_with("max_bytes"));
        assert!(bad(|c| c.patience = Duration::ZERO).starts_with("patience"));
        Config::default().validate().expect("the defaults");
    }
}
