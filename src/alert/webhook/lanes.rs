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
use super::feed::{Feed, FeedContext};
use super::request::{Outcome, Request};
use super::{Webhook, payload};
use crate::alert::failures::{Cause, Failures, Rule};

/// Requests under way at a time.
const REQUESTS: usize = 4;
/// Parcels that are held at most.
const HELD: usize = 1024;
/// Alerts that are leased at a time.
const LEASE: usize = 16;
/// Failures with others taken since the one before, after which an alert is put aside: an answer of 5xx does not say
/// what is the cause.
const AMONG_SUCCESSES: u32 = 5;
/// For how long an alert has to fail before it is put aside.
pub(super) const PATIENCE: Duration = Duration::from_secs(300);
/// Failures in a row after which the next alert of the same camera is tried, where no other camera's was taken for a
/// fifth of the time.
const PROBES_AFTER: u32 = 5;
/// How long an orderly stop waits for requests under way.
const STOP_WITHIN: Duration = Duration::from_millis(900);
/// How long the store may take to note the outcome then.
const SETTLE_WITHIN: Duration = Duration::from_secs(5);

/// Alerts of one camera, in their order.
struct Lane {
    parcels: VecDeque<Parcel>,
    /// One of them is on its way.
    is_busy: bool,
    /// The number of the first of them, and its failures that it may be the cause of, or the receiver.
    failures: Option<(u64, Failures)>,
    /// The last one before them was put aside for such failures.
    is_known: bool,
    /// How often the receiver called the first of them wrong.
    tries: u32,
    backoff: Backoff,
    rests_until: Option<Instant>,
    /// Why its first parcel was not taken.
    trouble: Option<String>,
}

impl Lane {
    /// What follows from a failure of the first of the lane, when the receiver has `taken` so many of all lanes. One that
    /// follows one which was put aside is not given the time again.
    fn judge(&mut self, taken: u64, patience: Duration) -> Step {
        let Some(seq) = self.parcels.front().and_then(|parcel| parcel.seqs().first().copied()) else {
            return Step::Retry;
        };
        let (now, patience) = (Instant::now(), if self.is_known { Duration::ZERO } else { patience });
        let known = self.failures.filter(|(known, _)| *known == seq).map(|(_, failures)| failures);
        let mut failures = known.unwrap_or_else(|| Failures::none(taken, now));
        let rule = Rule { failures: 1, among_successes: AMONG_SUCCESSES, lasting: patience };
        let cause = failures.add(taken, now, rule);
        self.failures = Some((seq, failures));
        match cause {
            Cause::Message => Step::PutAside(failures.count()),
            Cause::Unclear if failures.count() > PROBES_AFTER && failures.lasted(now) >= patience / 5 => Step::Probe,
            Cause::Unclear | Cause::LikelyMessage => Step::Retry,
        }
    }
}

/// What follows from a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// It is tried again.
    Retry,
    /// It is tried again, and the next of its lane is sent at once to see whether the receiver takes anything.
    Probe,
    /// It is put aside after so many failures.
    PutAside(u32),
}

/// A request that came to its end.
struct Landed {
    camera: Arc<str>,
    /// It was sent ahead of the first of its lane, to see whether the receiver takes anything.
    is_probe: bool,
    bytes: u64,
    outcome: Outcome,
}

pub(super) struct Lanes<'a> {
    hook: &'a Webhook,
    lanes: BTreeMap<Arc<str>, Lane>,
    requests: FuturesUnordered<BoxFuture<'a, Landed>>,
    /// The failure that was logged last, until the receiver takes something.
    logged: Option<String>,
    /// Parcels that the receiver took.
    taken: u64,
}

impl<'a> Lanes<'a> {
    pub(super) fn new(hook: &'a Webhook) -> Self {
        Self { hook, lanes: BTreeMap::new(), requests: FuturesUnordered::new(), logged: None, taken: 0 }
    }

