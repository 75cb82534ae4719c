//! What a file says of itself: EXIF of pictures, the containers of videos.

use std::path::Path;

use jiff::Timestamp;
use jiff::civil::DateTime;
use nom_exif::{EntryValue, Exif, ExifTag, GPSInfo, MediaParser, MediaSource, TrackInfo, TrackInfoTag};

use crate::photo::{Device, GeoPoint, LONGEST_NOTE, Medium, PictureFacts, PictureFormat, Taken, TakenFrom};

/// Longest name of a maker, model or lens, bytes of UTF-8.
const LONGEST_DEVICE: usize = 80;

/// Times in the file, the most trustworthy first: where it lies, its fractions, and the zone that belongs to it alone. The
/// zone of a change (`OffsetTime`) says nothing of where a picture was taken: whole libraries were shifted by it.
const TIMES: [(TakenFrom, ExifTag, ExifTag, ExifTag); 3] = [
    (TakenFrom::Original, ExifTag::DateTimeOriginal, ExifTag::SubSecTimeOriginal, ExifTag::OffsetTimeOriginal),
    (TakenFrom::Digitized, ExifTag::CreateDate, ExifTag::SubSecTimeDigitized, ExifTag::OffsetTimeDigitized),
    (TakenFrom::Changed, ExifTag::ModifyDate, ExifTag::SubSecTime, ExifTag::OffsetTime),
];

/// Adds to `facts` what the file at `path` says; one that says nothing, or that cannot be read, adds nothing.
pub(super) fn read(path: &Path, facts: &mut PictureFacts) {
    let Ok(source) = MediaSource::open(path) else { return };
    let mut parser = MediaParser::new();
    match facts.format.medium() {
        Medium::Picture => {
            if let Ok(entries) = parser.parse_exif(source) {
                of_picture(&entries.into(), facts);
            }
        }
        Medium::Video => {
            if let Ok(track) = parser.parse_track(source) {
                of_video(&track, facts);
            }
        }
    }
}

fn of_picture(exif: &Exif, facts: &mut PictureFacts) {
    let number = |tag| exif.get(tag).and_then(EntryValue::try_as_integer).and_then(|n| u32::try_from(n).ok());
    let text = |tag, longest| exif.get(tag).and_then(EntryValue::as_str).and_then(|text| plain(text, longest));
    facts.taken = TIMES.iter().find_map(|times| time(exif, times)).or_else(|| satellites(exif));
    facts.place = exif.gps_info().and_then(place);
    facts.device = Device {
        make: text(ExifTag::Make, LONGEST_DEVICE),
        model: text(ExifTag::Model, LONGEST_DEVICE),
        lens: text(ExifTag::LensModel, LONGEST_DEVICE),
    };
    facts.description = text(ExifTag::ImageDescription, LONGEST_NOTE);
    // What a decoder reads of the picture itself replaces this. HEIC and AVIF turn themselves: EXIF repeats it.
    if !matches!(facts.format, PictureFormat::Heic | PictureFormat::Avif) {
        let turned = number(ExifTag::Orientation).and_then(|turned| u8::try_from(turned).ok());
        facts.orientation = turned.filter(|turned| (1..=8).contains(turned)).unwrap_or(1);
    }
    if let (Some(width), Some(height)) = (number(ExifTag::ExifImageWidth), number(ExifTag::ExifImageHeight)) {
        (facts.width, facts.height) = if facts.orientation >= 5 { (height, width) } else { (width, height) };
    }
}

fn of_video(track: &TrackInfo, facts: &mut PictureFacts) {
    let number = |tag| track.get(tag).and_then(EntryValue::try_as_integer).and_then(|n| u32::try_from(n).ok());
    let text = |tag| track.get(tag).and_then(EntryValue::as_str).and_then(|text| plain(text, LONGEST_DEVICE));
    facts.width = number(TrackInfoTag::Width).unwrap_or(0);
    facts.height = number(TrackInfoTag::Height).unwrap_or(0);
    facts.duration_s = number(TrackInfoTag::DurationMs).map(|ms| f64::from(ms) / 1000.0);
    facts.place = track.gps_info().and_then(place);
    facts.device = Device { make: text(TrackInfoTag::Make), model: text(TrackInfoTag::Model), lens: None };
    facts.taken = track.get(TrackInfoTag::CreateDate).and_then(container_time);
}

/// A container counts in UTC; one that says more than that (a phone's local time with its zone) is believed. Zero is 1904.
fn container_time(value: &EntryValue) -> Option<Taken> {
    let at = value.as_datetime()?.aware()?;
    let offset = at.offset().local_minus_utc();
    let moment = Timestamp::from_second(at.timestamp()).ok()?;
    (moment > Timestamp::UNIX_EPOCH).then(|| Taken::at(moment, offset, TakenFrom::Container))
}

