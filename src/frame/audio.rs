//! Compressed audio, which travels beside the pictures.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Mono;

/// How audio is coded that clips hold as it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// AAC, without headers before its packets.
    Aac,
    /// Opus.
    Opus,
}

impl AudioCodec {
    /// The codec's name in libavcodec.
    pub fn name(self) -> &'static str {
        match self {
            AudioCodec::Aac => "aac",
            AudioCodec::Opus => "opus",
        }
    }
}

impl fmt::Display for AudioCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            AudioCodec::Aac => "AAC",
            AudioCodec::Opus => "Opus",
        })
    }
}

/// What a muxer must know before the first audio packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioInfo {
    /// Coding of the packets.
    pub codec: AudioCodec,
    /// Samples a second.
    pub sample_rate: u32,
    /// Number of channels, 1 or more.
    pub channels: u16,
    /// `AudioSpecificConfig` of AAC, the `OpusHead` of Opus.
    pub extradata: Bytes,
}

/// The name of what begins an Opus stream (RFC 7845, 5.1).
const OPUS_HEAD: &[u8; 8] = b"OpusHead";

/// Opus counts its time so, whatever the rate of its input.
pub const OPUS_RATE: u32 = 48_000;

impl AudioInfo {
    /// Opus of one or two channels that begins in the middle, as all live streams do: nothing of it is left out.
    pub fn opus(channels: u16) -> Self {
        let channels = channels.clamp(1, 2);
        let head =
            [&OPUS_HEAD[..], &[1, channels.to_le_bytes()[0], 0, 0], &OPUS_RATE.to_le_bytes(), &[0, 0, 0]].concat();
        Self { codec: AudioCodec::Opus, sample_rate: OPUS_RATE, channels, extradata: head.into() }
    }

    /// Whether a file can describe it.
    pub fn is_complete(&self) -> bool {
        let least = match self.codec {
            AudioCodec::Aac => 2,
            AudioCodec::Opus => OPUS_HEAD.len() + 11,
        };
        self.extradata.len() >= least && (1..=8).contains(&self.channels) && (1..=192_000).contains(&self.sample_rate)
    }
}

/// One compressed audio frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioPacket {
    /// When its first sample is heard, on the boot clock.
    pub at: Mono,
    /// How long it sounds.
    pub lasts: Duration,
    /// The coded samples.
    pub data: Bytes,
}

/// The audio that came since the picture before. It travels with a picture, so that all that keeps, drops and writes
/// packets treats both alike.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Audio {
    /// Parameters of the stream. The same `Arc` until they change.
    pub info: Arc<AudioInfo>,
    /// In the order of time; often none.
    pub packets: Vec<AudioPacket>,
}

impl Audio {
    /// Size of the coded samples, bytes.
    pub fn bytes(&self) -> usize {
        self.packets.iter().map(|packet| packet.data.len()).sum()
    }
}

/// What a camera offers to be heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AudioOffer {
    /// None.
    Silent,
    /// This is recorded.
    Recorded(AudioCodec),
    /// Some, which is not asked for: the configuration says so.
    NotAsked,
    /// Some, which the camera did not send, or not so that it can be read.
    Broken,
    /// In a coding that clips do not hold, as it is known: `G.711 (PCMU)`.
    Unfit(Arc<str>),
}

impl AudioOffer {
    /// The coding with this name, of RTP or of libavcodec, which is not recorded.
    pub fn unfit(name: &str) -> Self {
        let known = match name.to_ascii_lowercase().as_str() {
            "pcmu" | "pcm_mulaw" => "G.711 (PCMU)".to_owned(),
            "pcma" | "pcm_alaw" => "G.711 (PCMA)".to_owned(),
            name if name.starts_with("g726") || name.starts_with("adpcm_g726") => "G.726".to_owned(),
            _ => name.chars().filter(|c| c.is_ascii_graphic()).take(40).collect(),
        };
        Self::Unfit(known.into())
    }

    /// What a person is to know of it, and do; `None` where there is nothing.
    pub fn note(&self) -> Option<String> {
        match self {
            AudioOffer::Unfit(coding) => Some(format!(
                "its sound is {coding}, which is not recorded: choose AAC, or Opus, for the sound in the camera's settings"
            )),
            AudioOffer::Broken => Some(
                "its sound is not recorded, as the camera does not send it so that it can be read: look at the sound in the \
                 camera's settings"
                    .to_owned(),
            ),
            AudioOffer::Silent | AudioOffer::Recorded(_) | AudioOffer::NotAsked => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_names_the_coding_and_what_to_choose() {
        let note = AudioOffer::unfit("PCMU").note().expect("a note");
        assert!(note.contains("G.711 (PCMU)") && note.contains("AAC"), "{note}");
        assert!(AudioOffer::unfit("G726-32").note().expect("a note").contains("G.726"));
        assert_eq!(AudioOffer::Recorded(AudioCodec::Aac).note(), None);
    }

    #[test]
    fn what_a_file_cannot_describe_is_known() {
        assert!(AudioInfo::opus(2).is_complete());
        let bare = AudioInfo { extradata: Bytes::new(), ..AudioInfo::opus(1) };
        assert!(!bare.is_complete());
        assert!(!AudioInfo { channels: 0, ..AudioInfo::opus(1) }.is_complete());
    }
}
