//! Cameras that send by themselves: phones and browsers, which publish what their camera takes.
//!
//! Nothing is connected to here. A publisher brings pictures ([`Publisher`]), and the camera's feed takes them
//! ([`PublishedSource`]). Between them lie a few seconds of pictures at most: a feed that does not take them loses them
//! up to the next key frame, and the publisher is asked for one.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::{OwnedMutexGuard, mpsc};

use super::access_point::{Access, AccessPoints};
use super::annexb;
use super::libav;
use super::timeline::LiveTimeline;
use super::{Source, SourceError};
use crate::clock::{Clock, Mono};
use crate::frame::{Codec, Orientation, Packet, StreamInfo};

/// Pictures between publisher and feed; full: dropped up to the next key frame.
const CAPACITY: usize = 64;

/// A publisher that brought no picture for so long gives way to another: its phone sleeps, or has another address now.
pub const GIVES_WAY_AFTER: Duration = Duration::from_secs(5);

/// Browsers send key frames when they are asked for one alone, but segments, clips and viewers begin with one.
const KEY_FRAME_EVERY: Duration = Duration::from_secs(2);

/// A feed that has taken nothing for so long takes nothing any more.
const UNWANTED_AFTER: Duration = Duration::from_secs(30);

/// What a camera that waits for its publisher is called in messages.
const WHAT: &str = "the publisher of this camera";

/// What is said of a publisher that gave way.
const REPLACED: &str = "another phone or browser took its place";

/// What is said of a camera that no one sends to.
pub const AWAY: &str = "no phone or browser publishes to it at present: open its publish page there, or send by WHIP";

/// Name of VP8 in libavcodec.
const VP8: &str = "vp8";

/// All publishers of the box. Cheap to clone.
#[derive(Clone, Default)]
pub struct Publishers(Arc<Mutex<HashMap<Arc<str>, Arc<Slot>>>>);

impl std::fmt::Debug for Publishers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publishers").finish_non_exhaustive()
    }
}

/// What publisher and feed of one camera share.
struct Slot {
    pictures: mpsc::Sender<Delivery>,
    feed: Arc<tokio::sync::Mutex<mpsc::Receiver<Delivery>>>,
    current: Mutex<Option<Current>>,
    /// Number of the next publisher.
    next: AtomicU64,
    /// A feed begins, for which there must be a key frame.
    begins: AtomicBool,
}

/// The publisher of a camera.
struct Current {
    number: u64,
    /// Its last picture, or when it came.
    last: Mono,
}

enum Delivery {
    Picture(Packet),
    Ended(String),
}

/// Another publisher has the camera.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("another phone or browser publishes to this camera already: end it there first")]
pub struct Taken;

/// How pictures of a publisher are coded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishedCodec {
    /// As a byte stream with start codes, parameter sets in front of key frames.
    H264,
    /// Frames as they are.
    Vp8,
}

/// A picture as it came.
#[derive(Clone, Debug)]
pub struct PublishedPicture {
    /// Its coding.
    pub codec: PublishedCodec,
    /// When it was taken, nanoseconds on the publisher's clock.
    pub stream_ns: i64,
    /// Whether nothing was lost since the one before.
    pub is_contiguous: bool,
    /// The coded picture.
    pub data: Bytes,
}

impl Publishers {
    /// Begins to publish to `camera`.
    ///
    /// # Errors
    /// When another one does, whose pictures come.
    pub fn begin(&self, camera: &str, clock: Arc<dyn Clock>) -> Result<Publisher, Taken> {
        let publisher = self.reserve(camera, clock)?;
        publisher.take_place()?;
        Ok(publisher)
    }

    /// One that may publish to `camera` once it has taken its place there; until then no other gives way to it.
    ///
    /// # Errors
    /// When another one publishes, whose pictures come.
    pub fn reserve(&self, camera: &str, clock: Arc<dyn Clock>) -> Result<Publisher, Taken> {
        let slot = self.slot(camera);
        let now = clock.mono();
        if slot.current.lock().as_ref().is_some_and(|of| now.since(of.last) < GIVES_WAY_AFTER) {
            return Err(Taken);
        }
        let number = slot.next.fetch_add(1, Ordering::Relaxed);
        Ok(Publisher {
            slot,
            number,
            clock,
            timeline: LiveTimeline::default(),
            access_points: AccessPoints::default(),
            stream: None,
            awaits_key_frame: true,
            last_key_frame: now,
            lost: 0,
            full_since: None,
            reason: None,
        })
    }

