//! What became of a camera's time, merged to a resolution: a month is as quick to send and to draw as a minute.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use serde::Serialize;

use super::mark::Mark;
use crate::clock::Mono;
use crate::coverage::{Coverage, Interval};
use crate::event::EventId;

/// Accounts that are kept for the next request.
const KEPT: usize = 96;
/// Intervals and events of all of them.
const KEPT_ROWS: usize = 400_000;
/// For how long an account of a few days is taken to be true.
const TRUE_FOR: Duration = Duration::from_secs(15);
/// The same for a longer time: one of a hundred pixels is as long.
const TRUE_FOR_AT_MOST: Duration = Duration::from_secs(600);

/// A stretch of time on a strip.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StripSpan {
    /// From when.
    pub from: Timestamp,
    /// Until when, exclusive.
    pub until: Timestamp,
    /// What became of most of it.
    pub state: Coverage,
    /// Why, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What became of the rest, each for less than the resolution.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<Coverage>,
}

/// An event on a strip, or several that lie closer together than the resolution.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StripMark {
    /// When the first began.
    pub from: Timestamp,
    /// When the last began or ended; absent for one that goes on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// How many.
    pub count: u32,
    /// The first.
    pub id: EventId,
    /// Class of the object, where it is the same in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Arc<str>>,
}

/// One camera's strip.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Strip {
    /// What became of the time: without gaps, oldest first.
    pub spans: Vec<StripSpan>,
    /// Events, oldest first.
    pub events: Vec<StripMark>,
    /// There are earlier events than those: too many for one answer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub more_events: bool,
}

/// One camera's time in full.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Account {
    /// Without gaps, oldest first.
    pub intervals: Vec<Interval>,
    /// Oldest first.
    pub marks: Vec<Mark>,
    /// The oldest are left out.
    pub more_marks: bool,
    /// The box knows of the camera.
    pub is_known: bool,
}

impl Account {
    /// The part from `since` to `until`; what reaches over times that `covers` does not hold for is left out.
    pub(super) fn strip(
        &self,
        since: Timestamp,
        until: Timestamp,
        resolution: SignedDuration,
        covers: impl Fn(Timestamp, Timestamp) -> bool,
    ) -> Strip {
        let within = self.intervals.iter().filter_map(|interval| {
            let (from, until) = (interval.from.max(since), interval.until.min(until));
            (from < until).then(|| Interval { from, until, ..interval.clone() })
        });
        let marks =
            self.marks.iter().filter(|mark| mark.start < until && covers(mark.start, mark.end.unwrap_or(until)));
        let marks = marks.filter(|mark| mark.end.unwrap_or(until).max(mark.start) >= since);
        let more_events = !self.has_marks_since(since);
        Strip { spans: merge(within, resolution), events: merge_marks(marks, resolution), more_events }
    }

    /// Whether no event from `since` on was left out.
    fn has_marks_since(&self, since: Timestamp) -> bool {
        !self.more_marks || self.marks.first().is_some_and(|oldest| oldest.start <= since)
    }
}

/// Merges what is shorter than `resolution` with its neighbours that are too. Longer ones keep their exact ends, and a short
/// one between two long ones stays: an outage of a minute is seen in a month.
fn merge(intervals: impl Iterator<Item = Interval>, resolution: SignedDuration) -> Vec<StripSpan> {
    let mut spans = Vec::new();
    let mut group: Vec<Interval> = Vec::new();
    for interval in intervals {
        let lasts = |part: &Interval| part.until.duration_since(part.from);
        let begun = group.first().map(|first| interval.from.duration_since(first.from));
        let is_long = lasts(&interval) >= resolution;
        if is_long || begun.is_some_and(|begun| begun >= resolution) {
            spans.extend(grouped(&mut group));
        }
        if is_long {
            let Interval { from, until, state, reason } = interval;
            spans.push(StripSpan { from, until, state, reason, also: Vec::new() });
        } else {
            group.push(interval);
        }
    }
    spans.extend(grouped(&mut group));
    spans
}

/// One span of what is in `group`, which is empty then.
fn grouped(group: &mut Vec<Interval>) -> Option<StripSpan> {
    let (from, until) = (group.first()?.from, group.last()?.until);
    let mut lasted: Vec<(SignedDuration, Coverage)> = Vec::new();
    for part in group.iter() {
        let length = part.until.duration_since(part.from);
        match lasted.iter_mut().find(|(_, state)| *state == part.state) {
            Some((sum, _)) => *sum += length,
            None => lasted.push((length, part.state)),
        }
    }
    let state = lasted.iter().max().map(|(_, state)| *state)?;
    let mut also: Vec<Coverage> = lasted.into_iter().map(|(_, other)| other).filter(|other| *other != state).collect();
    also.sort_unstable();
    let of_state = group.iter().filter(|part| part.state == state);
    let longest = of_state.max_by_key(|part| part.until.duration_since(part.from));
    let reason = longest.and_then(|part| part.reason.clone());
    group.clear();
    Some(StripSpan { from, until, state, reason, also })
}

