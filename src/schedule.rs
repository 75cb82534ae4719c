//! When something is in force: days of the week and times of day, local time.
//!
//! A schedule is a list of windows such as `"mon-fri 08:00-18:00"`, `"sat,sun"`, `"22:00-06:00"` or
//! `"always"`; it is active when any of them is. Days left out mean every day, times left out mean the
//! whole day. A window over midnight belongs to the day on which it begins: `"fri 22:00-06:00"` ends on
//! Saturday morning. The wall clock decides, so a night in which the clocks change is an hour shorter or longer.

use std::fmt;
use std::str::FromStr;

use jiff::civil::DateTime;
use serde::{Deserialize, Serialize};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const LONG_DAYS: [&str; 7] = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
const EVERY_DAY: u8 = 0b111_1111;
const DAY_END: u16 = 24 * 60;

/// Windows of time, united. Empty means always.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Schedule {
    windows: Vec<Window>,
}

/// A text that is no window of time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "schedule {text:?}: {reason}, write for example \"mon-fri 08:00-18:00\", \"sat,sun\", \"22:00-06:00\" or \"always\""
)]
pub struct ScheduleError {
    text: String,
    reason: String,
}

impl Schedule {
    /// Whether it is in force at the local time `local`. A window's first minute belongs to it, its end does not.
    pub fn is_active(&self, local: DateTime) -> bool {
        self.windows.is_empty() || self.windows.iter().any(|w| w.contains(local))
    }

    /// Whether it is in force at any time.
    pub fn is_always(&self) -> bool {
        self.windows.is_empty() || self.windows.contains(&Window::ALWAYS)
    }

    /// Unites the windows that the texts describe.
    ///
    /// # Errors
    /// Names the first text that cannot be read, and the reason.
    pub fn parse<S: AsRef<str>>(texts: &[S]) -> Result<Self, ScheduleError> {
        let windows = texts.iter().map(|text| text.as_ref().parse()).collect::<Result<_, _>>()?;
        Ok(Self { windows })
    }
}

impl TryFrom<Vec<String>> for Schedule {
    type Error = ScheduleError;
    fn try_from(texts: Vec<String>) -> Result<Self, ScheduleError> {
        Self::parse(&texts)
    }
}

impl From<Schedule> for Vec<String> {
    fn from(schedule: Schedule) -> Self {
        schedule.windows.iter().map(Window::to_string).collect()
    }
}

/// Minutes `from..to` of the day on each of `days` (bit 0 is Monday); `to <= from` runs over midnight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Window {
    days: u8,
    from: u16,
    to: u16,
}

impl Window {
    const ALWAYS: Window = Window { days: EVERY_DAY, from: 0, to: DAY_END };

    fn contains(&self, local: DateTime) -> bool {
        let today = local.weekday().to_monday_zero_offset();
        let begins_on = |day: i8| self.days & (1 << day.rem_euclid(7)) != 0;
        let minute = u16::try_from(local.hour()).unwrap_or(0) * 60 + u16::try_from(local.minute()).unwrap_or(0);
        if self.from < self.to {
            begins_on(today) && (self.from..self.to).contains(&minute)
        } else {
            begins_on(today) && minute >= self.from || begins_on(today - 1) && minute < self.to
        }
    }
}

impl FromStr for Window {
    type Err = ScheduleError;

    fn from_str(text: &str) -> Result<Self, ScheduleError> {
        let failed = |reason: String| ScheduleError { text: text.to_owned(), reason };
        let tidy = tidied(text);
        let mut words = tidy.split(' ').filter(|word| !word.is_empty());
        let Some(first) = words.next() else { return Err(failed("it is empty".to_owned())) };
        let is_times = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
        let (days, times) = match (words.next(), is_times(first)) {
            (None, _) if first == "always" => return Ok(Self::ALWAYS),
            (None, true) => (None, Some(first)),
            (times, false) => (Some(first), times),
            (Some(_), true) => return Err(failed("days come before times".to_owned())),
        };
        if let Some(extra) = words.next() {
            return Err(failed(format!("{extra:?} is one word too many (use a list for several windows)")));
        }
        let days = days.map_or(Ok(EVERY_DAY), parse_days).map_err(failed)?;
        let (from, to) = times.map_or(Ok((0, DAY_END)), parse_times).map_err(failed)?;
        Ok(Self { days, from, to })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole_day = (self.from, self.to) == (0, DAY_END);
        if self.days == EVERY_DAY && whole_day {
            return f.write_str("always");
        }
        if self.days != EVERY_DAY {
            f.write_str(&day_list(self.days))?;
            f.write_str(if whole_day { "" } else { " " })?;
        }
        if whole_day {
            return Ok(());
        }
        let (from, to) = (self.from, self.to);
        write!(f, "{:02}:{:02}-{:02}:{:02}", from / 60, from % 60, to / 60, to % 60)
    }
}

