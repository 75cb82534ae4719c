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
use rumqttc::v5::mqttbytes::v5::{ConnAck, SubAck, SubscribeReasonCode};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, Incoming};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::supervise::Backoff;

use super::chores::Chores;
use super::digest::Parcel;
use super::failure::explain;
use super::feed::{Desk, Feed};
use super::link::{self, WINDOW};
use super::message::{Content, Message};
use super::{Alerter, OUTLET};

/// How long the broker may leave messages unconfirmed while it answers pings.
const CONFIRM_WITHIN: Duration = Duration::from_secs(60);

/// How long an orderly stop may take.
const STOP_WITHIN: Duration = Duration::from_millis(900);

/// How long the store may take to note the outcome when a connection ends.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// How often states are compared with what was told.
const LOOK_AT_STATES: Duration = Duration::from_secs(1);

/// A message on its way.
#[derive(Debug)]
pub(super) enum Sent {
    /// An alert, or many in one digest.
    Alerts {
        seqs: Vec<u64>,
        topic: String,
        bytes: usize,
    },
    Other {
        topic: String,
    },
    Farewell,
}

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Connecting,
    Open,
    Stopping { deadline: Instant },
}

pub(super) struct Session<'a> {
    pub(super) alerter: &'a Alerter,
    client_id: String,
    stage: Stage,
    connected_once: bool,
    /// Handed to the client, which numbers them in this order.
    pub(super) handed: VecDeque<Sent>,
    /// On the line, by packet id.
    pub(super) in_flight: HashMap<u16, Sent>,
    /// Leased, not yet handed over.
    pub(super) ready: VecDeque<Parcel>,
    /// Refused for now; given back once nothing is on the line, so that the order is kept.
    pub(super) refused: Vec<u64>,
    /// Nothing is sent before this instant, after a refusal.
    pub(super) paused_until: Option<Instant>,
    pub(super) refusal_pause: Backoff,
    pub(super) told_refusal: Option<String>,
    pub(super) told_state_refusal: bool,
    /// Notes to the store that are being written.
    pub(super) notes: FuturesUnordered<BoxFuture<'a, Result<()>>>,
    pub(super) chores: Chores<'a>,
    /// Alerts and what is no state take turns.
    other_is_next: bool,
    pub(super) last_confirmation: Instant,
    pub(super) max_packet: usize,
}

impl<'a> Session<'a> {
    pub(super) fn new(alerter: &'a Alerter) -> Self {
        let default_id = || format!("outpost-{}", alerter.deps.device);
        Self {
            alerter,
            client_id: alerter.config.client_id.clone().unwrap_or_else(default_id),
            stage: Stage::Connecting,
            connected_once: false,
            handed: VecDeque::new(),
            in_flight: HashMap::new(),
            ready: VecDeque::new(),
            refused: Vec::new(),
            paused_until: None,
            refusal_pause: Backoff::for_connections(),
            told_refusal: None,
            told_state_refusal: false,
            notes: FuturesUnordered::new(),
            chores: Chores::new(alerter),
            other_is_next: false,
            last_confirmation: Instant::now(),
            max_packet: usize::MAX,
        }
    }

    /// Whether the broker let us in.
    pub(super) fn was_connected(&self) -> bool {
        self.connected_once
    }

    /// Connects and delivers until the line breaks (an error for the operator) or `stop` (`Ok`).
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> Result<(), String> {
        let will = self.alerter.topics.availability();
        let options = link::options(&self.alerter.config, &self.alerter.address, &self.client_id, will);
        let options = options.map_err(|e| format!("{e:#}"))?;
        // The window bounds what is handed over; places more for the subscription, farewell and disconnect.
        let (client, eventloop) = AsyncClient::new(options, usize::from(WINDOW) + 3);
        let Alerter { deps, limits, heart, .. } = self.alerter;
        let mut feed = Feed::new(Desk { queue: &*deps.queue, limits, clock: &*deps.clock, heart });
        let outcome = self.drive(&client, eventloop, &mut feed, stop).await;
        self.settle(&mut feed, outcome.is_err()).await;
        outcome
    }

