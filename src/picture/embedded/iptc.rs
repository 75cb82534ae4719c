//! IPTC-IIM: what agencies and older programs write into a picture.

use jiff::civil::{Date, DateTime, Time};

/// Records that are read.
const MOST_RECORDS: usize = 10_000;
/// Says that texts are UTF-8.
const UTF8: &[u8] = b"\x1b%G";

/// What the records say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Iptc {
    /// Title.
    pub title: Option<String>,
    /// Caption.
    pub description: Option<String>,
    /// Keywords.
    pub keywords: Vec<String>,
    /// When it was made, with seconds ahead of UTC.
    pub created: Option<(DateTime, Option<i32>)>,
}

/// Reads records: 0x1c, the record's number, its field, the length in two bytes, the value.
pub(super) fn read(mut rest: &[u8]) -> Iptc {
    let (mut found, mut date, mut time, mut is_utf8) = (Iptc::default(), None, None, false);
    for _ in 0..MOST_RECORDS {
        let [0x1c, record, field, high, low, tail @ ..] = rest else { break };
        let Some((value, next)) = tail.split_at_checked(usize::from(u16::from_be_bytes([*high, *low]))) else { break };
        rest = next;
        let text = || text(value, is_utf8);
        match (record, field) {
            (1, 90) => is_utf8 = value == UTF8,
            (2, 5) => found.title = Some(text()),
            (2, 25) => found.keywords.push(text()),
            (2, 120) => found.description = Some(text()),
            (2, 55) => date = day(value),
            (2, 60) => time = of_day(value),
            _ => {}
        }
    }
    let at = |day: Date| match time {
        Some((time, offset)) => (day.to_datetime(time), offset),
        None => (day.to_datetime(Time::midnight()), None),
    };
    found.created = date.map(at);
    found
}

/// Programs write UTF-8 without saying so: what is not that is Latin-1.
fn text(value: &[u8], is_utf8: bool) -> String {
    match std::str::from_utf8(value) {
        Ok(text) => text.to_owned(),
        Err(_) if is_utf8 => String::from_utf8_lossy(value).into_owned(),
        Err(_) => value.iter().map(|byte| char::from(*byte)).collect(),
    }
}

/// `20240331`.
fn day(value: &[u8]) -> Option<Date> {
    let digits = std::str::from_utf8(value).ok()?;
    let number = |from: usize, to: usize| digits.get(from..to)?.parse::<i16>().ok();
    let part = |from, to| i8::try_from(number(from, to)?).ok();
    Date::new(number(0, 4)?, part(4, 6)?, part(6, 8)?).ok()
}

/// `023000+0900`.
fn of_day(value: &[u8]) -> Option<(Time, Option<i32>)> {
    let digits = std::str::from_utf8(value).ok()?;
    let part = |from: usize, to: usize| digits.get(from..to)?.parse::<i8>().ok();
    let time = Time::new(part(0, 2)?, part(2, 4)?, part(4, 6)?, 0).ok()?;
    let ahead = || {
        let sign = match digits.get(6..7)? {
            "+" => 1,
            "-" => -1,
            _ => return None,
        };
        Some(sign * (i32::from(part(7, 9)?) * 3600 + i32::from(part(9, 11)?) * 60))
    };
    Some((time, ahead()))
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn record(field: u8, value: &[u8]) -> Vec<u8> {
        [&[0x1c, 2, field][..], &u16::try_from(value.len()).expect("short").to_be_bytes(), value].concat()
    }

    #[test]
    fn records_are_read_in_the_coding_that_they_are_in() {
        let latin = [record(25, b"Z\xfcrich"), record(25, "犬".as_bytes()), record(120, b"K\xe4se")].concat();
        let found = read(&latin);
        assert_eq!(
            (found.keywords, found.description),
            (vec!["Zürich".to_owned(), "犬".to_owned()], Some("Käse".into()))
        );
        let dated = [record(55, b"20200203"), record(60, b"040506-0500")].concat();
        let at: DateTime = "2020-02-03T04:05:06".parse().expect("a time");
        assert_eq!(read(&dated).created, Some((at, Some(-5 * 3600))));
        assert_eq!(read(&record(55, b"20201303")).created, None);
        assert_eq!(read(&[0x1c, 2, 25, 0xff, 0xff, b'x']), Iptc::default(), "cut off");
    }
}
