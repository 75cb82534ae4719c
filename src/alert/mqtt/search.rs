//! A connection while the message is looked for that the broker hangs up at: one message at a time, suspects last.

use rumqttc::v5::ConnectionError;
use tokio::time::{Duration, Instant};
use tracing::{info, warn};

use super::hangup::Hangup;
use super::message::Message;
use super::session::{Cargo, Sent, Session};
use super::suspects::{Candidate, PutAside, Subject};
use super::wire::Client;

/// A connection that stands so long without anything to send ends the search: what was suspected is not sent again now.
const IDLE: Duration = Duration::from_secs(10);

impl Sent {
    /// As what it may be suspected.
    pub(super) fn subject(&self) -> Option<Subject> {
        let topic = self.topic.clone();
        match &self.cargo {
            Cargo::Alerts(seqs) => seqs.first().map(|seq| Subject::Alert { topic, seq: *seq }),
            Cargo::Other => Some(Subject::Topic(topic)),
            Cargo::Farewell => None,
        }
    }

    fn candidate(&self) -> Option<Candidate> {
        self.subject().map(|subject| Candidate { subject, bytes: self.bytes, retain: self.retain })
    }
}

impl Session<'_> {
    /// Sends the next message once nothing else is on the line. Alerts go first and keep their order. What was alone on
    /// the line at a hang-up goes when the broker has confirmed something else, which shows that it is there and well.
    pub(super) fn fill_searching(&mut self, client: &Client) -> Result<(), String> {
        let is_clear = self.on_the_line() == 0 && self.written.is_empty() && self.subscribing.is_none();
        if !is_clear || !self.notes.is_empty() {
            return Ok(());
        }
        let may_publish = self.may_publish();
        let (was_alone, has_confirmed) = self.alerter.terms(|terms| {
            let first = self.ready.front().and_then(|parcel| parcel.seqs().first().copied());
            let was_alone = first.is_some_and(|seq| terms.suspects.was_alert_alone(seq));
            (was_alone, terms.suspects.has_confirmed_here())
        });
        if may_publish
            && (!was_alone || has_confirmed)
            && let Some(parcel) = self.ready.pop_front()
        {
            return self.send(client, parcel);
        }
        if !self.has_looked() && may_publish {
            return Ok(());
        }
        self.all_may_go = true;
        while let Some(message) = self.jobs.next_state().or_else(|| self.jobs.next_other()) {
            if self.was_alone(&Subject::Topic(message.topic.clone())) {
                self.postpone(message);
                continue;
            }
            self.send_other(client, message)?;
            if self.on_the_line() > 0 {
                return Ok(());
            }
        }
        if self.has_filters() {
            self.subscribe(client)?;
            if self.subscribing.is_some() {
                return Ok(());
            }
        }
        if may_publish && let Some(parcel) = self.ready.pop_front() {
            return self.send(client, parcel);
        }
        match self.postponed.pop_front() {
            Some(message) => self.send_other(client, message),
            None => Ok(()),
        }
    }

    /// The newest message of a topic is enough.
    fn postpone(&mut self, message: Message) {
        self.postponed.retain(|other| other.topic != message.topic);
        self.postponed.push_back(message);
    }

    fn was_alone(&self, subject: &Subject) -> bool {
        self.alerter.terms(|terms| terms.suspects.was_alone(subject))
    }

    /// Whether `subject` is not to be sent at present.
    pub(super) fn is_left_out(&self, subject: &Subject) -> bool {
        self.alerter.terms(|terms| terms.suspects.is_left_out(subject, Instant::now()))
    }

    /// The broker answered to `subject`, or stood for a while after it.
    pub(super) fn answered(&mut self, subject: &Subject, retained: bool) {
        if self.alerter.terms(|terms| terms.suspects.answered(subject, retained)) {
            info!(?subject, "the broker takes again what was left out");
            self.alerter.show_remarks();
        }
    }

    /// Ends the search where nothing more is sent that could be found.
    pub(super) fn give_up_searching(&mut self) {
        let is_idle = self.on_the_line() == 0 && self.ready.is_empty() && self.last_confirmation.elapsed() > IDLE;
        if is_idle && self.was_connected() {
            self.alerter.terms(|terms| terms.suspects.forget());
        }
    }

    /// The connection broke: looks for the message that is the cause, and puts it aside once that is sure. Gives the
    /// reason for the operator.
    pub(super) fn judge_hangup(&mut self, failure: &ConnectionError, reason: String) -> String {
        let Some(how) = Hangup::of(failure) else { return reason };
        let written = self.written.iter().map(|(sent, _)| sent);
        let mut candidates: Vec<Candidate> =
            self.in_flight.values().chain(written).filter_map(Sent::candidate).collect();
        let subscription = self.subscribing.clone().map(Subject::Subscription);
        candidates.extend(subscription.map(|subject| Candidate { subject, bytes: 0, retain: false }));
        let (found, trace) = self.alerter.terms(|terms| {
            let found = terms.suspects.hung_up(how, &candidates, Instant::now());
            (found, terms.suspects.trace())
        });
        if let Some(found) = found {
            self.put_aside(found);
        }
        self.alerter.show_remarks();
        trace.map_or_else(|| reason.clone(), |trace| format!("{reason} {trace}"))
    }

    fn put_aside(&mut self, found: PutAside) {
        let PutAside { subject, reason } = found;
        if !matches!(subject, Subject::Alert { .. }) {
            warn!(%reason, "the broker never takes a message, which is left out from now on");
            return;
        }
        let is_it = |sent: &Sent| sent.subject().as_ref() == Some(&subject);
        let in_flight = self.in_flight.extract_if(|_, sent| is_it(sent)).map(|(_, sent)| sent);
        let mut found: Vec<Sent> = in_flight.collect();
        while let Some(at) = self.written.iter().position(|(sent, _)| is_it(sent)) {
            found.extend(self.written.remove(at).map(|(sent, _)| sent));
        }
        for sent in found {
            if let Cargo::Alerts(seqs) = sent.cargo {
                self.reject(seqs, reason.clone());
            }
        }
    }
}
