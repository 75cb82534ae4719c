//! Audio on its way to the next picture, beside which it travels.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Mono;
use crate::frame::{Audio, AudioCodec, AudioInfo, AudioPacket};

/// A camera without a picture for longer loses the audio before that: it is held in memory.
const LONGEST: Duration = Duration::from_secs(30);

/// And no more of it, bytes.
const MOST_BYTES: usize = 4 << 20;

/// A stream that gave nothing for so long is none: a file with an empty track makes players wait for it.
const SILENT_AFTER: Duration = Duration::from_secs(5);

/// What came since the last picture.
pub(super) struct Gathered {
    info: Arc<AudioInfo>,
    /// What most pictures get of a slow stream.
    nothing: Arc<Audio>,
    packets: Vec<AudioPacket>,
    bytes: usize,
    /// The last packet, or the connection.
    came: Mono,
}

impl Gathered {
    /// Of a stream that was announced `now`.
    pub(super) fn new(info: AudioInfo, now: Mono) -> Self {
        let info = Arc::new(info);
        let nothing = Arc::new(Audio { info: info.clone(), packets: Vec::new() });
        Self { info, nothing, packets: Vec::new(), bytes: 0, came: now }
    }

    /// Adds a packet that came `now`.
    pub(super) fn push(&mut self, packet: AudioPacket, now: Mono) {
        self.came = now;
        self.bytes += packet.data.len();
        let newest = packet.at;
        self.packets.push(packet);
        let is_old = |packet: &AudioPacket| newest.since(packet.at) > LONGEST;
        let old = self.packets.iter().take_while(|packet| is_old(packet)).count();
        let large = if self.bytes > MOST_BYTES { self.packets.len() / 2 } else { 0 };
        for gone in self.packets.drain(..old.max(large)) {
            self.bytes -= gone.data.len();
        }
    }

    /// What travels with the picture that came `now`.
    pub(super) fn take(&mut self, now: Mono) -> Option<Arc<Audio>> {
        if self.packets.is_empty() {
            return (now.since(self.came) < SILENT_AFTER).then(|| self.nothing.clone());
        }
        self.bytes = 0;
        Some(Arc::new(Audio { info: self.info.clone(), packets: std::mem::take(&mut self.packets) }))
    }
}

/// Audio whose times are on the same clock as those of the pictures: of a file, or of most streams that libavformat reads.
pub(super) struct Beside {
    gathered: Gathered,
    heard: Vec<(i64, Duration, Bytes)>,
}

/// No picture is further from what is heard beside it.
const FURTHEST: Duration = Duration::from_secs(30);

/// No packet of audio is larger, bytes.
const LARGEST: usize = 64 << 10;

/// What lies between two pictures has so many packets at most.
const MOST_HEARD: usize = 5000;

impl Beside {
    /// Of a stream that was announced `now`.
    pub(super) fn new(info: AudioInfo, now: Mono) -> Self {
        Self { gathered: Gathered::new(info, now), heard: Vec::new() }
    }

    /// A packet that is heard at `at_ns` on the clock of the stream.
    pub(super) fn hear(&mut self, at_ns: i64, lasts: Duration, data: &[u8]) {
        if self.heard.len() < MOST_HEARD && !data.is_empty() && data.len() <= LARGEST {
            self.heard.push((at_ns, lasts, Bytes::copy_from_slice(data)));
        }
    }

    /// What travels with the picture that the stream's clock puts at `picture_ns` and the box's at `at`.
    pub(super) fn take(&mut self, picture_ns: Option<i64>, at: Mono, now: Mono) -> Option<Arc<Audio>> {
        let furthest = i64::try_from(FURTHEST.as_nanos()).unwrap_or(i64::MAX);
        for (at_ns, lasts, data) in std::mem::take(&mut self.heard) {
            let distance = picture_ns.map(|picture| at_ns.saturating_sub(picture));
            let distance = distance.filter(|distance| (-furthest..=furthest).contains(distance));
            if let Some(at) = distance.and_then(|distance| at.0.checked_add_signed(distance)) {
                self.gathered.push(AudioPacket { at: Mono(at), lasts, data }, now);
            }
        }
        self.gathered.take(now)
    }
}

/// Header of AAC in streams that describe it nowhere else (ISO 13818-7, 6.2), and how long it is.
const ADTS: usize = 7;

/// What a packet of AAC holds behind its header, where it has one: `None` where that says something else than `info`.
pub(super) fn without_header<'a>(info: &AudioInfo, data: &'a [u8]) -> Option<&'a [u8]> {
    let [0xff, second, third, fourth, ..] = *data else { return Some(data) };
    if info.codec != AudioCodec::Aac || second & 0xf6 != 0xf0 {
        return Some(data);
    }
    let checksum = if second & 1 == 0 { 2 } else { 0 };
    let (object, rate, channels) = ((third >> 6) + 1, third >> 2 & 15, (third & 1) << 2 | fourth >> 6);
    let said = [object << 3 | rate >> 1, rate << 7 | channels << 3];
    if info.extradata.get(..2) != Some(&said[..]) {
        return None;
    }
    data.get(ADTS + checksum..).filter(|data| !data.is_empty())
}

