//! How often passwords may be tried.
//!
//! Failures are counted for an account from one address, for one address, and for an account from all addresses that
//! never logged in there. Each counter makes its own wait longer; none ends for ever, and an address from which a user
//! logged in before is not held up by what others try on that account. So guessing is slow, and a stranger cannot keep a
//! user out. Times are those of the boot clock.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use crate::clock::Mono;

/// Failures that cost nothing: people mistype.
const FREE: u32 = 5;
/// The wait after the first that costs something; it doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(5);
/// The longest wait.
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);
/// What one address may fail at on all accounts, and one account from all strangers, before they wait.
const FREE_IN_ALL: u32 = 20;
/// Without a failure for this long a counter begins again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60 * 60);
/// Counters in memory at most; the oldest go first.
const MOST_COUNTERS: usize = 10_000;

/// Too many failures: when the next try is heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locked {
    /// The wait from now on.
    pub wait: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Counted {
    Pair(String, IpAddr),
    Address(IpAddr),
    Account(String),
}

impl Counted {
    fn free(&self) -> u32 {
        match self {
            Self::Pair(..) => FREE,
            Self::Address(_) | Self::Account(_) => FREE_IN_ALL,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Counter {
    failures: u32,
    last: Mono,
}

/// Failed logins.
#[derive(Debug, Default)]
pub(super) struct Limits {
    counters: HashMap<Counted, Counter>,
}

impl Limits {
    /// Whether a try on `account` from `address` is heard. `is_known`: its user logged in from there before.
    pub(super) fn admit(&self, account: &str, address: IpAddr, is_known: bool, now: Mono) -> Result<(), Locked> {
        let counted = counted(account, address, is_known);
        let waits = counted.iter().filter_map(|of| self.counters.get(of).map(|counter| counter.wait(of.free(), now)));
        match waits.max() {
            Some(wait) if !wait.is_zero() => Err(Locked { wait }),
            _ => Ok(()),
        }
    }

    /// Notes that a try failed.
    pub(super) fn failed(&mut self, account: &str, address: IpAddr, is_known: bool, now: Mono) {
        for of in counted(account, address, is_known) {
            let counter = self.counters.entry(of).or_insert(Counter { failures: 0, last: now });
            if now.since(counter.last) > FORGOTTEN_AFTER {
                counter.failures = 0;
            }
            *counter = Counter { failures: counter.failures.saturating_add(1), last: now };
        }
        if self.counters.len() > MOST_COUNTERS {
            self.counters.retain(|_, counter| now.since(counter.last) <= FORGOTTEN_AFTER);
            let mut ages: Vec<Mono> = self.counters.values().map(|counter| counter.last).collect();
            ages.sort_unstable();
            let oldest_kept = ages.len().checked_sub(MOST_COUNTERS / 2).and_then(|at| ages.get(at).copied());
            self.counters.retain(|_, counter| oldest_kept.is_none_or(|oldest| counter.last >= oldest));
        }
    }

    /// Notes that a try succeeded. The address's counter stays: it may try other accounts.
    pub(super) fn succeeded(&mut self, account: &str, address: IpAddr) {
        self.counters.remove(&Counted::Pair(account.to_owned(), prefix(address)));
    }

    /// Forgets what was counted for `account`.
    pub(super) fn unlock(&mut self, account: &str) {
        self.counters.retain(|of, _| match of {
            Counted::Pair(name, _) | Counted::Account(name) => name != account,
            Counted::Address(_) => true,
        });
    }
}

impl Counter {
    fn wait(self, free: u32, now: Mono) -> Duration {
        let Some(over) = self.failures.checked_sub(free) else { return Duration::ZERO };
        let wait = FIRST_WAIT.saturating_mul(1 << over.min(16)).min(LONGEST_WAIT);
        wait.saturating_sub(now.since(self.last))
    }
}

fn counted(account: &str, address: IpAddr, is_known: bool) -> Vec<Counted> {
    let address = prefix(address);
    let mut counted = vec![Counted::Pair(account.to_owned(), address)];
    if !is_known {
        counted.extend([Counted::Address(address), Counted::Account(account.to_owned())]);
    }
    counted
}

/// A network that one client can choose addresses in counts as one address: /64 of IPv6.
pub(super) fn prefix(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => v4.into(),
            None => std::net::Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX)).into(),
        },
        IpAddr::V4(_) => address,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("address")
    }

    #[test]
    fn the_wait_doubles_and_ends() {
        let (mut limits, here) = (Limits::default(), ip("192.0.2.7"));
        for _ in 0..4 {
            limits.failed("anna", here, false, Mono(S));
            assert_eq!(limits.admit("anna", here, false, Mono(S)), Ok(()));
        }
        let mut waits = Vec::new();
        for _ in 0..10 {
            limits.failed("anna", here, false, Mono(S));
            waits.push(limits.admit("anna", here, false, Mono(S)).map_err(|locked| locked.wait.as_secs()));
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 320, 640, 900, 900].map(Err));
        assert_eq!(limits.admit("anna", here, false, Mono(902 * S)), Ok(()), "no lock is for ever");
        assert_eq!(limits.admit("ben", here, false, Mono(S)), Ok(()), "others on that address may still log in");
        limits.succeeded("anna", here);
        assert_eq!(limits.admit("anna", here, false, Mono(S)), Ok(()));
    }

    #[test]
    fn strangers_do_not_keep_a_user_out() {
        let mut limits = Limits::default();
        for n in 0..60u32 {
            limits.failed("anna", IpAddr::from(n.to_be_bytes()), false, Mono(S));
        }
        assert!(limits.admit("anna", ip("198.51.100.1"), false, Mono(S)).is_err(), "many addresses are no way around");
        assert_eq!(limits.admit("anna", ip("192.0.2.7"), true, Mono(S)), Ok(()), "from where she logged in before");
        limits.unlock("anna");
        assert_eq!(limits.admit("anna", ip("198.51.100.1"), false, Mono(S)), Ok(()));
    }

    #[test]
    fn one_address_does_not_try_all_accounts() {
        let mut limits = Limits::default();
        for n in 0..30 {
            let address = ip(&format!("2001:db8::{n:x}"));
            limits.failed(&format!("user{n}"), address, false, Mono(S));
        }
        assert!(limits.admit("another", ip("2001:db8::ffff"), false, Mono(S)).is_err(), "a /64 is one client");
        assert_eq!(limits.admit("another", ip("2001:db8:1::1"), false, Mono(S)), Ok(()));
    }

    #[test]
    fn memory_is_bounded() {
        let mut limits = Limits::default();
        for n in 0..40_000u32 {
            limits.failed(&format!("user{n}"), IpAddr::from(n.to_be_bytes()), false, Mono(u64::from(n)));
        }
        assert!(limits.counters.len() <= MOST_COUNTERS, "{}", limits.counters.len());
        assert!(limits.counters.contains_key(&Counted::Account("user39999".to_owned())), "the newest are kept");
    }
}
