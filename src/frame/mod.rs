//! Packets and pictures: what cameras give and what the stages hand on.

mod audio;
mod foreign;
mod orientation;
mod scale;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;

use crate::clock::Mono;

pub use audio::{Audio, AudioCodec, AudioInfo, AudioOffer, AudioPacket, OPUS_RATE};
pub use foreign::{ForeignError, MOST_PIXELS, is_cut_off};
pub use orientation::{Orientation, upright};

/// How a packet's bytes are coded.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Codec {
    /// H.264 / AVC.
    H264,
    /// H.265 / HEVC.
    H265,
    /// Motion JPEG: every packet is a whole picture.
    Mjpeg,
    /// Uncompressed YUV 4:2:2 as USB cameras give it (`YUYV`), tightly packed.
    Yuyv,
    /// Anything else libavcodec knows, by its name there; files and streams that libavformat reads bring it.
    Other(Arc<str>),
}

impl Codec {
    /// Whether packets go into a clip as they are. Everything else is encoded once when a clip is written.
    pub fn is_remuxable(&self) -> bool {
        matches!(self, Codec::H264 | Codec::H265)
    }

    /// The codec's name in libavcodec, which is also what people know.
    pub fn name(&self) -> &str {
        match self {
            Codec::H264 => "h264",
            Codec::H265 => "hevc",
            Codec::Mjpeg => "mjpeg",
            Codec::Yuyv => "rawvideo",
            Codec::Other(name) => name,
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Codec::H264 => "H.264",
            Codec::H265 => "H.265",
            Codec::Mjpeg => "MJPEG",
            Codec::Yuyv => "YUYV",
            Codec::Other(name) => name,
        })
    }
}

/// What a decoder or a muxer must know before the first packet.
#[derive(Clone, PartialEq)]
pub struct StreamInfo {
    /// Coding of the packets.
    pub codec: Codec,
    /// Width in pixels; 0 while unknown (a camera that sends its parameters in-band only).
    pub width: u32,
    /// Height in pixels; 0 while unknown.
    pub height: u32,
    /// Codec parameters: `avcC`/`hvcC` record (packets are then length-prefixed) or Annex B
    /// parameter sets (packets then have start codes); empty where the codec has none.
    pub extradata: Bytes,
    /// Frames per second as announced, where the source says.
    pub fps: Option<f32>,
    /// What makes the coded pictures upright, where the source says. Width and height above are the coded ones.
    pub orientation: Orientation,
}

impl StreamInfo {
    /// Width and height of the upright picture in pixels; 0 while unknown.
    pub fn upright_size(&self) -> (u32, u32) {
        self.orientation.applied_to_size((self.width, self.height))
    }
}

impl fmt::Debug for StreamInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}x{}", self.codec, self.width, self.height)
    }
}

/// One encoded access unit.
#[derive(Clone)]
pub struct Packet {
    /// Parameters in force. The same `Arc` until they change in mid-stream.
    pub stream: Arc<StreamInfo>,
    /// When the packet is to be decoded, on the boot clock; strictly growing within one source run.
    pub at: Mono,
    /// How much later the picture is shown (its composition offset). Zero unless the stream reorders its
    /// pictures (B-frames).
    pub offset: Duration,
    /// Whether decoding can start here.
    pub key_frame: bool,
    /// Whether decoding that starts here gives whole pictures only some time later (gradual refresh).
    pub gradual: bool,
    /// Packets known to be lost just before this one.
    pub loss: u16,
    /// The coded picture.
    pub data: Bytes,
    /// The audio that came since the picture before; `None` where none is recorded.
    pub audio: Option<Arc<Audio>>,
}

impl Packet {
    /// A packet that is shown when it is decoded, without a loss before it.
    pub fn new(stream: Arc<StreamInfo>, at: Mono, key_frame: bool, data: Bytes) -> Self {
        Self { stream, at, offset: Duration::ZERO, key_frame, gradual: false, loss: 0, data, audio: None }
    }

    /// What it takes in memory, bytes: the picture and the audio beside it.
    pub fn bytes(&self) -> usize {
        self.data.len() + self.audio.as_ref().map_or(0, |audio| audio.bytes())
    }

    /// When the picture was taken and is shown, on the boot clock. Only the order of decoding is sorted by
    /// [`Packet::at`]; these times go back and forth where a stream has B-frames.
    pub fn pts(&self) -> Mono {
        self.at + self.offset
    }
}

impl fmt::Debug for Packet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key_frame { " key" } else { "" };
        write!(f, "Packet({:?}, {:.3}s, {} B{key})", self.stream, self.at.as_secs_f64(), self.data.len())
    }
}

