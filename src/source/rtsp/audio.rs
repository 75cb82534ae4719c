//! The audio that a camera sends beside its pictures.

use std::collections::HashSet;
use std::sync::LazyLock;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use retina::client::{Described, Session, Stream};
use retina::codec::{AudioFrame, AudioParameters, ParametersRef};
use url::Url;

use crate::clock::Mono;
use crate::frame::{AudioCodec, AudioInfo, AudioOffer, AudioPacket};
use crate::source::audio::Gathered;
use crate::source::timeline::LiveTimeline;

/// Why a camera is read by the other client although retina plays its pictures.
pub(in crate::source) const BY_OTHER: &str = "retina does not unpack its sound";

/// Cameras whose audio broke their session, until the process ends: pictures come first.
static LEFT_OUT: LazyLock<Mutex<HashSet<Url>>> = LazyLock::new(Mutex::default);

/// Whether this camera is not asked for its audio any more.
pub(in crate::source) fn is_left_out(url: &Url) -> bool {
    LEFT_OUT.lock().contains(url)
}

/// From now on this camera is not asked for its audio.
pub(in crate::source) fn leave_out(url: &Url) {
    LEFT_OUT.lock().insert(url.clone());
}

/// What is asked of a camera's audio.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Choice {
    /// This stream.
    Stream(usize),
    /// Nothing.
    None(AudioOffer),
    /// Another client has to read the camera. In words, why.
    ByOther(String),
}

/// Looks for audio that clips hold.
pub(super) fn choose(session: &Session<Described>, is_wanted: bool) -> Choice {
    let offered = session.streams().iter().enumerate().filter(|(_, stream)| stream.media() == "audio");
    let offered: Vec<_> = offered.collect();
    let Some((_, first)) = offered.first() else { return Choice::None(AudioOffer::Silent) };
    if !is_wanted {
        return Choice::None(AudioOffer::NotAsked);
    }
    if let Some((index, _)) = offered.iter().find(|(_, stream)| info_of(stream).is_some()) {
        return Choice::Stream(*index);
    }
    let by_other = offered.iter().find(|(_, stream)| matches!(stream.encoding_name(), "opus" | "mp4a-latm"));
    match by_other {
        Some((_, stream)) => Choice::ByOther(format!("{BY_OTHER} ({})", stream.encoding_name())),
        None => Choice::None(AudioOffer::unfit(first.encoding_name())),
    }
}

/// AAC is all that retina unpacks and clips hold.
fn info_of(stream: &Stream) -> Option<AudioInfo> {
    let Some(ParametersRef::Audio(parameters)) = stream.parameters() else { return None };
    (stream.encoding_name() == "mpeg4-generic").then(|| aac(parameters)).filter(AudioInfo::is_complete)
}

fn aac(parameters: &AudioParameters) -> AudioInfo {
    AudioInfo {
        codec: AudioCodec::Aac,
        sample_rate: parameters.clock_rate(),
        channels: parameters.channels().get(),
        extradata: Bytes::copy_from_slice(parameters.extra_data()),
    }
}

/// The audio stream of a session that plays.
pub(super) struct AudioStream {
    pub(super) index: usize,
    timeline: LiveTimeline,
    pub(super) gathered: Gathered,
    /// Packets in a row that cannot be read.
    damage: u32,
}

/// So many are no accident.
const MOST_DAMAGE: u32 = 50;

impl AudioStream {
    pub(super) fn new(stream: &Stream, index: usize, now: Mono) -> Option<Self> {
        let gathered = Gathered::new(info_of(stream)?, now);
        Some(Self { index, timeline: LiveTimeline::default(), gathered, damage: 0 })
    }

    /// Takes a frame that came `now`.
    pub(super) fn push(&mut self, frame: &AudioFrame, now: Mono) {
        self.damage = 0;
        let timestamp = frame.timestamp();
        let (rate, length) = (timestamp.clock_rate().get(), frame.frame_length().get());
        let ns = i128::from(timestamp.elapsed()) * 1_000_000_000 / i128::from(rate);
        let at = self.timeline.place(i64::try_from(ns).unwrap_or_default(), now);
        let lasts = Duration::from_nanos(u64::from(length) * 1_000_000_000 / u64::from(rate));
        self.gathered.push(AudioPacket { at, lasts, data: Bytes::copy_from_slice(frame.data()) }, now);
    }

    /// Notes a packet that could not be read. Gives whether the session goes on without this audio better.
    pub(super) fn is_hopeless(&mut self) -> bool {
        self.damage += 1;
        self.damage > MOST_DAMAGE
    }

    /// The packet before could not be read.
    pub(super) fn is_damaged(&self) -> bool {
        self.damage > 0
    }
}
