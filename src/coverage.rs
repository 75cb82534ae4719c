//! The coverage ledger: what became of every second of a camera.
//!
//! The box writes down what a camera did ([`Span`]); what was recorded is known from the recordings
//! themselves. [`compose`] puts both together so that no second is left without an answer: the time between
//! spans is the time in which the box did not run.

use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::clock::Moment;
use crate::event::EventId;

/// What a camera did for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanState {
    /// It gave pictures.
    Watched,
    /// It gave none.
    Offline,
    /// It gave pictures that the box could not keep.
    Shed,
    /// There was video of it, which was deleted by the rules of retention.
    Evicted,
}

/// One entry of the ledger.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Identity, in the order of time.
    pub id: EventId,
    /// Name of the camera in the config.
    pub camera: Arc<str>,
    /// What it did.
    pub state: SpanState,
    /// Why, where that is worth an update.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// From when.
    pub from: Moment,
    /// Until when at least; a box that lost power may have gone on for up to half a minute.
    pub until: Moment,
}

/// What became of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coverage {
    /// The box did not run, or knew nothing of this camera.
    Stopped,
    /// The camera gave pictures and nothing was to be recorded.
    Watched,
    /// The camera gave no pictures.
    Offline,
    /// There were pictures that the box could not keep.
    Shed,
    /// There was video, which was deleted by the rules of retention.
    Evicted,
    /// There is video.
    Recorded,
    /// There is video, and every destination has it.
    Uploaded,
}

/// Video of a stretch of time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Footage {
    /// From when.
    pub from: Timestamp,
    /// Until when.
    pub until: Timestamp,
    /// [`Coverage::Evicted`], [`Coverage::Recorded`] or [`Coverage::Uploaded`].
    pub state: Coverage,
}

/// A stretch of time and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval {
    /// From when.
    pub from: Timestamp,
    /// Until when, exclusive.
    pub until: Timestamp,
    /// What became of it.
    pub state: Coverage,
    /// Why, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of a camera's day, as it is written into `<yyyy-mm-dd>.json` and delivered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// [`Account::VERSION`] of the writer.
    pub version: u32,
    /// The box.
    pub device: Arc<str>,
    /// Name of the camera in the config.
    pub camera: Arc<str>,
    /// The day, in UTC.
    pub day: Date,
    /// When this was written.
    pub written: Moment,
    /// The day was over by then. It is exported again only where its times are corrected.
    pub complete: bool,
    /// The day's first moment.
    pub from: Timestamp,
    /// Until when it is known.
    pub until: Timestamp,
    /// What became of the time from `from` to `until`, without a gap and without an overlap.
    pub intervals: Vec<Interval>,
}

impl Account {
    /// Version of the written form.
    pub const VERSION: u32 = 1;

    /// The name of its file in the camera's folder.
    pub fn file_name(&self) -> String {
        format!("{}.json", self.day)
    }

    /// Whether the box knows of any moment of the day.
    pub fn knows_anything(&self) -> bool {
        self.intervals.iter().any(|interval| interval.state != Coverage::Stopped)
    }

    /// Whether `other` says nothing that this does not, whenever it was written.
    pub fn says_the_same(&self, other: &Self) -> bool {
        let same_trust = self.written.time_quality == other.written.time_quality;
        same_trust && Self { written: other.written.clone(), ..self.clone() } == *other
    }
}

/// The time from `from` to `until`, without a gap and without an overlap. Where several things are true the
/// best for the owner counts, in the order of [`Coverage`].
pub fn compose(from: Timestamp, until: Timestamp, spans: &[Span], footage: &[Footage]) -> Vec<Interval> {
    let span_state = |span: &Span| match span.state {
        SpanState::Watched => Coverage::Watched,
        SpanState::Offline => Coverage::Offline,
        SpanState::Shed => Coverage::Shed,
        SpanState::Evicted => Coverage::Evicted,
    };
    let of_spans = spans.iter().map(|span| (span.from.wall, span.until.wall, span_state(span), span.reason.as_ref()));
    let of_footage = footage.iter().map(|footage| (footage.from, footage.until, footage.state, None));
    // What begins and ends where; a sweep over the edges keeps it linear in what is known.
    let mut edges = Vec::new();
    for (begin, end, state, reason) in of_spans.chain(of_footage) {
        let (begin, end) = (begin.max(from), end.min(until));
        if begin < end {
            edges.push((begin, true, (state, reason)));
            edges.push((end, false, (state, reason)));
        }
    }
    edges.sort_by_key(|(at, ..)| *at);
    let mut active: Vec<(Coverage, Option<&String>)> = Vec::new();
    let mut intervals = Vec::new();
    let mut reached = from;
    for (at, begins, what) in edges {
        push(&mut intervals, reached, at, &active);
        reached = reached.max(at);
        if begins {
            active.push(what);
        } else if let Some(position) = active.iter().position(|known| *known == what) {
            active.swap_remove(position);
        }
    }
    push(&mut intervals, reached, until, &active);
    intervals
}

fn push(intervals: &mut Vec<Interval>, from: Timestamp, until: Timestamp, active: &[(Coverage, Option<&String>)]) {
    if from >= until {
        return;
    }
    let (state, reason) = active.iter().copied().max().unwrap_or((Coverage::Stopped, None));
    match intervals.last_mut() {
        Some(last) if last.state == state && last.reason.as_ref() == reason => last.until = until,
        _ => intervals.push(Interval { from, until, state, reason: reason.cloned() }),
    }
}

