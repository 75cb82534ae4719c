//! The stills of one event: which look they show, and whether that is on the disk.
//!
//! Where detection looks at a substream, its picture stands until that of the main stream is made. The first look is ordered
//! at once, so that people see it large while the event lasts; after that only the best one, when the event ends. So no
//! more is decoded than two pictures for each event, however often a better look comes.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;
use tracing::{debug, warn};

use super::main_still::{Full, Order, StillQueue, is_near, nearest};
use super::preroll::Preroll;
use super::snapshot::Stills;
use crate::archive::Archive;
use crate::archive::space::is_full;
use crate::clock::Mono;
use crate::detection::BBox;
use crate::event::{Event, MediaSkipped};
use crate::frame::{Frame, Packet};
use crate::metrics::{camera, dropped};
use crate::store::Change;

/// More pictures than this are not decoded for one: ten seconds of 30 a second.
const MOST_PICTURES: usize = 300;
/// Nor more pixels: as many pictures of 1920x1080, or 75 of 3840x2160.
const MOST_PIXELS: u64 = 300 * 1920 * 1080;
/// An event keeps no more of the stream than this until it ends.
const MOST_BYTES: usize = 16 << 20;
/// The main stream may be so much later than the substream.
const COMES_WITHIN: Duration = Duration::from_secs(2);
/// How long the end of an event is put off for its stills.
const MADE_WITHIN: Duration = Duration::from_secs(12);

/// The stills of one event.
#[derive(Debug, Default)]
pub(super) struct EventStills {
    /// There is a better look than the one on the disk.
    are_old: bool,
    large: Option<Large>,
}

impl EventStills {
    /// Stills of the main stream are ordered through `queue` from the next look on.
    pub(super) fn order_through(&mut self, queue: StillQueue) {
        self.large = Some(Large { queue, wanted: None, ordered: None, best: Mono::default(), is_first_over: false });
    }

    /// `seen`, with the object in `bbox`, is the best look from now on, and is not on the disk.
    pub(super) fn look(&mut self, archive: &Archive, seen: &Frame, bbox: BBox) {
        self.are_old = true;
        self.want_large(archive, seen, bbox);
    }

    /// Wants a look from the main stream, where there is a substream.
    pub(super) fn want_large(&mut self, archive: &Archive, seen: &Frame, bbox: BBox) {
        if let Some(large) = &mut self.large {
            large.want(seen, bbox, archive.config.snapshot_quality, archive.clock.mono());
        }
    }

    /// Takes what the large stills are decoded from out of the ring, once it is there.
    pub(super) fn collect(&mut self, ring: &Preroll, now: Mono) {
        if let Some(large) = &mut self.large {
            large.collect(ring, now);
        }
    }

    /// Whether [`EventStills::collect`] has something to do.
    pub(super) fn await_packets(&self) -> bool {
        self.large.as_ref().and_then(|large| large.wanted.as_ref()).is_some_and(|wanted| !wanted.is_complete)
    }

    /// Whether large stills may still come that the end of the event is put off for.
    pub(super) fn are_awaited(&self, now: Mono) -> bool {
        self.large.as_ref().is_some_and(|large| large.is_awaited(now))
    }

    /// Writes the stills of `seen`, unless they are on the disk.
    pub(super) fn refresh(&mut self, archive: &Archive, folder: &Path, event: &mut Event, seen: &Frame, bbox: &BBox) {
        self.take_large(archive, folder, event);
        if !std::mem::take(&mut self.are_old) {
            return;
        }
        if !archive.level().has_stills() {
            skip_media(archive, event);
            return;
        }
        self.write(archive, folder, event, Stills::of(seen, bbox, archive.config.snapshot_quality));
    }