    /// One that publishes to nothing but the source given: the pictures of a camera that is connected to.
    pub fn direct(clock: Arc<dyn Clock>) -> Option<(Publisher, Box<dyn Source>)> {
        let own = Self::default();
        let publisher = own.begin("", clock).ok()?;
        let pictures = publisher.slot.feed.clone().try_lock_owned().ok()?;
        Some((publisher, Box::new(PublishedSource { pictures, first: None })))
    }

    /// The pictures of the next publisher of `camera`; waits for the first one.
    pub async fn source(&self, camera: &str) -> Box<dyn Source> {
        let slot = self.slot(camera);
        let mut pictures = slot.feed.clone().lock_owned().await;
        loop {
            match pictures.recv().await {
                Some(Delivery::Picture(first)) if first.key_frame => {
                    return Box::new(PublishedSource { pictures, first: Some(first) });
                }
                // Of one that the feed before had begun with.
                Some(Delivery::Picture(_)) => slot.begins.store(true, Ordering::Relaxed),
                Some(Delivery::Ended(_)) => {}
                None => std::future::pending().await,
            }
        }
    }

    fn slot(&self, camera: &str) -> Arc<Slot> {
        // Cameras come from the configuration, so this stays small.
        let mut slots = self.0.lock();
        let new = || {
            let (pictures, feed) = mpsc::channel(CAPACITY);
            Arc::new(Slot {
                pictures,
                feed: Arc::new(tokio::sync::Mutex::new(feed)),
                current: Mutex::default(),
                next: AtomicU64::new(0),
                begins: AtomicBool::new(false),
            })
        };
        slots.entry(camera.into()).or_insert_with(new).clone()
    }
}

/// One that publishes to a camera, once it has taken its place. Dropping it ends that.
pub struct Publisher {
    slot: Arc<Slot>,
    number: u64,
    clock: Arc<dyn Clock>,
    timeline: LiveTimeline,
    access_points: AccessPoints,
    stream: Option<Arc<StreamInfo>>,
    awaits_key_frame: bool,
    last_key_frame: Mono,
    lost: u16,
    /// Since when the feed takes nothing.
    full_since: Option<Mono>,
    reason: Option<String>,
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("number", &self.number).finish_non_exhaustive()
    }
}

impl Publisher {
    /// Takes the place of a publisher that is silent, or a free one. To have it already is no error.
    ///
    /// # Errors
    /// When another one has taken it meanwhile.
    pub fn take_place(&self) -> Result<(), Taken> {
        let now = self.clock.mono();
        let mut current = self.slot.current.lock();
        match &*current {
            Some(of) if of.number == self.number => return Ok(()),
            Some(of) if now.since(of.last) < GIVES_WAY_AFTER => return Err(Taken),
            Some(_) => {
                // Times of the next one may begin before those of the last one end.
                let _ = self.slot.pictures.try_send(Delivery::Ended(REPLACED.to_owned()));
            }
            None => {}
        }
        *current = Some(Current { number: self.number, last: now });
        Ok(())
    }

    /// Brings a picture, which is left out while the place is another one's. Gives whether a key frame is needed: before
    /// others are of use, or because the last one is old.
    pub fn publish(&mut self, picture: PublishedPicture) -> bool {
        let now = self.clock.mono();
        match self.slot.current.lock().as_mut().filter(|current| current.number == self.number) {
            Some(current) => current.last = now,
            None => return false,
        }
        let access = self.learn(&picture, now);
        let is_hole = self.slot.begins.swap(false, Ordering::Relaxed) || !picture.is_contiguous;
        self.awaits_key_frame = (self.awaits_key_frame || is_hole) && !access.key_frame;
        let (false, Some(stream)) = (self.awaits_key_frame, self.stream.clone()) else {
            self.lost = self.lost.saturating_add(1);
            return true;
        };
        let at = self.timeline.place(picture.stream_ns, now);
        let packet = Packet::new(stream, at, access.key_frame, picture.data);
        let packet = Packet { gradual: access.gradual, loss: self.lost, ..packet };
        if access.key_frame {
            self.last_key_frame = now;
        }
        if self.slot.pictures.try_send(Delivery::Picture(packet)).is_ok() {
            (self.lost, self.full_since) = (0, None);
            return now.since(self.last_key_frame) >= KEY_FRAME_EVERY;
        }
        self.awaits_key_frame = true;
        self.lost = self.lost.saturating_add(1);
        self.full_since.get_or_insert(now);
        true
    }

