//! Finds the message that the broker answers by hanging up.
//!
//! Such a broker names neither the message nor the reason, and the message goes out again on the next connection. So
//! everything that was unconfirmed when the broker closed a connection is a suspect until it is confirmed. While there
//! are suspects, one message goes at a time. What was alone on the connection several times when it was closed, while the
//! broker confirmed other messages in between, is the cause. A lost network makes nothing that: it rarely looks like a
//! broker that closes, it does not come several times in a row with one message alone, and nothing is confirmed.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use rumqttc::v5::mqttbytes::v5::DisconnectReasonCode as Code;
use tokio::time::Instant;

use super::hangup::Hangup;
use crate::alert::failures::{Cause, Failures, Rule};

/// Times that a message has to be alone on a connection that the broker closes.
const TIMES_ALONE: u32 = 3;

/// The same for a state once a message was found: brokers that hang up have rules that several break.
const TIMES_ALONE_OF_FURTHER: u32 = 2;

/// A topic or the subscription that is left out is tried again after this time.
const TRY_AGAIN: Duration = Duration::from_secs(3600);

/// Alerts are put aside without being sent for so long once several of their topic were put aside and none was taken.
const TOPIC_RESTS: Duration = Duration::from_secs(600);

/// Alerts that were put aside after which their topic rests.
const ASIDE_OF_TOPIC: u32 = 2;

/// Retained topics at which the broker hung up before the retain flag itself counts as the cause.
const RETAINED: usize = 3;

/// Connections that are tried at short pauses while a suspect is looked for.
const QUICK_TRIES: u32 = 40;

/// Topic levels and bytes of payload that AWS IoT takes at most.
const AWS_LEVELS: usize = 8;
const AWS_BYTES: usize = 128 << 10;

/// What may be the cause.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Subject {
    /// An alert or digest, by the first number that it stands for.
    Alert { topic: String, seq: u64 },
    /// Whatever is published to a topic beside alerts.
    Topic(String),
    /// The subscription to these filters.
    Subscription(String),
}

/// Something that was unconfirmed when the broker hung up.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) subject: Subject,
    /// Of the payload.
    pub(super) bytes: usize,
    pub(super) retain: bool,
}

/// A message that is put aside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct PutAside {
    pub(super) subject: Subject,
    /// In words for the operator, with topic and size.
    pub(super) reason: String,
}

/// How often the broker hung up at a message.
#[derive(Clone, Copy, Debug, Default)]
struct Hangups {
    /// Connections in a row that were closed while it was unconfirmed.
    count: u32,
    /// Those of them on which nothing else was unconfirmed.
    alone: Option<Failures>,
}

#[derive(Clone, Debug)]
struct Aside {
    reason: String,
    until: Instant,
}

#[derive(Clone, Debug)]
struct AlertTopic {
    put_aside: u32,
    rests_until: Instant,
}

/// What is suspected, and what was found.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    hangups: BTreeMap<Subject, Hangups>,
    aside: BTreeMap<Subject, Aside>,
    alert_topics: BTreeMap<String, AlertTopic>,
    /// Retained topics that were alone when the broker hung up.
    retained: BTreeSet<String>,
    retained_confirmed: bool,
    gave_up_retain: bool,
    confirmations: u64,
    /// As of when the present connection began.
    confirmations_at_opening: u64,
    found: u32,
    tries: u32,
}

impl Suspects {
    /// A connection begins.
    pub(super) fn opened(&mut self) {
        self.confirmations_at_opening = self.confirmations;
    }

    /// Whether one message goes at a time.
    pub(super) fn is_searching(&self) -> bool {
        self.hangups.values().any(|hangups| hangups.count > 1 || hangups.alone.is_some())
    }

    /// Whether it is worth while to connect again soon.
    pub(super) fn is_near(&self) -> bool {
        self.is_searching() && self.tries < QUICK_TRIES
    }

    /// Whether `subject` was alone on a connection that the broker closed.
    pub(super) fn was_alone(&self, subject: &Subject) -> bool {
        self.hangups.get(subject).is_some_and(|hangups| hangups.alone.is_some())
    }

    /// The same for the alert or digest that begins with `number`.
    pub(super) fn was_alert_alone(&self, number: u64) -> bool {
        let is_it = |subject: &Subject| matches!(subject, Subject::Alert { seq, .. } if *seq == number);
        self.hangups.iter().any(|(subject, hangups)| is_it(subject) && hangups.alone.is_some())
    }

