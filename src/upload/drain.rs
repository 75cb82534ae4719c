//! The loop of an uploader: connect, send until something is wrong, begin again.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use tracing::{Instrument, info_span};

use super::link::{Failure, Link};
use super::plan::{Busy, Plan, Turn};
use super::remote::Remote;
use super::transfer::Transfer;
use super::{Checksum, Uploader};
use crate::health::LinkState;
use crate::store::{Lane, Lease, Order, Outbox, StoreError, Wanted};

/// How often is looked for uploads that have begun and were left behind, apart from after each failure.
const TIDY_EVERY: Duration = Duration::from_secs(600);
/// While files arrive one after the other, how often is shown what is on its way.
const SHOW_EVERY: Duration = Duration::from_millis(100);
/// Acknowledgements that are on their way to the disk, at most.
const ACKNOWLEDGING: usize = 64;

/// How one item went.
struct Outcome {
    lease: Lease,
    lane: Lane,
    result: Result<(), Failure>,
}

impl Uploader {
    /// Sends for ever.
    ///
    /// # Errors
    /// When the store is out of service.
    pub(super) async fn drain(&self) -> Result<()> {
        let (mut link, mut plan) = ((self.link)(), Plan::default());
        loop {
            self.show(&link);
            if let Some(pause) = link.take_pause() {
                self.heartbeat.beating(tokio::time::sleep(pause)).await;
            }
            self.heartbeat.beat();
            self.show(&link);
            self.rules.ask().await;
            if self.rules.permit().up_to.is_none() {
                self.heartbeat.beating(self.rules.changed()).await;
                continue;
            }
            // Made afresh after every failure: that reads secrets that were replaced, finds a disk that was mounted
            // again, and does not wait for connections that died with the link.
            let destination = match self.connect().await {
                Ok(destination) => destination,
                Err(failure) => {
                    self.note_failure(&mut link, &failure);
                    continue;
                }
            };
            self.send_until_failure(&destination, &mut link, &mut plan).await?;
        }
    }

    async fn connect(&self) -> Result<Remote, Failure> {
        let (open, mut config, limiter) = (self.open.clone(), self.config.clone(), self.limiter.clone());
        if self.without_checksums.load(Ordering::Relaxed) {
            config.checksum = Checksum::Off;
        }
        let opened = tokio::task::spawn_blocking(move || (open.0)(&config, &limiter)).await;
        opened.map_err(|e| Failure::Link(e.to_string()))?
    }

    /// Works with as many items at a time as the link is good for, until a failure that concerns all of them or a rule
    /// that lets nothing go.
    async fn send_until_failure(&self, destination: &Remote, link: &mut Link, plan: &mut Plan) -> Result<()> {
        let (mut transfers, mut busy, mut ahead) = (FuturesUnordered::new(), Busy::default(), Ahead::new());
        // Apart from the transfers, so that these go on meanwhile.
        let (mut arrived, mut acks) = (Arrived::default(), FuturesUnordered::new());
        let (mut tidied, mut shown): (Option<Instant>, Option<Instant>) = (None, None);
        while !link.is_paused() {
            let permit = self.rules.permit();
            let Some(up_to) = permit.up_to else { break };
            let mut found = true;
            // After a failure one item has to get through before the others follow.
            let places = link.places(self.config.parallel);
            while let Some(turn) = plan.next(busy, places, up_to).filter(|_| found && acks.len() < ACKNOWLEDGING) {
                let Some(lease) = ahead.next(&self.outbox, turn).await.context("lease items")? else {
                    found = false;
                    break;
                };
                plan.took(turn);
                let lane = Lane::of(&lease.item);
                *busy.of(lane) += 1;
                transfers.push(self.send(destination, lease, lane));
            }
            // A transfer in flight has to show that it goes on by itself.
            let idle = transfers.is_empty();
            if idle || shown.is_none_or(|shown| shown.elapsed() >= SHOW_EVERY) {
                self.show(link);
                shown = Some(Instant::now());
            }
            let updates = async {
                let updates = async {
                    tokio::select! {
                        () = self.outbox.wait(), if !found => {}
                        () = self.rules.changed() => {}
                    }
                };
                if idle { self.heartbeat.beating(updates).await } else { updates.await }
            };
            tokio::select! {
                Some(outcome) = transfers.next() => {
                    let Outcome { lease, lane, result } = outcome;
                    *busy.of(lane) -= 1;
                    if result.is_err() {
                        tidied = None;
                    }
                    if let Some(lease) = self.settle(lease, result, link).await? {
                        ahead.arrived();
                        arrived.add(lease);
                    }
                }
                () = arrived.wait() => {}
                Some(acknowledged) = acks.next() => {
                    let acknowledged: Result<()> = acknowledged;
                    acknowledged?;
                }
                () = updates => {}
            }
            if transfers.is_empty() || arrived.are_enough() {
                acks.extend(arrived.take().map(|lease| self.acknowledge(lease)));
            }
            let due = tidied.is_none_or(|tidied| tidied.elapsed() >= TIDY_EVERY);
            if transfers.is_empty()
                && acks.is_empty()
                && due
                && matches!(link.state(), LinkState::Online | LinkState::Degraded)
            {
                tidied = Some(Instant::now());
                self.tidy(destination).await;
            }
        }
        // The rest is in flight and learns by itself how it goes.
        loop {
            acks.extend(arrived.take().map(|lease| self.acknowledge(lease)));
            tokio::select! {
                Some(Outcome { lease, result, .. }) = transfers.next() => {
                    self.settle(lease, result, link).await?.into_iter().for_each(|lease| arrived.add(lease));
                }
                Some(acknowledged) = acks.next() => acknowledged?,
                else => return Ok(()),
            }
        }
    }