/// Rates of AAC by their number (ISO 14496-3, 1.6.3.4), samples a second.
const RATES: [u32; 13] =
    [96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8000, 7350];

/// The description of AAC-LC whose packets have headers of their own.
pub(super) fn described_by_headers(sample_rate: u32, channels: u16) -> Option<AudioInfo> {
    let rate = u8::try_from(RATES.iter().position(|known| *known == sample_rate)?).ok()?;
    let count = u8::try_from(channels).ok().filter(|count| (1..=6).contains(count))?;
    let low_complexity = 2_u8;
    let extradata = [low_complexity << 3 | rate >> 1, rate << 7 | count << 3];
    Some(AudioInfo { codec: AudioCodec::Aac, sample_rate, channels, extradata: Bytes::copy_from_slice(&extradata) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet(ms: u64, bytes: usize) -> AudioPacket {
        AudioPacket { at: Mono(ms * 1_000_000), lasts: Duration::from_millis(20), data: vec![1; bytes].into() }
    }

    #[test]
    fn each_packet_travels_once() {
        let mut gathered = Gathered::new(AudioInfo::opus(1), Mono(0));
        gathered.push(packet(0, 9), Mono(0));
        gathered.push(packet(20, 9), Mono(0));
        let taken = gathered.take(Mono(0)).expect("audio");
        assert_eq!((taken.packets.len(), taken.bytes()), (2, 18));
        let next = gathered.take(Mono(40_000_000)).expect("the stream goes on");
        assert!(next.packets.is_empty() && Arc::ptr_eq(&next.info, &taken.info));
    }

    #[test]
    fn a_stream_that_gives_nothing_is_none_until_it_does() {
        let mut gathered = Gathered::new(AudioInfo::opus(1), Mono(0));
        assert!(gathered.take(Mono(4_000_000_000)).is_some());
        assert!(gathered.take(Mono(5_000_000_000)).is_none());
        gathered.push(packet(6000, 1), Mono(6_000_000_000));
        assert!(gathered.take(Mono(6_000_000_000)).is_some());
    }

    #[test]
    fn memory_is_bounded_while_no_picture_comes() {
        let mut gathered = Gathered::new(AudioInfo::opus(1), Mono(0));
        for n in 0..4000 {
            gathered.push(packet(n * 20, 5000), Mono(n * 20_000_000));
            assert!(gathered.bytes <= MOST_BYTES);
        }
        let taken = gathered.take(Mono(80_000_000_000)).expect("audio");
        let first = taken.packets.first().expect("the newest are kept").at;
        assert!(Mono(80_000_000_000).since(first) <= LONGEST + Duration::from_millis(20));
        assert_eq!(taken.packets.last().map(|packet| packet.at), Some(Mono(3999 * 20_000_000)));
    }

    #[test]
    fn audio_keeps_its_distance_to_its_picture() {
        let mut beside = Beside::new(AudioInfo::opus(1), Mono(0));
        let second = 1_000_000_000;
        beside.hear(7 * second - 5, Duration::ZERO, b"a");
        beside.hear(7 * second + 5, Duration::ZERO, b"b");
        beside.hear(99 * second, Duration::ZERO, b"its clock jumped");
        let audio = beside.take(Some(7 * second), Mono(1000), Mono(1000)).expect("audio");
        assert_eq!(audio.packets.iter().map(|packet| packet.at.0).collect::<Vec<_>>(), [995, 1005]);
        beside.hear(7 * second, Duration::ZERO, b"c");
        assert!(beside.take(None, Mono(0), Mono(0)).expect("audio").packets.is_empty(), "its picture has no time");
    }

    #[test]
    fn headers_are_taken_off_and_say_the_same_as_the_file() {
        let info = described_by_headers(16_000, 1).expect("AAC");
        assert_eq!(&info.extradata[..], [0x14, 0x08]);
        // ADTS of AAC-LC, 16 kHz, mono, without a checksum.
        let framed = [0xff, 0xf1, 0x60, 0x40, 0x01, 0x3f, 0xfc, 0x21, 0x10];
        assert_eq!(without_header(&info, &framed), Some(&[0x21, 0x10][..]));
        assert_eq!(without_header(&info, &framed[..7]), None, "nothing behind it");
        assert_eq!(without_header(&info, &[0x21, 0x10]), Some(&[0x21, 0x10][..]));
        let stereo = described_by_headers(48_000, 2).expect("AAC");
        assert_eq!(without_header(&stereo, &framed), None);
        assert_eq!(described_by_headers(16_001, 1), None);
    }
}