    /// Orders large stills when it is time, and writes those that are made.
    pub(super) fn look_after(&mut self, archive: &Archive, folder: &Path, event: &mut Event, now: Mono) {
        let Some(large) = &mut self.large else { return };
        if let Err(full) = large.order(event.end.is_some(), now) {
            debug!(event = %event.id, reason = %full, "the snapshot keeps the size of the substream");
            archive.metrics.dropped.get_or_create(&dropped(&event.camera, "stills_queue")).inc();
        }
        // What is shown at the end is recorded with it.
        if self.take_large(archive, folder, event) && event.end.is_none() {
            show(archive, event);
        }
    }

    /// Writes large stills in the place of the small ones; gives whether there were any.
    fn take_large(&mut self, archive: &Archive, folder: &Path, event: &mut Event) -> bool {
        let made = self.large.as_mut().and_then(Large::made);
        let Some((stills, is_best)) = made.filter(|_| archive.level().has_stills()) else { return false };
        // A better look that came meanwhile still has to be shown.
        self.are_old &= !is_best;
        self.write(archive, folder, event, Ok(stills));
        true
    }

    fn write(&mut self, archive: &Archive, folder: &Path, event: &mut Event, stills: Result<Stills>) {
        match stills.and_then(|stills| stills.write(folder, &mut event.pictures)) {
            Ok(()) => {}
            Err(failure) if is_full(&failure) => {
                // At the end there may be room for them.
                self.are_old = true;
                skip_media(archive, event);
                archive.room.low.notify_one();
                warn!(event = %event.id, "no snapshot: the volume is full");
            }
            Err(failure) => warn!(event = %event.id, error = format!("{failure:#}"), "no snapshot"),
        }
    }
}

/// Notes that the event has fewer media than it should.
pub(super) fn skip_media(archive: &Archive, event: &mut Event) {
    if event.media_skipped.replace(MediaSkipped::NoSpace).is_none() {
        archive.metrics.media_skipped.get_or_create(&camera(&event.camera)).inc();
    }
}

/// Shows the stills of an event in progress on the page; receivers of the alert need no update for them.
pub(super) fn show(archive: &Archive, event: &Event) {
    let shown = Change { event: event.clone(), deliveries: Vec::new() };
    if let Err(failure) = archive.store.events().record(shown) {
        warn!(event = %event.id, error = %failure, "show the snapshot");
    }
}

/// What an event wants of the main stream.
#[derive(Debug)]
struct Large {
    queue: StillQueue,
    wanted: Option<Wanted>,
    ordered: Option<Ordered>,
    /// When the picture of the best look was taken.
    best: Mono,
    /// The first look was ordered, or cannot be.
    is_first_over: bool,
}

/// A look whose picture is wanted from the main stream.
#[derive(Debug)]
struct Wanted {
    order: Order,
    /// The packets are there.
    is_complete: bool,
    since: Mono,
}

#[derive(Debug)]
struct Ordered {
    stills: oneshot::Receiver<Stills>,
    /// When the picture was taken that was looked at.
    of: Mono,
    since: Mono,
}

impl Large {
    /// `seen`, with the object in `bbox`, is the best look of the event from `now` on.
    fn want(&mut self, seen: &Frame, bbox: BBox, quality: u8, now: Mono) {
        let least_pixels = u64::from(seen.picture.width()) * u64::from(seen.picture.height());
        let order = Order { packets: Vec::new(), at: seen.at, bbox, quality, least_pixels };
        self.best = seen.at;
        self.wanted = Some(Wanted { order, is_complete: false, since: now });
    }

    /// Takes what the wanted picture is decoded from out of the ring, once it is there. Where it is not, or is too much,
    /// the picture is given up.
    fn collect(&mut self, ring: &Preroll, now: Mono) {
        let Some(wanted) = self.wanted.as_mut().filter(|wanted| !wanted.is_complete) else { return };
        let at = wanted.order.at;
        if !ring.reaches(at) && now.since(wanted.since) < COMES_WITHIN {
            return;
        }
        let packets = ring.nearest(at);
        if is_suitable(&packets, at) {
            wanted.order.packets = packets.into_iter().cloned().collect();
            wanted.is_complete = true;
        } else {
            (self.wanted, self.is_first_over) = (None, true);
        }
    }

