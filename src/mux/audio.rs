//! The audio track of a clip: packets go in as the camera sent them.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::Id;
use ffmpeg_next::format::context::Output;
use ffmpeg_next::{ChannelLayout, Dictionary, ffi};

use crate::clock::Mono;
use crate::frame::{AudioCodec, AudioInfo, AudioPacket};

use super::params;

/// A packet this close to the end of the one before follows it without a gap or an overlap: times are measured, and the
/// samples are not.
const SEAM: Duration = Duration::from_millis(20);

/// Where the track stands in the file, behind the pictures.
const INDEX: usize = 1;

/// Samples of a frame of AAC where nothing else is said.
const AAC_FRAME: i32 = 1024;

/// The audio of one file.
pub(super) struct AudioTrack {
    info: Arc<AudioInfo>,
    /// Ticks a second.
    timescale: i64,
    /// Where the last packet ends, ticks of the file.
    end: Option<i64>,
}

impl AudioTrack {
    /// Adds the track to a file whose header is not written yet.
    pub(super) fn add(output: &mut Output, info: &AudioInfo) -> Result<(), ffmpeg::Error> {
        let parameters = parameters(info)?;
        let mut stream = output.add_stream(None::<ffmpeg::Codec>)?;
        stream.set_time_base((1, i32::try_from(info.sample_rate).unwrap_or(i32::MAX)));
        stream.set_parameters(parameters);
        Ok(())
    }

    /// The track of a file whose header is written.
    pub(super) fn of(output: &Output, info: Arc<AudioInfo>) -> Option<Self> {
        let base = output.stream(INDEX)?.time_base();
        // libavformat may choose another one than it was given.
        let timescale = i64::from(base.denominator()) / i64::from(base.numerator()).max(1);
        Some(Self { info, timescale, end: None })
    }

    /// Whether packets with these parameters fit.
    pub(super) fn takes(&self, info: &Arc<AudioInfo>) -> bool {
        Arc::ptr_eq(&self.info, info) || self.info == *info
    }

    /// Writes a packet into the fragment in progress of a file that starts at `start`. What is heard before that, or what
    /// overlaps with the packet before, is left out.
    pub(super) fn write(
        &mut self,
        output: &mut Output,
        start: Mono,
        packet: &AudioPacket,
    ) -> Result<(), ffmpeg::Error> {
        let Some(since_start) = packet.at.0.checked_sub(start.0) else { return Ok(()) };
        let ticks = |nanos: u128| {
            let ticks = nanos * u128::try_from(self.timescale).unwrap_or(0) / 1_000_000_000;
            i64::try_from(ticks).unwrap_or(i64::MAX / 2)
        };
        let (said, lasts) = (ticks(u128::from(since_start)), ticks(packet.lasts.as_nanos()).max(1));
        let seam = ticks(SEAM.as_nanos());
        let at = match self.end {
            Some(end) if said < end.saturating_sub(seam) => return Ok(()),
            Some(end) if said <= end.saturating_add(seam) => end,
            _ => said,
        };
        // libavformat takes a packet of nothing for a command.
        if packet.data.is_empty() {
            return Ok(());
        }
        let mut coded = ffmpeg::Packet::copy(&packet.data);
        coded.set_stream(INDEX);
        coded.set_pts(Some(at));
        coded.set_dts(Some(at));
        coded.set_duration(lasts);
        coded.set_flags(ffmpeg::packet::Flags::KEY);
        coded.write(output)?;
        self.end = Some(at.saturating_add(lasts));
        Ok(())
    }
}

/// What the header says of the packets.
#[allow(unsafe_code)]
fn parameters(info: &AudioInfo) -> Result<ffmpeg::codec::Parameters, ffmpeg::Error> {
    let mut context = ffmpeg::codec::Context::new();
    // Libraries before 5.1 know the number of channels by this alone; later ones do without.
    // SAFETY: the context was just made, and the name has its end.
    unsafe {
        ffi::av_opt_set_int(context.as_mut_ptr().cast(), c"ac".as_ptr(), i64::from(info.channels), 0);
    }
    let mut audio = context.encoder().audio()?;
    audio.set_rate(i32::try_from(info.sample_rate).unwrap_or(i32::MAX));
    audio.set_channel_layout(ChannelLayout::default(i32::from(info.channels)));
    let mut parameters = ffmpeg::codec::Parameters::from(&audio);
    let out_of_memory = ffmpeg::Error::Other { errno: ffmpeg::error::ENOMEM };
    // SAFETY: the parameters were just made, have no extradata yet, and own the block from here on.
    unsafe {
        let raw = &mut *parameters.as_mut_ptr();
        raw.codec_type = ffi::AVMediaType::AVMEDIA_TYPE_AUDIO;
        let id = match info.codec {
            AudioCodec::Aac => Id::AAC,
            AudioCodec::Opus => Id::OPUS,
        };
        raw.codec_id = id.into();
        raw.frame_size = if info.codec == AudioCodec::Aac { AAC_FRAME } else { 0 };
        (raw.extradata, raw.extradata_size) = params::padded(&info.extradata).ok_or(out_of_memory)?;
    }
    Ok(parameters)
}

/// The parameters of an audio stream of a file; `None` where clips hold none such.
#[allow(unsafe_code)]
pub(super) fn info_of(stream: &ffmpeg::Stream<'_>) -> Option<AudioInfo> {
    let parameters = stream.parameters();
    let codec = match parameters.id() {
        Id::AAC => AudioCodec::Aac,
        Id::OPUS => AudioCodec::Opus,
        _ => return None,
    };
    // SAFETY: the parameters live as long as the stream; libav keeps pointer and size in step.
    let extradata = unsafe {
        let raw = &*parameters.as_ptr();
        match usize::try_from(raw.extradata_size) {
            Ok(size) if size > 0 && !raw.extradata.is_null() => {
                Bytes::copy_from_slice(std::slice::from_raw_parts(raw.extradata, size))
            }
            _ => return None,
        }
    };
    // The binding knows these numbers of contexts alone.
    let context = ffmpeg::codec::Context::from_parameters(parameters).ok()?.encoder().audio().ok()?;
    let (sample_rate, channels) = (context.rate(), context.channels());
    Some(AudioInfo { codec, sample_rate, channels, extradata }).filter(AudioInfo::is_complete)
}

/// Lets pictures alone end a fragment by its length, `while_pictures`: what ends one knows how long the last sample of its own
/// track lasts, and of the others it is a guess, which does no harm to audio.
#[allow(unsafe_code)]
pub(super) fn end_fragments(output: &mut Output, while_pictures: bool, longest_us: i64) {
    let value = if while_pictures { longest_us } else { 0 };
    // SAFETY: the context is open for writing; its private data begins with its class, which checks the name.
    unsafe {
        let private = (*output.as_mut_ptr()).priv_data;
        ffi::av_opt_set_int(private, c"frag_duration".as_ptr(), value, 0);
    }
}

/// Options of the header: these movie flags, and what an audio track needs besides. It begins when its first packet is heard,
/// which is not when the first picture is shown, and libavformat would move it there.
pub(super) fn movie_flags(options: &mut Dictionary<'_>, flags: &str, has_audio: bool) {
    if !has_audio {
        options.set("movflags", flags);
        return;
    }
    options.set("movflags", &format!("{flags}+frag_discont"));
    options.set("avoid_negative_ts", "disabled");
    options.set("use_editlist", "0");
}
