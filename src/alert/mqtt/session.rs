//! One connection to the broker, from the first byte to the last.
//!
//! A fresh client for each connection: nothing of an old one can leak into the next, and what was not
//! confirmed goes back to the queue, the only place that remembers.

use std::collections::{HashMap, VecDeque};
use std::pin::pin;
use std::time::Duration;

use anyhow::Result;
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, Filter};
use rumqttc::v5::{ConnectionError, Event, Incoming};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::supervise::Backoff;

use super::background::BackgroundJobs;
use super::digest::Parcel;
use super::failure::{Broken, explain, is_of_version};
use super::feed::{Feed, FeedContext};
use super::link::{self, WINDOW};
use super::message::{Content, Message};
use super::refusals::HELD;
use super::suspects::Subject;
use super::terms::Grants;
use super::wire::{Client, Connection, Version, Will};
use super::{Alerter, OUTLET};

/// How long the broker may leave messages unconfirmed while it answers pings.
const CONFIRM_WITHIN: Duration = Duration::from_secs(60);

/// How long an orderly stop may take.
const STOP_WITHIN: Duration = Duration::from_millis(900);

/// How long the store may take to note the outcome when a connection ends.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// How often states are compared with what was published.
const LOOK_AT_STATES: Duration = Duration::from_secs(1);

/// How long all else waits for the first alerts of a connection to be confirmed.
const ALERTS_FIRST: Duration = Duration::from_secs(3);

/// A message of QoS 0 counts as taken when the connection stands so long after it was written.
const STOOD_AFTER: Duration = Duration::from_secs(1);

/// A message on its way.
#[derive(Debug)]
pub(super) struct Sent {
    pub(super) cargo: Cargo,
    pub(super) topic: String,
    /// Of the payload.
    pub(super) bytes: usize,
    pub(super) retain: bool,
}

/// What a message is.
#[derive(Debug)]
pub(super) enum Cargo {
    /// An alert, or many in one digest.
    Alerts(Vec<u64>),
    Other,
    Farewell,
}

/// Why a connection ended.
#[derive(Debug)]
pub(super) struct End {
    /// In words for the operator.
    pub(super) reason: String,
    /// Another attempt that asks for less, or speaks the other version, is worth while at once.
    pub(super) other_at_once: bool,
}

impl From<String> for End {
    fn from(reason: String) -> Self {
        Self { reason, other_at_once: false }
    }
}

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    Connecting,
    Open,
    Stopping { deadline: Instant },
}

pub(super) struct Session<'a> {
    pub(super) alerter: &'a Alerter,
    client_id: String,
    version: Version,
    pub(super) stage: Stage,
    connected_once: bool,
    /// Alerts were taken.
    pub(super) delivered: bool,
    /// Handed to the client, which numbers them in this order.
    pub(super) handed: VecDeque<Sent>,
    /// On the line, by packet id.
    pub(super) in_flight: HashMap<u16, Sent>,
    /// Written, of QoS 0, and when: nothing will be heard of them.
    pub(super) written: VecDeque<(Sent, Instant)>,
    /// To be subscribed to once the first alerts are out.
    pub(super) filters: Vec<Filter>,
    /// Filters of the subscription that is not answered yet.
    pub(super) subscribing: Option<String>,
    /// The queue was looked into.
    has_looked: bool,
    /// The first alerts are out, or took too long: all else may go.
    pub(super) all_may_go: bool,
    opened_at: Instant,
    /// Suspects, to be sent after everything else.
    pub(super) postponed: VecDeque<Message>,
    /// Leased, not yet handed over.
    pub(super) ready: VecDeque<Parcel>,
    /// Leased, while their topics rest after a refusal.
    pub(super) held: VecDeque<Parcel>,
    /// Refused for now; given back once nothing is on the line, so that the order is kept.
    pub(super) refused: Vec<u64>,
    /// Nothing is sent before this instant, after a refusal.
    pub(super) paused_until: Option<Instant>,
    pub(super) refusal_pause: Backoff,
    pub(super) logged_refusal: Option<String>,
    pub(super) logged_state_refusal: bool,
    /// Notes to the store that are being written.
    pub(super) notes: FuturesUnordered<BoxFuture<'a, Result<()>>>,
    pub(super) jobs: BackgroundJobs<'a>,
    /// Alerts and what is no state take turns.
    other_is_next: bool,
    pub(super) last_confirmation: Instant,
    pub(super) grants: Grants,
}

