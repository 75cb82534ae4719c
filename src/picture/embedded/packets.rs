//! Where the codings keep XMP and IPTC.

use crate::photo::PictureFormat;

use super::super::bytes::{Bytes, number};
use super::super::coded::Container;
use super::super::tiff::Tiff;

/// Largest packet that is read, and all that one unpacks to, in bytes.
const LARGEST: usize = 4 << 20;
/// Segments and chunks of one file that are looked at: a large PNG has one for 8 KiB.
const MOST_BLOCKS: usize = 100_000;

const XMP: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
const MORE_XMP: &[u8] = b"http://ns.adobe.com/xmp/extension/\0";
const PHOTOSHOP: &[u8] = b"Photoshop 3.0\0";
const PNG_XMP: &[u8] = b"XML:com.adobe.xmp\0";

/// Tags of a TIFF.
const TIFF_XMP: u16 = 700;
const TIFF_IPTC: u16 = 33_723;

/// What was found, as it is written.
#[derive(Debug, Default)]
pub(super) struct Packets {
    /// XML; a later one adds to an earlier one.
    pub xmp: Vec<Vec<u8>>,
    /// Records of IPTC-IIM.
    pub iptc: Vec<u8>,
}

/// The packets of a file.
pub(super) fn find<B: Bytes + ?Sized>(bytes: &B, format: PictureFormat) -> Packets {
    let mut packets = Packets::default();
    // What is cut off or damaged ends the search, and what was found before counts.
    let _ = match format {
        PictureFormat::Jpeg => jpeg(bytes, &mut packets),
        PictureFormat::Png => png(bytes, &mut packets),
        PictureFormat::Webp => webp(bytes, &mut packets),
        PictureFormat::Tiff | PictureFormat::Raw => tiff(bytes, &mut packets),
        PictureFormat::Heic | PictureFormat::Avif => heif(bytes, &mut packets),
        _ => None,
    };
    packets
}

fn jpeg<B: Bytes + ?Sized>(bytes: &B, packets: &mut Packets) -> Option<()> {
    let (mut at, mut more, mut resources) = (2, Vec::new(), Vec::new());
    for _ in 0..MOST_BLOCKS {
        let head = bytes.read(at, 4)?;
        let [0xff, marker, ..] = *head else { break };
        // Fill bytes, and markers without a length.
        if matches!(marker, 0xff | 0x01 | 0xd0..=0xd8) {
            at += if marker == 0xff { 1 } else { 2 };
            continue;
        }
        let length = usize::try_from(number(&head, 2, 2)?).ok()?;
        if matches!(marker, 0xda | 0xd9) || length < 2 {
            break;
        }
        if matches!(marker, 0xe1 | 0xed) {
            let segment = bytes.read(at + 4, length - 2)?;
            if let Some(xmp) = segment.strip_prefix(XMP) {
                packets.xmp.push(xmp.to_vec());
            } else if let Some(part) = segment.strip_prefix(MORE_XMP) {
                place_part(part, &mut more);
            } else if let Some(part) = segment.strip_prefix(PHOTOSHOP) {
                resources.extend_from_slice(part);
            }
        }
        at += 2 + length as u64;
    }
    if !more.is_empty() {
        packets.xmp.push(more);
    }
    packets.iptc = iptc_resource(&resources).unwrap_or_default();
    Some(())
}

/// A part of XMP that is too long for a segment: 32 letters of a digest, length of the whole, place of the part.
fn place_part(part: &[u8], whole: &mut Vec<u8>) -> Option<()> {
    let of = |at| number(part, at, 4).and_then(|number| usize::try_from(number).ok());
    let (total, at, data) = (of(32)?, of(36)?, part.get(40..)?);
    if total > LARGEST || at.checked_add(data.len())? > total {
        return None;
    }
    whole.resize(total.max(whole.len()), b' ');
    whole.get_mut(at..at + data.len())?.copy_from_slice(data);
    Some(())
}

/// The resource of IPTC among those of Photoshop: `8BIM`, number, name, length, all padded to even lengths.
fn iptc_resource(resources: &[u8]) -> Option<Vec<u8>> {
    const IPTC: u64 = 0x0404;
    let mut rest = resources;
    while let Some(resource) = rest.strip_prefix(b"8BIM") {
        let name = usize::from(*resource.get(2)?);
        let length_at = 2 + (name + 2) / 2 * 2;
        let length = usize::try_from(number(resource, length_at, 4)?).ok()?;
        let data = resource.get(length_at + 4..(length_at + 4).checked_add(length)?)?;
        if number(resource, 0, 2)? == IPTC {
            return Some(data.to_vec());
        }
        rest = resource.get(length_at + 4 + length.next_multiple_of(2)..)?;
    }
    None
}

fn png<B: Bytes + ?Sized>(bytes: &B, packets: &mut Packets) -> Option<()> {
    let mut at = 8;
    for _ in 0..MOST_BLOCKS {
        let head = bytes.read(at, 8)?;
        let length = number(&head, 0, 4)?;
        let size = usize::try_from(length).ok().filter(|size| *size <= LARGEST);
        if let (b"iTXt", Some(size)) = (head.get(4..)?, size) {
            let text = bytes.read(at + 8, size)?;
            packets.xmp.extend(text.strip_prefix(PNG_XMP).and_then(png_text));
        }
        at += 12 + length;
    }
    Some(())
}

/// Behind the keyword: whether it is packed, how, a language, the keyword in that language, the text.
fn png_text(rest: &[u8]) -> Option<Vec<u8>> {
    let [is_packed, _, rest @ ..] = rest else { return None };
    let text = rest.splitn(3, |byte| *byte == 0).nth(2)?;
    match is_packed {
        0 => Some(text.to_vec()),
        _ => miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(text, LARGEST).ok(),
    }
}

fn webp<B: Bytes + ?Sized>(bytes: &B, packets: &mut Packets) -> Option<()> {
    let mut at = 12;
    for _ in 0..MOST_BLOCKS {
        let head = bytes.read(at, 8)?;
        let length = u32::from_le_bytes(*head.last_chunk()?);
        let size = usize::try_from(length).ok().filter(|size| *size <= LARGEST);
        if let (Some(b"XMP "), Some(size)) = (head.first_chunk(), size) {
            packets.xmp.push(bytes.read(at + 8, size)?);
        }
        at += 8 + u64::from(length).next_multiple_of(2);
    }
    Some(())
}

fn tiff<B: Bytes + ?Sized>(bytes: &B, packets: &mut Packets) -> Option<()> {
    let tiff = Tiff::open(bytes)?;
    let first = tiff.directories().into_iter().next()?;
    for entry in first {
        match entry.tag {
            TIFF_XMP => packets.xmp.extend(tiff.data(&entry, LARGEST)),
            TIFF_IPTC => packets.iptc = tiff.data(&entry, LARGEST).unwrap_or_default(),
            _ => {}
        }
    }
    Some(())
}

fn heif<B: Bytes + ?Sized>(bytes: &B, packets: &mut Packets) -> Option<()> {
    let container = Container::open(bytes).ok()?;
    packets.xmp.extend(container.xmp().and_then(|item| container.content(bytes, item, LARGEST)));
    Some(())
}
