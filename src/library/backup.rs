//! The metadata of the library as one file: sidecars of photos, albums, and notes of where originals are, as a compressed
//! tar archive whose entries lie where they lie below the storage folder.
//!
//! Tombstones are left out: a backup is old when it is needed, and nothing is ever deleted because of it.

use std::fs;
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::albums;
use super::contents::{checked, each_content, photos_in, sorted};
use super::layout::{ALBUMS, LibraryLayout};
use crate::archive::Layout;
use crate::asset::LIBRARY;
use crate::away::{self, Away};
use crate::photo::{Album, Photo};

/// Version of the written form.
const VERSION: u32 = 1;
/// What says of which box a backup is: its first entry.
const BEGINNING: &str = "backup.json";
/// What says that it is whole: its last entry.
const END: &str = "end.json";
/// Bytes of one entry at most: several times what the largest album has.
const LARGEST_ENTRY: u64 = 16 << 20;

/// Of which box a backup is, and when it was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupOf {
    /// Version of the written form.
    pub version: u32,
    /// `device.id`, under which originals lie at destinations; where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// When, by the clock of the box.
    pub made: Timestamp,
}

/// How much is in a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupCounts {
    /// Photos.
    pub photos: u64,
    /// Albums.
    pub albums: u64,
    /// Sidecars that could not be read and were left out.
    #[serde(default)]
    pub damaged: u64,
}

/// Something in a backup.
pub(super) enum Item {
    Photo {
        photo: Box<Photo>,
        text: Vec<u8>,
    },
    Album {
        album: Box<Album>,
        text: Vec<u8>,
    },
    /// Where the original of the photos that follow is; `name` is that of the note.
    Away {
        sha256: String,
        name: String,
        text: Vec<u8>,
    },
}

/// Writes the metadata of the library below `storage` to `out`. What changes meanwhile is in it as it was before or after.
/// `report` gets a line for each file that is left out. Blocks.
///
/// # Errors
/// When a folder cannot be read, or `out` not be written.
pub fn write_backup(
    storage: &Path,
    of: &BackupOf,
    out: impl Write,
    mut report: impl FnMut(&str),
) -> Result<BackupCounts> {
    let layout = LibraryLayout::new(&Layout::new(storage));
    let mut tar = tar::Builder::new(GzEncoder::new(out, Compression::default()));
    let mut counts = BackupCounts::default();
    add(&mut tar, BEGINNING, &json(of)?)?;
    each_content(&layout, |folder| add_content(&mut tar, folder, &mut counts, &mut report))?;
    for path in sorted(&layout.albums())?.into_iter().filter(|path| is_json(path)) {
        match albums::read(&path) {
            Ok((album, _)) if album.deleted.is_some() => {}
            Ok((album, text)) => {
                add(&mut tar, &format!("{LIBRARY}/{ALBUMS}/{}", Album::file_name(album.id)), &text)?;
                counts.albums += 1;
            }
            Err(failure) => leave_out(&path, &failure, &mut counts, &mut report),
        }
    }
    add(&mut tar, END, &json(&counts)?)?;
    tar.into_inner()?.finish()?.flush()?;
    Ok(counts)
}

/// The photos of one content, behind the note of where it is.
fn add_content(
    tar: &mut tar::Builder<impl Write>,
    folder: &Path,
    counts: &mut BackupCounts,
    report: &mut impl FnMut(&str),
) -> Result<()> {
    let below = |path: &Path| -> Option<String> {
        let names: Vec<&str> = path.iter().rev().take(3).map(|name| name.to_str()).collect::<Option<_>>()?;
        Some([LIBRARY].into_iter().chain(names.into_iter().rev()).collect::<Vec<_>>().join("/"))
    };
    let name_of = |path: &Path| below(path).with_context(|| format!("the name {}", path.display()));
    for note in sorted(folder)?.iter().filter(|path| away::is_note(path)) {
        // One that went meanwhile: the original is back.
        if let Ok(text) = fs::read(note) {
            add(tar, &name_of(note)?, &text)?;
        }
    }
    for (path, photo) in photos_in(folder)? {
        match photo {
            Ok((_, text)) => {
                add(tar, &name_of(&path)?, &text)?;
                counts.photos += 1;
            }
            Err(failure) => leave_out(&path, &failure, counts, report),
        }
    }
    Ok(())
}

