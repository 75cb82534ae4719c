//! The last seconds of a camera in memory: whole GOPs, so that a clip can begin before its event.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Mono;
use crate::frame::Packet;

/// More than this is never held, however long the camera's GOPs are: 96 MiB is 30 s at 25 Mbit/s.
const MAX_BYTES: usize = 96 << 20;

/// So many pictures a decoder holds back where a stream has B-frames, about. It can be flushed instead, but libav drops
/// pictures then that follow an open GOP.
const HELD_BACK: usize = 4;

#[derive(Debug)]
struct Gop {
    packets: Vec<Packet>,
    bytes: usize,
}

impl Gop {
    fn start(&self) -> Option<Mono> {
        self.packets.first().map(Packet::pts)
    }
}

/// A ring of whole GOPs. Every GOP in it begins with a key frame.
#[derive(Debug)]
pub struct Preroll {
    span: Duration,
    max_bytes: usize,
    gops: VecDeque<Gop>,
    bytes: usize,
    /// The stream's parameters changed, and nothing was taken since.
    awaits_key_frame: bool,
}

impl Preroll {
    /// Holds at least `span` before the newest packet, as far as memory allows and pictures existed.
    pub fn new(span: Duration) -> Self {
        Self { span, max_bytes: MAX_BYTES, gops: VecDeque::new(), bytes: 0, awaits_key_frame: false }
    }

    /// Takes a packet. Packets before the first key frame, and before the first with changed parameters, are of no
    /// use and are left out.
    pub fn push(&mut self, packet: &Packet) {
        let changed = self
            .newest()
            .is_some_and(|last| !Arc::ptr_eq(&last.stream, &packet.stream) && last.stream != packet.stream);
        self.awaits_key_frame = (self.awaits_key_frame || changed) && !packet.key_frame;
        if self.awaits_key_frame {
            return;
        }
        if packet.key_frame {
            self.gops.push_back(Gop { packets: Vec::new(), bytes: 0 });
        }
        let Some(gop) = self.gops.back_mut() else { return };
        gop.packets.push(packet.clone());
        gop.bytes += packet.bytes();
        self.bytes += packet.bytes();
        self.evict(packet.at);
    }

    /// Forgets everything where the camera gave nothing for longer than `longest` before `packet`: a clip does not begin with
    /// what was hours ago.
    pub fn part_at_gap(&mut self, packet: &Packet, longest: Duration) {
        if self.newest().is_some_and(|last| packet.at.since(last.at) > longest) {
            self.clear();
        }
    }

    /// Whether there is nothing that a clip could begin with.
    pub fn is_empty(&self) -> bool {
        self.gops.is_empty()
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.gops.clear();
        self.bytes = 0;
    }

    /// The packets from the last key frame at or before `from` on; from the oldest one when the ring does
    /// not reach back that far.
    pub fn since(&self, from: Mono) -> impl Iterator<Item = &Packet> {
        let mut first = self.gops.iter().rposition(|gop| gop.start().is_some_and(|at| at <= from)).unwrap_or(0);
        if self.gops.get(first).and_then(|gop| gop.packets.first()).is_some_and(|packet| packet.gradual) {
            // Only with the refresh before it are pictures whole from there on.
            first = first.saturating_sub(1);
        }
        self.gops.iter().skip(first).flat_map(|gop| &gop.packets)
    }

    /// Whether the pictures that were taken until `at` have come.
    pub fn reaches(&self, at: Mono) -> bool {
        self.newest().is_some_and(|newest| newest.at >= at)
    }