    /// Delivers until `stop`.
    ///
    /// # Errors
    /// When the queue is out of service.
    pub(super) async fn run(mut self, stop: &CancellationToken) -> Result<()> {
        let Webhook { deps, limits, heartbeat, .. } = self.hook;
        let mut feed = Feed::new(FeedContext { queue: deps.queue.get(), limits, clock: &*deps.clock, heartbeat });
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
            let heartbeat = &self.hook.heartbeat;
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(landed) = heartbeat.beating(self.requests.next()), if !self.requests.is_empty() => self.land(landed).await?,
                parcels = feed.next(LEASE), if has_room => {
                    for parcel in parcels.context("take alerts from the queue")? {
                        self.queue_up(parcel);
                    }
                }
                () = heartbeat.beating(rested), if rest.is_some() => {}
            }
        }
    }

    fn queue_up(&mut self, parcel: Parcel) {
        let backoff = &self.hook.backoff;
        let lane = self.lanes.entry(parcel.camera().clone()).or_insert_with(|| Lane {
            parcels: VecDeque::new(),
            is_busy: false,
            failures: None,
            is_known: false,
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
            self.send(camera, false).await?;
        }
        Ok(())
    }

    /// Whether anything in the lane became too old to be published by itself while it waited here.
    fn has_grown_old(&self, camera: &Arc<str>) -> bool {
        let now = self.hook.deps.clock.now();
        let is_old = |parcel: &Parcel| match parcel {
            Parcel::Alert(item) => self.hook.limits.is_overdue(item, &now),
            Parcel::Digest(_) | Parcel::Post(_) => false,
        };
        self.lanes.get(camera).is_some_and(|lane| lane.parcels.iter().any(is_old))
    }

    /// Back into the queue, to be taken out again.
    async fn give_back(&mut self, camera: &Arc<str>) -> Result<()> {
        let Some(lane) = self.lanes.get_mut(camera) else { return Ok(()) };
        for seq in lane.parcels.drain(..).flat_map(|parcel| parcel.seqs()) {
            self.hook.deps.queue.get().release(seq).await.context("give an alert back")?;
        }
        Ok(())
    }

    /// Sends the first of a lane, or the second as a probe.
    async fn send(&mut self, camera: Arc<str>, is_probe: bool) -> Result<()> {
        let hook = self.hook;
        let Some(lane) = self.lanes.get_mut(&camera) else { return Ok(()) };
        let Some(parcel) = lane.parcels.get(usize::from(is_probe)) else { return Ok(()) };
        let (seqs, now) = (parcel.seqs(), hook.deps.clock.now());
        let seq = seqs.last().copied().unwrap_or_default();
        if let Parcel::Post(post) = parcel {
            let post = post.clone();
            lane.is_busy = true;
            self.requests.push(Box::pin(async move {
                let (bytes, outcome) = hook.post(&post, &now).await;
                Landed { camera, is_probe, bytes, outcome }
            }));
            return Ok(());
        }
        let kind = if matches!(parcel, Parcel::Alert(_)) { "alert" } else { "digest" };
        let body = match payload::encode(parcel, &now, hook.deps.object_key.as_ref(), &hook.history) {
            Ok(body) => body,
            Err(_) if is_probe => return Ok(()),
            Err(failure) => return self.reject(&camera, format!("{failure:#}")).await,
        };
        lane.is_busy = true;
        let bytes = body.len() as u64;
        self.requests.push(Box::pin(async move {
            let outcome = hook.sender.send(Request { body, kind, seq, now: now.wall }).await;
            Landed { camera, is_probe, bytes, outcome }
        }));
        Ok(())
    }

    async fn land(&mut self, landed: Landed) -> Result<()> {
        let Landed { camera, is_probe, bytes, outcome } = landed;
        let label = metrics::outlet(self.hook.destination.as_str());
        let Some(lane) = self.lanes.get_mut(&camera) else { return Ok(()) };
        lane.is_busy = false;
        if outcome == Outcome::Taken {
            return self.take(&camera, is_probe, bytes).await;
        }
        self.hook.deps.metrics.delivery_failures.get_or_create(&label).inc();
        // A probe that fails says that the receiver is down, which the first of the lane said before.
        if is_probe { Ok(()) } else { self.fail(camera, outcome).await }
    }

    /// The receiver has the first of a lane, or the probe behind it.
    async fn take(&mut self, camera: &Arc<str>, is_probe: bool, bytes: u64) -> Result<()> {
        let (deps, label) = (&self.hook.deps, metrics::outlet(self.hook.destination.as_str()));
        let Some(lane) = self.lanes.get_mut(camera) else { return Ok(()) };
        self.taken += 1;
        let parcel = lane.parcels.remove(usize::from(is_probe));
        if !is_probe {
            (lane.tries, lane.rests_until, lane.trouble) = (0, None, None);
            (lane.failures, lane.is_known) = (None, false);
            lane.backoff.reset();
        }
        let seqs = parcel.map(|parcel| parcel.seqs()).unwrap_or_default();
        deps.metrics.delivered.get_or_create(&label).inc_by(seqs.len() as u64);
        deps.metrics.delivered_bytes.get_or_create(&label).inc_by(bytes);
        self.say_well();
        crate::alert::acknowledge(deps.queue.get(), seqs).await
    }

    /// The first of a lane was not taken: it is tried again, or put aside.
    async fn fail(&mut self, camera: Arc<str>, outcome: Outcome) -> Result<()> {
        let (hook, deps) = (self.hook, &self.hook.deps);
        let Some(lane) = self.lanes.get_mut(&camera) else { return Ok(()) };
        let is_wrong = matches!(outcome, Outcome::Wrong(_));
        let (reason, rest, may_be_its_own) = match outcome {
            Outcome::Taken => return Ok(()),
            Outcome::Gone(reason) => return self.reject(&camera, reason).await,
            Outcome::Wrong(reason) => (reason, None, false),
            Outcome::Later { reason, rest, may_be_its_own } => (reason, rest, may_be_its_own),
        };
        deps.health.outlet(hook.destination.as_str(), deps.clock.mono(), Err(reason.clone()));
        if self.logged.as_ref() != Some(&reason) {
            warn!(outlet = %hook.destination, %reason, "alerts wait, the receiver does not take them");
            self.logged = Some(reason.clone());
        }
        lane.trouble = Some(reason.clone());
        lane.tries += u32::from(is_wrong);
        if lane.tries >= hook.tries {
            return self.reject(&camera, format!("{reason}, {} times", hook.tries)).await;
        }
        let step = if may_be_its_own { lane.judge(self.taken, hook.patience) } else { Step::Retry };
        if let Step::PutAside(times) = step {
            lane.is_known = true;
            let reason = format!("{reason}, {times} times, and took other alerts between them");
            return self.reject(&camera, reason).await;
        }
        let pause = lane.backoff.next_pause(Duration::ZERO);
        lane.rests_until = Some(Instant::now() + rest.map_or(pause, |rest| rest.max(pause)));
        if step == Step::Probe { self.send(camera, true).await } else { Ok(()) }
    }

    /// Something was taken: all is well, unless another lane is in trouble.
    fn say_well(&mut self) {
        if self.lanes.values().any(|lane| lane.trouble.is_some()) {
            return;
        }
        let (hook, deps) = (self.hook, &self.hook.deps);
        deps.health.outlet(hook.destination.as_str(), deps.clock.mono(), Ok(()));
        if self.logged.take().is_some() {
            info!(outlet = %hook.destination, "alerts are taken again");
        }
    }

    /// Puts the first of a lane aside.
    async fn reject(&mut self, camera: &Arc<str>, reason: String) -> Result<()> {
        let Some(lane) = self.lanes.get_mut(camera) else { return Ok(()) };
        (lane.tries, lane.rests_until, lane.trouble, lane.failures) = (0, None, None, None);
        lane.backoff.reset();
        let Some(parcel) = lane.parcels.pop_front() else { return Ok(()) };
        let seqs = parcel.seqs();
        error!(outlet = %self.hook.destination, seq = seqs.last(), %reason, "an alert cannot be delivered and is put aside");
        for seq in seqs {
            self.hook.deps.queue.get().reject(seq, &reason).await.context("put an alert aside")?;
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
