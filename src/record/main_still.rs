//! Stills of the main stream, where detection looks at a substream: decoding the one picture that they are made of.
//!
//! A recorder orders them and goes on; a thread of the camera makes them of packets that were in the ring. Of all cameras,
//! one decodes at a time. What fails, comes too late or is too much work has no consequence but that the stills of the small
//! picture stay.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use parking_lot::{Condvar, Mutex};
use tokio::sync::oneshot;
use tracing::{debug, info_span};

use super::snapshot::Stills;
use crate::clock::{Clock, Mono};
use crate::decode::{self, Decoder};
use crate::detection::BBox;
use crate::frame::{Frame, Packet};
use crate::load::{LoadLevel, Pressure};
use crate::supervise::{Context, Hang, MOST_ABANDONED, Spec, ThreadBody};

/// A picture that was taken further than this from the look may show the object elsewhere.
const TOLERANCE: Duration = Duration::from_millis(250);
/// Decoding takes no longer than this.
const DECODES_WITHIN: Duration = Duration::from_secs(10);
/// One whose turn lasts longer hangs, and the others no longer wait for it.
const TURN_LASTS: Duration = Duration::from_secs(30);
/// A thread that is silent for this long hangs.
const HANGS_AFTER: Duration = Duration::from_secs(60);
/// Coding the stills of the largest picture, after the stop.
const ENDS_WITHIN: Duration = Duration::from_secs(10);
/// How often a thread without work shows that it lives.
const TICK: Duration = Duration::from_secs(1);
/// From this level on, processor time is for other work, as with previews.
const SHED_FROM: LoadLevel = LoadLevel::LightModel;
/// What the log says of one that was restarted.
const RESTARTED: &str = "stills that were ordered keep the size of the substream";

/// What stills are made of.
#[derive(Debug)]
pub(super) struct Order {
    /// From a key frame on, up to the picture and some behind it, in the order of decoding.
    pub packets: Vec<Packet>,
    /// When the picture was taken that was looked at.
    pub at: Mono,
    /// The object in it.
    pub bbox: BBox,
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// Pixels of the picture that was looked at: one that has fewer is no better.
    pub least_pixels: u64,
}

/// An order was not taken.
#[derive(Debug, thiserror::Error)]
#[error("too many stills are waiting to be made")]
pub(super) struct Full;

/// Takes the orders of one camera. Clones are one.
#[derive(Clone, Debug)]
pub struct StillQueue(SyncSender<(Order, oneshot::Sender<Stills>)>);

/// Where the orders arrive.
#[derive(Debug)]
pub struct StillOrders(Receiver<(Order, oneshot::Sender<Stills>)>);

impl StillQueue {
    /// Holds `capacity` orders; more are refused.
    pub fn new(capacity: usize) -> (Self, StillOrders) {
        let (queue, orders) = sync_channel(capacity);
        (Self(queue), StillOrders(orders))
    }

    /// Orders stills. Never waits. The receiver is closed without them when there will be none; dropped, it withdraws the
    /// order.
    ///
    /// # Errors
    /// When too many wait already. After the stop the receiver is closed.
    pub(super) fn order(&self, order: Order) -> Result<oneshot::Receiver<Stills>, Full> {
        let (reply, stills) = oneshot::channel();
        match self.0.try_send((order, reply)) {
            Ok(()) | Err(TrySendError::Disconnected(_)) => Ok(stills),
            Err(TrySendError::Full(_)) => Err(Full),
        }
    }
}

/// The turn of one of all cameras to decode, so that together they take one core at most. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct StillTurn(Arc<(Mutex<Option<Mono>>, Condvar)>);

impl StillTurn {
    /// Waits for the turn for a while; `None` when it did not come.
    fn take(&self, clock: &dyn Clock) -> Option<Turn<'_>> {
        let (taken, freed) = &*self.0;
        let mut taken = taken.lock();
        let is_free = |taken: &Option<Mono>| taken.is_none_or(|since| clock.mono().since(since) > TURN_LASTS);
        if !is_free(&taken) {
            freed.wait_for(&mut taken, TICK);
        }
        if !is_free(&taken) {
            return None;
        }
        let since = clock.mono();
        *taken = Some(since);
        Some(Turn { of: self, since })
    }
}

struct Turn<'a> {
    of: &'a StillTurn,
    since: Mono,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let (taken, freed) = &*self.of.0;
        let mut taken = taken.lock();
        // One that hung does not end the turn of another.
        if *taken == Some(self.since) {
            *taken = None;
            freed.notify_one();
        }
    }
}

/// The thread that makes the stills of `camera`. One that hangs is replaced.
pub fn spec(camera: &Arc<str>) -> Spec {
    Spec::of_camera("stills", camera)
        .thread_name(format!("sti-{camera}"))
        .heartbeat(HANGS_AFTER, Hang::Replace { most: MOST_ABANDONED })
        .consequence(RESTARTED)
        .ends_within(ENDS_WITHIN)
}

