//! Bytes that may be sent in an hour, a day and a month.
//!
//! A byte is spent before it is sent, and what was spent is on the disk before that: so no restart and no power cut
//! makes more of a budget. What a crash leaves of the last step is lost to its period.
//!
//! Periods follow the wall clock, and a clock that is set back ends none. Only where the end of a period is not known, or the
//! clock is none, it ends when the box has run for its length.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan, Unit, Zoned};
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::clock::{Clock, Mono, TimeQuality};
use crate::durable;

/// Written ahead at a time, at most, in bytes.
const STEP: u64 = 1 << 20;
/// Of a hundred bytes so many are kept for what is small and important.
const KEPT: u64 = 10;

/// Who uses a budget.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// What is small and important: to the last byte.
    Important,
    /// All else: nine tenths.
    Rest,
}

/// Budgets in bytes; none: unlimited.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// In an hour.
    pub hour: Option<u64>,
    /// In a day.
    pub day: Option<u64>,
    /// In a month.
    pub month: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// By the clock.
    Hour,
    /// By the calendar of the local zone.
    Day,
    /// The same.
    Month,
}

impl Period {
    fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
            Self::Month => "month",
        }
    }

    /// Its longest length, for boxes without a clock.
    fn length(self) -> Duration {
        Duration::from_secs(match self {
            Self::Hour => 3600,
            // Where the clock goes back an hour on it, at the end of summer time.
            Self::Day => 25 * 3600,
            Self::Month => 31 * 24 * 3600 + 3600,
        })
    }

    /// When the period that holds `now` ends, on the calendar of `zone`.
    fn end(self, now: Timestamp, zone: &TimeZone) -> Option<Timestamp> {
        let now = now.to_zoned(zone.clone());
        let (begin, span) = match self {
            Self::Hour => (floor(&now, Unit::Hour)?, 1.hour()),
            Self::Day => (now.start_of_day().ok()?, 1.day()),
            Self::Month => (now.first_of_month().ok()?.start_of_day().ok()?, 1.month()),
        };
        Some(begin.checked_add(span).ok()?.timestamp())
    }
}

fn floor(now: &Zoned, unit: Unit) -> Option<Zoned> {
    now.round(jiff::ZonedRound::new().smallest(unit).mode(jiff::RoundMode::Trunc)).ok()
}

/// One period as it is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Spent {
    period: Period,
    /// When it ends, by a clock that was plausible.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    bytes: u64,
}

/// What is on the disk: never less than what was sent.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Ledger {
    spent: Vec<Spent>,
}

/// The budgets of one destination.
#[derive(Debug)]
pub struct Budget {
    accounts: Vec<Account>,
    file: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    /// Gives the zone by whose calendar days and months end.
    zone: fn() -> TimeZone,
}

#[derive(Debug)]
struct Account {
    limit: u64,
    spent: Spent,
    /// What the disk says was spent.
    noted: u64,
    /// On the boot clock: when this run first used the period.
    since: Mono,
}

/// Why something cannot be sent now.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the budget of this {} is spent ({limit} bytes)", .period.as_str())]
pub struct Exhausted {
    /// Whose budget.
    pub period: Period,
    /// How much it is, bytes.
    pub limit: u64,
}

impl Budget {
    /// `file` keeps what was spent. One that cannot be read starts again.
    pub fn open(limits: Limits, file: Option<PathBuf>, clock: Arc<dyn Clock>, zone: fn() -> TimeZone) -> Self {
        let read = file.as_ref().and_then(|file| match std::fs::read(file) {
            Ok(json) => serde_json::from_slice::<Ledger>(&json)
                .inspect_err(|error| warn!(file = %file.display(), %error, "what was sent so far cannot be read"))
                .ok(),
            Err(_) => None,
        });
        let ledger = read.unwrap_or_default();
        let limits = [(Period::Hour, limits.hour), (Period::Day, limits.day), (Period::Month, limits.month)];
        let accounts = limits.into_iter().filter_map(|(period, limit)| {
            let known = ledger.spent.iter().find(|spent| spent.period == period).copied();
            let spent = known.unwrap_or(Spent { period, until: None, bytes: 0 });
            Some(Account { limit: limit?, spent, noted: spent.bytes, since: clock.mono() })
        });
        Self { accounts: accounts.collect(), file, clock, zone }
    }