    /// Whether the camera has not taken pictures for a while: it was removed, say.
    pub fn is_unwanted(&self) -> bool {
        self.full_since.is_some_and(|since| self.clock.mono().since(since) > UNWANTED_AFTER)
    }

    /// Whether another one has taken the place of this one.
    pub fn is_replaced(&self) -> bool {
        self.slot.current.lock().as_ref().is_none_or(|current| current.number != self.number)
    }

    /// Ends it, for a reason that the camera's state shows.
    pub fn end(mut self, reason: &str) {
        self.reason = Some(reason.to_owned());
    }

    /// What the picture is to a decoder, and the parameters that it brings.
    fn learn(&mut self, picture: &PublishedPicture, now: Mono) -> Access {
        match picture.codec {
            PublishedCodec::H264 => {
                let access = self.access_points.access(&Codec::H264, &[], &picture.data, now);
                let sets = access.key_frame.then(|| annexb::parameter_sets(&Codec::H264, &picture.data)).flatten();
                if let Some(sets) = sets
                    && self.stream.as_ref().is_none_or(|known| known.extradata != sets)
                {
                    self.replace(Codec::H264, sets.into(), |info| libav::coded_size(info, &picture.data));
                }
                access
            }
            PublishedCodec::Vp8 => {
                let size = vp8_size(&picture.data);
                let is_new = |(width, height)| {
                    let same = |known: &Arc<StreamInfo>| (known.width, known.height) == (width, height);
                    !self.stream.as_ref().is_some_and(same)
                };
                if size.is_some_and(is_new) {
                    self.replace(Codec::Other(VP8.into()), Bytes::new(), |_| size);
                }
                Access { key_frame: size.is_some(), gradual: false }
            }
        }
    }

    fn replace(&mut self, codec: Codec, extradata: Bytes, size: impl FnOnce(&StreamInfo) -> Option<(u32, u32)>) {
        let orientation = Orientation::default();
        let mut info = StreamInfo { codec, width: 0, height: 0, extradata, fps: None, orientation };
        (info.width, info.height) = size(&info).unwrap_or_default();
        self.stream = Some(Arc::new(info));
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let mut current = self.slot.current.lock();
        if current.as_ref().is_some_and(|current| current.number == self.number) {
            *current = None;
            let reason = self.reason.take().unwrap_or_else(|| "it has ended".to_owned());
            // Full: the feed does not take anything, and misses the pictures that do not come.
            let _ = self.slot.pictures.try_send(Delivery::Ended(reason));
        }
    }
}

/// The size that a VP8 frame states, which key frames alone do (RFC 6386, 9.1).
fn vp8_size(frame: &[u8]) -> Option<(u32, u32)> {
    let &[tag, _, _, 0x9d, 0x01, 0x2a, w0, w1, h0, h1] = frame.first_chunk::<10>()? else { return None };
    // The two bits above are for scaling.
    let size = |low, high| u32::from(u16::from_le_bytes([low, high]) & 0x3fff);
    let size = (size(w0, w1), size(h0, h1));
    (tag & 1 == 0 && size.0 > 0 && size.1 > 0).then_some(size)
}

/// The pictures of one publisher after the other.
struct PublishedSource {
    pictures: OwnedMutexGuard<mpsc::Receiver<Delivery>>,
    first: Option<Packet>,
}