fn leave_out(path: &Path, failure: &anyhow::Error, counts: &mut BackupCounts, report: &mut impl FnMut(&str)) {
    counts.damaged += 1;
    report(&format!("{} is left out: {failure:#}", path.display()));
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    let mut text = serde_json::to_vec_pretty(value).context("encode an entry of the backup")?;
    text.push(b'\n');
    Ok(text)
}

fn add(tar: &mut tar::Builder<impl Write>, name: &str, text: &[u8]) -> Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(text.len() as u64);
    header.set_mode(0o600);
    tar.append_data(&mut header, name, text).with_context(|| format!("write {name} of the backup"))
}

fn is_json(path: &Path) -> bool {
    path.extension().is_some_and(|end| end == "json")
}

/// Reads a backup, and gives what is in it to `visit`, one after the other. Nothing of it is believed before it is
/// checked: that it lies where it says, and can be read. Blocks.
///
/// # Errors
/// A sentence that says what is wrong with the file; what was given to `visit` until then may not be all.
pub(super) fn read_backup(
    backup: impl Read,
    mut visit: impl FnMut(Item) -> Result<()>,
) -> Result<(BackupOf, BackupCounts)> {
    let mut archive = tar::Archive::new(MultiGzDecoder::new(backup));
    let (mut of, mut end, mut found) = (None, None, BackupCounts::default());
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        let name = entry.path().map_err(unreadable)?.to_string_lossy().into_owned();
        ensure!(entry.size() <= LARGEST_ENTRY, "{name} has {} bytes: that is no backup of a library", entry.size());
        let mut text = Vec::new();
        entry.read_to_end(&mut text).map_err(unreadable)?;
        let Some(of) = of.as_ref() else {
            ensure!(name == BEGINNING, "this is no backup of a library: it begins with {name}");
            of = Some(beginning(&text)?);
            continue;
        };
        ensure!(end.is_none(), "{name} lies behind the end of the backup");
        let _: &BackupOf = of;
        if name == END {
            end = Some(serde_json::from_slice(&text).with_context(|| format!("read {END}"))?);
            continue;
        }
        if let Some(item) = item(&name, text).with_context(|| format!("{name} in the backup"))? {
            match &item {
                Item::Photo { .. } => found.photos += 1,
                Item::Album { .. } => found.albums += 1,
                Item::Away { .. } => {}
            }
            visit(item)?;
        }
    }
    // The checksum of all lies behind the last entry.
    io::copy(&mut archive.into_inner(), &mut io::sink()).map_err(unreadable)?;
    let of = of.context("this is no backup of a library: it is empty")?;
    let end: BackupCounts = end.context("the backup is not whole: its end is missing")?;
    let is_whole = (end.photos, end.albums) == (found.photos, found.albums);
    ensure!(is_whole, "the backup is not whole: {} of {} photos are in it", found.photos, end.photos);
    Ok((of, end))
}

fn unreadable(error: io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context("the backup is damaged, or not whole")
}

fn beginning(text: &[u8]) -> Result<BackupOf> {
    let of: BackupOf = serde_json::from_slice(text).with_context(|| format!("read {BEGINNING}"))?;
    if of.version > VERSION {
        bail!("the backup was made by a later version of Outpost");
    }
    Ok(of)
}

impl BackupOf {
    /// A backup that is made now.
    pub fn new(device: Option<String>, made: Timestamp) -> Self {
        Self { version: VERSION, device, made }
    }
}

/// What an entry is; `None` for what another version put there.
fn item(name: &str, text: Vec<u8>) -> Result<Option<Item>> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        [LIBRARY, ALBUMS, file] => Ok(Some(Item::Album { album: Box::new(albums::checked(&text, file)?), text })),
        [LIBRARY, group, content, file] if file.starts_with("photo-") => {
            ensure!(content.get(..2) == Some(group) && is_sha256(content), "it lies in the wrong folder");
            let photo = checked(&text, content, file)?;
            Ok(Some(Item::Photo { photo: Box::new(photo), text }))
        }
        [LIBRARY, group, content, file] if away::is_note(Path::new(file)) => {
            ensure!(content.get(..2) == Some(group) && is_sha256(content), "it lies in the wrong folder");
            let away: Away = serde_json::from_slice(&text)?;
            ensure!(away.sha256 == *content, "it does not agree with its folder");
            let (sha256, name) = ((*content).to_owned(), (*file).to_owned());
            Ok(Some(Item::Away { sha256, name, text }))
        }
        _ => Ok(None),
    }
}

fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
