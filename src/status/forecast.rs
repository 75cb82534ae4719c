//! When the disk is full, or the quota, at the pace at which is recorded, and what follows then.

use std::time::Duration;

use serde::Serialize;

use super::wording::duration;
use crate::byte_size;

/// A pace is known after this time.
pub const MEASURED_FOR: Duration = Duration::from_secs(3600);
const DAY: f64 = 86_400.0;

/// Whether the disk fills up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ForecastState {
    /// Too little is known.
    #[default]
    Unknown,
    /// It does, at the present pace.
    Fills,
    /// It does not: what is kept for its time takes less than there is.
    Holds,
    /// It is full: old recordings go as new ones come.
    Full,
}

/// What is full first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// The volume, but for what is kept free on it.
    Disk,
    /// The quota of recordings.
    Quota,
}

/// When it is full, at the present pace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// Whether it fills up.
    pub state: ForecastState,
    /// What is full first; absent where nothing will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// Seconds until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_s: Option<u64>,
    /// Seconds of recordings that there is room for, at this pace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keeps_s: Option<u64>,
    /// Bytes that are recorded in a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_per_day: Option<u64>,
    /// Over how many seconds that was measured, a day at most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured_s: Option<u64>,
    /// All of it in one sentence, without full stop; empty where nothing is known.
    pub text: String,
}

/// Recordings of one class.
#[derive(Clone, Copy, Debug, Default)]
pub struct Kind {
    /// Bytes that are there.
    pub held: u64,
    /// Bytes that came while it was measured.
    pub written: u64,
    /// How old they may become, where that is limited.
    pub age: Option<Duration>,
}

/// What a forecast is made of.
#[derive(Clone, Debug)]
pub struct Facts {
    /// The recordings.
    pub kinds: Vec<Kind>,
    /// Over what time their pace was measured.
    pub measured: Duration,
    /// Bytes that are left, and of what; `None` where that is not known.
    pub left: Option<(u64, Limit)>,
    /// Whether recordings are delivered anywhere.
    pub delivers: bool,
}

impl Forecast {
    /// The forecast by these facts.
    #[expect(clippy::cast_precision_loss, reason = "an estimate needs no exact bytes")]
    pub fn of(facts: &Facts) -> Self {
        let Some((left, limit)) = facts.left.filter(|_| facts.measured >= MEASURED_FOR) else {
            return Self::default();
        };
        let days = facts.measured.as_secs_f64() / DAY;
        let per_day = facts.kinds.iter().map(|kind| kind.written).sum::<u64>() as f64 / days;
        let held: u64 = facts.kinds.iter().map(|kind| kind.held).sum();
        let (bytes_per_day, measured_s) = (whole(per_day), facts.measured.as_secs());
        let base = Self { bytes_per_day: Some(bytes_per_day), measured_s: Some(measured_s), ..Self::default() };
        let pace =
            format!("at the pace of the last {} ({} a day)", duration(measured_s), byte_size::text(bytes_per_day));
        let full_after = full_after(facts, left as f64, days);
        let Some(in_s) = full_after.filter(|_| bytes_per_day > 0) else {
            let text = format!("the disk does not fill up {pace}");
            return Self { state: ForecastState::Holds, text, ..base };
        };
        let keeps_s = whole((held + left) as f64 / per_day * DAY);
        let order = if facts.delivers { ", delivered ones first" } else { "" };
        let what = match limit {
            Limit::Disk => "the disk",
            Limit::Quota => "the quota",
        };
        let keeps = duration(keeps_s);
        let (state, text) = if left == 0 {
            let text =
                format!("{what} is full: the oldest recordings go as new ones come{order}; about {keeps} fit {pace}");
            (ForecastState::Full, text)
        } else {
            let full = duration(in_s);
            let then = format!("then the oldest recordings go{order}, and about {keeps} stay");
            (ForecastState::Fills, format!("{what} is full in about {full} {pace}; {then}"))
        };
        Self { state, limit: Some(limit), in_s: Some(in_s), keeps_s: Some(keeps_s), text, ..base }
    }
}

