//! When a packet's picture was taken, for each way in which streams come.

use std::time::Duration;

use super::open::PROBE_TIME;
use crate::clock::{Clock, Mono};
use crate::source::timeline::{FileTimeline, LiveTimeline, ReorderedTimeline, composition_offset};

/// Containers without times of their own; libavformat counts 25 pictures a second for them.
const WITHOUT_TIMES: [&str; 6] = ["mpjpeg", "mjpeg", "jpeg_pipe", "image2pipe", "h264", "hevc"];

/// Between the pictures of a stream that does not say how many it has a second.
const USUAL_STEP: Duration = Duration::from_millis(40);

/// A playlist that falls behind by more has stood still, and its time starts again.
const LONGEST_LAG: Duration = Duration::from_secs(10);

/// Waiting is done in slices, so that the end of the source is noticed.
const WAIT_SLICE: Duration = Duration::from_millis(50);

/// Whether the times of this container are libavformat's invention.
pub(super) fn has_no_times(container: &str) -> bool {
    WITHOUT_TIMES.contains(&container)
}

/// Whether each stream of this container has a clock of its own.
pub(super) fn has_clocks_apart(container: &str) -> bool {
    container.split(',').any(|name| matches!(name, "rtsp" | "sdp" | "rtp"))
}

/// Gives packets their times.
pub(super) struct Pacer {
    pace: Pace,
    /// When the first packet came at the earliest: it was read ahead, with others, to recognise the stream.
    begun: Mono,
    /// Stream time and arrival of the last packet, nanoseconds.
    last: Option<(i64, i64)>,
}

enum Pace {
    /// Packets come as they are taken, and say when they are decoded.
    Live(LiveTimeline),
    /// Packets come as they are taken, and say only when they are shown.
    Shown(ReorderedTimeline),
    /// Packets come by the segment, some seconds at once, and are handed on at the rate at which they were taken.
    Segments { timeline: FileTimeline, step: Duration },
}

impl Pacer {
    /// `connecting` is when the connection was begun.
    pub(super) fn new(container: &str, fps: Option<f32>, connecting: Mono, clock: &dyn Clock) -> Self {
        let begun = connecting.max(clock.mono() - PROBE_TIME);
        let names: Vec<_> = container.split(',').collect();
        let pace = if names.iter().any(|name| matches!(*name, "hls" | "applehttp")) {
            let step = fps.map_or(USUAL_STEP, |fps| Duration::from_secs_f32(1.0 / fps));
            Pace::Segments { timeline: FileTimeline::new(clock.mono(), step), step }
        } else if has_clocks_apart(container) {
            let mut timeline = ReorderedTimeline::default();
            timeline.expect(fps);
            Pace::Shown(timeline)
        } else {
            Pace::Live(LiveTimeline::default())
        };
        Self { pace, begun, last: None }
    }

    /// When the first packet came at the earliest.
    pub(super) fn begun(&self) -> Mono {
        self.begun
    }

    /// The time of decoding and the composition offset of the packet that says `dts_ns` and `pts_ns` on the stream's
    /// own clock, waiting for it where packets come ahead of their time. `None` when `stopped` says so meanwhile.
    pub(super) fn place(
        &mut self,
        dts_ns: Option<i64>,
        pts_ns: Option<i64>,
        clock: &dyn Clock,
        stopped: impl Fn() -> bool,
    ) -> Option<(Mono, Duration)> {
        let now = clock.mono();
        let is_first = self.last.is_none() && dts_ns.or(pts_ns).is_some();
        let arrival = if is_first { self.begun } else { now };
        let offset = composition_offset(dts_ns, pts_ns);
        match &mut self.pace {
            Pace::Live(timeline) => {
                let stream_ns = arrived(&mut self.last, dts_ns.or(pts_ns), now);
                Some((timeline.place(stream_ns, arrival), offset))
            }
            Pace::Shown(timeline) => {
                let stream_ns = arrived(&mut self.last, pts_ns.or(dts_ns), now);
                Some(timeline.place(stream_ns, arrival))
            }
            Pace::Segments { timeline, step } => {
                let time_ns = dts_ns.or(pts_ns);
                let mut at = timeline.place(time_ns);
                if now.since(at) > LONGEST_LAG {
                    *timeline = FileTimeline::new(now, *step);
                    at = timeline.place(time_ns);
                }
                wait_for(at, clock, stopped).then_some((at, offset))
            }
        }
    }
}

/// The stream time of a packet that comes now. One that does not say was taken when it came.
fn arrived(last: &mut Option<(i64, i64)>, said: Option<i64>, now: Mono) -> i64 {
    let arrival = i64::try_from(now.0).unwrap_or(i64::MAX);
    let passed = |(stream, then): (i64, i64)| stream.saturating_add(arrival.saturating_sub(then));
    let stream_ns = said.unwrap_or_else(|| last.map_or(arrival, passed));
    *last = Some((stream_ns, arrival));
    stream_ns
}

