//! Codings of pictures and videos, found by content: names lie.

use serde::{Deserialize, Serialize};

/// Coding of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PictureFormat {
    /// JPEG.
    Jpeg,
    /// PNG.
    Png,
    /// WebP.
    Webp,
    /// GIF.
    Gif,
    /// TIFF.
    Tiff,
    /// HEIC, HEIF.
    Heic,
    /// AVIF.
    Avif,
    /// Raw data of a camera.
    Raw,
    /// MP4 and what is built like it.
    Mp4,
    /// QuickTime.
    Mov,
    /// Matroska and WebM.
    Matroska,
}

/// Whether something moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Medium {
    /// A picture.
    Picture,
    /// A video.
    Video,
}

/// Brands of ISO base media files that are pictures, with their coding.
const PICTURE_BRANDS: [(&[u8; 4], PictureFormat); 9] = [
    (b"avif", PictureFormat::Avif),
    (b"avis", PictureFormat::Avif),
    (b"heic", PictureFormat::Heic),
    (b"heix", PictureFormat::Heic),
    (b"hevc", PictureFormat::Heic),
    (b"heim", PictureFormat::Heic),
    (b"mif1", PictureFormat::Heic),
    (b"msf1", PictureFormat::Heic),
    (b"crx ", PictureFormat::Raw),
];

/// Bytes at the beginning of a file that say what it is.
pub const HEAD: usize = 512;

impl PictureFormat {
    /// All codings.
    pub const ALL: [Self; 11] = [
        Self::Jpeg,
        Self::Png,
        Self::Webp,
        Self::Gif,
        Self::Tiff,
        Self::Heic,
        Self::Avif,
        Self::Raw,
        Self::Mp4,
        Self::Mov,
        Self::Matroska,
    ];

    /// Of a file that begins with `head` (up to [`HEAD`] bytes are looked at) and that its sender calls `name`; `None`
    /// for what is neither a picture nor a video. The name decides only between a TIFF and raw data in the same container.
    pub fn of(head: &[u8], name: &str) -> Option<Self> {
        let found = match head {
            [0xff, 0xd8, 0xff, ..] => Self::Jpeg,
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Self::Png,
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Self::Webp,
            [b'G', b'I', b'F', b'8', b'7' | b'9', b'a', ..] => Self::Gif,
            [0x1a, 0x45, 0xdf, 0xa3, ..] => Self::Matroska,
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Self::of_brands(head)?,
            [_, _, _, _, b'm', b'o', b'o', b'v', ..] | [_, _, _, _, b'm', b'd', b'a', b't', ..] => Self::Mov,
            [b'I', b'I', 0x2a | 0x2b, 0, ..] | [b'M', b'M', 0, 0x2a | 0x2b, ..] => match is_raw_name(name) {
                true => Self::Raw,
                false => Self::Tiff,
            },
            // Canon, Olympus, Panasonic, Fujifilm: their own letters in a TIFF's place.
            [b'I', b'I', b'R', b'O' | b'S', ..] | [b'I', b'I', b'U', 0, ..] | [b'I', b'I', 0x1a, 0, ..] => Self::Raw,
            _ if head.starts_with(b"FUJIFILMCCD-RAW") => Self::Raw,
            _ => return None,
        };
        Some(found)
    }

    fn of_brands(head: &[u8]) -> Option<Self> {
        let size = u32::from_be_bytes(*head.first_chunk()?) as usize;
        let brands = head.get(8..size.min(head.len()))?;
        let mut named = brands.chunks_exact(4).enumerate().filter(|(at, _)| *at != 1).map(|(_, brand)| brand);
        let major = named.next()?;
        let of = |brand: &[u8]| PICTURE_BRANDS.iter().find(|(known, _)| *known == brand).map(|(_, format)| *format);
        match of(major) {
            // A general brand of pictures: the others say which.
            Some(Self::Heic) if matches!(major, b"mif1" | b"msf1") => {
                Some(named.filter_map(of).find(|format| *format == Self::Avif).unwrap_or(Self::Heic))
            }
            Some(format) => Some(format),
            None if major == b"qt  " => Some(Self::Mov),
            None => Some(Self::Mp4),
        }
    }