    /// Who may send.
    ///
    /// # Errors
    /// When nothing may.
    pub fn allows(&mut self) -> Result<Share, Exhausted> {
        self.turn();
        let mut share = Share::Rest;
        for account in &self.accounts {
            match account {
                account if account.spent.bytes >= account.limit => {
                    return Err(Exhausted { period: account.spent.period, limit: account.limit });
                }
                account if account.spent.bytes >= account.share(Share::Rest) => share = Share::Important,
                _ => {}
            }
        }
        Ok(share)
    }

    /// Whether `bytes` are left for `share`.
    ///
    /// # Errors
    /// When a period has less left.
    pub fn affords(&mut self, share: Share, bytes: u64) -> Result<(), Exhausted> {
        self.turn();
        let short = |account: &&Account| account.spent.bytes.saturating_add(bytes) > account.share(share);
        match self.accounts.iter().find(short) {
            Some(account) => Err(Exhausted { period: account.spent.period, limit: account.limit }),
            None => Ok(()),
        }
    }

    /// Spends `bytes` for `share`: all or nothing. Blocks on the disk now and then.
    ///
    /// # Errors
    /// When a period has less left.
    pub fn spend(&mut self, share: Share, bytes: u64) -> Result<(), Exhausted> {
        self.affords(share, bytes)?;
        for account in &mut self.accounts {
            account.spent.bytes = account.spent.bytes.saturating_add(bytes);
        }
        self.note();
        Ok(())
    }

    /// Gives back what was spent and not sent.
    pub fn refund(&mut self, bytes: u64) {
        for account in &mut self.accounts {
            account.spent.bytes = account.spent.bytes.saturating_sub(bytes);
        }
    }

    /// How long until a period ends, at most: the next look is due then.
    pub fn ends_in(&self) -> Option<Duration> {
        let now = self.clock.wall();
        let ends = self.accounts.iter().filter_map(|account| account.spent.until);
        ends.map(|until| Duration::try_from(until.duration_since(now)).unwrap_or_default()).min()
    }

    /// Begins new periods.
    fn turn(&mut self) {
        let (now, mono, quality) = (self.clock.wall(), self.clock.mono(), self.clock.quality());
        let mut turned = false;
        for account in &mut self.accounts {
            let plausible = quality != TimeQuality::Implausible;
            // Where the clock says when it ends, that counts alone: it may be longer by the calendar, or the clock set back.
            let has_run = mono.since(account.since) >= account.spent.period.length();
            let over_by_run = has_run && (account.spent.until.is_none() || !plausible);
            let over_by_clock = account.spent.until.is_some_and(|until| plausible && now >= until);
            if over_by_run || over_by_clock {
                (account.spent.bytes, account.spent.until, account.since) = (0, None, mono);
                turned = true;
            }
            let ends = account.spent.period.end(now, &(self.zone)());
            // Much further away than a period is long: the clock was ahead and was set back. A small step back, which may
            // be followed by one ahead, must not make two periods of one.
            let far = account.spent.period.length() * 2;
            let unknown = account.spent.until.is_none_or(|until| until.duration_since(now).unsigned_abs() > far);
            if unknown && plausible {
                if account.spent.until.is_none() {
                    // From its first use, or a period that began while nothing was sent would end too early.
                    account.since = mono;
                }
                account.spent.until = ends;
                turned = true;
            }
        }
        if turned {
            self.note_now();
        }
    }

    fn note(&mut self) {
        if self.accounts.iter().any(|account| account.spent.bytes > account.noted) {
            self.note_now();
        }
    }

    fn note_now(&mut self) {
        for account in &mut self.accounts {
            let step = STEP.min(account.limit / 100);
            account.noted = account.spent.bytes.saturating_add(step).min(account.limit.max(account.spent.bytes));
        }
        let Some(file) = &self.file else { return };
        let spent = self.accounts.iter().map(|account| Spent { bytes: account.noted, ..account.spent }).collect();
        let folder = file.parent().map_or(Ok(()), std::fs::create_dir_all);
        let json = serde_json::to_vec(&Ledger { spent }).map_err(std::io::Error::from);
        if let Err(error) = folder.and(json).and_then(|json| durable::replace(file, &json)) {
            warn!(file = %file.display(), %error, "what was sent cannot be noted, a restart forgets it");
        }
    }
}

impl Account {
    /// How much of it `share` may use in all.
    fn share(&self, share: Share) -> u64 {
        if share == Share::Important { self.limit } else { self.limit - self.limit.saturating_mul(KEPT) / 100 }
    }
}