    /// Orders what is wanted when it is time: the first look at once, others when the event `is_over`.
    ///
    /// # Errors
    /// When too many stills are waiting to be made. The picture is given up then.
    fn order(&mut self, is_over: bool, now: Mono) -> Result<(), Full> {
        if self.is_first_over && !is_over {
            return Ok(());
        }
        let Some(Wanted { order, .. }) = self.wanted.take_if(|wanted| wanted.is_complete) else { return Ok(()) };
        self.is_first_over = true;
        let of = order.at;
        // One that is still waiting is withdrawn: this is the better one.
        self.ordered = None;
        self.ordered = Some(Ordered { stills: self.queue.order(order)?, of, since: now });
        Ok(())
    }

    /// The stills that were ordered, once they are made, and whether they are of the best look.
    fn made(&mut self) -> Option<(Stills, bool)> {
        let ordered = self.ordered.as_mut()?;
        let (made, of) = (ordered.stills.try_recv(), ordered.of);
        if !matches!(made, Err(TryRecvError::Empty)) {
            self.ordered = None;
        }
        Some((made.ok()?, of == self.best))
    }

    /// Whether stills may still come that the end of the event is put off for.
    fn is_awaited(&self, now: Mono) -> bool {
        let is_ordered = self.ordered.as_ref().is_some_and(|ordered| now.since(ordered.since) < MADE_WITHIN);
        is_ordered || self.wanted.is_some()
    }
}

/// Whether one of `packets` is a picture of `at`, and they are not too much work.
fn is_suitable(packets: &[&Packet], at: Mono) -> bool {
    let Some(last) = packets.last() else { return false };
    let of_one = u64::from(last.stream.width) * u64::from(last.stream.height);
    let pixels = u64::try_from(packets.len()).unwrap_or(u64::MAX).saturating_mul(of_one);
    let bytes: usize = packets.iter().map(|packet| packet.data.len()).sum();
    nearest(packets.iter().copied(), at).is_some_and(|taken| is_near(taken, at))
        && packets.len() <= MOST_PICTURES
        && pixels <= MOST_PIXELS
        && bytes <= MOST_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Codec, Orientation, StreamInfo};
    use bytes::Bytes;
    use std::sync::Arc;

    fn is_taken(pictures: usize, (width, height): (u32, u32), bytes: usize, off_ms: u64) -> bool {
        let stream = Arc::new(StreamInfo {
            codec: Codec::H264,
            width,
            height,
            extradata: Bytes::new(),
            fps: None,
            orientation: Orientation::default(),
        });
        let data = Bytes::from(vec![0; bytes / pictures]);
        let packet = |n: usize| Packet::new(stream.clone(), Mono(n as u64 * 40_000_000), n == 0, data.clone());
        let packets: Vec<Packet> = (0..pictures).map(packet).collect();
        let at = Mono((pictures as u64 - 1) * 40_000_000) + Duration::from_millis(off_ms);
        is_suitable(&packets.iter().collect::<Vec<_>>(), at)
    }

    #[test]
    fn what_is_decoded_for_one_picture_is_bounded() {
        let (hd, uhd) = ((1920, 1080), (3840, 2160));
        assert!(is_taken(300, hd, 1 << 20, 0) && !is_taken(301, (640, 480), 1 << 20, 0), "pictures");
        assert!(is_taken(75, uhd, 1 << 20, 0) && !is_taken(76, uhd, 1 << 20, 0), "pixels");
        assert!(is_taken(16, hd, MOST_BYTES, 0) && !is_taken(16, hd, MOST_BYTES + 16, 0), "bytes");
        assert!(is_taken(16, hd, 1 << 20, 250) && !is_taken(16, hd, 1 << 20, 251), "time");
        assert!(is_taken(300, (0, 0), 1 << 20, 0), "of a size that is not known yet");
        assert!(!is_suitable(&[], Mono(0)));
    }
}
