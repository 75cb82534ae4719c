//! Restoring the metadata of a backup: what is not here comes back, what is here stays as it is unless it is asked for
//! otherwise, and what was deleted here stays deleted.

use std::fmt;
use std::fs;
use std::io::{BufReader, ErrorKind};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::albums;
use super::backup::{BackupOf, Item, read_backup};
use super::contents::{photos_in, take_in, tombstone};
use super::layout::LibraryLayout;
use crate::archive::{Archive, Layout, write_durable};
use crate::away::{self, Away};
use crate::clock::Moment;
use crate::destination::Destination;
use crate::photo::{Album, Photo};

/// How a backup is restored.
#[derive(Clone, Debug, Default)]
pub struct Restored {
    /// What is here and says something else is replaced.
    pub replaces: bool,
    /// The destination that originals lie at which are not here; none: they lie nowhere.
    pub originals_at: Option<Destination>,
}

/// What becomes, or would become, of photos or albums.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// They were not here.
    pub new: u64,
    /// They say the same here.
    pub same: u64,
    /// They say something else here, or were given again here, and stay so.
    pub kept: u64,
    /// They said something else here, or were damaged.
    pub replaced: u64,
    /// They were deleted here, and stay deleted.
    pub deleted: u64,
}

/// What a restore does, or would do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestoreReport {
    /// Of which box the backup is.
    pub of: BackupOf,
    /// Photos.
    pub photos: Outcomes,
    /// Albums.
    pub albums: Outcomes,
    /// Photos that come back and whose original lies at a destination.
    pub originals_away: u64,
    /// Photos that come back and whose original is nowhere known to be.
    pub originals_missing: u64,
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { new, same, kept, replaced, deleted } = self;
        let parts = [
            (new, "new"),
            (same, "as they are here"),
            (kept, "different here and kept"),
            (replaced, "different here and replaced"),
            (deleted, "deleted here"),
        ];
        let said: Vec<String> =
            parts.iter().filter(|(count, _)| **count > 0).map(|(count, what)| format!("{count} {what}")).collect();
        f.write_str(&if said.is_empty() { "none".to_owned() } else { said.join(", ") })
    }
}

/// Says what [`restore_backup`] would do to the library below `storage`, and changes nothing. Reads the whole backup.
/// Blocks.
///
/// # Errors
/// When the backup is damaged or not whole, or a file here cannot be read.
pub fn compare_backup(storage: &Path, backup: &Path, how: &Restored) -> Result<RestoreReport> {
    let layout = LibraryLayout::new(&Layout::new(storage));
    Work { layout: &layout, how, writes: None, outcomes: Found::default() }.go_through(backup)
}

/// Restores the photos and albums of a backup that are not here; durable when it returns. A backup that is not whole
/// changes nothing. Blocks.
///
/// # Errors
/// As [`compare_backup`]; else when index or disk fail. What was restored until then stays.
pub fn restore_backup(archive: &Archive, backup: &Path, how: &Restored) -> Result<RestoreReport> {
    let layout = LibraryLayout::new(archive.layout());
    compare_backup(archive.layout().storage(), backup, how)?;
    let writes = Writes { archive, is_filled: archive.store().is_filled()?, now: archive.now() };
    Work { layout: &layout, how, writes: Some(writes), outcomes: Found::default() }.go_through(backup)
}

/// What is needed to change something.
struct Writes<'a> {
    archive: &'a Archive,
    /// One that is not filled takes in what lies on the disk at the next start.
    is_filled: bool,
    now: Moment,
}

#[derive(Default)]
struct Found {
    photos: Outcomes,
    albums: Outcomes,
    originals_away: u64,
    originals_missing: u64,
    /// The note of where the original of the photos that follow is.
    note: Option<(String, String, Vec<u8>)>,
}

struct Work<'a> {
    layout: &'a LibraryLayout,
    how: &'a Restored,
    writes: Option<Writes<'a>>,
    outcomes: Found,
}

