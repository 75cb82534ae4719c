//! Files that survive a power cut: write beside, fsync, rename, fsync the folder.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::asset::AssetId;
pub use crate::asset::SIDECAR;
use crate::durable;
use crate::event::{self, Event, EventId, MediaFile};
use crate::segment::{self, Segment, SegmentId};

/// Replaces `folder/name` with `bytes` so that after a power cut either the old or the new content is there.
///
/// # Errors
/// When the file system refuses; the old content is then still there.
pub fn write_durable(folder: &Path, name: &str, bytes: &[u8]) -> Result<MediaFile> {
    let (file, draft) = (folder.join(name), folder.join(format!(".{name}.tmp")));
    durable::replace_with(&file, &draft, |out| out.write_all(bytes))
        .with_context(|| format!("write {}", file.display()))?;
    Ok(MediaFile::new(name, bytes.len() as u64, hex::encode(Sha256::digest(bytes))))
}

/// Removes what writes left in `folder` that a stop or a failing disk cut short. Nothing may write there meanwhile.
pub fn remove_drafts(folder: &Path) {
    let is_tmp = |path: &Path| path.extension().is_some_and(|extension| extension == "tmp");
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let is_hidden = entry.file_name().to_str().is_some_and(|name| name.starts_with('.'));
        if is_hidden
            && is_tmp(&entry.path())
            && let Err(error) = std::fs::remove_file(entry.path())
        {
            tracing::debug!(file = %entry.path().display(), %error, "an unfinished file stays");
        }
    }
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
    Ok(MediaFile::new(name, bytes, sha256))
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

/// Largest sidecar that is read.
const MAX_SIDECAR: u64 = 4 << 20;

/// What lies in a sidecar's place.
#[derive(Clone, Debug, PartialEq)]
pub enum Sidecar<T> {
    /// What it describes.
    Good(Box<T>),
    /// Nothing.
    Missing,
    /// Something that this software did not write like that.
    Damaged(String),
}

/// What has a sidecar. What the sidecar says has to agree with its place, since paths are made of it.
trait Described: DeserializeOwned {
    /// In words.
    const NAME: &str;
    /// Newest version of the sidecar that is understood.
    const SCHEMA_VERSION: u32;

    fn version(&self) -> u32;

    fn identity(&self) -> (AssetId, &str);

    /// The first file that it names although it cannot own it.
    fn foreign_file(&self) -> Option<&str>;
}

impl Described for Event {
    const NAME: &str = "event";
    const SCHEMA_VERSION: u32 = event::SCHEMA_VERSION;

    fn version(&self) -> u32 {
        self.version
    }

    fn identity(&self) -> (AssetId, &str) {
        (self.id, &self.camera)
    }

    fn foreign_file(&self) -> Option<&str> {
        self.media().map(|media| media.file.as_str()).find(|file| !is_plain(file))
    }
}

impl Described for Segment {
    const NAME: &str = "segment";
    const SCHEMA_VERSION: u32 = segment::SCHEMA_VERSION;

    fn version(&self) -> u32 {
        self.version
    }

    fn identity(&self) -> (AssetId, &str) {
        (self.id, &self.camera)
    }

    fn foreign_file(&self) -> Option<&str> {
        let file = self.video.as_ref().map(|video| video.media.file.as_str());
        file.filter(|file| *file != Self::file_name(self.id))
    }
}

/// Reads `event.json` in the folder of event `id` of `camera`.
///
/// # Errors
/// When it cannot be read, or is from a newer version of Outpost; it may be good all the same.
pub fn look_at_event(folder: &Path, camera: &str, id: EventId) -> Result<Sidecar<Event>> {
    look_at(&folder.join(SIDECAR), camera, id)
}

/// Reads the sidecar of segment `id` in the folder of its `camera`.
///
/// # Errors
/// When it cannot be read, or is from a newer version of Outpost; it may be good all the same.
pub fn look_at_segment(folder: &Path, camera: &str, id: SegmentId) -> Result<Sidecar<Segment>> {
    look_at(&folder.join(Segment::sidecar_name(id)), camera, id)
}

fn look_at<T: Described>(path: &Path, camera: &str, id: AssetId) -> Result<Sidecar<T>> {
    let mut text = Vec::new();
    let read = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Sidecar::Missing),
        opened => opened.and_then(|file| file.take(MAX_SIDECAR).read_to_end(&mut text)),
    };
    read.with_context(|| format!("read {}", path.display()))?;
    #[derive(serde::Deserialize)]
    struct Version {
        version: u32,
    }
    let known = T::SCHEMA_VERSION;
    let described = match serde_json::from_slice::<T>(&text) {
        Ok(described) if described.version() <= known => described,
        parsed => match serde_json::from_slice::<Version>(&text) {
            Ok(Version { version }) if version > known => {
                bail!("{} has version {version}, this Outpost knows up to {known}: update it", path.display())
            }
            _ => return Ok(Sidecar::Damaged(parsed.err().map_or_else(String::new, |error| error.to_string()))),
        },
    };
    let (of, of_camera) = described.identity();
    if of != id || of_camera != camera {
        return Ok(Sidecar::Damaged(format!("it is of {} {of} of camera {of_camera}", T::NAME)));
    }
    if let Some(file) = described.foreign_file() {
        return Ok(Sidecar::Damaged(format!("it names a file {file:?}")));
    }
    Ok(Sidecar::Good(Box::new(described)))
}

/// Where the account `name` of a camera lies below the storage folder, and in the cloud.
pub fn account_path(camera: &str, name: &str) -> String {
    format!("coverage/{camera}/{name}")
}

/// Whether `name` stays in its folder.
pub fn is_plain(name: &str) -> bool {
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

/// Reads `event.json` of event `id` of `camera`.
///
/// # Errors
/// When it is missing, damaged, of something else, or from a newer version of Outpost.
pub fn read_event(folder: &Path, camera: &str, id: EventId) -> Result<Event> {
    match look_at_event(folder, camera, id)? {
        Sidecar::Good(event) => Ok(*event),
        Sidecar::Missing => bail!("{} is missing", folder.join(SIDECAR).display()),
        Sidecar::Damaged(reason) => bail!("{} is damaged: {reason}", folder.join(SIDECAR).display()),
    }
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
