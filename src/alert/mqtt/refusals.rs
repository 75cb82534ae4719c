//! Alerts that the broker answers with a refusal, of their topic or of themselves.
//!
//! A refused alert and those behind it on its topic are tried again after a rest, while other topics go on. It is put
//! aside once it, or its topic, was refused several times and the broker took other alerts between these tries. Where the
//! broker refuses all alerts, all of them wait.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::alert::failures::{Cause, Failures, Rule};
use crate::supervise::Backoff;

/// When an alert is put aside: once it was refused so often with another alert taken since the refusal before.
const RULE: Rule = Rule { failures: 1, among_successes: 3, lasting: Duration::ZERO };

/// Alerts of which refusals are remembered at most.
const REMEMBERED: usize = 4096;

/// Parcels that are held back at most while their topics rest. More of them in a row at the head of the queue keep the
/// alerts of other cameras from being leased until the topic is allowed or they are dropped.
pub(super) const HELD: usize = 4096;

/// A topic at which alerts are refused.
#[derive(Debug)]
struct Topic {
    /// Of all alerts to it since it last took any.
    refusals: Option<Failures>,
    pauses: Backoff,
    rests_until: Instant,
    /// Why, where the broker takes other alerts meanwhile.
    reason: Option<String>,
}

impl Topic {
    fn new(pauses: &Backoff, now: Instant) -> Self {
        Self { refusals: None, pauses: pauses.clone(), rests_until: now, reason: None }
    }
}

/// What follows from a refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// It is tried again; nothing else was taken since the last time, so that the broker may refuse everything.
    Wait,
    /// It is tried again; the broker takes others.
    WaitAlone,
    /// It is put aside, for this reason.
    PutAside(String),
}

/// What was refused.
#[derive(Debug)]
pub(super) struct Refusals {
    /// How long a topic rests.
    pauses: Backoff,
    /// By the first number that a message stands for.
    alerts: BTreeMap<u64, Failures>,
    topics: BTreeMap<String, Topic>,
    /// Messages with alerts that the broker took.
    taken: u64,
}

impl Refusals {
    /// None so far; a topic at which alerts are refused rests for these pauses.
    pub(super) fn new(pauses: Backoff) -> Self {
        Self { pauses, alerts: BTreeMap::new(), topics: BTreeMap::new(), taken: 0 }
    }

    /// The pauses after a refusal, from the first on.
    pub(super) fn pauses(&self) -> Backoff {
        self.pauses.clone()
    }

    /// The broker refuses the alert or digest that begins with `seq`, for `reason`.
    pub(super) fn refused(&mut self, seq: u64, topic: &str, reason: &str, now: Instant) -> Refusal {
        if self.alerts.len() >= REMEMBERED {
            self.alerts.pop_first();
        }
        let known = self.topics.entry(topic.to_owned()).or_insert_with(|| Topic::new(&self.pauses, now));
        let none = Failures::none(self.taken, now);
        let (of_alert, of_topic) = (self.alerts.entry(seq).or_insert(none), known.refusals.get_or_insert(none));
        let causes = [&mut *of_alert, &mut *of_topic].map(|of| of.add(self.taken, now, RULE));
        let times = of_alert.count().max(of_topic.count());
        if known.rests_until <= now {
            known.rests_until = now + known.pauses.next_pause(Duration::ZERO);
        }
        match causes {
            [Cause::Message, _] | [_, Cause::Message] => {}
            [Cause::Unclear, _] => return Refusal::Wait,
            [Cause::LikelyMessage, _] => {
                known.reason = Some(reason.to_owned());
                return Refusal::WaitAlone;
            }
        }
        known.reason = Some(reason.to_owned());
        known.pauses.reset();
        self.alerts.remove(&seq);
        Refusal::PutAside(format!("{reason}; refused {times} times, while other alerts were taken"))
    }

    /// The broker took the alert or digest that begins with `seq`. Returns whether others to its topic were refused.
    pub(super) fn taken(&mut self, seq: u64, topic: &str) -> bool {
        self.taken += 1;
        self.alerts.remove(&seq);
        let Some(known) = self.topics.get_mut(topic) else { return false };
        // It rests for as long as it was to: the one that was refused there has to come again.
        known.pauses.reset();
        known.refusals = None;
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

    fn refuse(refusals: &mut Refusals, tries: u32, others: bool) -> Vec<Refusal> {
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
        assert!(refuse(&mut refusals, 100, false).iter().all(|refusal| *refusal == Refusal::Wait));
        assert!(refusals.remarks().is_empty());
        let [Refusal::WaitAlone, Refusal::WaitAlone, Refusal::PutAside(reason)] = &*refuse(&mut refusals, 3, true)
        else {
            panic!("it is put aside at the third time that others were taken");
        };
        assert!(reason.contains("no right; refused 103 times"), "{reason}");
        assert!(refusals.rests("box/gate", Instant::now()) && !refusals.rests("box/yard", Instant::now()));
        assert_eq!(refusals.remarks().len(), 1);
        assert!(refusals.taken(8, "box/gate"), "taken again");
        assert!(refusals.remarks().is_empty());
    }
}