fn merge_marks<'a>(marks: impl Iterator<Item = &'a Mark>, resolution: SignedDuration) -> Vec<StripMark> {
    let mut merged: Vec<StripMark> = Vec::new();
    for mark in marks {
        let near = merged.last_mut().filter(|last| mark.start.duration_since(last.from) < resolution);
        let Some(last) = near else {
            let (from, until, id, label) = (mark.start, mark.end, mark.id, Some(mark.label.clone()));
            merged.push(StripMark { from, until, count: 1, id, label });
            continue;
        };
        last.count += 1;
        last.until = last.until.zip(mark.end).map(|(one, other)| one.max(other));
        last.label = last.label.take().filter(|label| *label == mark.label);
    }
    merged
}

/// Which account.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    /// On which volume.
    pub storage: PathBuf,
    /// Of which camera.
    pub camera: String,
    /// Its first moment.
    pub from: Timestamp,
    /// Its end.
    pub until: Timestamp,
}

impl Wanted {
    /// Whether `account`, which is of this, has all that is `wanted`.
    fn holds(&self, account: &Account, wanted: &Self) -> bool {
        let is_within = self.from <= wanted.from && self.until >= wanted.until;
        let is_of_one = self.storage == wanted.storage && self.camera == wanted.camera;
        self == wanted || is_of_one && is_within && account.has_marks_since(wanted.from)
    }

    /// For how long the account is taken to be true.
    fn true_for(&self) -> Duration {
        let length = self.until.duration_since(self.from).unsigned_abs();
        (length / 500).clamp(TRUE_FOR, TRUE_FOR_AT_MOST)
    }
}

/// An account, and when it was made.
type KeptAccount = (Wanted, Mono, Arc<Account>);

/// Accounts that were given lately. All clones are one.
#[derive(Clone, Debug, Default)]
pub(super) struct KeptAccounts(Arc<Mutex<VecDeque<KeptAccount>>>);

impl KeptAccounts {
    /// The account, or one of a longer time that holds it, if it was made a short while before `now`: a closer look at a
    /// part of a month does not let the index be read again.
    pub(super) fn get(&self, wanted: &Wanted, now: Mono) -> Option<Arc<Account>> {
        let kept = self.0.lock();
        let is_true = |made: Mono| now.since(made) < wanted.true_for();
        let known = kept.iter().rev().find(|(of, made, account)| is_true(*made) && of.holds(account, wanted));
        known.map(|(.., account)| account.clone())
    }