impl Source for PublishedSource {
    fn next(&mut self) -> BoxFuture<'_, Result<Packet, SourceError>> {
        Box::pin(async {
            if let Some(first) = self.first.take() {
                return Ok(first);
            }
            let lost = |reason: String| Err(SourceError::Lost { what: WHAT.to_owned(), reason });
            match self.pictures.recv().await {
                Some(Delivery::Picture(packet)) => Ok(packet),
                Some(Delivery::Ended(reason)) => lost(reason),
                None => lost("it has ended".to_owned()),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::clock::SimulatedClock;

    const SPS_PPS_IDR: &[u8] = &[
        0, 0, 0, 1, 0x67, 0x42, 0xc0, 0x0a, 0xd9, 0x07, 0x3f, 0x11, 0, 0, 0, 1, 0x68, 0xcb, 0x83, 0xcb, 0x20, 0, 0, 0,
        1, 0x65, 0x88, 0x84,
    ];
    const SLICE: &[u8] = &[0, 0, 0, 1, 0x41, 0x9a, 0xff];

    fn clock() -> Arc<SimulatedClock> {
        Arc::new(SimulatedClock::new(Mono(1_000_000_000), jiff::Timestamp::UNIX_EPOCH))
    }

    fn h264(stream_ns: i64, data: &'static [u8]) -> PublishedPicture {
        let data = Bytes::from_static(data);
        PublishedPicture { codec: PublishedCodec::H264, stream_ns, is_contiguous: true, data }
    }

    fn next(source: &mut dyn Source) -> Option<Result<Packet, SourceError>> {
        source.next().now_or_never()
    }

    #[test]
    fn pictures_come_from_the_first_key_frame_on_and_again_after_a_loss() {
        let publishers = Publishers::default();
        let mut publisher = publishers.begin("phone", clock()).expect("free");
        assert!(publisher.publish(h264(0, SLICE)), "a key frame is asked for");
        assert!(publishers.source("phone").now_or_never().is_none(), "nothing to begin with");
        assert!(!publisher.publish(h264(40_000_000, SPS_PPS_IDR)));
        assert!(!publisher.publish(h264(80_000_000, SLICE)));
        assert!(publisher.publish(PublishedPicture { is_contiguous: false, ..h264(160_000_000, SLICE) }));
        assert!(publisher.publish(h264(200_000_000, SLICE)), "it refers to what was lost");
        assert!(!publisher.publish(h264(240_000_000, SPS_PPS_IDR)));
        let mut source = publishers.source("phone").now_or_never().expect("pictures");
        let mut taken = Vec::new();
        while let Some(Ok(packet)) = next(&mut *source) {
            taken.push((packet.key_frame, packet.loss, packet.stream.codec == Codec::H264));
        }
        assert_eq!(taken, [(true, 1, true), (false, 0, true), (true, 2, true)]);
        publisher.end("it was ended there");
        let end = next(&mut *source).expect("ended").expect_err("over").to_string();
        assert!(end.contains("it was ended there"), "{end}");
    }

    #[test]
    fn a_key_frame_is_asked_for_when_the_last_one_is_old() {
        let (publishers, clock) = (Publishers::default(), clock());
        let mut publisher = publishers.begin("phone", clock.clone()).expect("free");
        assert!(!publisher.publish(h264(0, SPS_PPS_IDR)));
        clock.advance(KEY_FRAME_EVERY / 2);
        assert!(!publisher.publish(h264(1_000_000_000, SLICE)));
        clock.advance(KEY_FRAME_EVERY / 2);
        assert!(publisher.publish(h264(2_000_000_000, SLICE)), "it is taken all the same");
        assert!(!publisher.publish(h264(2_040_000_000, SPS_PPS_IDR)));
        let mut source = publishers.source("phone").now_or_never().expect("pictures");
        let taken = std::iter::from_fn(|| next(&mut *source)).filter(Result::is_ok).count();
        assert_eq!(taken, 4);
    }

    #[test]
    fn a_second_publisher_is_refused_until_the_first_is_gone_or_silent() {
        let (publishers, clock) = (Publishers::default(), clock());
        let mut first = publishers.begin("phone", clock.clone()).expect("free");
        assert_eq!(publishers.begin("phone", clock.clone()).map(drop), Err(Taken));
        assert!(publishers.begin("tablet", clock.clone()).is_ok(), "another camera");
        clock.advance(GIVES_WAY_AFTER / 2);
        first.publish(h264(0, SPS_PPS_IDR));
        clock.advance(GIVES_WAY_AFTER / 2);
        assert_eq!(publishers.begin("phone", clock.clone()).map(drop), Err(Taken), "its pictures come");
        clock.advance(GIVES_WAY_AFTER);
        let second = publishers.begin("phone", clock.clone()).expect("the first one is silent");
        assert!(first.is_replaced() && !second.is_replaced());
        drop(first);
        assert!(!second.is_replaced(), "the end of the first one is nothing to the second");
        drop(second);
        assert!(publishers.begin("phone", clock).is_ok());
    }

    #[test]
    fn a_silent_publisher_has_its_place_until_another_one_takes_it_and_brings_nothing_from_then_on() {
        let (publishers, clock) = (Publishers::default(), clock());
        let mut first = publishers.begin("phone", clock.clone()).expect("free");
        clock.advance(GIVES_WAY_AFTER);
        drop(publishers.reserve("phone", clock.clone()).expect("the first one is silent"));
        assert!(!first.is_replaced(), "the other one was refused before it took the place");
        let (second, third) = (publishers.reserve("phone", clock.clone()), publishers.reserve("phone", clock.clone()));
        let (second, third) = (second.expect("silent"), third.expect("silent"));
        assert_eq!((second.take_place(), second.take_place(), third.take_place()), (Ok(()), Ok(()), Err(Taken)));
        assert!(first.is_replaced() && third.is_replaced() && !second.is_replaced());
        assert!(!first.publish(h264(0, SPS_PPS_IDR)), "no key frame of it is of use");
        assert!(publishers.source("phone").now_or_never().is_none(), "nothing of it is taken");
    }

    #[test]
    fn a_feed_that_takes_nothing_loses_pictures_up_to_a_key_frame() {
        let (publishers, clock) = (Publishers::default(), clock());
        let mut publisher = publishers.begin("phone", clock.clone()).expect("free");
        for i in 0..CAPACITY as i64 {
            assert!(!publisher.publish(h264(i * 40_000_000, if i == 0 { SPS_PPS_IDR } else { SLICE })));
        }
        assert!(publisher.publish(h264(64 * 40_000_000, SLICE)), "full");
        assert!(!publisher.is_unwanted());
        clock.advance(2 * UNWANTED_AFTER);
        assert!(publisher.is_unwanted());
        let mut source = publishers.source("phone").now_or_never().expect("pictures");
        while next(&mut *source).is_some() {}
        assert!(publisher.publish(h264(65 * 40_000_000, SLICE)), "it would follow a hole");
        assert!(!publisher.publish(h264(66 * 40_000_000, SPS_PPS_IDR)));
        assert_eq!(next(&mut *source).expect("one").expect("picture").loss, 2);
        assert!(!publisher.is_unwanted());
    }

    #[test]
    fn vp8_states_its_size_in_key_frames() {
        let key = [0x10, 0, 0, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0xe0, 0x41, 0, 0];
        assert_eq!(vp8_size(&key), Some((640, 480)));
        let mut other = key;
        other[0] |= 1;
        assert_eq!(vp8_size(&other), None);
        assert_eq!(vp8_size(&key[..9]), None);
        let publishers = Publishers::default();
        let mut publisher = publishers.begin("phone", clock()).expect("free");
        let data = Bytes::copy_from_slice(&key);
        let picture = PublishedPicture { codec: PublishedCodec::Vp8, stream_ns: 0, is_contiguous: true, data };
        assert!(!publisher.publish(picture));
        let mut source = publishers.source("phone").now_or_never().expect("pictures");
        let packet = next(&mut *source).expect("one").expect("picture");
        assert_eq!((packet.stream.codec.name(), packet.stream.width, packet.key_frame), ("vp8", 640, true));
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_survived(data in proptest::collection::vec(0u8..8, 0..120), vp8: bool) {
            let mut publisher = Publishers::default().begin("phone", clock()).expect("free");
            let codec = if vp8 { PublishedCodec::Vp8 } else { PublishedCodec::H264 };
            publisher.publish(PublishedPicture { codec, stream_ns: 0, is_contiguous: true, data: data.into() });
        }
    }
}
