//! When a photo was taken: local wall time, its zone where that is known, and where the time comes from.
//!
//! Most cameras know the time on the wall and no zone. That time is kept as it is: it is what people remember, and a zone
//! that is guessed shifts it.

use std::cmp::Ordering;

use jiff::civil::DateTime;
use jiff::tz::Offset;
use jiff::{Span, Timestamp};
use serde::{Deserialize, Serialize};

/// Where the time comes from, the most trustworthy first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakenFrom {
    /// A person set it.
    Person,
    /// The file: when the picture was taken.
    Original,
    /// The file: when it was digitized.
    Digitized,
    /// The file: the container of a video, which counts in UTC.
    Container,
    /// The file: when it was changed last.
    Changed,
    /// The satellites' time in the file, UTC.
    Satellites,
    /// The file's name.
    Name,
    /// The file's date, as its sender gave it.
    FileDate,
    /// When the box took it in.
    Added,
}

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// When a photo was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// What a clock on the wall showed there.
    pub local: DateTime,
    /// Seconds that this clock was ahead of UTC; none where the zone is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub offset_s: Option<i32>,
    /// Where the time comes from.
    pub from: TakenFrom,
}

/// How a person corrects when a photo was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TakenEdit {
    /// At this time on the wall.
    At {
        /// What a clock on the wall showed there.
        local: DateTime,
        /// Seconds that this clock was ahead of UTC; none where the zone is unknown.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        offset_s: Option<i32>,
    },
    /// So many seconds later on the wall, for cameras whose clock was wrong; earlier where negative.
    ShiftS(i64),
    /// As it was found in the file, its name or elsewhere.
    AsFound,
}

impl TakenEdit {
    /// `taken` after the correction; `found` is what it was before any.
    ///
    /// # Errors
    /// A sentence that says what is allowed.
    pub fn applied(self, taken: Taken, found: Option<Taken>) -> Result<Taken, String> {
        let years = 1800..=9998;
        let corrected = match self {
            Self::AsFound => return Ok(found.unwrap_or(taken)),
            Self::At { offset_s: Some(offset), .. } if Offset::from_seconds(offset).is_err() => None,
            Self::At { local, offset_s } => Some(Taken { local, offset_s, from: TakenFrom::Person }),
            Self::ShiftS(seconds) => Span::new()
                .try_seconds(seconds)
                .and_then(|span| taken.local.checked_add(span))
                .map(|local| Taken { local, from: TakenFrom::Person, ..taken })
                .ok(),
        };
        let allowed = || {
            let (first, last) = (years.start(), years.end());
            format!("a photo is taken in the years {first} to {last}, in a zone less than 26 hours from UTC")
        };
        corrected.filter(|taken| years.contains(&taken.local.year())).ok_or_else(allowed)
    }
}

impl Taken {
    /// A wall time whose zone is unknown.
    pub fn local(local: DateTime, from: TakenFrom) -> Self {
        Self { local, offset_s: None, from }
    }

    /// A wall time that is `offset_s` seconds ahead of UTC, where that is a zone.
    pub fn with_offset(local: DateTime, offset_s: Option<i32>, from: TakenFrom) -> Self {
        Self { local, offset_s: offset_s.filter(|offset| Offset::from_seconds(*offset).is_ok()), from }
    }

    /// A moment to the millisecond, on the wall of the zone `offset_s` seconds ahead of UTC.
    pub fn at(at: Timestamp, offset_s: i32, from: TakenFrom) -> Self {
        let offset = Offset::from_seconds(offset_s).unwrap_or(Offset::UTC);
        let at = Timestamp::from_millisecond(at.as_millisecond()).unwrap_or(at);
        Self { local: offset.to_datetime(at), offset_s: Some(offset.seconds()), from }
    }

    /// The moment, where the zone is known.
    pub fn timestamp(&self) -> Option<Timestamp> {
        Offset::from_seconds(self.offset_s?).ok()?.to_timestamp(self.local).ok()
    }

    /// Milliseconds on the wall since 1970, by which photos are sorted; negative before.
    pub fn wall_ms(&self) -> i64 {
        Offset::UTC.to_timestamp(self.local).map_or(0, |at| at.as_millisecond())
    }

    /// Days on the wall since 1970; negative before.
    pub fn wall_day(&self) -> i32 {
        i32::try_from(self.wall_ms().div_euclid(DAY_MS)).unwrap_or(0)
    }

    /// Which of two statements of the same file is to be believed.
    pub fn cmp_trust(&self, other: &Self) -> Ordering {
        self.from.cmp(&other.from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wall_time_stays_what_it_is_whatever_its_zone() {
        let local: DateTime = "2024-03-31T02:30:00".parse().expect("a time");
        let unknown = Taken::local(local, TakenFrom::Original);
        assert_eq!((unknown.timestamp(), unknown.local), (None, local));
        let known = Taken::with_offset(local, Some(9 * 3600), TakenFrom::Original);
        assert_eq!(known.timestamp().map(|at| at.to_string()).as_deref(), Some("2024-03-30T17:30:00Z"));
        assert_eq!(known.wall_ms(), unknown.wall_ms());
        assert_eq!(Taken::with_offset(local, Some(1_000_000), TakenFrom::Original).offset_s, None, "no zone");
    }

    #[test]
    fn corrections_are_set_shifted_and_taken_back() {
        let local = |text: &str| text.parse::<DateTime>().expect("a time");
        let found = Taken::with_offset(local("2024-02-28T23:30:00"), Some(3600), TakenFrom::Original);
        let shifted = TakenEdit::ShiftS(3600).applied(found, None).expect("shifted");
        assert_eq!((shifted.local, shifted.offset_s), (local("2024-02-29T00:30:00"), Some(3600)));
        assert_eq!(shifted.from, TakenFrom::Person);
        let back = TakenEdit::ShiftS(-7200).applied(shifted, Some(found)).expect("shifted");
        assert_eq!(back.local, local("2024-02-28T22:30:00"));
        let at = TakenEdit::At { local: local("1999-12-31T00:00:00"), offset_s: None };
        assert_eq!(at.applied(found, None), Ok(Taken::local(local("1999-12-31T00:00:00"), TakenFrom::Person)));
        assert_eq!(TakenEdit::AsFound.applied(back, Some(found)), Ok(found));
        assert_eq!(TakenEdit::AsFound.applied(found, None), Ok(found));
        for wrong in [
            TakenEdit::ShiftS(i64::MAX),
            TakenEdit::ShiftS(-20_000_000_000),
            TakenEdit::At { local: local("0004-01-01T00:00:00"), offset_s: None },
            TakenEdit::At { local: local("2004-01-01T00:00:00"), offset_s: Some(100_000) },
        ] {
            assert!(wrong.applied(found, None).is_err_and(|why| why.contains("1800 to 9998")), "{wrong:?}");
        }
    }

    #[test]
    fn a_moment_is_shown_on_the_wall_of_its_zone() {
        let at: Timestamp = "2024-07-01T22:00:00Z".parse().expect("a time");
        let taken = Taken::at(at, 2 * 3600, TakenFrom::Container);
        assert_eq!((taken.local.to_string().as_str(), taken.timestamp()), ("2024-07-02T00:00:00", Some(at)));
        let text = serde_json::to_string(&taken).expect("write");
        assert_eq!(text, r#"{"local":"2024-07-02T00:00:00","offset_s":7200,"from":"container"}"#);
        assert_eq!(serde_json::from_str::<Taken>(&text).expect("read"), taken);
    }
}