    /// Keeps the account, and forgets the oldest where there are too many.
    pub(super) fn put(&self, wanted: Wanted, now: Mono, account: Arc<Account>) {
        let mut kept = self.0.lock();
        kept.retain(|(of, ..)| *of != wanted);
        kept.push_back((wanted, now, account));
        let rows = |account: &Account| account.intervals.len() + account.marks.len();
        let mut all: usize = kept.iter().map(|(.., account)| rows(account)).sum();
        while kept.len() > KEPT || all > KEPT_ROWS && kept.len() > 1 {
            let Some((.., gone)) = kept.pop_front() else { break };
            all -= rows(&gone);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(s: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + s).expect("a time")
    }

    fn interval(from: i64, until: i64, state: Coverage) -> Interval {
        let reason = (state == Coverage::Offline).then(|| "unplugged".to_owned());
        Interval { from: at(from), until: at(until), state, reason }
    }

    fn mark(n: u8, start: i64, end: Option<i64>, label: &str) -> Mark {
        let id = EventId::from_bytes([n; 16]);
        Mark { id, label: label.into(), rule: "r".into(), start: at(start), end: end.map(at) }
    }

    #[test]
    fn short_spans_are_merged_and_a_short_one_between_long_ones_stays() {
        use Coverage::{Offline, Recorded, Watched};
        let intervals = [
            interval(0, 1000, Recorded),
            interval(1000, 1005, Offline),
            interval(1005, 2000, Recorded),
            interval(2000, 2020, Watched),
            interval(2020, 2030, Recorded),
            interval(2030, 2050, Watched),
        ];
        let account = Account { intervals: intervals.to_vec(), ..Account::default() };
        let strip = account.strip(at(500), at(2040), SignedDuration::from_secs(60), |_, _| true);
        let said: Vec<_> = strip
            .spans
            .iter()
            .map(|span| (span.from.as_second() - 1_790_000_000, span.state, span.reason.as_deref(), span.also.clone()))
            .collect();
        let expected = [
            (500, Recorded, None, vec![]),
            (1000, Offline, Some("unplugged"), vec![]),
            (1005, Recorded, None, vec![]),
            (2000, Watched, None, vec![Recorded]),
        ];
        assert_eq!(said, expected);
        assert_eq!((strip.spans[0].until, strip.spans[3].until), (at(1000), at(2040)));
    }

    #[test]
    fn events_close_together_become_one_mark_that_counts_them() {
        let marks = vec![mark(1, 0, Some(5), "person"), mark(2, 30, Some(90), "person"), mark(3, 70, Some(80), "car")];
        let account = Account { marks, ..Account::default() };
        let strip = |seconds| account.strip(at(0), at(100), SignedDuration::from_secs(seconds), |_, _| true).events;
        let counts = |marks: &[StripMark]| marks.iter().map(|mark| mark.count).collect::<Vec<_>>();
        assert_eq!(counts(&strip(1)), [1, 1, 1]);
        let merged = strip(60);
        assert_eq!(
            (counts(&merged), merged[0].until, merged[0].label.as_deref()),
            (vec![2, 1], Some(at(90)), Some("person"))
        );
        assert_eq!((strip(100)[0].count, &strip(100)[0].label), (3, &None), "labels differ");
        let late = account.strip(at(0), at(100), SignedDuration::from_secs(1), |begun, _| begun >= at(60)).events;
        assert_eq!((late.len(), late[0].id), (1, EventId::from_bytes([3; 16])), "what may not be seen is not counted");
    }

    #[test]
    fn accounts_are_kept_for_a_while_and_bounded() {
        let kept = KeptAccounts::default();
        let wanted =
            |camera: usize| Wanted { storage: "/a".into(), camera: camera.to_string(), from: at(0), until: at(86_400) };
        (0..=KEPT).for_each(|camera| kept.put(wanted(camera), Mono(0), Arc::default()));
        assert!(kept.get(&wanted(0), Mono(0)).is_none() && kept.get(&wanted(1), Mono(0)).is_some());
        let later = Mono(0) + Duration::from_secs(200);
        assert!(kept.get(&wanted(1), later).is_none(), "it may be wrong by then");
        assert!(kept.get(&Wanted { storage: "/b".into(), ..wanted(1) }, Mono(0)).is_none(), "another volume");
    }

    #[test]
    fn a_part_of_a_kept_account_is_taken_from_it_where_it_has_all_events_of_that() {
        let day = 86_400;
        let wanted = |from: i64, until: i64| Wanted {
            storage: "/a".into(),
            camera: "yard".into(),
            from: at(from * day),
            until: at(until * day),
        };
        let kept = KeptAccounts::default();
        let marks = vec![mark(1, 10 * day, None, "person"), mark(2, 12 * day, None, "person")];
        let account = Account { marks, more_marks: true, is_known: true, ..Account::default() };
        kept.put(wanted(0, 31), Mono(0), Arc::new(account.clone()));
        let has = |from, until, later| kept.get(&wanted(from, until), Mono(0) + Duration::from_secs(later)).is_some();
        assert!(has(0, 31, 0) && has(10, 31, 0) && has(11, 12, 0));
        assert!(!has(9, 12, 0), "events of the ninth day may be left out");
        assert!(!has(11, 32, 0) && !has(-1, 3, 0), "not all of it is known");
        assert!(has(11, 12, 170) && !has(11, 12, 180) && has(0, 31, 590), "a short time is wanted fresh");
        let strip = |from: i64| account.strip(at(from), at(31 * day), SignedDuration::from_secs(1), |_, _| true);
        assert!(strip(0).more_events && !strip(11 * day).more_events);
    }

    proptest! {
        #[test]
        fn a_strip_has_no_gap_and_no_more_spans_than_the_resolution_allows(
            lengths in prop::collection::vec((1..400i64, 0..4usize), 1..80),
            resolution in 1..300i64,
        ) {
            let states = [Coverage::Recorded, Coverage::Offline, Coverage::Watched, Coverage::Shed];
            let mut from = 0;
            let intervals: Vec<Interval> = lengths.iter().map(|(length, state)| {
                let part = interval(from, from + length, states[*state]);
                from += length;
                part
            }).collect();
            let spans = merge(intervals.into_iter(), SignedDuration::from_secs(resolution));
            prop_assert_eq!(spans.first().map(|span| span.from), Some(at(0)));
            prop_assert_eq!(spans.last().map(|span| span.until), Some(at(from)));
            prop_assert!(spans.windows(2).all(|pair| pair[0].until == pair[1].from));
            prop_assert!(spans.len() as i64 <= 2 * (from / resolution) + 2);
        }
    }
}