/// A grey picture: `data.len() == width * height`, row-major, 0 black to 255 white.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Luma {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// One byte a pixel.
    pub data: Vec<u8>,
}

/// A colour picture: `data.len() == 3 * width * height`, row-major, R, G, B.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rgb {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Three bytes a pixel.
    pub data: Vec<u8>,
}

/// A picture could not be converted or coded.
#[derive(Debug, thiserror::Error)]
#[error("convert picture: {0}")]
pub struct PictureError(pub String);

impl Rgb {
    /// Codes the picture as JPEG, `quality` 1 to 100.
    pub fn to_jpeg(&self, quality: u8) -> Result<Vec<u8>, PictureError> {
        let mut out = Vec::with_capacity(self.data.len() / 8);
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, quality)
            .encode(&self.data, self.width, self.height, image::ExtendedColorType::Rgb8)
            .map_err(|e| PictureError(format!("encode JPEG {}x{}: {e}", self.width, self.height)))?;
        Ok(out)
    }
}

/// A decoded picture in whatever form the decoder gave it; converted only on request.
pub trait Picture: Send + Sync {
    /// Width in pixels.
    fn width(&self) -> u32;
    /// Height in pixels.
    fn height(&self) -> u32;
    /// Scales (stretching) and converts to grey, 0..=255 full range, in one pass.
    fn luma(&self, width: u32, height: u32) -> Result<Luma, PictureError>;
    /// Scales (stretching) and converts to RGB in one pass.
    fn rgb(&self, width: u32, height: u32) -> Result<Rgb, PictureError>;
}

/// A decoded picture with its time.
#[derive(Clone)]
pub struct Frame {
    /// When the picture was taken, on the boot clock.
    pub at: Mono,
    /// The picture; cheap to clone.
    pub picture: Arc<dyn Picture>,
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Frame({}x{}, {:.3}s)", self.picture.width(), self.picture.height(), self.at.as_secs_f64())
    }
}

/// An RGB picture in memory is a [`Picture`] too: stills on the command line, and tests.
impl Picture for Rgb {
    fn width(&self) -> u32 {
        self.width
    }

    fn height(&self) -> u32 {
        self.height
    }

    fn luma(&self, width: u32, height: u32) -> Result<Luma, PictureError> {
        let rgb = Picture::rgb(self, width, height)?;
        let grey = |p: &[u8]| {
            // BT.601 weights in 1/256, the same as swscale uses for standard definition.
            let sum = 77 * u32::from(p[0]) + 150 * u32::from(p[1]) + 29 * u32::from(p[2]);
            u8::try_from(sum >> 8).unwrap_or(u8::MAX)
        };
        let data = rgb.data.chunks_exact(3).map(grey).collect();
        Ok(Luma { width, height, data })
    }

    fn rgb(&self, width: u32, height: u32) -> Result<Rgb, PictureError> {
        if (width, height) == (self.width, self.height) {
            return Ok(self.clone());
        }
        scale::scale(self, width, height)
    }
}

/// The newest frame of a camera, for viewers. Writing never waits for a reader.
#[derive(Debug, Default)]
pub struct LatestFrame(Mutex<Option<Frame>>);

impl LatestFrame {
    /// Replaces the frame.
    pub fn set(&self, frame: Frame) {
        *self.0.lock() = Some(frame);
    }

    /// The frame, unless it is older than `max_age` at `now`.
    pub fn get(&self, now: Mono, max_age: Duration) -> Option<Frame> {
        let frame = self.0.lock().clone()?;
        (now.since(frame.at) <= max_age).then_some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey_card() -> Rgb {
        Rgb { width: 8, height: 4, data: vec![128; 8 * 4 * 3] }
    }

    #[test]
    fn a_grey_card_keeps_its_brightness_through_scaling() {
        let luma = grey_card().luma(4, 2).expect("convert");
        assert_eq!(luma.data, vec![128; 8]);
    }

    #[test]
    fn jpeg_has_the_picture_size() {
        let jpeg = grey_card().to_jpeg(90).expect("encode");
        let back = image::load_from_memory(&jpeg).expect("decode");
        assert_eq!((back.width(), back.height()), (8, 4));
    }

    #[test]
    fn too_few_bytes_are_an_error_not_a_panic() {
        let broken = Rgb { width: 8, height: 4, data: vec![0; 5] };
        assert!(Picture::rgb(&broken, 4, 2).is_err());
    }

    #[test]
    fn an_old_frame_is_not_shown() {
        let latest = LatestFrame::default();
        latest.set(Frame { at: Mono(0), picture: Arc::new(grey_card()) });
        assert!(latest.get(Mono(5_000_000_000), Duration::from_secs(10)).is_some());
        assert!(latest.get(Mono(15_000_000_000), Duration::from_secs(10)).is_none());
    }
}
