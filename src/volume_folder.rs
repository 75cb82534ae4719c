//! Making files and folders at the top of a volume, and nowhere else.
//!
//! While a volume is not mounted, another folder lies at its path: what is made there would be hidden once the volume is
//! back, and can keep it from being mounted. A look at the path before each write is not enough, for the volume may go in
//! between. So a handle of the folder is opened, that handle is asked which device it lies on, and what is made is made
//! relative to it.

use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Mode, OFlags, mkdirat, openat, renameat, unlinkat};

/// Rights of what is made, less those that the process's mask takes away.
const FILE: Mode = Mode::from_raw_mode(0o666);
const FOLDER: Mode = Mode::from_raw_mode(0o777);

/// The folder at the top of a volume, on the device that it lay on at first.
#[derive(Clone, Debug)]
pub struct VolumeFolder {
    path: PathBuf,
    /// `None` where nothing was there at first: it is not checked then.
    device: Option<u64>,
}

impl VolumeFolder {
    /// The folder as it lies at `path` now.
    pub fn new(path: &Path) -> Self {
        Self::on(path, std::fs::metadata(path).ok().map(|about| about.dev()))
    }

    /// The folder at `path` while it lies on `device`; on any where that is `None`.
    pub fn on(path: &Path, device: Option<u64>) -> Self {
        Self { path: path.to_owned(), device }
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of the file system that it lay on at first.
    pub fn device(&self) -> Option<u64> {
        self.device
    }

    fn open(&self) -> io::Result<File> {
        let folder = File::open(&self.path)?;
        if self.device.is_some_and(|device| folder.metadata().is_ok_and(|about| about.dev() != device)) {
            let reason = format!("another file system lies at {} now: mount the volume again", self.path.display());
            return Err(io::Error::new(ErrorKind::NotFound, reason));
        }
        Ok(folder)
    }

    /// Opens or makes the file `name`, in the way that `flags` say.
    ///
    /// # Errors
    /// When the volume is away or the file system refuses.
    pub fn file(&self, name: &str, flags: OFlags) -> io::Result<File> {
        Ok(openat(self.open()?, name, flags | OFlags::CREATE | OFlags::CLOEXEC, FILE)?.into())
    }

    /// Replaces the file `name`, so that after a power cut either the old or the new content is there.
    ///
    /// # Errors
    /// When the volume is away or the file system refuses; the old content is then still there, and no draft.
    pub fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let folder = self.open()?;
        let draft = format!(".{name}.tmp");
        let flags = OFlags::CREATE | OFlags::TRUNC | OFlags::WRONLY | OFlags::CLOEXEC;
        let write = || -> io::Result<()> {
            let mut file = File::from(openat(&folder, &draft, flags, FILE)?);
            file.write_all(content)?;
            file.sync_all()?;
            Ok(renameat(&folder, &draft, &folder, name)?)
        };
        write().inspect_err(|_| {
            // On a full volume half a file is space that others need.
            let _ = unlinkat(&folder, &draft, AtFlags::empty());
        })?;
        crate::durable::sync_handle(&folder)
    }

    /// Makes the folder `relative` and all above it, durably. Returns its path.
    ///
    /// # Errors
    /// When the volume is away or the file system refuses.
    pub fn folder(&self, relative: &Path) -> io::Result<PathBuf> {
        let (mut above, mut is_top) = (self.open()?, true);
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        for name in relative.components() {
            let name = Path::new(&name);
            let is_new = match mkdirat(above.as_fd(), name, FOLDER) {
                Ok(()) => true,
                Err(rustix::io::Errno::EXIST) => false,
                Err(error) => return Err(error.into()),
            };
            // A process that was killed before it synced one that is there has left that to do; at the top, where all
            // names are old soon, only new ones are worth the wait.
            if is_new || !is_top {
                crate::durable::sync_handle(&above)?;
            }
            is_top = false;
            let next: OwnedFd = openat(above.as_fd(), name, flags, Mode::empty())?;
            above = next.into();
        }
        Ok(self.path.join(relative))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_and_folders_are_made_and_replaced() {
        let dir = tempfile::tempdir().expect("tempdir");
        let folder = VolumeFolder::new(dir.path());
        let made = folder.folder(Path::new("archive/yard/1")).expect("folders");
        assert_eq!(made, dir.path().join("archive/yard/1"));
        assert!(made.is_dir());
        folder.folder(Path::new("archive/yard/1")).expect("they are there");
        folder.replace("note", b"old").expect("write");
        folder.replace("note", b"new").expect("write");
        assert_eq!(fs::read(dir.path().join("note")).expect("read"), b"new");
        let mut log = folder.file("log", OFlags::WRONLY | OFlags::APPEND).expect("open");
        log.write_all(b"1").expect("write");
        fs::write(dir.path().join("archive/gate"), "a file").expect("an obstacle");
        folder.folder(Path::new("archive/gate/2")).expect_err("no folder");
        let names = fs::read_dir(dir.path()).expect("read").count();
        assert_eq!(names, 3, "archive, log and note, no draft");
    }

    #[test]
    fn nothing_is_made_where_another_file_system_lies() {
        let dir = tempfile::tempdir().expect("tempdir");
        let elsewhere = fs::metadata("/proc").expect("look").dev();
        let folder = VolumeFolder::on(dir.path(), Some(elsewhere));
        let refused = folder.file("index.reserve", OFlags::WRONLY).expect_err("another device");
        assert!(refused.to_string().contains("another file system lies at"), "{refused}");
        folder.replace("note", b"new").expect_err("another device");
        folder.folder(Path::new("archive")).expect_err("another device");
        assert_eq!(fs::read_dir(dir.path()).expect("read").count(), 0);
    }
}
