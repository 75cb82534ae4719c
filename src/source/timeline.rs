//! When a packet's picture was taken, on the boot clock.
//!
//! Arrival times are honest but ragged: networks delay and batch. A stream's own timestamps are smooth
//! but count from anywhere, at the rate of a cheap crystal, and some jump. So the first arrival anchors
//! the stream's time to ours, from then on the stream's time leads, and arrival only keeps it from
//! wandering off. Whatever a stream says, times grow strictly, because order is built on them.

use std::time::Duration;

use crate::clock::Mono;

/// Two packets are never closer than this: more than one tick of the 90 kHz clock that clips are
/// written with, so that they keep their order there too.
const MIN_STEP_NS: i64 = 100_000;

/// Further than this from arrival, stream time is not believed.
const TOLERANCE_NS: i64 = 500_000_000;

/// For so long stream time may lag behind arrival before it is corrected: a network that stalls and then
/// delivers everything at once makes packets late, not wrong.
const PATIENCE: Duration = Duration::from_secs(1);

/// Later than this is no stalled network but a stream that restarts its count.
const HOPELESS_NS: i64 = 10_000_000_000;

/// Clocks drift apart slowly; so slowly, at most, is followed. 1/200 of the interval between packets
/// is invisible, and still a hundred times what a bad crystal needs.
const SLEW_DIVISOR: i64 = 200;

/// Part of the distance to arrival that one packet corrects: jitter averages out over this many packets.
const SMOOTHING: i64 = 64;

/// The times of a live stream.
#[derive(Clone, Debug, Default)]
pub(super) struct LiveTimeline {
    /// Boot clock minus stream clock, once anchored.
    shift: i64,
    /// Stream time and boot time of the last packet.
    last: Option<(i64, i64)>,
    /// Arrival of the first of an unbroken row of late packets.
    late_since: Option<Mono>,
}

impl LiveTimeline {
    /// The time of the packet that says `stream_ns` on its own clock and came at `arrival`.
    pub(super) fn place(&mut self, stream_ns: i64, arrival: Mono) -> Mono {
        let now = signed(arrival);
        let Some((last_stream, last)) = self.last else {
            return self.emit(stream_ns, now.saturating_sub(stream_ns), now, 0);
        };
        let early = stream_ns.saturating_add(self.shift).saturating_sub(now);
        let anchored = now.saturating_sub(stream_ns);
        let shift = if early > TOLERANCE_NS || self.is_late_for_good(early, arrival) {
            self.late_since = None;
            anchored
        } else {
            let interval = stream_ns.saturating_sub(last_stream).max(0);
            let most = interval / SLEW_DIVISOR;
            self.shift.saturating_sub((early / SMOOTHING).clamp(-most, most))
        };
        self.emit(stream_ns, shift, stream_ns.saturating_add(shift), last.saturating_add(MIN_STEP_NS))
    }

    fn is_late_for_good(&mut self, early: i64, arrival: Mono) -> bool {
        if early >= -TOLERANCE_NS {
            self.late_since = None;
            return false;
        }
        let since = *self.late_since.get_or_insert(arrival);
        early < -HOPELESS_NS || arrival.since(since) >= PATIENCE
    }

    fn emit(&mut self, stream_ns: i64, shift: i64, at: i64, at_least: i64) -> Mono {
        let at = at.max(at_least);
        self.shift = shift;
        self.last = Some((stream_ns, at));
        unsigned(at)
    }
}

/// No stream reorders more pictures than this (H.264 and H.265, sixteen reference pictures).
const MOST_REORDERED: usize = 16;

/// A picture that is shown longer than this before the one that was decoded ahead of it is not reordered: the
/// stream restarts its count.
const LONGEST_REORDERING_NS: i64 = 2_000_000_000;

/// Later than this after its decoding no picture is shown.
const LONGEST_OFFSET: Duration = Duration::from_secs(10);

/// How much later than it is decoded a picture is shown, where a stream gives both times.
pub(super) fn composition_offset(dts_ns: Option<i64>, pts_ns: Option<i64>) -> Duration {
    let Some((dts, pts)) = dts_ns.zip(pts_ns) else { return Duration::ZERO };
    let offset = Duration::from_nanos(u64::try_from(pts.saturating_sub(dts)).unwrap_or(0));
    if offset > LONGEST_OFFSET { Duration::ZERO } else { offset }
}