    async fn drive(
        &mut self,
        client: &AsyncClient,
        eventloop: EventLoop,
        feed: &mut Feed<'a>,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        // Never dropped half way: the event loop is not cancel safe while it writes.
        let mut turn = pin!(poll(eventloop));
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
                self.alerter.heart.beat();
            }
            tokio::select! {
                () = stop.cancelled(), if !stopping => {
                    if self.stage == Stage::Connecting {
                        return Ok(());
                    }
                    self.say_farewell(client)?;
                }
                (eventloop, event) = &mut turn => {
                    match event {
                        Ok(event) => {
                            if self.handle(event, client)? {
                                return Ok(());
                            }
                        }
                        Err(failure) => return self.end(failure, eventloop, stopping),
                    }
                    turn.set(poll(eventloop));
                }
                Some(noted) = self.notes.next(), if !self.notes.is_empty() => {
                    noted.map_err(|e| format!("{e:#}"))?;
                    self.alerter.heart.beat();
                }
                done = self.chores.done() => self.chores.settle(done),
                parcels = feed.next(usize::from(WINDOW)), if hungry => {
                    self.ready.extend(parcels.map_err(|e| format!("take alerts from the queue: {e:#}"))?);
                }
                _ = tick.tick() => {
                    self.check_confirmations()?;
                    if self.stage == Stage::Open {
                        self.chores.tick();
                    }
                }
                () = tokio::time::sleep_until(deadline), if stopping => return Ok(()),
            }
        }
    }

    /// Whether the next alerts should be leased. Not while something goes back, which must come first again.
    fn is_hungry(&self) -> bool {
        self.stage == Stage::Open && self.may_tell() && self.ready.is_empty() && self.notes.is_empty()
    }

    pub(super) fn on_the_line(&self) -> usize {
        self.handed.len() + self.in_flight.len()
    }

    /// Hands over what the window has room for: states first, then alerts in their order and what else there is
    /// by turns, so that neither can keep the other back.
    fn fill_window(&mut self, client: &AsyncClient) -> Result<(), String> {
        if self.stage != Stage::Open {
            return Ok(());
        }
        while self.on_the_line() + self.notes.len() < usize::from(WINDOW) {
            if let Some(message) = self.chores.next_state() {
                self.send_other(client, message)?;
                continue;
            }
            self.other_is_next = !self.other_is_next;
            let other = if self.other_is_next { self.chores.next_other() } else { None };
            if let Some(message) = other {
                self.send_other(client, message)?;
            } else if self.may_tell()
                && let Some(parcel) = self.ready.pop_front()
            {
                self.send(client, parcel)?;
            } else if let Some(message) = self.chores.next_other() {
                self.send_other(client, message)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    /// Sends what is no alert, unless the broker would break the line because of it.
    fn send_other(&mut self, client: &AsyncClient, message: Message) -> Result<(), String> {
        let (topic, bytes) = (message.topic.clone(), message.bytes());
        if bytes > self.max_packet {
            warn!(topic, bytes, limit = self.max_packet, "a message is larger than the broker takes and is left out");
            return Ok(());
        }
        self.hand_over(client, message, Sent::Other { topic })
    }

    pub(super) fn hand_over(&mut self, client: &AsyncClient, message: Message, sent: Sent) -> Result<(), String> {
        if self.on_the_line() == 0 {
            self.last_confirmation = Instant::now();
        }
        let Message { topic, payload, retain, qos, properties } = message;
        let handed = client.try_publish_with_properties(&topic, qos, retain, payload, properties);
        handed.map_err(|e| format!("hand {topic:?} to the client: {e}"))?;
        self.handed.push_back(sent);
        Ok(())
    }

    /// Returns whether the connection has come to its orderly end.
    fn handle(&mut self, event: Event, client: &AsyncClient) -> Result<bool, String> {
        match event {
            Event::Incoming(Incoming::ConnAck(welcome)) => self.open(&welcome, client)?,
            Event::Incoming(Incoming::PubAck(confirmation)) => {
                let farewell_confirmed = self.confirm(&confirmation);
                if farewell_confirmed {
                    client.try_disconnect().map_err(|e| format!("hand the disconnect to the client: {e}"))?;
                }
            }
            Event::Incoming(Incoming::SubAck(answer)) => self.subscribed(&answer),
            Event::Incoming(Incoming::Publish(publish)) => self.chores.incoming(&publish),
            Event::Outgoing(Outgoing::Publish(packet_id)) => self.is_out(packet_id),
            Event::Outgoing(Outgoing::Disconnect) => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    /// The client numbered the next message. Without a number (QoS 0) nothing will be heard of it again.
    fn is_out(&mut self, packet_id: u16) {
        if let Some(sent) = self.handed.pop_front()
            && packet_id != 0
        {
            self.in_flight.insert(packet_id, sent);
        }
    }

    fn open(&mut self, welcome: &ConnAck, client: &AsyncClient) -> Result<(), String> {
        let deps = &self.alerter.deps;
        let limit = welcome.properties.as_ref().and_then(|p| p.max_packet_size);
        self.max_packet = limit.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
        self.stage = Stage::Open;
        self.connected_once = true;
        self.last_confirmation = Instant::now();
        if deps.health.outlet(OUTLET, deps.clock.mono(), Ok(())) {
            info!(broker = %self.alerter.address, "connected to the broker");
        }
        let filters = self.chores.open();
        if filters.is_empty() {
            return Ok(());
        }
        client.try_subscribe_many(filters).map_err(|e| format!("hand the subscription to the client: {e}"))
    }

    fn subscribed(&mut self, answer: &SubAck) {
        let refused = answer.return_codes.iter().find(|code| !matches!(code, SubscribeReasonCode::Success(_)));
        if let Some(code) = refused {
            let broker = &self.alerter.address;
            warn!(%broker, ?code, "the broker does not let us listen for commands: give this user the right to read them");
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

    fn say_farewell(&mut self, client: &AsyncClient) -> Result<(), String> {
        self.stage = Stage::Stopping { deadline: Instant::now() + STOP_WITHIN };
        let message = Message::state(self.alerter.topics.availability(), b"stopped".to_vec(), Content::Text, 1);
        self.hand_over(client, message, Sent::Farewell)
    }

    /// The line broke. Confirmations that came just before still count.
    fn end(&mut self, failure: ConnectionError, mut eventloop: EventLoop, stopping: bool) -> Result<(), String> {
        for event in std::mem::take(&mut eventloop.state.events) {
            match event {
                Event::Incoming(Incoming::PubAck(confirmation)) => {
                    self.confirm(&confirmation);
                }
                Event::Outgoing(Outgoing::Publish(packet_id)) => self.is_out(packet_id),
                _ => {}
            }
        }
        if stopping {
            return Ok(());
        }
        let alerter = self.alerter;
        Err(explain(&failure, self.connected_once, &alerter.config, &alerter.address, &self.client_id))
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

async fn poll(mut eventloop: EventLoop) -> (EventLoop, Result<Event, ConnectionError>) {
    let event = eventloop.poll().await;
    (eventloop, event)
}
