//! One lane per camera: its alerts go out one after the other, while other cameras go on.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::metrics;
use crate::supervise::Backoff;

use super::digest::Parcel;
use super::feed::{Desk, Feed};
use super::request::{Outcome, Post};
use super::{Webhook, payload};

/// Requests under way at a time.
const REQUESTS: usize = 4;
/// Parcels that are held at most.
const HELD: usize = 1024;
/// Alerts that are leased at a time.
const LEASE: usize = 16;
/// How long an orderly stop waits for requests under way.
const STOP_WITHIN: Duration = Duration::from_millis(900);
/// How long the store may take to note the outcome then.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// Alerts of one camera, in their order.
struct Lane {
    parcels: VecDeque<Parcel>,
    /// The first of them is on its way.
    is_busy: bool,
    /// How often the receiver called the first of them wrong.
    tries: u32,
    backoff: Backoff,
    rests_until: Option<Instant>,
    /// Why its first parcel was not taken.
    trouble: Option<String>,
}

/// A request that came to its end.
struct Landed {
    camera: Arc<str>,
    bytes: u64,
    outcome: Outcome,
}

pub(super) struct Lanes<'a> {
    hook: &'a Webhook,
    lanes: BTreeMap<Arc<str>, Lane>,
    requests: FuturesUnordered<BoxFuture<'a, Landed>>,
    told: Option<String>,
}

impl<'a> Lanes<'a> {
    pub(super) fn new(hook: &'a Webhook) -> Self {
        Self { hook, lanes: BTreeMap::new(), requests: FuturesUnordered::new(), told: None }
    }