/// The times of a live stream that says when its pictures are shown and sends them in the order of decoding.
///
/// The times of decoding are those of showing, sorted, and behind by as many pictures as the stream reorders.
/// How many that are is learnt from the stream. Until it has shown it, pictures are decoded right behind the first one,
/// so that each can be shown at its time.
#[derive(Clone, Debug, Default)]
pub(super) struct ReorderedTimeline {
    timeline: LiveTimeline,
    /// How many pictures are shown after one that is decoded later, at most.
    depth: usize,
    /// The latest `depth + 1` times of showing, sorted.
    window: Vec<i64>,
    last_dts: Option<i64>,
    /// Between two pictures.
    step: i64,
    /// Between two pictures, as announced.
    announced: Option<i64>,
    opening: Opening,
}

/// What the first pictures have shown of the order.
#[derive(Clone, Copy, Debug, Default)]
enum Opening {
    /// Nothing came yet.
    #[default]
    Before,
    /// The times of the first picture and of the one that is shown last so far.
    Between(i64, i64),
    /// A picture came that is shown after all others: how those between are ordered is known.
    Over,
}

/// The order has to be known by then.
const LONGEST_OPENING_NS: i64 = 1_000_000_000;

impl ReorderedTimeline {
    /// Learns how many pictures a second are announced.
    pub(super) fn expect(&mut self, fps: Option<f32>) {
        let seconds = fps.filter(|fps| fps.is_finite() && *fps > 0.1).map(|fps| 1.0 / f64::from(fps));
        self.announced = seconds.map(|seconds| (seconds * 1e9) as i64);
    }

    /// Whether the picture at `pts` is one of the first, of which it is not known how many are shown before them.
    fn is_open(&mut self, pts: i64) -> bool {
        let (first, newest) = match self.opening {
            Opening::Before => {
                self.opening = Opening::Between(pts, pts);
                return false;
            }
            Opening::Between(first, newest) => (first, newest),
            Opening::Over => return false,
        };
        let gap = pts.saturating_sub(first);
        // A picture that follows the first one at once leaves no room for others between.
        let is_next = newest == first && self.announced.is_some_and(|interval| gap < interval.saturating_mul(3) / 2);
        let is_open = (0..LONGEST_OPENING_NS).contains(&gap) && !is_next && (newest == first || pts < newest);
        self.opening = if is_open { Opening::Between(first, newest.max(pts)) } else { Opening::Over };
        is_open
    }

    /// The time of decoding and the composition offset of the picture that the stream shows at `pts_ns` and that
    /// came at `arrival`.
    pub(super) fn place(&mut self, pts_ns: i64, arrival: Mono) -> (Mono, Duration) {
        let dts = self.decoding_time(pts_ns);
        let offset = composition_offset(Some(dts), Some(pts_ns));
        let behind = i64::try_from(self.depth).unwrap_or(0).saturating_mul(self.step);
        let behind = Duration::from_nanos(u64::try_from(behind).unwrap_or(0));
        (self.timeline.place(dts, arrival - behind), offset)
    }

    fn decoding_time(&mut self, pts: i64) -> i64 {
        let newest = self.window.last().copied().unwrap_or(pts);
        let goes_back = newest.saturating_sub(pts);
        if !(-LONGEST_GAP_NS..=LONGEST_REORDERING_NS).contains(&goes_back) {
            self.window.clear();
            self.last_dts = None;
        }
        if self.window.first().is_some_and(|oldest| pts < *oldest) {
            self.depth = (self.depth + 1).min(MOST_REORDERED);
        }
        let place = self.window.partition_point(|known| *known <= pts);
        self.window.insert(place, pts);
        let surplus = self.window.len().saturating_sub(self.depth + 1);
        self.window.drain(..surplus);
        let oldest = self.window.first().copied().unwrap_or(pts);
        let missing = i64::try_from(self.depth + 1 - self.window.len()).unwrap_or(0);
        let dts = oldest.saturating_sub(self.step.saturating_mul(missing));
        let is_open = self.is_open(pts);
        let dts = match self.last_dts {
            Some(last) if is_open => last.saturating_add(MIN_STEP_NS),
            Some(last) => {
                self.step = dts.saturating_sub(last).clamp(MIN_STEP_NS, LONGEST_REORDERING_NS);
                last.saturating_add(MIN_STEP_NS).max(dts)
            }
            None => dts,
        };
        self.last_dts = Some(dts);
        dts
    }
}

/// The beginning of a live stream that was joined: pictures that follow the first one that decoding can begin with, but
/// are shown before it, refer to what was sent before. How many pictures the stream reorders is not known yet then, so
/// that their times would not show it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Join {
    first_key_ns: Option<i64>,
    is_over: bool,
}