    /// Nothing is suspected any more.
    pub(super) fn forget(&mut self) {
        self.hangups.clear();
    }

    /// Whether the broker confirmed anything on the present connection.
    pub(super) fn has_confirmed_here(&self) -> bool {
        self.confirmations > self.confirmations_at_opening
    }

    /// Whether retained messages are to be published without the flag.
    pub(super) fn gave_up_retain(&self) -> bool {
        self.gave_up_retain
    }

    /// Whether `subject` is not to be sent at present.
    pub(super) fn is_left_out(&self, subject: &Subject, now: Instant) -> bool {
        self.aside.get(subject).is_some_and(|aside| now < aside.until)
    }

    /// Why alerts to `topic` are put aside without being sent.
    pub(super) fn resting(&self, topic: &str, now: Instant) -> Option<String> {
        let rests = self.alert_topics.get(topic);
        rests.filter(|rests| rests.put_aside >= ASIDE_OF_TOPIC && now < rests.rests_until).map(|rests| {
            format!(
                "not sent: the broker closed the connection at {} alerts to {topic:?} and took none; alerts to it are \
                 tried again every {} minutes",
                rests.put_aside,
                TOPIC_RESTS.as_secs() / 60
            )
        })
    }

    /// The broker answered to `subject`, or the connection stood long enough after it. Returns whether something that was
    /// left out is taken again.
    pub(super) fn answered(&mut self, subject: &Subject, retained: bool) -> bool {
        self.confirmations += 1;
        self.retained_confirmed |= retained;
        self.hangups.remove(subject);
        if !self.is_searching() {
            self.tries = 0;
        }
        if let Subject::Alert { topic, .. } = subject {
            return self.alert_topics.remove(topic).is_some();
        }
        self.aside.remove(subject).is_some()
    }

    /// The broker closed a connection on which `candidates` were unconfirmed. Returns what is put aside.
    pub(super) fn hung_up(&mut self, how: Hangup, candidates: &[Candidate], now: Instant) -> Option<PutAside> {
        if how == Hangup::SentTooMuch {
            return self.leave_out_subscription(candidates, now);
        }
        let unconfirmed = |subject: &Subject| candidates.iter().any(|candidate| candidate.subject == *subject);
        self.hangups.retain(|subject, hangups| hangups.alone.is_some() || unconfirmed(subject));
        if candidates.is_empty() {
            return None;
        }
        self.tries = self.tries.saturating_add(1);
        for candidate in candidates {
            self.hangups.entry(candidate.subject.clone()).or_default().count += 1;
        }
        let [alone] = candidates else { return None };
        let rule = Rule { failures: self.times_alone(&alone.subject), among_successes: 1, lasting: Duration::ZERO };
        // What was confirmed on the connection of the first time counts too.
        let none = Failures::none(self.confirmations_at_opening, now);
        let failures = self.hangups.entry(alone.subject.clone()).or_default().alone.get_or_insert(none);
        let cause = failures.add(self.confirmations, now, rule);
        if alone.retain && matches!(how, Hangup::Blamed(Code::RetainNotSupported)) {
            self.give_up_retain();
            return None;
        }
        if matches!(how, Hangup::Blamed(_)) || cause == Cause::Message {
            return Some(self.put_aside(alone, how, now));
        }
        self.suspect_retain(alone);
        None
    }

    /// What the operator has to know of the search while nothing is found.
    pub(super) fn trace(&self) -> Option<String> {
        let times = |hangups: &Hangups| hangups.alone.map_or(0, |alone| alone.count());
        let (subject, times) =
            self.hangups.iter().map(|(subject, of)| (subject, times(of))).max_by_key(|(_, times)| *times)?;
        let name = match subject {
            Subject::Alert { topic, .. } | Subject::Topic(topic) => format!("a message to {topic:?}"),
            Subject::Subscription(filters) => format!("the subscription to {filters}"),
        };
        let none =
            if self.confirmations == 0 { ", and it has taken nothing so far: has this user any rights?" } else { "" };
        (times > 0).then(|| format!("each time that it gets {name}, {times} times{none}"))
    }

    /// What is left out, in words for the operator.
    pub(super) fn left_out(&self) -> Vec<String> {
        let of_alerts = self.alert_topics.iter().filter(|(_, topic)| topic.put_aside >= ASIDE_OF_TOPIC);
        let of_alerts = of_alerts.map(|(topic, _)| {
            format!("alerts to {topic:?} are put aside, since the broker closes the connection at them: see the queue's dead letters")
        });
        let others = self.aside.iter().map(|(subject, aside)| match subject {
            Subject::Subscription(_) => format!("commands are not heard: {}", aside.reason),
            Subject::Topic(topic) | Subject::Alert { topic, .. } => format!("{topic:?} is left out: {}", aside.reason),
        });
        of_alerts.chain(others).collect()
    }