/// Lower case, single spaces, none around `-` and `,`.
fn tidied(text: &str) -> String {
    let mut out = text.split_whitespace().collect::<Vec<_>>().join(" ").to_lowercase();
    for mark in ["-", ","] {
        out = out.split(mark).map(str::trim).collect::<Vec<_>>().join(mark);
    }
    out
}

fn parse_days(text: &str) -> Result<u8, String> {
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (parse_day(first)?, parse_day(last)?);
        // "sat-mon" goes on over the end of the week.
        days |= 1 << day;
        while day != last {
            day = (day + 1) % 7;
            days |= 1 << day;
        }
    }
    Ok(days)
}

fn parse_day(text: &str) -> Result<usize, String> {
    (0..7)
        .find(|&day| DAYS[day] == text || LONG_DAYS[day] == text)
        .ok_or_else(|| format!("{text:?} is not a day (one of {})", DAYS.join(", ")))
}

fn parse_times(text: &str) -> Result<(u16, u16), String> {
    let (from, to) = text.split_once('-').ok_or_else(|| format!("{text:?} is not a span of time (from-to)"))?;
    let (from, to) = (parse_time(from)?, parse_time(to)?);
    if from == DAY_END {
        return Err("24:00 is an end, begin at 00:00".to_owned());
    }
    if from == to {
        return Err(format!("{text:?} begins when it ends (leave the times out for a whole day)"));
    }
    // "22:00-00:00" ends with the day that it begins on.
    Ok((from, if to == 0 { DAY_END } else { to }))
}

fn parse_time(text: &str) -> Result<u16, String> {
    let failed = || format!("{text:?} is not a time of day (00:00 to 24:00)");
    let (hour, minute) = text.split_once(':').ok_or_else(failed)?;
    let number = |digits: &str, lengths: std::ops::RangeInclusive<usize>| {
        let plain = lengths.contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse::<u16>().ok()).flatten().ok_or_else(failed)
    };
    let (hour, minute) = (number(hour, 1..=2)?, number(minute, 2..=2)?);
    let total = hour * 60 + minute;
    if minute > 59 || total > DAY_END { Err(failed()) } else { Ok(total) }
}