/// False when `stopped` says so before.
fn wait_for(at: Mono, clock: &dyn Clock, stopped: impl Fn() -> bool) -> bool {
    loop {
        if stopped() {
            return false;
        }
        let left = at.since(clock.mono());
        if left.is_zero() {
            return true;
        }
        // Dropping the source unparks.
        std::thread::park_timeout(left.min(WAIT_SLICE));
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::clock::SimulatedClock;

    const MS: i64 = 1_000_000;

    /// Times in ms of packets `(stream ms, arrival ms)`.
    fn times(container: &str, packets: &[(Option<i64>, u64)]) -> Vec<u64> {
        let clock = SimulatedClock::new(Mono(0), Timestamp::UNIX_EPOCH);
        let mut pacer = Pacer::new(container, Some(10.0), Mono(packets[0].1 * 1_000_000), &clock);
        let mut now = 0;
        let place = |&(stream, arrival): &(Option<i64>, u64)| {
            clock.advance(Duration::from_millis(arrival - now));
            now = arrival;
            let ns = stream.map(|ms| ms * MS);
            let (at, offset) = pacer.place(ns, ns, &clock, || false).expect("not stopped");
            assert_eq!(offset, Duration::ZERO);
            (at.0 + 500_000) / 1_000_000
        };
        packets.iter().map(place).collect()
    }

    #[test]
    fn a_stream_without_times_has_those_of_arrival() {
        assert_eq!(times("mpjpeg", &[(None, 10), (None, 210), (None, 250)]), [10, 210, 250]);
        assert_eq!(times("flv", &[(Some(90_000), 10), (None, 110), (Some(90_200), 210)]), [10, 110, 210]);
    }

    #[test]
    fn packets_that_were_read_ahead_keep_their_distances() {
        let clock = SimulatedClock::new(Mono(0), Timestamp::UNIX_EPOCH);
        clock.advance(Duration::from_secs(9));
        for (connecting, first) in [(Mono(8_000_000_000), 8000), (Mono(0), 7000)] {
            let mut pacer = Pacer::new("flv", None, connecting, &clock);
            let mut place = |ms: i64| pacer.place(Some(ms * MS), None, &clock, || false).expect("not stopped").0;
            // Up to the two hundredth part by which times are brought closer to arrival.
            let times = [0, 400, 800].map(|ms| place(ms).0 / 4_000_000 * 4);
            assert_eq!(times, [first, first + 400, first + 804]);
        }
    }

    #[test]
    fn times_that_wrap_or_jump_go_on() {
        let wrap = (1_i64 << 33) / 90;
        let wraps = [(Some(wrap - 100), 0), (Some(wrap), 100), (Some(100), 200), (Some(200), 300)];
        assert_eq!(times("mpegts", &wraps), [0, 100, 200, 300]);
        assert_eq!(times("flv", &[(Some(0), 0), (Some(100), 100), (Some(9_000_000), 200)]), [0, 100, 200]);
    }

    #[test]
    fn both_times_of_reordered_pictures_are_kept() {
        let clock = SimulatedClock::new(Mono(0), Timestamp::UNIX_EPOCH);
        let mut pacer = Pacer::new("flv", None, Mono(0), &clock);
        let mut place = |dts: i64, pts: i64| pacer.place(Some(dts * MS), Some(pts * MS), &clock, || false);
        assert_eq!(place(0, 80), Some((Mono(0), Duration::from_millis(80))));
        assert_eq!(place(40, 40).map(|(_, offset)| offset), Some(Duration::ZERO));
        // RTP says the second of the times only.
        assert_eq!(times("rtsp", &[(Some(0), 0), (Some(100), 100), (None, 200)]), [0, 100, 200]);
    }

    #[test]
    fn segments_keep_their_own_distances_and_start_again_after_a_standstill() {
        assert_eq!(times("hls", &[(Some(5000), 0), (Some(5100), 300), (Some(5200), 300)]), [0, 100, 200]);
        assert_eq!(times("hls,applehttp", &[(Some(5000), 0), (Some(5100), 11_000)]), [0, 11_000]);
    }

    #[test]
    fn a_segment_is_not_waited_for_once_the_source_was_dropped() {
        let clock = SimulatedClock::new(Mono(0), Timestamp::UNIX_EPOCH);
        let mut pacer = Pacer::new("hls", None, Mono(0), &clock);
        assert!(pacer.place(Some(0), None, &clock, || false).is_some());
        assert_eq!(pacer.place(Some(3_000 * MS), None, &clock, || true), None);
    }
}
