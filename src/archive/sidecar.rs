//! Files that survive a power cut: write beside, fsync, rename, fsync the folder.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::durable;
use crate::event::{Event, EventId, MediaFile, SCHEMA_VERSION};
use crate::segment::Segment;

/// The sidecar's name in an event's folder.
pub const SIDECAR: &str = "event.json";

/// Replaces `folder/name` with `bytes` so that after a power cut either the old or the new content is there.
///
/// # Errors
/// When the file system refuses; the old content is then still there.
pub fn write_durable(folder: &Path, name: &str, bytes: &[u8]) -> Result<MediaFile> {
    let (file, draft) = (folder.join(name), folder.join(format!(".{name}.tmp")));
    durable::replace_with(&file, &draft, |out| out.write_all(bytes))
        .with_context(|| format!("write {}", file.display()))?;
    Ok(MediaFile { file: name.to_owned(), bytes: bytes.len() as u64, sha256: hex::encode(Sha256::digest(bytes)) })
}

/// Makes names in `folder` durable, as far as the file system can.
///
/// # Errors
/// When the folder cannot be opened or synced.
pub fn sync_folder(folder: &Path) -> Result<()> {
    durable::sync_folder(folder).with_context(|| format!("sync folder {}", folder.display()))
}

/// Size and hash of a finished file.
///
/// # Errors
/// When it cannot be read.
pub fn measure(folder: &Path, name: &str) -> Result<MediaFile> {
    let path = folder.join(name);
    let hash = || -> io::Result<(u64, String)> {
        let mut file = File::open(&path)?;
        let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0u64, vec![0; 128 << 10]);
        loop {
            let n = file.read(&mut buffer)?;
            if n == 0 {
                return Ok((bytes, hex::encode(hasher.finalize())));
            }
            hasher.update(buffer.get(..n).unwrap_or_default());
            bytes += n as u64;
        }
    };
    let (bytes, sha256) = hash().with_context(|| format!("read {}", path.display()))?;
    Ok(MediaFile { file: name.to_owned(), bytes, sha256 })
}

/// Writes `event.json`, the truth about the event. Call it after everything it names is durable.
///
/// # Errors
/// When the file system refuses.
pub fn write_event(folder: &Path, event: &Event) -> Result<MediaFile> {
    let mut text = serde_json::to_vec_pretty(event).context("encode event.json")?;
    text.push(b'\n');
    write_durable(folder, SIDECAR, &text)
}

/// Writes the sidecar of a segment, the truth about it. Call it after its video is durable.
///
/// # Errors
/// When the file system refuses.
pub fn write_segment(folder: &Path, segment: &Segment) -> Result<()> {
    let mut text = serde_json::to_vec_pretty(segment).context("encode the segment's sidecar")?;
    text.push(b'\n');
    write_durable(folder, &Segment::sidecar_name(segment.id), &text)?;
    Ok(())
}

/// Largest `event.json` that is read.
const MAX_SIDECAR: u64 = 4 << 20;

/// What an event's folder has as `event.json`.
#[derive(Clone, Debug, PartialEq)]
pub enum Sidecar {
    /// The event.
    Good(Box<Event>),
    /// Nothing.
    Missing,
    /// Something that this software did not write like that.
    Damaged(String),
}

/// Reads `event.json` in the folder of event `id` of `camera`.
///
/// # Errors
/// When it cannot be read, or is from a newer version of Outpost; it may be good all the same.
pub fn look_at_event(folder: &Path, camera: &str, id: EventId) -> Result<Sidecar> {
    let path = folder.join(SIDECAR);
    let mut text = Vec::new();
    let read = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sidecar::Missing),
        opened => opened.and_then(|file| file.take(MAX_SIDECAR).read_to_end(&mut text)),
    };
    read.with_context(|| format!("read {}", path.display()))?;
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let event = match serde_json::from_slice::<Event>(&text) {
        Ok(event) if event.version <= SCHEMA_VERSION => event,
        parsed => match serde_json::from_slice::<Version>(&text) {
            Ok(Version { version }) if version > SCHEMA_VERSION => {
                bail!("{} has version {version}, this Outpost knows up to {SCHEMA_VERSION}: update it", path.display())
            }
            _ => return Ok(Sidecar::Damaged(parsed.err().map_or_else(String::new, |error| error.to_string()))),
        },
    };
    if event.id != id || *event.camera != *camera {
        return Ok(Sidecar::Damaged(format!("it is of event {} of camera {}", event.id, event.camera)));
    }
    if let Some(media) = event.media().find(|media| !is_plain(&media.file)) {
        return Ok(Sidecar::Damaged(format!("it names a file {:?}", media.file)));
    }
    Ok(Sidecar::Good(Box::new(event)))
}

/// Where the account `name` of a camera lies below the storage folder, and in the cloud.
pub fn account_path(camera: &str, name: &str) -> String {
    format!("coverage/{camera}/{name}")
}

/// Whether `name` stays in its folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '\0']) && name != "." && name != ".."
}

/// Renames `folder/name` to `name.bad`, durably. One that is not there is no error.
///
/// # Errors
/// When the file system refuses.
pub fn set_aside(folder: &Path, name: &str) -> Result<()> {
    let path = folder.join(name);
    match fs::rename(&path, folder.join(format!("{name}.bad"))) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(error).with_context(|| format!("set aside {}", path.display())),
        Ok(()) => sync_folder(folder),
    }
}

/// Reads `event.json`.
///
/// # Errors
/// When it is missing, damaged, or from a newer version of Outpost.
pub fn read_event(folder: &Path) -> Result<Event> {
    let path = folder.join(SIDECAR);
    let text = fs::read(&path).with_context(|| format!("read {}", path.display()))?;
    let event: Event = serde_json::from_slice(&text).with_context(|| format!("understand {}", path.display()))?;
    if event.version > SCHEMA_VERSION {
        bail!("{} has version {}, this Outpost knows up to {SCHEMA_VERSION}: update it", path.display(), event.version);
    }
    Ok(event)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_file_measures_as_it_was_reported_and_leaves_no_temporary() {
        let dir = tempfile::tempdir().expect("tempdir");
        let written = write_durable(dir.path(), "a.bin", b"abc").expect("write");
        assert_eq!(written.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(measure(dir.path(), "a.bin").expect("measure"), written);
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 1);
    }

    #[test]
    fn a_failed_write_names_the_file_and_keeps_the_old_content() {
        let dir = tempfile::tempdir().expect("tempdir");
        write_durable(dir.path(), "a.bin", b"old").expect("write");
        fs::create_dir(dir.path().join(".a.bin.tmp")).expect("obstacle");
        let error = write_durable(dir.path(), "a.bin", b"new").expect_err("must fail");
        assert!(format!("{error:#}").contains("a.bin"), "{error:#}");
        assert_eq!(fs::read(dir.path().join("a.bin")).expect("read"), b"old");
    }
}
