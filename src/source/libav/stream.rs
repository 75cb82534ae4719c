//! What libavformat says about a stream, in our terms. Files and network streams share this.

use std::sync::Once;
use std::time::Duration;

use bytes::Bytes;
use ffmpeg_next as ffmpeg;

use crate::frame::{AudioCodec, AudioInfo, AudioOffer, Codec, Orientation, StreamInfo};
use crate::source::audio;

/// Makes libav ready. Cheap when it already is.
pub(in crate::source) fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // Never fails; it fills the table of error texts, without which every reason would be empty.
        let _ = ffmpeg::init();
        ffmpeg::format::network::init();
        // What libav would print is reported as errors of the source, and its own lines may hold passwords.
        ffmpeg::log::set_level(ffmpeg::log::Level::Fatal);
    });
}

/// The version of libavformat that this process runs with, "59.27.100".
pub(in crate::source) fn version() -> String {
    let version = ffmpeg::format::version();
    format!("{}.{}.{}", version >> 16, (version >> 8) & 0xff, version & 0xff)
}

/// Codec, size, parameters and rate of a video stream.
pub(in crate::source) fn describe(video: &ffmpeg::Stream<'_>) -> StreamInfo {
    let parameters = video.parameters();
    let codec = match parameters.id() {
        ffmpeg::codec::Id::H264 => Codec::H264,
        ffmpeg::codec::Id::HEVC => Codec::H265,
        ffmpeg::codec::Id::MJPEG => Codec::Mjpeg,
        other => Codec::Other(other.name().into()),
    };
    let rate = [video.avg_frame_rate(), video.rate()].into_iter().map(f64::from).find(|r| (0.01..1000.0).contains(r));
    let (width, height, extradata) = raw_parameters(&parameters);
    #[allow(clippy::cast_possible_truncation)]
    StreamInfo {
        codec,
        width,
        height,
        extradata,
        fps: rate.map(|rate| rate as f32),
        orientation: orientation_of(video),
    }
}

/// The parameters of an audio stream that clips hold; `None` of another one.
pub(in crate::source) fn audio_info(audio: &ffmpeg::Stream<'_>) -> Option<AudioInfo> {
    let parameters = audio.parameters();
    let codec = match parameters.id() {
        ffmpeg::codec::Id::AAC => AudioCodec::Aac,
        ffmpeg::codec::Id::OPUS => AudioCodec::Opus,
        _ => return None,
    };
    let (_, _, extradata) = raw_parameters(&parameters);
    // The binding knows these numbers of contexts alone.
    let context = ffmpeg::codec::Context::from_parameters(parameters).ok()?.encoder().audio().ok()?;
    let (sample_rate, channels) = (context.rate(), context.channels());
    let info = AudioInfo { codec, sample_rate, channels, extradata };
    match codec {
        _ if info.is_complete() => Some(info),
        AudioCodec::Opus => Some(AudioInfo::opus(channels)),
        AudioCodec::Aac => audio::described_by_headers(sample_rate, channels),
    }
}

/// The audio stream that is recorded, with its number, and what there is to be heard.
pub(in crate::source) fn find_audio(
    input: &ffmpeg::format::context::Input,
    is_wanted: bool,
) -> (Option<(usize, AudioInfo)>, AudioOffer) {
    let Some(best) = input.streams().best(ffmpeg::media::Type::Audio) else { return (None, AudioOffer::Silent) };
    if !is_wanted {
        return (None, AudioOffer::NotAsked);
    }
    match audio_info(&best) {
        Some(info) => {
            let offer = AudioOffer::Recorded(info.codec);
            (Some((best.index(), info)), offer)
        }
        None => (None, AudioOffer::unfit(best.parameters().id().name())),
    }
}

