//! Alerts that the broker answers with a refusal, of their topic or of themselves.
//!
//! A refused alert and those behind it on its topic are tried again after a rest, while other topics go on. It is put
//! aside once it, or its topic, was refused several times and the broker took other alerts between these tries. Where the
//! broker refuses all alerts, all of them wait.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::supervise::Backoff;

/// Refusals with another alert taken since the one before, after which an alert is put aside.
const STRIKES: u32 = 3;

/// Alerts of which refusals are remembered at most.
const REMEMBERED: usize = 4096;

/// Parcels that are held back at most while their topics rest. More of them in a row at the head of the queue keep the
/// alerts of other cameras from being leased until the topic is allowed or they are dropped.
pub(super) const HELD: usize = 4096;

/// The refusals of one alert or digest, or of one topic since it last took any.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    refusals: u32,
    strikes: u32,
    /// What the broker had taken at the last refusal.
    taken: u64,
}

impl Record {
    /// Another refusal, when the broker had `taken` so many. Returns whether it took any since the one before.
    fn refused_again(&mut self, taken: u64) -> bool {
        let others_passed = self.refusals > 0 && taken > self.taken;
        self.strikes += u32::from(others_passed);
        (self.refusals, self.taken) = (self.refusals.saturating_add(1), taken);
        others_passed
    }
}

/// A topic at which alerts are refused.
#[derive(Debug)]
struct Topic {
    record: Record,
    pauses: Backoff,
    rests_until: Instant,
    /// Why, where the broker takes other alerts meanwhile.
    reason: Option<String>,
}

/// What became of a refused alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is tried again; nothing else was taken since the last time, so that the broker may refuse everything.
    Waits,
    /// It is tried again; the broker takes others.
    WaitsAlone,
    /// It is put aside, for this reason.
    PutAside(String),
}

/// What was refused.
#[derive(Debug)]
pub(super) struct Refusals {
    /// How long a topic rests.
    pauses: Backoff,
    /// By the first number that a message stands for.
    records: BTreeMap<u64, Record>,
    topics: BTreeMap<String, Topic>,
    /// Messages with alerts that the broker took.
    taken: u64,
}

impl Refusals {
    /// None so far; a topic at which alerts are refused rests for these pauses.
    pub(super) fn new(pauses: Backoff) -> Self {
        Self { pauses, records: BTreeMap::new(), topics: BTreeMap::new(), taken: 0 }
    }

    /// The pauses after a refusal, from the first on.
    pub(super) fn pauses(&self) -> Backoff {
        self.pauses.clone()
    }

    /// The broker refuses the alert or digest that begins with `seq`, for `reason`.
    pub(super) fn refused(&mut self, seq: u64, topic: &str, reason: &str, now: Instant) -> Fate {
        if self.records.len() >= REMEMBERED {
            self.records.pop_first();
        }
        let pauses = &self.pauses;
        let known = self.topics.entry(topic.to_owned()).or_insert_with(|| Topic {
            record: Record::default(),
            pauses: pauses.clone(),
            rests_until: now,
            reason: None,
        });
        let record = self.records.entry(seq).or_default();
        let others_passed = record.refused_again(self.taken);
        known.record.refused_again(self.taken);
        if known.rests_until <= now {
            known.rests_until = now + known.pauses.next_pause(Duration::ZERO);
        }
        if others_passed {
            known.reason = Some(reason.to_owned());
        }
        let (of_alert, of_topic) = (*record, known.record);
        if of_alert.strikes < STRIKES && of_topic.strikes < STRIKES {
            return if others_passed { Fate::WaitsAlone } else { Fate::Waits };
        }
        known.reason = Some(reason.to_owned());
        known.pauses.reset();
        self.records.remove(&seq);
        let times = of_alert.refusals.max(of_topic.refusals);
        Fate::PutAside(format!("{reason}; refused {times} times, while other alerts were taken"))
    }

    /// The broker took the alert or digest that begins with `seq`. Returns whether others to its topic were refused.
    pub(super) fn taken(&mut self, seq: u64, topic: &str) -> bool {
        self.taken += 1;
        self.records.remove(&seq);
        let Some(known) = self.topics.get_mut(topic) else { return false };
        // It rests for as long as it was to: the one that was refused there has to come again.
        known.pauses.reset();
        known.record = Record::default();
        known.reason.take().is_some()
    }

    /// Whether nothing is sent to `topic` at present.
    pub(super) fn rests(&self, topic: &str, now: Instant) -> bool {
        self.topics.get(topic).is_some_and(|known| now < known.rests_until)
    }

    /// Topics at which alerts are refused while others are taken, in words for the operator.
    pub(super) fn remarks(&self) -> Vec<String> {
        let refused = self.topics.values().filter_map(|topic| topic.reason.as_ref());
        refused
            .map(|reason| {
                format!("{reason}; other alerts are taken, so these are put aside: see the queue's dead letters")
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fates(refusals: &mut Refusals, tries: u32, others: bool) -> Vec<Fate> {
        let again = |_| {
            if others {
                refusals.taken(1, "box/yard");
            }
            refusals.refused(7, "box/gate", "no right", Instant::now())
        };
        (0..tries).map(again).collect()
    }

    #[test]
    fn an_alert_is_put_aside_only_where_others_are_taken_between_its_tries() {
        let mut refusals = Refusals::new(Backoff::for_connections());
        assert!(fates(&mut refusals, 100, false).iter().all(|fate| *fate == Fate::Waits));
        assert!(refusals.remarks().is_empty());
        let [Fate::WaitsAlone, Fate::WaitsAlone, Fate::PutAside(reason)] = &*fates(&mut refusals, 3, true) else {
            panic!("it is put aside at the third time that others were taken");
        };
        assert!(reason.contains("no right; refused 103 times"), "{reason}");
        assert!(refusals.rests("box/gate", Instant::now()) && !refusals.rests("box/yard", Instant::now()));
        assert_eq!(refusals.remarks().len(), 1);
        assert!(refusals.taken(8, "box/gate"), "taken again");
        assert!(refusals.remarks().is_empty());
    }
}
