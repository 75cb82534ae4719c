//! Which files lie below a folder.

use std::fs::Metadata;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use walkdir::{DirEntry, WalkDir};

/// Folders within folders that are looked into.
const MOST_DEPTH: usize = 64;

/// Beginnings of names that other programs give to what is theirs: hidden files and what is being written, previews of
/// Synology boxes, the recycle bins of Windows.
const NOT_OURS: [&str; 4] = [".", "@eaDir", "$RECYCLE.BIN", "System Volume Information"];
/// Ends of names of files that are being written by browsers and other programs.
const UNFINISHED: [&str; 5] = [".part", ".partial", ".tmp", ".crdownload", ".filepart"];

/// A file as it lies in a folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Where.
    pub path: PathBuf,
    /// Its size.
    pub bytes: u64,
    /// When its content was changed last by the clock of its file system, nanoseconds since 1970.
    pub modified_ns: i64,
    /// When anything about it was changed last, nanoseconds since 1970.
    pub changed_ns: i64,
}

impl Entry {
    /// Of a regular file; `None` for anything else.
    pub(super) fn of(path: &Path, metadata: &Metadata) -> Option<Self> {
        let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        metadata.is_file().then(|| Self {
            path: path.to_owned(),
            bytes: metadata.len(),
            modified_ns: nanos(metadata.mtime(), metadata.mtime_nsec()),
            changed_ns: nanos(metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// Whether it has the content that `other` has, as far as size and time say.
    pub fn is_as(&self, other: &Self) -> bool {
        (self.bytes, self.modified_ns) == (other.bytes, other.modified_ns)
    }
}

/// The regular files below `folder`, or `folder` itself where it is one, by name. Links are not followed, what other
/// programs hide or have not finished is left out. Blocks.
///
/// # Errors
/// Within: of what cannot be read; the rest follows.
pub fn files_below(folder: &Path) -> impl Iterator<Item = io::Result<Entry>> + Send + 'static {
    let root = folder.to_owned();
    let walk = WalkDir::new(folder).max_depth(MOST_DEPTH).sort_by_file_name().into_iter();
    let is_wanted = move |entry: &DirEntry| {
        entry.path() == root || is_wanted(&entry.file_name().to_string_lossy(), entry.file_type().is_file())
    };
    walk.filter_entry(is_wanted).filter_map(|entry| {
        let found = entry.map_err(io::Error::from).and_then(|entry| {
            if !entry.file_type().is_file() {
                return Ok(None);
            }
            Ok(Entry::of(entry.path(), &entry.metadata()?))
        });
        found.transpose()
    })
}

/// One file, as it is now; `None` where there is none, or none that is wanted. Blocks.
///
/// # Errors
/// When it cannot be read.
pub fn look_at(path: &Path) -> io::Result<Option<Entry>> {
    match std::fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Entry::of(path, &metadata)),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether something that changed below `folder` is looked at, by its name and those of the folders that it lies in.
pub fn is_wanted_below(folder: &Path, path: &Path) -> bool {
    let Ok(relative) = path.strip_prefix(folder) else { return false };
    let mut names = relative.components().map(|component| component.as_os_str().to_string_lossy()).peekable();
    while let Some(name) = names.next() {
        if !is_wanted(&name, names.peek().is_none()) {
            return false;
        }
    }
    true
}

fn is_wanted(name: &str, is_file: bool) -> bool {
    if NOT_OURS.iter().any(|beginning| name.starts_with(beginning)) {
        return false;
    }
    let name = name.to_ascii_lowercase();
    !(is_file && (name.ends_with('~') || UNFINISHED.iter().any(|end| name.ends_with(end))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_hidden_linked_or_unfinished_is_left_out() {
        let folder = tempfile::tempdir().expect("folder");
        let at = |name: &str| folder.path().join(name);
        for name in ["DCIM/100CANON", ".trash", "@eaDir", "DCIM/.thumbs"] {
            std::fs::create_dir_all(at(name)).expect("folder");
        }
        for name in [
            "DCIM/100CANON/IMG_2.JPG",
            "DCIM/100CANON/IMG_1.JPG",
            "é.png",
            ".hidden.jpg",
            ".trash/gone.jpg",
            "@eaDir/small.jpg",
            "DCIM/.thumbs/small.jpg",
            "film.mp4.part",
            "film.MP4.CRDOWNLOAD",
            "old.jpg~",
        ] {
            std::fs::write(at(name), name).expect("write");
        }
        std::os::unix::fs::symlink(at("DCIM"), at("link")).expect("link");
        std::os::unix::fs::symlink(at("é.png"), at("link.png")).expect("link");
        let found: Vec<PathBuf> = files_below(folder.path()).map(|entry| entry.expect("an entry").path).collect();
        assert_eq!(found, [at("DCIM/100CANON/IMG_1.JPG"), at("DCIM/100CANON/IMG_2.JPG"), at("é.png")]);
        let wanted = ["DCIM/100CANON/IMG_1.JPG", "DCIM/.thumbs/small.jpg", "old.jpg~", ".trash/gone.jpg", "../é.png"];
        let wanted = wanted.map(|name| is_wanted_below(folder.path(), &at(name)));
        assert_eq!(wanted, [true, false, false, false, false]);
        assert_eq!(look_at(&at("link.png")).expect("look"), None, "a link");
        assert_eq!(look_at(&at("é.png/none")).expect("look"), None);
        assert_eq!(look_at(&at("é.png")).expect("look").map(|entry| entry.bytes), Some(6));
    }

    #[test]
    fn what_cannot_be_read_is_said_and_the_rest_follows() {
        let folder = tempfile::tempdir().expect("folder");
        let missing: Vec<_> = files_below(&folder.path().join("away")).collect();
        assert!(matches!(&missing[..], [Err(error)] if error.kind() == io::ErrorKind::NotFound), "{missing:?}");
    }
}
