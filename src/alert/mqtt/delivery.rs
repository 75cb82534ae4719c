//! Alerts on the line: sent in their order, acknowledged when they are confirmed, given back when they are not.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Context;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::PubAck;
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::metrics;

use super::digest::Parcel;
use super::failure::{Verdict, judge};
use super::feed::Feed;
use super::message::{Content, Message, properties};
use super::refusals::Refusal;
use super::session::{Cargo, Sent, Session, Stage};
use super::wire::Client;
use super::{OUTLET, payload};
use crate::alert::acknowledge;
use crate::alert::age::is_late;

impl<'a> Session<'a> {
    /// Sends the alert or digest `parcel`, or puts it aside where the broker can never take it.
    pub(super) fn send(&mut self, client: &Client, parcel: Parcel) -> Result<(), String> {
        let alerter = self.alerter;
        let (deps, now) = (&alerter.deps, alerter.deps.clock.now());
        let topic = self.topic_of(&parcel);
        let is_behind = self.held.iter().any(|held| held.camera() == parcel.camera());
        if is_behind || alerter.terms(|terms| terms.refusals.rests(&topic, Instant::now())) {
            self.held.push_back(parcel);
            return Ok(());
        }
        if let Some(reason) = alerter.terms(|terms| terms.suspects.resting(&topic, Instant::now())) {
            self.reject(parcel.seqs(), reason);
            return Ok(());
        }
        let payload = match payload::encode(&parcel, &now, deps.object_key.as_ref(), &alerter.history) {
            Ok(payload) => payload,
            Err(e) => {
                self.reject(parcel.seqs(), format!("{e:#}"));
                return Ok(());
            }
        };
        let retain = alerter.config.retain_events && matches!(parcel, Parcel::Alert(_));
        let properties = properties(Content::Json);
        let message = Message { topic, payload, retain, qos: QoS::AtLeastOnce, properties };
        let bytes = message.payload.len();
        if message.bytes() > self.grants.max_packet {
            let (topic, limit) = (message.topic, self.grants.max_packet);
            self.reject(parcel.seqs(), format!("{bytes} bytes for {topic:?} are more than the broker takes ({limit})"));
            return Ok(());
        }
        if let Parcel::Alert(item) = &parcel {
            self.jobs.publishing(item, is_late(&item.created, &now));
        }
        self.hand_over(client, message, Cargo::Alerts(parcel.seqs()))
    }

    fn topic_of(&self, parcel: &Parcel) -> String {
        let leaf = if matches!(parcel, Parcel::Alert(_)) { "event" } else { "digest" };
        self.alerter.topics.of_camera(parcel.camera(), leaf)
    }

    /// Notes what the broker said about a message. Returns whether it was the farewell.
    pub(super) fn confirm(&mut self, confirmation: &PubAck) -> bool {
        self.last_confirmation = Instant::now();
        let Some(sent) = self.in_flight.remove(&confirmation.pkid) else { return false };
        let verdict = judge(confirmation.reason, &sent.topic);
        if verdict == Verdict::Taken {
            return self.taken(sent);
        }
        if let Some(subject) = sent.subject() {
            self.answered(&subject, false);
        }
        let seqs = match sent.cargo {
            Cargo::Alerts(seqs) => seqs,
            Cargo::Other => {
                if let Verdict::Later(reason) | Verdict::Refused(reason) | Verdict::Never(reason) = verdict {
                    self.complain_of_state(reason);
                }
                return false;
            }
            Cargo::Farewell => return true,
        };
        let label = metrics::outlet(OUTLET.as_str());
        self.alerter.deps.metrics.delivery_failures.get_or_create(&label).inc();
        match verdict {
            Verdict::Taken => {}
            Verdict::Later(reason) => {
                if self.refused.is_empty() {
                    self.paused_until = Some(Instant::now() + self.refusal_pause.next_pause(Duration::ZERO));
                }
                self.refused.extend(seqs);
                self.complain(reason);
            }
            Verdict::Refused(reason) => self.refuse(seqs, &sent.topic, reason),
            Verdict::Never(reason) => self.reject(seqs, reason),
        }
        false
    }

    /// The broker refuses alerts to a topic, which rests, while others go on.
    fn refuse(&mut self, seqs: Vec<u64>, topic: &str, reason: String) {
        let first = seqs.first().copied().unwrap_or_default();
        let refusal = self.alerter.terms(|terms| terms.refusals.refused(first, topic, &reason, Instant::now()));
        match refusal {
            Refusal::PutAside(reason) => self.reject(seqs, reason),
            Refusal::WaitAlone => self.refused.extend(seqs),
            Refusal::Wait => {
                self.refused.extend(seqs);
                self.complain(reason);
                return;
            }
        }
        self.alerter.show_remarks();
    }

