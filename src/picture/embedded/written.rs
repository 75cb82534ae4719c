//! What is known of a photo as an XMP packet in a file of its own, as other programs read it (ISO 16684-1; Exif for XMP).

use quick_xml::escape::escape;

use crate::photo::{GeoPoint, Photo, Taken};

const HEAD: &str = r#"<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:exif="http://ns.adobe.com/exif/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/">
"#;
const TAIL: &str = "  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n<?xpacket end=\"w\"?>\n";

/// The packet of a photo: what people say of it goes before what its file says.
pub fn xmp_of(photo: &Photo) -> String {
    let facts = &photo.facts;
    let mut out = HEAD.to_owned();
    let title = Some(photo.title.as_str()).filter(|title| !title.is_empty()).or(facts.title.as_deref());
    let note = Some(photo.note.as_str()).filter(|note| !note.is_empty()).or(facts.description.as_deref());
    for (name, text) in [("dc:title", title), ("dc:description", note)] {
        if let Some(text) = text {
            let text = plain(text);
            out += &format!("   <{name}><rdf:Alt><rdf:li xml:lang=\"x-default\">{text}</rdf:li></rdf:Alt></{name}>\n");
        }
    }
    let mut subjects: Vec<&String> = Vec::new();
    for subject in photo.tags.iter().chain(&facts.keywords) {
        if !subjects.contains(&subject) {
            subjects.push(subject);
        }
    }
    if !subjects.is_empty() {
        let items: String = subjects.iter().map(|subject| format!("<rdf:li>{}</rdf:li>", plain(subject))).collect();
        out += &format!("   <dc:subject><rdf:Bag>{items}</rdf:Bag></dc:subject>\n");
    }
    if let Some(rating) = facts.rating {
        out += &format!("   <xmp:Rating>{rating}</xmp:Rating>\n");
    }
    let taken = time(&photo.taken);
    out += &format!("   <exif:DateTimeOriginal>{taken}</exif:DateTimeOriginal>\n");
    out += &format!("   <photoshop:DateCreated>{taken}</photoshop:DateCreated>\n");
    if let Some(GeoPoint { latitude, longitude, altitude_m }) = facts.place {
        out += &format!("   <exif:GPSLatitude>{}</exif:GPSLatitude>\n", degrees(latitude, ['N', 'S']));
        out += &format!("   <exif:GPSLongitude>{}</exif:GPSLongitude>\n", degrees(longitude, ['E', 'W']));
        if let Some(metres) = altitude_m {
            let below = u8::from(metres < 0.0);
            out += &format!("   <exif:GPSAltitudeRef>{below}</exif:GPSAltitudeRef>\n");
            out += &format!("   <exif:GPSAltitude>{:.0}/1000</exif:GPSAltitude>\n", metres.abs() * 1000.0);
        }
    }
    out + TAIL
}

/// Without what XML 1.0 has no place for.
fn plain(text: &str) -> String {
    let allowed: String = text
        .chars()
        .filter(|c| !c.is_control() || matches!(c, '\n' | '\t'))
        .filter(|c| !matches!(c, '\u{fffe}' | '\u{ffff}'))
        .collect();
    escape(allowed.as_str()).into_owned()
}

/// A time on the wall; with its zone where that is known.
fn time(taken: &Taken) -> String {
    let zone = taken.offset_s.map(|offset| {
        let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
        format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60)
    });
    format!("{}{}", taken.local, zone.unwrap_or_default())
}

/// Degrees and minutes with a letter: `35,40.872000N`.
fn degrees(value: f64, [positive, negative]: [char; 2]) -> String {
    let letter = if value < 0.0 { negative } else { positive };
    // In millionths of a minute, so that no 60 minutes are written.
    let all = (value.abs() * 60.0 * 1e6).round();
    let (whole, minutes) = ((all / 60e6).floor(), (all % 60e6) / 1e6);
    format!("{whole:.0},{minutes:.6}{letter}")
}

#[cfg(test)]
mod tests {
    use super::super::xmp::{Xmp, read};
    use super::*;
    use crate::clock::{Clock, Mono, SimulatedClock};
    use crate::photo::fixture::photo;

    #[test]
    fn what_is_written_is_read_again() {
        let now = SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH).now();
        let mut photo = photo(crate::photo::PhotoId::from_bytes([1; 16]), "anna", "2024-03-31T02:30:00", now);
        photo.taken.offset_s = Some(-(5 * 3600 + 1800));
        photo.title = "<犬> & \"gate\"\u{1}".to_owned();
        photo.note = "two\nlines".to_owned();
        photo.tags = vec!["zoo".to_owned(), "a<b".to_owned()];
        photo.facts.keywords = vec!["zoo".to_owned(), "Kyoto".to_owned()];
        photo.facts.rating = Some(4);
        photo.facts.place = GeoPoint::new(-33.999_999_999_9, 151.25, Some(-3.5));
        let mut xmp = Xmp::default();
        read(xmp_of(&photo).as_bytes(), &mut xmp);
        assert_eq!(xmp.title.as_deref(), Some("<犬> & \"gate\""));
        assert_eq!(xmp.description.as_deref(), Some("two\nlines"));
        assert_eq!(xmp.subjects, ["zoo", "a<b", "Kyoto"]);
        assert_eq!(xmp.rating, Some(4.0));
        assert_eq!(xmp.taken, Some((photo.taken.local, photo.taken.offset_s)));
        assert_eq!((xmp.latitude, xmp.longitude), (Some(-34.0), Some(151.25)));
        assert_eq!((xmp.altitude, xmp.is_below_sea), (Some(3.5), true));
    }
}
