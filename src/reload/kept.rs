//! The last configuration that was good, on the system disk.
//!
//! A mistake in the file must not keep a box from recording when the power comes back and no one is there.

use std::path::{Path, PathBuf};

use tracing::warn;

use super::{Read, read};
use crate::config::Files;
use crate::durable;

/// Its name in the service's own folder.
const FILE: &str = "last-good.toml";

/// Where the last good configuration is kept.
#[derive(Clone, Debug)]
pub struct Kept(Option<PathBuf>);

impl Kept {
    /// In the folder that the service manager gave the daemon; without one nothing is kept.
    pub fn of_service() -> Self {
        Self(std::env::var_os("STATE_DIRECTORY").map(|folder| Path::new(&folder).join(FILE)))
    }

    /// In `folder`.
    pub fn in_folder(folder: &Path) -> Self {
        Self(Some(folder.join(FILE)))
    }

    /// Its file.
    pub fn file(&self) -> Option<&Path> {
        self.0.as_deref()
    }

    /// The one that is kept; `None` where none is, or it cannot be used any more.
    pub fn load(&self) -> Option<Read> {
        let file = self.0.as_deref().filter(|file| file.exists())?;
        let files = Files { main: file.to_owned(), own: None };
        read(&files).inspect_err(|error| warn!(%error, "the last good configuration cannot be used either")).ok()
    }

    /// Keeps `text`, which was seen to work. Blocks on the disk. A disk that refuses costs the copy only.
    pub fn save(&self, text: &str) {
        let Some(file) = &self.0 else { return };
        let is_known = std::fs::read_to_string(file).is_ok_and(|known| known == text);
        if !is_known && let Err(error) = durable::replace(file, text.as_bytes()) {
            warn!(file = %file.display(), %error, "the last good configuration cannot be kept");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[camera.yard.source]\nurl = \"rtsp://h/1\"\n";

    #[test]
    fn what_is_kept_is_found_again_with_its_text() {
        let dir = tempfile::tempdir().expect("tempdir");
        let kept = Kept::in_folder(dir.path());
        assert!(kept.load().is_none());
        kept.save(TEXT);
        let found = kept.load().expect("a configuration");
        assert_eq!((found.text.as_str(), found.config.camera.len()), (TEXT, 1));
        kept.save("[camera\n");
        assert!(kept.load().is_none(), "one of a later version, perhaps");
        Kept(None).save(TEXT);
    }
}