    /// The broker has a message. Returns whether it was the farewell.
    pub(super) fn taken(&mut self, sent: Sent) -> bool {
        self.last_confirmation = Instant::now();
        if let Some(subject) = sent.subject() {
            self.answered(&subject, sent.retain);
        }
        let seqs = match sent.cargo {
            Cargo::Alerts(seqs) => seqs,
            Cargo::Other => {
                self.jobs.confirmed(&sent.topic);
                return false;
            }
            Cargo::Farewell => return true,
        };
        let first = seqs.first().copied().unwrap_or_default();
        if self.alerter.terms(|terms| terms.refusals.taken(first, &sent.topic)) {
            info!(topic = sent.topic, "the broker takes alerts to a topic again");
            self.alerter.show_remarks();
        }
        let (deps, label) = (&self.alerter.deps, metrics::outlet(OUTLET.as_str()));
        deps.metrics.delivered.get_or_create(&label).inc_by(seqs.len() as u64);
        deps.metrics.delivered_bytes.get_or_create(&label).inc_by(u64::try_from(sent.bytes).unwrap_or(u64::MAX));
        self.notes.push(Box::pin(acknowledge(deps.queue.get(), seqs)));
        self.delivered = true;
        if self.logged_refusal.take().is_some() {
            self.refusal_pause.reset();
            deps.health.outlet(OUTLET.as_str(), deps.clock.mono(), Ok(()));
            info!("the broker takes alerts again");
        }
        false
    }

    /// Shows a refusal; logs it once until it changes.
    pub(super) fn complain(&mut self, reason: String) {
        let deps = &self.alerter.deps;
        deps.health.outlet(OUTLET.as_str(), deps.clock.mono(), Err(reason.clone()));
        if self.logged_refusal.as_ref() != Some(&reason) {
            warn!(%reason, "the broker refuses a message");
            self.logged_refusal = Some(reason);
        }
    }

    /// The same of a state, which is not tried again before it changes. A user without rights is refused at
    /// every topic, and one line in the log says that.
    fn complain_of_state(&mut self, reason: String) {
        if !std::mem::replace(&mut self.logged_state_refusal, true) {
            self.complain(reason);
        }
    }

    pub(super) fn reject(&mut self, seqs: Vec<u64>, reason: String) {
        error!(seq = seqs.last(), %reason, "an alert cannot be delivered and is put aside");
        let queue = self.alerter.deps.queue.get();
        self.notes.push(Box::pin(async move {
            for seq in seqs {
                queue.reject(seq, &reason).await.context("put an alert aside")?;
            }
            Ok(())
        }));
    }

    /// Once nothing is on the line, refused alerts and all after them go back in one go; so does what was held back once
    /// a topic has rested, to be taken out in its order.
    pub(super) fn give_back_refused(&mut self, feed: &Feed<'a>) {
        if self.stage == Stage::Open && self.has_rested() {
            self.refused.extend(self.held.drain(..).flat_map(|parcel| parcel.seqs()));
        }
        let mut alerts_on_the_line = self.handed.iter().chain(self.in_flight.values());
        if self.refused.is_empty() || alerts_on_the_line.any(|sent| matches!(sent.cargo, Cargo::Alerts(_))) {
            return;
        }
        feed.overtake();
        let ready = self.ready.drain(..).flat_map(|parcel| parcel.seqs());
        let back: Vec<u64> = self.refused.drain(..).chain(ready).collect();
        self.release(back);
    }

    /// Whether the first that is held of any camera may be sent again; what is held behind it has to wait for it.
    fn has_rested(&self) -> bool {
        let (now, mut cameras) = (Instant::now(), BTreeSet::new());
        let mut firsts = self.held.iter().filter(|parcel| cameras.insert(parcel.camera()));
        firsts.any(|parcel| !self.alerter.terms(|terms| terms.refusals.rests(&self.topic_of(parcel), now)))
    }

    fn release(&mut self, back: Vec<u64>) {
        if back.is_empty() {
            return;
        }
        let queue = self.alerter.deps.queue.get();
        self.notes.push(Box::pin(async move {
            for seq in back {
                queue.release(seq).await.context("give an alert back")?;
            }
            Ok(())
        }));
    }

    /// Gives back what was not confirmed; what the store is to note is noted by [`Session::settle`].
    pub(super) fn give_back_all(&mut self, failed: bool) {
        let written = std::mem::take(&mut self.written).into_iter().map(|(sent, _)| sent);
        let mut on_the_line: Vec<Sent> =
            self.handed.drain(..).chain(self.in_flight.drain().map(|(_, sent)| sent)).collect();
        if failed {
            on_the_line.extend(written);
        } else {
            // The connection ended in order, so the broker has what was written before.
            for sent in written {
                self.taken(sent);
            }
        }
        let alerts = on_the_line.into_iter().filter_map(|sent| match sent.cargo {
            Cargo::Alerts(seqs) => Some(seqs),
            Cargo::Other | Cargo::Farewell => None,
        });
        let unconfirmed: Vec<u64> = alerts.flatten().collect();
        if failed {
            let lost = u64::try_from(unconfirmed.len()).unwrap_or(u64::MAX);
            let label = metrics::outlet(OUTLET.as_str());
            self.alerter.deps.metrics.delivery_failures.get_or_create(&label).inc_by(lost);
        }
        let ready = self.ready.drain(..).chain(self.held.drain(..)).flat_map(|parcel| parcel.seqs());
        let rest = self.refused.drain(..).chain(ready);
        let back = unconfirmed.into_iter().chain(rest).collect();
        self.release(back);
    }

    /// Whether alerts may be sent at present.
    pub(super) fn may_publish(&self) -> bool {
        self.paused_until.is_none_or(|until| Instant::now() >= until) && self.refused.is_empty()
    }
}