impl<'a> Session<'a> {
    pub(super) fn new(alerter: &'a Alerter) -> Self {
        let default_id = || format!("outpost-{}", alerter.deps.device);
        Self {
            alerter,
            client_id: alerter.config.client_id.clone().unwrap_or_else(default_id),
            version: alerter.terms(|terms| terms.versions.next()),
            stage: Stage::Connecting,
            connected_once: false,
            delivered: false,
            handed: VecDeque::new(),
            in_flight: HashMap::new(),
            written: VecDeque::new(),
            filters: Vec::new(),
            subscribing: None,
            has_looked: false,
            all_may_go: false,
            opened_at: Instant::now(),
            postponed: VecDeque::new(),
            ready: VecDeque::new(),
            held: VecDeque::new(),
            refused: Vec::new(),
            paused_until: None,
            refusal_pause: alerter.terms(|terms| terms.refusals.pauses()),
            logged_refusal: None,
            logged_state_refusal: false,
            notes: FuturesUnordered::new(),
            jobs: BackgroundJobs::new(alerter),
            other_is_next: false,
            last_confirmation: Instant::now(),
            grants: Grants::default(),
        }
    }

    /// Whether the broker took alerts.
    pub(super) fn has_delivered(&self) -> bool {
        self.delivered
    }

    /// Whether the broker let us in.
    pub(super) fn was_connected(&self) -> bool {
        self.connected_once
    }

    /// Connects and delivers until the line breaks (an error for the operator) or `stop` (`Ok`).
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<(), End> {
        let Grants { qos, retain, .. } = self.alerter.terms(|terms| terms.grants);
        let will = Will { topic: self.alerter.topics.availability(), qos, retain };
        let setup = link::setup(&self.alerter.config, &self.alerter.address, &self.client_id, will);
        let setup = setup.map_err(|e| format!("{e:#}"))?;
        // The window bounds what is handed over; places more for the subscription, farewell and disconnect.
        let (client, connection) = setup.open(self.version, usize::from(WINDOW) + 3);
        let Alerter { deps, limits, heartbeat, .. } = self.alerter;
        let mut feed = Feed::new(FeedContext { queue: deps.queue.get(), limits, clock: &*deps.clock, heartbeat });
        let outcome = self.drive(&client, connection, &mut feed, stop).await;
        self.settle(&mut feed, outcome.is_err()).await;
        outcome
    }

