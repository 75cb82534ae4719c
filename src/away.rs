//! Originals that lie at a destination alone: what is noted here in place of the file.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::destination::Destination;

/// Where the original is in place of which this note lies, as `<original>.away`. While the original is here too, the note
/// says nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Away {
    /// The destination that said that it has the file, before it was removed here.
    pub destination: Destination,
    /// When it was removed here.
    pub since: Moment,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of its content, lower-case hex.
    pub sha256: String,
}

/// Where the note of an original lies.
pub fn note_of(original: &Path) -> PathBuf {
    beside(original, ".away")
}

/// Whether a file has the name of such a note.
pub fn is_note(file: &Path) -> bool {
    file.extension().is_some_and(|end| end == "away")
}

/// Where what has been fetched of an original lies until all of it is there.
pub fn part_of(original: &Path) -> PathBuf {
    beside(original, ".fetched")
}

/// Where an original is kept that was damaged and has been replaced.
pub fn damaged_of(original: &Path) -> PathBuf {
    beside(original, ".damaged")
}

fn beside(original: &Path, end: &str) -> PathBuf {
    let mut name = original.as_os_str().to_owned();
    name.push(end);
    PathBuf::from(name)
}

/// Where an original is, if it lies at a destination alone. Blocks.
pub fn find(original: &Path) -> Option<Away> {
    if original.is_file() {
        return None;
    }
    serde_json::from_slice(&std::fs::read(note_of(original)).ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Clock, SimulatedClock};

    #[test]
    fn a_note_counts_while_the_original_is_not_here() {
        let folder = tempfile::tempdir().expect("temp dir");
        let original = folder.path().join("original.jpg");
        assert_eq!(find(&original), None, "it is nowhere");
        let since = SimulatedClock::new(crate::clock::Mono(0), jiff::Timestamp::UNIX_EPOCH).now();
        let away = Away { destination: Destination::upload("cloud"), since, bytes: 7, sha256: "aa".to_owned() };
        std::fs::write(note_of(&original), serde_json::to_vec(&away).expect("write")).expect("write");
        assert_eq!(find(&original), Some(away));
        std::fs::write(&original, "picture").expect("write");
        assert_eq!(find(&original), None, "it is here");
        assert_eq!(part_of(&original), folder.path().join("original.jpg.fetched"));
    }
}