    async fn acknowledge(&self, lease: Lease) -> Result<()> {
        self.outbox.ack(&lease).await.context("acknowledge an item")
    }

    /// Removes what earlier transfers left. Nothing must be on its way.
    async fn tidy(&self, destination: &Remote) {
        self.begun.tidy(destination, &self.outbox).await;
        if let Some(sealer) = &self.sealer {
            sealer.tidy(&self.outbox).await;
        }
    }

    async fn send(&self, destination: &Remote, lease: Lease, lane: Lane) -> Outcome {
        let transfer = Transfer { uploader: self, destination, lease: &lease, lane };
        let span = match &lease.event {
            Some(event) => info_span!("transfer", event = %event.id, camera = %event.camera),
            None => info_span!("transfer"),
        };
        let result = transfer.run().instrument(span).await;
        self.current.lock().remove(&lease.seq);
        Outcome { lease, lane, result }
    }
}

/// What is leased ahead of its turn: small files, as many as go in half a second. Each lease waits for a commit of the
/// index, so that leasing them one by one would take longer than sending them; and nothing newer has to wait for more
/// than that.
struct Ahead {
    leases: VecDeque<Lease>,
    since: Instant,
    /// Files that arrived since then.
    arrived: usize,
    most: usize,
}

impl Ahead {
    /// Largest number that is leased.
    const MOST: usize = 32;
    const REACH: Duration = Duration::from_millis(500);
    const PERIOD: Duration = Duration::from_millis(100);

    fn new() -> Self {
        Self { leases: VecDeque::new(), since: Instant::now(), arrived: 0, most: 1 }
    }

    fn arrived(&mut self) {
        self.arrived += 1;
        let elapsed = self.since.elapsed();
        if elapsed >= Self::PERIOD {
            let fitting = self.arrived as f64 * Self::REACH.as_secs_f64() / elapsed.as_secs_f64();
            self.most = (fitting as usize).clamp(1, Self::MOST);
            (self.since, self.arrived) = (Instant::now(), 0);
        }
    }

    async fn next(&mut self, outbox: &Outbox, turn: Turn) -> Result<Option<Lease>, StoreError> {
        let Turn { wanted, .. } = turn;
        if wanted.order == Order::Value && self.leases.is_empty() && self.most > 1 {
            let small = Wanted { max: self.most, up_to: wanted.up_to.min(Lane::Stills), ..wanted };
            self.leases = outbox.pick(small).await?.into();
        }
        if wanted.order == Order::Value
            && let Some(lease) = self.leases.pop_front()
        {
            return Ok(Some(lease));
        }
        let picked = outbox.pick(wanted).await?.pop();
        // The oldest may be among those that are leased already.
        Ok(picked.or_else(|| self.leases.pop_front()))
    }
}

/// Files that arrived and are to be acknowledged together: neighbours in the index share the work of a commit. What is
/// not acknowledged is sent again after a power cut, so they are few, small, and wait for a moment only.
#[derive(Default)]
struct Arrived {
    leases: Vec<Lease>,
    bytes: u64,
    /// When the first of them arrived.
    since: Option<Instant>,
}

impl Arrived {
    const MOST: usize = 32;
    const MOST_BYTES: u64 = 1 << 20;
    const LONGEST: Duration = Duration::from_millis(200);

    fn add(&mut self, lease: Lease) {
        self.bytes += lease.item.bytes();
        self.since.get_or_insert_with(Instant::now);
        self.leases.push(lease);
    }

    fn are_enough(&self) -> bool {
        let waited = self.since.is_some_and(|since| since.elapsed() >= Self::LONGEST);
        waited || self.leases.len() >= Self::MOST || self.bytes >= Self::MOST_BYTES
    }

    /// Returns when they have waited for long enough.
    async fn wait(&self) {
        match self.since {
            Some(since) => tokio::time::sleep_until(since + Self::LONGEST).await,
            None => std::future::pending().await,
        }
    }

    fn take(&mut self) -> impl Iterator<Item = Lease> + use<> {
        std::mem::take(self).leases.into_iter()
    }
}