    async fn drive(
        &mut self,
        client: &Client,
        connection: Connection,
        feed: &mut Feed<'a>,
        stop: &CancellationToken,
    ) -> Result<(), End> {
        // Never dropped half way: the event loop is not cancel safe while it writes.
        let mut turn = pin!(poll(connection));
        let mut tick = tokio::time::interval(LOOK_AT_STATES);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            self.give_back_refused(feed);
            self.fill_window(client)?;
            let (stopping, deadline) = match self.stage {
                Stage::Stopping { deadline } => (true, deadline),
                _ => (false, Instant::now() + CONFIRM_WITHIN),
            };
            let hungry = self.is_hungry();
            // Else it waits for the queue or for a connection, and they have to show that they go on.
            if !hungry && self.notes.is_empty() && self.stage != Stage::Connecting {
                self.alerter.heartbeat.beat();
            }
            tokio::select! {
                () = stop.cancelled(), if !stopping => {
                    if self.stage == Stage::Connecting {
                        return Ok(());
                    }
                    self.say_farewell(client)?;
                }
                (connection, event) = &mut turn => {
                    match event {
                        Ok(event) => {
                            if self.handle(event, client)? {
                                return Ok(());
                            }
                        }
                        Err(failure) => return self.end(failure, connection, stopping),
                    }
                    turn.set(poll(connection));
                }
                Some(noted) = self.notes.next(), if !self.notes.is_empty() => {
                    noted.map_err(|e| format!("{e:#}"))?;
                    self.alerter.heartbeat.beat();
                }
                done = self.jobs.done() => self.jobs.settle(done),
                parcels = feed.next(usize::from(WINDOW)), if hungry => {
                    self.has_looked = true;
                    self.ready.extend(parcels.map_err(|e| format!("take alerts from the queue: {e:#}"))?);
                }
                _ = tick.tick() => {
                    self.settle_written();
                    self.check_confirmations()?;
                    self.give_up_searching();
                    if self.stage == Stage::Open {
                        self.jobs.tick();
                    }
                }
                () = tokio::time::sleep_until(deadline), if stopping => return Ok(()),
            }
        }
    }

    /// Whether the next alerts should be leased. Not while something goes back, which must come first again.
    fn is_hungry(&self) -> bool {
        let has_room = self.ready.is_empty() && self.held.len() < HELD;
        self.stage == Stage::Open && self.may_publish() && has_room && self.notes.is_empty()
    }

    /// Messages that the broker has not answered yet.
    pub(super) fn on_the_line(&self) -> usize {
        let is_alert = |(sent, _): &&(Sent, Instant)| matches!(sent.cargo, Cargo::Alerts(_));
        self.handed.len() + self.in_flight.len() + self.written.iter().filter(is_alert).count()
    }

    /// Hands over what the window has room for: the first alerts, then states, then alerts in their order and what else
    /// there is by turns, so that neither can keep the other back.
    fn fill_window(&mut self, client: &Client) -> Result<(), String> {
        if self.stage != Stage::Open {
            return Ok(());
        }
        if self.alerter.terms(|terms| terms.suspects.is_searching()) {
            return self.fill_searching(client);
        }
        self.let_all_go();
        self.subscribe(client)?;
        while self.on_the_line() + self.notes.len() < usize::from(WINDOW) {
            if !self.all_may_go {
                let Some(parcel) = self.ready.pop_front() else { break };
                self.send(client, parcel)?;
                continue;
            }
            if let Some(message) = self.jobs.next_state() {
                self.send_other(client, message)?;
                continue;
            }
            self.other_is_next = !self.other_is_next;
            let other = if self.other_is_next { self.jobs.next_other() } else { None };
            if let Some(message) = other {
                self.send_other(client, message)?;
            } else if self.may_publish()
                && let Some(parcel) = self.ready.pop_front()
            {
                self.send(client, parcel)?;
            } else if let Some(message) = self.jobs.next_other().or_else(|| self.postponed.pop_front()) {
                self.send_other(client, message)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// What is no alert goes once the first alerts are confirmed, so that nothing else can end the connection before.
    fn let_all_go(&mut self) {
        let alerts_are_out = self.has_looked && self.ready.is_empty() && self.on_the_line() == 0;
        let waited = self.opened_at.elapsed() > ALERTS_FIRST;
        self.all_may_go = self.all_may_go || alerts_are_out || waited || !self.may_publish();
    }

    /// Whether the queue was looked into on this connection.
    pub(super) fn has_looked(&self) -> bool {
        self.has_looked
    }

    /// Sends what is no alert, unless the broker would break the line because of it.
    pub(super) fn send_other(&mut self, client: &Client, message: Message) -> Result<(), String> {
        let (topic, bytes) = (&message.topic, message.bytes());
        if bytes > self.grants.max_packet {
            warn!(
                topic,
                bytes,
                limit = self.grants.max_packet,
                "a message is larger than the broker takes and is left out"
            );
            return Ok(());
        }
        if self.is_left_out(&Subject::Topic(topic.clone())) {
            return Ok(());
        }
        self.hand_over(client, message, Cargo::Other)
    }

    pub(super) fn hand_over(&mut self, client: &Client, mut message: Message, cargo: Cargo) -> Result<(), String> {
        if self.on_the_line() == 0 {
            self.last_confirmation = Instant::now();
        }
        if self.grants.qos == QoS::AtMostOnce {
            message.qos = QoS::AtMostOnce;
        }
        message.retain = message.retain && self.grants.retain;
        let (topic, bytes, retain) = (message.topic.clone(), message.payload.len(), message.retain);
        client.publish(message)?;
        self.handed.push_back(Sent { cargo, topic, bytes, retain });
        Ok(())
    }

    /// Returns whether the connection has come to its orderly end.
    fn handle(&mut self, event: Event, client: &Client) -> Result<bool, String> {
        match event {
            Event::Incoming(Incoming::ConnAck(welcome)) => self.open(&welcome),
            Event::Incoming(Incoming::PubAck(confirmation)) => {
                let farewell_confirmed = self.confirm(&confirmation);
                if farewell_confirmed {
                    client.disconnect()?;
                }
            }
            Event::Incoming(Incoming::SubAck(answer)) => self.subscribed(&answer),
            Event::Incoming(Incoming::Publish(publish)) => self.jobs.incoming(&publish, self.grants.retain),
            Event::Outgoing(Outgoing::Publish(packet_id)) => {
                let farewell_written = self.is_out(packet_id);
                if farewell_written {
                    client.disconnect()?;
                }
            }
            Event::Outgoing(Outgoing::Disconnect) => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    /// The client numbered and wrote the next message. Without a number (QoS 0) nothing will be heard of it again.
    /// Returns whether it was such a farewell.
    fn is_out(&mut self, packet_id: u16) -> bool {
        let Some(sent) = self.handed.pop_front() else { return false };
        if packet_id != 0 {
            self.in_flight.insert(packet_id, sent);
            return false;
        }
        let is_farewell = matches!(sent.cargo, Cargo::Farewell);
        if !is_farewell {
            self.written.push_back((sent, Instant::now()));
        }
        is_farewell
    }

    fn open(&mut self, welcome: &ConnAck) {
        let deps = &self.alerter.deps;
        self.grants = self.alerter.terms(|terms| {
            terms.welcomed(welcome);
            terms.grants
        });
        self.stage = Stage::Open;
        self.connected_once = true;
        (self.opened_at, self.last_confirmation) = (Instant::now(), Instant::now());
        if deps.health.outlet(OUTLET.as_str(), deps.clock.mono(), Ok(())) {
            info!(broker = %self.alerter.address, version = %self.version, "connected to the broker");
        }
        self.alerter.show_remarks();
        self.filters = self.jobs.open();
    }

    /// The connection stands: what was written a while ago without a number counts as taken.
    fn settle_written(&mut self) {
        while self.written.front().is_some_and(|(_, at)| at.elapsed() >= STOOD_AFTER) {
            let Some((sent, _)) = self.written.pop_front() else { return };
            self.taken(sent);
        }
    }

    fn check_confirmations(&mut self) -> Result<(), String> {
        let silent = self.last_confirmation.elapsed();
        if self.on_the_line() > 0 && self.stage == Stage::Open && silent > CONFIRM_WITHIN {
            let seconds = silent.as_secs();
            return Err(format!("the broker {} has confirmed nothing for {seconds} s", self.alerter.address));
        }
        Ok(())
    }

    fn say_farewell(&mut self, client: &Client) -> Result<(), String> {
        self.stage = Stage::Stopping { deadline: Instant::now() + STOP_WITHIN };
        let message = Message::state(self.alerter.topics.availability(), b"stopped".to_vec(), Content::Text, 1);
        self.hand_over(client, message, Cargo::Farewell)
    }

    /// The line broke. Confirmations that came just before still count.
    fn end(&mut self, failure: ConnectionError, mut connection: Connection, stopping: bool) -> Result<(), End> {
        for event in connection.rest() {
            match event {
                Event::Incoming(Incoming::PubAck(confirmation)) => {
                    self.confirm(&confirmation);
                }
                Event::Incoming(Incoming::SubAck(answer)) => self.subscribed(&answer),
                Event::Outgoing(Outgoing::Publish(packet_id)) => {
                    self.is_out(packet_id);
                }
                _ => {}
            }
        }
        if stopping {
            return Ok(());
        }
        let alerter = self.alerter;
        let (config, address, client_id) = (&alerter.config, &alerter.address, &*self.client_id);
        let broken = Broken { connected: self.connected_once, version: self.version, config, address, client_id };
        let reason = explain(&failure, &broken);
        if self.connected_once {
            return Err(self.judge_hangup(&failure, reason).into());
        }
        let other_at_once = alerter.terms(|terms| match &failure {
            ConnectionError::ConnectionRefused(code) if !is_of_version(&failure) => {
                terms.versions.answered();
                terms.ask_for_less(*code)
            }
            _ if is_of_version(&failure) => terms.versions.missed(),
            _ => false,
        });
        Err(End { reason, other_at_once })
    }

    /// Gives back what was not confirmed and waits until the store has noted everything.
    async fn settle(&mut self, feed: &mut Feed<'a>, failed: bool) {
        let settled = tokio::time::timeout(SETTLE_WITHIN, async {
            let mut leased = feed.close().await;
            self.ready.append(&mut leased);
            self.give_back_all(failed);
            while let Some(noted) = self.notes.next().await {
                if let Err(e) = noted {
                    warn!(error = format!("{e:#}"), "the alert queue could not be updated");
                }
            }
        });
        if settled.await.is_err() {
            warn!("the alert queue did not answer in time, alerts may be sent twice");
        }
    }
}

async fn poll(mut connection: Connection) -> (Connection, Result<Event, ConnectionError>) {
    let event = connection.poll().await;
    (connection, event)
}
