//! What a file of a person is and looks like: its coding, what it says of itself, and small pictures of it.
//!
//! Bytes of strangers are read here, so all of this runs in a process of its own with limits ([`Inspector`]): a file that
//! makes a decoder hang, panic or eat memory costs that process, and is refused with the reason. The functions are pure
//! but for the files that they read and write.

mod bytes;
mod coded;
mod colour;
mod digest;
mod embedded;
mod inspector;
mod metadata;
mod open;
mod pixels;
mod raw;
mod raw_exif;
mod request;
#[cfg(test)]
mod tests;
mod thumbnail;
mod tiff;

use std::fs::File;
use std::io::Read;
use std::path::Path;

use crate::photo::{HEAD, Medium, PictureFacts, PictureFormat};

pub use embedded::xmp_of;
pub use inspector::{Inspector, serve};
pub use pixels::PIXELS;
pub use request::{Inspected, Request};
pub use thumbnail::{LARGE, SMALL, STRIPPED, Thumbnail};

/// A larger picture is a mistake or an attack: a few kilobytes of PNG can unpack to gigabytes.
const MAX_PIXELS: u64 = 250_000_000;
/// A video without what its file says of itself: the name of the copy.
pub const STRIPPED_VIDEO: &str = "stripped.mp4";
/// Largest video that such a copy is made of, bytes.
pub const LARGEST_STRIPPED: u64 = 512 << 20;

/// Why a file is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PictureError {
    /// It cannot be read from the disk.
    #[error("read the file: {0}")]
    Disk(String),
    /// It is neither a picture nor a video.
    #[error(
        "this is neither a picture nor a video: JPEG, PNG, WebP, GIF, TIFF, HEIC, AVIF, camera raw, MP4, QuickTime and Matroska are known"
    )]
    NotAPicture,
    /// It is one, and cannot be decoded.
    #[error("{0}")]
    Unreadable(String),
    /// The process that reads pictures did not answer.
    #[error("{0}")]
    Inspector(String),
}

/// What a file is and says of itself, and thumbnails of it, where a folder for them is given. What cannot be decoded is kept all the same: the facts say why it cannot be shown.
///
/// # Errors
/// [`PictureError::NotAPicture`], or when the disk fails.
pub fn inspect(request: &Request) -> Result<Inspected, PictureError> {
    let Request { path, name, folder, stripped, pixels } = request;
    let mut head = Vec::with_capacity(HEAD);
    let disk = |error: std::io::Error| PictureError::Disk(error.to_string());
    File::open(path).map_err(disk)?.take(HEAD as u64).read_to_end(&mut head).map_err(disk)?;
    let format = PictureFormat::of(&head, name).ok_or(PictureError::NotAPicture)?;
    let mut facts = PictureFacts::unknown(format);
    metadata::read(path, &mut facts);
    let file = File::open(path).map_err(disk)?;
    if format == PictureFormat::Raw {
        raw_exif::read(&file, &mut facts);
    }
    if format.medium() == Medium::Picture {
        embedded::read(&file, format, &mut facts);
    }
    let mut thumbnails = Vec::new();
    if *pixels && let Some(folder) = folder {
        let written = open::picture(path, &file, &mut facts).and_then(|opened| pixels::write(opened, folder));
        let pixels = written.map_err(|reason| facts.unreadable = Some(reason)).ok();
        return Ok(Inspected { facts, thumbnails, unstripped: None, pixels });
    }
    if let Some(folder) = folder {
        match open::picture(path, &file, &mut facts)
            .and_then(|opened| thumbnail::make(opened, &mut facts, folder, *stripped))
        {
            Ok(made) => thumbnails = made,
            Err(reason) => facts.unreadable = Some(reason),
        }
        if *stripped && format.medium() == Medium::Video {
            return Ok(Inspected { unstripped: strip_video(path, folder).err(), facts, thumbnails, pixels: None });
        }
    }
    Ok(Inspected { facts, thumbnails, unstripped: None, pixels: None })
}

/// What is seen of a colour through which white paper shines.
fn over_white(colour: u8, alpha: u8) -> u8 {
    let (colour, alpha) = (u16::from(colour), u16::from(alpha));
    u8::try_from((colour * alpha + 255 * (255 - alpha)) / 255).unwrap_or(u8::MAX)
}

/// Writes a video without what its file says into `folder`, under its name once it is whole.
fn strip_video(path: &Path, folder: &Path) -> Result<(), String> {
    let draft = folder.join(format!("{STRIPPED_VIDEO}.part"));
    let stripped = inspector::with_room(LARGEST_STRIPPED, || coded::strip(path, &draft));
    let written = stripped.and_then(|()| {
        let written = File::open(&draft).and_then(|file| file.sync_all());
        written.and_then(|()| std::fs::rename(&draft, folder.join(STRIPPED_VIDEO))).map_err(|error| error.to_string())
    });
    written.inspect_err(|_| {
        let _ = std::fs::remove_file(&draft);
    })
}