/// The day, in UTC.
pub fn utc_date(at: Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}

/// The beginning of a day, in UTC.
pub fn midnight(day: Date) -> Option<Timestamp> {
    Some(day.to_zoned(TimeZone::UTC).ok()?.timestamp())
}

/// The end of a day, in UTC.
pub fn midnight_after(day: Date) -> Option<Timestamp> {
    midnight(day.tomorrow().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::TimeQuality;
    use proptest::prelude::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + s).expect("a time")
    }

    fn moment(s: i64) -> Moment {
        let quality = TimeQuality::Synchronised;
        Moment {
            wall: at(s),
            mono_ns: u64::try_from(s).expect("not negative") * 1_000_000_000,
            boot_id: "b".into(),
            time_quality: quality,
        }
    }

    fn span(state: SpanState, from: i64, until: i64, reason: Option<&str>) -> Span {
        let (camera, reason) = ("yard".into(), reason.map(str::to_owned));
        Span { id: EventId::from_bytes([0; 16]), camera, state, reason, from: moment(from), until: moment(until) }
    }

    fn footage(state: Coverage, from: i64, until: i64) -> Footage {
        Footage { from: at(from), until: at(until), state }
    }

    fn reported(intervals: &[Interval]) -> Vec<(i64, i64, Coverage)> {
        let second = |time: Timestamp| time.as_second() - 1_790_000_000;
        intervals.iter().map(|i| (second(i.from), second(i.until), i.state)).collect()
    }

    #[test]
    fn a_day_with_everything_in_it() {
        let spans = [
            span(SpanState::Watched, 10, 40, None),
            span(SpanState::Offline, 40, 50, Some("unplugged")),
            span(SpanState::Watched, 50, 70, None),
            span(SpanState::Shed, 55, 57, Some("the disk is too slow")),
        ];
        let footage = [
            footage(Coverage::Recorded, 15, 20),
            footage(Coverage::Uploaded, 18, 25),
            footage(Coverage::Evicted, 30, 41),
        ];
        let intervals = compose(at(0), at(100), &spans, &footage);
        use Coverage::*;
        let expected = [
            (0, 10, Stopped),
            (10, 15, Watched),
            (15, 18, Recorded),
            (18, 25, Uploaded),
            (25, 30, Watched),
            (30, 41, Evicted),
            (41, 50, Offline),
            (50, 55, Watched),
            (55, 57, Shed),
            (57, 70, Watched),
            (70, 100, Stopped),
        ];
        assert_eq!(reported(&intervals), expected);
        assert_eq!(intervals[6].reason.as_deref(), Some("unplugged"));
    }

    #[test]
    fn nothing_known_is_one_interval_and_no_time_is_none() {
        assert_eq!(reported(&compose(at(0), at(9), &[], &[])), [(0, 9, Coverage::Stopped)]);
        assert_eq!(compose(at(9), at(9), &[], &[]), []);
    }

    proptest! {
        #[test]
        fn no_second_is_unaccounted_for_and_none_is_reported_twice(
            spans in prop::collection::vec((0..4usize, 0..100i64, 0..50i64), 0..12),
            pieces in prop::collection::vec((0..3usize, 0..100i64, 0..50i64), 0..12),
            (from, length) in (0..60i64, 1..80i64),
        ) {
            let states = [SpanState::Watched, SpanState::Offline, SpanState::Shed, SpanState::Evicted];
            let kinds = [Coverage::Evicted, Coverage::Recorded, Coverage::Uploaded];
            let spans: Vec<_> = spans.iter().map(|(s, from, len)| span(states[*s], *from, from + len, None)).collect();
            let pieces: Vec<_> = pieces.iter().map(|(k, from, len)| footage(kinds[*k], *from, from + len)).collect();
            let until = from + length;
            let intervals = reported(&compose(at(from), at(until), &spans, &pieces));
            prop_assert_eq!(intervals.first().map(|i| i.0), Some(from));
            prop_assert_eq!(intervals.last().map(|i| i.1), Some(until));
            prop_assert!(intervals.windows(2).all(|pair| pair[0].1 == pair[1].0 && pair[0].2 != pair[1].2));
            // Second by second, by the definition.
            for second in from..until {
                let holds = |a: Timestamp, b: Timestamp| a <= at(second) && at(second) < b;
                let of_spans = spans.iter().filter(|s| holds(s.from.wall, s.until.wall)).map(|s| match s.state {
                    SpanState::Watched => Coverage::Watched,
                    SpanState::Offline => Coverage::Offline,
                    SpanState::Shed => Coverage::Shed,
                    SpanState::Evicted => Coverage::Evicted,
                });
                let of_pieces = pieces.iter().filter(|p| holds(p.from, p.until)).map(|p| p.state);
                let expected = of_spans.chain(of_pieces).max().unwrap_or(Coverage::Stopped);
                let reported = intervals.iter().find(|i| i.0 <= second && second < i.1).map(|i| i.2);
                prop_assert_eq!(reported, Some(expected), "second {}", second);
            }
        }
    }
}