    /// Whether it moves.
    pub fn medium(self) -> Medium {
        match self {
            Self::Mp4 | Self::Mov | Self::Matroska => Medium::Video,
            _ => Medium::Picture,
        }
    }

    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jpeg => "jpeg",
            Self::Png => "png",
            Self::Webp => "webp",
            Self::Gif => "gif",
            Self::Tiff => "tiff",
            Self::Heic => "heic",
            Self::Avif => "avif",
            Self::Raw => "raw",
            Self::Mp4 => "mp4",
            Self::Mov => "mov",
            Self::Matroska => "matroska",
        }
    }

    /// What the original's name ends with.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jpeg => "jpg",
            Self::Tiff => "tif",
            Self::Matroska => "mkv",
            other => other.as_str(),
        }
    }

    /// Its media type (RFC 6838).
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jpeg => "image/jpeg",
            Self::Png => "image/png",
            Self::Webp => "image/webp",
            Self::Gif => "image/gif",
            Self::Tiff => "image/tiff",
            Self::Heic => "image/heic",
            Self::Avif => "image/avif",
            Self::Raw => "application/octet-stream",
            Self::Mp4 => "video/mp4",
            Self::Mov => "video/quicktime",
            Self::Matroska => "video/x-matroska",
        }
    }
}

/// Whether a name is usual for raw data in the container of a TIFF.
fn is_raw_name(name: &str) -> bool {
    const RAW: [&str; 12] = ["dng", "nef", "nrw", "cr2", "arw", "sr2", "srf", "pef", "srw", "3fr", "iiq", "erf"];
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension);
    RAW.iter().any(|raw| raw.eq_ignore_ascii_case(extension))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coding_is_found_by_content() {
        use PictureFormat::{Avif, Gif, Heic, Jpeg, Matroska, Mov, Mp4, Png, Raw, Tiff, Webp};
        let cases: [(&[u8], &str, Option<PictureFormat>); 19] = [
            (b"\xff\xd8\xff\xe1rest", "a.png", Some(Jpeg)),
            (b"\x89PNG\r\n\x1a\nrest", "a.jpg", Some(Png)),
            (b"RIFF\0\0\0\0WEBPVP8 ", "", Some(Webp)),
            (b"RIFF\0\0\0\0WAVEfmt ", "a.webp", None),
            (b"GIF89a", "", Some(Gif)),
            (b"II*\0\x08\0\0\0", "a.tif", Some(Tiff)),
            (b"II*\0\x08\0\0\0", "a.NEF", Some(Raw)),
            (b"MM\0*\0\0\0\x08", "a.dng", Some(Raw)),
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "", Some(Heic)),
            (b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf", "", Some(Avif)),
            (b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic", "", Some(Heic)),
            (b"\0\0\0\x18ftypcrx \0\0\0\x01crx isom", "", Some(Raw)),
            (b"\0\0\0\x14ftypqt  \0\0\0\0qt  ", "", Some(Mov)),
            (b"\0\0\0\x14ftypisom\0\0\0\0isom", "", Some(Mp4)),
            (b"\0\0\0\x08ftypisom", "", None),
            (b"\x1a\x45\xdf\xa3", "", Some(Matroska)),
            (b"FUJIFILMCCD-RAW 0201", "", Some(Raw)),
            (b"%PDF-1.7", "a.jpg", None),
            (b"", "a.jpg", None),
        ];
        for (head, name, format) in cases {
            assert_eq!(PictureFormat::of(head, name), format, "{:?} {name}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn codings_are_written_as_they_are_named() {
        for format in PictureFormat::ALL {
            assert_eq!(serde_json::to_string(&format).expect("write"), format!("{:?}", format.as_str()));
        }
    }
}