    /// How often it has to be alone on a connection that is closed.
    fn times_alone(&self, subject: &Subject) -> u32 {
        let is_known = match subject {
            Subject::Alert { topic, .. } => self.alert_topics.contains_key(topic),
            Subject::Topic(_) | Subject::Subscription(_) => self.aside.contains_key(subject),
        };
        match subject {
            _ if is_known => 1,
            Subject::Topic(_) if self.found > 0 => TIMES_ALONE_OF_FURTHER,
            _ => TIMES_ALONE,
        }
    }

    fn put_aside(&mut self, candidate: &Candidate, how: Hangup, now: Instant) -> PutAside {
        let Candidate { subject, bytes, retain } = candidate;
        self.hangups.remove(subject);
        (self.found, self.tries) = (self.found.saturating_add(1), 0);
        let how = how.words();
        let reason = match subject {
            Subject::Subscription(filters) => format!(
                "the broker closes the connection {how} when {filters} is subscribed to: give this user the right to subscribe to it"
            ),
            Subject::Alert { topic, .. } | Subject::Topic(topic) => {
                let levels = topic.split('/').count();
                let mut advice = vec!["the right of this user to publish to it".to_owned()];
                if *retain {
                    advice.push("the right to retain".to_owned());
                }
                if levels > AWS_LEVELS {
                    advice.push(format!("its {levels} topic levels (AWS IoT takes {AWS_LEVELS})"));
                }
                if *bytes > AWS_BYTES {
                    advice.push(format!("its size (AWS IoT takes {AWS_BYTES} bytes)"));
                }
                format!(
                    "the broker closes the connection {how} when {bytes} bytes are published to {topic:?}: check {}",
                    advice.join(", ")
                )
            }
        };
        if let Subject::Alert { topic, .. } = subject {
            let rest = AlertTopic { put_aside: 0, rests_until: now };
            let topic = self.alert_topics.entry(topic.clone()).or_insert(rest);
            (topic.put_aside, topic.rests_until) = (topic.put_aside.saturating_add(1), now + TOPIC_RESTS);
        } else {
            self.aside.insert(subject.clone(), Aside { reason: reason.clone(), until: now + TRY_AGAIN });
        }
        PutAside { subject: subject.clone(), reason }
    }

    /// Several retained topics alone and never one that was taken: it is the flag, not the topics.
    fn suspect_retain(&mut self, candidate: &Candidate) {
        if let (Subject::Topic(topic), true) = (&candidate.subject, candidate.retain) {
            self.retained.insert(topic.clone());
        }
        if self.retained.len() >= RETAINED && !self.retained_confirmed && !self.gave_up_retain {
            self.give_up_retain();
        }
    }

    fn give_up_retain(&mut self) {
        self.gave_up_retain = true;
        let Self { hangups, retained, .. } = self;
        hangups.retain(|subject, _| !matches!(subject, Subject::Topic(topic) if retained.contains(topic)));
        retained.clear();
    }