/// The runs of that thread, each of which takes over the orders.
pub fn runs(
    camera: &Arc<str>,
    turn: StillTurn,
    pressure: Pressure,
    clock: Arc<dyn Clock>,
) -> impl FnMut() -> Option<ThreadBody<StillOrders>> + Send + 'static {
    let camera = camera.clone();
    move || {
        let span = info_span!("stills", camera = %camera);
        let maker = Maker { turn: turn.clone(), pressure: pressure.clone(), clock: clock.clone() };
        Some(Box::new(move |owned| {
            span.in_scope(|| maker.run(&owned));
            Ok(())
        }))
    }
}

struct Maker {
    turn: StillTurn,
    pressure: Pressure,
    clock: Arc<dyn Clock>,
}

impl Maker {
    /// Works until the recorder is gone, the stop, or another thread took over.
    fn run(&self, owned: &Context<StillOrders>) {
        while !owned.stop().is_cancelled() {
            owned.beat();
            match owned.with(|orders| orders.0.recv_timeout(TICK)) {
                Some(Ok((order, reply))) => match self.make(&order, &reply, owned) {
                    // The event may be over.
                    Ok(stills) => drop(reply.send(stills)),
                    Err(failure) => {
                        debug!(reason = format!("{failure:#}"), "a snapshot keeps the size of the substream")
                    }
                },
                Some(Err(RecvTimeoutError::Timeout)) => {}
                Some(Err(RecvTimeoutError::Disconnected)) | None => return,
            }
        }
    }

    fn make(&self, order: &Order, reply: &oneshot::Sender<Stills>, owned: &Context<StillOrders>) -> Result<Stills> {
        let check = || {
            owned.beat();
            ensure!(!reply.is_closed() && !owned.stop().is_cancelled(), "it is not wanted any more");
            ensure!(self.pressure.level() < SHED_FROM, "too much to do");
            Ok(())
        };
        let _turn = loop {
            check()?;
            if let Some(turn) = self.turn.take(&*self.clock) {
                break turn;
            }
        };
        let began = self.clock.mono();
        let frame = decode(&order.packets, order.at, || {
            check()?;
            ensure!(self.clock.mono().since(began) <= DECODES_WITHIN, "it takes longer than {DECODES_WITHIN:?}");
            Ok(())
        })?;
        let pixels = u64::from(frame.picture.width()) * u64::from(frame.picture.height());
        ensure!(pixels >= order.least_pixels, "the main stream's picture is smaller");
        Stills::of(&frame, &order.bbox, order.quality)
    }
}

/// When the picture among `packets` was taken that was taken nearest to `at`.
pub(super) fn nearest<'a>(packets: impl IntoIterator<Item = &'a Packet>, at: Mono) -> Option<Mono> {
    packets.into_iter().map(Packet::pts).min_by_key(|taken| taken.0.abs_diff(at.0))
}

/// Whether a picture that was taken at `taken` may stand for one of `at`.
pub(super) fn is_near(taken: Mono, at: Mono) -> bool {
    u128::from(taken.0.abs_diff(at.0)) <= TOLERANCE.as_nanos()
}

/// Decodes of `packets` as many as give the picture that was taken nearest to `at`, or where that is damaged, the one that
/// is nearest then. `check` comes before each packet and may end it.
fn decode(packets: &[Packet], at: Mono, check: impl Fn() -> Result<()>) -> Result<Frame> {
    let wanted = nearest(packets, at);
    let mut decoder = Decoder::new(decode::Config::default());
    let (mut best, mut failure): (Option<Frame>, _) = (None, None);
    let keep = |best: &mut Option<Frame>, frames: Vec<Frame>| {
        *best = best.take().into_iter().chain(frames).min_by_key(|frame| frame.at.0.abs_diff(at.0));
    };
    for packet in packets {
        check()?;
        match decoder.decode(packet) {
            Ok(frames) => keep(&mut best, frames),
            Err(error) => failure = Some(error),
        }
        if best.as_ref().map(|best| best.at) == wanted {
            break;
        }
    }
    if best.as_ref().map(|best| best.at) != wanted {
        keep(&mut best, decoder.flush());
    }
    match (best, failure) {
        (Some(frame), _) if is_near(frame.at, at) => Ok(frame),
        (_, Some(failure)) => Err(failure).context("the main stream's picture does not decode"),
        _ => bail!("the main stream has no whole picture within {TOLERANCE:?} of the look"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SimulatedClock;

    #[test]
    fn one_decodes_at_a_time_and_one_that_hangs_does_not_keep_the_turn() {
        let clock = SimulatedClock::new(Mono(0), jiff::Timestamp::UNIX_EPOCH);
        let turn = StillTurn::default();
        let first = turn.take(&clock).expect("free");
        assert!(turn.clone().take(&clock).is_none(), "it is the first one's");
        drop(first);
        let hung = turn.take(&clock).expect("free again");
        clock.advance(TURN_LASTS + Duration::from_secs(1));
        let next = turn.take(&clock).expect("the one before hangs");
        drop(hung);
        assert!(turn.take(&clock).is_none(), "one that wakes up does not end the turn of another");
        drop(next);
        assert!(turn.take(&clock).is_some());
    }
}