    /// Delivers until `stop`.
    ///
    /// # Errors
    /// When the queue is out of service.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Result<()> {
        let Webhook { deps, limits, heart, .. } = self.hook;
        let mut feed = Feed::new(Desk { queue: &*deps.queue, limits, clock: &*deps.clock, heart });
        let outcome = self.work(&mut feed, stop).await;
        let settled = tokio::time::timeout(SETTLE_WITHIN, self.settle(&mut feed));
        match settled.await {
            Ok(settled) => outcome.and(settled),
            Err(_) => {
                warn!("the alert queue did not answer in time, alerts may be sent twice");
                outcome
            }
        }
    }

    async fn work(&mut self, feed: &mut Feed<'a>, stop: &CancellationToken) -> Result<()> {
        loop {
            self.depart(feed).await?;
            let has_room = self.lanes.values().map(|lane| lane.parcels.len()).sum::<usize>() < HELD;
            let rest = self.next_rest();
            let rested = async {
                match rest {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            let heart = &self.hook.heart;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(landed) = heart.beating(self.requests.next()), if !self.requests.is_empty() => self.land(landed).await?,
                parcels = feed.next(LEASE), if has_room => {
                    for parcel in parcels.context("take alerts from the queue")? {
                        self.queue_up(parcel);
                    }
                }
                () = heart.beating(rested), if rest.is_some() => {}
            }
        }
    }

    fn queue_up(&mut self, parcel: Parcel) {
        let backoff = &self.hook.backoff;
        let lane = self.lanes.entry(parcel.camera().clone()).or_insert_with(|| Lane {
            parcels: VecDeque::new(),
            is_busy: false,
            tries: 0,
            backoff: backoff(),
            rests_until: None,
            trouble: None,
        });
        lane.parcels.push_back(parcel);
    }

    /// When the next lane has rested.
    fn next_rest(&self) -> Option<Instant> {
        self.lanes.values().filter(|lane| !lane.is_busy).filter_map(|lane| lane.rests_until).min()
    }

    /// Sends what may be sent now, the oldest first.
    async fn depart(&mut self, feed: &mut Feed<'a>) -> Result<()> {
        let now = Instant::now();
        while self.requests.len() < REQUESTS {
            for lane in self.lanes.values_mut() {
                lane.rests_until = lane.rests_until.filter(|until| *until > now);
            }
            let waiting = self.lanes.iter().filter(|(_, lane)| !lane.is_busy && lane.rests_until.is_none());
            let first = |lane: &Lane| lane.parcels.front().and_then(|parcel| parcel.seqs().first().copied());
            let oldest = waiting.filter_map(|(camera, lane)| Some((first(lane)?, camera.clone()))).min();
            let Some((_, camera)) = oldest else { return Ok(()) };
            if self.has_grown_old(&camera) {
                feed.overtake();
                self.give_back(&camera).await?;
                continue;
            }
            self.send(camera).await?;
        }
        Ok(())
    }

    /// Whether anything in the lane became too old to be told by itself while it waited here.
    fn has_grown_old(&self, camera: &Arc<str>) -> bool {
        let now = self.hook.deps.clock.now();
        let is_old = |parcel: &Parcel| match parcel {
            Parcel::Alert(item) => self.hook.limits.is_overdue(item, &now),
            Parcel::Digest(_) => false,
        };
        self.lanes.get(camera).is_some_and(|lane| lane.parcels.iter().any(is_old))
    }

    /// Back into the queue, to be taken out anew.
    async fn give_back(&mut self, camera: &Arc<str>) -> Result<()> {
        let Some(lane) = self.lanes.get_mut(camera) else { return Ok(()) };
        for seq in lane.parcels.drain(..).flat_map(|parcel| parcel.seqs()) {
            self.hook.deps.queue.release(seq).await.context("give an alert back")?;
        }
        Ok(())
    }

    /// Sends the first of a lane.
    async fn send(&mut self, camera: Arc<str>) -> Result<()> {
        let hook = self.hook;
        let Some(lane) = self.lanes.get_mut(&camera) else { return Ok(()) };
        let Some(parcel) = lane.parcels.front() else { return Ok(()) };
        let (seqs, now) = (parcel.seqs(), hook.deps.clock.now());
        let kind = if matches!(parcel, Parcel::Alert(_)) { "alert" } else { "digest" };
        let body = match payload::encode(parcel, &now, hook.deps.object_key.as_ref(), &hook.history) {
            Ok(body) => body,
            Err(failure) => return self.reject(&camera, format!("{failure:#}")).await,
        };
        lane.is_busy = true;
        let (seq, bytes) = (seqs.last().copied().unwrap_or_default(), body.len() as u64);
        self.requests.push(Box::pin(async move {
            let outcome = hook.sender.send(Post { body, kind, seq, now: now.wall }).await;
            Landed { camera, bytes, outcome }
        }));
        Ok(())
    }

    async fn land(&mut self, landed: Landed) -> Result<()> {
        let Landed { camera, bytes, outcome } = landed;
        let (hook, deps) = (self.hook, &self.hook.deps);
        let label = metrics::outlet(&hook.outlet);
        let Some(lane) = self.lanes.get_mut(&camera) else { return Ok(()) };
        lane.is_busy = false;
        let is_wrong = matches!(outcome, Outcome::Wrong(_));
        let (reason, rest) = match outcome {
            Outcome::Taken => {
                let parcel = lane.parcels.pop_front();
                (lane.tries, lane.rests_until, lane.trouble) = (0, None, None);
                lane.backoff.reset();
                let seqs = parcel.map(|parcel| parcel.seqs()).unwrap_or_default();
                deps.metrics.delivered.get_or_create(&label).inc_by(seqs.len() as u64);
                deps.metrics.delivered_bytes.get_or_create(&label).inc_by(bytes);
                self.say_well();
                return crate::alert::acknowledge(&*deps.queue, seqs).await;
            }
            Outcome::Wrong(reason) => (reason, None),
            Outcome::Later { reason, rest } => (reason, rest),
        };
        deps.metrics.delivery_failures.get_or_create(&label).inc();
        deps.health.outlet(&hook.outlet, deps.clock.mono(), Err(reason.clone()));
        if self.told.as_ref() != Some(&reason) {
            warn!(outlet = hook.outlet, %reason, "alerts wait, the receiver does not take them");
            self.told = Some(reason.clone());
        }
        lane.trouble = Some(reason.clone());
        lane.tries += u32::from(is_wrong);
        if lane.tries >= hook.tries {
            return self.reject(&camera, format!("{reason}, {} times", hook.tries)).await;
        }
        let pause = lane.backoff.next_pause(Duration::ZERO);
        lane.rests_until = Some(Instant::now() + rest.map_or(pause, |rest| rest.max(pause)));
        Ok(())
    }

    /// Something was taken: all is well, unless another lane is in trouble.
    fn say_well(&mut self) {
        if self.lanes.values().any(|lane| lane.trouble.is_some()) {
            return;
        }
        let (hook, deps) = (self.hook, &self.hook.deps);
        deps.health.outlet(&hook.outlet, deps.clock.mono(), Ok(()));
        if self.told.take().is_some() {
            info!(outlet = hook.outlet, "alerts are taken again");
        }
    }

    /// Puts the first of a lane aside.
    async fn reject(&mut self, camera: &Arc<str>, reason: String) -> Result<()> {
        let Some(lane) = self.lanes.get_mut(camera) else { return Ok(()) };
        (lane.tries, lane.rests_until, lane.trouble) = (0, None, None);
        let Some(parcel) = lane.parcels.pop_front() else { return Ok(()) };
        let seqs = parcel.seqs();
        error!(outlet = self.hook.outlet, seq = seqs.last(), %reason, "an alert cannot be delivered and is put aside");
        for seq in seqs {
            self.hook.deps.queue.reject(seq, &reason).await.context("put an alert aside")?;
        }
        Ok(())
    }

    /// The end: waits a little for what is under way, and gives back the rest.
    async fn settle(&mut self, feed: &mut Feed<'a>) -> Result<()> {
        let until = Instant::now() + STOP_WITHIN;
        while let Ok(Some(landed)) = tokio::time::timeout_at(until, self.requests.next()).await {
            self.land(landed).await?;
        }
        self.requests.clear();
        for parcel in feed.close().await {
            self.queue_up(parcel);
        }
        let cameras: Vec<Arc<str>> = self.lanes.keys().cloned().collect();
        for camera in cameras {
            self.give_back(&camera).await?;
        }
        Ok(())
    }
}