    fn leave_out_subscription(&mut self, candidates: &[Candidate], now: Instant) -> Option<PutAside> {
        let is_subscription = |candidate: &&Candidate| matches!(candidate.subject, Subject::Subscription(_));
        let Candidate { subject, .. } = candidates.iter().find(is_subscription)?;
        let reason =
            "a message to one of their topics is larger than any command and ends the connection: take it away \
                      where it is retained"
                .to_owned();
        self.aside.insert(subject.clone(), Aside { reason: reason.clone(), until: now + TRY_AGAIN });
        Some(PutAside { subject: subject.clone(), reason })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alert(seq: u64) -> Candidate {
        Candidate { subject: Subject::Alert { topic: "o/box/event".into(), seq }, bytes: 900, retain: false }
    }

    fn state(topic: &str) -> Candidate {
        Candidate { subject: Subject::Topic(topic.into()), bytes: 2, retain: true }
    }

    /// A broker that takes `good` and hangs up at `bad`, alone; how many connections it took to find it.
    fn search(suspects: &mut Suspects, bad: &Candidate, good: Option<&Candidate>) -> Option<(u32, PutAside)> {
        for connection in 1..20 {
            suspects.opened();
            if let Some(good) = good {
                suspects.answered(&good.subject, good.retain);
            }
            if let Some(found) = suspects.hung_up(Hangup::Silent, std::slice::from_ref(bad), Instant::now()) {
                return Some((connection, found));
            }
        }
        None
    }

    #[test]
    fn a_message_is_found_among_many_that_were_on_the_connection() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        let many: Vec<Candidate> = (1..=16).map(alert).collect();
        suspects.opened();
        assert_eq!(suspects.hung_up(Hangup::Silent, &many, now), None);
        assert!(!suspects.is_searching(), "once may be chance");
        suspects.opened();
        assert_eq!(suspects.hung_up(Hangup::Silent, &many, now), None);
        assert!(suspects.is_searching());
        for seq in 1..=4 {
            suspects.answered(&alert(seq).subject, false);
        }
        let (connections, found) = search(&mut suspects, &alert(5), Some(&state("o/box/store"))).expect("found");
        assert_eq!((connections, &found.subject), (TIMES_ALONE, &alert(5).subject));
        assert!(found.reason.contains("900 bytes") && found.reason.contains("o/box/event"), "{}", found.reason);
        for seq in 6..=16 {
            suspects.answered(&alert(seq).subject, false);
        }
        assert!(!suspects.is_searching());
        assert!(suspects.left_out().is_empty(), "one alert says nothing of its topic");
    }

    #[test]
    fn nothing_is_put_aside_where_the_broker_takes_nothing_at_all() {
        let mut suspects = Suspects::default();
        assert_eq!(search(&mut suspects, &alert(1), None), None);
        assert!(suspects.trace().expect("a trace").contains("has taken nothing so far"));
    }

    #[test]
    fn losses_of_the_network_put_nothing_aside() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        for seq in 0..200 {
            suspects.opened();
            suspects.answered(&state("o/box/store").subject, true);
            // Each time something else is under way, or the same twice before it is confirmed.
            assert_eq!(suspects.hung_up(Hangup::Silent, &[alert(seq / 2)], now), None);
            if seq % 2 == 1 {
                suspects.answered(&alert(seq / 2).subject, false);
            }
        }
    }

    #[test]
    fn a_topic_that_takes_no_alert_rests_and_is_tried_again() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        let good = state("o/box/store");
        assert_eq!(search(&mut suspects, &alert(1), Some(&good)).expect("found").0, TIMES_ALONE);
        assert_eq!(suspects.resting("o/box/event", now), None);
        assert_eq!(search(&mut suspects, &alert(2), Some(&good)).expect("found").0, 1, "the next is known by then");
        assert!(suspects.resting("o/box/event", now).is_some());
        assert_eq!(suspects.left_out().len(), 1);
        let later = now + TOPIC_RESTS + Duration::from_secs(1);
        assert_eq!(suspects.resting("o/box/event", later), None);
        assert!(suspects.answered(&alert(3).subject, false), "taken again");
        assert!(suspects.left_out().is_empty());
    }

    #[test]
    fn a_state_is_left_out_for_a_while() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        let (bad, good) = (state("o/a/b/c/d/e/f/g/h/i"), alert(1));
        let (_, found) = search(&mut suspects, &bad, Some(&good)).expect("found");
        assert!(found.reason.contains("10 topic levels"), "{}", found.reason);
        assert!(suspects.is_left_out(&bad.subject, now) && !suspects.is_left_out(&good.subject, now));
        assert!(!suspects.is_left_out(&bad.subject, now + 2 * TRY_AGAIN));
        assert!(suspects.answered(&bad.subject, true));
        assert!(suspects.left_out().is_empty());
    }

    #[test]
    fn a_reason_that_only_a_message_can_give_is_enough() {
        let (mut suspects, now) = (Suspects::default(), Instant::now());
        suspects.opened();
        let found = suspects.hung_up(Hangup::Blamed(Code::PacketTooLarge), &[alert(1)], now).expect("found");
        assert!(found.reason.contains("PacketTooLarge"), "{}", found.reason);
    }

    #[test]
    fn the_flag_is_given_up_when_no_retained_topic_is_taken() {
        let mut suspects = Suspects::default();
        for topic in ["a", "b", "c"] {
            assert!(!suspects.gave_up_retain());
            suspects.opened();
            suspects.answered(&alert(1).subject, false);
            assert_eq!(suspects.hung_up(Hangup::Silent, &[state(topic)], Instant::now()), None);
        }
        assert!(suspects.gave_up_retain() && !suspects.is_searching());
    }
}
