//! A change of the files that is not confirmed yet, so that it is undone whatever happens meanwhile.
//!
//! ```text
//! note what the file says --> replace the file --> use it --all came up--> forget the note
//!                                                   \--something does not--> put back what was noted, forget the note
//! ```
//!
//! Each step is on the disk before the next begins. A power cut before the file is replaced leaves a note of a change that
//! never was; one behind it leaves a change without confirmation, which the next start undoes. A file that a person
//! changed in between is theirs, and stays.

use std::fs::{File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tracing::warn;

use crate::durable;

/// Of the note.
const VERSION: u32 = 1;
/// Only the daemon reads what may hold secrets.
const PRIVATE: u32 = 0o600;

/// Where the note lies.
#[derive(Clone, Debug)]
pub struct Journal(PathBuf);

/// A change, as it is noted.
#[derive(Debug, Serialize, Deserialize)]
struct Note {
    version: u32,
    /// The file that is changed.
    file: PathBuf,
    /// What it said before; none: it was not there.
    before: Option<String>,
    /// Checksum of what it says with the change, hex.
    after: String,
    /// What the change is about, in words.
    about: String,
}

impl Journal {
    /// At `path`.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Notes that `file` is about to say `after`. Of several changes, one behind the other, what was before the first is
    /// kept. Blocks on the disk.
    ///
    /// # Errors
    /// When it cannot be written; the file may not be changed then.
    pub fn begin(&self, file: &Path, before: Option<&str>, after: &str, about: &str) -> io::Result<()> {
        let (mut before, mut about) = (before.map(str::to_owned), about.to_owned());
        let known = self.load()?;
        if known.as_ref().is_some_and(|known| known.file != file) {
            return Err(io::Error::new(ErrorKind::WouldBlock, "a change of another file waits to be confirmed"));
        }
        if let Some(known) = known
            && before.as_deref().is_some_and(|before| known.after == checksum(before))
        {
            before = known.before;
            if known.about != about {
                about = format!("{}, {about}", known.about);
            }
        }
        let note = Note { version: VERSION, file: file.to_owned(), before, after: checksum(after), about };
        let text = serde_json::to_vec(&note)?;
        durable::replace_with(&self.0, &self.0.with_added_extension("tmp"), |out| {
            out.get_ref().set_permissions(Permissions::from_mode(PRIVATE))?;
            out.write_all(&text)
        })
    }

    /// The change stays. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk refuses.
    pub fn confirm(&self) -> io::Result<()> {
        match std::fs::remove_file(&self.0) {
            Ok(()) => durable::sync_folder(self.0.parent().unwrap_or(Path::new("."))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Puts back what the file said, unless a person changed it since. Gives what the change was about, where there was
    /// one. Blocks on the disk.
    ///
    /// # Errors
    /// When the disk refuses; the note stays then.
    pub fn undo(&self) -> io::Result<Option<String>> {
        let Some(note) = self.load()? else { return Ok(None) };
        let is_ours = match std::fs::read_to_string(&note.file) {
            Ok(text) => checksum(&text) == note.after,
            Err(error) if error.kind() == ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        if is_ours {
            match &note.before {
                Some(text) => write(&note.file, text)?,
                None => {
                    std::fs::remove_file(&note.file)?;
                    durable::sync_folder(note.file.parent().unwrap_or(Path::new(".")))?;
                }
            }
        }
        self.confirm()?;
        Ok(is_ours.then_some(note.about))
    }

    fn load(&self) -> io::Result<Option<Note>> {
        let text = match std::fs::read(&self.0) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        // It is replaced as a whole, so it was not torn by a power cut.
        let note = serde_json::from_slice::<Note>(&text).ok().filter(|note| note.version == VERSION);
        if note.is_none() {
            warn!(file = %self.0.display(), "the note of a change of the configuration cannot be read, and is left out");
        }
        Ok(note)
    }
}

/// Replaces `file`, which keeps its rights and owner, and its place where it is reached by a link. Blocks on the disk.
///
/// # Errors
/// When the folder or the disk refuses; the file is then as it was.
pub fn write(file: &Path, text: &str) -> io::Result<()> {
    let file = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let known = std::fs::metadata(&file).ok();
    let give = |out: &File| -> io::Result<()> {
        let mode = known.as_ref().map_or(PRIVATE, |known| known.permissions().mode());
        if let Some(known) = &known {
            // Only root may give files away; for others the file is their own already, or becomes it.
            let _ = fchown(out, Some(known.uid()), Some(known.gid()));
        }
        out.set_permissions(Permissions::from_mode(mode))
    };
    durable::replace_with(&file, &file.with_added_extension("new"), |out| {
        give(out.get_ref())?;
        out.write_all(text.as_bytes())
    })
}

fn checksum(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "[camera.yard.source]\nurl = \"rtsp://h/1\"\n";
    const AFTER: &str = "[camera.yard.source]\nurl = \"rtsp://h/2\"\n";
    const LATER: &str = "[camera.yard.source]\nurl = \"rtsp://h/3\"\n";

    struct Disk {
        _folder: tempfile::TempDir,
        file: PathBuf,
        journal: Journal,
    }

    impl Disk {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("tempdir");
            let (file, journal) = (folder.path().join("outpost.toml"), Journal::at(folder.path().join("change.json")));
            std::fs::write(&file, BEFORE).expect("write");
            Self { _folder: folder, file, journal }
        }

        fn text(&self) -> String {
            std::fs::read_to_string(&self.file).expect("read")
        }

        fn begin(&self, before: &str, after: &str) {
            self.journal.begin(&self.file, Some(before), after, "camera yard").expect("begin");
        }
    }

    /// Works with: system | a power cut between any two steps of a change by the page | the next start has the one before or the confirmed one
    #[test]
    fn a_power_cut_at_any_step_leaves_the_one_before_or_the_confirmed_one() {
        for steps in 0..=4 {
            let disk = Disk::new();
            if steps >= 1 {
                disk.begin(BEFORE, AFTER);
            }
            if steps == 2 {
                // The draft is there in part.
                std::fs::write(disk.file.with_added_extension("new"), "[camera.ya").expect("write");
            }
            if steps >= 3 {
                write(&disk.file, AFTER).expect("write");
            }
            if steps >= 4 {
                disk.journal.confirm().expect("confirm");
            }
            let undone = disk.journal.undo().expect("a start");
            assert_eq!(undone.as_deref(), (steps == 3).then_some("camera yard"), "after {steps} steps");
            assert_eq!(disk.text(), if steps == 4 { AFTER } else { BEFORE }, "after {steps} steps");
            assert_eq!(disk.journal.undo().expect("another start"), None);
        }
    }

    #[test]
    fn a_cut_while_it_is_undone_is_undone_by_the_next_start() {
        let disk = Disk::new();
        disk.begin(BEFORE, AFTER);
        write(&disk.file, AFTER).expect("write");
        write(&disk.file, BEFORE).expect("put back, and no further");
        assert_eq!((disk.journal.undo().expect("a start"), disk.text()), (None, BEFORE.to_owned()));
    }

    #[test]
    fn several_changes_are_undone_as_one_and_those_of_people_are_not() {
        let disk = Disk::new();
        disk.begin(BEFORE, AFTER);
        write(&disk.file, AFTER).expect("write");
        disk.begin(AFTER, LATER);
        write(&disk.file, LATER).expect("write");
        assert_eq!(disk.journal.undo().expect("undo").as_deref(), Some("camera yard"));
        assert_eq!(disk.text(), BEFORE);
        disk.begin(BEFORE, AFTER);
        std::fs::write(&disk.file, LATER).expect("a person writes");
        assert_eq!((disk.journal.undo().expect("undo"), disk.text()), (None, LATER.to_owned()));
    }

    #[test]
    fn a_file_that_was_not_there_goes_again_and_rights_are_kept() {
        let disk = Disk::new();
        let own = disk.file.with_file_name("cameras.toml");
        disk.journal.begin(&own, None, AFTER, "camera yard").expect("begin");
        write(&own, AFTER).expect("write");
        let mode = |file: &Path| std::fs::metadata(file).expect("look").permissions().mode() & 0o777;
        assert_eq!((mode(&own), mode(&disk.journal.0)), (PRIVATE, PRIVATE));
        disk.journal.undo().expect("undo");
        assert!(!own.exists() && !disk.journal.0.exists());
        std::fs::set_permissions(&disk.file, Permissions::from_mode(0o640)).expect("rights");
        let link = disk.file.with_file_name("link.toml");
        std::os::unix::fs::symlink(&disk.file, &link).expect("link");
        write(&link, AFTER).expect("write");
        assert_eq!((disk.text(), mode(&disk.file)), (AFTER.to_owned(), 0o640));
        assert!(std::fs::symlink_metadata(&link).expect("look").is_symlink());
        std::fs::write(&disk.journal.0, "{").expect("write");
        assert_eq!(disk.journal.undo().expect("an unreadable note changes nothing"), None);
    }
}
