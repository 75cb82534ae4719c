//! Passwords of cameras that came by the page: each in a file of its own, which only the daemon reads. The configuration
//! names the file.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::durable;

/// Their folder, beside what else is the daemon's own.
const FOLDER: &str = "passwords";

/// Where they lie.
#[derive(Clone, Debug)]
pub struct Passwords(PathBuf);

impl Passwords {
    /// Below `state`.
    pub fn in_state(state: &Path) -> Self {
        Self(state.join(FOLDER))
    }

    /// Keeps a password of `camera`. Gives its file, which no other has been. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn keep(&self, camera: &str, password: &str) -> io::Result<PathBuf> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0)?;
        let folder = self.0.canonicalize()?;
        let file = folder.join(format!("{camera}-{}", ulid::Ulid::new().to_string().to_lowercase()));
        let mut out = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file)?;
        out.write_all(password.as_bytes())?;
        out.sync_all()?;
        durable::sync_folder(&folder)?;
        Ok(file)
    }

    /// Removes those that `text`, the configuration that is used, does not name any more. Blocks on the disk.
    pub fn clean(&self, text: &str) {
        let files = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let is_left = |name: &str| !text.contains(name);
        for file in files.filter(|file| file.file_name().to_str().is_some_and(is_left)) {
            // One that stays is tried again by the next change.
            let _ = fs::remove_file(file.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn passwords_are_private_and_go_when_they_are_not_named_any_more() {
        let state = tempfile::tempdir().expect("tempdir");
        let passwords = Passwords::in_state(state.path());
        passwords.clean("");
        let (first, second) = (passwords.keep("yard", "a").expect("kept"), passwords.keep("yard", "b").expect("kept"));
        assert_eq!(fs::read_to_string(&first).expect("read"), "a");
        assert_eq!(fs::metadata(&first).expect("look").permissions().mode() & 0o777, 0o600);
        passwords.clean(&format!("password_file = \"{}\"", second.display()));
        assert!(!first.exists() && second.exists());
    }
}