impl Work<'_> {
    fn go_through(mut self, backup: &Path) -> Result<RestoreReport> {
        let file = fs::File::open(backup).with_context(|| format!("open {}", backup.display()))?;
        let (of, _) = read_backup(BufReader::new(file), |item| match item {
            Item::Photo { photo, text } => self.photo(&photo, &text),
            Item::Album { album, text } => self.album(&album, &text),
            Item::Away { sha256, name, text } => {
                self.outcomes.note = Some((sha256, name, text));
                Ok(())
            }
        })
        .with_context(|| format!("read {}", backup.display()))?;
        let Found { photos, albums, originals_away, originals_missing, .. } = self.outcomes;
        Ok(RestoreReport { of, photos, albums, originals_away, originals_missing })
    }

    fn photo(&mut self, photo: &Photo, text: &[u8]) -> Result<()> {
        let folder = self.layout.content(&photo.sha256);
        let sidecar = folder.join(Photo::sidecar_name(photo.id));
        // Its owner has given the file again: a content is one photo of one user.
        let is_again = |other: &Photo| other.owner == photo.owner && other.id != photo.id;
        let others = photos_in(&folder)?;
        if !sidecar.exists() && others.iter().any(|(_, other)| other.as_ref().is_ok_and(|(other, _)| is_again(other))) {
            self.outcomes.photos.kept += 1;
            return Ok(());
        }
        let is_deleted = tombstone(&sidecar).is_some();
        let is_same = |here: &[u8]| Some(serde_json::from_slice::<Photo>(here).ok()? == *photo);
        let is_written = decide(&mut self.outcomes.photos, &sidecar, is_deleted, is_same, self.how.replaces)?;
        if !is_written {
            return Ok(());
        }
        let original = folder.join(&photo.file);
        let note = self.note(photo, &original)?;
        if note.is_some() || away::find(&original).is_some() {
            self.outcomes.originals_away += 1;
        } else if !original.is_file() {
            self.outcomes.originals_missing += 1;
        }
        let Some(Writes { archive, is_filled, .. }) = &self.writes else { return Ok(()) };
        let folder = self.layout.create(&folder)?;
        if let Some((name, text)) = note {
            write_durable(&folder, &name, &text)?;
        }
        write_durable(&folder, &Photo::sidecar_name(photo.id), text)?;
        if *is_filled {
            ensure!(take_in(archive, &folder, &sidecar)?, "{} cannot be taken into the index", sidecar.display());
        }
        Ok(())
    }

    /// The note that is to lie in place of an original which is not here, unless one lies there.
    fn note(&self, photo: &Photo, original: &Path) -> Result<Option<(String, Vec<u8>)>> {
        if original.is_file() || away::find(original).is_some() {
            return Ok(None);
        }
        let name = away::note_of(original).file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.context("an original without a name")?;
        if let Some((sha256, known, text)) = &self.outcomes.note
            && *sha256 == photo.sha256
            && *known == name
        {
            return Ok(Some((name, text.clone())));
        }
        let Some(destination) = self.how.originals_at.clone() else { return Ok(None) };
        let since = self.writes.as_ref().map_or_else(|| photo.added.clone(), |writes| writes.now.clone());
        let away = Away { destination, since, bytes: photo.bytes, sha256: photo.sha256.clone() };
        Ok(Some((name, serde_json::to_vec_pretty(&away).context("encode a note")?)))
    }

    fn album(&mut self, album: &Album, text: &[u8]) -> Result<()> {
        let (folder, name) = (self.layout.albums(), Album::file_name(album.id));
        let path = folder.join(&name);
        let known = albums::read(&path).ok().map(|(known, _)| known);
        let is_deleted = known.as_ref().is_some_and(|known| known.deleted.is_some());
        let is_same = |_: &[u8]| Some(*known.as_ref()? == *album);
        let is_written = decide(&mut self.outcomes.albums, &path, is_deleted, is_same, self.how.replaces)?;
        let Some(Writes { archive, is_filled, .. }) = self.writes.as_ref().filter(|_| is_written) else {
            return Ok(());
        };
        let folder = self.layout.create(&folder)?;
        write_durable(&folder, &name, text)?;
        if *is_filled { albums::take_in(archive, &folder, album) } else { Ok(()) }
    }
}

/// Counts what becomes of one file, and says whether it is written. `is_same` says nothing of a file that is damaged.
fn decide(
    outcomes: &mut Outcomes,
    path: &Path,
    is_deleted: bool,
    is_same: impl Fn(&[u8]) -> Option<bool>,
    replaces: bool,
) -> Result<bool> {
    let here = match fs::read(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let (count, is_written) = match here {
        None => (&mut outcomes.new, true),
        Some(_) if is_deleted => (&mut outcomes.deleted, false),
        Some(here) => match is_same(&here) {
            Some(true) => (&mut outcomes.same, false),
            Some(false) if !replaces => (&mut outcomes.kept, false),
            _ => (&mut outcomes.replaced, true),
        },
    };
    *count += 1;
    Ok(is_written)
}
