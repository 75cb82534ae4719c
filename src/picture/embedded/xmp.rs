//! XMP: what programs say of a picture, as RDF in XML.

use jiff::civil::{Date, DateTime, Time};
use quick_xml::NsReader;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;

use super::super::metadata::offset;

/// Elements within each other that are followed.
const DEEPEST: usize = 32;
/// Elements and texts that are read.
const MOST_EVENTS: usize = 200_000;
/// Longest text that is kept, bytes.
const LONGEST: usize = 16 << 10;
/// Values of one list.
const MOST_VALUES: usize = 1000;

/// Namespaces that are known, by their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Space {
    Rdf,
    DublinCore,
    Basic,
    Exif,
    Photoshop,
    Lightroom,
    DigiKam,
    Other,
}

const SPACES: [(&[u8], Space); 7] = [
    (b"http://www.w3.org/1999/02/22-rdf-syntax-ns#", Space::Rdf),
    (b"http://purl.org/dc/elements/1.1/", Space::DublinCore),
    (b"http://ns.adobe.com/xap/1.0/", Space::Basic),
    (b"http://ns.adobe.com/exif/1.0/", Space::Exif),
    (b"http://ns.adobe.com/photoshop/1.0/", Space::Photoshop),
    (b"http://ns.adobe.com/lightroom/1.0/", Space::Lightroom),
    (b"http://www.digikam.org/ns/1.0/", Space::DigiKam),
];

/// A time on the wall, with seconds ahead of UTC where they are known.
pub(super) type Said = (DateTime, Option<i32>);

/// What the packets of a file say.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Xmp {
    pub title: Option<String>,
    pub description: Option<String>,
    /// Keywords as programs write them: `Kyoto`.
    pub subjects: Vec<String>,
    /// `Places|Japan|Kyoto`.
    pub hierarchical: Vec<String>,
    /// `Places/Japan/Kyoto`.
    pub tags: Vec<String>,
    /// -1 (rejected) to 5.
    pub rating: Option<f64>,
    /// When the picture was taken.
    pub taken: Option<Said>,
    /// When it was made: of a scan the scan.
    pub created: Option<Said>,
    pub latitude: Option<f64>,
    pub longitude: Option<f64>,
    /// Metres, without a sign.
    pub altitude: Option<f64>,
    pub is_below_sea: bool,
}

/// An element that is open.
struct Open {
    space: Space,
    name: String,
    /// Of several languages the one for all others.
    is_default: bool,
    text: String,
}

/// Adds what a packet says; a damaged one says what stands before the damage.
pub(super) fn read(packet: &[u8], xmp: &mut Xmp) {
    let utf8 = from_utf16(packet);
    let mut reader = NsReader::from_reader(utf8.as_deref().map_or(packet, str::as_bytes));
    let mut open: Vec<Open> = Vec::new();
    for _ in 0..MOST_EVENTS {
        let Ok(event) = reader.read_event() else { return };
        match event {
            Event::Start(start) if open.len() < DEEPEST => {
                let element = element(&reader, &start);
                attributes(&reader, &start, &element, xmp);
                open.push(element);
            }
            Event::Empty(start) => attributes(&reader, &start, &element(&reader, &start), xmp),
            Event::Start(_) | Event::Eof => return,
            Event::End(_) => {
                let Some(ended) = open.pop() else { return };
                if let Some((space, name)) = property(&open, &ended) {
                    put(xmp, space, &name, ended.is_default, ended.text.trim());
                }
            }
            Event::Text(text) => append(&mut open, &text.decode().unwrap_or_default()),
            Event::CData(text) => append(&mut open, &text.decode().unwrap_or_default()),
            Event::GeneralRef(name) => {
                let plain = || quick_xml::escape::resolve_predefined_entity(std::str::from_utf8(&name).ok()?);
                match name.resolve_char_ref() {
                    Ok(Some(letter)) => append(&mut open, letter.encode_utf8(&mut [0; 4])),
                    _ => append(&mut open, plain().unwrap_or_default()),
                }
            }
            _ => {}
        }
    }
}