/// A packet of this audio stream: when it is heard in nanoseconds of the stream, how long, and its samples.
pub(in crate::source) fn audio_packet<'a>(
    packet: &'a ffmpeg::Packet,
    info: &AudioInfo,
    time_base: ffmpeg::Rational,
) -> Option<(i64, Duration, &'a [u8])> {
    let at_ns = nanoseconds(packet.pts().or(packet.dts())?, time_base);
    let data = audio::without_header(info, packet.data().filter(|_| !packet.is_corrupt())?)?;
    let said = u64::try_from(nanoseconds(packet.duration(), time_base)).unwrap_or(0);
    let usual = match info.codec {
        AudioCodec::Aac => 1024 * 1_000_000_000 / u64::from(info.sample_rate.max(1)),
        AudioCodec::Opus => 20_000_000,
    };
    // A container may round it to milliseconds, and AAC has a frame of a known length.
    let lasts = if said == 0 || info.codec == AudioCodec::Aac { usual } else { said };
    Some((at_ns, Duration::from_nanos(lasts), data))
}

/// What the container's display matrix says, if it has one.
fn orientation_of(video: &ffmpeg::Stream<'_>) -> Orientation {
    let matrix = video.side_data().find(|data| data.kind() == ffmpeg::packet::side_data::Type::DisplayMatrix);
    matrix.map_or_else(Orientation::default, |matrix| Orientation::from_side_data(matrix.data()))
}

/// Size and codec parameters, which the binding has no safe way to.
#[allow(unsafe_code)]
fn raw_parameters(parameters: &ffmpeg::codec::Parameters) -> (u32, u32, Bytes) {
    // SAFETY: `parameters` owns or keeps alive the struct it points to, which is not written meanwhile;
    // libav guarantees `extradata_size` readable bytes at `extradata` where that is not null.
    unsafe {
        let raw = &*parameters.as_ptr();
        let length = usize::try_from(raw.extradata_size).unwrap_or_default();
        let extradata = if raw.extradata.is_null() || length == 0 {
            Bytes::new()
        } else {
            Bytes::copy_from_slice(std::slice::from_raw_parts(raw.extradata, length))
        };
        (u32::try_from(raw.width).unwrap_or_default(), u32::try_from(raw.height).unwrap_or_default(), extradata)
    }
}

/// Nanoseconds that `ticks` of `time_base` (numerator, denominator, in seconds) are.
pub(in crate::source) fn nanoseconds(ticks: i64, time_base: ffmpeg::Rational) -> i64 {
    let (numerator, denominator) = (i128::from(time_base.numerator()), i128::from(time_base.denominator()));
    let ns = i128::from(ticks) * numerator * 1_000_000_000 / denominator.max(1);
    i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
}

/// The video with the most pixels; of those that are alike, the one that libavformat takes for the best.
pub(super) fn largest_video(input: &ffmpeg::format::context::Input) -> Option<ffmpeg::Stream<'_>> {
    let best = input.streams().best(ffmpeg::media::Type::Video)?;
    let videos = input.streams().filter(|stream| stream.parameters().medium() == ffmpeg::media::Type::Video);
    let pixels = |stream: &ffmpeg::Stream<'_>| {
        let (width, height, _) = raw_parameters(&stream.parameters());
        u64::from(width) * u64::from(height)
    };
    videos.max_by_key(|stream| (pixels(stream), stream.index() == best.index()))
}

/// Makes the demuxer know that only the streams `wanted` are read, so that it need not fetch the others: an HLS playlist may
/// list the same picture in several sizes.
#[allow(unsafe_code)]
pub(super) fn keep_only(input: &mut ffmpeg::format::context::Input, wanted: &[usize]) {
    for mut stream in input.streams_mut() {
        if !wanted.contains(&stream.index()) {
            // SAFETY: the stream belongs to `input`, which is borrowed mutably; `discard` is a plain field that
            // users of libavformat set between opening and reading.
            unsafe { (*stream.as_mut_ptr()).discard = ffmpeg::ffi::AVDiscard::AVDISCARD_ALL };
        }
    }
}
