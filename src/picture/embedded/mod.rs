//! What programs wrote into a picture: XMP and IPTC.

#[cfg(test)]
mod fuzz;
mod iptc;
mod packets;
mod written;
mod xmp;

pub use written::xmp_of;

use super::bytes::Bytes;
use super::metadata::{place_of, plain};
use crate::photo::{LONGEST_NOTE, LONGEST_TITLE, PictureFacts, PictureFormat, Taken, TakenFrom};

use iptc::Iptc;
use xmp::Xmp;

/// Keywords of one file that are kept.
const MOST_KEYWORDS: usize = 100;
/// Longest keyword, bytes of UTF-8.
const LONGEST_KEYWORD: usize = 100;

/// Adds to `facts`, which EXIF was read into, what XMP and IPTC of the file say.
pub(super) fn read<B: Bytes + ?Sized>(bytes: &B, format: PictureFormat, facts: &mut PictureFacts) {
    let packets = packets::find(bytes, format);
    let mut xmp = Xmp::default();
    for packet in &packets.xmp {
        xmp::read(packet, &mut xmp);
    }
    merge(xmp, iptc::read(&packets.iptc), facts);
}

fn merge(xmp: Xmp, iptc: Iptc, facts: &mut PictureFacts) {
    facts.title = text(&[xmp.title.as_deref(), iptc.title.as_deref()], LONGEST_TITLE);
    // Cameras put their names into EXIF's description: what a person wrote comes first.
    let described = text(&[xmp.description.as_deref(), iptc.description.as_deref()], LONGEST_NOTE);
    facts.description = described.or_else(|| facts.description.take());
    facts.rating = xmp.rating.filter(|rating| (1.0..=5.0).contains(rating)).map(|rating| rating.round() as u8);
    facts.keywords = keywords(&xmp, &iptc);
    let said = |said: Option<xmp::Said>, from| said.map(|(local, offset)| Taken::with_offset(local, offset, from));
    let times = [
        facts.taken,
        said(xmp.taken, TakenFrom::Original),
        said(iptc.created, TakenFrom::Original),
        said(xmp.created, TakenFrom::Digitized),
    ];
    // Of equally trusted ones the first: EXIF is what the camera wrote.
    facts.taken = times.into_iter().flatten().min_by(Taken::cmp_trust);
    let altitude = xmp.altitude.map(|metres| if xmp.is_below_sea { -metres } else { metres });
    let said =
        xmp.latitude.zip(xmp.longitude).and_then(|(latitude, longitude)| place_of(latitude, longitude, altitude));
    facts.place = facts.place.or(said);
}

fn text(said: &[Option<&str>], longest: usize) -> Option<String> {
    said.iter().flatten().find_map(|text| plain(text, longest))
}

/// The list that says most of those that are there: whole paths before their ends, what knows all languages before what does not.
fn keywords(xmp: &Xmp, iptc: &Iptc) -> Vec<String> {
    let paths: Vec<String> = xmp.hierarchical.iter().map(|path| path.replace('|', "/")).collect();
    let lists = [&xmp.tags, &paths, &xmp.subjects, &iptc.keywords];
    let mut kept: Vec<String> = Vec::new();
    for keyword in lists.into_iter().find(|list| !list.is_empty()).into_iter().flatten() {
        let keyword = plain(keyword, LONGEST_KEYWORD).filter(|keyword| !kept.contains(keyword));
        kept.extend(keyword.filter(|_| kept.len() < MOST_KEYWORDS));
    }
    kept
}