fn time(exif: &Exif, (from, tag, fraction, zone): &(TakenFrom, ExifTag, ExifTag, ExifTag)) -> Option<Taken> {
    let local = local_time(exif.get(*tag)?)?;
    let text = |tag: &ExifTag| exif.get(*tag).and_then(EntryValue::as_str);
    let local = local.with().subsec_nanosecond(text(fraction).map_or(0, nanoseconds)).build().unwrap_or(local);
    Some(Taken::with_offset(local, text(zone).and_then(offset), *from))
}

/// The time on the wall, whatever zone the parser joined it with.
fn local_time(value: &EntryValue) -> Option<DateTime> {
    match value.as_datetime() {
        Some(time) => sensible(time.into_naive().to_string().parse().ok()?),
        None => local_time_of(value.as_str()?),
    }
}

/// The time in a text as EXIF has it; some programs write the day with dashes.
pub(super) fn local_time_of(text: &str) -> Option<DateTime> {
    let (day, clock) = text.trim().split_once(' ')?;
    sensible(format!("{} {clock}", day.replace(':', "-")).parse().ok()?)
}

/// Cameras without a set clock write zeros or spaces.
fn sensible(local: DateTime) -> Option<DateTime> {
    (local.year() >= 1800).then_some(local)
}

/// The time of the satellites, which is UTC.
fn satellites(exif: &Exif) -> Option<Taken> {
    let date = exif.get(ExifTag::GPSDateStamp)?.as_str()?.trim().replace(':', "-");
    let parts = exif.get(ExifTag::GPSTimeStamp)?.as_urational_slice()?;
    let [hours, minutes, seconds] = parts else { return None };
    let [hours, minutes, seconds] = [hours.to_f64()?, minutes.to_f64()?, seconds.to_f64()?];
    let midnight: DateTime = format!("{date}T00:00:00").parse().ok()?;
    let of_day = hours * 3600.0 + minutes * 60.0 + seconds;
    let span = jiff::SignedDuration::try_from_secs_f64(of_day).ok().filter(|_| (0.0..86_400.0).contains(&of_day))?;
    Some(Taken::with_offset(midnight.checked_add(span).ok()?, Some(0), TakenFrom::Satellites))
}

/// Seconds ahead of UTC of `+09:00`, `-03:30` or `Z`.
pub(super) fn offset(text: &str) -> Option<i32> {
    let text = text.trim();
    if text.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = match text.split_at_checked(1)? {
        ("+", rest) => (1, rest),
        ("-" | "\u{2212}", rest) => (-1, rest),
        _ => return None,
    };
    let (hours, minutes) = rest.split_once(':')?;
    let number = |text: &str, most: i32| text.parse().ok().filter(|n| (0..=most).contains(n));
    Some(sign * (number(hours, 14)? * 3600 + number(minutes, 59)? * 60))
}

/// Of the digits behind the point of a second.
pub(super) fn nanoseconds(digits: &str) -> i32 {
    let digits: String = digits.trim().chars().take_while(char::is_ascii_digit).take(9).collect();
    if digits.is_empty() { 0 } else { format!("{digits:0<9}").parse().unwrap_or(0) }
}

/// A place; zeros in all of it are what cameras write that have none.
pub(super) fn place_of(latitude: f64, longitude: f64, altitude_m: Option<f64>) -> Option<GeoPoint> {
    let is_null = latitude == 0.0 && longitude == 0.0;
    GeoPoint::new(latitude, longitude, altitude_m).filter(|_| !is_null)
}

fn place(gps: &GPSInfo) -> Option<GeoPoint> {
    place_of(gps.latitude_decimal()?, gps.longitude_decimal()?, gps.altitude_meters())
}

/// Text of a file, fit to be shown; `None` where nothing is left of it.
pub(super) fn plain(text: &str, longest: usize) -> Option<String> {
    let visible: String = text.chars().filter(|c| !c.is_control() || *c == '\n').collect();
    let cut = visible.get(..visible.floor_char_boundary(longest)).unwrap_or_default().trim();
    (!cut.is_empty()).then(|| cut.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_and_fractions_are_read_as_cameras_write_them() {
        let cases = [
            ("+09:00", Some(32_400)),
            ("-03:30", Some(-12_600)),
            (" +05:45 ", Some(20_700)),
            ("Z", Some(0)),
            ("+0900", None),
            ("   :  ", None),
            ("", None),
            ("+99:00", None),
        ];
        for (text, seconds) in cases {
            assert_eq!(offset(text), seconds, "{text:?}");
        }
        for (digits, ns) in [("5", 500_000_000), ("057", 57_000_000), ("", 0), ("12 ", 120_000_000), ("x", 0)] {
            assert_eq!(nanoseconds(digits), ns, "{digits:?}");
        }
    }

    #[test]
    fn a_clock_that_was_never_set_says_nothing() {
        let of = |text: &str| local_time(&EntryValue::Text(text.to_owned()));
        assert_eq!(of("0000:00:00 00:00:00"), None);
        assert_eq!(of("    :  :     :  :  "), None);
        for text in ["2024:03:31 02:30:00", "2024-03-31 02:30:00"] {
            assert_eq!(of(text), "2024-03-31T02:30:00".parse().ok(), "{text}");
        }
    }
}
