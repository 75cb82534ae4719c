//! Which items of a queue a command is about, and the question before they are dropped.

use std::io::{BufRead, IsTerminal};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use jiff::civil::{Date, DateTime};
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use super::output::print;
use crate::store::{ItemKind, QueueState, Selection};

#[derive(Debug, Args)]
#[group(id = "which", required = true, multiple = true)]
pub(super) struct Select {
    /// Numbers of items, and ranges of them: 17 20-35. Options narrow them down.
    #[arg(value_name = "SEQ|FIRST-LAST", value_parser = range)]
    numbers: Vec<(u64, u64)>,
    /// All that were given up.
    #[arg(long, conflicts_with = "waiting")]
    all_dead: bool,
    /// All that wait.
    #[arg(long)]
    waiting: bool,
    /// Those of one camera.
    #[arg(long, value_name = "NAME")]
    camera: Option<String>,
    /// Those of one kind.
    #[arg(long, value_enum)]
    kind: Option<Kind>,
    /// Those that were recorded before: 2026-11-20, 2026-11-20T08:30 (local time), 2026-11-20T08:30:00Z; or that are
    /// older than: 3d, 12h, 90m.
    #[arg(long, value_name = "DATE|AGE", value_parser = before)]
    before: Option<Timestamp>,
}

/// What an item delivers.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// Messages.
    Alert,
    /// `event.json`.
    Event,
    /// Clips.
    Clip,
    /// Still pictures.
    Picture,
    /// Accounts of days, tables.
    Document,
}

impl Select {
    /// In the form in which the daemon takes it.
    pub(super) fn selection(&self) -> Selection {
        let state = match (self.all_dead, self.waiting) {
            (true, _) => Some(QueueState::Dead),
            (_, true) => Some(QueueState::Waiting),
            _ => None,
        };
        let kind = self.kind.map(|kind| match kind {
            Kind::Alert => ItemKind::Alert,
            Kind::Event => ItemKind::Event,
            Kind::Clip => ItemKind::Clip,
            Kind::Picture => ItemKind::Picture,
            Kind::Document => ItemKind::Document,
        });
        let (numbers, camera) = (self.numbers.clone(), self.camera.clone());
        Selection { numbers, state, camera, kind, events: Vec::new(), before: self.before }
    }

    /// The number, where it is about that one item alone.
    pub(super) fn only(&self) -> Option<u64> {
        match (self.numbers.as_slice(), self.selection()) {
            ([(first, last)], selection) if first == last && selection == Selection::number(*first) => Some(*first),
            _ => None,
        }
    }
}

/// `17` or `20-35`.
fn range(text: &str) -> Result<(u64, u64), String> {
    let number = |text: &str| text.trim().parse::<u64>().map_err(|_| format!("{text:?} is no number of an item"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (number(first)?, number(last)?);
    if first > last { Err(format!("{first} is above {last}")) } else { Ok((first, last)) }
}

fn before(text: &str) -> Result<Timestamp, String> {
    moment(text, Timestamp::now(), &crate::zone::local())
}

/// A date, a time, or an age.
fn moment(text: &str, now: Timestamp, zone: &TimeZone) -> Result<Timestamp, String> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(instant);
    }
    let local = text.parse::<DateTime>().or_else(|_| text.parse::<Date>().map(|day| day.at(0, 0, 0, 0)));
    if let Ok(local) = local {
        let zoned = local.to_zoned(zone.clone()).map_err(|error| format!("{text:?} is no time here: {error}"))?;
        return Ok(zoned.timestamp());
    }
    let wrong = || format!("{text:?} is neither a date (2026-11-20, 2026-11-20T08:30) nor an age (3d, 12h, 90m)");
    let age: Span = text.parse().map_err(|_| wrong())?;
    if age.is_zero() || age.is_negative() {
        return Err(wrong());
    }
    now.to_zoned(zone.clone()).checked_sub(age).map(|then| then.timestamp()).map_err(|_| wrong())
}

/// Asks before something is dropped that `what` describes. Returns whether it may be.
///
/// # Errors
/// Where no one can be asked, since input or output is no terminal.
pub(super) fn confirm(what: &str) -> Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() || !std::io::stdout().is_terminal() {
        bail!("{what} would be dropped; there is no terminal to ask on: add --yes to drop, or --dry-run to look");
    }
    print(&format!("{what} will be dropped, and not delivered any more. Go on? [y/N] "))?;
    is_yes(&mut input.lock())
}

fn is_yes(input: &mut impl BufRead) -> Result<bool> {
    let mut line = String::new();
    input.read_line(&mut line).context("read the answer")?;
    Ok(matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_ranges_are_reported_from_nonsense() {
        assert_eq!((range("17"), range("20-35")), (Ok((17, 17)), Ok((20, 35))));
        for wrong in ["", "x", "5-", "-5", "9-3", "1-2-3"] {
            assert!(range(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_dates_of_here_or_ages() {
        let now: Timestamp = "2026-11-28T12:00:00Z".parse().expect("a time");
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let at = |text: &str| moment(text, now, &zone).map(|time| time.to_string());
        for (text, expected) in [
            ("2026-11-20", "2026-11-19T22:00:00Z"),
            ("2026-11-20T08:30", "2026-11-20T06:30:00Z"),
            ("2026-11-20T08:30:00Z", "2026-11-20T08:30:00Z"),
            ("3d", "2026-11-25T12:00:00Z"),
            ("12h", "2026-11-28T00:00:00Z"),
            ("90m", "2026-11-28T10:30:00Z"),
        ] {
            assert_eq!(at(text).as_deref(), Ok(expected), "{text}");
        }
        for wrong in ["", "yesterday", "-3d", "0s", "20"] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn only_a_clear_yes_is_one() {
        for (said, expected) in [("y\n", true), ("Yes\n", true), ("n\n", false), ("\n", false), ("", false)] {
            assert_eq!(is_yes(&mut said.as_bytes()).expect("read"), expected, "{said:?}");
        }
    }
}