/// Seconds until `left` bytes are taken. A class with an age grows until its oldest recordings are as old.
#[expect(clippy::cast_precision_loss, reason = "an estimate needs no exact bytes")]
fn full_after(facts: &Facts, left: f64, days: f64) -> Option<u64> {
    let growing = facts.kinds.iter().filter(|kind| kind.written > 0).map(|kind| {
        let per_day = kind.written as f64 / days;
        let most = kind.age.map_or(f64::INFINITY, |age| per_day * age.as_secs_f64() / DAY - kind.held as f64);
        (per_day, (most / per_day).max(0.0))
    });
    let mut growing: Vec<(f64, f64)> = growing.collect();
    growing.sort_by(|one, other| one.1.total_cmp(&other.1));
    let (mut now, mut left) = (0.0, left);
    while let Some(&(_, until)) = growing.first() {
        let pace: f64 = growing.iter().map(|(per_day, _)| per_day).sum();
        let grown = pace * (until - now);
        if grown >= left {
            return Some(whole((now + left / pace) * DAY));
        }
        (left, now) = (left - grown, until);
        growing.remove(0);
    }
    None
}

/// Without the fraction; as large as it can be where it is larger.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a cast saturates")]
fn whole(value: f64) -> u64 {
    value.max(0.0) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;
    const HOUR: Duration = Duration::from_secs(3600);

    fn facts(written: u64, held: u64, age: Option<u64>, left: u64) -> Facts {
        let age = age.map(|days| days as u32 * 24 * HOUR);
        let kinds = vec![Kind { held, written, age }];
        Facts { kinds, measured: 24 * HOUR, left: Some((left, Limit::Disk)), delivers: true }
    }

    #[test]
    fn a_disk_is_full_when_what_is_left_is_taken() {
        let forecast = Forecast::of(&facts(10 * GB, 40 * GB, None, 90 * GB));
        assert_eq!(
            (forecast.state, forecast.in_s, forecast.keeps_s),
            (ForecastState::Fills, Some(777_600), Some(1_123_200))
        );
        assert_eq!(
            forecast.text,
            "the disk is full in about 9 days at the pace of the last 24 h (10.0 GB a day); then the oldest recordings go, \
             delivered ones first, and about 13 days stay"
        );
        let quota = Facts { left: Some((90 * GB, Limit::Quota)), delivers: false, ..facts(10 * GB, 0, None, 0) };
        let text = Forecast::of(&quota).text;
        assert!(
            text.starts_with("the quota is full in about 9 days") && text.contains("go, and about 9 days"),
            "{text}"
        );
    }

    #[test]
    fn nothing_is_said_before_the_pace_is_known() {
        let young = Facts { measured: Duration::from_secs(3599), ..facts(GB, 0, None, 9 * GB) };
        assert_eq!(Forecast::of(&young), Forecast::default());
        let boundless = Facts { left: None, ..facts(GB, 0, None, 0) };
        assert_eq!(Forecast::of(&boundless), Forecast::default());
    }

    #[test]
    fn what_is_kept_for_its_time_may_never_fill_a_disk() {
        // 10 GB a day for 7 days are 70 GB, of which 40 are there: 30 more come.
        let state = |left| Forecast::of(&facts(10 * GB, 40 * GB, Some(7), left)).state;
        assert_eq!((state(31 * GB), state(29 * GB)), (ForecastState::Holds, ForecastState::Fills));
        assert_eq!(Forecast::of(&facts(0, 40 * GB, None, GB)).state, ForecastState::Holds);
        let mut two = facts(10 * GB, 70 * GB, Some(7), 12 * GB);
        two.kinds.push(Kind { held: 0, written: GB, age: None });
        let forecast = Forecast::of(&two);
        assert_eq!((forecast.state, forecast.in_s), (ForecastState::Fills, Some(12 * 86_400)), "the clips alone grow");
    }

    #[test]
    fn a_full_disk_says_what_it_keeps() {
        let forecast = Forecast::of(&facts(10 * GB, 40 * GB, None, 0));
        assert_eq!((forecast.state, forecast.in_s, forecast.keeps_s), (ForecastState::Full, Some(0), Some(345_600)));
        let said =
            "the disk is full: the oldest recordings go as new ones come, delivered ones first; about 4 days fit";
        assert!(forecast.text.starts_with(said), "{}", forecast.text);
    }
}