impl Join {
    /// Whether the picture that the stream shows at `pts_ns` cannot be decoded for that reason.
    pub(super) fn refers_before(&mut self, pts_ns: i64, key_frame: bool) -> bool {
        match (self.first_key_ns, key_frame) {
            (Some(first), false) => !self.is_over && pts_ns < first,
            (Some(_), true) => {
                self.is_over = true;
                false
            }
            (None, _) => {
                self.first_key_ns = key_frame.then_some(pts_ns);
                false
            }
        }
    }
}

/// A forward gap in a file longer than this is a broken timestamp, not a pause.
const LONGEST_GAP_NS: i64 = 60_000_000_000;

/// A step back by more than this is a file that restarts its count; less is reordering.
const LONGEST_STEP_BACK_NS: i64 = 1_000_000_000;

/// The times of a file: the file's own, counted from one start, going on over each turn.
#[derive(Clone, Debug)]
pub(super) struct FileTimeline {
    start: i64,
    shift: i64,
    last: Option<i64>,
    /// Distance between the last two packets, to guess where the next belongs.
    step: i64,
    restarts_count: bool,
}

impl FileTimeline {
    /// The first packet will be at `start`. `step` is the expected time between packets.
    pub(super) fn new(start: Mono, step: Duration) -> Self {
        let step = i64::try_from(step.as_nanos()).unwrap_or(LONGEST_GAP_NS).clamp(MIN_STEP_NS, LONGEST_GAP_NS);
        Self { start: signed(start), shift: 0, last: None, step, restarts_count: true }
    }

    /// The time of the packet that the file puts at `file_ns`, if it says.
    pub(super) fn place(&mut self, file_ns: Option<i64>) -> Mono {
        let expected = self.last.map_or(self.start, |last| last.saturating_add(self.step));
        let last = self.last.unwrap_or(self.start.saturating_sub(MIN_STEP_NS));
        let at = match file_ns {
            None => expected,
            Some(ns) => {
                let follows = ns.saturating_add(self.shift);
                let back = follows < last.saturating_sub(LONGEST_STEP_BACK_NS);
                if self.restarts_count || back || follows > last.saturating_add(LONGEST_GAP_NS) {
                    self.restarts_count = false;
                    self.shift = expected.saturating_sub(ns);
                    expected
                } else {
                    if follows.saturating_sub(last) >= MIN_STEP_NS {
                        self.step = follows.saturating_sub(last);
                    }
                    follows
                }
            }
        };
        let at = at.max(last.saturating_add(MIN_STEP_NS));
        self.last = Some(at);
        unsigned(at)
    }

    /// The file begins again: the next packet follows the last one as any other.
    pub(super) fn turn(&mut self) {
        self.restarts_count = true;
    }
}

fn signed(at: Mono) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