    /// What the picture that was taken nearest to `at` is decoded from, in the order of decoding: the packets from a key
    /// frame on, its own, and a few more, with which a decoder gives pictures that it holds back. Empty when the ring is.
    pub fn nearest(&self, at: Mono) -> Vec<&Packet> {
        let all = self.gops.iter().enumerate().flat_map(|(n, gop)| gop.packets.iter().map(move |packet| (n, packet)));
        let Some((n, nearest)) = all.min_by_key(|(_, packet)| packet.pts().0.abs_diff(at.0)) else { return Vec::new() };
        let refers_back = |n: usize| {
            let key = self.gops.get(n).and_then(|gop| gop.packets.first());
            // A picture of an open GOP that is shown before its key frame, and one that is not whole yet.
            key.is_some_and(|key| nearest.pts() < key.pts() || key.gradual)
        };
        let first = if refers_back(n) { n.saturating_sub(1) } else { n };
        let packets = self.gops.iter().skip(first).flat_map(|gop| &gop.packets);
        let mut more = HELD_BACK;
        let is_needed = |packet: &&Packet| {
            let is_behind = packet.at > nearest.at;
            let is_taken = !is_behind || more > 0;
            more -= usize::from(is_behind && is_taken);
            is_taken
        };
        packets.take_while(is_needed).collect()
    }

    fn newest(&self) -> Option<&Packet> {
        self.gops.back()?.packets.last()
    }