/// A packet whose letters have two bytes each, as UTF-8.
fn from_utf16(packet: &[u8]) -> Option<String> {
    let read: fn([u8; 2]) -> u16 = match packet {
        [0xfe, 0xff, ..] | [0, b'<', ..] => u16::from_be_bytes,
        [0xff, 0xfe, ..] | [b'<', 0, ..] => u16::from_le_bytes,
        _ => return None,
    };
    let letters: Vec<u16> = packet.chunks_exact(2).map(|two| read([two[0], two[1]])).collect();
    Some(String::from_utf16_lossy(letters.strip_prefix(&[0xfeff]).unwrap_or(&letters)))
}

fn space_of(resolved: &ResolveResult<'_>) -> Space {
    let ResolveResult::Bound(bound) = resolved else { return Space::Other };
    SPACES.iter().find(|(address, _)| *address == bound.as_ref()).map_or(Space::Other, |(_, space)| *space)
}

fn element(reader: &NsReader<&[u8]>, start: &BytesStart<'_>) -> Open {
    let space = space_of(&reader.resolver().resolve_element(start.name()).0);
    let is_default = start.attributes().flatten().any(|a| a.key.as_ref() == b"xml:lang" && &*a.value == b"x-default");
    let name = String::from_utf8_lossy(start.local_name().as_ref()).into_owned();
    Open { space, name, is_default, text: String::new() }
}

fn append(open: &mut [Open], text: &str) {
    if let Some(element) = open.last_mut().filter(|element| element.text.len() < LONGEST) {
        element.text.push_str(text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default());
    }
}

/// Simple properties may be written as attributes of the description.
fn attributes(reader: &NsReader<&[u8]>, start: &BytesStart<'_>, element: &Open, xmp: &mut Xmp) {
    if (element.space, &*element.name) != (Space::Rdf, "Description") {
        return;
    }
    for attribute in start.attributes().flatten() {
        let (space, name) = reader.resolver().resolve_attribute(attribute.key);
        let name = String::from_utf8_lossy(name.as_ref());
        let value = String::from_utf8_lossy(&attribute.value);
        let value = quick_xml::escape::unescape(&value).unwrap_or_default();
        put(xmp, space_of(&space), &name, false, value.trim());
    }
}

/// The property that an element which ended is a value of: itself, or the list that it is an item of.
fn property(open: &[Open], ended: &Open) -> Option<(Space, String)> {
    let is_item = (ended.space, &*ended.name) == (Space::Rdf, "li");
    let (owner, above) = match open {
        [.., above, owner, _] if is_item => (owner, above),
        [.., above] if !is_item => (ended, above),
        _ => return None,
    };
    // What lies in a property of another picture, such as one that this is derived from, says nothing of this one.
    let is_stated = (above.space, &*above.name) == (Space::Rdf, "Description");
    is_stated.then(|| (owner.space, owner.name.clone()))
}

fn put(xmp: &mut Xmp, space: Space, name: &str, is_default: bool, value: &str) {
    if value.is_empty() {
        return;
    }
    let push = |list: &mut Vec<String>| {
        if list.len() < MOST_VALUES {
            list.push(value.to_owned());
        }
    };
    let number = || value.parse::<f64>().ok().filter(|number| number.is_finite());
    match (space, name) {
        (Space::DublinCore, "title") => set_text(&mut xmp.title, is_default, value),
        (Space::DublinCore, "description") => set_text(&mut xmp.description, is_default, value),
        (Space::DublinCore, "subject") => push(&mut xmp.subjects),
        (Space::Lightroom, "hierarchicalSubject") => push(&mut xmp.hierarchical),
        (Space::DigiKam, "TagsList") => push(&mut xmp.tags),
        (Space::Basic, "Rating") => xmp.rating = number(),
        (Space::Exif, "DateTimeOriginal") => xmp.taken = time(value).or(xmp.taken),
        (Space::Photoshop, "DateCreated") => xmp.taken = xmp.taken.or_else(|| time(value)),
        (Space::Basic, "CreateDate") => xmp.created = time(value),
        (Space::Exif, "GPSLatitude") => xmp.latitude = degrees(value),
        (Space::Exif, "GPSLongitude") => xmp.longitude = degrees(value),
        (Space::Exif, "GPSAltitude") => xmp.altitude = fraction(value),
        (Space::Exif, "GPSAltitudeRef") => xmp.is_below_sea = value == "1",
        _ => {}
    }
}