/// `mon-wed,sat`: runs of three and more are written as a range.
fn day_list(days: u8) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut day = 0;
    while day < 7 {
        let run = (day..7).take_while(|d| days & (1 << d) != 0).count();
        match run {
            0 => {}
            1 | 2 => parts.extend(DAYS[day..day + run].iter().map(|d| (*d).to_owned())),
            _ => parts.push(format!("{}-{}", DAYS[day], DAYS[day + run - 1])),
        }
        day += run.max(1);
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;
    use proptest::prelude::*;

    /// 2026-06-01 is a Monday.
    fn at(day: usize, hour: i8, minute: i8) -> DateTime {
        date(2026, 6, 1 + i8::try_from(day).expect("small")).at(hour, minute, 30, 0)
    }

    #[test]
    fn windows_hold_when_they_say() {
        type Case = (&'static [&'static str], (usize, i8, i8), bool);
        let cases: &[Case] = &[
            (&[], (3, 4, 5), true),
            (&["always"], (6, 23, 59), true),
            (&["mon-fri 08:00-18:00"], (0, 8, 0), true),
            (&["mon-fri 08:00-18:00"], (0, 7, 59), false),
            (&["mon-fri 08:00-18:00"], (4, 17, 59), true),
            (&["mon-fri 08:00-18:00"], (4, 18, 0), false),
            (&["mon-fri 08:00-18:00"], (5, 12, 0), false),
            (&["sat,sun 22:00-06:00"], (5, 22, 0), true),
            (&["sat,sun 22:00-06:00"], (5, 3, 0), false),
            (&["sat,sun 22:00-06:00"], (6, 3, 0), true),
            (&["sat,sun 22:00-06:00"], (0, 5, 59), true),
            (&["sat,sun 22:00-06:00"], (0, 6, 0), false),
            (&["sat,sun 22:00-06:00"], (0, 22, 0), false),
            (&["22:00-06:00"], (2, 0, 0), true),
            (&["sat-mon"], (0, 12, 0), true),
            (&["sat-mon"], (1, 0, 0), false),
            (&["20:00-24:00"], (1, 23, 59), true),
            (&["mon 20:00-00:00"], (1, 0, 0), false),
            (&["Mon , TUESDAY 8:00 - 9:30"], (1, 9, 29), true),
            (&["mon 08:00-09:00", "wed"], (2, 0, 0), true),
            (&["mon 08:00-09:00", "wed"], (3, 0, 0), false),
        ];
        for (texts, (day, hour, minute), expected) in cases {
            let schedule = Schedule::parse(texts).expect("valid");
            assert_eq!(schedule.is_active(at(*day, *hour, *minute)), *expected, "{texts:?} {day} {hour}:{minute}");
        }
    }

    #[test]
    fn texts_that_mean_nothing_are_refused_with_the_reason() {
        let cases = [
            ("", "it is empty"),
            ("mon-fry", "\"fry\" is not a day (one of mon, tue, wed, thu, fri, sat, sun)"),
            ("mon-fri 8-18", "\"8\" is not a time of day"),
            ("08:00", "\"08:00\" is not a span of time"),
            ("08:00-08:00", "begins when it ends"),
            ("24:00-08:00", "24:00 is an end"),
            ("mon 08:60-09:00", "\"08:60\" is not a time"),
            ("mon 24:01-09:00", "\"24:01\" is not a time"),
            ("mon 08:00-+9:00", "\"+9:00\" is not a time"),
            ("mon tue", "\"tue\" is not a span"),
            ("08:00-09:00 mon", "days come before times"),
            ("mon 08:00-09:00 10:00-11:00", "one word too many"),
            ("mon,,tue", "\"\" is not a day"),
        ];
        for (text, reason) in cases {
            let error = Schedule::parse(&[text]).expect_err(text).to_string();
            assert!(error.contains(reason), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_schedule_is_a_list_of_strings_in_the_config() {
        let schedule: Schedule =
            serde_json::from_str(r#"["Mon-Wed, sat 8:00 - 18:00", "sun", "0:00-24:00"]"#).expect("valid");
        assert_eq!(serde_json::to_string(&schedule).expect("json"), r#"["mon-wed,sat 08:00-18:00","sun","always"]"#);
        assert!(schedule.is_always() && Schedule::default().is_always());
        let error = serde_json::from_str::<Schedule>(r#"["often"]"#).expect_err("no day").to_string();
        assert!(error.contains("schedule \"often\""), "{error}");
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back_the_same(days in 1u8..128, from in 0u16..1440, to in 1u16..=1440) {
            prop_assume!(from != to);
            let window = Window { days, from, to };
            prop_assert_eq!(window.to_string().parse::<Window>(), Ok(window));
        }

        #[test]
        fn a_window_and_the_rest_of_its_day_make_up_the_whole_day(from in 0u16..1440, to in 1u16..1440, minute in 0i16..1440) {
            prop_assume!(from != to);
            let local = at(3, i8::try_from(minute / 60).expect("hour"), i8::try_from(minute % 60).expect("minute"));
            let one = Window { days: EVERY_DAY, from, to };
            let other = Window { days: EVERY_DAY, from: to, to: from };
            prop_assert!(one.contains(local) != other.contains(local));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,30}") {
            let _ = Schedule::parse(&[text]);
        }
    }
}