    fn evict(&mut self, newest: Mono) {
        let wanted_from = newest - self.span;
        loop {
            let next_covers = self.gops.get(1).and_then(Gop::start).is_some_and(|at| at <= wanted_from);
            let too_big = self.bytes > self.max_bytes && self.gops.len() > 1;
            if !next_covers && !too_big {
                break;
            }
            if let Some(gone) = self.gops.pop_front() {
                self.bytes -= gone.bytes;
            }
        }
        // One endless GOP larger than the cap: nothing in it can be kept decodable, wait for the next key frame.
        if self.bytes > self.max_bytes {
            self.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Codec, Orientation, StreamInfo};
    use bytes::Bytes;
    use proptest::prelude::*;

    fn stream(width: u32) -> Arc<StreamInfo> {
        Arc::new(StreamInfo {
            codec: Codec::H264,
            width,
            height: 480,
            extradata: Bytes::new(),
            fps: None,
            orientation: Orientation::default(),
        })
    }

    fn packet(stream: &Arc<StreamInfo>, ms: u64, key_frame: bool, bytes: usize) -> Packet {
        let at = Mono(ms * 1_000_000);
        Packet::new(stream.clone(), at, key_frame, Bytes::from(vec![0; bytes]))
    }

    fn times(ring: &Preroll, from_ms: u64) -> Vec<u64> {
        ring.since(Mono(from_ms * 1_000_000)).map(|p| p.at.0 / 1_000_000).collect()
    }

    #[test]
    fn a_clip_begins_at_the_key_frame_at_or_before_the_wanted_time() {
        let (s, mut ring) = (stream(640), Preroll::new(Duration::from_secs(3)));
        for ms in (0..6000).step_by(500) {
            ring.push(&packet(&s, ms, ms % 1000 == 0, 10));
        }
        assert_eq!(times(&ring, 4200)[0], 4000);
        assert_eq!(times(&ring, 4000)[0], 4000);
        assert_eq!(times(&ring, 0)[0], 2000, "what is older than the span is gone, whole GOPs of it");
    }

    #[test]
    fn what_was_before_an_outage_is_no_beginning_of_a_clip() {
        let (s, mut ring) = (stream(640), Preroll::new(Duration::from_secs(3)));
        for ms in [0, 40, 2000, 9_000_000, 9_000_040] {
            let packet = packet(&s, ms, ms % 1000 == 0, 10);
            ring.part_at_gap(&packet, Duration::from_secs(3));
            ring.push(&packet);
        }
        assert_eq!(times(&ring, 8_997_000), [9_000_000, 9_000_040]);
    }

    #[test]
    fn packets_before_the_first_key_frame_are_left_out() {
        let (s, mut ring) = (stream(640), Preroll::new(Duration::from_secs(3)));
        ring.push(&packet(&s, 0, false, 10));
        ring.push(&packet(&s, 40, true, 10));
        assert_eq!(times(&ring, 0), vec![40]);
    }

    #[test]
    fn what_came_before_a_change_of_parameters_stays() {
        let mut ring = Preroll::new(Duration::from_secs(3));
        ring.push(&packet(&stream(640), 0, true, 10));
        ring.push(&packet(&stream(640), 40, false, 10));
        assert_eq!(times(&ring, 0).len(), 2, "equal parameters in another allocation are no change");
        let changed = stream(1280);
        ring.push(&packet(&changed, 80, false, 10));
        assert_eq!(times(&ring, 0), vec![0, 40], "decoding cannot go on with this one");
        ring.push(&packet(&changed, 120, true, 10));
        ring.push(&packet(&changed, 160, false, 10));
        assert_eq!(times(&ring, 0), vec![0, 40, 120, 160]);
        assert_eq!(times(&ring, 130), vec![120, 160]);
    }

    #[test]
    fn a_gradual_refresh_before_the_wanted_time_is_complete_at_that_time() {
        let (s, mut ring) = (stream(640), Preroll::new(Duration::from_secs(6)));
        for ms in (0..8000).step_by(500) {
            ring.push(&Packet { gradual: ms % 2000 == 0, ..packet(&s, ms, ms % 2000 == 0, 10) });
        }
        assert_eq!(times(&ring, 6200)[0], 4000, "the refresh of 6000 is complete at 8000");
        assert_eq!(times(&ring, 1000)[0], 0, "there is none before it");
    }

    #[test]
    fn the_nearest_picture_comes_with_what_is_decoded_before_it() {
        let (s, mut ring) = (stream(640), Preroll::new(Duration::from_secs(6)));
        let nearest = |ring: &Preroll, ms: u64| -> Vec<u64> {
            let packets = ring.nearest(Mono(ms * 1_000_000));
            packets.iter().map(|packet| packet.pts().0 / 1_000_000).collect()
        };
        assert!(nearest(&ring, 0).is_empty() && !ring.reaches(Mono(0)));
        for ms in (0..4000).step_by(250) {
            ring.push(&packet(&s, ms, ms % 1000 == 0, 10));
        }
        assert_eq!(nearest(&ring, 1610), [1000, 1250, 1500, 1750, 2000, 2250, 2500], "and four more");
        assert_eq!(nearest(&ring, 1640), [1000, 1250, 1500, 1750, 2000, 2250, 2500, 2750]);
        assert_eq!(nearest(&ring, 1900)[0], 2000, "the key frame is nearer, and less work");
        assert_eq!(nearest(&ring, 9000), [3000, 3250, 3500, 3750], "what has come so far");
        assert!(ring.reaches(Mono(3_750_000_000)) && !ring.reaches(Mono(3_751_000_000)));
    }

    #[test]
    fn a_picture_that_is_shown_before_its_key_frame_needs_the_gop_before() {
        let (s, mut ring) = (stream(640), Preroll::new(Duration::from_secs(6)));
        // Decoded I P B, and then an open GOP whose B picture is shown before its key frame.
        for (at, shown, key) in [(0, 40, true), (40, 120, false), (80, 80, false), (120, 200, true), (160, 160, false)]
        {
            let offset = Duration::from_millis(shown - at);
            ring.push(&Packet { offset, ..packet(&s, at, key, 10) });
        }
        let nearest = |ms: u64| -> Vec<u64> {
            ring.nearest(Mono(ms * 1_000_000)).iter().map(|packet| packet.pts().0 / 1_000_000).collect()
        };
        assert_eq!(nearest(85), [40, 120, 80, 200, 160], "decoding needs what is shown later");
        assert_eq!(nearest(160), [40, 120, 80, 200, 160]);
        assert_eq!(nearest(200), [200, 160]);
    }

    proptest! {
        #[test]
        fn memory_is_bounded_and_every_start_is_a_key_frame(
            keys in prop::collection::vec((any::<bool>(), 1usize..4000), 1..400),
            from in 0u64..20_000,
        ) {
            let (s, mut ring) = (stream(640), Preroll::new(Duration::from_secs(2)));
            ring.max_bytes = 20_000;
            for (i, (key, bytes)) in keys.iter().enumerate() {
                ring.push(&packet(&s, i as u64 * 40, *key, *bytes));
                prop_assert!(ring.bytes <= ring.max_bytes);
                prop_assert_eq!(ring.bytes, ring.gops.iter().flat_map(|g| &g.packets).map(|p| p.data.len()).sum::<usize>());
            }
            if let Some(first) = ring.since(Mono(from * 1_000_000)).next() {
                prop_assert!(first.key_frame);
            }
        }
    }
}