fn set_text(text: &mut Option<String>, is_default: bool, value: &str) {
    if is_default || text.is_none() {
        *text = Some(value.to_owned());
    }
}

/// `2021-02-03`, `2021-02-03T04:05`, `2021-02-03T04:05:06.5+09:00`. A day alone begins at midnight.
fn time(text: &str) -> Option<Said> {
    let Some((day, rest)) = text.split_once('T') else {
        return Some((text.parse::<Date>().ok()?.to_datetime(Time::midnight()), None));
    };
    let day: Date = day.parse().ok()?;
    let zone_at = rest.find(['+', '-', 'Z']).unwrap_or(rest.len());
    let (clock, zone) = rest.split_at_checked(zone_at)?;
    let clock: Time = clock.parse().ok()?;
    Some((day.to_datetime(clock), offset(zone)))
}

/// `33,30.5S` or `33,30,15S`.
fn degrees(text: &str) -> Option<f64> {
    let letter = text.chars().next_back()?;
    let sign = match letter {
        'N' | 'E' => 1.0,
        'S' | 'W' => -1.0,
        _ => return None,
    };
    let parts: Option<Vec<f64>> = text.strip_suffix(letter)?.split(',').map(|part| part.trim().parse().ok()).collect();
    match *parts? {
        [degrees, minutes] => Some(sign * (degrees + minutes / 60.0)),
        [degrees, minutes, seconds] => Some(sign * (degrees + minutes / 60.0 + seconds / 3600.0)),
        _ => None,
    }
}

/// `4305/10` or `430.5`.
fn fraction(text: &str) -> Option<f64> {
    let (above, below) = text.split_once('/').unwrap_or((text, "1"));
    let value = above.trim().parse::<f64>().ok()? / below.trim().parse::<f64>().ok()?;
    value.is_finite().then_some(value)
}

#[cfg(test)]
pub(super) const SAMPLE: &str = r#"<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:p="http://ns.adobe.com/xap/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:exif="http://ns.adobe.com/exif/1.0/" p:Rating="4" exif:DateTimeOriginal="2021-02-03T04:05:06.5+09:00">
<dc:title><rdf:Alt><rdf:li xml:lang="de">Hund &amp; Katze</rdf:li><rdf:li xml:lang="x-default">春 &#x72AC;</rdf:li></rdf:Alt></dc:title>
<dc:subject><rdf:Bag><rdf:li>plain</rdf:li><rdf:li> 犬 </rdf:li></rdf:Bag></dc:subject>
<exif:GPSLatitude>33,30.0S</exif:GPSLatitude><exif:GPSLongitude>70,15,0W</exif:GPSLongitude>
<p:Other><rdf:Description dc:description="of another"/></p:Other>
</rdf:Description></rdf:RDF></x:xmpmeta>"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_are_found_as_elements_lists_and_attributes_under_any_prefix() {
        let mut xmp = Xmp::default();
        read(SAMPLE.as_bytes(), &mut xmp);
        assert_eq!(xmp.title.as_deref(), Some("春 犬"));
        assert_eq!((xmp.subjects, xmp.rating), (vec!["plain".to_owned(), "犬".to_owned()], Some(4.0)));
        let at: DateTime = "2021-02-03T04:05:06.5".parse().expect("a time");
        assert_eq!((xmp.taken, xmp.latitude, xmp.longitude), (Some((at, Some(9 * 3600))), Some(-33.5), Some(-70.25)));
    }

    #[test]
    fn letters_of_two_bytes_are_read_too() {
        let wide: Vec<u8> = SAMPLE.encode_utf16().flat_map(u16::to_be_bytes).collect();
        let mut xmp = Xmp::default();
        read(&wide, &mut xmp);
        assert_eq!((xmp.title.as_deref(), xmp.subjects.len()), (Some("春 犬"), 2));
    }

    #[test]
    fn what_is_cut_off_says_what_stands_before() {
        let mut xmp = Xmp::default();
        read(SAMPLE.split_at(SAMPLE.find("<exif:GPS").expect("there")).0.as_bytes(), &mut xmp);
        assert_eq!((xmp.subjects.len(), xmp.latitude), (2, None));
    }
}