fn unsigned(at: i64) -> Mono {
    Mono(u64::try_from(at).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: i64 = 1_000_000;

    fn mono(ms: i64) -> Mono {
        unsigned(ms * MS)
    }

    /// Places `(stream ms, arrival ms)` and returns the times in ms, rounded.
    fn live(packets: &[(i64, i64)]) -> Vec<i64> {
        let mut timeline = LiveTimeline::default();
        packets.iter().map(|&(s, a)| (signed(timeline.place(s * MS, mono(a))) + MS / 2) / MS).collect()
    }

    fn file(packets: &[Option<i64>]) -> Vec<i64> {
        let mut timeline = FileTimeline::new(mono(5000), Duration::from_millis(40));
        packets.iter().map(|p| signed(timeline.place(p.map(|ms| ms * MS))) / MS).collect()
    }

    /// Places times of showing, one each 40 ms, and returns those of decoding and of showing in ms.
    fn reordered(shown: &[i64]) -> (Vec<i64>, Vec<i64>) {
        let mut timeline = ReorderedTimeline::default();
        timeline.expect(Some(25.0));
        let place = |(i, pts): (usize, &i64)| {
            let (at, offset) = timeline.place(pts * MS, mono(10_000 + i as i64 * 40));
            ((signed(at) + MS / 2) / MS, (signed(at + offset) + MS / 2) / MS)
        };
        shown.iter().enumerate().map(place).unzip()
    }

    #[test]
    fn without_reordered_pictures_both_times_are_one() {
        let (decoded, shown) = reordered(&[0, 40, 80, 130, 5000, 5040]);
        assert_eq!(decoded, shown);
    }

    #[test]
    fn times_of_decoding_follow_from_those_of_showing_once_the_depth_is_known() {
        // I B B P, twice with a pyramid: the first pictures teach how deep it is.
        let gop = |start: i64| [3, 1, 2, 6, 4, 5, 9, 7, 8].map(|n| start + n * 40);
        let pictures: Vec<_> = [0].into_iter().chain((0..4).flat_map(|n| gop(n * 360))).collect();
        let (decoded, shown) = reordered(&pictures);
        assert!(decoded.is_sorted_by(|a, b| a < b) || decoded.windows(2).all(|w| w[0] <= w[1]), "{decoded:?}");
        let first = shown[6] - pictures[6];
        for (n, (shown, said)) in shown.iter().zip(&pictures).enumerate().skip(6) {
            assert!((shown - said - first).abs() <= 2, "picture {n}: {shown} for {said}");
        }
    }

    /// Works with: cameras | B-frames right after the connection | every picture is shown at its time, from the first on
    #[test]
    fn the_first_pictures_are_shown_at_their_times_too() {
        // I P B B, then with a pyramid, then with one that begins in order.
        let orders: [&[i64]; 4] = [
            &[0, 3, 1, 2, 6, 4, 5, 9, 7, 8],
            &[0, 4, 2, 1, 3, 8, 6, 5, 7, 12, 10, 9, 11],
            &[0, 2, 1, 4, 3, 6, 5],
            &[0, 1, 2, 3, 4, 5],
        ];
        for announced in [Some(25.0), None] {
            for order in orders {
                let mut timeline = ReorderedTimeline::default();
                timeline.expect(announced);
                let mut last = None;
                for (n, place) in order.iter().enumerate() {
                    let (at, offset) = timeline.place(place * 40 * MS, mono(10_000 + n as i64 * 40));
                    assert!(last.is_none_or(|last| at > last), "{order:?}: picture {n} at {at:?} after {last:?}");
                    last = Some(at);
                    let shown = signed(at + offset) / 100_000;
                    assert!((shown - 100_000 - place * 400).abs() <= 20, "{order:?}: picture {n} is shown at {shown}");
                }
            }
        }
    }

    #[test]
    fn pictures_that_refer_to_what_was_before_the_join_are_known() {
        let mut join = Join::default();
        let gop = [(3, true), (1, false), (2, false), (6, false), (4, false), (9, true), (7, false), (8, false)];
        let known = gop.map(|(pts, key)| join.refers_before(pts, key));
        assert_eq!(known, [false, true, true, false, false, false, false, false]);
        assert!(!Join::default().refers_before(5, false), "decoding has not begun");
    }

    #[test]
    fn a_stream_that_restarts_count_is_not_taken_for_reordering() {
        let (decoded, shown) = reordered(&[90_000, 90_040, 90_080, 0, 40, 80]);
        assert_eq!(decoded, shown);
        assert_eq!(decoded, [10_000, 10_040, 10_080, 10_120, 10_160, 10_200]);
    }

    #[test]
    fn a_live_stream_is_anchored_at_its_first_arrival_and_then_follows_its_own_time() {
        assert_eq!(live(&[(90_000, 10), (90_100, 110), (90_200, 210)]), [10, 110, 210]);
    }

    #[test]
    fn ragged_arrival_does_not_show() {
        let times = live(&[(0, 1000), (100, 1180), (200, 1190), (300, 1420), (400, 1401), (500, 1530)]);
        for (i, at) in times.into_iter().enumerate() {
            let expected = 1000 + 100 * i64::try_from(i).expect("small");
            assert!((at - expected).abs() <= 3, "packet {i} at {at}");
        }
    }

    #[test]
    fn a_network_that_stalls_and_then_delivers_at_once_changes_no_times() {
        let mut packets = vec![(0, 0)];
        packets.extend((1..=20).map(|i| (100 * i, 2000 + i)));
        let times = live(&packets);
        assert!((times[20] - 2000).abs() <= 15, "{times:?}");
        assert!(times.windows(2).all(|w| (95..=105).contains(&(w[1] - w[0]))), "{times:?}");
    }

    #[test]
    fn a_camera_that_was_suspended_without_counting_is_anchored_again() {
        let mut packets = vec![(0, 0), (100, 100)];
        packets.extend((2..=14).map(|i| (100 * i, 5000 + 100 * i)));
        let times = live(&packets);
        assert_eq!(times.last(), Some(&6400), "{times:?}");
    }

    #[test]
    fn a_camera_that_restarts_count_is_anchored_again_at_once() {
        assert_eq!(live(&[(0, 0), (100, 100), (900_000, 200), (900_100, 300)]), [0, 100, 200, 300]);
        assert_eq!(live(&[(900_000, 0), (900_100, 100), (0, 200), (100, 300)]), [0, 100, 200, 300]);
    }

    #[test]
    fn a_camera_whose_crystal_runs_fast_is_kept_close_to_arrival_without_a_jump() {
        // One second in a thousand, for an hour, 10 packets a second.
        let packets: Vec<_> = (0..36_000).map(|i| (100 * i + i / 10, 100 * i)).collect();
        let times = live(&packets);
        let last = times.last().expect("not empty");
        assert!((last - 3_599_900).abs() < 200, "{last}");
        assert!(times.windows(2).all(|w| (98..=102).contains(&(w[1] - w[0]))));
    }

    #[test]
    fn a_file_keeps_its_own_distances_and_goes_on_over_a_turn() {
        assert_eq!(file(&[Some(7000), Some(7050), Some(7200)]), [5000, 5050, 5200]);
        let mut timeline = FileTimeline::new(mono(0), Duration::from_millis(40));
        let first: Vec<_> = [0, 100, 200].map(|ms| timeline.place(Some(ms * MS))).to_vec();
        timeline.turn();
        let second: Vec<_> = [0, 100, 200].map(|ms| timeline.place(Some(ms * MS))).to_vec();
        assert_eq!([first, second].concat(), [0, 100, 200, 300, 400, 500].map(mono));
    }

    #[test]
    fn broken_file_times_are_bridged() {
        assert_eq!(file(&[None, None, None]), [5000, 5040, 5080], "no times at all");
        assert_eq!(file(&[Some(0), Some(40), None, Some(120)]), [5000, 5040, 5080, 5120], "one is missing");
        assert_eq!(file(&[Some(0), Some(120), Some(40), Some(160)]), [5000, 5120, 5120, 5160], "reordered");
        assert_eq!(file(&[Some(95_000_000), Some(95_000_040), Some(0), Some(40)]), [5000, 5040, 5080, 5120], "wraps");
        assert_eq!(file(&[Some(0), Some(40), Some(95_000_000), Some(95_000_040)]), [5000, 5040, 5080, 5120], "jumps");
        assert_eq!(file(&[Some(0), Some(30_000)]), [5000, 35_000], "a pause is a pause");
    }

    proptest! {
        #[test]
        fn live_times_grow_strictly_whatever_the_stream_says(
            packets in proptest::collection::vec((any::<i64>(), 0u64..2_000_000_000), 1..60)
        ) {
            let mut timeline = LiveTimeline::default();
            let mut arrival = Mono(0);
            let mut last = None;
            for (stream, wait) in packets {
                arrival = arrival + Duration::from_nanos(wait);
                let at = timeline.place(stream, arrival);
                prop_assert!(last.is_none_or(|last| at > last), "{at:?} after {last:?}");
                last = Some(at);
            }
        }

        #[test]
        fn a_steady_stream_over_a_jittering_network_stays_near_and_even(
            start in 0i64..1_000_000_000_000, jitter in proptest::collection::vec(0i64..300, 50..200)
        ) {
            let mut timeline = LiveTimeline::default();
            let mut last: Option<i64> = None;
            for (i, jitter) in jitter.into_iter().enumerate() {
                let taken = 40 * i64::try_from(i).expect("small");
                let at = signed(timeline.place(start + taken * MS, mono(1000 + taken + jitter)));
                prop_assert!((at / MS - 1000 - taken).abs() <= 300);
                if let Some(last) = last {
                    prop_assert!((39 * MS..=41 * MS).contains(&(at - last)), "{}", at - last);
                }
                last = Some(at);
            }
        }

        #[test]
        fn file_times_grow_strictly_whatever_the_file_says(
            packets in proptest::collection::vec((proptest::option::of(any::<i64>()), any::<bool>()), 1..60)
        ) {
            let mut timeline = FileTimeline::new(mono(1), Duration::ZERO);
            let mut last = None;
            for (ns, turns) in packets {
                let at = timeline.place(ns);
                prop_assert!(last.is_none_or(|last| at > last), "{at:?} after {last:?}");
                last = Some(at);
                if turns {
                    timeline.turn();
                }
            }
        }
    }
}
