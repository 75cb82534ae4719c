//! One connection to the broker, from the first byte to the last.
//!
//! A fresh client for each connection: nothing of an old one can leak into the next, and what was not
//! confirmed goes back to the queue, the only place that remembers.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{ConnAck, PubAck, PublishProperties};
use rumqttc::v5::{AsyncClient, ConnectionError, Event, EventLoop, Incoming};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::health::CameraState;
use crate::metrics;
use crate::supervise::Backoff;

use super::failure::{Verdict, explain, judge};
use super::feed::Feed;
use super::link::{self, WINDOW};
use super::{Alerter, Item, OUTLET, payload};

/// How long the broker may leave alerts unconfirmed while it answers pings.
const CONFIRM_WITHIN: Duration = Duration::from_secs(60);

/// How long an orderly stop may take.
const STOP_WITHIN: Duration = Duration::from_millis(900);

/// How long the store may take to note the outcome when a connection ends.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// How often camera states are compared with what was told.
const LOOK_AT_CAMERAS: Duration = Duration::from_secs(1);

/// A message on its way.
#[derive(Debug)]
enum Sent {
    Alert { seq: u64, topic: String, bytes: usize },
    Availability,
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
    alerter: &'a Alerter,
    client_id: String,
    stage: Stage,
    connected_once: bool,
    /// Handed to the client, which numbers them in this order.
    handed: VecDeque<Sent>,
    /// On the line, by packet id.
    in_flight: HashMap<u16, Sent>,
    /// Leased, not yet handed over.
    ready: VecDeque<Item>,
    /// Refused for now; given back once nothing is on the line, so that the order is kept.
    refused: Vec<u64>,
    /// Nothing is sent before this instant, after a refusal.
    paused_until: Option<Instant>,
    refusal_pause: Backoff,
    told_refusal: Option<String>,
    /// Notes to the store that are being written.
    notes: FuturesUnordered<BoxFuture<'a, Result<()>>>,
    announced: bool,
    told_cameras: BTreeMap<Arc<str>, CameraState>,
    told_store: Option<&'static str>,
    last_confirmation: Instant,
    max_packet: usize,
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
            notes: FuturesUnordered::new(),
            announced: false,
            told_cameras: BTreeMap::new(),
            told_store: None,
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
        // The window bounds what is handed over; two places more for farewell and disconnect.
        let (client, eventloop) = AsyncClient::new(options, usize::from(WINDOW) + 2);
        let mut feed = Feed::new(&*self.alerter.deps.queue, &self.alerter.heart);
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
        let mut tick = tokio::time::interval(LOOK_AT_CAMERAS);
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
                items = feed.next(usize::from(WINDOW)), if hungry => {
                    self.ready.extend(items.map_err(|e| format!("take alerts from the queue: {e:#}"))?);
                }
                _ = tick.tick() => self.check_confirmations()?,
                () = tokio::time::sleep_until(deadline), if stopping => return Ok(()),
            }
        }
    }

    /// Whether the next items should be leased. Not while something goes back, which must come first again.
    fn is_hungry(&self) -> bool {
        let paused = self.paused_until.is_some_and(|until| Instant::now() < until);
        self.stage == Stage::Open
            && !paused
            && self.ready.is_empty()
            && self.refused.is_empty()
            && self.notes.is_empty()
    }

    fn on_the_line(&self) -> usize {
        self.handed.len() + self.in_flight.len()
    }

    /// Hands over what the window has room for: availability first, then alerts in their order.
    fn fill_window(&mut self, client: &AsyncClient) -> Result<(), String> {
        if self.stage != Stage::Open {
            return Ok(());
        }
        while self.on_the_line() + self.notes.len() < usize::from(WINDOW) {
            if let Some((topic, state)) = self.next_availability() {
                self.hand_over(client, &topic, state.as_bytes().to_vec(), Sent::Availability)?;
            } else if self.paused_until.is_some_and(|until| Instant::now() < until) || !self.refused.is_empty() {
                break;
            } else if let Some(item) = self.ready.pop_front() {
                self.send(client, item)?;
            } else {
                break;
            }
        }
        Ok(())
    }

    fn next_availability(&mut self) -> Option<(String, &'static str)> {
        let deps = &self.alerter.deps;
        if !std::mem::replace(&mut self.announced, true) {
            return Some((self.alerter.topics.availability(), "online"));
        }
        let store = if deps.health.is_spooling() { "spooling" } else { deps.health.store().state.as_str() };
        if self.told_store.replace(store) != Some(store) {
            return Some((self.alerter.topics.store(), store));
        }
        let board = deps.health.cameras();
        for camera in &deps.cameras {
            let state = board.get(camera).map(|health| health.state).unwrap_or_default();
            if self.told_cameras.get(camera) != Some(&state) {
                self.told_cameras.insert(camera.clone(), state);
                return Some((self.alerter.topics.camera_availability(camera), state.as_str()));
            }
        }
        None
    }

    fn send(&mut self, client: &AsyncClient, item: Item) -> Result<(), String> {
        let deps = &self.alerter.deps;
        let topic = self.alerter.topics.event(&item.event.camera);
        let payload = match payload::encode(&item, &deps.clock.now(), deps.object_key.as_ref()) {
            Ok(payload) => payload,
            Err(e) => {
                self.reject(item.seq, format!("{e:#}"));
                return Ok(());
            }
        };
        // Headers and properties take well below a hundred bytes beside the topic.
        if payload.len() + topic.len() + 100 > self.max_packet {
            let limit = self.max_packet;
            self.reject(item.seq, format!("{} bytes are more than the broker takes ({limit})", payload.len()));
            return Ok(());
        }
        if self.on_the_line() == 0 {
            self.last_confirmation = Instant::now();
        }
        let sent = Sent::Alert { seq: item.seq, topic: topic.clone(), bytes: payload.len() };
        self.hand_over(client, &topic, payload, sent)
    }

    fn hand_over(&mut self, client: &AsyncClient, topic: &str, payload: Vec<u8>, sent: Sent) -> Result<(), String> {
        let is_alert = matches!(sent, Sent::Alert { .. });
        let content_type = if is_alert { "application/json" } else { "text/plain" };
        let properties = PublishProperties {
            payload_format_indicator: Some(1),
            content_type: Some(content_type.to_owned()),
            ..PublishProperties::default()
        };
        let handed = client.try_publish_with_properties(topic, QoS::AtLeastOnce, !is_alert, payload, properties);
        handed.map_err(|e| format!("hand {topic:?} to the client: {e}"))?;
        self.handed.push_back(sent);
        Ok(())
    }

    /// Returns whether the connection has come to its orderly end.
    fn handle(&mut self, event: Event, client: &AsyncClient) -> Result<bool, String> {
        match event {
            Event::Incoming(Incoming::ConnAck(welcome)) => self.open(&welcome),
            Event::Incoming(Incoming::PubAck(confirmation)) => {
                let farewell_confirmed = self.confirm(&confirmation);
                if farewell_confirmed {
                    client.try_disconnect().map_err(|e| format!("hand the disconnect to the client: {e}"))?;
                }
            }
            Event::Outgoing(Outgoing::Publish(packet_id)) => {
                if let Some(sent) = self.handed.pop_front() {
                    self.in_flight.insert(packet_id, sent);
                }
            }
            Event::Outgoing(Outgoing::Disconnect) => return Ok(true),
            _ => {}
        }
        Ok(false)
    }

    fn open(&mut self, welcome: &ConnAck) {
        let deps = &self.alerter.deps;
        let limit = welcome.properties.as_ref().and_then(|p| p.max_packet_size);
        self.max_packet = limit.and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or(usize::MAX);
        self.stage = Stage::Open;
        self.connected_once = true;
        self.last_confirmation = Instant::now();
        if deps.health.outlet(OUTLET, deps.clock.mono(), Ok(())) {
            info!(broker = %self.alerter.address, "connected to the broker");
        }
    }

    /// Notes what the broker said about a message. Returns whether it was the farewell.
    fn confirm(&mut self, confirmation: &PubAck) -> bool {
        self.last_confirmation = Instant::now();
        let (seq, topic, bytes) = match self.in_flight.remove(&confirmation.pkid) {
            Some(Sent::Alert { seq, topic, bytes }) => (seq, topic, bytes),
            Some(Sent::Availability) => {
                let topic = self.alerter.topics.availability();
                if let Verdict::Later(reason) | Verdict::Never(reason) = judge(confirmation.reason, &topic) {
                    self.complain(reason);
                }
                return false;
            }
            Some(Sent::Farewell) => return true,
            None => return false,
        };
        let deps = &self.alerter.deps;
        let label = metrics::outlet(OUTLET);
        match judge(confirmation.reason, &topic) {
            Verdict::Taken => {
                deps.metrics.delivered.get_or_create(&label).inc();
                deps.metrics.delivered_bytes.get_or_create(&label).inc_by(u64::try_from(bytes).unwrap_or(u64::MAX));
                let queue = &deps.queue;
                self.notes.push(Box::pin(async move { queue.ack(seq).await.context("note a delivered alert") }));
                if self.told_refusal.take().is_some() {
                    self.refusal_pause.reset();
                    deps.health.outlet(OUTLET, deps.clock.mono(), Ok(()));
                    info!("the broker takes alerts again");
                }
            }
            Verdict::Later(reason) => {
                deps.metrics.delivery_failures.get_or_create(&label).inc();
                if self.refused.is_empty() {
                    self.paused_until = Some(Instant::now() + self.refusal_pause.next_pause(Duration::ZERO));
                }
                self.refused.push(seq);
                self.complain(reason);
            }
            Verdict::Never(reason) => {
                deps.metrics.delivery_failures.get_or_create(&label).inc();
                self.reject(seq, reason);
            }
        }
        false
    }

    /// Shows a refusal; logs it once until it changes.
    fn complain(&mut self, reason: String) {
        let deps = &self.alerter.deps;
        deps.health.outlet(OUTLET, deps.clock.mono(), Err(reason.clone()));
        if self.told_refusal.as_ref() != Some(&reason) {
            warn!(%reason, "the broker refuses a message");
            self.told_refusal = Some(reason);
        }
    }

    fn reject(&mut self, seq: u64, reason: String) {
        error!(seq, %reason, "an alert cannot be delivered and is put aside");
        let queue = &self.alerter.deps.queue;
        self.notes.push(Box::pin(async move { queue.reject(seq, &reason).await.context("put an alert aside") }));
    }

    /// Once nothing is on the line, refused alerts and all after them go back in one go.
    fn give_back_refused(&mut self, feed: &Feed<'a>) {
        let alerts_on_the_line = self.handed.iter().chain(self.in_flight.values());
        if self.refused.is_empty() || alerts_on_the_line.into_iter().any(|sent| matches!(sent, Sent::Alert { .. })) {
            return;
        }
        feed.overtake();
        let back: Vec<u64> = self.refused.drain(..).chain(self.ready.drain(..).map(|item| item.seq)).collect();
        self.release(back);
    }

    fn release(&mut self, back: Vec<u64>) {
        let queue = &self.alerter.deps.queue;
        for seq in back {
            self.notes.push(Box::pin(async move { queue.release(seq).await.context("give an alert back") }));
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
        let topic = self.alerter.topics.availability();
        self.hand_over(client, &topic, b"stopped".to_vec(), Sent::Farewell)
    }

    /// The line broke. Confirmations that came just before still count.
    fn end(&mut self, failure: ConnectionError, mut eventloop: EventLoop, stopping: bool) -> Result<(), String> {
        for event in std::mem::take(&mut eventloop.state.events) {
            match event {
                Event::Incoming(Incoming::PubAck(confirmation)) => {
                    self.confirm(&confirmation);
                }
                Event::Outgoing(Outgoing::Publish(packet_id)) => {
                    if let Some(sent) = self.handed.pop_front() {
                        self.in_flight.insert(packet_id, sent);
                    }
                }
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
            let on_the_line = self.handed.drain(..).chain(self.in_flight.drain().map(|(_, sent)| sent));
            let unconfirmed: Vec<u64> = on_the_line
                .filter_map(|sent| if let Sent::Alert { seq, .. } = sent { Some(seq) } else { None })
                .collect();
            if failed {
                let lost = u64::try_from(unconfirmed.len()).unwrap_or(u64::MAX);
                let label = metrics::outlet(OUTLET);
                self.alerter.deps.metrics.delivery_failures.get_or_create(&label).inc_by(lost);
            }
            let rest = self.refused.drain(..).chain(self.ready.drain(..).map(|item| item.seq));
            let back = unconfirmed.into_iter().chain(rest).collect();
            self.release(back);
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
